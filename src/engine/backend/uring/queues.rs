//! The two queues of a ring: reads go in, results come out.
#![allow(
    unsafe_code,
    reason = "registering memory and queueing reads into it is what the ring is for"
)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::thread;

use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, opcode, squeue, types};

use super::config::RingConfig;
use super::regions::Regions;
use crate::engine::error::errno;
use crate::engine::in_flight::FlightId;
use crate::engine::piece::Piece;
use crate::engine::port::Port;

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

/// The queues, and what is registered with the ring.
pub(super) struct Queues<'r> {
    port: &'r Port,
    /// Kept, not made for each call, because the registered descriptor of the ring is a part of it.
    submitter: Submitter<'r>,
    submissions: SubmissionQueue<'r>,
    completions: CompletionQueue<'r>,
    has_min_wait: bool,
    registered_files: bool,
    regions: Regions,
    wake_armed: bool,
    refused_in_a_row: u32,
}

impl<'r> Queues<'r> {
    pub(super) fn new(port: &'r Port, ring: &'r mut IoUring) -> Queues<'r> {
        let has_min_wait = ring.params().is_feature_min_timeout();
        let (submitter, submissions, completions) = ring.split();
        Queues {
            port,
            submitter,
            submissions,
            completions,
            has_min_wait,
            registered_files: false,
            regions: Regions::None,
            wake_armed: false,
            refused_in_a_row: 0,
        }
    }

    /// Registers what can be. Files and the ring itself save little, and are done without where they are
    /// refused.
    pub(super) fn register(&mut self, config: &RingConfig) -> Result<(), String> {
        let descriptors: Vec<RawFd> = self.port.files.iter().map(AsRawFd::as_raw_fd).collect();
        self.registered_files =
            !descriptors.is_empty() && self.submitter.register_files(&descriptors).is_ok();
        let _ = self.submitter.register_ring_fd();
        if !config.registered_buffers {
            return Ok(());
        }
        let shared = config.registration.as_ref();
        let cloned = shared.is_some_and(|shared| self.submitter.register_buffers_clone(shared.fd()).is_ok());
        if cloned {
            self.regions = Regions::All;
            return Ok(());
        }
        let (submitter, pool) = (&self.submitter, &self.port.pool);
        // SAFETY: the pool in `port` outlives the ring, or is leaked by the thread when it gives the ring up.
        self.regions = unsafe { Regions::register(submitter, pool, config.registers_as_used) }?;
        Ok(())
    }

    /// Queues a read, whose result will come with this number. It is started by [`enter`](Self::enter).
    pub(super) fn push_read(&mut self, piece: &Piece, id: FlightId) {
        let entry = self.entry(piece, u64::from(id));
        self.push(&entry);
    }

    fn entry(&mut self, piece: &Piece, user_data: u64) -> squeue::Entry {
        let Piece {
            file,
            offset_bytes,
            len_bytes,
            target,
        } = *piece;
        let index = types::Fixed(file);
        let fd = types::Fd(self.port.files.file(file).as_raw_fd());
        let (start, region) = (target.as_ptr(), target.region());
        // SAFETY: as in `register`.
        let is_registered = unsafe { self.regions.ensure(region, &self.submitter, &self.port.pool) };
        let entry = match (self.registered_files, is_registered) {
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
    pub(super) fn arm_wake(&mut self, wake_fd: RawFd) {
        if self.wake_armed {
            return;
        }
        // What is read means nothing: it goes to a buffer that is never read.
        let (target, _) = self.port.pool.probe();
        let read = opcode::Read::new(types::Fd(wake_fd), target.as_ptr(), WAKE_BYTES);
        self.push(&read.build().user_data(WAKE));
        self.wake_armed = true;
    }

    /// Whether the read of the wake pipe is in flight.
    pub(super) fn is_wake_armed(&self) -> bool {
        self.wake_armed
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: every entry is a read from a file that `port` holds open, into a slot that `InFlight` owns
        // until the read is over, or into the probe space of the pool that `port` holds; what can still be
        // written to when the ring ends is leaked by the thread when it gives the ring up.
        let pushed = unsafe { self.submissions.push(entry) };
        assert!(pushed.is_ok(), "the reads of the window must fit the ring");
    }

    /// Whether reads are queued that the kernel has not been told of.
    pub(super) fn has_unsubmitted(&self) -> bool {
        !self.submissions.is_empty()
    }

    /// Starts what is queued and waits for `wait_for` completions; for fewer when `may_be_woken`, if the
    /// kernel can wait so that a wake is noticed soon. Also returns when it has been interrupted, or the
    /// kernel lacks memory.
    pub(super) fn enter(&mut self, wait_for: usize, may_be_woken: bool) -> io::Result<()> {
        self.submissions.sync();
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

    /// Hands over the results of the reads that are over, each with its number.
    pub(super) fn reap(&mut self, mut finish: impl FnMut(FlightId, io::Result<u32>)) {
        self.completions.sync();
        for completion in &mut self.completions {
            if completion.user_data() == WAKE {
                self.wake_armed = false;
            } else {
                finish(completion.user_data() as FlightId, errno(completion.result()));
            }
        }
        self.completions.sync();
    }

    /// The result of one read that is over, whichever it is.
    pub(super) fn pop_result(&mut self) -> Option<io::Result<u32>> {
        self.completions.sync();
        let result = self
            .completions
            .next()
            .map(|completion| errno(completion.result()));
        self.completions.sync();
        result
    }

    /// Unregisters the buffers, if they were registered.
    pub(super) fn unregister_buffers(&mut self) -> io::Result<()> {
        match self.regions.is_none() {
            true => Ok(()),
            false => self.submitter.unregister_buffers(),
        }
    }
}
