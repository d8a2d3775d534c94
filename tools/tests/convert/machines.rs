//! The scripts that make the parts of a store on many machines, run on this one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cellring_tools::synth::Synth;

use crate::command::{assert_same, succeed, synthetic};
use crate::{names, scratch};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("distributed")
        .join(name)
}

fn assert_done(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// The array's tasks in any order, one of them twice, then the job that depends on them.
#[test]
fn a_slurm_job_array_makes_the_store() {
    let directory = scratch();
    let input = synthetic(directory.path());
    let (whole, store) = (directory.path().join("whole"), directory.path().join("s"));
    succeed(&[
        "convert",
        text(&input),
        "-o",
        text(&whole),
        "--parts",
        "3",
        "--block-size",
        "64",
    ]);
    let job = |verb: &str, task: &str| {
        let mut command = Command::new("bash");
        command
            .arg(script("convert.sbatch"))
            .arg(verb)
            .env("INPUT", &input)
            .env("STORE", &store)
            .env("PARTS", "3")
            .env("CELLRING", env!("CARGO_BIN_EXE_cellring"));
        match verb {
            "part" => command
                .args(["--block-size", "64"])
                .env("SLURM_ARRAY_TASK_ID", task),
            _ => command.env_remove("SLURM_ARRAY_TASK_ID"),
        };
        command
    };
    for task in ["3", "1", "3"] {
        assert_done(&job("part", task).output().unwrap());
    }
    let early = job("merge", "").output().unwrap();
    assert!(
        !early.status.success()
            && String::from_utf8_lossy(&early.stderr).contains("1 of 3 parts are missing (2)")
    );
    assert_done(&job("part", "2").output().unwrap());
    assert_done(&job("merge", "").output().unwrap());
    assert_same(&whole, &store);
    assert!(!job("part", "4").output().unwrap().status.success());
    assert!(!job("other", "").output().unwrap().status.success());

    // What is submitted: an array of three, and a job that waits for all of it. In place of Slurm stands a script that writes down
    // what it is asked for.
    let bin = directory.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let (sbatch, asked) = (bin.join("sbatch"), directory.path().join("asked"));
    let stand_in = format!("#!/bin/sh\necho \"$*\" >> '{}'\necho 42\n", text(&asked));
    std::fs::write(&sbatch, stand_in).unwrap();
    std::fs::set_permissions(&sbatch, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", text(&bin), std::env::var("PATH").unwrap());
    assert_done(&job("submit", "").arg("--raw").env("PATH", path).output().unwrap());
    let asked = std::fs::read_to_string(asked).unwrap();
    let lines: Vec<&str> = asked.lines().collect();
    assert_eq!(lines.len(), 2, "{asked}");
    assert!(
        lines[0].contains("--array=1-3") && lines[0].ends_with("convert.sbatch part --raw"),
        "{asked}"
    );
    assert!(
        lines[1].contains("--dependency=afterok:42") && lines[1].ends_with("convert.sbatch merge"),
        "{asked}"
    );
}

/// Real Ray tasks on this machine; the process of one is killed half-way, and the task is run again.
#[test]
fn ray_tasks_make_the_store_even_if_one_is_killed() {
    let python = crate::python();
    let has_ray = Command::new(&python).args(["-c", "import ray"]).output().unwrap();
    if !has_ray.status.success() {
        println!(
            "skipped: {} has no ray; tests/all.sh installs it",
            python.display()
        );
        return;
    }
    let directory = scratch();
    let input = directory.path().join("input.h5ad");
    Synth::new(6_000, 3_000, 3).write_h5ad(&input, |_| {}).unwrap();
    let (whole, store) = (directory.path().join("whole"), directory.path().join("s"));
    succeed(&[
        "convert",
        text(&input),
        "-o",
        text(&whole),
        "--parts",
        "4",
        "--block-size",
        "16",
    ]);
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/check_ray.py");
    let ran = Command::new(&python)
        .arg(check)
        .args([
            Path::new(env!("CARGO_BIN_EXE_cellring")),
            &script("convert_ray.py"),
            &input,
            &store,
        ])
        .arg("4")
        .output()
        .unwrap();
    assert_done(&ran);
    assert_same(&whole, &store);
    assert_eq!(names(directory.path()), ["input.h5ad", "s", "whole"]);
}
