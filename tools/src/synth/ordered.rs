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
/// The first error of `consume`, after which no other part is begun.
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
    // Lane t makes parts t, t + threads, ...: so the next part is always the next lane's.
    let starts = |thread| {
        (range.start..range.end)
            .step_by(step as usize)
            .skip(thread)
            .step_by(threads.get())
    };
    let make = &|start: u64| make(start..range.end.min(start.saturating_add(step)));
    thread::scope(|scope| {
        let mut lanes: Vec<_> = (0..threads.get())
            .map(|thread| {
                let (sender, receiver) = mpsc::sync_channel(WAITING);
                let mut own = starts(thread);
                let work = move || {
                    // Until the consumer has given up.
                    let _ = own.try_for_each(|start| sender.send(make(start)));
                };
                match thread::Builder::new().spawn_scoped(scope, work) {
                    Ok(_) => Lane::Thread(receiver),
                    // One that cannot be started is done without.
                    Err(_) => Lane::Here(starts(thread)),
                }
            })
            .collect();
        let n_lanes = lanes.len();
        (0..n_lanes)
            .cycle()
            // A thread that hangs up has made all its parts, or panicked: then the scope does, too.
            .map_while(|lane| match &mut lanes[lane] {
                Lane::Thread(receiver) => receiver.recv().ok(),
                Lane::Here(starts) => starts.next().map(make),
            })
            .try_for_each(&mut consume)
    })
}

/// Who makes every so manieth part.
enum Lane<T, S> {
    Thread(mpsc::Receiver<T>),
    /// The consumer, from these places on.
    Here(S),
}
