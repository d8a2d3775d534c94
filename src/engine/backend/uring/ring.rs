//! A ring as the rest of the engine sees it: one thread builds it, and it alone ever touches it.

use std::sync::{Arc, mpsc};

use super::config::RingConfig;
use super::inbox::Inbox;
use super::thread::serve;
use crate::engine::error::EngineError;
use crate::engine::port::{Port, Workers};
use crate::engine::refusal::refusal;
use crate::engine::share::Task;
use crate::engine::submission::{Completion, Submission};

/// The ring as the rest of the engine sees it.
pub(super) struct Ring {
    inbox: Arc<Inbox>,
    workers: Workers,
}

impl Ring {
    /// Starts the thread, and returns when it has proven its ring by a real read. The inner error says in one
    /// clause which step was refused and what can be done.
    pub(super) fn start(port: Port, config: RingConfig) -> Result<Result<Ring, String>, EngineError> {
        let inbox = match Inbox::new() {
            Ok(inbox) => Arc::new(inbox),
            Err(e) => return Ok(Err(refusal("a pipe", &e))),
        };
        let mut workers = Workers::default();
        let (report, started) = mpsc::sync_channel(1);
        let for_thread = Arc::clone(&inbox);
        workers.spawn("cellring-ring", move || {
            serve(&port, &config, &for_thread, &report)
        })?;
        let refused = match started.recv() {
            Ok(Ok(())) => {
                return Ok(Ok(Ring { inbox, workers }));
            }
            Ok(Err(refused)) => refused,
            Err(mpsc::RecvError) => "the thread of the ring panicked".to_owned(),
        };
        workers.join();
        Ok(Err(refused))
    }

    /// Hands the ring a task. If the ring has broken down, the task comes to nothing, which may complete its
    /// submission.
    pub(super) fn put(&self, task: Task) -> Option<Completion> {
        let (
            Task {
                submission, share, ..
            },
            reason,
        ) = self.inbox.put(task).err()?;
        let error = EngineError::Ring { reason };
        if let Some(share) = share {
            share.fail();
            return share.end(Some(error), false);
        }
        let Submission { tag, slots, reads } = submission;
        Some(Completion {
            tag,
            slots,
            reads,
            result: Err(error),
        })
    }

    /// Has the thread end when nothing is in flight any more.
    pub(super) fn ask_to_stop(&self) {
        self.inbox.stop();
    }

    /// Waits for the thread to end.
    pub(super) fn join(&mut self) {
        self.workers.join();
    }
}
