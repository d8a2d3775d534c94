"""Stores in other processes and threads: copies, forks, workers."""

from __future__ import annotations

import copy
import pathlib
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from conftest import N_OBS, same

import cellring


def test_a_copy_in_another_process(opened, store, adata, run_python, tmp_path, monkeypatch):
    for other in (pickle.loads(pickle.dumps(opened)), copy.deepcopy(opened), copy.copy(opened)):
        assert isinstance(other, cellring.Store) and other.shape == opened.shape
        same(other[[3, 1]], adata.X[[3, 1]])
    script = """
import pickle, sys
store = pickle.load(open(sys.argv[1], "rb"))
print(store[[3, 1]].sum())
"""
    # By a relative path, from another working directory.
    monkeypatch.chdir(pathlib.Path(store).parent)
    with open(tmp_path / "pickled", "wb") as file:
        pickle.dump(cellring.Store(pathlib.Path(store).name), file)
    monkeypatch.chdir(tmp_path)
    assert float(run_python(script, tmp_path / "pickled")) == adata.X[[3, 1]].sum()


FORK = """
import os, sys
import numpy as np
import cellring

store = cellring.Store(sys.argv[1])
table = store.obs
# Its reader has threads, which are not there after a fork; one of layers is first opened in the children.
before = store[[5, 3]].sum()

def in_child(number):
    assert store.shape == (1000, 1000)
    assert store[[5, 3]].sum() == before
    assert store.gather_rows([5, 3], "layers/counts").sum() == before
    assert len(store.obs.to_pandas()) == 1000 and len(table.to_pandas()) == 1000
    if number == 0:
        # And in a child of the child.
        child = os.fork()
        if child == 0:
            os._exit(0 if store[[5, 3]].sum() == before else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

for number in range(3):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            in_child(number)
            code = 0
        finally:
            os._exit(code)
    assert store[[5, 3]].sum() == before
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

# A child that ends as Python does, with the store still there.
child = os.fork()
if child == 0:
    store[[1]]
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print("done")
"""


def test_after_a_fork(run_python, store):
    # Python warns of forks of processes with threads: it is what is tested here.
    assert run_python("import warnings; warnings.simplefilter('ignore')\n" + FORK, store) == "done\n"


FORK_IN_USE = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")
import cellring

store = cellring.Store(sys.argv[1])
expected = store[:].sum()
stop = threading.Event()

def read():
    while not stop.is_set():
        assert store[:].sum() == expected

threads = [threading.Thread(target=read) for _ in range(2)]
for thread in threads:
    thread.start()
codes = []
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(0 if store[[1, 2]].shape == (2, 1000) else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
for thread in threads:
    thread.join()
print(codes)
"""


def test_after_a_fork_while_other_threads_read(run_python, store):
    assert run_python(FORK_IN_USE, store) == f"{[0] * 10}\n"


def test_multiprocessing(run_python, store, adata, tmp_path):
    # What workers call must be in a file.
    (tmp_path / "reading.py").write_text("def read(task):\n    store, ids = task\n    return float(store[ids].sum())\n")
    script = """
import multiprocessing, sys
sys.path.insert(0, sys.argv[2])
import cellring, reading
store = cellring.Store(sys.argv[1])
store[0]
for method in ("spawn", "forkserver"):
    with multiprocessing.get_context(method).Pool(2) as pool:
        print(*pool.map(reading.read, [(store, [1, 2]), (store, [3, 4])]))
"""
    expected = [float(adata.X[ids].sum()) for ids in ([1, 2], [3, 4])]
    said = run_python(script, store, tmp_path).splitlines()
    assert [[float(part) for part in line.split()] for line in said] == [expected] * 2


def test_eight_threads_at_once(store, adata):
    """Also where all of them are the first to read."""
    for _ in range(5):
        opened = cellring.Store(store)
        sets = [np.random.default_rng(i).integers(0, N_OBS, 500) for i in range(40)]

        def read(ids: np.ndarray, opened: cellring.Store = opened) -> tuple:
            return opened[ids], opened.gather_rows(ids, "obsm/X_pca"), opened.obs.to_pandas()

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(read, sets))
        for ids, (matrix, pca, obs) in zip(sets, found, strict=True):
            same(matrix, adata.X[ids])
            np.testing.assert_array_equal(pca, adata.obsm["X_pca"][ids])
            assert list(obs.index) == list(adata.obs_names)


def test_threads_that_close_meanwhile(store, adata):
    opened = cellring.Store(store)

    def read(number: int) -> bool:
        if number % 10 == 0:
            opened.close()
            return True
        return (opened[[number]] != adata.X[[number]]).nnz == 0

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(200)))
