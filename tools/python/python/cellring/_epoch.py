"""Iterations over a loader, and what becomes of them."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from . import _cellring
from ._errors import CellringError, ResumeError, StoppedError
from ._minibatch import Minibatch

if TYPE_CHECKING:
    from ._loader import Loader

STATE_VERSION = 1

# Those that run: closed before the interpreter ends.
open_runs: weakref.WeakSet[Run] = weakref.WeakSet()


class Run:
    """An epoch of a loader from its first minibatch on; it stays with the loader when its iterator is gone.

    Its iterator and its loader keep it, and it keeps neither: without a circle all of them are freed as soon as they are dropped.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = weakref.ref(loader)
        self.running: _cellring.Epoch | None = None
        self.epoch = loader._next_epoch
        self.pid = os.getpid()
        # A signal handler, or the garbage collector, may come back here in the middle.
        self._lock = threading.RLock()
        self.is_over = False
        self.is_closed = False
        self._is_superseded = False
        # What it begins with, and where it was when its iterator was dropped early.
        self.first_state: dict[str, Any] | None = None
        self.last_state: dict[str, Any] | None = None
        self.is_forgotten = False
        self._stats: dict[str, int] = {}

    @property
    def loader(self) -> Loader:
        loader = self._loader()
        assert loader is not None, "whoever asks has it"
        return loader

    def start(self) -> _cellring.Epoch:
        if self.pid != os.getpid() and self.running is None:
            # Made before a fork and not begun: locks may be those of threads that are not here.
            self.pid, self._lock = os.getpid(), threading.RLock()
            self.loader._setup()
        with self._lock:
            if self.running is not None:
                return self.running
            if self._is_superseded:
                raise StoppedError(
                    "this iteration was ended by a later one, or by load_state_dict, of the same loader: only the latest goes on; "
                    "make a loader for each"
                )
            if self.is_closed:
                raise StoppedError("this iteration was closed before its end: iterate over the loader again")
            if self.is_over:
                raise StopIteration
            self.running = self.loader._begin(self, self.first_state)
            self.first_state = None
            open_runs.add(self)
            return self.running

    def end(self) -> None:
        """Closes what runs."""
        with self._lock:
            running, self.running = self.running, None
        if running is not None:
            self.is_over = True
            self._stats = running.stats()
            running.close()

    def close(self) -> None:
        """Closes it early, if this is the process that it runs in; how many minibatches were taken stays known."""
        if self.pid == os.getpid() and self.running is not None:
            # Its loader is gone already if both of them are garbage; a set_epoch since then has said what comes next.
            if self._loader() is not None and not self.is_forgotten:
                self.last_state = self.state_dict()
            self.is_closed = True
            self.end()

    def supersede(self) -> None:
        """Ends it, because another iteration begins."""
        if self.running is not None:
            self._is_superseded = True
        self.close()

    def stats(self) -> dict[str, int]:
        running = self.running
        return self._stats if running is None else running.stats()

    def state_dict(self) -> dict[str, Any]:
        loader, running = self.loader, self.running
        if running is None:
            if self.last_state is not None:
                return dict(self.last_state)
            if self.is_over:
                return loader._state(None, epoch=self.epoch + 1)
            return loader._state(self.first_state if self.first_state is not None else loader._pending)
        fingerprint, epoch, history = running.state()
        if history and running.n_left() == 0:
            # All of this epoch was handed out.
            return loader._state(None, epoch=epoch + 1)
        return {
            "version": STATE_VERSION,
            "epoch": epoch,
            "history": [number for entry in history for number in entry],
            "fingerprint": fingerprint,
            "form": loader._form_of_minibatches(),
        }


class Epoch(Iterator[Minibatch]):
    """An iteration over a loader: one epoch, begun when the first minibatch is asked for.

    Dropped early, it ends at once: reads that have not begun are not made.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._run = Run(loader)

    def __iter__(self) -> Epoch:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("an iteration over a loader cannot be pickled or copied: pickle the loader, and load its state_dict() there")

    def __next__(self) -> Minibatch:
        run = self._run
        running = run.running
        if running is None:
            running = run.start()
        try:
            raw = running.next()
        except StoppedError:
            # Of several threads one was given the end, and has closed it.
            if run.is_over and not run.is_closed:
                raise StopIteration from None
            if run.running is None:
                run.start()
            raise
        except CellringError as error:
            raise self._loader._explained(error) from None
        if raw is None:
            run.end()
            raise StopIteration
        return self._loader._finish(raw)

    def __del__(self) -> None:
        run = getattr(self, "_run", None)
        if run is not None:
            try:
                run.close()
            except StoppedError:
                # Another thread was quicker.
                pass

    @property
    def epoch(self) -> int:
        """Its number; before the first minibatch the one that it would have now."""
        run = self._run
        return run.epoch if run.running is not None or run.is_over else self._loader._next_epoch

    def close(self) -> None:
        """Ends it early."""
        self._run.close()

    def stats(self) -> dict[str, int]:
        """As ``Loader.stats``."""
        return self._run.stats()

    def __len__(self) -> int:
        return len(self._loader)

    def state_dict(self) -> dict[str, Any]:
        """As ``Loader.state_dict``, of this iteration."""
        return self._run.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As ``Loader.load_state_dict``, for this iteration; before its first minibatch."""
        run = self._run
        if run.running is not None or run.is_over:
            raise ResumeError("this iteration has begun: load the state before its first minibatch, or into the loader")
        run.first_state = self._loader._accept(state)


class Sampler:
    """Stands for the sampler of a DataLoader: trainers tell it the epoch."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def set_epoch(self, epoch: int) -> None:
        """As ``Loader.set_epoch``."""
        self._loader.set_epoch(epoch)

    def __len__(self) -> int:
        return self._loader.n_obs


def to_library(state: dict[str, Any]) -> tuple[int, int, list[tuple[int, int]]]:
    numbers = iter(state["history"])
    return state["fingerprint"], state["epoch"], list(zip(numbers, numbers))
