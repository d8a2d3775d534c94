"""Stores as an AnnData."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import N_OBS, same

import cellring


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
