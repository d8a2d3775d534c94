//! Small stores for the loader's tests.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{Field, Schema};

use crate::Store;
use crate::format::constants::{ROLE_INDEX, ROLE_KEY, ROLE_SOURCE_POSITION, SOURCE_POSITION_FIELD};
use crate::format::{CsrRows, Encoding, ValueBuffer, ValueType};
use crate::writer::{BlockEncoder, StoreWriter, TableKind, WriterOptions};

const N_VARS: u32 = 90;

fn table(n: u32, with_positions: bool) -> RecordBatch {
    let role =
        |field: Field, role: &str| field.with_metadata(HashMap::from([(ROLE_KEY.into(), role.into())]));
    let names = StringArray::from_iter_values((0..n).map(|i| i.to_string()));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(names)];
    let mut fields = vec![role(
        Field::new("name", columns[0].data_type().clone(), false),
        ROLE_INDEX,
    )];
    if with_positions {
        columns.push(Arc::new(UInt32Array::from_iter_values(0..n)));
        let field = Field::new(SOURCE_POSITION_FIELD, columns[1].data_type().clone(), false);
        fields.push(role(field, ROLE_SOURCE_POSITION));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Obs `i` has about `i mod 61` values; every fifth has none. Several blocks and shards.
pub(super) fn store(dir: &std::path::Path, encoding: Encoding, n_obs: u32) -> Store {
    let mut rows = CsrRows {
        indptr: vec![0],
        indices: vec![],
        values: ValueBuffer::F32(vec![]),
    };
    for obs in 0..n_obs {
        let n = if obs % 5 == 0 { 0 } else { obs % 61 };
        rows.indices.extend((0..n).map(|k| k + obs % 7));
        rows.indptr.push(rows.indices.len() as u64);
    }
    rows.values = ValueBuffer::F32((0..rows.indices.len()).map(|k| (k % 900 + 1) as f32).collect());
    let mut options = WriterOptions::new(u64::from(N_VARS), ValueType::F32);
    (
        options.encoding,
        options.block_size,
        options.alignment,
        options.shard_bytes,
    ) = (encoding, 32, 512, 6000);
    let encoder = BlockEncoder {
        encoding,
        n_vars: u64::from(N_VARS),
        raw_value_type: ValueType::F32,
        column_of_source: None,
    };
    let path = dir.join(encoding.name());
    let mut writer = StoreWriter::create(&path, options).unwrap();
    for first in (0..n_obs as usize).step_by(32) {
        let range = first..(first + 32).min(n_obs as usize);
        writer
            .append(&encoder.encode(first as u64, &rows, range).unwrap())
            .unwrap();
    }
    for (kind, batch) in [
        (TableKind::Obs, table(n_obs, false)),
        (TableKind::Var, table(N_VARS, true)),
    ] {
        writer
            .write_table(kind, &batch.schema(), [Ok::<_, crate::Error>(batch)])
            .unwrap();
    }
    writer.finish().unwrap();
    Store::open(&path).unwrap()
}
