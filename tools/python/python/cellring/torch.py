"""cellring as a dataset of ``torch.utils.data``, for code that insists on a ``DataLoader`` or a ``StatefulDataLoader``.

A ``cellring.Loader`` needs neither: it reads and decodes with threads of its own, and is what to iterate over. Here is the thin layer for
trainers that take a ``DataLoader`` only::

    dataset = cellring.torch.Dataset("cells.cellring", batch_size=64)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import torch
from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.data._utils.collate import default_collate_fn_map

from ._errors import CellringWarning, InputError, ResumeError
from ._epoch import Epoch
from ._loader import Loader
from ._minibatch import Minibatch
from ._ranks import rank_and_world_size

__all__ = ["Dataset"]

# Workers of a DataLoader that are told of epochs; more than any machine has use for.
_MAX_WORKERS = 256
_MIN_MEMORY = 32 << 20


class Dataset(IterableDataset):
    """Minibatches of a store, for ``DataLoader(dataset, batch_size=None)``.

    It works best without workers: cellring's own threads do the work. Each worker reads its share of the epoch, with one thread and its
    share of the memory. Every cell is delivered once, in a different order than without workers, and every epoch has a new order, whether
    or not workers are persistent. Each worker numbers its own minibatches, so ``Minibatch.number`` repeats across workers.

    Only the workers know where they are: save the state of torchdata's ``StatefulDataLoader``, which asks them. It is for the same numbers
    of workers and ranks. ``state_dict`` in the main process, while workers iterate, raises ``ResumeError``; that of the loader itself
    (``dataset.loader``) knows nothing of workers and is the state before them.

    Parameters
    ----------
    loader : Loader, or what ``Loader`` takes
        A loader, or stores, with the arguments of ``cellring.Loader``.

    Examples
    --------
    >>> dataset = cellring.torch.Dataset("cells.cellring", batch_size=64)        # doctest: +SKIP
    >>> for minibatch in torch.utils.data.DataLoader(dataset, batch_size=None):  # doctest: +SKIP
    ...     minibatch.x
    """

    def __init__(self, loader: Any, **arguments: Any) -> None:
        super().__init__()
        if isinstance(loader, Loader):
            if arguments:
                raise InputError(f"give {', '.join(arguments)} to the Loader, not to the Dataset")
            self.loader = loader
        else:
            self.loader = Loader(loader, **arguments)
        # For each worker the epoch that it gives next, in memory that all processes share: the copy of this object in a worker does not see
        # what becomes of this one.
        self._epochs = torch.full((_MAX_WORKERS,), self.loader._next_epoch, dtype=torch.int64).share_memory_()
        # How many epochs each worker has begun, in such memory too; and all together when this process last knew the place.
        self._n_begun = torch.zeros(_MAX_WORKERS, dtype=torch.int64).share_memory_()
        self._n_known = 0
        # Whether a place within an epoch was loaded here, which workers, whose shares are others, cannot go on from.
        self._is_within_epoch = False
        self._ranks: tuple[int, int] | None = None
        self._share: Loader | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A worker that is started afresh knows nothing of torch.distributed.
        return {
            "loader": self.loader,
            "epochs": self._epochs,
            "n_begun": self._n_begun,
            "is_within_epoch": self._is_within_epoch,
            "ranks": rank_and_world_size(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.loader, self._is_within_epoch, self._ranks = state["loader"], state["is_within_epoch"], state["ranks"]
        # A copy that is not that of a worker has memory of its own, which its workers are to share.
        self._epochs, self._n_begun = state["epochs"].share_memory_(), state["n_begun"].share_memory_()
        self._n_known = int(self._n_begun.sum())
        self._share = None

    def __len__(self) -> int:
        return len(self.loader)

    def __getitem__(self, number: Any) -> NoReturn:
        raise InputError(
            "a Dataset has no minibatches by number, and cannot be divided by random_split: give split= and part=, or subset=, to its Loader"
        )

    @property
    def sampler(self) -> Any:
        """As ``Loader.sampler``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the next iteration gives, in workers as well."""
        self.loader.set_epoch(epoch)
        self._say(epoch)

    def _say(self, epoch: int, is_within_epoch: bool = False) -> None:
        """Tells workers which epoch comes next."""
        self._epochs.fill_(epoch)
        self._n_known, self._is_within_epoch = int(self._n_begun.sum()), is_within_epoch

    def _in_worker(self) -> tuple[Loader, int] | None:
        """The share of this worker, and its number; None in the main process."""
        worker = get_worker_info()
        if worker is None:
            return None
        if worker.num_workers > _MAX_WORKERS:
            raise InputError(f"num_workers={worker.num_workers}: at most {_MAX_WORKERS}; cellring needs none")
        if self._share is None:
            given = self.loader._given
            if given["rank"] is not None:
                rank, world_size = given["rank"], given["world_size"]
            else:
                rank, world_size = self._ranks or rank_and_world_size()
            share = Loader.__new__(Loader)
            share.__setstate__(self.loader.__getstate__())
            # A place that this process had in an epoch is none of a worker's.
            share._pending = None
            n = worker.num_workers
            share._given = {**given, "rank": rank * n + worker.id, "world_size": world_size * n}
            memory = max(_MIN_MEMORY, share.memory_bytes // n)
            share._share = (1, memory)
            self._share = share
            if worker.id == 0:
                warnings.warn(
                    f"num_workers={n}: each worker opens the store for itself and sends its minibatches through shared memory; cellring is "
                    "faster with num_workers=0, where its own threads do the work",
                    CellringWarning,
                    stacklevel=2,
                )
        return self._share, worker.id

    def __iter__(self) -> Iterator[Minibatch]:
        share = self._in_worker()
        if share is None:
            # From here on the place is that of this process.
            self._n_known, self._is_within_epoch = int(self._n_begun.sum()), False
            return iter(self.loader)
        if self._is_within_epoch:
            # Beginning the epoch again would go unseen.
            raise ResumeError(
                "a state from within an epoch was loaded into the dataset, and workers cannot go on from there: use num_workers=0, or load "
                "the state of a StatefulDataLoader of torchdata into one"
            )
        loader, number = share
        # Without other ranks nothing has to be even: no minibatch comes twice.
        is_alone = loader._given["world_size"] == _n_workers()
        return _Share(loader, self._epochs, self._n_begun, number, _n_workers(), drop_padding=is_alone)

    def state_dict(self) -> dict[str, Any]:
        """As ``Loader.state_dict``; in a worker that of its share.

        Raises
        ------
        ResumeError
            In the main process, if workers have begun an epoch since this process last iterated or was told the epoch: their places are
            not known here.
        """
        share = self._in_worker()
        if share is None:
            if int(self._n_begun.sum()) != self._n_known:
                raise ResumeError(
                    "workers of a DataLoader have iterated over this dataset, and only they know where they are: save the state of "
                    "torchdata's StatefulDataLoader in its place, or use num_workers=0"
                )
            return self.loader.state_dict()
        loader, number = share
        return {**loader.state_dict(), "workers": _n_workers()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As ``Loader.load_state_dict``; in a worker for its share.

        Raises
        ------
        ResumeError
            As ``Loader.load_state_dict``, and if the state was saved with another number of workers.
        """
        share = self._in_worker()
        loader = self.loader if share is None else share[0]
        _check_workers(state, _n_workers(), loader)
        loader.load_state_dict(_without_workers(state))
        if share is None:
            self._say(state["epoch"], bool(state["history"]))
        else:
            self._epochs[share[1]] = state["epoch"]


def _refuse_to_collate(batch: Any, *, collate_fn_map: Any = None) -> NoReturn:
    raise InputError(
        "minibatches are whole, and a DataLoader is to pass them on: give it batch_size=None, and the number of cells as batch_size= to the "
        "Dataset"
    )


# By default a DataLoader makes a list of minibatches and asks this table how to put them together.
default_collate_fn_map[Minibatch] = _refuse_to_collate


def _n_workers() -> int:
    """Workers of the DataLoader that this process works for; 0 in the main process."""
    worker = get_worker_info()
    return 0 if worker is None else worker.num_workers


def _without_workers(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in ("workers", "over")}


def _check_workers(state: Mapping[str, Any], n_workers: int, loader: Loader) -> None:
    saved = state.get("workers", 0)
    if saved != n_workers:
        raise ResumeError(f"the state was saved with num_workers={saved}, and is loaded with num_workers={n_workers}: use as many")
    if n_workers > 0 and state["history"] and state["history"][-2] != loader._given["world_size"]:
        ranks = state["history"][-2] // n_workers
        raise ResumeError(f"the state was saved by {ranks} ranks of {n_workers} workers, which are not in step: use as many")


class _Share(Iterator[Minibatch]):
    """An epoch's share of a worker, which is fixed when its first minibatch is asked for."""

    def __init__(
        self, loader: Loader, epochs: torch.Tensor, n_begun: torch.Tensor, number: int, n_workers: int, drop_padding: bool
    ) -> None:
        self._loader = loader
        self._epochs = epochs
        self._n_begun = n_begun
        self._number = number
        self._n_workers = n_workers
        self._drop_padding = drop_padding
        self._epoch: Epoch | None = None
        self._state: Mapping[str, Any] | None = None
        # The epoch of a state that was saved when this worker had given all of its share. Others may not have: it gives none of the next epoch in
        # this iteration. Nor if all have: torchdata begins an iteration with such a state and throws it away, where the end of the epoch was seen.
        self._over: int | None = None

    def _begin(self) -> Epoch:
        if self._epoch is None:
            if self._state is not None:
                self._loader.load_state_dict(self._state)
            # Keeps a state of this epoch.
            self._loader.set_epoch(int(self._epochs[self._number]))
            self._epoch = iter(self._loader)
        return self._epoch

    def __next__(self) -> Minibatch:
        if self._over is not None:
            raise StopIteration
        is_first = self._epoch is None
        epoch = self._begin()
        while True:
            minibatch = next(epoch)
            if is_first:
                self._epochs[self._number] = epoch.epoch + 1
                self._n_begun[self._number] += 1
                is_first = False
            if not (self._drop_padding and minibatch.is_padding):
                return minibatch

    def state_dict(self) -> dict[str, Any]:
        over = self._over
        if over is not None:
            state = self._loader._state(None, epoch=over)
        elif self._epoch is not None:
            state = self._epoch.state_dict()
            if state["epoch"] > self._epoch.epoch:
                # All was given, and to the loader the next epoch is next.
                over = state["epoch"] = self._epoch.epoch
        elif self._state is not None:
            state = dict(self._state)
        else:
            state = self._loader.state_dict()
            if self._loader._pending is None:
                state["epoch"] = int(self._epochs[self._number])
        return {**state, "workers": self._n_workers, "over": int(over is not None)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        _check_workers(state, self._n_workers, self._loader)
        accepted = self._loader._accept(_without_workers(state))
        if state.get("over"):
            self._over = accepted["epoch"]
            self._epochs[self._number] = accepted["epoch"] + 1
        else:
            self._state = accepted
            self._epochs[self._number] = accepted["epoch"]
