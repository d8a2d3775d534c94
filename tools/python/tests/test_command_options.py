"""The options of the commands as arguments of the functions."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pandas as pd
import pytest
from command_helpers import COMMANDS, cli
from conftest import names_of

import cellring
from cellring import _arguments, _cellring, _commands

pytestmark = pytest.mark.usefixtures("written")


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
