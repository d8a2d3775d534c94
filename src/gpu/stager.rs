//! Copies to the device through a few stages: memory there that is used again and again.
//!
//! What is copied is owned by a [`PendingCopies`] until the event after its copies has occurred, whatever else happens: an error
//! half-way, a panic, an early drop. Where the driver cannot tell any more whether a copy is over, its source is leaked.
#![allow(
    unsafe_code,
    reason = "has the driver copy from addresses, and sees to it that they stay valid"
)]

use crate::Error;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::array::{Arrays, DeviceArray};
use super::config::{CopyStats, StagerConfig};
use super::copy_plan::{Move, plan_copies};
use super::device::Gpu;
use super::error::GpuError;
use super::host::HostBuffer;
use super::on_device::OnDevice;
use super::pending::{PendingCopies, end_in_order};
use super::source::CopySource;
use super::stage::{Stage, StageLease, Stages, lock};
use super::stream::{Event, Stream};

/// Copies sources to the device, on one stream.
///
/// [`copy`](Self::copy) returns at once. Each source is dropped, so that its memory goes back where it came from (a slot to its pool,
/// the arrays of a minibatch to the loader), as soon as the event after its copy has occurred; a thread waits for that.
pub struct Stager<S: CopySource> {
    // Dropped first: then the thread ends once all copies are over.
    pending: Option<Sender<PendingCopies<S>>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Stages>,
    config: StagerConfig,
}

impl<S: CopySource> Stager<S> {
    /// Makes the stages. `stream` is the one that copies are put on: best one of their own, so that kernels on other streams run at
    /// the same time.
    ///
    /// # Errors
    /// If the configuration makes no sense, or the driver refuses.
    pub fn new(gpu: &Gpu, stream: &Stream, config: StagerConfig) -> Result<Self, Error> {
        let StagerConfig {
            n_stages, unit_bytes, ..
        } = config;
        if !(2..=16).contains(&n_stages) || !(1..=1 << 30).contains(&unit_bytes) {
            return Err(GpuError::Config { n_stages, unit_bytes }.into());
        }
        let is_lost = Arc::<AtomicBool>::default();
        let shared = Arc::new(Stages {
            gpu: gpu.clone(),
            stream: stream.clone(),
            free: Mutex::new((0..n_stages).map(|_| Stage::new(&is_lost)).collect()),
            stats: Mutex::default(),
            is_lost,
        });
        let (pending, receiver) = channel();
        let stats = shared.clone();
        let thread = std::thread::Builder::new()
            .name("cellring-gpu".into())
            .spawn(move || end_in_order(&receiver, &stats))
            .map_err(GpuError::Thread)?;
        Ok(Self {
            pending: Some(pending),
            thread: Some(thread),
            shared,
            config,
        })
    }

    /// How it was made.
    pub fn config(&self) -> StagerConfig {
        self.config
    }

    /// The stream that copies are put on.
    pub fn stream(&self) -> &Stream {
        &self.shared.stream
    }

    /// What has been copied so far.
    pub fn stats(&self) -> CopyStats {
        *lock(&self.shared.stats)
    }

    /// Waits for all copies.
    pub fn finish(self) -> CopyStats {
        let shared = self.shared.clone();
        drop(self);
        *lock(&shared.stats)
    }

    /// Puts the copies of some sources, together in one stage, on the stream. Waits only where the stage's copy before the last
    /// has not ended.
    ///
    /// # Errors
    /// If the driver refuses; then what was already on its way has ended, and the sources are dropped.
    pub fn copy(&self, sources: Vec<S>) -> Result<Vec<OnDevice<S>>, Error> {
        let shared = &self.shared;
        let n_stages = self.config.n_stages;
        // The one that was freed first: its copy and its users are the likeliest to be done.
        let stage = {
            let mut free = lock(&shared.free);
            match (free.is_empty(), self.config.grow) {
                (false, _) => free.remove(0),
                (true, true) => Stage::new(&shared.is_lost),
                (true, false) => return Err(GpuError::NoStage { n_stages }.into()),
            }
        };
        // From here on it goes back however this ends.
        let mut lease = StageLease {
            shared: shared.clone(),
            stage: Some(stage),
            users: Mutex::default(),
        };
        let Some(stage) = &mut lease.stage else {
            return Err(GpuError::NoStage { n_stages }.into());
        };
        let mut copies = PendingCopies {
            sources,
            stream: shared.stream.clone(),
            began: Event::new(shared.gpu.driver())?,
            copied: Arc::new(Event::new(shared.gpu.driver())?),
            is_recorded: false,
            is_lost: shared.is_lost.clone(),
        };
        let host_parts: Vec<S::HostPart> = copies
            .sources
            .iter_mut()
            .map(|source| source.take_host_part())
            .collect();
        let arrays: Vec<Arrays<'_>> = copies.sources.iter().map(|source| source.arrays()).collect();
        let flat: Vec<&[&[u8]]> = arrays
            .iter()
            .flatten()
            .map(|(_, pieces)| pieces.as_slice())
            .collect();
        let lens = |pieces: &&[&[u8]]| pieces.iter().map(|piece| piece.len()).collect();
        let plan = plan_copies(&flat.iter().map(lens).collect::<Vec<_>>(), self.config.unit_bytes);

        // The gathered bytes may be written once the copy before has read them.
        let since = std::time::Instant::now();
        if let Some(copied) = &stage.copied {
            copied.wait()?;
        }
        lock(&shared.stats).wait_ns += u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        stage.reserve(&shared.gpu, plan.total_bytes)?;
        let gathered_bytes = match plan.moves.first() {
            Some(Move::Gathered { len_bytes }) => *len_bytes,
            _ => 0,
        };
        let gathered = stage.gather(&shared.gpu, gathered_bytes);
        for each in &plan.gathers {
            let from = &flat[each.array][each.piece][each.bytes.clone()];
            gathered[each.to..each.to + from.len()].copy_from_slice(from);
        }
        // The device's memory may be written once no stream reads it: that the stream waits for.
        for event in &stage.in_use {
            event.hold(&shared.stream)?;
        }
        stage.in_use.clear();
        let gathered = stage.gather.as_ref().map_or(&[][..], HostBuffer::as_slice);
        let start = stage.memory.as_ref().map_or(0, |memory| memory.start);
        let driver = shared.gpu.driver();
        copies.began.record(&shared.stream)?;
        for each in &plan.moves {
            let (from, to) = match each {
                Move::Gathered { len_bytes } => (&gathered[..*len_bytes], 0),
                Move::Direct {
                    array,
                    piece,
                    bytes,
                    to,
                } => (&flat[*array][*piece][bytes.clone()], *to),
            };
            let to = start + to as u64;
            // SAFETY: `to` lies within the stage's memory, which has room for all of the plan and is freed only
            // after the stage's `copied`, or after `copies`, which is dropped before `lease` where this ends
            // early. `from` is memory of a source, which `copies` owns until then, moved or not, and which
            // no code can change (see `private::CopySource`); or the stage's gathered bytes, for which the same
            // holds as for its memory.
            unsafe { driver.copy_to_device(to, from.as_ptr(), from.len(), shared.stream.raw()) }?;
        }
        copies.copied.record(&shared.stream)?;
        copies.is_recorded = true;
        stage.copied = Some(copies.copied.clone());

        let mut places = plan.places.iter();
        let on_device: Vec<Vec<DeviceArray>> = arrays
            .iter()
            .map(|arrays| {
                let placed = arrays.iter().zip(places.by_ref());
                placed
                    .map(|((form, _), place)| form.at(start + *place as u64))
                    .collect()
            })
            .collect();
        {
            let mut stats = lock(&shared.stats);
            stats.stages += 1;
            stats.copies += plan.moves.len() as u64;
            stats.bytes += plan.moves.iter().map(Move::len_bytes).sum::<usize>() as u64;
            stats.gathered_bytes += plan.gathers.iter().map(|each| each.bytes.len()).sum::<usize>() as u64;
        }
        drop(flat);
        drop(arrays);
        let lease = Arc::new(lease);
        if let Some(pending) = &self.pending {
            // Were the thread gone, the copies would come back in the error, and wait here.
            let _ = pending.send(copies);
        }
        let placed = on_device.into_iter().zip(host_parts);
        Ok(placed
            .map(|(arrays, host_part)| OnDevice {
                lease: lease.clone(),
                arrays,
                host_part,
            })
            .collect())
    }
}

impl<S: CopySource> Drop for Stager<S> {
    fn drop(&mut self) {
        drop(self.pending.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic; were it to, they would have waited as they were dropped.
            let _ = thread.join();
        }
    }
}

impl<S: CopySource> fmt::Debug for Stager<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stager")
            .field("config", &self.config)
            .field("stream", &self.shared.stream)
            .finish_non_exhaustive()
    }
}
