//! A submission whose reads are spread over several rings: it completes once, when the last ring is done.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::EngineError;
use super::submission::{Completion, Read, Submission};
use crate::buffer::{Slot, Target};

/// What a backend is to carry out: a whole submission, or one ring's share of it.
#[derive(Debug)]
pub(super) struct Task {
    /// A share has some of the reads, and no slots: those belong to all shares together.
    pub(super) submission: Submission,
    /// The outcome of the [check](Submission::check).
    pub(super) checked: Result<(), EngineError>,
    pub(super) share: Option<Share>,
}

impl Task {
    /// All of a submission.
    pub(super) fn whole(submission: Submission, checked: Result<(), EngineError>) -> Task {
        Task {
            submission,
            checked,
            share: None,
        }
    }

    /// Divides a submission that has passed its check: one task for each part that holds reads. The parts are
    /// its reads, each in one of them.
    pub(super) fn divide(submission: Submission, parts: Vec<Vec<Read>>) -> Vec<Option<Task>> {
        let n_shares = parts.iter().filter(|reads| !reads.is_empty()).count();
        if n_shares <= 1 {
            let mut whole = Some(Task::whole(submission, Ok(())));
            // To the part that has the reads, or to the first where there are none.
            let place = parts.iter().position(|reads| !reads.is_empty()).unwrap_or(0);
            return (0..parts.len().max(1))
                .map(|i| if i == place { whole.take() } else { None })
                .collect();
        }
        let Submission {
            tag,
            mut slots,
            reads,
        } = submission;
        let starts: Vec<Target> = slots.iter_mut().map(|slot| slot.target(0, 0)).collect();
        let state = DividedState {
            slots,
            reads,
            n_shares,
            is_lost: false,
            error: None,
        };
        let whole = Arc::new(DividedSubmission {
            tag,
            state: Mutex::new(state),
            has_failed: AtomicBool::new(false),
        });
        let mut is_first = true;
        let task = |reads: Vec<Read>| {
            (!reads.is_empty()).then(|| Task {
                submission: Submission {
                    tag,
                    slots: Vec::new(),
                    reads,
                },
                checked: Ok(()),
                share: Some(Share {
                    whole: Arc::clone(&whole),
                    starts: starts.clone(),
                    is_first: mem::take(&mut is_first),
                }),
            })
        };
        parts.into_iter().map(task).collect()
    }
}

/// One ring's share of a submission.
#[derive(Debug)]
pub(super) struct Share {
    whole: Arc<DividedSubmission>,
    /// Where each slot starts.
    starts: Vec<Target>,
    is_first: bool,
}

#[derive(Debug)]
struct DividedSubmission {
    tag: u64,
    state: Mutex<DividedState>,
    has_failed: AtomicBool,
}

#[derive(Debug)]
struct DividedState {
    slots: Vec<Slot>,
    reads: Vec<Read>,
    /// Shares that are not over.
    n_shares: usize,
    /// The kernel may still write to the slots.
    is_lost: bool,
    error: Option<EngineError>,
}

impl Share {
    /// Where a read of one of the submission's slots goes; it has been checked to lie inside.
    pub(super) fn target(&self, slot: u32, offset_bytes: u32) -> Target {
        self.starts[slot as usize].skip(offset_bytes)
    }

    /// Whether this one stands for the submission where submissions are counted.
    pub(super) fn is_first(&self) -> bool {
        self.is_first
    }

    /// Tells the other rings that they need not start more of the submission.
    pub(super) fn fail(&self) {
        self.whole.has_failed.store(true, Ordering::Relaxed);
    }

    /// Whether a share of the submission has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.whole.has_failed.load(Ordering::Relaxed)
    }

    /// This share is over. The slots are leaked if it `is_lost`, because the kernel may still write to them.
    /// Returns the completion if it was the last share.
    pub(super) fn end(self, error: Option<EngineError>, is_lost: bool) -> Option<Completion> {
        let mut state = self.whole.state.lock().unwrap_or_else(PoisonError::into_inner);
        if is_lost && !state.is_lost {
            // Whatever went wrong before: this is what the caller has to know.
            state.error = None;
            state.is_lost = true;
        }
        // A share that was stopped because another failed may be over before that one.
        if let Some(error) = error
            && matches!(state.error, None | Some(EngineError::Stopped))
        {
            state.error = Some(error);
        }
        state.n_shares -= 1;
        if state.n_shares > 0 {
            return None;
        }
        let mut slots = mem::take(&mut state.slots);
        if state.is_lost {
            mem::forget(mem::take(&mut slots));
        }
        Some(Completion {
            tag: self.whole.tag,
            slots,
            reads: mem::take(&mut state.reads),
            result: state.error.take().map_or(Ok(()), Err),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Pool;

    fn read(file: u32) -> Read {
        Read {
            file,
            offset_bytes: 0,
            len_bytes: 1,
            slot: 0,
            slot_offset_bytes: file,
        }
    }

    fn shares(pool: &Pool, n: u32) -> Vec<Share> {
        let submission = Submission {
            tag: 5,
            slots: pool.take(1).unwrap(),
            reads: (0..n).map(read).collect(),
        };
        let parts = (0..n).map(|file| vec![read(file)]).collect();
        let tasks = Task::divide(submission, parts).into_iter().flatten();
        tasks.map(|task| task.share.unwrap()).collect()
    }

    #[test]
    fn the_last_share_completes_the_submission_with_the_error_that_stopped_the_others() {
        let pool = Pool::new(1, 4096).unwrap();
        let mut shares = shares(&pool, 3);
        assert_eq!(
            shares.iter().map(Share::is_first).collect::<Vec<_>>(),
            [true, false, false]
        );
        shares[1].fail();
        assert!(shares[2].has_failed());
        assert!(shares.remove(2).end(Some(EngineError::Stopped), false).is_none());
        let broken = EngineError::Forked { started_by: 1 };
        assert!(shares.remove(1).end(Some(broken), false).is_none());
        let done = shares.remove(0).end(Some(EngineError::Stopped), false).unwrap();
        assert!(matches!(done.result, Err(EngineError::Forked { .. })));
        assert_eq!(
            (done.tag, done.slots.len(), done.reads),
            (5, 1, vec![read(0), read(1), read(2)])
        );
    }

    #[test]
    fn slots_that_any_ring_may_still_write_to_are_leaked() {
        let pool = Pool::new(1, 4096).unwrap();
        let [first, second]: [Share; 2] = shares(&pool, 2).try_into().unwrap();
        assert!(first.end(Some(EngineError::Stopped), false).is_none());
        let reason = "gone".to_owned();
        let done = second.end(Some(EngineError::Ring { reason }), true).unwrap();
        assert!(matches!(done.result, Err(EngineError::Ring { .. })) && done.slots.is_empty());
        assert_eq!(pool.free(), 0);
    }

    #[test]
    fn what_one_ring_can_do_alone_is_not_divided() {
        let pool = Pool::new(2, 4096).unwrap();
        let divide = |parts: Vec<Vec<Read>>| {
            let reads = parts.concat();
            let slots = pool.take(1).unwrap();
            Task::divide(Submission { tag: 1, slots, reads }, parts)
        };
        let one = divide(vec![vec![], vec![read(0), read(1)], vec![]]);
        let whole = |task: &Option<Task>| {
            task.as_ref()
                .map(|o| (o.share.is_none(), o.submission.reads.len()))
        };
        assert_eq!(
            one.iter().map(whole).collect::<Vec<_>>(),
            [None, Some((true, 2)), None]
        );
        let none = divide(vec![vec![], vec![]]);
        assert_eq!(
            none.iter().map(whole).collect::<Vec<_>>(),
            [Some((true, 0)), None]
        );
    }
}
