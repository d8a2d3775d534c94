//! The list of golden stores, the matrices they are written from, and their files.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cellring::format::{CsrRows, Element, Encoding, ValueBuffer, ValueType, VarOrder};
use cellring::with_values;
use cellring::writer::WriterOptions;

use crate::common::{Kind, Mix, matrix, write_store};

/// The files of a store by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Where the golden files lie.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden")
}

/// A store that is committed.
pub(crate) struct Golden {
    /// Name of the directory, without `.cellring`.
    pub(crate) name: &'static str,
    /// Name of the matrix it is written from.
    matrix: &'static str,
    encoding: Encoding,
    /// Raw encoding: the stored type; the source's where `None`.
    raw_value_type: Option<ValueType>,
    block_size: u32,
    alignment: u32,
    shard_bytes: u64,
    var_order: VarOrder,
    /// Whether `obs.arrow` and `var.arrow` are committed too; elsewhere the manifest with their checksums stands for
    /// them, since they would be most of the bytes.
    pub(crate) has_tables: bool,
}

/// All golden stores.
pub(crate) fn goldens() -> Vec<Golden> {
    let packed = |name, matrix, block_size, alignment| Golden {
        name,
        matrix,
        encoding: Encoding::Packed,
        raw_value_type: None,
        block_size,
        alignment,
        shard_bytes: 1 << 30,
        var_order: VarOrder::Source,
        has_tables: false,
    };
    let raw = |name, matrix, raw_value_type, block_size| Golden {
        encoding: Encoding::Raw,
        raw_value_type,
        ..packed(name, matrix, block_size, 512)
    };
    let with_tables = |golden| Golden {
        has_tables: true,
        ..golden
    };
    let shard_bytes = 1_500;
    vec![
        with_tables(packed("packed-counts", "counts", 32, 4096)),
        packed("packed-block-1", "few", 1, 512),
        packed("packed-one-block", "few", 65_536, 512),
        Golden {
            shard_bytes,
            ..packed("packed-shards", "few", 2, 512)
        },
        with_tables(Golden {
            var_order: VarOrder::Detection,
            ..packed("packed-detection", "few", 32, 512)
        }),
        packed("packed-lognormalised", "lognormalised", 32, 512),
        packed("packed-anything", "anything", 32, 512),
        packed("packed-signed", "signed", 4, 512),
        packed("packed-special", "special", 32, 512),
        packed("packed-bool", "bool", 32, 512),
        packed("packed-u64", "u64", 32, 512),
        packed("packed-wide", "wide", 32, 512),
        packed("packed-long", "long", 2, 512),
        with_tables(packed("packed-empty", "empty", 32, 512)),
        raw("raw-counts", "few", Some(ValueType::U32), 32),
        raw("raw-block-1", "bool", None, 1),
        with_tables(raw("raw-narrow", "small", Some(ValueType::U8), 4)),
        Golden {
            shard_bytes,
            ..raw("raw-anything", "anything", None, 2)
        },
        raw("raw-signed", "signed", None, 65_536),
        raw("raw-wide", "wide", Some(ValueType::U16), 32),
        raw("raw-nan", "nan", None, 32),
        raw("raw-empty", "empty", None, 32),
    ]
}

/// The matrices that are committed as dumps: name, number of columns, rows.
pub(crate) fn matrices_to_dump() -> Vec<(&'static str, u64, CsrRows)> {
    vec![
        ("counts", 450, matrix(24, 450, Kind::Counts, 11)),
        ("few", 150, matrix(10, 150, Kind::Counts, 12)),
        ("lognormalised", 200, matrix(12, 200, Kind::LogNormalised, 13)),
        ("anything", 150, matrix(10, 150, Kind::Anything, 14)),
        ("signed", 200, matrix(12, 200, Kind::Signed, 15)),
        ("special", 30, special()),
        ("nan", 3, nans()),
        ("bool", 200, bools()),
        ("small", 30, small_integers()),
        ("u64", 40, large_integers()),
        ("wide", WIDE, wide()),
        ("empty", 7, matrix(0, 7, Kind::Counts, 16)),
    ]
}

/// More columns than 16 bits can number.
const WIDE: u64 = 70_000;

/// The matrix `long` is not dumped, its rule being shorter: an obs with more values than 16 bits can count, an empty
/// one, and one with the last column alone.
fn long() -> (CsrRows, u64) {
    let n_vars = 66_000;
    let mut indices: Vec<u32> = (0..n_vars).filter(|column| column % 1_000 != 999).collect();
    let first = indices.len() as u64;
    assert!(first > 65_535);
    indices.push(n_vars - 1);
    let values = ValueBuffer::Bool(vec![true; indices.len()]);
    let indptr = vec![0, first, first, first + 1];
    (
        CsrRows {
            indptr,
            indices,
            values,
        },
        u64::from(n_vars),
    )
}

/// Stored zeros of both signs, infinities, a NaN with a payload, subnormals.
fn special() -> CsrRows {
    let values = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::from_bits(0x7FC1_2345),
        f32::from_bits(1),
        f32::MAX,
        f32::MIN_POSITIVE,
        0.5,
        16_777_217.0,
    ];
    let mut rows = rows_of(ValueType::F32);
    let ValueBuffer::F32(data) = &mut rows.values else {
        unreachable!()
    };
    for row in 0..4 {
        for column in (row..30).step_by(row as usize + 1) {
            rows.indices.push(column);
            data.push(values[(row + column) as usize % if row == 3 { 2 } else { values.len() }]);
        }
        rows.indptr.push(rows.indices.len() as u64);
    }
    rows
}

/// NaNs whose payloads binary32 cannot hold, beside values that it can.
fn nans() -> CsrRows {
    let bits = [
        0x7FF8_0000_0000_0001,
        0xFFF0_0000_0000_0001,
        0x7FF8_0000_0000_0000,
    ];
    CsrRows {
        indptr: vec![0, 3, 3, 5],
        indices: vec![0, 1, 2, 0, 2],
        values: ValueBuffer::F64(bits.map(f64::from_bits).into_iter().chain([0.5, -0.0]).collect()),
    }
}

/// Rows that are all true, and rows with stored zeros.
fn bools() -> CsrRows {
    let mut rng = Mix(17);
    let mut rows = rows_of(ValueType::Bool);
    let ValueBuffer::Bool(data) = &mut rows.values else {
        unreachable!()
    };
    for row in 0..5 {
        for column in (0..200)
            .filter(|_| row != 3 && rng.below(100) < 40 * (1 + row % 2))
            .collect::<Vec<_>>()
        {
            rows.indices.push(column);
            data.push(row % 2 == 0 || column % 3 == 0);
        }
        rows.indptr.push(rows.indices.len() as u64);
    }
    rows
}

/// Signed integers of 64 bits that fit eight.
fn small_integers() -> CsrRows {
    let mut rows = rows_of(ValueType::I64);
    let ValueBuffer::I64(data) = &mut rows.values else {
        unreachable!()
    };
    for row in 0..9u32 {
        for column in (0..30).filter(|column| row != 6 && column * row % 5 < 2) {
            rows.indices.push(column);
            data.push(i64::from(1 + (column * 37 + row) % 255));
        }
        rows.indptr.push(rows.indices.len() as u64);
    }
    rows
}

/// Integers at every bound that matters to codes, and beyond.
fn large_integers() -> CsrRows {
    let bounds = [
        1,
        255,
        256,
        65_535,
        65_536,
        (1 << 31) - 1,
        1 << 31,
        (1 << 31) + 1,
        u64::MAX >> 32,
        1 << 32,
        1 << 53,
        u64::MAX,
    ];
    let mut rows = rows_of(ValueType::U64);
    let ValueBuffer::U64(data) = &mut rows.values else {
        unreachable!()
    };
    // The largest value of a row decides how it can be stored.
    for most in 0..bounds.len() {
        for column in 0..40 {
            rows.indices.push(column);
            data.push(if column == 20 {
                bounds[most]
            } else {
                bounds[column as usize % (most + 1).min(4)]
            });
        }
        rows.indptr.push(rows.indices.len() as u64);
    }
    rows
}

/// Runs of neighbouring columns far from each other: small gaps with exceptions of one byte and of four.
fn wide() -> CsrRows {
    let mut rng = Mix(18);
    let mut rows = rows_of(ValueType::F32);
    let ValueBuffer::F32(data) = &mut rows.values else {
        unreachable!()
    };
    for row in 0..6 {
        let mut column = rng.below(4);
        // Rows of even number have no gap above 300, so that its high part is one byte.
        let far = if row % 2 == 0 { 300 } else { 9_000 };
        for _ in 0..if row == 4 { 0 } else { 170 } {
            if column >= WIDE {
                break;
            }
            rows.indices.push(column as u32);
            data.push((1 + rng.below(if row == 2 { 60_000 } else { 3 })) as f32);
            column += 1 + if rng.below(100) < 4 {
                rng.below(far)
            } else {
                rng.below(3)
            };
        }
        // And the last column: the largest number.
        if row == 5 && column < WIDE {
            rows.indices.push(WIDE as u32 - 1);
            data.push(1.0);
        }
        rows.indptr.push(rows.indices.len() as u64);
    }
    rows
}

fn rows_of(value_type: ValueType) -> CsrRows {
    CsrRows {
        indptr: vec![0],
        indices: vec![],
        values: ValueBuffer::with_capacity(value_type, 0),
    }
}

impl Golden {
    /// Where the store is committed.
    pub(crate) fn committed(&self) -> PathBuf {
        directory().join(format!("{}.cellring", self.name))
    }

    /// The matrix in the order of its source, and its number of columns.
    fn source(&self) -> (CsrRows, u64) {
        match self.matrix {
            "long" => long(),
            name => load_dump(&directory().join(format!("{name}.json"))),
        }
    }

    /// The position in the source of each column, where the store reorders them: by the number of obs, as FORMAT.md says.
    pub(crate) fn order(&self) -> Option<Vec<u32>> {
        let (rows, n_vars) = self.source();
        (self.var_order == VarOrder::Detection).then(|| {
            let mut detected = vec![0; n_vars as usize];
            rows.indices
                .iter()
                .for_each(|&column| detected[column as usize] += 1);
            let mut order: Vec<u32> = (0..n_vars as u32).collect();
            order.sort_by_key(|&column| std::cmp::Reverse(detected[column as usize]));
            order
        })
    }

    /// Writes the store anew.
    pub(crate) fn write(&self, path: &Path) {
        let (rows, n_vars) = self.source();
        let mut options = WriterOptions::new(n_vars, rows.values.value_type());
        options.encoding = self.encoding;
        options.raw_value_type = self.raw_value_type.unwrap_or(options.value_type);
        options.block_size = self.block_size;
        options.alignment = self.alignment;
        options.shard_bytes = self.shard_bytes;
        options.var_order = self.var_order;
        options.uring = false;
        write_store(path, &rows, options, self.order().as_deref()).unwrap();
    }

    /// A whole store with the committed bytes: the committed one, or in `dir` a copy with the tables it lacks.
    pub(crate) fn whole(&self, dir: &Path) -> PathBuf {
        if self.has_tables {
            return self.committed();
        }
        let path = dir.join(format!("{}.cellring", self.name));
        if !path.exists() {
            self.write(&path);
            for (name, bytes) in files(&self.committed()) {
                fs::write(path.join(name), bytes).unwrap();
            }
        }
        path
    }

    /// The rows as the store holds them, that is with its order of columns.
    pub(crate) fn stored_rows(&self) -> CsrRows {
        let (rows, _) = self.source();
        let Some(order) = self.order() else {
            return rows;
        };
        let place = |column: u32| order.iter().position(|&c| c == column).unwrap() as u32;
        let ValueBuffer::F32(values) = &rows.values else {
            panic!("the golden store with reordered columns holds f32")
        };
        let mut sorted: Vec<(usize, u32, f32)> = vec![];
        for (row, bounds) in rows.indptr.windows(2).enumerate() {
            sorted.extend(
                (bounds[0] as usize..bounds[1] as usize).map(|k| (row, place(rows.indices[k]), values[k])),
            );
        }
        sorted.sort_by_key(|&(row, column, _)| (row, column));
        CsrRows {
            indices: sorted.iter().map(|entry| entry.1).collect(),
            values: ValueBuffer::F32(sorted.iter().map(|entry| entry.2).collect()),
            indptr: rows.indptr,
        }
    }

    /// A dump of [`Golden::stored_rows`]: the committed one, or one written to `dir`.
    pub(crate) fn dump(&self, dir: &Path) -> PathBuf {
        let committed = directory().join(format!("{}.json", self.matrix));
        if committed.exists() && self.var_order == VarOrder::Source {
            return committed;
        }
        let path = dir.join(format!("{}.json", self.name));
        if !path.exists() {
            save_dump(&path, &self.stored_rows(), self.source().1);
        }
        path
    }
}

/// All files of a directory.
pub(crate) fn files(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// Writes rows as three arrays, little endian, and a JSON file that tells their shape (see `spec_reader.py`).
pub(crate) fn save_dump(json: &Path, rows: &CsrRows, n_vars: u64) {
    let value_type = rows.values.value_type();
    let about = serde_json::json!({
        "n_obs": rows.n_rows(), "n_vars": n_vars, "nnz": rows.nnz(), "value_type": value_type,
    });
    let indptr: Vec<u8> = rows.indptr.iter().flat_map(|v| v.to_le_bytes()).collect();
    let indices: Vec<u8> = rows.indices.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut data = vec![];
    with_values!(&rows.values, values => for value in values {
        data.extend_from_slice(&value.bits().to_le_bytes()[..value_type.size_bytes()]);
    });
    fs::write(json, format!("{about}\n")).unwrap();
    fs::write(json.with_extension("indptr.u64"), indptr).unwrap();
    fs::write(json.with_extension("indices.u32"), indices).unwrap();
    fs::write(json.with_extension("data.bin"), data).unwrap();
}

/// Reads what [`save_dump`] wrote: the rows and the number of columns.
pub(crate) fn load_dump(json: &Path) -> (CsrRows, u64) {
    let text = fs::read_to_string(json).unwrap_or_else(|error| panic!("{}: {error}", json.display()));
    let about: serde_json::Value = serde_json::from_str(&text).unwrap();
    let value_type: ValueType = serde_json::from_value(about["value_type"].clone()).unwrap();
    let read = |extension| fs::read(json.with_extension(extension)).unwrap();
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let data = read("data.bin");
    let mut values = ValueBuffer::with_capacity(value_type, 0);
    with_values!(&mut values, values => push_all(values, data.chunks_exact(value_type.size_bytes()).map(word)));
    let rows = CsrRows {
        indptr: read("indptr.u64").chunks_exact(8).map(word).collect(),
        indices: read("indices.u32")
            .chunks_exact(4)
            .map(|bytes| word(bytes) as u32)
            .collect(),
        values,
    };
    assert_eq!(
        (rows.n_rows() as u64, rows.nnz() as u64),
        (about["n_obs"].as_u64().unwrap(), about["nnz"].as_u64().unwrap())
    );
    (rows, about["n_vars"].as_u64().unwrap())
}

fn push_all<T: Element>(values: &mut Vec<T>, bits: impl Iterator<Item = u64>) {
    values.extend(bits.map(T::from_bits));
}
