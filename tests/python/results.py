"""Whether two results are the same, be they matrices, tables, or AnnData: `equal(what, expected, found)` raises Different."""

from collections.abc import Mapping

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

# Operations that count stored values.
COUNTED = ("filter_", "calculate_qc_metrics", "X: getnnz", "layers", "raw/X: getnnz")


def layer_names(adata):
    """Since anndata 0.13 the layer None is X."""
    return [name for name in adata.layers.keys() if name is not None]


class Different(Exception):
    pass


def check(what, condition):
    if not condition:
        raise Different(what)


def same_dtype(what, a, b):
    """Counts, of genes in a cell for instance, take the width of the matrix's indices, which is no property of the data."""
    # Old scipy keeps big-endian values as they are.
    both = {str(dtype.newbyteorder("=") if isinstance(dtype, np.dtype) else dtype) for dtype in (a, b)}
    counts = both == {"int32", "int64"} and what.startswith(COUNTED)
    # Which of these a text becomes depends on the container too, HDF5 or zarr, and on the version of pandas.
    texts = both == {"object", "str"}
    check(f"{what}: dtype {a} is {b}", len(both) == 1 or counts or texts)


def close(what, a, b):
    a, b = np.asarray(a), np.asarray(b)
    check(f"{what}: shape {a.shape} is {b.shape}", a.shape == b.shape)
    if a.dtype.kind not in "OUT" or b.dtype.kind not in "OUT":
        same_dtype(what, a.dtype, b.dtype)
    if a.dtype.kind in "fc":
        # float32 is summed in another order where the source is not sorted.
        with np.errstate(invalid="ignore"):
            largest = np.nanmax(np.abs(a)[np.isfinite(a)], initial=1e-30)
        check(f"{what}: values differ", np.allclose(a, b, rtol=1e-4, atol=1e-5 * largest, equal_nan=True))
    else:
        check(f"{what}: values differ", np.array_equal(a, b))


def plain(matrix):
    """Row, column and value, in order, without duplicates and zeros."""
    if matrix.format in ("csr", "csc"):
        major = np.repeat(np.arange(len(matrix.indptr) - 1, dtype="i8"), np.diff(matrix.indptr))
        row, column = (major, matrix.indices) if matrix.format == "csr" else (matrix.indices, major)
        data = matrix.data
    else:
        matrix = matrix.tocoo()
        row, column, data = matrix.row, matrix.col, matrix.data
    places = row.astype("i8") * matrix.shape[1] + column
    order = np.argsort(places, kind="stable")
    places, data = places[order], data[order]
    first = np.flatnonzero(np.diff(places, prepend=-1))
    if len(first) != len(places):
        places, data = places[first], np.add.reduceat(data, first, dtype=data.dtype)
    keep = data != 0
    return places[keep], data[keep]


def equal_matrices(what, a, b):
    check(f"{what}: {type(a).__name__} is {type(b).__name__}", sparse.issparse(b))
    check(f"{what}: format {a.format} is {b.format}", a.format == b.format)
    check(f"{what}: shape {a.shape} is {b.shape}", a.shape == b.shape)
    same_dtype(what, a.dtype, b.dtype)
    if a.format in ("csr", "csc"):
        if np.array_equal(a.indptr, b.indptr) and np.array_equal(a.indices, b.indices):
            close(what, a.data, b.data)
            return
    (places, data), (other_places, other_data) = plain(a), plain(b)
    close(f"{what}, places", places, other_places)
    close(what, data, other_data)


def equal_columns(what, a, b):
    same_dtype(what, a.dtype, b.dtype)
    if isinstance(a.dtype, pd.CategoricalDtype):
        close(f"{what}, codes", a.cat.codes.to_numpy(), b.cat.codes.to_numpy())
    elif a.dtype.kind in "fiub" and isinstance(a.dtype, np.dtype):
        close(what, a.to_numpy(), b.to_numpy())
    else:
        missing = a.isna().to_numpy()
        check(f"{what}: other values are missing", np.array_equal(missing, b.isna().to_numpy()))
        check(f"{what}: values differ", list(a[~missing]) == list(b[~missing]))


def equal_frames(what, a, b):
    check(f"{what}: index differs", list(a.index) == list(b.index))
    check(f"{what}: name {a.index.name} is {b.index.name}", a.index.name == b.index.name)
    same_dtype(f"{what}: index", a.index.dtype, b.index.dtype)
    check(f"{what}: columns {list(a.columns)} are {list(b.columns)}", list(a.columns) == list(b.columns))
    for place, name in enumerate(a.columns):
        equal_columns(f"{what}[{name!r}]", a.iloc[:, place], b.iloc[:, place])


def equal(what, a, b):
    if isinstance(a, anndata.AnnData):
        for part in ("X", "obs", "var"):
            equal(f"{what}.{part}", getattr(a, part), getattr(b, part))
        check(f"{what}: layers {layer_names(a)} are {layer_names(b)}", sorted(layer_names(a)) == sorted(layer_names(b)))
        for name in layer_names(a):
            equal(f"{what}.layers[{name!r}]", a.layers[name], b.layers[name])
        check(f"{what}: raw", (a.raw is None) == (b.raw is None))
        if a.raw is not None:
            equal(f"{what}.raw.X", a.raw.X, b.raw.X)
            equal(f"{what}.raw.var", a.raw.var, b.raw.var)
    elif sparse.issparse(a):
        equal_matrices(what, a, b)
    elif isinstance(a, pd.DataFrame):
        equal_frames(what, a, b)
    elif isinstance(a, pd.Series):
        check(f"{what}: index differs", list(a.index) == list(b.index))
        equal_columns(what, a, b)
    elif isinstance(a, (list, tuple)):
        check(f"{what}: {len(a)} results are {len(b)}", len(a) == len(b))
        for number, (one, other) in enumerate(zip(a, b)):
            equal(f"{what}[{number}]", one, other)
    elif isinstance(a, Mapping):
        check(f"{what}: {list(a)} are {list(b)}", set(a) == set(b))
        for name in a:
            equal(f"{what}[{name!r}]", a[name], b[name])
    elif a is None:
        check(f"{what}: nothing is {type(b).__name__}", b is None)
    else:
        close(what, a, b)
