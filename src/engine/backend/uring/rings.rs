//! How many rings there are, and which reads go to which.
//!
//! Every device that holds files gets a ring of its own, so that a slow one does not fill the window that a fast
//! one needs. A device gets a second ring only when the thread of its first is saturated: one thread drives
//! several GB/s, and rings that share a device only share its queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread;

use super::config::{DeviceState, RingConfig, RingsConfig};
use super::ring::Ring;
use super::setup::SharedRegistration;
use crate::engine::error::EngineError;
use crate::engine::port::{Io, Port};
use crate::engine::share::Task;
use crate::engine::submission::{Completion, Read, Submission};

/// Most rings that a caller can ask for, or that are added to those that there are.
const MAX_RINGS: usize = 64;

/// Most rings to begin with, by default, however many devices there are.
const MAX_RINGS_AT_START: usize = 16;

/// The rings of an engine.
pub(super) struct Rings {
    port: Port,
    config: RingsConfig,
    registration: Option<Arc<SharedRegistration>>,
    /// Whether there is one ring at the start.
    is_single: bool,
    /// The devices by their number, and for each file its place among them.
    device_numbers: Vec<u64>,
    device_of_file: Vec<usize>,
    /// One for each ring that leads. If there are fewer rings than devices, devices are assigned round-robin.
    devices: Vec<Arc<DeviceState>>,
    /// Whose turn it is among the rings of each device.
    turns: Vec<AtomicUsize>,
    most_rings: AtomicUsize,
    growing: Mutex<()>,
    running: RwLock<RunningRings>,
}

struct RunningRings {
    rings: Vec<Ring>,
    /// For each device the rings that read from it.
    of_device: Vec<Vec<usize>>,
}

impl Rings {
    /// Starts the rings. The inner error says in one clause which step was refused and what can be done.
    pub(super) fn start(port: Port, config: RingsConfig) -> Result<Result<Rings, String>, EngineError> {
        let files = 0..port.files.len() as u32;
        let (device_numbers, device_of_file) = group_by_device(files.map(|file| port.files.device(file)));
        let n_devices = device_numbers.len().max(1);
        let n_rings = match config.rings {
            Some(rings) => (rings as usize).clamp(1, MAX_RINGS),
            None => n_devices.min(MAX_RINGS_AT_START),
        };
        let most_rings = match config.rings {
            Some(_) => n_rings,
            None => n_rings.max(most_rings(thread::available_parallelism().map_or(1, usize::from))),
        };
        let shares = config.registered_buffers && n_rings > 1;
        let mut rings = Rings {
            config,
            registration: shares
                .then(|| SharedRegistration::new(&port.pool))
                .flatten()
                .map(Arc::new),
            is_single: n_rings == 1,
            device_numbers,
            device_of_file,
            devices: (0..n_devices.min(n_rings)).map(|_| Arc::default()).collect(),
            turns: (0..n_devices).map(|_| AtomicUsize::new(0)).collect(),
            most_rings: AtomicUsize::new(most_rings),
            growing: Mutex::new(()),
            running: RwLock::new(RunningRings {
                rings: Vec::with_capacity(n_rings),
                of_device: assign_round_robin(n_devices, n_rings),
            }),
            port,
        };
        for number in 0..n_rings {
            match rings.start_ring(number % rings.devices.len(), number < rings.devices.len()) {
                Ok(Ok(ring)) => rings.running_mut().rings.push(ring),
                refused => {
                    rings.stop();
                    return refused.map(|refused| refused.map(|_| rings));
                }
            }
        }
        Ok(Ok(rings))
    }

    fn start_ring(&self, leader: usize, leads: bool) -> Result<Result<Ring, String>, EngineError> {
        let config = RingConfig {
            window: self.config.window,
            pace: self.config.pace,
            registered_buffers: self.config.registered_buffers,
            registration: self.registration.clone(),
            registers_as_used: self.is_single && self.running().rings.is_empty(),
            device: Arc::clone(&self.devices[leader]),
            device_number: self.device_numbers.get(leader).copied(),
            leads,
            #[cfg(any(test, feature = "sim"))]
            panics_after: self.config.panics_after,
        };
        Ring::start(self.port.clone(), config)
    }

    /// Adds a ring beside one whose thread is saturated, if there is such a one. That takes some milliseconds.
    fn grow(&self) {
        let is_saturated = |device: &&Arc<DeviceState>| device.saturated.load(Ordering::Relaxed);
        if !self.devices.iter().any(|device| is_saturated(&device)) {
            return;
        }
        let Ok(_growing) = self.growing.try_lock() else {
            return;
        };
        let number = self.running().rings.len();
        for (leader, device) in self.devices.iter().enumerate() {
            if !device.saturated.swap(false, Ordering::Relaxed)
                || number >= self.most_rings.load(Ordering::Relaxed)
            {
                continue;
            }
            let Ok(Ok(ring)) = self.start_ring(leader, false) else {
                // No more memory that may be locked, or threads: what there is has to do.
                return self.most_rings.store(number, Ordering::Relaxed);
            };
            let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
            running.rings.push(ring);
            for rings in running
                .of_device
                .iter_mut()
                .skip(leader)
                .step_by(self.devices.len())
            {
                rings.push(number);
            }
            return;
        }
    }

    /// Which reads each ring is to do.
    fn divide(&self, running: &RunningRings, reads: &[Read]) -> Vec<Vec<Read>> {
        let mut parts = vec![Vec::new(); running.rings.len()];
        for read in reads {
            let device = self.device_of_file[read.file as usize];
            let rings = &running.of_device[device];
            let turn = match rings.len() {
                1 => 0,
                n => self.turns[device].fetch_add(1, Ordering::Relaxed) % n,
            };
            parts[rings[turn]].push(*read);
        }
        parts
    }

    fn running(&self) -> RwLockReadGuard<'_, RunningRings> {
        self.running.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn running_mut(&mut self) -> &mut RunningRings {
        self.running.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Io for Rings {
    fn submit(&self, submission: Submission, checked: Result<(), EngineError>) {
        self.grow();
        let running = self.running();
        let undone: Vec<Completion> = if running.rings.len() == 1 || checked.is_err() {
            running.rings[0]
                .put(Task::whole(submission, checked))
                .into_iter()
                .collect()
        } else {
            let parts = self.divide(&running, &submission.reads);
            let tasks = Task::divide(submission, parts).into_iter().zip(&running.rings);
            tasks.filter_map(|(task, ring)| ring.put(task?)).collect()
        };
        // The caller's function may submit more.
        drop(running);
        for completion in undone {
            self.port.outlet.deliver(completion);
        }
    }

    fn stop(&mut self) {
        let running = self.running_mut();
        running.rings.iter().for_each(Ring::ask_to_stop);
        running.rings.iter_mut().for_each(Ring::join);
    }

    /// How many rings there are for how many devices, where there are several.
    fn describe(&self) -> Option<String> {
        let (rings, devices) = (self.running().rings.len(), self.turns.len());
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        (rings > 1 || devices > 1).then(|| {
            format!(
                "with {rings} ring{} for {devices} device{}",
                plural(rings),
                plural(devices)
            )
        })
    }
}

/// The devices of files, in the order in which they are met, and for each file its place among them.
fn group_by_device(device_numbers: impl Iterator<Item = u64>) -> (Vec<u64>, Vec<usize>) {
    let mut devices = Vec::new();
    let places = device_numbers.map(|number| {
        let place = devices.iter().position(|&known| known == number);
        place.unwrap_or_else(|| {
            devices.push(number);
            devices.len() - 1
        })
    });
    let places = places.collect();
    (devices, places)
}

/// Which rings read from each device. Whichever there are more of are assigned to the others round-robin.
fn assign_round_robin(n_devices: usize, n_rings: usize) -> Vec<Vec<usize>> {
    let mut of_device = vec![Vec::new(); n_devices];
    for i in 0..n_devices.max(n_rings) {
        of_device[i % n_devices].push(i % n_rings);
    }
    of_device
}

/// How many rings there can be by default where one cannot keep up. With two cores a second one would take from
/// decoding what it gains.
fn most_rings(n_cores: usize) -> usize {
    if n_cores <= 2 {
        1
    } else {
        n_cores.div_ceil(2).min(MAX_RINGS)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::climb::Pace;
    use super::super::window::Window;
    use super::*;
    use crate::buffer::Pool;
    use crate::engine::file::FileSet;
    use crate::engine::port::Outlet;

    #[test]
    fn files_are_grouped_by_device_in_the_order_in_which_they_are_met() {
        assert_eq!(
            group_by_device([7, 7, 3, 7, 9, 3].into_iter()),
            (vec![7, 3, 9], vec![0, 0, 1, 0, 2, 1])
        );
        assert_eq!(group_by_device([5].into_iter()), (vec![5], vec![0]));
        assert_eq!(group_by_device([].into_iter()), (vec![], vec![]));
    }

    #[test]
    fn every_device_has_a_ring_and_every_ring_a_device() {
        assert_eq!(assign_round_robin(1, 1), [[0]]);
        assert_eq!(assign_round_robin(3, 3), [[0], [1], [2]]);
        assert_eq!(assign_round_robin(1, 3), [[0, 1, 2]]);
        assert_eq!(assign_round_robin(3, 2), [[0], [1], [0]]);
        assert_eq!(assign_round_robin(2, 5), [vec![0, 2, 4], vec![1, 3]]);
        assert_eq!([1, 2, 3, 4, 16, 500].map(most_rings), [1, 1, 2, 2, 8, 64]);
    }

    #[test]
    fn a_saturated_ring_gets_a_second_one_beside_it_and_no_more_than_allowed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..1u32 << 16).flat_map(u32::to_le_bytes).collect();
        std::fs::write(file.path(), &content).unwrap();
        let (send, receive) = mpsc::channel();
        let pool = Pool::new(1, content.len()).unwrap();
        let port = Port {
            files: Arc::new(FileSet::open_buffered(&[file.path().to_owned()]).unwrap()),
            pool: pool.clone(),
            outlet: Arc::new(Outlet::new(Box::new(move |completion| {
                drop(send.send(completion))
            }))),
        };
        let config = RingsConfig {
            window: Window::new(None),
            pace: Pace::USUAL,
            registered_buffers: true,
            rings: None,
            panics_after: None,
        };
        let started = Rings::start(port, config).unwrap();
        let Ok(mut rings) = started.inspect_err(|refused| eprintln!("skipped: {refused}")) else {
            return;
        };
        rings.most_rings.store(3, Ordering::Relaxed);
        let submit_and_count = |saturated| {
            rings.devices[0].saturated.store(saturated, Ordering::Relaxed);
            let read = |i: u32| Read {
                file: 0,
                offset_bytes: u64::from(i) * 1024,
                len_bytes: 1024,
                slot: 0,
                slot_offset_bytes: i * 1024,
            };
            let mut slots = pool.take(1).unwrap();
            slots[0].as_mut_slice().fill(0xEE);
            let reads = (0..content.len() as u32 / 1024).map(read).collect();
            rings.submit(Submission { tag: 1, slots, reads }, Ok(()));
            let done = receive.recv().unwrap();
            done.result.unwrap();
            assert!(done.slots[0].as_slice()[..content.len()] == content);
            rings.running().rings.len()
        };
        assert_eq!(
            [false, true, false, true, true].map(submit_and_count),
            [1, 2, 2, 3, 3]
        );
        assert_eq!(rings.port.outlet.stats.read().rings, 3);
        assert_eq!(rings.port.outlet.stats.read().submissions, 5);
        rings.stop();
        assert_eq!(rings.port.outlet.stats.read().rings, 0);
    }
}
