"""Makes small inputs that claim much, refer to the wrong bytes or never end, each of which must be refused at once.

    python tests/python/make_hostile.py DIRECTORY

Prints a line for each: its path, a tab, and a part of the reason.
"""

import gzip
import json
import os
import pathlib
import shutil
import struct
import sys
import warnings
import zipfile
import zlib

import anndata
import h5py
import numcodecs
import numpy as np
import pandas as pd
import zarr
from scipy import sparse

warnings.simplefilter("ignore")
folder = pathlib.Path(sys.argv[1])
N_OBS, N_VARS = 40, 30
MIB = 1 << 20


def say(path, reason):
    print(path, reason, sep="\t")


obs = pd.DataFrame({"note": [f"n{i % 7}" for i in range(N_OBS)]}, index=[f"cell{i}" for i in range(N_OBS)])
var = pd.DataFrame(index=[f"gene{i}" for i in range(N_VARS)])
X = sparse.random(N_OBS, N_VARS, 0.3, "csr", dtype="f4", random_state=1)
BASE = anndata.AnnData(X, obs=obs, var=var)
for version in (2, 3):
    anndata.settings.zarr_write_format = version
    BASE.write_zarr(folder / f"v{version}.zarr")


def hierarchy(name, version=3):
    """A copy of a sound one, without consolidated metadata: each of these has one fault, and no second one that a copy gives away."""
    path = folder / name
    shutil.copytree(folder / f"v{version}.zarr", path)
    without_copy(path)
    return path


def without_copy(path):
    (path / ".zmetadata").unlink(missing_ok=True)
    if (path / "zarr.json").exists():
        about = json.loads((path / "zarr.json").read_text())
        del about["consolidated_metadata"]
        (path / "zarr.json").write_text(json.dumps(about))


def document(array, change):
    """Changes the document of an array of zarr v3."""
    path = array / "zarr.json"
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))


def only_chunk(array):
    (chunk,) = [path for path in (array / "c").rglob("*") if path.is_file()]
    return chunk


def archive(name, root=folder / "v3.zarr", below="", **options):
    with zipfile.ZipFile(folder / name, "w", **options) as file:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                file.write(path, below + path.relative_to(root).as_posix())
    return folder / name


def entry(path, name):
    """Where the bytes of an entry of a zip file, its local header and its place in the directory begin."""
    with zipfile.ZipFile(path) as file:
        info = file.getinfo(name)
    data = path.read_bytes()
    local = info.header_offset
    name_bytes, extra_bytes = struct.unpack("<HH", data[local + 26 : local + 30])
    central = data.rindex(b"PK\x01\x02", 0, data.index(name.encode(), data.index(b"PK\x01\x02")))
    return local + 30 + name_bytes + extra_bytes, local, central, info


def patched(path, at, value):
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)


def flipped(path, at):
    patched(path, at, bytes([path.read_bytes()[at] ^ 4]))


# Zip files.
CHUNK = "X/data/c/0"
for name, options, reason in [
    ("stored", {}, f"entry {CHUNK} of the zip file"),
    ("deflated", {"compression": zipfile.ZIP_DEFLATED}, f"entry {CHUNK} of the zip file"),
]:
    path = archive(f"flipped_{name}.zarr.zip", **options)
    start, _, _, info = entry(path, CHUNK)
    flipped(path, start + info.compress_size // 2)
    say(path, reason)
# Streams that never end for a decoder that waits for more.
for value in (0x00, 0x02, 0x04, 0xFF):
    path = archive(f"endless_{value}.zarr.zip", compression=zipfile.ZIP_DEFLATED)
    start, _, _, info = entry(path, CHUNK)
    patched(path, start, bytes([value]) * info.compress_size)
    say(path, f"entry {CHUNK} of the zip file")
for name, method in [("bzip2", zipfile.ZIP_BZIP2), ("lzma", zipfile.ZIP_LZMA)]:
    say(archive(f"{name}.zarr.zip", compression=method), f"is compressed with {name}")
path = archive("encrypted.zarr.zip")
_, local, central, _ = entry(path, CHUNK)
patched(path, central + 8, b"\1\0")
say(path, f"entry {CHUNK} of the zip file is encrypted")
path = archive("large_claim.zarr.zip", compression=zipfile.ZIP_DEFLATED)
_, local, central, _ = entry(path, CHUNK)
for at in (local + 22, central + 24):
    patched(path, at, struct.pack("<I", 1 << 31))
say(path, "claims 2147483648 bytes in")
path = archive("other_name.zarr.zip")
_, local, _, _ = entry(path, CHUNK)
patched(path, local + 30, b"Y")
say(path, f"the entry of the zip file at offset {local} is damaged")
say(archive("below.zarr.zip", below="inner/"), "lie in a directory inner within it")

# Shards, whose pieces are read one by one.
sharded = folder / "sharded.zarr"
anndata.settings.zarr_write_format = 3
BASE.write_zarr(sharded)
group = zarr.open_group(sharded)
data = group["X/data"][:]
attributes = dict(group["X/data"].attrs)
del group["X"]["data"]
made = group["X"].create_array("data", shape=data.shape, dtype=data.dtype, chunks=(10,), shards=(500,), compressors=None)
made[:] = data
made.attrs.update(attributes)
without_copy(sharded)
for name, options in [("stored", {}), ("deflated", {"compression": zipfile.ZIP_DEFLATED})]:
    path = archive(f"flipped_shard_{name}.zarr.zip", sharded, **options)
    start, _, _, info = entry(path, CHUNK)
    flipped(path, start + info.compress_size // 3)
    say(path, f"entry {CHUNK} of the zip file")


def shards(name):
    path = folder / name
    shutil.copytree(sharded, path)
    return path, path / CHUNK


def with_index(chunk, change):
    """Changes the places of the chunks of a shard, whose index is at its end, with its checksum."""
    bytes_ = bytearray(chunk.read_bytes())
    index = np.frombuffer(bytes_[-50 * 16 - 4 : -4], "<u8").reshape(50, 2).copy()
    change(index)
    index = index.tobytes()
    bytes_[-50 * 16 - 4 :] = index + crc32c(index)
    chunk.write_bytes(bytes_)


def crc32c(bytes_):
    crc = 0xFFFFFFFF
    for byte in bytes_:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def set_all(index):
    index[:] = 0, 1000


def set_beyond(index):
    index[3] = 1 << 40, 8


def set_wrapping(index):
    index[3] = (1 << 64) - 4, 40


path, chunk = shards("overlapping.zarr")
with_index(chunk, set_all)
say(path, "but the shard only")
path, chunk = shards("beyond.zarr")
with_index(chunk, set_beyond)
say(path, "lie beyond its")
path, chunk = shards("wrapping.zarr")
with_index(chunk, set_wrapping)
say(path, "lie beyond its")
path, chunk = shards("cut_shard.zarr")
chunk.write_bytes(chunk.read_bytes()[-20:])
say(path, "but the shard only 20")
path, chunk = shards("many_chunks.zarr")


def claim_many(about):
    about["chunk_grid"]["configuration"]["chunk_shape"] = [1 << 40]
    about["codecs"][0]["configuration"]["chunk_shape"] = [1]


document(path / "X/data", claim_many)
say(path, "chunks, expected at most")

# Files that are none, or too long.
path = hierarchy("fifo.zarr")
only_chunk(path / "X/data").unlink()
os.mkfifo(path / CHUNK)
say(path, "is not a regular file")
path = hierarchy("sparse.zarr")
os.truncate(path / CHUNK, 10 << 30)
say(path, "has 10737418240 bytes, expected at most")
path = hierarchy("document.zarr")
(path / "obs/note/zarr.json").write_text("[" + "0," * (5 << 20) + "0]")
say(path, "values, expected at most")

# Chunks that inflate to much: of numbers, of which the length is known, and of strings.
ZEROS = bytes(16 * MIB)
STREAMS = {
    "gzip": gzip.compress(ZEROS),
    "zlib": zlib.compress(ZEROS),
    "zstd": bytes(numcodecs.Zstd(level=1).encode(ZEROS)),
}
endless = zlib.compressobj(6, zlib.DEFLATED, 15)
LONG = {
    "gzip": STREAMS["gzip"] * 20,
    "zlib": b"".join(endless.compress(ZEROS) for _ in range(20)) + endless.flush(),
    "zstd": STREAMS["zstd"] * 20,
}


def use_codec(array, codec):
    configuration = {"gzip": {"level": 1}, "zlib": {"level": 1}, "zstd": {"level": 1, "checksum": False}}[codec]
    name = f"numcodecs.{codec}" if codec == "zlib" else codec

    def change(about):
        about["codecs"] = about["codecs"][:1] + [{"name": name, "configuration": configuration}]

    document(array, change)


for codec, stream in STREAMS.items():
    for array, bytes_ in [("X/data", stream), ("obs/_index", LONG[codec])]:
        path = hierarchy(f"bomb_{codec}_{array.split('/')[1]}.zarr")
        use_codec(path / array, codec)
        only_chunk(path / array).write_bytes(bytes_)
        say(path, f"chunk 0 of {array}")
path = hierarchy("after_frame.zarr")
use_codec(path / "obs/_index", "zstd")
chunk = only_chunk(path / "obs/_index")
strings = struct.pack("<I", N_OBS) + b"".join(struct.pack("<I", 1) + b"a" for _ in range(N_OBS))
chunk.write_bytes(bytes(numcodecs.Zstd().encode(strings)) + b"abcdef")
say(path, "does not decode")

# Codecs that would take a chunk through many passes, or through many levels of memory.
def nested(about, levels):
    inner = about["codecs"][:1]
    for _ in range(levels):
        shape = about["chunk_grid"]["configuration"]["chunk_shape"]
        index = [{"name": "bytes", "configuration": {"endian": "little"}}]
        inner = [{"name": "sharding_indexed", "configuration": {"chunk_shape": shape, "codecs": inner, "index_codecs": index}}]
    about.update(codecs=inner)


path = hierarchy("levels.zarr")
document(path / "X/data", lambda about: nested(about, 20))
say(path, "sharding_indexed within 2 others")
path = hierarchy("passes.zarr")
document(path / "X/data", lambda about: about["codecs"].extend([{"name": "crc32c"}] * 1000))
say(path, "codecs, expected at most 32")

# Strings that claim lengths.
for name, count, lengths, reason in [
    ("length", N_OBS, [1 << 31] * N_OBS, "claims 2147483648 bytes"),
    ("count", (1 << 32) - 1, [1] * N_OBS, "4294967295 strings"),
    ("short", N_OBS, [1] * (N_OBS - 1), "ends early"),
]:
    path = hierarchy(f"strings_{name}.zarr")
    document(path / "obs/_index", lambda about: about.update(codecs=about["codecs"][:1]))
    bytes_ = struct.pack("<I", count) + b"".join(struct.pack("<I", length) + b"a" for length in lengths)
    only_chunk(path / "obs/_index").write_bytes(bytes_)
    say(path, reason)
path = hierarchy("fill.zarr")
document(path / "obs/_index", lambda about: about.update(fill_value="a" * MIB))
only_chunk(path / "obs/_index").unlink()
say(path, "its fill value has 1048576 bytes")
path = hierarchy("many_fills.zarr")
(path / "README").write_bytes(bytes(MIB))  # so that its length allows as many elements
attributes_of_organ = {"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False}
organ = zarr.open_group(path, mode="r+").require_group("obs").create_group("organ", attributes=attributes_of_organ)
codes = organ.create_array("codes", data=np.zeros(N_OBS, "i1"))
codes.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
shutil.copytree(path / "obs/_index", path / "obs/organ/categories")
shutil.rmtree(path / "obs/organ/categories/c")
document(path / "obs/organ/categories", lambda about: about.update(
    fill_value="a" * 1024, shape=[1 << 20],
    chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1 << 20]}}))
document(path / "obs", lambda about: about["attributes"].update({"column-order": ["organ"]}))
say(path, "its strings are longer together")


# Checksums that are wrong.
def checked(name, codecs):
    path = hierarchy(name)
    data = zarr.open_array(path / "X/data")[:]
    shutil.rmtree(path / "X/data")
    array = zarr.create_array(path / "X/data", shape=data.shape, dtype=data.dtype, chunks=data.shape, **codecs)
    array[:] = data
    array.attrs.update(attributes)
    return path, only_chunk(path / "X/data")


path, chunk = checked("crc32c.zarr", {"compressors": [zarr.codecs.Crc32cCodec()]})
flipped(chunk, 20)
say(path, "the CRC-32C of a chunk is")
path, chunk = shards("crc32c_in_shard.zarr")
document(
    path / "X/data",
    lambda about: about["codecs"][0]["configuration"]["codecs"].append({"name": "crc32c"}),
)
say(path, "chunk 0 of X/data")

# Shapes.
for name, change, reason in [
    ("shape", lambda about: about.update(shape=[(1 << 64) - 1]), "X/data"),
    ("rows", lambda about: about.update(shape=[1 << 50]), "X/data"),
    (
        "chunk_shape",
        lambda about: about["chunk_grid"]["configuration"].update(chunk_shape=[1 << 62]),
        "its chunks have 4611686018427387904 elements",
    ),
    (
        "chunk_of_none",
        lambda about: about["chunk_grid"]["configuration"].update(chunk_shape=[0]),
        "lengths from 1 on",
    ),
    ("grid", lambda about: about["chunk_grid"].update(name="rectangular"), "rectangular"),
]:
    path = hierarchy(f"{name}.zarr")
    document(path / "X/data", change)
    say(path, reason)


# Matrix Market.
def market(name, barcodes=None, features=None, matrix=None):
    path = folder / name
    path.mkdir()
    names = lambda prefix, n: "".join(f"{prefix}{i}\n" for i in range(n)).encode()
    lines = "".join(f"{i % 3 + 1} {i % 2 + 1} 1\n" for i in range(6))
    (path / "barcodes.tsv.gz").write_bytes(barcodes or gzip.compress(names("c", 2)))
    (path / "features.tsv.gz").write_bytes(features or gzip.compress(names("g", 3)))
    head = "%%MatrixMarket matrix coordinate integer general\n"
    (path / "matrix.mtx.gz").write_bytes(gzip.compress((matrix or head + "3 2 6\n" + lines).encode()))
    return path


HEAD = "%%MatrixMarket matrix coordinate integer general\n"
MANY = f"{HEAD}3 {(1 << 31) - 1} 6\n"
say(market("many_names", barcodes=gzip.compress(b"a\n" * (8 * MIB)) * 10, matrix=MANY), "more names than any sound file")
long_names = gzip.compress((b"a" * 60000 + b"\n") * 300) * 10
say(market("long_names", features=long_names, matrix=MANY), "more names than any sound file")
say(market("long_line", barcodes=gzip.compress(ZEROS) * 40), "line 1 of")
say(market("long_entry", matrix=HEAD + "3 2 6\n" + "1 " * MIB), "line 3 of")
say(market("many_entries", matrix=f"{HEAD}3 2 {1 << 60}\n1 1 1\n"), "ends after 1 entries")
say(market("more_entries", matrix=HEAD + "3 2 1\n" + "1 1 1\n" * (8 * MIB)), "line 4 of")
say(market("many_rows", matrix=f"{HEAD}{1 << 60} 2 6\n1 1 1\n"), "two sizes below 2^31")

# HDF5.
BASE.write_h5ad(folder / "base.h5ad")
columns = BASE.copy()
columns.X = columns.X.tocsc()
columns.write_h5ad(folder / "many_rows.h5ad")
with h5py.File(folder / "many_rows.h5ad", "r+") as file:
    file["X"].attrs["shape"] = [(1 << 31) - 2, N_VARS]
say(folder / "many_rows.h5ad", "claims 2147483646 rows")


def h5ad(name):
    path = folder / name
    shutil.copy(folder / "base.h5ad", path)
    return path


path = h5ad("one_text.h5ad")
n = 4000
many = anndata.AnnData(sparse.csr_matrix((n, 3), dtype="f4"), obs=pd.DataFrame(index=[f"c{i}" for i in range(n)]))
many.write_h5ad(path)
with h5py.File(path, "r+") as file:
    texts = np.array(["a" * MIB] + ["b"] * (n - 1), dtype=object)
    made = file["obs"].create_dataset("note", data=texts, dtype=h5py.string_dtype())
    made.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    file["obs"].attrs["column-order"] = np.array(["note"], dtype=h5py.string_dtype())
    file.flush()
    at = made.id.get_offset()
bytes_ = path.read_bytes()
patched(path, at, bytes_[at : at + 16] * n)
say(path, "the strings of rows 0 to")
path = h5ad("long_element.h5ad")
with h5py.File(path, "r+") as file:
    del file["obs/note"]
    file["obs"].create_dataset("note", shape=(N_OBS,), dtype=f"S{5 * MIB}", chunks=(1,), compression="gzip")
    file["obs/note"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    file["obs/note"][0] = b"a"
    file["uns/more"] = np.zeros(MIB, dtype="u1")
say(path, "its elements have 5242880 bytes")
# A tree of chunks whose nodes overlap: each of 65,535 begins within the one before, and claims as many entries.
path = folder / "tree.h5ad"
BASE.write_h5ad(path, compression="gzip")
tree = bytearray(path.read_bytes())
tree += bytes(-len(tree) % 32)
n = 65535


def units(level, children):
    """Nodes of 32 bytes, of which the next ones are the entries."""
    made = np.zeros((n + 2, 4), "<u8")
    made[:, 0] = int.from_bytes(b"TREE" + bytes([1, level]) + struct.pack("<H", n), "little")
    made[:, 2] = children
    return made.tobytes()


leaves = len(tree)
tree += units(0, 0) + units(0, 0)
inner = len(tree)
tree += units(1, leaves + 32 * np.arange(n + 2))
root = tree.index(b"TREE\1\0")
while root < leaves:
    tree[root + 5 : root + 8] = b"\2" + struct.pack("<H", 1)
    tree[root + 48 : root + 56] = struct.pack("<Q", inner)
    root = tree.index(b"TREE\1\0", root + 8)
path.write_bytes(tree)
say(path, "far more reading than any sound file")
