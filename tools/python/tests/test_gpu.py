"""Tensors on a GPU; and, by stand-ins for its driver and for torch's events, all that can be shown where there is none."""

from __future__ import annotations

import gc
import json
import os
import pathlib
import subprocess
import sys
import weakref

import on_stand_in
import pytest
from on_gpu import TESTS, missing

import cellring

torch = pytest.importorskip("torch")


@pytest.mark.skipif(missing() is not None, reason=f"needs a GPU: {missing()}")
@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
def test_on_a_gpu(mouse, test):
    test(mouse)


@pytest.fixture(scope="module")
def on_a_stand_in(store, tmp_path_factory) -> dict[str, str]:
    """Why each of the tests against a stand-in for the driver failed; empty if it passed."""
    tests = pathlib.Path(__file__).parent
    folder = tmp_path_factory.mktemp("driver")
    source, library = tests / "stand_in_driver.c", folder / "libcuda.so.1"
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source, "-lpthread"], check=True)
    done = subprocess.run(
        [sys.executable, tests / "on_stand_in.py", store],
        env={**os.environ, "LD_LIBRARY_PATH": os.fspath(folder), "PYTHONPATH": os.path.dirname(os.path.dirname(cellring.__file__))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("test", [test.__name__ for test in on_stand_in.TESTS])
def test_on_a_stand_in(on_a_stand_in, test):
    assert on_a_stand_in[test] == ""


class DelayedEvent:
    """An event on a stream that has not come so far yet."""

    made: list[DelayedEvent] = []

    def __init__(self) -> None:
        self.has_occurred = False
        self.made.append(self)

    def record(self, stream: object) -> None:
        assert stream == "the current stream"

    def query(self) -> bool:
        return self.has_occurred


@pytest.fixture
def delayed_copies(monkeypatch):
    """The events after the copies that are made."""
    monkeypatch.setattr(torch.cuda, "Event", DelayedEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the current stream")
    # The copies themselves need a GPU.
    monkeypatch.setattr(cellring.Minibatch, "_mapped", lambda minibatch, change: object())
    monkeypatch.setattr(DelayedEvent, "made", [])
    yield DelayedEvent.made
    # What is still kept goes with the next copy.
    for event in DelayedEvent.made:
        event.has_occurred = True


def test_memory_of_the_host_is_kept_until_the_copy_is_done(store, delayed_copies):
    sources = []
    for minibatch in cellring.Loader(store, batch_size=100):
        minibatch.to("cuda")
        sources.append(weakref.ref(minibatch.x))
    del minibatch
    gc.collect()
    assert len(DelayedEvent.made) == len(sources) == 10
    assert all(source() is not None for source in sources)
    for event in DelayedEvent.made[:7]:
        event.has_occurred = True
    # The next copy finds out which of those before it are done.
    next(iter(cellring.Loader(store))).to("cuda")
    gc.collect()
    assert [source() is None for source in sources] == [True] * 7 + [False] * 3
    for event in DelayedEvent.made:
        event.has_occurred = True
    next(iter(cellring.Loader(store))).to("cuda")
    gc.collect()
    assert all(source() is None for source in sources)


MOVES = {
    "to": lambda minibatch: minibatch.to("cuda"),
    "to a device": lambda minibatch: minibatch.to(torch.device("cuda", 0)),
    "cuda": lambda minibatch: minibatch.cuda(),
    "cuda with a number": lambda minibatch: minibatch.cuda(torch.device("cuda", 0)),
}


@pytest.mark.parametrize("move", MOVES)
def test_no_keyword_is_needed_for_that(store, delayed_copies, move):
    minibatch = next(iter(cellring.Loader(store)))
    source = weakref.ref(minibatch.x)
    assert MOVES[move](minibatch) is not minibatch
    del minibatch
    gc.collect()
    assert len(delayed_copies) == 1 and source() is not None


def test_a_copy_that_is_waited_for_keeps_nothing(store, delayed_copies):
    for move in (lambda minibatch: minibatch.to("cuda", non_blocking=False), lambda minibatch: minibatch.cuda(non_blocking=False)):
        minibatch = next(iter(cellring.Loader(store)))
        source = weakref.ref(minibatch.x)
        move(minibatch)
        del minibatch
        gc.collect()
        assert delayed_copies == [] and source() is None
