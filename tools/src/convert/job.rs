//! One conversion, from the open inputs to the published store.

use std::path::Path;

use cellring::Store;
use cellring::writer::{StoreWriter, WriteError};

use super::inputs::Inputs;
use super::matrix::MatrixJob;
use super::survey::Survey;
use super::{ConvertError, ConvertOptions, ConvertReport, ObsOrder, tables};
use crate::anndata::Canonicalised;

/// A conversion whose inputs have been looked at and found fit.
pub(super) struct Job<'a> {
    input: &'a Path,
    output: &'a Path,
    options: &'a ConvertOptions,
    progress: &'a (dyn Fn(u64, u64) + Sync),
    inputs: Inputs,
}

impl<'a> Job<'a> {
    pub(super) fn open(
        input: &'a Path,
        output: &'a Path,
        options: &'a ConvertOptions,
        progress: &'a (dyn Fn(u64, u64) + Sync),
    ) -> Result<Self, ConvertError> {
        if !options.force && output.symlink_metadata().is_ok() {
            // The writer says so too, but only after the input was looked at.
            return Err(ConvertError::Write(WriteError::Exists {
                path: output.to_path_buf(),
            }));
        }
        let inputs = Inputs::open(input, output, options)?;
        Ok(Self {
            input,
            output,
            options,
            progress,
            inputs,
        })
    }

    pub(super) fn run(&self) -> Result<ConvertReport, ConvertError> {
        let inputs = &self.inputs;
        let (element, held_bytes) = (&inputs.element, inputs.held_bytes);
        let matrix = MatrixJob::plan(self.input, self.options, element, &inputs.obs, held_bytes)?;
        if let Some(report) = self.attempt(&matrix, matrix.first_survey())? {
            return Ok(report);
        }
        // The file has explicit zeros or duplicates, as few have: now count what remains of it.
        let report = self.attempt(&matrix, Some(Survey::Exact))?;
        Ok(report.unwrap_or_else(|| unreachable!("exact counts are exact")))
    }

    /// Writes the store. `None`, with nothing written, where the counts that the order rests on prove not to be exact.
    fn attempt(
        &self,
        matrix: &MatrixJob<'_>,
        survey: Option<Survey>,
    ) -> Result<Option<ConvertReport>, ConvertError> {
        let work = matrix.work(survey);
        let mut writer = StoreWriter::create(self.output, matrix.writer_options())?;
        tables::write_obs(&mut writer, &self.inputs.obs, self.inputs.order.as_deref())?;
        let written = matrix.write(&mut writer, survey, &|done| (self.progress)(done, work))?;
        let Some(canonicalised) = written else {
            return Ok(None);
        };
        writer.set_source(self.provenance(canonicalised));
        writer.finish()?;
        self.report(canonicalised).map(Some)
    }

    /// What the manifest says of the source: nothing that differs between two conversions of one file.
    fn provenance(&self, canonicalised: Canonicalised) -> serde_json::Value {
        let file = self.input.file_name().unwrap_or_default().to_string_lossy();
        serde_json::json!({
            "file": file,
            "matrix": self.inputs.element.selection.path(),
            "encoding_type": self.inputs.element.matrix.form(),
            "indices_type": self.inputs.element.matrix.indices_type(),
            "obs_order": match &self.options.obs_order {
                None => "source".to_owned(),
                Some(ObsOrder::Shuffled { seed }) => format!("shuffled with seed {seed}"),
                Some(ObsOrder::SortedBy(columns)) => format!("sorted by {}", columns.join(", ")),
            },
            "rows_sorted": canonicalised.rows_sorted,
            "duplicates_summed": canonicalised.duplicates_summed,
            "explicit_zeros_dropped": canonicalised.explicit_zeros_dropped,
            "cellring": env!("CARGO_PKG_VERSION"),
        })
    }

    fn report(&self, canonicalised: Canonicalised) -> Result<ConvertReport, ConvertError> {
        let store = Store::open(self.output)?;
        let manifest = store.manifest();
        let warnings = self
            .inputs
            .obs
            .warnings()
            .iter()
            .chain(self.inputs.element.var.warnings());
        Ok(ConvertReport {
            n_obs: manifest.n_obs,
            n_vars: manifest.n_vars,
            nnz: manifest.nnz,
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
            warnings: warnings.cloned().collect(),
        })
    }
}
