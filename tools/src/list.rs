//! Lists that options name: text files of a name or a number in each line.
//!
//! They may come from a pipe, and so from one that never ends.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The longest line.
const MAX_LINE_BYTES: usize = 1 << 16;

/// The longest list of numbers of cells: a hundred million of them fit.
pub const MAX_NUMBERS_BYTES: usize = 1 << 30;
/// The longest list of names.
pub const MAX_NAMES_BYTES: usize = 1 << 26;

/// The text of a list that has at most `most_bytes`.
///
/// # Errors
/// It cannot be read, is not UTF-8, or it, or a line of it, is too long.
pub fn read(path: &Path, most_bytes: usize) -> io::Result<String> {
    read_from(File::open(path)?, most_bytes)
}

fn read_from(mut list: impl Read, most_bytes: usize) -> io::Result<String> {
    let mut text = Vec::new();
    let mut piece = vec![0; MAX_LINE_BYTES];
    let (mut number, mut line_bytes) = (1u64, 0);
    loop {
        let n = match list.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = &piece[..n];
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            line_bytes += part.len();
            if line_bytes > MAX_LINE_BYTES {
                return Err(refused(format!(
                    "line {number} is longer than {MAX_LINE_BYTES} bytes, so it is not a list of one name or number per line"
                )));
            }
            if part.ends_with(b"\n") {
                (number, line_bytes) = (number + 1, 0);
            }
        }
        if text.len() + n > most_bytes {
            return Err(refused(format!(
                "it is longer than {} MiB, the most that is read of a list",
                most_bytes >> 20
            )));
        }
        text.extend_from_slice(piece);
    }
    // The mark that editors of Windows put before a text is not part of its first name.
    if text.starts_with(b"\xef\xbb\xbf") {
        text.drain(..3);
    }
    String::from_utf8(text).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let number = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        refused(format!("line {number} is not UTF-8"))
    })
}

fn refused(detail: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

/// The lines of a list that say something, with their numbers from 1 on; empty ones and those that begin with # do not.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> + Clone {
    let numbered = (1..).zip(text.lines().map(str::trim));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_line() {
        assert_eq!(read_from(&b"\xef\xbb\xbfa\nb\n"[..], 100).unwrap(), "a\nb\n");
    }

    #[test]
    fn lists_have_an_end() {
        let said = |list: &mut dyn Read| read_from(list, 1 << 20).unwrap_err().to_string();
        assert!(said(&mut io::repeat(0)).starts_with("line 1 is longer than 65536 bytes"));
        assert!(said(&mut io::repeat(b'\n')).starts_with("it is longer than 1 MiB"));
        let long = [&b"a\nb\n"[..], &[b'c'; MAX_LINE_BYTES], b"\n"].concat();
        assert!(said(&mut long.as_slice()).starts_with("line 3 is longer"));
        assert_eq!(said(&mut &b"a\n\xff\n"[..]), "line 2 is not UTF-8");
        let whole = [&[b'c'; MAX_LINE_BYTES - 1][..], b"\n"].concat().repeat(16);
        assert_eq!(read_from(whole.as_slice(), 1 << 20).unwrap().len(), 1 << 20);
        assert!(read(Path::new("/"), 1).is_err());
    }

    #[test]
    fn lines_that_say_nothing_are_counted() {
        let found: Vec<_> = lines("a\n\n# no\n  b \r\n").collect();
        assert_eq!(found, [(1, "a"), (4, "b")]);
    }
}
