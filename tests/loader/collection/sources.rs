//! Stores that differ, and their concatenation by plain loops.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use cellring::Join;
use cellring::Store;
use cellring::format::constants::ROLE_INDEX;
use cellring::format::{CsrRows, Element, Encoding, ValueBuffer, ValueType};
use cellring::writer::WriterOptions;

use crate::common::{Kind, matrix, named_var_table, obs_table, role, value_type, write_store_with_tables};

pub(crate) type Names = Vec<String>;
pub(crate) type Obs = Vec<(&'static str, ArrayRef)>;

/// What a store is written from.
pub(crate) struct Source {
    /// Names of the columns of `rows`.
    pub(crate) names: Names,
    pub(crate) rows: CsrRows,
    pub(crate) value_type: ValueType,
    pub(crate) encoding: Encoding,
    pub(crate) block_size: u32,
    pub(crate) alignment: u32,
    /// The order of the columns in the store.
    pub(crate) order: Option<Vec<u32>>,
    pub(crate) obs: Obs,
    /// Another name for each gene, in the column "gene_id".
    pub(crate) ids: Option<Names>,
}

impl Source {
    pub(crate) fn new(names: Names, kind: Kind, n_obs: usize, seed: u64) -> Self {
        Self {
            rows: matrix(n_obs, names.len() as u64, kind, seed),
            names,
            value_type: value_type(kind),
            encoding: Encoding::Packed,
            block_size: 16,
            alignment: 4096,
            order: None,
            obs: vec![],
            ids: None,
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Arc<Store> {
        let mut options = WriterOptions::new(self.names.len() as u64, self.value_type);
        (options.encoding, options.block_size, options.alignment) =
            (self.encoding, self.block_size, self.alignment);
        (options.raw_value_type, options.shard_bytes) = (self.value_type, 9_000);
        let positions = self
            .order
            .clone()
            .unwrap_or((0..self.names.len() as u32).collect());
        let var = named_var_table(&positions, |position| self.names[position as usize].clone());
        let var = match &self.ids {
            None => var,
            Some(ids) => with_ids(
                var,
                positions.iter().map(|&position| ids[position as usize].as_str()),
            ),
        };
        let n_obs = self.rows.n_rows();
        let obs = match self.obs.as_slice() {
            [] => obs_table(n_obs),
            columns => {
                let names = StringArray::from_iter_values((0..n_obs).map(|k| k.to_string()));
                let names: ArrayRef = Arc::new(names);
                let field = |name: &str, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
                let mut fields = vec![role(field("name", &names), ROLE_INDEX)];
                fields.extend(columns.iter().map(|(name, array)| field(name, array)));
                let schema = Arc::new(Schema::new(fields));
                let arrays = std::iter::once(names).chain(columns.iter().map(|(_, array)| array.clone()));
                let batch = RecordBatch::try_new(schema.clone(), arrays.collect()).unwrap();
                (schema, vec![batch])
            }
        };
        write_store_with_tables(path, &self.rows, options, self.order.as_deref(), obs, var).unwrap();
        Arc::new(Store::open(path).unwrap())
    }

    /// Names in the order of the store.
    pub(crate) fn stored_names(&self) -> Names {
        match &self.order {
            None => self.names.clone(),
            Some(order) => order.iter().map(|&k| self.names[k as usize].clone()).collect(),
        }
    }

    /// The values of a row with the names of their genes.
    pub(crate) fn row(&self, row: usize) -> Vec<(&str, f32)> {
        let range = self.rows.indptr[row] as usize..self.rows.indptr[row + 1] as usize;
        let value = |at: usize| cellring::with_values!(&self.rows.values, values => values[at].to_f32());
        range
            .map(|at| (self.names[self.rows.indices[at] as usize].as_str(), value(at)))
            .collect()
    }
}

fn with_ids<'a>(
    (schema, batches): (SchemaRef, Vec<RecordBatch>),
    ids: impl Iterator<Item = &'a str>,
) -> (SchemaRef, Vec<RecordBatch>) {
    let [batch] = batches.as_slice() else {
        panic!("few genes")
    };
    // The positions in the source come last.
    let place = batch.num_columns() - 1;
    let mut columns = batch.columns().to_vec();
    columns.insert(place, Arc::new(StringArray::from_iter_values(ids)));
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.insert(place, Arc::new(Field::new("gene_id", DataType::Utf8, false)));
    let schema = Arc::new(Schema::new(fields));
    (
        schema.clone(),
        vec![RecordBatch::try_new(schema, columns).unwrap()],
    )
}

pub(crate) fn genes(numbers: impl IntoIterator<Item = usize>) -> Names {
    numbers.into_iter().map(|k| format!("g{k}")).collect()
}

/// Stores that differ in everything but their cells' kind: genes `genes[k]`, encodings, types, blocks, alignments.
pub(crate) fn sources(genes: [Names; 4]) -> Vec<Source> {
    let [a, b, none, c] = genes;
    let n = c.len() as u32;
    vec![
        Source::new(a, Kind::Counts, 130, 1),
        Source {
            encoding: Encoding::Raw,
            block_size: 8,
            alignment: 512,
            ..Source::new(b, Kind::Signed, 75, 2)
        },
        Source::new(none, Kind::Counts, 0, 3),
        Source {
            // Many cycles longer than two.
            order: Some((0..n).map(|k| (k * 17 + 2) % n).collect()),
            ..Source::new(c, Kind::LogNormalised, 51, 4)
        },
    ]
}

pub(crate) fn different_genes() -> [Names; 4] {
    [
        genes(0..60),
        genes((30..91).map(|k| 30 + (k * 2) % 61)),
        genes(0..60),
        genes(10..73),
    ]
}

pub(crate) fn write_all(dir: &Path, sources: &[Source]) -> Vec<Arc<Store>> {
    let paths = (0..sources.len()).map(|k| dir.join(format!("part-{k}")));
    sources
        .iter()
        .zip(paths)
        .map(|(source, path)| source.write(&path))
        .collect()
}

/// The genes of a concatenation, by plain loops.
pub(crate) fn join_names(lists: &[Names], join: &Join) -> Names {
    match join {
        Join::Same => lists[0].clone(),
        Join::Inner => lists[0]
            .iter()
            .filter(|name| lists.iter().all(|list| list.contains(name)))
            .cloned()
            .collect(),
        Join::Outer => {
            let mut all: Names = vec![];
            for name in lists.iter().flatten() {
                if !all.contains(name) {
                    all.push(name.clone());
                }
            }
            all
        }
        Join::Names(names) => names.clone(),
        other => panic!("{other:?} has no twin"),
    }
}

/// One store of all rows, with these genes.
pub(crate) fn concatenate(sources: &[Source], names: &[String]) -> Source {
    let (mut indptr, mut indices, mut values) = (vec![0], vec![], vec![]);
    for source in sources {
        for row in 0..source.rows.n_rows() {
            let place = |name: &str| names.iter().position(|other| other == name);
            let mut row: Vec<(u32, f32)> = source
                .row(row)
                .into_iter()
                .filter_map(|(name, value)| Some((place(name)? as u32, value)))
                .collect();
            row.sort_by_key(|(column, _)| *column);
            indices.extend(row.iter().map(|(column, _)| *column));
            values.extend(row.iter().map(|(_, value)| *value));
            indptr.push(indices.len() as u64);
        }
    }
    Source {
        rows: CsrRows {
            indptr,
            indices,
            values: ValueBuffer::F32(values),
        },
        ..Source::new(names.to_vec(), Kind::Counts, 0, 0)
    }
}
