//! From the library's errors to Python's exceptions.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use cellring::ErrorKind;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// How long work without the interpreter's lock goes on before Python is asked whether a signal has come.
pub(crate) const SIGNAL_WAIT: Duration = Duration::from_millis(50);

/// Name of the class in `cellring._errors` for an error.
fn class_of(error: &cellring::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotAStore if error.path().is_some_and(|path| !path.exists()) => "StoreNotFoundError",
        ErrorKind::Exists => "StoreExistsError",
        ErrorKind::Damaged => "DamagedError",
        ErrorKind::Changed => "ChangedError",
        ErrorKind::Io
        | ErrorKind::NotAStore
        | ErrorKind::Version
        | ErrorKind::Busy
        | ErrorKind::Unavailable => "StoreError",
        ErrorKind::NotFound => "NotFoundError",
        ErrorKind::Resume => "ResumeError",
        ErrorKind::Memory => "MemoryBudgetError",
        ErrorKind::Stopped => "StoppedError",
        ErrorKind::Bug => "InternalError",
        // Empty, Config, Mismatch, Values, and what later releases add.
        _ => "InputError",
    }
}

/// The exception of this class of `cellring._errors`, with this sentence.
pub(crate) fn exception(py: Python<'_>, class: &str, sentence: &str) -> PyErr {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = ERRORS.get_or_try_init(py, || py.import("cellring._errors").map(Bound::unbind));
    let made = module.and_then(|module| {
        let class = module.bind(py).getattr(class)?.cast_into::<PyType>()?;
        class.call1((sentence,))
    });
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// An error of the library as an exception.
pub(crate) fn to_python(py: Python<'_>, error: &cellring::Error) -> PyErr {
    exception(py, class_of(error), &error.to_string())
}

/// A value that the library refuses before it is asked.
pub(crate) fn refused(py: Python<'_>, sentence: &str) -> PyErr {
    exception(py, "InputError", sentence)
}

/// Runs what may take time without the interpreter's lock; a panic becomes an exception.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> cellring::Result<T> + Send,
) -> PyResult<T> {
    detached_with(py, work, |error| to_python(py, &error))
}

/// The same for work that asks now and then whether it is to go on: a signal ends it, with the exception that its handler raises.
pub(crate) fn until_a_signal<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&dyn Fn() -> bool) -> cellring::Result<T> + Send,
) -> PyResult<T> {
    let mut raised = None;
    let done = detached(py, || {
        let (asked, raising) = (Cell::new(None::<Instant>), Cell::new(None));
        let done = work(&|| {
            let now = Instant::now();
            if asked.get().is_none_or(|asked| now - asked < SIGNAL_WAIT) {
                asked.set(asked.get().or(Some(now)));
                return true;
            }
            asked.set(Some(now));
            let answer = Python::attach(|py| py.check_signals());
            let goes_on = answer.is_ok();
            raising.set(answer.err());
            goes_on
        });
        raised = raising.into_inner();
        done
    });
    raised.map_or(done, Err)
}

/// The same for work with errors of another type.
pub(crate) fn detached_with<T: Send, E: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, E> + Send,
    exception_of: impl FnOnce(E) -> PyErr,
) -> PyResult<T> {
    let result = py.detach(|| catch_unwind(AssertUnwindSafe(work)));
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(exception_of(error)),
        Err(_) => Err(exception(
            py,
            "InternalError",
            "cellring has a bug: it panicked, as the lines above say; please report them",
        )),
    }
}
