//! Real filesystems and a real broken disk, on loop devices: only root can have them, so that everybody else is
//! told what was not tested.
#![allow(clippy::unwrap_used, reason = "a helper of a test that fails fails the test")]
#![allow(
    clippy::print_stderr,
    reason = "a test says when a machine cannot do what it is about"
)]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};

use cellring::__internal::buffer::Pool;
use cellring::engine::{
    Backend, Completion, Direct, Engine, EngineConfig, EngineError, EngineStats, Read, Submission,
};
use tempfile::TempDir;

const LEN: usize = 16 << 20;
const READ: usize = 64 << 10;
const N_READS: usize = LEN / READ;

/// The file that every filesystem here holds; every word tells its place.
fn content() -> Vec<u8> {
    (0..LEN as u32 / 4)
        .flat_map(|word| word.wrapping_mul(0x9E37_79B9).to_le_bytes())
        .collect()
}

/// A filesystem in a file.
struct Mount {
    image: PathBuf,
    device: String,
    point: PathBuf,
    // Last, because the mount has to be gone before it.
    _dir: TempDir,
}

/// Runs a command and returns what it prints, or one line that says why it could not.
fn run(command: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(command)
        .args(args)
        .output()
        .map_err(|e| format!("{command}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{command}: {}",
        text.lines().next().unwrap_or("it failed without a word")
    ))
}

impl Mount {
    /// Makes a filesystem that holds one file, `shard`, of which nothing is in the page cache; an error says why
    /// that is not possible here.
    fn new(kind: &str) -> Result<Mount, String> {
        let exe = std::env::current_exe().unwrap();
        // Beside the test binary: the directory for temporary files is often tmpfs.
        let dir = tempfile::tempdir_in(exe.parent().unwrap()).unwrap();
        let (image, point, files) = (
            dir.path().join("image"),
            dir.path().join("point"),
            dir.path().join("files"),
        );
        fs::create_dir(&point).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        if kind == "squashfs" {
            fs::create_dir(&files).unwrap();
            fs::write(files.join("shard"), content()).unwrap();
            run(
                "mksquashfs",
                &[&text(&files), &text(&image), "-quiet", "-no-progress"],
            )?;
        } else {
            // The least that xfs takes; most of it is never written.
            File::create(&image).unwrap().set_len(320 << 20).unwrap();
            run(&format!("mkfs.{kind}"), &[&text(&image)])?;
        }
        let device = run("losetup", &["--find", "--show", "--direct-io=on", &text(&image)])?;
        let mount = Mount {
            image,
            device,
            point,
            _dir: dir,
        };
        if kind != "squashfs" {
            mount.mount(&["-t", kind])?;
            let mut file = File::create(mount.shard()).unwrap();
            std::io::Write::write_all(&mut file, &content()).unwrap();
            file.sync_all().unwrap();
            drop(file);
            run("umount", &[&text(&mount.point)])?;
        }
        // No journal of ours may stumble over what the tests do to the image.
        let options = if kind == "ext4" { "ro,noload" } else { "ro" };
        mount.mount(&["-t", kind, "-o", options])?;
        Ok(mount)
    }

    fn mount(&self, options: &[&str]) -> Result<String, String> {
        run(
            "mount",
            &[options, &[&self.device, self.point.to_str().unwrap()]].concat(),
        )
    }

    fn shard(&self) -> PathBuf {
        self.point.join("shard")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", self.point.to_str().unwrap()]);
        let _ = run("losetup", &["--detach", &self.device]);
    }
}

/// A filesystem of this kind, or a word on standard error.
fn mount_or_skip(kind: &str) -> Option<Mount> {
    Mount::new(kind)
        .inspect_err(|why| eprintln!("skipped {kind}: {why}"))
        .ok()
}

fn start(
    paths: &[PathBuf],
    pool: &Pool,
    config: &EngineConfig,
) -> Result<(Engine, Receiver<Completion>), EngineError> {
    let (send, receive) = mpsc::channel();
    let engine = Engine::start(paths, pool, config, move |done| drop(send.send(done)))?;
    Ok((engine, receive))
}

/// Reads this piece of each of the files, one piece behind the other.
fn submission(pool: &Pool, n_files: usize, pieces: impl Iterator<Item = usize>) -> Submission {
    let reads = pieces.flat_map(|piece| (0..n_files).map(move |file| (piece, file)));
    let reads = reads.enumerate().map(|(i, (piece, file))| Read {
        file: file as u32,
        offset_bytes: (piece * READ) as u64,
        len_bytes: READ as u32,
        slot: 0,
        slot_offset_bytes: (i * READ) as u32,
    });
    let reads = reads.collect();
    let slots = pool.take(1).unwrap();
    Submission { tag: 1, slots, reads }
}

/// Reads all of the files, checks it, and returns how.
fn read_all(
    paths: &[PathBuf],
    config: &EngineConfig,
) -> Result<(cellring::engine::Choice, EngineStats), EngineError> {
    let pool = Pool::new(1, LEN * paths.len()).unwrap();
    let (engine, receive) = start(paths, &pool, config)?;
    engine.submit(submission(&pool, paths.len(), (0..N_READS).rev()));
    let done = receive.recv().unwrap();
    done.result?;
    let content = content();
    for read in &done.reads {
        let got = &done.slots[0].as_slice()[read.slot_offset_bytes as usize..][..READ];
        assert!(
            got == &content[read.offset_bytes as usize..][..READ],
            "wrong bytes at {}",
            read.offset_bytes
        );
    }
    Ok((engine.choice().clone(), engine.stats()))
}

fn config(direct: Direct) -> EngineConfig {
    let mut config = EngineConfig::default();
    config.direct = direct;
    config
}

#[test]
fn auto_reads_past_the_page_cache_where_the_filesystem_can_and_says_why_not_where_it_cannot() {
    for (kind, is_direct, why) in [
        ("ext4", true, ""),
        ("xfs", true, ""),
        ("btrfs", false, "btrfs may use the page cache"),
        ("squashfs", false, "its filesystem"),
    ] {
        let Some(mount) = mount_or_skip(kind) else {
            continue;
        };
        let paths = [mount.shard()];
        let (choice, _) = read_all(&paths, &EngineConfig::default()).unwrap();
        eprintln!("{kind}: {}", choice.reason);
        assert_eq!(choice.method.direct, is_direct, "{kind}: {}", choice.reason);
        assert!(choice.reason.contains(why), "{kind}: {}", choice.reason);
        match read_all(&paths, &config(Direct::On)) {
            Ok((choice, _)) => assert!(choice.method.direct && is_direct, "{kind}"),
            Err(refused) => {
                assert!(
                    !is_direct && matches!(refused, EngineError::Unavailable { .. }),
                    "{kind}: {refused}"
                );
            }
        }
        // The page cache always works.
        assert!(!read_all(&paths, &config(Direct::Off)).unwrap().0.method.direct);
    }
}

#[test]
fn shards_on_two_disks_have_a_ring_each() {
    let (Some(one), Some(two)) = (mount_or_skip("ext4"), mount_or_skip("ext4")) else {
        return;
    };
    let (choice, stats) = read_all(&[one.shard(), two.shard()], &config(Direct::On)).unwrap();
    if choice.method.backend != Backend::Uring {
        return eprintln!("skipped: {}", choice.reason);
    }
    assert_eq!(
        (stats.rings, stats.submissions, stats.reads),
        (2, 1, 2 * N_READS as u64)
    );
    assert!(
        choice.reason.contains("with 2 rings for 2 devices"),
        "{}",
        choice.reason
    );
}

#[test]
fn a_disk_that_breaks_fails_the_submissions_that_meet_it_and_no_others() {
    let Some(mount) = mount_or_skip("ext4") else {
        return;
    };
    // Opened while the disk is whole.
    let plain = OpenOptions::new()
        .read(true)
        .custom_flags(0o40000)
        .open(mount.shard())
        .unwrap();
    let content = content();
    let mut ways = Vec::new();
    for (backend, rings) in [(Backend::Uring, 1), (Backend::Uring, 2), (Backend::Pread, 1)] {
        let pool = Pool::new(2, LEN).unwrap();
        let mut config = config(Direct::On);
        (config.backend, config.rings) = (backend, Some(rings));
        match start(&[mount.shard()], &pool, &config) {
            Ok((engine, receive)) => ways.push((engine, receive, pool)),
            Err(e) => eprintln!("skipped: {e}"),
        }
    }
    // Where the file lies in the image is the filesystem's affair. Cut off more and more, until its last piece is
    // gone, and some more of it.
    let image = OpenOptions::new().write(true).open(&mount.image).unwrap();
    let is_gone = |&len: &u64| {
        image.set_len(len).unwrap();
        reads_plainly(&plain, N_READS - 1).is_err()
    };
    let cut = (0..160).rev().map(|half| half << 21).find(is_gone).unwrap_or(0);
    image.set_len(cut.saturating_sub(4 << 20)).unwrap();
    let is_broken: Vec<bool> = (0..N_READS)
        .map(|piece| reads_plainly(&plain, piece).is_err())
        .collect();
    let n_broken = is_broken.iter().filter(|&&broken| broken).count();
    if n_broken == 0 {
        return eprintln!("skipped: this kernel's loop devices have no errors");
    }
    eprintln!("{n_broken} of {N_READS} pieces are broken");
    for (engine, receive, pool) in ways {
        for (piece, &broken) in is_broken.iter().enumerate() {
            engine.submit(submission(&pool, 1, [piece].into_iter()));
            let done = receive.recv().unwrap();
            assert_eq!(done.result.is_err(), broken, "piece {piece}");
            match &done.result {
                Ok(()) => assert!(done.slots[0].as_slice()[..READ] == content[piece * READ..][..READ]),
                Err(error) => check(error, &mount.shard(), &[piece]),
            }
        }
        // Together they fail together, and the slot comes back.
        engine.submit(submission(&pool, 1, 0..N_READS));
        let done = receive.recv().unwrap();
        assert_eq!((done.slots.len(), done.reads.len()), (1, N_READS));
        check(
            &done.result.unwrap_err(),
            &mount.shard(),
            &(0..N_READS).collect::<Vec<_>>(),
        );
        assert!(engine.stats().errors > n_broken as u64);
        drop((engine, done.slots));
        assert_eq!(pool.free(), 2);
    }
}

/// Reads a piece past the page cache and past the engine.
fn reads_plainly(file: &File, piece: usize) -> std::io::Result<()> {
    // Somewhere in it is a place that is aligned.
    let mut memory = vec![0; READ + 4096];
    let start = memory.as_ptr().align_offset(4096);
    file.read_exact_at(&mut memory[start..start + READ], (piece * READ) as u64)
}

fn check(error: &EngineError, expected: &Path, pieces: &[usize]) {
    let EngineError::Read {
        path,
        offset_bytes,
        source,
        ..
    } = error
    else {
        panic!("{error}");
    };
    const EIO: i32 = 5;
    assert_eq!((path.as_path(), source.raw_os_error()), (expected, Some(EIO)));
    assert!(pieces.contains(&(*offset_bytes as usize / READ)), "{error}");
}
