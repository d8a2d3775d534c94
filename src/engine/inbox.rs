//! How submissions reach the ring's thread, and how it is woken for them.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{EngineError, Submission};

/// A submission and the outcome of its [check](Submission::check).
pub(super) type Checked = (Submission, Result<(), EngineError>);

/// See the module.
pub(super) struct Inbox {
    state: Mutex<State>,
    /// A pipe, because the thread can wait for it and for reads at the same time: by a read in the ring.
    wake: (PipeReader, PipeWriter),
}

#[derive(Default)]
struct State {
    submissions: Vec<Checked>,
    /// The thread has nothing left to start: it wants to be woken for the next submission. While it is false,
    /// the thread will look in by itself, and a submission costs no system call.
    asleep: bool,
    stopping: bool,
    /// Why the ring broke down: nobody will look in any more.
    broken: Option<String>,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Inbox> {
        Ok(Inbox {
            state: Mutex::default(),
            wake: io::pipe()?,
        })
    }

    /// Puts a submission in, or gives it back with the reason if the ring has broken down.
    pub(super) fn put(&self, checked: Checked) -> Result<(), (Submission, String)> {
        let mut state = self.lock();
        if let Some(reason) = &state.broken {
            return Err((checked.0, reason.clone()));
        }
        state.submissions.push(checked);
        let wake = mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.wake();
        }
        Ok(())
    }

    /// Tells the thread to stop.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.wake();
    }

    /// The thread is awake and takes all submissions; also returns whether it is to stop.
    pub(super) fn take(&self) -> (Vec<Checked>, bool) {
        let mut state = self.lock();
        state.asleep = false;
        (mem::take(&mut state.submissions), state.stopping)
    }

    /// The thread wants to sleep; `false` if there is something that it has not taken, or that it does not
    /// know.
    pub(super) fn fall_asleep(&self, knows_stopping: bool) -> bool {
        let mut state = self.lock();
        state.asleep = state.submissions.is_empty() && state.stopping == knows_stopping;
        state.asleep
    }

    /// The ring has broken down; returns what was not taken.
    pub(super) fn break_down(&self, reason: &str) -> Vec<Checked> {
        let mut state = self.lock();
        state.broken = Some(reason.to_owned());
        mem::take(&mut state.submissions)
    }

    /// Makes the pipe readable.
    pub(super) fn wake(&self) {
        // Wakes are few, one for each time the thread falls asleep, so that the pipe is never full; and it is
        // open.
        let _ = (&self.wake.1).write(&[1]);
    }

    /// The descriptor that becomes readable.
    pub(super) fn wake_fd(&self) -> RawFd {
        self.wake.0.as_raw_fd()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
