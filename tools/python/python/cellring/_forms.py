"""How the arrays of a minibatch become what a framework works with. Each framework is imported when the first minibatch needs it."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from . import _cellring, _copies
from ._errors import InputError


class Csr(NamedTuple):
    """A sparse matrix as three arrays: row ``i`` has ``data[indptr[i]:indptr[i + 1]]`` in the columns ``indices[...]``."""

    data: Any
    """The values, one-dimensional."""
    indices: Any
    """The column of each value, ascending in each row; of the type of ``indptr``."""
    indptr: Any
    """``n_obs + 1`` offsets."""
    shape: tuple[int, int]
    """Rows and columns."""


class TopK(NamedTuple):
    """Of each cell its ``k`` highest values, the highest first."""

    values: Any
    """``(n_obs, k)``; 0 after the last."""
    indices: Any
    """``(n_obs, k)`` columns in rank order; -1 after the last."""
    lens: Any
    """``(n_obs,)`` of int32: how many each cell has, at most ``k``."""


class Form:
    """A framework: what makes its arrays and matrices."""

    name: str

    def array(self, array: _cellring.Array) -> Any:
        """An array, without a copy."""
        raise NotImplementedError

    def of_numpy(self, array: np.ndarray) -> Any:
        """An array of numpy as one of this framework, without a copy."""
        raise NotImplementedError

    def top_k(self, raw: _cellring.Minibatch, matrix: int) -> TopK:
        """The highest values of a minibatch, without a copy."""
        values, indices = (self.array(raw.array(matrix, role)) for role in ("values", "indices"))
        # torch can do next to nothing with unsigned numbers; these are small.
        return TopK(values, indices, self.of_numpy(np.asarray(raw.array(matrix, "lens")).view(np.int32)))

    def csr(self, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> Any:
        """A sparse matrix of arrays of this framework, without a copy."""
        raise NotImplementedError

    def csr_of(self, raw: _cellring.Minibatch, matrix: int) -> Any:
        """A sparse matrix of a minibatch, without a copy."""
        indptr, indices, values = map(self.array, raw.csr(matrix))
        return self.csr(indptr, indices, values, raw.shape(matrix))


class _Numpy(Form):
    name = "numpy"

    def array(self, array: _cellring.Array) -> np.ndarray:
        return np.asarray(array)

    def of_numpy(self, array: np.ndarray) -> np.ndarray:
        return array

    def csr(self, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> Any:
        return Csr(values, indices, indptr, shape)


class _Scipy(_Numpy):
    name = "scipy"

    def csr(self, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> Any:
        from scipy.sparse import csr_matrix

        return csr_matrix((values, indices, indptr), shape=shape, copy=False)


class _Torch(Form):
    name = "torch"

    def __init__(self) -> None:
        try:
            import torch
        except ImportError as error:
            raise InputError('to="torch" needs torch: install it (pip install torch), or ask for to="scipy"') from error
        # What `torch.from_dlpack` comes to for a capsule, without its questions: it is called three times for every minibatch.
        self._from_dlpack = getattr(torch._C, "_from_dlpack", torch.from_dlpack)
        self._from_numpy = torch.from_numpy
        self._sparse = torch.sparse_csr_tensor
        with warnings.catch_warnings():
            # torch says once in a process that CSR is in beta.
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
            empty = torch.zeros(1, dtype=torch.int32)
            self._sparse(empty, empty[:0], torch.zeros(0), size=(0, 1), check_invariants=False)

    def array(self, array: _cellring.Array) -> Any:
        # Straight to the capsule: what torch asks an object first takes longer than the rest.
        return self._from_dlpack(array.__dlpack__())

    def of_numpy(self, array: np.ndarray) -> Any:
        return self._from_numpy(array)

    def csr_of(self, raw: _cellring.Minibatch, matrix: int) -> Any:
        # All three capsules in one call: it is made for every minibatch.
        indptr, indices, values = map(self._from_dlpack, raw.csr_capsules(matrix))
        return self.csr(indptr, indices, values, raw.shape(matrix))

    def csr(self, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> Any:
        # Checked by cellring already. Without a shape torch would take the largest index for the last column.
        return self._sparse(indptr, indices, values, shape, check_invariants=False)


class TorchOnDevice(_Torch):
    """Tensors on a GPU: those of arrays that are there, without a copy, and copies of the others, such as labels."""

    def __init__(self, device: Any) -> None:
        super().__init__()
        import torch

        self._torch = torch
        self._device = device

    def array(self, array: Any) -> Any:
        if isinstance(array, _cellring.DeviceArray):
            # It tells the array which stream is current.
            return self._torch.from_dlpack(array)
        return self.of_numpy(np.asarray(array))

    def of_numpy(self, array: np.ndarray) -> Any:
        source = super().of_numpy(array)
        copy = source.to(self._device, non_blocking=True)
        _copies.keep(source, self._device)
        return copy

    def top_k(self, raw: Any, matrix: int) -> TopK:
        values, indices, lens = (self.array(raw.array(matrix, role)) for role in ("values", "indices", "lens"))
        return TopK(values, indices, lens.view(self._torch.int32))

    def csr_of(self, raw: Any, matrix: int) -> Any:
        return Form.csr_of(self, raw, matrix)

    @staticmethod
    def takes(device: Any) -> bool:
        """Whether minibatches can be handed to torch on this device: one of CUDA, and torch knows the numbers without a sign that DLPack brings."""
        import torch

        return bool(device.type == "cuda" and torch.version.cuda is not None and hasattr(torch, "uint32"))


class _Jax(Form):
    name = "jax"

    def __init__(self) -> None:
        try:
            import jax
            from jax.experimental import sparse
        except ImportError as error:
            raise InputError('to="jax" needs jax: install it (pip install jax), or ask for to="numpy"') from error
        self._jax = jax
        self._sparse = sparse

    def array(self, array: _cellring.Array) -> Any:
        # jax takes what is aligned to 64 bytes without a copy, and copies the rest.
        return self.of_numpy(np.asarray(array))

    def of_numpy(self, array: np.ndarray) -> Any:
        # Without its option jax has nothing of 64 bits, and would keep the lower half of each number.
        if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size > 0 and not self._jax.config.jax_enable_x64:
            bounds = np.iinfo(np.int32 if array.dtype.kind == "i" else np.uint32)
            if array.min() < bounds.min or array.max() > bounds.max:
                raise InputError(
                    f"a minibatch has numbers beyond 32 bits ({array.min()} to {array.max()}), which jax has no room for: call "
                    'jax.config.update("jax_enable_x64", True) first'
                )
        return self._jax.numpy.asarray(array)

    def csr(self, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> Any:
        return self._sparse.BCSR((values, indices, indptr), shape=shape)


_FORMS: dict[str, Any] = {"numpy": _Numpy, "scipy": _Scipy, "torch": _Torch, "jax": _Jax}
_made: dict[str, Form] = {}

NAMES = tuple(_FORMS)


def form(name: str) -> Form:
    """The framework of this name, imported when it is first asked for."""
    made = _made.get(name)
    if made is None:
        made = _made[name] = _FORMS[name]()
    return made


def padded_nnz(nnz: int, pad_nnz: int | str) -> int:
    """How many values a sparse matrix is padded to: the next power of two, or a given number."""
    if pad_nnz == "pow2":
        return 1 << max(0, nnz - 1).bit_length()
    if nnz > int(pad_nnz):
        raise InputError(f"a minibatch has {nnz} values, more than pad_nnz={pad_nnz}; give a larger number, or pad_nnz=\"pow2\"")
    return int(pad_nnz)
