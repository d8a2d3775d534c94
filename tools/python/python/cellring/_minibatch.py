"""Minibatches as users see them."""

from __future__ import annotations

import difflib
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _cellring, _copies
from ._errors import InputError, NotFoundError
from ._forms import Csr, Form, TopK, form, padded_nnz

if TYPE_CHECKING:
    import anndata
    import scipy.sparse

    from ._loader import Loader

# Loaders of this process. A minibatch that comes from a worker finds its own here, or that which was sent to the worker.
loaders_by_key: weakref.WeakValueDictionary[str, Loader] = weakref.WeakValueDictionary()


class Look:
    """What all minibatches of a loader have in common: framework, names, and how they are described."""

    __slots__ = ("form", "matrices", "names", "pad_nnz", "device", "key")

    def __init__(
        self,
        made: Form,
        matrices: tuple[str, ...],
        names: Any,
        pad_nnz: int | str | None = None,
        device: Any = None,
        key: str = "",
    ) -> None:
        self.form = made
        self.matrices = matrices
        """Paths in AnnData of the matrices after the first."""
        self.names = names
        """Whoever knows names: ``code_names(column)``, ``categorical_dtype(column)`` and ``var_names``."""
        self.pad_nnz = pad_nnz
        self.device = device
        """Where minibatches are copied to that come in the memory of the host."""
        self.key = key
        """That of the loader."""


class Minibatch:
    """Some cells, in the order in which they were drawn.

    The arrays are made when they are first asked for. Those of matrices are the memory that cellring decoded into, without a copy; they
    may be written to, and they stay valid as long as they are referred to, whatever becomes of the minibatch, its loader and its store.

    Attributes
    ----------
    x : torch.Tensor, scipy.sparse.csr_matrix, numpy.ndarray, Csr, TopK or jax BCSR
        The matrix, ``(n_obs, n_vars)``: sparse CSR or dense, as the loader's ``layout`` and ``to`` say. Both index arrays have one type.
    obs : dict
        The columns that ``obs_columns`` asked for: arrays of ``n_obs`` values, or lists of str. Categories are int64 codes, -1 where one is
        missing (see ``Loader.categories``), floats of any width float64, NaN where one is missing, integers int64, but uint64 as uint64.
    obs_valid : dict
        For each column with missing values a bool array that says which are there.
    matrices : dict
        The other matrices that ``matrices`` asked for, by their paths in AnnData.
    ids : array of int64
        The number of each cell in its store (of several stores, in all of them together).
    n_obs, shape : int, tuple
        Number of cells; number of cells and columns.
    number : int
        Number of this minibatch among those of this rank and epoch, from 0; in a ``DataLoader`` with workers each worker counts its own.
    is_padding : bool
        Whether another rank gets the same minibatch too: it only evens out the ranks. Leave it out of metrics.
    """

    __slots__ = ("_raw", "_look", "_x", "_obs", "_valid", "_matrices", "_ids", "_shape", "number", "is_padding", "__weakref__")

    def __init__(self, raw: _cellring.Minibatch | _cellring.DeviceMinibatch | None, look: Look) -> None:
        # None in one that was made of another's tensors, all of which it has.
        self._raw: Any = raw
        self._look = look
        self._x: Any = None
        self._obs: dict[str, Any] | None = None
        self._valid: dict[str, Any] | None = None
        self._matrices: dict[str, Any] | None = None
        self._ids: Any = None
        if raw is not None:
            self._shape: tuple[int, int] = raw.shape(0)
            self.number: int = raw.number
            self.is_padding: bool = raw.is_padding

    def _matrix(self, number: int) -> Any:
        raw, made = self._raw, self._look.form
        layout = raw.layout(number)
        if layout == "csr":
            pad_nnz = self._look.pad_nnz
            if pad_nnz is None:
                return made.csr_of(raw, number)
            return made.csr(*self._padded(raw, number, pad_nnz), raw.shape(number))
        if layout == "dense":
            return made.array(raw.array(number, "values"))
        return made.top_k(raw, number)

    def _padded(self, raw: _cellring.Minibatch, number: int, pad_nnz: int | str) -> tuple[Any, Any, Any]:
        """The arrays of a sparse matrix with zeros after the last value, so that few lengths occur."""
        indptr, indices, values = map(np.asarray, raw.csr(number))
        n = padded_nnz(len(values), pad_nnz)
        longer = [np.zeros(n, dtype=array.dtype) for array in (indices, values)]
        for array, given in zip(longer, (indices, values)):
            array[: len(given)] = given
        of_numpy = self._look.form.of_numpy
        return of_numpy(indptr), of_numpy(longer[0]), of_numpy(longer[1])

    @property
    def x(self) -> Any:
        if self._x is None:
            self._x = self._matrix(0)
        return self._x

    X = x

    @property
    def ids(self) -> Any:
        if self._ids is None:
            self._ids = self._look.form.array(self._raw.ids())
        return self._ids

    index = ids

    @property
    def obs(self) -> dict[str, Any]:
        if self._obs is None:
            self._make_obs()
        return self._obs  # type: ignore[return-value]

    @property
    def obs_valid(self) -> dict[str, Any]:
        if self._valid is None:
            self._make_obs()
        return self._valid  # type: ignore[return-value]

    def _make_obs(self) -> None:
        raw, array = self._raw, self._look.form.array
        # jax looks into dictionaries, but not into their subclasses.
        obs: dict[str, Any] = {} if self._look.form.name == "jax" else Columns()
        all_valid = {}
        for place, name in enumerate(raw.columns()):
            values, valid = raw.column(place)
            obs[name] = values if isinstance(values, list) else array(values)
            if valid is not None:
                all_valid[name] = array(valid)
        self._obs, self._valid = obs, all_valid

    @property
    def matrices(self) -> dict[str, Any]:
        if self._matrices is None:
            names = self._look.matrices
            self._matrices = {name: self._matrix(number) for number, name in enumerate(names, start=1)}
        return self._matrices

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    @property
    def n_obs(self) -> int:
        return self._shape[0]

    @property
    def n_vars(self) -> int:
        return self._shape[1]

    @property
    def var_names(self) -> Any:
        """Names of the columns of ``x``; None in another process than that of the loader, or of the ``Dataset`` that it was sent by."""
        return self._look.names.var_names

    def __len__(self) -> int:
        return self._shape[0]

    def __repr__(self) -> str:
        columns = ", ".join(self.obs)
        return f"Minibatch({self.n_obs} cells x {self.n_vars} columns, obs: {columns or 'none'})"

    def __getitem__(self, key: str) -> Any:
        """``"X"``, ``"obs"`` or ``"index"``, as in the dictionaries of annbatch, or the name of an obs column."""
        if key in ("X", "x"):
            return self.x
        if key == "obs":
            return self.obs
        if key == "index":
            return self.ids
        if not isinstance(key, str):
            # Python asks for 0 and so on where a minibatch is taken apart like a pair.
            raise InputError("a minibatch is neither a pair nor a list: use minibatch.x and minibatch.obs[column]")
        if key not in self.obs:
            raise _no_column(key, self.obs)
        return self.obs[key]

    def _mapped(self, change: Any) -> Minibatch:
        """A minibatch of changed tensors."""
        other = Minibatch(None, self._look)
        other._shape, other.number, other.is_padding = self._shape, self.number, self.is_padding

        def each(value: Any) -> Any:
            if isinstance(value, TopK):
                return TopK(*map(change, value))
            if isinstance(value, Csr):
                return Csr(change(value.data), change(value.indices), change(value.indptr), value.shape)
            return value if isinstance(value, list) else change(value)

        other._x, other._ids = each(self.x), each(self.ids)
        other._obs = type(self.obs)((name, each(value)) for name, value in self.obs.items())
        other._valid = {name: each(value) for name, value in self.obs_valid.items()}
        other._matrices = {name: each(value) for name, value in self.matrices.items()}
        return other

    def _require_torch(self, method: str) -> None:
        if self._look.form.name != "torch":
            raise InputError(f'{method}() is for tensors of torch, and this loader was made with to="{self._look.form.name}"')

    def to(self, device: Any, non_blocking: bool = True) -> Minibatch:
        """The minibatch with its tensors on a device of torch.

        With ``non_blocking`` a copy to a GPU is in order on the current stream, and nothing waits for it here: it is the default, because
        Lightning asks for it only for tensors. The host's memory is kept until an event after the copy has occurred and the
        next copy is made, so that the minibatch may be dropped at once.
        """
        self._require_torch("to")
        import torch

        device = torch.device(device)
        if device.type == "cpu" and not self._is_on_device():
            return self
        # Only of this kind of device is it known what may be freed when.
        non_blocking = non_blocking and device.type == "cuda"
        moved = self._mapped(lambda tensor: tensor.to(device, non_blocking=non_blocking))
        if non_blocking:
            _copies.keep(self, device)
        return moved

    def _is_on_device(self) -> bool:
        return bool(self.ids.device.type != "cpu")

    def cuda(self, device: Any = None, non_blocking: bool = True) -> Minibatch:
        """As ``to("cuda")``."""
        return self.to("cuda" if device is None else device, non_blocking=non_blocking)

    def pin_memory(self) -> Minibatch:
        """The minibatch with its tensors copied to page-locked memory of torch, as ``DataLoader(pin_memory=True)`` asks for it."""
        self._require_torch("pin_memory")
        return self._mapped(lambda tensor: tensor.pin_memory())

    def to_dict(self) -> dict[str, Any]:
        """``X``, ``obs``, ``index`` and ``matrices`` as a dictionary: for code that moves or collates dictionaries."""
        return {"X": self.x, "obs": dict(self.obs), "index": self.ids, "matrices": self.matrices}

    def _host(self, number: int) -> Any:
        """A matrix as scipy or numpy has it."""
        value = self.x if number == 0 else self.matrices[self._look.matrices[number - 1]]
        if isinstance(value, TopK):
            raise InputError("a ranked minibatch is not a matrix: ask the loader for layout=\"csr\" or \"dense\"")
        return host_matrix(value)

    def to_scipy(self) -> scipy.sparse.csr_matrix:
        """The matrix as ``scipy.sparse.csr_matrix``, without a copy if it is sparse and on the host."""
        from scipy.sparse import csr_matrix

        matrix = self._host(0)
        return matrix if isinstance(matrix, csr_matrix) else csr_matrix(matrix)

    def to_anndata(self) -> anndata.AnnData:
        """The minibatch as an AnnData: X, the obs columns with their categories, other matrices as layers or in obsm.

        Raises
        ------
        InputError
            If the minibatch was sent to a process that has no such loader, or is a ranked one.
        """
        try:
            import anndata
            import pandas as pd
        except ImportError as error:
            raise InputError("to_anndata() needs anndata: install it (pip install anndata)") from error
        if self.var_names is None:
            raise InputError(
                "this minibatch was sent to a process that does not have its loader, which knows the names of genes: call to_anndata() "
                "before it is sent"
            )
        frame: dict[str, Any] = {}
        for name, values in self.obs.items():
            valid = self.obs_valid.get(name)
            categories = self._look.names.code_names(name)
            values = values if isinstance(values, list) else np.asarray(_on_host(values))
            if categories is not None:
                frame[name] = pd.Categorical.from_codes(values, dtype=self._look.names.categorical_dtype(name))
            elif valid is not None and not isinstance(values, list) and values.dtype.kind in "iub":
                extension = {"i": pd.arrays.IntegerArray, "u": pd.arrays.IntegerArray, "b": pd.arrays.BooleanArray}
                frame[name] = extension[values.dtype.kind](values, ~np.asarray(_on_host(valid)))
            else:
                frame[name] = values
        ids = np.asarray(_on_host(self.ids))
        obs = pd.DataFrame(frame, index=ids.astype(str))
        made = anndata.AnnData(
            X=self._host(0), obs=obs, var=pd.DataFrame(index=np.asarray(self.var_names, dtype=object))
        )
        for number, name in enumerate(self._look.matrices, start=1):
            kind, _, key = name.partition("/")
            if kind == "layers":
                made.layers[key] = self._host(number)
            elif kind == "obsm":
                made.obsm[key] = self._host(number)
            # raw has other genes: it is in `matrices`.
        return made

    def __reduce__(self) -> Any:
        if isinstance(self._raw, _cellring.DeviceMinibatch):
            # Only memory of torch's own can be shared with another process.
            return self._mapped(lambda tensor: tensor.clone()).__reduce__()
        matrices = {name: _apart(value) for name, value in self.matrices.items()}
        values = (_apart(self.x), self.ids, self.obs, self.obs_valid, matrices)
        look = self._look
        return _rebuilt, (look.key, look.form.name, look.matrices, values, self._shape, self.number, self.is_padding)


class Columns(dict[str, Any]):
    """Columns of obs by name; a name that is not there is told what to do."""

    def __missing__(self, name: Any) -> Any:
        raise _no_column(name, self)


def _no_column(name: Any, columns: dict[str, Any]) -> NotFoundError:
    close = difflib.get_close_matches(str(name), columns, n=1)
    there = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(columns) or 'none'};"
    return NotFoundError(f"the minibatch has no column {name!r}; {there} the loader's obs_columns= says which columns come")


class _Apart(NamedTuple):
    """The arrays of a sparse tensor: torch 2.1 cannot send such a tensor to another process, and the receiver waits for ever."""

    indptr: Any
    indices: Any
    data: Any
    shape: tuple[int, int]


def _apart(value: Any) -> Any:
    """What another process is sent of a matrix."""
    if str(getattr(value, "layout", "")) != "torch.sparse_csr":
        return value
    return _Apart(value.crow_indices(), value.col_indices(), value.values(), tuple(value.shape))


def _together(look: Look, value: Any) -> Any:
    return look.form.csr(*value) if isinstance(value, _Apart) else value


def _rebuilt(
    key: str, name: str, matrices: tuple[str, ...], values: Any, shape: tuple[int, int], number: int, is_padding: bool
) -> Minibatch:
    """A minibatch that came from another process."""
    loader = loaders_by_key.get(key)
    look = Look(form(name), matrices, Nameless() if loader is None else loader._known_names(), key=key)
    made = Minibatch(None, look)
    x, made._ids, made._obs, made._valid, others = values
    made._x = _together(look, x)
    made._matrices = {name: _together(look, value) for name, value in others.items()}
    made._shape, made.number, made.is_padding = shape, number, is_padding
    return made


class Nameless:
    """Names of a minibatch in a process that does not have its loader."""

    var_names = None


def _on_host(tensor: Any) -> Any:
    return tensor.cpu() if hasattr(tensor, "cpu") else tensor


def host_matrix(value: Any) -> Any:
    """A matrix of any framework as ``scipy.sparse.csr_matrix`` or ``numpy.ndarray``."""
    from scipy.sparse import csr_matrix, issparse

    if issparse(value) or isinstance(value, np.ndarray):
        return value
    if isinstance(value, Csr):
        # scipy has no 16-bit floats.
        data = value.data.astype(np.float32) if value.data.dtype == np.float16 else value.data
        return csr_matrix((data, value.indices, value.indptr), shape=value.shape, copy=False)
    if str(getattr(value, "layout", "")) == "torch.sparse_csr":
        value = value.cpu()
        arrays = (value.values(), value.col_indices(), value.crow_indices())
        if value.values().dtype.itemsize == 2 and not value.values().dtype.is_complex:
            # scipy has no 16-bit floats.
            arrays = (value.values().float(), *arrays[1:])
        return csr_matrix(tuple(array.numpy() for array in arrays), shape=tuple(value.shape), copy=False)
    if hasattr(value, "indptr"):
        return csr_matrix((np.asarray(value.data), np.asarray(value.indices), np.asarray(value.indptr)), shape=value.shape)
    value = _on_host(value)
    if str(value.dtype) == "torch.bfloat16":
        value = value.float()
    return np.asarray(value)
