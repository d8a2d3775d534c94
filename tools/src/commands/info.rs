//! `cellring info`: what a store holds and how.

use cellring::Store;
use serde::Serialize;

use crate::failure::Failure;
use crate::options::StoreArg;
use crate::output::{self, Fields, Show};

/// Show the shape, encoding, size and columns of a store
///
/// bytes is the size of all files; bytes_per_nnz is that of shards, index and manifest, without the obs and var tables,
/// per stored value.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArg,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Info<'a> {
    store_id: &'a str,
    version: u32,
    n_obs: u64,
    n_vars: u64,
    nnz: u64,
    encoding: &'static str,
    value_type: &'static str,
    stored_value_type: Option<&'static str>,
    f32_exact: bool,
    var_order: &'static str,
    block_size: u32,
    alignment: u32,
    shards: usize,
    max_obs_nnz: u32,
    bytes: u64,
    matrix_bytes: u64,
    index_bytes: u64,
    table_bytes: u64,
    /// `null` for a store without values.
    bytes_per_nnz: Option<f64>,
    /// The first matrix among them, where there are several.
    matrices: Vec<MatrixInfo<'a>>,
    obs_columns: Vec<String>,
    var_columns: Vec<String>,
    source: &'a serde_json::Value,
    /// Of a linked store: the files that its values are in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    linked_to: Vec<String>,
    /// And the values of each chunk there, where they are compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_values: Option<u64>,
    /// And whether it has a checksum of each row.
    #[serde(skip_serializing_if = "Option::is_none")]
    row_checksums: Option<bool>,
    /// For people, who may not remember it.
    #[serde(skip)]
    path: String,
}

#[derive(Debug, Serialize)]
struct MatrixInfo<'a> {
    name: &'a str,
    n_vars: u64,
    nnz: u64,
    value_type: &'static str,
    matrix_bytes: u64,
}

impl<'a> MatrixInfo<'a> {
    /// `None` for a store with one matrix, which needs no name.
    fn named(store: &'a Store) -> Option<Self> {
        Some(Self {
            name: store.name()?,
            n_vars: store.n_vars(),
            nnz: store.manifest().nnz,
            value_type: store.manifest().value_type.numpy_name(),
            matrix_bytes: store.matrix_bytes(),
        })
    }
}

impl<'a> Info<'a> {
    fn new(store: &'a Store) -> Result<Self, Failure> {
        let manifest = store.manifest();
        Ok(Self {
            store_id: &manifest.store_id,
            version: manifest.version,
            n_obs: manifest.n_obs,
            n_vars: manifest.n_vars,
            nnz: manifest.nnz,
            encoding: manifest.encoding.name(),
            value_type: manifest.value_type.numpy_name(),
            stored_value_type: manifest.raw_value_type.map(|stored| stored.numpy_name()),
            f32_exact: manifest.f32_exact,
            var_order: manifest.var_order.name(),
            block_size: manifest.block_size,
            alignment: manifest.alignment,
            shards: manifest.shards.len(),
            max_obs_nnz: manifest.max_obs_nnz,
            bytes: store.total_bytes(),
            matrix_bytes: store.matrix_bytes(),
            index_bytes: manifest.index.bytes,
            table_bytes: manifest.obs.bytes + manifest.var.bytes,
            bytes_per_nnz: (manifest.nnz > 0).then(|| store.matrix_bytes() as f64 / manifest.nnz as f64),
            matrices: std::iter::once(store)
                .chain(store.matrices().iter().map(AsRef::as_ref))
                .filter_map(MatrixInfo::named)
                .collect(),
            obs_columns: store.obs().column_names()?,
            var_columns: store.var().column_names()?,
            source: &manifest.source,
            linked_to: match store.is_linked() {
                true => store
                    .shard_paths()
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect(),
                false => Vec::new(),
            },
            chunk_values: store.chunk_values(),
            row_checksums: store.is_linked().then(|| manifest.has_row_checksums()),
            path: store.path().display().to_string(),
        })
    }
}

impl Show for Info<'_> {
    fn text(&self) -> String {
        let heading = format!(
            "{} cells x {} genes, {} values of type {}",
            output::count(self.n_obs),
            output::count(self.n_vars),
            output::count(self.nnz),
            self.value_type
        );
        let exact = if !self.linked_to.is_empty() {
            "whether values are exact as f32 shows when they are read"
        } else if self.f32_exact {
            "every value is exact as f32"
        } else {
            "some values are not exact as f32 (see --allow-rounding)"
        };
        let density = self.bytes_per_nnz.map_or("no values".to_owned(), |bytes| {
            format!("{bytes:.3} bytes per value, without the tables")
        });
        let rest = format!(
            "index {}, obs and var {}",
            output::bytes(self.index_bytes),
            output::bytes(self.table_bytes)
        );
        let size = match (self.linked_to.as_slice(), self.shards) {
            ([], 1) => format!("{} in 1 shard; {rest}", output::bytes(self.bytes)),
            ([], n) => format!("{} in {n} shards; {rest}", output::bytes(self.bytes)),
            (files, _) => format!(
                "{}; {rest}; values in {}",
                output::bytes(self.bytes),
                output::few(files)
            ),
        };
        let encoding = match self.stored_value_type {
            Some(stored) => format!("{}, values stored as {stored}; {exact}", self.encoding),
            None if self.row_checksums == Some(true) => {
                format!("{}, with a checksum of each cell; {exact}", self.encoding)
            }
            None => format!("{}; {exact}", self.encoding),
        };
        let mut fields = Fields::new(heading)
            .add("size", size)
            .add("density", density)
            .add("encoding", encoding)
            .add(
                "blocks",
                match (self.linked_to.is_empty(), self.chunk_values) {
                    (true, _) => format!("{} cells, aligned to {} bytes", self.block_size, self.alignment),
                    (false, Some(values)) => {
                        format!("chunks of {} values, compressed", output::count(values))
                    }
                    (false, None) => "values as they are, not compressed".to_owned(),
                },
            )
            .add("gene order", self.var_order)
            .add("obs columns", columns(&self.obs_columns, "obs", &self.path))
            .add("var columns", columns(&self.var_columns, "var", &self.path))
            .add("store id", self.store_id)
            .add("format", format!("version {}", self.version));
        for matrix in &self.matrices {
            let text = format!(
                "{}: {} x {}, {} values of type {}, {}",
                matrix.name,
                output::count(self.n_obs),
                output::count(matrix.n_vars),
                output::count(matrix.nnz),
                matrix.value_type,
                output::bytes(matrix.matrix_bytes)
            );
            fields = fields.add("matrix", text);
        }
        for line in source_lines(self.source) {
            fields = fields.add("source", line);
        }
        fields.text()
    }
}

/// What the store was made of, a line for each thing that is known, in words.
fn source_lines(source: &serde_json::Value) -> Vec<String> {
    const WORDS: [(&str, &str); 13] = [
        ("file", "file"),
        ("files", "files"),
        ("join", "genes joined"),
        ("var_key", "genes identified by"),
        ("matrix", "matrix"),
        ("encoding_type", "stored as"),
        ("indices_type", "indices of type"),
        ("obs_order", "cells in the order"),
        ("obs_filter", "cells selected by the filter"),
        ("rows_sorted", "rows that were sorted"),
        ("duplicates_summed", "duplicate entries that were summed"),
        ("explicit_zeros_dropped", "stored zeros that were dropped"),
        ("cellring", "converted by cellring"),
    ];
    let Some(known) = source.as_object() else {
        return Vec::new();
    };
    let word = |key: &str| WORDS.iter().position(|(name, _)| *name == key);
    let mut keys: Vec<&String> = known.keys().collect();
    // What this release has no word for comes last, by its own name.
    keys.sort_by_key(|key| word(key).unwrap_or(WORDS.len()));
    let line = |key: &String| {
        let name = word(key).map_or_else(|| key.replace('_', " "), |place| WORDS[place].1.to_owned());
        plain(&known[key]).map(|value| format!("{name} {value}"))
    };
    keys.into_iter().filter_map(line).collect()
}

/// A value in words; `None` for what says nothing.
fn plain(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    let text = match value {
        Value::Null => return None,
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Number(number) => match number.as_u64() {
            Some(0) => return None,
            Some(n) => output::count(n),
            None => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            if values.is_empty() {
                return None;
            }
            output::few_of(values.iter().filter_map(plain), MOST_LISTED)
        }
        Value::Object(fields) => {
            let shown = fields.iter();
            let shown =
                shown.filter_map(|(key, value)| Some(format!("{} {}", key.replace('_', " "), plain(value)?)));
            shown.collect::<Vec<_>>().join(", ")
        }
    };
    (!text.is_empty()).then_some(text)
}

/// So many names of a list are shown to people.
const MOST_LISTED: usize = 10;

/// Names of columns, and where to see what is in them.
fn columns(names: &[String], command: &str, store: &str) -> String {
    match names {
        [] => "none".to_owned(),
        names => format!("{} (see `cellring {command} {store}`)", names.join(", ")),
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let store = args.store.open()?;
    output::print(args.json, &Info::new(&store)?)
}
