//! Backends whose reads are calls that return when they are done: several threads share one table.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::backend::{Io, Port, Workers};
use super::error::{Breakdown, EngineError};
use super::in_flight::InFlight;
use super::piece::Piece;
use super::share::Task;
use super::stats::SharedStats;
use super::submission::{Completion, Submission};

/// A read that blocks its thread.
pub(super) trait ReadAt: Send + Sync + 'static {
    /// Writes as many of the piece's bytes to its target as the file has, and returns how many.
    ///
    /// The table gives out pieces whose targets lie in slots that it owns, that do not overlap, and that
    /// no other thread touches until [`InFlight::finish`].
    fn read_at(&self, piece: &Piece) -> io::Result<u32>;
}

/// The threads and what they share.
pub(super) struct Threads<R> {
    shared: Arc<Shared<R>>,
    workers: Workers,
}

struct Shared<R> {
    reader: R,
    table: Mutex<InFlight>,
    work: Condvar,
    port: Port,
    stats: Arc<SharedStats>,
}

impl<R: ReadAt> Threads<R> {
    pub(super) fn start(port: &Port, reader: R, n_threads: u32) -> Result<Threads<R>, EngineError> {
        let table = Mutex::new(InFlight::new(Arc::clone(&port.files)));
        let shared = Shared {
            reader,
            table,
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
        let mut table = self.shared.lock();
        if table.is_abandoned() {
            drop(table);
            let Submission { tag, slots, reads } = submission;
            return self.shared.port.outlet.deliver(Completion {
                tag,
                slots,
                reads,
                result: Err(Breakdown::Panic.error()),
            });
        }
        table.push(Task::whole(submission, checked));
        drop(table);
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
        let mut table = self.lock();
        table.abandon(&Breakdown::Panic);
        while let Some(completion) = table.pop_ready() {
            drop(table);
            self.port.outlet.deliver(completion);
            table = self.lock();
        }
        drop(table);
        self.work.notify_all();
    }

    /// Hands back what is done, else reads a piece, else sleeps.
    fn work(&self) {
        let mut table = self.lock();
        loop {
            if table.is_abandoned() {
                break;
            }
            if let Some(completion) = table.pop_ready() {
                drop(table);
                self.port.outlet.deliver(completion);
                table = self.lock();
            } else if let Some((id, piece)) = table.next() {
                drop(table);
                let result = self.reader.read_at(&piece);
                table = self.lock();
                if table.is_abandoned() {
                    break;
                }
                table.finish(id, result);
                self.stats.publish(table.counts());
            } else if table.is_stopped() && table.is_empty() {
                break;
            } else {
                table = self.work.wait(table).unwrap_or_else(PoisonError::into_inner);
            }
        }
        drop(table);
        // Others may sleep, having seen reads in flight that are over now.
        self.work.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, InFlight> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
