//! A store with an obs table of all kinds of columns, and the same values as plain cells.

use std::sync::{Arc, OnceLock};

use arrow_array::types::Int16Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int16Array, Int64Array,
    LargeStringArray, RecordBatch, StringArray, UInt64Array,
};
use arrow_schema::{Field, Schema};
use cellring::Store;
use cellring::format::constants::{ROLE_INDEX, TABLE_BATCH_ROWS};
use cellring::format::{CsrRows, ValueBuffer};
use cellring::select::{Filter, Matches};
use cellring::writer::WriterOptions;

use crate::common::{Kind, Mix, role, value_type, write_store_with_obs};

/// More than a batch of the table, so that places in it matter.
pub(crate) const N_OBS: usize = TABLE_BATCH_ROWS + 700;

pub(crate) fn matches(store: &Store, text: &str) -> Matches {
    Filter::parse(text).unwrap().matches(store).unwrap()
}

/// A value of the twin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Missing,
    Int(i128),
    Single(f32),
    Double(f64),
    Bool(bool),
    Text(String),
}

pub(crate) struct Columns {
    pub(crate) names: Vec<&'static str>,
    pub(crate) arrays: Vec<ArrayRef>,
    pub(crate) cells: Vec<Vec<Cell>>,
}

pub(crate) const TYPES: [&str; 5] = ["B", "T cell", "d'or", "NK", ""];

fn columns() -> Columns {
    let mut mix = Mix(11);
    let mut draw = |n: u64, missing: bool| -> Vec<Option<u64>> {
        (0..N_OBS)
            .map(|_| {
                let value = mix.below(n);
                (!missing || mix.below(9) > 0).then_some(value)
            })
            .collect()
    };
    let or = |value: &Option<u64>, cell: &dyn Fn(u64) -> Cell| value.map_or(Cell::Missing, cell);
    let mut all = Columns {
        names: vec![],
        arrays: vec![],
        cells: vec![],
    };
    let mut add = |name, array: ArrayRef, cells| {
        all.names.push(name);
        all.arrays.push(array);
        all.cells.push(cells);
    };
    let values = draw(5, true);
    let keys: Int16Array = values.iter().map(|v| v.map(|v| v as i16)).collect();
    let names = StringArray::from_iter_values(TYPES);
    add(
        "cell_type",
        Arc::new(DictionaryArray::<Int16Type>::try_new(keys, Arc::new(names)).unwrap()),
        values
            .iter()
            .map(|v| or(v, &|v| Cell::Text(TYPES[v as usize].into())))
            .collect(),
    );
    let values = draw(7, true);
    add(
        "n_genes",
        Arc::new(
            values
                .iter()
                .map(|v| v.map(|v| v as i64 - 3))
                .collect::<Int64Array>(),
        ),
        values
            .iter()
            .map(|v| or(v, &|v| Cell::Int(i128::from(v) - 3)))
            .collect(),
    );
    let values = draw(4, false);
    add(
        "huge",
        Arc::new(
            values
                .iter()
                .map(|v| v.map(|v| u64::MAX - v))
                .collect::<UInt64Array>(),
        ),
        values
            .iter()
            .map(|v| or(v, &|v| Cell::Int(i128::from(u64::MAX - v))))
            .collect(),
    );
    let values = draw(6, true);
    let tenth = |v: u64| if v == 5 { f32::NAN } else { v as f32 / 10.0 };
    add(
        "pct.mito",
        Arc::new(values.iter().map(|v| v.map(tenth)).collect::<Float32Array>()),
        values
            .iter()
            .map(|v| {
                or(v, &|v| {
                    if v == 5 {
                        Cell::Missing
                    } else {
                        Cell::Single(tenth(v))
                    }
                })
            })
            .collect(),
    );
    let values = draw(6, true);
    let half = |v: u64| [f64::NAN, -0.0, 0.0, 2.5, f64::INFINITY, 3.0][v as usize];
    add(
        "score",
        Arc::new(values.iter().map(|v| v.map(half)).collect::<Float64Array>()),
        values
            .iter()
            .map(|v| {
                or(v, &|v| {
                    if v == 0 {
                        Cell::Missing
                    } else {
                        Cell::Double(half(v))
                    }
                })
            })
            .collect(),
    );
    let values = draw(2, true);
    add(
        "is_doublet",
        Arc::new(values.iter().map(|v| v.map(|v| v == 1)).collect::<BooleanArray>()),
        values.iter().map(|v| or(v, &|v| Cell::Bool(v == 1))).collect(),
    );
    let values = draw(4, true);
    let donor = |v: u64| format!("d{v}");
    add(
        "donor id",
        Arc::new(values.iter().map(|v| v.map(donor)).collect::<LargeStringArray>()),
        values.iter().map(|v| or(v, &|v| Cell::Text(donor(v)))).collect(),
    );
    // Categories that are numbers, with one that is missing.
    let values = draw(3, true);
    let keys: Int16Array = values.iter().map(|v| v.map(|v| v as i16)).collect();
    let numbers = Int64Array::from(vec![Some(40), None, Some(-2)]);
    add(
        "louvain",
        Arc::new(DictionaryArray::<Int16Type>::try_new(keys, Arc::new(numbers)).unwrap()),
        values
            .iter()
            .map(|v| {
                or(v, &|v| {
                    [Cell::Int(40), Cell::Missing, Cell::Int(-2)][v as usize].clone()
                })
            })
            .collect(),
    );
    all
}

pub(crate) struct Made {
    pub(crate) store: Store,
    pub(crate) columns: Columns,
    pub(crate) _dir: tempfile::TempDir,
}

/// A store with an obs table of all kinds of columns, and hardly any values.
pub(crate) fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let columns = columns();
        let mut fields = vec![role(
            Field::new("barcode", arrow_schema::DataType::Utf8, false),
            ROLE_INDEX,
        )];
        let names = StringArray::from_iter_values((0..N_OBS).map(|i| format!("cell_{i}")));
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(names)];
        for (name, array) in columns.names.iter().zip(&columns.arrays) {
            fields.push(Field::new(*name, array.data_type().clone(), true));
            arrays.push(array.clone());
        }
        let table = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        let rows = CsrRows {
            indptr: vec![0; N_OBS + 1],
            indices: vec![],
            values: ValueBuffer::F32(vec![]),
        };
        let batches = (0..N_OBS)
            .step_by(TABLE_BATCH_ROWS)
            .map(|start| table.slice(start, (N_OBS - start).min(TABLE_BATCH_ROWS)))
            .collect();
        let options = WriterOptions::new(3, value_type(Kind::Counts));
        write_store_with_obs(&path, &rows, options, None, (table.schema(), batches)).unwrap();
        let store = Store::open(&path).unwrap();
        Made {
            store,
            columns,
            _dir: dir,
        }
    })
}
