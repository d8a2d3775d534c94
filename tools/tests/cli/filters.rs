//! The examples of filters in the help work, and take what they say.

use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float32Array, Int32Array, RecordBatch, StringArray,
};
use arrow_schema::{Field, Schema};
use cellring::writer::WriterOptions;

use crate::common::{Kind, matrix, role, value_type, write_store_with_obs};
use crate::{json, scratch, succeed};

const N_OBS: usize = 240;

/// A cell, by its number.
struct Cell {
    cell_type: Option<&'static str>,
    n_genes: i32,
    pct_mito: f32,
    is_doublet: bool,
    donor: &'static str,
}

fn cell(number: usize) -> Cell {
    Cell {
        cell_type: [Some("B cell"), Some("T cell"), Some("b cell"), None][number % 4],
        n_genes: (number * 7 % 600) as i32,
        pct_mito: (number % 20) as f32 / 100.0,
        is_doublet: number.is_multiple_of(3),
        donor: ["d1", "d2", "d3"][number / 5 % 3],
    }
}

#[test]
fn the_examples_of_the_help_take_what_they_say() {
    let cells = || (0..N_OBS).map(cell);
    let types: DictionaryArray<Int8Type> = cells().map(|cell| cell.cell_type).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "_index",
            Arc::new(StringArray::from_iter_values((0..N_OBS).map(|n| format!("c{n}")))),
        ),
        ("cell_type", Arc::new(types)),
        (
            "n_genes",
            Arc::new(Int32Array::from_iter_values(cells().map(|cell| cell.n_genes))),
        ),
        (
            "pct_mito",
            Arc::new(Float32Array::from_iter_values(cells().map(|cell| cell.pct_mito))),
        ),
        (
            "is_doublet",
            Arc::new(BooleanArray::from_iter(cells().map(|cell| Some(cell.is_doublet)))),
        ),
        (
            "donor id",
            Arc::new(StringArray::from_iter_values(cells().map(|cell| cell.donor))),
        ),
    ];
    let fields = columns.iter().map(|(name, array)| {
        let field = Field::new(*name, array.data_type().clone(), *name == "cell_type");
        if *name == "_index" {
            role(field, "index")
        } else {
            field
        }
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.iter().map(|(_, array)| array.clone()).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays).unwrap();
    let dir = scratch();
    let path = dir.path().join("cells.cellring");
    let options = WriterOptions::new(20, value_type(Kind::Counts));
    let rows = matrix(N_OBS, 20, Kind::Counts, 1);
    write_store_with_obs(&path, &rows, options, None, (schema, vec![batch])).unwrap();

    let help = succeed(&["help", "epoch"]);
    let examples: Vec<&str> = help
        .lines()
        .skip_while(|line| line.trim() != "Examples:")
        .skip(1)
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let expected: [fn(&Cell) -> bool; 5] = [
        |cell| cell.cell_type == Some("B cell"),
        |cell| cell.n_genes >= 200 && cell.pct_mito < 0.1,
        |cell| matches!(cell.cell_type, Some("B cell" | "T cell")) && !cell.is_doublet,
        |cell| cell.cell_type != Some("B cell"),
        |cell| cell.donor == "d3" && (cell.n_genes > 500 || cell.is_doublet),
    ];
    assert_eq!(examples.len(), expected.len(), "{help}");
    for (example, expected) in examples.into_iter().zip(expected) {
        let n = cells().filter(expected).count();
        assert!(n > 0 && n < N_OBS, "{example}");
        let path = path.to_str().unwrap();
        let report = json(&["epoch", path, "--obs-filter", example, "--json"]);
        assert_eq!(report["cells"], n, "{example}");
    }
}
