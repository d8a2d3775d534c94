"""Files that are read where they lie."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from conftest import MOUSE

import cellring


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "cache"))
    return tmp_path / "cache" / "cellring"


def cells(loader: cellring.Loader) -> list:
    return [(minibatch.ids.tolist(), minibatch.x.toarray().tolist()) for minibatch in loader]


def test_a_loader_takes_the_file_itself(mouse, cache):
    with pytest.warns(cellring.CellringWarning, match="read in place.*cellring.convert"):
        loader = cellring.Loader(MOUSE, to="scipy", batch_size=100, fetch_factor=8, seed=3)
    expected = cellring.Loader(mouse, to="scipy", batch_size=100, fetch_factor=8, seed=3)
    assert cells(loader) == cells(expected)
    assert len([name for name in os.listdir(cache) if not name.startswith(".")]) == 1


def test_a_store_of_a_file_is_what_anndata_reads(source, adata):
    with pytest.warns(cellring.CellringWarning):
        store = cellring.Store(source)
    assert store.shape == adata.shape
    ids = [999, 3, 3, 0]
    assert (store[ids] != sp.csr_matrix(adata.X[ids])).nnz == 0
    assert store.obs.to_pandas().equals(anndata.read_h5ad(source).obs)


def test_links_by_name_with_layers(source, store, tmp_path):
    link = tmp_path / "links" / "cells.cellring"
    link.parent.mkdir()
    with pytest.raises(cellring.CellringError, match="source_root"):
        cellring.link(source, link)
    report = cellring.link(source, link, x=True, layer=["counts"], source_root="/")
    assert report["n_obs"] == 1000 and report["matrices"] == ["X", "layers/counts"]
    with pytest.raises(cellring.StoreExistsError):
        cellring.link(source, link, source_root="/")
    linked = cellring.Store(link, source_root="/")
    assert linked.matrices == ["X", "layers/counts"]
    given = {"to": "scipy", "batch_size": 50, "matrices": ["layers/counts"], "obs_columns": ["cell_type"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader = cellring.Loader(linked, **given)
        by_path = cellring.Loader(link, source_root="/", **given)
    expected = cells(cellring.Loader(store, **given))
    assert cells(loader) == cells(by_path) == expected
    assert cells(pickle.loads(pickle.dumps(by_path))) != expected, "the second epoch"
    again = pickle.loads(pickle.dumps(linked))
    assert (again[[5, 1]] != linked[[5, 1]]).nnz == 0


def test_a_loader_goes_on_where_it_was(source):
    with pytest.warns(cellring.CellringWarning):
        loader = cellring.Loader(source, to="numpy", batch_size=64)
    whole = [minibatch.ids.tolist() for minibatch in loader]
    loader.set_epoch(0)
    begun = iter(loader)
    before = [next(begun).ids.tolist() for _ in range(5)]
    state = loader.state_dict()
    with pytest.warns(cellring.CellringWarning):
        other = cellring.Loader(source, to="numpy", batch_size=64)
    other.load_state_dict(state)
    assert before + [minibatch.ids.tolist() for minibatch in other] == whole


def test_a_file_that_changes_is_named(tmp_path):
    path = tmp_path / "cells.h5ad"
    matrix = sp.random(200, 50, 0.2, "csr", dtype=np.float32, random_state=1)
    anndata.AnnData(matrix).write_h5ad(path)
    cellring.link(path, tmp_path / "cells.cellring")
    anndata.AnnData(matrix * 2).write_h5ad(path)
    with pytest.raises(cellring.ChangedError, match="has changed since it was linked.*cellring.refresh"):
        cellring.Store(tmp_path / "cells.cellring")
    # By its own name it is linked again.
    with pytest.warns(cellring.CellringWarning):
        store = cellring.Store(path)
    assert (store[:] != sp.csr_matrix(matrix * 2)).nnz == 0


def test_a_link_is_refreshed_and_told_where_its_file_went(tmp_path):
    (tmp_path / "data").mkdir()
    path, store = tmp_path / "data" / "cells.h5ad", tmp_path / "cells.cellring"
    matrix = sp.random(200, 50, 0.2, "csr", dtype=np.float32, random_state=1)
    anndata.AnnData(matrix).write_h5ad(path)
    linked = cellring.link(path, store)
    anndata.AnnData(matrix * 2).write_h5ad(path)
    report = cellring.refresh(store, checksum=True)
    assert (report["nnz"], report["row_checksums"]) == (linked["nnz"], True)
    assert (cellring.Store(store)[:] != matrix * 2).nnz == 0
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(cellring.CellringError, match="cells.h5ad"):
        cellring.Store(store)
    report = cellring.relocate(store, {tmp_path / "data": tmp_path / "moved"})
    assert report["same_id"] is True and report["linked_to"] == [os.fspath(tmp_path / "moved" / "cells.h5ad")]
    assert (cellring.Store(store)[:] != matrix * 2).nnz == 0
    for moved in [{}, [path]]:
        with pytest.raises(cellring.InputError, match="a dictionary of paths"):
            cellring.relocate(store, moved)
    with pytest.raises(cellring.CellringError, match="nowhere.h5ad"):
        cellring.relocate(store, {"moved/cells.h5ad": tmp_path / "nowhere.h5ad"})
    with pytest.raises(cellring.ArgumentError, match="no argument 'refresh'"):
        cellring.link(path, store, refresh=True)


def test_what_cannot_be_linked_says_what_to_do(tmp_path):
    path = tmp_path / "cells.h5ad"
    anndata.AnnData(sp.random(30, 20, 0.2, "csc", dtype=np.float32, random_state=1)).write_h5ad(path)
    with pytest.raises(cellring.StoreError, match=r"cannot be linked.*cellring\.convert"):
        cellring.Loader(path)


@pytest.mark.parametrize("form", ["dense.h5ad", "dense gzip.h5ad", "dense.zarr", "sparse.zarr", "sparse after a user block.h5ad"])
def test_dense_matrices_and_zarr_are_read_in_place(tmp_path, form):
    path = tmp_path / form
    matrix = sp.random(300, 200, 0.1, "csr", dtype=np.float32, random_state=1)
    data = anndata.AnnData(matrix if "sparse" in form else matrix.toarray())
    if "user block" in form:
        with h5py.File(path, "w", userblock_size=2048) as file:
            anndata.io.write_elem(file, "/", data)
    elif form.endswith(".zarr"):
        data.write_zarr(path)
    else:
        data.write_h5ad(path, compression="gzip" if "gzip" in form else None)
    with pytest.warns(cellring.CellringWarning):
        store = cellring.Store(path)
    assert (store[:] != matrix).nnz == 0
    with pytest.warns(cellring.CellringWarning):
        loader = cellring.Loader(path, batch_size=32, to="scipy")
    for minibatch in loader:
        assert (minibatch.x != matrix[minibatch.ids]).nnz == 0


@pytest.mark.parametrize("cname", ["lz4", "zstd", "zlib", "blosclz"])
def test_chunks_of_many_blosc_blocks(tmp_path, cname):
    numcodecs, zarr = pytest.importorskip("numcodecs"), pytest.importorskip("zarr")
    path = tmp_path / "cells.zarr"
    matrix = sp.random(1000, 200, 0.3, "csr", dtype=np.float32, random_state=1)
    matrix.data = np.ceil(matrix.data * 9)
    with anndata.settings.override(zarr_write_format=2):
        anndata.AnnData(matrix).write_zarr(path)
    group = zarr.open_group(path, mode="r+")["X"]
    for name in ["indices", "data"]:
        stored, attributes = group[name][:], dict(group[name].attrs)
        del group[name]
        # Chunks of 40 blocks; a cell has values in one of them, or two.
        blosc = numcodecs.Blosc(cname=cname, blocksize=4096)
        array = group.create_array(name, shape=stored.shape, chunks=(40_960,), dtype=stored.dtype, compressors=blosc)
        array[:] = stored
        array.attrs.update(attributes)
    zarr.consolidate_metadata(path, zarr_format=2)
    with pytest.warns(cellring.CellringWarning):
        loader = cellring.Loader(path, block_size=1, fetch_factor=1, batch_size=16, to="scipy")
    for minibatch in loader:
        assert (minibatch.x != matrix[minibatch.ids]).nnz == 0


def test_workers_share_a_file(source):
    code = f"""
import warnings; warnings.simplefilter("ignore")
import cellring, multiprocessing
loader = cellring.Loader({os.fspath(source)!r}, to="numpy", batch_size=100)
with multiprocessing.get_context("spawn").Pool(1) as pool:
    print(pool.apply(sum, ([len(m.ids) for m in loader],)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "1000", done.stderr


def test_several_files_are_linked_as_one(adata, tmp_path):
    names = ["a.h5ad", "b.h5ad"]
    adata[:400].copy().write_h5ad(tmp_path / names[0])
    other = adata[400:, ::-1][:, 5:].copy()
    other.write_h5ad(tmp_path / names[1], compression="gzip")
    files = [tmp_path / name for name in names]
    report = cellring.link(files, tmp_path / "both", join="inner", label_column="file")
    assert (report["n_obs"], report["n_vars"]) == (adata.n_obs, adata.n_vars - 5)
    assert report["sources"] == [os.fspath(file) for file in files]
    store = cellring.Store(tmp_path / "both")
    expected = anndata.concat([adata[:400], other], join="inner")[:, store.var_names]
    assert (store[:] != sp.csr_matrix(expected.X)).nnz == 0
    assert store.obs.to_pandas()["file"].tolist() == ["a"] * 400 + ["b"] * 600
    loader = cellring.Loader(tmp_path / "both", to="scipy", batch_size=64, fetch_factor=4, obs_columns=["file"])
    for minibatch in loader:
        assert (minibatch.x != store[minibatch.ids]).nnz == 0
    again = cellring.convert(tmp_path / "both", tmp_path / "held")
    assert again["n_obs"] == adata.n_obs
    assert (cellring.Store(tmp_path / "held")[:] != store[:]).nnz == 0
