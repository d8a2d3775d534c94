//! io_uring: one thread builds a ring, and it alone ever touches it.
#![allow(
    unsafe_code,
    reason = "registering memory and queueing reads into it is what the ring is for"
)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use io_uring::{CompletionQueue, SubmissionQueue, Submitter, opcode, squeue, types};

use super::backend::{Io, Outlet, Port, Workers};
use super::error::{errno, name_errno};
use super::inbox::Inbox;
use super::setup::{build, refusal};
use super::table::{Piece, Table};
use super::window::Window;
use super::{Completion, EngineError, Submission};

/// Marks the completion of the read that wakes the thread for a new submission.
const WAKE: u64 = u64::MAX;
/// Bytes that the read of the wake pipe takes at once: all that can be in it.
const WAKE_BYTES: u32 = 64;
/// How long a wait for several completions lasts before one is enough (from Linux 6.12 on). Used only when
/// nothing is left to start, so that a new submission does not wait behind the last reads of the one before.
const MIN_WAIT_US: u32 = 20;
/// When such a wait ends even with none; then it starts anew.
const LONGEST_WAIT_S: u64 = 3600;
/// How often in a row the kernel may lack memory for requests before the ring is given up.
const REFUSAL_BUDGET: u32 = 10_000;

/// The ring as the rest of the engine sees it.
pub(super) struct Ring {
    inbox: Arc<Inbox>,
    workers: Workers,
    outlet: Arc<Outlet>,
}

impl Ring {
    /// Starts the thread, and returns when it has proven its ring by a real read. The inner error says in one
    /// clause which step was refused and what can be done.
    pub(super) fn start(
        port: Port,
        window: Window,
        registered_buffers: bool,
    ) -> Result<Result<Ring, String>, EngineError> {
        let outlet = Arc::clone(&port.outlet);
        let inbox = match Inbox::new() {
            Ok(inbox) => Arc::new(inbox),
            Err(e) => return Ok(Err(refusal("a pipe", &e))),
        };
        let mut workers = Workers::default();
        let (report, started) = mpsc::sync_channel(1);
        let for_thread = Arc::clone(&inbox);
        workers.spawn("cellring-ring", move || {
            serve(&port, window, registered_buffers, &for_thread, &report)
        })?;
        let refused = match started.recv() {
            Ok(Ok(())) => {
                return Ok(Ok(Ring {
                    inbox,
                    workers,
                    outlet,
                }));
            }
            Ok(Err(refused)) => refused,
            Err(mpsc::RecvError) => "the thread of the ring panicked".to_owned(),
        };
        workers.join();
        Ok(Err(refused))
    }
}

impl Io for Ring {
    fn submit(&self, submission: Submission, checked: Result<(), EngineError>) {
        if let Err((Submission { tag, slots, reads }, reason)) = self.inbox.put((submission, checked)) {
            self.outlet.deliver(Completion {
                tag,
                slots,
                reads,
                result: Err(EngineError::Ring { reason }),
            });
        }
    }

    fn stop(&mut self) {
        self.inbox.stop();
        self.workers.join();
    }
}

/// The thread: builds and proves the ring, reports, then reads until it is stopped.
fn serve(
    port: &Port,
    window: Window,
    registered_buffers: bool,
    inbox: &Inbox,
    report: &mpsc::SyncSender<Result<(), String>>,
) {
    // Nobody listens any more only if the engine's start has panicked; then there is nothing to report to.
    let tell = |outcome| drop(report.send(outcome));
    // One more than the window, for the read that wakes the thread.
    let mut ring = match build(window.max_reads() + 1) {
        Ok(ring) => ring,
        Err(e) => return tell(Err(refusal("io_uring_setup", &e))),
    };
    let window = window.shrink_to(ring.params().sq_entries() - 1);
    let has_min_wait = ring.params().is_feature_min_timeout();
    let (submitter, submissions, completions) = ring.split();
    let mut driver = Driver {
        port,
        inbox,
        submitter,
        submissions,
        completions,
        table: Table::new(Arc::clone(&port.files)),
        window,
        has_min_wait,
        registered_files: false,
        registered_buffers: false,
        wake_armed: false,
        refused_in_a_row: 0,
    };
    let proof = driver.register(registered_buffers).and_then(|()| driver.probe());
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
    inbox: &'r Inbox,
    /// Kept, not made anew for each call, because the registered descriptor of the ring is a part of it.
    submitter: Submitter<'r>,
    submissions: SubmissionQueue<'r>,
    completions: CompletionQueue<'r>,
    table: Table,
    window: Window,
    has_min_wait: bool,
    registered_files: bool,
    registered_buffers: bool,
    wake_armed: bool,
    refused_in_a_row: u32,
}

impl Driver<'_> {
    /// Registers what can be. Files and the ring itself save little, and are done without where they are
    /// refused.
    fn register(&mut self, buffers: bool) -> Result<(), String> {
        let descriptors: Vec<RawFd> = self.port.files.iter().map(AsRawFd::as_raw_fd).collect();
        self.registered_files =
            !descriptors.is_empty() && self.submitter.register_files(&descriptors).is_ok();
        let _ = self.submitter.register_ring_fd();
        if !buffers {
            return Ok(());
        }
        let regions: Vec<_> = (self.port.pool.regions())
            .map(|(start, len)| libc::iovec {
                iov_base: start.as_ptr().cast(),
                iov_len: len,
            })
            .collect();
        // SAFETY: the regions are parts of the pool's mapping, which lives as long as the pool in `port`; and
        // that outlives the ring, or is leaked by `give_up`.
        unsafe { self.submitter.register_buffers(&regions) }.map_err(|e| {
            let kib = regions
                .iter()
                .map(|region| region.iov_len)
                .sum::<usize>()
                .div_ceil(1024);
            refusal(&format!("registering {kib} KiB of buffers with io_uring"), &e)
        })?;
        self.registered_buffers = true;
        Ok(())
    }

    /// Proves the ring by a real read: a sandbox may allow setting it up and refuse to use it.
    fn probe(&mut self) -> Result<(), String> {
        let Some(piece) = self.port.probe() else {
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
        loop {
            let (submissions, stopping) = self.inbox.take();
            for (submission, checked) in submissions {
                self.table.push(submission, checked);
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
            let ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let counts = self.table.counts_mut();
            *(if was_idle {
                &mut counts.idle_ns
            } else {
                &mut counts.wait_ns
            }) += ns;
            self.reap();
        }
    }

    /// Queues reads while the window has room.
    fn fill(&mut self) {
        while self
            .window
            .has_room(self.table.in_flight(), self.table.in_flight_bytes())
        {
            let Some((id, piece)) = self.table.next() else {
                return;
            };
            let entry = self.entry(&piece, u64::from(id));
            self.push(&entry);
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
        self.port.outlet.stats.publish(self.table.counts());
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
        if self.registered_buffers {
            self.submitter.unregister_buffers()?;
        }
        Ok(())
    }

    /// The ring cannot be relied on any more: completes everything with an error, and leaks the memory that
    /// the kernel may still write to.
    fn give_up(&mut self, reason: &str) {
        mem::forget(self.port.pool.clone());
        for (submission, checked) in self.inbox.break_down(reason) {
            self.table.push(submission, checked);
        }
        self.table.abandon(reason);
        self.deliver();
    }
}
