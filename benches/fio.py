#!/usr/bin/env python3
"""Random reads of one file by fio and by `cellring bench --raw`, in turn; prints a Markdown table of medians and ratios.

fio reads with io_uring, O_DIRECT, registered buffers and files, at the depth that is best for it; on huge pages where enough of
them are reserved (vm.nr_hugepages). cellring reads as it does by default. Both run at the same time of day, alternately,
because virtual disks are throttled and shared. Root is not needed.

    cargo build --release --package cellring-tools
    benches/fio.py FILE -- --depth 128        # more options for cellring behind --
    benches/fio.py FILE                       # a file much larger than the device's cache, such as a store's shard
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys

SIZES = [4, 16, 64, 256]
DEPTHS = [8, 16, 32, 64, 128]
HUGE_PAGE_KIB = 2048


def fail(sentence):
    sys.exit(f"error: {sentence}")


def free_huge_pages():
    try:
        with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}")
    # fio writes notes before its JSON.
    return json.loads(done.stdout[done.stdout.index("{") :])


def fio(file, kib, depth, seconds):
    """Bytes per second, reads per second, CPU seconds per GB, and whether on huge pages."""
    huge = free_huge_pages() > depth * kib // HUGE_PAGE_KIB + 1
    command = [
        "fio", "--name=read", f"--filename={file}", "--readonly", "--rw=randread", f"--bs={kib}k", "--direct=1",
        "--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1", f"--iodepth={depth}", "--randrepeat=0",
        "--time_based=1", f"--runtime={seconds}", "--output-format=json",
    ]  # fmt: skip
    if huge:
        command.append("--iomem=mmaphuge")
    job = run(command)["jobs"][0]
    read = job["read"]
    cpu_seconds = (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] / 1000
    return read["io_bytes"] * 1000 / read["runtime"], read["iops"], cpu_seconds * 1e9 / read["io_bytes"], huge


def cellring(binary, file, kib, seconds, options):
    command = [
        binary, "bench", "--raw", file, "--read-size", f"{kib}KiB", "--direct", "on", "--seconds", str(seconds), "--json",
    ]  # fmt: skip
    raw = run(command + options)
    return raw["bytes_per_second"], raw["iops"], raw["cpu_seconds_per_gb"], raw["backend"]


def spread(values):
    """Half of the range over the median, in percent."""
    return 50 * (max(values) - min(values)) / statistics.median(values)


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(root, "target"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--seconds", type=int, default=5, help="length of each run, whole seconds [5]")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turn [5]")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="read sizes in KiB [%(default)s]")
    parser.add_argument("--cellring", default=os.path.join(target, "release", "cellring"), help="the command [%(default)s]")
    # argparse does not take a second list of words behind other options.
    words = sys.argv[1:]
    behind = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:behind])
    options = words[behind + 1 :]
    if shutil.which("fio") is None:
        fail("fio is not installed: it is in the package fio of every distribution (apt-get install fio)")
    if not os.path.isfile(args.file):
        fail(f"{args.file} is not a file; give one to read from, such as a store's shard")
    if shutil.which(args.cellring) is None:
        fail(f"{args.cellring} is not there: cargo build --release --package cellring-tools")

    print("| read | fio depth | fio | spread | cellring | spread | cellring / fio | fio CPU | cellring CPU | CPU ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    notes = set()
    for kib in map(int, args.sizes.split(",")):
        short = max(1, args.seconds // 3)
        depth = max(DEPTHS, key=lambda depth: fio(args.file, kib, depth, short)[0])
        theirs, ours = [], []
        for _ in range(args.rounds):
            theirs.append(fio(args.file, kib, depth, args.seconds))
            ours.append(cellring(args.cellring, args.file, kib, args.seconds, options))
        median = lambda runs, column: statistics.median(run[column] for run in runs)
        rate = lambda runs: f"{median(runs, 0) / 1e6:,.0f} MB/s, {median(runs, 1) / 1e3:,.1f}k reads/s"
        sizes = [spread([run[0] for run in runs]) for runs in (theirs, ours)]
        print(
            f"| {kib} KiB | {depth} | {rate(theirs)} | {sizes[0]:.0f} % | {rate(ours)} | {sizes[1]:.0f} % "
            f"| {median(ours, 0) / median(theirs, 0):.3f} | {median(theirs, 2):.3f} s/GB | {median(ours, 2):.3f} s/GB "
            f"| {median(ours, 2) / median(theirs, 2):.2f} |",
            flush=True,
        )
        if not all(run[3] for run in theirs):
            notes.add("fio had no huge pages: `sysctl vm.nr_hugepages=64` reserves enough for every size and depth.")
        notes.update(f"cellring read with {run[3]}." for run in ours if run[3] != "uring")
    version = subprocess.run(["fio", "--version"], capture_output=True, text=True).stdout.strip()
    print(f"\n{version}, Linux {os.uname().release}, {os.cpu_count()} cores; medians of {args.rounds} runs of {args.seconds} s each, in turn;")
    print("spread is half the range over the median.", *sorted(notes))


if __name__ == "__main__":
    main()
