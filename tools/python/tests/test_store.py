"""Stores: what they say of themselves, and single cells of them."""

from __future__ import annotations

import copy
import os
import pathlib
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import MOUSE

import cellring

N_OBS = 1000


@pytest.fixture
def opened(store) -> cellring.Store:
    return cellring.Store(store)


def same(found: sp.csr_matrix, expected: sp.csr_matrix) -> None:
    """Equal in every value, and canonical."""
    assert isinstance(found, sp.csr_matrix)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert found.indices.dtype == found.indptr.dtype
    assert found.has_sorted_indices and found.has_canonical_format
    # What was said to be sorted is.
    again = sp.csr_matrix((found.data, found.indices, found.indptr), shape=found.shape)
    assert again.has_canonical_format
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.data, expected.data)


def test_what_a_store_says_of_itself(opened, store, adata):
    assert opened.shape == (N_OBS, 1000) and (opened.n_obs, opened.n_vars) == opened.shape and len(opened) == N_OBS
    assert opened.matrices == ["X", "layers/counts", "obsm/X_pca"]
    assert opened.dtype == np.float32
    assert opened.path == store
    assert list(opened.obs_names) == list(adata.obs_names) and list(opened.var_names) == list(adata.var_names)
    assert repr(opened) == f"Store({store!r}, 1000 cells x 1000 genes, matrices: X, layers/counts, obsm/X_pca)"
    assert repr(opened.obs).startswith("Table(1000 rows, columns: cell_type, donor, ")


@pytest.mark.parametrize("as_what", [str, pathlib.Path, os.fsencode, lambda path: cellring.Store(path)])
def test_paths_of_all_kinds(store, as_what):
    assert cellring.Store(as_what(store)).shape == (N_OBS, 1000)


@pytest.mark.parametrize("path", [None, 3, ["a"], 1.5])
def test_what_is_no_path(path):
    with pytest.raises(cellring.InputError, match="expected a path"):
        cellring.Store(path)


IDS = {
    "int": 7,
    "negative int": -1,
    "numpy int": np.int16(7),
    "numpy uint64": np.uint64(999),
    "slice": slice(3, 50),
    "slice with a step": slice(10, 900, 7),
    "slice backwards": slice(None, None, -3),
    "slice from the end": slice(-5, None),
    "slice that ends behind the last": slice(990, 5000),
    "slice of nothing": slice(50, 3),
    "range": range(5, 500, 9),
    "range backwards": range(30, 2, -4),
    "list": [5, 3, 3, 999, 0],
    "negative numbers": [-1, -1000, 4],
    "list of numpy ints": [np.int64(3), np.uint8(2)],
    "empty list": [],
    "empty array": np.array([], dtype=np.int32),
    "all": np.arange(N_OBS),
    "shuffled": np.random.default_rng(0).permutation(N_OBS),
    "repeated": np.random.default_rng(1).integers(0, N_OBS, 3000),
    "mask": np.arange(N_OBS) % 3 == 0,
    "mask of nothing": np.zeros(N_OBS, dtype=bool),
    "list of bools": [i % 5 == 1 for i in range(N_OBS)],
    "series": pd.Series([4, 1, 1]),
    "series of bools": pd.Series(np.arange(N_OBS) % 7 == 0),
    "nullable integers": pd.array([4, 1], dtype="Int64"),
    "nullable booleans": pd.array(np.arange(N_OBS) % 7 == 0, dtype="boolean"),
    "objects": np.array([4, 1, 1], dtype=object),
    "strided": np.arange(N_OBS)[::-7],
    "big-endian": np.array([4, 1, 1], dtype=">i8"),
    "read-only": np.broadcast_to(np.int64(5), (4,)),
}


@pytest.mark.parametrize("name", IDS)
def test_cells_by_ids_of_every_kind(opened, adata, name):
    ids = IDS[name]
    at = [int(ids)] if np.ndim(ids) == 0 and not isinstance(ids, slice) else ids
    at = np.arange(N_OBS)[at if isinstance(at, slice) else np.asarray(list(at), dtype=None if len(at) else int)]
    before = copy.copy(ids)
    same(opened[ids], adata.X[at])
    np.testing.assert_array_equal(np.asarray(ids), np.asarray(before))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_ids_of_every_width(opened, adata, dtype):
    ids = np.array([100, 3, 3, 0], dtype=dtype)
    same(opened[ids], adata.X[[100, 3, 3, 0]])
    if dtype.startswith("i"):
        same(opened[np.array([-1, 5, -128], dtype=dtype)], adata.X[[-1, 5, -128]])


OUT_OF_RANGE = {
    "first behind": 1000,
    "first before": -1001,
    "in a list": [3, 1000],
    "in a range": range(990, 1001),
    "uint64": np.array([2**64 - 1], dtype=np.uint64),
    "uint8 of too many": np.array([1, 2**63], dtype=np.uint64),
    "larger than any integer": 2**70,
    "smaller than any integer": [-(2**70)],
    "of 2**63": [2**63],
    "mask too short": np.ones(999, dtype=bool),
    "mask too long": np.ones(1001, dtype=bool),
    "mask of none": np.zeros(0, dtype=bool),
    "mask of two dimensions": np.ones((N_OBS, 1), dtype=bool),
    "one bool": True,
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_cells_that_do_not_exist(opened, name):
    with pytest.raises(cellring.CellIndexError) as caught:
        opened[OUT_OF_RANGE[name]]
    assert isinstance(caught.value, IndexError)
    assert opened.path in str(caught.value) and "1000" in str(caught.value)


WRONG = {
    "float": 1.0,
    "floats": [1.0, 2.0],
    "None": None,
    "text": "cell1",
    "texts": ["cell1", "cell2"],
    "bytes": b"1",
    "mixed": [1, "a"],
    "with None": [1, None],
    "two dimensions": [[1, 2]],
    "ragged": [[1, 2], [3]],
    "set": {1, 2},
    "dict": {1: 2},
    "generator": (i for i in range(3)),
    "ellipsis": ...,
    "complex": [1j],
    "dates": np.array(["2020-01-01"], dtype="M8[D]"),
    "masked": np.ma.array([1, 2, 3], mask=[False, True, False]),
    "missing": pd.array([1, None], dtype="Int64"),
    "mask with a missing value": pd.array([None] + [True] * (N_OBS - 1), dtype="boolean"),
    "cell and gene": (1, 2),
    "cells and genes": (slice(0, 3), slice(0, 3)),
    "slice of floats": slice(0.5, 3),
    "slice of texts": slice("a", "b"),
    "slice that does not move": slice(0, 5, 0),
    "empty of two dimensions": np.zeros((3, 0), dtype=int),
    "sparse": sp.csr_matrix(np.eye(3)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_cells(opened, name):
    with pytest.raises(cellring.InputError) as caught:
        opened[WRONG[name]]
    assert isinstance(caught.value, ValueError) and not isinstance(caught.value, IndexError)
    assert opened.path in str(caught.value)


def test_genes_are_not_taken_for_cells(opened):
    """A pair is what numpy takes for row and column; a list of two cells is not meant."""
    with pytest.raises(cellring.InputError, match=r"store\[cells\]\[:, genes\]"):
        opened[3, 5]
    assert opened.gather_rows((3, 5)).shape == (2, 1000)


def test_iterating_gives_each_cell(opened):
    shapes = [row.shape for row in opened]
    assert shapes == [(1, 1000)] * N_OBS


def test_a_result_is_ones_own(opened, adata):
    """Whatever is done with it, in place or not, later reads are as before."""
    ids = [5, 3, 3, 800]
    expected = adata.X[ids]
    found = opened[ids]
    # Two rows of the same cell share nothing.
    found.data[: found.indptr[1]] = -1
    np.testing.assert_array_equal(found[1:].toarray(), expected[1:].toarray())
    found.data *= 2
    found.indices[:] = 0
    same(opened[ids], expected)
    zeros = opened[ids]
    zeros.data[::2] = 0
    zeros.eliminate_zeros()
    assert zeros.nnz == expected.nnz // 2
    changed = opened[ids]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changed[0, 0] = 5
    changed.sum_duplicates()
    changed.sort_indices()
    same(opened[ids], expected)


def test_what_people_do_with_a_result(opened, adata):
    torch = pytest.importorskip("torch")
    found, expected = opened[:], adata.X
    np.testing.assert_array_equal(found[10:20, 5:].toarray(), expected[10:20, 5:].toarray())
    np.testing.assert_array_equal(found[[3, 1, 1]].toarray(), expected[[3, 1, 1]].toarray())
    np.testing.assert_array_equal(found[:, [7, 2]].toarray(), expected[:, [7, 2]].toarray())
    np.testing.assert_allclose(found.sum(axis=0), expected.sum(axis=0))
    np.testing.assert_allclose(found.mean(axis=1), expected.mean(axis=1))
    np.testing.assert_allclose((found @ found.T).toarray(), (expected @ expected.T).toarray())
    np.testing.assert_allclose(found.multiply(2.0).log1p().toarray(), expected.multiply(2.0).log1p().toarray())
    assert (found != expected).nnz == 0 and (found - expected).nnz == 0
    same(sp.vstack([found[:4], found[4:]], format="csr"), expected)
    same(found.T.tocsr().T.tocsr(), expected)
    # As scanpy normalises: in place, by way of the arrays.
    totals = np.asarray(found.sum(axis=1)).ravel()
    scale = sp.diags(1e4 / np.maximum(totals, 1)).astype(np.float32)
    normalised = scale @ found
    np.log1p(normalised.data, out=normalised.data)
    assert np.isfinite(normalised.data).all()
    tensor = torch.from_numpy(found.data)
    tensor.mul_(3)
    assert found.data[0] == expected.data[0] * 3
    same(opened[:], expected)


def test_results_outlive_the_store(store, adata):
    opened = cellring.Store(store)
    kept = [opened[[i, 999 - i]] for i in range(200)]
    opened.close()
    del opened
    for i, found in enumerate(kept):
        same(found, adata.X[[i, 999 - i]])


def test_a_store_that_was_closed_goes_on(store, adata):
    with cellring.Store(store) as opened:
        opened[0]
    same(opened[[1]], adata.X[[1]])
    opened.close()
    opened.close()
    same(opened[[2]], adata.X[[2]])


def test_more_cells_than_are_read_at_once(mouse):
    """Several pieces are put together: by their number, and by their size."""
    adata = anndata.read_h5ad(MOUSE)
    opened = cellring.Store(mouse)
    ids = np.random.default_rng(3).integers(0, 10_000, 20_000)
    same(opened[ids], adata.X[ids])
    same(opened[::-1], adata.X[::-1])
    same(opened[np.repeat(0, 8193)], adata.X[np.repeat(0, 8193)])


def test_many_cells_for_several_threads_at_once(mouse):
    adata = anndata.read_h5ad(MOUSE)
    opened = cellring.Store(mouse)
    sets = [np.random.default_rng(i).integers(0, 10_000, 3000 + i) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for ids, found in zip(sets, pool.map(opened.__getitem__, sets), strict=True):
            same(found, adata.X[ids])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cellring-rows")]


def test_cells_that_are_too_large_for_one_piece(tmp_path):
    """A thousand full rows of 6,000 float64 need more than a read may take; so do fewer, and more by several threads."""
    rng = np.random.default_rng(0)
    dense = rng.integers(1, 1000, (50, 6000)).astype(np.float64)
    adata = anndata.AnnData(X=sp.csr_matrix(dense))
    adata.obsm["wide"] = dense
    cellring.convert(adata, tmp_path / "s", x=True, obsm=["wide"])
    opened = cellring.Store(tmp_path / "s")
    with pytest.raises(cellring.MemoryBudgetError):
        opened._raw.rows(np.zeros(1024, dtype=np.int64), "X", False)
    for n in (1500, 3000):
        ids = rng.integers(0, 50, n)
        found = opened[ids]
        assert found.nnz == n * 6000
        np.testing.assert_array_equal(found.data.reshape(n, 6000), dense[ids])
        del found
        np.testing.assert_array_equal(opened.gather_rows(ids, "obsm/wide"), dense[ids])


@pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"])
@pytest.mark.parametrize("encoding", ["packed", "raw"])
def test_values_of_every_type(tmp_path, dtype, encoding):
    rng = np.random.default_rng(0)
    dense = ((rng.random((30, 20)) < 0.3) * rng.integers(1, 100, (30, 20))).astype(dtype)
    dense[3] = 0
    if dtype != "bool":
        limits = np.finfo(dtype) if dtype.startswith("f") else np.iinfo(dtype)
        dense[0, :2] = limits.min, limits.max
    cellring.convert(anndata.AnnData(X=sp.csr_matrix(dense)), tmp_path / "s", encoding=encoding)
    opened = cellring.Store(tmp_path / "s")
    assert opened.dtype == dtype
    same(opened[:], sp.csr_matrix(dense))
    same(opened[[]], sp.csr_matrix(dense)[:0])


def test_layers_and_obsm(opened, adata):
    ids = [9, -1, 9]
    same(opened.gather_rows(ids, "layers/counts"), adata.layers["counts"][ids])
    found = opened.gather_rows(ids, "obsm/X_pca")
    assert isinstance(found, np.ndarray) and found.dtype == np.float32 and found.flags.writeable
    np.testing.assert_array_equal(found, adata.obsm["X_pca"][ids])
    found[:] = 0
    np.testing.assert_array_equal(opened.gather_rows(ids, "obsm/X_pca"), adata.obsm["X_pca"][ids])
    assert opened.gather_rows([], "obsm/X_pca").shape == (0, 8)
    same(opened.gather_rows(ids), adata.X[ids])


def test_a_matrix_that_is_not_there(opened):
    for ask in (lambda: opened.gather_rows(0, "layers/count"), lambda: opened.to_anndata(0, ["layers/count"])):
        with pytest.raises(cellring.NotFoundError, match="no matrix 'layers/count'; did you mean 'layers/counts'"):
            ask()


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


def test_a_relative_path_when_the_working_directory_changes(store, adata, monkeypatch, tmp_path):
    monkeypatch.chdir(pathlib.Path(store).parent)
    opened = cellring.Store(pathlib.Path(store).name)
    monkeypatch.chdir(tmp_path)
    same(opened[[3]], adata.X[[3]])
    same(opened.gather_rows([3], "layers/counts"), adata.layers["counts"][[3]])


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


ONE_COLUMN = """
import os, sys
import anndata, numpy as np, pandas as pd, scipy.sparse
import cellring

n, width = 100_000, 30
obs = pd.DataFrame({f"c{k}": np.arange(n) + k / 2 for k in range(width)}, index=[str(k) for k in range(n)])
cellring.convert(anndata.AnnData(scipy.sparse.csr_matrix((n, 3), dtype=np.float32), obs=obs), sys.argv[1], progress=False)
del obs
frame = cellring.Store(sys.argv[1]).obs

def reset():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

def peak():
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM:")).split()[1]) * 1024

reset()
before = peak()
values = frame._raw.column(6)["values"]
grown = peak() - before
assert np.asarray(values)[7] == 9.5, np.asarray(values)[:9]
# The column has 0.8 MB, the table 24.
assert grown < 8e6, grown
print("fits")
"""


MANY = """
import resource, sys
import cellring

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
stores = [cellring.Store(sys.argv[1]) for _ in range(100)]
shapes = {store.shape for store in stores}
print(len(stores), len(shapes), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_many_stores_raise_the_limit_on_open_files(run_python, mouse):
    n_stores, n_shapes, limit = map(int, run_python(MANY, mouse).split())
    assert (n_stores, n_shapes) == (100, 1) and limit > 300


def test_one_column_of_a_wide_table_takes_its_own_memory(run_python, tmp_path):
    pytest.importorskip("anndata")
    assert run_python(ONE_COLUMN, tmp_path / "s") == "fits\n"


def test_many_results_are_kept(mouse):
    """What is kept keeps no buffer of more than its own size."""
    opened = cellring.Store(mouse)
    opened[0]

    def resident() -> int:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    before = resident()
    kept = [opened[i] for i in range(5000)]
    assert sum(matrix.nnz for matrix in kept) > 5000
    assert resident() - before < 100e6


# As an AnnData.


def equal(found: anndata.AnnData, expected: anndata.AnnData, ids: object) -> None:
    """Equal to these cells, with the categories of all."""
    same(found.X, sp.csr_matrix(expected.X)[ids])
    pd.testing.assert_frame_equal(found.obs, expected.obs.iloc[ids])
    pd.testing.assert_frame_equal(found.var, expected.var)


def test_the_whole_as_an_anndata(opened, adata):
    found = opened.to_anndata()
    equal(found, adata, slice(None))
    assert [name for name in found.layers if name is not None] == ["counts"] and list(found.obsm) == ["X_pca"]
    same(found.layers["counts"], adata.layers["counts"])
    np.testing.assert_array_equal(found.obsm["X_pca"], adata.obsm["X_pca"])
    assert found.raw is None
    found.X.data[:] = 0
    found.obs["donor"] = "x"
    equal(opened.to_anndata(), adata, slice(None))


def test_the_whole_is_what_export_writes(opened, tmp_path):
    cellring.export(opened, tmp_path / "x.h5ad")
    exported, found = anndata.read_h5ad(tmp_path / "x.h5ad"), opened.to_anndata()
    equal(found, exported, slice(None))
    same(found.layers["counts"], exported.layers["counts"])
    np.testing.assert_array_equal(found.obsm["X_pca"], exported.obsm["X_pca"])


@pytest.mark.parametrize("ids", [5, -1, [9, 2, 700], [], slice(10, 400, 3), np.arange(N_OBS) % 2 == 0])
def test_some_cells_as_an_anndata(opened, adata, ids):
    at = np.atleast_1d(np.arange(N_OBS)[ids]).astype(int)
    found = opened.to_anndata(ids)
    equal(found, adata, at)
    np.testing.assert_array_equal(found.obsm["X_pca"], adata.obsm["X_pca"][at])
    assert opened.to_anndata(ids, ["X"]).obsm.keys() == set()


def test_cells_repeated_in_an_anndata(opened, adata):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        equal(opened.to_anndata([3, 3, 1]), adata, [3, 3, 1])


def test_some_matrices_as_an_anndata(opened, adata):
    found = opened.to_anndata([1, 2], "obsm/X_pca")
    assert found.X is None and found.shape == (2, 1000)
    np.testing.assert_array_equal(found.obsm["X_pca"], adata.obsm["X_pca"][[1, 2]])


def test_raw_and_layers_without_x(tmp_path):
    """raw has other genes; without X the first layer is the matrix of the store, and X."""
    rng = np.random.default_rng(0)
    full = anndata.AnnData(X=sp.csr_matrix(rng.integers(0, 3, (20, 30)).astype(np.int32)))
    full.var["long"] = pd.Categorical(["a", "b"] * 15)
    adata = full[:, ::3].copy()
    adata.X = adata.X.astype(np.float32)
    adata.layers["twice"] = adata.X * 2
    adata.raw = full
    cellring.convert(adata, tmp_path / "all", x=True, layer="twice", raw=True)
    found = cellring.Store(tmp_path / "all").to_anndata([5, 2])
    equal(found, adata, [5, 2])
    same(found.layers["twice"], adata.layers["twice"][[5, 2]])
    same(found.raw.X, full.X[[5, 2]])
    pd.testing.assert_frame_equal(found.raw.var, full.var)
    assert found.raw.shape == (2, 30)

    cellring.convert(adata, tmp_path / "some", layer="twice", raw=True)
    opened = cellring.Store(tmp_path / "some")
    assert opened.matrices == ["layers/twice", "raw/X"]
    found = opened.to_anndata()
    same(found.X, adata.layers["twice"])
    same(found.raw.X, full.X)

    cellring.convert(adata, tmp_path / "raw", raw=True)
    found = cellring.Store(tmp_path / "raw").to_anndata()
    same(found.X, full.X)
    pd.testing.assert_frame_equal(found.var, full.var)


def test_order_of_cells(tmp_path, source, adata):
    """Shuffled cells keep their rows of every table."""
    cellring.convert(source, tmp_path / "s", shuffle=3, obsm="X_pca")
    opened = cellring.Store(tmp_path / "s")
    names = list(opened.obs_names)
    assert names != list(adata.obs_names)
    order = [int(name.removeprefix("cell")) for name in names]
    equal(opened.to_anndata(), adata[order].copy(), slice(None))


# With scDataset.


def test_scdataset(mouse):
    """A store is a collection of scDataset's: each cell comes once in each epoch, in another order."""
    scdataset = pytest.importorskip("scdataset")
    expected = anndata.read_h5ad(MOUSE).X
    store = cellring.Store(mouse)
    data = scdataset.scDataset(store, scdataset.BlockShuffling(block_size=8), batch_size=64, fetch_factor=8)
    totals = np.asarray(expected.sum(axis=1)).ravel()
    orders = []
    for _ in range(3):
        sizes, sums, n_vars = [], [], set()
        for minibatch in data:
            sizes.append(minibatch.shape[0])
            n_vars.add(minibatch.shape[1])
            sums.append(np.asarray(minibatch.sum(axis=1)).ravel())
        assert sum(sizes) == 10_000 and sizes[0] == 64 and n_vars == {1000}
        order = np.concatenate(sums)
        orders.append(order)
        np.testing.assert_allclose(np.sort(order), np.sort(totals), rtol=1e-5)
    assert not np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[1], orders[2])


def test_scdataset_gets_the_right_cells(store, adata):
    """In order, and told which cells they are."""
    scdataset = pytest.importorskip("scdataset")
    data = scdataset.scDataset(cellring.Store(store), scdataset.Streaming(), batch_size=50, fetch_factor=4)
    at = 0
    for minibatch in data:
        same(sp.csr_matrix(minibatch), adata.X[at : at + 50])
        at += 50
    assert at == N_OBS


# Errors, and what is imported.


def test_errors_of_paths(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError) as caught:
        cellring.Store(missing)
    assert isinstance(caught.value, cellring.StoreNotFoundError) and str(missing) in str(caught.value)
    with pytest.raises(cellring.StoreError, match="it has no manifest.json"):
        cellring.Store(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="a store is a directory"):
        cellring.Store(tmp_path / "file")


def test_a_damaged_store(tmp_path, source):
    cellring.convert(source, tmp_path / "s")
    shard = next(path for path in sorted((tmp_path / "s").iterdir()) if path.name.startswith("shard"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 0xFF
    shard.write_bytes(content)
    opened = cellring.Store(tmp_path / "s")
    # In one piece, and by several threads, of which each may be the first to find it.
    for ids in (slice(None), np.tile(np.arange(N_OBS), 5)):
        with pytest.raises(cellring.DamagedError) as caught:
            opened[ids]
        assert shard.name in str(caught.value)


CLASSES = {
    "ArgumentError": (cellring.InputError, ValueError, TypeError),
    "CellIndexError": (cellring.InputError, ValueError, IndexError),
    "CellringError": (Exception,),
    "CellringWarning": (UserWarning,),
    "ChangedError": (cellring.StoreError, OSError),
    "CommandError": (RuntimeError,),
    "DamagedError": (cellring.StoreError, OSError),
    "InputError": (ValueError,),
    "InternalError": (RuntimeError,),
    "MemoryBudgetError": (MemoryError,),
    "NotFoundError": (cellring.InputError, ValueError, KeyError),
    "ResumeError": (cellring.InputError, ValueError),
    "StoppedError": (RuntimeError,),
    "StoreError": (OSError,),
    "StoreExistsError": (cellring.StoreError, FileExistsError),
    "StoreNotFoundError": (cellring.StoreError, FileNotFoundError),
}


def test_a_store_that_was_replaced_is_not_damaged(tmp_path, adata):
    path = tmp_path / "s"
    cellring.convert(adata[:300].copy(), path)
    opened, loader = cellring.Store(path), cellring.Loader(path, to="numpy")
    cellring.convert(adata[:100].copy(), path, force=True)
    for ask in (lambda: opened[:5], lambda: next(iter(loader)), lambda: loader.rows([1])):
        with pytest.raises(cellring.StoreError, match="s: the store was replaced after it was opened here: open it again") as caught:
            ask()
        assert not isinstance(caught.value, cellring.DamagedError)
    assert cellring.Store(path).n_obs == 100


def test_a_store_with_rows_as_long_that_takes_its_place(tmp_path):
    """Other values, the same everything else: the files are others."""
    path = tmp_path / "s"
    adata = anndata.AnnData(sp.random(300, 50, 0.3, "csr", dtype=np.float32, random_state=1))
    adata.obsm["X_pca"] = np.random.default_rng(0).random((300, 4), dtype=np.float32)
    cellring.convert(adata, path, x=True, obsm=["X_pca"])
    opened, loader, begun = cellring.Store(path), cellring.Loader(path, to="numpy"), cellring.Store(path)
    same(begun[:], adata.X)
    other = adata.copy()
    other.X.data *= 2
    other.obsm["X_pca"] *= 2
    cellring.convert(other, path, x=True, obsm=["X_pca"], force=True)
    pca = lambda: begun.gather_rows([1], "obsm/X_pca")  # noqa: E731
    for ask in (lambda: opened[:5], lambda: next(iter(loader)), lambda: loader.rows([1]), pca):
        with pytest.raises(cellring.StoreError, match="s: the store was replaced after it was opened here: open it again"):
            ask()
    # What was open stays as it was.
    same(begun[:], adata.X)
    same(cellring.Store(path)[:], other.X)


def test_classes_of_errors():
    from cellring import _errors

    defined = {name for name, value in vars(_errors).items() if isinstance(value, type)}
    assert defined == set(CLASSES) and defined <= set(cellring.__all__)
    for name, bases in CLASSES.items():
        error = getattr(cellring, name)
        assert issubclass(error, bases) and all(issubclass(error, base) for base in bases)
        assert issubclass(error, cellring.CellringError) or error is cellring.CellringWarning
        assert error.__doc__
        with pytest.raises(bases[-1]) as caught:
            raise error("one sentence: 'x'")
        assert str(caught.value) == "one sentence: 'x'"
        again = pickle.loads(pickle.dumps(caught.value))
        assert type(again) is error and str(again) == str(caught.value)


def test_importing_is_light(run_python, store):
    script = """
import sys
before = set(sys.modules)
import cellring
heavy = {"numpy", "torch", "pandas", "anndata", "scipy", "tqdm", "pyarrow"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert "cellring._cellring" not in sys.modules
assert set(cellring.__all__) <= set(dir(cellring))
assert "torch" not in sys.modules
cellring.convert
store = cellring.Store(sys.argv[1])
store[[1, 2]]
assert not {"torch", "pandas", "anndata"} & set(sys.modules)
for name in cellring.__all__:
    assert getattr(cellring, name) is not None
assert cellring.__version__[0].isdigit()
try:
    cellring.Loadr
except AttributeError as error:
    assert "Loadr" in str(error)
print("done")
"""
    assert run_python(script, store) == "done\n"


def test_help(run_python):
    """help() and repr() work before anything was used, and say what there is."""
    script = """
import cellring
print(repr(cellring))
help(cellring)
for name in ("convert", "append", "verify", "export", "merge", "Store", "Loader", "NotFoundError"):
    help(getattr(cellring, name))
"""
    said = run_python(script, PAGER="cat", TERM="dumb")
    for words in ("shuffled minibatches of single cells", "Converts AnnData to a store", "gather_rows", "has the name of what"):
        assert words in said, words
