"""Inputs that are sound files of their format, but hold something that they should not: through h5py, zarr, JSON and text."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import zipfile

import h5py
import numpy as np
import zarr

import damage
import forms
from bytelevel import copied

NUMBERS = [-1, 0, 1, 2, 5, 23, 24, 25, 29, 30, 31, 127, 128, 255, 256, 32_767, 65_536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40,
           (1 << 53) + 1, (1 << 63) - 1]
FLOATS = [0.0, -0.0, 0.5, -1.0, 1e-45, 1e39, 1e300, float("nan"), float("inf"), float("-inf"), 16_777_217.0]
TEXTS = ["", "a", "cell_0", "gene_0", "B cell", "_index", "a/b", "x" * 5000, "\N{SNOWMAN}", "nan", "0", "\n", "\x1b[2J"]
ATTRIBUTES = ["csr_matrix", "csc_matrix", "array", "dataframe", "categorical", "string-array", "nullable-integer", "0.1.0", "9.9.9", "", 0, -1,
              1 << 40, [24, 30], [30, 24], [0, 0], [24], [24, 30, 1], [-1, 30], [1 << 40, 1 << 40], [24.5, 30.0], "no such column", ["n", "n"],
              [], True]


def change(random, base, mutant):
    """Makes the mutant, and says what was done."""
    kind = base.kind
    if kind in ("h5ad", "old h5ad", "10x"):
        copied(base, mutant)
        with h5py.File(mutant, "r+") as file:
            return hdf5(random, file)
    if kind == "zarr":
        copied(base, mutant)
        return zarr_directory(random, mutant)
    if kind == "zip":
        return zip_file(random, base, mutant)
    if kind != "mtx":
        raise ValueError(f"how is the structure of {kind} damaged?")
    copied(base, mutant)
    return market(random, mutant)


# ---- HDF5 ----

def hdf5(random, file):
    names = []
    file.visit(names.append)
    kept = [name for name in names if not name.startswith(("uns", "obsm", "varm", "obsp", "varp", "layers"))]
    of_matrix = [name for name in kept if name.split("/")[0] in ("X", "matrix", "GRCh38")]
    name = random.choice(of_matrix if random.random() < 0.5 else kept)
    obj = file[name]
    ways = [attribute, attribute, moved]
    if isinstance(obj, h5py.Dataset):
        ways = [element, element, element, reshaped, retyped, attribute, moved, chunk]
    return f"{name}: {random.choice(ways)(random, obj, file)}"


def value_of(random, dtype, old):
    if dtype.kind == "f":
        return random.choice(FLOATS)
    if dtype.kind in "iu":
        information = np.iinfo(dtype)
        near = [int(old) + 1, int(old) - 1, *NUMBERS]
        return min(max(random.choice(near), information.min), information.max)
    if dtype.kind == "b":
        return not old
    if dtype.kind == "S":
        return random.choice(TEXTS).encode()[:dtype.itemsize]
    if dtype.names:
        field = random.choice(dtype.names)
        changed = np.array(old)
        changed[field] = value_of(random, dtype[field], changed[field])
        return changed
    return random.choice([*TEXTS, b"\xff\xfe"])


def element(random, dataset, file):
    data = dataset[()]
    if not isinstance(data, np.ndarray) or data.size == 0:
        return attribute(random, dataset, file)
    place = tuple(random.randrange(n) for n in data.shape)
    if random.random() < 0.2 and data.ndim == 1 and data.size > 1:
        other = random.randrange(data.size)
        data[[place[0], other]] = data[[other, place[0]]]
        dataset[...] = data
        return f"elements {place[0]} and {other} are exchanged"
    if random.random() < 0.1 and data.ndim == 1:
        dataset[...] = data[::-1]
        return "its elements are in the opposite order"
    new = value_of(random, dataset.dtype, data[place])
    dataset[place] = new
    return f"element {place} = {str(new)[:40]!r}"


def replaced(dataset, data, **how):
    parent, name, attributes = dataset.parent, dataset.name.rsplit("/", 1)[1], dict(dataset.attrs)
    del parent[name]
    made = parent.create_dataset(name, data=data, **how)
    for key, value in attributes.items():
        made.attrs[key] = value


def reshaped(random, dataset, file):
    data = dataset[()]
    if not isinstance(data, np.ndarray) or data.size == 0:
        return attribute(random, dataset, file)
    how = random.choice(["shorter", "longer", "empty", "scalar", "another dimension", "sparse chunks"])
    if how == "shorter":
        data = data[:-1]
    elif how == "longer":
        data = np.concatenate([data, data[-1:]])
    elif how == "empty":
        data = data[:0]
    elif how == "scalar":
        data = data.ravel()[0]
    elif how == "another dimension":
        data = data[None] if random.random() < 0.5 else data[..., None]
    else:
        # Chunks that were never written read as the fill value; the shape may claim anything.
        parent, name = dataset.parent, dataset.name.rsplit("/", 1)[1]
        attributes, dtype = dict(dataset.attrs), dataset.dtype
        shape = (random.choice([data.shape[0], 1 << 20, 1 << 34]), *data.shape[1:])
        del parent[name]
        made = parent.create_dataset(name, shape=shape, dtype=dtype, chunks=(16, *data.shape[1:]))
        for key, value in attributes.items():
            made.attrs[key] = value
        return f"{how}, shape {shape}"
    replaced(dataset, data)
    return how


def retyped(random, dataset, file):
    data = dataset[()]
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "iufb":
        return reshaped(random, dataset, file)
    kind = random.choice(["<f2", "<f4", "<f8", ">f4", ">f8", "i1", "u1", "<i2", ">i4", "<i8", "<u8", "?", "S8", "<c8"])
    with np.errstate(all="ignore"):
        replaced(dataset, data.astype(kind))
    return f"type {kind}"


def attribute(random, obj, file):
    names = list(obj.attrs)
    if not names or random.random() < 0.1:
        obj.attrs[random.choice(["shape", "encoding-type", "h5sparse_shape", "new"])] = random.choice(ATTRIBUTES)
        return "an attribute more"
    name = random.choice(names)
    if random.random() < 0.2:
        del obj.attrs[name]
        return f"without {name}"
    if random.random() < 0.4 and isinstance(obj.attrs[name], np.ndarray) and obj.attrs[name].size:
        data = obj.attrs[name].copy()
        place = random.randrange(data.size)
        data.flat[place] = value_of(random, data.dtype, data.flat[place])
        obj.attrs[name] = data
        return f"{name} = {str(data)[:40]}"
    new = random.choice(ATTRIBUTES)
    del obj.attrs[name]
    obj.attrs[name] = new
    return f"{name} = {new!r}"


def moved(random, obj, file):
    parent, name = obj.parent, obj.name.rsplit("/", 1)[1]
    how = random.choice(["gone", "renamed", "a group", "a link to itself", "a link to nothing", "a link elsewhere", "another's"])
    others = [other for other in parent if other != name]
    if how == "renamed":
        parent.move(name, name + "2")
        return how
    source = random.choice(others) if others else None
    del parent[name]
    if how == "a group":
        parent.create_group(name)
    elif how == "a link to itself":
        parent[name] = h5py.SoftLink(name)
    elif how == "a link to nothing":
        parent[name] = h5py.SoftLink("/nothing")
    elif how == "a link elsewhere":
        parent[name] = h5py.ExternalLink("/dev/zero", "/X")
    elif how == "another's" and source:
        parent[name] = parent[source]
    return how


def chunk(random, dataset, file):
    """A chunk as it is stored: filtered bytes that are others, or a filter that was not applied."""
    if dataset.chunks is None or not dataset.id.get_num_chunks():
        return element(random, dataset, file)
    about = dataset.id.get_chunk_info(random.randrange(dataset.id.get_num_chunks()))
    mask, data = dataset.id.read_direct_chunk(about.chunk_offset)
    data = bytearray(data)
    how = random.choice(["bit", "cut", "empty", "mask", "longer"])
    if how == "bit":
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    elif how == "cut":
        del data[random.randrange(len(data)):]
    elif how == "empty":
        data.clear()
    elif how == "longer":
        data.extend(b"\0" * random.choice([1, 100, 5000]))
    else:
        mask ^= random.choice([1, 2, 4, 7])
    dataset.id.write_direct_chunk(about.chunk_offset, bytes(data), mask)
    return f"the chunk at {about.chunk_offset}: {how}"


# ---- zarr ----

def zarr_directory(random, path):
    files = sorted(file for file in path.rglob("*") if file.is_file())
    kept = [file for file in files if file.relative_to(path).parts[0] in ("X", "obs", "var", ".zgroup", ".zattrs", "zarr.json", ".zmetadata")]
    of_matrix = [file for file in kept if "X" in file.relative_to(path).parts]
    file = random.choice(of_matrix if random.random() < 0.5 else kept)
    name = str(file.relative_to(path))
    how = random.random()
    if how < 0.2:
        return f"{name}: {other_file(random, file, files)}"
    if how < 0.45:
        said = zarr_element(random, path)
        if said:
            return said
    if file.suffix == ".json" or file.name.startswith(".z"):
        return f"{name}: {metadata(random, file)}"
    return f"{name}: {other_file(random, file, files)}"


def metadata(random, file):
    value = json.loads(file.read_bytes())
    found = [path for path, _ in damage.members(value) if "consolidated_metadata" not in path or random.random() < 0.1]
    if not found:
        return "nothing"
    path = random.choice(found)
    holder = damage.holder(value, path)
    old = holder[path[-1]]
    if random.random() < 0.15:
        del holder[path[-1]]
        new = "gone"
    elif isinstance(old, bool):
        new = holder[path[-1]] = not old
    elif isinstance(old, int):
        new = holder[path[-1]] = random.choice([old + 1, old - 1, old * 2, *NUMBERS])
    elif isinstance(old, str):
        new = holder[path[-1]] = random.choice([*(str(a) for a in ATTRIBUTES), "<f8", ">f4", "<i8", "|b1", "int64", "float64", "gzip", "zstd",
                                               "blosc", "bytes", "C", "F", "/", ".", "big", "little", "end", "start", "../../w"])
    else:
        new = holder[path[-1]] = random.choice([*damage.WRONG, *ATTRIBUTES])
    file.write_text(json.dumps(value))
    return f"{'.'.join(map(str, path))} = {str(new)[:40]}"


def zarr_element(random, path):
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    arrays = [array for name in ("X", "obs", "var") for array in flat(group[name])]
    array = random.choice(arrays)
    if array.ndim != 1 or array.shape[0] == 0:
        return None
    data = array[:]
    place = random.randrange(array.shape[0])
    data[place] = value_of(random, np.dtype(data.dtype), data[place])
    array[:] = data
    return f"{array.name}: element {place} = {str(data[place])[:40]!r}"


def flat(group):
    if isinstance(group, zarr.Array):
        return [group]
    return [array for _, member in group.members() for array in flat(member)]


def other_file(random, file, files):
    how = random.choice(["gone", "empty", "another's", "a folder", "a link", "a link to itself", "a fifo", "cut", "longer", "twice", "zero"])
    data = file.read_bytes()
    if how in ("gone", "a folder", "a link", "a link to itself", "a fifo"):
        file.unlink()
    if how == "a folder":
        file.mkdir()
    elif how == "a link":
        file.symlink_to("/dev/zero")
    elif how == "a link to itself":
        file.symlink_to(file.name)
    elif how == "a fifo":
        os.mkfifo(file)
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "another's":
        file.write_bytes(random.choice(files).read_bytes() if random.random() < 0.5 else siblings(random, file))
    elif how == "cut":
        file.write_bytes(data[:random.randrange(max(1, len(data)))])
    elif how == "longer":
        file.write_bytes(data + bytes(random.choice([1, 4, 4096])))
    elif how == "twice":
        file.write_bytes(data + data)
    elif how == "zero":
        file.write_bytes(bytes(len(data)))
    return how


def siblings(random, file):
    others = [other for other in file.parent.iterdir() if other.is_file() and not other.is_symlink()]
    return random.choice(sorted(others)).read_bytes()


# ---- zip ----

def zip_file(random, base, mutant):
    """A zip of a directory that was changed, or one whose entries say of themselves what is not so."""
    how = random.choice(["content", "content", "names", "headers"])
    if how == "headers":
        return zip_headers(random, base, mutant)
    folder = mutant.with_suffix(".folder")
    with zipfile.ZipFile(base.path) as file:
        file.extractall(folder)
        method = file.infolist()[0].compress_type
    said = "as it was"
    if how == "content":
        said = zarr_directory(random, folder)
        for special in [file for file in folder.rglob("*") if file.is_symlink() or file.is_fifo()]:
            special.unlink()
    forms.zipped(folder, mutant, method)
    shutil.rmtree(folder)
    if how == "names":
        with zipfile.ZipFile(mutant, "a", method) as file:
            names = file.namelist()
            name = random.choice(["../victim", "/victim", "X/data/../../victim", random.choice(names), "X/data/0/x", "x" * 60_000, ""])
            with contextlib.suppress(ValueError):
                file.writestr(zipfile.ZipInfo(name), b"other bytes")
            said = f"one more entry, called {name[:40]!r}"
    return said


def zip_headers(random, base, mutant):
    """A field of a local header, of the directory at the end, or of what follows it."""
    data = bytearray(base.path.read_bytes())
    marks = [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"]
    mark = random.choice(marks)
    places, at = [], data.find(mark)
    while at >= 0:
        places.append(at)
        at = data.find(mark, at + 4)
    at = random.choice(places) + 4 + 2 * random.randrange({b"PK\x03\x04": 13, b"PK\x01\x02": 21, b"PK\x05\x06": 9}[mark])
    said = damage.change_number(random, data, f"zip {mark[2:].hex()}", at, random.choice([2, 4]))
    mutant.write_bytes(data)
    return said


# ---- Matrix Market ----

def market(random, path):
    files = sorted(path.iterdir())
    file = random.choice([*files, *(found for found in files if found.name.startswith("matrix"))])
    is_zipped = file.suffix == ".gz"
    data = file.read_bytes()
    lines = (gzip.decompress(data) if is_zipped else data).decode().splitlines()
    said = (matrix_lines if file.name.startswith("matrix") and random.random() < 0.7 else any_lines)(random, lines)
    text = ("\n".join(lines) + random.choice(["\n", "\n", "", "\r\n", "\n\n"])).encode(errors="surrogateescape")
    if is_zipped:
        target = io.BytesIO()
        parts = [text] if random.random() < 0.8 else [text[:len(text) // 2], text[len(text) // 2:]]
        target.write(b"".join(gzip.compress(part, mtime=0) for part in parts))
        text = target.getvalue() + (b"trailing" if random.random() < 0.05 else b"")
    file.write_bytes(text)
    return f"{file.name}: {said}"


def matrix_lines(random, lines):
    size = next(k for k, line in enumerate(lines) if not line.startswith("%"))
    how = random.choice(["banner", "size", "size", "entry", "entry", "entry"])
    if how == "banner":
        words = lines[0].split()
        place = random.randrange(len(words))
        words[place] = random.choice(["", "array", "coordinate", "real", "integer", "complex", "pattern", "symmetric", "skew-symmetric",
                                      "hermitian", "general", "vector", "%%matrixmarket", "unsigned-integer"])
        lines[0] = " ".join(words)
        return lines[0]
    line = size if how == "size" else random.randrange(size + 1, len(lines))
    words = lines[line].split()
    place = random.randrange(len(words))
    words[place] = random.choice([str(number) for number in NUMBERS] + [
        "1e3", "1.5", "nan", "inf", "-0", "0x10", "+1", "", "1 1", "a", "1_000", "9" * 30, "1e400", "1e-400", "\N{SNOWMAN}", "0" * 400 + "1"])
    lines[line] = " ".join(words)
    return f"line {line}: {lines[line][:60]}"


def any_lines(random, lines):
    how = random.choice(["gone", "twice", "exchanged", "empty", "comment", "long", "blank", "many"])
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    if how == "gone":
        del lines[at]
    elif how == "twice":
        lines.insert(other, lines[at])
    elif how == "exchanged":
        lines[at], lines[other] = lines[other], lines[at]
    elif how == "empty":
        lines.insert(at, "")
    elif how == "comment":
        lines.insert(at, "% a comment")
    elif how == "long":
        lines[at] += "x" * 100_000
    elif how == "blank":
        lines[at] = f"  {lines[at]}\t "
    else:
        lines += [lines[-1]] * 1000
    return f"line {at}: {how}"
