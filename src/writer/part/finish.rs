//! Completes a part of a store.

use super::manifest::{FORMAT, Part, PartManifest, VERSION};
use super::names::PART_INDEX_FILE;
use crate::Error;
use crate::format::constants::PART_FILE;
use crate::format::file::FileName;
use crate::format::manifest::{FileEntry, seal};
use crate::writer::complete::write_new;
use crate::writer::error::WriteError;
use crate::writer::store_writer::StoreWriter;

impl StoreWriter {
    /// Completes a part of a store instead of a store, and gives it its name.
    ///
    /// # Errors
    /// As [`Self::finish`].
    ///
    /// # Panics
    /// If a table was not written.
    pub fn finish_part(mut self, part: Part) -> Result<PartManifest, Error> {
        let (Some(obs), Some(var)) = (self.tables.obs, self.tables.var) else {
            panic!("both tables are written before the part is finished");
        };
        let shards = self.shards.finish()?;
        let (bytes, crc32c) = self
            .index
            .write_part(&self.staging.path().join(PART_INDEX_FILE))?;
        let (options, totals) = (self.options, self.totals);
        let manifest = PartManifest {
            format: FORMAT.into(),
            version: VERSION,
            part: part.number,
            parts: part.of,
            settings: part.settings,
            n_obs_of_store: part.n_obs_of_store,
            first_obs: part.first_obs,
            n_obs: totals.n_obs,
            n_vars: options.n_vars,
            nnz: totals.nnz,
            encoding: options.encoding,
            value_type: options.value_type,
            raw_value_type: options.raw_value_type,
            f32_exact: totals.f32_exact,
            block_size: options.block_size,
            alignment: options.alignment,
            max_obs_nnz: totals.max_obs_nnz,
            max_obs_bytes: totals.max_obs_bytes,
            var_order: options.var_order,
            shards,
            index: FileEntry {
                file: FileName::own(PART_INDEX_FILE),
                bytes,
                crc32c: crc32c.into(),
            },
            obs: obs.entry,
            obs_rows: obs.n_rows,
            var: var.entry,
            counts: part.counts,
            counts_of_all: part.counts_of_all,
            source: options.source,
        };
        let path = self.staging.path().join(PART_FILE);
        let bytes = seal(&manifest).map_err(|error| WriteError::io(&path)(error.into()))?;
        write_new(&path, &bytes)?;
        self.staging.publish()?;
        Ok(manifest)
    }
}
