//! What the index says of the files that it leads to, and of the two arrays in them.

use cellring_core::{ValueClass, ValueType};
use cellring_filters::{Filter, Pipeline};

use super::bytes::Reader;

/// Most filters of an array, and most parameters of one.
const MAX_FILTERS: usize = 32;
const MAX_FILTER_WORDS: usize = 255;
/// Most bytes of a decoded chunk. Writers use chunks of KiB to a few MiB; every thread may hold one.
const MAX_CHUNK_BYTES: u64 = 256 << 20;
/// Most bytes of a path.
const MAX_PATH_BYTES: usize = 4096;

/// What the elements of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArrayRole {
    /// The columns of the values.
    Columns = 0,
    /// The values.
    Values = 1,
}

impl ArrayRole {
    /// Both, in the order of the index.
    pub(crate) const BOTH: [Self; 2] = [Self::Columns, Self::Values];

    /// What it is called in the source.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Columns => "indices",
            Self::Values => "data",
        }
    }
}

/// A file of the source, and how it is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkedFile {
    /// From the root below which all of them are: plain components, one after the other.
    pub(crate) path: String,
    /// Length.
    pub(crate) bytes: u64,
    /// When it was last modified: seconds since 1970, and nanoseconds.
    pub(crate) modified: (i64, u32),
    /// Checksum of samples of its bytes.
    pub(crate) fingerprint: u64,
}

/// How an array is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Runs of elements as they are.
    Runs,
    /// Chunks of so many elements, to which filters were applied.
    Chunks {
        /// Elements of each chunk, of the last one too.
        elements: u64,
    },
    /// Chunks of a dense matrix, of so many rows and columns, row of them after row. Those at the ends are as large as the others.
    Tiles {
        /// Rows of each.
        rows: u64,
        /// Columns of each.
        columns: u64,
    },
    /// None: value k of an obs is that of column k.
    Implied,
}

impl Shape {
    /// Elements of a chunk, if there are chunks.
    pub(crate) fn chunk_elements(self) -> Option<u64> {
        match self {
            Self::Runs | Self::Implied => None,
            Self::Chunks { elements } => Some(elements),
            Self::Tiles { rows, columns } => Some(rows.saturating_mul(columns)),
        }
    }

    /// Its number in the description, and two numbers that belong to it.
    fn code(self) -> (u8, [u64; 2]) {
        match self {
            Self::Runs => (0, [0, 0]),
            Self::Chunks { elements } => (1, [elements, 0]),
            Self::Tiles { rows, columns } => (2, [rows, columns]),
            Self::Implied => (3, [0, 0]),
        }
    }

    /// The shape of such a code.
    fn of_code(code: u8, numbers: [u64; 2]) -> Option<Self> {
        let found = match code {
            0 => Self::Runs,
            1 => Self::Chunks { elements: numbers[0] },
            2 => Self::Tiles {
                rows: numbers[0],
                columns: numbers[1],
            },
            3 => Self::Implied,
            _ => return None,
        };
        (found.code() == (code, numbers)).then_some(found)
    }
}

/// One of the two arrays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkedArray {
    /// Its path in the source, for messages.
    pub(crate) path: String,
    /// Type of its elements.
    pub(crate) value_type: ValueType,
    /// Whether the bytes of an element are the other way round.
    pub(crate) big_endian: bool,
    pub(crate) shape: Shape,
    /// Number of extents.
    pub(crate) n_extents: u64,
    /// In the order in which they were applied.
    pub(crate) filters: Vec<Filter>,
    /// The element that chunks consist of that were never written, as it would be stored.
    pub(crate) fill: [u8; 8],
}

/// What the index says of files and arrays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) files: Vec<LinkedFile>,
    /// The columns, and the values.
    pub(crate) arrays: [LinkedArray; 2],
}

impl Description {
    /// Its bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((self.files.len() as u32).to_le_bytes());
        for file in &self.files {
            put_text(&file.path, &mut out);
            out.extend(file.bytes.to_le_bytes());
            out.extend(file.modified.0.to_le_bytes());
            out.extend(file.modified.1.to_le_bytes());
            out.extend(file.fingerprint.to_le_bytes());
        }
        for array in &self.arrays {
            put_text(&array.path, &mut out);
            put_text(array.value_type.name(), &mut out);
            out.push(u8::from(array.big_endian));
            let (code, numbers) = array.shape.code();
            out.push(code);
            numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
            out.extend(array.n_extents.to_le_bytes());
            out.extend(array.fill);
            out.push(array.filters.len() as u8);
            for filter in &array.filters {
                out.extend(filter.id.to_le_bytes());
                out.push(filter.client_data.len() as u8);
                filter
                    .client_data
                    .iter()
                    .for_each(|word| out.extend(word.to_le_bytes()));
            }
        }
        out
    }

    /// Reads and checks it: what is allocated, divided by or opened later rests on it.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = Reader(bytes);
        let cut = || "the description ends early, or a type or text in it is none".to_owned();
        let n_files = reader.u32().ok_or_else(cut)?;
        let mut files = Vec::new();
        for _ in 0..n_files {
            files.push(file(&mut reader).ok_or_else(cut)?);
        }
        let mut array = || array(&mut reader).ok_or_else(cut);
        let arrays = [array()?, array()?];
        if !reader.0.is_empty() {
            return Err(format!("{} bytes follow the description", reader.0.len()));
        }
        let found = Self { files, arrays };
        found.check()?;
        Ok(found)
    }

    /// Whether all of it fits together.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(file) = self.files.iter().find(|file| !is_plain(&file.path)) {
            return Err(format!("{:?} is not a plain relative path", file.path));
        }
        for (role, array) in ArrayRole::BOTH.into_iter().zip(&self.arrays) {
            let width = array.value_type.size_bytes();
            let too_long = |filter: &Filter| filter.client_data.len() > MAX_FILTER_WORDS;
            if array.path.len() > MAX_PATH_BYTES
                || array.filters.len() > MAX_FILTERS
                || array.filters.iter().any(too_long)
            {
                return Err(format!("the path or the filters of {} are too long", role.name()));
            }
            if let Some(elements) = array.shape.chunk_elements()
                && !(1..=MAX_CHUNK_BYTES / width as u64).contains(&elements)
            {
                return Err(format!(
                    "the chunks of {} have {elements} elements of {width} bytes, expected 1 to {MAX_CHUNK_BYTES} bytes",
                    role.name()
                ));
            }
            if array.shape.chunk_elements().is_none() && !array.filters.is_empty() {
                return Err(format!("{} has filters and no chunks", role.name()));
            }
            Pipeline::new(&array.filters, width).map_err(|unknown| unknown.to_string())?;
        }
        let [columns, values] = self.arrays.each_ref().map(|array| array.shape);
        let is_dense = columns == Shape::Implied;
        if matches!(columns, Shape::Tiles { .. })
            || values == Shape::Implied
            || is_dense && (self.arrays[0].n_extents > 0 || matches!(values, Shape::Chunks { .. }))
            || !is_dense && matches!(values, Shape::Tiles { .. })
        {
            return Err("one array is of a sparse matrix, and the other of a dense one".to_owned());
        }
        match self.arrays[0].value_type.class() {
            ValueClass::Unsigned | ValueClass::Signed => Ok(()),
            _ => Err("the columns are not integers".to_owned()),
        }
    }
}

/// Whether a path leads below where it starts, whatever is there: components, none of which is `.` or `..`.
fn is_plain(path: &str) -> bool {
    let mut components = path.split('/');
    path.len() <= MAX_PATH_BYTES
        && !path.contains('\0')
        && components.all(|component| !matches!(component, "" | "." | ".."))
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.as_bytes());
}

fn text(reader: &mut Reader<'_>) -> Option<String> {
    let len = reader.u16()?;
    String::from_utf8(reader.take(usize::from(len))?.to_vec()).ok()
}

fn file(reader: &mut Reader<'_>) -> Option<LinkedFile> {
    Some(LinkedFile {
        path: text(reader)?,
        bytes: reader.u64()?,
        modified: (reader.i64()?, reader.u32()?),
        fingerprint: reader.u64()?,
    })
}

fn array(reader: &mut Reader<'_>) -> Option<LinkedArray> {
    let path = text(reader)?;
    let type_name = text(reader)?;
    let value_type = ValueType::ALL
        .iter()
        .copied()
        .find(|found| found.name() == type_name)?;
    let big_endian = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let shape = Shape::of_code(reader.u8()?, [reader.u64()?, reader.u64()?])?;
    let n_extents = reader.u64()?;
    let fill = reader.array()?;
    let n_filters = usize::from(reader.u8()?);
    let mut filters = Vec::new();
    for _ in 0..n_filters {
        let id = reader.u16()?;
        let n_words = usize::from(reader.u8()?);
        let words = (0..n_words).map(|_| reader.u32()).collect::<Option<_>>()?;
        filters.push(Filter {
            id,
            name: None,
            client_data: words,
        });
    }
    Some(LinkedArray {
        path,
        value_type,
        big_endian,
        shape,
        n_extents,
        filters,
        fill,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        let array = |path: &str, value_type, filters| LinkedArray {
            path: path.to_owned(),
            value_type,
            big_endian: true,
            shape: Shape::Chunks { elements: 1000 },
            n_extents: 7,
            filters,
            fill: [1, 2, 3, 4, 5, 6, 7, 8],
        };
        let shuffle = Filter {
            id: 2,
            name: None,
            client_data: vec![4, 9],
        };
        Description {
            files: vec![LinkedFile {
                path: "raw/a b.h5ad".to_owned(),
                bytes: 1 << 40,
                modified: (-3, 999_999_999),
                fingerprint: u64::MAX,
            }],
            arrays: [
                array("X/indices", ValueType::I64, vec![shuffle]),
                array("X/data", ValueType::F32, vec![]),
            ],
        }
    }

    #[test]
    fn descriptions_survive_the_way_back_and_cut_ones_are_refused() {
        let bytes = description().to_bytes();
        assert_eq!(Description::from_bytes(&bytes).unwrap(), description());
        for n in 0..bytes.len() {
            assert!(Description::from_bytes(&bytes[..n]).is_err(), "{n} bytes");
        }
        assert!(Description::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn dense_matrices_have_tiles_and_no_columns() {
        let mut dense = description();
        dense.arrays[0].shape = Shape::Implied;
        (dense.arrays[0].n_extents, dense.arrays[0].filters) = (0, vec![]);
        for shape in [
            Shape::Runs,
            Shape::Tiles {
                rows: 7,
                columns: 300,
            },
        ] {
            dense.arrays[1].shape = shape;
            assert_eq!(Description::from_bytes(&dense.to_bytes()).unwrap(), dense);
        }
        for (columns, values) in [
            (Shape::Implied, Shape::Chunks { elements: 9 }),
            (Shape::Implied, Shape::Implied),
            (Shape::Runs, Shape::Tiles { rows: 1, columns: 1 }),
            (Shape::Tiles { rows: 1, columns: 1 }, Shape::Runs),
        ] {
            (dense.arrays[0].shape, dense.arrays[1].shape) = (columns, values);
            assert!(dense.check().is_err(), "{columns:?} {values:?}");
        }
    }

    #[test]
    fn paths_lead_nowhere_else() {
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/./b",
            "a//b",
            "a/",
            "a\0b",
        ] {
            let mut wrong = description();
            path.clone_into(&mut wrong.files[0].path);
            assert!(wrong.check().is_err(), "{path:?}");
        }
        assert!(is_plain("a/b c/d.h5ad"));
    }

    #[test]
    fn what_would_take_much_memory_is_refused() {
        let mut wrong = description();
        wrong.arrays[1].shape = Shape::Chunks { elements: 1 << 30 };
        assert!(wrong.check().is_err());
        let mut wrong = description();
        wrong.arrays[0].value_type = ValueType::F32;
        assert!(wrong.check().is_err());
        let mut wrong = description();
        wrong.arrays[0].filters[0].id = 4711;
        assert!(wrong.check().is_err());
    }
}
