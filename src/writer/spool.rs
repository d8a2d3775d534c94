//! Collects the index while blocks are written: block records in memory, the entries of obs in temporary files, so that
//! memory does not grow with the number of obs.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::WriteError;
use crate::Error;
use crate::format::checksum::{HashingWriter, PieceHasher};
use crate::format::constants::{INDEX_HEADER_BYTES, SECTION_ALIGNMENT};
use crate::format::index::{BlockRecord, IndexLayout};

#[derive(Debug)]
pub(super) struct IndexSpool {
    records: Vec<BlockRecord>,
    ends: Spool,
    details: Spool,
}

/// u32 entries in a temporary file.
#[derive(Debug)]
struct Spool {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Spool {
    fn create(path: PathBuf) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(WriteError::io(&path))?;
        Ok(Self {
            path,
            writer: BufWriter::with_capacity(1 << 16, file),
        })
    }

    fn append(&mut self, entries: &[u32]) -> Result<(), Error> {
        Ok(entries
            .iter()
            .try_for_each(|e| self.writer.write_all(&e.to_le_bytes()))
            .map_err(WriteError::io(&self.path))?)
    }

    /// Copies the entries, cut to `width` bytes, and removes the file.
    fn drain(&mut self, width: usize, out: &mut impl Write) -> io::Result<()> {
        self.writer.flush()?;
        let file = self.writer.get_mut();
        file.rewind()?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut entry = [0; 4];
        while reader.read(&mut entry[..1])? == 1 {
            reader.read_exact(&mut entry[1..])?;
            out.write_all(&entry[..width])?;
        }
        std::fs::remove_file(&self.path)
    }
}

impl IndexSpool {
    pub(super) fn create(directory: &Path) -> Result<Self, Error> {
        let spool = |name| Spool::create(directory.join(name));
        Ok(Self {
            records: Vec::new(),
            ends: spool(".ends")?,
            details: spool(".details")?,
        })
    }

    pub(super) fn append(&mut self, record: BlockRecord, ends: &[u32], details: &[u32]) -> Result<(), Error> {
        self.records.push(record);
        self.append_obs(ends, details)
    }

    /// The entries of obs whose blocks' records come apart from them.
    pub(super) fn append_obs(&mut self, ends: &[u32], details: &[u32]) -> Result<(), Error> {
        self.ends.append(ends)?;
        self.details.append(details)
    }

    pub(super) fn append_record(&mut self, record: BlockRecord) {
        self.records.push(record);
    }

    /// Writes the sections after the place of the header; gives their CRC.
    pub(super) fn write_sections(&mut self, path: &Path, layout: &IndexLayout) -> Result<u32, Error> {
        let write = || -> io::Result<u32> {
            let mut file = File::create_new(path)?;
            file.seek(io::SeekFrom::Start(INDEX_HEADER_BYTES as u64))?;
            let mut out = HashingWriter::new(BufWriter::with_capacity(1 << 20, file));
            let mut at = INDEX_HEADER_BYTES as u64;
            for record in &self.records {
                out.write_all(&record.to_bytes())?;
                at += record.to_bytes().len() as u64;
            }
            pad(&mut out, at, layout.ends_at)?;
            self.ends.drain(4, &mut out)?;
            pad(&mut out, layout.ends_at + layout.n_obs * 4, layout.details_at)?;
            self.details.drain(layout.detail_bytes as usize, &mut out)?;
            let (mut file, hasher) = out.into_parts();
            file.flush()?;
            Ok(hasher.whole())
        };
        let mut write = write;
        Ok(write().map_err(WriteError::io(path))?)
    }

    /// Writes the records and the entries, each of 4 bytes, one after the other: the index of a part.
    pub(super) fn write_part(&mut self, path: &Path) -> Result<(u64, Vec<u32>), Error> {
        let mut write = || -> io::Result<(u64, Vec<u32>)> {
            let file = File::create_new(path)?;
            let mut out = HashingWriter::new(BufWriter::with_capacity(1 << 20, file));
            for record in &self.records {
                out.write_all(&record.to_bytes())?;
            }
            self.ends.drain(4, &mut out)?;
            self.details.drain(4, &mut out)?;
            let (mut file, hasher) = out.into_parts();
            file.flush()?;
            Ok((hasher.bytes(), hasher.finish()))
        };
        Ok(write().map_err(WriteError::io(path))?)
    }
}

/// Writes the header of an index that is complete otherwise, and gives the checksums of the whole file's pieces.
pub(super) fn write_header(path: &Path, header: &[u8]) -> Result<Vec<u32>, Error> {
    let write = || -> io::Result<Vec<u32>> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        file.write_all_at(header, 0)?;
        let mut hasher = PieceHasher::default();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                n => hasher.update(&buffer[..n]),
            }
        }
    };
    Ok(write().map_err(WriteError::io(path))?)
}

/// Writes the zero bytes between two sections.
fn pad(out: &mut impl Write, from: u64, to: u64) -> io::Result<()> {
    out.write_all(&[0; SECTION_ALIGNMENT][..(to - from) as usize])
}
