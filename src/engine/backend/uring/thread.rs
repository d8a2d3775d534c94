//! The thread of a ring: builds it, proves it, and reads until it is stopped.
#![allow(unsafe_code, reason = "the clock of a thread has no safe interface in libc")]

use std::io;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::busy::Busy;
use super::climb::{Climb, Sample};
use super::config::RingConfig;
use super::inbox::Inbox;
use super::queues::Queues;
use super::setup::build;
use super::window::{LEVELS, Window};
use crate::engine::error::{Breakdown, name_errno};
use crate::engine::in_flight::InFlight;
use crate::engine::port::Port;
use crate::engine::refusal::refusal;
use crate::engine::stats::SharedStats;

/// The thread: builds and proves the ring, reports, then reads until it is stopped.
pub(super) fn serve(
    port: &Port,
    config: &RingConfig,
    inbox: &Inbox,
    report: &mpsc::SyncSender<Result<(), String>>,
) {
    // No thread listens any more only if the engine's start has panicked; then there is nothing to report to.
    let tell = |outcome| drop(report.send(outcome));
    // One more than the window, for the read that wakes the thread.
    let mut ring = match build(config.window.max_reads() + 1) {
        Ok(ring) => ring,
        Err(e) => return tell(Err(refusal("io_uring_setup", &e))),
    };
    let window = config.window.shrink_to(ring.params().sq_entries() - 1);
    let mut thread = RingThread {
        port,
        config,
        inbox,
        queues: Queues::new(port, &mut ring),
        in_flight: InFlight::new(Arc::clone(&port.files)),
        stats: port.outlet.stats.add(),
        window,
        climb: Climb::new(LEVELS.0, LEVELS.1, config.pace),
        busy: Busy::default(),
        sampled: (Instant::now(), 0, 0),
    };
    let proof = thread.queues.register(config).and_then(|()| thread.probe());
    let is_proven = proof.is_ok();
    tell(proof);
    if !is_proven {
        return;
    }
    // Unwinding beyond here would drop the reads in flight, and with them slots that the kernel writes to.
    match panic::catch_unwind(AssertUnwindSafe(|| {
        thread.run().and_then(|()| thread.tear_down())
    })) {
        Ok(Ok(())) => (),
        Ok(Err(e)) => thread.give_up(&format!("io_uring_enter: {}", name_errno(&e))),
        Err(_) => thread.give_up("its thread panicked"),
    }
}

/// The ring's thread: its queues, and the reads in flight.
struct RingThread<'r> {
    port: &'r Port,
    config: &'r RingConfig,
    inbox: &'r Inbox,
    queues: Queues<'r>,
    in_flight: InFlight,
    stats: Arc<SharedStats>,
    window: Window,
    climb: Climb,
    busy: Busy,
    /// When the last sample was taken, and the bytes and reads until then.
    sampled: (Instant, u64, u64),
}

impl RingThread<'_> {
    /// Proves the ring by a real read: a sandbox may allow setting it up and refuse to use it.
    fn probe(&mut self) -> Result<(), String> {
        let Some(piece) = self.port.probe(self.config.device_number) else {
            return Ok(());
        };
        self.queues.push_read(&piece, 0);
        let result = loop {
            self.enter(1, false).map_err(|e| refusal("io_uring_enter", &e))?;
            if let Some(result) = self.queues.pop_result() {
                break result;
            }
        };
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
        self.in_flight.counts_mut().rings = 1;
        self.stats.publish(self.in_flight.counts());
        self.sampled.0 = Instant::now();
        loop {
            #[cfg(any(test, feature = "sim"))]
            assert!(
                self.config
                    .panics_after
                    .is_none_or(|n| self.in_flight.counts().reads < n),
                "as the test wants it"
            );
            let (tasks, stopping) = self.inbox.take();
            for task in tasks {
                self.in_flight.push(task);
            }
            if stopping {
                self.in_flight.stop();
            }
            self.fill();
            if self.in_flight.has_ready() {
                // First the device, then the caller's function.
                if self.queues.has_unsubmitted() {
                    self.enter(0, false)?;
                }
                self.deliver();
                continue;
            }
            if stopping && self.in_flight.is_empty() {
                return Ok(());
            }
            // A full window can start nothing before a read comes back, so that no submission is worth waking
            // for.
            let has_room = self
                .window
                .has_room(self.in_flight.n_reads(), self.in_flight.bytes());
            if has_room {
                if !self.inbox.fall_asleep(stopping) {
                    continue;
                }
                self.queues.arm_wake(self.inbox.wake_fd());
            }
            let started = Instant::now();
            let was_idle = self.in_flight.n_reads() == 0;
            self.enter(Window::wait_for(self.in_flight.n_reads()), has_room)?;
            let ended = Instant::now();
            let ns = nanoseconds(ended - started);
            let counts = self.in_flight.counts_mut();
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
        let counts = self.in_flight.counts();
        let (then, bytes, reads) = mem::replace(&mut self.sampled, (now, counts.bytes, counts.reads));
        let sample = Sample {
            elapsed_ns: nanoseconds(now - then),
            bytes: counts.bytes - bytes,
            reads: counts.reads - reads,
            in_flight: self.in_flight.n_reads(),
            had_backlog,
        };
        let device = &self.config.device;
        if self.window.adapts() {
            if self.config.leads {
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
            .has_room(self.in_flight.n_reads(), self.in_flight.bytes())
        {
            let Some((id, piece)) = self.in_flight.next() else {
                return;
            };
            self.queues.push_read(&piece, id);
            has_filled = true;
        }
        // Otherwise there may be more in flight than the window allows now.
        if has_filled {
            self.in_flight.counts_mut().depth = self.in_flight.n_reads().into();
        }
    }

    /// As [`Queues::enter`], and counts the call.
    fn enter(&mut self, wait_for: usize, may_be_woken: bool) -> io::Result<()> {
        self.in_flight.counts_mut().enter_calls += 1;
        self.queues.enter(wait_for, may_be_woken)
    }

    /// Takes in the reads that are over.
    fn reap(&mut self) {
        let in_flight = &mut self.in_flight;
        self.queues.reap(|id, result| in_flight.finish(id, result));
    }

    fn deliver(&mut self) {
        self.stats.publish(self.in_flight.counts());
        while let Some(completion) = self.in_flight.pop_ready() {
            self.port.outlet.deliver(completion);
        }
    }

    /// Leaves nothing in flight, and unregisters the buffers now: the kernel would do so some time after the
    /// ring is gone, and until then the memory would count against the limit of the next engine.
    fn tear_down(&mut self) -> io::Result<()> {
        while self.queues.is_wake_armed() {
            self.inbox.wake();
            self.enter(1, false)?;
            self.reap();
        }
        let counts = self.in_flight.counts_mut();
        (counts.rings, counts.depth) = (0, 0);
        self.stats.publish(self.in_flight.counts());
        self.queues.unregister_buffers()
    }

    /// The ring cannot be relied on any more: completes everything with an error, and leaks the memory that
    /// the kernel may still write to.
    fn give_up(&mut self, reason: &str) {
        mem::forget(self.port.pool.clone());
        self.port.break_down(Breakdown::Ring(reason.to_owned()));
        for task in self.inbox.break_down(reason) {
            self.in_flight.push(task);
        }
        self.in_flight.abandon(&Breakdown::Ring(reason.to_owned()));
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
