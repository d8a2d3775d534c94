//! Stages: memory on the device that is used again and again, and who uses it.

use crate::Error;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::config::CopyStats;
use super::device::{DeviceMemory, Gpu};
use super::host::HostBuffer;
use super::stream::{Event, Stream};

/// The memory of a stage.
pub(super) struct Stage {
    pub(super) memory: Option<DeviceMemory>,
    /// Host memory for what is gathered.
    pub(super) gather: Option<HostBuffer>,
    /// Comes after its last copies.
    pub(super) copied: Option<Arc<Event>>,
    /// What has to occur before the memory may be written again.
    pub(super) in_use: Vec<Event>,
    pub(super) is_lost: Arc<AtomicBool>,
}

/// What stages, the data on the device and the thread that waits have in common.
pub(super) struct Stages {
    pub(super) gpu: Gpu,
    pub(super) stream: Stream,
    pub(super) free: Mutex<Vec<Stage>>,
    pub(super) stats: Mutex<CopyStats>,
    /// Set once the driver could not tell whether copies were over.
    pub(super) is_lost: Arc<AtomicBool>,
}

/// A stage in use, by what is in it. The last one to drop it frees the stage.
pub(super) struct StageLease {
    pub(super) shared: Arc<Stages>,
    pub(super) stage: Option<Stage>,
    /// Streams on which something uses the stage.
    pub(super) users: Mutex<Vec<Stream>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    /// A stage without memory, which comes with its first use.
    pub(super) fn new(is_lost: &Arc<AtomicBool>) -> Self {
        Self {
            memory: None,
            gather: None,
            copied: None,
            in_use: Vec::new(),
            is_lost: is_lost.clone(),
        }
    }

    /// Room for so many gathered bytes.
    pub(super) fn gather(&mut self, gpu: &Gpu, len_bytes: usize) -> &mut [u8] {
        let room = self.gather.as_ref().map_or(0, |gather| gather.as_slice().len());
        if room < len_bytes {
            // Old and new need not exist at the same time.
            self.gather = None;
            self.gather = Some(HostBuffer::pinned(gpu, len_bytes + len_bytes / 8));
        }
        match &mut self.gather {
            Some(gather) => &mut gather.as_mut_slice()[..len_bytes],
            None => &mut [],
        }
    }

    /// Makes room on the device.
    pub(super) fn reserve(&mut self, gpu: &Gpu, len_bytes: usize) -> Result<(), Error> {
        if self.memory.as_ref().map_or(0, |memory| memory.len_bytes) >= len_bytes {
            return Ok(());
        }
        for event in &self.in_use {
            event.wait()?;
        }
        self.in_use.clear();
        // Old and new need not exist at the same time.
        self.memory = None;
        let roomy = (len_bytes + len_bytes / 8).next_multiple_of(2 << 20);
        self.memory = Some(gpu.allocate(roomy)?);
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let events = self.in_use.iter().chain(self.copied.as_deref());
        let failed = events.map(Event::wait).any(|waited| waited.is_err());
        if failed || self.is_lost.load(Ordering::Relaxed) {
            // Something may still read them.
            mem::forget(self.gather.take());
            mem::forget(self.memory.take());
        }
    }
}

impl Drop for StageLease {
    fn drop(&mut self) {
        let Some(mut stage) = self.stage.take() else {
            return;
        };
        for stream in self
            .users
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            let marked = Event::new(stream.driver()).and_then(|event| {
                event.record(&stream)?;
                Ok(event)
            });
            match marked {
                Ok(event) => stage.in_use.push(event),
                // Then everything there has to be over now.
                Err(_) => {
                    let _ = stream.synchronize_raw();
                }
            }
        }
        lock(&self.shared.free).push(stage);
    }
}
