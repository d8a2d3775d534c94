//! Lists of names in messages.

/// The first of these names, and dots if there are more than `most`.
pub fn few<S: AsRef<str>>(names: impl IntoIterator<Item = S>, most: usize) -> String {
    let mut names = names.into_iter();
    let mut text = String::new();
    for name in names.by_ref().take(most) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name.as_ref());
    }
    if names.next().is_some() {
        text.push_str(", ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::few;

    #[test]
    fn of_many_names_the_first_are_shown() {
        assert_eq!(few(["a"; 0], 2), "");
        assert_eq!(few(["a", "b"], 2), "a, b");
        assert_eq!(few(["a", "b", "c"].map(str::to_owned), 2), "a, b, ...");
    }
}
