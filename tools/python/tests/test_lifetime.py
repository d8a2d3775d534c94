"""What happens at the edges of a process: signals, forks, threads, the end, and many minibatches."""

from __future__ import annotations

import gc
import itertools
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import cellring


def figures():
    """Resident memory in MB, descriptors, threads."""
    status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024, len(os.listdir("/proc/self/fd")), int(status["Threads"])


def assert_flat(work, rounds, megabytes):
    """Work leaves nothing: a leak adds to memory in every round, and what the allocator keeps in pieces does not.

    So one round that adds less than ``megabytes``, which is far below what a round holds, shows that there is none.
    """
    work()  # It loads what is loaded once.
    seen = [figures_after(work) for _ in range(rounds + 1)]
    grown = min(after[0] - before[0] for before, after in itertools.pairwise(seen))
    assert grown < megabytes and seen[-1][1:] <= seen[0][1:], seen


def figures_after(work):
    work()
    gc.collect()
    return figures()


def test_memory_descriptors_and_threads_stay_flat(mouse):
    """Ten thousand minibatches: kept, dropped, left early, nested, and moved between threads."""
    loader = cellring.Loader(mouse, batch_size=16, fetch_factor=16, to="numpy", obs_columns=[])
    n = 0

    def work():
        nonlocal n
        for _ in range(4):
            kept = []
            for minibatch in loader:
                n += 1
                if n % 3 == 0:
                    kept.append(minibatch.x)
                if n % 500 == 499:
                    break
            nested = (a.shape == b.shape for a in kept[:3] for b in kept[:3])
            assert any(nested)
            thread = threading.Thread(target=lambda arrays: [array.data.sum() for array in arrays], args=(kept,))
            thread.start()
            thread.join()
        loader.close()

    assert_flat(work, 5, megabytes=4)
    assert n > 10_000


def test_loops_within_loops(store):
    """One loader within another, and a generator that is left in the middle."""
    outer, inner = (cellring.Loader(store, to="numpy", seed=seed) for seed in range(2))

    def pairs():
        for first in outer:
            for second in inner:
                yield first.ids[0], second.ids[0]

    generator = pairs()
    seen = [next(generator) for _ in range(40)]
    assert len({first for first, _ in seen}) == 3 and len(set(seen)) == 40
    generator.close()
    assert len(list(outer)) == len(list(inner)) == 16


def test_every_thread_gets_other_minibatches(store):
    loader = cellring.Loader(store, batch_size=10, to="numpy")
    iterator, seen, ended, lock = iter(loader), [], [], threading.Lock()

    def take():
        for minibatch in iterator:
            with lock:
                seen.extend(minibatch.ids.tolist())
        with lock:
            ended.append(True)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1000)) and len(ended) == 8


def test_python_goes_on_while_a_minibatch_is_waited_for(mouse):
    """The interpreter's lock is given up while a minibatch is waited for: another thread counts meanwhile."""
    loader = cellring.Loader(mouse, fetch_factor=200, to="numpy")
    count = 0
    stop = threading.Event()

    def work():
        nonlocal count
        while not stop.is_set():
            count += 1
            time.sleep(0)

    def counted_meanwhile():
        iterator = iter(loader)
        before = count
        next(iterator)
        return count > before

    thread = threading.Thread(target=work)
    interval = sys.getswitchinterval()
    # Nothing takes the lock from a thread for an hour, so the other one has it only if this one gives it up.
    sys.setswitchinterval(3600)
    try:
        thread.start()
        # How soon the other one is woken is up to the kernel, so it has more than one chance.
        assert any(counted_meanwhile() for _ in range(1000))
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()


def test_an_exception_in_the_loop_leaves_nothing_behind(store):
    gc.collect()
    before = figures()[2]
    # Neither of them has to be collected to be gone.
    next(iter(cellring.Loader(store, to="numpy")))
    loader = cellring.Loader(store, to="numpy")
    with pytest.raises(ZeroDivisionError):
        for _ in loader:
            1 / 0
    del loader
    for _ in range(100):
        # The kernel takes a moment to forget a thread that has ended.
        if figures()[2] <= before:
            break
        time.sleep(0.02)
    assert figures()[2] <= before


END = """
import sys, cellring
loader = cellring.Loader(sys.argv[1], to="numpy")
iterator = iter(loader)
kept = [next(iterator), next(iterator)]
other = iter(cellring.Loader(sys.argv[1], to="numpy"))
next(other)
print(kept[0].n_obs)
"""


def test_the_interpreter_ends_during_an_epoch(store, run_python):
    assert run_python(END, store) == "64\n"
    assert run_python(END + "sys.exit(0)\n", store) == "64\n"
    thread = END + "import threading\nthreading.Thread(target=lambda: list(iterator), daemon=True).start()\n"
    assert run_python(thread, store) == "64\n"


FORK = """
import os, sys, cellring
loader = cellring.Loader(sys.argv[1], to="numpy")
whole = [m.ids.tolist() for m in loader]
loader.set_epoch(0)
iterator = iter(loader)
first = next(iterator)
pid = os.fork()
if pid == 0:
    try:
        next(iterator)
        os._exit(3)
    except cellring.StoppedError as error:
        assert "fork" in str(error), error
    loader.set_epoch(0)
    again = [m.ids.tolist() for m in loader]
    assert first.x.data.sum() > 0
    del iterator, loader, first
    os._exit(0 if again == whole else 4)
_, status = os.waitpid(pid, 0)
assert status == 0, status
assert [first.ids.tolist()] + [m.ids.tolist() for m in iterator] == whole
print("right")
"""


def test_a_fork_in_the_middle_of_an_epoch(store, run_python):
    assert run_python(FORK, store) == "right\n"


PRESS = """
import os, signal, sys, threading, cellring, numpy
# Imported when they are first asked for, which is not to be interrupted here.
cellring.Loader, cellring.Store
done = threading.Event()

def press():
    # Again and again, as people do: Python drops what is raised within a finaliser.
    while not done.wait(0.2):
        os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
"""

INTERRUPT = PRESS + """
loader = cellring.Loader(sys.argv[1], to="numpy", block_size=1, fetch_factor=100000, batch_size=1000)
try:
    while True:
        for minibatch in loader:
            pass
except KeyboardInterrupt:
    done.set()
    print("interrupted")
assert len(list(loader)) == len(loader)
"""


def test_ctrl_c_ends_a_wait_and_the_loader_is_of_use_afterwards(mouse, run_python):
    assert run_python(INTERRUPT, mouse) == "interrupted\n"


INTERRUPT_CELLS = PRESS + """
import numpy
store, cells = cellring.Store(sys.argv[1]), numpy.tile(numpy.arange(10_000), 10)
try:
    while True:
        store[cells]
except KeyboardInterrupt:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    done.set()
    print("interrupted")
# They end with what they have begun.
for thread in threading.enumerate():
    if thread.name.startswith("cellring-rows"):
        thread.join()
assert store[cells[:5000]].shape == (5000, store.n_vars)
"""


def test_ctrl_c_ends_the_reading_of_many_cells(mouse, run_python):
    assert run_python(INTERRUPT_CELLS, mouse) == "interrupted\n"


def test_a_store_that_is_removed_meanwhile(store, tmp_path):
    copied = tmp_path / "copy.cellring"
    shutil.copytree(store, copied)
    loader = cellring.Loader(copied, to="numpy")
    iterator = iter(loader)
    next(iterator)
    shutil.rmtree(copied)
    # Its files are open.
    assert len(list(iterator)) == 15
    loader.close()
    with pytest.raises(cellring.StoreError):
        next(iter(loader))


def test_a_store_that_is_damaged(store, tmp_path):
    copied = tmp_path / "damaged.cellring"
    shutil.copytree(store, copied)
    shard = next(path for path in sorted(copied.rglob("*.shard")) + sorted(copied.rglob("shard*")) if path.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    loader = cellring.Loader(copied, to="numpy", matrices=["layers/counts", "obsm/X_pca"])
    with pytest.raises(cellring.DamagedError) as caught:
        list(loader)
    assert "damaged.cellring" in str(caught.value)


def test_a_closed_loader_opens_again(store):
    loader = cellring.Loader(store, to="numpy")
    iterator = iter(loader)
    next(iterator)
    loader.close()
    with pytest.raises(cellring.StoppedError, match="closed before its end"):
        next(iterator)
    assert loader.state_dict()["history"] == [1, 1]
    assert len(list(loader)) == 16


CYCLE = """
import gc, sys, cellring
loader = cellring.Loader(sys.argv[1], to="numpy")


class Holder:
    pass


gc.disable()
holder = Holder()
holder.iterator = iter(loader)
next(holder.iterator)
holder.itself = holder
del holder
# The collector finds the iterator while it is being closed.
gc.set_threshold(gc.get_count()[0] + 2)
gc.enable()
loader.close()
loader.iterator = iter(loader)
next(loader.iterator)
del loader
gc.collect()
print("closed")
"""


def test_the_garbage_collector_may_come_at_any_time(store, run_python):
    assert run_python(CYCLE, store, timeout=60) == "closed\n"


def test_a_store_is_closed_while_it_is_read_for_the_first_time(store):
    for _ in range(20):
        opened = cellring.Store(store)
        errors = []

        def read():
            try:
                opened[[1, 2, 3]]
            except cellring.StoppedError as error:
                errors.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        opened.close()
        thread.join(timeout=60)
        assert not thread.is_alive()
        assert opened[[1, 2, 3]].shape == (3, 1000)


def test_directories_may_be_changed(store, tmp_path, monkeypatch):
    monkeypatch.chdir(pathlib.Path(store).parent)
    loader = cellring.Loader(pathlib.Path(store).name, to="numpy")
    copied = pickle.dumps(loader)
    monkeypatch.chdir(tmp_path)
    assert len(list(loader)) == len(list(pickle.loads(copied))) == 16
