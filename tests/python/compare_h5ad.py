"""Compares AnnData files (.h5ad, zarr) as anndata and scipy read them: the matrix, obs and var, with dtypes.

    python tests/python/compare_h5ad.py A.h5ad B.h5ad [--layer NAME | --raw | --obsm NAME] [--obs-range A..B]
        [--genes FILE] [--obs-columns COLUMN,...] [--in-place] [--any-form]
    python tests/python/compare_h5ad.py --list < PAIRS

A is the source, B what was exported from it: X of B must equal the chosen matrix of A, once A's indices are sorted, its
duplicates summed and its explicit zeros dropped; B must need none of that. It must have the form of A too: CSR, CSC or dense; and
indices of one type. With --any-form A may hold the same values in another form. With --in-place it is the matrix at the same place in B,
which may hold others too. PAIRS holds on each line what the first form
takes, separated by tabs. Prints what differs and ends with status 1, or the number of pairs that are equal.
"""

import argparse
import sys
import warnings

import anndata
import hdf5plugin  # noqa: F401  registers the filters
import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem
from scipy import sparse

warnings.simplefilter("ignore")


class Different(Exception):
    pass


def same(what, a, b):
    if not (a == b):
        raise Different(f"{what}: {a!r} is {b!r}")


def canonical(matrix):
    """As the converter does: sorted, summed, without zeros - but negative zeros, which are values, stay."""
    matrix = matrix.copy()
    matrix.sort_indices()
    matrix.sum_duplicates()
    if matrix.dtype.kind == "f":
        bits = matrix.data.view(f"u{matrix.dtype.itemsize}")
        keep = bits != 0
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[keep]
        indptr = np.zeros(matrix.shape[0] + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=matrix.shape[0]), out=indptr[1:])
        matrix = sparse.csr_matrix((matrix.data[keep], matrix.indices[keep], indptr), shape=matrix.shape)
    else:
        matrix.eliminate_zeros()
    return matrix


def form_of(matrix):
    return matrix.format if sparse.issparse(matrix) else "dense"


def compare_matrices(a, b, form):
    same("format of X", form, form_of(b))
    same("shape of X", a.shape, b.shape)
    same("dtype of X", a.dtype, b.dtype)
    if form != "dense":
        same("types of the indices of X", b.indices.dtype, b.indptr.dtype)
        if not b.has_sorted_indices or not b.has_canonical_format:
            raise Different("X of the export is not canonical")
    b = sparse_of(b)
    a = canonical(a)
    same("number of values of X", a.nnz, b.nnz)
    same("indptr of X", True, bool(np.array_equal(a.indptr, b.indptr)))
    same("indices of X", True, bool(np.array_equal(a.indices, b.indices)))
    # As bytes: NaN and negative zero count too.
    same("data of X", a.data.tobytes(), b.data.tobytes())


def compare_columns(what, a, b, table_is_empty):
    if table_is_empty and isinstance(a.dtype, pd.CategoricalDtype):
        # A store's table without rows has no batch that could hold categories.
        same(f"kind of {what}", True, isinstance(b.dtype, pd.CategoricalDtype))
        return
    same(f"dtype of {what}", a.dtype, b.dtype)
    if isinstance(a.dtype, pd.CategoricalDtype):
        same(f"categories' dtype of {what}", a.cat.categories.dtype, b.cat.categories.dtype)
        same(f"categories of {what}", list(a.cat.categories), list(b.cat.categories))
        same(f"order of {what}", a.cat.ordered, b.cat.ordered)
        same(f"codes of {what}", list(a.cat.codes), list(b.cat.codes))
        return
    same(f"missing values of {what}", list(a.isna()), list(b.isna()))
    there = ~a.isna()
    same(f"values of {what}", list(a[there]), list(b[there]))


def compare_tables(what, a, b, table_is_empty):
    same(f"rows of {what}", len(a), len(b))
    same(f"names of {what}", list(a.index), list(b.index))
    same(f"name of the index of {what}", a.index.name, b.index.name)
    same(f"columns of {what}", list(a.columns), list(b.columns))
    for place, name in enumerate(a.columns):
        compare_columns(f"{what}[{name!r}]", a.iloc[:, place], b.iloc[:, place], table_is_empty)


def sparse_of(matrix):
    """Of a dense matrix all that is not +0: negative zeros are values."""
    if sparse.issparse(matrix):
        return sparse.csr_matrix(matrix)
    matrix = np.asarray(matrix)
    if matrix.dtype.kind == "f":
        keep = matrix.view(f"u{matrix.dtype.itemsize}") != 0
    else:
        keep = matrix != 0
    rows, columns = np.nonzero(keep)
    indptr = np.zeros(matrix.shape[0] + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=matrix.shape[0]), out=indptr[1:])
    return sparse.csr_matrix((matrix[keep], columns, indptr), shape=matrix.shape)


def read_big_endian(group):
    """scipy refuses big-endian values, which must come out in this machine's order."""
    data = group["data"][()]
    data = data.astype(data.dtype.newbyteorder("="))
    return sparse.csr_matrix((data, group["indices"][()], group["indptr"][()]), shape=group.attrs["shape"])


def open_root(path):
    if str(path).rstrip("/").endswith((".zarr", ".zarr.zip")):
        store = zarr.storage.ZipStore(path, mode="r") if str(path).endswith(".zip") else path
        # Consolidated metadata describe arrays that are not needed, in types that this zarr may not know.
        return zarr.open_group(store, mode="r", use_consolidated=False)
    return h5py.File(path)


def read_source(path, layer, raw, obsm=None):
    """Only what is compared, where that can be read alone: a file may hold other things that nothing can read."""
    root = open_root(path)
    if root.attrs.get("encoding-type") == "anndata":
        where = "raw/X" if raw else f"obsm/{obsm}" if obsm else "X" if layer is None else f"layers/{layer}"
        is_big = isinstance(root, h5py.File) and isinstance(root[where], h5py.Group)
        if is_big and root[where]["data"].dtype.byteorder == ">":
            matrix = read_big_endian(root[where])
        else:
            matrix = read_elem(root[where])
        return matrix, read_elem(root["obs"]), read_elem(root["raw/var" if raw else "var"])
    # Before 0.8 the parts refer to each other.
    whole = anndata.read_h5ad(path) if isinstance(root, h5py.File) else anndata.read_zarr(root)
    matrix = whole.raw.X if raw else whole.obsm[obsm] if obsm else whole.X if layer is None else whole.layers[layer]
    return matrix, whole.obs, (whole.raw.var if raw else whole.var)


def compare_arrays(name, a, b):
    if isinstance(a, pd.DataFrame):
        same(f"type of {name}", pd.DataFrame, type(b))
        compare_tables(name, a, b, len(a) == 0)
        return
    if sparse.issparse(a):
        compare_matrices(sparse_of(a), b, a.format)
        return
    same(f"type of {name}", np.ndarray, type(b))
    a = np.asarray(a)
    same(f"shape and dtype of {name}", (a.shape, a.dtype), (b.shape, b.dtype))
    same(f"values of {name}", a.tobytes(), b.tobytes())


def compare(source, exported, layer=None, raw=False, obsm=None, obs_range=None, genes=None, obs_columns=None,
            in_place=False, any_form=False):
    matrix, obs, var = read_source(source, layer, raw, obsm)
    no_obs, no_vars = len(obs) == 0, len(var) == 0
    exported = anndata.read_h5ad(exported)
    if obsm is not None:
        compare_arrays(f"obsm {obsm}", matrix, exported.obsm[obsm])
        compare_tables("obs", obs, exported.obs, no_obs)
        return
    if obs_range is not None:
        start, end = (int(part) for part in obs_range.split(".."))
        matrix, obs = matrix[start:end], obs.iloc[start:end]
    form = form_of(matrix)
    matrix = sparse_of(matrix)
    if genes is not None:
        keep = np.flatnonzero(var.index.isin(open(genes).read().split("\n")))
        matrix, var = matrix[:, keep], var.iloc[keep]
    if obs_columns is not None:
        obs = obs[[name for name in obs.columns if name in obs_columns.split(",")]]
    found, found_var = exported.X, exported.var
    if in_place and raw:
        found, found_var = exported.raw.X, exported.raw.var
    elif in_place and layer is not None:
        found = exported.layers[layer]
    compare_matrices(matrix, found, form_of(found) if any_form else form)
    compare_tables("obs", obs, exported.obs, no_obs)
    compare_tables("var", var, found_var, no_vars)
    if not in_place:
        same("layers of the export", [], list(exported.layers))


def parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("exported")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--layer")
    which.add_argument("--raw", action="store_true")
    which.add_argument("--obsm")
    parser.add_argument("--obs-range")
    parser.add_argument("--genes")
    parser.add_argument("--obs-columns")
    parser.add_argument("--in-place", action="store_true")
    parser.add_argument("--any-form", action="store_true")
    return parser


def main():
    if sys.argv[1:] == ["--list"]:
        pairs = [line.rstrip("\n").split("\t") for line in sys.stdin]
    else:
        pairs = [sys.argv[1:]]
    different = 0
    for pair in pairs:
        arguments = parser().parse_args(pair)
        try:
            compare(**vars(arguments))
        except Different as error:
            different += 1
            print(f"{' '.join(pair)}: {error}"[:1000])
    if different:
        sys.exit(1)
    print(f"{len(pairs)} equal")


if __name__ == "__main__":
    main()
