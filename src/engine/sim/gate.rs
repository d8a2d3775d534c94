//! Lets a test decide when the reads of a simulated device are done, and see what has been asked of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A test that waits longer for something that must happen has found a bug; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Holds back the completions of a device until they are let through, one after the other. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    submitted: u64,
    /// Completions that may still pass.
    permits: u64,
    open: bool,
}

impl PartialEq for Gate {
    fn eq(&self, other: &Gate) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Gate {
    /// A gate that lets nothing through.
    pub fn closed() -> Gate {
        Gate::default()
    }

    /// Lets `n` more completions through.
    pub fn let_through(&self, n: u64) {
        self.lock().permits += n;
        self.shared.1.notify_all();
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.lock().open = true;
        self.shared.1.notify_all();
    }

    /// Submissions handed in so far.
    pub fn submitted(&self) -> u64 {
        self.lock().submitted
    }

    /// Waits until `n` submissions have been handed in.
    ///
    /// # Panics
    /// If that does not happen in two minutes.
    pub fn wait_for_submissions(&self, n: u64) {
        let waited = self
            .shared
            .1
            .wait_timeout_while(self.lock(), PATIENCE, |state| state.submitted < n);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(
            state.submitted >= n,
            "{} submissions were handed in, expected {n}",
            state.submitted
        );
    }

    /// Counts a submission.
    pub(super) fn note_submission(&self) {
        self.lock().submitted += 1;
        self.shared.1.notify_all();
    }

    /// Waits for a permit, and uses it up.
    pub(super) fn pass(&self) {
        let waited = self
            .shared
            .1
            .wait_while(self.lock(), |state| !state.open && state.permits == 0);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.open {
            state.permits -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
