"""The processes that the commands run in: Ctrl-C, kills, threads, and that nothing is left."""

from __future__ import annotations

import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import threading
import weakref

import pytest
from command_helpers import LIMIT, PACKAGE
from conftest import MOUSE, equal, names_of

import cellring

pytestmark = pytest.mark.usefixtures("written")

INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import cellring

source, folder, how = sys.argv[1:]
if how == "memory":
    import anndata
    source = anndata.read_h5ad(source)
def progress(done, total):
    if how != "start":
        print("under way", flush=True)
convert = cellring.convert
try:
    if how in ("start", "memory"):
        print("under way", flush=True)
    convert(source, folder + "/target", progress=progress)
    print("converted")
except KeyboardInterrupt:
    # What the conversion has begun is gone when the exception is here.
    print("interrupted", os.listdir(folder), flush=True)
print(convert(os.environ["MOUSE"], folder + "/after")["n_obs"])
"""


def python(script: str, *arguments: object, **named) -> subprocess.Popen[str]:
    """A script in a Python of its own, with this package."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": PACKAGE, "MOUSE": os.fspath(MOUSE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **named,
    )


@pytest.mark.parametrize("how", ["process", "group", "start", "memory"])
def test_ctrl_c(tmp_path, large, how):
    """To the process alone, as a notebook sends it, or to all of the terminal: nothing is left, and the process goes on."""
    (tmp_path / "in").mkdir()
    child = python(INTERRUPTED, large, tmp_path / "in", how, start_new_session=True)
    assert child.stdout.readline() == "under way\n"
    (os.killpg if how == "group" else os.kill)(child.pid, signal.SIGINT)
    said, errors = child.communicate(timeout=LIMIT)
    said = [line for line in said.splitlines() if line != "under way"]
    assert said == ["interrupted []", "10000"], errors
    assert child.returncode == 0
    assert names_of(tmp_path / "in") == ["after"]


@pytest.mark.parametrize("where", [(os, "mkdir"), (shutil, "rmtree")], ids=["made", "removed"])
def test_ctrl_c_while_the_directory_of_an_anndata_in_memory_is(tmp_path, adata, monkeypatch, where):
    """It comes after the system has done it and before anything knows, or before it is done."""
    module, name = where
    real = getattr(module, name)
    calls = []

    def interrupted(path, *arguments, **named):
        calls.append(path)
        if name == "mkdir":
            real(path, *arguments, **named)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        if name == "rmtree":
            real(path, *arguments, **named)

    monkeypatch.setattr(module, name, interrupted)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            cellring.convert(adata, tmp_path / "s")
    finally:
        signal.signal(signal.SIGINT, previous)
    assert pathlib.Path(calls[0]).parent == tmp_path
    assert names_of(tmp_path) == ([] if name == "mkdir" else ["s"])


class Held:
    """What a weak reference may refer to."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_ctrl_c_that_python_drops_while_an_anndata_in_memory_is_written(tmp_path, adata, monkeypatch, when):
    """In a callback of a weak reference, as h5py has them, no exception is passed on."""
    experimental = pytest.importorskip("anndata.experimental")
    real = experimental.write_dispatched

    def dropping(*arguments):
        if when == "after":
            real(*arguments)
        held = Held()
        reference = weakref.ref(held, lambda _: signal.raise_signal(signal.SIGINT))
        del held
        assert reference() is None
        if when == "before":
            real(*arguments)
            raise AssertionError("all was written")

    monkeypatch.setattr(experimental, "write_dispatched", dropping)
    previous, hook = signal.signal(signal.SIGINT, signal.default_int_handler), sys.unraisablehook
    try:
        with pytest.raises(KeyboardInterrupt):
            cellring.convert(adata, tmp_path / "s")
        assert sys.unraisablehook is hook
    finally:
        signal.signal(signal.SIGINT, previous)
    assert names_of(tmp_path) == []


def children_of(pid: int) -> list[int]:
    """The processes that it has started."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(folder.name))
        except OSError:
            # It has ended meanwhile.
            pass
    return found


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_the_command_ends_with_the_process(tmp_path, large, sent):
    """However that ends: nothing is left."""
    child = python(INTERRUPTED, large, tmp_path, "process")
    assert child.stdout.readline() == "under way\n"
    commands = children_of(child.pid)
    assert len(commands) == 1
    # Its own end is seen although it is nobody's child then.
    watched = os.pidfd_open(commands[0])
    child.send_signal(sent)
    assert child.wait(LIMIT) == -sent
    child.communicate()
    assert select.select([watched], [], [], LIMIT)[0], "it goes on"
    os.close(watched)
    assert names_of(tmp_path) == []


def test_a_child_that_is_killed(tmp_path, large):
    """The sentence says what ended it."""
    # Other tests may have left some, such as the tracker of multiprocessing.
    before = set(children_of(os.getpid()))

    def kill(done: int, total: int) -> None:
        (command,) = set(children_of(os.getpid())) - before
        os.kill(command, signal.SIGKILL)

    with pytest.raises(cellring.CommandError, match="the process of cellring convert was ended by SIGKILL; .*memory="):
        cellring.convert(large, tmp_path / "s", progress=kill)


def test_in_a_thread(tmp_path, source, adata):
    """Several at once, from threads, where there are no signals."""
    failed: list[BaseException] = []

    def convert(number: int) -> None:
        try:
            cellring.convert(source if number % 2 else adata, tmp_path / str(number), progress=lambda done, total: None)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=convert, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and names_of(tmp_path) == [str(number) for number in range(6)]
    for number in range(6):
        equal(tmp_path / str(number), adata)


def test_the_working_directory_and_the_environment_do_not_matter(tmp_path, source, run_python):
    """Neither modules that lie there nor variables of Python's have to do with the command."""
    for name in ("json", "signal", "threading", "cellring", "os"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    script = """
import sys, os
from cellring import convert
os.chdir(sys.argv[1])
os.environ.update(PYTHONPATH=sys.argv[1], PYTHONWARNINGS="error", PYTHONVERBOSE="1")
print(convert(sys.argv[2], "s")["n_obs"])
"""
    assert run_python(script, tmp_path, source) == "1000\n"


def test_no_descriptors_are_left(tmp_path, source):
    before = len(os.listdir("/proc/self/fd"))
    children = children_of(os.getpid())
    for number in range(10):
        cellring.convert(source, tmp_path / str(number))
        with pytest.raises(cellring.StoreExistsError):
            cellring.convert(source, tmp_path / str(number))
    assert len(os.listdir("/proc/self/fd")) == before
    assert set(children_of(os.getpid())) <= set(children)
