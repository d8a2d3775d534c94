//! Tables of names beside a Matrix Market file: tab-separated, a line for each cell or gene, no header.

use std::path::Path;

use arrow_array::StringArray;
use arrow_array::builder::StringBuilder;

use crate::error::{ReadError, Result};
use crate::lines::Lines;

/// Columns that are kept: id, name and type of a feature.
const MAX_COLUMNS: usize = 3;

/// The most names, whatever the matrix claims to have,
const MAX_NAMES: u64 = 1 << 28;
/// and in a byte of the file besides many: names that differ take a byte or more however they are compressed, lines that do not take
/// nearly nothing.
const MAX_NAMES_PER_BYTE: u64 = 8;
const MANY_NAMES: u64 = 1 << 20;

/// The most bytes of one column, which are what an Arrow array of text holds,
const MAX_TEXT_BYTES: usize = i32::MAX as usize;
/// and of all in a byte of the file, besides many.
const MAX_EXPANSION: u64 = 64;
const MANY_BYTES: u64 = 64 << 20;

/// The first columns of such a table, equally long.
pub(super) struct Names {
    pub(super) columns: Vec<StringArray>,
    /// Columns of the file; those beyond the first three are not kept.
    pub(super) n_columns: usize,
}

/// Reads a table of at most `max_names` lines, which is what the matrix has. Blank lines are passed over.
pub(super) fn read(path: &Path, max_names: u64) -> Result<Names> {
    let mut lines = Lines::open(path)?;
    let mut columns: Vec<StringBuilder> = Vec::new();
    let mut n_columns = 0;
    let mut n_names = 0u64;
    let limit = max_names.min(MAX_NAMES);
    let len_bytes = lines.len_bytes();
    let likely_names = len_bytes
        .saturating_mul(MAX_NAMES_PER_BYTE)
        .saturating_add(MANY_NAMES);
    let mut left_bytes = len_bytes.saturating_mul(MAX_EXPANSION).saturating_add(MANY_BYTES);
    while let Some(line) = lines.next()? {
        if line.trim().is_empty() {
            continue;
        }
        let n_words = line.split('\t').count();
        if n_names == 0 {
            n_columns = n_words;
            columns.resize_with(n_words.min(MAX_COLUMNS), StringBuilder::new);
        }
        let mut is_too_long = false;
        for (column, word) in columns.iter_mut().zip(line.split('\t')) {
            let word = unquoted(word);
            left_bytes = left_bytes.saturating_sub(word.len() as u64);
            is_too_long |= column.values_slice().len() + word.len() > MAX_TEXT_BYTES;
            if !is_too_long {
                column.append_value(word);
            }
        }
        n_names += 1;
        if n_words != n_columns {
            return Err(lines.fault(format!(
                "it has {n_words} columns, but the lines before it have {n_columns}"
            )));
        }
        if n_names > limit {
            return Err(lines.fault(format!(
                "there are more names than the {limit} that the matrix has room for; the first line may be a header, which must be removed"
            )));
        }
        if n_names > likely_names || left_bytes == 0 {
            return Err(lines.fault(format!(
                "with it there are more names than any sound file of {len_bytes} bytes holds"
            )));
        }
        if is_too_long {
            return Err(ReadError::TextTooLong {
                file: path.to_owned(),
                object: "the names".to_owned(),
                start: 0,
                end: n_names,
            });
        }
    }
    Ok(Names {
        columns: columns.iter_mut().map(StringBuilder::finish).collect(),
        n_columns,
    })
}

/// A field without the quotes that R's `write.table` puts around it.
fn unquoted(word: &str) -> &str {
    match word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner,
        None => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, max_names: u64) -> Result<Names> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path(), max_names)
    }

    #[test]
    fn quotes_ends_of_lines_and_blank_lines_are_no_names() {
        let names = read_text("\u{feff}\"id1\"\t\"A\"\r\nid2\tB\r\n\r\n\n\"id3\"\tC\"", 3).unwrap();
        let columns: Vec<Vec<&str>> = names
            .columns
            .iter()
            .map(|c| c.iter().flatten().collect())
            .collect();
        assert_eq!(columns, [vec!["id1", "id2", "id3"], vec!["A", "B", "C\""]]);
        assert_eq!(names.n_columns, 2);
    }

    #[test]
    fn a_small_file_has_not_many_names() {
        use std::io::Write;
        let file = tempfile::NamedTempFile::new().unwrap();
        for (line, part) in [
            (b"a\n".to_vec(), "more names than any sound file"),
            (
                [vec![b'a'; 60_000], b"\n".to_vec()].concat(),
                "more names than any sound file",
            ),
            (vec![b'a'; 100_000], "line 1 of "),
        ] {
            let mut gzip = flate2::write::GzEncoder::new(
                std::fs::File::create(file.path()).unwrap(),
                flate2::Compression::fast(),
            );
            let many = line.repeat((1 << 20) / line.len() + 1);
            for _ in 0..120 {
                gzip.write_all(&many).unwrap();
            }
            gzip.finish().unwrap();
            let message = read(file.path(), u64::MAX).err().unwrap().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn further_columns_are_counted_and_not_kept() {
        let names = read_text("a\tb\tc\td\te\n", 1).unwrap();
        assert_eq!((names.columns.len(), names.n_columns), (3, 5));
        let none = read_text("\n\n", 1).unwrap();
        assert!(none.columns.is_empty());
    }

    #[test]
    fn lines_of_other_widths_and_too_many_are_refused_by_number() {
        for (text, max_names, part) in [
            ("a\tb\na\n", 9, "line 2 of "),
            (
                "a\n\nb\tc\n",
                9,
                "it has 2 columns, but the lines before it have 1",
            ),
            ("a\nb\nc\n", 2, "line 3 of "),
        ] {
            let message = read_text(text, max_names).err().unwrap().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
