//! Matrix Market files: a line for each entry, in any order; genes are rows of the file and cells its columns, or the other way
//! round.

use std::path::{Path, PathBuf};

use cellring_core::{ValueBuffer, ValueType};

use super::row_sorted::{Entries, EntrySource, SORT_NNZ};
use crate::error::{ReadError, Result};
use crate::lines::Lines;

/// What the values of the file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Integer,
    Real,
    Pattern,
}

/// Which lines there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// One for each entry: row, column and value.
    Coordinate,
    /// A value for each cell of the matrix, column by column.
    Array,
}

/// What the first lines say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    format: Format,
    field: Field,
    /// Whether an entry off the diagonal stands for its mirror image too.
    is_symmetric: bool,
    n_rows: u64,
    n_columns: u64,
    /// Lines that follow.
    n_lines: u64,
}

/// Rows and columns of a file.
pub(crate) fn shape(path: &Path) -> Result<(u64, u64)> {
    let header = Header::read(&mut Lines::open(path)?)?;
    Ok((header.n_rows, header.n_columns))
}

impl Header {
    /// Reads up to the line of the sizes.
    fn read(lines: &mut Lines) -> Result<Self> {
        let banner = lines.next()?.unwrap_or_default().to_ascii_lowercase();
        let words: Vec<&str> = banner.split_ascii_whitespace().collect();
        let ["%%matrixmarket", "matrix", format, field, symmetry] = words.as_slice() else {
            let expected = "%%MatrixMarket matrix coordinate integer general";
            return Err(lines.fault(format!("it is not a banner such as {expected}")));
        };
        let format = match *format {
            "coordinate" => Format::Coordinate,
            "array" => Format::Array,
            other => return Err(lines.fault(format!("its format is {other}, expected coordinate or array"))),
        };
        let field = match *field {
            "integer" | "unsigned-integer" => Field::Integer,
            "real" | "double" => Field::Real,
            "pattern" if format == Format::Coordinate => Field::Pattern,
            other => {
                let expected = "integer, unsigned-integer, real or, of coordinates, pattern";
                return Err(lines.fault(format!("its field is {other}, expected {expected}")));
            }
        };
        let is_symmetric = match *symmetry {
            "general" => false,
            "symmetric" if format == Format::Coordinate => true,
            other => {
                let expected = "general or, of coordinates, symmetric";
                return Err(lines.fault(format!("its symmetry is {other}, expected {expected}")));
            }
        };
        let sizes = loop {
            match lines.next()? {
                None => return Err(lines.fault("the line with the sizes is missing after it".to_owned())),
                Some(line) if is_blank(line) => {}
                Some(line) => break numbers(line),
            }
        };
        let sizes = match (format, sizes.as_deref()) {
            (Format::Coordinate, Some(&[n_rows, n_columns, n_lines])) => Some((n_rows, n_columns, n_lines)),
            // Below 2^62 where both sizes are as they must be.
            (Format::Array, Some(&[n_rows, n_columns])) => {
                Some((n_rows, n_columns, n_rows.saturating_mul(n_columns)))
            }
            _ => None,
        };
        match sizes {
            Some((n_rows, n_columns, n_lines)) if n_rows.max(n_columns) < 1 << 31 => {
                if is_symmetric && n_rows != n_columns {
                    return Err(
                        lines.fault("a symmetric matrix must have as many rows as columns".to_owned())
                    );
                }
                Ok(Self {
                    format,
                    field,
                    is_symmetric,
                    n_rows,
                    n_columns,
                    n_lines,
                })
            }
            _ => {
                let expected = match format {
                    Format::Coordinate => "two sizes below 2^31 and the number of entries",
                    Format::Array => "two sizes below 2^31",
                };
                Err(lines.fault(format!("it does not hold {expected}")))
            }
        }
    }
}

/// A `matrix.mtx`, plain or gzipped.
#[derive(Debug)]
pub(crate) struct Market {
    path: PathBuf,
    object: String,
    header: Header,
    value_type: ValueType,
    /// Whether the rows of the file are cells.
    has_cell_rows: bool,
}

impl Market {
    /// Opens the file and looks at every value, since what type they need is known only then.
    ///
    /// The numbers of cells and genes say which of its axes are the cells; `has_cell_rows` decides where those are equal.
    pub(crate) fn open(path: &Path, (n_obs, n_vars): (u64, u64), has_cell_rows: bool) -> Result<Self> {
        let mut lines = Lines::open(path)?;
        let header = Header::read(&mut lines)?;
        let shape = (header.n_rows, header.n_columns);
        let has_cell_rows = match (shape == (n_obs, n_vars), shape == (n_vars, n_obs)) {
            (true, true) => has_cell_rows,
            (true, false) => true,
            (false, true) => false,
            (false, false) => {
                return Err(lines.fault(format!(
                    "it declares {} rows and {} columns, but {n_vars} genes and {n_obs} cells are named next to it",
                    header.n_rows, header.n_columns
                )));
            }
        };
        let object = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut market = Self {
            path: path.to_owned(),
            object,
            header,
            value_type: match header.field {
                Field::Integer => ValueType::I32,
                Field::Real => ValueType::F64,
                Field::Pattern => ValueType::Bool,
            },
            has_cell_rows,
        };
        if header.field == Field::Integer {
            market.value_type = market.integer_type()?;
        }
        Ok(market)
    }

    /// The narrowest type from 32 bits on that holds all integers.
    fn integer_type(&self) -> Result<ValueType> {
        let (mut least, mut largest) = (0i128, 0i128);
        self.scan(|_, _, value| {
            let n = match value.parse::<i64>() {
                Ok(n) => i128::from(n),
                Err(_) => {
                    let n = value.parse::<u64>();
                    i128::from(n.map_err(|_| format!("{value} is not a 64-bit integer"))?)
                }
            };
            (least, largest) = (least.min(n), largest.max(n));
            Ok(())
        })?;
        let fits = |low: i128, high: i128| least >= low && largest <= high;
        if fits(i32::MIN.into(), i32::MAX.into()) {
            Ok(ValueType::I32)
        } else if fits(i64::MIN.into(), i64::MAX.into()) {
            Ok(ValueType::I64)
        } else if least >= 0 {
            Ok(ValueType::U64)
        } else {
            Err(ReadError::UnsupportedElement {
                file: self.path.clone(),
                object: self.object.clone(),
                found: format!("integers from {least} to {largest}"),
                expected: "integers of which one type of 64 bits holds all",
            })
        }
    }

    /// Calls `take` with obs, var and value (as text) of each entry.
    fn scan(&self, mut take: impl FnMut(u32, u32, &str) -> std::result::Result<(), String>) -> Result<()> {
        let mut lines = Lines::open(&self.path)?;
        let header = Header::read(&mut lines)?;
        if header != self.header {
            return Err(lines.fault("it changed while it was read".to_owned()));
        }
        let mut take = |row: u32, column: u32, value: &str| match self.has_cell_rows {
            true => take(row, column, value),
            false => take(column, row, value),
        };
        let mut n_lines = 0u64;
        while let Some(line) = lines.next()? {
            if is_blank(line) {
                continue;
            }
            let outcome = match header.format {
                Format::Coordinate if n_lines == header.n_lines => Err(format!(
                    "it is one entry more than the {} expected",
                    header.n_lines
                )),
                Format::Coordinate => coordinates(line, &header).and_then(|(row, column, value)| {
                    if header.is_symmetric && row != column {
                        take(column, row, value)?;
                    }
                    take(row, column, value)
                }),
                Format::Array if n_lines < header.n_lines => {
                    let (row, column) = (n_lines % header.n_rows, n_lines / header.n_rows);
                    let value = line.trim_ascii();
                    match value.parse() {
                        Ok(0.0) => Ok(()),
                        _ => take(row as u32, column as u32, value),
                    }
                }
                Format::Array => Err(format!(
                    "it is one value more than the {} expected",
                    header.n_lines
                )),
            };
            if let Err(detail) = outcome {
                return Err(lines.fault(detail));
            }
            n_lines += 1;
        }
        if n_lines != header.n_lines {
            return Err(lines.fault(format!(
                "the file ends after {n_lines} entries, expected {}",
                header.n_lines
            )));
        }
        Ok(())
    }
}

/// What to do with a line of three values: older releases of STARsolo write one file of them, later ones a file of each.
const VELOCYTO: &str = "it has three values, as where STARsolo's Velocyto writes spliced, unspliced and ambiguous counts into one file; \
    write a file for each beside it and convert that, for the spliced counts with \
    `awk '/^%/ || NF == 3 {print; next} {print $1, $2, $3}' matrix.mtx > spliced.mtx`, with $4 for the unspliced and $5 for the ambiguous \
    ones";

/// Row, column and value of a line, counted from 0; no value in a pattern.
fn coordinates<'a>(line: &'a str, header: &Header) -> std::result::Result<(u32, u32, &'a str), String> {
    let mut words = line.split_ascii_whitespace();
    let mut index = |limit: u64| {
        let word: u64 = words.next()?.parse().ok()?;
        (1..=limit).contains(&word).then(|| (word - 1) as u32)
    };
    let (row, column) = (index(header.n_rows), index(header.n_columns));
    match (row, column, words.next(), words.next()) {
        (Some(row), Some(column), value, None) if value.is_some() != (header.field == Field::Pattern) => {
            Ok((row, column, value.unwrap_or_default()))
        }
        (Some(_), Some(_), Some(_), Some(_)) if words.next().is_some() && words.next().is_none() => {
            Err(VELOCYTO.to_owned())
        }
        _ => Err(format!(
            "expected a row from 1 to {}, a column from 1 to {} and {} value",
            header.n_rows,
            header.n_columns,
            if header.field == Field::Pattern { "no" } else { "a" }
        )),
    }
}

fn is_blank(line: &str) -> bool {
    line.starts_with('%') || line.trim_ascii().is_empty()
}

fn numbers(line: &str) -> Option<Vec<u64>> {
    line.split_ascii_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

impl EntrySource for Market {
    fn place(&self) -> (&Path, &str) {
        (&self.path, &self.object)
    }

    fn form(&self) -> &'static str {
        "matrix market"
    }

    fn n_obs(&self) -> u64 {
        match self.has_cell_rows {
            true => self.header.n_rows,
            false => self.header.n_columns,
        }
    }

    fn n_vars(&self) -> u64 {
        match self.has_cell_rows {
            true => self.header.n_columns,
            false => self.header.n_rows,
        }
    }

    fn value_type(&self) -> ValueType {
        self.value_type
    }

    fn indices_type(&self) -> String {
        "int32".to_owned()
    }

    fn count(&self) -> Result<Vec<u64>> {
        let mut counts = vec![0; self.n_obs() as usize];
        self.scan(|obs, _, _| {
            counts[obs as usize] += 1;
            Ok(())
        })?;
        Ok(counts)
    }

    fn read(&self, take: &mut (dyn FnMut(&mut Entries) -> Result<()> + Send)) -> Result<()> {
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
            let bad = |_| format!("{value} is not a value of the file's kind");
            match &mut entries.values {
                ValueBuffer::I32(values) => values.push(value.parse().map_err(|_| bad(()))?),
                ValueBuffer::I64(values) => values.push(value.parse().map_err(|_| bad(()))?),
                ValueBuffer::U64(values) => values.push(value.parse().map_err(|_| bad(()))?),
                ValueBuffer::F64(values) => values.push(value.parse().map_err(|_| bad(()))?),
                ValueBuffer::Bool(values) => values.push(true),
                _ => unreachable!("no file of this kind has other values"),
            }
            if entries.rows.len() as u64 == SORT_NNZ
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
