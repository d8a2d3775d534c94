"""What users write, as type checkers see it: every `assert_type` is checked by mypy, and when this runs."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

import cellring

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value: Any, kind: Any) -> Any:
        if type(kind) is type:  # Not one with parameters.
            assert isinstance(value, kind), f"{value!r} is no {kind}"
        return value


def look(path: str | os.PathLike[str]) -> None:
    with cellring.Store(path) as store:
        assert_type(store, cellring.Store)
        assert_type(store.shape, tuple[int, int])
        n_cells: int = len(store)
        names: list[str] = store.obs.columns
        assert n_cells == store.n_obs and "cell_type" in names
        assert_type(store.obs, cellring.Table)
        assert_type(store.path, str)
        frame: Any = store.obs.to_pandas(["cell_type"])
        matrix: Any = store[np.arange(3)]
        assert len(frame) == n_cells and matrix.shape == (3, store.n_vars)


def load(path: str) -> None:
    loader = cellring.Loader(
        pathlib.Path(path),
        batch_size=32,
        block_size=8,
        obs_columns={"cell_type": "codes", "n_genes": "floats"},
        matrices={"layers/counts": {"layout": "dense"}},
        genes=[str(name) for name in cellring.Store(path).var_names[:50]],
        normalize=True,
        log1p=True,
        layout=("top_k", 8),
        split="train=0.5,val=0.5",
        part="train",
        to="numpy",
        memory="64MiB",
        rank=0,
        world_size=1,
    )
    assert_type(len(loader), int)
    categories = loader.categories("cell_type")
    first: str = categories[0]
    for minibatch in loader:
        assert_type(minibatch, cellring.Minibatch)
        assert_type(minibatch.n_obs, int)
        assert_type(minibatch.is_padding, bool)
        codes: dict[str, Any] = minibatch.obs
        ranked: cellring.TopK = minibatch.x
        assert first and len(codes["cell_type"]) == len(ranked.values) == len(minibatch)
        break
    state: dict[str, Any] = loader.state_dict()
    loader.load_state_dict(state)
    loader.set_epoch(3)
    assert_type(loader.epoch, int)
    epoch = iter(loader)
    assert_type(next(epoch), cellring.Minibatch)
    epoch.close()
    stats: dict[str, int] = loader.stats()
    assert stats
    loader.close()


def fail(path: str) -> str:
    try:
        cellring.Store(path + " that is not there")
    except cellring.StoreNotFoundError as error:
        assert_type(error, cellring.StoreNotFoundError)
        return str(error)
    raise AssertionError("there is no such store")


def convert(source: str, path: str) -> None:
    def report(done: int, total: int) -> None:
        assert done <= total

    result: dict[str, Any] = cellring.convert(source, path, progress=report, max_obs=100)
    assert result["n_obs"] == 100
    cellring.verify(path, progress=False)
