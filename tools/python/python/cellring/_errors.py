"""Exceptions: one small hierarchy, each also the built-in exception that people catch."""

from __future__ import annotations

import sys


class CellringError(Exception):
    """Base of all exceptions of cellring. The text is one sentence: what, where, what was expected and found, what helps."""


class StoreError(CellringError, OSError):
    """A store or file cannot be read or written: it is not a store, of another version, in use, or the system refuses."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is nothing at the path of a store, of an input, or of the directory that something is to be written to."""


class StoreExistsError(StoreError, FileExistsError):
    """Something has the name of what is to be written, and is not replaced unless ``force=True`` is given."""


class DamagedError(StoreError):
    """A store is damaged: its bytes are not those that were written."""


class ChangedError(StoreError):
    """A file that a linked store refers to has changed since it was linked: link it again."""


class InputError(CellringError, ValueError):
    """An argument, a filter or a list is not valid, or does not fit the data or another argument."""


class NotFoundError(InputError, KeyError):
    """A column, gene or matrix that was asked for by name does not exist."""

    # KeyError shows the repr of its argument.
    __str__ = Exception.__str__


class ArgumentError(InputError, TypeError):
    """There is no argument of this name."""


class CellIndexError(InputError, IndexError):
    """A cell that was asked for by number does not exist."""


class ResumeError(InputError):
    """An epoch cannot be resumed with these settings or this data."""


class MemoryBudgetError(CellringError, MemoryError):
    """The memory budget does not suffice."""


class StoppedError(CellringError, RuntimeError):
    """What was in progress was ended: by another iteration of the same loader, by closing it, or by a fork."""


class CommandError(CellringError, RuntimeError):
    """A conversion, an export or a check failed."""


class InternalError(CellringError, RuntimeError):
    """A bug of cellring."""


class CellringWarning(UserWarning):
    """Something about a request or an input that one may want to know or change."""


# What the library says of its own settings, and what they are called here.
_CALLED = (
    ("lower n_draws or allow replacement", "give a smaller draws=, or replacement=True"),
    ("that f32 cannot represent exactly", "that float32 cannot represent exactly"),
    ("allow rounding to get the nearest f32, or ask for values of the source's type", 'give allow_rounding=True, or dtype="source"'),
    ("would be infinite as f16; choose f32 values", 'would be infinite as float16; give dtype="float32"'),
    ("would be infinite as bf16; choose f32 values", 'would be infinite as bfloat16; give dtype="float32"'),
    (
        "load counts, which `cellring convert` takes from a layer or from raw if the input has them",
        'load counts, which cellring.convert takes by layer="counts" or raw=True if the input has them',
    ),
    ("choose f32, f16 or bf16 values", 'give dtype="float32", "float16" or "bfloat16"'),
    (
        "join the stores by the genes that all have (inner), that any has (outer), or by a list",
        'give join="inner" for the genes that all have, or join="outer" for those that any has',
    ),
    ("join them by a var column that names genes the same way", "give var_key=, a column of var that names genes the same way"),
    ("join by the genes that all have", 'give join="inner"'),
    ("join by another var column", "give another var_key="),
    ("convert it instead: cellring convert", "convert it instead: cellring.convert"),
    ("; link it again as ", "; cellring.refresh links it again, as "),
    (
        ": put it back, or link it again",
        ": put it back, give source_root=, the directory that it is below, say where it is (cellring.relocate), or link it again",
    ),
)


def in_python(error: CellringError) -> CellringError:
    """An error of the library with the names that settings have here."""
    sentence = said = str(error)
    for theirs, ours in _CALLED:
        said = said.replace(theirs, ours)
    return error if said == sentence else type(error)(said)


def level_of_caller() -> int:
    """How far up the stack this package is left: the ``stacklevel`` of a warning that is to name the user's line."""
    frame, level = sys._getframe(1), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__.partition(".")[0]:
        frame, level = frame.f_back, level + 1  # type: ignore[assignment]
    return level
