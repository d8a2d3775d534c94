//! Where shards are written: several aligned writes in flight through tokio-uring, or plain writes where io_uring is
//! refused.

mod create;
mod uring;
mod write_buffer;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Once, mpsc};

pub(super) use write_buffer::{WRITE_BUFFER_BYTES, WriteBuffer};

use super::error::WriteError;
use crate::Error;
use crate::engine::probe_ring;
use create::OpenShard;
use uring::{PATIENCE, ShardWrite, SinkMessage, UringThread};

/// Writes under way at a time.
const IN_FLIGHT: usize = 4;

/// Writes buffers to shards; at most [`IN_FLIGHT`] + 1 buffers exist.
#[derive(Debug)]
pub(in crate::writer) struct Sink {
    backend: SinkBackend,
    free: VecDeque<WriteBuffer>,
    paths: Vec<PathBuf>,
}

impl Sink {
    /// A sink without files. `uring` asks for io_uring; where the kernel refuses it, plain writes are used, and a warning says so
    /// once.
    pub(in crate::writer) fn new(uring: bool) -> Self {
        static SAID: Once = Once::new();
        let free = (0..=IN_FLIGHT).map(|_| WriteBuffer::new()).collect();
        let plain = SinkBackend::Plain { files: Vec::new() };
        let backend = match uring {
            true => uring::start().map(SinkBackend::Uring).unwrap_or_else(|refused| {
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

    /// Name of the way in which buffers are written.
    pub(in crate::writer) fn name(&self) -> &'static str {
        match self.backend {
            SinkBackend::Uring(_) => "tokio-uring",
            SinkBackend::Plain { .. } => "plain",
        }
    }

    /// Creates the next shard, for direct writes where the filesystem takes them.
    pub(in crate::writer) fn create(&mut self, path: &Path) -> Result<(), Error> {
        let is_uring = matches!(self.backend, SinkBackend::Uring(_));
        let shard = OpenShard::create(path, is_uring).map_err(WriteError::io(path))?;
        self.paths.push(path.to_path_buf());
        match &mut self.backend {
            SinkBackend::Uring(UringThread { jobs: Some(jobs), .. }) => {
                jobs.send(SinkMessage::Open(shard))
                    .map_err(|_| WriteError::io(path)(io::ErrorKind::BrokenPipe.into()))?;
            }
            SinkBackend::Uring(_) => {}
            SinkBackend::Plain { files } => files.push(shard.file),
        }
        Ok(())
    }

    /// An empty buffer; waits for a write to complete where all are in flight.
    pub(in crate::writer) fn take(&mut self) -> Result<WriteBuffer, Error> {
        match self.free.pop_front() {
            Some(buffer) => Ok(buffer),
            None => self.wait(),
        }
    }

    fn wait(&mut self) -> Result<WriteBuffer, Error> {
        let SinkBackend::Uring(UringThread { done, thread, .. }) = &mut self.backend else {
            return Ok(WriteBuffer::new());
        };
        let outcome = loop {
            match done.recv_timeout(PATIENCE) {
                Ok(outcome) => break outcome,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(WriteError::Sink.into()),
                // A slow disk takes its time; a kernel that refuses the ring never answers.
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if let Err(refused) = probe_ring() {
                        *thread = None;
                        let path = self.paths.last().cloned().unwrap_or_default();
                        return Err(WriteError::io(&path)(io::Error::other(refused)).into());
                    }
                }
            }
        };
        match outcome {
            Ok(mut buffer) => {
                buffer.clear();
                Ok(buffer)
            }
            Err((shard, error)) => Err(WriteError::io(&self.paths[shard])(error).into()),
        }
    }

    /// Writes a buffer at an offset of a shard, both multiples of the store's alignment.
    pub(in crate::writer) fn write(
        &mut self,
        shard: usize,
        offset_bytes: u64,
        mut buffer: WriteBuffer,
    ) -> Result<(), Error> {
        match &mut self.backend {
            SinkBackend::Plain { files } => {
                let bytes = &buffer.memory[buffer.start..];
                files[shard]
                    .write_all_at(bytes, offset_bytes)
                    .map_err(WriteError::io(&self.paths[shard]))?;
                buffer.clear();
                self.free.push_back(buffer);
                Ok(())
            }
            SinkBackend::Uring(UringThread { jobs, .. }) => jobs
                .as_ref()
                .and_then(|jobs| {
                    jobs.send(SinkMessage::Write(ShardWrite {
                        shard,
                        offset_bytes,
                        buffer,
                    }))
                    .ok()
                })
                .ok_or(WriteError::Sink.into()),
        }
    }

    /// Waits for all writes. The files are not synced: that happens once, on publication.
    pub(in crate::writer) fn finish(mut self) -> Result<(), Error> {
        if let SinkBackend::Uring(UringThread { jobs, .. }) = &mut self.backend {
            // Closing the channel ends the thread once all writes are done.
            *jobs = None;
            while self.free.len() <= IN_FLIGHT {
                let buffer = self.wait()?;
                self.free.push_back(buffer);
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
enum SinkBackend {
    Uring(UringThread),
    Plain { files: Vec<File> },
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
            let mut buffer = sink.take().unwrap();
            assert!(buffer.fill(&vec![byte; len]).is_empty());
            expected.extend(vec![byte; len]);
            sink.write(0, at, buffer).unwrap();
            at += len as u64;
        }
        sink.finish().unwrap();
        assert!(std::fs::read(&path).unwrap() == expected);
    }
}
