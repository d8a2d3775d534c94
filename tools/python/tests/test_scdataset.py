"""Stores as collections of scDataset."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from conftest import MOUSE, N_OBS, same

import cellring


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
