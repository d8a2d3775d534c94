"""The command line's commands as functions: what they do, report, warn of and refuse."""

from __future__ import annotations

import pathlib
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from command_helpers import COMMANDS
from conftest import MOUSE, equal, names_of

import cellring
from cellring import _commands

pytestmark = pytest.mark.usefixtures("written")


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
    "directory that is not a store": ("convert", ["a.h5ad", "d"], {"force": True}, cellring.StoreExistsError, "is not a cellring store"),
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
    "verify of what is not a store": ("verify", ["d"], {}, cellring.StoreError, "it has no manifest.json"),
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
    """Sentences of the command line, and what becomes of them; what is not an option stays."""
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


def test_a_report_longer_than_a_pipe_holds(tmp_path):
    adata = anndata.AnnData(X=np.ones((2, 3), np.float32))
    # Complex numbers are no column of a store, and each one is warned of.
    columns = {f"{'long ' * 20}{number}": np.ones(2, complex) for number in range(1000)}
    adata.obs = pd.DataFrame(columns, index=adata.obs_names)
    with pytest.warns(cellring.CellringWarning, match="the column is skipped"):
        report = cellring.convert(adata, tmp_path / "s")
    assert sum(len(warning["message"]) for warning in report["warnings"]) > 100_000
