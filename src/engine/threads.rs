//! Backends whose reads are calls that return when they are done: several threads share what is in flight.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::backend::method::Started;
use super::error::{Breakdown, EngineError};
use super::in_flight::InFlight;
use super::piece::Piece;
use super::port::{Io, Port, Workers};
use super::refusal::refusal;
use super::share::Task;
use super::stats::SharedStats;
use super::submission::{Completion, Submission};

/// Most threads of a backend.
const MAX_THREADS: u32 = 256;

/// A read that blocks its thread.
pub(super) trait ReadAt: Send + Sync + 'static {
    /// Writes as many of the piece's bytes to its target as the file has, and returns how many.
    ///
    /// [`InFlight`] gives out pieces whose targets lie in slots that it owns, that do not overlap, and that
    /// no other thread touches until [`InFlight::finish`].
    fn read_at(&self, piece: &Piece) -> io::Result<u32>;
}

/// The threads and what they share.
struct Threads<R> {
    shared: Arc<Shared<R>>,
    workers: Workers,
}

struct Shared<R> {
    reader: R,
    in_flight: Mutex<InFlight>,
    work: Condvar,
    port: Port,
    stats: Arc<SharedStats>,
}

/// Starts threads that read, after a read that proves the reader; `step` says what is proven.
pub(super) fn start<R: ReadAt>(port: &Port, reader: R, n_threads: u32, step: &str) -> Started {
    if let Some(piece) = port.probe(None)
        && let Err(e) = reader.read_at(&piece)
    {
        return Ok(Err(refusal(
            &format!("{step} of {}", port.files.path(piece.file).display()),
            &e,
        )));
    }
    let n_threads = n_threads.clamp(1, MAX_THREADS);
    Ok(Ok(Box::new(Threads::start(port, reader, n_threads)?)))
}

impl<R: ReadAt> Threads<R> {
    fn start(port: &Port, reader: R, n_threads: u32) -> Result<Threads<R>, EngineError> {
        let in_flight = Mutex::new(InFlight::new(Arc::clone(&port.files)));
        let shared = Shared {
            reader,
            in_flight,
            work: Condvar::new(),
            port: port.clone(),
            stats: port.outlet.stats.add(),
        };
        let mut threads = Threads {
            shared: Arc::new(shared),
            workers: Workers::default(),
        };
        for _ in 0..n_threads {
            let shared = Arc::clone(&threads.shared);
            if let Err(error) = threads.workers.spawn("cellring-read", move || shared.run()) {
                threads.stop();
                return Err(error);
            }
        }
        Ok(threads)
    }
}

impl<R: ReadAt> Io for Threads<R> {
    fn submit(&self, submission: Submission, checked: Result<(), EngineError>) {
        let several = submission.reads.len() > 1;
        let mut in_flight = self.shared.lock();
        if in_flight.is_abandoned() {
            drop(in_flight);
            let Submission { tag, slots, reads } = submission;
            return self.shared.port.outlet.deliver(Completion {
                tag,
                slots,
                reads,
                result: Err(Breakdown::Panic.error()),
            });
        }
        in_flight.push(Task::whole(submission, checked));
        drop(in_flight);
        if several {
            self.shared.work.notify_all();
        } else {
            self.shared.work.notify_one();
        }
    }

    fn stop(&mut self) {
        self.shared.lock().stop();
        self.shared.work.notify_all();
        self.workers.join();
    }
}

impl<R: ReadAt> Shared<R> {
    /// What each thread does. A panic ends all of them: what was in flight may never come back.
    fn run(&self) {
        if panic::catch_unwind(AssertUnwindSafe(|| self.work())).is_ok() {
            return;
        }
        self.port.break_down(Breakdown::Panic);
        let mut in_flight = self.lock();
        in_flight.abandon(&Breakdown::Panic);
        while let Some(completion) = in_flight.pop_ready() {
            drop(in_flight);
            self.port.outlet.deliver(completion);
            in_flight = self.lock();
        }
        drop(in_flight);
        self.work.notify_all();
    }

    /// Hands back what is done, else reads a piece, else sleeps.
    fn work(&self) {
        let mut in_flight = self.lock();
        loop {
            if in_flight.is_abandoned() {
                break;
            }
            if let Some(completion) = in_flight.pop_ready() {
                drop(in_flight);
                self.port.outlet.deliver(completion);
                in_flight = self.lock();
            } else if let Some((id, piece)) = in_flight.next() {
                drop(in_flight);
                let result = self.reader.read_at(&piece);
                in_flight = self.lock();
                if in_flight.is_abandoned() {
                    break;
                }
                in_flight.finish(id, result);
                self.stats.publish(in_flight.counts());
            } else if in_flight.is_stopped() && in_flight.is_empty() {
                break;
            } else {
                in_flight = self.work.wait(in_flight).unwrap_or_else(PoisonError::into_inner);
            }
        }
        drop(in_flight);
        // Others may sleep, having seen reads in flight that are over now.
        self.work.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
