//! The module as Python imports it.

/// The module `cellring._cellring`. A Python without the interpreter's lock turns it on when it imports this: nothing was tried without it.
#[pyo3::pymodule(name = "_cellring", gil_used = true)]
pub mod module {
    #[pymodule_export]
    use crate::arrays::Array;
    #[pymodule_export]
    use crate::command::{command_options, main};
    #[pymodule_export]
    use crate::device::{DeviceArray, DeviceMinibatch};
    #[pymodule_export]
    use crate::loader::{Epoch, Loader};
    #[pymodule_export]
    use crate::minibatch::Minibatch;
    #[pymodule_export]
    use crate::setup::Setup;
    #[pymodule_export]
    use crate::store::Store;
    #[pymodule_export]
    use crate::table::Table;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("IS_DEBUG_BUILD", cfg!(debug_assertions))
    }
}
