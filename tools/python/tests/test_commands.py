"""The command line's commands as functions, and the command line itself."""

from __future__ import annotations

import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import MOUSE

import cellring
from cellring import _arguments, _cellring, _commands

COMMANDS = {
    "convert": cellring.convert,
    "append": cellring.append,
    "verify": cellring.verify,
    "export": cellring.export,
    "merge": cellring.merge,
}
PACKAGE = os.fspath(pathlib.Path(cellring.__file__).parents[1])

# For what would else wait for ever; nothing is measured.
LIMIT = 120


@pytest.fixture(autouse=True, scope="module")
def written(source) -> None:
    """anndata makes categories of the texts of what it writes: `adata` is what is in the file from then on."""


def names_of(folder: pathlib.Path) -> list[str]:
    """All that lies in a directory, hidden or not."""
    return sorted(path.name for path in folder.iterdir())


def equal(store: object, expected: anndata.AnnData) -> None:
    """X, obs and var of a store."""
    found = store if isinstance(store, anndata.AnnData) else cellring.Store(store).to_anndata()
    assert (found.X != sp.csr_matrix(expected.X)).nnz == 0
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    pd.testing.assert_frame_equal(found.var, expected.var)


# Inputs.


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


# Options.


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_accepted_under_its_name(command):
    options = _cellring.command_options(command)
    assert {"json"} <= {name for name, _, _ in options}
    taken = 0
    for name, takes_value, several in options:
        if name in ("json", "output"):
            continue
        taken += 1
        argument = name.replace("-", "_")
        assert _commands.arguments_of(command, {argument: None}) == []
        if not takes_value:
            assert _commands.arguments_of(command, {argument: True}) == [f"--{name}"]
            assert _commands.arguments_of(command, {argument: False}) == []
            for wrong in (1, "yes", [True]):
                with pytest.raises(cellring.InputError, match=f"{argument}=.*expected True or False"):
                    _commands.arguments_of(command, {argument: wrong})
            continue
        assert _commands.arguments_of(command, {argument: "a b"}) == [f"--{name}=a b"]
        assert _commands.arguments_of(command, {argument: 5}) == [f"--{name}=5"]
        assert _commands.arguments_of(command, {argument: np.int64(5)}) == [f"--{name}=5"]
        assert _commands.arguments_of(command, {argument: pathlib.Path("p")}) == [f"--{name}=p"]
        for wrong in (True, False, object(), b"x", {"a": 1}, ["a", None], [["a"]], 1j, "a\0b"):
            with pytest.raises(cellring.InputError, match=f"^{argument}"):
                _commands.arguments_of(command, {argument: wrong})
        for kind in (list, tuple, np.array, pd.Index, pd.Series, iter):
            several_values = kind(["a", "b"])
            if several:
                assert _commands.arguments_of(command, {argument: several_values}) == [f"--{name}=a", f"--{name}=b"]
            else:
                with pytest.raises(cellring.InputError, match="expected one value"):
                    _commands.arguments_of(command, {argument: several_values})
    assert taken > 0


def test_options_that_are_divided_at_commas():
    """Those whose help says so."""
    said = cli("convert", "--help").stdout
    shown = {name.replace("-", "_") for name in re.findall(r"--([a-z-]+) <[A-Z]+,\.\.\.>", said)}
    assert shown == set(_commands._DIVIDED)
    for name in shown:
        assert _commands.arguments_of("convert", {name: "a,b"}) == [f"--{name.replace('_', '-')}=a,b"]
        with pytest.raises(cellring.InputError, match="'a,b' has a comma"):
            _commands.arguments_of("convert", {name: ["a,b"]})
    assert _commands.arguments_of("convert", {"layer": ["a,b"]}) == ["--layer=a,b"]


@pytest.mark.parametrize("command", COMMANDS)
def test_names_that_are_no_options(command, tmp_path):
    call, arguments = COMMANDS[command], [tmp_path / "a", tmp_path / "b"][: 1 if command == "verify" else 2]
    for wrong in ("json", "help", "thread", "out_put", "stripes "):
        with pytest.raises(cellring.ArgumentError, match=f"{command} has no argument '{wrong}'") as caught:
            call(*arguments, **{wrong: "x"})
        assert isinstance(caught.value, TypeError)
    if command != "merge":
        with pytest.raises(cellring.ArgumentError, match="did you mean '(threads|force)'"):
            call(*arguments, **{"thread" if command != "export" else "forced": 3})
    if command in ("convert", "append", "verify"):
        with pytest.raises(cellring.ArgumentError):
            call(*arguments, output="x")
    assert names_of(tmp_path) == []


def test_options_that_are_used(tmp_path, source, adata):
    cellring.convert(
        source,
        tmp_path / "s",
        layer=["counts"],
        obsm=("X_pca",),
        obs_columns=["donor", "age"],
        genes=list(adata.var_names[[3, 500]]),
        obs_filter='donor == "d1"',
        max_obs=np.int32(20),
        encoding="raw",
        block_size=8,
        threads=1,
        memory="500MiB",
        force=False,
    )
    store = cellring.Store(tmp_path / "s")
    assert store.matrices == ["layers/counts", "obsm/X_pca"] and store.shape == (20, 2)
    chosen = np.flatnonzero(adata.obs["donor"] == "d1")[:20]
    assert (store[:] != adata.X[chosen][:, [3, 500]]).nnz == 0
    pd.testing.assert_frame_equal(store.obs.to_pandas(), adata.obs[["donor", "age"]].iloc[chosen])


def test_genes_as_a_list(tmp_path, source, adata):
    names = list(adata.var_names[[700, 3, 5]])
    for genes in (names, tuple(names), np.array(names), pd.Index(names), pd.Series(names), iter(names)):
        cellring.convert(source, tmp_path / "s", genes=genes, force=True)
        assert list(cellring.Store(tmp_path / "s").var_names) == list(adata.var_names[[3, 5, 700]])
    (tmp_path / "genes.txt").write_text("\n".join(names))
    cellring.convert(source, tmp_path / "s", genes=tmp_path / "genes.txt", force=True)
    assert cellring.Store(tmp_path / "s").n_vars == 3
    for wrong in ([], ["# a"], [" a"], [""], ["a\nb"], [3]):
        with pytest.raises(cellring.InputError, match="^genes"):
            cellring.convert(source, tmp_path / "t", genes=wrong)
    with pytest.raises(cellring.CommandError, match="none of the 1 genes that genes= names") as caught:
        cellring.convert(source, tmp_path / "t", genes=["NOT_A_GENE"])
    assert "/tmp" not in str(caught.value).replace(str(source), "")
    with pytest.warns(cellring.CellringWarning, match="NOT_A_GENE"):
        cellring.convert(source, tmp_path / "t", genes=[*names, "NOT_A_GENE"])
    with pytest.raises(FileNotFoundError, match="nowhere.txt: no such file"):
        cellring.convert(source, tmp_path / "u", genes=str(tmp_path / "nowhere.txt"))


def test_the_command_lines_order_of_genes(tmp_path, source, adata):
    cellring.convert(source, tmp_path / "s", var_order="detection")
    assert list(cellring.Store(tmp_path / "s").var_names) != list(adata.var_names)


def test_numbers_and_sizes():
    """As the functions that share the checks have them."""
    for value in (5, np.uint8(5), np.int64(5)):
        assert _arguments.positive("n", value) == 5
    for wrong in (True, 5.0, "5", None, 0, -1, 2**63, np.array([5, 6])):
        with pytest.raises(cellring.InputError, match="^n="):
            _arguments.positive("n", wrong)
    sizes = {"500M": 500 * 10**6, "2GiB": 2 << 30, " 1.5 kB ": 1500, "7": 7, 9: 9, np.int64(3): 3}
    for given, expected in sizes.items():
        assert _arguments.size("memory", given) == expected
    for wrong in ("", "M", "5 parsecs", "-5M", "nan", "inf", "0", 0, -1, True, None, 1.5):
        with pytest.raises(cellring.InputError, match="^memory="):
            _arguments.size("memory", wrong)


# What they report, warn of and refuse.


def test_warnings(tmp_path, source):
    with pytest.warns(cellring.CellringWarning, match="give index_unique=SEP to append the label of each input") as caught:
        report = cellring.convert([source, source], tmp_path / "s", x=True, layer="counts", obsm="X_pca")
    # At the line of the caller.
    assert [warning.filename for warning in caught] == [__file__]
    assert [warning["message"] for warning in report["warnings"]] == [str(warning.message) for warning in caught]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(cellring.CellringWarning):
            cellring.convert([source, source], tmp_path / "t")
        cellring.convert(MOUSE, tmp_path / "u")


REFUSALS = {
    "input that is not there": ("convert", ["missing.h5ad", "t"], {}, FileNotFoundError, "missing.h5ad: no such file"),
    "directory that is not there": ("convert", ["a.h5ad", "no/t"], {}, FileNotFoundError, "create it first"),
    "store that exists": ("convert", ["a.h5ad", "s"], {}, FileExistsError, "give force=True to replace it, or another name"),
    "directory that is no store": ("convert", ["a.h5ad", "d"], {"force": True}, cellring.StoreExistsError, "is not a cellring store"),
    "no h5ad": ("convert", ["text.h5ad", "t"], {}, cellring.CommandError, "is not an HDF5 file"),
    "layer that is not there": (
        "convert",
        ["a.h5ad", "t"],
        {"layer": "x"},
        cellring.CommandError,
        'taken with x=True, layer="counts"; obsm=NAME takes',
    ),
    "column that is not there": ("convert", ["a.h5ad", "t"], {"obs_columns": ["x"]}, cellring.CommandError, "has no column x"),
    "number that is none": ("convert", ["a.h5ad", "t"], {"block_size": "x"}, ValueError, "^invalid value 'x' for block_size: "),
    "number that is too small": ("convert", ["a.h5ad", "t"], {"block_size": 0}, cellring.InputError, "for block_size: 0 is not in"),
    "word that is none": ("convert", ["a.h5ad", "t"], {"join": "x"}, cellring.InputError, "for join .*same, inner, outer"),
    "options that exclude each other": (
        "convert",
        ["a.h5ad", "t"],
        {"shuffle": 1, "sort_by": ["donor"]},
        cellring.InputError,
        "the argument shuffle cannot be used with sort_by",
    ),
    "memory": ("convert", ["a.h5ad", "t"], {"memory": "1MiB"}, cellring.CommandError, r'give memory="\d+MiB" or more'),
    "filter": ("convert", ["a.h5ad", "t"], {"obs_filter": "donor =="}, cellring.CommandError, "donor =="),
    "append of what is not there": ("append", ["s", "missing.h5ad"], {}, FileNotFoundError, "no such file"),
    "append to what is not there": ("append", ["none", "a.h5ad"], {}, FileNotFoundError, "not a cellring store"),
    "verify of what is not there": ("verify", ["none"], {}, cellring.StoreNotFoundError, "not a cellring store"),
    "verify of what is no store": ("verify", ["d"], {}, cellring.StoreError, "it has no manifest.json"),
    "export of what is not there": ("export", ["none", "x.h5ad"], {}, FileNotFoundError, "not a cellring store"),
    "export that exists": ("export", ["s", "a.h5ad"], {}, FileExistsError, "give force=True"),
    "export without an ending": ("export", ["s", "x.foo"], {}, cellring.InputError, 'container="h5ad" or container="zarr"'),
    "compression of zarr": ("export", ["s", "x.zarr"], {"compression": "lzf"}, cellring.InputError, '^compression="lzf" is for .h5ad'),
    "format of zarr": ("export", ["s", "x.h5ad"], {"zarr_format": 2}, cellring.InputError, "^zarr_format= is for zarr"),
    "cells that are not there": ("export", ["s", "x.h5ad"], {"obs_range": "0..2000"}, cellring.CommandError, "0 to 2000"),
    "parts that are not there": ("merge", [["p"], "t"], {}, FileNotFoundError, "there is no such part"),
    "no parts": ("merge", [None, "t"], {}, cellring.CommandError, "there are no parts"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, source) -> pathlib.Path:
    """An input, a store, and what is neither."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "a.h5ad").symlink_to(source)
    (folder / "d").mkdir()
    (folder / "text.h5ad").write_text("no HDF5")
    cellring.convert(folder / "a.h5ad", folder / "s")
    return folder


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(place, monkeypatch, name):
    """The right class, one sentence, in Python's words, and nothing is left."""
    command, arguments, options, error, words = REFUSALS[name]
    monkeypatch.chdir(place)
    before = names_of(place)
    with pytest.raises(error, match=words) as caught:
        COMMANDS[command](*arguments, **options)
    said = str(caught.value)
    assert isinstance(caught.value, cellring.CellringError)
    assert "--" not in said and "\n" not in said and "Traceback" not in said
    assert names_of(place) == before


def test_words_of_python():
    """Sentences of the command line, and what becomes of them; what is no option stays."""
    cases = {
        "a--force/b: exists already; give --force to replace it": "a--force/b: exists already; give force=True to replace it",
        "no --forced, x--force, --force-x, /--force": "no --forced, x--force, --force-x, /--force",
        "takes with --layer counts or --raw if": 'takes with layer="counts" or raw=True if',
        "taken with --x, --layer NAME": "taken with x=True, layer=NAME",
        "; --obsm NAME takes beside": "; obsm=NAME takes beside",
        "give --join inner or --join outer": 'give join="inner" or join="outer"',
        "give --memory 64MiB or more": 'give memory="64MiB" or more',
        "more than --memory allows": "more than memory= allows",
        "(a smaller --block-size or --threads needs less)": "(a smaller block_size= or threads= needs less)",
        "leave it out with --obs-columns if": "leave it out with obs_columns= if",
        "give --var-key COLUMN, a column": "give var_key=COLUMN, a column",
        "convert without --shuffle and --sort-by)": "convert without shuffle= and sort_by=)",
        "invalid value 'x' for '--label-values <LABEL,...>': y": "invalid value 'x' for label_values: y",
        "use --var-order source": 'use var_order="source"',
        "docker run --gpus all": "docker run --gpus all",
    }
    sentences = _commands._Sentences("convert", {"/tmp/x/0.h5ad": "the AnnData in memory"})
    for said, expected in cases.items():
        assert sentences.in_python(said) == expected
    assert sentences.in_python("X of /tmp/x/0.h5ad has") == "X of the AnnData in memory has"


def test_a_child_that_is_killed(tmp_path, large):
    """The sentence says what ended it."""

    def kill(done: int, total: int) -> None:
        (command,) = children_of(os.getpid())
        os.kill(command, signal.SIGKILL)

    with pytest.raises(cellring.CommandError, match="the process of cellring convert was ended by SIGKILL; .*memory="):
        cellring.convert(large, tmp_path / "s", progress=kill)


def test_a_report_longer_than_a_pipe_holds(tmp_path):
    adata = anndata.AnnData(X=np.ones((2, 3), np.float32))
    # Complex numbers are no column of a store, and each one is warned of.
    columns = {f"{'long ' * 20}{number}": np.ones(2, complex) for number in range(1000)}
    adata.obs = pd.DataFrame(columns, index=adata.obs_names)
    with pytest.warns(cellring.CellringWarning, match="the column is skipped"):
        report = cellring.convert(adata, tmp_path / "s")
    assert sum(len(warning["message"]) for warning in report["warnings"]) > 100_000


# The other commands.


def test_append(tmp_path, adata):
    adata[:600].copy().write_h5ad(tmp_path / "a.h5ad")
    cellring.convert(tmp_path / "a.h5ad", tmp_path / "s")
    before = cellring.Store(tmp_path / "s")
    assert before[:1].shape == (1, 1000)
    adata[600:900].copy().write_h5ad(tmp_path / "b.h5ad")
    report = cellring.append(tmp_path / "s", tmp_path / "b.h5ad")
    assert before.n_obs == 600 and cellring.Store(tmp_path / "s").n_obs == 900
    assert isinstance(report, dict) and cellring.verify(tmp_path / "s")["n_obs"] == 900
    cellring.append(tmp_path / "s", [adata[900:950].copy(), adata[950:].copy()])
    found = cellring.Store(tmp_path / "s").to_anndata()
    assert (found.X != adata.X).nnz == 0 and list(found.obs_names) == list(adata.obs_names)
    assert names_of(tmp_path) == ["a.h5ad", "b.h5ad", "s"]
    other = anndata.AnnData(X=np.ones((2, 2), np.float32), var=pd.DataFrame(index=[adata.var_names[0], "new"]))
    with pytest.raises(cellring.CommandError, match="give ignore_new_genes=True to leave them out"):
        cellring.append(tmp_path / "s", other)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cellring.append(tmp_path / "s", other, ignore_new_genes=True)
    assert cellring.Store(tmp_path / "s").n_obs == 1002


def test_verify(tmp_path, source):
    cellring.convert(source, tmp_path / "s")
    report = cellring.verify(tmp_path / "s", threads=1)
    assert report["whole"] is True and report["n_obs"] == 1000
    assert cellring.verify(cellring.Store(tmp_path / "s"))["whole"] is True
    shard = tmp_path / "s" / "shard-00000.bin"
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 1
    shard.write_bytes(content)
    with pytest.raises(cellring.DamagedError, match="shard-00000.bin: obs .* is damaged"):
        cellring.verify(tmp_path / "s")


@pytest.mark.parametrize("name", ["x.h5ad", "x.zarr"])
def test_export(tmp_path, source, adata, name):
    cellring.convert(source, tmp_path / "s", x=True, layer="counts", obsm="X_pca", shuffle=1, var_order="detection")
    # Every anndata reads this one.
    options = {"zarr_format": 2} if name.endswith("zarr") else {}
    report = cellring.export(tmp_path / "s", tmp_path / name, **options)
    assert report["n_obs"] == 1000
    read = anndata.read_h5ad if name.endswith("h5ad") else anndata.read_zarr
    found = read(tmp_path / name)
    if name.endswith("zarr"):
        found.obs, found.var = found.obs.infer_objects(), found.var.infer_objects()
    equal(found, adata)
    assert (found.layers["counts"] != adata.X).nnz == 0
    np.testing.assert_array_equal(found.obsm["X_pca"], adata.obsm["X_pca"])
    with pytest.warns(cellring.CellringWarning, match="is array here and was csr_matrix in the source") as caught:
        cellring.export(tmp_path / "s", tmp_path / name, obs_range="0..10", form="dense", force=True, **options)
    assert len(caught) == 2
    assert read(tmp_path / name).X.shape == (10, 1000) and isinstance(read(tmp_path / name).X, np.ndarray)


def test_parts(tmp_path, source, adata):
    for number in (1, 2, 3):
        cellring.convert(source, tmp_path / "s", part=f"{number}/3")
    cellring.convert(source, tmp_path / "whole", parts=3)
    parts = sorted(tmp_path.glob("s.part-*"))
    assert len(parts) == 3
    with pytest.raises(cellring.CellringError):
        cellring.merge(parts[0], tmp_path / "s")
    assert cellring.merge(iter(parts), tmp_path / "s")
    equal(tmp_path / "s", adata)
    assert names_of(tmp_path) == ["s", "whole"]
    for name in names_of(tmp_path / "whole"):
        if name.startswith("shard"):
            assert (tmp_path / "s" / name).stat().st_size == (tmp_path / "whole" / name).stat().st_size
    for number in (1, 2):
        cellring.convert(source, tmp_path / "t", part=f"{number}/2")
    cellring.merge(None, tmp_path / "t")
    equal(tmp_path / "t", adata)


# Progress.


@pytest.fixture(scope="session")
def large(tmp_path_factory) -> pathlib.Path:
    """A file whose conversion takes a second or so."""
    path = tmp_path_factory.mktemp("large") / "large.h5ad"
    assert cli("synth", path, "--n-obs", 40_000, "--n-vars", 5_000, "--seed", 1).returncode == 0
    return path


def test_progress_as_a_function(tmp_path, large):
    seen: list[tuple[int, int]] = []
    cellring.convert(large, tmp_path / "s", progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 2 and all(0 <= done <= total for done, total in seen)
    assert seen[-1][0] == seen[-1][1] > 0


def test_progress_that_fails(tmp_path, large):
    """The conversion ends, and leaves nothing."""

    def fail(done: int, total: int) -> None:
        raise ZeroDivisionError("of the caller's")

    with pytest.raises(ZeroDivisionError, match="of the caller's"):
        cellring.convert(large, tmp_path / "s", progress=fail)
    assert names_of(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError("not today"), AttributeError("not today"), KeyError("not today")])
def test_what_a_function_of_progress_raises_is_for_the_caller(tmp_path, error):
    def fail(done, total):
        raise error

    with pytest.raises(type(error), match="not today"):
        cellring.convert(MOUSE, tmp_path / "s", progress=fail)
    assert not (tmp_path / "s").exists()


def test_progress_as_a_bar(tmp_path, large, capfd):
    pytest.importorskip("tqdm")
    cellring.convert(large, tmp_path / "s", progress=True)
    said = capfd.readouterr()
    assert "convert: " in said.err and "%" in said.err and said.out == ""
    for progress in (False, None):
        cellring.convert(large, tmp_path / "s", progress=progress, force=True)
        said = capfd.readouterr()
        assert said.err == said.out == ""


IN_TERMINAL = """
import fcntl, struct, sys, termios
import cellring
# A new terminal has no size.
fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
cellring.convert(*sys.argv[1:])
"""


def test_progress_in_a_terminal(run_python, large, tmp_path):
    """There it is shown without being asked for."""
    script = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-c', *sys.argv[1:]]))"
    assert "convert: " in run_python(script, IN_TERMINAL, large, tmp_path / "s")


def test_progress_in_a_notebook(tmp_path):
    """In a kernel of Jupyter it is a widget, without being asked for."""
    pytest.importorskip("ipywidgets")
    pytest.importorskip("ipykernel")
    from jupyter_client.manager import start_new_kernel

    cell = f"import cellring; print(cellring.convert({os.fspath(MOUSE)!r}, {os.fspath(tmp_path / 's')!r})['n_obs'])"
    manager, client = start_new_kernel(env={**os.environ, "PYTHONPATH": PACKAGE})
    try:
        client.execute(cell)
        said = []
        while not said or said[-1] != ("status", {"execution_state": "idle"}):
            message = client.get_iopub_msg(timeout=LIMIT)
            said.append((message["msg_type"], message["content"]))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert ("stream", {"name": "stdout", "text": "10000\n"}) in said
    shown = [content["data"] for kind, content in said if kind == "display_data"]
    assert len(shown) == 1 and "application/vnd.jupyter.widget-view+json" in shown[0]
    assert shown[0]["text/plain"].startswith("convert: ")
    changes = [content["data"].get("state", {}).get("value") for kind, content in said if kind == "comm_msg"]
    assert any(isinstance(value, str) and value.startswith("convert:") and "%" in value for value in changes)


def test_progress_without_tqdm(run_python, tmp_path):
    script = """
import sys
sys.modules["tqdm"] = None
import cellring
cellring.convert(*sys.argv[1:], progress=None)
try:
    cellring.convert(*sys.argv[1:], progress=True, force=True)
except cellring.InputError as error:
    print(error)
"""
    assert "pip install tqdm" in run_python(script, MOUSE, tmp_path / "s")


@pytest.mark.parametrize("progress", [1, "yes", []])
def test_progress_that_is_none(tmp_path, progress):
    with pytest.raises(cellring.InputError, match="progress=.*expected True, False, or a function"):
        cellring.convert(MOUSE, tmp_path / "s", progress=progress)


# How they end.

INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import cellring

source, folder, how = sys.argv[1:]
if how == "memory":
    import anndata
    source = anndata.read_h5ad(source)
def progress(done, total):
    if how != "start":
        print("under way", flush=True)
convert = cellring.convert
try:
    if how in ("start", "memory"):
        print("under way", flush=True)
    convert(source, folder + "/target", progress=progress)
    print("converted")
except KeyboardInterrupt:
    # What the conversion has begun is gone when the exception is here.
    print("interrupted", os.listdir(folder), flush=True)
print(convert(os.environ["MOUSE"], folder + "/after")["n_obs"])
"""


def python(script: str, *arguments: object, **named) -> subprocess.Popen[str]:
    """A script in a Python of its own, with this package."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": PACKAGE, "MOUSE": os.fspath(MOUSE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **named,
    )


@pytest.mark.parametrize("how", ["process", "group", "start", "memory"])
def test_ctrl_c(tmp_path, large, how):
    """To the process alone, as a notebook sends it, or to all of the terminal: nothing is left, and the process goes on."""
    (tmp_path / "in").mkdir()
    child = python(INTERRUPTED, large, tmp_path / "in", how, start_new_session=True)
    assert child.stdout.readline() == "under way\n"
    (os.killpg if how == "group" else os.kill)(child.pid, signal.SIGINT)
    said, errors = child.communicate(timeout=LIMIT)
    said = [line for line in said.splitlines() if line != "under way"]
    assert said == ["interrupted []", "10000"], errors
    assert child.returncode == 0
    assert names_of(tmp_path / "in") == ["after"]


def children_of(pid: int) -> list[int]:
    """The processes that it has started."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(folder.name))
        except OSError:
            # It has ended meanwhile.
            pass
    return found


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_the_command_ends_with_the_process(tmp_path, large, sent):
    """However that ends: nothing is left."""
    child = python(INTERRUPTED, large, tmp_path, "process")
    assert child.stdout.readline() == "under way\n"
    commands = children_of(child.pid)
    assert len(commands) == 1
    # Its own end is seen although it is nobody's child then.
    watched = os.pidfd_open(commands[0])
    child.send_signal(sent)
    assert child.wait(LIMIT) == -sent
    child.communicate()
    assert select.select([watched], [], [], LIMIT)[0], "it goes on"
    os.close(watched)
    assert names_of(tmp_path) == []


def test_in_a_thread(tmp_path, source, adata):
    """Several at once, from threads, where there are no signals."""
    failed: list[BaseException] = []

    def convert(number: int) -> None:
        try:
            cellring.convert(source if number % 2 else adata, tmp_path / str(number), progress=lambda done, total: None)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=convert, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and names_of(tmp_path) == [str(number) for number in range(6)]
    for number in range(6):
        equal(tmp_path / str(number), adata)


def test_the_working_directory_and_the_environment_do_not_matter(tmp_path, source, run_python):
    """Neither modules that lie there nor variables of Python's have to do with the command."""
    for name in ("json", "signal", "threading", "cellring", "os"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    script = """
import sys, os
from cellring import convert
os.chdir(sys.argv[1])
os.environ.update(PYTHONPATH=sys.argv[1], PYTHONWARNINGS="error", PYTHONVERBOSE="1")
print(convert(sys.argv[2], "s")["n_obs"])
"""
    assert run_python(script, tmp_path, source) == "1000\n"


def test_no_descriptors_are_left(tmp_path, source):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(10):
        cellring.convert(source, tmp_path / str(number))
        with pytest.raises(cellring.StoreExistsError):
            cellring.convert(source, tmp_path / str(number))
    assert len(os.listdir("/proc/self/fd")) == before
    assert children_of(os.getpid()) == []


# The command line.


# As the script `cellring` of an installation runs it.
ENTRY = ("-c", "import sys; from cellring._cli import main; sys.exit(main())")
ENVIRONMENT = {**os.environ, "PYTHONPATH": PACKAGE}


def command_line(way: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *way, *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT)


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the console entry."""
    return command_line(ENTRY, *arguments)


def module(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `python -m cellring`."""
    return command_line(("-m", "cellring"), *arguments)


@pytest.mark.parametrize("run", [cli, module])
def test_the_command_line(run, tmp_path, source):
    said = run("--help")
    assert said.returncode == 0 and "convert" in said.stdout and "Usage: cellring" in said.stdout and said.stderr == ""
    said = run("--version")
    assert said.returncode == 0 and said.stdout == f"cellring {cellring.__version__}\n"
    assert run().returncode == 2
    said = run("convert", "--nonsense")
    assert said.returncode == 2 and "--nonsense" in said.stderr and "Traceback" not in said.stderr
    said = run("convert", source, "-o", tmp_path / "s")
    assert said.returncode == 0 and "1,000 cells x 1,000 genes" in said.stdout
    said = run("convert", source, "-o", tmp_path / "s")
    assert said.returncode == 1 and "give --force to replace it" in said.stderr
    said = run("info", tmp_path / "s", "--json")
    assert said.returncode == 0 and '"n_obs":1000' in said.stdout
    assert run("verify", tmp_path / "s").returncode == 0


def test_the_entry_is_that_of_the_package():
    project = (pathlib.Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert 'cellring = "cellring._cli:main"' in project


def lines_until(stream: Iterator[str], words: str) -> None:
    for line in stream:
        if words in line:
            return
    raise AssertionError(f"it ended before it said {words!r}")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_command_line(tmp_path, large, sent):
    """As a shell expects it: by the signal, without a traceback, and nothing is left."""
    child = subprocess.Popen(
        [sys.executable, *ENTRY, "convert", str(large), "-o", str(tmp_path / "s"), "--json"],
        env={**ENVIRONMENT, "CELLRING_PROGRESS": "json"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines_until(child.stderr, "progress")
    child.send_signal(sent)
    said, errors = child.communicate(timeout=LIMIT)
    assert child.returncode == -sent
    assert said == "" and "Traceback" not in errors
    assert names_of(tmp_path) == []


def test_a_pipe_that_nobody_reads(store):
    """As with `| head`: nothing is wrong."""
    child = subprocess.Popen(
        [sys.executable, *ENTRY, "obs", store, "--head", "1000", "--json"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    child.stdout.close()
    assert child.stderr.read() == ""
    assert child.wait(LIMIT) == 0
