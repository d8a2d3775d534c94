"""Columns of obs of every kind, in every form: those of minibatches are those of the store, and of what the command exports."""

from __future__ import annotations

import os

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from command_helpers import cli

import cellring

torch = pytest.importorskip("torch", reason="torch is not installed")

N = 150
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"]


def frame_of_every_kind() -> pd.DataFrame:
    random = np.random.default_rng(3)
    obs = pd.DataFrame(index=pd.Index([f"cell{i}" for i in range(N)], name="barcode"))
    for bits in (16, 32, 64):
        obs[f"float{bits}"] = random.standard_normal(N).astype(f"float{bits}")
    obs["partly float"] = np.where(np.arange(N) % 5 == 0, np.nan, random.random(N))
    for dtype in INTEGERS:
        largest = np.iinfo(dtype)
        obs[dtype] = random.integers(largest.min, largest.max, N, dtype=dtype, endpoint=True)
    obs["uint64"] = random.integers(2**63, 2**64, N, dtype=np.uint64)
    obs["bool"] = random.random(N) < 0.5
    obs["partly Int16"] = pd.array(random.integers(-500, 500, N), dtype="Int16")
    obs["partly UInt64"] = pd.array(random.integers(2**63, 2**64, N, dtype=np.uint64), dtype="UInt64")
    obs["partly boolean"] = pd.array(random.random(N) < 0.5, dtype="boolean")
    for place, name in enumerate(name for name in obs.columns if name.startswith("partly ") and name != "partly float"):
        obs.loc[obs.index[place::4], name] = pd.NA
    # Texts that are all different stay texts; of others anndata makes categories when it writes.
    obs["text"] = [f"\N{LATIN SMALL LETTER E WITH ACUTE}{i}" for i in range(N)]
    obs["category"] = pd.Categorical(np.array(["b", "a", "c"])[random.integers(0, 3, N)], categories=["c", "a", "b"])
    partly = obs["category"].astype(object)
    partly.iloc[::7] = np.nan
    obs["partly category"] = pd.Categorical(partly, categories=["c", "never", "a", "b"], ordered=True)
    obs["category of integers"] = pd.Categorical(random.integers(0, 4, N) * 10)
    obs["category of floats"] = pd.Categorical(np.array([0.5, 1.5])[random.integers(0, 2, N)])
    return obs


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory):
    """A store with them, and obs as anndata reads what the command exports of it."""
    folder = tmp_path_factory.mktemp("every_kind")
    matrix = sp.random(N, 20, 0.2, "csr", dtype=np.float32, random_state=1)
    cellring.convert(anndata.AnnData(matrix, obs=frame_of_every_kind()), folder / "store")
    done = cli("export", folder / "store", folder / "exported.h5ad")
    assert done.returncode == 0, done.stderr
    exported = anndata.read_h5ad(folder / "exported.h5ad").obs
    pd.testing.assert_frame_equal(cellring.Store(folder / "store").obs.to_pandas(), exported)
    assert exported.columns.tolist() == frame_of_every_kind().columns.tolist()
    return os.fspath(folder / "store"), exported


def text_of(value: object) -> str:
    return str(value).lower() if isinstance(value, (bool, np.bool_)) else str(value)


def is_category(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.CategoricalDtype)


def check(minibatch: cellring.Minibatch, loader: cellring.Loader, name: str, form: str, column: pd.Series) -> None:
    """One column of a minibatch, whose cells ``column`` has."""
    found, valid = minibatch.obs[name], column.notna().to_numpy()
    if name in minibatch.obs_valid:
        said = minibatch.obs_valid[name]
        assert said.dtype == torch.bool and np.array_equal(said.numpy(), valid)
    else:
        assert valid.all() or column.dtype.kind == "f", "what is missing is said"
    there = column[valid]
    values = there.astype(dtype_of(there))
    if form == "strings" or (form == "natural" and name == "text"):
        assert type(found) is list
        assert [text for text, is_there in zip(found, valid, strict=True) if is_there] == [text_of(value) for value in values]
        assert {text for text, is_there in zip(found, valid, strict=True) if not is_there} <= {""}
        return
    assert found.shape == (len(column),)
    if form == "codes" or is_category(column) and form == "natural":
        assert found.dtype == torch.int64
        assert (found.numpy()[~valid] == -1).all()
        names = np.asarray(loader.categories(name), dtype=object)
        assert names[found.numpy()[valid]].tolist() == [text_of(value) for value in values]
        if is_category(column):
            assert np.array_equal(found.numpy(), column.cat.codes)
            assert names.tolist() == [text_of(value) for value in column.cat.categories]
    elif form == "floats" or column.dtype.kind == "f":
        assert found.dtype == torch.float64
        assert np.array_equal(found.numpy()[valid], values.to_numpy(dtype=np.float64))
        assert np.isnan(found.numpy()[~valid]).all()
    else:
        kind = {"b": torch.bool, "i": torch.int64, "u": torch.uint64 if "int64" in str(column.dtype).lower() else torch.int64}
        assert found.dtype == kind[column.dtype.kind]
        assert np.array_equal(found.numpy()[valid], values.to_numpy(dtype=found.numpy().dtype))


def dtype_of(column: pd.Series) -> object:
    """That of its categories, if it has any."""
    return column.cat.categories.dtype if is_category(column) else column.dtype


# Which columns can come in each form.
FORMS = {
    "natural": lambda column: True,
    "codes": lambda column: column.dtype.kind != "f",
    "floats": lambda column: pd.api.types.is_numeric_dtype(dtype_of(column)),
    "strings": lambda column: dtype_of(column).kind != "f",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_in_every_form(every_kind, form):
    store, obs = every_kind
    names = [name for name in obs.columns if FORMS[form](obs[name])]
    assert len(names) >= 16
    loader = cellring.Loader(store, obs_columns=dict.fromkeys(names, form), batch_size=32, seed=6)
    seen = []
    for minibatch in [*loader, loader.rows([7, 0, 7, N - 1])]:
        ids = minibatch.ids.numpy()
        seen += ids.tolist()
        assert list(minibatch.obs) == names
        for name in names:
            check(minibatch, loader, name, form, obs[name].iloc[ids])
    assert sorted(seen) == sorted([*range(N), 7, 0, 7, N - 1])
    for name in set(obs.columns) - set(names):
        with pytest.raises(cellring.InputError, match=f"do not carry as {form}"):
            next(iter(cellring.Loader(store, obs_columns={name: form})))


@pytest.mark.parametrize("to", ["numpy", "scipy"])
def test_every_kind_in_other_frameworks(every_kind, to):
    """The same bits as tensors have."""
    store, obs = every_kind
    arguments = {"obs_columns": obs.columns.tolist(), "batch_size": 64, "seed": 6}
    for minibatch, expected in zip(cellring.Loader(store, to=to, **arguments), cellring.Loader(store, **arguments), strict=True):
        for name, tensor in expected.obs.items():
            array = minibatch.obs[name]
            if isinstance(tensor, list):
                assert array == tensor
                continue
            assert isinstance(array, np.ndarray) and array.dtype == tensor.numpy().dtype and array.tobytes() == tensor.numpy().tobytes()
        assert minibatch.obs_valid.keys() == expected.obs_valid.keys() and "partly category" in minibatch.obs_valid
        for name, valid in expected.obs_valid.items():
            assert np.array_equal(minibatch.obs_valid[name], valid.numpy())


def test_every_kind_as_anndata(every_kind):
    """Columns of ``to_anndata`` are those of the store in wider types; categories are texts there."""
    store, obs = every_kind
    for minibatch in cellring.Loader(store, obs_columns=obs.columns.tolist(), batch_size=64):
        made, expected = minibatch.to_anndata().obs, obs.iloc[minibatch.ids.numpy()]
        for name in obs.columns:
            column, wanted = made[name], expected[name]
            if wanted.dtype.kind == "f":
                wanted = wanted.astype(np.float64)
            assert np.array_equal(column.isna(), wanted.isna()), name
            assert [text_of(value) for value in column.dropna()] == [text_of(value) for value in wanted.dropna()], name


def test_to_anndata_keeps_the_type_of_categories(tmp_path):
    """Numbers stay numbers, and an order an order."""
    anndata = pytest.importorskip("anndata")
    pd = pytest.importorskip("pandas")
    obs = pd.DataFrame(
        {
            "year": pd.Categorical([2019, 2021, 2019, 2020] * 5),
            "dose": pd.Categorical([0.5, 1.25, 0.5, 0.1] * 5, categories=[0.1, 0.5, 1.25], ordered=True),
            "type": pd.Categorical(["b", "a", "b", "c"] * 5),
        },
        index=[f"cell {number}" for number in range(20)],
    )
    cellring.convert(anndata.AnnData(np.eye(20, 6, dtype=np.float32), obs=obs), tmp_path / "s.cellring")
    loader = cellring.Loader(tmp_path / "s.cellring", batch_size=20, obs_columns=list(obs), to="scipy")
    (minibatch,) = loader
    made = minibatch.to_anndata().obs
    for column in obs:
        assert made[column].dtype == obs[column].dtype, column
        assert made[column].tolist() == obs[column].iloc[minibatch.ids].tolist()


def test_jax_refuses_integers_that_it_has_no_room_for(tmp_path):
    anndata = pytest.importorskip("anndata")
    jax = pytest.importorskip("jax")
    pd = pytest.importorskip("pandas")
    big = pd.DataFrame({"n": np.array([1, 2**40 + 1, 3])}, index=list("abc"))
    cellring.convert(anndata.AnnData(np.eye(3, dtype=np.float32), obs=big), tmp_path / "s.cellring")
    loader = cellring.Loader(tmp_path / "s.cellring", obs_columns=["n"], to="jax")
    (minibatch,) = loader
    if jax.config.jax_enable_x64:
        pytest.skip("jax has 64 bits here")
    with pytest.raises(cellring.InputError, match="jax_enable_x64"):
        minibatch.obs
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        (minibatch,) = loader
        assert sorted(minibatch.obs["n"].tolist()) == [1, 3, 2**40 + 1]
