"""Makes files whose values are read where they are, and says which byte of each says where values are: one of an index of chunks, or of indptr. None of
these bytes is in the samples of its file. For each a line with the input, what the byte is of, the file that it is in, and its offset.

make_watched.py DIRECTORY
"""

import os
import struct
import sys
import warnings
import zipfile
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr

sys.path.insert(0, str(Path(__file__).parent.parent))
from spec_reader import fingerprint_of

warnings.simplefilter("ignore")
directory = Path(sys.argv[1])
N_OBS, N_VARS, PER_OBS = 20_000, 300, 50
random = np.random.default_rng(7)
indices = np.tile(np.arange(0, N_VARS, N_VARS // PER_OBS, dtype=np.int32), N_OBS)
matrix = sp.csr_matrix((random.random(len(indices), np.float32), indices, np.arange(N_OBS + 1) * PER_OBS), shape=(N_OBS, N_VARS))
obs, var = (pd.DataFrame(index=[f"{name}{i}" for i in range(n)]) for name, n in (("c", N_OBS), ("g", N_VARS)))


def say(path: Path, what: str, file: Path, places: list[int]) -> None:
    """The first of some places that samples of the file do not show, the ones in the middle first."""
    data = file.read_bytes()
    before = fingerprint_of(data, [])
    for at in sorted(places, key=lambda at: abs(at - places[len(places) // 2]))[:20]:
        changed = bytearray(data)
        changed[at] ^= 1
        if fingerprint_of(bytes(changed), []) == before:
            print(path, what, file, at, sep="\t")
            return
    raise SystemExit(f"{file}: samples show {what}")


def hdf5(name: str, libver: str, maxshape: tuple[None] | None, compression: str | None) -> None:
    path = directory / name
    with h5py.File(path, "w", libver=libver) as file:
        anndata.io.write_elem(file, "obs", obs)
        anndata.io.write_elem(file, "var", var)
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": matrix.shape})
        for member in ("indptr", "data", "indices"):
            group.create_dataset(member, data=getattr(matrix, member), maxshape=maxshape, chunks=(2_000,), compression=compression)
    data = path.read_bytes()
    with h5py.File(path) as file:
        chunks = file["X/data"].id
        offsets = [chunks.get_chunk_info(k).byte_offset for k in range(chunks.get_num_chunks())]
        say(path, "the index", path, [at for at in (data.find(struct.pack("<Q", offset)) for offset in offsets) if at > 0])
        chunks = file["X/indptr"].id
        say(path, "indptr", path, [chunks.get_chunk_info(k).byte_offset + 20 for k in range(chunks.get_num_chunks())])


def zarr_group(name: str, version: int) -> zarr.Group:
    group = zarr.open_group(directory / name, mode="w", zarr_format=version)
    anndata.io.write_elem(group, "obs", obs)
    anndata.io.write_elem(group, "var", var)
    group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    group.create_group("X").attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(matrix.shape)})
    return group["X"]


hdf5("tree.h5ad", "earliest", (None,), None)
hdf5("tree-gzip.h5ad", "earliest", (None,), "gzip")
hdf5("extensible.h5ad", "latest", (None,), None)
hdf5("fixed.h5ad", "latest", None, "gzip")

group = zarr_group("shards.zarr", 3)
for member in ("indptr", "data", "indices"):
    array = getattr(matrix, member)
    group.create_array(member, data=array, chunks=(100,), shards=(-(-len(array) // 100) * 100,), compressors=None)
path = directory / "shards.zarr"
shard = path / "X/data/c/0"
index = shard.stat().st_size - 4 - 16 * (len(matrix.data) // 100)
say(path, "the index", shard, list(range(index, index + 80_000, 4_000)))
print(path, "indptr", path / "X/indptr/c/0", 1000, sep="\t")

group = zarr_group("files.zarr", 2)
for member in ("indptr", "data", "indices"):
    group.create_array(member, data=getattr(matrix, member), chunks=(2_000 if member == "indptr" else 1_000,), compressors=None)
path = directory / "files.zarr"
print(path, "the index", path / "X/indices/.zarray", 3, sep="\t")
print(path, "indptr", path / "X/indptr/5", 1000, sep="\t")

packed = directory / "packed.zarr.zip"
with zipfile.ZipFile(packed, "w") as file:
    for folder, _, names in os.walk(path):
        for name in sorted(names):
            file.write(os.path.join(folder, name), os.path.relpath(os.path.join(folder, name), path))
with zipfile.ZipFile(packed) as file:
    data = packed.read_bytes()
    say(packed, "the index", packed, [data.find(struct.pack("<I", entry.header_offset), file.start_dir) for entry in file.infolist() if "X/data" in entry.filename])
    say(packed, "indptr", packed, [entry.header_offset + 200 for entry in file.infolist() if "X/indptr/" in entry.filename and "zarray" not in entry.filename])
