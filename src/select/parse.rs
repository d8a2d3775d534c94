//! From the text of a filter to its tree, by recursive descent.

use super::token::{SyntaxError, Token, Tokens, Value};

/// How deep parentheses and `not` may nest: far more than anybody writes, far less than a stack holds.
const MAX_DEPTH: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What is asked about a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    Compare(Operator, Value),
    In(Vec<Value>),
    Missing,
}

/// A test of a column, and where in the text it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Test {
    pub(super) column: String,
    pub(super) column_at: usize,
    pub(super) condition: Condition,
    /// Where the condition begins.
    pub(super) at: usize,
}

/// A filter as a tree. `T` is a test.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node<T> {
    All(Vec<Node<T>>),
    Any(Vec<Node<T>>),
    Not(Box<Node<T>>),
    Test(T),
}

impl<T> Node<T> {
    /// The same tree of other tests.
    pub(super) fn map<U, E>(&self, test: &mut impl FnMut(&T) -> Result<U, E>) -> Result<Node<U>, E> {
        let mut each =
            |nodes: &[Self]| -> Result<Vec<_>, E> { nodes.iter().map(|node| node.map(test)).collect() };
        Ok(match self {
            Self::All(nodes) => Node::All(each(nodes)?),
            Self::Any(nodes) => Node::Any(each(nodes)?),
            Self::Not(node) => Node::Not(Box::new(node.map(test)?)),
            Self::Test(leaf) => Node::Test(test(leaf)?),
        })
    }
}

pub(super) fn parse(text: &str) -> Result<Node<Test>, SyntaxError> {
    let mut parser = Parser {
        tokens: Tokens::new(text),
        next: None,
        end: text.trim_end().len(),
        depth: 0,
    };
    parser.advance()?;
    let node = parser.filter()?;
    match parser.next {
        None => Ok(node),
        Some((at, token)) => Err((
            at,
            format!("expected and, or, or the end, found {}", token.show()),
        )),
    }
}

struct Parser<'a> {
    tokens: Tokens<'a>,
    next: Option<(usize, Token)>,
    end: usize,
    depth: usize,
}

impl Parser<'_> {
    /// Takes the next token and reads the one after it.
    fn advance(&mut self) -> Result<Option<(usize, Token)>, SyntaxError> {
        let behind = self.tokens.next()?;
        Ok(std::mem::replace(&mut self.next, behind))
    }

    fn at(&self) -> usize {
        self.next.as_ref().map_or(self.end, |(at, _)| *at)
    }

    fn expected(&self, what: &str) -> SyntaxError {
        let found = self
            .next
            .as_ref()
            .map_or("the end".to_owned(), |(_, token)| token.show());
        (self.at(), format!("expected {what}, found {found}"))
    }

    /// Takes this word or sign, if it comes next.
    fn takes(&mut self, wanted: &Token) -> Result<bool, SyntaxError> {
        let found = self.next.as_ref().is_some_and(|(_, token)| token == wanted);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn filter(&mut self) -> Result<Node<Test>, SyntaxError> {
        let mut nodes = vec![self.conjunction()?];
        while self.takes(&Token::Word("or"))? {
            nodes.push(self.conjunction()?);
        }
        Ok(join(nodes, Node::Any))
    }

    fn conjunction(&mut self) -> Result<Node<Test>, SyntaxError> {
        let mut nodes = vec![self.factor()?];
        while self.takes(&Token::Word("and"))? {
            nodes.push(self.factor()?);
        }
        Ok(join(nodes, Node::All))
    }

    fn factor(&mut self) -> Result<Node<Test>, SyntaxError> {
        let at = self.at();
        let negated = self.takes(&Token::Word("not"))?;
        if !negated && !self.takes(&Token::Sign("("))? {
            return self.test();
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err((
                at,
                format!("more than {MAX_DEPTH} levels are nested; join them by and, or"),
            ));
        }
        let node = if negated {
            Node::Not(Box::new(self.factor()?))
        } else {
            let node = self.filter()?;
            if !self.takes(&Token::Sign(")"))? {
                return Err(self.expected("and, or, or )"));
            }
            node
        };
        self.depth -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<Node<Test>, SyntaxError> {
        let Some((column_at, Token::Name(column))) = self.next.clone() else {
            return Err(self.expected("the name of an obs column, not, or ("));
        };
        self.advance()?;
        let at = self.at();
        let test = |condition| Test {
            column,
            column_at,
            condition,
            at,
        };
        let operator = match &self.next {
            Some((_, Token::Sign(sign))) => operator(sign),
            _ => None,
        };
        if let Some(operator) = operator {
            self.advance()?;
            let value = self.value()?;
            return Ok(Node::Test(test(Condition::Compare(operator, value))));
        }
        if self.takes(&Token::Word("is"))? {
            let negated = self.takes(&Token::Word("not"))?;
            if !self.takes(&Token::Word("missing"))? {
                return Err(self.expected("missing (values are compared by ==)"));
            }
            return Ok(negate(negated, Node::Test(test(Condition::Missing))));
        }
        let negated = self.takes(&Token::Word("not"))?;
        if self.takes(&Token::Word("in"))? {
            let values = self.values()?;
            return Ok(negate(negated, Node::Test(test(Condition::In(values)))));
        }
        if negated {
            return Err(self.expected("in"));
        }
        match &self.next {
            None | Some((_, Token::Word("and" | "or") | Token::Sign(")"))) => {
                let is_true = Condition::Compare(Operator::Equal, Value::Bool(true));
                Ok(Node::Test(Test {
                    at: column_at,
                    ..test(is_true)
                }))
            }
            _ => Err(self.expected("a comparison (==, !=, <, <=, >, >=, in, is)")),
        }
    }

    fn values(&mut self) -> Result<Vec<Value>, SyntaxError> {
        if !self.takes(&Token::Sign("["))? {
            return Err(self.expected("[ and a list of values"));
        }
        let mut values = Vec::new();
        if self.takes(&Token::Sign("]"))? {
            return Ok(values);
        }
        loop {
            values.push(self.value()?);
            if self.takes(&Token::Sign("]"))? {
                return Ok(values);
            }
            if !self.takes(&Token::Sign(","))? {
                return Err(self.expected(", or ]"));
            }
        }
    }

    fn value(&mut self) -> Result<Value, SyntaxError> {
        if !matches!(self.next, Some((_, Token::Value(_)))) {
            return Err(self.expected("a number, a text in quotes, true or false"));
        }
        match self.advance()? {
            Some((_, Token::Value(value))) => Ok(value),
            _ => Err(self.expected("a value")),
        }
    }
}

fn join(mut nodes: Vec<Node<Test>>, many: fn(Vec<Node<Test>>) -> Node<Test>) -> Node<Test> {
    match (nodes.len(), nodes.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            nodes.extend(last);
            many(nodes)
        }
    }
}

fn negate(negated: bool, node: Node<Test>) -> Node<Test> {
    if negated { Node::Not(Box::new(node)) } else { node }
}

fn operator(sign: &str) -> Option<Operator> {
    Some(match sign {
        "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterOrEqual,
        _ => return None,
    })
}
