//! This process: how it ends when a signal tells it to, and its limits.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use cellring::writer::unfinished;
use rustix::process::{Resource, Rlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::failure::Failure;
use crate::output;

/// A signal has told the process to end, and a thread removes what is under way.
static IS_ENDING: AtomicBool = AtomicBool::new(false);
/// A write has met the limit on the length of files. Set by the handler of the signal, and so before the write returns.
static MET_LIMIT: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// Signals that a command sees to itself, by their bits.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// Has signals end the process in order: temporary files and directories are removed, and then the signal does what it does
/// by default, so that a shell sees 128 and its number. A second signal ends the process at once. Signals that are ignored, as under
/// nohup, stay so. If no thread can be started, signals do at once what they do by default.
pub(crate) fn clean_up_on_signals() -> io::Result<()> {
    let ignored = ignored_signals(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    let caught = [SIGINT, SIGTERM, SIGHUP, SIGXFSZ].into_iter();
    let caught = caught.filter(|&signal| ignored & bit(signal) == 0);
    let (hand_over, receive) = mpsc::channel::<Signals>();
    let wait = move || {
        let Ok(mut signals) = receive.recv() else { return };
        let is_mine = |signal: &i32| LEFT.load(Ordering::Relaxed) & bit(*signal) == 0;
        if let Some(signal) = signals.forever().find(is_mine) {
            end(signal);
        }
    };
    if thread::Builder::new()
        .name("cellring-signal".into())
        .spawn(wait)
        .is_err()
    {
        return Ok(());
    }
    let is_second = Arc::<AtomicBool>::default();
    for signal in caught.clone() {
        if signal == SIGXFSZ {
            // Every write that follows meets the limit, too: that is not a second signal.
            flag::register(signal, MET_LIMIT.get_or_init(Arc::default).clone())?;
            continue;
        }
        // In this order, so that the first signal does not count as the second.
        flag::register_conditional_default(signal, is_second.clone())?;
        flag::register(signal, is_second.clone())?;
    }
    let _ = hand_over.send(Signals::new(caught)?);
    Ok(())
}

/// Leaves these signals to the command that runs. A second one ends the process all the same.
pub(crate) fn leave_signals(signals: &[i32]) {
    let bits = signals.iter().fold(0, |bits, &signal| bits | bit(signal));
    LEFT.fetch_or(bits, Ordering::Relaxed);
}

/// If a signal is about to end the process, waits for that: what a command says then is only that its files are gone.
pub(crate) fn wait_if_ending() {
    let has_met_limit = MET_LIMIT.get().is_some_and(|met| met.load(Ordering::Relaxed));
    while has_met_limit || IS_ENDING.load(Ordering::Relaxed) {
        thread::park();
    }
}

/// Removes what is under way, and has the signal end the process.
fn end(signal: i32) -> ! {
    IS_ENDING.store(true, Ordering::Relaxed);
    unfinished::remove_all();
    if signal == SIGXFSZ {
        let sentence = "a file has reached the limit on the length of files; raise it (ulimit -f)";
        report(&Failure::because(sentence));
        // By default it leaves a core dump.
        let limit = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = setrlimit(Resource::Core, limit);
    }
    let _ = emulate_default_handler(signal);
    std::process::exit(128 + signal)
}

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// The bits of the signals that this process ignores.
fn ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Starts the threads that work is divided among. Where they are started when they are first needed, and cannot be, that is a panic.
pub(crate) fn start_threads() -> Result<(), Failure> {
    rayon::ThreadPoolBuilder::new().build_global().map_err(|error| {
        let n_threads = thread::available_parallelism().map_or(1, usize::from);
        Failure::because(format!(
            "{n_threads} threads could not be started: {error}; raise the limit on processes (ulimit -u)"
        ))
    })
}

/// What can be done about a limit that an error tells of, as the end of its sentence; empty if it says so itself.
fn remedy(sentence: &str) -> &'static str {
    let of = |errno: u32| sentence.contains(&format!("(os error {errno})")) && !sentence.contains("ulimit");
    const EMFILE: u32 = 24;
    const EFBIG: u32 = 27;
    match () {
        () if of(EMFILE) => "; raise the limit on open files (ulimit -n)",
        () if of(EFBIG) => "; raise the limit on the length of files (ulimit -f)",
        () => "",
    }
}

/// Says what went wrong, and returns the exit code for it.
pub(crate) fn report(failure: &Failure) -> u8 {
    if !matches!(failure, Failure::NoReader) {
        let sentence = failure.to_string();
        output::error(failure.kind(), &format!("{sentence}{}", remedy(&sentence)));
    }
    failure.exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_as_bits() {
        let status = "SigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored_signals(status), bit(SIGHUP) | bit(13));
        assert_eq!(ignored_signals("Name:\tx\n"), 0);
    }

    #[test]
    fn limits_are_named_once() {
        assert!(remedy("x: Too many open files (os error 24)").contains("ulimit -n"));
        assert_eq!(remedy("x (os error 24); raise the limit (ulimit -n)"), "");
        assert_eq!(remedy("x (os error 2)"), "");
    }
}
