"""What is changed in a store or a part. Each change takes a source of randomness and a `Directory`, and says what it did."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

import arrow
from sealed import pieces
from spec_reader import crc32c

NUMBERS = [0, 1, 2, 3, 7, 63, 65, 127, 128, 129, 255, 256, 511, 512, 1000, 4096, 65_535, 65_536, 65_537, 1 << 20, (1 << 31) - 1,
           1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 47, 1 << 48, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 512,
           (1 << 64) - 1]
WRONG = [None, True, False, -1, 1.5, 1e308, "", "0", [], {}, [1], {"a": 1}, 1 << 64, 10**30, "x" * 5000, [[[[]]]]]
NAMES = ["", ".", "..", "/", "../victim", "../../victim", "/dev/zero", "a/b", "./obs.arrow", "manifest.json", "obs.arrow", "var.arrow",
         "index.bin", "index-0001.bin", "index-00001.bin", "obs-0001.arrow", "obs-99999999999999999999.arrow", "shard-00000.bin",
         "shard-00001.bin", "shard-0.bin", "a\0b", "\x1b[2J", "x" * 300, "x" * 70_000, "packed", "raw", "u8", "f64", "bool", "source",
         "detection", "00000000", "ABCDEF01", "0" * 32, "A" * 32, "\N{SNOWMAN}", "matrices/00000", "matrices/../..", "X", "layers/a"]


def members(value, path=()):
    """Every member of a manifest, however deep, by its path."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key), child
        yield from members(child, (*path, key))


def holder(value, path):
    for key in path[:-1]:
        value = value[key]
    return value


def pick(random, directory, of=lambda value: True):
    """A member, seldom one of those that carry no meaning."""
    carries = ("source", "settings")
    found = [path for path, child in members(directory.manifest) if of(child)]
    kept = [path for path in found if not set(path) & set(carries)]
    found = kept if kept and random.random() < 0.9 else found
    return random.choice(found) if found else None


def is_number(value):
    return type(value) is int


def around(random, value, bits=64):
    """A number that is near another one, or one of those at which something begins or ends."""
    near = [value + 1, value - 1, value * 2, value // 2, value + 64, value - 64, value + 4096, value - 4096, -value]
    return random.choice([*near, *NUMBERS]) % (1 << bits)


def set_member(random, directory, path, value, before=None):
    """Changes a member before everything is sealed, as if it were true, or afterwards."""
    def change(of):
        holder(of.manifest, path)[path[-1]] = value
    if before if before is not None else random.random() < 0.5:
        change(directory)
    else:
        directory.after.append(change)
    shown = str(value)
    return f"{'.'.join(map(str, path))} = {shown[:40]}"


def manifest_number(random, directory):
    path = pick(random, directory, is_number)
    if path is None:
        return None
    old = holder(directory.manifest, path)[path[-1]]
    return set_member(random, directory, path, around(random, old))


def manifest_wrong(random, directory):
    path = pick(random, directory)
    return path and set_member(random, directory, path, random.choice(WRONG))


def manifest_name(random, directory):
    path = pick(random, directory, lambda value: isinstance(value, str))
    return path and set_member(random, directory, path, random.choice(NAMES))


def manifest_missing(random, directory):
    path = pick(random, directory)
    directory.after.append(lambda of: holder(of.manifest, path).pop(path[-1]))
    return f"{'.'.join(map(str, path))} is missing"


def manifest_swapped(random, directory):
    a, b = pick(random, directory, is_number), pick(random, directory, is_number)
    if a is None:
        return None
    first, second = (holder(directory.manifest, path)[path[-1]] for path in (a, b))
    return f"{set_member(random, directory, a, second, True)}, {set_member(random, directory, b, first, True)}"


def manifest_list(random, directory):
    """An element of a list that comes twice, or lists that are turned around."""
    path = pick(random, directory, lambda value: isinstance(value, list) and value)
    if path is None:
        return manifest_number(random, directory)
    old = holder(directory.manifest, path)[path[-1]]
    changes = [old + old[-1:], old[::-1], old * 1000, [*old[1:], *old[:1]], old[:-1]]
    return set_member(random, directory, path, random.choice(changes), False)


def manifest_bytes(random, directory):
    """The text of the manifest, its checksum included."""
    kind = random.choice(["repeated", "trailing", "cut", "not utf-8", "deep", "blank", "capital"])

    def change(text):
        body = text[:-36]
        if kind == "repeated":
            body = body.replace(b'{\n  "', b'{\n  "n_obs": 1,\n  "', 1)
        elif kind == "trailing":
            return text + b"\n"
        elif kind == "cut":
            return text[:random.randrange(len(text))]
        elif kind == "not utf-8":
            body = body.replace(b'"source": {', b'"source": {"a": "\xff", ', 1)
        elif kind == "deep":
            body = body.replace(b'"source": {', b'"source": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b", ", 1)
        elif kind == "blank":
            body = body.replace(b": ", b":   ", 3)
        crc = f"{crc32c(body):08x}"
        return body + f',\n  "manifest_crc32c": "{crc.upper() if kind == "capital" else crc}"\n}}\n'.encode()
    directory.text.append(change)
    return f"the text of the manifest: {kind}"


def matrix_of(random, directory):
    return random.choice(directory.matrices)


def index_record(random, directory):
    matrix = matrix_of(random, directory)
    if not matrix.n_blocks:
        return None
    block, part = random.randrange(matrix.n_blocks), random.randrange(3)
    at = matrix.blocks_at + 16 * block + (0, 8, 12)[part]
    size = (8, 4, 4)[part]
    return change_number(random, matrix.index, matrix.index_name, at, size)


def change_number(random, data, name, at, size):
    old = int.from_bytes(data[at:at + size], "little")
    new = around(random, old, 8 * size)
    data[at:at + size] = new.to_bytes(size, "little")
    return f"{name} byte {at}: {old} is {new}"


def index_end(random, directory):
    matrix = matrix_of(random, directory)
    if not matrix.n_obs:
        return None
    at = matrix.ends_at + 4 * random.randrange(matrix.n_obs)
    return change_number(random, matrix.index, matrix.index_name, at, 4)


def index_detail(random, directory):
    matrix = matrix_of(random, directory)
    if not matrix.n_obs or not matrix.packed:
        return index_end(random, directory)
    at = matrix.details_at + matrix.width * random.randrange(matrix.n_obs)
    return change_number(random, matrix.index, matrix.index_name, at, matrix.width)


def index_any(random, directory):
    """A byte anywhere, so of the gaps too, or another length."""
    matrix = matrix_of(random, directory)
    if random.random() < 0.3:
        return change_length(random, matrix.index, matrix.index_name)
    at = random.randrange(len(matrix.index))
    matrix.index[at] = random.randrange(256)
    return f"{matrix.index_name} byte {at}"


def change_length(random, data, name):
    by = random.choice([1, 4, 64, 512, 4096, len(data) // 2, len(data)])
    if random.random() < 0.5:
        data.extend(bytes(by))
        return f"{name} is {by} bytes longer"
    del data[max(0, len(data) - by):]
    return f"{name} is {by} bytes shorter"


def an_obs(random, matrix):
    """An obs with values, its shard and its places; None where there is none."""
    for obs in random.sample(range(matrix.n_obs), matrix.n_obs):
        number, places = matrix.places(obs)
        if places[0][1] > places[0][0]:
            return obs, matrix.shard(number), places
    return None


def frame(random, directory):
    """Something in the bytes of an obs, of which the mode, the dictionary and the descriptors come first."""
    matrix = matrix_of(random, directory)
    found = an_obs(random, matrix)
    if found is None:
        return None
    obs, shard, places = found
    start, end = random.choice(places)
    near = min(end, start + random.choice([1, 4, 8, end - start]))
    at = random.randrange(start, max(start + 1, near))
    how = random.randrange(4)
    if how == 0:
        shard[at] ^= 1 << random.randrange(8)
    elif how == 1:
        shard[at] = random.choice([0, 1, 2, 3, 127, 128, 255])
    elif how == 2:
        size = min(random.choice([2, 4, 8]), end - at)
        return f"obs {obs}, " + change_number(random, shard, "its bytes,", at, size)
    else:
        shard[at:end] = bytes(random.randrange(256) for _ in range(end - at))
    return f"obs {obs}, byte {at - start} of {end - start}"


def frames_exchanged(random, directory):
    """The bytes of one obs in the place of another's."""
    matrix = matrix_of(random, directory)
    a, b = an_obs(random, matrix), an_obs(random, matrix)
    if a is None:
        return None
    for (start, end), (other, other_end) in zip(a[2], b[2]):
        size = min(end - start, other_end - other)
        a[1][start:start + size] = b[1][other:other + size]
    return f"obs {a[0]} has the bytes of obs {b[0]}"


def raw_indptr(random, directory):
    matrix = matrix_of(random, directory)
    if matrix.packed or not matrix.n_blocks:
        return frame(random, directory)
    offset, number, _ = matrix.record(random.randrange(matrix.n_blocks))
    at = offset + 4 * random.randrange(matrix.block_size)
    return change_number(random, matrix.shard(number), f"the indptr at {offset},", at, 4)


def padding(random, directory):
    """A byte behind the last of a block's."""
    matrix = matrix_of(random, directory)
    if not matrix.n_blocks:
        return None
    offset, number, size = matrix.record(random.randrange(matrix.n_blocks))
    shard = matrix.shard(number)
    at = offset + size + random.randrange(8)
    if at >= len(shard):
        return None
    shard[at] = 1 + random.randrange(255)
    return f"shard {number} byte {at}, behind a block"


def shard_length(random, directory):
    matrix = matrix_of(random, directory)
    shard = matrix.shard(0)
    return None if shard is None else change_length(random, shard, "a shard")


def header(random, directory):
    """A byte of a header, after it was sealed, with a checksum that holds."""
    matrix = matrix_of(random, directory)
    of_shard = random.random() < 0.5
    new, place = random.randrange(256), random.randrange(56)

    def change(of):
        data = matrix.shard(0) if of_shard else matrix.index
        size = of.manifest["alignment"] if of_shard else 64
        data[place] = new
        struct.pack_into("<I", data, size - 4, crc32c(data[:size - 4]))
        if not of_shard:
            matrix.about["index"]["crc32c"] = pieces(data)
    directory.after.append(change)
    return f"byte {place} of the header of {'a shard' if of_shard else 'the index'} = {new}"


def tables(directory):
    """The tables, each with its number of rows."""
    manifest = directory.manifest
    found = [(directory.obs_name, manifest.get("obs_rows", manifest["n_obs"]))]
    found += [(f"{matrix.folder}var.arrow", matrix.about["n_vars"]) for matrix in directory.matrices]
    return [(name, rows) for name, rows in found if name in directory.files]


def table_number(random, directory):
    """A number that says where something of a table lies, or how much of it there is."""
    name, rows = random.choice(tables(directory))
    data = directory.files[name]
    try:
        places = arrow.Table(bytes(data), rows).places
    except (arrow.Damage, arrow.Unknown):
        return None
    at, size = random.choice(places)
    return change_number(random, data, name, at, size)


def table_bytes(random, directory):
    name, _ = random.choice(tables(directory))
    data = directory.files[name]
    how = random.randrange(4)
    at = random.randrange(len(data))
    if how == 0:
        return change_length(random, data, name)
    if how == 1:
        at -= at % 4
        return change_number(random, data, name, at, min(4, len(data) - at))
    data[at] = data[at] ^ (1 << random.randrange(8)) if how == 2 else random.randrange(256)
    return f"{name} byte {at}"


def matrices(random, directory):
    """The list of other matrices."""
    entries = directory.manifest.get("matrices")
    if not entries:
        return manifest_number(random, directory)
    k = random.randrange(len(entries))
    kind = random.choice(["gone", "twice", "turned around", "named as another", "elsewhere", "of other shape"])

    def change(of):
        entries = of.manifest["matrices"]
        if kind == "gone":
            del entries[k]
        elif kind == "twice":
            entries.append(dict(entries[k]))
        elif kind == "turned around":
            entries.reverse()
        elif kind == "named as another":
            entries[k]["name"] = random.choice([entries[0]["name"], of.manifest["name"], "", "layers/" + "x" * 70_000, "obsm/x"])
        elif kind == "elsewhere":
            entries[k]["directory"] = random.choice(["matrices/00001", "matrices/0", "..", "/", "matrices", ""])
        else:
            entries[k]["n_vars"] += random.choice([-1, 1])
    directory.after.append(change)
    return f"matrix {k} is {kind}"


def replaced(random, directory):
    """A file that is something else, that is missing, or that is there besides."""
    names = [*directory.files, directory.manifest_name]
    name = random.choice(names)
    kind = random.choice(["link", "link to nothing", "link to itself", "fifo", "folder", "socket", "missing", "empty", "device",
                          "also", "hidden", "folder besides"])

    def change(path):
        file = path / name
        if not os.path.isfile(file):
            return  # another change took it away
        if kind in ("also", "hidden", "folder besides"):
            other = file.parent / (random.choice([".hidden", ".lock"]) if kind == "hidden" else "shard-00077.bin" if random.random() < 0.3
                                   else "more")
            if not os.path.lexists(other):
                other.mkdir() if kind == "folder besides" else other.write_bytes(b"")
            return
        aside = path.parent / "aside.bin"
        aside.write_bytes(file.read_bytes())
        file.unlink()
        if kind == "link":
            file.symlink_to(aside)
        elif kind == "link to nothing":
            file.symlink_to("nothing")
        elif kind == "link to itself":
            file.symlink_to(file.name)
        elif kind == "fifo":
            os.mkfifo(file)
        elif kind == "folder":
            file.mkdir()
        elif kind == "socket":
            here = os.getcwd()
            os.chdir(file.parent)
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(file.name)
            os.chdir(here)
        elif kind == "empty":
            file.write_bytes(b"")
        elif kind == "device":
            file.symlink_to("/dev/zero")
    directory.disk.append(change)
    return f"{name}: {kind}"


def flipped(random, directory):
    """A byte of a file whose checksum then does not hold."""
    names = [*directory.files, directory.manifest_name]
    name, bit = random.choice(names), 1 << random.randrange(8)
    share = random.random()

    def change(path):
        data = bytearray((path / name).read_bytes()) if os.path.isfile(path / name) else None
        if data:
            data[int(share * len(data))] ^= bit
            (path / name).write_bytes(data)
    directory.disk.append(change)
    return f"{name}: a bit at {share:.3f} of it is another"


MANIFEST = [manifest_number, manifest_wrong, manifest_name, manifest_missing, manifest_swapped, manifest_list, manifest_bytes]
INDEX = [index_record, index_end, index_detail, index_any]
FRAMES = [frame, frame, frames_exchanged, raw_indptr]
SHARDS = [padding, shard_length, header]
TABLES = [table_number, table_number, table_bytes]
KINDS = {"manifest": MANIFEST, "index": INDEX, "frames": FRAMES, "shards": SHARDS, "tables": TABLES, "matrices": [matrices],
         "files": [replaced], "flips": [flipped]}
WEIGHTS = {"manifest": 5, "index": 3, "frames": 4, "shards": 2, "tables": 4, "matrices": 1, "files": 2, "flips": 2}


def change(random, directory, kinds=tuple(KINDS)):
    """One change, seldom two. Gives the kind of the first and what was done."""
    done = []
    for _ in range(1 if random.random() < 0.85 else 2):
        said = None
        while said is None:
            kind = random.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
            with contextlib.suppress(struct.error, IndexError, TypeError, KeyError):
                said = random.choice(KINDS[kind])(random, directory)  # unless the first change took its place away
        done.append((kind, said))
    return done[0][0], "; ".join(said for _, said in done)
