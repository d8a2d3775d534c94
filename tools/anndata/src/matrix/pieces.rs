//! Entries of a range as they wait in a temporary file: in pieces, each with its rows, its columns and its values as narrow as those of
//! the piece allow.

use cellring_core::Element;

use super::value::Value;

/// Entries, runs of rows, and the widths of rows, columns and values.
const HEADER_BYTES: usize = 12;
/// What a piece takes at the most besides 8 bytes and the value of each entry.
pub(super) const MAX_HEADER_BYTES: u64 = HEADER_BYTES as u64;

/// Bytes of a run: the row, and how many entries of it follow each other.
const RUN_BYTES: usize = 8;

/// Values that are no small counts have their own width.
const OWN: u8 = 0;

/// The least bytes that hold numbers which have no other bits than these.
fn width(bits: u32) -> usize {
    match bits {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        _ => 4,
    }
}

fn put_numbers(numbers: &[u32], width: usize, out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + width * numbers.len(), 0);
    let place = &mut out[begin..];
    match width {
        1 => place
            .iter_mut()
            .zip(numbers)
            .for_each(|(place, &n)| *place = n as u8),
        2 => (place.as_chunks_mut().0.iter_mut().zip(numbers))
            .for_each(|(place, &n)| *place = (n as u16).to_le_bytes()),
        _ => {
            (place.as_chunks_mut().0.iter_mut().zip(numbers)).for_each(|(place, n)| *place = n.to_le_bytes())
        }
    }
}

fn numbers(bytes: &[u8], width: usize, out: &mut Vec<u32>) {
    out.clear();
    match width {
        1 => out.extend(bytes.iter().map(|&byte| u32::from(byte))),
        2 => out.extend(
            bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&bytes| u32::from(u16::from_le_bytes(bytes))),
        ),
        _ => out.extend(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&bytes| u32::from_le_bytes(bytes)),
        ),
    }
}

/// The runs of equal rows: each row, and how often it comes.
fn runs(rows: &[u32]) -> impl Iterator<Item = (u32, u32)> {
    rows.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32))
}

/// Appends a piece of these entries, of which there is at least one. `codes` is memory for numbers.
pub(super) fn append_piece<T: Element>(
    rows: &[u32],
    columns: &[u32],
    values: &[T],
    codes: &mut Vec<u32>,
    out: &mut Vec<u8>,
) {
    let bits = |numbers: &[u32]| numbers.iter().fold(0, |bits, n| bits | n);
    let (row_width, column_width) = (width(bits(rows)), width(bits(columns)));
    let n_runs = 1 + rows.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let has_runs = n_runs * RUN_BYTES < rows.len() * row_width;
    let are_counts = T::codes(values, codes);
    let value_width = match width(bits(codes)) {
        width if are_counts && width < size_of::<T>() => width as u8,
        _ => OWN,
    };
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    out.extend_from_slice(&(if has_runs { n_runs as u32 } else { 0 }).to_le_bytes());
    out.extend_from_slice(&[row_width as u8, column_width as u8, value_width, 0]);
    match has_runs {
        true => runs(rows).for_each(|(row, n)| {
            out.extend_from_slice(&row.to_le_bytes());
            out.extend_from_slice(&n.to_le_bytes());
        }),
        false => put_numbers(rows, row_width, out),
    }
    put_numbers(columns, column_width, out);
    match value_width {
        OWN => {
            let begin = out.len();
            out.resize(begin + size_of_val(values), 0);
            for (place, value) in out[begin..].chunks_exact_mut(size_of::<T>()).zip(values) {
                place.copy_from_slice(&value.bits().to_le_bytes()[..size_of::<T>()]);
            }
        }
        width => put_numbers(codes, width.into(), out),
    }
}

/// A piece as it is in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// Runs of rows; 0 if the row of each entry is stored.
    n_runs: usize,
    row_width: usize,
    column_width: usize,
    value_width: u8,
    rows: &'a [u8],
    columns: &'a [u8],
    values: &'a [u8],
}

/// The pieces that these bytes are.
///
/// # Panics
/// The iterator, if they are none.
pub(super) fn pieces<T>(bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (header, body) = rest.split_first_chunk::<HEADER_BYTES>()?;
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize
        };
        let (n, n_runs) = (word(0), word(4));
        let [row_width, column_width] = [header[8], header[9]].map(usize::from);
        let value_width = header[10];
        let (rows, body) = body.split_at(match n_runs {
            0 => n * row_width,
            n_runs => n_runs * RUN_BYTES,
        });
        let (columns, body) = body.split_at(n * column_width);
        let (values, body) = body.split_at(match value_width {
            OWN => n * size_of::<T>(),
            width => n * usize::from(width),
        });
        rest = body;
        Some(Piece {
            n_runs,
            row_width,
            column_width,
            value_width,
            rows,
            columns,
            values,
        })
    })
}

/// Memory for the numbers of one piece.
#[derive(Debug)]
pub(super) struct Scratch<T> {
    rows: Vec<u32>,
    columns: Vec<u32>,
    codes: Vec<u32>,
    values: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            columns: Vec::new(),
            codes: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl Piece<'_> {
    /// The runs of equal rows, in order: each row, and how many of its entries come.
    pub(super) fn for_each_run(&self, mut take: impl FnMut(u32, u32)) {
        if self.n_runs > 0 {
            for run in self.rows.as_chunks::<RUN_BYTES>().0 {
                let [row, n] = [[run[0], run[1], run[2], run[3]], [run[4], run[5], run[6], run[7]]];
                take(u32::from_le_bytes(row), u32::from_le_bytes(n));
            }
            return;
        }
        match self.row_width {
            1 => self.rows.iter().for_each(|&row| take(row.into(), 1)),
            2 => (self.rows.as_chunks().0.iter()).for_each(|&row| take(u16::from_le_bytes(row).into(), 1)),
            _ => (self.rows.as_chunks().0.iter()).for_each(|&row| take(u32::from_le_bytes(row), 1)),
        }
    }

    /// Puts each entry where the next one of its row goes.
    pub(super) fn scatter<T: Value + Element>(
        &self,
        scratch: &mut Scratch<T>,
        next: &mut [usize],
        columns: &mut [u32],
        values: &mut [T],
    ) {
        self.decode(scratch);
        let mut from = 0;
        if self.n_runs > 0 {
            self.for_each_run(|row, n| {
                let (n, at) = (n as usize, next[row as usize]);
                next[row as usize] += n;
                columns[at..at + n].copy_from_slice(&scratch.columns[from..from + n]);
                values[at..at + n].copy_from_slice(&scratch.values[from..from + n]);
                from += n;
            });
            return;
        }
        let entries = scratch.columns.iter().zip(&scratch.values);
        for (&row, (&column, &value)) in scratch.rows.iter().zip(entries) {
            let at = next[row as usize];
            next[row as usize] += 1;
            (columns[at], values[at]) = (column, value);
        }
    }

    fn decode<T: Value + Element>(&self, scratch: &mut Scratch<T>) {
        if self.n_runs == 0 {
            numbers(self.rows, self.row_width, &mut scratch.rows);
        }
        numbers(self.columns, self.column_width, &mut scratch.columns);
        scratch.values.clear();
        match self.value_width {
            OWN => {
                let stored = self.values.chunks_exact(size_of::<T>());
                scratch
                    .values
                    .extend(stored.map(|bytes| T::from_file(bytes, false)));
            }
            width => {
                numbers(self.values, width.into(), &mut scratch.codes);
                scratch.values.resize(scratch.codes.len(), T::default());
                T::fill_counts(&scratch.codes, &mut scratch.values);
            }
        }
    }
}
