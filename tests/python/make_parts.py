"""Makes inputs that hold more than a matrix: python make_parts.py DIRECTORY

What they hold is told in tools/tests/convert/aloud.rs, which converts them.
"""

import sys
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr

OUT = Path(sys.argv[1])
N_OBS, N_VARS = 40, 60


def counts(seed, n_vars=N_VARS):
    return sp.random(N_OBS, n_vars, density=0.3, format="csr", random_state=seed, dtype=np.float32,
                     data_rvs=lambda n: np.random.default_rng(seed).integers(1, 9, n).astype(np.float32))


def frame(names, **columns):
    return pd.DataFrame(columns, index=pd.Index(names, dtype=object))


def cells():
    types = pd.Categorical(np.array(["B cell", "T cell", "NK"])[np.arange(N_OBS) % 3])
    return frame([f"cell{i}" for i in range(N_OBS)], cell_type=types, number=np.arange(N_OBS))


def made(x, var=None):
    return anndata.AnnData(x, obs=cells(), var=frame([f"gene{i}" for i in range(x.shape[1])]) if var is None else var)


def scaled(x):
    dense = np.log1p(x.toarray())
    return (dense - dense.mean(axis=0)).astype(np.float32)


# Only what is always stored.
made(counts(0)).write_h5ad(OUT / "plain.h5ad")

# Everything that AnnData has; counts are in a layer, by columns, and in raw.
all_counts = counts(1)
data = made(all_counts)
data.raw = data.copy()
data.X = scaled(all_counts)
data.layers["counts"] = all_counts.tocsc().astype(np.int32)
data.layers["log1p"] = all_counts.log1p()
data.obsm["X_pca"] = np.ones((N_OBS, 3), dtype=np.float32)
data.obsm["protein"] = pd.DataFrame({"CD3": np.arange(N_OBS)}, index=data.obs_names)
data.varm["PCs"] = np.ones((N_VARS, 3), dtype=np.float32)
data.obsp["distances"] = sp.eye(N_OBS, format="csr")
data.varp["correlation"] = np.eye(N_VARS)
data.uns.update(a=1, b="two", c={"d": 3})
data.write_h5ad(OUT / "everything.h5ad")
data.write_zarr(OUT / "everything.zarr")

# Many members of a kind.
data = made(counts(2))
for number in range(30):
    data.layers[f"layer{number:02}"] = data.X
data.write_h5ad(OUT / "many.h5ad")

# Members that are links to another file, or to nothing.
made(counts(2)).write_h5ad(OUT / "elsewhere.h5ad")
with h5py.File(OUT / "elsewhere.h5ad", "r+") as file:
    file["layers/counts"] = h5py.ExternalLink("many.h5ad", "/layers/layer00")
    file["obsm/X_pca"] = h5py.SoftLink("/nothing")
    file["notes"] = h5py.ExternalLink("gone.h5", "/")
data = made(counts(2))
data.layers["counts"] = data.X
data.write_h5ad(OUT / "x_elsewhere.h5ad")
with h5py.File(OUT / "x_elsewhere.h5ad", "r+") as file:
    del file["X"]
    file["X"] = h5py.ExternalLink("many.h5ad", "/X")

# X is log-normalised; raw holds counts, or the logarithms that scaled values were made of.
data = made(counts(3))
data.raw = data.copy()
data.X = data.X.log1p()
data.write_h5ad(OUT / "raw_counts.h5ad")
data.raw = data.copy()
data.X = scaled(data.X)
data.write_h5ad(OUT / "raw_logarithms.h5ad")

# Genes by symbol, by identifier and by identifier with a version.
numbers = range(N_VARS)
symbols, ids = [f"SYM{i}" for i in numbers], [f"ENSG{i:08}" for i in numbers]
kinds = ["Gene Expression"] * N_VARS
made(counts(4), frame(symbols, gene_ids=ids, kind=kinds)).write_h5ad(OUT / "symbols.h5ad")
made(counts(5), frame(ids, gene_ids=ids, kind=kinds)).write_h5ad(OUT / "ids.h5ad")
made(counts(6), frame(ids)).write_h5ad(OUT / "bare_ids.h5ad")
made(counts(7), frame([f"{name}.{i % 20}" for i, name in enumerate(ids)])).write_h5ad(OUT / "versions.h5ad")
made(counts(8), frame([f"other{i}" for i in numbers])).write_h5ad(OUT / "others.h5ad")
# Two genes in common with the symbols.
made(counts(9), frame(symbols[:2] + [f"other{i}" for i in numbers][2:])).write_h5ad(OUT / "few.h5ad")
# A small panel of the symbols, all of which are in common.
made(counts(10, 3), frame(symbols[5:8])).write_h5ad(OUT / "panel.h5ad")

# 10x Genomics with more than is read, in every place.
x = counts(11)
with h5py.File(OUT / "tenx.h5", "w") as file:
    matrix = file.create_group("matrix")
    matrix["barcodes"] = np.array([f"cell{i}" for i in range(N_OBS)], dtype="S")
    matrix["data"], matrix["indices"], matrix["indptr"] = x.data.astype(np.int32), x.indices, x.indptr.astype(np.int64)
    matrix["shape"] = np.array([N_VARS, N_OBS], dtype=np.int32)
    features = matrix.create_group("features")
    features["id"], features["name"] = np.array(ids, dtype="S"), np.array(symbols, dtype="S")
    features["feature_type"] = np.array(kinds, dtype="S")
    features["genome"] = np.array(["GRCh38"] * N_VARS, dtype="S")
    features["_all_tag_keys"] = np.array(["genome"], dtype="S")
with h5py.File(OUT / "tenx.h5") as file, h5py.File(OUT / "tenx_more.h5", "w") as more:
    file.copy("matrix", more)
    more["matrix"].create_dataset("extra", data=[[1, 2]])
    more.create_group("metadata").create_dataset("score", data=[1.0])

# A modality and a table of a larger file, with what lies around them.
data = made(counts(7))
data.layers["counts"] = data.X.copy()
with h5py.File(OUT / "two.h5mu", "w") as file:
    file.attrs["encoding-type"], file.attrs["encoding-version"] = "MuData", "0.1.0"
    anndata.io.write_elem(file, "obs", data.obs)
    anndata.io.write_elem(file, "var", data.var)
    anndata.io.write_elem(file, "obsm", {"X_mofa": np.ones((N_OBS, 2)), "X_umap": np.ones((N_OBS, 2))})
    anndata.io.write_elem(file, "obsp", {})
    anndata.io.write_elem(file, "uns", {"wnn": 1})
    for axis in ("obsmap", "varmap"):
        anndata.io.write_elem(file, axis, {"rna": np.arange(N_OBS)})
    for name in ("rna", "prot"):
        anndata.io.write_elem(file, f"mod/{name}", data)
root = zarr.open_group(OUT / "spatial.zarr", mode="w", zarr_format=2)
anndata.settings.zarr_write_format = 2
root.create_group("images").create_group("slide")
for name in ("cells", "nuclei"):
    anndata.io.write_elem(root.require_group("tables"), name, data)
