"""Checks of arguments that several classes share."""

from __future__ import annotations

import difflib
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ._errors import ArgumentError, CellIndexError, InputError, NotFoundError


def unknown(names: Iterable[str], accepted: Iterable[str], what: str, elsewhere: Mapping[str, str] | None = None) -> None:
    """Refuses names that are not accepted, and says which are. ``elsewhere``: what to do for names that other libraries have."""
    accepted = list(accepted)
    for name in names:
        if name in accepted:
            continue
        close = difflib.get_close_matches(name, accepted, n=1)
        hint = f": did you mean {close[0]!r}?" if close else "."
        if elsewhere is not None and name in elsewhere:
            hint = f": {elsewhere[name]}."
        raise ArgumentError(f"{what} has no argument {name!r}{hint} It accepts {', '.join(sorted(accepted))}")


def one_of(name: str, value: str, accepted: Iterable[str]) -> str:
    """A value that must be one of a few words."""
    accepted = list(accepted)
    if value in accepted:
        return value
    close = difflib.get_close_matches(str(value), accepted, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise InputError(f"{name}={value!r}: expected one of {', '.join(map(repr, accepted))}{hint}")


def positive(name: str, value: Any, least: int = 1, most: int = 2**63 - 1) -> int:
    """A whole number from ``least`` to ``most``."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise InputError(f"{name}={value!r}: expected a whole number")
    if not least <= number <= most:
        raise InputError(f"{name}={value!r}: expected a whole number from {least} to {most}")
    return number


def path(name: str, value: Any) -> str:
    """A path as text, whatever it was given as."""
    try:
        text = os.fsdecode(value)
    except TypeError:
        found = repr(value)
        found = found if len(found) <= 80 and "\n" not in found else f"<{type(value).__name__}>"
        hint = "; cellring.convert makes a store of an AnnData in memory" if is_anndata(value) else ""
        raise InputError(f"{name}={found}: expected a path, as str or pathlib.Path{hint}") from None
    if not text or "\0" in text:
        # Empty, it would be the working directory.
        raise InputError(f"{name}={value!r}: expected a path, found {'one with a NUL character' if text else 'an empty text'}")
    return text


def is_anndata(value: Any) -> bool:
    """Whether it is an AnnData, which need not be installed."""
    return hasattr(value, "write_h5ad") and hasattr(value, "obs_names")


def names(name: str, value: Any) -> list[str]:
    """A list of names; one name alone is a list of one."""
    try:
        listed = [value] if isinstance(value, str) else list(value)
    except TypeError:
        listed = [value]
    for part in listed:
        if not isinstance(part, str):
            raise InputError(f"{name}: expected names, found {part!r}")
    return listed


def existing(asked: Iterable[str], there: Sequence[str], what: str, where: str, only_if_close: bool = False) -> None:
    """Refuses names of columns, matrices or the like that are not there, and says which are.

    ``only_if_close``: leaves those that are like none of them to the library, which knows more of them.
    """
    for name in asked:
        if name not in there:
            close = difflib.get_close_matches(str(name), there, n=1)
            if only_if_close and not close:
                continue
            hint = f"did you mean {close[0]!r}?" if close else f"there are {_few(there)}"
            raise NotFoundError(f"{where} has no {what} {name!r}; {hint}")


def _few(listed: Sequence[str], most: int = 20) -> str:
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return (", ".join(listed[:most]) or "none") + more


def cells(ids: Any, n_obs: int, what: str) -> np.ndarray:
    """Numbers of cells as int64: from a number, a slice, an array, a list or a mask; negative ones count from the end.

    Raises
    ------
    CellIndexError
        If a cell does not exist, or a mask has another length.
    InputError
        If it is something else.
    """
    if isinstance(ids, slice):
        try:
            return np.arange(*ids.indices(n_obs), dtype=np.int64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{what}: {ids} is not a range of cells: {error}") from None
    if isinstance(ids, range):
        ids = np.asarray(ids, dtype=np.int64)
    try:
        array = np.asarray(ids)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: expected whole numbers, a slice or a mask of cells: {error}") from None
    if np.ma.is_masked(ids):
        raise InputError(f"{what}: some of the cells are masked; give those that are not, as with ids.compressed()")
    if array.dtype == object:
        array = _of_objects(array, n_obs, what)
    if array.dtype == bool:
        if array.shape != (n_obs,):
            raise CellIndexError(f"{what}: the mask has the shape {array.shape}, expected one value for each of the {n_obs} cells")
        return np.flatnonzero(array).astype(np.int64, copy=False)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, dtype=np.int64)
    if array.ndim > 1 or array.dtype.kind not in "iu":
        hint = "; numpy.isin(store.obs_names, names) is the mask of cells with these names" if _is_of_texts(array) else ""
        raise InputError(f"{what}: expected whole numbers, a slice or a mask of cells, found {_found(ids, array)}{hint}")
    array = np.atleast_1d(array)
    if array.dtype.kind == "u" and array.max() >= n_obs:
        raise _no_cell(array.max(), n_obs, what)
    array = array.astype(np.int64)
    wrong = (array < -n_obs) | (array >= n_obs)
    if wrong.any():
        raise _no_cell(array[wrong][0], n_obs, what)
    return np.where(array < 0, array + n_obs, array)


def _is_of_texts(array: np.ndarray) -> bool:
    return array.dtype.kind in "UT" or (array.dtype == object and all(isinstance(value, str) for value in array.ravel().tolist()))


def _found(ids: Any, array: np.ndarray) -> str:
    """What was given instead of cells."""
    if array.ndim == 0 and array.dtype.kind in "OUS":
        return f"{ids!r}" if ids is None or ids is ... else type(ids).__name__
    return f"{array.dtype} of shape {array.shape}"


def _of_objects(array: np.ndarray, n_obs: int, what: str) -> np.ndarray:
    """Python's own numbers and booleans, which numpy leaves as they are if they are large or came as objects."""
    values = array.ravel().tolist()
    if values and all(isinstance(value, (bool, np.bool_)) for value in values):
        return array.astype(bool)
    if values and all(isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in values):
        wrong = next((value for value in values if not -n_obs <= value < n_obs), None)
        if wrong is not None:
            raise _no_cell(wrong, n_obs, what)
        return array.astype(np.int64)
    return array


def _no_cell(number: Any, n_obs: int, what: str) -> CellIndexError:
    numbers = f"numbers go from 0 to {n_obs - 1}" if n_obs else "it is empty"
    return CellIndexError(f"{what}: there is no cell {number} among {n_obs}; {numbers}")


_UNITS = {"": 1, "B": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS.update({f"{unit}B": size for unit, size in list(_UNITS.items()) if unit not in ("", "B")})
_UNITS.update({"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40})


def size(name: str, value: int | str) -> int:
    """Bytes, from a number or a text such as ``"500M"`` or ``"2GiB"``."""
    if not isinstance(value, str):
        return positive(name, value)
    text = value.strip()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = _UNITS.get(text[len(digits) :].strip().upper())
    try:
        return positive(name, int(float(digits) * unit))  # type: ignore[operator]
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{name}={value!r}: expected bytes, such as 268435456, '500M' or '2GiB'") from None
