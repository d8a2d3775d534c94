//! The labels of the cells.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{Int8Type, Int16Type};
use arrow_array::{ArrayRef, DictionaryArray, Float32Array, Int8Array, Int16Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::random::{Purpose, below, beta_2_30, cumulated_shares, draw, stream};

/// Plates, and so runs of the first label.
pub(super) const N_PLATES: usize = 14;
/// Cell lines.
pub(super) const N_LINES: usize = 50;
/// Drugs.
const N_DRUGS: usize = 380;
/// Drugs on one plate.
const DRUGS_PER_PLATE: usize = 95;
/// How alike the shares of plates and lines are.
const CONCENTRATION: usize = 20;

/// Where a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) plate: u8,
    pub(super) line: u8,
}

/// Runs of equal labels, and the drugs of each plate.
pub(super) struct LabelRuns {
    seed: u64,
    /// End of each run and its labels; runs without cells are left out.
    runs: Vec<(u64, Labels)>,
    drugs: Vec<Vec<i16>>,
    dictionaries: [ArrayRef; 3],
}

impl LabelRuns {
    pub(super) fn new(n_obs: u64, seed: u64) -> Self {
        let mut runs: Vec<(u64, Labels)> = Vec::with_capacity(N_PLATES * N_LINES);
        let plates = cumulated_shares(&mut stream(seed, Purpose::Plates, 0), N_PLATES, CONCENTRATION);
        let mut start = 0;
        for (plate, &share) in plates.iter().enumerate() {
            let plate_end = (share * n_obs as f64).round() as u64;
            let mut random = stream(seed, Purpose::Lines, plate as u64);
            let order = draw(&mut random, N_LINES, N_LINES);
            let lines = cumulated_shares(&mut random, N_LINES, CONCENTRATION);
            let mut run_start = start;
            for (line, share) in order.into_iter().zip(lines) {
                let end = start + (share * (plate_end - start) as f64).round() as u64;
                if end > run_start {
                    runs.push((
                        end,
                        Labels {
                            plate: plate as u8,
                            line: line as u8,
                        },
                    ));
                    run_start = end;
                }
            }
            start = plate_end;
        }
        // Above 2^53 cells the last rounding may be off by a few.
        if let Some(last) = runs.last_mut() {
            last.0 = n_obs;
        }
        let drugs = (0..N_PLATES as u64).map(|plate| {
            let drawn = draw(&mut stream(seed, Purpose::Drugs, plate), N_DRUGS, DRUGS_PER_PLATE);
            drawn.into_iter().map(|drug| drug as i16).collect()
        });
        let names = |n: usize, name: &str| -> ArrayRef {
            Arc::new(
                (0..n)
                    .map(|i| Some(format!("{name}_{i:03}")))
                    .collect::<StringArray>(),
            )
        };
        let dictionaries = [
            names(N_PLATES, "plate"),
            names(N_LINES, "line"),
            names(N_DRUGS, "drug"),
        ];
        Self {
            seed,
            runs,
            drugs: drugs.collect(),
            dictionaries,
        }
    }

    /// Plate and line of a cell of the data set.
    pub(super) fn labels(&self, cell: u64) -> Labels {
        self.runs[self.runs.partition_point(|run| run.0 <= cell)].1
    }

    /// The rows of these cells.
    pub(super) fn batch(&self, cells: Range<u64>) -> RecordBatch {
        let n = (cells.end - cells.start) as usize;
        let (mut plates, mut lines) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let (mut drugs, mut mito) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for cell in cells.clone() {
            let Labels { plate, line } = self.labels(cell);
            let random = &mut stream(self.seed, Purpose::Labels, cell);
            let on_plate = &self.drugs[usize::from(plate)];
            plates.push(plate as i8);
            lines.push(line as i8);
            drugs.push(on_plate[below(random, on_plate.len())]);
            mito.push(beta_2_30(random) as f32);
        }
        let index: StringArray = cells.map(|cell| Some(format!("cell_{cell:09}"))).collect();
        let [plate_names, line_names, drug_names] = &self.dictionaries;
        let short = |codes: Vec<i8>, names: &ArrayRef| {
            DictionaryArray::<Int8Type>::try_new(Int8Array::from(codes), names.clone())
        };
        let columns = || {
            Ok(vec![
                Arc::new(index) as ArrayRef,
                Arc::new(short(plates, plate_names)?),
                Arc::new(short(lines, line_names)?),
                Arc::new(DictionaryArray::<Int16Type>::try_new(
                    Int16Array::from(drugs),
                    drug_names.clone(),
                )?),
                Arc::new(Float32Array::from(mito)),
            ])
        };
        #[expect(
            clippy::expect_used,
            reason = "codes are below the number of names, columns equally long"
        )]
        columns()
            .and_then(|columns| RecordBatch::try_new(schema(), columns))
            .expect("columns as in the schema")
    }
}

/// Columns of obs.
pub(super) fn schema() -> SchemaRef {
    let category = |name: &str, key: DataType| {
        let about = [("anndata.encoding", "categorical"), ("anndata.ordered", "false")];
        let about: HashMap<String, String> = about
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        // A categorical may always have missing values in AnnData.
        Field::new_dictionary(name, key, DataType::Utf8, true).with_metadata(about)
    };
    let array = HashMap::from([("anndata.encoding".to_string(), "array".to_string())]);
    Arc::new(Schema::new(vec![
        index_field("barcode"),
        category("plate", DataType::Int8),
        category("cell_line", DataType::Int8),
        category("drug", DataType::Int16),
        Field::new("pct_mito", DataType::Float32, false).with_metadata(array),
    ]))
}

/// The field of an index with this name.
pub(super) fn index_field(name: &str) -> Field {
    let about = [
        ("cellring.role", "index"),
        ("anndata.index_name", name),
        ("anndata.encoding", "string-array"),
    ];
    let about: HashMap<String, String> = about
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect();
    Field::new(name, DataType::Utf8, false).with_metadata(about)
}
