//! Ctrl-C and SIGTERM, for commands that have something to save before they end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::process;

/// Notes the first signal; the second one ends the process at once, as [`process::clean_up_on_signals`] has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// From now on the process has to ask for signals.
    pub(crate) fn catch() -> io::Result<Self> {
        let interrupt = Self::default();
        let signals = [SIGINT, SIGTERM];
        for signal in signals {
            flag::register_usize(signal, Arc::clone(&interrupt.signal), signal as usize)?;
        }
        process::leave_signals(&signals);
        Ok(interrupt)
    }

    /// The signal that has come.
    pub(crate) fn signal(&self) -> Option<u8> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => u8::try_from(signal).ok(),
        }
    }
}
