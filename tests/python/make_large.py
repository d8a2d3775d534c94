"""Stores one large AnnData file in other forms, for a test of the memory that converting them takes.

    python tests/python/make_large.py INPUT DIRECTORY

Prints the path of each.
"""

import gzip
import pathlib
import shutil
import sys
import warnings
import zipfile

import anndata
import h5py
import numpy as np
import pandas as pd
import zarr

warnings.simplefilter("ignore")
anndata.settings.zarr_write_format = 3
source, folder = sys.argv[1], pathlib.Path(sys.argv[2])
data = anndata.read_h5ad(source)
few = data[: data.n_obs // 10]

# Rows, in files and in shards within zip files.
hierarchy = folder / "rows.zarr"
data.write_zarr(hierarchy)
print(hierarchy)
sharded = folder / "sharded.zarr"
shutil.copytree(hierarchy, sharded)
group = zarr.open_group(sharded)["X"]
for name in ("data", "indices"):
    values, attributes = group[name][:], dict(group[name].attrs)
    del group[name]
    made = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=(1 << 16,), shards=(1 << 20,), compressors=None
    )
    made[:] = values
    made.attrs.update(attributes)
for name, method in [("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)]:
    with zipfile.ZipFile(folder / f"{name}.zarr.zip", "w", method, compresslevel=1) as file:
        for path in sorted(sharded.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(sharded).as_posix())
    print(folder / f"{name}.zarr.zip")
shutil.rmtree(sharded)

# Every cell of the matrix.
dense = few.copy()
dense.X = dense.X.toarray()
dense.write_h5ad(folder / "dense.h5ad")
dense.write_zarr(folder / "dense.zarr")
print(folder / "dense.h5ad", folder / "dense.zarr", sep="\n")
del dense

# As 10x Genomics has it: rows of cells under another name, and lines.
with h5py.File(folder / "tenx.h5", "w") as file:
    matrix = file.create_group("matrix")
    matrix["data"], matrix["indices"], matrix["indptr"] = data.X.data.astype("i4"), data.X.indices, data.X.indptr
    matrix["shape"] = np.array([data.n_vars, data.n_obs])
    matrix["barcodes"] = data.obs_names.to_numpy().astype("S")
    features = matrix.create_group("features")
    features["id"] = features["name"] = data.var_names.to_numpy().astype("S")
    features["feature_type"] = np.full(data.n_vars, b"Gene Expression")
    features["genome"] = np.full(data.n_vars, b"G")
print(folder / "tenx.h5")
market = folder / "market"
market.mkdir()
entries = few.X.tocoo()
lines = pd.DataFrame({"gene": entries.col + 1, "cell": entries.row + 1, "n": entries.data.astype("i4")})
with gzip.open(market / "matrix.mtx.gz", "wt", compresslevel=1) as file:
    file.write(f"%%MatrixMarket matrix coordinate integer general\n{few.n_vars} {few.n_obs} {len(lines)}\n")
    lines.to_csv(file, sep=" ", header=False, index=False)
for name, names in [("barcodes.tsv.gz", few.obs_names), ("features.tsv.gz", few.var_names)]:
    with gzip.open(market / name, "wt", compresslevel=1) as file:
        file.writelines(f"{name}\n" for name in names)
print(market)
