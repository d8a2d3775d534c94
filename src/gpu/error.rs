//! What can go wrong with a GPU.

use super::driver::{DriverError, open_remedy};

/// Why something could not be done on a GPU. Every message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// There is no code for GPUs in this program.
    #[error("cellring was built without GPU support; build it with the Cargo feature `cuda`")]
    NotBuilt,
    /// There is no driver.
    #[error(
        "no driver of an NVIDIA GPU was found ({reason}); install it, or in a container pass it in (docker run --gpus all)"
    )]
    NoDriver {
        /// What was looked for.
        reason: String,
    },
    /// There is a driver, and it gives no device.
    #[error("GPU {ordinal} cannot be used: {source}; {}", open_remedy(source.code))]
    Open {
        /// Number of the device.
        ordinal: u32,
        /// What the driver said.
        source: DriverError,
    },
    /// The driver gave no memory of the device.
    #[error(
        "{needed_bytes} bytes of GPU memory could not be allocated: {source}; lower batch_size, the unit of copies or the number of stages"
    )]
    Memory {
        /// Bytes asked for.
        needed_bytes: usize,
        /// What the driver said.
        source: DriverError,
    },
    /// A call failed.
    #[error("the GPU cannot continue: {0}; an earlier kernel or copy of this process may be the cause")]
    Driver(#[from] DriverError),
    /// All stages are taken.
    #[error(
        "all {n_stages} stages hold data that is still in use; drop what was copied earlier, or set StagerConfig::grow, with which \
         stages are added as long as the device has memory for them"
    )]
    NoStage {
        /// Number of stages.
        n_stages: usize,
    },
    /// A number of stages or a unit that makes no sense.
    #[error(
        "copies in {n_stages} stages with units of {unit_bytes} bytes make no sense; choose 2 to 16 stages and units of 1 byte to 1 GiB"
    )]
    Config {
        /// Number of stages asked for.
        n_stages: usize,
        /// Unit asked for.
        unit_bytes: usize,
    },
    /// A thread could not be started.
    #[error("a thread that waits for copies could not be started: {0}")]
    Thread(std::io::Error),
}
