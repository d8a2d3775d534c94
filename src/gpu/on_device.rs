//! Data on the device.

use crate::Error;
use std::fmt;
use std::sync::Arc;

use super::array::DeviceArray;
use super::device::Gpu;
use super::source::CopySource;
use super::stage::{StageLease, lock};
use super::stream::Stream;

/// A source whose content is on the device, or on its way there.
pub struct OnDevice<S: CopySource> {
    pub(super) lease: Arc<StageLease>,
    pub(super) arrays: Vec<DeviceArray>,
    pub(super) host_part: S::HostPart,
}

impl<S: CopySource> OnDevice<S> {
    /// Says that `stream` is going to use the data: what is put on it from now on waits for the copy, and the data stays as it is
    /// until what is put on it before the data is dropped is done. Costs the caller no wait.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn on(&self, stream: &Stream) -> Result<&[DeviceArray], Error> {
        let mut users = lock(&self.lease.users);
        if !users.contains(stream) {
            // On the stream of the copies everything happens in its order anyway. It is a user all the same: the memory is not
            // freed before its kernels are done.
            if *stream != self.lease.shared.stream
                && let Some(copied) = self.lease.stage.as_ref().and_then(|stage| stage.copied.as_ref())
            {
                copied.hold(stream)?;
            }
            users.push(stream.clone());
        }
        Ok(&self.arrays)
    }

    /// What stayed on the host.
    pub(crate) fn host_part(&self) -> &S::HostPart {
        &self.host_part
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.lease.shared.gpu
    }

    /// Copies the bytes of an array back, after what is on the stream, and waits for them. For tests; training does not need it.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn read_back(&self, array: usize, stream: &Stream) -> Result<Vec<u8>, Error> {
        // On the stream of the copies it comes after them anyway, and over when this returns.
        let array = match *stream == self.lease.shared.stream {
            true => self.arrays[array],
            false => self.on(stream)?[array],
        };
        let mut bytes = vec![0; array.size_bytes()];
        stream
            .driver()
            .copy_to_host(&mut bytes, array.address, stream.raw())?;
        Ok(bytes)
    }

    /// What keeps the data on the device as it is, for a capsule.
    pub(crate) fn hold(&self) -> impl Send + Sync + 'static {
        Hold(self.lease.clone())
    }
}

struct Hold(#[expect(dead_code, reason = "it is held, not read")] Arc<StageLease>);

impl<S: CopySource> fmt::Debug for OnDevice<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnDevice")
            .field("arrays", &self.arrays)
            .finish_non_exhaustive()
    }
}
