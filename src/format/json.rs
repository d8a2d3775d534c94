//! Pieces of JSON that are read with a limit on what they take in memory.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::constants::MAX_JSON_VALUES;

thread_local! {
    /// How many values the document that this thread reads may still hold.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Reads a document whose members of any shape have at most [`MAX_JSON_VALUES`] values together: a list of zeros takes 40 times as
/// many bytes in memory as in the file.
pub(crate) fn with_allowance<T>(read: impl FnOnce() -> T) -> T {
    LEFT.set(MAX_JSON_VALUES);
    let read = read();
    LEFT.set(0);
    read
}

/// A value of any shape, within the [allowance](with_allowance) of its document.
pub(crate) fn limited<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    Limited.deserialize(from)
}

/// As [`limited`], but an object.
pub(crate) fn limited_object<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    let value = limited(from)?;
    match value.is_object() {
        true => Ok(value),
        false => Err(D::Error::custom("it is not an object")),
    }
}

/// The first of a list of texts, if there is one. The others are not kept.
pub(crate) fn first_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    struct First;

    impl<'de> Visitor<'de> for First {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of texts")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Option<String>, A::Error> {
            let first = from.next_element()?;
            while from.next_element::<IgnoredAny>()?.is_some() {}
            Ok(first)
        }
    }

    from.deserialize_seq(First)
}

/// Takes a value out of the allowance for each that it reads.
#[derive(Clone, Copy)]
struct Limited;

impl<'de> DeserializeSeed<'de> for Limited {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match LEFT.get().checked_sub(1) {
            Some(left) => LEFT.set(left),
            None => {
                return Err(D::Error::custom(format!(
                    "there are more than {MAX_JSON_VALUES} values"
                )));
            }
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Limited {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(self)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            map.insert(key, from.next_value_seed(self)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Value, serde_json::Error> {
        with_allowance(|| limited(&mut serde_json::Deserializer::from_str(text)))
    }

    #[test]
    fn values_are_what_serde_json_makes_of_them() {
        for text in [
            "null",
            "[]",
            "{}",
            r#"{"b": [1, -2, 0.1, 1e300, 18446744073709551615, "\u00e4", true], "a": {"c": null}}"#,
        ] {
            assert_eq!(read(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        }
    }

    #[test]
    fn too_many_values_are_refused() {
        let list = |n: usize| format!("[{}0]", "0,".repeat(n - 1));
        assert!(read(&list(MAX_JSON_VALUES - 1)).is_ok());
        assert!(
            read(&list(MAX_JSON_VALUES))
                .unwrap_err()
                .to_string()
                .contains("more than")
        );
        let object = format!("{{{}\"x\": 0}}", "\"x\": [0],".repeat(MAX_JSON_VALUES / 2));
        assert!(read(&object).is_err(), "equal keys count");
        let list_for_object = || limited_object(&mut serde_json::Deserializer::from_str("[1]"));
        assert!(
            with_allowance(list_for_object)
                .unwrap_err()
                .to_string()
                .contains("not an object")
        );
    }

    #[test]
    fn an_allowance_is_for_all_members_of_a_document() {
        let half = format!("[{}0]", "0,".repeat(MAX_JSON_VALUES / 2));
        let read_one = || limited(&mut serde_json::Deserializer::from_str(&half));
        assert!(with_allowance(read_one).is_ok());
        assert!(with_allowance(|| read_one().and_then(|_| read_one())).is_err());
    }

    #[test]
    fn only_the_first_text_is_kept() {
        let read = |text: &str| first_text(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(read("[]").unwrap(), None);
        assert_eq!(read(r#"["a", "b", 3]"#).unwrap(), Some("a".to_owned()));
        assert!(read("[1]").is_err() && read("{}").is_err());
    }
}
