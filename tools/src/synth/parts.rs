//! Work on consecutive parts of a range, made on several threads and handed over in order.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::mpsc;
use std::thread;

/// Results of one thread that may wait to be taken.
const WAITING: usize = 2;

/// Cuts `range` into parts of `step` numbers, has `make` work on them with so many threads, and hands the results to
/// `consume` on the calling thread, in order. What is consumed does not depend on the number of threads.
///
/// At most four results for each thread exist at a time.
///
/// # Errors
/// The first error of `consume`, after which no further part is begun.
///
/// # Panics
/// If `step` is 0, or where `make` panics.
pub(super) fn in_order<T: Send, E>(
    range: Range<u64>,
    step: u64,
    threads: NonZeroUsize,
    make: impl Fn(Range<u64>) -> T + Sync,
    mut consume: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    assert!(step > 0, "parts of nothing");
    // Thread t makes parts t, t + threads, ...: so the next part is always the next thread's.
    thread::scope(|scope| {
        let starts = |thread| {
            (range.start..range.end)
                .step_by(step as usize)
                .skip(thread)
                .step_by(threads.get())
        };
        let receivers: Vec<_> = (0..threads.get())
            .map(|thread| {
                let (sender, receiver) = mpsc::sync_channel(WAITING);
                let (starts, end, make) = (starts(thread), range.end, &make);
                scope.spawn(move || {
                    for start in starts {
                        if sender
                            .send(make(start..end.min(start.saturating_add(step))))
                            .is_err()
                        {
                            return; // The consumer has given up.
                        }
                    }
                });
                receiver
            })
            .collect();
        // A thread that hangs up has made all its parts, or panicked: then the scope does, too.
        receivers
            .iter()
            .cycle()
            .map_while(|receiver| receiver.recv().ok())
            .try_for_each(&mut consume)
    })
}
