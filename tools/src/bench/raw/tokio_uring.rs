//! The same reads by the crate tokio-uring, to compare with: a task for each read in flight, and its own registered
//! buffers.

use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use ::tokio_uring::buf::BoundedBuf;
use ::tokio_uring::buf::fixed::FixedBufRegistry;
use ::tokio_uring::fs::File;
use cellring::__internal::buffer::Pool;
use cellring::engine::{Backend, Engine, EngineConfig};

use super::places::{Groups, Place, Places};
use super::result::{Raw, RawConfig, Span};
use crate::failure::Failure;
use crate::usage::cpu_time;

/// What the crate's registry holds: it drops the rest without a word.
const MAX_DEPTH: u32 = 1024;
/// Enough for the alignment of any device.
const ALIGN_BYTES: usize = 4096;

/// Reads at random places, on a thread of its own: the crate's runtime belongs to one.
pub(super) fn measure(paths: &[PathBuf], places: Places, config: &RawConfig) -> Result<Raw, Failure> {
    // The crate panics where there is no io_uring; this says what is refused and what can be done.
    let mut probe = EngineConfig::default();
    (probe.backend, probe.direct, probe.no_registered_buffers) = (Backend::Uring, config.direct, true);
    let engine = Engine::start(paths, &Pool::new(1, ALIGN_BYTES)?, &probe, |_| ())?;
    let (direct, unit) = (engine.choice().method.direct, u64::from(engine.alignment()));
    drop(engine);
    if !config.read_bytes.is_multiple_of(unit) {
        return Err(Failure::Usage(format!(
            "reads that bypass the page cache must be multiples of {unit} bytes here, which {} is not",
            config.read_bytes
        )));
    }
    let by_size = (4 << 20) / config.read_bytes;
    let depth = config
        .depth
        .unwrap_or(by_size.clamp(16, 128) as u32)
        .min(MAX_DEPTH);
    let (paths, config) = (paths.to_owned(), *config);
    let body = move || {
        let mut builder = ::tokio_uring::builder();
        builder.entries(depth.next_power_of_two());
        builder.start(read(&paths, &places, &config, direct, depth))
    };
    let thread = std::thread::Builder::new()
        .name("tokio-uring".into())
        .spawn(body)?;
    let span = match thread.join() {
        Ok(span) => span.map_err(Failure::because)?,
        Err(_) => return Err(Failure::because("tokio-uring panicked, with the message above")),
    };
    Ok(Raw::new(&config, direct, Some(depth.into()), span))
}

/// What the tasks have in common.
struct Shared {
    groups: RefCell<Groups>,
    files: Vec<File>,
    bytes: Cell<u64>,
    reads: Cell<u64>,
    error: RefCell<Option<String>>,
    until: Instant,
    once: bool,
}

impl Shared {
    /// The next place, until it is time to stop.
    fn next(&self) -> Option<Place> {
        if Instant::now() >= self.until || self.error.borrow().is_some() {
            return None;
        }
        let mut groups = self.groups.borrow_mut();
        match groups.next() {
            Ok((pass, _)) if pass > 0 && self.once => None,
            Ok((_, mut group)) => group.next(),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn count(&self, result: std::io::Result<usize>, wanted: u64) -> Option<()> {
        match result {
            Ok(n) if n as u64 == wanted => {
                self.bytes.set(self.bytes.get() + wanted);
                self.reads.set(self.reads.get() + 1);
                Some(())
            }
            Ok(n) => self.fail(format!(
                "a read of {wanted} bytes brought {n}: the file has been cut short"
            )),
            Err(error) => self.fail(format!("a read of {wanted} bytes failed: {error}")),
        }
    }

    fn fail<T>(&self, message: String) -> Option<T> {
        self.error.borrow_mut().get_or_insert(message);
        None
    }
}

async fn read(
    paths: &[PathBuf],
    places: &Places,
    config: &RawConfig,
    direct: bool,
    depth: u32,
) -> Result<Span, String> {
    let open = |path: &PathBuf| {
        let flags = if direct { libc::O_DIRECT } else { 0 };
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        file.map(File::from_std)
            .map_err(|error| format!("{}: {error}", path.display()))
    };
    let files = paths.iter().map(open).collect::<Result<_, _>>()?;
    let read_bytes = config.read_bytes as usize;
    let fixed: Vec<Vec<u8>> = (0..depth).map(|_| vec![0u8; read_bytes + ALIGN_BYTES]).collect();
    let starts: Vec<usize> = fixed
        .iter()
        .map(|buffer| buffer.as_ptr().align_offset(ALIGN_BYTES))
        .collect();
    let registry = FixedBufRegistry::new(fixed);
    // Locked memory may be limited; then it reads without.
    let is_registered = registry.register().is_ok();
    let (began, cpu_before) = (Instant::now(), cpu_time());
    let shared = Rc::new(Shared {
        groups: RefCell::new(places.groups(1).map_err(|error| error.to_string())?),
        files,
        bytes: Cell::new(0),
        reads: Cell::new(0),
        error: RefCell::new(None),
        until: began + config.time,
        once: config.once && !direct,
    });
    let wanted = config.read_bytes;
    let mut tasks = Vec::new();
    for (i, start) in starts.into_iter().enumerate() {
        let registered = registry.check_out(i).filter(|_| is_registered);
        let shared = shared.clone();
        tasks.push(::tokio_uring::spawn(async move {
            match registered {
                Some(buffer) => {
                    let mut buffer = buffer.slice(start..start + read_bytes);
                    while let Some(place) = shared.next() {
                        let file = &shared.files[place.file as usize];
                        let (result, back) = file.read_fixed_at(buffer, place.offset_bytes).await;
                        buffer = back;
                        if shared.count(result, wanted).is_none() {
                            break;
                        }
                    }
                }
                None => {
                    let plain = vec![0u8; read_bytes + ALIGN_BYTES];
                    let start = plain.as_ptr().align_offset(ALIGN_BYTES);
                    let mut buffer = plain.slice(start..start + read_bytes);
                    while let Some(place) = shared.next() {
                        let file = &shared.files[place.file as usize];
                        let (result, back) = file.read_at(buffer, place.offset_bytes).await;
                        buffer = back;
                        if shared.count(result, wanted).is_none() {
                            break;
                        }
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await
            .map_err(|_| "a task of tokio-uring panicked, with the message above".to_owned())?;
    }
    let span = Span {
        bytes: shared.bytes.get(),
        reads: shared.reads.get(),
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: (cpu_time() - cpu_before).as_secs_f64(),
    };
    match shared.error.borrow_mut().take() {
        Some(error) => Err(error),
        None => Ok(span),
    }
}
