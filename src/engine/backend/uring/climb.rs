//! Finding out how many reads a device wants in flight: a state machine without a clock.
//!
//! The number of reads in flight goes in levels, each twice the one below. The controller stays on one and at
//! times tries another nearby: it measures both in turn, several times, and moves only if the other was faster
//! by more than [`GAIN`] on the whole, and faster each time. A device that is merely noisy or shared passes that test
//! rarely in either direction, and one that was better off for a moment loses it in the next turn. While the
//! callers do not ask for more than is in flight, nothing can be learnt, and nothing is tried.

/// By how much more must be read on another level to move there.
const GAIN: f64 = 1.03;
/// By how much more must be read to move there without trying again.
const CLEAR_GAIN: f64 = 1.25;
/// How far away the levels are that are tried in turn. Not only the next one: a disk was seen that read as fast
/// with 32 reads of 256 KiB as with 16, and a fifth faster with 128.
const STEPS: [i8; 3] = [1, 2, -1];
/// How often another level is tried, at most, before the controller decides.
const TURNS: usize = 3;

/// How long the controller measures and rests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long what is read after a change of level counts for nothing: it was started before.
    pub(super) settle_ns: u64,
    /// How long one measurement lasts.
    pub(super) measure_ns: u64,
    /// Back-off after a failed probe; doubles with each failure.
    pub(super) rest_ns: u64,
    /// The longest rest.
    pub(super) longest_rest_ns: u64,
}

impl Pace {
    /// Fit for any device: a hundred reads and more to each measurement, a fast device found out in the first
    /// second, and later on less than a hundredth of the time spent on another level.
    pub(super) const USUAL: Pace = Pace {
        settle_ns: 4_000_000,
        measure_ns: 20_000_000,
        rest_ns: 250_000_000,
        longest_rest_ns: 32_000_000_000,
    };

    /// For tests: the level changes all the time.
    #[cfg(any(test, feature = "sim"))]
    pub(super) const HASTY: Pace = Pace {
        settle_ns: 0,
        measure_ns: 1,
        rest_ns: 1,
        longest_rest_ns: 1,
    };
}

/// What was read since the last sample.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) elapsed_ns: u64,
    pub(super) bytes: u64,
    pub(super) reads: u64,
    /// Reads in flight; decides how many make a measurement.
    pub(super) in_flight: u32,
    /// Whether reads were waiting all the while that the level did not allow to start.
    pub(super) had_backlog: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Climb {
    pace: Pace,
    lowest: i8,
    highest: i8,
    /// The best level known.
    home: i8,
    /// The level in force: `home`, or the one tried.
    level: i8,
    /// Which of [`STEPS`] is tried, or is next.
    step: usize,
    /// Until the next try, and how long the rest after it will be.
    rest_ns: u64,
    next_rest_ns: u64,
    settling: bool,
    span: Sample,
    /// Bytes and reads per second, measured in turn.
    at_home: Vec<[f64; 2]>,
    tried: Vec<[f64; 2]>,
}

impl Climb {
    /// Starts on level 0, and never leaves `lowest` to `highest`.
    pub(super) fn new(lowest: i8, highest: i8, pace: Pace) -> Climb {
        assert!(lowest <= 0 && 0 <= highest, "levels {lowest} to {highest}");
        Climb {
            pace,
            lowest,
            highest,
            home: 0,
            level: 0,
            step: 0,
            rest_ns: 0,
            next_rest_ns: pace.rest_ns,
            settling: false,
            span: Sample::default(),
            at_home: Vec::with_capacity(TURNS + 1),
            tried: Vec::with_capacity(TURNS),
        }
    }

    /// The level in force.
    pub(super) fn level(&self) -> i8 {
        self.level
    }

    /// Takes in what was read since the last sample; the level may be another afterwards.
    pub(super) fn observe(&mut self, sample: &Sample) {
        if self.lowest == self.highest {
            return;
        }
        if !sample.had_backlog {
            // A level that the callers do not fill is no better than the one below.
            return if self.level == self.home {
                self.measure_anew()
            } else {
                self.go_home()
            };
        }
        if self.rest_ns > 0 {
            self.rest_ns = self.rest_ns.saturating_sub(sample.elapsed_ns);
            return;
        }
        self.span.elapsed_ns += sample.elapsed_ns;
        self.span.bytes += sample.bytes;
        self.span.reads += sample.reads;
        let Pace {
            settle_ns,
            measure_ns,
            ..
        } = self.pace;
        if self.settling {
            if self.span.elapsed_ns >= settle_ns && self.span.reads >= u64::from(sample.in_flight) {
                self.settling = false;
                self.span = Sample::default();
            }
            return;
        }
        if self.span.elapsed_ns < measure_ns || self.span.reads < 4 * u64::from(sample.in_flight) {
            return;
        }
        let seconds = self.span.elapsed_ns.max(1) as f64 / 1e9;
        let rates = [self.span.bytes as f64 / seconds, self.span.reads as f64 / seconds];
        let trying = self.level != self.home;
        if trying {
            &mut self.tried
        } else {
            &mut self.at_home
        }
        .push(rates);
        match self.verdict() {
            Some(true) => {
                // The last measurement was made at home.
                self.home += STEPS[self.step];
                self.level = self.home;
                self.next_rest_ns = self.pace.rest_ns;
                self.measure_anew();
                self.settling = true;
            }
            Some(false) => self.go_home(),
            None => {
                self.level = if trying { self.home } else { self.another() };
                self.settling = true;
                self.span = Sample::default();
            }
        }
    }

    /// Whether to move to the level that is tried; `None` while that takes another turn.
    fn verdict(&self) -> Option<bool> {
        let turns = self.tried.len();
        if turns == 0 {
            return None;
        }
        // Bytes and reads: where the reads of one turn happen to be longer, only one of them looks better.
        let by = |gain: f64| {
            [0, 1]
                .iter()
                .all(|&i| lowest(&self.tried, i) > highest(&self.at_home, i) * gain)
        };
        if !by(1.0) {
            return Some(false);
        }
        if self.at_home.len() <= turns {
            return None;
        }
        if by(CLEAR_GAIN) {
            return Some(true);
        }
        (turns == TURNS).then(|| {
            [0, 1]
                .iter()
                .all(|&i| mean(&self.tried, i) > mean(&self.at_home, i) * GAIN)
        })
    }

    /// The level to try; each of [`STEPS`] in turn, as far as there is such a level.
    fn another(&mut self) -> i8 {
        let exists = |step: i8| (self.lowest..=self.highest).contains(&(self.home + step));
        // There are at least two levels: one above this, or one below.
        while !exists(STEPS[self.step]) {
            self.step = (self.step + 1) % STEPS.len();
        }
        self.home + STEPS[self.step]
    }

    /// Gives up the try.
    fn go_home(&mut self) {
        self.level = self.home;
        self.step = (self.step + 1) % STEPS.len();
        self.rest_ns = self.next_rest_ns;
        self.next_rest_ns = (2 * self.next_rest_ns).min(self.pace.longest_rest_ns);
        self.measure_anew();
    }

    fn measure_anew(&mut self) {
        self.settling = false;
        self.span = Sample::default();
        self.at_home.clear();
        self.tried.clear();
    }
}

fn lowest(rates: &[[f64; 2]], i: usize) -> f64 {
    rates.iter().map(|rate| rate[i]).fold(f64::INFINITY, f64::min)
}

fn highest(rates: &[[f64; 2]], i: usize) -> f64 {
    rates.iter().map(|rate| rate[i]).fold(0.0, f64::max)
}

fn mean(rates: &[[f64; 2]], i: usize) -> f64 {
    rates.iter().map(|rate| rate[i]).sum::<f64>() / rates.len() as f64
}
