//! A device that fails on purpose: the same state of reads in flight, driven by a seed.
//!
//! Reads are carried out by pread(2), one at a time, but come back in a random order, short, with errors, or
//! not at all, as the seed has it.

mod gate;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::engine::backend::pread::Pread;
use crate::engine::error::{EngineError, errno};
use crate::engine::in_flight::{FlightId, InFlight};
use crate::engine::piece::Piece;
use crate::engine::port::{Io, Outlet, Port, Workers};
use crate::engine::share::Task;
use crate::engine::stats::SharedStats;
use crate::engine::submission::Submission;
use crate::engine::threads::ReadAt;

pub use gate::Gate;

/// What goes wrong, and how often: probabilities of 0 to 1 for each read.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Decides everything.
    pub seed: u64,
    /// Reads held back at a time, of which any may be the next to come back; at least 1.
    pub depth: u32,
    /// A read brings only some of its bytes, rarely a multiple of the alignment.
    pub short: f64,
    /// A read fails for good.
    pub eio: f64,
    /// A read has to be tried again.
    pub eagain: f64,
    /// A read is interrupted.
    pub eintr: f64,
    /// What the device wants offsets, lengths and addresses to be multiples of; a power of two.
    pub alignment: u32,
    /// Every file ends here.
    pub cut_bytes: Option<u64>,
    /// Every read takes at least so long; there is one at a time.
    pub delay: Duration,
    /// Holds completions back. With a depth of 1 they come in the order of the submissions.
    pub gate: Option<Gate>,
}

impl Faults {
    /// Nothing but reordering.
    pub fn none(seed: u64) -> Faults {
        Faults {
            seed,
            depth: 16,
            short: 0.0,
            eio: 0.0,
            eagain: 0.0,
            eintr: 0.0,
            alignment: 512,
            cut_bytes: None,
            delay: Duration::ZERO,
            gate: None,
        }
    }
}

pub(in crate::engine) struct Sim {
    shared: Arc<Shared>,
    workers: Workers,
}

struct Shared {
    in_flight: Mutex<InFlight>,
    work: Condvar,
    reader: Pread,
    faults: Faults,
    outlet: Arc<Outlet>,
    stats: Arc<SharedStats>,
}

impl Sim {
    pub(in crate::engine) fn start(port: &Port, faults: Faults) -> Result<Sim, EngineError> {
        let shared = Arc::new(Shared {
            in_flight: Mutex::new(InFlight::new(Arc::clone(&port.files))),
            work: Condvar::new(),
            reader: Pread {
                files: Arc::clone(&port.files),
                panics_after: None,
            },
            faults,
            outlet: Arc::clone(&port.outlet),
            stats: port.outlet.stats.add(),
        });
        let mut workers = Workers::default();
        let for_thread = Arc::clone(&shared);
        workers.spawn("cellring-sim", move || for_thread.work())?;
        Ok(Sim { shared, workers })
    }
}

impl Io for Sim {
    fn submit(&self, submission: Submission, checked: Result<(), EngineError>) {
        self.shared.lock().push(Task::whole(submission, checked));
        self.shared.work.notify_one();
        if let Some(gate) = &self.shared.faults.gate {
            gate.note_submission();
        }
    }

    fn stop(&mut self) {
        if let Some(gate) = &self.shared.faults.gate {
            gate.open();
        }
        self.shared.lock().stop();
        self.shared.work.notify_one();
        self.workers.join();
    }
}

impl Shared {
    fn work(&self) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.faults.seed);
        let mut held: Vec<(FlightId, Piece)> = Vec::new();
        let mut in_flight = self.lock();
        loop {
            while held.len() < self.faults.depth.max(1) as usize {
                let Some(flight) = in_flight.next() else { break };
                held.push(flight);
            }
            if let Some(completion) = in_flight.pop_ready() {
                drop(in_flight);
                if let Some(gate) = &self.faults.gate {
                    gate.pass();
                }
                self.outlet.deliver(completion);
                in_flight = self.lock();
            } else if !held.is_empty() {
                let (id, piece) = held.swap_remove(rng.random_range(0..held.len()));
                drop(in_flight);
                let result = self.read(piece, &mut rng);
                in_flight = self.lock();
                in_flight.finish(id, result);
                self.stats.publish(in_flight.counts());
            } else if in_flight.is_stopped() && in_flight.is_empty() {
                return;
            } else {
                in_flight = self.work.wait(in_flight).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn read(&self, mut piece: Piece, rng: &mut ChaCha8Rng) -> io::Result<u32> {
        let faults = &self.faults;
        if !faults.delay.is_zero() {
            #[allow(clippy::disallowed_methods, reason = "a slow device is what is simulated")]
            thread::sleep(faults.delay);
        }
        for (probability, code) in [
            (faults.eio, libc::EIO),
            (faults.eagain, libc::EAGAIN),
            (faults.eintr, libc::EINTR),
        ] {
            if rng.random_bool(probability) {
                return errno(-code);
            }
        }
        if let Some(cut_bytes) = faults.cut_bytes {
            let left = cut_bytes.saturating_sub(piece.offset_bytes);
            piece.len_bytes = piece.len_bytes.min(u32::try_from(left).unwrap_or(u32::MAX));
        }
        // Never to nothing: that would be the end of the file.
        if piece.len_bytes > 1 && rng.random_bool(faults.short) {
            piece.len_bytes = rng.random_range(1..piece.len_bytes);
        }
        self.reader.read_at(&piece)
    }

    fn lock(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
