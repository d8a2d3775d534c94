//! A stand-in for the driver and its device, for tests on machines without one.
//!
//! It keeps the driver's promises and no more than these: what is put on a stream happens in the order of that stream and at any time
//! otherwise, a copy from page-locked memory reads its source when it happens and not when it is asked for, events that
//! were never recorded have occurred. In which order streams go on is drawn from a seed. So code that lets go of memory too early
//! copies wrong bytes here, in some order.
#![allow(unsafe_code, reason = "copies from addresses, as the device does")]

mod calls;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use super::driver::{DevicePtr, DriverError, RawStream, Result, code};
use super::stream::Stream;

/// The stand-in. Clones are the same device.
#[derive(Clone)]
pub struct StandIn {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

/// What a stand-in refuses.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// Answers every registration of memory beyond the first so many with this `CUresult`.
    pub register: Option<(usize, u32)>,
    /// Answers every allocation on the device beyond the first so many with this `CUresult`.
    pub allocate: Option<(usize, u32)>,
    /// Answers every copy beyond the first so many with this `CUresult`.
    pub copy: Option<(usize, u32)>,
    /// Once so many operations have happened, the device is lost: nothing happens any more, and every call says so.
    pub lost_after: Option<usize>,
}

/// What has been called, as often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Ranges that are registered at this moment.
    pub registered: usize,
    /// Bytes in them.
    pub registered_bytes: usize,
    /// Registrations that were asked for, refused ones included.
    pub registrations: usize,
    /// Bytes of each copy to the device, in the order in which they were asked for.
    pub copies: Vec<usize>,
    /// How many of these came from registered memory.
    pub pinned_copies: usize,
    /// Allocations on the device that have not been freed.
    pub allocations: usize,
    /// Allocations ever made.
    pub allocations_made: usize,
    /// Events and streams that have not been destroyed.
    pub handles: usize,
    /// Operations that were put on streams and have not happened.
    pub pending: usize,
}

#[derive(Default)]
struct State {
    refusals: Refusals,
    counts: Counts,
    /// Address and length of registered ranges.
    registered: BTreeMap<usize, usize>,
    /// By their address on the device.
    memory: BTreeMap<DevicePtr, Vec<u8>>,
    streams: BTreeMap<u64, VecDeque<Op>>,
    /// How often each event was recorded and how often that happened.
    events: BTreeMap<u64, Occurrence>,
    next_handle: u64,
    next_address: DevicePtr,
    /// Operations that have happened: the clock of the device.
    happened: usize,
    random: Option<ChaCha8Rng>,
    /// Whether waiting makes things happen; otherwise only [`StandIn::step`] does.
    runs: bool,
    on_unregister: Option<Arc<dyn Fn() + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Occurrence {
    recorded: u64,
    occurred: u64,
    at: usize,
    /// What waits for it goes on waiting, though.
    is_destroyed: bool,
}

enum Op {
    /// From an address, read when it happens.
    Copy {
        to: DevicePtr,
        from: usize,
        len_bytes: usize,
    },
    /// From pageable memory, which the driver has read before its call returned.
    Staged {
        to: DevicePtr,
        bytes: Vec<u8>,
    },
    /// A kernel that reads, and leaves what it read there.
    Read {
        from: DevicePtr,
        len_bytes: usize,
        into: Arc<Mutex<Vec<u8>>>,
    },
    Record {
        event: u64,
        number: u64,
    },
    Wait {
        event: u64,
        number: u64,
    },
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandIn").finish_non_exhaustive()
    }
}

fn refused(call: &'static str, code: u32) -> DriverError {
    DriverError { call, code }
}

impl StandIn {
    /// A device that goes on, one operation at a time, whenever somebody waits for it.
    pub fn new(seed: u64) -> Self {
        Self::with_state(seed, true)
    }

    /// A device that does nothing but for [`step`](Self::step).
    pub fn stopped(seed: u64) -> Self {
        Self::with_state(seed, false)
    }

    fn with_state(seed: u64, runs: bool) -> Self {
        let state = State {
            random: Some(ChaCha8Rng::seed_from_u64(seed)),
            runs,
            // The default stream is always there.
            streams: BTreeMap::from([(0, VecDeque::new())]),
            next_handle: 1,
            next_address: 0x7000_0000_0000,
            ..State::default()
        };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
        }
    }

    /// The same device, which refuses some of what it is asked for.
    #[must_use]
    pub fn refusing(self, refusals: Refusals) -> Self {
        self.lock().refusals = refusals;
        self.inner.changed.notify_all();
        self
    }

    /// Runs `call` at the begin of each unregistration.
    pub fn on_unregister(&self, call: impl Fn() + Send + Sync + 'static) {
        self.lock().on_unregister = Some(Arc::new(call));
    }

    /// What has been called.
    pub fn counts(&self) -> Counts {
        let state = self.lock();
        Counts {
            registered: state.registered.len(),
            registered_bytes: state.registered.values().sum(),
            allocations: state.memory.len(),
            handles: state.streams.len() - 1
                + state.events.values().filter(|event| !event.is_destroyed).count(),
            pending: state.streams.values().map(VecDeque::len).sum(),
            ..state.counts.clone()
        }
    }

    /// Has one operation happen, of a stream that is drawn. False where nothing can happen.
    pub fn step(&self) -> bool {
        let stepped = self.lock().step();
        self.inner.changed.notify_all();
        stepped
    }

    /// Has things happen by themselves from now on, where they did not.
    pub fn run(&self) {
        self.lock().runs = true;
        self.inner.changed.notify_all();
    }

    /// Puts a kernel on a stream that reads some bytes when its turn comes, and leaves them in what is returned.
    pub fn launch_read(&self, stream: &Stream, from: DevicePtr, len_bytes: usize) -> Arc<Mutex<Vec<u8>>> {
        let into = Arc::default();
        let op = Op::Read {
            from,
            len_bytes,
            into: Arc::clone(&into),
        };
        let put = self.lock().put("cuLaunchKernel", stream.raw(), op);
        assert!(put.is_ok(), "the stream is one of this device");
        into
    }

    /// The bytes on the device from this address on, as they are now; `None` where nothing is allocated there.
    pub fn device_bytes(&self, address: DevicePtr, len_bytes: usize) -> Option<Vec<u8>> {
        self.lock()
            .bytes_mut(address, len_bytes)
            .map(|bytes| bytes.to_vec())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_done`, or the device is lost.
    fn until(&self, call: &'static str, is_done: impl Fn(&State) -> bool) -> Result<()> {
        let mut state = self.lock();
        loop {
            state.check(call)?;
            if is_done(&state) {
                return Ok(());
            }
            if state.runs && state.step() {
                self.inner.changed.notify_all();
            } else {
                state = self
                    .inner
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl State {
    fn check(&self, call: &'static str) -> Result<()> {
        match self.refusals.lost_after {
            Some(most) if self.happened >= most => Err(refused(call, code::ILLEGAL_ADDRESS)),
            _ => Ok(()),
        }
    }

    fn bytes_mut(&mut self, address: DevicePtr, len_bytes: usize) -> Option<&mut [u8]> {
        let (&start, bytes) = self.memory.range_mut(..=address).next_back()?;
        let offset = usize::try_from(address - start).ok()?;
        bytes.get_mut(offset..offset.checked_add(len_bytes)?)
    }

    fn may_happen(&self, op: &Op) -> bool {
        match op {
            Op::Wait { event, number } => self
                .events
                .get(event)
                .is_none_or(|occurrence| occurrence.occurred >= *number),
            _ => true,
        }
    }

    fn step(&mut self) -> bool {
        if self.check("").is_err() {
            return false;
        }
        let able: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, ops)| ops.front().is_some_and(|op| self.may_happen(op)))
            .map(|(&stream, _)| stream)
            .collect();
        let Some(random) = self.random.as_mut().filter(|_| !able.is_empty()) else {
            return false;
        };
        let stream = able[(random.next_u64() % able.len() as u64) as usize];
        let op = self.streams.get_mut(&stream).and_then(VecDeque::pop_front);
        self.happened += 1;
        match op {
            Some(Op::Copy { to, from, len_bytes }) => {
                // SAFETY: whoever asked for the copy promised that its source stays readable until now.
                let bytes = unsafe { std::slice::from_raw_parts(from as *const u8, len_bytes) };
                self.write(to, bytes);
            }
            Some(Op::Staged { to, bytes }) => self.write(to, &bytes),
            Some(Op::Read {
                from,
                len_bytes,
                into,
            }) => {
                let bytes = self.bytes_mut(from, len_bytes).map(|bytes| bytes.to_vec());
                assert!(bytes.is_some(), "a kernel read memory that was freed");
                *into.lock().unwrap_or_else(PoisonError::into_inner) = bytes.unwrap_or_default();
            }
            Some(Op::Record { event, number }) => {
                let at = self.happened;
                if let Some(occurrence) = self.events.get_mut(&event) {
                    occurrence.occurred = occurrence.occurred.max(number);
                    occurrence.at = at;
                }
            }
            Some(Op::Wait { .. }) | None => {}
        }
        true
    }

    fn write(&mut self, to: DevicePtr, bytes: &[u8]) {
        let place = self.bytes_mut(to, bytes.len());
        assert!(place.is_some(), "a copy to {to:#x} went to memory that was freed");
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    }

    fn put(&mut self, call: &'static str, stream: RawStream, op: Op) -> Result<()> {
        self.check(call)?;
        let ops = self.streams.get_mut(&stream.0);
        ops.ok_or(refused(call, code::INVALID_VALUE))?.push_back(op);
        Ok(())
    }

    fn handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }

    fn is_registered(&self, from: usize, len_bytes: usize) -> bool {
        self.registered
            .range(..=from)
            .next_back()
            .is_some_and(|(start, len)| from + len_bytes <= start + len)
    }
}
