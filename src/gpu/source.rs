//! What can be copied to the device.

/// What can be copied to the device: a [`Minibatch`](crate::Minibatch), or a [`Fetch`](crate::loader::Fetch) of undecoded bytes.
pub trait CopySource: private::CopySource {}

pub(crate) mod private {
    use crate::gpu::array::Arrays;

    /// What the stager needs to know. `bytes` must give the same memory each time, wherever `self` has been moved, and nothing
    /// may be able to change it as long as `self` lives.
    pub trait CopySource: Send + 'static {
        /// What stays on the host.
        type HostPart: Send + Sync + 'static;

        /// Whether what it holds is wanted back before the next one can come.
        const IS_SCARCE: bool;

        /// Takes what stays on the host.
        fn take_host_part(&mut self) -> Self::HostPart;

        /// The arrays that are copied.
        fn arrays(&self) -> Arrays<'_>;
    }
}
