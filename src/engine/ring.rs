//! io_uring: one thread builds a ring, and it alone ever touches it.
#![allow(
    unsafe_code,
    reason = "registering memory and queueing reads into it is what the ring is for"
)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{CompletionQueue, SubmissionQueue, Submitter, opcode, squeue, types};

use super::backend::{Port, Workers};
use super::busy::Busy;
use super::climb::{Climb, Sample};
use super::error::{Breakdown, errno, name_errno};
use super::inbox::Inbox;
use super::rings::Seat;
use super::setup::{build, refusal, register_buffers};
use super::share::Order;
use super::stats::SharedStats;
use super::table::{Piece, Table};
use super::window::{LEVELS, Window};
use super::{Completion, EngineError, Submission};

/// Marks the completion of the read that wakes the thread for a new submission.
const WAKE: u64 = u64::MAX;
/// Bytes that the read of the wake pipe takes at once: all that can be in it.
const WAKE_BYTES: u32 = 64;
/// How long a wait for several completions lasts before one is enough (from Linux 6.12 on). Used only when
/// nothing is left to start, so that a new submission does not wait for the last reads of the one before.
const MIN_WAIT_US: u32 = 20;
/// When such a wait ends even with none; then it starts again.
const LONGEST_WAIT_S: u64 = 3600;
/// How often in a row the kernel may lack memory for requests before the ring is given up.
const REFUSAL_BUDGET: u32 = 10_000;

/// The ring as the rest of the engine sees it.
pub(super) struct Ring {
    inbox: Arc<Inbox>,
    workers: Workers,
}

impl Ring {
    /// Starts the thread, and returns when it has proven its ring by a real read. The inner error says in one
    /// clause which step was refused and what can be done.
    pub(super) fn start(port: Port, seat: Seat) -> Result<Result<Ring, String>, EngineError> {
        let inbox = match Inbox::new() {
            Ok(inbox) => Arc::new(inbox),
            Err(e) => return Ok(Err(refusal("a pipe", &e))),
        };
        let mut workers = Workers::default();
        let (report, started) = mpsc::sync_channel(1);
        let for_thread = Arc::clone(&inbox);
        workers.spawn("cellring-ring", move || serve(&port, &seat, &for_thread, &report))?;
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
    /// Hands the ring an order. If the ring has broken down, the order comes to nothing, which may complete its
    /// submission.
    pub(super) fn put(&self, order: Order) -> Option<Completion> {
        let (
            Order {
                submission, share, ..
            },
            reason,
        ) = self.inbox.put(order).err()?;
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

/// The thread: builds and proves the ring, reports, then reads until it is stopped.
fn serve(port: &Port, seat: &Seat, inbox: &Inbox, report: &mpsc::SyncSender<Result<(), String>>) {
    // Nobody listens any more only if the engine's start has panicked; then there is nothing to report to.
    let tell = |outcome| drop(report.send(outcome));
    // One more than the window, for the read that wakes the thread.
    let mut ring = match build(seat.window.max_reads() + 1) {
        Ok(ring) => ring,
        Err(e) => return tell(Err(refusal("io_uring_setup", &e))),
    };
    let window = seat.window.shrink_to(ring.params().sq_entries() - 1);
    let has_min_wait = ring.params().is_feature_min_timeout();
    let (submitter, submissions, completions) = ring.split();
    let mut driver = Driver {
        port,
        seat,
        inbox,
        submitter,
        submissions,
        completions,
        table: Table::new(Arc::clone(&port.files)),
        stats: port.outlet.stats.add(),
        window,
        climb: Climb::new(LEVELS.0, LEVELS.1, seat.pace),
        busy: Busy::default(),
        sampled: (Instant::now(), 0, 0),
        has_min_wait,
        registered_files: false,
        registered_buffers: false,
        wake_armed: false,
        refused_in_a_row: 0,
    };
    let proof = driver.register().and_then(|()| driver.probe());
    let is_proven = proof.is_ok();
    tell(proof);
    if !is_proven {
        return;
    }
    // Unwinding further would drop the table, and with it slots that the kernel writes to.
    match panic::catch_unwind(AssertUnwindSafe(|| {
        driver.run().and_then(|()| driver.tear_down())
    })) {
        Ok(Ok(())) => (),
        Ok(Err(e)) => driver.give_up(&format!("io_uring_enter: {}", name_errno(&e))),
        Err(_) => driver.give_up("its thread panicked"),
    }
}

/// The ring's thread: the parts of its ring, and the reads in flight.
struct Driver<'r> {
    port: &'r Port,
    seat: &'r Seat,
    inbox: &'r Inbox,
    /// Kept, not made for each call, because the registered descriptor of the ring is a part of it.
    submitter: Submitter<'r>,
    submissions: SubmissionQueue<'r>,
    completions: CompletionQueue<'r>,
    table: Table,
    stats: Arc<SharedStats>,
    window: Window,
    climb: Climb,
    busy: Busy,
    /// When the last sample was taken, and the bytes and reads until then.
    sampled: (Instant, u64, u64),
    has_min_wait: bool,
    registered_files: bool,
    registered_buffers: bool,
    wake_armed: bool,
    refused_in_a_row: u32,
}

impl Driver<'_> {
    /// Registers what can be. Files and the ring itself save little, and are done without where they are
    /// refused.
    fn register(&mut self) -> Result<(), String> {
        let descriptors: Vec<RawFd> = self.port.files.iter().map(AsRawFd::as_raw_fd).collect();
        self.registered_files =
            !descriptors.is_empty() && self.submitter.register_files(&descriptors).is_ok();
        let _ = self.submitter.register_ring_fd();
        if !self.seat.registered_buffers {
            return Ok(());
        }
        let keeper = self.seat.keeper.as_ref();
        let cloned = keeper.is_some_and(|keeper| self.submitter.register_buffers_clone(keeper.fd()).is_ok());
        if !cloned {
            // SAFETY: the pool in `port` outlives the ring, or is leaked by `give_up`.
            unsafe { register_buffers(&self.submitter, &self.port.pool) }.map_err(|e| {
                let bytes: usize = self.port.pool.regions().map(|(_, len)| len).sum();
                refusal(
                    &format!(
                        "registering {} KiB of buffers with io_uring",
                        bytes.div_ceil(1024)
                    ),
                    &e,
                )
            })?;
        }
        self.registered_buffers = true;
        Ok(())
    }

    /// Proves the ring by a real read: a sandbox may allow setting it up and refuse to use it.
    fn probe(&mut self) -> Result<(), String> {
        let Some(piece) = self.port.probe(self.seat.device_number) else {
            return Ok(());
        };
        let entry = self.entry(&piece, 0);
        self.push(&entry);
        let result = loop {
            self.enter(1, false).map_err(|e| refusal("io_uring_enter", &e))?;
            self.completions.sync();
            if let Some(completion) = self.completions.next() {
                break errno(completion.result());
            }
        };
        self.completions.sync();
        let step = || {
            format!(
                "reading {} through io_uring",
                self.port.files.path(piece.file).display()
            )
        };
        result.map(drop).map_err(|e| refusal(&step(), &e))
    }

    /// Reads until the engine is stopped and nothing is in flight.
    fn run(&mut self) -> io::Result<()> {
        self.table.counts_mut().rings = 1;
        self.stats.publish(self.table.counts());
        self.sampled.0 = Instant::now();
        loop {
            #[cfg(any(test, feature = "sim"))]
            assert!(
                self.seat
                    .panics_after
                    .is_none_or(|n| self.table.counts().reads < n),
                "as the test wants it"
            );
            let (orders, stopping) = self.inbox.take();
            for order in orders {
                self.table.push(order);
            }
            if stopping {
                self.table.stop();
            }
            self.fill();
            if self.table.has_ready() {
                // First the device, then the caller's function.
                if !self.submissions.is_empty() {
                    self.enter(0, false)?;
                }
                self.deliver();
                continue;
            }
            if stopping && self.table.is_empty() {
                return Ok(());
            }
            // A full window can start nothing before a read comes back, so that no submission is worth waking
            // for.
            let has_room = self
                .window
                .has_room(self.table.in_flight(), self.table.in_flight_bytes());
            if has_room {
                if !self.inbox.fall_asleep(stopping) {
                    continue;
                }
                self.arm_wake();
            }
            let started = Instant::now();
            let was_idle = self.table.in_flight() == 0;
            self.enter(Window::wait_for(self.table.in_flight()), has_room)?;
            let ended = Instant::now();
            let ns = nanoseconds(ended - started);
            let counts = self.table.counts_mut();
            *(if was_idle {
                &mut counts.idle_ns
            } else {
                &mut counts.wait_ns
            }) += ns;
            self.reap();
            self.adapt(ended, !has_room);
        }
    }

    /// Learns from what has been read since the last time, when every read that the window allowed was in
    /// flight if `had_backlog`.
    fn adapt(&mut self, now: Instant, had_backlog: bool) {
        let counts = self.table.counts();
        let (then, bytes, reads) = mem::replace(&mut self.sampled, (now, counts.bytes, counts.reads));
        let sample = Sample {
            elapsed_ns: nanoseconds(now - then),
            bytes: counts.bytes - bytes,
            reads: counts.reads - reads,
            in_flight: self.table.in_flight(),
            had_backlog,
        };
        let device = &self.seat.device;
        if self.window.adapts() {
            if self.seat.leads {
                self.climb.observe(&sample);
                device.level.store(self.climb.level(), Ordering::Relaxed);
            }
            self.window.set_level(device.level.load(Ordering::Relaxed));
        }
        if self.busy.observe(&sample, thread_cpu_ns) {
            device.saturated.store(true, Ordering::Relaxed);
        }
    }

    /// Queues reads while the window has room.
    fn fill(&mut self) {
        let mut has_filled = false;
        while self
            .window
            .has_room(self.table.in_flight(), self.table.in_flight_bytes())
        {
            let Some((id, piece)) = self.table.next() else {
                return;
            };
            let entry = self.entry(&piece, u64::from(id));
            self.push(&entry);
            has_filled = true;
        }
        // Otherwise there may be more in flight than the window allows now.
        if has_filled {
            self.table.counts_mut().depth = self.table.in_flight().into();
        }
    }

    fn entry(&self, piece: &Piece, user_data: u64) -> squeue::Entry {
        let Piece {
            file,
            offset_bytes,
            len_bytes,
            target,
        } = *piece;
        let index = types::Fixed(file);
        let fd = types::Fd(self.port.files.file(file).as_raw_fd());
        let (start, region) = (target.as_ptr(), target.region());
        let entry = match (self.registered_files, self.registered_buffers) {
            (true, true) => opcode::ReadFixed::new(index, start, len_bytes, region)
                .offset(offset_bytes)
                .build(),
            (false, true) => opcode::ReadFixed::new(fd, start, len_bytes, region)
                .offset(offset_bytes)
                .build(),
            (true, false) => opcode::Read::new(index, start, len_bytes)
                .offset(offset_bytes)
                .build(),
            (false, false) => opcode::Read::new(fd, start, len_bytes)
                .offset(offset_bytes)
                .build(),
        };
        entry.user_data(user_data)
    }

    /// Puts a read of the wake pipe in flight, if none is.
    fn arm_wake(&mut self) {
        if self.wake_armed {
            return;
        }
        // What is read means nothing: it goes where nobody reads.
        let (target, _) = self.port.pool.probe();
        let read = opcode::Read::new(types::Fd(self.inbox.wake_fd()), target.as_ptr(), WAKE_BYTES);
        self.push(&read.build().user_data(WAKE));
        self.wake_armed = true;
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: every entry is a read from a file that `port` holds open, into a slot that the table owns
        // until the read is over, or into the probe space of the pool that `port` holds; what can still be
        // written to when the ring ends is leaked by `give_up`.
        let pushed = unsafe { self.submissions.push(entry) };
        assert!(
            pushed.is_ok(),
            "a window of {:?} reads must fit the ring",
            self.window
        );
    }

    /// Starts what is queued and waits for `wait_for` completions; for fewer when `may_be_woken`, if the
    /// kernel can wait so that a wake is noticed soon. Also returns when it has been interrupted, or the
    /// kernel lacks memory.
    fn enter(&mut self, wait_for: usize, may_be_woken: bool) -> io::Result<()> {
        self.submissions.sync();
        self.table.counts_mut().enter_calls += 1;
        let result = match (may_be_woken && wait_for > 1, self.has_min_wait) {
            (true, true) => {
                // Without a time-out for the whole wait, the kernel would also return when nothing has come.
                let limit = types::Timespec::new().sec(LONGEST_WAIT_S);
                let patience = types::SubmitArgs::new()
                    .min_wait_usec(MIN_WAIT_US)
                    .timespec(&limit);
                self.submitter.submit_with_args(wait_for, &patience)
            }
            (true, false) => self.submitter.submit_and_wait(1),
            (false, _) => self.submitter.submit_and_wait(wait_for),
        };
        self.submissions.sync();
        let Err(error) = result else {
            self.refused_in_a_row = 0;
            return Ok(());
        };
        match error.raw_os_error() {
            Some(libc::EINTR) => Ok(()),
            Some(libc::EAGAIN | libc::EBUSY | libc::ETIME) if self.refused_in_a_row < REFUSAL_BUDGET => {
                self.refused_in_a_row += 1;
                thread::yield_now();
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Takes in the reads that are over.
    fn reap(&mut self) {
        self.completions.sync();
        for completion in &mut self.completions {
            if completion.user_data() == WAKE {
                self.wake_armed = false;
            } else {
                self.table
                    .finish(completion.user_data() as u32, errno(completion.result()));
            }
        }
        self.completions.sync();
    }

    fn deliver(&mut self) {
        self.stats.publish(self.table.counts());
        while let Some(completion) = self.table.pop_ready() {
            self.port.outlet.deliver(completion);
        }
    }

    /// Leaves nothing in flight, and unregisters the buffers now: the kernel would do so some time after the
    /// ring is gone, and until then the memory would count against the limit of the next engine.
    fn tear_down(&mut self) -> io::Result<()> {
        while self.wake_armed {
            self.inbox.wake();
            self.enter(1, false)?;
            self.reap();
        }
        let counts = self.table.counts_mut();
        (counts.rings, counts.depth) = (0, 0);
        self.stats.publish(self.table.counts());
        if self.registered_buffers {
            self.submitter.unregister_buffers()?;
        }
        Ok(())
    }

    /// The ring cannot be relied on any more: completes everything with an error, and leaks the memory that
    /// the kernel may still write to.
    fn give_up(&mut self, reason: &str) {
        mem::forget(self.port.pool.clone());
        self.port.break_down(Breakdown::Ring(reason.to_owned()));
        for order in self.inbox.break_down(reason) {
            self.table.push(order);
        }
        self.table.abandon(&Breakdown::Ring(reason.to_owned()));
        self.deliver();
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Time that the calling thread has spent on a processor.
fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a place for the answer.
    let refused = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    // Refused, it is a thread that is never busy.
    if refused {
        0
    } else {
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}
