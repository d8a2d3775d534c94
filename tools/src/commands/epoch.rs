//! `cellring epoch`: runs through the loader and says how fast it was.

use std::path::PathBuf;
use std::time::Duration;

use cellring::engine::Choice;
use clap::value_parser;
use serde::Serialize;

use super::state;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::measure::{Limits, Measured, TimedLoader, fallback};
use crate::options::{OutputArgs, ReadArgs, SamplerArgs, StoreArg, parse_seconds};
use crate::output::{self, Fields, Show};
use crate::progress::Epochs;
use crate::usage::peak_rss_bytes;

/// Run through an epoch, every minibatch fully decoded, and report how fast
///
/// The clock starts before the loader is made and stops after the last minibatch.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArg,
    /// Stop after this many seconds; continue with the next epochs if one ends earlier
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Stop after this many minibatches
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    minibatches: Option<u64>,
    /// Save where the run stopped to this file, for --resume; also after Ctrl-C or SIGTERM
    ///
    /// An existing state is replaced, so that the same file can be used for each piece of an epoch; any other file is not.
    /// After the first Ctrl-C the current minibatch is finished; a second one ends the run at once.
    #[arg(long, value_name = "FILE")]
    save_state: Option<PathBuf>,
    /// Continue an epoch where a run with the same options stopped; the number of ranks may differ
    #[arg(long, value_name = "FILE", conflicts_with = "epoch")]
    resume: Option<PathBuf>,
    /// Compute a digest of obs ids, indices and values in order, in the requested form: equal digests mean equal epochs
    #[arg(long)]
    digest: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sampler: SamplerArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    cells: u64,
    minibatches: u64,
    epochs: u64,
    seconds: f64,
    cells_per_second: f64,
    nnz: u64,
    nnz_per_second: f64,
    bytes_read: u64,
    reads: u64,
    bytes_read_per_second: f64,
    backend: String,
    direct: bool,
    registered_buffers: bool,
    reason: String,
    depth: Option<u32>,
    decode_threads: usize,
    peak_rss_bytes: Option<u64>,
    cpu_seconds: f64,
    consumer_wait_seconds: f64,
    read_wait_seconds: f64,
    decode_seconds: f64,
    plan_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

impl Report {
    fn new(run: Measured, choice: Choice, depth: Option<u32>, decode_threads: usize) -> Self {
        let seconds = |ns: u64| ns as f64 * 1e-9;
        Self {
            cells: run.cells,
            minibatches: run.minibatches,
            epochs: run.epochs,
            seconds: run.seconds,
            cells_per_second: run.per_second(run.cells),
            nnz: run.nnz,
            nnz_per_second: run.per_second(run.nnz),
            bytes_read: run.engine.bytes,
            reads: run.engine.reads,
            bytes_read_per_second: run.per_second(run.engine.bytes),
            backend: choice.method.backend.to_string(),
            direct: choice.method.direct,
            registered_buffers: choice.method.registered_buffers,
            reason: choice.reason,
            depth,
            decode_threads,
            peak_rss_bytes: peak_rss_bytes(),
            cpu_seconds: run.cpu_seconds,
            consumer_wait_seconds: seconds(run.consumer_wait_ns),
            read_wait_seconds: seconds(run.read_wait_ns),
            decode_seconds: seconds(run.decode_ns),
            plan_seconds: seconds(run.plan_ns),
            digest: run.digest,
        }
    }
}

impl Show for Report {
    fn text(&self) -> String {
        let heading = format!(
            "{} cells in {}: {} cells/s",
            output::count(self.cells),
            output::seconds(self.seconds),
            output::count(self.cells_per_second as u64)
        );
        let minibatches = match self.epochs {
            1 => output::count(self.minibatches),
            n => format!("{} in {n} epochs", output::count(self.minibatches)),
        };
        let values = format!(
            "{}, {:.1} million/s",
            output::count(self.nnz),
            self.nnz_per_second / 1e6
        );
        let read = format!(
            "{} in {} reads, {}",
            output::bytes(self.bytes_read),
            output::count(self.reads),
            output::rate(self.bytes_read_per_second)
        );
        let time = format!(
            "{} of CPU; decoding {}, decoders waited for reads {}, consumer waited {}",
            output::seconds(self.cpu_seconds),
            output::seconds(self.decode_seconds),
            output::seconds(self.read_wait_seconds),
            output::seconds(self.consumer_wait_seconds)
        );
        let mut fields = Fields::new(heading)
            .add("minibatches", minibatches)
            .add("values", values)
            .add("read", read)
            .add("by", &self.reason)
            .add("decode threads", self.decode_threads.to_string())
            .add("time", time);
        if let Some(peak) = self.peak_rss_bytes {
            fields = fields.add("peak memory", output::bytes(peak));
        }
        if let Some(digest) = &self.digest {
            fields = fields.add("digest", digest);
        }
        fields.text()
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let from = args.resume.as_deref().map(state::load).transpose()?;
    let mut interrupt = None;
    if let Some(path) = &args.save_state {
        state::check(path)?;
        interrupt = Some(Interrupt::catch()?);
    }
    let store = args.store.open()?;
    let (sampler, data) = args.sampler.sampler(&store)?;
    let config = (args.read.loader(sampler)?)
        .data(data)
        .output(args.output.config(&store)?)
        .matrices(args.output.matrices());
    let depth = config.engine.depth;
    let loader = TimedLoader::start(&store, config)?;
    let (choice, decode_threads) = (loader.choice().clone(), loader.decode_threads());
    if let Some(warning) = fallback(&choice) {
        output::warning(&warning);
    }
    let limits = Limits {
        epoch: args.sampler.epoch(),
        time: args.seconds,
        minibatches: args.minibatches,
        digest: args.digest,
        interrupt,
    };
    let measured = loader.drive_from(from.as_ref(), &limits, &Epochs::new(args.seconds))?;
    if let (Some(state), 0, None) = (&from, measured.minibatches, measured.signal) {
        output::warning(&format!(
            "nothing is left of epoch {} after this state; start the next one with --epoch {}",
            state.epoch,
            state.epoch.saturating_add(1)
        ));
    }
    if let (Some(path), Some(state)) = (&args.save_state, &measured.state) {
        state::save(path, state)?;
    }
    let signal = measured.signal;
    output::print(args.json, &Report::new(measured, choice, depth, decode_threads))?;
    match (signal, &args.save_state) {
        (Some(signal), Some(path)) => Err(Failure::Interrupted {
            signal,
            sentence: format!(
                "interrupted; run the same command with --resume {} to continue",
                path.display()
            ),
        }),
        _ => Ok(()),
    }
}
