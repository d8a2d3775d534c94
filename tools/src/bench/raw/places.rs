//! Random places of files, as a benchmark of a device reads them: every piece of the files once in each pass.

use std::path::{Path, PathBuf};

use cellring::plan::{Plan, PlannedFetch, SamplerConfig};

use crate::failure::Failure;

/// Where one read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) offset_bytes: u64,
}

/// Some files in pieces of one size, and a random order of the pieces. What is left at the end of a file is not read.
///
/// The order is that of a plan of minibatches with block size 1: uniformly random, without repetition, and without a
/// list of all pieces in memory.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Number of the first piece of each file.
    begins: Vec<u64>,
    n_pieces: u64,
    read_bytes: u64,
    seed: u64,
}

impl Places {
    pub(super) fn new(paths: &[PathBuf], read_bytes: u64, seed: u64) -> Result<Self, Failure> {
        let (mut begins, mut n_pieces, mut longest) = (Vec::with_capacity(paths.len()), 0, 0);
        for path in paths {
            let bytes = length(path)?;
            begins.push(n_pieces);
            n_pieces += bytes / read_bytes;
            longest = longest.max(bytes);
        }
        if n_pieces == 0 {
            let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            return Err(Failure::because(format!(
                "{}: no file is as long as one read of {read_bytes} bytes, the longest has {longest}; read less at a time",
                names.join(", ")
            )));
        }
        Ok(Self {
            begins,
            n_pieces,
            read_bytes,
            seed,
        })
    }

    fn place(&self, piece: u64) -> Place {
        let file = self.begins.partition_point(|&begins| begins <= piece) - 1;
        Place {
            file: file as u32,
            offset_bytes: (piece - self.begins[file]) * self.read_bytes,
        }
    }

    /// The order of the pieces, handed out in groups of up to `group` reads.
    pub(super) fn groups(&self, group: u32) -> Result<Groups, cellring::Error> {
        let config = SamplerConfig::default()
            .block_size(1)
            .batch_size(group)
            // Some thousand pieces are drawn at a time.
            .fetch_factor(4096 / group.min(4096))
            .seed(self.seed);
        Ok(Groups {
            plan: Plan::new(self.n_pieces, &config, 0)?,
            places: self.clone(),
            config,
            pass: 0,
            next_fetch: 0,
            fetch: PlannedFetch::default(),
            next: 0,
        })
    }
}

/// Groups of places, pass after pass.
#[derive(Debug)]
pub(super) struct Groups {
    places: Places,
    config: SamplerConfig,
    plan: Plan,
    pass: u64,
    next_fetch: u64,
    fetch: PlannedFetch,
    next: usize,
}

impl Groups {
    /// The next group, and the pass that it belongs to, from 0.
    pub(super) fn next(&mut self) -> Result<(u64, impl Iterator<Item = Place> + '_), cellring::Error> {
        if self.next == self.fetch.minibatches.len() {
            if self.next_fetch == self.plan.n_fetches() {
                self.pass += 1;
                self.plan = Plan::new(self.places.n_pieces, &self.config, self.pass)?;
                self.next_fetch = 0;
            }
            self.plan.fetch_into(self.next_fetch, &mut self.fetch);
            (self.next_fetch, self.next) = (self.next_fetch + 1, 0);
        }
        self.next += 1;
        let group = self.fetch.obs_of(self.next - 1);
        Ok((self.pass, group.iter().map(|&piece| self.places.place(piece))))
    }
}

fn length(path: &Path) -> Result<u64, Failure> {
    let metadata = std::fs::metadata(path);
    let metadata = metadata.map_err(|error| Failure::because(format!("{}: {error}", path.display())))?;
    match metadata.is_file() {
        true => Ok(metadata.len()),
        false => Err(Failure::because(format!(
            "{} is not a file; `bench --raw` reads one file",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_reads_every_whole_piece_once_in_another_order() {
        let dir = tempfile::tempdir().unwrap();
        let lengths = [4096u64, 0, 70_000, 10_000];
        let paths: Vec<_> = (0..lengths.len())
            .map(|i| dir.path().join(i.to_string()))
            .collect();
        for (path, &length) in paths.iter().zip(&lengths) {
            std::fs::write(path, vec![0; length as usize]).unwrap();
        }
        for (read_bytes, n_pieces) in [(512, 163), (4096, 20), (5000, 16)] {
            let places = Places::new(&paths, read_bytes, 1).unwrap();
            assert_eq!(places.n_pieces, n_pieces);
            let mut groups = places.groups(3).unwrap();
            let mut passes = [vec![], vec![]];
            while passes[1].len() < n_pieces as usize {
                let (pass, group) = groups.next().unwrap();
                passes[pass as usize].extend(group.map(|place| (place.file, place.offset_bytes)));
            }
            assert!(passes[0] != passes[1]);
            for pass in &mut passes {
                pass.sort_unstable();
                let whole =
                    |file: usize| (0..lengths[file] / read_bytes).map(move |i| (file as u32, i * read_bytes));
                assert_eq!(*pass, (0..4).flat_map(whole).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn files_without_a_whole_read_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("short");
        std::fs::write(&path, [0; 4000]).unwrap();
        assert!(Places::new(&[path], 4096, 0).is_err());
        assert!(Places::new(&[dir.path().join("none")], 512, 0).is_err());
        assert!(Places::new(&[dir.path().to_owned()], 512, 0).is_err());
    }
}
