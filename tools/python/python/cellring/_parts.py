"""Loaders of the parts of a split, as the data modules of trainers keep them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from . import _arguments, _request
from ._errors import ArgumentError, InputError
from ._loader import Loader

NAMES = ("train", "val", "test", "predict")

# How training draws its cells. What is evaluated is read as it is stored instead, each cell once.
_STRATEGIES = ("strategy", *_request.STRATEGIES)
_DRAWING = (
    *_STRATEGIES,
    "replacement",
    "draws",
    "balance_global",
    "n_per_group",
    "sets_per_minibatch",
    "controls",
    "match",
    "n_controls",
    "shuffle_order",
    "drop_last",
)


def of_split(split: str | None, split_by: str | None, split_seed: int) -> dict[str, dict[str, Any]]:
    """For each part of a split the arguments of ``Loader`` that select its cells; without a split all cells are for training."""
    if split is None:
        return {"train": {}}
    if not isinstance(split, str):
        raise InputError(f'split={split!r}: expected a text, such as "train=0.8,val=0.2"')
    made = {}
    for part in split.split(","):
        name = part.partition("=")[0].strip()
        _arguments.one_of("split", name, NAMES)
        made[name] = {"split": split, "part": name, "split_by": split_by, "split_seed": split_seed}
    return made


def selected(loader: Loader) -> np.ndarray:
    """Numbers of the cells of a loader that reads in storage order."""
    return np.asarray(loader._setup().selected())


def without_drawing(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``Loader`` without those that say how cells are drawn."""
    return {key: value for key, value in arguments.items() if key not in _DRAWING}


class Parts:
    """A loader for each part, made once: a trainer that asks again finds the loader in the state that it left, or restored."""

    def __init__(
        self,
        stores: Any,
        arguments: Mapping[str, Any],
        selections: Mapping[str, Mapping[str, Any]],
        evaluation: Mapping[str, Any] | None = None,
    ) -> None:
        if "part" in arguments:
            raise ArgumentError("part= is not for a data module, which has a loader for each part of its split: leave it out")
        self._stores = stores
        self._arguments = dict(arguments)
        self._selections = {name: dict(selection) for name, selection in selections.items()}
        self._evaluation = dict(evaluation or {})
        self._loaders: dict[str, Loader] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._selections

    def __iter__(self) -> Iterator[str]:
        return iter(self._selections)

    def __repr__(self) -> str:
        """The stores and the parts, as a data module shows them."""
        loaders = {name: self.loader(name) for name in self._selections}
        paths = next(iter(loaders.values()))._paths
        parts = ", ".join(f"{name}: {loader.n_obs} cells" for name, loader in loaders.items())
        return f"{(paths[0] if len(paths) == 1 else paths)!r}, {parts}"

    def loader(self, name: str) -> Loader:
        """The loader of a part. All cells are there to be predicted, unless the split says which."""
        made = self._loaders.get(name)
        if made is None:
            if name == "train":
                made = Loader(self._stores, **{**self._arguments, **self._selections[name]})
            else:
                made = self.in_order(name, **self._evaluation)
            self._loaders[name] = made
        return made

    def in_order(self, name: str | None = None, **changes: Any) -> Loader:
        """A new loader of a part, or of all cells, that reads in storage order unless ``changes`` has a strategy of its own."""
        arguments = without_drawing(self._arguments)
        if not any(changes.get(key) is not None for key in _STRATEGIES):
            arguments["strategy"] = "sequential"
        selection = self._selections.get(name, {}) if name is not None else {}
        return Loader(self._stores, **{**arguments, **selection, **changes})

    def change(self, **changes: Any) -> None:
        """Other arguments from here on: the loaders are made again."""
        self._arguments.update(changes)
        self.close()
        self._loaders = {}

    def close(self) -> None:
        """Ends running epochs, and closes files and threads."""
        for loader in self._loaders.values():
            loader.close()

    def state_dict(self) -> dict[str, Any]:
        """The state of the training loader; empty if there is none yet."""
        train = self._loaders.get("train")
        return {} if train is None else train.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], trainer: Any = None) -> None:
        """Goes on with training where a state was saved; for a trainer, which counts epochs itself, only within an epoch."""
        if trainer is None or (trainer.state.fn == "fit" and state.get("history")):
            self.loader("train").load_state_dict(state)
