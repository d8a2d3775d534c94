//! A CSR matrix as AnnData 0.7 and later store it: a group of `data`, `indices` and `indptr`.

use std::ops::Range;
use std::sync::Arc;

use cellring::format::{CsrRows, ValueBuffer, ValueType};
use cellring::with_values;

use super::canonical::{Canonicalised, Fault, canonicalise};
use super::value::Value;
use crate::anndata::error::{Result, SourceError};
use crate::anndata::hdf5::{Array, Attribute, Class, Element, H5File, IntKind, Kind};

/// The most stored entries of one row. A row is held whole, so a file must not choose how much that is.
const MAX_ROW_NNZ: u64 = 1 << 28;

/// The most rows of one window, so that empty rows are bounded too.
const MAX_WINDOW_ROWS: usize = 1 << 20;

/// The arrays of a CSR matrix, with an `indptr` that is known to fit them.
#[derive(Debug)]
pub(super) struct Csr {
    file: Arc<H5File>,
    object: String,
    n_vars: u64,
    value_type: ValueType,
    indptr: Vec<u64>,
    indices: Array,
    indices_kind: IntKind,
    data: Array,
    /// Decodes windows. Its own pool, so that a consumer that waits inside a rayon pool cannot starve it.
    pool: rayon::ThreadPool,
}

impl Csr {
    pub(super) fn open(file: &Arc<H5File>, object: &str) -> Result<Self> {
        let damaged = |detail: String| file.damaged(object, detail);
        let (n_obs, n_vars) = match file.attribute(object, Kind::Group, "shape")? {
            Some(Attribute::Int(shape)) => match shape.as_slice() {
                &[n_obs, n_vars] if n_obs >= 0 && n_vars >= 0 => {
                    (n_obs.cast_unsigned(), n_vars.cast_unsigned())
                }
                _ => return Err(damaged(format!("its shape is {shape:?}, expected two counts"))),
            },
            _ => return Err(damaged("it has no attribute shape of two integers".to_owned())),
        };
        let open = |name: &str| {
            let path = format!("{object}/{name}");
            match file.kind(&path)? {
                Some(Kind::Dataset) => Array::open(file, &path),
                _ => Err(SourceError::Missing {
                    file: file.path().to_owned(),
                    object: path,
                    expected: "a dataset of a CSR matrix (data, indices, indptr)",
                }),
            }
        };
        let (data, indices, indptr) = (open("data")?, open("indices")?, open("indptr")?);
        let value_type = value_type_of(data.element()).ok_or_else(|| {
            unsupported(
                &data,
                "little-endian bool, int8 to int64, uint8 to uint64, float32 or float64",
            )
        })?;
        let index_kind = |array: &Array| match IntKind::of(array.element()) {
            Some(kind) if !array.element().big_endian || array.element().size_bytes == 1 => Ok(kind),
            _ => Err(unsupported(array, "little-endian integers of 1, 2, 4 or 8 bytes")),
        };
        let (indices_kind, indptr_kind) = (index_kind(&indices)?, index_kind(&indptr)?);
        // A negative int32 read as u32 must never be a valid column.
        let max_vars = if indices.element().class == (Class::Int { signed: true }) {
            1 << 31
        } else {
            1 << 32
        };
        if n_vars >= max_vars {
            return Err(damaged(format!(
                "it has {n_vars} columns, expected less than {max_vars}"
            )));
        }
        if data.len() != indices.len() {
            return Err(damaged(format!(
                "data has {} elements, indices {}",
                data.len(),
                indices.len()
            )));
        }
        if n_obs.checked_add(1) != Some(indptr.len()) {
            return Err(damaged(format!(
                "indptr has {} elements, expected n_obs + 1 for {n_obs} rows",
                indptr.len()
            )));
        }
        let indptr = read_indptr(&indptr, indptr_kind, data.len())?;
        // As many threads as the pool that the caller runs in has, so that who limits those limits these.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(rayon::current_num_threads())
            .thread_name(|number| format!("cellring-source-{number}"))
            .build()
            .map_err(|error| SourceError::Io {
                file: file.path().to_owned(),
                source: std::io::Error::other(error),
            })?;
        Ok(Self {
            file: Arc::clone(file),
            object: object.to_owned(),
            n_vars,
            value_type,
            indptr,
            indices,
            indices_kind,
            data,
            pool,
        })
    }

    pub(super) fn n_obs(&self) -> u64 {
        self.indptr.len() as u64 - 1
    }

    pub(super) fn n_vars(&self) -> u64 {
        self.n_vars
    }

    pub(super) fn nnz(&self) -> u64 {
        self.data.len()
    }

    pub(super) fn value_type(&self) -> ValueType {
        self.value_type
    }

    pub(super) fn indices_type(&self) -> String {
        self.indices.element().name()
    }

    pub(super) fn stored_per_row(&self, range: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        self.indptr[range.start as usize..=range.end as usize]
            .windows(2)
            .map(|pair| pair[1] - pair[0])
    }

    pub(super) fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    pub(super) fn check_rows(&self, range: &Range<u64>) -> Result<()> {
        if range.start > range.end || range.end > self.n_obs() {
            return Err(SourceError::RowRange {
                file: self.file.path().to_owned(),
                object: self.object.clone(),
                start: range.start,
                end: range.end,
                n_rows: self.n_obs(),
            });
        }
        Ok(())
    }

    /// The longest run of rows from `start`, ending at or before `end`, of at most `max_nnz` entries; at least one row.
    pub(super) fn window(&self, start: u64, end: u64, max_nnz: usize) -> Range<u64> {
        let first = start as usize;
        let last = (end as usize).min(first + MAX_WINDOW_ROWS);
        let limit = self.indptr[first].saturating_add(max_nnz as u64);
        let n_rows = self.indptr[first + 1..=last].partition_point(|&until| until <= limit);
        start..start + n_rows.max(1) as u64
    }

    /// Decodes the rows of a window and makes them canonical, reusing the memory of `spent`.
    pub(super) fn read(&self, rows: &Range<u64>, spent: Option<CsrRows>) -> Result<(CsrRows, Canonicalised)> {
        let (mut indptr, mut indices, mut values) = match spent {
            Some(spent) if spent.values.value_type() == self.value_type => {
                (spent.indptr, spent.indices, spent.values)
            }
            _ => (
                Vec::new(),
                Vec::new(),
                ValueBuffer::with_capacity(self.value_type, 0),
            ),
        };
        let report = with_values!(&mut values, values => {
            let entries = self.lay_out(rows, &mut indptr)?;
            let n = (entries.end - entries.start) as usize;
            indices.resize(n, 0);
            values.resize(n, Default::default());
            let (read_indices, read_values) = rayon::join(
                || self.read_indices(entries.clone(), &mut indices),
                || Value::read(&self.data, entries.clone(), values),
            );
            read_indices?;
            read_values?;
            canonicalise(&mut indptr, &mut indices, values, self.n_vars)
                .map_err(|fault| self.blame(fault, rows.start, entries.start))?
        });
        Ok((
            CsrRows {
                indptr,
                indices,
                values,
            },
            report,
        ))
    }

    /// Decodes only the columns of a window, in range but as they are stored; `indptr` starts at 0.
    pub(super) fn read_columns(&self, rows: &Range<u64>, indices: &mut Vec<u32>) -> Result<()> {
        let entries = self.lay_out(rows, &mut Vec::new())?;
        indices.resize((entries.end - entries.start) as usize, 0);
        self.read_indices(entries.clone(), indices)?;
        match indices
            .iter()
            .position(|&column| u64::from(column) >= self.n_vars)
        {
            None => Ok(()),
            Some(position) => {
                let at = entries.start + position as u64;
                let row = self.indptr.partition_point(|&start| start <= at) as u64 - 1;
                Err(self.blame(
                    Fault::Index {
                        row: (row - rows.start) as usize,
                        position,
                    },
                    rows.start,
                    entries.start,
                ))
            }
        }
    }

    /// Fills `indptr` for the rows, and returns the range of their entries.
    fn lay_out(&self, rows: &Range<u64>, indptr: &mut Vec<u64>) -> Result<Range<u64>> {
        let bounds = &self.indptr[rows.start as usize..=rows.end as usize];
        let (first, last) = (bounds[0], bounds[bounds.len() - 1]);
        if last - first > MAX_ROW_NNZ {
            return Err(SourceError::RowTooLong {
                file: self.file.path().to_owned(),
                object: self.object.clone(),
                row: rows.start,
                nnz: last - first,
                limit: MAX_ROW_NNZ,
            });
        }
        indptr.clear();
        indptr.extend(bounds.iter().map(|end| end - first));
        Ok(first..last)
    }

    fn read_indices(&self, entries: Range<u64>, place: &mut [u32]) -> Result<()> {
        if self.indices.element().size_bytes == 4 {
            return self.indices.read(entries, place);
        }
        self.indices.read_converted(entries, place, |bytes, place| {
            // What does not fit is no column either: `n_vars` is below 2^32.
            self.indices_kind.for_each(bytes, place, |place, value| {
                *place = u32::try_from(value).unwrap_or(u32::MAX)
            });
        })
    }

    /// Turns a fault inside a window into an error that names its place in the file.
    fn blame(&self, fault: Fault, first_row: u64, first_position: u64) -> SourceError {
        match fault {
            Fault::Index { row, position } => {
                let position = first_position + position as u64;
                let mut found = [0i128];
                let read = self
                    .indices
                    .read_converted(position..position + 1, &mut found, |bytes, place| {
                        self.indices_kind
                            .for_each(bytes, place, |place, value| *place = value);
                    });
                match read {
                    Err(error) => error,
                    Ok(()) => SourceError::IndexRange {
                        file: self.file.path().to_owned(),
                        object: self.indices.path().to_owned(),
                        row: first_row + row as u64,
                        position,
                        found: found[0],
                        n_vars: self.n_vars,
                    },
                }
            }
            Fault::Overflow { row, column } => SourceError::DuplicateOverflow {
                file: self.file.path().to_owned(),
                object: self.object.clone(),
                row: first_row + row as u64,
                column,
                value_type: self.value_type.numpy_name(),
            },
        }
    }
}

fn value_type_of(element: &Element) -> Option<ValueType> {
    if element.big_endian && element.size_bytes > 1 {
        return None;
    }
    Some(match (&element.class, element.size_bytes) {
        (Class::Bool, 1) => ValueType::Bool,
        (Class::Int { signed: false }, 1) => ValueType::U8,
        (Class::Int { signed: false }, 2) => ValueType::U16,
        (Class::Int { signed: false }, 4) => ValueType::U32,
        (Class::Int { signed: false }, 8) => ValueType::U64,
        (Class::Int { signed: true }, 1) => ValueType::I8,
        (Class::Int { signed: true }, 2) => ValueType::I16,
        (Class::Int { signed: true }, 4) => ValueType::I32,
        (Class::Int { signed: true }, 8) => ValueType::I64,
        (Class::Float, 4) => ValueType::F32,
        (Class::Float, 8) => ValueType::F64,
        _ => return None,
    })
}

fn unsupported(array: &Array, expected: &'static str) -> SourceError {
    SourceError::UnsupportedElement {
        file: array.file().path().to_owned(),
        object: array.path().to_owned(),
        found: array.element().name(),
        expected,
    }
}

/// Reads the whole of indptr and checks that it cuts `nnz` entries into rows.
fn read_indptr(array: &Array, kind: IntKind, nnz: u64) -> Result<Vec<u64>> {
    let bad = |position: usize, found: i128, expected: String| SourceError::Indptr {
        file: array.file().path().to_owned(),
        object: array.path().to_owned(),
        position: position as u64,
        found,
        expected,
    };
    let mut indptr = vec![0u64; array.len() as usize];
    // Negative values wrap to values no indptr can have, and are found below.
    array.read_converted(0..array.len(), &mut indptr, |bytes, place| {
        kind.for_each(bytes, place, |place, value| *place = value as u64);
    })?;
    let is_signed = array.element().class == Class::Int { signed: true };
    let shown = |value: u64| {
        if is_signed {
            i128::from(value.cast_signed())
        } else {
            i128::from(value)
        }
    };
    if indptr[0] != 0 {
        return Err(bad(0, shown(indptr[0]), "0".to_owned()));
    }
    let last = indptr.len() - 1;
    if let Some(position) = indptr
        .windows(2)
        .position(|pair| pair[1] < pair[0] || pair[1] > nnz)
    {
        let before = indptr[position];
        return Err(bad(
            position + 1,
            shown(indptr[position + 1]),
            format!("{before} to {nnz}, the length of data"),
        ));
    }
    if indptr[last] != nnz {
        return Err(bad(
            last,
            shown(indptr[last]),
            format!("{nnz}, the length of data"),
        ));
    }
    Ok(indptr)
}
