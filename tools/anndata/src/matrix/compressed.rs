//! Compressed sparse matrices as AnnData stores them: a group of `data`, `indices` and `indptr`.

use std::ops::Range;
use std::sync::Arc;

use cellring_core::{ValueClass, ValueType};

use crate::container::{AbsentChunks, Array, Class, ElementType, IntKind, Kind, SourceFile, Watched};
use crate::error::{ReadError, Result};

/// The arrays of a sparse matrix, with an `indptr` that is known to fit them. The major axis is the one `indptr` cuts: rows
/// of CSR, columns of CSC.
#[derive(Debug)]
pub(crate) struct Compressed {
    pub(super) file: Arc<SourceFile>,
    pub(super) object: String,
    pub(super) n_minor: u64,
    pub(super) value_type: ValueType,
    pub(super) indptr: Vec<u64>,
    /// The bytes that `indptr` was read from.
    pub(super) row_starts: Vec<Watched>,
    /// The chunks that `indptr` lacks.
    indptr_absent: Option<AbsentChunks>,
    pub(super) indices: Array,
    pub(super) data: Array,
    indices_kind: IntKind,
}

/// Memory that each thread may use for decoding whatever the chunks of a file are.
const ALLOWED_BYTES: u64 = 3 << 20;

/// Reads the attribute `name` of a group: the numbers of rows and columns.
pub(super) fn shape_attribute(file: &SourceFile, object: &str, name: &str) -> Result<(u64, u64)> {
    let invalid = |detail: String| Err(file.invalid(object, detail));
    match file.integers_attribute(object, Kind::Group, name)?.as_deref() {
        Some(&[n_obs, n_vars]) if n_obs >= 0 && n_vars >= 0 => {
            Ok((n_obs.cast_unsigned(), n_vars.cast_unsigned()))
        }
        Some(shape) => invalid(format!("its shape is {shape:?}, expected two counts")),
        None => invalid(format!("it has no attribute {name} of two integers")),
    }
}

/// Reads the dataset `shape` of a group of a 10x Genomics file: the numbers of genes and cells.
pub(crate) fn shape_dataset(file: &Arc<SourceFile>, group: &str) -> Result<(u64, u64)> {
    let array = Array::open(file, &format!("{group}/shape"))?;
    let kind = IntKind::for_element(array.element()).filter(|_| array.len() == 2);
    let mut shape = [0i128; 2];
    if let Some(kind) = kind {
        array.read_converted(0..2, &mut shape, |bytes, place| {
            kind.for_each(bytes, place, |place, value| *place = value);
        })?;
    }
    match (kind, u64::try_from(shape[0]), u64::try_from(shape[1])) {
        (Some(_), Ok(n_genes), Ok(n_cells)) => Ok((n_genes, n_cells)),
        _ => Err(file.damaged(array.path(), "it does not hold two counts".to_owned())),
    }
}

impl Compressed {
    /// Opens the arrays in group `object`.
    pub(crate) fn open(file: &Arc<SourceFile>, object: &str, n_major: u64, n_minor: u64) -> Result<Self> {
        let damaged = |detail: String| file.damaged(object, detail);
        let open = |name: &str| {
            let path = format!("{object}/{name}");
            match file.kind(&path)? {
                Some(Kind::Dataset) => Array::open(file, &path),
                _ => Err(ReadError::Missing {
                    file: file.path().to_owned(),
                    object: path,
                    expected: "a dataset of a sparse matrix (data, indices, indptr)",
                }),
            }
        };
        let (data, indices, indptr) = (open("data")?, open("indices")?, open("indptr")?);
        let value_type = value_type_of(data.element()).ok_or_else(|| unsupported(&data, VALUE_TYPES))?;
        let index_kind = |array: &Array| {
            IntKind::for_element(array.element())
                .ok_or_else(|| unsupported(array, "integers of 1, 2, 4 or 8 bytes"))
        };
        let (indices_kind, indptr_kind) = (index_kind(&indices)?, index_kind(&indptr)?);
        // A negative int32 read as u32 must never be a valid index.
        let max_minor = if indices.element().class == (Class::Int { signed: true }) {
            1 << 31
        } else {
            1 << 32
        };
        if n_minor >= max_minor {
            return Err(damaged(format!(
                "it has {n_minor} columns, expected less than {max_minor}"
            )));
        }
        if data.len() != indices.len() {
            return Err(damaged(format!(
                "data has {} elements, indices {}",
                data.len(),
                indices.len()
            )));
        }
        if n_major != n_minor && n_minor.checked_add(1) == Some(indptr.len()) {
            let detail = format!(
                "its indptr has {} elements, as if {n_minor} and not {n_major} lists were stored one after the other; if its \
                 encoding-type was written csr_matrix for csc_matrix, or the other way round, correct that attribute with h5py",
                indptr.len()
            );
            return Err(file.invalid(object, detail));
        }
        if n_major.checked_add(1) != Some(indptr.len()) {
            return Err(damaged(format!(
                "indptr has {} elements, expected one more than the {n_major} rows that it delimits",
                indptr.len()
            )));
        }
        let row_starts = indptr.watched(true);
        let indptr_absent = indptr.absent_chunks();
        let indptr = read_indptr(&indptr, indptr_kind, data.len())?;
        Ok(Self {
            file: Arc::clone(file),
            object: object.to_owned(),
            n_minor,
            value_type,
            indptr,
            row_starts,
            indptr_absent,
            indices,
            indices_kind,
            data,
        })
    }

    /// Chunks of the arrays that are not there.
    pub(super) fn absent_chunks(&self) -> Vec<AbsentChunks> {
        let of_entries = [&self.indices, &self.data].map(Array::absent_chunks);
        of_entries
            .into_iter()
            .chain([self.indptr_absent.clone()])
            .flatten()
            .collect()
    }

    /// Memory for decoding on so many threads, beyond what is allowed for anyway.
    pub(super) fn decoding_bytes(&self, threads: usize) -> u64 {
        let arrays = [&self.data, &self.indices];
        let chunks = arrays.map(Array::chunk_bytes);
        // Each thread holds a chunk as it is stored and decoded, and each array keeps one.
        let decoded = 2 * threads as u64 * chunks[0].max(chunks[1]) + chunks[0] + chunks[1];
        let held: u64 = arrays.map(Array::held_bytes).iter().sum();
        (decoded + held).saturating_sub(ALLOWED_BYTES * threads as u64)
    }

    pub(super) fn n_major(&self) -> u64 {
        self.indptr.len() as u64 - 1
    }

    pub(super) fn nnz(&self) -> u64 {
        self.data.len()
    }

    pub(super) fn indices_type(&self) -> String {
        self.indices.element().name().replace("big-endian ", "")
    }

    /// Reads indices as they are stored; one that does not fit becomes `u32::MAX`, which is out of range.
    pub(super) fn read_indices(&self, entries: Range<u64>, place: &mut [u32]) -> Result<()> {
        let element = self.indices.element();
        if element.size_bytes == 4 && !element.big_endian {
            return self.indices.read(entries, place);
        }
        self.indices.read_converted(entries, place, |bytes, place| {
            self.indices_kind.for_each(bytes, place, |place, value| {
                *place = u32::try_from(value).unwrap_or(u32::MAX);
            });
        })
    }

    /// Entry `position` of the major axis: which row of CSR, which column of CSC.
    pub(super) fn major_of(&self, position: u64) -> u64 {
        self.indptr.partition_point(|&start| start <= position) as u64 - 1
    }

    /// The index at `position` as the file has it, for messages.
    pub(super) fn index_at(&self, position: u64) -> Result<i128> {
        let mut found = [0i128];
        self.indices
            .read_converted(position..position + 1, &mut found, |bytes, place| {
                self.indices_kind
                    .for_each(bytes, place, |place, value| *place = value);
            })?;
        Ok(found[0])
    }
}

/// What a matrix may hold, for messages.
pub(super) const VALUE_TYPES: &str = "bool, int8 to int64, uint8 to uint64, float32 or float64";

/// The type of the values of a matrix, if it is one that a store holds.
pub(super) fn value_type_of(element: &ElementType) -> Option<ValueType> {
    let class = match &element.class {
        Class::Bool => ValueClass::Boolean,
        Class::Int { signed: false } => ValueClass::Unsigned,
        Class::Int { signed: true } => ValueClass::Signed,
        Class::Float => ValueClass::Float,
        _ => return None,
    };
    let mut types = ValueType::ALL.iter().copied();
    types.find(|found| found.class() == class && found.size_bytes() == element.size_bytes)
}

pub(super) fn unsupported(array: &Array, expected: &'static str) -> ReadError {
    ReadError::UnsupportedElement {
        file: array.file().path().to_owned(),
        object: array.path().to_owned(),
        found: array.element().name(),
        expected,
    }
}

/// Reads the whole of indptr and checks that it cuts `nnz` entries into rows.
fn read_indptr(array: &Array, kind: IntKind, nnz: u64) -> Result<Vec<u64>> {
    let bad = |position: usize, found: i128, expected: String| ReadError::Indptr {
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
