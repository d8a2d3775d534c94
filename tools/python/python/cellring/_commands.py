"""Conversion, export and checks: the command line's commands as functions.

Each runs in its own process with its own memory budget: Ctrl-C ends it at once and leaves nothing half-written, and a crash there does
not affect this process.
"""

from __future__ import annotations

import contextlib
import json
import numbers
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from . import _arguments, _cellring
from ._errors import (
    CellringError,
    CellringWarning,
    CommandError,
    DamagedError,
    InputError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    level_of_caller,
)

if TYPE_CHECKING:
    import anndata

PathLike = Any

_ERRORS: dict[str, type[CellringError]] = {
    "usage": InputError,
    "exists": StoreExistsError,
    "not-a-store": StoreError,
    "path": StoreError,
}

# Options that the functions here give themselves.
_OWN = ("output", "json", "refresh", "relocate")

# Options whose values the command takes apart at commas.
_DIVIDED = ("feature_types", "label_values", "obs_columns", "sort_by", "stripe")

# Options of which an empty list says something else than none at all.
_NOT_EMPTY = ("label_values", "obs_columns")


def convert(inputs: Any, store: PathLike, *, progress: bool | Callable[[int, int], None] | None = None, **options: Any) -> dict[str, Any]:
    """Converts AnnData to a store.

    Parameters
    ----------
    inputs : path, anndata.AnnData, or a list of these
        ``.h5ad``, zarr, 10x Genomics ``.h5`` or Matrix Market; several become one store. Or one linked store: what was linked of its
        file. What is in memory is written to a temporary ``.h5ad`` next to the store first, as anndata writes it: X, obs, var, layers,
        obsm and raw. Columns of texts of which some are equal become categoricals, as in any file that anndata writes.
    store : path
        The store to make, a directory. It appears when it is complete, and not before.
    progress : bool or function, optional
        Whether to show a bar (by default in a terminal and in a notebook), or a function that is called with what is done and what there
        is to do.
    **options
        Every option of ``cellring convert`` under its name, such as ``layer="counts"``, ``obsm=["X_pca"]``, ``join="inner"``,
        ``memory="4GiB"``, ``force=True``; ``genes`` may be a list of names. X alone is stored unless a matrix is asked for; with
        ``layer`` or ``raw``, ``x=True`` keeps it. ``uns`` and graphs are never stored; a ``CellringWarning`` names what is left out.
        ``var_order`` is ``"source"`` here unless given: genes stay where they are in the source; ``"detection"`` makes stores a fifth
        smaller and reorders them (``Store.var_names``).

    Returns
    -------
    dict
        What was converted: ``n_obs``, ``n_vars``, ``nnz``, ``bytes``, ``left_out``, ``warnings`` and more. ``left_out`` has a dictionary
        for each part that is not stored: its ``path``, the ``option`` that stores it (or None), how many members it stands for (``n``).

    Raises
    ------
    StoreExistsError
        If there is a store of this name and ``force`` is not given.
    StoreNotFoundError
        If an input, or the directory for the store, does not exist.
    CommandError, InputError, StoreError
        If the input cannot be converted; nothing is left at ``store``.

    Examples
    --------
    >>> cellring.convert("cells.h5ad", "cells.cellring", x=True, layer=["counts"], obsm=["X_pca"])  # doctest: +SKIP
    """
    options.setdefault("var_order", "source")
    return _with_inputs("convert", inputs, store, options, progress, output=store)


def link(
    inputs: PathLike | list[PathLike], store: PathLike, *, progress: bool | Callable[[int, int], None] | None = None, **options: Any
) -> dict[str, Any]:
    """Links ``.h5ad`` or zarr files, or ``.h5`` files of 10x Genomics, as a store: their values stay where they are, and are read there.

    It takes seconds; the index has about two bytes per cell and 48 per compressed chunk, and obs and var are copied. What is read often is faster converted.

    Parameters
    ----------
    inputs : path, or a list of paths
        The file, or several, which become one store as with ``convert``. Their matrices are stored by cells: CSR, or dense.
    store : path
        The store to make, a directory.
    **options
        Every option of ``cellring link`` under its name, such as ``layer=["counts"]``, ``join="outer"``, ``checksum=True``, which reads all
        values once and keeps a checksum of each cell, and ``source_root``, the directory that all of them are below, if it is not that of
        the store.
    progress : bool or function, optional
        As for ``convert``.

    Returns
    -------
    dict
        What was linked: ``n_obs``, ``n_vars``, ``nnz``, ``bytes``, ``left_out``, ``warnings`` and more.

    Raises
    ------
    StoreExistsError
        If there is a store of this name and ``force`` is not given.
    CommandError, InputError, StoreError
        If the file cannot be linked; nothing is left at ``store``.
    """
    paths = [_arguments.path("inputs", one) for one in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]
    return _run("link", paths, options, progress, output=_arguments.path("store", store))


def link_in_cache(path: str) -> None:
    """Links a file that is about to be opened, in a process of its own, which Ctrl-C ends. What goes wrong there is left to whoever opens it."""
    with contextlib.suppress(CellringError):
        _run("info", [path], {}, progress=False, warns=False)


def refresh(
    store: PathLike,
    *,
    source_root: PathLike | None = None,
    force_read: bool = False,
    checksum: bool = False,
    progress: bool | Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Links the files of a linked store again, after they have changed, with what was taken of them before.

    Parameters
    ----------
    store : path
        The linked store. A loader that has it open keeps refusing the changed files; one that is made later reads them.
    source_root : path, optional
        The directory that the files are below, if it is not that of the store.
    force_read, checksum : bool
        As of ``link``.
    progress : bool or function, optional
        As for ``convert``.

    Returns
    -------
    dict
        What was linked, as of ``link``.

    Raises
    ------
    StoreNotFoundError
        If there is no such store.
    CommandError, InputError, StoreError
        If it is not linked, or its files cannot be linked as they are now; then the store is as it was.
    """
    options = {"source_root": source_root, "force_read": force_read, "checksum": checksum}
    return _run("link", [_arguments.path("store", store)], options, progress, flags=["--refresh"])


def relocate(store: PathLike, moved: Mapping[PathLike, PathLike], *, source_root: PathLike | None = None) -> dict[str, Any]:
    """Tells a linked store where files are that were moved or renamed, if they are the same as before.

    Parameters
    ----------
    store : path
        The linked store.
    moved : dict of paths
        For each file, or directory of files, that was moved, where it was and where it is.
    source_root : path, optional
        The directory that the files are below, if it is not that of the store.

    Returns
    -------
    dict
        ``linked_to``, the files that it reads now, and ``same_id``: whether states that were saved before can be resumed.

    Raises
    ------
    StoreNotFoundError
        If there is no such store.
    CommandError, InputError, StoreError
        If it is not linked, or a file is not there or another one; then the store is as it was.
    """
    if not isinstance(moved, Mapping) or not moved:
        raise InputError(f"moved={moved!r} is not accepted: give a dictionary of paths, where each was and where it is")
    # A path that begins with a hyphen would be taken for an option.
    paths = [os.path.join(".", _arguments.path("moved", path)) for pair in moved.items() for path in pair]
    if "./" in paths:
        raise InputError(f"moved={moved!r}: a path is empty")
    flags = [argument for old, new in zip(paths[::2], paths[1::2]) for argument in ("--relocate", old, new)]
    return _run("link", [_arguments.path("store", store)], {"source_root": source_root}, False, flags=flags)


def append(store: PathLike, inputs: Any, *, progress: bool | Callable[[int, int], None] | None = None, **options: Any) -> dict[str, Any]:
    """Appends the cells of AnnData to a store. Options are those of ``cellring append``; the result says what was appended.

    Parameters
    ----------
    store : path
        The store. An open ``Store`` keeps seeing what it held; loaders that are made later see all.
    inputs : path, anndata.AnnData, or a list of these
        As for ``convert``.
    progress : bool or function, optional
        As for ``convert``.

    Raises
    ------
    CommandError, InputError, StoreError
        If they do not fit the store, which is then as it was.
    """
    return _with_inputs("append", inputs, store, options, progress, before=[_arguments.path("store", store)])


def verify(store: PathLike, *, progress: bool | Callable[[int, int], None] | None = None, **options: Any) -> dict[str, Any]:
    """Checks every byte of a store. Options are those of ``cellring verify``.

    Raises
    ------
    DamagedError
        If the store is not whole; the text says what is wrong and where.
    StoreNotFoundError, StoreError, CommandError
        If there is no store, or it cannot be read.
    """
    return _run("verify", [_arguments.path("store", store)], options, progress)


def export(
    store: PathLike, output: PathLike, *, progress: bool | Callable[[int, int], None] | None = None, **options: Any
) -> dict[str, Any]:
    """Writes a store as AnnData, ``.h5ad`` or ``.zarr``, as it was in the source. Options are those of ``cellring export``.

    Raises
    ------
    StoreExistsError, StoreNotFoundError, CommandError, InputError, StoreError
        If it cannot be written; nothing is left at ``output``.
    """
    output = _arguments.path("output", output)
    return _run("export", [_arguments.path("store", store), output], options, progress, made=output)


def merge(
    parts: Any, output: PathLike, *, progress: bool | Callable[[int, int], None] | None = None, **options: Any
) -> dict[str, Any]:
    """Makes one store of the parts that ``convert(..., part="1/8")`` made. Options are those of ``cellring merge``.

    Parameters
    ----------
    parts : list of paths, or None
        The parts, in any order; they are removed afterwards. None for all parts next to ``output``.
    output : path
        The store to make, on the same filesystem.
    progress : bool or function, optional
        As for ``convert``.

    Raises
    ------
    StoreExistsError, StoreNotFoundError, CommandError, InputError, StoreError
        If there is no such part, or parts are missing or do not belong together.
    """
    listed = [] if parts is None else [_arguments.path("parts", part) for part in _listed(parts)]
    return _run("merge", listed, options, progress, output=_arguments.path("output", output))


def _listed(inputs: Any) -> list[Any]:
    """One or several inputs as a list."""
    is_one = isinstance(inputs, (str, bytes, os.PathLike, Mapping)) or getattr(inputs, "ndim", 1) != 1 or _arguments.is_anndata(inputs)
    return [inputs] if is_one or not isinstance(inputs, Iterable) else list(inputs)


def _path_of_input(value: Any) -> str:
    """The path of an input that is not in memory."""
    remedy = "give a list, and the names as label_values=" if isinstance(value, Mapping) else None
    if getattr(value, "ndim", 0) > 0:
        remedy = "make an AnnData of it, as anndata.AnnData(X=..., obs=..., var=...)"
    if remedy is not None:
        raise InputError(f"inputs: expected paths or AnnData, found {type(value).__name__}: {remedy}")
    return _arguments.path("inputs", value)


def _with_inputs(
    command: str,
    inputs: Any,
    store: PathLike,
    options: Mapping[str, Any],
    progress: Any,
    before: Sequence[str] = (),
    output: PathLike | None = None,
) -> dict[str, Any]:
    """Runs a command on inputs, some of which may be in memory."""
    store = _arguments.path("store", store)
    listed = _listed(inputs)
    if not listed:
        raise InputError("inputs is empty: give at least one")
    made = None if output is None else store
    if not any(map(_arguments.is_anndata, listed)):
        paths = [_path_of_input(one) for one in listed]
        return _run(command, [*before, *paths], options, progress, output=made)
    # Refused before anything is written; what can be gone through once only is kept for when it is needed.
    options = {name: list(value) if isinstance(value, Iterator) else value for name, value in options.items()}
    with _genes_as_file(options) as (given, _):
        arguments_of(command, given)
    if output is not None and options.get("part") is None and not options.get("force") and os.path.lexists(store):
        raise StoreExistsError(f"{store}: exists already; give force=True to replace it, or another name")
    directory = os.path.dirname(os.path.abspath(store))
    if not os.path.isdir(directory):
        raise StoreNotFoundError(f"{store}: the directory {directory!r} does not exist; create it first")
    # Next to the store: a temporary directory may be memory. The name comes first: Ctrl-C may come while the directory is made, before anything
    # that is made knows of it.
    folder = os.path.join(directory, f".cellring-{os.urandom(8).hex()}")
    try:
        try:
            os.mkdir(folder, 0o700)
        except OSError as error:
            raise StoreError(f"{store}: the AnnData cannot be written next to it: {error}") from error
        paths, names = [], {}
        for number, one in enumerate(listed):
            if _arguments.is_anndata(one):
                path = os.path.join(folder, f"{number}.h5ad")
                _write(one, path)
                names[path] = "the AnnData in memory" if len(listed) == 1 else f"inputs[{number}]"
            else:
                path = _path_of_input(one)
            paths.append(path)
        return _run(command, [*before, *paths], options, progress, output=made, names=names)
    finally:
        _remove(folder)


def _remove(folder: str) -> None:
    """Removes a directory and what is in it. Ctrl-C that comes meanwhile is raised afterwards; one that comes again and again ends it."""
    interrupted = None
    for _ in range(3):
        try:
            shutil.rmtree(folder, ignore_errors=True)
            break
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted


def _write(adata: anndata.AnnData, path: str) -> None:
    """Writes the parts of an AnnData that a store can hold, and of the others that they are there: the report names those too.

    Its own method would change it, as it makes categories of texts, and would fail over what is in uns.
    """
    import anndata
    import h5py
    from anndata.experimental import write_dispatched
    from scipy.sparse import csr_matrix

    raw = adata.raw

    def stand_ins(group: Mapping[str, Any], value: Any) -> dict[str, Any]:
        # A slash would be a path in the file.
        return {str(name).replace("/", "_"): value for name in group}

    try:
        part = anndata.AnnData(
            X=adata.X,
            obs=adata.obs,
            var=adata.var,
            # In anndata 0.13 X is a layer without a name.
            layers={name: layer for name, layer in adata.layers.items() if name is not None},
            obsm=dict(adata.obsm),
            raw=None if raw is None else {"X": raw.X, "var": raw.var.copy(), "varm": stand_ins(raw.varm, np.zeros((raw.n_vars, 1), np.int8))},
            varm=stand_ins(adata.varm, np.zeros((adata.n_vars, 1), np.int8)),
            obsp=stand_ins(adata.obsp, csr_matrix((adata.n_obs, adata.n_obs), dtype=np.int8)),
            varp=stand_ins(adata.varp, csr_matrix((adata.n_vars, adata.n_vars), dtype=np.int8)),
            # Of uns the report has the number of members only.
            uns={str(number): 0 for number in range(len(adata.uns))},
        )
        # As its own function for files does.
        part.strings_to_categoricals()
        if part.raw is not None:
            part.strings_to_categoricals(part.raw.var)
        with _settings, _nullable_strings(anndata.settings), _nothing_dropped() as check, h5py.File(path, "w") as file:

            def write(function: Callable[..., None], group: Any, key: str, value: Any, *, dataset_kwargs: Any, **of_anndata: Any) -> None:
                check()
                _write_in_pieces(group, key, value, check, lambda given: function(group, key, given, dataset_kwargs=dataset_kwargs))

            write_dispatched(file, "/", part, write)
    except OSError as error:
        raise StoreError(f"the AnnData cannot be written next to the store: {error}") from error
    except Exception as error:
        # anndata has many kinds, and tells on several lines, or in notes, which part it was.
        why = " ".join(" ".join([str(error), *getattr(error, "__notes__", ())]).split())
        what, remedy = "this AnnData", ""
        if place := re.search(r"(?:Above e|E)rror raised while writing key '([^']*)' of .* to /?(\S*)", why):
            why = why[: place.start()].strip()
            what = f"{place[1]!r} in {place[2]} of this AnnData" if place[2] else f"{place[1]} of this AnnData"
            remedy = "; change its type, or leave it out"
        raise InputError(f"anndata cannot write {what} as .h5ad, which is what is converted: {why}{remedy}") from error


# Held while what is one for all threads is changed: a setting of anndata, and Python's hook.
_settings = threading.Lock()


@contextlib.contextmanager
def _nullable_strings(settings: Any) -> Iterator[None]:
    """Lets anndata before 0.13 write texts with missing values, as pandas 3 has them everywhere."""
    before = getattr(settings, "allow_write_nullable_strings", None)
    if before is not False:
        yield
        return
    settings.allow_write_nullable_strings = True
    try:
        yield
    finally:
        settings.allow_write_nullable_strings = before


@contextlib.contextmanager
def _nothing_dropped() -> Iterator[Callable[[], None]]:
    """Raises a Ctrl-C that Python drops: when the function that it gives is called, or at the end.

    After a long call of HDF5 the first Python code to run is often a callback of a weak reference in h5py. An exception that is raised there
    goes nowhere: the work would go on as if Ctrl-C had not been pressed.
    """
    dropped: list[BaseException] = []
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            dropped.append(unraisable.exc_value)
        else:
            before(unraisable)

    def check() -> None:
        if dropped:
            raise dropped[0]

    sys.unraisablehook = hook
    try:
        yield check
    finally:
        sys.unraisablehook = before
        # Rather than what else was raised because of it.
        check()


# Bytes between which the writing of an array can be interrupted.
_PIECE = 2**24


def _write_in_pieces(group: Any, key: str, value: Any, check: Callable[[], None], write: Callable[[Any], None]) -> None:
    """Has ``write`` write what it is given as a member of a group. Large arrays are written in pieces: HDF5 is deaf within a call."""
    is_sparse = getattr(value, "format", None) in ("csr", "csc") and hasattr(value, "indptr")
    if is_sparse and value.data.nbytes > _PIECE:
        import scipy.sparse

        write({"csr": scipy.sparse.csr_matrix, "csc": scipy.sparse.csc_matrix}[value.format](value.shape, dtype=value.dtype))
        for name in ("data", "indices", "indptr"):
            _replace(group[key], name, getattr(value, name), check)
    elif type(value) is np.ndarray and value.ndim == 2 and value.dtype.kind in "fiu" and value.nbytes > _PIECE:
        write(value[:0])
        _replace(group, key, value, check)
    else:
        write(value)


def _replace(group: Any, key: str, values: np.ndarray, check: Callable[[], None]) -> None:
    """Puts an array in the place of another one, which leaves it its attributes."""
    attributes = dict(group[key].attrs)
    del group[key]
    made = group.create_dataset(key, shape=values.shape, dtype=values.dtype)
    made.attrs.update(attributes)
    step = max(1, _PIECE // max(1, values[:1].nbytes))
    for at in range(0, len(values), step):
        check()
        made[at : at + step] = values[at : at + step]


def arguments_of(command: str, options: Mapping[str, Any]) -> list[str]:
    """The options of a command as its command line has them.

    Raises
    ------
    ArgumentError
        If there is no such option.
    InputError
        If a value is not what it takes.
    """
    known = {name.replace("-", "_"): (takes_value, several) for name, takes_value, several in _cellring.command_options(command) or []}
    for name in _OWN:
        known.pop(name, None)
    _arguments.unknown(options, known, command)
    made = []
    for name, value in options.items():
        if value is None:
            continue
        option = f"--{name.replace('_', '-')}"
        takes_value, several = known[name]
        if takes_value:
            made += [f"{option}={text}" for text in _texts(name, value, several)]
        elif not isinstance(value, bool):
            raise InputError(f"{name}={value!r}: expected True or False")
        elif value:
            made.append(option)
    return made


def _texts(name: str, value: Any, several: bool) -> list[str]:
    """The values of an option, of which there may be several, as text."""
    is_one = isinstance(value, (str, os.PathLike, numbers.Number)) or not isinstance(value, Iterable)
    if not is_one and (not several or isinstance(value, (bytes, Mapping))):
        raise InputError(f"{name}={value!r}: expected one value")
    texts = [_text(name, part) for part in ([value] if is_one else value)]
    if not texts and name in _NOT_EMPTY:
        raise InputError(f"{name} is empty: give at least one, or leave it out")
    if not is_one and name in _DIVIDED:
        for text in texts:
            if "," in text:
                raise InputError(f"{name}: {text!r} has a comma, which separates names here; give it another name")
    return texts


def _text(name: str, value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fsdecode(value)
    elif isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InputError(f"{name}={value!r}: expected a text, a number or a path, found {type(value).__name__}")
    if "\0" in value:
        raise InputError(f"{name}={value!r}: a text with a NUL character cannot be given")
    return value


@contextlib.contextmanager
def _genes_as_file(options: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Genes may be given as a list of names: the command takes a file of them. Gives the options, and what to call the file."""
    made = dict(options)
    genes = made.get("genes")
    if genes is None or isinstance(genes, (str, os.PathLike)):
        yield made, {}
        return
    listed = _arguments.names("genes", genes)
    if not listed:
        raise InputError("genes is empty: give at least one name")
    for gene in listed:
        if gene != gene.strip() or gene.startswith("#") or not gene or len(gene.splitlines()) > 1:
            raise InputError(f"genes: {gene!r} cannot be asked for: it is empty, begins with # or has blanks around it")
    with tempfile.TemporaryDirectory(prefix="cellring-") as folder:
        path = os.path.join(folder, "genes.txt")
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{gene}\n" for gene in listed)
        made["genes"] = path
        yield made, {path: "genes="}


def _run(
    command: str,
    positional: Sequence[str],
    options: Mapping[str, Any],
    progress: Any,
    *,
    output: str | None = None,
    made: str | None = None,
    names: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
    warns: bool = True,
) -> dict[str, Any]:
    """Runs a command and returns what it reports.

    Warnings are passed on if it ``warns``. ``flags`` are given to it besides ``options``, which are the caller's. ``output`` is its option of this name, and ``made`` the one of ``positional`` that it makes. ``names`` says what files that the caller
    has not made are to be called.
    """
    for path in [*positional, *flags]:
        if "\0" in path:
            raise InputError(f"{path!r}: a path cannot have a NUL character")
    with _Bar(progress, command) as bar, _genes_as_file(options) as (given, of_genes):
        arguments = [*arguments_of(command, given), *flags]
        if output is not None:
            arguments.append(f"--output={output}")
        code, report, messages = _child([command, *arguments, "--json", "--", *positional], bar)
        quoted = [*positional, *flags, output, *(value for value in given.values() if isinstance(value, str))]
        said = _Sentences(command, {**(names or {}), **of_genes}, (text for text in quoted if text is not None and "--" in text))
        for sentence in messages.warnings if warns else ():
            # The caller of convert, append and the like.
            warnings.warn(said.in_python(sentence), CellringWarning, stacklevel=level_of_caller())
        if code == 0:
            bar.end()
            reported: dict[str, Any] = said.report(json.loads(report))
            if reported.get("left_out"):
                warnings.warn(_left_out(reported["left_out"]), CellringWarning, stacklevel=level_of_caller())
            return reported
        kind, sentence = messages.error or ("failed", _how_it_ended(command, code, messages.rest))
        target = output or made
        needed = [path for path in positional if path != made]
        needed += [given["genes"]] if given.get("genes") else []
        needed += [os.path.dirname(os.path.abspath(target))] if target else []
        raise _error(command, kind, sentence, needed)(said.in_python(sentence))


# Parts that a warning names; the report has all.
_NAMED = 6


def _left_out(parts: Sequence[Mapping[str, Any]]) -> str:
    """A sentence for what the source holds and the store does not."""
    named = [f"{part['path']} ({part['option']} stores it)" if part.get("option") else part["path"] for part in parts[:_NAMED]]
    others = f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    return f"not stored: {', '.join(named)}{others}"


def _error(command: str, kind: str, sentence: str, needed: Sequence[str]) -> type[CellringError]:
    """The exception for a kind of failure. ``needed``: what must be there."""
    if kind != "usage" and kind != "exists" and not all(map(os.path.exists, needed)):
        return StoreNotFoundError
    if command == "verify" and kind == "failed" and "(os error" not in sentence:
        return DamagedError
    return _ERRORS.get(kind, CommandError)


def _how_it_ended(command: str, code: int, rest: Sequence[str]) -> str:
    """A sentence for a command that had no time for one of its own."""
    if rest:
        return f"cellring {command} failed: {' '.join(rest)}"
    if code >= 0:
        return f"cellring {command} ended with code {code} and said nothing"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = "; if it was the system, memory ran out: give a smaller memory=" if -code == signal.SIGKILL else ""
    return f"the process of cellring {command} was ended by {name}{hint}"


class _Messages:
    """What a command says on standard error, other than progress."""

    def __init__(self) -> None:
        self.error: tuple[str, str] | None = None
        """Its kind and its sentence."""
        self.warnings: list[str] = []
        self.rest: list[str] = []
        """The last lines that are neither."""

    def read(self, stream: IO[str], bar: _Bar) -> None:
        for line in stream:
            try:
                message = json.loads(line)
                (kind, said), = message.items()
            except (ValueError, AttributeError):
                self.rest = [*self.rest[-4:], line.strip()]
                continue
            if kind == "progress":
                # What a function of the caller's raises is for the caller.
                bar.update(said["done"], said["total"])
            elif kind == "error":
                self.error = (said["kind"], said["message"])
            elif kind == "warning":
                self.warnings.append(said["message"])


# Only what the command needs: neither the user's settings nor modules that lie in the working directory have to do with it.
_CHILD = "import sys; sys.path.append(sys.argv.pop(1)); from cellring._cli import main_of_child; raise SystemExit(main_of_child())"


def _child(arguments: Sequence[str], bar: _Bar) -> tuple[int, str, _Messages]:
    """Runs the command line. Gives its exit code, what it printed, and what it said."""
    if not sys.executable:
        raise CommandError("this Python does not know its own path, which cellring needs to start its command (sys.executable is empty)")
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # A file: the report may be longer than a pipe holds while standard error is read.
    with tempfile.TemporaryFile() as report:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _CHILD, package, *arguments],
                stdin=subprocess.PIPE,
                stdout=report,
                stderr=subprocess.PIPE,
                env={**os.environ, "CELLRING_PROGRESS": "json"},
                encoding="utf-8",
                errors="replace",
                # Ctrl-C in a terminal is for this process alone, which passes it on: a second one would leave no time to clean up.
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(f"the command of cellring cannot be started by {sys.executable}: {error}") from error
        messages = _Messages()
        with process:
            try:
                messages.read(process.stderr, bar)  # type: ignore[arg-type]
                code = process.wait()
            except BaseException:
                _end(process)
                raise
        report.seek(0)
        return code, report.read().decode("utf-8", "replace"), messages


# Seconds that a command has to remove what it has begun.
_TIME_TO_END = 10


def _await_end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    try:
        # `wait` looks every 50 ms; this sees the end when it comes.
        ended = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        # Pythons and kernels that do not have it.
        process.wait(timeout=_TIME_TO_END)
        return
    try:
        waiting = select.poll()
        waiting.register(ended, select.POLLIN)
        waiting.poll(1000 * _TIME_TO_END)
    finally:
        os.close(ended)
    process.wait(timeout=0)


def _end(process: subprocess.Popen[str]) -> None:
    """Has the command remove what it has begun, and end."""
    process.send_signal(signal.SIGINT)
    try:
        _await_end(process)
    except BaseException as error:
        process.kill()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


# What sentences call by its command line, the longest first.
_FUNCTIONS = (
    ("cellring link --relocate OLD NEW STORE", "cellring.relocate(store, {old: new})"),
    ("cellring link --relocate", "cellring.relocate"),
    ("cellring link --refresh", "cellring.refresh"),
    ("convert it instead: cellring convert", "convert it instead: cellring.convert"),
)


class _Sentences:
    """Turns what the command says about its options into what Python calls them."""

    def __init__(self, command: str, names: Mapping[str, str], quoted: Iterable[str] = ()) -> None:
        """``names``: what files are to be called. ``quoted``: what else stays as it is, whatever it looks like."""
        self._names = names
        kept = sorted({*names, *filter(None, quoted)}, key=len, reverse=True)
        self._kept = re.compile("(" + "|".join(map(re.escape, kept)) + ")") if kept else None
        self._options = {name: takes_value for name, takes_value, _ in _cellring.command_options(command) or []}
        known = "|".join(sorted(map(re.escape, self._options), key=len, reverse=True))
        # Paths may have hyphens too. A value: in capitals as a placeholder, of a few options as it is.
        before, after = r"(?<![\w/.=-])", r"(?![\w-])"
        self._quoted = re.compile(rf"'--({known})(?: <[^>]*>)?(?:\.\.\.)?'")
        self._with_value = re.compile(rf"{before}--(layer|obsm|join|var-order|container|compression) ([\w./-]*\w){after}")
        self._bare = re.compile(rf"{before}--({known}){after}(?: ([A-Z][A-Z,]+\b|\d+MiB\b))?")

    def in_python(self, sentence: str) -> str:
        parts = [sentence] if self._kept is None else self._kept.split(sentence)
        # What was split off stands between the others.
        made = "".join(self._names.get(part, part) if place % 2 else self._translated(part) for place, part in enumerate(parts))
        is_of_memory = any(name in made for path, name in self._names.items() if path.endswith(".h5ad"))
        # There is no file that could be written again.
        return made.replace(" and write the file again", "") if is_of_memory else made

    def _translated(self, sentence: str) -> str:
        for theirs, ours in _FUNCTIONS:
            sentence = sentence.replace(theirs, ours)
        sentence = self._quoted.sub(lambda match: _name(match[1]), sentence)
        sentence = self._with_value.sub(self._value, sentence)
        return self._bare.sub(self._option, sentence)

    def _value(self, match: re.Match[str]) -> str:
        if match[1] not in self._options or match[2] in ("NAME", "is", "and", "or"):
            return match[0]
        return f'{_name(match[1])}="{match[2]}"'

    def _option(self, match: re.Match[str]) -> str:
        if not self._options[match[1]]:
            return f"{_name(match[1])}=True" + (f" {match[2]}" if match[2] else "")
        value = match[2] or ""
        return f"{_name(match[1])}=" + (f'"{value}"' if value[:1].isdigit() else value)

    def report(self, value: Any) -> Any:
        """A report with its sentences and options as Python calls them."""
        if isinstance(value, list):
            return [self.report(part) for part in value]
        if isinstance(value, dict):
            said = ("message", "option")
            return {
                key: self.in_python(part) if key in said and isinstance(part, str) else self.report(part) for key, part in value.items()
            }
        return value


def _name(option: str) -> str:
    return option.replace("-", "_")


class _Bar:
    """Progress: a bar of tqdm, a function of the caller's, or nothing."""

    def __init__(self, progress: Any, what: str) -> None:
        self._call = progress if callable(progress) else None
        self._tqdm: Any = None
        self._last: tuple[int, int] | None = None
        if self._call is not None:
            return
        if progress is not None and not isinstance(progress, bool):
            raise InputError(f"progress={progress!r}: expected True, False, or a function of what is done and what there is to do")
        if progress is None:
            progress = (sys.stderr is not None and sys.stderr.isatty()) or _in_notebook()
            must_show = False
        else:
            must_show = progress
        if progress:
            try:
                from tqdm.auto import tqdm
            except ImportError as error:
                if must_show:
                    raise InputError("progress=True needs tqdm: install it (pip install tqdm), or give a function") from error
                return
            self._tqdm = tqdm(desc=what, leave=False, unit_scale=True)

    def update(self, done: int, total: int) -> None:
        self._last = (done, total)
        if self._call is not None:
            self._call(done, total)
        if self._tqdm is not None:
            self._tqdm.total = total
            self._tqdm.update(done - self._tqdm.n)

    def end(self) -> None:
        """All is done, which the last line of progress may have been too early to say."""
        if self._last is not None and self._last[0] < self._last[1]:
            self.update(self._last[1], self._last[1])

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._tqdm is not None:
            self._tqdm.close()


def _in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
