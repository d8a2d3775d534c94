"""Cells of a store: which ids are taken, and what comes back."""

from __future__ import annotations

import copy
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import MOUSE, N_OBS, same

import cellring

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


# What comes back.


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


@pytest.mark.parametrize("ids, found", [(None, "None"), (..., "Ellipsis"), ({1, 2}, "set"), ("a", "str")])
def test_what_is_no_cells_is_named(store, ids, found):
    with pytest.raises(cellring.InputError, match=f"found {found}(;|$)"):
        cellring.Store(store)[ids]


@pytest.mark.parametrize("path, found", [("", "an empty text"), ("a\0b", "one with a NUL character")])
@pytest.mark.parametrize("opens", [cellring.Store, cellring.Loader])
def test_what_is_no_path_is_refused(opens, path, found):
    with pytest.raises(cellring.InputError, match=f"expected a path, found {found}$"):
        opens(path)
