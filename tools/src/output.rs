//! Everything that the command prints: results on standard output, for people or as JSON, and messages on standard
//! error.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use cellring_core::first_of;
use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::message::{Message, MessageKind};

/// A result that can be shown to people as well as to programs.
pub(crate) trait Show: Serialize {
    /// The lines for people, with numbers in units.
    fn text(&self) -> String;
}

/// Characters of a sentence that are printed: more than any has that quotes little.
const MAX_CHARS: usize = 2000;

/// What this run has warned of so far.
static WARNINGS: Mutex<Vec<Message>> = Mutex::new(Vec::new());

/// A result, and what was warned of.
#[derive(Serialize)]
struct WithWarnings<'a, T> {
    #[serde(flatten)]
    result: &'a T,
    warnings: Vec<Message>,
}

/// Prints a result: one line of JSON, in which `warnings` are those of this run if there are any, or text.
pub(crate) fn print(json: bool, result: &impl Show) -> Result<(), Failure> {
    let mut lines = Lines::new();
    if json {
        let warnings = warnings().clone();
        match warnings.is_empty() {
            true => lines.json(result)?,
            false => lines.json(&WithWarnings { result, warnings })?,
        }
    } else {
        lines.text(result.text().trim_end_matches('\n'))?;
    }
    lines.finish()
}

/// Standard output, line by line and buffered: for results that come one after the other.
pub(crate) struct Lines {
    to: BufWriter<StdoutLock<'static>>,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self {
            to: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
        }
    }

    /// One value as a line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.to, value).map_err(|error| written(error.into()))?;
        self.to.write_all(b"\n").map_err(written)
    }

    /// Some text, and the end of its last line.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.to, "{text}").map_err(written)
    }

    /// Shows now what has been printed so far.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(written)
    }

    /// Must be called at the end: without it an error of the last write would be lost.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.flush()
    }
}

/// Why standard output could not be written.
fn written(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::NoReader,
        _ => Failure::because(format!("standard output could not be written: {error}")),
    }
}

/// Whether messages are lines of JSON: set once, before anything is said.
static JSON_MESSAGES: AtomicBool = AtomicBool::new(false);

/// Has messages printed as JSON, as results are with `--json`.
pub(crate) fn set_json_messages(on: bool) {
    JSON_MESSAGES.store(on, Ordering::Relaxed);
}

/// Whether messages are printed as JSON.
pub(crate) fn has_json_messages() -> bool {
    JSON_MESSAGES.load(Ordering::Relaxed)
}

/// One line that says what went wrong: as text, or as `{"error": {"kind": ..., "message": ...}}`.
pub(crate) fn error(kind: &str, sentence: &str) {
    let sentence = on_one_line(sentence);
    write_line(match has_json_messages() {
        true => json!({"error": {"kind": kind, "message": sentence}}).to_string(),
        false => format!("error: {sentence}"),
    });
}

/// One line on how the command runs here, which is a part of the JSON too.
pub(crate) fn warning(sentence: &str) {
    warn(MessageKind::Run, sentence);
}

/// One line on something that the user may want to change, once; it is a part of the JSON too.
pub(crate) fn warn(kind: MessageKind, sentence: impl Into<String>) {
    let message = Message::new(kind, sentence);
    let mut warnings = warnings();
    if !warnings.contains(&message) {
        say(&message);
        warnings.push(message);
    }
}

/// The line for a warning: as text, or as `{"warning": {"kind": ..., "message": ...}}`.
pub(crate) fn say(warning: &Message) {
    let sentence = on_one_line(&warning.sentence);
    write_line(match has_json_messages() {
        true => json!({"warning": {"kind": warning.kind, "message": sentence}}).to_string(),
        false => format!("warning: {sentence}"),
    });
}

fn warnings() -> std::sync::MutexGuard<'static, Vec<Message>> {
    WARNINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is printed of a sentence: one line without anything that a terminal would take as a command. A sentence may quote a file, and so
/// anything of any length.
fn on_one_line(sentence: &str) -> String {
    let mut line = String::with_capacity(sentence.len());
    for word in sentence.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for char in word.chars() {
            match char.is_control() {
                true => line.extend(char.escape_default()),
                false => line.push(char),
            }
        }
    }
    let n_chars = line.chars().count();
    if n_chars <= MAX_CHARS {
        return line;
    }
    // It begins with what is wrong, and ends with the remedy.
    let half = MAX_CHARS / 2;
    let begin = line.chars().take(half);
    begin
        .chain(" ... ".chars())
        .chain(line.chars().skip(n_chars - half))
        .collect()
}

fn write_line(line: String) {
    // Where standard error is closed, there is nothing to write to.
    let _ = writeln!(io::stderr(), "{line}");
}

/// A heading with labelled values below it, the values in one column.
pub(crate) struct Fields {
    heading: String,
    rows: Vec<(String, String)>,
}

impl Fields {
    pub(crate) fn new(heading: impl Into<String>) -> Self {
        Self {
            heading: heading.into(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.rows.push((label.into(), value.into()));
        self
    }

    pub(crate) fn text(&self) -> String {
        let width = self.rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        let rows = self
            .rows
            .iter()
            .map(|(label, value)| format!("  {label:width$}  {value}\n"));
        format!("{}\n{}", self.heading, rows.collect::<String>())
    }
}

/// Columns of numbers below their names, aligned to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    columns(header, rows, |cell, width| format!("{cell:>width$}"))
}

/// Columns of words below their names, aligned to the left.
pub(crate) fn words(header: &[&str], rows: &[Vec<String>]) -> String {
    columns(header, rows, |cell, width| format!("{cell:width$}"))
}

/// A longer cell moves what follows it in its line, but nothing in others.
const MAX_WIDTH: usize = 120;

fn columns(header: &[&str], rows: &[Vec<String>], aligned: impl Fn(&str, usize) -> String) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        let widest = cells.chain([header[column].chars().count()]).max();
        widest.unwrap_or(0).min(MAX_WIDTH)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths).map(|(cell, width)| aligned(cell, *width));
        let line = format!("  {}", cells.collect::<Vec<_>>().join("  "));
        format!("{}\n", line.trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// The first few of these names.
pub(crate) fn few<S: AsRef<str>>(names: &[S]) -> String {
    few_of(names, 5)
}

/// The first of these names, and how many others there are.
pub(crate) fn few_of<S: AsRef<str>>(names: impl IntoIterator<Item = S>, most: usize) -> String {
    first_of(names, most, ", ", |more| {
        format!(" and {} more", count(more as u64))
    })
}

/// A number with commas between its thousands.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in decimal units, with three digits.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n as f64, &["bytes", "kB", "MB", "GB", "TB"])
}

/// A number of bytes in each second.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    scaled(bytes_per_second, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s"])
}

fn scaled(mut n: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // What would be rounded to 1,000 belongs to the next unit.
    while n >= 999.5 && unit + 1 < units.len() {
        n /= 1000.0;
        unit += 1;
    }
    let digits = match unit {
        0 => 0,
        _ => 3usize.saturating_sub(format!("{}", n.trunc()).len()),
    };
    format!("{n:.digits$} {}", units[unit])
}

/// A time.
pub(crate) fn seconds(s: f64) -> String {
    match s {
        s if s < 1e-3 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.2} s"),
        s => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
    }
}

/// A part of a whole.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.0} %", fraction * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Widths of columns are of 16 bits in the standard library, and a panic beyond.
    #[test]
    fn long_cells_do_not_widen_all_others() {
        let rows = ["x".repeat(70_000), "y".to_owned()].map(|cell| vec![cell, "end".to_owned()]);
        for text in [words(&["a", "b"], &rows), table(&["a", "b"], &rows)] {
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines[1].len() > 70_000 && lines[1].ends_with("x  end"));
            assert!(lines[2].len() < 200 && lines[2].ends_with("end"));
        }
    }

    #[test]
    fn numbers_for_people() {
        let counts = [0, 7, 999, 1000, 123_456, 1_234_567].map(count);
        assert_eq!(counts, ["0", "7", "999", "1,000", "123,456", "1,234,567"]);
        let sizes = [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.00 kB"),
            (9_600, "9.60 kB"),
            (12_345, "12.3 kB"),
            (999_400, "999 kB"),
            (999_600, "1.00 MB"),
            (1_740_348, "1.74 MB"),
            (5_000_000_000_000_000, "5000 TB"),
        ];
        for (n, text) in sizes {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(rate(934_000_000.0), "934 MB/s");
        let times = [0.000_012, 0.0123, 1.5, 61.0, 3723.9].map(seconds);
        assert_eq!(times, ["12 us", "12.3 ms", "1.50 s", "61.00 s", "62 min 03 s"]);
        assert_eq!(percent(0.456), "46 %");
    }

    #[test]
    fn sentences_are_one_short_line_whatever_they_quote() {
        assert_eq!(
            on_one_line("a\nb  c\t\u{1b}[2J\u{9b}d"),
            "a b c \\u{1b}[2J\\u{9b}d"
        );
        let long = format!("file: {}; remedy", "\u{2603}".repeat(100_000));
        let line = on_one_line(&long);
        assert!(line.chars().count() <= MAX_CHARS + 5);
        assert!(line.starts_with("file: \u{2603}") && line.contains(" ... ") && line.ends_with("; remedy"));
    }

    #[test]
    fn values_stand_in_columns() {
        let fields = Fields::new("store").add("a", "1").add("long", "2");
        assert_eq!(fields.text(), "store\n  a     1\n  long  2\n");
        let rows = [
            vec!["1".to_owned(), "12".to_owned()],
            vec!["100".to_owned(), "3".to_owned()],
        ];
        assert_eq!(
            table(&["n", "rate"], &rows),
            "    n  rate\n    1    12\n  100     3\n"
        );
    }
}
