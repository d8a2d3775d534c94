"""Makes files whose values can be read where they are, in every way that a writer may have stored them: for each a line with its path, the path of a
file that holds the same values without any of that, and the options that take its matrices.

make_linkable.py DIRECTORY
"""

import sys
import warnings
import zlib
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

warnings.simplefilter("ignore")
directory = Path(sys.argv[1])
N_OBS, N_VARS = 230, 90
obs = pd.DataFrame(index=[f"cell{i}" for i in range(N_OBS)])
CHUNK = 512


def counts(seed: int, dtype: str, n_vars: int = N_VARS) -> sp.csr_matrix:
    random = np.random.default_rng(seed)
    return sp.csr_matrix((random.poisson(2, (N_OBS, n_vars)) * (random.random((N_OBS, n_vars)) < 0.2)).astype(dtype))


def genes(n: int = N_VARS) -> pd.DataFrame:
    return pd.DataFrame({"gene_ids": [f"id{i}" for i in range(n)]}, index=[f"gene{i}" for i in range(n)])


def several() -> tuple[Path, Path, list[str]]:
    """Layers in several forms, and raw with other genes."""
    adata = anndata.AnnData(counts(1, "f4"), obs=obs, var=genes())
    adata.layers["spliced"], adata.layers["ambiguous"] = counts(2, "i4"), counts(3, "f8")
    adata.layers["dense"] = counts(4, "u1").toarray()
    adata.raw = anndata.AnnData(counts(5, "u2", 140), obs=obs, var=genes(140))
    plain, path = directory / "several_plain.h5ad", directory / "several.h5ad"
    adata.write_h5ad(plain)
    adata.write_h5ad(path, compression="gzip")
    with h5py.File(path, "r+") as file:
        for group, options in (("layers/spliced", {"compression": "lzf"}), ("raw/X", {"compression": "gzip", "shuffle": True})):
            for name in ("data", "indices"):
                values = file[group][name][...]
                del file[group][name]
                file[group].create_dataset(name, data=values, chunks=(CHUNK,), **options)
        values, attributes = file["layers/dense"][...], dict(file["layers/dense"].attrs)
        del file["layers/dense"]
        file.create_dataset("layers/dense", data=values, chunks=(16, 40), compression="gzip").attrs.update(attributes)
        # Elements with the most significant byte first, and without chunks.
        ambiguous = file["layers/ambiguous"]
        for name, dtype in (("data", ">f8"), ("indices", ">i8")):
            values = ambiguous[name][...]
            del ambiguous[name]
            ambiguous.create_dataset(name, data=values.astype(dtype))
    return path, plain, ["--x", "--layer", "spliced", "--layer", "dense", "--raw", "--layer", "ambiguous"]


def tenx() -> tuple[Path, Path, list[str]]:
    """As CellRanger writes it: compressed at level 1 in chunks that may grow, with columns of 8 bytes."""
    matrix, var, path = counts(6, "i4"), genes(), directory / "tenx.h5"
    var["feature_types"], var["genome"] = "Gene Expression", "GRCh38"
    plain = directory / "tenx_plain.h5ad"
    anndata.AnnData(matrix, obs=obs, var=var).write_h5ad(plain, convert_strings_to_categoricals=False)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")

        def put(name: str, values: np.ndarray) -> None:
            group.create_dataset(name, data=values, maxshape=(None,), chunks=(CHUNK,), compression="gzip", compression_opts=1, shuffle=True)

        put("data", matrix.data)
        put("indices", matrix.indices.astype("i8"))
        put("indptr", matrix.indptr.astype("i8"))
        put("shape", np.array(matrix.shape[::-1], "i4"))
        put("barcodes", np.array(obs.index, "S18"))
        members = {"id": var.gene_ids, "name": var.index, "feature_type": var.feature_types, "genome": var.genome}
        for name, values in members.items():
            put(f"features/{name}", np.array(values, "S20"))
        put("features/_all_tag_keys", np.array(["genome"], "S6"))
    return path, plain, ["--x"]


def masked(shuffle: bool) -> tuple[Path, Path, list[str]]:
    """Chunks that some of the filters were not applied to, as HDF5 leaves those that do not shrink: each way in turn."""
    adata = anndata.AnnData(counts(7, "f4"), obs=obs, var=genes())
    name = "shuffle_gzip" if shuffle else "gzip"
    plain, path = directory / f"{name}_plain.h5ad", directory / f"{name}_masked.h5ad"
    adata.write_h5ad(plain)
    adata.write_h5ad(path)
    masks = [0b00, 0b01, 0b10, 0b11] if shuffle else [0b0, 0b1]
    with h5py.File(path, "r+") as file:
        for member in ("data", "indices"):
            values = file["X"][member][...]
            del file["X"][member]
            options = {"maxshape": (None,), "chunks": (CHUNK,), "compression": "gzip", "shuffle": shuffle}
            dataset = file["X"].create_dataset(member, values.shape, values.dtype, **options)
            for number, first in enumerate(range(0, len(values), CHUNK)):
                mask = masks[number % len(masks)]
                chunk = np.zeros(CHUNK, values.dtype)
                own = values[first:first + CHUNK]
                chunk[:len(own)] = own
                data = chunk.tobytes()
                if shuffle and not mask & 1:
                    data = chunk.view(np.uint8).reshape(CHUNK, -1).T.tobytes()
                if not mask >> int(shuffle) & 1:
                    data = zlib.compress(data)
                dataset.id.write_direct_chunk((first,), data, filter_mask=mask)
            # The library itself reads what was meant.
            assert len(values) > CHUNK * len(masks) and (dataset[...] == values).all()
            assert {dataset.id.get_chunk_info(k).filter_mask for k in range(dataset.id.get_num_chunks())} == set(masks)
    return path, plain, ["--x"]


for path, plain, options in (several(), tenx(), masked(shuffle=False), masked(shuffle=True)):
    print(path, plain, *options, sep="\t")
