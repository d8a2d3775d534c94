//! `cellring info`: what a store holds and how.

use cellring::Store;
use serde::Serialize;

use super::options::StoreArg;
use crate::failure::Failure;
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
    fn of(store: &'a Store) -> Option<Self> {
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
    fn of(store: &'a Store) -> Result<Self, Failure> {
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
                .filter_map(MatrixInfo::of)
                .collect(),
            obs_columns: store.obs().column_names()?,
            var_columns: store.var().column_names()?,
            source: &manifest.source,
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
        let exact = if self.f32_exact {
            "every value is exact as f32"
        } else {
            "some values are not exact as f32 (see --allow-rounding)"
        };
        let density = self.bytes_per_nnz.map_or("no values".to_owned(), |bytes| {
            format!("{bytes:.3} bytes per value, without the tables")
        });
        let size = format!(
            "{} in {} shard{}; index {}, obs and var {}",
            output::bytes(self.bytes),
            self.shards,
            if self.shards == 1 { "" } else { "s" },
            output::bytes(self.index_bytes),
            output::bytes(self.table_bytes)
        );
        let encoding = match self.stored_value_type {
            Some(stored) => format!("{}, values stored as {stored}; {exact}", self.encoding),
            None => format!("{}; {exact}", self.encoding),
        };
        let mut fields = Fields::new(heading)
            .add("size", size)
            .add("density", density)
            .add("encoding", encoding)
            .add(
                "blocks",
                format!("{} cells, aligned to {} bytes", self.block_size, self.alignment),
            )
            .add("gene order", self.var_order)
            .add("obs columns", list(&self.obs_columns))
            .add("var columns", list(&self.var_columns))
            .add("store id", self.store_id)
            .add("format", format!("version {}", self.version));
        for matrix in &self.matrices {
            let text = format!(
                "{}: {} columns, {} values of type {}, {}",
                matrix.name,
                output::count(matrix.n_vars),
                output::count(matrix.nnz),
                matrix.value_type,
                output::bytes(matrix.matrix_bytes)
            );
            fields = fields.add("matrix", text);
        }
        if self.source.as_object().is_some_and(|source| !source.is_empty()) {
            fields = fields.add("source", self.source.to_string());
        }
        fields.text()
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let store = args.store.open()?;
    output::print(args.json, &Info::of(&store)?)
}
