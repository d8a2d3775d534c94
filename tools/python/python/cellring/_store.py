"""Stores: what is in them, and single cells."""

from __future__ import annotations

import os
import resource
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn, overload

import numpy as np

from . import _arguments, _cellring, _commands
from ._errors import CellringError, CellringWarning, DamagedError, InputError, MemoryBudgetError, StoreError, in_python

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    import scipy.sparse

# Cells that are read at once; fewer if they are too large.
_ROWS = 8192
# Beyond twice as many cells, threads read parts of so many: what they decode is then in a cache when it is copied to its place.
_PART = 1024
_MOST_THREADS = 8
# Files that they open altogether: each all shards.
_MOST_FILES = 128

# What users of AnnData look for in a store, and where it is.
_ROWS_OF = "store[ids] reads cells as a scipy matrix"
_WHOLE = "to_anndata() makes one, of all cells or of some"
_OF_ANNDATA = {
    "X": f"{_ROWS_OF}, and {_WHOLE}",
    **dict.fromkeys(("layers", "obsm", "raw"), f"gather_rows(ids, matrix) reads those that matrices names, and {_WHOLE}"),
    **dict.fromkeys(("uns", "varm", "obsp", "varp", "T", "to_memory", "write_h5ad", "write_zarr", "copy"), _WHOLE),
    "to_df": f"{_ROWS_OF}, and to_anndata(ids).to_df() makes a frame",
    "write": "cellring.export writes an .h5ad or zarr",
}


class Table:
    """A table of a store: ``obs``, one row for each cell, or ``var``, one for each gene.

    It has Arrow's PyCapsule interface: ``pyarrow.table(table)``, ``polars.DataFrame(table)`` and duckdb take it as it is. The first column
    is the index.
    """

    def __init__(self, raw: _cellring.Table, where: str) -> None:
        self._raw = raw
        self._where = where

    def __len__(self) -> int:
        return self._raw.n_rows

    @property
    def columns(self) -> list[str]:
        """Names of the columns, without the index."""
        return [name for name, _ in self._raw.fields()[1:]]

    @property
    def index(self) -> np.ndarray:
        """The index: names of cells or genes, ``(n,)`` of str."""
        values = self._raw.column(0)["values"] if len(self) else []
        return np.asarray(values, dtype=object)

    @overload
    def __getitem__(self, column: str) -> pd.Series: ...
    @overload
    def __getitem__(self, column: list[str]) -> pd.DataFrame: ...
    def __getitem__(self, column: str | list[str]) -> pd.Series | pd.DataFrame:
        """A column as a ``pandas.Series``; a list of columns as a ``pandas.DataFrame``, as ``to_pandas`` gives it."""
        return self.to_pandas(column) if isinstance(column, list) else self.to_pandas([column])[column]

    def __iter__(self) -> Iterator[str]:
        """Names of the columns, as of a data frame."""
        return iter(self.columns)

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The table as anndata would read it, dtype for dtype: categoricals, nullable integers and booleans, strings, the index's name.

        Parameters
        ----------
        columns : list of str, optional
            Only these columns, in this order.

        Raises
        ------
        NotFoundError
            If there is no such column.
        """
        try:
            from ._frames import frame
        except ImportError as error:
            sentence = "to_pandas() needs pandas: install it (pip install pandas), or read the table with pyarrow or polars"
            raise InputError(sentence) from error

        if columns is not None:
            columns = _arguments.names("columns", columns)
            _arguments.existing(columns, self.columns, "column", self._where)
        return frame(self._raw, columns)

    def __arrow_c_schema__(self) -> Any:
        return self._raw.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._raw.__arrow_c_stream__(requested_schema)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            """Says where to go on, to those who expect a data frame."""
            if name.startswith("_"):
                raise AttributeError(name)
            where = self.__dict__.get("_where", "the table")
            if name in self.columns:
                raise AttributeError(f"{where}: a column is table[{name!r}], not an attribute")
            raise AttributeError(f"{where} is not a data frame and has no {name!r}: to_pandas() makes one")

    def __repr__(self) -> str:
        return f"Table({len(self)} rows, columns: {', '.join(self.columns) or 'none'})"


def _allow_descriptors() -> None:
    """Raises the limit on open files when half of it is in use: an open store holds some, and of hundreds the usual 1,024 are not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        if soft != resource.RLIM_INFINITY and 2 * len(os.listdir("/proc/self/fd")) > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (4 * soft if hard == resource.RLIM_INFINITY else min(4 * soft, hard), hard))
    except (OSError, ValueError):
        # Where it may not be raised, what cannot be opened is an error.
        pass


def opened(path: str, source_root: str | None, stacklevel: int) -> _cellring.Store:
    """The open store; a warning where it is a file that was linked for it."""
    _allow_descriptors()
    try:
        store = _cellring.Store.existing(path, source_root)
        if store is None:
            _commands.link_in_cache(path)
            store = _cellring.Store(path, source_root)
    except CellringError as error:
        raise in_python(error) from None
    if store.cached is not None:
        sentence = f"{path} is read in place, through the link {store.cached}; a converted store (cellring.convert) would be faster to read"
        warnings.warn(sentence, CellringWarning, stacklevel=stacklevel + 1)
    return store


def stamp_of(path: str) -> tuple[int, int] | None:
    """What tells a store from one that takes its place later."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def if_replaced(error: CellringError, path: str, stamp: tuple[int, int] | None) -> CellringError:
    """The error, or another one if it is that of a store that was replaced after it was opened, where nothing is damaged."""
    if isinstance(error, DamagedError) and stamp_of(path) != stamp:
        return StoreError(f"{path}: the store was replaced after it was opened here: open it again")
    return error


class Store:
    """A store that ``cellring.convert`` or ``cellring.link`` made; or an ``.h5ad``, which is linked automatically.

    A file is linked in ``$XDG_CACHE_HOME/cellring``, or ``~/.cache/cellring`` without that variable, and again when it has changed. The
    oldest of more than 32 links, or of more than 8 GiB of them, are removed when another file is linked; the directory may be deleted.

    Genes are in the order in which the store has them: ``var`` and ``var_names`` say which. That is the source's order unless it was
    converted with ``var_order="detection"`` (which the command line does by default, for smaller stores).

    Parameters
    ----------
    path : str or path
        The directory of the store, or the file.
    source_root : str or path, optional
        The directory below which a linked store looks for its files; by default the one that the store is in.

    Raises
    ------
    StoreNotFoundError, StoreError, DamagedError, ChangedError
        If there is no store, or it cannot be read.

    Examples
    --------
    >>> store = cellring.Store("cells.cellring")     # doctest: +SKIP
    >>> store[[5, 3, 3]]                             # doctest: +SKIP
    <Compressed Sparse Row sparse matrix of dtype 'float32' ...>
    """

    def __init__(self, path: str | os.PathLike[str], source_root: str | os.PathLike[str] | None = None) -> None:
        self._path = _arguments.path("path", path)
        self._root = None if source_root is None else os.path.abspath(_arguments.path("source_root", source_root))
        # Where it is whatever becomes of the working directory: files are opened when they are needed, and in other processes.
        self._place = os.path.abspath(self._path)
        self._open()

    def _open(self) -> None:
        self._stamp = stamp_of(self._place)
        self._raw = opened(self._place, self._root, 3)
        self._pid = os.getpid()

    def _here(self) -> _cellring.Store:
        """The open store; opened again in a process that was forked, where its threads and its lock are of no use."""
        if self._pid != os.getpid():
            self._open()
        return self._raw

    @property
    def path(self) -> str:
        """As it was given."""
        return self._path

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self._raw.n_obs

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return self._raw.n_vars

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return self.n_obs, self.n_vars

    @property
    def matrices(self) -> list[str]:
        """Paths in AnnData of the matrices: that of the store itself first."""
        return self._raw.matrices

    @property
    def dtype(self) -> np.dtype:
        """Type of the values of the first matrix."""
        return np.dtype(self._raw.matrix(self.matrices[0])[1])

    @property
    def obs(self) -> Table:
        """The table of cells."""
        return Table(self._here().obs(), f"obs of {self._path}")

    @property
    def var(self) -> Table:
        """The table of genes, in the order of the columns of the matrix."""
        return Table(self._here().var(self.matrices[0]), f"var of {self._path}")

    @property
    def obs_names(self) -> np.ndarray:
        """Names of the cells."""
        return self.obs.index

    @property
    def var_names(self) -> np.ndarray:
        """Names of the genes, in the order of the columns of the matrix."""
        return self.var.index

    def __len__(self) -> int:
        return self.n_obs

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            """Says where to go on, to those who expect an AnnData."""
            remedy = _OF_ANNDATA.get(name)
            sentence = f"'Store' object has no attribute {name!r}" + (f", as it is not an AnnData: {remedy}" if remedy else "")
            raise AttributeError(sentence, name=name, obj=self)

    def __getitem__(self, ids: Any) -> scipy.sparse.csr_matrix:
        """Cells by number: an int, a slice, an array of ints in any order and repeated or not, or a mask.

        Returns
        -------
        scipy.sparse.csr_matrix
            ``(len(ids), n_vars)``, the values as they are in the store, both index arrays of one type.

        Raises
        ------
        CellIndexError
            If a cell does not exist (an ``IndexError``).
        InputError
            If ``ids`` is something else (a ``ValueError``).
        """
        if isinstance(ids, tuple):
            # numpy would take the second for columns, and a list of cells would be taken for it unseen.
            raise InputError(f"{self._path}: store[...] takes cells alone; select genes of what it returns, as in store[cells][:, genes]")
        return self.gather_rows(ids)

    def gather_rows(self, ids: Any, matrix: str | None = None) -> scipy.sparse.csr_matrix | np.ndarray:
        """As ``store[ids]``, for any matrix; those of ``obsm`` are dense arrays.

        Parameters
        ----------
        ids : int, slice, array or mask
            Which cells, in any order and repeated or not.
        matrix : str, optional
            One of ``Store.matrices``; the first by default.

        Returns
        -------
        scipy.sparse.csr_matrix or numpy.ndarray
            ``(len(ids), columns of the matrix)``, of its own type.
        """
        ids = _arguments.cells(ids, self.n_obs, self._path)
        name = self.matrices[0] if matrix is None else matrix
        _arguments.existing([name], self.matrices, "matrix", self._path)
        n_vars, dtype = self._here().matrix(name)
        if name.startswith("obsm/"):
            return self._dense(ids, name, n_vars, np.dtype(dtype))
        return self._sparse(ids, name, n_vars, np.dtype(dtype))

    def _pieces(self, ids: np.ndarray, matrix: str, is_dense: bool) -> Iterator[tuple[int, _cellring.Minibatch]]:
        """The cells as minibatches, each of as many as fit the memory for it."""
        at, step = 0, min(_ROWS, max(1, len(ids)))
        while at < len(ids):
            try:
                piece = self._here().rows(ids[at : at + step], matrix, is_dense)
            except MemoryBudgetError:
                if step == 1:
                    raise
                step = max(1, step // 4)
                continue
            except DamagedError as error:
                raise if_replaced(error, self._place, self._stamp) from error
            except CellringError as error:
                raise in_python(error) from None
            yield at, piece
            at += step

    def _in_parts(self, ids: np.ndarray, matrix: str, is_dense: bool, put: Callable[[int, _cellring.Minibatch], None]) -> None:
        """Has several threads read parts of the cells, and hands each to ``put`` with the place of its first cell."""
        # Threads take them from the end.
        left = list(range(0, len(ids), _PART))[::-1]

        def work() -> None:
            try:
                while True:
                    try:
                        begin = left.pop()
                    except IndexError:
                        return
                    for at, piece in self._pieces(ids[begin : begin + _PART], matrix, is_dense):
                        put(begin + at, piece)
            except BaseException:
                left.clear()
                raise

        n_by_files = max(1, _MOST_FILES // max(1, self._here().n_files))
        n_threads = min(len(os.sched_getaffinity(0)), len(left), _MOST_THREADS, n_by_files)
        with ThreadPoolExecutor(n_threads, "cellring-rows") as pool:
            try:
                for done in [pool.submit(work) for _ in range(n_threads)]:
                    done.result()
            except BaseException:
                # Ctrl-C comes here: the parts that have begun are waited for.
                left.clear()
                raise

    def _dense(self, ids: np.ndarray, name: str, n_vars: int, dtype: np.dtype) -> np.ndarray:
        made = np.empty((len(ids), n_vars), dtype=dtype)

        def put(at: int, piece: _cellring.Minibatch) -> None:
            values = np.asarray(piece.array(0, "values"))
            made[at : at + len(values)] = values

        if len(ids) > 2 * _PART and not self._here().is_linked:
            self._in_parts(ids, name, True, put)
        else:
            # A linked store decodes a chunk for all cells of a piece.
            for at, piece in self._pieces(ids, name, True):
                put(at, piece)
        return made

    def _sparse(self, ids: np.ndarray, name: str, n_vars: int, dtype: np.dtype) -> scipy.sparse.csr_matrix:
        from scipy.sparse import csr_matrix

        lens = self._here().lens(ids, name) if len(ids) > 2 * _PART else None
        indptr, indices, values = self._joined(ids, name, dtype) if lens is None else self._placed(ids, name, dtype, lens)
        made = csr_matrix((values, indices, indptr), shape=(len(ids), n_vars), copy=False)
        # True by construction: scipy need not look.
        made.has_sorted_indices = made.has_canonical_format = True
        return made

    def _placed(self, ids: np.ndarray, name: str, dtype: np.dtype, lens: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``indptr``, ``indices`` and values of many cells, of which it is known how many values each has."""
        nnz_of = np.frombuffer(lens, dtype=np.uint32)
        nnz = int(nnz_of.sum(dtype=np.int64))
        index = np.int32 if nnz <= np.iinfo(np.int32).max else np.int64
        indptr = np.zeros(len(ids) + 1, dtype=index)
        np.cumsum(nnz_of, dtype=index, out=indptr[1:])
        indices, values = np.empty(nnz, dtype=index), np.empty(nnz, dtype=dtype)

        def put(at: int, piece: _cellring.Minibatch) -> None:
            _, columns, found = map(np.asarray, piece.csr(0))
            place = slice(int(indptr[at]), int(indptr[at]) + len(found))
            indices[place], values[place] = columns, found

        self._in_parts(ids, name, False, put)
        return indptr, indices, values

    def _joined(self, ids: np.ndarray, name: str, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of few cells; or of a linked store, where that is known when they have been read."""
        pieces = [tuple(map(np.asarray, piece.csr(0))) for _, piece in self._pieces(ids, name, False)]
        if not pieces:
            return np.zeros(1, dtype=np.int32), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=dtype)
        if len(pieces) == 1:
            indptr, indices, values = pieces[0]
            return indptr, indices, values
        nnz = sum(len(values) for _, _, values in pieces)
        index = np.int32 if nnz <= np.iinfo(np.int32).max else np.int64
        indptr = np.zeros(len(ids) + 1, dtype=index)
        at = start = 0
        for of_rows, _, values in pieces:
            n = len(of_rows) - 1
            indptr[at + 1 : at + 1 + n] = of_rows[1:].astype(np.int64) + start
            at, start = at + n, start + len(values)
        indices = np.concatenate([indices for _, indices, _ in pieces], dtype=index)
        return indptr, indices, np.concatenate([values for _, _, values in pieces])

    def to_anndata(self, ids: Any = None, matrices: Sequence[str] | None = None) -> anndata.AnnData:
        """The store, or some of its cells, in memory as an AnnData: X, obs and var, layers, raw and obsm.

        Matrices are CSR, arrays of obsm dense. Categories that no cell has stay.

        Parameters
        ----------
        ids : int, slice, array or mask, optional
            Which cells; all of them by default.
        matrices : list of str, optional
            Which of ``Store.matrices``; all of them by default.
        """
        try:
            import anndata
        except ImportError as error:
            raise InputError("to_anndata() needs anndata: install it (pip install anndata)") from error

        numbers = np.arange(self.n_obs) if ids is None else _arguments.cells(ids, self.n_obs, self._path)
        names = self.matrices
        wanted = names if matrices is None else _arguments.names("matrices", matrices)
        _arguments.existing(wanted, names, "matrix", self._path)
        obs = self.obs.to_pandas()
        if ids is not None:
            obs = obs.iloc[numbers]
        made = anndata.AnnData(X=None, obs=obs, var=self.var.to_pandas())
        for name in wanted:
            values = self.gather_rows(numbers, name)
            kind, _, key = name.partition("/")
            if name == names[0]:
                # The matrix of the store is X, whatever it was in the source, as in `export`.
                made.X = values
            elif kind == "obsm":
                made.obsm[key] = values
            elif kind == "layers":
                made.layers[key] = values
            elif kind == "raw":
                var = Table(self._here().var(name), f"raw.var of {self._path}").to_pandas()
                made.raw = anndata.AnnData(X=values, var=var, obs=made.obs[[]])
        return made

    def close(self) -> None:
        """Ends the threads that read single cells; the store may be used again."""
        if self._pid == os.getpid():
            self._raw.close()

    def __fspath__(self) -> str:
        """Its path, so that whatever takes one takes the store."""
        return self._path

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def __reduce__(self) -> Any:
        return Store, (self._place, self._root)

    def __repr__(self) -> str:
        others = f", matrices: {', '.join(self.matrices)}" if len(self.matrices) > 1 else ""
        return f"Store({self._path!r}, {self.n_obs} cells x {self.n_vars} genes{others})"
