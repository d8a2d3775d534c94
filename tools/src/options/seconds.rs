//! Lengths of time.

use std::time::Duration;

/// A length of time in seconds, above 0.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: give seconds, such as 5 or 0.5");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if time.is_zero() { Err(wrong()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse_seconds;

    #[test]
    fn times_are_positive_and_finite() {
        assert_eq!(parse_seconds("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "0", "-1", "nan", "inf", "1e300", "5s"] {
            assert!(parse_seconds(text).unwrap_err().contains(text), "{text}");
        }
    }
}
