//! Every command that writes, killed with SIGKILL at moments spread over its run: under the final name is nothing, or
//! something whole, and the same command makes afterwards what it makes undisturbed, and leaves nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests; the settings for tests do not reach helper functions"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cellring::Store;
use cellring::format::{CsrRows, ValueBuffer, ValueType};
use cellring::store::verify;
use cellring_anndata::write::{self, AnnDataWriter, Axis, MatrixSpec};
use cellring_tools::synth::Synth;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// Kills of each command, besides those that came too late.
const N_KILLS: u32 = 6;

/// What is run, and where its result appears.
struct Way {
    name: &'static str,
    /// What makes the state that the command begins with.
    before: &'static [&'static str],
    command: &'static str,
    /// The store, part or file that it makes or changes.
    target: &'static str,
    /// Whether the command may be given again where it was done when it was killed.
    again: bool,
}

const fn way(name: &'static str, command: &'static str, target: &'static str) -> Way {
    Way {
        name,
        before: &[],
        command,
        target,
        again: false,
    }
}

/// Paths are relative to a directory beside which `inputs` lies, and in which `one` and `two` stand for other disks.
const WAYS: [Way; 12] = [
    way("plain", "convert ../inputs/a.h5ad -o s", "s"),
    way(
        "columns, by way of a temporary file",
        "convert ../inputs/csc.h5ad -o s --memory 160MiB --threads 1 --block-size 16",
        "s",
    ),
    way(
        "shuffled, by way of a temporary file",
        "convert ../inputs/csr.h5ad -o s --shuffle 3 --memory 160MiB --threads 1 --block-size 16",
        "s",
    ),
    way(
        "several matrices",
        "convert ../inputs/layers.h5ad -o s --x --layer spliced --layer unspliced",
        "s",
    ),
    way(
        "striped",
        "convert ../inputs/a.h5ad -o s --stripe one,two --shard-size 40k",
        "s",
    ),
    Way {
        before: &["convert ../inputs/b.h5ad -o s --stripe one,two --shard-size 40k"],
        again: true,
        ..way(
            "a striped store in the place of another",
            "convert ../inputs/a.h5ad -o s --stripe one,two --shard-size 40k --force",
            "s",
        )
    },
    Way {
        again: true,
        ..way(
            "a part",
            "convert ../inputs/a.h5ad -o s --part 1/2",
            "s.part-0001-of-0002",
        )
    },
    Way {
        before: &[
            "convert ../inputs/a.h5ad -o s --part 1/2",
            "convert ../inputs/a.h5ad -o s --part 2/2",
        ],
        ..way("merge", "merge -o s", "s")
    },
    Way {
        before: &["convert ../inputs/a.h5ad -o s"],
        again: true,
        ..way("append", "append s ../inputs/b.h5ad", "s")
    },
    Way {
        before: &["convert ../inputs/a.h5ad -o s --stripe one,two --shard-size 40k"],
        again: true,
        ..way(
            "append to shards on other disks",
            "append s ../inputs/b.h5ad --shard-size 40k",
            "s",
        )
    },
    Way {
        before: &["convert ../inputs/a.h5ad -o s"],
        ..way("export", "export s out.h5ad", "out.h5ad")
    },
    Way {
        before: &[
            "convert ../inputs/b.h5ad -o s",
            "export s out.h5ad",
            "convert ../inputs/a.h5ad -o s --force",
        ],
        again: true,
        ..way(
            "an export in the place of another",
            "export s out.h5ad --force",
            "out.h5ad",
        )
    },
];

/// Each file below a directory and its content, that of a link being what it leads to. Of directories of shards the part of the
/// name that differs from run to run is left out, unless there are two.
fn content(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn add(directory: &Path, name: &Path, all: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let last = path.file_name().unwrap().to_str().unwrap();
            let stable = last.find(".stripe-").map_or(last, |at| &last[..at + 7]);
            let name = match name.join(stable) {
                taken if all.contains_key(&taken) => name.join(last),
                free => free,
            };
            let mut bytes = Vec::new();
            if path.is_dir() {
                add(&path, &name, all);
            } else {
                // A link may lead nowhere where a directory of shards was being removed.
                bytes = fs::read(&path).unwrap_or_else(|error| error.to_string().into_bytes());
            }
            all.insert(name, bytes);
        }
    }
    let mut all = BTreeMap::new();
    add(root, Path::new(""), &mut all);
    all
}

/// Names, for a message: the contents would fill the screen.
fn assert_same(found: &BTreeMap<PathBuf, Vec<u8>>, expected: &BTreeMap<PathBuf, Vec<u8>>, what: &str) {
    let names = |all: &BTreeMap<PathBuf, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}");
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{what}: {} differs", name.display());
    }
}

/// What tells one whole result from another: the bytes of a file; of a store or a part its manifest, which holds the checksums
/// of all else. `None` where there is nothing.
fn identity(target: &Path) -> Option<Vec<u8>> {
    if !target.exists() {
        assert!(target.symlink_metadata().is_err());
        return None;
    }
    if target.is_file() {
        return Some(fs::read(target).unwrap());
    }
    let part = target.join("part.json");
    if part.exists() {
        return Some(fs::read(part).unwrap());
    }
    let store = Store::open(target).unwrap();
    verify(&store, 1, &|_| ()).unwrap();
    Some(fs::read(target.join("manifest.json")).unwrap())
}

/// A directory in which one command is run again and again from the same state.
struct Place {
    root: PathBuf,
}

impl Place {
    fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    fn start(&self, command: &str) -> std::process::Child {
        Command::new(env!("CARGO_BIN_EXE_cellring"))
            .args(command.split(' '))
            .current_dir(self.work())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, command: &str) {
        let output = self.start(command).wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {message}");
    }

    /// Keeps the state, to be restored before each run.
    fn keep(&self) {
        self.copy("work", "kept");
    }

    fn restore(&self) {
        self.copy("kept", "work");
    }

    fn copy(&self, from: &str, to: &str) {
        let (from, to) = (self.root.join(from), self.root.join(to));
        let _ = fs::remove_dir_all(&to);
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(copied.unwrap().success());
    }

    /// Runs the command, kills it after this time, and tells whether it was still running.
    fn kill_after(&self, delay: Duration, command: &str) -> bool {
        let mut child = self.start(command);
        #[allow(
            clippy::disallowed_methods,
            reason = "the kill is to come at any moment, whatever the child does then"
        )]
        std::thread::sleep(delay);
        child.kill().unwrap();
        !child.wait().unwrap().success()
    }
}

/// Kills the command at this moment and looks at what is there, then lets it run. Tells whether it was killed.
fn kill_once(place: &Place, way: &Way, delay: Duration, results: &Results) -> bool {
    place.restore();
    let killed = place.kill_after(delay, way.command);
    let target = place.work().join(way.target);
    let what = format!("{}, killed after {delay:?}", way.name);

    let found = identity(&target);
    let is_done = found == results.done;
    assert!(is_done || found == results.before, "{what}: neither old nor new");
    // What is under way has a name that begins with a dot, or is a directory of shards; neither is taken for a store.
    for path in [".", "one", "two"].map(|name| place.work().join(name)) {
        for entry in fs::read_dir(&path).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let is_known = results.names.contains(&name) || name == way.target;
            assert!(
                is_known || name.starts_with('.') || name.contains(".stripe-"),
                "{what}: {name}"
            );
            assert!(
                !name.contains(".stripe-") || Store::open(entry.path()).is_err(),
                "{what}"
            );
        }
    }
    let is_whole = is_done && content(&place.work()) == results.whole;
    if !is_whole || way.again {
        place.run(way.command);
    }
    let expected = if is_done { &results.again } else { &results.whole };
    assert_same(&content(&place.work()), expected, &what);
    killed
}

/// What runs that nobody disturbs make.
struct Results {
    /// What is under the final name before and afterwards.
    before: Option<Vec<u8>>,
    done: Option<Vec<u8>>,
    /// Everything, after one run and after two.
    whole: BTreeMap<PathBuf, Vec<u8>>,
    again: BTreeMap<PathBuf, Vec<u8>>,
    /// What lies there from the beginning.
    names: Vec<String>,
}

fn kill_all(place: &Place, way: &Way, random: &mut Xoshiro256PlusPlus) {
    let _ = fs::remove_dir_all(place.work());
    for name in ["one", "two"] {
        fs::create_dir_all(place.work().join(name)).unwrap();
    }
    way.before.iter().for_each(|command| place.run(command));
    place.keep();
    let target = place.work().join(way.target);
    let names = fs::read_dir(place.work()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let (names, before) = (names.collect(), identity(&target));
    let since = Instant::now();
    place.run(way.command);
    let takes = since.elapsed();
    let (whole, done) = (content(&place.work()), identity(&target));
    assert!(done.is_some() && done != before, "{}", way.name);
    if way.again {
        place.run(way.command);
    }
    let again = content(&place.work());
    let results = Results {
        before,
        done,
        whole,
        again,
        names,
    };

    let mut n_killed = 0;
    for number in 0..N_KILLS {
        let part = (f64::from(number) + random.random::<f64>()) / f64::from(N_KILLS);
        n_killed += u32::from(kill_once(place, way, takes.mul_f64(part), &results));
    }
    // Where the machine was busy while the time was taken, all of them may have come too late.
    let mut delay = takes;
    while n_killed == 0 {
        delay /= 2;
        n_killed += u32::from(kill_once(place, way, delay, &results));
    }
    println!("{}: {n_killed} kills of a run of {takes:?}", way.name);
}

/// A file with layers.
fn write_layers(path: &Path) {
    const N_OBS: u64 = 800;
    const N_VARS: u64 = 600;
    let spec = || MatrixSpec::new(N_OBS, N_VARS, ValueType::F32);
    // A value in every so manieth column.
    let rows = |step: usize| {
        let columns: Vec<u32> = (0..N_VARS as u32).step_by(step).collect();
        let nnz = N_OBS as usize * columns.len();
        CsrRows {
            indptr: (0..=N_OBS).map(|row| row * columns.len() as u64).collect(),
            indices: columns.repeat(N_OBS as usize),
            values: ValueBuffer::F32((0..nnz).map(|k| (k % 97) as f32 + 0.5).collect()),
        }
    };
    let mut writer = AnnDataWriter::create(path, spec()).unwrap();
    let synth = Synth::new(N_OBS, N_VARS as u32, 1);
    for (axis, table) in [(Axis::Obs, synth.obs(0..N_OBS)), (Axis::Var, synth.var())] {
        writer
            .write_table(axis, &table.schema(), [table.clone()])
            .unwrap();
    }
    writer.push_rows(&rows(3)).unwrap();
    for (step, layer) in [(4, "layers/spliced"), (5, "layers/unspliced")] {
        writer
            .next_matrix(write::Place::of_path(layer).unwrap(), spec())
            .unwrap();
        writer.push_rows(&rows(step)).unwrap();
    }
    writer.finish().unwrap();
}

/// A matrix by columns and one by rows, with more entries than are turned or shuffled in an eighth of 160 MiB.
fn write_large(directory: &Path) {
    const SCRIPT: &str = "
import sys, anndata, numpy, scipy.sparse
random = numpy.random.default_rng(7)
matrix = scipy.sparse.random(1400, 3000, 0.34, 'csr', random_state=random)
matrix.data = numpy.ceil(9 * matrix.data)
for name, values in (('csr', matrix), ('csc', matrix.tocsc())):
    anndata.AnnData(values).write_h5ad(f'{sys.argv[1]}/{name}.h5ad')
";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python =
        std::env::var_os("CELLRING_PYTHON").map_or_else(|| root.join(".venv/bin/python"), PathBuf::from);
    let made = Command::new(&python)
        .args(["-W", "ignore", "-c", SCRIPT])
        .arg(directory)
        .status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "{} does not run or has no anndata; run tests/all.sh, which sets it up, or name another interpreter in CELLRING_PYTHON",
        python.display()
    );
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_or_all() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let inputs = directory.path().join("inputs");
    fs::create_dir(&inputs).unwrap();
    for (name, n_obs, seed) in [("a", 700, 3), ("b", 500, 4)] {
        let path = inputs.join(format!("{name}.h5ad"));
        Synth::new(n_obs, 2_000, seed).write_h5ad(path, |_| {}).unwrap();
    }
    write_layers(&inputs.join("layers.h5ad"));
    write_large(&inputs);
    let place = Place {
        root: directory.path().to_path_buf(),
    };
    let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
    for way in &WAYS {
        kill_all(&place, way, &mut random);
    }
}
