//! Where shards are written: several aligned writes in flight through tokio-uring, or plain writes where io_uring is
//! refused.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::WriteError;

/// Length of one write. Large enough that a device reaches its full speed with [`IN_FLIGHT`] of them.
pub(super) const CHUNK_BYTES: usize = 4 << 20;
/// Writes under way at a time.
const IN_FLIGHT: usize = 4;
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
        thread: Option<JoinHandle<()>>,
    },
    Plain {
        files: Vec<File>,
    },
}

enum Message {
    Open(File),
    Write(Job),
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

type Done = Result<Chunk, (usize, io::Error)>;

impl Sink {
    /// A sink without files. `uring` asks for io_uring; where the kernel refuses it, plain writes are used.
    pub(super) fn new(uring: bool) -> Self {
        let free = (0..=IN_FLIGHT).map(|_| Chunk::new()).collect();
        let backend = match uring.then(start_uring).and_then(Result::ok) {
            Some(backend) => backend,
            None => SinkBackend::Plain { files: Vec::new() },
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
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let direct = match &self.backend {
            SinkBackend::Uring { .. } => options.clone().custom_flags(libc::O_DIRECT).open(path).ok(),
            SinkBackend::Plain { .. } => None,
        };
        let file = match direct {
            Some(file) => file,
            // A refused O_DIRECT may still have created the file.
            None => options
                .create_new(false)
                .create(true)
                .truncate(true)
                .open(path)
                .map_err(WriteError::io(path))?,
        };
        self.paths.push(path.to_path_buf());
        match &mut self.backend {
            SinkBackend::Uring { jobs: Some(jobs), .. } => {
                jobs.send(Message::Open(file))
                    .map_err(|_| WriteError::io(path)(io::ErrorKind::BrokenPipe.into()))?;
            }
            SinkBackend::Uring { .. } => {}
            SinkBackend::Plain { files } => files.push(file),
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
        let SinkBackend::Uring { done, .. } = &self.backend else {
            return Ok(Chunk::new());
        };
        match done.recv() {
            Ok(Ok(mut chunk)) => {
                chunk.clear();
                Ok(chunk)
            }
            Ok(Err((shard, error))) => Err(WriteError::io(&self.paths[shard])(error)),
            Err(_) => Err(WriteError::Sink),
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
        if let Self::Uring { jobs, thread, .. } = self {
            *jobs = None;
            // A panic of the thread has already shown as a closed channel.
            thread.take().map(JoinHandle::join);
        }
    }
}

/// Starts the thread that owns the tokio-uring runtime.
fn start_uring() -> io::Result<SinkBackend> {
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
        })?;
    match ready.recv() {
        Ok(Ok(())) => Ok(SinkBackend::Uring {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

async fn run_writes(mut jobs: tokio::sync::mpsc::UnboundedReceiver<Message>, done: mpsc::Sender<Done>) {
    let mut files: Vec<Rc<tokio_uring::fs::File>> = Vec::new();
    let mut in_flight = Vec::new();
    while let Some(message) = jobs.recv().await {
        match message {
            Message::Open(file) => files.push(Rc::new(tokio_uring::fs::File::from_std(file))),
            Message::Write(job) => {
                let (file, done) = (files[job.shard].clone(), done.clone());
                in_flight.retain(|task: &tokio::task::JoinHandle<()>| !task.is_finished());
                in_flight.push(tokio_uring::spawn(async move {
                    let result = write(&file, job).await;
                    // Nobody listens any more where the writer was dropped: then the result does not matter.
                    let _ = done.send(result);
                }));
            }
        }
    }
    for task in in_flight {
        let _ = task.await;
    }
}

async fn write(file: &tokio_uring::fs::File, job: Job) -> Done {
    use tokio_uring::buf::BoundedBuf;
    let Chunk { memory, start } = job.chunk;
    let (result, bytes) = file.write_all_at(memory.slice(start..), job.offset_bytes).await;
    match result {
        Ok(()) => Ok(Chunk {
            memory: bytes.into_inner(),
            start,
        }),
        Err(error) => Err((job.shard, error)),
    }
}
