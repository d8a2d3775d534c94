//! Devices that exist only as a formula, and the depth that the controller finds for them.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::climb::{Climb, Pace, Sample};
use super::window::{LEVELS, Window};

/// Reads per second that a device completes with so many in flight, at this time in seconds.
type Device<'a> = &'a dyn Fn(f64, f64) -> f64;

/// Saturates at `depth` reads.
fn saturating(depth: f64) -> impl Fn(f64, f64) -> f64 {
    move |in_flight, _| 50_000.0 * in_flight.min(depth) / depth
}

/// Reads in flight of this size on each level, the lowest first.
fn depths(read_bytes: u64) -> Vec<f64> {
    let mut window = Window::new(None);
    let depth = |level| {
        window.set_level(level);
        let depth = (0..).find(|&n| !window.has_room(n, u64::from(n) * read_bytes));
        f64::from(depth.unwrap())
    };
    (LEVELS.0..=LEVELS.1).map(depth).collect()
}

/// Runs the controller for some seconds in steps of a millisecond. `noise` is the standard deviation, or nearly
/// so, of the rate from one step to the next. Returns the level of each step, and the part of the reads that the
/// best level would have brought in the second half.
fn run(device: Device<'_>, read_bytes: u64, seconds: u32, noise: f64, seed: u64) -> (Vec<i8>, f64) {
    let depths = depths(read_bytes);
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let mut climb = Climb::new(LEVELS.0, LEVELS.1, Pace::USUAL);
    let (mut levels, mut got, mut best) = (Vec::new(), 0.0, 0.0);
    // What is in flight follows the window by a step.
    let mut in_flight = 0.0;
    let mut owed = 0.0;
    for step in 0..seconds * 1000 {
        let time = f64::from(step) / 1000.0;
        let wobble = 1.0 + noise * 1.7 * rng.random_range(-1.0..1.0);
        owed += (device(in_flight, time) * wobble / 1000.0).max(0.0);
        if step >= seconds * 500 {
            got += device(in_flight, time);
            best += depths
                .iter()
                .map(|&depth| device(depth, time))
                .fold(0.0, f64::max);
        }
        let reads = owed as u64;
        owed -= reads as f64;
        climb.observe(&Sample {
            elapsed_ns: 1_000_000,
            bytes: reads * read_bytes,
            reads,
            in_flight: in_flight as u32,
            had_backlog: true,
        });
        levels.push(climb.level());
        in_flight = depths[(climb.level() - LEVELS.0) as usize];
    }
    (levels, got / best)
}

fn longest_at(levels: &[i8]) -> i8 {
    let count = |level: i8| levels.iter().filter(|&&l| l == level).count();
    (LEVELS.0..=LEVELS.1).max_by_key(|&level| count(level)).unwrap()
}

#[test]
fn a_saturating_device_is_read_within_three_percent_of_its_best() {
    for read_bytes in [4 << 10, 64 << 10, 256 << 10] {
        for depth in [1.0, 8.0, 16.0, 20.0, 64.0, 100.0, 200.0, 500.0] {
            let (levels, part) = run(&saturating(depth), read_bytes, 20, 0.0, 1);
            let reachable = depths(read_bytes).last().unwrap() >= &depth;
            assert!(part > 0.97, "{read_bytes} bytes, saturated at {depth}: {part}");
            // No deeper than the first level that is enough, or the one that it began with.
            let enough = depths(read_bytes)
                .iter()
                .position(|&d| d >= depth * 0.97)
                .map_or(LEVELS.1, |i| i as i8 + LEVELS.0);
            let at = longest_at(&levels[levels.len() / 2..]);
            assert!(
                !reachable || at == enough.max(0),
                "{read_bytes} bytes, saturated at {depth}: level {at}"
            );
        }
    }
}

#[test]
fn a_noisy_device_costs_little_and_does_not_run_away() {
    // A fixed seed: how many runs end too deep is a matter of chance.
    let seed = 0;
    let (mut parts, mut above) = (Vec::new(), 0);
    for run_number in 0..40 {
        for depth in [8.0, 16.0, 64.0, 200.0] {
            let (levels, part) = run(
                &saturating(depth),
                64 << 10,
                40,
                0.3,
                seed ^ (run_number << 8) ^ depth as u64,
            );
            parts.push(part);
            above += usize::from(longest_at(&levels[levels.len() / 2..]) > if depth > 64.0 { 2 } else { 0 });
        }
    }
    parts.sort_by(f64::total_cmp);
    eprintln!("worst {:?}, too deep {above} of {}", &parts[..4], parts.len());
    assert!(parts[parts.len() / 20] > 0.97, "{parts:?}");
    // Within three measurements of about 4 % noise each, one neighbour in 35 looks better each time.
    assert!(above <= parts.len() / 5, "{above} of {}", parts.len());
}

#[test]
fn a_bursty_device_is_not_taken_for_one_that_wants_more() {
    // A shared disk: twice as fast for a part of each period, whatever is in flight.
    for (period, burst) in [(0.011, 0.5), (0.35, 0.3), (3.0, 0.2), (7.0, 0.5)] {
        let device = |in_flight: f64, time: f64| {
            let fast = (time / period).fract() < burst;
            saturating(16.0)(in_flight, time) * if fast { 2.0 } else { 1.0 }
        };
        let (levels, part) = run(&device, 64 << 10, 60, 0.02, 3);
        let top = levels.iter().filter(|&&level| level == LEVELS.1).count();
        assert!(part > 0.97, "period {period}: {part}");
        assert!(
            top < levels.len() / 4,
            "period {period}: {top} of {} ms at the top",
            levels.len()
        );
    }
}

#[test]
fn a_device_of_pure_latency_gets_all_that_the_ring_holds_and_no_more() {
    // Network storage: 5 ms whatever is in flight.
    for read_bytes in [4 << 10, 64 << 10, 1 << 20] {
        let (levels, part) = run(&|in_flight, _| in_flight / 0.005, read_bytes, 20, 0.05, 4);
        assert_eq!(longest_at(&levels[levels.len() / 2..]), LEVELS.1);
        assert!(
            part > 0.97 && levels.iter().all(|level| (LEVELS.0..=LEVELS.1).contains(level)),
            "{part}"
        );
    }
}

#[test]
fn a_device_that_suffers_from_depth_is_read_with_less() {
    let device = |in_flight: f64, _: f64| 50_000.0 * in_flight.min(16.0) / 16.0 / (1.0 + in_flight / 100.0);
    let (levels, part) = run(&device, 64 << 10, 30, 0.03, 5);
    assert_eq!(longest_at(&levels[levels.len() / 2..]), LEVELS.0);
    assert!(part > 0.97, "{part}");
}

#[test]
fn a_plateau_is_crossed() {
    let device = |in_flight: f64, _: f64| match in_flight {
        ..64.0 => 8000.0,
        ..128.0 => 9000.0,
        _ => 9500.0,
    };
    let (levels, part) = run(&device, 256 << 10, 30, 0.05, 7);
    assert_eq!(longest_at(&levels[levels.len() / 2..]), 3);
    assert!(part > 0.97, "{part}");
}

#[test]
fn a_device_that_changes_is_found_out() {
    // Saturated by 16 reads for ten seconds, then by 200.
    let device =
        |in_flight: f64, time: f64| saturating(if time < 10.0 { 16.0 } else { 200.0 })(in_flight, time);
    let (levels, part) = run(&device, 64 << 10, 80, 0.03, 6);
    assert_eq!(
        (longest_at(&levels[..10_000]), longest_at(&levels[40_000..])),
        (0, 2)
    );
    assert!(part > 0.97, "{part}");
}

#[test]
fn longer_reads_are_not_taken_for_faster_ones() {
    let mut climb = Climb::new(LEVELS.0, LEVELS.1, Pace::USUAL);
    // The device does so many reads per second, and they happen to be longer on every other level.
    for _ in 0..20_000 {
        climb.observe(&Sample {
            elapsed_ns: 1_000_000,
            bytes: if climb.level() == 0 { 20 << 12 } else { 20 << 14 },
            reads: 20,
            in_flight: 64,
            had_backlog: true,
        });
    }
    assert_eq!(climb.level(), 0);
}

#[test]
fn nothing_is_tried_while_callers_ask_for_less() {
    let mut climb = Climb::new(LEVELS.0, LEVELS.1, Pace::USUAL);
    let mut feed = |ms: u32, backlog: &dyn Fn(u32, i8) -> bool| {
        let mut levels = Vec::new();
        for i in 0..ms {
            climb.observe(&Sample {
                elapsed_ns: 1_000_000,
                bytes: 100 << 12,
                reads: 100 << climb.level().max(0),
                in_flight: 4,
                had_backlog: backlog(i, climb.level()),
            });
            levels.push(climb.level());
        }
        levels
    };
    assert!(feed(5000, &|_, _| false).iter().all(|&level| level == 0));
    // Now and then a moment without, sooner than a measurement takes.
    assert!(feed(5000, &|i, _| i % 15 != 0).iter().all(|&level| level == 0));
    // Enough for this level, but not for the next: it is left at once, and seldom tried.
    let levels = feed(5000, &|_, level| level <= 0);
    assert!(levels.iter().filter(|&&level| level == 1).count() < 20);
    // A level that was tried is left when the callers stop.
    feed(60_000, &|_, _| true);
    assert!(feed(100, &|i, _| i < 50).last().is_some());
}

#[test]
fn one_level_is_no_choice() {
    let mut climb = Climb::new(0, 0, Pace::HASTY);
    for reads in 0..1000 {
        climb.observe(&Sample {
            elapsed_ns: 1000,
            bytes: reads,
            reads,
            in_flight: 1,
            had_backlog: true,
        });
        assert_eq!(climb.level(), 0);
    }
}
