//! Matrices and stores for tests.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part of this; a test may unwrap"
)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Float32Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow_schema::{Field, Schema, SchemaRef};
use cellring::format::constants::{
    ROLE_INDEX, ROLE_KEY, ROLE_SOURCE_POSITION, SOURCE_POSITION_FIELD, TABLE_BATCH_ROWS,
};
use cellring::format::{CsrRows, Manifest, ValueBuffer, ValueType};
use cellring::writer::{BlockEncoder, StoreWriter, TableKind, WriterOptions};

/// A small stable generator: tests must give the same data with every version of every crate.
pub(crate) struct Mix(pub(crate) u64);

impl Mix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What the values of a test matrix are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Counts, mostly 1, as `f32`.
    Counts,
    /// Few distinct values per row, as `f32`.
    LogNormalised,
    /// Arbitrary `f64`.
    Anything,
    /// Signed 16-bit integers.
    Signed,
}

/// `n_obs` rows with 0 to `n_vars / 3` values; every seventh row is empty.
pub(crate) fn matrix(n_obs: usize, n_vars: u64, kind: Kind, seed: u64) -> CsrRows {
    let mut rng = Mix(seed);
    let mut rows = CsrRows {
        indptr: vec![0],
        indices: vec![],
        values: ValueBuffer::with_capacity(value_type(kind), 0),
    };
    for row in 0..n_obs {
        let density = if row % 7 == 3 { 0 } else { 1 + rng.below(33) };
        let scale = 1.0 + rng.below(1000) as f32 / 100.0;
        for column in 0..n_vars {
            // Columns at the front are frequent, as detected genes are.
            let wanted = density * if column < n_vars / 20 { 3 } else { 1 };
            if rng.below(100) >= wanted {
                continue;
            }
            rows.indices.push(column as u32);
            let most = if rng.below(50) == 0 { 100_000 } else { 6 };
            let count = if rng.below(100) < 60 {
                1
            } else {
                1 + rng.below(most)
            };
            match &mut rows.values {
                ValueBuffer::F32(v) if kind == Kind::Counts => v.push(count as f32),
                ValueBuffer::F32(v) => v.push((count as f32 * scale).ln_1p()),
                ValueBuffer::F64(v) => v.push(f64::from_bits(rng.next() | 1)),
                ValueBuffer::I16(v) => v.push(if count % 2 == 0 {
                    -(count as i16).max(1)
                } else {
                    count as i16 | 1
                }),
                _ => unreachable!(),
            }
        }
        rows.indptr.push(rows.indices.len() as u64);
    }
    rows
}

pub(crate) fn value_type(kind: Kind) -> ValueType {
    match kind {
        Kind::Counts | Kind::LogNormalised => ValueType::F32,
        Kind::Anything => ValueType::F64,
        Kind::Signed => ValueType::I16,
    }
}

pub(crate) fn role(field: Field, role: &str) -> Field {
    field.with_metadata(HashMap::from([(ROLE_KEY.to_string(), role.to_string())]))
}

/// An obs table: names, a categorical in runs, a float and an integer.
pub(crate) fn obs_table(n_obs: usize) -> (SchemaRef, Vec<RecordBatch>) {
    let batch = |from: usize| {
        let rows = from..n_obs.min(from + TABLE_BATCH_ROWS);
        let names = StringArray::from_iter_values(rows.clone().map(|i| format!("cell_{i}")));
        let plates = StringArray::from_iter_values((0..7).map(|p| format!("plate_{p}")));
        let codes = rows
            .clone()
            .map(|i| (i % 11 != 5).then_some((i * 7 / n_obs.max(1)) as i8));
        let codes = arrow_array::Int8Array::from_iter(codes);
        let plate = DictionaryArray::<Int8Type>::try_new(codes, Arc::new(plates)).unwrap();
        let score = Float32Array::from_iter_values(rows.clone().map(|i| i as f32 * 0.5));
        let number = Int64Array::from_iter_values(rows.map(|i| i as i64 * 3));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(names),
            Arc::new(plate),
            Arc::new(score),
            Arc::new(number),
        ];
        let fields = vec![
            role(
                Field::new("barcode", columns[0].data_type().clone(), false),
                ROLE_INDEX,
            ),
            Field::new("plate", columns[1].data_type().clone(), true),
            Field::new("score", columns[2].data_type().clone(), false),
            Field::new("number", columns[3].data_type().clone(), false),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    };
    let schema = batch(0).schema();
    (schema, (0..n_obs).step_by(TABLE_BATCH_ROWS).map(batch).collect())
}

/// A var table whose columns stand at these places in the source.
pub(crate) fn var_table(source_positions: &[u32]) -> (SchemaRef, Vec<RecordBatch>) {
    named_var_table(source_positions, |position| format!("gene_{position}"))
}

/// The same with other names: of the columns at these places in the source.
pub(crate) fn named_var_table(
    source_positions: &[u32],
    name: impl Fn(u32) -> String,
) -> (SchemaRef, Vec<RecordBatch>) {
    let batch = |positions: &[u32]| {
        let names = StringArray::from_iter_values(positions.iter().map(|&p| name(p)));
        let columns: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(UInt32Array::from(positions.to_vec()))];
        let fields = vec![
            role(
                Field::new("gene", columns[0].data_type().clone(), false),
                ROLE_INDEX,
            ),
            role(
                Field::new(SOURCE_POSITION_FIELD, columns[1].data_type().clone(), false),
                ROLE_SOURCE_POSITION,
            ),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    };
    (
        batch(&[]).schema(),
        source_positions.chunks(TABLE_BATCH_ROWS).map(batch).collect(),
    )
}

/// Writes a store of `rows`; with `order` the columns are reordered (`order[k]` is the source position of column `k`).
pub(crate) fn write_store(
    path: &Path,
    rows: &CsrRows,
    options: WriterOptions,
    order: Option<&[u32]>,
) -> Result<Manifest, cellring::Error> {
    write_store_with_obs(path, rows, options, order, obs_table(rows.n_rows()))
}

/// The same with another obs table.
pub(crate) fn write_store_with_obs(
    path: &Path,
    rows: &CsrRows,
    options: WriterOptions,
    order: Option<&[u32]>,
    obs: (SchemaRef, Vec<RecordBatch>),
) -> Result<Manifest, cellring::Error> {
    let identity: Vec<u32> = (0..options.n_vars as u32).collect();
    let var = var_table(order.unwrap_or(&identity));
    write_store_with_tables(path, rows, options, order, obs, var)
}

/// The same with another var table too.
pub(crate) fn write_store_with_tables(
    path: &Path,
    rows: &CsrRows,
    options: WriterOptions,
    order: Option<&[u32]>,
    (schema, batches): (SchemaRef, Vec<RecordBatch>),
    (var_schema, var_batches): (SchemaRef, Vec<RecordBatch>),
) -> Result<Manifest, cellring::Error> {
    let column_of_source = order.map(|order| {
        let mut inverse = vec![0; order.len()];
        order
            .iter()
            .enumerate()
            .for_each(|(k, &source)| inverse[source as usize] = k as u32);
        inverse.into()
    });
    let encoder = BlockEncoder {
        encoding: options.encoding,
        n_vars: options.n_vars,
        raw_value_type: options.raw_value_type,
        column_of_source,
    };
    let block_size = options.block_size as usize;
    let mut writer = StoreWriter::create(path, options)?;
    for first in (0..rows.n_rows()).step_by(block_size) {
        let range = first..rows.n_rows().min(first + block_size);
        writer.append(&encoder.encode(first as u64, rows, range)?)?;
    }
    writer.write_table(
        TableKind::Obs,
        &schema,
        batches.into_iter().map(Ok::<_, cellring::Error>),
    )?;
    writer.write_table(
        TableKind::Var,
        &var_schema,
        var_batches.into_iter().map(Ok::<_, cellring::Error>),
    )?;
    writer.finish()
}

/// The bits of every value, so that NaN equals itself.
pub(crate) fn value_bits(rows: &CsrRows) -> Vec<u64> {
    use cellring::format::Element;
    cellring::with_values!(&rows.values, values => values.iter().map(|v| v.bits()).collect())
}
