"""What convert takes as inputs: paths, several files, and AnnData in memory."""

from __future__ import annotations

import os
import pathlib
import shutil
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import MOUSE, equal, names_of

import cellring

pytestmark = pytest.mark.usefixtures("written")


def test_a_path(tmp_path, source, adata):
    report = cellring.convert(str(source), str(tmp_path / "s"))
    assert (report["n_obs"], report["n_vars"], report["nnz"]) == (1000, 1000, adata.X.nnz)
    assert report["bytes"] > 0 and report["var_order"] == "source" and report["warnings"] == []
    left_out = {part["path"]: part["option"] for part in report["left_out"]}
    assert left_out == {"layers/counts": 'layer="counts"', "obsm/X_pca": 'obsm="X_pca"'}
    equal(tmp_path / "s", adata)


def with_parts_of_all_kinds(adata: anndata.AnnData) -> anndata.AnnData:
    """With what no store holds."""
    made = adata.copy()
    made.raw = made.copy()
    made.uns.update({"neighbors": {"a": 1}, "colors": ["red"]})
    made.varm["PCs"] = np.zeros((made.n_vars, 3))
    for name in ("distances", "connectivities"):
        made.obsp[name] = sp.identity(made.n_obs, format="csr")
    made.varp["genes"] = sp.identity(made.n_vars, format="csr")
    return made


@pytest.mark.parametrize("form", ["path", "memory", "backed"])
def test_what_is_left_out_is_listed_and_a_warning(tmp_path, adata, form):
    given = with_parts_of_all_kinds(adata[:50])
    given.write_h5ad(tmp_path / "x.h5ad")
    inputs = {"path": tmp_path / "x.h5ad", "memory": given, "backed": anndata.read_h5ad(tmp_path / "x.h5ad", backed="r")}[form]
    with pytest.warns(cellring.CellringWarning, match='not stored: layers/counts .layer="counts" stores it.*and 1 more') as caught:
        report = cellring.convert(inputs, tmp_path / "s", obsm=["X_pca"], x=True)
    assert [warning.filename for warning in caught if warning.category is cellring.CellringWarning] == [__file__]
    found = {part["path"]: (part["option"], part["n"]) for part in report["left_out"]}
    assert found == {
        "layers/counts": ('layer="counts"', 1),
        "raw/X": ("raw=True", 1),
        "varm/PCs": (None, 1),
        "obsp/connectivities": (None, 1),
        "obsp/distances": (None, 1),
        "varp/genes": (None, 1),
        "uns": (None, 2),
    }
    # What is stored whole says nothing.
    with warnings.catch_warnings():
        warnings.simplefilter("error", cellring.CellringWarning)
        cellring.convert(anndata.AnnData(X=adata.X, obs=adata.obs, var=adata.var), tmp_path / "t")
    with pytest.warns(cellring.CellringWarning, match="not stored: .*obsp/distances"):
        assert cellring.append(tmp_path / "t", inputs)["left_out"]


@pytest.mark.parametrize("as_what", [str, pathlib.Path, os.fsencode])
def test_paths_of_all_kinds(tmp_path, source, as_what):
    path = as_what(source)
    for number, inputs in enumerate([path, [path], (path,), iter([path])]):
        store = tmp_path / str(number)
        cellring.convert(inputs, as_what(store))
        assert cellring.verify(as_what(store))["whole"] is True


def test_paths_with_odd_names(tmp_path, source):
    """As they are: nothing in them is an option, a pattern or a variable."""
    for name in ("--force", "-o", "a b", "é漢", "a,b", "$HOME", "x --layer counts", "give --force", "'q'", os.fsdecode(b"\xff")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "in.h5ad").symlink_to(source)
        store = folder / "s"
        assert cellring.convert(folder / "in.h5ad", store)["n_obs"] == 1000
        assert cellring.Store(store).shape == (1000, 1000)
        cellring.export(store, folder / "out.h5ad")
        with pytest.raises(cellring.StoreExistsError) as caught:
            cellring.convert(folder / "in.h5ad", store)
        if name.isascii():
            assert str(store) in str(caught.value)
            assert str(caught.value).replace(str(store), "").endswith("give force=True to replace it, or another name")


def test_what_is_no_input(tmp_path):
    for inputs in (None, 3, [None], 1.5):
        with pytest.raises(cellring.InputError, match="inputs=|inputs is"):
            cellring.convert(inputs, tmp_path / "s")
    with pytest.raises(cellring.InputError, match="inputs is empty"):
        cellring.convert([], tmp_path / "s")
    with pytest.raises(cellring.InputError, match="store=None: expected a path"):
        cellring.convert(MOUSE, None)
    with pytest.raises(cellring.InputError, match="NUL"):
        cellring.convert("a\0b", tmp_path / "s")
    assert names_of(tmp_path) == []


def parts_of(adata: anndata.AnnData, folder: pathlib.Path) -> list[pathlib.Path]:
    """Two files whose genes are not all the same."""
    adata[:300, :900].copy().write_h5ad(folder / "one.h5ad")
    adata[300:500, 100:].copy().write_h5ad(folder / "two.h5ad")
    return [folder / "one.h5ad", folder / "two.h5ad"]


def test_several_inputs(tmp_path, adata):
    """As anndata.concat joins them."""
    paths = parts_of(adata, tmp_path)
    with pytest.raises(cellring.CommandError, match='give join="inner" for the genes that all inputs have, or join="outer"'):
        cellring.convert(paths, tmp_path / "s")
    report = cellring.convert(paths, tmp_path / "s", join="inner", label_column="from", label_values=["a", "b"], index_unique="-")
    assert report["n_inputs"] == 2
    expected = anndata.concat(map(anndata.read_h5ad, paths), join="inner", label="from", keys=["a", "b"], index_unique="-")
    store = cellring.Store(tmp_path / "s")
    assert list(store.var_names) == list(expected.var_names) and list(store.obs_names) == list(expected.obs_names)
    assert (store[:] != expected.X).nnz == 0
    assert list(store.obs["from"]) == list(expected.obs["from"])
    outer = cellring.convert(paths, tmp_path / "outer", join="outer")
    assert (outer["n_obs"], outer["n_vars"]) == (500, 1000)
    one_after_the_other = cellring.Store(tmp_path / "outer")
    assert (one_after_the_other[:300][:, :900] != adata.X[:300, :900]).nnz == 0


def test_an_anndata_in_memory(tmp_path, adata):
    """It is converted as its file would be, and stays as it is."""
    given = adata.copy()
    given.uns["not to be written"] = {"a": lambda: None}
    given.obs["text"] = np.array(["a", "b"] * 500, dtype=object)
    before = given.obs.copy()
    report = cellring.convert(given, tmp_path / "s", x=True, layer="counts", obsm=["X_pca"])
    pd.testing.assert_frame_equal(given.obs, before)
    assert report["matrices"] and names_of(tmp_path) == ["s"]
    found = cellring.Store(tmp_path / "s").to_anndata()
    assert (found.X != given.X).nnz == 0 and (found.layers["counts"] != given.X).nnz == 0
    np.testing.assert_array_equal(found.obsm["X_pca"], given.obsm["X_pca"])
    # As anndata writes texts that repeat.
    assert isinstance(found.obs["text"].dtype, pd.CategoricalDtype)
    pd.testing.assert_frame_equal(found.obs.drop(columns="text"), before.drop(columns="text"))


@pytest.mark.parametrize("form", ["csr", "csc", "dense", "view", "backed", "csr array"])
def test_an_anndata_in_memory_of_any_form(tmp_path, source, adata, form):
    forms = {
        "csr": lambda: adata,
        "csc": lambda: anndata.AnnData(X=sp.csc_matrix(adata.X), obs=adata.obs, var=adata.var),
        "dense": lambda: anndata.AnnData(X=adata.X.toarray(), obs=adata.obs, var=adata.var),
        "view": lambda: adata[10:200:3, ::2],
        "backed": lambda: anndata.read_h5ad(source, backed="r"),
        "csr array": lambda: anndata.AnnData(X=sp.csr_array(adata.X), obs=adata.obs, var=adata.var),
    }
    given = forms[form]()
    cellring.convert(given, tmp_path / "s")
    equal(tmp_path / "s", adata[10:200:3, ::2].copy() if form == "view" else adata)
    assert names_of(tmp_path) == ["s"]
    if form == "backed":
        # It is as it was, and its file too.
        assert given.isbacked and os.fspath(given.filename) == os.fspath(source)
        assert given.X[:5].shape == (5, 1000)
        given.file.close()
        assert anndata.read_h5ad(source).shape == adata.shape


def test_a_file_that_h5py_has_open_for_writing(tmp_path, source, adata):
    """HDF5 locks it; in the form that anndata writes, nothing in the file says so."""
    file = tmp_path / "cells.h5ad"
    shutil.copy(source, file)
    with h5py.File(file, "r"):
        cellring.convert(file, tmp_path / "s")
    with h5py.File(file, "r+"):
        for command in (cellring.convert, cellring.link):
            with pytest.raises(cellring.CellringError, match="cells.h5ad.* is locked by another program or a notebook"):
                command(file, tmp_path / "t")
        cellring.convert(file, tmp_path / "t", force_read=True)
        cellring.link(file, tmp_path / "v", force_read=True)
        equal(tmp_path / "v", adata)
    cellring.link(file, tmp_path / "u")
    for made in "stu":
        equal(tmp_path / made, adata)


def test_raw_of_an_anndata_in_memory(tmp_path, adata):
    given = adata[:, :100].copy()
    given.raw = adata
    cellring.convert(given, tmp_path / "s", x=True, raw=True)
    found = cellring.Store(tmp_path / "s").to_anndata()
    assert found.shape == (1000, 100) and found.raw.shape == (1000, 1000)
    assert (found.raw.X != adata.X).nnz == 0
    cellring.convert(given.raw.to_adata(), tmp_path / "t")
    equal(tmp_path / "t", adata)


def test_inputs_in_memory_and_on_disk_together(tmp_path, adata, source):
    report = cellring.convert([adata, source, adata[:5]], tmp_path / "s", label_column="from", index_unique="_")
    assert report["n_obs"] == 2005 and names_of(tmp_path) == ["s"]
    assert cellring.Store(tmp_path / "s").obs["from"].cat.categories.tolist() == ["0", "cells", "2"]


def test_options_of_an_anndata_in_memory(tmp_path, adata):
    genes = list(adata.var_names[[3, 500]])
    cellring.convert(adata, tmp_path / "s", genes=iter(genes), layer=iter(["counts"]), obs_columns=np.array(["age"]), part=None)
    store = cellring.Store(tmp_path / "s")
    assert list(store.var_names) == genes and store.obs.columns == ["age"]
    assert (store[:] != adata.layers["counts"][:, [3, 500]]).nnz == 0


def test_an_anndata_in_memory_that_is_refused(tmp_path, adata):
    """What is written for the conversion is gone, and no sentence speaks of it."""
    (tmp_path / "s").mkdir()
    with pytest.raises(cellring.StoreExistsError, match="give force=True"):
        cellring.convert(adata, tmp_path / "s")
    with pytest.raises(cellring.ArgumentError, match="'layr'.*did you mean 'layer'"):
        cellring.convert(adata, tmp_path / "t", layr="counts")
    for inputs, says in (
        (adata.obs, "found DataFrame: make an AnnData of it"),
        ([adata, adata.X], "found csr_matrix: make an AnnData of it"),
        ({"a": "a.h5ad"}, "give a list, and the names as label_values="),
        ([adata, None], "inputs=None: expected a path"),
    ):
        with pytest.raises(cellring.InputError, match=says):
            cellring.convert(inputs, tmp_path / "t")
    for what in (cellring.Loader, cellring.Store, lambda adata: cellring.link(adata, tmp_path / "t")):
        with pytest.raises(cellring.InputError, match="=<AnnData>: expected a path.*cellring.convert makes a store of an AnnData in memory"):
            what(adata)
    with pytest.raises(cellring.InputError, match="genes is empty"):
        cellring.convert(adata, tmp_path / "t", genes=[])
    with pytest.raises(FileNotFoundError, match="create it first"):
        cellring.convert(adata, tmp_path / "no" / "t")
    # Nothing can be made there, whoever asks.
    with pytest.raises(cellring.StoreError, match="cannot be written next to it"):
        cellring.convert(adata, "/proc/self/t")
    with pytest.raises(cellring.CommandError, match="the AnnData in memory has no layers/none") as caught:
        cellring.convert(adata, tmp_path / "t", layer="none")
    assert ".h5ad" not in str(caught.value)
    for column, value in (("day", pd.to_datetime(["2020-01-01"] * 2)), ("mixed", np.array([1, "a"], dtype=object))):
        odd = anndata.AnnData(X=np.ones((2, 3), dtype=np.float32))
        odd.obs[column] = value
        with pytest.raises(cellring.InputError, match=f"cannot write '{column}' in obs of this AnnData .*; change its type, or leave it out$"):
            cellring.convert(odd, tmp_path / "t")
    halves = anndata.AnnData(X=np.ones((2, 3), dtype=np.float16))
    with pytest.raises(cellring.CommandError, match="X in the AnnData in memory holds float16, .*; convert it with numpy's astype$"):
        cellring.convert(halves, tmp_path / "t")
    assert names_of(tmp_path) == ["s"]
