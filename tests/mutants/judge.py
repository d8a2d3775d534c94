"""Runs `cellring` on a mutant, and tells how a command ended: as it may, or not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

MIB = 1 << 20
# Address space and file length are limits that the kernel keeps; far above what any of these small inputs takes.
MEMORY, FILE = 4096 * MIB, 256 * MIB
# What a command may hold beyond what it holds for the same input undamaged.
BEYOND = 64 * MIB

# How a command may end: with what the mutant holds; with what the sound one holds, where the damage hit nothing that is read; with a
# refusal; with one for a reason that the readers need not know.
RIGHT, UNHARMED, REFUSED, EXCUSED = "right", "unharmed", "refused", "excused"
FINE = [RIGHT, UNHARMED, REFUSED, EXCUSED]


class Cellring:
    """The command, run in a child of a small process."""

    def __init__(self, binary, seconds):
        """`seconds`: for commands that would never end; they take some tens of milliseconds."""
        self.binary, self.seconds, self.peaks = str(binary), seconds, {}
        self.start()

    def start(self):
        """A runner of this process's own."""
        child = Path(__file__).with_name("child.py")
        self.runner = subprocess.Popen([sys.executable, "-I", "-S", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, cwd, *args):
        request = {"args": [self.binary, *map(str, args)], "cwd": str(cwd), "memory": MEMORY, "file": FILE, "seconds": self.seconds}
        self.runner.stdin.write(json.dumps(request) + "\n")
        self.runner.stdin.flush()
        return json.loads(self.runner.stdout.readline())

    def must(self, cwd, *args):
        """Runs what has to succeed, and learns from it how much memory the command takes."""
        found = self.run(cwd, *args)
        if found["code"] != 0:
            raise RuntimeError(f"{args}: {found['err'] or found['code']}")
        self.peaks[args[0]] = max(found["peak"], self.peaks.get(args[0], 0))
        return found["out"]

    def judged(self, cwd, *args):
        """(how it ended, what it printed, what it said of its end): right, refused, or the fault."""
        found = self.run(cwd, *args)
        code, err = found["code"], found["err"]
        said = err.strip()
        if found["hangs"]:
            fault = "hangs"
        elif "panicked at" in err or "RUST_BACKTRACE" in err:
            fault = "panics"
        elif "memory allocation of" in err or "capacity overflow" in err:
            fault = "takes memory"
        elif code < 0:
            fault = f"signal {-code}"
        elif found["peak"] > self.peaks[args[0]] + BEYOND:
            fault, said = "takes memory", f"{found['peak'] // MIB} MiB; {said}"
        elif code == 0:
            return RIGHT, found["out"], said
        elif code in (1, 2) and is_clean(err) and not found["out"]:
            return REFUSED, "", said
        else:
            fault = "is not clear" if code in (1, 2) else f"exit code {code}"
        return fault, found["out"], said


def is_clean(err):
    """One sentence, perhaps after warnings, as text or as JSON; nothing that a terminal would take as a command."""
    lines = err.removesuffix("\n").split("\n")
    kinds = [kind_of(line) for line in lines]
    return (kinds[-1] == "error" and set(kinds[:-1]) <= {"warning"} and len(err) < 4000
            and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", err))


def kind_of(line):
    if line.startswith("{"):
        try:
            (kind, about), = json.loads(line).items()
            return kind if about["kind"] and not re.search(r"[\x00-\x1f\x7f]", about["message"]) else None
        except (ValueError, TypeError, KeyError):
            return None
    return line.split(": ")[0]
