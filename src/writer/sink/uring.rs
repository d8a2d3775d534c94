//! The thread that writes through tokio-uring, several writes in flight at a time.

use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::create::OpenShard;
use super::write_buffer::WriteBuffer;
use crate::engine::probe_ring;

/// When no write has completed for so long, the ring is proven again: where the kernel has begun to refuse it, none ever will.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// One write: the buffer's bytes at an offset of a shard.
pub(super) struct ShardWrite {
    pub(super) shard: usize,
    pub(super) offset_bytes: u64,
    pub(super) buffer: WriteBuffer,
}

pub(super) enum SinkMessage {
    Open(OpenShard),
    Write(ShardWrite),
}

impl std::fmt::Debug for SinkMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SinkMessage")
    }
}

/// The buffer that was written, or the shard that it was for and why it was not.
pub(super) type WriteOutcome = Result<WriteBuffer, (usize, io::Error)>;

/// The thread, and the channels to and from it.
#[derive(Debug)]
pub(super) struct UringThread {
    pub(super) jobs: Option<tokio::sync::mpsc::UnboundedSender<SinkMessage>>,
    pub(super) done: mpsc::Receiver<WriteOutcome>,
    /// `None` once the thread waits for completions that never come: it is left to itself.
    pub(super) thread: Option<JoinHandle<()>>,
}

impl Drop for UringThread {
    fn drop(&mut self) {
        self.jobs = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        // Until the thread lets go of the channel, its writes are under way.
        loop {
            match self.done.recv_timeout(PATIENCE) {
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
pub(super) fn start() -> Result<UringThread, String> {
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
        Ok(Ok(())) => Ok(UringThread {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        }),
        Ok(Err(error)) => Err(format!("tokio-uring could not be started ({error})")),
        Err(_) => Err("tokio-uring panicked as it was started".to_owned()),
    }
}

async fn run_writes(
    mut jobs: tokio::sync::mpsc::UnboundedReceiver<SinkMessage>,
    done: mpsc::Sender<WriteOutcome>,
) {
    let mut files: Vec<Rc<UringShard>> = Vec::new();
    let mut in_flight = Vec::new();
    while let Some(message) = jobs.recv().await {
        match message {
            SinkMessage::Open(shard) => files.push(Rc::new(UringShard::new(shard))),
            SinkMessage::Write(job) => {
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
    done: Option<mpsc::Sender<WriteOutcome>>,
}

impl Answer {
    fn new(shard: usize, done: &mpsc::Sender<WriteOutcome>) -> Self {
        let done = Some(done.clone());
        Self { shard, done }
    }

    fn give(mut self, outcome: WriteOutcome) {
        // No thread listens any more where the writer was dropped: then the outcome does not matter.
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
struct UringShard {
    file: RefCell<Rc<tokio_uring::fs::File>>,
    path: PathBuf,
    is_direct: Cell<bool>,
}

impl UringShard {
    fn new(shard: OpenShard) -> Self {
        Self {
            file: RefCell::new(Rc::new(tokio_uring::fs::File::from_std(shard.file))),
            path: shard.path,
            is_direct: Cell::new(shard.is_direct),
        }
    }

    async fn write(&self, job: ShardWrite) -> WriteOutcome {
        let ShardWrite {
            shard,
            offset_bytes,
            mut buffer,
        } = job;
        loop {
            // Writes begun before a refusal of direct ones came back are refused too, one after the other.
            let was_direct = self.is_direct.get();
            let outcome;
            (outcome, buffer) = self.try_write(offset_bytes, buffer).await;
            match outcome {
                Ok(()) => return Ok(buffer),
                Err(error) if was_direct && is_refusal(&error) => {
                    if let Err(error) = self.go_through_page_cache() {
                        return Err((shard, error));
                    }
                }
                Err(error) => return Err((shard, error)),
            }
        }
    }

    async fn try_write(&self, offset_bytes: u64, buffer: WriteBuffer) -> (io::Result<()>, WriteBuffer) {
        use tokio_uring::buf::BoundedBuf;
        let WriteBuffer { memory, start } = buffer;
        // Kept as long as the write, whatever takes its place meanwhile.
        let file = self.file.borrow().clone();
        let (result, bytes) = file.write_all_at(memory.slice(start..), offset_bytes).await;
        let memory = bytes.into_inner();
        (result, WriteBuffer { memory, start })
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
