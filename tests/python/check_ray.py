#!/usr/bin/env python3
"""Converts with tools/distributed/convert_ray.py on a Ray cluster of this machine, where one task's process is killed half-way.

    check_ray.py CELLRING CONVERT_RAY INPUT STORE PARTS

Each task runs this very file, with the arguments of `cellring`, in place of the command. The first time that part 2 is made, it
kills the command, with SIGKILL, when that has begun to write its shard, and then itself: as when a machine is lost. Exit status
0: the store was made all the same, and the kill has happened.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def stand_in(arguments: list[str]) -> None:
    """Runs the command, or is killed with it."""
    cellring, mark = os.environ["CHECK_RAY_CELLRING"], Path(os.environ["CHECK_RAY_MARK"])
    part = arguments[arguments.index("--part") + 1] if "--part" in arguments else ""
    if not part.startswith("2/") or mark.exists():
        os.execv(cellring, [cellring, *arguments])
    store = Path(arguments[arguments.index("-o") + 1])
    command = subprocess.Popen([cellring, *arguments], stdout=subprocess.DEVNULL)
    while command.poll() is None:
        if list(store.parent.glob(f".{store.name}.part-0002-of-*.tmp-*/shard-00000.bin")):
            command.kill()
            command.wait()
            if not list(store.parent.glob(f"{store.name}.part-0002-of-*")):
                mark.write_text("killed")
            break
        time.sleep(0.0005)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    cellring, convert_ray, source, store, parts = sys.argv[1:]
    mark = Path(store).parent / "killed"
    os.environ |= {"CHECK_RAY_CELLRING": cellring, "CHECK_RAY_MARK": str(mark)}
    # What Ray starts calls the interpreter that runs this.
    wrapper = Path(store).parent / "cellring"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" --stand-in "$@"\n')
    wrapper.chmod(0o755)
    done = subprocess.run([sys.executable, convert_ray, source, store, "--parts", parts, "--cellring", str(wrapper), "--",
                           "--block-size", "16"], text=True)
    assert done.returncode == 0, f"convert_ray.py ended with {done.returncode}"
    assert mark.exists(), "the process was not killed half-way, so nothing was tested"
    mark.unlink()
    wrapper.unlink()
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stand-in"]:
        stand_in(sys.argv[2:])
    sys.exit(main())
