"""What people do with a file: operations of scipy, anndata and scanpy, by name. Each gives a result that can be compared.

ANY and SPARSE are of a matrix, which they may change; TABLES, ANNDATA and SCANPY are of an AnnData, likewise; BACKED are of a file.
"""

import contextlib
import io
import os
import tempfile

import anndata
import h5py
import numpy as np
import pandas as pd
import scanpy
import zarr
from results import layer_names
from scipy import sparse


# On a matrix:


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


# On an AnnData:


def written(adata, name, **options):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, name)
        if name.endswith(".zarr"):
            adata.write_zarr(path, **options)
            return anndata.read_zarr(path)
        adata.write_h5ad(path, **options)
        return anndata.read_h5ad(path)


def narrow(adata):
    """With few columns, as each is a directory of a zarr."""
    return anndata.AnnData(adata.X, obs=adata.obs.iloc[:, :3].copy(), var=adata.var.iloc[:, :1].copy())


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
    "write_h5ad gzip": lambda a: written(a, "a.h5ad", compression="gzip") if a.X.size < 1_000 else None,
    "write_zarr": lambda a: written(narrow(a), "a.zarr") if a.X.size < 1_000 else None,
    "to_df": lambda a: a[:, :20].to_df(),
    "raw.to_adata": lambda a: a.raw.to_adata() if a.raw is not None else None,
    "raw[:, names]": lambda a: a.raw[:, a.raw.var_names[:2]].X if a.raw is not None else None,
    "raw from X": lambda a: with_raw(a).raw.to_adata(),
    "obs_vector": lambda a: [a.obs_vector(name) for name in a.var_names[:2]],
    "var_vector": lambda a: [a.var_vector(name) for name in a.obs_names[:2]],
    "make unique": lambda a: (a.obs_names_make_unique(), a.var_names_make_unique(), a)[2],
    "chunk_X": lambda a: a.chunk_X(np.unique(some(a.n_obs))),
}


TABLES = {
    "strings_to_categoricals": lambda a: (a.strings_to_categoricals(), a.obs)[1],
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


# With scanpy:


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
        (scanpy.pp.normalize_total(a, layer=name, target_sum=100), a.layers[name])[1] for name in layer_names(a) if a.layers[name].dtype == "f4"
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


# And on the file:


def rows_on_disk(file):
    """X is not read as a whole, out of either container."""
    root = h5py.File(file.path, "r") if file.path.endswith(".h5ad") else zarr.open_group(file.path, mode="r")
    x = root["X"]
    return (anndata.io.sparse_dataset(x) if hasattr(x, "keys") else x)[1:5]


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
    "chunked_X": (with_backed(rows_in_chunks), lambda a: a.X.tocsr() if sparse.issparse(a.X) else a.X),
    "sparse_dataset[a:b]": (rows_on_disk, lambda a: a.X[1:5]),
    "backed obs": (with_backed(lambda a: a.obs), lambda a: a.obs),
}
