//! Lists of names in messages.

/// The first of these names, and dots if there are more than `most`.
pub fn few<S: AsRef<str>>(names: impl IntoIterator<Item = S>, most: usize) -> String {
    first_of(names, most, ", ", |_| ", ...".to_owned())
}

/// The first of these names, and how many there are besides if there are more than `most`.
pub fn few_and_more<S: AsRef<str>>(names: impl IntoIterator<Item = S>, most: usize) -> String {
    first_of(names, most, ", ", |n| format!(" and {n} more"))
}

/// The first of these names with `between` them, and `rest` of the number of the others if there are more than `most`.
pub fn first_of<S: AsRef<str>>(
    names: impl IntoIterator<Item = S>,
    most: usize,
    between: &str,
    rest: impl FnOnce(usize) -> String,
) -> String {
    let mut names = names.into_iter();
    let mut text = String::new();
    for name in names.by_ref().take(most) {
        if !text.is_empty() {
            text.push_str(between);
        }
        text.push_str(name.as_ref());
    }
    match names.count() {
        0 => text,
        n => text + &rest(n),
    }
}

#[cfg(test)]
mod tests {
    use super::{few, few_and_more, first_of};

    #[test]
    fn of_many_names_the_first_are_shown() {
        assert_eq!(few(["a"; 0], 2), "");
        assert_eq!(few(["a", "b"], 2), "a, b");
        assert_eq!(few(["a", "b", "c"].map(str::to_owned), 2), "a, b, ...");
        assert_eq!(few_and_more(["a", "b"], 2), "a, b");
        assert_eq!(few_and_more(["a", "b", "c", "d"], 2), "a, b and 2 more");
        let or = |n| format!(" or {n} more");
        assert_eq!(first_of(["a", "b", "c"], 2, " or ", or), "a or b or 1 more");
    }
}
