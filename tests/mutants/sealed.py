"""Stores and parts whose checksums are made to hold again after they were changed."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import struct
from pathlib import Path

from spec_reader import DTYPES, PIECE_BYTES, aligned, ceil_div, crc32c

WIDTHS = {name: int(kind[-1]) if kind[-1].isdigit() else 1 for name, kind in DTYPES.items()}


def pieces(data):
    return [f"{crc32c(data[k:k + PIECE_BYTES]):08x}" for k in range(0, len(data), PIECE_BYTES)]


def sealed_json(value):
    body = json.dumps(value, indent=2).encode(errors="surrogatepass")[:-2]
    return body + f',\n  "manifest_crc32c": "{crc32c(body):08x}"\n}}\n'.encode()


class Sheaf:
    """The index and the shards of a matrix, as they were before anything was changed: where everything lies."""

    def __init__(self, files, folder, about, shared, first_obs=0):
        self.files, self.folder, self.about, self.shared, self.first_obs = files, folder, about, shared, first_obs
        self.index_name = folder + about["index"]["file"]
        self.n_obs, self.block_size = shared["n_obs"], shared["block_size"]
        self.n_blocks = ceil_div(self.n_obs, self.block_size)
        self.packed = about["encoding"] == "packed"
        self.value_bytes = WIDTHS[(not self.packed and about["raw_value_type"]) or about["value_type"]]
        self.column_bytes = 2 if about["n_vars"] <= 65_536 else 4
        self.is_part = self.index_name.endswith(".part")
        if self.is_part:
            self.width, self.blocks_at = 4, 0
            self.ends_at = 16 * self.n_blocks
            self.details_at = self.ends_at + 4 * self.n_obs
        else:
            self.width = 2 if self.packed and about["max_obs_nnz"] <= 65_535 else 4
            self.blocks_at = 64
            self.ends_at = aligned(64 + 16 * self.n_blocks, 64)
            self.details_at = aligned(self.ends_at + 4 * self.n_obs, 64)

    @property
    def index(self):
        return self.files[self.index_name]

    def shard(self, number):
        return self.files.get(f"{self.folder}shard-{number:05}.bin")

    def record(self, block):
        return struct.unpack_from("<QII", self.index, self.blocks_at + 16 * block)

    def end(self, obs):
        """The end of an obs within its block; of the one before the first of a block, 0."""
        return struct.unpack_from("<I", self.index, self.ends_at + 4 * obs)[0]

    def start(self, obs):
        return 0 if obs % self.block_size == 0 else self.end(obs - 1)

    def detail(self, obs):
        return int.from_bytes(self.index[self.details_at + self.width * obs:][:self.width], "little")

    def set_detail(self, obs, value):
        at = self.details_at + self.width * obs
        self.index[at:at + self.width] = (value % (1 << 8 * self.width)).to_bytes(self.width, "little")

    def places(self, obs):
        """The shard of an obs, and where its bytes lie there: its frame, or its columns and its values."""
        offset, shard, _ = self.record(obs // self.block_size)
        start, end = self.start(obs), self.end(obs)
        if self.packed:
            return shard, [(offset + start, offset + end)]
        first = obs // self.block_size * self.block_size
        last = min(first + self.block_size, self.n_obs) - 1
        columns = aligned(4 * (last - first + 2), 64)
        values = aligned(columns + self.end(last) * self.column_bytes, 64)
        return shard, [(offset + at + start * size, offset + at + end * size)
                       for at, size in ((columns, self.column_bytes), (values, self.value_bytes))]

    def seal_obs(self):
        """The checksum of each obs, wherever the index now says that it lies."""
        for obs in range(self.n_obs):
            try:
                number, places = self.places(obs)
            except struct.error:
                return
            shard = self.shard(number)
            if shard is None or any(not 0 <= a <= b <= len(shard) for a, b in places):
                continue
            if self.packed:
                (a, b), = places
                if b - a >= 5:
                    head = struct.pack("<QI", self.first_obs + obs, self.detail(obs))
                    struct.pack_into("<I", shard, b - 4, crc32c(head + shard[a:b - 4]))
            else:
                head = struct.pack("<QI", self.first_obs + obs, max(0, self.end(obs) - self.start(obs)))
                self.set_detail(obs, crc32c(head + b"".join(shard[a:b] for a, b in places)))

    def seal(self, obs_table):
        """Checksums, headers, ids and lengths, by what the manifest now says."""
        about, shared, var = self.about, self.shared, self.files.get(self.folder + "var.arrow")
        for name, data in (("index", self.index), ("var", var)):
            if isinstance(about.get(name), dict) and data is not None:
                about[name].update(bytes=len(data), crc32c=pieces(data))
        shards = about["shards"] if isinstance(about.get("shards"), list) else []
        shards = [shard for shard in shards if isinstance(shard, dict)]
        for number, shard in enumerate(shards):
            if self.shard(number) is not None:
                shard["bytes"] = len(self.shard(number))
        if self.is_part:
            return
        text = ",".join(str({**shared, **about}.get(name)) for name in
                        ("n_obs", "n_vars", "nnz", "block_size", "alignment", "encoding", "value_type"))
        crcs = [crc32c(part) for part in (self.index[64:], obs_table, var, text.encode(errors="replace"))]
        store_id = struct.pack("<4I", *crcs)
        about["store_id"] = store_id.hex()
        try:
            n_obs, block_size = shared.get("n_obs"), shared.get("block_size")
            head = b"CLRINDEX" + struct.pack("<IIQQII", 1, 1 if about.get("encoding") == "packed" else 2, n_obs,
                                             ceil_div(n_obs, block_size), block_size, self.width) + store_id + bytes(4)
            self.index[:64] = head + struct.pack("<I", crc32c(head))
        except (struct.error, TypeError, ZeroDivisionError):
            pass  # what the manifest says does not fit into a header
        alignment = shared.get("alignment")
        for number, shard in enumerate(shards):
            data = self.shard(number)
            own = shard.get("store_id", store_id.hex())
            if data is not None and isinstance(own, str) and isinstance(alignment, int) and 64 <= alignment <= len(data):
                try:
                    self.seal_header(data, number, bytes.fromhex(own), alignment)
                except ValueError:
                    pass  # an id that is none

    @staticmethod
    def seal_header(shard, number, store_id, alignment):
        head = (b"CLRSHARD" + struct.pack("<II16s", 1, number, store_id)).ljust(alignment - 4, b"\0")
        shard[:alignment] = head + struct.pack("<I", crc32c(head))


class Directory:
    """A store or a part: its files, and what its manifest says."""

    def __init__(self, path):
        path = Path(path)
        self.manifest_name = "part.json" if (path / "part.json").exists() else "manifest.json"
        self.files = {str(file.relative_to(path)): bytearray(file.read_bytes())
                      for file in sorted(path.rglob("*")) if file.is_file()}
        self.manifest = json.loads(self.files.pop(self.manifest_name))
        del self.manifest["manifest_crc32c"]
        entries = [("", self.manifest)] + [(entry["directory"] + "/", entry) for entry in self.manifest.get("matrices", [])]
        first_obs = self.manifest.get("first_obs", 0)
        self.obs_name = self.manifest["obs"]["file"]
        self.matrices = [Sheaf(self.files, folder, about, self.manifest, first_obs) for folder, about in entries]
        # What is done after everything was sealed: to the manifest, to its text, to the files on the disk.
        self.after, self.text, self.disk = [], [], []
        self.seals = True

    def copy(self):
        return copy.deepcopy(self)

    def write(self, path):
        path = Path(path)
        if self.seals:
            for matrix in self.matrices:
                matrix.seal_obs()
            obs = self.files[self.obs_name]
            if isinstance(self.manifest.get("obs"), dict):
                self.manifest["obs"].update(bytes=len(obs), crc32c=pieces(obs))
            for matrix in self.matrices:
                matrix.seal(obs)
        for change in self.after:
            with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError, struct.error):
                change(self)  # unless another change took away what it is about
        text = sealed_json(self.manifest)
        for change in self.text:
            text = change(text)
        shutil.rmtree(path, ignore_errors=True)
        for name, data in self.files.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        (path / self.manifest_name).write_bytes(text)
        for change in self.disk:
            change(path)


def snapshot(root, without=()):
    """Every name below a directory with what is there: content, target of a link, or kind."""
    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in without]
        for name in folders + files:
            path = os.path.join(folder, name)
            if path in without:
                continue
            about = os.lstat(path)
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
            else:
                content = about.st_mode
            found[os.path.relpath(path, root)] = (about.st_ino, content)
    return found
