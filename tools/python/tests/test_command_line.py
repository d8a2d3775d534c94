"""The command line itself, as the script `cellring` and as `python -m cellring`."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from command_helpers import ENTRY, ENVIRONMENT, LIMIT, cli, command_line
from conftest import names_of

import cellring

pytestmark = pytest.mark.usefixtures("written")


def module(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `python -m cellring`."""
    return command_line(("-m", "cellring"), *arguments)


@pytest.mark.parametrize("run", [cli, module])
def test_the_command_line(run, tmp_path, source):
    said = run("--help")
    assert said.returncode == 0 and "convert" in said.stdout and "Usage: cellring" in said.stdout and said.stderr == ""
    said = run("--version")
    assert said.returncode == 0 and said.stdout == f"cellring {cellring.__version__}\n"
    assert run().returncode == 2
    said = run("convert", "--nonsense")
    assert said.returncode == 2 and "--nonsense" in said.stderr and "Traceback" not in said.stderr
    said = run("convert", source, "-o", tmp_path / "s")
    assert said.returncode == 0 and "1,000 cells x 1,000 genes" in said.stdout
    said = run("convert", source, "-o", tmp_path / "s")
    assert said.returncode == 1 and "give --force to replace it" in said.stderr
    said = run("info", tmp_path / "s", "--json")
    assert said.returncode == 0 and '"n_obs":1000' in said.stdout
    assert run("verify", tmp_path / "s").returncode == 0


def test_the_entry_is_that_of_the_package():
    project = (pathlib.Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert 'cellring = "cellring._cli:main"' in project


def lines_until(stream: Iterator[str], words: str) -> None:
    for line in stream:
        if words in line:
            return
    raise AssertionError(f"it ended before it said {words!r}")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_command_line(tmp_path, large, sent):
    """As a shell expects it: by the signal, without a traceback, and nothing is left."""
    child = subprocess.Popen(
        [sys.executable, *ENTRY, "convert", str(large), "-o", str(tmp_path / "s"), "--json"],
        env={**ENVIRONMENT, "CELLRING_PROGRESS": "json"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines_until(child.stderr, "progress")
    child.send_signal(sent)
    said, errors = child.communicate(timeout=LIMIT)
    assert child.returncode == -sent
    assert said == "" and "Traceback" not in errors
    assert names_of(tmp_path) == []


def test_a_pipe_that_nobody_reads(store):
    """As with `| head`: nothing is wrong."""
    child = subprocess.Popen(
        [sys.executable, *ENTRY, "obs", store, "--head", "1000", "--json"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    child.stdout.close()
    assert child.stderr.read() == ""
    assert child.wait(LIMIT) == 0
