//! Lines of a text file, plain or gzipped.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::container::open_regular;
use super::error::{ReadError, Result};

/// The longest line. None of the files that are read has lines nearly as long.
const MAX_LINE_BYTES: u64 = 1 << 16;

/// How a gzip file begins.
pub(super) const GZIP_SIGNATURE: [u8; 2] = [0x1f, 0x8b];

/// What some editors put before the first line.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A text file of lines, gzipped or not: its first bytes tell, since browsers and archives change names and content.
pub(super) struct Lines {
    path: PathBuf,
    len_bytes: u64,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let io_error = |source| ReadError::Io {
            file: path.to_owned(),
            source,
        };
        let file = open_regular(path).map_err(io_error)?;
        let len_bytes = file.metadata().map_err(io_error)?.len();
        let mut plain = BufReader::with_capacity(1 << 20, file);
        let is_gzip = plain.fill_buf().map_err(io_error)?.starts_with(&GZIP_SIGNATURE);
        let reader: Box<dyn BufRead> = if is_gzip {
            Box::new(BufReader::with_capacity(1 << 20, MultiGzDecoder::new(plain)))
        } else {
            Box::new(plain)
        };
        Ok(Self {
            path: path.to_owned(),
            len_bytes,
            reader,
            line: Vec::new(),
            number: 0,
        })
    }

    /// Bytes of the file, as it is stored.
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The next line without its end, or `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<&str>> {
        self.line.clear();
        let read = (&mut self.reader)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut self.line);
        let n = read.map_err(|source| ReadError::Io {
            file: self.path.clone(),
            source,
        })?;
        if n == 0 {
            return Ok(None);
        }
        self.number += 1;
        if n as u64 == MAX_LINE_BYTES {
            return Err(self.fault(format!("it is longer than {MAX_LINE_BYTES} bytes")));
        }
        match std::str::from_utf8(&self.line) {
            Ok(text) => {
                let text = text.trim_end_matches(['\n', '\r']);
                Ok(Some(match self.number {
                    1 => text.trim_start_matches(BYTE_ORDER_MARK),
                    _ => text,
                }))
            }
            Err(_) => Err(self.fault("it is not UTF-8".to_owned())),
        }
    }

    /// An error about the line that was read last.
    pub(super) fn fault(&self, detail: String) -> ReadError {
        ReadError::Line {
            file: self.path.clone(),
            number: self.number,
            detail,
        }
    }
}
