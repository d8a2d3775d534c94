"""The process that links a file which is opened for the first time: Ctrl-C, kills, errors, and when there is none."""

from __future__ import annotations

import fcntl
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from command_helpers import LIMIT, PACKAGE
from conftest import names_of
from test_command_processes import children_of

import cellring
from cellring import _cellring, _errors


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "cache"))
    return tmp_path / "cache" / "cellring"


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Files of which one takes a second to read, and one a while to write the link of: it has a large obs."""
    folder = tmp_path_factory.mktemp("slow")
    dense = np.zeros((8000, 4000), dtype=np.float32)
    dense[:, ::100] = np.arange(8000)[:, None] + 1
    anndata.AnnData(dense).write_h5ad(folder / "reads.h5ad", compression="gzip", compression_opts=1)
    n_obs = 200_000
    obs = pd.DataFrame({f"column{i}": np.random.default_rng(i).random(n_obs) for i in range(20)}, index=np.arange(n_obs).astype(str))
    anndata.AnnData(sp.csr_matrix((n_obs, 3), dtype=np.float32), obs=obs).write_h5ad(folder / "writes.h5ad")
    return folder


OPENING = """
import os, signal, sys, warnings
signal.signal(signal.SIGINT, signal.default_int_handler)
warnings.simplefilter("ignore")
import cellring
# Imported when it is first asked for.
cellring.Store
path = sys.argv[1]
print("under way", flush=True)
try:
    cellring.Store(path)
    print("opened", flush=True)
except KeyboardInterrupt:
    # The process that links is gone, with what it has begun, when the exception is here.
    try:
        os.waitpid(-1, os.WNOHANG)
        print("it has a child")
    except ChildProcessError:
        print("interrupted", sorted(os.listdir(os.environ["XDG_CACHE_HOME"] + "/cellring")), flush=True)
sys.stdin.readline()
print(cellring.Store(path).n_obs)
"""


def opening(path: pathlib.Path) -> subprocess.Popen[str]:
    """A process that opens the file, and, when it is told to, opens it again."""
    child = subprocess.Popen(
        [sys.executable, "-c", OPENING, os.fspath(path)],
        env={**os.environ, "PYTHONPATH": PACKAGE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout.readline() == "under way\n"
    return child


def open_files(pid: int) -> set[str]:
    """Names of the files that a process has open."""
    made = set()
    try:
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            made.add(os.path.basename(os.readlink(entry)))
    except OSError:
        # It was closed, or the process has ended.
        pass
    return made


def linker_of(child: subprocess.Popen[str], is_there: Callable[[int], bool]) -> int | None:
    """The process that links for another one, when it is at some place; None if the other one has opened the file by then."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        for pid in children_of(child.pid):
            if is_there(pid):
                return pid
        if child.poll() is not None or select.select([child.stdout], [], [], 0)[0]:
            break
    return None


def status(pid: int, key: str) -> str:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)[key]


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    while not status(pid, "State").startswith(("T", "Z")):
        time.sleep(0.001)


def interrupt_stopped(child: subprocess.Popen[str], linker: int) -> None:
    """Sends Ctrl-C while the process that links is stopped, which goes on when the signal has been passed on to it."""
    os.kill(child.pid, signal.SIGINT)
    while not int(status(linker, "ShdPnd"), 16) & 1 << (signal.SIGINT - 1):
        time.sleep(0.001)
    os.kill(linker, signal.SIGCONT)


def check(child: subprocess.Popen[str], n_obs: int, cache: pathlib.Path) -> None:
    """It was interrupted, nothing was left, and it opens the file when it is asked to again."""
    assert child.stdout.readline() == "interrupted ['.turn']\n"
    assert names_of(cache) == [".turn"] and not children_of(child.pid)
    said, errors = child.communicate("\n", timeout=LIMIT)
    assert (said, child.returncode) == (f"{n_obs}\n", 0), errors
    assert len(names_of(cache)) == 2


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])
def test_ctrl_c_while_another_process_links(source, cache, send):
    """Which is waited for."""
    cache.mkdir(parents=True)
    with open(cache / ".turn", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        child = opening(source)
        assert linker_of(child, lambda pid: ".turn" in open_files(pid)) is not None
        send(child.pid, signal.SIGINT)
        line = child.stdout.readline()
        assert line == "interrupted ['.turn']\n" and not children_of(child.pid)
    said, errors = child.communicate("\n", timeout=LIMIT)
    assert (said, child.returncode) == ("1000\n", 0), errors


def test_ctrl_c_while_the_file_is_read(slow, cache):
    path = slow / "reads.h5ad"
    child = opening(path)
    linker = linker_of(child, lambda pid: {".turn", path.name} <= open_files(pid))
    assert linker is not None
    stop(linker)
    interrupt_stopped(child, linker)
    check(child, 8000, cache)


def test_ctrl_c_while_the_link_is_written(slow, cache):
    path = slow / "writes.h5ad"

    def half_made() -> bool:
        return any(".cellring.tmp-" in name for name in (os.listdir(cache) if cache.exists() else []))

    def is_writing(pid: int) -> bool:
        if not half_made():
            return False
        stop(pid)
        return True

    # It may be done before it is stopped.
    for _ in range(10):
        child = opening(path)
        linker = linker_of(child, is_writing)
        if linker is not None and half_made():
            break
        if linker is not None:
            os.kill(linker, signal.SIGCONT)
        child.communicate("\n", timeout=LIMIT)
        shutil.rmtree(cache)
    else:
        pytest.fail("the link was always there before")
    interrupt_stopped(child, linker)
    check(child, 200_000, cache)


def test_it_ends_with_the_process_that_waits_for_it(source, cache):
    cache.mkdir(parents=True)
    with open(cache / ".turn", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        child = opening(source)
        linker = linker_of(child, lambda pid: ".turn" in open_files(pid))
        assert linker is not None
        # Its end is seen although it is the child of another process then.
        watched = os.pidfd_open(linker)
        child.kill()
        child.communicate(timeout=LIMIT)
        assert select.select([watched], [], [], LIMIT)[0], "it goes on"
        os.close(watched)
        assert names_of(cache) == [".turn"]


# Without Ctrl-C.

COUNTED = """
import os, sys, warnings
warnings.simplefilter("ignore")
import cellring
started = []
sys.addaudithook(lambda event, arguments: started.append(event) if event in ("subprocess.Popen", "os.fork", "os.posix_spawn") else None)
def count(path):
    started.clear()
    try:
        cellring.Store(path)
    except cellring.CellringError:
        pass
    return len(started)
path, store, text = sys.argv[1:]
print(count(path), count(path), count(store), count(text), count(text + " that is not there"))
os.utime(path, ns=(1, 1))
print(count(path), count(path))
os.unlink(path)
print(count(path))
"""


def test_only_a_file_that_has_no_link_starts_a_process(source, store, tmp_path, run_python):
    path, text = tmp_path / "cells.h5ad", tmp_path / "text.h5ad"
    shutil.copy(source, path)
    text.write_text("not a file of cells\n")
    assert run_python(COUNTED, path, store, text) == "1 0 0 0 0\n1 0\n0\n"


@pytest.mark.parametrize("executable", ["", "/nowhere/python", "/bin/false"])
def test_where_no_process_can_be_started_it_links_by_itself(source, adata, monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.warns(cellring.CellringWarning, match="read in place"):
        store = cellring.Store(source)
    assert (store[[3, 1]] != sp.csr_matrix(adata.X[[3, 1]])).nnz == 0


def test_threads_that_open_a_file_at_once(source, adata, cache):
    """Each starts a process, the first of which links it."""
    with ThreadPoolExecutor(4) as pool, pytest.warns(cellring.CellringWarning, match="read in place"):
        stores = list(pool.map(cellring.Store, [source] * 4))
    assert all((store[[3, 1]] != sp.csr_matrix(adata.X[[3, 1]])).nnz == 0 for store in stores)
    assert len(names_of(cache)) == 2


def test_one_warning_at_the_line_that_opens_it(source):
    for opened in (cellring.Store, cellring.Loader):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            opened(source)
        assert [(warning.category, warning.filename) for warning in caught] == [(cellring.CellringWarning, __file__)]
        assert "(cellring.convert)" in str(caught[0].message)


def make_bad(folder: pathlib.Path) -> None:
    """Files that cannot be opened, each for another reason."""
    matrix = sp.random(100, 50, 0.2, "csr", dtype=np.float32, random_state=1)
    anndata.AnnData(matrix).write_h5ad(folder / "good.h5ad")
    data = (folder / "good.h5ad").read_bytes()
    (folder / "text.h5ad").write_text("not a file of cells\n")
    (folder / "empty.h5ad").touch()
    (folder / "truncated.h5ad").write_bytes(data[: len(data) // 2])
    (folder / "signature.h5ad").write_bytes(data[:8])
    anndata.AnnData(matrix.tocsc()).write_h5ad(folder / "by_genes.h5ad")
    shutil.copy(folder / "good.h5ad", folder / "incomplete.h5ad")
    with h5py.File(folder / "incomplete.h5ad", "a") as file:
        del file["X/indices"]
    with h5py.File(folder / "other.h5", "w") as file:
        file["numbers"] = np.arange(3)
    (folder / "directory").mkdir()
    (folder / "empty.zarr").mkdir()
    (folder / "empty.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    with zipfile.ZipFile(folder / "other.zip", "w") as file:
        file.writestr("a", "b")


BAD = {
    "text.h5ad": "not a cellring store",
    "empty.h5ad": "not a cellring store",
    "truncated.h5ad": "is truncated",
    "signature.h5ad": "damaged",
    "by_genes.h5ad": "cannot be linked",
    "incomplete.h5ad": "has no X/indices",
    "other.h5": "neither AnnData nor",
    "directory": "no manifest.json",
    "empty.zarr": "neither AnnData nor",
    "other.zip": "without zarr at its root",
}


def test_errors_are_those_of_linking_in_this_process(tmp_path, cache):
    make_bad(tmp_path)

    def raised(opened: Callable[[], object]) -> tuple[type, str]:
        with pytest.raises(cellring.CellringError) as caught, warnings.catch_warnings():
            warnings.simplefilter("error")
            opened()
        error = _errors.in_python(caught.value)
        return type(error), str(error)

    for name, says in BAD.items():
        path = os.fspath(tmp_path / name)
        kind, sentence = raised(lambda path=path: cellring.Store(path))
        assert kind is cellring.StoreError and says in sentence and path in sentence, (name, sentence)
        assert (kind, sentence) == raised(lambda path=path: _cellring.Store(path, None)), name
        assert raised(lambda path=path: cellring.Loader(path, to="numpy")) == (kind, sentence), name
    assert raised(lambda: cellring.Store(tmp_path / "missing.h5ad"))[0] is cellring.StoreNotFoundError
    assert not cache.exists() or names_of(cache) == [".turn"]


@pytest.mark.parametrize("wrong", ["a file", "nowhere"])
def test_a_cache_that_cannot_be_used(source, tmp_path, monkeypatch, wrong):
    if wrong == "a file":
        (tmp_path / "cache").write_text("in the way")
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.delenv("HOME")
    with pytest.raises(cellring.CellringError) as caught:
        cellring.Store(source)
    with pytest.raises(cellring.CellringError) as expected:
        _cellring.Store(os.fspath(source), None)
    assert isinstance(caught.value, OSError) and str(caught.value) == str(_errors.in_python(expected.value))
    assert (os.fspath(tmp_path / "cache") if wrong == "a file" else "XDG_CACHE_HOME") in str(caught.value)
