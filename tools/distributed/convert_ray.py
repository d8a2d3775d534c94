#!/usr/bin/env python3
"""Converts one large input on the machines of a Ray cluster: each task makes one part, then the parts are put together.

    convert_ray.py INPUT STORE --parts 64 [--cpus 8] [--address auto] [-- CONVERT OPTIONS...]

All machines see INPUT and STORE under these names and have the `cellring` command (or --cellring names it). A task that fails, or
whose machine is lost, is run again; the whole may be run again too: parts that are there and whole are left alone. What stands
after `--` goes to `cellring convert`, such as `-- --layer counts --shuffle 1`. Without --address a cluster of this machine alone
is started, and stopped at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import ray


def run(command: list[str]) -> str:
    """Runs the command line and returns what it prints; its own sentence says why it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        how = done.stderr.strip() or f"it ended with status {done.returncode}"
        raise RuntimeError(f"{' '.join(command)}: {how}")
    return done.stdout.strip()


@ray.remote
def convert_part(cellring: str, source: str, store: str, part: str, threads: int, options: list[str]) -> str:
    return run([cellring, "convert", source, "-o", store, "--part", part, "--threads", str(threads), *options])


def main() -> int:
    parser = argparse.ArgumentParser(description="Convert AnnData to a cellring store on a Ray cluster.",
                                     epilog="What follows -- goes to `cellring convert`.")
    parser.add_argument("input")
    parser.add_argument("store")
    parser.add_argument("--parts", type=int, required=True)
    parser.add_argument("--cpus", type=int, default=1, help="cores for each task")
    parser.add_argument("--retries", type=int, default=3, help="how often a task is run again")
    parser.add_argument("--address", help="of the cluster; `auto` finds the one that this machine belongs to")
    parser.add_argument("--cellring", default="cellring", help="the command on all machines")
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own, options = arguments[:end], arguments[end + 1:]
    args = parser.parse_args(own)

    ray.init(address=args.address, log_to_driver=False)
    try:
        task = convert_part.options(num_cpus=args.cpus, max_retries=args.retries, retry_exceptions=[RuntimeError])
        waiting = [task.remote(args.cellring, args.input, args.store, f"{number}/{args.parts}", args.cpus, options)
                   for number in range(1, args.parts + 1)]
        while waiting:
            done, waiting = ray.wait(waiting)
            print(ray.get(done[0]), flush=True)
    except ray.exceptions.RayTaskError as error:
        print(f"error: {error.cause}", file=sys.stderr)
        return 1
    finally:
        ray.shutdown()
    print(run([args.cellring, "merge", "-o", args.store]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
