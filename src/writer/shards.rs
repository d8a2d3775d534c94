//! Puts blocks one after the other into shards.

use std::path::Path;

use super::sink::{Sink, WRITE_BUFFER_BYTES, WriteBuffer};
use crate::Error;
use crate::format::file::FileName;
use crate::format::index::BlockRecord;
use crate::format::manifest::ShardEntry;

/// Writes the shards of a store from number `first` on.
#[derive(Debug)]
pub(super) struct ShardWriter {
    sink: Sink,
    buffer: Option<WriteBuffer>,
    buffer_at: u64,
    alignment: u64,
    first: u32,
    entries: Vec<ShardEntry>,
}

impl ShardWriter {
    pub(super) fn new(uring: bool, alignment: u32, first: u32) -> Self {
        Self {
            sink: Sink::new(uring),
            buffer: None,
            buffer_at: 0,
            alignment: u64::from(alignment),
            first,
            entries: Vec::new(),
        }
    }

    /// How blocks are written: `tokio-uring` or `plain`.
    pub(super) fn sink(&self) -> &'static str {
        self.sink.name()
    }

    /// Number of the shard that [`Self::begin`] begins.
    pub(super) fn next_number(&self) -> u32 {
        self.first + self.entries.len() as u32
    }

    /// Length of the shard that is being written; `None` before the first.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.entries.last().map(|shard| shard.bytes)
    }

    /// Begins the next shard, as this file.
    pub(super) fn begin(&mut self, path: &Path) -> Result<(), Error> {
        self.flush()?;
        self.sink.create(path)?;
        self.entries.push(ShardEntry {
            file: FileName::shard(self.next_number()),
            bytes: 0,
            blocks: 0,
            store_id: None,
        });
        self.buffer_at = 0;
        // The header holds the store id, which is known at the end: its place is left free.
        self.put_zeros(self.alignment)
    }

    /// Writes a block into the shard that was begun last; says where it is.
    pub(super) fn put_block(&mut self, payload: &[u8]) -> Result<BlockRecord, Error> {
        let record = BlockRecord {
            offset_bytes: self.bytes().unwrap_or(0),
            shard: self.first + (self.entries.len() - 1) as u32,
            payload_bytes: payload.len() as u32,
        };
        self.put(payload)?;
        let bytes = payload.len() as u64;
        self.put_zeros(bytes.next_multiple_of(self.alignment) - bytes)?;
        if let Some(shard) = self.entries.last_mut() {
            shard.blocks += 1;
        }
        Ok(record)
    }

    /// Waits for all writes. The headers are still zero, and nothing is synced.
    pub(super) fn finish(mut self) -> Result<Vec<ShardEntry>, Error> {
        self.flush()?;
        self.sink.finish()?;
        Ok(self.entries)
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        if let Some(shard) = self.entries.last_mut() {
            shard.bytes += bytes.len() as u64;
        }
        while !bytes.is_empty() {
            let mut buffer = match self.buffer.take() {
                Some(buffer) => buffer,
                None => self.sink.take()?,
            };
            bytes = buffer.fill(bytes);
            let full = buffer.len() == WRITE_BUFFER_BYTES;
            self.buffer = Some(buffer);
            if full {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn put_zeros(&mut self, mut n: u64) -> Result<(), Error> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while n > 0 {
            let now = n.min(ZEROS.len() as u64);
            self.put(&ZEROS[..now as usize])?;
            n -= now;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if let Some(buffer) = self.buffer.take() {
            let at = self.buffer_at;
            self.buffer_at += buffer.len() as u64;
            self.sink.write(self.entries.len() - 1, at, buffer)?;
        }
        Ok(())
    }
}
