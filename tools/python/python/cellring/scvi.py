"""cellring as the data module of scvi-tools: models train on a store, without an AnnData in memory.

::

    data = cellring.scvi.DataModule("cells.cellring", batch_key="donor")
    model = scvi.model.SCVI(registry=data.registry)
    model.train(datamodule=data)
    latent = model.get_latent_representation(dataloader=data.inference_dataloader())
    model.save("model", datamodule=data)

Made for scvi-tools 1.5, where data modules are marked as experimental.
"""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scvi
import torch
from lightning.pytorch import LightningDataModule

from . import _arguments
from ._errors import CellringWarning, InputError, NotFoundError
from ._loader import Loader
from ._minibatch import Minibatch
from ._request import column_names
from ._parts import Parts, of_split, selected, without_drawing
from ._store import Store

__all__ = ["DataModule", "InferenceLoader"]

# What other data modules, and setup_anndata, have, and what it is called here.
_FOREIGN = {
    "label_key": "it is called labels_key here, as in setup_anndata",
    "train_size": "give it to model.train, or a split to the data module",
    "validation_size": "give it to model.train, or a split to the data module",
    "shuffle": "training is shuffled, and inference is not",
}
_CHOSEN = ("layout", "dtype", "to", "matrices", "obs_columns", "pad_nnz", "order", "group")

# What `model.train` passes on where its user gave nothing.
_DEFAULT_TRAIN_SIZE = 0.9

# A last minibatch of so few cells is left out of training: batch normalisation fails on a single one.
_FEWEST = 3


class DataModule(LightningDataModule):
    """Cells of a store for the models of scvi-tools.

    Minibatches stay sparse until they are on the device, and are made dense there. Codes of batches and labels are those of the store:
    nothing is looked up for each minibatch. Missing values are refused here, before training, except for labels, where they are
    ``unlabeled_category``. The columns of ``X`` are ``var_names``; which genes and cells there are, how they are read and how training
    draws them are arguments of ``Loader``.

    Parameters
    ----------
    stores : str, path, Store, or a list of these
        As for ``Loader``. The matrix of the store should have counts.
    batch_key : str, optional
        Column of obs with the batch of each cell.
    labels_key : str, optional
        Column of obs with the labels of cells.
    unlabeled_category : str, default "Unknown"
        The value of ``labels_key`` for cells without a label; cells with a missing value there have no label either.
    sample_key : str, optional
        Column of obs with the sample of each cell.
    size_factor_key : str, optional
        Column of obs with the size factor of each cell.
    categorical_covariate_keys, continuous_covariate_keys : list of str, optional
        Columns of obs that are covariates.
    layer : str, optional
        Another matrix of the store to take instead of the first one, such as ``"counts"``.
    model_name : str, default "SCVI"
        The model that this is for. ``"SCANVI"`` gets the labelled cells of each minibatch apart.
    split : str, optional
        Divides all cells at random into parts called train, val and test, such as ``"train=0.8,val=0.2"``. By default ``model.train`` says
        how large they are (``train_size=0.9``).
    split_by : str, optional
        A column of obs: cells with equal values in it are in one part.
    split_seed : int, default 0
        The seed of the split.
    batch_size : int, default 128
        Cells in a minibatch of training.
    **arguments
        Those of ``Loader``, except for the form of minibatches.

    Attributes
    ----------
    registry : dict
        What ``SCVI(registry=...)`` takes.
    train_idx, val_idx, test_idx : array of int64
        The cells of the parts, numbered as in the store.
    ids : array of int64
        All cells, numbered as in the store: the rows of what is inferred.

    Raises
    ------
    InputError
        If a cell lacks a batch, a sample or a covariate, and as ``Loader``.
    NotFoundError
        If there is no such column or matrix.
    """

    def __init__(
        self,
        stores: Any,
        *,
        batch_key: str | None = None,
        labels_key: str | None = None,
        unlabeled_category: str = "Unknown",
        sample_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: Sequence[str] | None = None,
        continuous_covariate_keys: Sequence[str] | None = None,
        layer: str | None = None,
        model_name: str = "SCVI",
        split: str | None = None,
        split_by: str | None = None,
        split_seed: int = 0,
        batch_size: int = 128,
        **arguments: Any,
    ) -> None:
        super().__init__()
        _check_names(arguments)
        self.batch_key, self.labels_key, self.sample_key = batch_key, labels_key, sample_key
        self.size_factor_key = size_factor_key
        self.categorical_covariate_keys = column_names(categorical_covariate_keys or ())
        self.continuous_covariate_keys = column_names(continuous_covariate_keys or ())
        self.unlabeled_category = unlabeled_category
        self.layer = layer
        self.model_name = model_name
        self._split_by, self._split_seed = split_by, split_seed
        self._is_split_given = split is not None
        self._stores = stores if isinstance(stores, (list, tuple)) else [stores]
        self._stores = [store if isinstance(store, Store) else Store(store) for store in self._stores]
        self._matrix = None if layer is None else self._found(layer)
        if self._matrix is not None and arguments.get("genes") is not None:
            raise InputError("layer= has all genes, and genes= selects those of the first matrix only: give one of them")
        as_codes = [batch_key, labels_key, sample_key, *self.categorical_covariate_keys]
        as_floats = [size_factor_key, *self.continuous_covariate_keys]
        columns = {key: "codes" for key in as_codes if key is not None}
        for key in filter(None, as_floats):
            if columns.get(key) == "codes":
                raise InputError(f"the column {key!r} is asked for as a category and as a number: leave out one of them")
            columns[key] = "floats"
        self._arguments = {
            **arguments,
            "batch_size": batch_size,
            "obs_columns": columns,
            "layout": "csr",
            "dtype": "float32",
            "matrices": {} if self._matrix is None else {self._matrix: {"layout": "csr", "dtype": "float32"}},
        }
        # Says what columns there are and what their codes mean; never iterated over.
        self._all = Loader(self._stores, strategy="sequential", **without_drawing(self._arguments))
        self.ids = selected(self._all)
        self._columns: dict[str, list[pd.Series]] = {}
        self._names: dict[str, list[str]] = {}
        self._set_codes()
        # Only what they are named is needed from here on.
        self._columns = {}
        self._divide(of_split(split, split_by, split_seed))

    def _found(self, layer: str) -> str:
        """The name that a store has for a matrix."""
        matrices = self._stores[0].matrices
        for name in (layer, f"layers/{layer}"):
            if name in matrices:
                return name
        raise NotFoundError(f"layer={layer!r}: {self._stores[0].path} has no such matrix, only {', '.join(matrices)}")

    def __repr__(self) -> str:
        return f"DataModule({self._parts!r})"

    # Lightning's own would iterate over the loaders.
    __str__ = __repr__

    # Columns of obs, looked at once.

    def _values(self, column: str) -> list[pd.Series]:
        """A column of each store."""
        if column not in self._columns:
            self._columns[column] = [store.obs[column] for store in self._stores]
        return self._columns[column]

    def _codes(self, column: str) -> np.ndarray:
        """The codes of all cells in a column, as minibatches have them; -1 where there is none."""
        places = {text: code for code, text in enumerate(self._categories(column))}
        made = []
        for values in self._values(column):
            codes, distinct = pd.factorize(values)
            # The last, which pandas' -1 stands for, is that of missing values.
            table = [*(places.get(_text(value), -1) for value in distinct), -1]
            made.append(np.array(table, dtype=np.int64)[codes])
        cells: np.ndarray = np.concatenate(made)[self.ids]
        return cells

    def _categories(self, column: str) -> list[str]:
        """What the codes of a column stand for."""
        if column not in self._names:
            found = self._all.categories(column)
            assert found is not None, "a column that is asked for as codes has categories"
            categorical = [values.cat.categories for values in self._values(column) if isinstance(values.dtype, pd.CategoricalDtype)]
            if any(categories.dtype.kind == "f" for categories in categorical):
                # The loader writes large numbers otherwise than Python does. Their order is that of the first store, and
                # then of what each other one adds.
                found = [_text(value) for value in dict.fromkeys(itertools.chain.from_iterable(categorical))]
            self._names[column] = found
        return self._names[column]

    def _set_codes(self) -> None:
        """Looks for missing values, and at the labels."""
        self._n_obs_per_sample = torch.tensor([])
        for name, key in (
            ("batch_key", self.batch_key),
            ("sample_key", self.sample_key),
            *(("categorical_covariate_keys", key) for key in self.categorical_covariate_keys),
        ):
            if key is not None:
                codes = self._codes(key)
                self._refuse_missing(name, key, codes < 0)
                if name == "sample_key":
                    self._n_obs_per_sample = torch.from_numpy(np.bincount(codes, minlength=self.n_samples)).float()
        for name, key in (
            ("size_factor_key", self.size_factor_key),
            *(("continuous_covariate_keys", key) for key in self.continuous_covariate_keys),
        ):
            if key is not None:
                try:
                    parts = [np.asarray(part.to_numpy(dtype=np.float64, na_value=np.nan)) for part in self._values(key)]
                except (TypeError, ValueError):
                    found = ", ".join(sorted({str(part.dtype) for part in self._values(key)}))
                    raise InputError(f"{name}: the column {key!r} has {found}, and scvi-tools needs numbers: give another column") from None
                values = np.concatenate(parts)
                self._refuse_missing(name, key, np.isnan(values[self.ids]))
        self._set_labels()

    def _refuse_missing(self, name: str, column: str, is_missing: np.ndarray) -> None:
        n = int(np.count_nonzero(is_missing))
        if n > 0:
            quoted = column if column.replace(".", "_").isidentifier() else f"`{column}`"
            raise InputError(
                f"{name}: {n} of {len(is_missing)} cells have no value in the column {column!r}, and scvi-tools needs one for each: leave "
                f"them out with obs_filter='{quoted} is not missing'"
            )

    def _set_labels(self) -> None:
        """Known labels come first, and then, in the order that scvi-tools expects, that of cells without one."""
        self._known: list[str] = []
        self._label_of_code: torch.Tensor | None = None
        self._has_unlabelled = False
        self.labels_ = np.array([], dtype=object)
        if self.labels_key is None:
            return
        categories = self._categories(self.labels_key)
        self._known = [text for text in categories if text != self.unlabeled_category]
        places = {text: place for place, text in enumerate(self._known)}
        table = np.array([places.get(text, len(self._known)) for text in categories] + [len(self._known)])
        # The last of the table, which -1 stands for, is that of missing labels.
        labels = table[self._codes(self.labels_key)]
        self._has_unlabelled = bool((labels == len(self._known)).any())
        if self._has_unlabelled or len(self._known) < len(categories):
            self._label_of_code = torch.from_numpy(table)
        texts = np.array([*self._known, None if self._is_semisupervised else self.unlabeled_category], dtype=object)
        self.labels_ = texts[labels]

    @property
    def _is_semisupervised(self) -> bool:
        return self.model_name == "SCANVI"

    # What scvi-tools asks for.

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.ids)

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return len(self.var_names)

    @property
    def var_names(self) -> np.ndarray:
        """Names of the genes, in the order of the columns of ``X``."""
        return self._all.var_names

    @property
    def n_batch(self) -> int:
        """Number of batches; 1 without a ``batch_key``."""
        return len(self.batch_labels)

    @property
    def n_labels(self) -> int:
        """Number of labels; 1 without a ``labels_key``. For SCANVI the unlabelled category is none."""
        return max(1, len(self._known) + (self._has_unlabelled and not self._is_semisupervised))

    @property
    def n_samples(self) -> int:
        """Number of samples; 0 without a ``sample_key``."""
        return 0 if self.samples_mapping is None else len(self.samples_mapping)

    @property
    def n_continuous_cov(self) -> int:
        """Number of continuous covariates."""
        return len(self.continuous_covariate_keys)

    @property
    def n_cats_per_cov(self) -> list[int] | None:
        """Number of categories of each categorical covariate."""
        return [len(self._categories(key)) for key in self.categorical_covariate_keys] or None

    @property
    def n_obs_per_sample(self) -> torch.Tensor:
        """Number of cells of each sample."""
        return self._n_obs_per_sample

    @property
    def batch_labels(self) -> np.ndarray:
        """The batches, by code."""
        return np.array([0]) if self.batch_key is None else np.array(self._categories(self.batch_key), dtype=object)

    @property
    def labels_mapping(self) -> np.ndarray:
        """The labels, by code; the last is that of unlabelled cells, if there are any."""
        if self.labels_key is None:
            return np.array([0])
        ends_with_unlabelled = self._has_unlabelled or self._is_semisupervised
        return np.array([*self._known, *([self.unlabeled_category] if ends_with_unlabelled else [])], dtype=object)

    @property
    def samples_mapping(self) -> np.ndarray | None:
        """The samples, by code."""
        return None if self.sample_key is None else np.array(self._categories(self.sample_key), dtype=object)

    @property
    def label_keys(self) -> list[str] | None:
        """The column of labels, as ``model.save`` wants it."""
        return None if self.labels_key is None else [self.labels_key]

    @property
    def registry(self) -> dict[str, Any]:
        """What ``setup_anndata`` would have registered."""
        setup_args = {
            "layer": self.layer,
            "batch_key": self.batch_key,
            "labels_key": self.labels_key,
            "size_factor_key": self.size_factor_key,
            "categorical_covariate_keys": self.categorical_covariate_keys or None,
            "continuous_covariate_keys": self.continuous_covariate_keys or None,
        }
        if self.sample_key is not None:
            setup_args["sample_key"] = self.sample_key
        if self._is_semisupervised:
            setup_args["unlabeled_category"] = self.unlabeled_category
        return {
            "scvi_version": scvi.__version__,
            "model_name": self.model_name,
            "setup_method_name": "setup_datamodule",
            "setup_args": setup_args,
            "field_registries": {
                "X": _field(
                    {"attr_name": "X" if self._matrix is None else "layers", "attr_key": self.layer},
                    {"n_obs": self.n_obs, "n_vars": self.n_vars, "column_names": self.var_names},
                    {"n_vars": self.n_vars, "n_cells": self.n_obs},
                ),
                "batch": _field(
                    {"attr_name": "obs", "attr_key": "_scvi_batch"},
                    {"categorical_mapping": self.batch_labels, "original_key": self.batch_key or "_scvi_batch"},
                    {"n_batch": self.n_batch},
                ),
                "labels": _field(
                    {"attr_name": "obs", "attr_key": "_scvi_labels"},
                    {
                        "categorical_mapping": self.labels_mapping,
                        "original_key": self.labels_key or "_scvi_labels",
                        "unlabeled_category": self.unlabeled_category,
                    },
                    {"n_labels": self.n_labels},
                ),
                "sample": {
                    **_field(
                        {"attr_name": "obs", "attr_key": "_scvi_sample"},
                        {"categorical_mapping": self.samples_mapping, "original_key": self.sample_key},
                        {"n_sample": self.n_samples},
                    ),
                    "n_obs_per_sample": {"n_obs_per_sample": self.n_obs_per_sample},
                },
                "size_factor": _field(
                    {} if self.size_factor_key is None else {"attr_name": "obs", "attr_key": self.size_factor_key}, {}, {}
                ),
                "ind_x": _field({"attr_name": "obs", "attr_key": "_indices"}, {}, {}),
                "extra_categorical_covs": self._categorical_field(),
                "extra_continuous_covs": self._continuous_field(),
            },
        }

    def _categorical_field(self) -> dict[str, Any]:
        keys = self.categorical_covariate_keys
        stats = {"n_extra_categorical_covs": len(keys)}
        if not keys:
            return _field({}, {}, stats)
        mapping = {key: np.array(self._categories(key), dtype=object) for key in keys}
        state = {"field_keys": keys, "mapping": mapping, "n_cats_per_key": self.n_cats_per_cov}
        return _field({"attr_name": "obsm", "attr_key": "_scvi_extra_categorical_covs"}, state, stats)

    def _continuous_field(self) -> dict[str, Any]:
        keys = self.continuous_covariate_keys
        stats = {"n_extra_continuous_covs": len(keys)}
        if not keys:
            return _field({}, {}, stats)
        state = {"columns": np.array(keys, dtype=object)}
        return _field({"attr_name": "obsm", "attr_key": "_scvi_extra_continuous_covs"}, state, stats)

    # The split.

    def _divide(self, selections: dict[str, dict[str, Any]]) -> None:
        """Makes the loaders of the parts."""
        self._selections = selections
        self._parts = Parts(self._stores, self._arguments, selections)
        for name in self._parts:
            loader = self._parts.loader(name)
            n_last = loader.n_obs % loader.batch_size
            if name == "train" and "drop_last" not in self._arguments and 0 < n_last < _FEWEST and loader.n_obs > loader.batch_size:
                self._parts.change(drop_last=True)

    def set_batch_size(self, batch_size: int | None) -> None:
        """Cells in a minibatch from here on; ``model.train(batch_size=...)`` calls it."""
        if batch_size is not None and batch_size != self.batch_size:
            self._arguments["batch_size"] = batch_size
            self._parts.close()
            self._divide(self._selections)

    @property
    def batch_size(self) -> int:
        """Cells in a minibatch of training."""
        batch_size: int = self._arguments["batch_size"]
        return batch_size

    @batch_size.setter
    def batch_size(self, batch_size: int) -> None:
        self.set_batch_size(batch_size)

    def set_split(
        self,
        train_size: float | None = None,
        validation_size: float | None = None,
        shuffle_set_split: bool = True,
        batch_size: int | None = None,
    ) -> None:
        """Divides the cells at random; ``model.train(train_size=...)`` calls it.

        The same cells are in a part each time: ``split_seed`` chooses them, and ``split_by`` keeps cells together. A split that was given
        to the data module stays.

        Parameters
        ----------
        train_size : float, default 0.9
            The share of training.
        validation_size : float, optional
            The share of validation, by default all the rest; what is left of both is for tests.
        shuffle_set_split : bool, default True
            If False, the first cells are for validation, and those after them for training.
        batch_size : int, optional
            As for ``set_batch_size``.
        """
        self.set_batch_size(batch_size)
        is_default = validation_size is None and train_size in (None, _DEFAULT_TRAIN_SIZE)
        if self._is_split_given:
            if not is_default:
                raise InputError("the split was given to the data module: leave out train_size= and validation_size= here, or split= there")
            return
        if train_size is None:
            train_size = _DEFAULT_TRAIN_SIZE if validation_size is None else 1 - validation_size
        rest = 1 - train_size
        sizes = {"train": train_size, "val": rest if validation_size is None else validation_size}
        if not 0 < sizes["train"] <= 1 or not 0 <= sizes["val"] < 1 or sum(sizes.values()) > 1 + 1e-9:
            raise InputError(
                f"train_size={train_size} and validation_size={validation_size}: expected shares of the cells, from 0 to 1 and together at "
                "most 1"
            )
        sizes["test"] = 1 - sum(sizes.values())
        # What is left by rounding is not a part.
        sizes = {name: round(size, 12) for name, size in sizes.items() if size > 1e-9}
        self._parts.close()
        if shuffle_set_split:
            text = ",".join(f"{name}={size}" for name, size in sizes.items())
            self._divide(of_split(text, self._split_by, self._split_seed))
        else:
            n_val, n_train = (round(sizes.get(name, 0) * self.n_obs) for name in ("val", "train"))
            cells = {"val": self.ids[:n_val], "train": self.ids[n_val : n_val + n_train], "test": self.ids[n_val + n_train :]}
            self._divide({name: {"subset": cells[name]} for name in sizes})

    def _cells(self, part: str) -> np.ndarray:
        return selected(self._parts.in_order(part)) if part in self._parts else np.array([], dtype=np.int64)

    @property
    def train_idx(self) -> np.ndarray:
        """Numbers of the cells of training in the store."""
        return self._cells("train")

    @property
    def val_idx(self) -> np.ndarray:
        """Numbers of the cells of validation in the store."""
        return self._cells("val")

    @property
    def test_idx(self) -> np.ndarray:
        """Numbers of the cells of neither in the store."""
        return self._cells("test")

    @property
    def n_train(self) -> int:
        """Number of cells of training."""
        return self._parts.loader("train").n_obs

    @property
    def n_val(self) -> int:
        """Number of cells of validation."""
        return self._parts.loader("val").n_obs if "val" in self._parts else 0

    # Loaders.

    def train_dataloader(self) -> Loader:
        """The training loader: the same one each time, so that its place in the epoch goes into checkpoints."""
        return self._parts.loader("train")

    def val_dataloader(self) -> Loader | None:
        """The validation loader, in storage order; None if there is no validation."""
        return self._parts.loader("val") if "val" in self._parts else None

    def test_dataloader(self) -> Loader | None:
        """The test loader, in storage order; None if no cell is left for tests."""
        return self._parts.loader("test") if "test" in self._parts else None

    def inference_dataloader(
        self, batch_size: int = 4096, obs_filter: str | None = None, subset: Any = None, device: Any = None
    ) -> InferenceLoader:
        """Minibatches for the ``dataloader=`` of a model's methods: finished dictionaries, dense, in storage order, each cell once.

        Parameters
        ----------
        batch_size : int, default 4096
            Cells in a minibatch.
        obs_filter : str, optional
            Only the cells of this data module for which this is true.
        subset : array of ids or mask, optional
            Only these cells of this data module, numbered as in the store, such as ``val_idx``.
        device : str or torch.device, optional
            Where minibatches are made dense: that of the model is best.
        """
        return InferenceLoader(self, batch_size, obs_filter, subset, device)

    def setup(self, stage: str | None = None) -> None:
        """Nothing: all is set up before."""

    def teardown(self, stage: str | None = None) -> None:
        """Closes files and threads, which are opened again when they are needed."""
        self._parts.close()

    def state_dict(self) -> dict[str, Any]:
        """The state of the training loader, for a checkpoint."""
        return self._parts.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the state from a checkpoint."""
        self._parts.load_state_dict(state_dict, self.trainer)

    # From minibatches to what models take.

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves a minibatch while it is sparse."""
        if isinstance(batch, Minibatch):
            return batch.to(device)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """The dictionary that models take, dense; for SCANVI with a second one of the labelled cells."""
        if not isinstance(batch, Minibatch):
            return batch
        made = self.finished(batch)
        if not self._is_semisupervised:
            return made
        return made, self._labelled(made)

    def finished(self, minibatch: Minibatch) -> dict[str, torch.Tensor]:
        """A minibatch as models take it: ``X`` dense, codes as int64 of shape ``(n, 1)``."""
        x = minibatch.x if self._matrix is None else minibatch.matrices[self._matrix]
        x = x.to_dense()
        obs = minibatch.obs
        none = torch.zeros((len(x), 1), dtype=torch.int64, device=x.device)
        made = {
            "X": x,
            "batch": none if self.batch_key is None else obs[self.batch_key].unsqueeze(1),
            "labels": none if self.labels_key is None else self._labels(obs[self.labels_key]).unsqueeze(1),
        }
        if self.sample_key is not None:
            made["sample"] = obs[self.sample_key].unsqueeze(1)
        if self.size_factor_key is not None:
            made["size_factor"] = obs[self.size_factor_key].float().unsqueeze(1)
        if self.categorical_covariate_keys:
            made["extra_categorical_covs"] = torch.stack([obs[key] for key in self.categorical_covariate_keys], dim=1)
        if self.continuous_covariate_keys:
            made["extra_continuous_covs"] = torch.stack([obs[key].float() for key in self.continuous_covariate_keys], dim=1)
        return made

    def _labels(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes of the column as those of labels, in which unlabelled cells come last."""
        if self._label_of_code is None:
            return codes
        if self._label_of_code.device != codes.device:
            self._label_of_code = self._label_of_code.to(codes.device)
        return self._label_of_code[codes]

    def _labelled(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        """The cells that have a label; None if there are too few for batch normalisation."""
        if not self._has_unlabelled:
            return batch
        cells = torch.nonzero(batch["labels"][:, 0] < len(self._known))[:, 0]
        if len(cells) < 2:
            return None
        return {name: values[cells] for name, values in batch.items()}


class InferenceLoader:
    """Finished minibatches in storage order; see ``DataModule.inference_dataloader``."""

    def __init__(self, data: DataModule, batch_size: int, obs_filter: str | None, subset: Any, device: Any) -> None:
        self._data = data
        batch_size = min(_arguments.positive("batch_size", batch_size), max(1, data.n_obs))
        # Minibatches are much larger than those of training. Whoever has room for a dense one has it for what is read ahead, too.
        memory = data._all.memory_bytes + batch_size * data.n_vars * 4
        changes: dict[str, Any] = {"batch_size": batch_size, "fetch_factor": 1, "memory": memory, "rank": 0, "world_size": 1}
        if device is not None:
            changes["device"] = device
        given = data._arguments
        if obs_filter is not None:
            filters = [text for text in (given.get("obs_filter"), obs_filter) if text is not None]
            changes["obs_filter"] = " and ".join(f"({text})" for text in filters)
        if subset is not None:
            cells = _arguments.cells(subset, data._all._setup().n_obs, "subset")
            changes["subset"] = np.intersect1d(cells, data.ids)
            if len(changes["subset"]) < len(np.unique(cells)):
                raise InputError(
                    f"subset: {len(np.unique(cells)) - len(changes['subset'])} of its cells are not among those of the data module, whose "
                    "numbers are ids"
                )
        self._loader = data._parts.in_order(**changes)
        self.ids = selected(self._loader)
        """Numbers of the cells in the store, in their order here."""

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.ids)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        try:
            for minibatch in self._loader:
                yield self._data.finished(minibatch)
        finally:
            self._loader.close()


def _field(data: dict[str, Any], state: dict[str, Any], stats: dict[str, Any]) -> dict[str, Any]:
    return {"data_registry": data, "state_registry": state, "summary_stats": stats}


def _text(value: Any) -> str:
    """A value as ``Loader.categories`` has it."""
    return str(value).lower() if isinstance(value, (bool, np.bool_)) else str(value)


def _check_names(arguments: dict[str, Any]) -> None:
    """Refuses unknown arguments, and those that are not for the user to choose here."""
    for name in _CHOSEN:
        if arguments.get(name) is not None:
            raise InputError(f"{name}= is not for scvi-tools' data module, which chooses the form of minibatches: leave it out")
    own = [*inspect.signature(DataModule).parameters, *inspect.signature(Loader).parameters]
    accepted = {name for name in own if name not in ("arguments", "unknown", "part", *_CHOSEN)}
    _arguments.unknown(arguments, accepted, "cellring.scvi.DataModule", _FOREIGN)
    transforms = [f"{name}={arguments[name]!r}" for name in ("normalize", "log1p") if arguments.get(name)]
    if transforms:
        sentence = f"{' and '.join(transforms)}: the models of scvi-tools expect counts, and normalise them themselves"
        warnings.warn(sentence, CellringWarning, stacklevel=3)
