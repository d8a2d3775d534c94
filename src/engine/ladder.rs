//! Chooses how to read: the fastest that works, each proven by a real read before it is taken.

use std::path::PathBuf;
use std::sync::Arc;

use super::backend::Backend;
use super::backend::method::Method;
use super::choice::{Attempt, Choice, ReadMethod};
use super::config::{Direct, EngineConfig};
use super::direct::cached_pages;
use super::error::EngineError;
use super::file::FileSet;
use super::port::{Io, Outlet, Port};
use crate::buffer::Pool;

/// From this part of the files on, `auto` reads them from the page cache: memory is faster than any device,
/// but a device is faster than reading through the cache what is not in it.
const CACHED_ENOUGH: f64 = 0.95;

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
    for (method, backend) in ladder(config, files.is_direct()) {
        if files.is_direct() && !method.direct {
            files = Arc::new(FileSet::open_buffered(paths)?);
        }
        let port = Port {
            files: Arc::clone(&files),
            pool: pool.clone(),
            outlet: Arc::clone(outlet),
        };
        match backend.start(method.variant(), port, &config.settings())? {
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
    if let Some(reason) = config
        .backend
        .method()
        .and_then(|backend| backend.needs_page_cache())
    {
        return match config.direct {
            Direct::On => Err(EngineError::Unavailable {
                wanted: wanted(config),
                reason: reason.to_owned(),
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
fn ladder(config: &EngineConfig, direct: bool) -> Vec<(ReadMethod, &'static dyn Method)> {
    let settings = config.settings();
    let offered = |backend: Backend, direct: bool| {
        let method = backend.method().into_iter();
        method.flat_map(move |method| {
            let variants = method.variants(direct, &settings).into_iter();
            variants.map(move |variant| (ReadMethod::new(backend, variant), method))
        })
    };
    if config.backend != Backend::Auto {
        return offered(config.backend, direct).collect();
    }
    let mut methods = Vec::new();
    // Through the page cache a ring has one thread to copy with, and pread has several. On two busy cores pread
    // copied cached data (4 KiB to 1 MiB reads) 1.3 to 2.3 times as fast as the ring and 1.3 to 1.9 times as fast
    // as copies from a memory map within the process; process_vm_readv is slower still at 4 KiB (1.2 times).
    if direct {
        methods.extend(offered(Backend::Uring, true));
        methods.extend(offered(Backend::Pread, true));
    }
    if config.direct != Direct::On {
        methods.extend(offered(Backend::Pread, false));
        methods.extend(offered(Backend::Mmap, false));
    }
    methods
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
