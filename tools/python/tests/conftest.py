"""Stores that the tests share: made once, of real data."""

from __future__ import annotations

import os
import pathlib
import sys

import anndata
import numpy as np
import pandas as pd
import pytest

import cellring

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
MOUSE = REPOSITORY / "tools" / "data" / "mousebrain10k.h5ad"


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


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, source: pathlib.Path) -> str:
    """A store of 1,000 cells with a layer and an array of obsm."""
    path = tmp_path_factory.mktemp("stores") / "cells.cellring"
    cellring.convert(source, path, x=True, layer=["counts"], obsm=["X_pca"], block_size=64)
    return os.fspath(path)


@pytest.fixture(scope="session")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store of the shipped 10,000 cells."""
    path = tmp_path_factory.mktemp("stores") / "mouse.cellring"
    cellring.convert(MOUSE, path)
    return os.fspath(path)


@pytest.fixture
def run_python():
    """Runs a script in a Python of its own, with this package, and returns its output; it must succeed."""
    import subprocess

    def run(script: str, *arguments: object, timeout: float = 120, **environment: str) -> str:
        paths = os.pathsep.join([os.fspath(pathlib.Path(cellring.__file__).parents[1]), os.fspath(pathlib.Path(__file__).parent)])
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": paths, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
