"""What a store holds, by the readers that are written from FORMAT.md alone, and whether it is what a command delivers."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from scipy import sparse

import arrow
import digest
import spec_reader

BATCH_SIZE = 16


@dataclass
class Content:
    """A matrix with its tables. `unknown`: why it cannot be told whether the tables are sound."""

    name: str | None
    n_vars: int
    rows: list
    obs: arrow.Table | None = None
    var: arrow.Table | None = None
    unknown: str | None = None
    further: list = field(default_factory=list)


def rows_of(matrix):
    ends = matrix.indptr.tolist()
    return [(matrix.indices[a:b], matrix.data[a:b]) for a, b in zip(ends, ends[1:])]


def strict(path):
    """What a store holds. Raises `spec_reader.Damage` or `arrow.Damage` where a rule of the format is broken."""
    store = spec_reader.Store(path, True)
    content = Content(None, store.manifest.n_vars, rows_of(store.read()))
    names = [entry["name"] for entry in _entries(path)]
    content.further = [Content(name, matrix.manifest.n_vars, rows_of(matrix.read()))
                       for name, matrix in zip(names, store.matrices)]
    try:
        obs = arrow.Table(store.files[spec_reader.OBS], store.manifest.n_obs)
        positions(obs, store.manifest.n_obs, False)
        for matrix, about in zip([store, *store.matrices], [content, *content.further]):
            about.obs, about.var = obs, arrow.Table(matrix.files[spec_reader.VAR], about.n_vars)
            order = positions(about.var, about.n_vars, True)
            if matrix.manifest.var_order == "source" and order != list(range(about.n_vars)):
                raise arrow.Damage("the columns are not in the order of the source")
            if (about.name or "").startswith("layers/"):
                for role in ("index", "source_position"):
                    if about.var.column(role) != content.var.column(role):
                        raise arrow.Damage("a layer has not the columns of the store")
    except arrow.Unknown as unknown:
        content.unknown = str(unknown)
    return content


def _entries(path):
    return json.loads((path / spec_reader.MANIFEST).read_bytes()).get("matrices", [])


def positions(table, n, must):
    """The places of the rows in the source; each once."""
    if table.columns[0].role != "index" or (must and table.columns[-1].role != "source_position"):
        raise arrow.Damage("a field with a role is missing")
    found = table.column("source_position")
    if found is None:
        return list(range(n))
    if None in found or sorted(found) != list(range(n)):
        raise arrow.Damage("a position of the source comes twice, or not at all")
    return found


class Lenient(spec_reader.Store):
    """Reads the obs of the first matrix as the index says, without what only `verify` looks at: the rest of the files, the order of
    the blocks, the bytes between them, the sums of the manifest, the store id."""

    def check_files(self):
        manifest = self.manifest
        self.files = {kind: self.load(manifest.names[kind]) for kind in (spec_reader.INDEX,)}
        for kind in self.files:
            if len(self.files[kind]) != manifest.files[kind][0]:
                raise spec_reader.Damage("a file has another length")

    def check_store_id(self):
        pass

    def check_index(self):
        data = bytearray(self.files[spec_reader.INDEX])
        m = self.manifest
        ends = 64 + 16 * m.n_blocks
        details = spec_reader.aligned(ends, 64) + 4 * m.n_obs
        for at in (ends, details):
            data[at:spec_reader.aligned(at, 64)] = bytes(min(spec_reader.aligned(at, 64), len(data)) - min(at, len(data)))
        self.files[spec_reader.INDEX] = bytes(data)
        super().check_index()

    def rows(self):
        m, found = self.manifest, []
        for block in range(m.n_blocks):
            at, shard, size = (int(part) for part in self.blocks[block])
            if shard >= len(self.shards) or at + size > len(self.shards[shard]):
                raise spec_reader.Damage("a block lies outside its shard")
            obs = range(block * m.block_size, min((block + 1) * m.block_size, m.n_obs))
            payload = self.shards[shard][at:at + size]
            found += rows_by_index(m, obs, self.ends[obs.start:obs.stop].tolist(), self.details[obs.start:obs.stop].tolist(), payload)
        return found


def rows_by_index(manifest, obs, ends, details, payload):
    """The rows of a block, by the ends and the details of its obs."""
    found, start = [], 0
    n = len(obs)
    dtype = np.dtype("<u2" if manifest.n_vars <= 65_536 else "<u4")
    stored = manifest.raw_value_type or manifest.value_type
    width = np.dtype(spec_reader.DTYPES[stored]).itemsize
    columns_at = spec_reader.aligned(4 * (n + 1), 64)
    values_at = spec_reader.aligned(columns_at + ends[-1] * dtype.itemsize, 64)
    for number, end, detail in zip(obs, ends, details):
        if end < start:
            raise spec_reader.Damage(f"obs {number} ends before it begins")
        if manifest.encoding == "packed":
            data = payload[start:end]
            if len(data) != end - start or (detail == 0) != (end == start):
                raise spec_reader.Damage(f"obs {number} is not within its block")
            row = spec_reader.decode_frame(number, detail, data, "", 0, manifest, True, spec_reader.Notes()) if detail else None
        else:
            columns = payload[columns_at + start * dtype.itemsize:columns_at + end * dtype.itemsize]
            values = payload[values_at + start * width:values_at + end * width]
            crc = spec_reader.crc32c(struct.pack("<QI", number, end - start) + columns + values)
            if crc != detail or len(values) != (end - start) * width:
                raise spec_reader.Damage(f"the CRC of obs {number}")
            columns = np.frombuffer(columns, dtype).astype(np.int64)
            if (np.diff(columns) <= 0).any() or (len(columns) and columns[-1] >= manifest.n_vars):
                raise spec_reader.Damage(f"the columns of obs {number}")
            values = spec_reader.values_of(values, stored, "", 0)
            row = columns, spec_reader.converted(values, manifest.value_type, "", 0)
        none = np.empty(0, np.int64), np.empty(0, spec_reader.DTYPES[manifest.value_type])
        found.append(none if row is None else row)
        start = end
    return found


def rows_of_part(sheaf):
    """The rows of a part, by its index as it now is."""
    manifest = SimpleNamespace(n_vars=sheaf.about["n_vars"], encoding=sheaf.about["encoding"], value_type=sheaf.about["value_type"],
                               raw_value_type=None if sheaf.packed else sheaf.about["raw_value_type"])
    found = []
    for block in range(sheaf.n_blocks):
        at, shard, size = sheaf.record(block)
        obs = range(block * sheaf.block_size, min((block + 1) * sheaf.block_size, sheaf.n_obs))
        data = sheaf.shard(shard)
        if data is None:
            raise spec_reader.Damage("a block lies in no shard")
        numbers = [sheaf.first_obs + k for k in obs]
        found += rows_by_index(manifest, numbers, [sheaf.end(k) for k in obs], [sheaf.detail(k) for k in obs], bytes(data[at:at + size]))
    return found


def is_f32_exact(values):
    with np.errstate(over="ignore", invalid="ignore"):
        if values.dtype.kind in "iu":
            return all(int(np.float32(value)) == value for value in values.tolist())
        return np.array_equal(values.astype("<f4").astype(values.dtype), values, equal_nan=values.dtype.kind == "f")


def sequential_digest(rows, first=0):
    """Of an epoch in the order of the store from this obs on; None where none is to be had."""
    return digest.of_rows(rows[first:], range(first, len(rows)), BATCH_SIZE)


# ---- an export beside what the store holds ----

def in_source_order(content):
    """The matrix as `export` must write it."""
    rows, obs = content.rows, positions(content.obs, len(content.rows), False)
    columns = np.asarray(positions(content.var, content.n_vars, True), np.int64)
    ordered = [None] * len(rows)
    for row, place in zip(rows, obs):
        found = columns[row[0]] if len(row[0]) else row[0]
        order = np.argsort(found, kind="stable")
        ordered[place] = found[order], row[1][order]
    indptr = np.concatenate([[0], np.cumsum([len(found) for found, _ in ordered])]).astype(np.int64)
    indices = np.concatenate([np.empty(0, np.int64), *(found for found, _ in ordered)])
    data = np.concatenate([values for _, values in ordered]) if ordered else np.empty(0)
    return indptr, indices, data


def differs(content, found):
    """What an AnnData that was exported has otherwise than the store; None where it is the same."""
    matrices = [(content, found.X)]
    for further in content.further:
        place, name = further.name.split("/", 1) if "/" in further.name else (further.name, "")
        exported = {"layers": found.layers.get(name), "obsm": found.obsm.get(name), "raw": getattr(found.raw, "X", None)}.get(place)
        matrices.append((further, exported))
    for about, matrix in matrices:
        if matrix is None:
            return f"there is no {about.name}"
        said = matrix_differs(about, matrix)
        if said:
            return f"{about.name or 'X'}: {said}"
    order = positions(content.obs, len(content.rows), False)
    return table_differs(content.obs, order, found.obs) or table_differs(
        content.var, positions(content.var, content.n_vars, True), found.var)


def matrix_differs(content, matrix):
    indptr, indices, data = in_source_order(content)
    if tuple(matrix.shape) != (len(content.rows), content.n_vars):
        return f"the shape is {tuple(matrix.shape)}"
    if sparse.issparse(matrix):
        matrix = sparse.csr_matrix(matrix)
        matrix.sort_indices()
        same = np.array_equal(matrix.indptr, indptr) and np.array_equal(matrix.indices, indices)
        return None if same and matrix.data.tobytes() == data.tobytes() else "the values are others"
    dense = np.zeros(matrix.shape, data.dtype)
    for row, (a, b) in enumerate(zip(indptr, indptr[1:])):
        dense[row, indices[a:b]] = data[a:b]
    matrix = np.asarray(matrix)
    return None if matrix.astype(data.dtype).tobytes() == dense.tobytes() else "the values are others"


def plain(value):
    """A value as it is compared: a missing one is None."""
    if value is None or value is np.ma.masked or (isinstance(value, float | np.floating) and math.isnan(value)):
        return None
    if type(value).__name__ == "NAType":
        return None
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    return value.item() if isinstance(value, np.generic) else value


def table_differs(table, order, frame):
    """Columns in another order than the source's, beside those of AnnData."""
    def placed(values):
        result = [None] * len(values)
        for value, place in zip(values, order):
            result[place] = plain(value)
        return result

    if placed(table.column("index")) != [plain(name) for name in frame.index]:
        return "the names are others"
    expected = {column.name: column.values for column in table.columns if column.role is None}
    if sorted(expected) != sorted(frame.columns):
        return f"the columns are {sorted(frame.columns)}, expected {sorted(expected)}"
    for name, values in expected.items():
        if placed(values) != [plain(value) for value in frame[name].tolist()]:
            return f"the column {name!r} is another"
    return None
