//! One conversion, from the open inputs to the published store.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use cellring::Store;
use cellring::writer::{PartManifest, StoreWriter, WriteError, part_table_rows};
use cellring_anndata::__internal::Looks;
use cellring_anndata::{Canonicalised, FrameColumn, Selection};

use super::error::ConvertError;
use super::inputs::Inputs;
use super::matrix::{MatrixJob, Written};
use super::options::{ConvertOptions, ObsOrder, Parts};
use super::report::{ConvertReport, PartReport};
use super::selected::SelectedMatrix;
use super::{parts, tables};
use crate::message::Message;

/// A conversion whose inputs have been looked at and found fit.
pub(super) struct Job<'a> {
    paths: &'a [PathBuf],
    output: &'a Path,
    options: &'a ConvertOptions,
    progress: &'a (dyn Fn(u64, u64) + Sync),
    inputs: Inputs,
}

impl<'a> Job<'a> {
    pub(super) fn open(
        paths: &'a [PathBuf],
        output: &'a Path,
        options: &'a ConvertOptions,
        progress: &'a (dyn Fn(u64, u64) + Sync),
    ) -> Result<Self, ConvertError> {
        if !options.force && output.symlink_metadata().is_ok() {
            // The writer says so too, but only after the input was looked at.
            let path = output.to_path_buf();
            return Err(cellring::Error::from(WriteError::Exists { path }).into());
        }
        parts::check(options)?;
        let inputs = Inputs::open(paths, output, options)?;
        Ok(Self {
            paths,
            output,
            options,
            progress,
            inputs,
        })
    }

    pub(super) fn run(&self) -> Result<ConvertReport, ConvertError> {
        self.convert().map_err(|error| match error {
            // An input that something writes to is not damaged.
            ConvertError::Source(_) => self.inputs.check_unchanged().err().unwrap_or(error),
            error => error,
        })
    }

    fn convert(&self) -> Result<ConvertReport, ConvertError> {
        if let Some(Parts::One { number, of }) = self.options.parts {
            return self.run_part(number, of);
        }
        let n_matrices = self.inputs.selected_matrices.len() as u64;
        let windows = self.inputs.windows(self.options)?;
        let matrices = self.inputs.selected_matrices.iter().zip(windows);
        let matrices: Vec<MatrixJob> = matrices
            .map(|(selected, window_nnz)| MatrixJob::new(self.options, selected, window_nnz))
            .collect();
        // Of a thousand for each matrix.
        let progress = |number: u64| {
            move |done: u64, work: u64| {
                let part = (1000 * done).checked_div(work).unwrap_or(1000);
                (self.progress)(1000 * number + part, 1000 * n_matrices);
            }
        };
        let begin = || {
            let mut writer = StoreWriter::create(self.output, matrices[0].writer_options())?;
            let obs = &self.inputs.obs;
            tables::write_obs(&mut writer, obs, self.inputs.order.as_deref(), 0..obs.n_rows())?;
            Ok(writer)
        };
        let Written {
            mut writer,
            changed: mut canonicalised,
            mut looks,
            order,
        } = matrices[0].write(None, begin, &progress(0))?;
        // Whoever asks for a layer knows it by its name.
        if matches!(
            self.inputs.selected_matrices[0].selection,
            Selection::Layer(_) | Selection::Obsm(_)
        ) {
            looks = Looks::default();
        }
        writer.set_source(self.provenance(&self.inputs.selected_matrices[0], canonicalised));
        for (number, (matrix, selected)) in matrices
            .iter()
            .zip(&self.inputs.selected_matrices)
            .enumerate()
            .skip(1)
        {
            let begin = || Ok(writer.begin_matrix(matrix.writer_options())?);
            // Layers have the columns of the store, so that a model finds a gene at one place in all of them.
            let given = order
                .as_ref()
                .filter(|_| matches!(selected.selection, Selection::Layer(_)));
            let written = matrix.write(given, begin, &progress(number as u64))?;
            if written.looks.are_counts() {
                // Who takes them beside X knows of them.
                looks = Looks::default();
            }
            let mut other = written.writer;
            other.set_source(self.provenance(selected, written.changed));
            writer.add_matrix(&selected.selection.path(), other)?;
            canonicalised += written.changed;
        }
        if n_matrices > 1 {
            writer.set_name(&self.options.selection.path());
        }
        self.inputs.check_unchanged()?;
        writer.finish()?;
        self.report(canonicalised, looks)
    }

    /// Makes one part of the store.
    fn run_part(&self, number: u32, of: u32) -> Result<ConvertReport, ConvertError> {
        let (options, inputs, selected) = (self.options, &self.inputs, &self.inputs.selected_matrices[0]);
        let source = self.provenance(selected, Canonicalised::default());
        let settings = parts::settings(options, inputs, source.clone());
        let path = parts::directory(self.output, options);
        let report = |part: &PartManifest, was_there| PartReport {
            number,
            of,
            path: path.clone(),
            first_obs: part.first_obs,
            was_there,
        };
        if let Some(part) = parts::existing(&path, options, &settings)? {
            return Ok(self.report_part(&part, report(&part, true), Looks::default()));
        }
        // A part is of one matrix.
        let matrix = MatrixJob::new(options, selected, inputs.windows(options)?[0]);
        let n_obs = inputs.obs.n_rows();
        let begin = || {
            let mut writer = StoreWriter::create(&path, matrix.writer_options())?;
            let rows = part_table_rows(parts::obs(options, n_obs), n_obs);
            tables::write_obs(&mut writer, &inputs.obs, inputs.order.as_deref(), rows)?;
            Ok(writer)
        };
        let mut written = matrix.write(None, begin, &|done, work| (self.progress)(done, work))?;
        written.writer.set_source(source);
        let about = parts::part((number, of), options, inputs, settings, written.changed);
        inputs.check_unchanged()?;
        let part = written.writer.finish_part(about)?;
        let looks = match selected.selection {
            Selection::X | Selection::Raw => written.looks,
            _ => Looks::default(),
        };
        Ok(self.report_part(&part, report(&part, false), looks))
    }

    /// What the manifest says of the source: nothing that differs between two conversions of the same files.
    fn provenance(&self, selected: &SelectedMatrix, canonicalised: Canonicalised) -> serde_json::Value {
        let file = |path: &PathBuf| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let mut source = serde_json::json!({
            "matrix": selected.selection.path(),
            "encoding_type": selected.matrix.form(),
            "indices_type": selected.matrix.indices_type(),
            "obs_order": match &self.options.obs_order {
                None => "source".to_owned(),
                Some(ObsOrder::Shuffled { seed }) => format!("shuffled with seed {seed}"),
                Some(ObsOrder::SortedBy(columns)) => format!("sorted by {}", columns.join(", ")),
            },
            "cellring": env!("CARGO_PKG_VERSION"),
        });
        let open = &self.options.open;
        for (name, value) in [("group", &open.group), ("genome", &open.genome)] {
            if let Some(value) = value {
                source[name] = value.as_str().into();
            }
        }
        if !open.feature_types.is_empty() {
            source["feature_types"] = open.feature_types.clone().into();
        }
        if let Some(columns) = selected.matrix.frame_columns() {
            let about = |column: &FrameColumn| serde_json::json!({ "name": column.name, "type": column.numpy_name, "encoding": column.encoding });
            source["columns"] = columns.iter().map(about).collect();
        }
        match &self.options.obs_filter {
            Some(filter) => source["obs_filter"] = filter.as_str().into(),
            None => {
                for (name, n) in parts::counts(canonicalised) {
                    source[name] = n.into();
                }
            }
        }
        match self.paths {
            [one] => source["file"] = file(one).into(),
            several => {
                source["files"] = several.iter().map(file).collect();
                source["join"] = self.options.join.var.name().into();
                if let Some(key) = &self.options.join.var_key {
                    source["var_key"] = key.as_str().into();
                }
            }
        }
        source
    }

    fn report(&self, canonicalised: Canonicalised, looks: Looks) -> Result<ConvertReport, ConvertError> {
        let store = Store::open(self.output)?;
        let manifest = store.manifest();
        Ok(ConvertReport {
            n_obs: manifest.n_obs,
            n_vars: manifest.n_vars,
            nnz: manifest.nnz,
            matrices: manifest
                .name
                .iter()
                .chain(manifest.matrices.iter().map(|entry| &entry.name))
                .cloned()
                .collect(),
            encoding: manifest.encoding,
            var_order: manifest.var_order,
            bytes: store.total_bytes(),
            bytes_per_nnz: match manifest.nnz {
                0 => 0.0,
                nnz => store.matrix_bytes() as f64 / nnz as f64,
            },
            seconds: 0.0,
            peak_rss_bytes: 0,
            rows_sorted: canonicalised.rows_sorted,
            duplicates_summed: canonicalised.duplicates_summed,
            explicit_zeros_dropped: canonicalised.explicit_zeros_dropped,
            left_out: self.inputs.left_out.clone(),
            n_inputs: self.paths.len(),
            warnings: self.warnings(looks),
            part: None,
        })
    }

    fn report_part(&self, part: &PartManifest, about: PartReport, looks: Looks) -> ConvertReport {
        let count = |name: &str| part.counts.get(name).copied().unwrap_or(0);
        let bytes = part.total_bytes();
        let matrix_bytes = bytes - part.obs.bytes - part.var.bytes;
        ConvertReport {
            n_obs: part.n_obs,
            n_vars: part.n_vars,
            nnz: part.nnz,
            matrices: Vec::new(),
            encoding: part.encoding,
            var_order: part.var_order,
            bytes,
            bytes_per_nnz: match part.nnz {
                0 => 0.0,
                nnz => matrix_bytes as f64 / nnz as f64,
            },
            seconds: 0.0,
            peak_rss_bytes: 0,
            rows_sorted: count("rows_sorted"),
            duplicates_summed: count("duplicates_summed"),
            explicit_zeros_dropped: count("explicit_zeros_dropped"),
            left_out: self.inputs.left_out.clone(),
            n_inputs: self.paths.len(),
            warnings: self.warnings(looks),
            part: Some(about),
        }
    }

    /// What the tables warn of, what was asked for and is not there, chunks that are not, and where counts are; each once.
    fn warnings(&self, looks: Looks) -> Vec<Message> {
        let mut warnings = self.inputs.table_warnings();
        warnings.extend(self.inputs.warnings.iter().cloned());
        warnings.extend(self.inputs.absent_chunks());
        warnings.extend(self.inputs.counts_beside(looks));
        warnings.extend(self.inputs.mixed_counts());
        let mut seen = HashSet::new();
        warnings.retain(|warning| seen.insert(warning.clone()));
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these layers hold beside X, and the least memory that X can be converted with beside them.
    fn needed(layers: &[&str], obs_order: Option<ObsOrder>) -> (u64, u64) {
        let input = [Path::new(env!("CARGO_MANIFEST_DIR")).join("anndata/tests/data/matrices.h5ad")];
        let selections = layers.iter().map(|name| Selection::Layer((*name).to_owned()));
        let mut options = ConvertOptions {
            other_matrices: selections.collect(),
            obs_order,
            ..ConvertOptions::default()
        };
        let output = std::env::temp_dir().join("never-written.cellring");
        let inputs = Inputs::open(&input, &output, &options).unwrap();
        let held = |other: &SelectedMatrix| 8 * other.matrix.n_obs() + other.matrix.working_bytes(1 << 30);
        let of_layers = inputs.selected_matrices[1..].iter().map(held).sum();
        options.memory_bytes = 1 << 20;
        let Err(ConvertError::Memory { needed_bytes, .. }) = inputs.windows(&options) else {
            panic!("1 MiB is too little")
        };
        // The same is needed to put them into order at all, and is asked before that.
        let Err(ConvertError::Memory {
            needed_bytes: before, ..
        }) = Inputs::open(&input, &output, &options).and_then(|inputs| inputs.windows(&options))
        else {
            panic!("1 MiB is too little")
        };
        assert!(before >= needed_bytes, "{before} and {needed_bytes}");
        (of_layers, needed_bytes)
    }

    #[test]
    fn what_other_matrices_hold_is_counted() {
        for order in [None, Some(ObsOrder::Shuffled { seed: 1 })] {
            let (nothing, alone) = needed(&[], order.clone());
            assert_eq!(nothing, 0);
            for layers in [&["dense"][..], &["float32", "dense"]] {
                let (of_layers, beside) = needed(layers, order.clone());
                assert!(
                    of_layers > 8 * 6 * layers.len() as u64,
                    "{layers:?} hold {of_layers}"
                );
                assert!(
                    beside >= alone + of_layers,
                    "{layers:?}: {beside}, {alone}, {of_layers}"
                );
            }
        }
    }
}
