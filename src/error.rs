//! The error of the library.

use std::fmt;
use std::io;
use std::path::Path;

use crate::buffer::BufferError;
use crate::engine::EngineError;
use crate::format::FormatError;
use crate::gpu::{DriverError, GpuError};
use crate::linked::LinkedError;
use crate::loader::{CollectionError, LoaderError};
use crate::minibatch::OutputError;
use crate::plan::PlanError;
use crate::select::SelectError;
use crate::writer::{EncodeError, WriteError};

/// A `Result` of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done.
///
/// Displayed, it is one sentence: what is wrong and where, what was expected and found, and what helps. The sentence includes what the
/// system said, so [`source`](std::error::Error::source) is `None`, and a report that follows sources says nothing twice;
/// [`io_error`](Self::io_error) has the system's error.
///
/// ```
/// use cellring::{ErrorKind, Store};
///
/// let error = Store::open("nowhere.cellring").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotAStore);
/// assert_eq!(error.path(), Some("nowhere.cellring".as_ref()));
/// ```
pub struct Error(Box<Cause>);

/// What kind of thing went wrong: what a program decides by. The message tells the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The system, or a device, refused to read, to write or to start a thread. [`Error::io_error`] has what the system said, if it said it
    /// by a number.
    Io,
    /// The path is not a store.
    NotAStore,
    /// The store or a saved state was made by another version, or needs a feature that this one does not know.
    Version,
    /// A store, a part or a saved state is damaged: its bytes are not those that were written.
    Damaged,
    /// A column, gene, matrix or obs that was asked for by name or number does not exist.
    NotFound,
    /// A filter takes no obs.
    Empty,
    /// A setting, a filter or a list is not valid, or does not fit the data or another setting.
    Config,
    /// Several stores do not go together.
    Mismatch,
    /// A file that a linked store leads to is not what it was when it was linked.
    Changed,
    /// An epoch cannot be resumed with these settings or this data.
    Resume,
    /// The values do not allow what was asked for, such as normalising what is not counts.
    Values,
    /// The memory budget, or the memory of the machine or the GPU, does not suffice.
    Memory,
    /// The system does not offer what was asked for: a backend, a GPU, a filesystem that renames directories.
    Unavailable,
    /// Something has the name of what is to be written, and is not replaced.
    Exists,
    /// Another process is writing to the store: try again when it is done.
    Busy,
    /// What was in progress was ended: by another epoch of the same loader, by a fork, or by dropping it.
    Stopped,
    /// A bug of this library.
    Bug,
}

/// The error of the layer that found it, for tests.
#[doc(hidden)]
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    Buffer(BufferError),
    Collection(CollectionError),
    Encode(EncodeError),
    Engine(EngineError),
    Format(FormatError),
    Gpu(GpuError),
    Linked(LinkedError),
    Loader(LoaderError),
    Output(OutputError),
    Plan(PlanError),
    Select(SelectError),
    Write(WriteError),
}

impl Error {
    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        match &*self.0 {
            Cause::Buffer(error) => kind_of_buffer(error),
            Cause::Collection(error) => kind_of_collection(error),
            Cause::Encode(EncodeError::BlockTooLarge { .. }) => ErrorKind::Config,
            Cause::Engine(error) => kind_of_engine(error),
            Cause::Format(error) => kind_of_format(error),
            Cause::Gpu(error) => kind_of_gpu(error),
            Cause::Linked(error) => kind_of_linked(error),
            Cause::Loader(error) => kind_of_loader(error),
            Cause::Output(error) => kind_of_output(error),
            Cause::Plan(error) => kind_of_plan(error),
            Cause::Select(error) => kind_of_select(error),
            Cause::Write(error) => kind_of_write(error),
        }
    }

    /// The store, file or directory that it is about, if it is about one. Errors of settings, lists and filters have none.
    pub fn path(&self) -> Option<&Path> {
        match &*self.0 {
            Cause::Collection(error) => path_of_collection(error),
            Cause::Engine(error) => path_of_engine(error),
            Cause::Format(error) => path_of_format(error),
            Cause::Linked(error) => Some(error.path()),
            Cause::Loader(error) => path_of_loader(error),
            Cause::Write(error) => path_of_write(error),
            Cause::Buffer(_)
            | Cause::Encode(_)
            | Cause::Gpu(_)
            | Cause::Output(_)
            | Cause::Plan(_)
            | Cause::Select(_) => None,
        }
    }

    /// What the system said, if it refused something.
    pub fn io_error(&self) -> Option<&io::Error> {
        match &*self.0 {
            Cause::Buffer(BufferError::Memory { source, .. })
            | Cause::Engine(
                EngineError::Open { source, .. }
                | EngineError::Read { source, .. }
                | EngineError::Thread { source },
            )
            | Cause::Gpu(GpuError::Thread(source))
            | Cause::Loader(LoaderError::Thread(source))
            | Cause::Format(FormatError::Io { error: source, .. })
            | Cause::Linked(LinkedError::Io { error: source, .. })
            | Cause::Write(
                WriteError::Io { error: source, .. }
                | WriteError::Remains { error: source, .. }
                | WriteError::Stripe { error: source, .. }
                | WriteError::NoRename { error: source, .. },
            ) => Some(source),
            _ => None,
        }
    }

    /// The error of the layer that found it. No promise is made about these types.
    #[doc(hidden)]
    pub fn cause(&self) -> &Cause {
        &self.0
    }

    /// For what tells one cause from others.
    pub(crate) fn into_cause(self) -> Cause {
        *self.0
    }

    fn inner(&self) -> &(dyn std::error::Error + 'static) {
        match &*self.0 {
            Cause::Buffer(error) => error,
            Cause::Collection(error) => error,
            Cause::Encode(error) => error,
            Cause::Engine(error) => error,
            Cause::Format(error) => error,
            Cause::Gpu(error) => error,
            Cause::Linked(error) => error,
            Cause::Loader(error) => error,
            Cause::Output(error) => error,
            Cause::Plan(error) => error,
            Cause::Select(error) => error,
            Cause::Write(error) => error,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.inner(), f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `main` prints errors in this form: the sentence is what its reader needs.
        write!(f, "{:?}: {}", self.kind(), self.inner())
    }
}

impl std::error::Error for Error {}

impl From<Cause> for Error {
    fn from(cause: Cause) -> Self {
        Self(Box::new(cause))
    }
}

macro_rules! from {
    ($($variant:ident $error:ty),* $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self(Box::new(Cause::$variant(error)))
            }
        })*
    };
}

from!(
    Buffer BufferError,
    Collection CollectionError,
    Encode EncodeError,
    Engine EngineError,
    Format FormatError,
    Gpu GpuError,
    Linked LinkedError,
    Loader LoaderError,
    Plan PlanError,
);

// What only passes on the error of another layer becomes that one.

impl From<OutputError> for Error {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Format(error) => error.into(),
            error => Self(Box::new(Cause::Output(error))),
        }
    }
}

impl From<SelectError> for Error {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Format(error) => error.into(),
            SelectError::Plan(error) => error.into(),
            error => Self(Box::new(Cause::Select(error))),
        }
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Format(error) => error.into(),
            WriteError::Encode(error) => error.into(),
            error => Self(Box::new(Cause::Write(error))),
        }
    }
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        GpuError::from(error).into()
    }
}

fn kind_of_buffer(error: &BufferError) -> ErrorKind {
    match error {
        BufferError::Shape { .. } => ErrorKind::Config,
        BufferError::TooLarge { .. } | BufferError::Memory { .. } => ErrorKind::Memory,
    }
}

fn kind_of_collection(error: &CollectionError) -> ErrorKind {
    match error {
        CollectionError::Empty
        | CollectionError::Shares { .. }
        | CollectionError::BadShare { .. }
        | CollectionError::NothingToDraw { .. } => ErrorKind::Config,
        CollectionError::OtherGenes { .. }
        | CollectionError::NothingInCommon { .. }
        | CollectionError::RepeatedNames { .. }
        | CollectionError::NoName { .. }
        | CollectionError::TooManyGenes(_) => ErrorKind::Mismatch,
    }
}

fn kind_of_engine(error: &EngineError) -> ErrorKind {
    match error {
        EngineError::Open { .. }
        | EngineError::Read { .. }
        | EngineError::Ring { .. }
        | EngineError::Thread { .. } => ErrorKind::Io,
        EngineError::Unavailable { .. } => ErrorKind::Unavailable,
        EngineError::Truncated { .. } => ErrorKind::Damaged,
        EngineError::InvalidRead { .. } | EngineError::ForeignSlot { .. } => ErrorKind::Config,
        EngineError::Stopped | EngineError::Forked { .. } => ErrorKind::Stopped,
        EngineError::Panicked => ErrorKind::Bug,
    }
}

fn kind_of_format(error: &FormatError) -> ErrorKind {
    match error {
        FormatError::Io { .. } => ErrorKind::Io,
        FormatError::NotAStore { .. } => ErrorKind::NotAStore,
        FormatError::Version { .. } | FormatError::LinkVersion { .. } | FormatError::Feature { .. } => {
            ErrorKind::Version
        }
        FormatError::Length { .. }
        | FormatError::Checksum { .. }
        | FormatError::Invalid { .. }
        | FormatError::Obs { .. }
        | FormatError::Table { .. } => ErrorKind::Damaged,
        FormatError::NoColumn { .. } | FormatError::NoMatrix { .. } => ErrorKind::NotFound,
    }
}

fn kind_of_linked(error: &LinkedError) -> ErrorKind {
    match error {
        LinkedError::Io { .. } | LinkedError::TooManyFiles { .. } => ErrorKind::Io,
        LinkedError::Changed { .. } => ErrorKind::Changed,
        LinkedError::Outside { .. } => ErrorKind::Config,
        LinkedError::Chunk { .. } | LinkedError::Column { .. } | LinkedError::Row { .. } => {
            ErrorKind::Damaged
        }
        LinkedError::Overflow { .. } | LinkedError::Inexact { .. } => ErrorKind::Values,
        LinkedError::NoBlocks { .. } => ErrorKind::Unavailable,
        LinkedError::Budget { .. } => ErrorKind::Memory,
    }
}

fn kind_of_gpu(error: &GpuError) -> ErrorKind {
    match error {
        GpuError::NotBuilt | GpuError::NoDriver { .. } | GpuError::Open { .. } => ErrorKind::Unavailable,
        GpuError::Memory { .. } | GpuError::NoStage { .. } => ErrorKind::Memory,
        GpuError::Driver(_) | GpuError::Thread(_) => ErrorKind::Io,
        GpuError::Config { .. } => ErrorKind::Config,
    }
}

fn kind_of_loader(error: &LoaderError) -> ErrorKind {
    match error {
        LoaderError::NothingSelected { .. } | LoaderError::ColumnType { .. } => ErrorKind::Config,
        LoaderError::Budget { .. } | LoaderError::RowsBudget { .. } => ErrorKind::Memory,
        LoaderError::TooManyValues { .. } | LoaderError::TooManyReordered { .. } => ErrorKind::Config,
        LoaderError::OtherOutput { .. } => ErrorKind::Resume,
        LoaderError::Unfit { .. } | LoaderError::Beyond { .. } | LoaderError::Rounding { .. } => {
            ErrorKind::Values
        }
        LoaderError::ValueTypes { .. } | LoaderError::ColumnKinds { .. } => ErrorKind::Mismatch,
        LoaderError::NoSuchObs { .. } => ErrorKind::NotFound,
        LoaderError::Superseded | LoaderError::RowsStopped => ErrorKind::Stopped,
        LoaderError::Thread(_) => ErrorKind::Io,
        LoaderError::Panicked => ErrorKind::Bug,
    }
}

fn kind_of_output(error: &OutputError) -> ErrorKind {
    match error {
        OutputError::Format(error) => kind_of_format(error),
        OutputError::NoGenes { .. } | OutputError::NoSuchColumn { .. } => ErrorKind::NotFound,
        OutputError::Budget { .. } => ErrorKind::Memory,
        OutputError::NotText { .. }
        | OutputError::RepeatedGene(_)
        | OutputError::RepeatedColumn(_)
        | OutputError::OtherStore { .. }
        | OutputError::Weights { .. }
        | OutputError::Computed { .. }
        | OutputError::TargetSum(_)
        | OutputError::NoRanks => ErrorKind::Config,
    }
}

fn kind_of_plan(error: &PlanError) -> ErrorKind {
    match error {
        PlanError::ObsOutOfRange { .. } => ErrorKind::NotFound,
        PlanError::StateVersion { .. } => ErrorKind::Version,
        PlanError::StateMismatch { .. } | PlanError::StateTooLong { .. } => ErrorKind::Resume,
        PlanError::StateBeyondEnd { .. } => ErrorKind::Damaged,
        PlanError::ZeroSize { .. }
        | PlanError::RankOutOfRange { .. }
        | PlanError::TooManyObs { .. }
        | PlanError::TooManyDraws { .. }
        | PlanError::FetchTooLarge { .. }
        | PlanError::UnknownStrategy { .. }
        | PlanError::UnusedSubset { .. }
        | PlanError::WrongLength { .. }
        | PlanError::OtherDataSet { .. }
        | PlanError::UserOrder { .. }
        | PlanError::BadWeight { .. }
        | PlanError::NothingToDraw { .. }
        | PlanError::TooFewObs { .. }
        | PlanError::SetTooLarge { .. }
        | PlanError::NoControls { .. }
        | PlanError::BadFractions { .. }
        | PlanError::TooManyClasses => ErrorKind::Config,
    }
}

fn kind_of_select(error: &SelectError) -> ErrorKind {
    match error {
        SelectError::Format(error) => kind_of_format(error),
        SelectError::Plan(error) => kind_of_plan(error),
        SelectError::NothingTaken { .. } => ErrorKind::Empty,
        SelectError::FilterColumn { .. } => ErrorKind::NotFound,
        SelectError::Filter { .. } | SelectError::ColumnType { .. } | SelectError::Split { .. } => {
            ErrorKind::Config
        }
        SelectError::MissingWeight { .. } | SelectError::BadWeight { .. } => ErrorKind::Values,
    }
}

fn kind_of_write(error: &WriteError) -> ErrorKind {
    match error {
        WriteError::Format(error) => kind_of_format(error),
        WriteError::Encode(EncodeError::BlockTooLarge { .. })
        | WriteError::Option(_)
        | WriteError::NoName { .. } => ErrorKind::Config,
        WriteError::Io { .. }
        | WriteError::Remains { .. }
        | WriteError::Directory { .. }
        | WriteError::Stripe { .. } => ErrorKind::Io,
        WriteError::Exists { .. } | WriteError::NotReplaceable { .. } | WriteError::NotRemovable { .. } => {
            ErrorKind::Exists
        }
        WriteError::Busy { .. } | WriteError::Held { .. } => ErrorKind::Busy,
        WriteError::NoRename { .. } => ErrorKind::Unavailable,
        WriteError::Part { .. } => ErrorKind::Mismatch,
        WriteError::Sink => ErrorKind::Bug,
    }
}

fn path_of_collection(error: &CollectionError) -> Option<&Path> {
    match error {
        CollectionError::OtherGenes { store, .. }
        | CollectionError::NothingInCommon { store, .. }
        | CollectionError::RepeatedNames { store, .. }
        | CollectionError::NoName { store, .. }
        | CollectionError::BadShare { store, .. }
        | CollectionError::NothingToDraw { store, .. } => Some(store),
        CollectionError::Empty | CollectionError::TooManyGenes(_) | CollectionError::Shares { .. } => None,
    }
}

fn path_of_engine(error: &EngineError) -> Option<&Path> {
    match error {
        EngineError::Open { path, .. }
        | EngineError::Read { path, .. }
        | EngineError::Truncated { path, .. } => Some(path),
        _ => None,
    }
}

fn path_of_format(error: &FormatError) -> Option<&Path> {
    match error {
        FormatError::NotAStore { path, .. } => Some(path),
        FormatError::NoMatrix { store, .. } => Some(store),
        FormatError::Io { file, .. }
        | FormatError::Version { file, .. }
        | FormatError::LinkVersion { file, .. }
        | FormatError::Feature { file, .. }
        | FormatError::Length { file, .. }
        | FormatError::Checksum { file, .. }
        | FormatError::Invalid { file, .. }
        | FormatError::Obs { file, .. }
        | FormatError::Table { file, .. }
        | FormatError::NoColumn { file, .. } => Some(file),
    }
}

fn path_of_loader(error: &LoaderError) -> Option<&Path> {
    match error {
        LoaderError::Unfit { store, .. }
        | LoaderError::Beyond { store, .. }
        | LoaderError::Rounding { store, .. }
        | LoaderError::ValueTypes { store, .. }
        | LoaderError::ColumnType { store, .. }
        | LoaderError::ColumnKinds { store, .. } => Some(store),
        _ => None,
    }
}

fn path_of_write(error: &WriteError) -> Option<&Path> {
    match error {
        WriteError::Io { file, .. } => Some(file),
        WriteError::Exists { path }
        | WriteError::NotReplaceable { path }
        | WriteError::NotRemovable { path, .. }
        | WriteError::Remains { path, .. }
        | WriteError::Directory { path, .. }
        | WriteError::NoName { path }
        | WriteError::Stripe { path, .. }
        | WriteError::Busy { path }
        | WriteError::Held { path, .. }
        | WriteError::NoRename { path, .. }
        | WriteError::Part { path, .. } => Some(path),
        WriteError::Format(error) => path_of_format(error),
        WriteError::Sink | WriteError::Option(_) | WriteError::Encode(_) => None,
    }
}
