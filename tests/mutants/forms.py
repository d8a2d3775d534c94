"""Small inputs of every form that `convert` reads, sound ones."""

from __future__ import annotations

import gzip
import io as bytes_io
import zipfile
from pathlib import Path

import anndata
import h5py
import numcodecs
import numpy as np
import pandas as pd
import zarr
from scipy import io, sparse

N_OBS, N_VARS = 24, 30


class Form:
    """An input: its kind, which says who reads it, and what it holds."""

    def __init__(self, kind, path):
        self.kind, self.path, self.name = kind, Path(path), Path(path).name
        self.holds, self.warnings = None, set()

    def read(self, path):
        from inputs import READERS
        return READERS[self.kind](path)


def matrix(kind="f4", seed=3):
    random = np.random.default_rng(seed)
    found = sparse.random(N_OBS, N_VARS, 0.3, "csr", random_state=random)
    found.data = random.integers(1, 6, found.nnz).astype(kind)
    return found.astype(kind)


def example(x):
    numbers = np.arange(N_OBS)
    obs = pd.DataFrame({
        "type": pd.Categorical.from_codes(numbers % 3, ["B cell", "T cell", "NK"]),
        "score": numbers * 0.5,
        "n": numbers * 3,
        "is": numbers % 2 == 0,
        "note": [f"note {k}" for k in numbers],
        "some": pd.array([None if k % 5 == 0 else k for k in range(N_OBS)], dtype="Int64"),
    }, index=[f"cell_{k}" for k in numbers])
    var = pd.DataFrame({"length": np.arange(N_VARS, dtype="i4")}, index=[f"gene_{k}" for k in range(N_VARS)])
    return anndata.AnnData(x, obs=obs, var=var)


def rewritten(path, **how):
    """Stores every array of X anew."""
    with h5py.File(path, "r+") as file:
        group = file["X"]
        names = list(group) if isinstance(group, h5py.Group) else []
        for name in names or ["X"]:
            parent = group if names else file
            data, attributes = parent[name][()], dict(parent[name].attrs)
            del parent[name]
            chunks = tuple(min(16, n) for n in data.shape)
            parent.create_dataset(name, data=data, chunks=chunks, **how).attrs.update(attributes)


def make_h5ad(folder):
    for name, x, how in [
        ("plain", matrix(), None),
        ("checked", matrix(), {"compression": "gzip", "shuffle": True, "fletcher32": True}),
        ("lzf_columns", matrix().tocsc(), {"compression": "lzf", "shuffle": True}),
        ("gzip", matrix("i4"), {"compression": "gzip"}),
        ("dense", matrix("f8").toarray(), {"compression": "gzip"}),
        ("chunked", matrix("u2"), {}),
    ]:
        path = folder / f"{name}.h5ad"
        example(x).write_h5ad(path)
        if how is not None:
            rewritten(path, **how)
        yield Form("h5ad", path)
    path = folder / "latest.h5ad"
    with h5py.File(folder / "gzip.h5ad") as source, h5py.File(path, "w", libver="latest") as file:
        for name in source:
            source.copy(name, file)
        file.attrs.update(source.attrs)
    yield Form("h5ad", path)


def make_old(folder):
    """As anndata wrote until 0.6: tables as compound datasets, categories in uns."""
    path = folder / "old.h5ad"
    x = matrix()
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs.update(h5sparse_format="csr", h5sparse_shape=np.array(x.shape))
        for name in ("data", "indices", "indptr"):
            group.create_dataset(name, data=getattr(x, name), chunks=(16,), compression="gzip")
        obs = np.zeros(N_OBS, [("index", "S10"), ("n", "<i8"), ("score", "<f4")])
        obs["index"], obs["n"], obs["score"] = [f"c{k}" for k in range(N_OBS)], range(N_OBS), np.arange(N_OBS) / 4
        var = np.zeros(N_VARS, [("index", "S10"), ("length", "<i4")])
        var["index"], var["length"] = [f"g{k}" for k in range(N_VARS)], range(N_VARS)
        file["obs"], file["var"] = obs, var
    yield Form("old h5ad", path)


def rewritten_zarr(path, **how):
    """The same of zarr, where what is said of all arrays in one place changes too."""
    group = zarr.open_group(path, mode="r+", use_consolidated=False)["X"]
    for name in ("data", "indices", "indptr"):
        values, attributes = group[name][:], dict(group[name].attrs)
        del group[name]
        made = group.create_array(name, shape=values.shape, dtype=values.dtype, **how)
        made[:] = values
        made.attrs.update(attributes)
    zarr.consolidate_metadata(path)


ZARR2 = [("gzip", numcodecs.GZip()), ("blosc", numcodecs.Blosc("lz4")), ("zlib", numcodecs.Zlib()), ("zstd", numcodecs.Zstd()),
         ("lz4", numcodecs.LZ4()), ("blosc_zstd", numcodecs.Blosc("zstd", shuffle=2)), ("none", None)]


def make_zarr(folder):
    for name, codec in ZARR2:
        path = folder / f"v2_{name}.zarr"
        anndata.settings.zarr_write_format = 2
        example(matrix()).write_zarr(path)
        rewritten_zarr(path, chunks=(32,), compressors=codec)
        yield Form("zarr", path)
    anndata.settings.zarr_write_format = 3
    path = folder / "v3.zarr"
    example(matrix()).write_zarr(path)
    yield Form("zarr", path)
    for name, codecs in [("gzip", [zarr.codecs.GzipCodec()]), ("blosc", [zarr.codecs.BloscCodec(cname="zstd")]),
                         ("crc", [zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()])]:
        path = folder / f"v3_sharded_{name}.zarr"
        example(matrix("i4")).write_zarr(path)
        rewritten_zarr(path, chunks=(16,), shards=(64,), compressors=codecs)
        yield Form("zarr", path)


def zipped(folder, path, method=zipfile.ZIP_STORED):
    """A directory as one file, as zarr stores it: names relative to it, in their order."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name in sorted(str(found.relative_to(folder)) for found in folder.rglob("*") if found.is_file()):
            # The time of an entry is the same in every run.
            file.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes(), method)


def make_zips(folder):
    for name, method in [("v2_gzip", zipfile.ZIP_STORED), ("v3", zipfile.ZIP_STORED), ("v2_none", zipfile.ZIP_DEFLATED)]:
        path = folder / f"{name}_{method}.zarr.zip"
        zipped(folder / f"{name}.zarr", path, method)
        yield Form("zip", path)


def make_tenx(folder):
    x = matrix("i4")
    text = lambda values: np.array(values, "S16")  # noqa: E731
    cells, genes = [f"CELL{k}-1" for k in range(N_OBS)], [f"gene{k}" for k in range(N_VARS)]
    ids = [f"ENSG{k:08}" for k in range(N_VARS)]
    for name, root in (("tenx.h5", "matrix"), ("tenx_old.h5", "GRCh38")):
        with h5py.File(folder / name, "w") as file:
            group = file.create_group(root)
            group.create_dataset("data", data=x.data, chunks=(32,), compression="gzip")
            group.create_dataset("indices", data=x.indices.astype("i8"), chunks=(32,), compression="gzip", shuffle=True)
            group["indptr"], group["shape"] = x.indptr.astype("i8"), np.array(x.shape[::-1], "i4")
            group["barcodes"] = text(cells)
            if root == "matrix":
                for member, values in (("id", ids), ("name", genes), ("feature_type", ["Gene Expression"] * N_VARS),
                                       ("genome", ["GRCh38"] * N_VARS), ("_all_tag_keys", ["genome"])):
                    group[f"features/{member}"] = text(values)
            else:
                group["genes"], group["gene_names"] = text(ids), text(genes)
        yield Form("10x", folder / name)


def make_market(folder):
    x = matrix("i4")
    for name, is_zipped, field in (("mtx", False, "integer"), ("mtx_gz", True, "integer"), ("mtx_real", False, "real")):
        path = folder / name
        path.mkdir()
        target = bytes_io.BytesIO()
        io.mmwrite(target, sparse.coo_matrix(x.T if field == "integer" else x.T * 0.5), field=field, symmetry="general")
        files = {
            "matrix.mtx": target.getvalue(),
            "barcodes.tsv": "".join(f"CELL{k}-1\n" for k in range(N_OBS)).encode(),
            "features.tsv": "".join(f"ENSG{k:08}\tgene{k}\tGene Expression\n" for k in range(N_VARS)).encode(),
        }
        for file, data in files.items():
            (path / (file + ".gz" * is_zipped)).write_bytes(gzip.compress(data, mtime=0) if is_zipped else data)
        yield Form("mtx", path)


def make_forms(folder):
    makers = (make_h5ad, make_old, make_zarr, make_zips, make_tenx, make_market)
    return [form for make in makers for form in make(folder)]
