//! What is recommended, and why.

use serde::Serialize;

use super::candidate::Candidate;
use super::speeds::DeviceSpeed;
use crate::chunks::Chunks;
use crate::output::{self, Fields, Show};

/// What is recommended, and what it rests on.
#[derive(Debug, Serialize)]
pub(super) struct Advice {
    /// Cells that an epoch samples from.
    pub(super) n_obs: u64,
    pub(super) block_size: u64,
    pub(super) batch_size: u32,
    pub(super) fetch_factor: u32,
    pub(super) entropy_bits: f64,
    pub(super) target_entropy_bits: f64,
    pub(super) random_entropy_bits: f64,
    pub(super) labels: String,
    pub(super) expected_cells_per_second: f64,
    /// What a short run with the recommended values gave.
    pub(super) measured_cells_per_second: f64,
    pub(super) true_random_cells_per_second: f64,
    pub(super) true_random_is_as_fast: bool,
    pub(super) why: String,
    /// `null` for a linked store, whose choices are measured one by one.
    pub(super) decode_cells_per_second: Option<f64>,
    pub(super) device: Vec<DeviceSpeed>,
    pub(super) candidates: Vec<Candidate>,
    /// What the chunks of a linked store cost with the recommended values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chunks: Option<Chunks>,
    /// Why the speeds say little; `null` where they do not.
    pub(super) too_small: Option<String>,
}

/// The reasons, as a paragraph.
pub(super) fn why(
    chosen: &Candidate,
    target: f64,
    random: f64,
    labels: &str,
    random_speed: f64,
    is_as_fast: bool,
) -> String {
    let mixed = format!(
        "Its minibatches have an entropy of {:.2} bits over {labels}; the target is {target:.2}, true random sampling has \
         {random:.2}",
        chosen.entropy_bits
    );
    let bound = match chosen.bound_by {
        "device" => format!(
            "the device, with reads of {} on average",
            output::bytes(chosen.mean_read_bytes)
        ),
        _ => "decoding on all cores".to_owned(),
    };
    let speed = format!(
        "Expect about {} cells/s, limited by {bound}",
        output::count(chosen.expected_cells_per_second as u64)
    );
    let random = match (chosen.block_size, is_as_fast) {
        (1, _) => "True random sampling is as fast here as sampling in larger blocks, which gains nothing"
            .to_owned(),
        (_, true) => format!(
            "True random sampling, with {} cells/s, would be as fast",
            output::count(random_speed as u64)
        ),
        _ => format!(
            "True random sampling would give {}",
            output::count(random_speed as u64)
        ),
    };
    format!(
        "{mixed}. {speed}; {} of read buffers hold two fetches. {random}.",
        output::bytes(chosen.buffer_bytes as u64)
    )
}

impl Show for Advice {
    fn text(&self) -> String {
        let heading = format!(
            "--block-size {} --batch-size {} --fetch-factor {}",
            self.block_size, self.batch_size, self.fetch_factor
        );
        let measured = format!(
            "{} cells/s in a short run",
            output::count(self.measured_cells_per_second as u64)
        );
        let mut fields = Fields::new(heading)
            .add("why", &self.why)
            .add("measured", measured);
        if let Some(chunks) = &self.chunks {
            fields = fields.add("chunks", chunks.sentence());
        }
        let decodes = self
            .candidates
            .iter()
            .any(|candidate| candidate.decoded_per_value.is_some());
        let mut header = vec![
            "block size",
            "fetch factor",
            "entropy",
            "cells/s",
            "bound by",
            "buffers",
        ];
        if decodes {
            header.push("decoded per value");
        }
        header.push("");
        let row = |candidate: &Candidate| {
            let remark = match (candidate.meets_target, candidate.fits_memory) {
                (true, true) => "",
                (false, _) => "mixes too little",
                (true, false) => "too much memory",
            };
            let expected = match candidate.expected_cells_per_second {
                // Nothing is measured of choices that cannot be taken.
                0.0 => "-".to_owned(),
                speed => output::count(speed as u64),
            };
            let mut row = vec![
                output::count(candidate.block_size),
                output::count(candidate.fetch_factor.into()),
                format!("{:.2}", candidate.entropy_bits),
                expected,
                candidate.bound_by.to_owned(),
                output::bytes(candidate.buffer_bytes as u64),
            ];
            if decodes {
                let decoded = candidate.decoded_per_value;
                row.push(decoded.map_or("-".to_owned(), |decoded| format!("{decoded:.2}")));
            }
            row.push(remark.to_owned());
            row
        };
        let rows: Vec<_> = self.candidates.iter().map(row).collect();
        format!("{}\n{}", fields.text(), output::table(&header, &rows))
    }
}
