//! What can go wrong while a file is converted.

use std::path::PathBuf;

use cellring::writer::EncodeError;
use cellring_anndata::ReadError;
use cellring_anndata::write::ColumnFault;

/// Why a conversion failed. Nothing is left under the store's name then. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The input is missing, damaged, or of a form that is not read.
    #[error(transparent)]
    Source(#[from] ReadError),
    /// The store cannot be written, or opened when it was; or the filter of obs is not valid, or does not fit the columns.
    #[error(transparent)]
    Store(#[from] cellring::Error),
    /// The matrix and a table contradict each other.
    #[error(
        "{matrix} in {} has {expected} {axis}, but its table {table} has {found} rows; the file is damaged",
        file.display()
    )]
    Shape {
        /// The input.
        file: PathBuf,
        /// HDF5 path of the matrix.
        matrix: String,
        /// `rows` or `columns`.
        axis: &'static str,
        /// Rows or columns of the matrix.
        expected: u64,
        /// Which table.
        table: &'static str,
        /// Its rows.
        found: u64,
    },
    /// The matrix cannot be read where it is.
    #[error("{matrix} in {} cannot be linked: {reason}; convert it instead: cellring convert", file.display())]
    NotLinkable {
        /// The input.
        file: PathBuf,
        /// Path of the matrix in it.
        matrix: String,
        /// Why.
        reason: String,
    },
    /// A matrix is asked for twice.
    #[error("{matrix} is given twice; give it once")]
    Twice {
        /// Its path in AnnData.
        matrix: String,
    },
    /// A linked store has its matrices.
    #[error(
        "{}: it is a linked store, which stands for {matrices} of its input; to take other parts, or have them joined in another way, give what \
         it refers to instead, {}",
        store.display(),
        inputs.display()
    )]
    Fixed {
        /// The store.
        store: PathBuf,
        /// The matrices that were linked.
        matrices: String,
        /// What it leads to.
        inputs: PathBuf,
    },
    /// A linked store does not say which input it was made of.
    #[error(
        "{}: the linked store does not say which input and matrix it was made of; give the file that it refers to instead, or link that again",
        store.display()
    )]
    Unknown {
        /// The store.
        store: PathBuf,
    },
    /// An input of a linked store has something else than was linked.
    #[error(
        "{}: {what} is not what was linked; restore the input, or link it again (cellring link --refresh)",
        store.display()
    )]
    NotAsLinked {
        /// The store.
        store: PathBuf,
        /// What differs.
        what: String,
    },
    /// Inputs are not below something that is not a directory.
    #[error("{}: it is not a directory, so no input of a linked store is below it; name one that the inputs are below", root.display())]
    NoRoot {
        /// What was named.
        root: PathBuf,
    },
    /// A linked store would look for its input in the input itself.
    #[error(
        "{}: a linked store looks for its input below {}, which is in this input; write the store beside the input, or name a directory that both are \
         below (--source-root)",
        input.display(), root.display()
    )]
    RootWithin {
        /// The input.
        input: PathBuf,
        /// Where the store would look.
        root: PathBuf,
    },
    /// A linked store reads a part of an input elsewhere.
    #[error(
        "{}: it reads {}, which is not what is in its input {}; put the part back there, or link it again (cellring link --refresh)",
        store.display(), file.display(), input.display()
    )]
    Elsewhere {
        /// The store.
        store: PathBuf,
        /// What it reads.
        file: PathBuf,
        /// The input.
        input: PathBuf,
    },
    /// An input of a linked store is not where it was.
    #[error(
        "{}: it is not there, and the store {} was made of it: put it back, or name the directory that it is below (--source-root), or where it is now \
         (cellring link --relocate)",
        file.display(),
        store.display()
    )]
    Gone {
        /// The input.
        file: PathBuf,
        /// The store.
        store: PathBuf,
    },
    /// What is to be linked again holds its values.
    #[error("{}: it is not a linked store, so there is no file to link again; cellring link INPUT -o STORE makes one", path.display())]
    NotLinked {
        /// The path.
        path: PathBuf,
    },
    /// Something has the name of a store in the cache.
    #[error(
        "{}: it is in the way of linking {}, because it is not a store that can be replaced; remove it, or link the file by name: cellring link",
        path.display(),
        file.display()
    )]
    InTheWay {
        /// What is there.
        path: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// There is no directory for what is linked on the way.
    #[error(
        "{}: there is no directory to link it in, since neither XDG_CACHE_HOME nor HOME is set; set one, or link it by name: cellring link",
        file.display()
    )]
    NoCache {
        /// The file.
        file: PathBuf,
    },
    /// The directory for what is linked on the way cannot be used.
    #[error("{}: {error}; it is needed to link the file automatically: set XDG_CACHE_HOME, or link it by name: cellring link", path.display())]
    Cache {
        /// The file, or the directory.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A column that AnnData cannot hold, so that the store could not be exported.
    #[error(
        "{table} cannot be converted: its {fault}, or leave it out with --obs-columns if it is a column of obs"
    )]
    Column {
        /// The table and its file.
        table: String,
        /// The column, and what is wrong with it.
        fault: ColumnFault,
    },
    /// The input cannot be converted in so little memory.
    #[error(
        "a memory limit of {} is too small to convert {}: {} MiB suffice, the largest part of them for {reason}; give --memory {}MiB or more",
        limit(*limit_bytes), file.display(), needed_bytes.div_ceil(1 << 20), needed_bytes.div_ceil(1 << 20)
    )]
    Memory {
        /// The input.
        file: PathBuf,
        /// The limit.
        limit_bytes: u64,
        /// The least that suffices.
        needed_bytes: u64,
        /// What takes most of it.
        reason: String,
    },
    /// The table of the columns cannot be brought into the store's order.
    #[error("var cannot be put into the store's order of columns ({0}); use --var-order source")]
    Var(String),
    /// The obs cannot be brought into the wished order.
    #[error("the obs cannot be put into another order ({0}); convert without --shuffle and --sort-by")]
    Order(String),
    /// The store cannot be made in parts so.
    #[error("{0}")]
    Parts(String),
    /// A part is there already, but another one.
    #[error(
        "{}: exists already, made from another input or with other settings; give --force to replace it",
        path.display()
    )]
    OtherPart {
        /// The part.
        path: PathBuf,
    },
    /// The filter takes no obs.
    #[error("{}: {nothing}", file.display())]
    NothingTaken {
        /// The input.
        file: PathBuf,
        /// What the filter's columns hold instead.
        nothing: cellring::Error,
    },
    /// Columns were named that do not exist.
    #[error("obs of {} has no column {}; its columns are {available}", file.display(), names.join(", "))]
    NoColumn {
        /// The input.
        file: PathBuf,
        /// The names.
        names: Vec<String>,
        /// What there is.
        available: String,
    },
    /// A list of genes cannot be read.
    #[error("cannot read the list of genes {}: {error}", file.display())]
    GeneList {
        /// The list.
        file: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// None of the genes that were named exists.
    #[error(
        "none of the {n_named} genes that {} names ({named}) is among those of {}, which have names such as {held}; use such names in the list",
        list.display(), file.display()
    )]
    NoGene {
        /// The list.
        list: PathBuf,
        /// How many it names.
        n_named: usize,
        /// The first few of these.
        named: String,
        /// The input.
        file: PathBuf,
        /// The first few of its names.
        held: String,
    },
    /// A list of genes is empty.
    #[error("{} names no gene; write one name per line", list.display())]
    EmptyGeneList {
        /// The list.
        list: PathBuf,
    },
    /// The threads could not be started.
    #[error(
        "cannot start {threads} threads: {error}; take fewer, or allow the user more processes (ulimit -u)"
    )]
    Threads {
        /// How many.
        threads: usize,
        /// Why not.
        error: String,
    },
}

impl From<EncodeError> for ConvertError {
    fn from(error: EncodeError) -> Self {
        Self::Store(error.into())
    }
}

/// A limit as somebody may have given it.
fn limit(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{bytes} bytes"),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ => format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}
