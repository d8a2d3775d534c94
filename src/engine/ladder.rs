//! Chooses how to read: the fastest that works, each proven by a real read before it is taken.

use std::path::PathBuf;
use std::sync::Arc;

use super::backend::{Io, Outlet, Port};
use super::choice::{Attempt, Choice, ReadMethod};
use super::config::{Backend, Direct, EngineConfig};
use super::direct::cached_pages;
use super::error::EngineError;
use super::file::FileSet;
use super::mmap::{self, MapReader};
use super::pread::{self, Pread};
use super::refusal::refusal;
use super::threads::{ReadAt, Threads};
use super::uring::{Pace, Rings, RingsConfig, Window};
use crate::buffer::Pool;

/// From this part of the files on, `auto` reads them from the page cache: memory is faster than any device,
/// but a device is faster than reading through the cache what is not in it.
const CACHED_ENOUGH: f64 = 0.95;
/// Most threads of a backend.
const MAX_THREADS: u32 = 256;

/// A started backend, the files that it reads, and why it was chosen.
pub(super) struct Chosen {
    pub(super) io: Box<dyn Io>,
    pub(super) files: Arc<FileSet>,
    pub(super) choice: Choice,
}

/// Goes down the ladder that the configuration allows.
pub(super) fn choose(
    paths: &[PathBuf],
    pool: &Pool,
    config: &EngineConfig,
    outlet: &Arc<Outlet>,
) -> Result<Chosen, EngineError> {
    #[cfg(any(test, feature = "sim"))]
    if let Some(faults) = &config.sim {
        return simulate(paths, pool, faults, outlet);
    }
    let (opened, mut why) = open(paths, config)?;
    let mut files = Arc::new(opened);
    let mut attempts: Vec<Attempt> = Vec::new();
    for method in ladder(config, files.is_direct()) {
        if files.is_direct() && !method.direct {
            files = Arc::new(FileSet::open_buffered(paths)?);
        }
        let port = Port {
            files: Arc::clone(&files),
            pool: pool.clone(),
            outlet: Arc::clone(outlet),
        };
        match start(method, port, config)? {
            Ok(io) => {
                why.extend(attempts.iter().filter_map(|attempt| attempt.refusal.clone()));
                why.extend(pool.page_kind().advice().map(str::to_owned));
                let because = if why.is_empty() {
                    String::new()
                } else {
                    format!(", because {}", why.join("; "))
                };
                let with = io.describe().map_or(String::new(), |with| format!(", {with}"));
                attempts.push(Attempt {
                    method,
                    refusal: None,
                });
                return Ok(Chosen {
                    io,
                    files,
                    choice: Choice {
                        method,
                        reason: format!("{method}{with}{because}"),
                        attempts,
                    },
                });
            }
            Err(refused) => attempts.push(Attempt {
                method,
                refusal: Some(refused),
            }),
        }
    }
    let refusals: Vec<_> = attempts
        .into_iter()
        .filter_map(|attempt| attempt.refusal)
        .collect();
    Err(EngineError::Unavailable {
        wanted: wanted(config),
        reason: refusals.join("; "),
    })
}

/// Opens the files, and says what speaks against O_DIRECT if they are opened without it although that was not
/// asked for.
fn open(paths: &[PathBuf], config: &EngineConfig) -> Result<(FileSet, Vec<String>), EngineError> {
    if config.backend == Backend::Mmap {
        return match config.direct {
            Direct::On => Err(EngineError::Unavailable {
                wanted: wanted(config),
                reason: "a memory map is page cache; choose backend uring or pread".to_owned(),
            }),
            Direct::Auto | Direct::Off => Ok((FileSet::open_buffered(paths)?, Vec::new())),
        };
    }
    match config.direct {
        Direct::Off => return Ok((FileSet::open_buffered(paths)?, Vec::new())),
        Direct::Auto => {
            let files = FileSet::open_buffered(paths)?;
            if let Some(fraction) = cached_fraction(&files).filter(|&fraction| fraction >= CACHED_ENOUGH) {
                let why = format!(
                    "{:.0} % of the files are in the page cache, which is faster",
                    fraction * 100.0
                );
                return Ok((files, vec![why]));
            }
        }
        Direct::On => (),
    }
    match FileSet::open_direct(paths, config.direct == Direct::On)? {
        Ok(files) => Ok((files, Vec::new())),
        Err(reason) if config.direct == Direct::On => Err(EngineError::Unavailable {
            wanted: wanted(config),
            reason,
        }),
        Err(why) => Ok((FileSet::open_buffered(paths)?, vec![why])),
    }
}

/// Which part of all files is in the page cache; `None` if the kernel does not tell, or there is nothing in
/// them.
fn cached_fraction(files: &FileSet) -> Option<f64> {
    let (mut cached, mut total) = (0, 0);
    for file in files.iter() {
        let (cached_here, pages) = cached_pages(file).ok()?;
        cached += cached_here;
        total += pages;
    }
    (total > 0).then(|| cached as f64 / total as f64)
}

/// The methods that may be tried, the fastest first. Files that are open with O_DIRECT can be opened without,
/// but not the other way round.
fn ladder(config: &EngineConfig, direct: bool) -> Vec<ReadMethod> {
    let method = |backend, direct| ReadMethod {
        backend,
        direct,
        registered_buffers: false,
    };
    let plain_ring = method(Backend::Uring, direct);
    let mut methods = Vec::new();
    // Through the page cache a ring has one thread to copy with, and pread has several. On two busy cores pread
    // copied cached data (4 KiB to 1 MiB reads) 1.3 to 2.3 times as fast as the ring and 1.3 to 1.9 times as fast
    // as a memory map; and unlike the map it survives a file that is cut short.
    if config.backend == Backend::Uring || (config.backend == Backend::Auto && direct) {
        if !config.no_registered_buffers {
            methods.push(ReadMethod {
                registered_buffers: true,
                ..plain_ring
            });
        }
        methods.push(plain_ring);
    }
    if config.backend == Backend::Pread || (config.backend == Backend::Auto && direct) {
        methods.push(method(Backend::Pread, direct));
    }
    if config.backend == Backend::Auto && config.direct != Direct::On {
        methods.extend([method(Backend::Pread, false), method(Backend::Mmap, false)]);
    }
    if config.backend == Backend::Mmap {
        methods.push(method(Backend::Mmap, false));
    }
    methods
}

/// Starts one method of reading; the inner error is the clause that says why it is not available.
fn start(
    method: ReadMethod,
    port: Port,
    config: &EngineConfig,
) -> Result<Result<Box<dyn Io>, String>, EngineError> {
    let threads = |default: u32| config.threads.unwrap_or(default).clamp(1, MAX_THREADS);
    match method.backend {
        Backend::Uring => {
            let rings = RingsConfig {
                window: Window::new(config.depth),
                pace: pace(config),
                registered_buffers: method.registered_buffers,
                rings: config.rings,
                #[cfg(any(test, feature = "sim"))]
                panics_after: config.panics_after,
            };
            Ok(Rings::start(port, rings)?.map(|rings| Box::new(rings) as Box<dyn Io>))
        }
        Backend::Mmap => match MapReader::new(&port.files) {
            Ok(reader) => start_threads(
                &port,
                reader,
                threads(mmap::DEFAULT_THREADS),
                "reading from a memory map",
            ),
            Err(e) => Ok(Err(refusal("mapping the files", &e))),
        },
        Backend::Pread | Backend::Auto => {
            let reader = Pread {
                files: Arc::clone(&port.files),
                #[cfg(any(test, feature = "sim"))]
                panics_after: config
                    .panics_after
                    .map(|n| n.try_into().unwrap_or(i64::MAX).into()),
            };
            let step = if method.direct {
                "pread with O_DIRECT"
            } else {
                "pread"
            };
            start_threads(&port, reader, threads(pread::DEFAULT_THREADS), step)
        }
    }
}

fn start_threads<R: ReadAt>(
    port: &Port,
    reader: R,
    n_threads: u32,
    step: &str,
) -> Result<Result<Box<dyn Io>, String>, EngineError> {
    if let Some(piece) = port.probe(None)
        && let Err(e) = reader.read_at(&piece)
    {
        return Ok(Err(refusal(
            &format!("{step} of {}", port.files.path(piece.file).display()),
            &e,
        )));
    }
    Ok(Ok(Box::new(Threads::start(port, reader, n_threads)?)))
}

fn pace(config: &EngineConfig) -> Pace {
    #[cfg(any(test, feature = "sim"))]
    if config.is_hasty {
        return Pace::HASTY;
    }
    let _ = config;
    Pace::USUAL
}

fn wanted(config: &EngineConfig) -> String {
    format!("backend {} with direct I/O {}", config.backend, config.direct)
}

#[cfg(any(test, feature = "sim"))]
fn simulate(
    paths: &[PathBuf],
    pool: &Pool,
    faults: &super::sim::Faults,
    outlet: &Arc<Outlet>,
) -> Result<Chosen, EngineError> {
    let files = Arc::new(FileSet::open_buffered(paths)?.with_alignment(faults.alignment));
    let port = Port {
        files: Arc::clone(&files),
        pool: pool.clone(),
        outlet: Arc::clone(outlet),
    };
    let method = ReadMethod {
        backend: Backend::Pread,
        direct: false,
        registered_buffers: false,
    };
    let attempts = vec![Attempt {
        method,
        refusal: None,
    }];
    let choice = Choice {
        method,
        reason: format!("a simulated device with {faults:?}"),
        attempts,
    };
    Ok(Chosen {
        io: Box::new(super::sim::Sim::start(&port, faults.clone())?),
        files,
        choice,
    })
}
