//! What the index says of one of the two arrays that the values of an input are in.

use cellring_core::ValueType;
use cellring_filters::{Filter, Pipeline};

use super::bytes::{Reader, put_text};

/// Most filters of an array, and most parameters of one.
const MAX_FILTERS: usize = 32;
const MAX_FILTER_WORDS: usize = 255;
/// Most bytes of a decoded chunk. Writers use chunks of KiB to a few MiB; every thread may hold one.
const MAX_CHUNK_BYTES: u64 = 256 << 20;
/// Most bytes of a path.
pub(super) const MAX_PATH_BYTES: usize = 4096;

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

/// How an array is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArrayLayout {
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

impl ArrayLayout {
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

    /// The layout of such a code.
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
    pub(crate) layout: ArrayLayout,
    /// Number of extents.
    pub(crate) n_extents: u64,
    /// In the order in which they were applied.
    pub(crate) filters: Vec<Filter>,
    /// The element that chunks consist of that were never written, as it would be stored.
    pub(crate) fill: [u8; 8],
}

impl LinkedArray {
    /// Appends its bytes.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_text(&self.path, out);
        put_text(self.value_type.name(), out);
        out.push(u8::from(self.big_endian));
        let (code, numbers) = self.layout.code();
        out.push(code);
        numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
        out.extend(self.n_extents.to_le_bytes());
        out.extend(self.fill);
        out.push(self.filters.len() as u8);
        for filter in &self.filters {
            out.extend(filter.id.to_le_bytes());
            out.push(filter.client_data.len() as u8);
            filter
                .client_data
                .iter()
                .for_each(|word| out.extend(word.to_le_bytes()));
        }
    }

    /// Takes it from the front; `None` if it ends early, or a type or text in it is none.
    pub(super) fn take(reader: &mut Reader<'_>) -> Option<Self> {
        let path = reader.text()?;
        let type_name = reader.text()?;
        let value_type = ValueType::ALL
            .iter()
            .copied()
            .find(|found| found.name() == type_name)?;
        let big_endian = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let layout = ArrayLayout::of_code(reader.u8()?, [reader.u64()?, reader.u64()?])?;
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
        Some(Self {
            path,
            value_type,
            big_endian,
            layout,
            n_extents,
            filters,
            fill,
        })
    }

    /// Whether what it says fits together, and is within limits.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(super) fn check(&self, role: ArrayRole) -> Result<(), String> {
        let width = self.value_type.size_bytes();
        let too_long = |filter: &Filter| filter.client_data.len() > MAX_FILTER_WORDS;
        if self.path.len() > MAX_PATH_BYTES
            || self.filters.len() > MAX_FILTERS
            || self.filters.iter().any(too_long)
        {
            return Err(format!("the path or the filters of {} are too long", role.name()));
        }
        if let Some(elements) = self.layout.chunk_elements()
            && !(1..=MAX_CHUNK_BYTES / width as u64).contains(&elements)
        {
            return Err(format!(
                "the chunks of {} have {elements} elements of {width} bytes, expected 1 to {MAX_CHUNK_BYTES} bytes",
                role.name()
            ));
        }
        if self.layout.chunk_elements().is_none() && !self.filters.is_empty() {
            return Err(format!("{} has filters and no chunks", role.name()));
        }
        Pipeline::new(&self.filters, width).map_err(|unknown| unknown.to_string())?;
        Ok(())
    }
}
