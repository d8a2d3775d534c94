"""The loader: epochs of shuffled minibatches."""

from __future__ import annotations

import atexit
import os
import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from . import _arguments, _cellring, _epoch, _request
from ._epoch import STATE_VERSION, Epoch, Run, Sampler, to_library
from ._errors import CellringError, CellringWarning, InputError, ResumeError, StoppedError, in_python, level_of_caller
from ._forms import TorchOnDevice, form
from ._minibatch import Look, Minibatch, loaders_by_key
from ._ranks import rank_and_world_size
from ._store import Store, if_replaced, opened, stamp_of

if TYPE_CHECKING:
    import pandas as pd

if _cellring.IS_DEBUG_BUILD:
    warnings.warn(
        "this cellring was built without optimisation and is many times slower than a release build: build it with --release",
        CellringWarning,
        stacklevel=2,
    )

_open_loaders: weakref.WeakSet[Any] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Threads are joined while there is an interpreter to do it in."""
    for epoch in list(_epoch.open_runs):
        epoch.close()
    for loader in list(_open_loaders):
        loader.close()


class Loader:
    """Epochs of shuffled minibatches of one store, or of several as one.

    Iterating over a loader gives one epoch; iterating again gives the next one. An epoch, its rank and its reading are fixed when the
    first minibatch is asked for: ``iter(loader)`` costs nothing, and ``set_epoch`` after it is in time. Only the latest iteration goes on:
    an earlier one that is continued after it raises ``StoppedError``.

    Parameters
    ----------
    stores : str, path, Store, or a list of these
        What is loaded: stores, or ``.h5ad`` files, which are linked in ``$XDG_CACHE_HOME/cellring`` (by default ``~/.cache/cellring``; see
        ``Store``). The cells of several stores are numbered one store after the other.
    batch_size : int, default 64
        Cells in a minibatch.
    block_size : int, default 16
        Consecutive cells that are drawn together. 1 is true random order; 16 mixes as well and is several times as fast.
    fetch_factor : int, default 256
        Minibatches that are read and shuffled together.
    strategy : {"block-shuffle", "sequential", "sequential-shuffle"}, optional
        Order of the cells. ``weights``, ``balance``, ``group`` and ``order`` imply strategies of their own.
    weights : str or array, optional
        A column of obs, or a number for each cell: cells are drawn by it.
    replacement : bool, default True
        Whether ``weights`` may draw a cell several times in an epoch.
    draws : int, optional
        Cells of an epoch, with ``weights`` or ``balance``; as many as there are by default.
    balance : str, list of str, or array of labels or codes, optional
        Columns of obs whose combinations of values are classes, or the class of each cell: each class is drawn equally often.
    balance_global : bool, default False
        Whether the sizes of classes are those of the whole store rather than of the subset.
    group : str, list of str, or array of labels or codes, optional
        Columns of obs, or the group of each cell: minibatches consist of whole sets of cells with equal values.
    n_per_group, sets_per_minibatch : int, optional
        Cells in a set (the whole group by default), and sets in a minibatch (as many as fit ``batch_size``). The last set of a group, or the
        only one of a group with fewer cells, is filled up with cells of the group that come again.
    controls : str, array of ids or mask, optional
        Which cells are controls, as a filter or as cells; ``n_controls`` of them (``n_per_group`` by default) follow each set. Only those
        that ``subset``, ``obs_filter`` and ``split`` select too are drawn.
    match : str or list of str, optional
        Controls of a set have its values in these columns.
    order : array of int, optional
        The cells of an epoch, in this order; negative ids count from the end, as in numpy. With ``shuffle_order`` each fetch of them is
        shuffled. It is not for ``subset``, ``obs_filter`` or ``split``.
    obs_filter : str, optional
        Only cells for which this is true, such as ``'cell_type == "B cell" and n_genes >= 200'``. A comparison with a missing value is
        neither true nor false, and does not take the cell, not even with ``!=`` or ``not``: ``'donor != "d1" or donor is missing'`` does.
        There are ``in [...]``, ``not in [...]``, ``is missing`` and ``is not missing`` too. Names with blanks go in backticks.
    subset : array of ids or mask, optional
        Only these cells; negative ids count from the end, as in numpy.
    split, part : str, optional
        Divide all cells at random, such as ``"train=0.9,val=0.1"``, and take this part. ``split_by`` keeps cells with equal values in a
        column in one part; ``split_seed`` is the seed of the split.
    genes : list of str, optional
        Only these genes, in this order. ``Loader.var_names`` says which columns minibatches have.
    gene_weights : array of float, optional
        A factor for each column of the minibatches, applied last.
    normalize : float or bool, optional
        Scale each cell to this sum; True is 10,000. For counts: what is normalised already is scaled again.
        ``library="selected"`` counts the selected genes only.
    log1p : bool, default False
        Take the logarithm of one plus each value.
    layout : {"csr", "dense", ("top_k", k)}, default "csr"
        Sparse, dense, or the k highest values of each cell.
    dtype : {"float32", "float16", "bfloat16", "source"}, default "float32"
        Type of the values; ``"source"`` is that of the store. Values that would become infinite as 16-bit floats, such as counts above
        65,504 in float16, are refused. On a CPU torch does not multiply sparse matrices of 16-bit floats: ask for
        ``layout="dense"`` there.
    index_dtype : {"int32", "int64"}, default "int32"
        Type of both index arrays.
    allow_rounding : bool, default False
        Deliver values that float32 cannot hold as the nearest one, rather than refuse the store.
    matrices : list of str, or dict, optional
        Other matrices of the same cells, such as ``"layers/counts"`` or ``"obsm/X_pca"``; in a dictionary each with its layout and
        dtype, as ``{"layers/counts": {"layout": "dense"}}``.
    obs_columns : list of str, or dict, optional
        Columns of obs that come with each minibatch; in a dictionary each with its form: ``"natural"``, ``"codes"``, ``"floats"`` or
        ``"strings"``. Codes come as int64, floats of any width as float64, integers as int64 (uint64 as uint64), booleans as bool, texts
        as lists of str.
    seed : int, default 0
        The seed of all randomness.
    drop_last : bool, default False
        Drop a short last minibatch, and minibatches that would make the ranks uneven, rather than keep them and pad.
    rank, world_size : int, optional
        This rank, and how many ranks share each epoch. By default they are determined when the first minibatch or the length is
        requested: from ``torch.distributed``, Ray Train, torchrun, SLURM or Open MPI.
    device : str or torch.device, optional
        Yield tensors on this device. To an NVIDIA GPU matrices are copied ahead of you, from page-locked memory and on a stream of their
        own; use ``x`` on the stream that is current when you first ask for it (memory of cellring is not known to ``record_stream``).
        Without a GPU, ``"cuda"`` is the CPU, with a warning.
    memory : int or str, default "256MiB"
        Memory for read buffers and waiting minibatches.
    threads : int, default 0
        Threads that decode; 0 for one per core.
    to : {"torch", "scipy", "numpy", "jax"}, default "torch"
        What the arrays of the minibatches are. jax has types of 64 bits only with its option ``jax_enable_x64``: without it floats become
        float32, and integers that do not fit 32 bits are refused.
    pad_nnz : int or "pow2", optional
        Pad sparse minibatches with zeros to this number of values, or to powers of two; jax compiles again for each number. A minibatch
        with more values is an error: ``batch_size`` times the largest number of genes that a cell has is always enough. For ``to="jax"``
        it is ``"pow2"`` unless given.
    join : {"same", "inner", "outer"}, default "same"
        Genes of several stores: equal, those of all, or those of any. ``var_key`` is the column of var that identifies them.
    source_root : str or path, optional
        The directory below which linked stores look for their files; by default the one that each store is in.
    backend : {"auto", "uring", "pread", "mmap"}, default "auto"
        How bytes are read; ``direct`` (``"auto"``, ``"on"``, ``"off"``) and ``depth`` as well.

    Raises
    ------
    InputError
        If an argument is not valid or does not fit the store; ``NotFoundError`` names what does not exist.
    StoreError
        If a store cannot be read.

    Examples
    --------
    >>> loader = cellring.Loader("cells.cellring", obs_columns=["cell_type"])   # doctest: +SKIP
    >>> for epoch in range(10):                                                 # doctest: +SKIP
    ...     for minibatch in loader:
    ...         loss = step(minibatch.x, minibatch.obs["cell_type"])
    """

    def __init__(
        self,
        stores: Any,
        *,
        batch_size: int = 64,
        block_size: int = 16,
        fetch_factor: int = 256,
        strategy: str | None = None,
        weights: Any = None,
        replacement: bool = True,
        draws: int | None = None,
        balance: Any = None,
        balance_global: bool = False,
        group: Any = None,
        n_per_group: int | None = None,
        sets_per_minibatch: int | None = None,
        controls: Any = None,
        match: str | Sequence[str] | None = None,
        n_controls: int | None = None,
        order: Any = None,
        shuffle_order: bool = False,
        obs_filter: str | None = None,
        subset: Any = None,
        split: str | None = None,
        part: str | None = None,
        split_by: str | None = None,
        split_seed: int = 0,
        genes: Iterable[str] | None = None,
        gene_weights: Any = None,
        normalize: float | bool | None = None,
        log1p: bool = False,
        library: str = "all",
        layout: str | tuple[str, int] = "csr",
        dtype: Any = "float32",
        index_dtype: Any = "int32",
        allow_rounding: bool = False,
        matrices: Sequence[str] | Mapping[str, Mapping[str, str]] = (),
        obs_columns: Sequence[str] | Mapping[str, str] = (),
        seed: int = 0,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        device: Any = None,
        memory: int | str = "256MiB",
        threads: int = 0,
        to: str = "torch",
        pad_nnz: int | str | None = None,
        join: str = "same",
        var_key: str | None = None,
        backend: str = "auto",
        direct: str = "auto",
        depth: int | None = None,
        source_root: Any = None,
        **unknown: NoReturn,
    ) -> None:
        given = dict(locals())
        for name in ("self", "unknown", "stores", "source_root"):
            del given[name]
        _arguments.unknown(unknown, {**given, "source_root": None}, "Loader", _request.FOREIGN)
        listed = stores if isinstance(stores, (list, tuple)) else [stores]
        if not listed:
            raise InputError("stores is empty: give at least one store")
        # Absolute: a process may change its directory, and another one have another.
        self._paths = [os.path.abspath(store.path if isinstance(store, Store) else _arguments.path("stores", store)) for store in listed]
        root = None if source_root is None else os.path.abspath(_arguments.path("source_root", source_root))
        # A store knows its own.
        self._roots = [store._root if isinstance(store, Store) and root is None else root for store in listed]
        self._given = _request.owned(given)
        self._key = os.urandom(8).hex()
        loaders_by_key[self._key] = self
        self._next_epoch = 0
        self._pending: dict[str, Any] | None = None
        self._reset()
        self._made: _cellring.Setup | None = self._make()
        for sentence in self._made.warnings:
            warnings.warn(sentence, CellringWarning, stacklevel=2)

    # How it is opened, in this process.

    def _reset(self) -> None:
        """As in a process that has opened nothing yet."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._made = None
        self._opened: _cellring.Loader | None = None
        self._ranks: tuple[int, int] | None = None
        self._current: Run | None = None
        self._look: Look | None = None
        # How minibatches look that come on a GPU.
        self._look_on_device: Look | None = None
        self._n_minibatches: int | None = None
        self._names: _Names | None = None
        self._form_number: int | None = None
        # How a worker process opens it: threads and bytes.
        self._share: tuple[int, int] | None = None

    def _setup(self) -> _cellring.Setup:
        """The checked request; made again in a process that was forked, where nothing that is open can be used."""
        if self._pid != os.getpid():
            self._reset()
        if self._made is None:
            self._made = self._make()
        return self._made

    def _make(self) -> _cellring.Setup:
        given = self._given
        stores = []
        self._stamps = [stamp_of(path) for path in self._paths]
        for path, root in zip(self._paths, self._roots):
            stores.append(opened(path, root, 3))
        n_obs = sum(store.n_obs for store in stores)
        columns = [[name for name, _ in store.obs().fields()[1:]] for store in stores]
        request = _request.checked(given, n_obs, columns[0])
        for path, there in zip(self._paths, columns):
            _arguments.existing(_request.columns_in_use(request, columns), there, "column", f"obs of {path}", only_if_close=True)
        try:
            made = _cellring.Setup(stores, request)
        except CellringError as error:
            raise self._explained(error, n_obs) from None
        self._names = _Names(made, stores, _request.column_names(given["obs_columns"]))
        return made

    def _explained(self, error: CellringError, n_obs: int = 0) -> CellringError:
        """An error of the compiled half as one that says what to do here."""
        if "select none of the" in str(error):
            return InputError(_request.nothing_selected(self._given, n_obs))
        for path, stamp in zip(self._paths, self._stamps):
            error = if_replaced(error, path, stamp)
        return in_python(error)

    def _known_names(self) -> _Names:
        self._setup()
        assert self._names is not None, "made with the request"
        return self._names

    def __getstate__(self) -> dict[str, Any]:
        # The place in an epoch goes along.
        state = self.state_dict()
        return {
            "paths": self._paths,
            "roots": self._roots,
            "given": self._given,
            "key": self._key,
            "next_epoch": state["epoch"] if state["history"] else self._next_epoch,
            "pending": state if state["history"] else None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._paths, self._roots, self._given, self._key = state["paths"], state["roots"], state["given"], state["key"]
        loaders_by_key.setdefault(self._key, self)
        self._next_epoch, self._pending = state["next_epoch"], state["pending"]
        self._reset()

    def __repr__(self) -> str:
        given = self._given
        names = ("batch_size", "block_size", "fetch_factor", "layout", "to")
        settings = ", ".join(f"{name}={given[name]!r}" for name in names)
        paths = self._paths[0] if len(self._paths) == 1 else self._paths
        return f"Loader({os.fspath(paths) if isinstance(paths, str) else paths!r}, {settings})"

    def _rank(self) -> tuple[int, int]:
        """Rank and world size; they must stay what they were when they were first asked for."""
        given = (self._given["rank"], self._given["world_size"])
        now = rank_and_world_size() if given[0] is None else given
        now = (_arguments.positive("rank", now[0], 0, 2**32 - 1), _arguments.positive("world_size", now[1], 1, 2**32 - 1))
        if now[0] >= now[1]:
            raise InputError(f"rank={now[0]} does not exist among world_size={now[1]}: ranks count from 0")
        if self._ranks is not None and self._ranks != now:
            raise StoppedError(
                f"the loader was used as rank {self._ranks[0]} of {self._ranks[1]}, and now this process is rank {now[0]} of {now[1]}: "
                "make it after the ranks are known (torch.distributed.init_process_group), or give rank= and world_size="
            )
        self._ranks = now
        return now

    def _open(self) -> _cellring.Loader:
        setup = self._setup()
        rank = self._rank()
        if self._opened is None:
            threads, memory = self._share or (None, None)
            self._looks()
            gpu = None if self._look_on_device is None else _ordinal(self._look_on_device.device)
            try:
                self._opened = setup.open(*rank, threads=threads, memory=memory, gpu=gpu)
            except CellringError as error:
                raise self._explained(error) from None
            _open_loaders.add(self)
        return self._opened

    def _looks(self) -> Look:
        if self._look is None:
            given = self._given
            pad_nnz = given["pad_nnz"]
            if given["to"] == "jax" and pad_nnz is None:
                pad_nnz = "pow2"
            names, device = _request.matrix_names(given["matrices"]), _device(given["device"])
            self._look = Look(form(given["to"]), names, self._known_names(), pad_nnz, device, self._key)
            if given["to"] == "torch" and device is not None and pad_nnz is None and TorchOnDevice.takes(device):
                self._look_on_device = Look(TorchOnDevice(device), names, self._known_names(), device=device, key=self._key)
        return self._look

    def close(self) -> None:
        """Ends a running epoch, and closes files and threads. The next iteration opens them again."""
        if self._pid != os.getpid():
            return
        with self._lock:
            if self._current is not None:
                self._current.close()
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    # What it is like.

    def __len__(self) -> int:
        """Minibatches of this rank in a whole epoch; also while an epoch is resumed."""
        setup = self._setup()
        rank = self._rank()
        if self._n_minibatches is None:
            self._n_minibatches = setup.n_minibatches(self._next_epoch, *rank)
        return self._n_minibatches

    @property
    def n_obs(self) -> int:
        """Number of cells that are sampled from: those that ``subset``, ``obs_filter`` and ``split`` select, or those of ``order``.

        An epoch has as many, except with ``draws`` or ``group``, or where ranks and ``drop_last`` change it.
        """
        setup = self._setup()
        if self._given["order"] is not None:
            return len(_arguments.cells(self._given["order"], setup.n_obs, "order"))
        return setup.n_selected

    @property
    def n_vars(self) -> int:
        """Number of columns of the minibatches."""
        return len(self.var_names)

    @property
    def var_names(self) -> np.ndarray:
        """Names of the columns of ``minibatch.x``, in their order: that of the store, or that of ``genes``."""
        return self._known_names().var_names

    @property
    def batch_size(self) -> int:
        """Cells in a minibatch."""
        return self._given["batch_size"]

    @property
    def memory_bytes(self) -> int:
        """``memory`` in bytes."""
        return _arguments.size("memory", self._given["memory"])

    @property
    def drop_last(self) -> bool:
        """As it was given."""
        return self._given["drop_last"]

    def categories(self, column: str) -> list[str]:
        """What the codes of a column in ``minibatch.obs`` stand for, by code.

        Raises
        ------
        NotFoundError
            If the column is not among ``obs_columns``.
        InputError
            If it does not come as codes.
        """
        names = self._known_names()
        found = names.code_names(column)
        if found is None:
            if names.is_of_floats(column):
                raise InputError(f"the column {column!r} has floats, which have no categories: use its values in minibatch.obs")
            raise InputError(f'the column {column!r} does not come as codes: ask for them, as obs_columns={{"{column}": "codes"}}')
        return found

    @property
    def sampler(self) -> Sampler:
        """What Lightning tells the epoch to."""
        return Sampler(self)

    batch_sampler = None

    # Epochs.

    @property
    def epoch(self) -> int:
        """The epoch that is running, else the one that the next iteration gives."""
        current = self._current
        return current.epoch if current is not None and current.running is not None else self._next_epoch

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the next iteration gives. A state that was loaded for another epoch is forgotten."""
        epoch = _arguments.positive("epoch", epoch, 0)
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            if self._pending is not None and self._pending["epoch"] != epoch:
                self._pending = None
            self._next_epoch = epoch
            if self._current is not None:
                self._current.last_state, self._current.is_forgotten = None, True

    def __getitem__(self, ids: Any) -> NoReturn:
        raise InputError(
            "a Loader is iterated over, and has no minibatches by number: store[ids] and loader.rows(ids) give cells; a DataLoader takes "
            "cellring.torch.Dataset(...) with batch_size=None"
        )

    def __iter__(self) -> Epoch:
        if self._pid != os.getpid():
            self._reset()
        return Epoch(self)

    def rows(self, ids: Any) -> Minibatch:
        """The cells with these numbers, in any order and repeated or not, as minibatches of this loader look."""
        setup = self._setup()
        numbers = _arguments.cells(ids, setup.n_obs, "rows")
        with self._lock:
            raw = self._open().rows(numbers)
        return self._finish(raw)

    def _finish(self, raw: _cellring.Minibatch | _cellring.DeviceMinibatch) -> Minibatch:
        look = self._looks()
        if isinstance(raw, _cellring.DeviceMinibatch):
            assert self._look_on_device is not None, "the loader was opened for it"
            return Minibatch(raw, self._look_on_device)
        made = Minibatch(raw, look)
        return made if look.device is None else made.to(look.device)

    def _begin(self, run: Run, state: dict[str, Any] | None) -> _cellring.Epoch:
        """Starts what an iterator stands for, at its first minibatch."""
        with self._lock:
            loader = self._open()
            if state is None:
                state = self._pending
            number = self._next_epoch if state is None else state["epoch"]
            if self._current is not None:
                self._current.supersede()
            if state is not None and state["history"]:
                running = loader.resume(to_library(state))
            else:
                running = loader.epoch(number)
            self._pending = None
            self._next_epoch = number + 1
            self._current = run
            run.epoch = number
            return running

    def state_dict(self) -> dict[str, Any]:
        """Where this loader is: a few integers, the same on every rank, for ``load_state_dict`` in another process.

        After the last minibatch of an epoch it is the beginning of the next one.
        """
        if self._pid != os.getpid():
            # Its lock may have been taken by a thread that is not here.
            self._reset()
        with self._lock:
            current = self._current
            if current is not None and self._pending is None and (current.running is not None or current.last_state is not None):
                return current.state_dict()
            return self._state(self._pending)

    def _state(self, pending: dict[str, Any] | None, epoch: int | None = None) -> dict[str, Any]:
        if pending is not None:
            return dict(pending)
        setup = self._setup()
        return {
            "version": STATE_VERSION,
            "epoch": self._next_epoch if epoch is None else epoch,
            "history": [],
            "fingerprint": setup.fingerprint(),
            "form": self._form_of_minibatches(),
        }

    def _form_of_minibatches(self) -> int:
        """A number for what minibatches are made of, besides which cells."""
        if self._form_number is None:
            self._form_number = _request.form_number(self._given)
        return self._form_number

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where a state was saved: the next iteration gives what was left of its epoch, bit for bit.

        Raises
        ------
        ResumeError
            If the state is that of another store or of other settings.
        """
        state = self._accept(state)
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            self._pending = state if state["history"] else None
            self._next_epoch = state["epoch"]
            if self._current is not None:
                # What is running is not what comes next.
                self._current.supersede()
                self._current = None

    def _accept(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A state that this loader can go on from."""
        names = {"version", "epoch", "history", "fingerprint", "form"}
        if not isinstance(state, Mapping) or not names <= set(state):
            raise ResumeError(f"not a state of cellring.Loader: expected a dictionary of whole numbers with {', '.join(sorted(names))}")
        for name, expected in _damaged(state):
            raise ResumeError(f"the state is damaged: {name!r} is {state[name]!r}, expected {expected}; load one as state_dict() gave it")
        if state["version"] != STATE_VERSION:
            raise ResumeError(
                f"the state is of version {state['version']}, and this cellring reads version {STATE_VERSION}: use the cellring that saved it"
            )
        setup = self._setup()
        if state["fingerprint"] != setup.fingerprint():
            raise ResumeError(
                "the state was saved by a loader of another store, or with another batch_size, block_size, fetch_factor, seed, strategy, "
                "subset or drop_last: make this loader with the same"
            )
        if state["history"] and state["form"] != self._form_of_minibatches():
            raise ResumeError(
                "the epoch began with minibatches of another form (genes, normalize, layout, dtype, matrices or obs_columns): make this "
                "loader with the same, or begin the epoch again with set_epoch"
            )
        return {name: list(state[name]) if name == "history" else state[name] for name in names}

    def stats(self) -> dict[str, int]:
        """Where the time of the running epoch, or else the last one, went: nanoseconds, minibatches, reads and bytes by name."""
        current = self._current
        return {} if current is None else current.stats()


def _damaged(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The entries of a state that are not as they should be, and what is expected there."""

    def is_number(value: Any, least: int = 0) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**64

    for name in ("version", "epoch", "fingerprint", "form"):
        if not is_number(state[name]):
            yield name, "a whole number from 0 to 2**64 - 1"
    history = state["history"]
    is_sound = (
        isinstance(history, (list, tuple))
        and len(history) % 2 == 0
        and all(is_number(number, 1 - place % 2) and number < 2**48 for place, number in enumerate(history))
        and all(number < 2**32 for number in history[::2])
    )
    if not is_sound:
        yield "history", "pairs of whole numbers, the first of each from 1"


class _Names:
    """Names of genes and categories, for a loader and for its minibatches, which may outlive it and keep no thread of it."""

    def __init__(self, setup: _cellring.Setup, stores: list[_cellring.Store], columns: list[str]) -> None:
        self._setup = setup
        self._stores = stores
        self._columns = columns
        # Looked up when they are first asked for, once for all minibatches.
        self._var_names: list[str] | None = None
        self._categories: dict[str, list[str] | None] = {}
        self._dtypes: dict[str, pd.CategoricalDtype] = {}

    @property
    def var_names(self) -> np.ndarray:
        if self._var_names is None:
            try:
                self._var_names = self._setup.var_names
            except CellringError as error:
                raise in_python(error) from None
        return np.asarray(self._var_names, dtype=object)

    def code_names(self, column: str) -> list[str] | None:
        """What its codes stand for; None for a column that does not come as codes."""
        if column not in self._categories:
            _arguments.existing([column], self._columns, "column", "obs_columns")
            try:
                self._categories[column] = self._setup.categories(column)
            except CellringError as error:
                raise in_python(error) from None
        return self._categories[column]

    def categorical_dtype(self, column: str) -> pd.CategoricalDtype:
        """The dtype of a column that comes as codes: that of the stores, where they have one and the same; else of texts without an order."""
        if column not in self._dtypes:
            import pandas as pd

            from ._frames import dtype_of

            names = self.code_names(column)
            dtypes = [dtype_of(table, place) for table, place in self._tables_with(column)]
            first = dtypes[0] if dtypes else None
            is_whole = isinstance(first, pd.CategoricalDtype) and len(first.categories) == len(names or [])
            is_shared = is_whole and all(dtype == first and list(dtype.categories) == list(first.categories) for dtype in dtypes)
            self._dtypes[column] = first if is_shared else pd.CategoricalDtype(names)
        return self._dtypes[column]

    def is_of_floats(self, column: str) -> bool:
        """Whether it has floats in some store."""
        columns = [table.column(place) for table, place in self._tables_with(column)]
        numbers = [values for values in columns if values["kind"] == "number"]
        return any(values["is_half"] or np.asarray(values["values"]).dtype.kind == "f" for values in numbers)

    def _tables_with(self, column: str) -> Iterator[tuple[_cellring.Table, int]]:
        """obs of each store that has the column, and its place there."""
        for store in self._stores:
            table = store.obs()
            for place, (name, _) in enumerate(table.fields()):
                if place > 0 and name == column:
                    yield table, place


def _device(device: Any) -> Any:
    """The device of torch to copy to; None to stay on the host."""
    if device is None:
        return None
    import torch

    made = torch.device(device)
    if made.type == "cuda" and not torch.cuda.is_available():
        sentence = f"device={device!r}: torch finds no GPU, so minibatches stay on the CPU"
        warnings.warn(sentence, CellringWarning, stacklevel=level_of_caller())
        return None
    return None if made.type == "cpu" else made


def _ordinal(device: Any) -> int:
    """The number of a device of CUDA; without one that of the current device."""
    import torch

    return torch.cuda.current_device() if device.index is None else device.index
