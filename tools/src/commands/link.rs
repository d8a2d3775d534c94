//! `cellring link`: a store whose values stay in their files.

use std::path::{Path, PathBuf};

use cellring::writer::Relocation;
use cellring_anndata::OpenOptions;
use serde::Serialize;

use crate::convert::{ConvertError, LeftOut};
use crate::failure::Failure;
use crate::link::{LinkOptions, LinkReport, RelocateReport, link, refresh, relocate};
use crate::options::{InputArgs, JoinArgs, MatrixArgs};
use crate::output::{self, Show};
use crate::paths::{check_input, check_store};
use crate::progress;

/// Link .h5ad or zarr files as a store, without converting them
///
/// It takes seconds (with --checksum as long as reading the values). The values stay where they are, and are read there by everything that
/// reads stores; the index has about two bytes per cell and 48 per compressed chunk, and obs and var are copied. It is right for trying things out, for files that change, and where there is no room for a copy;
/// for months of training convert, which is several times as fast to read: cellring convert STORE -o FAST does it.
///
/// Several inputs become one store with the cells of all, one input after the other, as with convert.
///
/// Matrices that are stored by cells can be linked, with any of the usual compressions: CSR and dense ones in .h5ad or zarr (v2 and v3, with
/// and without shards, in a directory or stored in a zip file), and the .h5 files of 10x Genomics. When a file changes, the store says
/// so, and does not read it: link it again with --refresh. When it was moved, tell the store with --relocate.
#[derive(Debug, clap::Args)]
#[command(override_usage = "cellring link [OPTIONS] INPUT... --output STORE\n       \
                            cellring link --refresh STORE\n       \
                            cellring link --relocate OLD NEW STORE")]
pub(crate) struct Args {
    /// AnnData (.h5ad or zarr), or a 10x Genomics .h5 file; several become one store. With --refresh or --relocate the linked store
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    open: InputArgs,
    #[command(flatten)]
    join: JoinArgs,
    /// Copy only these columns of obs (the names of the cells are always copied)
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    obs_columns: Option<Vec<String>>,
    /// The store to make, a directory
    #[arg(short, long, value_name = "STORE", required_unless_present_any = ["refresh", "relocate"])]
    output: Option<PathBuf>,
    #[command(flatten)]
    matrices: MatrixArgs,
    /// Read all values once, and keep a checksum of each cell, which everything that reads the store compares
    ///
    /// Without it, a store notices a changed file by its length, its time and samples of its bytes; with it, also a change in place that
    /// leaves all three alone, as when a disk fails. It takes 4 bytes per cell, and linking takes as long as reading the values.
    #[arg(long)]
    checksum: bool,
    /// A directory that the inputs are below [default: the one that the store is in]
    ///
    /// A store refers only to files below this directory. Give the same directory whenever you read the store.
    #[arg(long, value_name = "DIR")]
    source_root: Option<PathBuf>,
    /// Link the inputs of a store again, as they are now, with the matrices that were linked
    #[arg(long, conflicts_with_all = ["output", "relocate", "x", "layer", "raw", "group", "genome", "feature_types", "force", "join", "var_key", "label_column", "label_values", "index_unique", "obs_columns"])]
    refresh: bool,
    /// Tell a store that its file OLD was moved, or copied, to NEW; may be repeated
    ///
    /// OLD is the path as it was, or as the store knows it (the error for a missing file names it): from the directory that the store is in, or from
    /// --source-root. It may be a directory that several files of the store were in. The file must be the one that was linked: its
    /// length and samples of its bytes are compared. The store keeps its id, so that a saved state can still be resumed.
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with_all = ["output", "checksum", "x", "layer", "raw", "group", "genome", "feature_types", "force_read", "force", "join", "var_key", "label_column", "label_values", "index_unique", "obs_columns"])]
    relocate: Vec<PathBuf>,
    /// Replace an existing store
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Show for LinkReport {
    fn text(&self) -> String {
        let chunks = match self.chunk_values {
            None => "not compressed".to_owned(),
            Some(values) => format!("in chunks of {} values", output::count(values)),
        };
        let sources: Vec<String> = self
            .sources
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let mut lines = vec![format!(
            "{} cells x {} genes, {} stored values, {chunks}: {} ({:.2} bytes per cell for the index) refer to {} ({}), in {}",
            output::count(self.n_obs),
            output::count(self.n_vars),
            output::count(self.nnz),
            output::bytes(self.bytes),
            self.index_bytes_per_obs,
            output::few(&sources),
            output::bytes(self.source_bytes),
            output::seconds(self.seconds),
        )];
        if self.row_checksums {
            lines.push("each cell has a checksum, which is compared whenever it is read".to_owned());
        }
        if !self.matrices.is_empty() {
            lines.push(format!(
                "matrices: {}; values are those of the first",
                self.matrices.join(", ")
            ));
        }
        lines.extend(LeftOut::sentence(&self.left_out, self.sources.len()));
        lines.join("\n")
    }
}

impl Show for RelocateReport {
    fn text(&self) -> String {
        let files: Vec<String> = self
            .linked_to
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let id = match self.same_id {
            true => "its id is the same, so that saved states can be resumed",
            false => "its id is another one, so that states that were saved before cannot be resumed",
        };
        format!("{} refers to {}; {id}", self.store.display(), output::few(&files))
    }
}

/// A report, and the root that whoever reads the store has to name.
#[derive(Serialize)]
struct BelowRoot<'a, T> {
    #[serde(flatten)]
    report: &'a T,
    #[serde(skip)]
    root: Option<&'a Path>,
}

impl<'a, T> BelowRoot<'a, T> {
    fn new(report: &'a T, store: &Path, root: Option<&'a Path>) -> Self {
        let real = |path: &Path| path.canonicalize().ok();
        let own = real(store).and_then(|store| real(store.parent()?));
        let root = root.filter(|root| real(root) != own);
        Self { report, root }
    }
}

impl<T: Show + Serialize> Show for BelowRoot<'_, T> {
    fn text(&self) -> String {
        let report = self.report.text();
        match self.root {
            None => report,
            Some(root) => format!(
                "{report}\nits files are found below {root}: give --source-root {root} whenever it is read",
                root = root.display()
            ),
        }
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    args.inputs.iter().try_for_each(|path| check_input(path))?;
    let root = args.source_root.as_deref();
    let store = args.output.as_ref().or(args.inputs.first());
    let report = match &args.output {
        None => {
            let [store] = args.inputs.as_slice() else {
                return Err(Failure::Usage(
                    "--refresh and --relocate take one linked store".to_owned(),
                ));
            };
            if !args.relocate.is_empty() {
                return relocated(store, root, &args.relocate, args.json);
            }
            let open = OpenOptions::from(args.open);
            with_bar(|progress| refresh(store, root, open.force_read, args.checksum, progress))?
        }
        Some(output) => {
            check_store(output, args.force)?;
            let mut selections = args.matrices.selections(&[])?.into_iter();
            let options = LinkOptions {
                open: args.open.into(),
                join: args.join.into(),
                obs_columns: args.obs_columns,
                selection: selections.next().unwrap_or_default(),
                other_matrices: selections.collect(),
                checksum: args.checksum,
                source_root: args.source_root.clone(),
                force: args.force,
            };
            with_bar(|progress| link(&args.inputs, output, &options, progress))?
        }
    };
    report.warnings.iter().for_each(output::say);
    let store = store.map_or(Path::new(""), PathBuf::as_path);
    output::print(args.json, &BelowRoot::new(&report, store, root))
}

/// Is told how many rows are done, and of how many.
type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Links, with a bar that shows how far the values have been read.
fn with_bar(
    run: impl FnOnce(Progress<'_>) -> Result<LinkReport, ConvertError>,
) -> Result<LinkReport, ConvertError> {
    let bar = progress::percent("linking");
    let report = run(&|done, total| progress::set(&bar, done, total));
    bar.finish_and_clear();
    report
}

fn relocated(store: &Path, root: Option<&Path>, paths: &[PathBuf], json: bool) -> Result<(), Failure> {
    let pairs = paths.chunks_exact(2);
    let relocations: Vec<Relocation> = pairs
        .map(|pair| Relocation {
            old: pair[0].clone(),
            new: pair[1].clone(),
        })
        .collect();
    let report = relocate(store, root, &relocations)?;
    output::print(json, &BelowRoot::new(&report, store, root))
}
