//! Matrix Market directories as 10x Genomics writes them: genes are rows of the file, cells its columns.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use cellring::format::{ValueBuffer, ValueType};
use flate2::bufread::MultiGzDecoder;

use super::turned::{Entries, EntrySource, TURN_NNZ};
use crate::anndata::error::{Result, SourceError};

/// The longest line: three numbers, or a comment.
const MAX_LINE_BYTES: u64 = 1 << 16;

/// A text file of lines, gzipped where its name ends so.
pub(crate) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| SourceError::Io {
            file: path.to_owned(),
            source,
        })?;
        let plain = BufReader::with_capacity(1 << 20, file);
        let reader: Box<dyn BufRead> = if path.extension().is_some_and(|e| e == "gz") {
            Box::new(BufReader::with_capacity(1 << 20, MultiGzDecoder::new(plain)))
        } else {
            Box::new(plain)
        };
        Ok(Self {
            path: path.to_owned(),
            reader,
            line: Vec::new(),
            number: 0,
        })
    }

    /// The next line without its end, or `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<&str>> {
        self.line.clear();
        let read = (&mut self.reader)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut self.line);
        let n = read.map_err(|source| SourceError::Io {
            file: self.path.clone(),
            source,
        })?;
        if n == 0 {
            return Ok(None);
        }
        self.number += 1;
        if n as u64 == MAX_LINE_BYTES {
            return Err(self.damaged(format!("it is longer than {MAX_LINE_BYTES} bytes")));
        }
        match std::str::from_utf8(&self.line) {
            Ok(text) => Ok(Some(text.trim_end_matches(['\n', '\r']))),
            Err(_) => Err(self.damaged("it is not UTF-8".to_owned())),
        }
    }

    /// An error about the line that was read last.
    pub(crate) fn damaged(&self, detail: String) -> SourceError {
        SourceError::Damaged {
            file: self.path.clone(),
            object: format!("line {}", self.number),
            detail,
        }
    }
}

/// What the values of the file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldKind {
    Integer,
    Real,
    Pattern,
}

/// A `matrix.mtx`, plain or gzipped.
#[derive(Debug)]
pub(super) struct Market {
    path: PathBuf,
    object: String,
    field: FieldKind,
    value_type: ValueType,
    n_obs: u64,
    n_vars: u64,
    nnz: u64,
}

impl Market {
    /// Opens the file and looks at every value, since what type they need is known only then.
    pub(super) fn open(path: &Path, n_obs: u64, n_vars: u64) -> Result<Self> {
        let (lines, mut market) = Self::header(path)?;
        if (market.n_obs, market.n_vars) != (n_obs, n_vars) {
            return Err(lines.damaged(format!(
                "it says {} genes and {} cells, but {n_vars} and {n_obs} are named beside it",
                market.n_vars, market.n_obs
            )));
        }
        if market.field == FieldKind::Integer {
            let mut is_wide = false;
            market.scan(|_, _, value| {
                let n: i64 = value
                    .parse()
                    .map_err(|_| format!("{value} is no integer of 64 bits"))?;
                is_wide |= i32::try_from(n).is_err();
                Ok(())
            })?;
            market.value_type = if is_wide { ValueType::I64 } else { ValueType::I32 };
        }
        Ok(market)
    }

    /// Reads up to the line of the sizes.
    fn header(path: &Path) -> Result<(Lines, Self)> {
        let mut lines = Lines::open(path)?;
        let banner = lines.next()?.unwrap_or_default().to_ascii_lowercase();
        let words: Vec<&str> = banner.split_ascii_whitespace().collect();
        let field = match words.as_slice() {
            ["%%matrixmarket", "matrix", "coordinate", "integer", "general"] => FieldKind::Integer,
            ["%%matrixmarket", "matrix", "coordinate", "real", "general"] => FieldKind::Real,
            ["%%matrixmarket", "matrix", "coordinate", "pattern", "general"] => FieldKind::Pattern,
            _ => {
                let expected = "%%MatrixMarket matrix coordinate integer|real|pattern general";
                return Err(lines.damaged(format!("it is not the banner {expected}")));
            }
        };
        let sizes = loop {
            match lines.next()? {
                None => return Err(lines.damaged("the line of the sizes is missing".to_owned())),
                Some(line) if line.starts_with('%') || line.trim().is_empty() => {}
                Some(line) => break numbers(line),
            }
        };
        let Some([n_vars, n_obs, nnz]) = sizes.filter(|sizes| sizes[..2].iter().all(|&n| n < 1 << 31)) else {
            return Err(lines.damaged("it does not hold two sizes below 2^31 and a count".to_owned()));
        };
        let value_type = match field {
            FieldKind::Integer => ValueType::I32,
            FieldKind::Real => ValueType::F64,
            FieldKind::Pattern => ValueType::Bool,
        };
        let object = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let market = Self {
            path: path.to_owned(),
            object,
            field,
            value_type,
            n_obs,
            n_vars,
            nnz,
        };
        Ok((lines, market))
    }

    /// Calls `take` with obs, var and value (as text) of each entry.
    fn scan(&self, mut take: impl FnMut(u32, u32, &str) -> std::result::Result<(), String>) -> Result<()> {
        let (mut lines, found) = Self::header(&self.path)?;
        if (found.n_obs, found.n_vars, found.nnz) != (self.n_obs, self.n_vars, self.nnz) {
            return Err(lines.damaged("it changed while it was read".to_owned()));
        }
        let mut n_entries = 0u64;
        while let Some(line) = lines.next()? {
            if line.is_empty() {
                continue;
            }
            n_entries += 1;
            let mut words = line.split_ascii_whitespace();
            let mut index = |limit: u64| {
                let word: u64 = words.next()?.parse().ok()?;
                (1..=limit).contains(&word).then(|| (word - 1) as u32)
            };
            let (var, obs) = (index(self.n_vars), index(self.n_obs));
            let outcome = match (obs, var, words.next(), words.next()) {
                (Some(obs), Some(var), value, None)
                    if value.is_some() != (self.field == FieldKind::Pattern) =>
                {
                    take(obs, var, value.unwrap_or_default())
                }
                _ => Err(format!(
                    "it is not a row from 1 to {}, a column from 1 to {} and a value",
                    self.n_vars, self.n_obs
                )),
            };
            if let Err(detail) = outcome {
                return Err(lines.damaged(detail));
            }
        }
        if n_entries != self.nnz {
            return Err(lines.damaged(format!(
                "the file ends after {n_entries} entries, expected {}",
                self.nnz
            )));
        }
        Ok(())
    }
}

fn numbers(line: &str) -> Option<[u64; 3]> {
    let words: Option<Vec<u64>> = line
        .split_ascii_whitespace()
        .map(|word| word.parse().ok())
        .collect();
    words?.try_into().ok()
}

impl EntrySource for Market {
    fn place(&self) -> (&Path, &str) {
        (&self.path, &self.object)
    }

    fn form(&self) -> &'static str {
        "matrix market"
    }

    fn n_obs(&self) -> u64 {
        self.n_obs
    }

    fn n_vars(&self) -> u64 {
        self.n_vars
    }

    fn value_type(&self) -> ValueType {
        self.value_type
    }

    fn indices_type(&self) -> String {
        "int32".to_owned()
    }

    fn count(&self) -> Result<Vec<u64>> {
        let mut counts = vec![0; self.n_obs as usize];
        self.scan(|obs, _, _| {
            counts[obs as usize] += 1;
            Ok(())
        })?;
        Ok(counts)
    }

    fn read(&self, take: &mut dyn FnMut(&Entries) -> Result<()>) -> Result<()> {
        let mut entries = Entries::new(self.value_type);
        let mut failed = None;
        let mut flush = |entries: &mut Entries| {
            let taken = take(entries);
            *entries = Entries::new(self.value_type);
            taken
        };
        let scanned = self.scan(|obs, var, value| {
            entries.rows.push(obs);
            entries.columns.push(var);
            let bad = |_| format!("{value} is no value of the file's kind");
            match &mut entries.values {
                ValueBuffer::I32(values) => values.push(value.parse().map_err(|_| bad(()))?),
                ValueBuffer::I64(values) => values.push(value.parse().map_err(|_| bad(()))?),
                ValueBuffer::F64(values) => values.push(value.parse().map_err(|_| bad(()))?),
                ValueBuffer::Bool(values) => values.push(true),
                _ => unreachable!("no file of this kind has other values"),
            }
            if entries.rows.len() as u64 == TURN_NNZ
                && let Err(error) = flush(&mut entries)
            {
                failed = Some(error);
                return Err(String::new());
            }
            Ok(())
        });
        match failed {
            Some(error) => Err(error),
            None => scanned.and_then(|()| flush(&mut entries)),
        }
    }
}
