#!/usr/bin/env python3
"""A second reader of cellring stores, written from the text of `src/format/FORMAT.md` alone.

It shares no code with the Rust reader and exists to keep the text honest: the tests run it on every golden store, and
on damaged copies of them. A reader of the text who wonders what a sentence means finds it here in code; the comments
`section N` name the section of FORMAT.md that a piece of code follows. Speed is no concern of it.

    spec_reader.py STORE OUT.npz            decode into indptr (int64), indices (int64), data (dtype of value_type)
    spec_reader.py STORE --compare DUMP     decode and compare with OUT.npz of another run, or with a plain dump
    spec_reader.py STORE --stats            also print, as JSON, what kinds of frames and groups the store holds
    spec_reader.py STORE --places           also print, as JSON, one place (file, byte, bit) of each kind of field
    spec_reader.py STORE --ignore-crc       do not look at checksums: shows what else notices a damage

Whatever else is asked for, all that sections 1 to 12 let it check is checked; what is decoded into OUT.npz, compared and
counted is the first matrix of a store. Several stores may be given instead of
one, each of which gets its turn. Exit status 0: every store is sound (and equals the dump); 1: some are not, and for
each of these one sentence on the standard error stream, beginning with `damaged:` or `different:`, says where and
why; 2: wrong use.

A plain dump is a JSON file NAME.json `{"n_obs", "n_vars", "nnz", "value_type"}` beside NAME.indptr.u64,
NAME.indices.u32 and NAME.data.bin, the three arrays in little endian.

The tables are Arrow files, which the standard library cannot parse: of `obs.arrow` and `var.arrow` only lengths,
checksums and the magic at both ends are checked. So the columns are those of the store, in its order; a store with
`var_order` = `detection` is not brought back into the order of its source, which is told by a column of `var.arrow`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import stat
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

MANIFEST, INDEX, OBS, VAR = "manifest.json", "index.bin", "obs.arrow", "var.arrow"
DTYPES = {"bool": "?", "u8": "<u1", "u16": "<u2", "u32": "<u4", "u64": "<u8", "i8": "<i1", "i16": "<i2", "i32": "<i4",
          "i64": "<i8", "f32": "<f4", "f64": "<f8"}
PIECE_BYTES = 1 << 20
GROUP = 128
CODE_LIMIT = 1 << 31


class Damage(Exception):
    """The store breaks a rule of FORMAT.md."""


class Different(Exception):
    """The store is sound, but does not hold what it was compared with."""


def damaged(file: str, at: int | None, text: str) -> NoReturn:
    raise Damage(f"{file}{'' if at is None else f', byte {at}'}: {text}")


# ---- CRC-32C ----

def _crc_tables() -> tuple[list[int], list[int]]:
    """What 16 bits become when they are pushed out by 16 and by 32 more bits: four bytes take two look-ups."""
    x = np.arange(1 << 16, dtype=np.uint32)
    polynomial = np.uint32(0x82F63B78)  # 0x1EDC6F41 reflected
    tables = []
    for _ in range(2):
        for _ in range(16):
            x = (x >> np.uint32(1)) ^ np.where(x & np.uint32(1), polynomial, np.uint32(0))
        tables.append([int(v) for v in x])
    return tables[0], tables[1]


_BY_16, _BY_32 = _crc_tables()
_BYTE = [_BY_16[i << 8] for i in range(256)]


def crc32c(data: bytes | memoryview) -> int:
    crc, whole = 0xFFFFFFFF, len(data) & ~3
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        crc ^= word
        crc = _BY_32[crc & 0xFFFF] ^ _BY_16[crc >> 16]
    for byte in data[whole:]:
        crc = (crc >> 8) ^ _BYTE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283, "the check value of CRC-32C"


# ---- small things ----

def _crc64_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x9A6C9329AC4BC9B5 if byte & 1 else 0)  # 0xAD93D23594C93659 reflected
        table.append(byte)
    return table


def fingerprint_of(data: bytes, pieces: list[tuple[int, int]]) -> int:
    """Section 12: CRC-64/NVME of the length, of samples, and of the pieces."""
    n, mask = len(data), (1 << 64) - 1
    seen = [struct.pack("<Q", n), data[:65_536]]
    if n > 65_536:
        seen.append(data[-65_536:])
        for k in range(256):
            z = ((n ^ k) + 0x9E3779B97F4A7C15) & mask
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
            z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
            at = k * (n // 256) + (z ^ z >> 31) % max(1, n // 256 - 4096)
            seen.append(data[at:at + 4096])
    seen += [data[at:at + size] for at, size in pieces]
    table, crc = _crc64_table(), mask
    for byte in b"".join(seen):
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ mask


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def aligned(a: int, to: int) -> int:
    return ceil_div(a, to) * to


@dataclass
class Notes:
    """What was seen: for `--stats` and `--places`."""

    stats: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[Any]] = field(default_factory=dict)

    def place(self, kind: str, file: str, byte: int, bit: int = 0) -> None:
        """Remembers the first place of this kind."""
        self.places.setdefault(kind, [file, byte, bit])

    def most(self, name: str, value: int) -> None:
        self.stats[name] = max(self.stats[name], value)


class Cursor:
    """Takes bytes off the front of a frame and knows where they lie in the file."""

    def __init__(self, data: bytes, file: str, at: int) -> None:
        self.data, self.file, self.start, self.used = data, file, at, 0

    @property
    def at(self) -> int:
        return self.start + self.used

    def take(self, n_bytes: int, what: str) -> bytes:
        left = len(self.data) - self.used
        if n_bytes > left:
            damaged(self.file, self.at, f"{what} takes {n_bytes} bytes, but its frame has only {left} left")
        self.used += n_bytes
        return self.data[self.used - n_bytes:self.used]


# ---- section 2: manifest ----

@dataclass
class Manifest:
    store_id: bytes
    n_obs: int
    n_vars: int
    nnz: int
    encoding: str
    value_type: str
    raw_value_type: str | None
    f32_exact: bool
    block_size: int
    alignment: int
    max_obs_nnz: int
    max_obs_bytes: int
    var_order: str
    shards: list[tuple[str, int, int]]  # file, bytes, blocks
    shard_ids: list[bytes | None]  # of shards that are older than the store's last change
    files: dict[str, tuple[int, list[int]]]  # kind (as the file is called first): bytes, CRCs of its pieces
    names: dict[str, str]  # kind: name of the file
    matrices: list[tuple[str, Manifest]]  # directory, and what the entry says together with the store
    is_joined: bool
    has_checksums: bool

    @property
    def n_blocks(self) -> int:
        return ceil_div(self.n_obs, self.block_size)


class Members(dict[str, Any]):
    """The members of an object of JSON, and the names of those that come twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.twice = {name for name in self if names.count(name) > 1} if len(self) < len(names) else set()


def check_once(of: dict[str, Any], name: str, where: str = MANIFEST) -> None:
    if name in getattr(of, "twice", ()):
        damaged(where, None, f"the member `{name}` comes twice")


def member(of: dict[str, Any], name: str, kind: type, where: str = MANIFEST) -> Any:
    check_once(of, name, where)
    value = of.get(name)
    if name not in of or type(value) is not (Members if kind is dict else kind):
        damaged(where, None, f"the member `{name}` is {json.dumps(value)}, expected {kind.__name__}")
    return value


def number(of: dict[str, Any], name: str, least: int = 0, most: int = (1 << 64) - 1) -> int:
    value: int = member(of, name, int)
    if not least <= value <= most:
        damaged(MANIFEST, None, f"the member `{name}` is {value}, expected {least} to {most}")
    return value


def one_of(of: dict[str, Any], name: str, choice: list[str]) -> str:
    value: str = member(of, name, str)
    if value not in choice:
        damaged(MANIFEST, None, f"the member `{name}` is \"{value}\", expected one of {', '.join(choice)}")
    return value


def parse_manifest(data: bytes, check_crc: bool, notes: Notes) -> Manifest:
    if len(data) > 1 << 26:
        damaged(MANIFEST, None, f"it has {len(data)} bytes, expected at most {1 << 26}")
    tail = re.fullmatch(rb',\n  "manifest_crc32c": "([0-9a-f]{8})"\n}\n', data[-36:])
    if tail is None:
        damaged(MANIFEST, max(0, len(data) - 36), "the file does not end with the line of its checksum")
    crc = crc32c(data[:-36])
    if check_crc and int(tail[1], 16) != crc:
        damaged(MANIFEST, None, f"the CRC of its bytes is {crc:08x}, but it states {tail[1].decode()}")
    notes.place("manifest crc", MANIFEST, len(data) - 36 + data[-36:].index(tail[1]))
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=Members)
    except (ValueError, RecursionError) as error:
        damaged(MANIFEST, None, f"it is not JSON in UTF-8 ({error})")
    if type(found) is not Members:
        damaged(MANIFEST, None, "it is not a JSON object")
    for name in ("name", "matrices"):
        check_once(found, name)
    if one_of(found, "format", ["cellring"]) and number(found, "version") != 1:
        damaged(MANIFEST, None, f"the store has version {found['version']}, this reader knows version 1")
    linked = found.get("encoding") == "linked"
    links = [["linked"] + joined + checksums for joined in ([], ["joined"]) for checksums in ([], ["checksums"])]
    if member(found, "features", list) not in (links if linked else [[]]):
        damaged(MANIFEST, None, f"the store needs the unknown features {json.dumps(found['features'])}")
    for name in ("n_obs", "n_vars", "nnz", "encoding", "value_type", "block_size", "alignment", "max_obs_nnz",
                 "max_obs_bytes"):
        if f'"{name}"'.encode() in data:
            key = data.index(f'"{name}"'.encode())
            value = key + len(name) + 2 + re.match(rb'\s*:\s*"?', data[key + len(name) + 2:]).end()  # type: ignore[union-attr]
            notes.place(f"manifest {name}", MANIFEST, value)
    manifest = manifest_of(found)
    if found.get("name") is not None or "matrices" in found:
        read_matrices(found, manifest)
    return manifest


def read_matrices(found: dict[str, Any], manifest: Manifest) -> None:
    """Section 10: the entries of other matrices."""
    names = {member(found, "name", str)} if found.get("name") is not None else set()
    for k, entry in enumerate(member(found, "matrices", list) if "matrices" in found else []):
        if type(entry) is not Members:
            damaged(MANIFEST, None, f"matrix {k} is not an object")
        name = member(entry, "name", str)
        if not name or name in names:
            damaged(MANIFEST, None, f"the name of matrix {k} is empty or another one's")
        names.add(name)
        directory = one_of(entry, "directory", [f"matrices/{k:05}"])
        if (entry.get("encoding") == "linked") != (manifest.encoding == "linked"):
            damaged(MANIFEST, None, f"matrix {k} and the store are not both linked")
        if name.startswith("layers/") and entry.get("n_vars") != manifest.n_vars:
            damaged(MANIFEST, None, f"the layer {name} has {entry.get('n_vars')} columns, the store {manifest.n_vars}")
        shared = {name: found[name] for name in ("n_obs", "block_size", "alignment", "obs", "features")}
        merged = Members(list({**entry, **shared}.items()))
        merged.twice = entry.twice - set(shared)
        manifest.matrices.append((directory, manifest_of(merged)))


def manifest_of(found: dict[str, Any]) -> Manifest:
    store_id = member(found, "store_id", str)
    if not re.fullmatch(r"[0-9a-f]{32}", store_id):
        damaged(MANIFEST, None, f"the member `store_id` is \"{store_id}\", expected 32 lower-case hexadecimal digits")

    encoding = one_of(found, "encoding", ["packed", "raw", "linked"])
    value_type = one_of(found, "value_type", list(DTYPES))
    raw_value_type = None
    if encoding == "raw":
        raw_value_type = one_of(found, "raw_value_type", ["u8", "u16", "u32", value_type])
    else:
        member(found, "raw_value_type", type(None))

    shards, shard_ids = [], []
    for k, shard in enumerate(member(found, "shards", list)):
        if type(shard) is not Members:
            damaged(MANIFEST, None, f"shard {k} is not an object")
        shards.append((one_of(shard, "file", [f"shard-{k:05}.bin"]), number(shard, "bytes"), number(shard, "blocks")))
        own_id = member(shard, "store_id", str) if "store_id" in shard else None
        if own_id is not None and not re.fullmatch(r"[0-9a-f]{32}", own_id):
            damaged(MANIFEST, None, f"the `store_id` of shard {k} is \"{own_id}\", expected 32 lower-case hexadecimal digits")
        shard_ids.append(None if own_id is None else bytes.fromhex(own_id))
    files, names = {}, {}
    for name, file in (("index", INDEX), ("obs", OBS), ("var", VAR)):
        entry = member(found, name, dict)
        n_bytes, crcs = number(entry, "bytes"), member(entry, "crc32c", list)
        # Section 11: obs and index have a number after obs were appended.
        stem, extension = file.split(".")
        found_name = names[file] = member(entry, "file", str)
        numbered = name != "var" and re.fullmatch(rf"{stem}-[0-9]{{4,}}\.{extension}", found_name)
        if found_name != file and not numbered:
            damaged(MANIFEST, None, f"the {name} lies in \"{found_name}\", expected \"{file}\"")
        if len(crcs) != ceil_div(n_bytes, PIECE_BYTES):
            damaged(MANIFEST, None, f"it lists {len(crcs)} checksums for the {n_bytes} bytes of {file}")
        if not all(type(c) is str and re.fullmatch(r"[0-9a-f]{8}", c) for c in crcs):
            damaged(MANIFEST, None, f"a checksum of {file} is not 8 lower-case hexadecimal digits")
        files[file] = (n_bytes, [int(c, 16) for c in crcs])
    entries = found.get("matrices") if type(found.get("matrices")) is list else []
    further = [entry.get("source") for entry in entries if type(entry) is Members]
    if sum(map(count_values, [member(found, "source", dict), *further])) > 1 << 18:
        damaged(MANIFEST, None, "`source` holds more than 262,144 values")

    alignment = number(found, "alignment", 512, 1 << 20)
    if alignment & (alignment - 1):
        damaged(MANIFEST, None, f"the alignment {alignment} is not a power of two")
    manifest = Manifest(
        store_id=bytes.fromhex(store_id),
        n_obs=number(found, "n_obs", 0, (1 << 48) - 1),
        n_vars=number(found, "n_vars", 0, CODE_LIMIT - 1),
        nnz=number(found, "nnz"),
        encoding=encoding,
        value_type=value_type,
        raw_value_type=raw_value_type,
        f32_exact=member(found, "f32_exact", bool),
        block_size=number(found, "block_size", 1, 65_536),
        alignment=alignment,
        max_obs_nnz=number(found, "max_obs_nnz"),
        max_obs_bytes=number(found, "max_obs_bytes"),
        var_order=one_of(found, "var_order", ["source", "detection"]),
        shards=shards,
        shard_ids=shard_ids,
        files=files,
        names=names,
        matrices=[],
        is_joined="joined" in found["features"],
        has_checksums="checksums" in found["features"],
    )
    check_limits(manifest)
    return manifest


def count_values(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if type(value) is list else ()
    return 1 + sum(count_values(inner) for inner in inner)


def least_bytes(n: int) -> int:
    """Section 4: the least length of the frame of an obs with n values."""
    return 5 + 3 * ceil_div(n, GROUP) if n else 0


def check_limits(m: Manifest) -> None:
    """Section 2: the members fit together."""
    n, n_bytes = m.max_obs_nnz, m.max_obs_bytes
    if not ((n <= m.n_vars or m.is_joined) and n <= m.nnz <= n * m.n_obs and m.nnz < 1 << 63):
        damaged(MANIFEST, None, f"`max_obs_nnz` {n}, `nnz` {m.nnz} and the shape contradict each other")
    longest = max((shard_bytes for _, shard_bytes, _ in m.shards), default=0)
    if n_bytes > min(longest, (1 << 32) - 1):
        damaged(MANIFEST, None, f"`max_obs_bytes` is {n_bytes}, the longest shard has {longest} bytes")
    if m.encoding == "linked":
        fits = n_bytes == 0
    elif m.raw_value_type is None:
        width = np.dtype(DTYPES[m.value_type]).itemsize
        most = 7 + 65_536 * width + 1_625 * ceil_div(n, GROUP) + n * width
        fits = least_bytes(n) <= n_bytes <= most if n else n_bytes == 0
    else:
        fits = n_bytes == n * ((2 if m.n_vars <= 65_536 else 4) + np.dtype(DTYPES[m.raw_value_type]).itemsize)
    if not fits:
        damaged(MANIFEST, None, f"`max_obs_bytes` {n_bytes} and `max_obs_nnz` {n} contradict each other")
    lengths = [n_bytes for n_bytes, _ in m.files.values()] + [sum(n_bytes for _, n_bytes, _ in m.shards)]
    if max(lengths) >= 1 << 63 or m.files[VAR][0] < 4 * m.n_vars:
        damaged(MANIFEST, None, "a file is longer or shorter than any of its kind")


# ---- section 5: packed encoding ----

def unpack(data: bytes, m: int, width: int, what: str, file: str, at: int) -> np.ndarray:
    """Entry k is the bits k * width to k * width + width - 1 of a bit string, the least significant first."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if bits[m * width:].any():
        damaged(file, at + len(data) - 1, f"the unused bits behind the {what}s of a group are not zero")
    return bits[:m * width].reshape(m, width).astype(np.int64) @ (np.int64(1) << np.arange(width, dtype=np.int64))


def add_exceptions(low: np.ndarray, width: int, count: int, wide: int, what: str, frame: Cursor, notes: Notes) -> None:
    """Adds the high parts to the entries, which were unpacked into `low`."""
    if wide and not count:
        damaged(frame.file, frame.at, f"a group has the {what} wide bit set, but no exception")
    if not count:
        return
    notes.place(f"{what} exception position", frame.file, frame.at)
    positions = np.frombuffer(frame.take(count, f"the list of {what} exceptions"), np.uint8).astype(np.int64)
    if positions[-1] >= len(low) or (np.diff(positions) <= 0).any():
        damaged(frame.file, frame.at - count, f"the positions of {what} exceptions do not ascend below {len(low)}")
    notes.place(f"{what} {'wide ' if wide else ''}high part", frame.file, frame.at)
    high = np.frombuffer(frame.take(count * (4 if wide else 1), f"the high parts of {what}s"), "<u4" if wide else "u1")
    if not high.all():
        damaged(frame.file, frame.at, f"the high part of a {what} exception is 0")
    notes.stats[f"{what} exceptions"] += count
    notes.stats[f"groups with {what} exceptions"] += 1
    notes.stats[f"groups with wide {what} exceptions"] += wide
    # A high part has 32 bits and a width at most 31, so 63 bits suffice.
    low[positions] |= high.astype(np.int64) << width


def decode_group(m: int, with_codes: bool, frame: Cursor, notes: Notes) -> tuple[np.ndarray, np.ndarray]:
    at = frame.at
    descriptor = int.from_bytes(frame.take(3, "a descriptor"), "little")
    gap_width, code_width = descriptor & 31, descriptor >> 5 & 31
    gap_wide, code_wide = descriptor >> 10 & 1, descriptor >> 11 & 1
    gap_exceptions, code_exceptions = descriptor >> 12 & 63, descriptor >> 18 & 63
    if not with_codes and (code_width or code_wide or code_exceptions):
        damaged(frame.file, at, "a group of a plain frame has codes")
    for kind, bit in (("gap width", 0), ("code width", 5), ("gap wide", 10), ("code wide", 11),
                      ("gap exceptions", 12), ("code exceptions", 18)):
        notes.place(f"descriptor {kind}", frame.file, at + bit // 8, bit % 8)
    entries = []
    for what, width in (("gap", gap_width), ("code", code_width)):
        packed_at, n_bytes = frame.at, ceil_div(m * width, 8)
        packed = frame.take(n_bytes, f"the {what}s of a group")
        entries.append(unpack(packed, m, width, what, frame.file, packed_at))
        if width:
            notes.place(f"{what} bits", frame.file, packed_at)
            if m * width % 8:
                notes.place(f"{what} unused bits", frame.file, packed_at + n_bytes - 1, 7)
                notes.stats[f"groups with unused {what} bits"] += 1
        notes.stats[f"groups with {what} width 0"] += width == 0
        notes.most(f"largest {what} width", width)
    add_exceptions(entries[0], gap_width, gap_exceptions, gap_wide, "gap", frame, notes)
    add_exceptions(entries[1], code_width, code_exceptions, code_wide, "code", frame, notes)
    for what, values in (("gap", entries[0]), ("code", entries[1])):
        if int(values.max()) >= CODE_LIMIT:
            damaged(frame.file, at, f"a {what} of this group is {values.max()}, expected less than 2^31")
        notes.most(f"largest {what}", int(values.max()))
    notes.stats["groups"] += 1
    notes.stats["full groups"] += m == GROUP
    return entries[0], entries[1]


def values_of(data: bytes, value_type: str, file: str, at: int) -> np.ndarray:
    if value_type == "bool" and any(b > 1 for b in data):
        damaged(file, at, "a bool is neither 0 nor 1")
    return np.frombuffer(data, DTYPES[value_type])


def converted(values: np.ndarray, value_type: str, file: str, at: int) -> np.ndarray:
    """Integers as elements of `value_type`, which must be able to hold them."""
    if values.dtype == np.dtype(DTYPES[value_type]):
        return values
    result = values.astype(DTYPES[value_type])
    if not np.array_equal(result.astype(np.float64 if value_type[0] == "f" else np.int64), values):
        damaged(file, at, f"an integer of this obs is not a value of type {value_type}")
    return result


def decode_frame(obs: int, n: int, data: bytes, file: str, at: int, manifest: Manifest, check_crc: bool,
                 notes: Notes) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of an obs that has some."""
    if len(data) < 5:
        damaged(file, at, f"the frame of obs {obs} has {len(data)} bytes, too few for its {n} values")
    crc_at = at + len(data) - 4
    body, (crc,) = data[:-4], struct.unpack("<I", data[-4:])
    expected = crc32c(struct.pack("<QI", obs, n) + body)
    if check_crc and crc != expected:
        damaged(file, at, f"the CRC of obs {obs} with {n} values is {expected:08x}, but its frame states {crc:08x}")
    notes.place("frame crc", file, crc_at)

    frame = Cursor(body, file, at)
    mode = frame.take(1, "the mode")[0]
    if mode > 2:
        damaged(file, at, f"the mode of obs {obs} is {mode}, expected 0, 1 or 2")
    notes.place("frame mode", file, at)
    notes.stats[f"frames with mode {('counts', 'dictionary', 'plain')[mode]}"] += 1
    size = np.dtype(DTYPES[manifest.value_type]).itemsize
    dictionary = np.empty(0)
    if mode == 1:
        notes.place("dictionary length", file, frame.at)
        length = int.from_bytes(frame.take(2, "the length of the dictionary"), "little") + 1
        notes.place("dictionary value", file, frame.at)
        notes.most("largest dictionary", length)
        dictionary_at = frame.at
        dictionary = values_of(frame.take(length * size, "the dictionary"), manifest.value_type, file, dictionary_at)
    groups = [decode_group(min(GROUP, n - first), mode != 2, frame, notes) for first in range(0, n, GROUP)]
    gaps = np.concatenate([gaps for gaps, _ in groups])
    codes = np.concatenate([codes for _, codes in groups])
    columns = np.cumsum(gaps + 1) - 1
    if columns[-1] >= manifest.n_vars:
        damaged(file, at, f"obs {obs} has a value in column {columns[-1]}, but there are {manifest.n_vars} columns")
    if mode == 0:
        values = converted(codes + 1, manifest.value_type, file, at)
    elif mode == 1:
        if int(codes.max()) >= len(dictionary):
            damaged(file, at, f"obs {obs} has the code {codes.max()}, its dictionary {len(dictionary)} values")
        values = dictionary[codes]
    else:
        notes.place("plain value", file, frame.at)
        values_at = frame.at
        values = values_of(frame.take(n * size, "the values"), manifest.value_type, file, values_at)
    if frame.used != len(body):
        damaged(file, frame.at, f"{len(body) - frame.used} bytes are left over in the frame of obs {obs}")
    return columns, values


# ---- the store ----

@dataclass
class Matrix:
    n_vars: int
    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray


class Store:
    """Checks a store from its manifest inwards; `read` decodes and checks all obs."""

    def __init__(self, path: Path, check_crc: bool, of: tuple[Store, Manifest] | None = None) -> None:
        """`of`: for another matrix, the store, and what the matrix's entry says."""
        self.path, self.check_crc, self.notes, self.of = path, check_crc, Notes(), of and of[0]
        self.root = self.of.root if self.of else path.resolve().parent
        self.manifest = of[1] if of else parse_manifest(self.load(MANIFEST), check_crc, self.notes)
        self.matrices = [type(self)(path / directory, check_crc, (self, manifest)) for directory, manifest
                         in self.manifest.matrices]
        self.check_files()
        if self.manifest.encoding == "linked":
            self.check_link()
        else:
            self.check_index()
        self.check_store_id()
        self.shards = [self.check_shard(k) for k in range(len(self.manifest.shards))]

    def load(self, file: str) -> bytes:
        """Section 1: regular files, or links to some."""
        path = self.path / file
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                damaged(file, None, "it is not a regular file")
            return path.read_bytes()
        except OSError as error:
            damaged(file, None, f"it cannot be read ({error.strerror})")

    def check_files(self) -> None:
        """Sections 1 and 2: no other files; lengths, pieces and their CRCs; Arrow's magic."""
        manifest = self.manifest
        expected = {*manifest.names.values(), *(file for file, _, _ in manifest.shards)}
        expected ^= {OBS} if self.of else {MANIFEST}
        if self.matrices:
            expected.add("matrices")
            more = set(os.listdir(self.path / "matrices")) - {matrix.path.name for matrix in self.matrices}
            for file in sorted(name for name in more if not name.startswith(".")):
                damaged(file, None, "a directory that does not belong to the store")
        for file in sorted(file for file in set(os.listdir(self.path)) - expected if not file.startswith(".")):
            # Section 11: what an append that was killed may leave.
            left = re.fullmatch(r"index(-\d{4,})?\.bin|obs(-\d{4,})?\.arrow|shard-(\d{5,})\.bin", file)
            if left and not (self.of or self.matrices) and int(left[3] or len(manifest.shards)) >= len(manifest.shards):
                continue
            damaged(file, None, "a file that does not belong to the store")
        self.files: dict[str, bytes] = {}
        for file, (n_bytes, crcs) in manifest.files.items():
            name = manifest.names[file]
            data = self.files[file] = self.of.load(name) if self.of and file == OBS else self.load(name)
            if len(data) != n_bytes:
                damaged(file, None, f"it has {len(data)} bytes, but the manifest says {n_bytes}")
            for k, crc in enumerate(crcs):
                found = crc32c(data[k * PIECE_BYTES:(k + 1) * PIECE_BYTES])
                if self.check_crc and found != crc:
                    damaged(file, k * PIECE_BYTES, f"the CRC of piece {k} is {found:08x}, the manifest says {crc:08x}")
            if file != INDEX and not (data[:6] == data[-6:] == b"ARROW1"):
                damaged(file, None, "it does not begin and end with ARROW1")
            self.notes.place(f"{file} content", file, n_bytes // 2)

    def check_index(self) -> None:
        """Section 4."""
        manifest, data = self.manifest, self.files[INDEX]
        if len(data) < 64:
            damaged(INDEX, None, f"it has {len(data)} bytes, too few for its header")
        magic, version, encoding, n_obs, n_blocks, block_size, width, store_id, zero, crc = struct.unpack_from(
            "<8sIIQQII16sII", data)
        if self.check_crc and crc != crc32c(data[:60]):
            damaged(INDEX, 0, f"the CRC of its header is {crc32c(data[:60]):08x}, but it states {crc:08x}")
        self.width = 2 if manifest.encoding == "packed" and manifest.max_obs_nnz <= 65_535 else 4
        for at, name, found, expected in (
                (0, "magic", magic, b"CLRINDEX"), (8, "version", version, 1),
                (12, "encoding", encoding, {"packed": 1, "raw": 2}[manifest.encoding]),
                (16, "n_obs", n_obs, manifest.n_obs), (24, "n_blocks", n_blocks, manifest.n_blocks),
                (32, "block_size", block_size, manifest.block_size), (36, "entry width", width, self.width),
                (40, "store id", store_id, manifest.store_id), (56, "zero", zero, 0), (60, "crc", crc, crc)):
            if found != expected:
                damaged(INDEX, at, f"the {name} of the header is {found!r}, expected {expected!r}")
            self.notes.place(f"index header {name}", INDEX, at)

        sections, end = [], 64
        for kind, count, size in (("blocks", n_blocks, 16), ("ends", n_obs, 4), ("details", n_obs, width)):
            start = aligned(end, 64)
            if start + count * size > len(data):
                damaged(INDEX, start, f"the section of {kind} ends behind the file")
            if any(data[end:start]):
                damaged(INDEX, end, f"the bytes before the section of {kind} are not zero")
            if start > end:
                self.notes.place("index gap", INDEX, end)
            end = start + count * size
            sections.append(data[start:end])
            if count:
                self.notes.place(f"index {kind}", INDEX, start)
        if end != len(data):
            damaged(INDEX, end, f"{len(data) - end} bytes follow the last section")
        if n_blocks:
            self.notes.place("block offset", INDEX, 65)
            self.notes.place("block shard", INDEX, 64 + 8)
            self.notes.place("block length", INDEX, 64 + 12)
        self.blocks = np.frombuffer(sections[0], [("offset", "<u8"), ("shard", "<u4"), ("bytes", "<u4")])
        self.ends = np.frombuffer(sections[1], "<u4").astype(np.int64)
        self.details = np.frombuffer(sections[2], f"<u{width}").astype(np.int64)
        self.notes.stats["index entry width"] = width

    def check_store_id(self) -> None:
        """Section 7."""
        m = self.manifest
        text = f"{m.n_obs},{m.n_vars},{m.nnz},{m.block_size},{m.alignment},{m.encoding},{m.value_type}"
        index = self.identifying_index() if m.encoding == "linked" else self.files[INDEX][64:]
        parts = (index, self.files[OBS], self.files[VAR], text.encode("ascii"))
        expected = struct.pack("<4I", *(crc32c(part) for part in parts))
        if self.check_crc and m.store_id != expected:
            damaged(MANIFEST, None, f"the store id is {m.store_id.hex()}, but the content gives {expected.hex()}")

    def identifying_index(self) -> bytes:
        """Section 12: the index of a linked store, without what says where its files are."""
        data = self.files[INDEX]
        end = 64 + struct.unpack_from("<I", data, 32)[0]
        n_files, = struct.unpack_from("<I", data, 64)
        kept, at = data[64:68], 68
        for _ in range(n_files):
            at += 2 + struct.unpack_from("<H", data, at)[0]
            end_of_file = at + 32 + 12 * struct.unpack_from("<I", data, at + 28)[0]
            kept += bytes(2) + data[at:at + 8] + bytes(12) + data[at + 20:end_of_file]
            at = end_of_file
        return kept + data[at:end] + data[aligned(end, 64):]

    def check_link(self) -> None:
        """Section 12: the index of a linked store, and the files that it leads to."""
        m, data = self.manifest, self.files[INDEX]
        if m.shards or m.block_size != 64 or m.max_obs_bytes:
            damaged(MANIFEST, None, "a linked store has shards, or blocks")
        if len(data) < 64 or data[:8] != b"CLRLINKS":
            damaged(INDEX, 0, "it does not begin with CLRLINKS")
        version, width, n_obs, nnz, n_bytes, zero, store_id, zero2, crc = struct.unpack_from("<IIQQII16sII", data, 8)
        if self.check_crc and crc != crc32c(data[:60]):
            damaged(INDEX, 0, f"the CRC of its header is {crc32c(data[:60]):08x}, but it states {crc:08x}")
        if (version, width, n_obs, nnz, zero, store_id, zero2) != (
                2, 2 if m.max_obs_nnz <= 65_535 else 4, m.n_obs, m.nnz, 0, m.store_id, 0):
            damaged(INDEX, 0, "its header is not that of the store")
        place = Cursor(data[64:64 + n_bytes], INDEX, 64)
        take = lambda form: struct.unpack(f"<{form}", place.take(struct.calcsize(f"<{form}"), "the description"))
        text = lambda: place.take(take("H")[0], "a text of the description").decode()
        self.sources: list[bytes] = []
        for _ in range(take("I")[0]):
            path, n, seconds, nanos, fingerprint, n_pieces = text(), *take("QqIQI")
            pieces = [take("QI") for _ in range(n_pieces)]
            ends = [0, *(at + size for at, size in pieces)]
            if any(not size or at < end for (at, size), end in zip(pieces, ends)) or ends[-1] > n or sum(size for _, size in pieces) > 1 << 22:
                damaged(INDEX, None, f"the pieces of {path!r} do not ascend within it, or are more than 4 MiB")
            if any(part in ("", ".", "..") for part in path.split("/")):
                damaged(INDEX, None, f"the path {path!r} is not a plain relative one")
            real = (self.root / path).resolve()
            if not real.is_relative_to(self.root.resolve()) or not real.is_file():
                damaged(INDEX, None, f"{real} is not a file below {self.root}")
            status = real.stat()
            if (status.st_size, status.st_mtime_ns) != (n, seconds * 10**9 + nanos):
                damaged(path, None, "it has changed since it was linked")
            self.sources.append(real.read_bytes())
            if fingerprint_of(self.sources[-1], pieces) != fingerprint:
                damaged(path, None, "its fingerprint is not the one in the index")
        lists: list[np.ndarray] = []
        inputs: list[tuple[int, int, int | None]] = [(n_obs, nnz, None)]
        arrays = []
        if m.is_joined:
            n_maps, = take("I")
            if n_maps > 65_536:
                damaged(INDEX, None, f"there are {n_maps} column maps")
            for _ in range(n_maps):
                lists.append(np.array(take(f"{take('I')[0]}I"), np.int64))
                kept = lists[-1][lists[-1] != 2**32 - 1]
                if len(np.unique(kept)) != len(kept) or np.any(kept >= m.n_vars):
                    damaged(INDEX, None, "a list of columns names one twice, or one that the matrix does not have")
            inputs = []
            n_inputs, = take("I")
            if not n_inputs:
                damaged(INDEX, None, "there is no input")
            for _ in range(n_inputs):
                *shape, file, columns = take("QQII")
                if file >= max(len(self.sources), 1) or len(lists) <= columns != 2**32 - 1:
                    damaged(INDEX, None, "an input has a file or a list of columns that is none")
                inputs.append((*shape, None if columns == 2**32 - 1 else columns))
                arrays += [self.take_array(take, text) for _ in range(2)]
        else:
            arrays = [self.take_array(take, text) for _ in range(2)]
        if [sum(numbers) for numbers in zip((0, 0), *(rows[:2] for rows in inputs))] != [n_obs, nnz]:
            damaged(INDEX, None, "the obs and values of the inputs are not those of the store")
        if place.at != 64 + n_bytes or any(array[0].kind not in "iu" for array in arrays[::2]) or any(
                array[0].newbyteorder("<") != np.dtype(DTYPES[m.value_type]) and not m.is_joined for array in arrays[1::2]):
            damaged(INDEX, 64, "the description is longer than it says, or of other types")
        for k in range(2):
            pairs = zip(arrays[k::2], inputs)
            if sum(array[0].itemsize * rows[1] for array, rows in pairs if array[1][0] != 3) > 1100 * sum(map(len, self.sources)):
                damaged(INDEX, None, "an array takes more than 1,100 times the bytes of the files")
        sections, end = [], 64 + n_bytes
        n_extents = [sum(array[2] for array in arrays[k::2]) for k in range(2)]
        checksums = [(n_obs, 4)] if m.has_checksums else []
        for count, size in ((ceil_div(n_obs, 64), 8), (n_obs, width), (n_extents[0], 24), (n_extents[1], 24), *checksums):
            start = aligned(end, 64)
            if start + count * size > len(data) or any(data[end:start]):
                damaged(INDEX, end, "a section ends behind the file, or the bytes before it are not zero")
            end = start + count * size
            sections.append(data[start:end])
        if end != len(data):
            damaged(INDEX, end, f"{len(data) - end} bytes follow the last section")
        self.checksums = np.frombuffer(sections[4], "<u4") if m.has_checksums else None
        self.counts = np.frombuffer(sections[1], f"<u{width}").astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(self.counts)])
        if not np.array_equal(np.frombuffer(sections[0], "<u8"), ends[:-1][::64]) or ends[-1] != nnz:
            damaged(INDEX, None, "the starts are not sums of the counts")
        # Of each input its obs, what its columns become, and its arrays.
        self.inputs: list[tuple[np.ndarray, np.ndarray, list[np.ndarray]]] = []
        first_obs, used = 0, [0, 0]
        for (n, n_values, columns), pair in zip(inputs, zip(arrays[::2], arrays[1::2])):
            counts = self.counts[first_obs:first_obs + n]
            first_obs += n
            becomes = np.arange(m.n_vars) if columns is None else lists[columns]
            if counts.sum() != n_values or np.any(counts > len(becomes)):
                damaged(INDEX, None, "the counts of an input do not sum up to its values, or are above its columns")
            own = [sections[2 + k][24 * used[k]:24 * (used[k] + array[2])] for k, array in enumerate(pair)]
            used = [at + array[2] for at, array in zip(used, pair)]
            shape = (n, len(becomes))
            if pair[0][1][0] == 3:
                if np.any(counts != len(becomes)) or pair[0][2] or pair[1][1][0] not in (0, 2):
                    damaged(INDEX, None, "the matrix is dense, and an obs does not have a value in every column")
                every = np.tile(np.arange(len(becomes), dtype="<u4"), n)
                found = [every, self.read_array(*pair[1], own[1], n_values, shape)]
            else:
                if any(array[1][0] > 1 for array in pair):
                    damaged(INDEX, None, "one array is of a sparse matrix, and the other of a dense one")
                found = [self.read_array(*array, own[k], n_values, shape) for k, array in enumerate(pair)]
            self.inputs.append((counts, becomes, found))

    def take_array(self, take: Callable[[str], tuple[Any, ...]], text: Callable[[], str]) -> tuple[Any, ...]:
        """Section 12: what the description says of one array."""
        _, dtype, big, shape, first, second, n_extents, fill, n_filters = text(), DTYPES[text()], *take("BBQQQ8sB")
        if big > 1 or shape > 3 or (shape != 2 and second) or (shape in (0, 3) and first):
            damaged(INDEX, None, f"{shape}, {first}, {second} is not a shape")
        filters = [(take("H")[0], take(f"{take('B')[0]}I")) for _ in range(n_filters)]
        if any(number == 2 and not (words and words[0]) for number, words in filters):
            damaged(INDEX, None, "shuffle has no elements")
        return np.dtype(dtype.replace("<", ">") if big else dtype), (shape, first, second), n_extents, fill, filters

    def read_array(self, dtype: np.dtype, shape: tuple[int, int, int], n_extents: int, fill: bytes, filters: list[tuple[int, tuple[int, ...]]],
                   extents: bytes, nnz: int, matrix: tuple[int, int]) -> np.ndarray:
        """Section 12: all elements of one of the two arrays of an input."""
        found, width, (n_obs, n_vars) = [], dtype.itemsize, matrix
        kind, chunk, columns = shape
        if kind == 0:
            runs = list(struct.iter_unpack("<QQQ", extents))
            if (nnz and not runs) or (runs and runs[0][0]) or (not nnz and runs[1:]):
                damaged(INDEX, None, "the runs do not begin with the first element, and end with the last")
            if not nnz:
                return np.empty(0, dtype)
            for (first, offset, file), after in zip(runs, [*(run[0] for run in runs[1:]), nnz]):
                n = (after - first) * width
                if after <= first or file >= len(self.sources) or offset + n > len(self.sources[file]):
                    damaged(INDEX, None, "a run does not ascend, or lies beyond its file")
                found.append(self.sources[file][offset:offset + n])
            return np.frombuffer(b"".join(found), dtype)
        if kind == 2:
            rows, chunk = chunk, chunk * columns
            down, across = ceil_div(n_obs, rows), ceil_div(n_vars, columns)
        if n_extents != (down * across if kind == 2 else ceil_div(nnz, chunk)):
            damaged(INDEX, None, f"{n_extents} chunks of {chunk} elements do not hold {nnz}")
        for offset, n_bytes, file, mask in struct.iter_unpack("<QIIQ", extents):
            if mask >= 1 << 32:
                damaged(INDEX, None, f"a filter mask is {mask}")
            if not n_bytes:
                found.append(fill[:width] * chunk)
                continue
            if file >= len(self.sources) or offset + n_bytes > len(self.sources[file]):
                damaged(INDEX, None, "a chunk lies beyond its file")
            data = self.sources[file][offset:offset + n_bytes]
            for k, (number, words) in reversed(list(enumerate(filters))):
                if mask >> k & 1:
                    continue
                if number == 1:
                    data = zlib.decompress(data)
                elif number == 2:
                    whole = len(data) // words[0] * words[0]
                    data = np.frombuffer(data[:whole], np.uint8).reshape(words[0], -1).T.tobytes() + data[whole:]
                elif number == 3:
                    data = data[:-4]
                elif number == 52_737:
                    data = gzip.decompress(data)
                elif number == 52_738:
                    if crc32c(data[:-4]) != int.from_bytes(data[-4:], "little"):
                        damaged(INDEX, None, "the CRC of a chunk differs")
                    data = data[:-4]
                else:
                    damaged(INDEX, None, f"filter {number} is not one that this reader knows")
            if len(data) != chunk * width:
                damaged(INDEX, None, f"a chunk decodes to {len(data)} bytes, expected {chunk * width}")
            found.append(data)
        whole = np.frombuffer(b"".join(found), dtype)
        if kind == 2:
            whole = whole.reshape(down, across, rows, columns).transpose(0, 2, 1, 3).reshape(down * rows, across * columns)
            return whole[:n_obs, :n_vars].reshape(-1)
        return whole[:nnz]

    def read_linked(self) -> Matrix:
        """Section 12: rows made canonical."""
        m = self.manifest
        if m.max_obs_nnz != self.counts.max(initial=0):
            damaged(MANIFEST, None, "`max_obs_nnz` is not the largest count")
        indptr, indices, data = [0], [], []
        for counts, becomes, arrays in self.inputs:
            columns, values = arrays[0].astype(np.int64), arrays[1].astype(arrays[1].dtype.newbyteorder("<"))
            if len(columns) and not 0 <= columns.min() <= columns.max() < len(becomes):
                damaged(INDEX, None, "a column is not one of the matrix")
            columns, end = becomes[columns], 0
            for count in counts:
                begin, end = end, end + int(count)
                row: dict[int, Any] = {}
                for column, value in zip(columns[begin:end].tolist(), values[begin:end]):
                    if column == 2**32 - 1:
                        continue
                    if column not in row:
                        row[column] = value
                    else:
                        row[column] = value.dtype.type(row[column] | value if value.dtype.kind == "b" else row[column] + value)
                taken = [(column, self.taken(row[column])) for column in sorted(row)]
                kept = [(column, value) for column, value in taken if any(value.tobytes())]
                indices += [column for column, _ in kept]
                data += [value for _, value in kept]
                indptr.append(len(indices))
                self.check_row(len(indptr) - 2, kept)
        self.notes.stats["obs"], self.notes.stats["nnz"] = m.n_obs, m.nnz
        return Matrix(m.n_vars, np.array(indptr, np.int64), np.array(indices, np.int64), np.array(data, DTYPES[m.value_type]))

    def check_row(self, obs: int, row: list[tuple[int, Any]]) -> None:
        """Section 12: the checksum of a canonical row."""
        if self.checksums is None:
            return
        columns = np.array([column for column, _ in row], "<u4").tobytes()
        found = crc32c(columns + np.array([value for _, value in row], DTYPES[self.manifest.value_type]).tobytes())
        if found != self.checksums[obs]:
            damaged(INDEX, None, f"the checksum of the row of obs {obs} is {found:08x}, but {self.checksums[obs]:08x} is stored")

    def taken(self, value: Any) -> Any:
        """Section 12: the value of the store's type that is equal to one of an input."""
        dtype = np.dtype(DTYPES[self.manifest.value_type])
        if value.dtype == dtype:
            return value
        try:
            found = dtype.type(value.item())
        except (OverflowError, ValueError):
            found = None
        # Python compares numbers of all types exactly.
        if found is None or found.item() != value.item() and value == value:
            damaged(INDEX, None, f"{value} has no equal one in `value_type`")
        return found

    def check_shard(self, k: int) -> bytes:
        """Section 3: length and header of a shard."""
        (file, n_bytes, _), alignment = self.manifest.shards[k], self.manifest.alignment
        data = self.load(file)
        if len(data) != n_bytes:
            damaged(file, None, f"it has {len(data)} bytes, but the manifest says {n_bytes}")
        if len(data) < alignment or len(data) % alignment:
            damaged(file, None, f"its length {len(data)} is not a multiple of the alignment {alignment}, or it is empty")
        magic, version, shard, store_id = struct.unpack_from("<8sII16s", data)
        crc, expected_crc = struct.unpack_from("<I", data, alignment - 4)[0], crc32c(data[:alignment - 4])
        if self.check_crc and crc != expected_crc:
            damaged(file, 0, f"the CRC of its header is {expected_crc:08x}, but it states {crc:08x}")
        for at, name, found, expected in (
                (0, "magic", magic, b"CLRSHARD"), (8, "version", version, 1), (12, "number", shard, k),
                (16, "store id", store_id, self.manifest.shard_ids[k] or self.manifest.store_id), (32, "zero", any(data[32:alignment - 4]), False),
                (alignment - 4, "crc", crc, crc)):
            if found != expected:
                damaged(file, at, f"the {name} of the header is {found!r}, expected {expected!r}")
            self.notes.place(f"shard header {name}", file, at)
        return data

    def read(self) -> Matrix:
        """Section 3: blocks in order, without gaps; then all that the manifest says of the whole matrix."""
        manifest, stats = self.manifest, self.notes.stats
        if manifest.encoding == "linked":
            return self.read_linked()
        self.rows: list[tuple[np.ndarray, np.ndarray]] = []
        self.max_obs_bytes = block = 0
        if sum(blocks for _, _, blocks in manifest.shards) != manifest.n_blocks:
            damaged(MANIFEST, None, f"its shards do not hold {manifest.n_blocks} blocks together")
        for k, (file, _, n_blocks) in enumerate(manifest.shards):
            place = manifest.alignment
            for block in range(block, block + n_blocks):
                place = self.read_block(block, k, place)
            block += n_blocks > 0
            if place != len(self.shards[k]) and manifest.shard_ids[k] is None:
                damaged(file, place, f"{len(self.shards[k]) - place} bytes follow the last block")

        columns = [columns for columns, _ in self.rows]
        indptr = np.concatenate([[0], np.cumsum([len(c) for c in columns])]).astype(np.int64)
        indices = np.concatenate([np.empty(0, np.int64), *columns])
        data = np.concatenate([np.empty(0, DTYPES[manifest.value_type]), *(values for _, values in self.rows)])
        largest = int(np.diff(indptr).max(initial=0))
        if data.dtype.kind in "iu":  # numpy would compare with an integer of 64 bits by rounding it
            f32_exact = all(int(np.float32(v)) == v for v in np.unique(data).tolist())
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                f32_exact = np.array_equal(data.astype("<f4").astype(data.dtype), data, equal_nan=data.dtype.kind == "f")
        for name, found in (("nnz", len(indices)), ("max_obs_nnz", largest), ("max_obs_bytes", self.max_obs_bytes),
                            ("f32_exact", f32_exact)):
            if getattr(manifest, name) != found:
                damaged(MANIFEST, None, f"the member `{name}` is {getattr(manifest, name)}, but the obs give {found}")
        stats["shards"], stats["blocks"] = len(manifest.shards), manifest.n_blocks
        stats["obs"], stats["nnz"] = manifest.n_obs, manifest.nnz
        stats["empty obs"] = int((np.diff(indptr) == 0).sum())
        return Matrix(manifest.n_vars, indptr, indices, data)

    def read_block(self, block: int, shard: int, place: int) -> int:
        """Checks and decodes one block, returns where the next one begins."""
        manifest = self.manifest
        file, data = manifest.shards[shard][0], self.shards[shard]
        record = self.blocks[block]
        at, in_shard, n_bytes = int(record["offset"]), int(record["shard"]), int(record["bytes"])
        if (at, in_shard) != (place, shard):
            damaged(INDEX, 64 + 16 * block,
                    f"block {block} is at byte {at} of shard {in_shard}, expected byte {place} of shard {shard}")
        following = at + aligned(n_bytes, manifest.alignment)
        if following > len(data):
            damaged(file, at, f"block {block} with its {n_bytes} bytes ends behind the file")
        if any(data[at + n_bytes:following]):
            damaged(file, at + n_bytes, f"the padding of block {block} is not zero")
        if following > at + n_bytes:
            self.notes.place("block padding", file, at + n_bytes)
        first = block * manifest.block_size
        obs = range(first, min(first + manifest.block_size, manifest.n_obs))
        self.notes.stats["empty blocks"] += n_bytes == 0
        ends = self.ends[obs.start:obs.stop]
        if (np.diff(ends, prepend=0) < 0).any():
            damaged(INDEX, None, f"the ends of block {block} descend")
        if manifest.encoding == "packed":
            self.read_packed(obs, ends, data[at:at + n_bytes], file, at)
        else:
            self.read_raw(obs, ends, data[at:at + n_bytes], file, at)
        return following

    def read_packed(self, obs: range, ends: np.ndarray, payload: bytes, file: str, at: int) -> None:
        """Section 5: the frames of a block."""
        if ends[-1] != len(payload):
            damaged(INDEX, None, f"the block of obs {obs.start} has {len(payload)} bytes, its obs end at {ends[-1]}")
        start, empty = 0, (np.empty(0, np.int64), np.empty(0, DTYPES[self.manifest.value_type]))
        for i, end in zip(obs, ends.tolist()):
            n = int(self.details[i])
            if n > self.manifest.n_vars:
                damaged(INDEX, None, f"obs {i} has {n} values, but there are {self.manifest.n_vars} columns")
            if end - start < least_bytes(n) or (n == 0) != (start == end):
                damaged(INDEX, None, f"obs {i} has {n} values in a frame of {end - start} bytes")
            if n > self.manifest.max_obs_nnz or end - start > self.manifest.max_obs_bytes:
                damaged(INDEX, None, f"obs {i} has {n} values in {end - start} bytes, more than the manifest allows")
            self.max_obs_bytes = max(self.max_obs_bytes, end - start)
            self.rows.append(decode_frame(i, n, payload[start:end], file, at + start, self.manifest, self.check_crc,
                                          self.notes) if n else empty)
            start = end

    def read_raw(self, obs: range, ends: np.ndarray, payload: bytes, file: str, at: int) -> None:
        """Section 6: the three sections of a block."""
        m, z = len(obs), int(ends[-1])
        raw_type = self.manifest.raw_value_type
        assert raw_type is not None
        index_dtype = np.dtype("<u2" if self.manifest.n_vars <= 65_536 else "<u4")
        value_bytes = np.dtype(DTYPES[raw_type]).itemsize
        sections, end = [], 0
        for kind, n_bytes in (("indptr", 4 * (m + 1)), ("indices", z * index_dtype.itemsize), ("data", z * value_bytes)):
            start = aligned(end, 64)
            if any(payload[end:start]):
                damaged(file, at + end, f"the bytes before the {kind} of a block are not zero")
            if start > end:
                self.notes.place("raw gap", file, at + end)
            end = start + n_bytes
            sections.append(payload[start:end])
            if n_bytes:
                self.notes.place(f"raw {kind}", file, at + start + 4 * (kind == "indptr"))
        if end != len(payload):
            damaged(INDEX, None, f"the block of obs {obs.start} has {len(payload)} bytes, but its content takes {end}")
        indptr = np.frombuffer(sections[0], "<u4").astype(np.int64)
        if indptr[0] != 0 or not np.array_equal(indptr[1:], ends):
            damaged(file, at, f"the indptr of the block of obs {obs.start} is not that of the index")
        for j, i in enumerate(obs):
            low, high = int(indptr[j]), int(indptr[j + 1])
            indices = sections[1][low * index_dtype.itemsize:high * index_dtype.itemsize]
            data = sections[2][low * value_bytes:high * value_bytes]
            crc = crc32c(struct.pack("<QI", i, high - low) + indices + data)
            if self.check_crc and crc != self.details[i]:
                damaged(file, at, f"the CRC of obs {i} is {crc:08x}, but the index states {self.details[i]:08x}")
            if high - low > self.manifest.max_obs_nnz:
                damaged(INDEX, None, f"obs {i} has {high - low} values, more than the manifest allows")
            columns = np.frombuffer(indices, index_dtype).astype(np.int64)
            if (np.diff(columns) <= 0).any():
                damaged(file, at, f"the columns of obs {i} do not ascend")
            if len(columns) and columns[-1] >= self.manifest.n_vars:
                damaged(file, at, f"obs {i} has a value in column {columns[-1]}, there are {self.manifest.n_vars} columns")
            self.max_obs_bytes = max(self.max_obs_bytes, len(indices) + len(data))
            values = values_of(data, raw_type, file, at)
            self.rows.append((columns, converted(values, self.manifest.value_type, file, at)))


# ---- comparing, and the command line ----

def load_dump(path: Path) -> Matrix:
    if path.suffix == ".npz":
        with np.load(path) as found:
            return Matrix(-1, found["indptr"], found["indices"], found["data"])
    about = json.loads(path.read_text())
    dtype = DTYPES[about["value_type"]]
    return Matrix(about["n_vars"], np.fromfile(path.with_suffix(".indptr.u64"), "<u8"),
                  np.fromfile(path.with_suffix(".indices.u32"), "<u4"), np.fromfile(path.with_suffix(".data.bin"), dtype))


def compare(found: Matrix, expected: Matrix) -> None:
    if expected.n_vars not in (-1, found.n_vars):
        raise Different(f"the store has {found.n_vars} columns, the dump {expected.n_vars}")
    if found.data.dtype != expected.data.dtype:
        raise Different(f"the values are of type {found.data.dtype}, those of the dump {expected.data.dtype}")
    for name in ("indptr", "indices", "data"):
        a, b = getattr(found, name), getattr(expected, name)
        if len(a) != len(b):
            raise Different(f"{name} has {len(a)} elements, that of the dump {len(b)}")
        # By their bytes, so that NaN equals itself and -0.0 does not equal 0.0.
        same = a.view(f"V{a.itemsize}") == b.view(f"V{b.itemsize}") if name == "data" else a == b.astype(np.int64)
        if not np.all(same):
            k = int(np.argmin(same))
            raise Different(f"{name}[{k}] is {a[k]}, that of the dump {b[k]}")


def run(path: Path, args: argparse.Namespace) -> bool:
    """Does what is asked for with one store; False where it is damaged or different."""
    try:
        store = Store(path, not args.ignore_crc)
        matrix = store.read()
        for further in store.matrices:
            further.read()
        if args.compare:
            compare(matrix, load_dump(args.compare))
    except Damage as error:
        print(f"damaged: {path}: {error}.", file=sys.stderr)
        return False
    except Different as error:
        print(f"different: {path}: {error}.", file=sys.stderr)
        return False
    if args.out:
        np.savez(args.out, indptr=matrix.indptr, indices=matrix.indices, data=matrix.data)
    if args.stats:
        print(json.dumps(dict(sorted(store.notes.stats.items()))))
    if args.places:
        print(json.dumps(store.notes.places))
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Check and decode cellring stores by the text of FORMAT.md.")
    parser.add_argument("stores", type=Path, nargs="+", metavar="STORE", help="the last may be the OUT.npz of the first")
    parser.add_argument("--compare", type=Path, metavar="DUMP", help="an .npz, or the .json of a plain dump")
    parser.add_argument("--stats", action="store_true")
    parser.add_argument("--places", action="store_true")
    parser.add_argument("--ignore-crc", action="store_true")
    args = parser.parse_args()
    args.out = args.stores.pop() if args.stores[-1].suffix == ".npz" else None
    if len(args.stores) != 1 and (args.out or not args.stores):
        parser.error("OUT.npz follows exactly one STORE")
    return 0 if all([run(path, args) for path in args.stores]) else 1


if __name__ == "__main__":
    sys.exit(main())
