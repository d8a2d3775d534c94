use std::mem;

use super::*;
use crate::buffer::Pool;
use crate::engine::piece::MAX_PIECE_BYTES;
use crate::engine::submission::{Read, Submission};

/// A in_flight on one file of 3 MiB, with a pool of 4 slots of as many bytes.
fn new_in_flight() -> (InFlight, Pool) {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(3 << 20).unwrap();
    let files = FileSet::open_buffered(&[file.path().to_owned()]).unwrap();
    (InFlight::new(Arc::new(files)), Pool::new(4, 3 << 20).unwrap())
}

fn push(in_flight: &mut InFlight, pool: &Pool, tag: u64, lens: &[u32]) {
    let starts = lens.iter().scan(0, |at, len| Some(mem::replace(at, *at + len)));
    let reads = starts.zip(lens).map(|(start, &len_bytes)| Read {
        file: 0,
        offset_bytes: u64::from(start),
        len_bytes,
        slot: 0,
        slot_offset_bytes: start,
    });
    let submission = Submission {
        tag,
        slots: pool.take(1).unwrap(),
        reads: reads.collect(),
    };
    in_flight.push(Task::whole(submission, Ok(())));
}

#[test]
fn long_reads_are_cut_and_submissions_start_in_their_order_without_a_barrier() {
    let (mut in_flight, pool) = new_in_flight();
    push(&mut in_flight, &pool, 1, &[0, 100, MAX_PIECE_BYTES + 5, 0]);
    push(&mut in_flight, &pool, 2, &[7]);
    let pieces: Vec<_> = std::iter::from_fn(|| in_flight.next()).collect();
    let cut: Vec<_> = pieces
        .iter()
        .map(|(_, piece)| (piece.offset_bytes, piece.len_bytes))
        .collect();
    assert_eq!(
        cut,
        [
            (0, 100),
            (100, MAX_PIECE_BYTES),
            (100 + u64::from(MAX_PIECE_BYTES), 5),
            (0, 7)
        ]
    );
    assert_eq!(
        (in_flight.n_reads(), in_flight.bytes()),
        (4, u64::from(MAX_PIECE_BYTES) + 112)
    );
    // The second submission may be done before the first.
    for &(id, piece) in pieces.iter().rev() {
        in_flight.finish(id, Ok(piece.len_bytes));
    }
    let tags: Vec<_> = std::iter::from_fn(|| in_flight.pop_ready())
        .map(|done| done.tag)
        .collect();
    assert_eq!(tags, [2, 1]);
    assert!(in_flight.is_empty() && pool.free() == 4);
}

#[test]
fn a_failed_submission_waits_for_its_reads_in_flight_and_starts_no_more() {
    let (mut in_flight, pool) = new_in_flight();
    push(&mut in_flight, &pool, 1, &[10, 10, 10]);
    let ((first, _), (second, _)) = (in_flight.next().unwrap(), in_flight.next().unwrap());
    in_flight.finish(second, Err(io::Error::other("broken")));
    assert!(in_flight.next().is_none() && !in_flight.has_ready());
    // Short, and not to be tried again.
    in_flight.finish(first, Ok(3));
    let done = in_flight.pop_ready().unwrap();
    assert!(matches!(
        done.result,
        Err(EngineError::Read { offset_bytes: 10, .. })
    ));
    assert!(in_flight.is_empty());
}

#[test]
fn a_share_starts_no_more_when_another_has_failed_and_the_last_one_completes_the_submission() {
    let (mut one, pool) = new_in_flight();
    let mut two = InFlight::new(Arc::clone(&one.files));
    let read = |i: u32| Read {
        file: 0,
        offset_bytes: u64::from(i) * 10,
        len_bytes: 10,
        slot: 0,
        slot_offset_bytes: i * 10,
    };
    let submission = Submission {
        tag: 1,
        slots: pool.take(1).unwrap(),
        reads: (0..4).map(read).collect(),
    };
    let parts = vec![vec![read(0), read(2)], vec![read(1), read(3)]];
    let tasks = Task::divide(submission, parts).into_iter().flatten();
    tasks
        .zip([&mut one, &mut two])
        .for_each(|(task, in_flight)| in_flight.push(task));
    let ((first, piece), (second, other)) = (one.next().unwrap(), two.next().unwrap());
    assert_eq!((piece.offset_bytes, other.offset_bytes), (0, 10));
    assert_eq!(
        other.target.as_ptr() as usize - piece.target.as_ptr() as usize,
        10
    );
    one.finish(first, Err(io::Error::other("broken")));
    assert!(one.next().is_none() && two.next().is_none());
    assert!(one.pop_ready().is_none() && one.is_empty() && !two.has_ready());
    two.finish(second, Ok(10));
    let done = two.pop_ready().unwrap();
    assert!(matches!(
        done.result,
        Err(EngineError::Read { offset_bytes: 0, .. })
    ));
    assert_eq!((done.slots.len(), done.reads.len()), (1, 4));
    assert_eq!((one.counts().submissions, two.counts().submissions), (1, 0));
    assert!(two.is_empty());
}

#[test]
fn abandoning_keeps_the_slots_that_may_still_be_written_to() {
    let (mut in_flight, pool) = new_in_flight();
    for tag in 1..=3 {
        push(&mut in_flight, &pool, tag, &[10]);
    }
    let (first, _) = in_flight.next().unwrap();
    in_flight.next().unwrap();
    in_flight.finish(first, Ok(10));
    in_flight.abandon(&Breakdown::Ring("gone".to_owned()));
    let done: Vec<_> = std::iter::from_fn(|| in_flight.pop_ready()).collect();
    let slots: Vec<_> = done
        .iter()
        .map(|done| (done.tag, done.slots.len(), done.result.is_ok()))
        .collect();
    assert_eq!(slots, [(1, 1, true), (2, 0, false), (3, 1, false)]);
    drop(done);
    assert_eq!(pool.free(), 3);
    push(&mut in_flight, &pool, 4, &[10]);
    assert!(matches!(
        in_flight.pop_ready().unwrap().result,
        Err(EngineError::Stopped)
    ));
}
