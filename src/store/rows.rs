//! Reads consecutive obs in the source's element type: for export and for verification, not for training.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::Store;
use crate::Error;
use crate::format::encoding::{FrameError, ObsDecoder};
use crate::format::obs::Location;
use crate::format::{CsrRows, Element, FormatError, ValueBuffer};

impl Store {
    /// Reads obs `range`, exact and in the source's element type, with the store's columns.
    ///
    /// Memory is that of the result and of the bytes of the longest obs: call it on ranges that fit.
    ///
    /// # Errors
    /// If a shard cannot be read or an obs is damaged.
    ///
    /// # Panics
    /// If the range goes beyond the last obs.
    pub fn rows(&self, range: Range<u64>) -> Result<CsrRows, Error> {
        assert!(
            range.start <= range.end && range.end <= self.n_obs(),
            "obs {range:?} of {}",
            self.n_obs()
        );
        match self.link() {
            Some(link) => link.rows(range),
            None => cellring_core::with_element!(self.manifest.value_type, T => self.typed_rows::<T>(range)),
        }
    }

    fn typed_rows<T: Element>(&self, range: Range<u64>) -> Result<CsrRows, Error> {
        let decoder = ObsDecoder::new(&self.manifest);
        let mut current: Option<(u32, File)> = None;
        let mut indptr = vec![0u64];
        let mut indices: Vec<i32> = Vec::new();
        let mut values: Vec<T> = Vec::new();
        let mut bytes = [Vec::new(), Vec::new()];
        for obs in range {
            let location = self.index().locate(obs)?;
            let path = self
                .path
                .join(&self.manifest.shards[location.shard as usize].file);
            let file = match &mut current {
                Some((shard, file)) if *shard == location.shard => file,
                _ => {
                    let file = self.open_shard(location.shard as usize)?;
                    &mut current.insert((location.shard, file)).1
                }
            };
            for (bytes, part) in bytes.iter_mut().zip(location.parts) {
                bytes.resize(part.len_bytes as usize, 0);
                file.read_exact_at(bytes, part.offset_bytes)
                    .map_err(FormatError::io(&path))?;
            }
            let start = indices.len();
            indices.resize(start + location.nnz as usize, 0);
            values.resize(start + location.nnz as usize, T::from_bits(0));
            let parts = [bytes[0].as_slice().into(), bytes[1].as_slice().into()];
            let (indices, values) = (&mut indices[start..], &mut values[start..]);
            decoder
                .decode(obs, location.crc, parts, indices, values)
                .map_err(|error| self.obs_error(obs, &location, error))?;
            indptr.push((start + location.nnz as usize) as u64);
        }
        let mut buffer = ValueBuffer::with_capacity(T::VALUE_TYPE, 0);
        if let Some(vec) = T::vec_mut(&mut buffer) {
            *vec = values;
        }
        Ok(CsrRows {
            indptr,
            indices: indices.into_iter().map(|column| column as u32).collect(),
            values: buffer,
        })
    }

    /// Names the place of a damaged obs.
    pub(crate) fn obs_error(&self, obs: u64, at: &Location, error: FrameError) -> FormatError {
        let file = self.path.join(&self.manifest.shards[at.shard as usize].file);
        let ends = at.parts.iter().filter(|part| part.len_bytes > 0);
        let start = ends.clone().map(|part| part.offset_bytes).min().unwrap_or(0);
        let end = ends
            .map(|part| part.offset_bytes + u64::from(part.len_bytes))
            .max()
            .unwrap_or(0);
        FormatError::Obs {
            file,
            obs,
            start,
            end,
            error,
        }
    }
}
