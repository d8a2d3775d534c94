"""Stores: what they say of themselves, the memory and files they take, and damage."""

from __future__ import annotations

import os
import pathlib

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from conftest import N_OBS, same

import cellring


def test_what_a_store_says_of_itself(opened, store, adata):
    assert opened.shape == (N_OBS, 1000) and (opened.n_obs, opened.n_vars) == opened.shape and len(opened) == N_OBS
    assert opened.matrices == ["X", "layers/counts", "obsm/X_pca"]
    assert opened.dtype == np.float32
    assert opened.path == store
    assert list(opened.obs_names) == list(adata.obs_names) and list(opened.var_names) == list(adata.var_names)
    assert repr(opened) == f"Store({store!r}, 1000 cells x 1000 genes, matrices: X, layers/counts, obsm/X_pca)"
    assert repr(opened.obs).startswith("Table(1000 rows, columns: cell_type, donor, ")


@pytest.mark.parametrize(
    "look, told",
    [
        (lambda store: store.X, r"no attribute 'X', as it is not an AnnData: store\[ids\] reads cells as a scipy matrix"),
        (lambda store: store.uns, r"as it is not an AnnData: to_anndata\(\) makes one"),
        (lambda store: store.layers, r"gather_rows\(ids, matrix\) reads those that matrices names"),
        (lambda store: store.n_cells, r"^'Store' object has no attribute 'n_cells'$"),
        (lambda store: store.obs.head(), r"^obs of .* is not a data frame and has no 'head': to_pandas\(\) makes one$"),
        (lambda store: store.obs.cell_type, r"a column is table\['cell_type'\], not an attribute"),
    ],
)
def test_what_a_store_has_not(opened, look, told):
    with pytest.raises(AttributeError, match=told):
        look(opened)


@pytest.mark.parametrize("as_what", [str, pathlib.Path, os.fsencode, lambda path: cellring.Store(path)])
def test_paths_of_all_kinds(store, as_what):
    assert cellring.Store(as_what(store)).shape == (N_OBS, 1000)


@pytest.mark.parametrize("path", [None, 3, ["a"], 1.5])
def test_what_is_no_path(path):
    with pytest.raises(cellring.InputError, match="expected a path"):
        cellring.Store(path)


def test_a_store_that_was_closed_goes_on(store, adata):
    with cellring.Store(store) as opened:
        opened[0]
    same(opened[[1]], adata.X[[1]])
    opened.close()
    opened.close()
    same(opened[[2]], adata.X[[2]])


def test_a_relative_path_when_the_working_directory_changes(store, adata, monkeypatch, tmp_path):
    monkeypatch.chdir(pathlib.Path(store).parent)
    opened = cellring.Store(pathlib.Path(store).name)
    monkeypatch.chdir(tmp_path)
    same(opened[[3]], adata.X[[3]])
    same(opened.gather_rows([3], "layers/counts"), adata.layers["counts"][[3]])


# Memory and open files.

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


# What is not there, damaged or replaced.


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
