"""Works with exported AnnData files as people do, and compares each result with that of the file they were converted from.

    python tests/python/use_exports.py < LIST

Each line of LIST is SOURCE, EXPORT, and optionally a range A..B of cells that was exported, separated by tabs. Each may be an
`.h5ad`, a zarr directory or a `.zarr.zip`. On the matrices of a whole file of more than SMALL values only a few quick operations run;
all others are for smaller files, and for ranges. SOURCE is `-` where there is none: then every operation must work.

Each operation runs on the export and on the source, in the same environment. It falls short where

- it fails on the export and not on the source, or
- the results differ.

Where the source itself fails, because this version of a library does not do this to such a file, the export may fail too: these
are counted. Prints what falls short and ends with status 1, or prints the counts alone.
"""

import collections
import contextlib
import copy
import importlib.metadata
import io
import logging
import os
import sys
import tempfile
import time
import traceback
import warnings

# Two environments are tried at a time, on as few as two cores.
for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
warnings.simplefilter("ignore")

import anndata
import hdf5plugin  # noqa: F401  registers the filters
import h5py
import numpy as np
import pandas as pd
import scanpy
import zarr
from scipy import sparse

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
scanpy.settings.verbosity = 0
# pandas 3 reads texts as `str`, which anndata 0.12 writes only when it is told to.
if hasattr(anndata.settings, "allow_write_nullable_strings"):
    anndata.settings.allow_write_nullable_strings = True

SMALL = 120_000


# Operations that count stored values.
COUNTED = ("filter_", "calculate_qc_metrics", "X: getnnz", "layers", "raw/X: getnnz")


# Reading, and copies that change nothing.


def read(path):
    if path.rstrip("/").endswith(".zarr.zip"):
        return anndata.read_zarr(zarr.ZipStore(path, mode="r") if hasattr(zarr, "ZipStore") else zarr.storage.ZipStore(path, mode="r"))
    if path.rstrip("/").endswith(".zarr"):
        return anndata.read_zarr(path)
    return anndata.read_h5ad(path)


def as_read(matrix):
    """A copy with the very arrays that were read. `matrix.copy()` brings indices and indptr to one type, which hides what is wrong."""
    if not sparse.issparse(matrix):
        return np.array(matrix)
    twin = copy.copy(matrix)
    twin.data, twin.indices, twin.indptr = matrix.data.copy(), matrix.indices.copy(), matrix.indptr.copy()
    return twin


def layer_names(adata):
    """Since anndata 0.13 the layer None is X."""
    return [name for name in adata.layers.keys() if name is not None]


class File:
    """The parts of an AnnData that a store keeps, from which a fresh AnnData is made for each operation."""

    def __init__(self, adata, path):
        self.path = path
        self.obs, self.var = adata.obs, adata.var
        self.matrices = {"X": adata.X} if adata.X is not None else {}
        self.matrices |= {f"layers/{name}": adata.layers[name] for name in layer_names(adata)}
        self.raw_var = None
        if adata.raw is not None:
            self.raw_var, self.matrices["raw/X"] = adata.raw.var, adata.raw.X

    def in_the_form_of(self, other):
        """The same matrices as `other` has, in its formats: dense, CSR or CSC."""
        matrices = {}
        for name, model in other.matrices.items():
            # A layer or raw that was converted alone is X of the export, and the reverse where it is missing.
            value = self.matrices[name]
            if sparse.issparse(model) and not sparse.issparse(value):
                value = type(model)(np.asarray(value))
            elif sparse.issparse(model) and value.format != model.format:
                value = value.asformat(model.format)
            elif not sparse.issparse(model) and sparse.issparse(value):
                value = value.toarray()
            matrices[name] = value
        self.matrices = matrices
        if "raw/X" not in matrices:
            self.raw_var = None
        return self

    def adata(self):
        parts = {name: as_read(value) for name, value in self.matrices.items()}
        raw = {"X": parts["raw/X"], "var": self.raw_var.copy()} if "raw/X" in parts else None
        layers = {name.removeprefix("layers/"): value for name, value in parts.items() if name.startswith("layers/")}
        return anndata.AnnData(
            parts.get("X"), obs=self.obs.copy(), var=self.var.copy(), layers=layers, raw=raw
        )


# The operations: on a matrix,


def in_place(change):
    def run(x):
        change(x)
        return x

    return run


def diagonal_set(x):
    x.setdiag(3)
    return x


def every_third(n):
    return np.arange(n) % 3 == 0


def some(n, count=7):
    """Numbers below n, out of order, some twice."""
    return np.random.default_rng(5).integers(0, n, count) if n else np.zeros(0, int)


ANY = {
    "nonzero": lambda x: np.sort(np.ravel_multi_index(x.nonzero(), x.shape)) if x.shape[1] else None,
    "X[::2]": lambda x: x[::2],
    "X[:, ::2]": lambda x: x[:, ::2],
    "X[3:1:-1]": lambda x: x[3:1:-1],
    "X[rows]": lambda x: x[some(x.shape[0])],
    "X[:, columns]": lambda x: x[:, some(x.shape[1])],
    "X[rows][:, columns]": lambda x: x[np.ix_(some(x.shape[0]), some(x.shape[1]))],
    "X[mask]": lambda x: x[every_third(x.shape[0])],
    "X[:, mask]": lambda x: x[:, every_third(x.shape[1])],
    "X[0, 0]": lambda x: x[0, 0],
    "transpose": lambda x: x.T,
    "sum": lambda x: (x.sum(), x.sum(axis=0), x.sum(axis=1)),
    "mean": lambda x: (x.mean(axis=0), x.mean(axis=1)),
    "max": lambda x: (x.max(axis=0), x.min(axis=1), x.max()),
    "argmax": lambda x: np.asarray(x[:50].argmax(axis=1)).ravel(),
    "X + X": lambda x: x + x,
    "X * 2": lambda x: x * 2,
    "X != 0": lambda x: x != 0,
    "X > 1": lambda x: x > 1,
    "diagonal": lambda x: x.diagonal(),
    "X @ v": lambda x: x @ np.arange(x.shape[1], dtype="f8"),
    "X.dot(dense)": lambda x: x.dot(np.ones((x.shape[1], 3))),
    "abs": lambda x: abs(x),
    "astype": lambda x: x.astype("f8"),
    "assign": lambda x: assigned(x),
}
SPARSE = {
    "tocoo": lambda x: x.tocoo(),
    "tocsc": lambda x: x.tocsc(),
    "tocsr": lambda x: x.tocsr(),
    "tolil": lambda x: x[:20].tolil(),
    "toarray": lambda x: x[:50].toarray(),
    "multiply": lambda x: x.multiply(x),
    "multiply by rows": lambda x: x.multiply(np.arange(1.0, x.shape[0] + 1)[:, None]),
    "X @ X.T": lambda x: x[:40] @ x[:40].T,
    "power": lambda x: x.power(2),
    "log1p": lambda x: abs(x).log1p() if x.dtype.kind == "f" else x,
    "eliminate_zeros": in_place(lambda x: x.eliminate_zeros()),
    "sum_duplicates": in_place(lambda x: x.sum_duplicates()),
    "sort_indices": in_place(lambda x: x.sort_indices()),
    "setdiag": diagonal_set,
    "copy": lambda x: x.copy(),
    "getnnz": lambda x: (x.count_nonzero(), cleaned(x).getnnz(axis=0), cleaned(x).getnnz(axis=1)),
    "hstack": lambda x: sparse.hstack([x, x]),
    "vstack": lambda x: sparse.vstack([x, x], format="csr"),
    "block_diag": lambda x: sparse.block_diag([x[:20], x[:20]]),
    "maximum": lambda x: x.maximum(x * 2),
    "find": lambda x: np.column_stack([part.astype("f8") for part in sparse.find(x[:100])]),
    "norm": lambda x: sparse.linalg.norm(x.astype("f8"), axis=1),
    "save_npz": lambda x: saved(x),
}
QUICK = ("tocoo", "tocsc", "nonzero", "X[::2]", "X[mask]", "sum", "eliminate_zeros", "sum_duplicates", "copy")


def cleaned(x):
    x = x.copy()
    x.sum_duplicates()
    x.eliminate_zeros()
    return x


def assigned(x):
    x[0, 0] = 7
    return x


def saved(x):
    file = io.BytesIO()
    sparse.save_npz(file, x, compressed=False)
    file.seek(0)
    return sparse.load_npz(file)


# on an AnnData,


def written(adata, name, **options):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, name)
        if name.endswith(".zarr"):
            adata.write_zarr(path, **options)
            return anndata.read_zarr(path)
        adata.write_h5ad(path, **options)
        return anndata.read_h5ad(path)


def concatenated(adata, **options):
    # Names that occur twice cannot be aligned.
    adata.var_names_make_unique()
    half = adata[: adata.n_obs // 2]
    return anndata.concat({"one": adata, "two": half}, label="batch", index_unique="-", **options)


def categoricals(frame):
    return [name for name in frame.columns if isinstance(frame[name].dtype, pd.CategoricalDtype)]


def grouped(adata):
    numbers = [name for name in adata.obs.columns if pd.api.types.is_numeric_dtype(adata.obs[name].dtype)]
    return [adata.obs.groupby(name, observed=False)[numbers].mean() for name in categoricals(adata.obs)]


def recategorised(adata):
    for name in categoricals(adata.obs):
        column = adata.obs[name].cat.remove_unused_categories()
        adata.obs[name] = column.cat.rename_categories({label: f"new {label}" for label in column.cat.categories})
    return adata.obs


ANNDATA = {
    "adata[mask].copy()": lambda a: a[every_third(a.n_obs)].copy(),
    "adata[:, idx]": lambda a: a[:, np.unique(some(a.n_vars))].copy(),
    "adata[names]": lambda a: a[a.obs_names[:3], a.var_names[:2]].copy(),
    "adata[idx, idx]": lambda a: a[np.unique(some(a.n_obs)), np.unique(some(a.n_vars))].copy(),
    "adata.copy()": lambda a: a.copy(),
    "adata.T": lambda a: without_raw(a).T.copy(),
    "concat inner": lambda a: concatenated(a),
    "concat outer": lambda a: concatenated(a, join="outer", merge="same"),
    "concat var": lambda a: anndata.concat([a, a[:, :1]], axis=1, index_unique="-"),
    "concatenate": lambda a: a.concatenate(a) if hasattr(a, "concatenate") else None,
    "write_h5ad": lambda a: written(a, "a.h5ad"),
    "write_h5ad gzip": lambda a: written(a, "a.h5ad", compression="gzip") if a.n_vars < 2000 else None,
    "write_zarr": lambda a: written(a, "a.zarr") if a.n_vars < 500 else None,
    "to_df": lambda a: a[:, :20].to_df(),
    "raw.to_adata": lambda a: a.raw.to_adata() if a.raw is not None else None,
    "raw[:, names]": lambda a: a.raw[:, a.raw.var_names[:2]].X if a.raw is not None else None,
    "raw from X": lambda a: with_raw(a).raw.to_adata(),
    "obs_vector": lambda a: [a.obs_vector(name) for name in a.var_names[:2]],
    "var_vector": lambda a: [a.var_vector(name) for name in a.obs_names[:2]],
    "make unique": lambda a: (a.obs_names_make_unique(), a.var_names_make_unique(), a)[2],
    "strings_to_categoricals": lambda a: (a.strings_to_categoricals(), a.obs)[1],
    "chunk_X": lambda a: a.chunk_X(np.unique(some(a.n_obs))),
    "groupby": grouped,
    "value_counts": lambda a: [a.obs[name].value_counts(sort=False) for name in categoricals(a.obs)],
    "categories": recategorised,
    "isna": lambda a: a.obs.isna(),
    "sort_values": lambda a: a.obs.sort_values(list(a.obs.columns), kind="stable") if len(a.obs.columns) else None,
    "describe": lambda a: a.obs.describe(include="all") if len(a.obs.columns) else None,
}


def without_raw(a):
    del a.raw
    return a


def with_raw(a):
    a.raw = a
    return a


# with scanpy,


def normalized(a):
    scanpy.pp.normalize_total(a, target_sum=1e4)
    scanpy.pp.log1p(a)
    return a


def prepared(a):
    """What the later steps of a tutorial begin with, of as few genes as keep it quick."""
    a = a[:, :1500].copy() if a.n_vars > 1500 else a
    scanpy.pp.filter_cells(a, min_genes=1)
    scanpy.pp.filter_genes(a, min_cells=3)
    return normalized(a)


def step(function, **options):
    def run(a):
        function(a, **options)
        return a

    return run


def first_labels(a):
    for name in categoricals(a.obs):
        a.obs[name] = a.obs[name].cat.remove_unused_categories()
        if a.obs[name].notna().all() and 2 <= len(a.obs[name].cat.categories) <= 40 and a.obs[name].value_counts().min() > 1:
            return name
    a.obs["halves"] = pd.Categorical(np.where(np.arange(a.n_obs) % 2, "odd", "even"))
    return "halves"


def aggregated(a):
    result = scanpy.get.aggregate(a, by=first_labels(a), func=["sum", "mean", "count_nonzero"])
    return {name: result.layers[name] for name in sorted(result.layers)}


def downsampled(a, **options):
    scanpy.pp.downsample_counts(a, random_state=0, **options)
    # Which counts go depends on the order in which they are stored.
    return np.asarray(a.X.sum()), bool(a.X.min() >= 0)


def components(a):
    a = prepared(a)
    scanpy.pp.pca(a, n_comps=min(5, min(a.shape) - 1), svd_solver="arpack")
    return a.uns["pca"]["variance_ratio"]


def ranked(a):
    a = prepared(a)
    scanpy.tl.rank_genes_groups(a, first_labels(a), method="t-test")
    found = a.uns["rank_genes_groups"]["scores"]
    return [np.asarray(found[name], "f8") for name in found.dtype.names]


def variable(a):
    a = prepared(a)
    scanpy.pp.highly_variable_genes(a, n_top_genes=min(20, a.n_vars), flavor="seurat")
    return a.var


def scored(a):
    a = prepared(a)
    a.var_names_make_unique()
    scanpy.tl.score_genes(a, list(a.var_names[:5]), ctrl_size=5, n_bins=5)
    return a.obs["score"].to_numpy()


SCANPY = {
    "filter_cells": step(scanpy.pp.filter_cells, min_genes=2),
    "filter_cells by counts": step(scanpy.pp.filter_cells, min_counts=2),
    "filter_genes": step(scanpy.pp.filter_genes, min_cells=2),
    "filter_genes by counts": step(scanpy.pp.filter_genes, max_counts=1000),
    "normalize_total": step(scanpy.pp.normalize_total),
    "normalize_total of layers": lambda a: [
        (scanpy.pp.normalize_total(a, layer=name, target_sum=100), a.layers[name])[1] for name in layer_names(a)
    ],
    "log1p": normalized,
    "sqrt": step(scanpy.pp.sqrt),
    "highly_variable_genes": variable,
    "pca": components,
    "scale": lambda a: (lambda b: (scanpy.pp.scale(b, max_value=10), b.X)[1])(prepared(a)),
    "scale without centring": lambda a: (lambda b: (scanpy.pp.scale(b, zero_center=False), b.X)[1])(prepared(a)),
    "downsample_counts": lambda a: downsampled(a, total_counts=100),
    "downsample_counts per cell": lambda a: downsampled(a, counts_per_cell=10),
    "calculate_qc_metrics": lambda a: list(scanpy.pp.calculate_qc_metrics(a, percent_top=(2,), inplace=False)),
    "get.aggregate": aggregated,
    "get.obs_df": lambda a: scanpy.get.obs_df(a, list(a.obs.columns) + list(a.var_names[:2])),
    "rank_genes_groups": ranked,
    "score_genes": scored,
}


# and on the file.


def parts_of(path, name):
    root = h5py.File(path, "r") if path.endswith(".h5ad") else zarr.open_group(path, mode="r")
    return root[name]


def sparse_dataset(path, name):
    opened = anndata.io if hasattr(anndata, "io") and hasattr(anndata.io, "sparse_dataset") else anndata.experimental
    return opened.sparse_dataset(parts_of(path, name))


@contextlib.contextmanager
def backed(file):
    adata = anndata.read_h5ad(file.path, backed="r")
    try:
        yield adata
    finally:
        adata.file.close()


def with_backed(take):
    def run(file):
        with backed(file) as adata:
            return take(adata)

    return run


def rows_in_chunks(adata):
    chunks = [chunk for chunk, _, _ in adata.chunked_X(50)]
    return sparse.vstack(chunks, format="csr") if sparse.issparse(chunks[0]) else np.vstack(chunks)


# What is read from the file, beside what the same gives in memory: (of a file), (of an AnnData in memory).
BACKED = {
    "backed X[a:b]": (with_backed(lambda a: a.X[1:5]), lambda a: a.X[1:5]),
    "backed X[mask]": (with_backed(lambda a: a.X[every_third(a.n_obs)]), lambda a: a.X[every_third(a.n_obs)]),
    "backed X[:, idx]": (
        with_backed(lambda a: a.X[:, np.unique(some(a.n_vars))]),
        lambda a: a.X[:, np.unique(some(a.n_vars))],
    ),
    "backed X[:]": (with_backed(lambda a: a.X[:]), lambda a: a.X),
    "backed to_memory": (with_backed(lambda a: a.to_memory()), lambda a: a),
    "backed [a:b].to_memory": (with_backed(lambda a: a[2:9].to_memory()), lambda a: a[2:9].copy()),
    "backed [mask].to_memory": (
        with_backed(lambda a: a[every_third(a.n_obs)].to_memory()),
        lambda a: a[every_third(a.n_obs)].copy(),
    ),
    "chunked_X": (with_backed(rows_in_chunks), lambda a: a.X),
    "backed obs": (with_backed(lambda a: a.obs), lambda a: a.obs),
}


# What is equal.


class Different(Exception):
    pass


def check(what, condition):
    if not condition:
        raise Different(what)


def same_dtype(what, a, b):
    """Counts, of genes in a cell for instance, take the width of the matrix's indices, which is no property of the data."""
    both = {a, b}
    counts = both == {np.dtype("i4"), np.dtype("i8")} and what.startswith(COUNTED)
    check(f"{what}: dtype {a} is {b}", len(both) == 1 or counts)


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
    check(f"{what}: dtype {a.dtype} is {b.dtype}", a.dtype == b.dtype)
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
    check(f"{what}: dtype of the index {a.index.dtype} is {b.index.dtype}", a.index.dtype == b.index.dtype)
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
    elif isinstance(a, collections.abc.Mapping):
        check(f"{what}: {list(a)} are {list(b)}", set(a) == set(b))
        for name in a:
            equal(f"{what}[{name!r}]", a[name], b[name])
    elif a is None:
        check(f"{what}: nothing is {type(b).__name__}", b is None)
    else:
        close(what, a, b)


# One file after the other.

FAILED = object()


def attempt(operation, *arguments):
    try:
        with np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
            return operation(*arguments), None
    except Exception as error:
        return FAILED, error


def sentence(error):
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0][:160]} ({os.path.basename(place.filename)}:{place.lineno})"


class Tally:
    def __init__(self):
        self.counts = collections.Counter()
        self.short = []
        self.seconds = collections.Counter()
        self.files = collections.Counter()

    def judge(self, where, name, on_export, on_source):
        """Both are functions without arguments; `on_source` is None where the source cannot be read."""
        start = time.process_time()
        found, error = attempt(on_export)
        expected, why_not = attempt(on_source) if on_source else (FAILED, None)
        if found is FAILED and expected is FAILED:
            # Nothing can be compared if the source is not there, but what was exported must work.
            if on_source is None:
                self.fall_short(where, name, sentence(error))
            else:
                self.counts["fail on the source too"] += 1
        elif found is FAILED:
            self.fall_short(where, name, sentence(error))
        elif expected is FAILED:
            self.counts["work, and have no source to compare with"] += 1
        else:
            try:
                equal(name, expected, found)
                self.counts["equal"] += 1
            except Different as difference:
                self.fall_short(where, name, str(difference)[:200])
        self.seconds[name] += time.process_time() - start
        self.files[where] += time.process_time() - start

    def fall_short(self, where, name, why):
        self.counts["fall short"] += 1
        self.short.append((where, name, why))


def n_values(file):
    return max((m.nnz if sparse.issparse(m) else m.size for m in file.matrices.values()), default=0)


def read_source(path, exported, cells):
    adata = read(path)
    if cells:
        start, end = map(int, cells.split(".."))
        adata = adata[start:end].copy()
    return File(adata, path).in_the_form_of(exported)


def use(tally, source_path, path, cells=None):
    where = os.path.basename(path if source_path == "-" else source_path) + (f" [{cells}]" if cells else "") + f" as {os.path.splitext(path)[1]}"
    adata, error = attempt(read, path)
    if adata is FAILED:
        tally.fall_short(where, "read", sentence(error))
        return
    exported = File(adata, path)
    for place, matrix in exported.matrices.items():
        if sparse.issparse(matrix) and matrix.indices.dtype != matrix.indptr.dtype:
            # scipy takes both to be of one type, in whatever it does later.
            tally.fall_short(where, place, f"indices are {matrix.indices.dtype}, indptr {matrix.indptr.dtype}")
    source, why_not = (FAILED, None) if source_path == "-" else attempt(read_source, source_path, exported, cells)
    if isinstance(why_not, KeyError):
        tally.fall_short(where, "read", f"the export has a matrix that the source has not: {why_not}")
        return
    source = None if source is FAILED else source
    tally.counts["files"] += 1
    tally.counts["files that this environment cannot read before conversion"] += source is None
    small = n_values(exported) <= SMALL

    def both(name, operation, make):
        tally.judge(where, name, lambda: operation(make(exported)), source and (lambda: operation(make(source))))

    for place, matrix in exported.matrices.items():
        operations = ANY | SPARSE if sparse.issparse(matrix) else ANY
        for name, operation in operations.items():
            if small or name in QUICK:
                both(f"{place}: {name}", operation, lambda file: as_read(file.matrices[place]))
    if not small or not exported.matrices.get("X", np.zeros((0, 0))).shape[0]:
        return
    for name, operation in (ANNDATA | SCANPY).items():
        both(name, operation, File.adata)
    if path.endswith(".h5ad"):
        for name, (of_file, in_memory) in BACKED.items():
            tally.judge(where, name, lambda: of_file(exported), lambda: in_memory((source or exported).adata()))


def main():
    tally = Tally()
    for line in sys.stdin:
        use(tally, *line.rstrip("\n").split("\t"))
    for where, name, why in tally.short:
        print(f"{where}: {name}: {why}")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("anndata", "scanpy", "scipy", "pandas", "zarr"))
    print(f"Python {sys.version.split()[0]}, {versions}")
    print(", ".join(f"{count} {what}" for what, count in sorted(tally.counts.items(), key=lambda item: -item[1])))
    if os.environ.get("SLOWEST"):
        for name, seconds in tally.seconds.most_common(25):
            print(f"{seconds:8.2f} s  {name}")
        for name, seconds in tally.files.most_common(12):
            print(f"{seconds:8.2f} s  {name}")
    if tally.short or not tally.counts["equal"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
