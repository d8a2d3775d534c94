//! Names and texts as a filter writes them.

use super::token::{Token, Tokens};

/// The name of a column as it stands in a filter: as it is, or between backticks. `None` for a name that no filter can write,
/// because there is a backtick in it.
///
/// ```
/// use cellring::select::quote_column;
///
/// assert_eq!(quote_column("n_genes").as_deref(), Some("n_genes"));
/// assert_eq!(quote_column("donor id").as_deref(), Some("`donor id`"));
/// assert_eq!(quote_column("in").as_deref(), Some("`in`"), "a word of the language");
/// ```
pub fn quote_column(name: &str) -> Option<String> {
    let quoted = format!("`{name}`");
    [name.to_owned(), quoted]
        .into_iter()
        .find(|text| only_token(text) == Some(Token::Name(name.to_owned())))
}

/// A text as it stands in a filter.
///
/// ```
/// use cellring::select::quote_text;
///
/// assert_eq!(quote_text("B cell"), r#""B cell""#);
/// assert_eq!(quote_text(r#"5" probe"#), r#""5\" probe""#);
/// ```
pub fn quote_text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The token that a text is, where it is one and nothing else.
fn only_token(text: &str) -> Option<Token> {
    let mut tokens = Tokens::new(text);
    match (tokens.next(), tokens.next()) {
        (Ok(Some((0, token))), Ok(None)) => Some(token),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::token::Value;
    use super::*;

    proptest! {
        #[test]
        fn what_is_quoted_is_read_as_it_was(text in r#"[a-z0-9 ._"'\\`=é\n\t\r-]{0,8}"#) {
            prop_assert_eq!(only_token(&quote_text(&text)), Some(Token::Value(Value::Text(text.clone()))));
            match quote_column(&text) {
                Some(quoted) => prop_assert_eq!(only_token(&quoted), Some(Token::Name(text))),
                None => prop_assert!(text.contains('`'), "{}", text),
            }
        }
    }

    #[test]
    fn words_of_the_language_are_no_names() {
        for word in [
            "and", "or", "not", "in", "is", "missing", "true", "false", "", "3k",
        ] {
            assert_eq!(quote_column(word), Some(format!("`{word}`")));
        }
    }
}
