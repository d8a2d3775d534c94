//! Copies to the device through a few stages: memory there that is used again and again.
//!
//! What is copied is owned by a [`Flight`] until the event behind its copies has occurred, whatever else happens: an error
//! half-way, a panic, an early drop. Where the driver cannot tell any more whether a copy is over, its source is leaked.
#![allow(
    unsafe_code,
    reason = "has the driver copy from addresses, and sees to it that they stay valid"
)]

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::array::{Arrays, DeviceArray};
use super::device::{DeviceMemory, Gpu};
use super::error::GpuError;
use super::host::HostBuffer;
use super::layout::{self, Move};
use super::stream::{Event, Stream};

/// How data is copied to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagerConfig {
    /// Stages, each with its own memory on the device: while one is used, the next are filled. 2 or 3 hide the copies.
    pub n_stages: usize,
    /// Copies are not shorter than this many bytes, unless a stage is. Arrays that are shorter are gathered on the host first,
    /// and so are several minibatches to one stage. (Arrays of less than 32 KiB are not page-locked: units below that gain nothing.)
    pub unit_bytes: usize,
}

impl StagerConfig {
    /// 3 stages, units of 1 MiB.
    pub const DEFAULT: Self = Self {
        n_stages: 3,
        unit_bytes: 1 << 20,
    };
}

impl Default for StagerConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What can be copied to the device: a [`Minibatch`](crate::Minibatch), or a [`Fetch`](crate::loader::Fetch) of undecoded bytes.
pub trait Source: private::Source {}

pub(crate) mod private {
    use super::Arrays;

    /// What the stager needs to know. `bytes` must give the same memory each time, wherever `self` has been moved, and nothing
    /// may be able to change it as long as `self` lives.
    pub trait Source: Send + 'static {
        /// What stays on the host.
        type Head: Send + Sync + 'static;

        /// Whether what it holds is wanted back before the next one can come.
        const IS_SCARCE: bool;

        /// Takes what stays on the host.
        fn behead(&mut self) -> Self::Head;

        /// The arrays that are copied.
        fn arrays(&self) -> Arrays<'_>;
    }
}

/// What has been copied so far, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyStats {
    /// Copies that the driver was asked for.
    pub copies: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Bytes that were gathered on the host first.
    pub gathered_bytes: u64,
    /// Stages filled.
    pub stages: u64,
    /// Nanoseconds from the begin of the first to the end of the last copy of a stage, by the device's clock, summed over stages
    /// that are done.
    pub copy_ns: u64,
    /// Nanoseconds in which the caller waited for a stage's earlier copy.
    pub wait_ns: u64,
}

/// The memory of a stage.
struct Stage {
    memory: Option<DeviceMemory>,
    /// Host memory for what is gathered.
    gather: Option<HostBuffer>,
    /// Stands behind its last copies.
    copied: Option<Arc<Event>>,
    /// What has to occur before the memory may be written again.
    in_use: Vec<Event>,
    is_lost: Arc<AtomicBool>,
}

/// What stages, the data on the device and the thread that waits have in common.
struct Shared {
    gpu: Gpu,
    stream: Stream,
    free: Mutex<Vec<Stage>>,
    stats: Mutex<CopyStats>,
    /// Set once the driver could not tell whether copies were over.
    is_lost: Arc<AtomicBool>,
}

/// A stage in use, by what is in it. The last one to drop it frees the stage.
struct Lease {
    shared: Arc<Shared>,
    stage: Option<Stage>,
    /// Streams on which something uses the stage.
    users: Mutex<Vec<Stream>>,
}

/// Copies under way, and what they read from.
struct Flight<S> {
    sources: Vec<S>,
    stream: Stream,
    began: Event,
    copied: Arc<Event>,
    /// Whether `copied` stands behind all copies.
    is_recorded: bool,
    is_lost: Arc<AtomicBool>,
}

/// Copies sources to the device, on one stream.
///
/// [`copy`](Self::copy) returns at once. Each source is dropped, so that its memory goes back where it came from (a slot to its pool,
/// the arrays of a minibatch to the loader), as soon as the event behind its copy has occurred; a thread waits for that.
pub struct Stager<S: Source> {
    // Dropped first: then the thread ends once all copies are over.
    flights: Option<Sender<Flight<S>>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    config: StagerConfig,
}

/// A source whose content is on the device, or on its way there.
pub struct OnDevice<S: Source> {
    lease: Arc<Lease>,
    arrays: Vec<DeviceArray>,
    head: S::Head,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Source> Stager<S> {
    /// Makes the stages. `stream` is the one that copies are put on: best one of their own, so that kernels on other streams run at
    /// the same time.
    ///
    /// # Errors
    /// [`GpuError`] where the configuration makes no sense, or the driver refuses.
    pub fn new(gpu: &Gpu, stream: &Stream, config: StagerConfig) -> Result<Self, GpuError> {
        let StagerConfig { n_stages, unit_bytes } = config;
        if !(2..=16).contains(&n_stages) || !(1..=1 << 30).contains(&unit_bytes) {
            return Err(GpuError::Config { n_stages, unit_bytes });
        }
        let is_lost = Arc::<AtomicBool>::default();
        let stage = |_| Stage {
            is_lost: is_lost.clone(),
            memory: None,
            gather: None,
            copied: None,
            in_use: Vec::new(),
        };
        let shared = Arc::new(Shared {
            gpu: gpu.clone(),
            stream: stream.clone(),
            free: Mutex::new((0..n_stages).map(stage).collect()),
            stats: Mutex::default(),
            is_lost,
        });
        let (flights, landing) = channel();
        let stats = shared.clone();
        let thread = std::thread::Builder::new()
            .name("cellring-gpu".into())
            .spawn(move || land(&landing, &stats))
            .map_err(GpuError::Thread)?;
        Ok(Self {
            flights: Some(flights),
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
    /// [`GpuError`]; then what was already on its way has ended, and the sources are dropped.
    pub fn copy(&self, sources: Vec<S>) -> Result<Vec<OnDevice<S>>, GpuError> {
        let shared = &self.shared;
        let n_stages = self.config.n_stages;
        // The one that was freed first: its copy and its users are the likeliest to be done.
        let stage = {
            let mut free = lock(&shared.free);
            match free.is_empty() {
                true => return Err(GpuError::NoStage { n_stages }),
                false => free.remove(0),
            }
        };
        // From here on it goes back however this ends.
        let mut lease = Lease {
            shared: shared.clone(),
            stage: Some(stage),
            users: Mutex::default(),
        };
        let Some(stage) = &mut lease.stage else {
            return Err(GpuError::NoStage { n_stages });
        };
        let mut flight = Flight {
            sources,
            stream: shared.stream.clone(),
            began: Event::new(shared.gpu.driver())?,
            copied: Arc::new(Event::new(shared.gpu.driver())?),
            is_recorded: false,
            is_lost: shared.is_lost.clone(),
        };
        let heads: Vec<S::Head> = flight.sources.iter_mut().map(|source| source.behead()).collect();
        let arrays: Vec<Arrays<'_>> = flight.sources.iter().map(|source| source.arrays()).collect();
        let flat: Vec<&[&[u8]]> = arrays
            .iter()
            .flatten()
            .map(|(_, pieces)| pieces.as_slice())
            .collect();
        let lens = |pieces: &&[&[u8]]| pieces.iter().map(|piece| piece.len()).collect();
        let plan = layout::plan(&flat.iter().map(lens).collect::<Vec<_>>(), self.config.unit_bytes);

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
        // The device's memory may be written once nobody reads it: that the stream waits for.
        for event in &stage.in_use {
            event.hold(&shared.stream)?;
        }
        stage.in_use.clear();
        let gathered = stage.gather.as_ref().map_or(&[][..], HostBuffer::as_slice);
        let start = stage.memory.as_ref().map_or(0, |memory| memory.start);
        let driver = shared.gpu.driver();
        flight.began.record(&shared.stream)?;
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
            // SAFETY: `to` lies within the stage's memory, which has room for all of the layout and is freed only
            // behind the stage's `copied`, or behind `flight`, which is dropped before `lease` where this ends early. `from` is memory of a source, which the flight owns until then, moved or not,
            // and which nobody can change (see `private::Source`); or the stage's gathered bytes, for which the same holds
            // as for its memory.
            unsafe { driver.copy_to_device(to, from.as_ptr(), from.len(), shared.stream.raw()) }?;
        }
        flight.copied.record(&shared.stream)?;
        flight.is_recorded = true;
        stage.copied = Some(flight.copied.clone());

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
        if let Some(flights) = &self.flights {
            // Were the thread gone, the flight would come back in the error, and wait here.
            let _ = flights.send(flight);
        }
        let placed = on_device.into_iter().zip(heads);
        Ok(placed
            .map(|(arrays, head)| OnDevice {
                lease: lease.clone(),
                arrays,
                head,
            })
            .collect())
    }
}

impl<S: Source> Drop for Stager<S> {
    fn drop(&mut self) {
        drop(self.flights.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic; were it to, the flights would have waited as they were dropped.
            let _ = thread.join();
        }
    }
}

impl<S: Source> fmt::Debug for Stager<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stager")
            .field("config", &self.config)
            .field("stream", &self.shared.stream)
            .finish_non_exhaustive()
    }
}

/// Ends one flight after the other, in the order of their stream, as their events occur.
fn land<S>(flights: &Receiver<Flight<S>>, shared: &Shared) {
    for mut flight in flights {
        if flight.land() {
            let took = flight.copied.elapsed_ns(&flight.began);
            lock(&shared.stats).copy_ns += took.unwrap_or(0);
        }
    }
}

impl<S> Flight<S> {
    /// Waits until all copies are over, and lets go of their sources: drops them where the copies are over, and leaks them
    /// if it is unknown.
    fn land(&mut self) -> bool {
        let over = match self.is_recorded {
            true => self.copied.wait().or_else(|_| self.stream.synchronize_raw()),
            false => self.stream.synchronize_raw(),
        };
        let sources = mem::take(&mut self.sources);
        match over {
            Ok(()) => drop(sources),
            Err(error) => {
                tracing::error!(
                    "the GPU does not tell whether its copies from {} buffers are over, so that they are never used again: {error}",
                    sources.len()
                );
                mem::forget(sources);
                self.is_lost.store(true, Ordering::Relaxed);
            }
        }
        over.is_ok()
    }
}

impl<S> Drop for Flight<S> {
    fn drop(&mut self) {
        if !self.sources.is_empty() {
            self.land();
        }
    }
}

impl Stage {
    /// Room for so many gathered bytes.
    fn gather(&mut self, gpu: &Gpu, len_bytes: usize) -> &mut [u8] {
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
    fn reserve(&mut self, gpu: &Gpu, len_bytes: usize) -> Result<(), GpuError> {
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

impl Drop for Lease {
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

impl<S: Source> OnDevice<S> {
    /// Says that `stream` is going to use the data: what is put on it from now on waits for the copy, and the data stays as it is
    /// until what is put on it before the data is dropped is done. Costs the caller no wait.
    ///
    /// # Errors
    /// [`GpuError::Driver`].
    pub fn on(&self, stream: &Stream) -> Result<&[DeviceArray], GpuError> {
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
    pub(crate) fn head(&self) -> &S::Head {
        &self.head
    }

    /// Number of the device.
    pub(crate) fn ordinal(&self) -> u32 {
        self.lease.shared.gpu.ordinal()
    }

    /// Copies the bytes of an array back, after what is on the stream, and waits for them. For tests; training does not need it.
    ///
    /// # Errors
    /// [`GpuError::Driver`].
    pub fn read_back(&self, array: usize, stream: &Stream) -> Result<Vec<u8>, GpuError> {
        // On the stream of the copies it is behind them anyway, and over when this returns.
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
    pub(crate) fn keeper(&self) -> impl Send + Sync + 'static {
        Keeper(self.lease.clone())
    }
}

struct Keeper(#[expect(dead_code, reason = "it is held, not read")] Arc<Lease>);

impl<S: Source> fmt::Debug for OnDevice<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnDevice")
            .field("arrays", &self.arrays)
            .finish_non_exhaustive()
    }
}
