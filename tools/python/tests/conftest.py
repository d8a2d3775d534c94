"""What the tests share: stores, made once, of real data, and comparisons."""

from __future__ import annotations

import os
import pathlib
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from command_helpers import cli

import cellring

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
MOUSE = REPOSITORY / "tools" / "data" / "mousebrain10k.h5ad"

# How many cells `adata` and `store` have.
N_OBS = 1000


def names_of(folder: pathlib.Path) -> list[str]:
    """All that lies in a directory, hidden or not."""
    return sorted(path.name for path in folder.iterdir())


def equal(store: object, expected: anndata.AnnData) -> None:
    """X, obs and var of a store."""
    found = store if isinstance(store, anndata.AnnData) else cellring.Store(store).to_anndata()
    assert (found.X != sp.csr_matrix(expected.X)).nnz == 0
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    pd.testing.assert_frame_equal(found.var, expected.var)


def same(found: sp.csr_matrix, expected: sp.csr_matrix) -> None:
    """Equal in every value, and canonical."""
    assert isinstance(found, sp.csr_matrix)
    # Of no rows scipy 1.8 makes a matrix of its own type.
    assert found.shape == expected.shape and (found.dtype == expected.dtype or expected.shape[0] == 0)
    assert found.indices.dtype == found.indptr.dtype
    assert found.has_sorted_indices and found.has_canonical_format
    # What was said to be sorted is.
    again = sp.csr_matrix((found.data, found.indices, found.indptr), shape=found.shape)
    assert again.has_canonical_format
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.data, expected.data)


def labelled(n_obs: int = 1000) -> anndata.AnnData:
    """The first cells of the shipped data, with columns of every kind in obs, a layer, obsm and raw."""
    adata = anndata.read_h5ad(MOUSE)[:n_obs].copy()
    adata.var_names_make_unique()
    random = np.random.default_rng(7)
    obs = pd.DataFrame(index=pd.Index([f"cell{i}" for i in range(n_obs)], name="barcode"))
    types = np.array(["astrocyte", "microglia", "neuron", "oligo"])
    obs["cell_type"] = pd.Categorical(types[random.integers(0, 4, n_obs)], categories=types)
    obs["donor"] = pd.Categorical([f"d{i}" for i in random.integers(0, 6, n_obs)])
    obs["stage"] = pd.Categorical(np.array(["early", "late"])[random.integers(0, 2, n_obs)], categories=["late", "early"], ordered=True)
    obs["treatment"] = pd.Categorical(np.array(["control", "geneA", "geneB"])[random.integers(0, 3, n_obs)])
    obs["dose"] = pd.Categorical(np.array([0.5, 1.0, 10.0])[random.integers(0, 3, n_obs)])
    obs["n_counts"] = np.asarray(adata.X.sum(axis=1)).ravel()
    obs["n_genes"] = np.asarray((adata.X > 0).sum(axis=1)).ravel().astype(np.int64)
    obs["is_doublet"] = random.random(n_obs) < 0.1
    obs["note"] = [f"note {i % 5}" for i in range(n_obs)]
    obs["age"] = pd.array(np.where(random.random(n_obs) < 0.2, 0, 30), dtype="Int64")
    obs.loc[obs.index[::7], "age"] = pd.NA
    missing = obs["cell_type"].astype(object)
    missing.iloc[::9] = np.nan
    obs["partly"] = pd.Categorical(missing, categories=types)
    adata.obs = obs
    adata.layers["counts"] = adata.X.copy()
    adata.obsm["X_pca"] = random.standard_normal((n_obs, 8)).astype(np.float32)
    return adata


@pytest.fixture(scope="session")
def adata() -> anndata.AnnData:
    """The AnnData that `store` was made of. Do not change it."""
    return labelled()


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory, adata: anndata.AnnData) -> pathlib.Path:
    """`adata` as a file."""
    path = tmp_path_factory.mktemp("data") / "cells.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def written(source) -> None:
    """anndata makes categories of the texts of what it writes: `adata` is what is in the file from then on."""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, source: pathlib.Path) -> str:
    """A store of 1,000 cells with a layer and an array of obsm."""
    path = tmp_path_factory.mktemp("stores") / "cells.cellring"
    cellring.convert(source, path, x=True, layer=["counts"], obsm=["X_pca"], block_size=64)
    return os.fspath(path)


@pytest.fixture
def opened(store) -> cellring.Store:
    return cellring.Store(store)


@pytest.fixture(scope="session")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store of the shipped 10,000 cells."""
    path = tmp_path_factory.mktemp("stores") / "mouse.cellring"
    cellring.convert(MOUSE, path)
    return os.fspath(path)


@pytest.fixture(scope="session")
def large(tmp_path_factory) -> pathlib.Path:
    """A file whose conversion takes a second or so."""
    path = tmp_path_factory.mktemp("large") / "large.h5ad"
    assert cli("synth", path, "--n-obs", 40_000, "--n-vars", 5_000, "--seed", 1).returncode == 0
    return path


@pytest.fixture
def run_python():
    """Runs a script in a Python of its own, with this package, and returns its output; it must succeed."""
    import subprocess

    def run(script: str, *arguments: object, timeout: float = 120, **environment: str) -> str:
        paths = os.pathsep.join([os.fspath(pathlib.Path(cellring.__file__).parents[1]), os.fspath(pathlib.Path(__file__).parent)])
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": paths, "PYTHONFAULTHANDLER": "1", **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
