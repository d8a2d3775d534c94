"""Runs the command line in a process of its own, for the tests of the commands."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import cellring

COMMANDS = {
    "convert": cellring.convert,
    "append": cellring.append,
    "verify": cellring.verify,
    "export": cellring.export,
    "merge": cellring.merge,
}
PACKAGE = os.fspath(pathlib.Path(cellring.__file__).parents[1])

# For what would else wait for ever; nothing is measured.
LIMIT = 120

# As the script `cellring` of an installation runs it.
ENTRY = ("-c", "import sys; from cellring._cli import main; sys.exit(main())")
ENVIRONMENT = {**os.environ, "PYTHONPATH": PACKAGE}


def command_line(way: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *way, *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT)


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the console entry."""
    return command_line(ENTRY, *arguments)
