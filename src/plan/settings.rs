//! What a sampler was made of, part by part: so that a saved state that does not fit can name what differs.

use std::collections::{BTreeMap, BTreeSet};

use super::hash::Fingerprint;

/// What precedes the fingerprint of data that is too large to be recorded itself.
const PRINT: char = '#';

/// Each part by name: a setting by its value, data by its fingerprint.
pub(crate) type Settings = BTreeMap<String, String>;

/// Collects the parts that a sampler is made of.
#[derive(Debug)]
pub(crate) struct SettingsBuilder(Settings);

impl SettingsBuilder {
    /// Begins with the notes of whoever makes the sampler.
    pub(crate) fn new(notes: Settings) -> Self {
        Self(notes)
    }

    /// A setting by its value.
    pub(crate) fn add(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    /// A setting that may be left to the default.
    pub(crate) fn add_option(&mut self, name: &str, value: Option<impl ToString>) {
        self.add(
            name,
            value.map_or("default".to_owned(), |value| value.to_string()),
        );
    }

    /// Data by a number that tells it from other data.
    pub(crate) fn add_number(&mut self, name: &str, number: u64) {
        self.add(name, shown_number(number));
    }

    /// Data by the fingerprint of its words.
    pub(crate) fn add_words(&mut self, name: &str, words: impl IntoIterator<Item = u64>) {
        self.add(name, fingerprint_text(words));
    }

    /// A code for each obs.
    pub(crate) fn add_codes(&mut self, name: &str, codes: &[u32]) {
        self.add_words(name, codes.iter().map(|code| u64::from(*code)));
    }

    /// All parts.
    pub(crate) fn finish(self) -> Settings {
        self.0
    }
}

/// Data that is too large to be recorded itself, by its fingerprint.
pub(crate) fn fingerprint_text(words: impl IntoIterator<Item = u64>) -> String {
    let mut print = Fingerprint::new(1);
    words.into_iter().for_each(|word| print.add(word));
    shown_number(print.value())
}

fn shown_number(number: u64) -> String {
    format!("{PRINT}{number:016x}")
}

/// What differs, for a message; empty where nothing does, or where one of both was not recorded.
pub(crate) fn differences(then: &Settings, now: &Settings) -> String {
    if then.is_empty() || now.is_empty() {
        return String::new();
    }
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let different = names.into_iter().filter(|name| then.get(*name) != now.get(*name));
    let described = different.map(|name| match (then.get(name), now.get(name)) {
        (Some(then), Some(now)) if then.starts_with(PRINT) && now.starts_with(PRINT) => {
            format!("{name} was different")
        }
        (then, now) => format!("{name} was {}, is now {}", shown(then), shown(now)),
    });
    described.collect::<Vec<_>>().join("; ")
}

fn shown(value: Option<&String>) -> &str {
    match value {
        None => "not given",
        Some(value) if value.starts_with(PRINT) => "given",
        Some(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(parts: &[(&str, &str)]) -> Settings {
        let parts = parts.iter();
        parts
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn differences_are_named_with_both_values() {
        let then = settings(&[("seed", "7"), ("subset", "#1"), ("weights", "#2"), ("same", "x")]);
        let now = settings(&[("seed", "8"), ("subset", "#3"), ("order", "#4"), ("same", "x")]);
        assert_eq!(
            differences(&then, &now),
            "order was not given, is now given; seed was 7, is now 8; subset was different; \
             weights was given, is now not given"
        );
        assert_eq!(differences(&then, &then), "");
        assert_eq!(differences(&Settings::new(), &now), "", "nothing was recorded");
    }
}
