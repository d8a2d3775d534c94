//! How submissions reach the ring's thread, and how it is woken for them.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::share::Task;

/// See the module.
pub(super) struct Inbox {
    state: Mutex<State>,
    /// A pipe, because the thread can wait for it and for reads at the same time: by a read in the ring.
    wake: (PipeReader, PipeWriter),
}

#[derive(Default)]
struct State {
    tasks: Vec<Task>,
    /// The thread has nothing left to start: it wants to be woken for the next submission. While it is false,
    /// the thread will look in by itself, and a submission costs no system call.
    asleep: bool,
    stopping: bool,
    /// Why the ring broke down: no thread takes submissions any more.
    broken: Option<String>,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Inbox> {
        Ok(Inbox {
            state: Mutex::default(),
            wake: io::pipe()?,
        })
    }

    /// Puts a task in, or gives it back with the reason if the ring has broken down.
    #[expect(
        clippy::result_large_err,
        reason = "the task goes back once in the life of a ring, if ever"
    )]
    pub(super) fn put(&self, task: Task) -> Result<(), (Task, String)> {
        let mut state = self.lock();
        if let Some(reason) = &state.broken {
            return Err((task, reason.clone()));
        }
        state.tasks.push(task);
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

    /// The thread is awake and takes all tasks; also returns whether it is to stop.
    pub(super) fn take(&self) -> (Vec<Task>, bool) {
        let mut state = self.lock();
        state.asleep = false;
        (mem::take(&mut state.tasks), state.stopping)
    }

    /// The thread wants to sleep; `false` if there is something that it has not taken, or that it does not
    /// know.
    pub(super) fn fall_asleep(&self, knows_stopping: bool) -> bool {
        let mut state = self.lock();
        state.asleep = state.tasks.is_empty() && state.stopping == knows_stopping;
        state.asleep
    }

    /// The ring has broken down; returns what was not taken.
    pub(super) fn break_down(&self, reason: &str) -> Vec<Task> {
        let mut state = self.lock();
        state.broken = Some(reason.to_owned());
        mem::take(&mut state.tasks)
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
