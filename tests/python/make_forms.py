"""Makes small inputs of every form, filter and order, and beside each that is not AnnData the same as AnnData.

    python tests/python/make_forms.py DIRECTORY

Prints a line for each input: its path, a tab, and the AnnData file that it must equal; or `refused:` and a word of the
reason.
"""

import gzip
import pathlib
import sys
import warnings

import anndata
import h5py
import hdf5plugin
import numpy as np
import pandas as pd
from scipy import sparse

warnings.simplefilter("ignore")
folder = pathlib.Path(sys.argv[1])
random = np.random.default_rng(5)


def frames(n_obs, n_vars):
    obs = pd.DataFrame({"n": np.arange(n_obs)}, index=[f"cell{i}" for i in range(n_obs)])
    var = pd.DataFrame({"gene_ids": [f"id{i}" for i in range(n_vars)]}, index=[f"gene{i}" for i in range(n_vars)])
    return obs, var


def counts(n_obs, n_vars, dtype="f4", density=0.2):
    matrix = random.poisson(0.3, (n_obs, n_vars)) * (random.random((n_obs, n_vars)) < density * 4)
    return sparse.csr_matrix(matrix.astype(dtype))


def write(name, matrix, dataset_kwargs=None):
    obs, var = frames(*matrix.shape)
    path = folder / name
    anndata.AnnData(matrix, obs=obs, var=var).write_h5ad(path, **(dataset_kwargs or {}))
    return path


def say(path, expected=None):
    print(path, expected or path, sep="\t")


def again(path, name, edit):
    """A copy of a file with a changed X; `edit` gets the group or the dataset's values."""
    copy = folder / name
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "r+") as file:
        edit(file)
    return copy


def replace(group, name, values, **kwargs):
    del group[name]
    group.create_dataset(name, data=values, **kwargs)


# Filters, on the arrays of a CSR matrix and on tiles of a dense one.
base = write("base.h5ad", counts(300, 70))
dense = write("dense.h5ad", counts(61, 37).toarray())
filters = {
    "lz4": hdf5plugin.LZ4(),
    "lz4_blocks": hdf5plugin.LZ4(nbytes=512),
    "zstd": hdf5plugin.Zstd(),
    "bitshuffle_none": hdf5plugin.Bitshuffle(cname="none"),
    "bitshuffle_lz4": hdf5plugin.Bitshuffle(cname="lz4"),
    "bitshuffle_zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "bitshuffle_blocks": hdf5plugin.Bitshuffle(nelems=64, cname="lz4"),
    "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf", "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "none": {},
}
for cname in ("blosclz", "lz4", "lz4hc", "zlib", "zstd"):
    for shuffle in (0, 1, 2):
        filters[f"blosc_{cname}_{shuffle}"] = hdf5plugin.Blosc(cname=cname, shuffle=shuffle)
for name, options in filters.items():

    def recompress(file):
        for member in ("data", "indices", "indptr"):
            values = file["X"][member][()]
            replace(file["X"], member, values, chunks=(min(1001, len(values)),), **options)

    def retile(file):
        values = file["X"][()]
        attributes = dict(file["X"].attrs)
        del file["X"]
        # Some tiles are never written, and the last ones reach beyond the matrix.
        tiled = file.create_dataset("X", shape=values.shape, dtype=values.dtype, chunks=(7, 11), **options)
        tiled[:30, :] = values[:30, :]
        tiled[50:, 20:] = values[50:, 20:]
        tiled.attrs.update(attributes)

    say(again(base, f"csr_{name}.h5ad", recompress))
    say(again(dense, f"tiled_{name}.h5ad", retile))
for name, options in {"blosc2": hdf5plugin.Blosc2(), "zfp": hdf5plugin.Zfp(reversible=True)}.items():
    recompress_one = lambda file: replace(file["X"], "data", file["X/data"][()], chunks=True, **options)
    print(again(base, f"refused_{name}.h5ad", recompress_one), f"refused:{name}", sep="\t")

# Element types, of sparse matrices by columns and of dense ones.
for dtype in ("bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"):
    matrix = counts(200, 33, dtype)
    say(write(f"csc_{dtype}.h5ad", matrix.tocsc()))
    say(write(f"dense_{dtype}.h5ad", matrix.toarray()))
wide = np.zeros((5, 4), "u8")
wide[0, 1], wide[4, 3] = 2**64 - 1, 2**33
say(write("dense_wide.h5ad", wide))
odd = np.zeros((6, 5))
odd[0], odd[5, 4], odd[3, 2] = [np.nan, -np.inf, np.inf, -0.0, 5e-324], 0.1, -1e300
say(write("dense_odd.h5ad", odd))
say(write("dense_odd_f4.h5ad", odd.astype("f4")))
say(write("dense_no_obs.h5ad", np.zeros((0, 4), "f4")))
say(write("csc_no_obs.h5ad", sparse.csc_matrix((0, 4), dtype="f4")))
say(write("csc_empty.h5ad", sparse.csc_matrix((9, 4), dtype="i4")))
say(again(dense, "dense_big_endian.h5ad", lambda f: replace(f, "X", f["X"][()].astype(">f4"))), dense)


def as_columns(file, data, indices, indptr, shape):
    group = file["X"]
    for name, values in (("data", data), ("indices", indices), ("indptr", indptr)):
        replace(group, name, values)
    group.attrs["shape"], group.attrs["encoding-type"] = shape, "csc_matrix"


# Columns with unsorted rows, one of them twice, and stored zeros; of several index types.
expected = write("messy.h5ad", sparse.csr_matrix(np.array([[0, 5, 0], [3, 0, 0], [0, 9, 1], [0, 0, 0]], "f4")))
data, indices = np.array([3, 4, 5, 5, 0, 1], "f4"), np.array([1, 2, 0, 2, 3, 2])
for dtype in ("i4", "i8", "u4", "u8", ">i4", ">i8", "u2"):
    edit = lambda f: as_columns(f, data, indices.astype(dtype), np.array([0, 1, 5, 6], dtype), (4, 3))
    say(again(expected, f"messy_{dtype.replace('>', 'big')}.h5ad", edit), expected)
edit = lambda f: as_columns(f, data, np.array([1, 2, 0, 2, 4, 2]), np.array([0, 1, 5, 6]), (4, 3))
print(again(expected, "refused_row.h5ad", edit), "refused:element 4 (column 1) is 4", sep="\t")

# zarr.
for form, matrix in (("csr", counts(300, 70)), ("csc", counts(300, 70).tocsc()), ("dense", counts(90, 31).toarray())):
    obs, var = frames(*matrix.shape)
    source = write(f"for_zarr_{form}.h5ad", matrix)
    for version in (2, 3):
        anndata.settings.zarr_write_format = version
        path = folder / f"{form}_v{version}.zarr"
        chunks = {"chunks": (17, 31)} if form == "dense" else {}
        anndata.AnnData(matrix, obs=obs, var=var).write_zarr(path, **chunks)
        say(path, source)

# 10x Genomics.
matrix = counts(40, 25, "i4")
obs, var = frames(40, 25)
obs = obs.iloc[:, :0]
var["feature_types"] = "Gene Expression"
var["genome"] = "GRCh38"
whole = anndata.AnnData(matrix, obs=obs, var=var)


def write_arrays(group):
    group["data"], group["indices"], group["indptr"] = matrix.data, matrix.indices.astype("i8"), matrix.indptr.astype("i8")
    group["shape"] = np.array([25, 40], "i4")
    group["barcodes"] = np.array(obs.index, "S16")


with h5py.File(folder / "cellranger3.h5", "w") as file:
    write_arrays(file.create_group("matrix"))
    features = file["matrix"].create_group("features")
    for member, values in (("id", var.gene_ids), ("name", var.index), ("feature_type", var.feature_types), ("genome", var.genome)):
        features[member] = np.array(values, "S20")
    features["_all_tag_keys"] = np.array(["genome"], "S6")
whole.write_h5ad(folder / "cellranger3.h5ad", convert_strings_to_categoricals=False)
say(folder / "cellranger3.h5", folder / "cellranger3.h5ad")
with h5py.File(folder / "cellranger2.h5", "w") as file:
    write_arrays(file.create_group("hg19"))
    file["hg19/genes"], file["hg19/gene_names"] = np.array(var.gene_ids, "S20"), np.array(var.index, "S20")
anndata.AnnData(matrix, obs=obs, var=var[["gene_ids"]]).write_h5ad(
    folder / "cellranger2.h5ad", convert_strings_to_categoricals=False
)
say(folder / "cellranger2.h5", folder / "cellranger2.h5ad")

# Matrix Market: entries in any order, one of them twice.
for name, field, dtype, opener in (
    ("gz", "integer", "i4", gzip.open),
    ("plain", "real", "f8", open),
    ("wide", "integer", "i8", open),
):
    directory = folder / f"market_{name}"
    directory.mkdir()
    end = ".gz" if opener is gzip.open else ""
    values = matrix.tocoo()
    numbers = values.data.astype(dtype) * (2**40 if name == "wide" else 1)
    order = random.permutation(len(numbers))
    rows, columns, numbers = values.row[order], values.col[order], numbers[order]
    expected = sparse.csr_matrix((numbers, (rows, columns)), shape=matrix.shape)
    entries = [f"{c + 1} {r + 1} {v}" for r, c, v in zip(rows, columns, numbers)]
    with opener(directory / f"matrix.mtx{end}", "wt") as out:
        out.write(f"%%MatrixMarket matrix coordinate {field} general\n%\n25 40 {len(entries)}\n")
        out.write("\n".join(entries) + "\n")
    with opener(directory / f"barcodes.tsv{end}", "wt") as out:
        out.write("".join(f"{name}\n" for name in obs.index))
    with opener(directory / f"features.tsv{end}", "wt") as out:
        out.write("".join(f"{i}\t{n}\tGene Expression\n" for i, n in zip(var.gene_ids, var.index)))
    target = folder / f"market_{name}.h5ad"
    anndata.AnnData(expected, obs=obs, var=var[["gene_ids", "feature_types"]]).write_h5ad(
        target, convert_strings_to_categoricals=False
    )
    say(directory, target)
