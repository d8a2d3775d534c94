//! Where shards are written: several aligned writes in flight through tokio-uring, or plain writes where io_uring is
//! refused.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Once, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::WriteError;
use crate::engine::probe_ring;

/// Length of one write. Large enough that a device reaches its full speed with [`IN_FLIGHT`] of them.
pub(super) const CHUNK_BYTES: usize = 4 << 20;
/// Writes under way at a time.
const IN_FLIGHT: usize = 4;
/// When no write has completed for so long, the ring is proven again: where the kernel has begun to refuse it, none ever will.
const PATIENCE: Duration = Duration::from_secs(10);
/// Alignment of memory, offset and length of a direct write.
const DIRECT_ALIGNMENT: usize = 4096;

/// A buffer of up to [`CHUNK_BYTES`], aligned for direct writes.
#[derive(Debug)]
pub(super) struct Chunk {
    memory: Vec<u8>,
    start: usize,
}

impl Chunk {
    fn new() -> Self {
        let mut memory: Vec<u8> = Vec::with_capacity(CHUNK_BYTES + DIRECT_ALIGNMENT);
        let start = memory.as_ptr().align_offset(DIRECT_ALIGNMENT);
        memory.resize(start, 0);
        Self { memory, start }
    }

    /// Takes as many bytes as there is room for; gives the rest.
    pub(super) fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.len()));
        // Within the capacity that `new` reserved, so the memory does not move and stays aligned.
        self.memory.extend_from_slice(now);
        rest
    }

    pub(super) fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    fn clear(&mut self) {
        self.memory.truncate(self.start);
    }
}

/// One write: the chunk's bytes at an offset of a shard.
struct Job {
    shard: usize,
    offset_bytes: u64,
    chunk: Chunk,
}

/// Writes chunks to shards; at most [`IN_FLIGHT`] + 1 chunks exist.
#[derive(Debug)]
pub(super) struct Sink {
    backend: SinkBackend,
    free: VecDeque<Chunk>,
    paths: Vec<PathBuf>,
}

#[derive(Debug)]
enum SinkBackend {
    Uring {
        jobs: Option<tokio::sync::mpsc::UnboundedSender<Message>>,
        done: mpsc::Receiver<Done>,
        /// `None` once the thread waits for completions that never come: it is left to itself.
        thread: Option<JoinHandle<()>>,
    },
    Plain {
        files: Vec<File>,
    },
}

enum Message {
    Open(OpenShard),
    Write(Job),
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

type Done = Result<Chunk, (usize, io::Error)>;

/// A shard that was created.
#[derive(Debug)]
struct OpenShard {
    file: File,
    path: PathBuf,
    is_direct: bool,
}

impl OpenShard {
    /// Creates a shard, with `direct` for direct writes where the filesystem takes the flag.
    fn create(path: &Path, direct: bool) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let path = path.to_path_buf();
        if direct && let Ok(file) = options.clone().custom_flags(libc::O_DIRECT).open(&path) {
            return Ok(Self {
                file,
                path,
                is_direct: true,
            });
        }
        // A refused O_DIRECT may still have created the file.
        let file = options
            .create_new(false)
            .create(true)
            .truncate(true)
            .open(&path)?;
        Ok(Self {
            file,
            path,
            is_direct: false,
        })
    }
}

impl Sink {
    /// A sink without files. `uring` asks for io_uring; where the kernel refuses it, plain writes are used, and a warning says so
    /// once.
    pub(super) fn new(uring: bool) -> Self {
        static SAID: Once = Once::new();
        let free = (0..=IN_FLIGHT).map(|_| Chunk::new()).collect();
        let plain = SinkBackend::Plain { files: Vec::new() };
        let backend = match uring {
            true => start_uring().unwrap_or_else(|refused| {
                SAID.call_once(|| tracing::warn!("shards are written without io_uring: {refused}"));
                plain
            }),
            false => plain,
        };
        Self {
            backend,
            free,
            paths: Vec::new(),
        }
    }

    /// Name of the way in which chunks are written.
    pub(super) fn name(&self) -> &'static str {
        match self.backend {
            SinkBackend::Uring { .. } => "tokio-uring",
            SinkBackend::Plain { .. } => "plain",
        }
    }

    /// Creates the next shard, for direct writes where the filesystem takes them.
    pub(super) fn create(&mut self, path: &Path) -> Result<(), WriteError> {
        let is_uring = matches!(self.backend, SinkBackend::Uring { .. });
        let shard = OpenShard::create(path, is_uring).map_err(WriteError::io(path))?;
        self.paths.push(path.to_path_buf());
        match &mut self.backend {
            SinkBackend::Uring { jobs: Some(jobs), .. } => {
                jobs.send(Message::Open(shard))
                    .map_err(|_| WriteError::io(path)(io::ErrorKind::BrokenPipe.into()))?;
            }
            SinkBackend::Uring { .. } => {}
            SinkBackend::Plain { files } => files.push(shard.file),
        }
        Ok(())
    }

    /// An empty chunk; waits for a write to complete where all are in flight.
    pub(super) fn take(&mut self) -> Result<Chunk, WriteError> {
        match self.free.pop_front() {
            Some(chunk) => Ok(chunk),
            None => self.wait(),
        }
    }

    fn wait(&mut self) -> Result<Chunk, WriteError> {
        let SinkBackend::Uring { done, thread, .. } = &mut self.backend else {
            return Ok(Chunk::new());
        };
        let outcome = loop {
            match done.recv_timeout(PATIENCE) {
                Ok(outcome) => break outcome,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(WriteError::Sink),
                // A slow disk takes its time; a kernel that refuses the ring never answers.
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if let Err(refused) = probe_ring() {
                        *thread = None;
                        let path = self.paths.last().cloned().unwrap_or_default();
                        return Err(WriteError::io(&path)(io::Error::other(refused)));
                    }
                }
            }
        };
        match outcome {
            Ok(mut chunk) => {
                chunk.clear();
                Ok(chunk)
            }
            Err((shard, error)) => Err(WriteError::io(&self.paths[shard])(error)),
        }
    }

    /// Writes a chunk at an offset of a shard, both multiples of the store's alignment.
    pub(super) fn write(
        &mut self,
        shard: usize,
        offset_bytes: u64,
        mut chunk: Chunk,
    ) -> Result<(), WriteError> {
        match &mut self.backend {
            SinkBackend::Plain { files } => {
                let bytes = &chunk.memory[chunk.start..];
                files[shard]
                    .write_all_at(bytes, offset_bytes)
                    .map_err(WriteError::io(&self.paths[shard]))?;
                chunk.clear();
                self.free.push_back(chunk);
                Ok(())
            }
            SinkBackend::Uring { jobs, .. } => jobs
                .as_ref()
                .and_then(|jobs| {
                    jobs.send(Message::Write(Job {
                        shard,
                        offset_bytes,
                        chunk,
                    }))
                    .ok()
                })
                .ok_or(WriteError::Sink),
        }
    }

    /// Waits for all writes. The files are not synced: that happens once, on publication.
    pub(super) fn finish(mut self) -> Result<(), WriteError> {
        if let SinkBackend::Uring { jobs, .. } = &mut self.backend {
            // Closing the channel ends the thread once all writes are done.
            *jobs = None;
            while self.free.len() <= IN_FLIGHT {
                let chunk = self.wait()?;
                self.free.push_back(chunk);
            }
        }
        Ok(())
    }
}

impl Drop for SinkBackend {
    fn drop(&mut self) {
        let Self::Uring { jobs, done, thread } = self else {
            return;
        };
        *jobs = None;
        let Some(thread) = thread.take() else {
            return;
        };
        // Until the thread lets go of the channel, its writes are under way.
        loop {
            match done.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Timeout) if probe_ring().is_err() => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        // A panic of the thread has already shown as a closed channel.
        let _ = thread.join();
    }
}

/// Starts the thread that owns the tokio-uring runtime; the error is a clause that says what was refused.
fn start_uring() -> Result<SinkBackend, String> {
    // The runtime does not tell when its ring is refused after it was set up: its writes would never complete.
    probe_ring()?;
    let (jobs, job_receiver) = tokio::sync::mpsc::unbounded_channel();
    let (done_sender, done) = mpsc::channel();
    let (ready_sender, ready) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("cellring-write".into())
        .spawn(move || {
            // The runtime lives on its own thread: its buffers are not Send, and its ring must not be shared.
            match tokio_uring::Runtime::new(&tokio_uring::builder()) {
                Ok(runtime) => {
                    let _ = ready_sender.send(Ok(()));
                    runtime.block_on(run_writes(job_receiver, done_sender));
                }
                Err(error) => drop(ready_sender.send(Err(error))),
            }
        })
        .map_err(|error| format!("its thread could not be started ({error})"))?;
    match ready.recv() {
        Ok(Ok(())) => Ok(SinkBackend::Uring {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        }),
        Ok(Err(error)) => Err(format!("tokio-uring could not be started ({error})")),
        Err(_) => Err("tokio-uring panicked as it was started".to_owned()),
    }
}

async fn run_writes(mut jobs: tokio::sync::mpsc::UnboundedReceiver<Message>, done: mpsc::Sender<Done>) {
    let mut files: Vec<Rc<Shard>> = Vec::new();
    let mut in_flight = Vec::new();
    while let Some(message) = jobs.recv().await {
        match message {
            Message::Open(shard) => files.push(Rc::new(Shard::new(shard))),
            Message::Write(job) => {
                let (file, answer) = (files[job.shard].clone(), Answer::new(job.shard, &done));
                in_flight.retain(|task: &tokio::task::JoinHandle<()>| !task.is_finished());
                in_flight.push(tokio_uring::spawn(async move {
                    answer.give(file.write(job).await);
                }));
            }
        }
    }
    for task in in_flight {
        let _ = task.await;
    }
}

/// Sends what became of a write: also where its task ends without that, in a panic, so that no thread waits for it.
struct Answer {
    shard: usize,
    done: Option<mpsc::Sender<Done>>,
}

impl Answer {
    fn new(shard: usize, done: &mpsc::Sender<Done>) -> Self {
        let done = Some(done.clone());
        Self { shard, done }
    }

    fn give(mut self, outcome: Done) {
        // Nobody listens any more where the writer was dropped: then the outcome does not matter.
        let _ = self.done.take().map(|done| done.send(outcome));
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let _ = done.send(Err((
                self.shard,
                io::Error::other("the task that wrote it panicked"),
            )));
        }
    }
}

/// A shard on the thread that writes.
struct Shard {
    file: RefCell<Rc<tokio_uring::fs::File>>,
    path: PathBuf,
    is_direct: Cell<bool>,
}

impl Shard {
    fn new(shard: OpenShard) -> Self {
        Self {
            file: RefCell::new(Rc::new(tokio_uring::fs::File::from_std(shard.file))),
            path: shard.path,
            is_direct: Cell::new(shard.is_direct),
        }
    }

    async fn write(&self, job: Job) -> Done {
        let Job {
            shard,
            offset_bytes,
            mut chunk,
        } = job;
        loop {
            // Writes begun before a refusal of direct ones came back are refused too, one after the other.
            let was_direct = self.is_direct.get();
            let outcome;
            (outcome, chunk) = self.try_write(offset_bytes, chunk).await;
            match outcome {
                Ok(()) => return Ok(chunk),
                Err(error) if was_direct && is_refusal(&error) => {
                    if let Err(error) = self.go_through_page_cache() {
                        return Err((shard, error));
                    }
                }
                Err(error) => return Err((shard, error)),
            }
        }
    }

    async fn try_write(&self, offset_bytes: u64, chunk: Chunk) -> (io::Result<()>, Chunk) {
        use tokio_uring::buf::BoundedBuf;
        let Chunk { memory, start } = chunk;
        // Kept as long as the write, whatever takes its place meanwhile.
        let file = self.file.borrow().clone();
        let (result, bytes) = file.write_all_at(memory.slice(start..), offset_bytes).await;
        let memory = bytes.into_inner();
        (result, Chunk { memory, start })
    }

    /// Some filesystems take the flag for direct writes, and refuse the first write.
    fn go_through_page_cache(&self) -> io::Result<()> {
        if self.is_direct.replace(false) {
            let file = OpenOptions::new().write(true).open(&self.path)?;
            *self.file.borrow_mut() = Rc::new(tokio_uring::fs::File::from_std(file));
        }
        Ok(())
    }
}

/// Whether a direct write failed with what filesystems and devices say that cannot do it so.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_write_that_is_refused_goes_through_the_page_cache() {
        let exe = std::env::current_exe().unwrap();
        // Beside the test binary: the directory for temporary files is often tmpfs.
        let dir = tempfile::tempdir_in(exe.parent().unwrap()).unwrap();
        let path = dir.path().join("shard");
        let mut sink = Sink::new(true);
        sink.create(&path).unwrap();
        // No device takes writes of odd lengths at odd places, so that each of these is refused.
        let pieces = [7, 1000, 513, 4095, 1, 600, 77];
        let (mut at, mut expected) = (0, Vec::new());
        for (byte, len) in (1u8..).zip(pieces) {
            let mut chunk = sink.take().unwrap();
            assert!(chunk.fill(&vec![byte; len]).is_empty());
            expected.extend(vec![byte; len]);
            sink.write(0, at, chunk).unwrap();
            at += len as u64;
        }
        sink.finish().unwrap();
        assert!(std::fs::read(&path).unwrap() == expected);
    }

    #[test]
    fn a_write_whose_task_panics_is_answered() {
        let (done, outcomes) = mpsc::channel();
        let answer = Answer::new(3, &done);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _answer = answer;
            panic!("as the test wants it");
        }));
        assert!(panicked.is_err());
        assert!(matches!(outcomes.recv(), Ok(Err((3, _)))));
    }
}
