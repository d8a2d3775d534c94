//! The words of a filter.

/// A number as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

/// A value to compare with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(Number),
    Text(String),
    Bool(bool),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name between backticks, or one that is not a word of the language.
    Name(String),
    /// and, or, not, in, is, missing.
    Word(&'static str),
    Value(Value),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// What is wrong, and at which byte.
pub(super) type SyntaxError = (usize, String);

const WORDS: &[&str] = &["and", "or", "not", "in", "is", "missing"];
/// Longer ones first.
const SIGNS: &[&str] = &["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ","];

/// Reads one token after the other.
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and the byte where it begins; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(usize, Token)>, SyntaxError> {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        let start = self.at;
        let Some(first) = rest.chars().next() else {
            return Ok(None);
        };
        let token = match first {
            '"' | '\'' => Token::Value(Value::Text(self.quoted(first)?)),
            '`' => Token::Name(self.quoted(first)?),
            _ if is_name_start(first) => {
                let word = self.take(|c| is_name_start(c) || c.is_numeric() || c == '.');
                match WORDS.iter().find(|known| **known == word) {
                    Some(known) => Token::Word(known),
                    None if word == "true" => Token::Value(Value::Bool(true)),
                    None if word == "false" => Token::Value(Value::Bool(false)),
                    None => Token::Name(word.to_owned()),
                }
            }
            '0'..='9' | '-' | '+' | '.' => Token::Value(Value::Number(self.number()?)),
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => {
                    self.at += sign.len();
                    Token::Sign(sign)
                }
                None => return Err((start, unknown_sign(first))),
            },
        };
        Ok(Some((start, token)))
    }

    fn take(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// What stands between this quote and the next one.
    fn quoted(&mut self, quote: char) -> Result<String, SyntaxError> {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.text[start..].char_indices().skip(1);
        while let Some((place, c)) = chars.next() {
            if c == quote {
                self.at = start + place + c.len_utf8();
                return Ok(text);
            }
            if c != '\\' || quote == '`' {
                text.push(c);
                continue;
            }
            match chars.next() {
                Some((_, c @ ('"' | '\'' | '\\'))) => text.push(c),
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, c)) => {
                    let what = format!("\\{c} is not an escape; write a backslash as \\\\");
                    return Err((start + place, what));
                }
                None => break,
            }
        }
        Err((start, format!("the text that begins with {quote} is not closed")))
    }

    fn number(&mut self) -> Result<Number, SyntaxError> {
        let start = self.at;
        let mut before = ' ';
        let word = self.text[start..]
            .find(|c: char| {
                let sign = matches!(c, '-' | '+');
                let part = if sign {
                    matches!(before, ' ' | 'e' | 'E')
                } else {
                    c.is_alphanumeric() || matches!(c, '.' | '_')
                };
                before = c;
                !part
            })
            .map_or(&self.text[start..], |len| &self.text[start..start + len]);
        self.at += word.len();
        // Digits first, so that "inf" and "nan" are no numbers.
        let has_digit = word
            .trim_start_matches(['-', '+', '.'])
            .starts_with(|c: char| c.is_ascii_digit());
        let number = match word.parse::<i128>() {
            Ok(number) => Some(Number::Int(number)),
            Err(_) => word
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .map(Number::Float),
        };
        number
            .filter(|_| has_digit)
            .ok_or_else(|| (start, format!("{word:?} is not a number")))
    }
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn unknown_sign(found: char) -> String {
    match found {
        '=' => "= is not an operator; write == for equality".to_owned(),
        '&' => "& is not an operator; write and".to_owned(),
        '|' => "| is not an operator; write or".to_owned(),
        '!' | '~' => format!("{found} is not an operator; write not"),
        _ => {
            format!(
                "{found:?} is not expected here; put the names of columns with such characters between backticks"
            )
        }
    }
}

impl Token {
    /// The token as messages name it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Name(name) => format!("the name {name:?}"),
            Self::Word(word) => format!("the word {word}"),
            Self::Value(Value::Text(text)) => format!("the text {text:?}"),
            Self::Value(Value::Bool(value)) => value.to_string(),
            Self::Value(Value::Number(Number::Int(number))) => number.to_string(),
            Self::Value(Value::Number(Number::Float(number))) => number.to_string(),
            Self::Sign(sign) => (*sign).to_owned(),
        }
    }
}
