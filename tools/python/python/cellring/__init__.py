"""cellring: shuffled minibatches of single cells, from NVMe to a training loop.

Examples
--------
>>> import cellring
>>> cellring.convert("cells.h5ad", "cells.cellring")                                      # doctest: +SKIP
>>> loader = cellring.Loader("cells.cellring", batch_size=64, obs_columns=["cell_type"])  # doctest: +SKIP
>>> for minibatch in loader:                                                              # doctest: +SKIP
...     minibatch.x, minibatch.obs["cell_type"]

Nothing is imported before it is needed: neither numpy nor torch, pandas or anndata by ``import cellring``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._errors import (
    ArgumentError,
    CellIndexError,
    CellringError,
    CellringWarning,
    ChangedError,
    CommandError,
    DamagedError,
    InputError,
    InternalError,
    MemoryBudgetError,
    NotFoundError,
    ResumeError,
    StoppedError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)

if TYPE_CHECKING:
    from ._cellring import __version__
    from ._commands import append, convert, export, link, merge, refresh, relocate, verify
    from ._forms import Csr, TopK
    from ._loader import Loader
    from ._minibatch import Minibatch
    from ._store import Store, Table

__all__ = [
    "ArgumentError",
    "CellIndexError",
    "CellringError",
    "CellringWarning",
    "ChangedError",
    "CommandError",
    "Csr",
    "DamagedError",
    "InputError",
    "InternalError",
    "Loader",
    "MemoryBudgetError",
    "Minibatch",
    "NotFoundError",
    "ResumeError",
    "StoppedError",
    "Store",
    "StoreError",
    "StoreExistsError",
    "StoreNotFoundError",
    "Table",
    "TopK",
    "__version__",
    "append",
    "convert",
    "export",
    "link",
    "merge",
    "refresh",
    "relocate",
    "verify",
]

# Where each name is, and a version: imported when it is first asked for.
_LAZY = {
    "__version__": "_cellring",
    "Csr": "_forms",
    "TopK": "_forms",
    "Loader": "_loader",
    "Minibatch": "_minibatch",
    "Store": "_store",
    "Table": "_store",
    "append": "_commands",
    "convert": "_commands",
    "export": "_commands",
    "link": "_commands",
    "merge": "_commands",
    "refresh": "_commands",
    "relocate": "_commands",
    "verify": "_commands",
}


if not TYPE_CHECKING:
    # Type checkers know the names above, and complain of others.
    def __getattr__(name: str) -> Any:
        module = _LAZY.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
