"""The compiled half: stores, loaders, epochs and minibatches as the Python half uses them. None of it is for users."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, TypedDict, final

from typing_extensions import CapsuleType

__all__ = [
    "Array",
    "DeviceArray",
    "DeviceMinibatch",
    "Epoch",
    "IS_DEBUG_BUILD",
    "Loader",
    "Minibatch",
    "Setup",
    "Store",
    "Table",
    "__version__",
    "command_options",
    "main",
]

__version__: Final[str]
IS_DEBUG_BUILD: Final[bool]

# Fingerprint, epoch, and world size and minibatches of each stretch.
_State: TypeAlias = tuple[int, int, list[tuple[int, int]]]

class _ArrayInterface(TypedDict):
    version: int
    typestr: str
    shape: tuple[int, ...]
    data: tuple[int, bool]

@final
class Array:
    """An array in the memory of a minibatch: anything that takes DLPack or numpy's array interface takes it, without a copy."""

    @property
    def shape(self) -> list[int]: ...
    @property
    def __array_interface__(self) -> _ArrayInterface:
        """There is none for bfloat16: ``AttributeError``."""

    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __dlpack__(
        self,
        *,
        stream: None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> CapsuleType: ...

@final
class Minibatch:
    @property
    def number(self) -> int: ...
    @property
    def is_padding(self) -> bool: ...
    def layout(self, matrix: int) -> str:
        """``"csr"``, ``"dense"`` or ``"top_k"``."""

    def shape(self, matrix: int) -> tuple[int, int]: ...
    def array(self, matrix: int, role: str) -> Array:
        """``"indptr"``, ``"indices"``, ``"values"`` or ``"lens"``."""

    def csr_capsules(self, matrix: int) -> list[Any]:
        """As `csr`, as capsules of DLPack."""

    def csr(self, matrix: int) -> tuple[Array, Array, Array]:
        """``indptr``, ``indices`` and ``values``."""

    def ids(self) -> Array: ...
    def columns(self) -> list[str]: ...
    def column(self, column: int) -> tuple[Array | list[str | None], Array | None]:
        """Values, and which are there if any is missing."""

@final
class DeviceArray:
    """An array in the memory of a GPU: anything that takes DLPack takes it, without a copy."""

    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> CapsuleType: ...

@final
class DeviceMinibatch:
    """As `Minibatch`, with the arrays of its matrices on a GPU."""

    @property
    def number(self) -> int: ...
    @property
    def is_padding(self) -> bool: ...
    def layout(self, matrix: int) -> str: ...
    def shape(self, matrix: int) -> tuple[int, int]: ...
    def array(self, matrix: int, role: str) -> DeviceArray: ...
    def csr(self, matrix: int) -> tuple[DeviceArray, DeviceArray, DeviceArray]: ...
    def ids(self) -> Array: ...
    def columns(self) -> list[str]: ...
    def column(self, column: int) -> tuple[Array | list[str | None], Array | None]: ...

@final
class Store:
    def __new__(cls, path: str | os.PathLike[str], source_root: str | os.PathLike[str] | None = None) -> Store: ...
    @staticmethod
    def existing(path: str | os.PathLike[str], source_root: str | os.PathLike[str] | None = None) -> Store | None:
        """As the class; None for a file that has to be linked first."""

    @property
    def cached(self) -> str | None:
        """Where it was linked, if the path is that of a file."""

    @property
    def is_linked(self) -> bool: ...
    @property
    def n_files(self) -> int: ...
    @property
    def n_obs(self) -> int: ...
    @property
    def n_vars(self) -> int: ...
    @property
    def matrices(self) -> list[str]: ...
    def matrix(self, name: str) -> tuple[int, str]:
        """Number of columns, and numpy's name of the type."""

    def obs(self) -> Table: ...
    def var(self, matrix: str) -> Table: ...
    def rows(self, ids: Any, matrix: str, is_dense: bool) -> Minibatch:
        """Cells by their numbers: a one-dimensional numpy array of int64 without gaps. Several threads read at once."""

    def lens(self, ids: Any, matrix: str) -> bytes | None:
        """How many values each of these cells has, as uint32; None of a linked store, which knows when it has read them."""

    def close(self) -> None: ...

@final
class Table:
    @property
    def n_rows(self) -> int: ...
    def fields(self) -> list[tuple[str, dict[str, str]]]: ...
    def column(self, place: int) -> dict[str, Any]: ...
    def __arrow_c_schema__(self) -> CapsuleType: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> CapsuleType: ...

@final
class Setup:
    def __new__(cls, stores: Sequence[Store], arguments: Mapping[str, Any]) -> Setup: ...
    @property
    def n_obs(self) -> int: ...
    @property
    def n_selected(self) -> int: ...
    def selected(self) -> Array:
        """The cells that are sampled from, ascending: int64."""

    @property
    def warnings(self) -> list[str]: ...
    @property
    def var_names(self) -> list[str]: ...
    def n_minibatches(self, epoch: int, rank: int, world_size: int) -> int: ...
    def fingerprint(self) -> int: ...
    def categories(self, column: str) -> list[str] | None: ...
    def open(
        self, rank: int, world_size: int, threads: int | None = None, memory: int | None = None, gpu: int | None = None
    ) -> Loader: ...

@final
class Loader:
    def epoch(self, epoch: int) -> Epoch: ...
    def resume(self, state: _State) -> Epoch: ...
    def rows(self, ids: Any) -> Minibatch: ...
    def close(self) -> None: ...

@final
class Epoch:
    def next(self) -> Minibatch | DeviceMinibatch | None:
        """None at the end."""

    def n_left(self) -> int: ...
    def state(self) -> _State: ...
    def stats(self) -> dict[str, int]: ...
    def close(self) -> None: ...

def main(arguments: Sequence[str]) -> int:
    """Runs the command line and gives its exit code."""

def command_options(command: str) -> list[tuple[str, bool, bool]] | None:
    """Name, whether it takes a value, and whether it takes several, of each option."""
