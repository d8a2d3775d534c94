"""Mutants of linked stores, and of the files that they lead to: what the readers find in the mutant, or a refusal."""

from __future__ import annotations

import json
import os
import shutil
import struct

import anndata
import numpy as np

import arrow
import damage
import spec_reader
import truth
from forms import make_forms
from inputs import Inputs, damaged, in_child, warned
from judge import EXCUSED, FINE, REFUSED, RIGHT, UNHARMED
from sealed import pieces, sealed_json, snapshot
from spec_reader import crc32c
from stores import canaries

EPOCH = ["--digest", "--json", "--memory", "64MiB", "--threads", 1, "--allow-rounding", "--strategy", "sequential", "--batch-size", truth.BATCH_SIZE,
         "--block-size", 8]


def age(path):
    """As if it had been written some time ago: `link` would wait for that."""
    found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names] if path.is_dir() else [path]
    for file in found:
        os.utime(file, ns=(10**18, 10**18), follow_symlinks=False)


def copied(source, target):
    """With its times."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


class Links(Inputs):
    """The family of links."""

    def __init__(self, cellring, folder, _skip):
        self.cellring, self.folder, self.bases = cellring, folder / "links", []
        self.folder.mkdir()
        for base in make_forms(self.folder):
            age(base.path)
            try:
                # Every other one has a checksum of each row: with them, few damaged ones get beyond it.
                checksum = ["--checksum"] if len(self.bases) % 2 else []
                said = cellring.must(self.folder, "link", base.path, "-o", f"{base.name}.link", *checksum)
            except RuntimeError:
                continue  # matrices that are stored by genes, or as text
            base.warnings, base.holds = warned(said, ""), base.read(base.path)
            self.bases.append(base)
            self.learn(f"{base.name}.link")
        if len(self.bases) < 8:
            raise RuntimeError(f"only {len(self.bases)} forms can be linked")
        # Those whose index the second reader reads, and two of them as one.
        self.linked = [(base.name, [base.path]) for base in self.bases if readable(self.folder / f"{base.name}.link")]
        pair = [paths[0] for _, paths in self.linked[:2]]
        cellring.must(self.folder, "link", *pair, "-o", "both.link", "--join", "outer")
        self.learn("both.link")
        self.linked += [("both", pair)] * len(self.linked)

    def learn(self, store):
        self.cellring.must(self.folder, "verify", store, "--threads", 1)
        self.cellring.must(self.folder, "export", store, "out.h5ad", "--force")
        self.cellring.must(self.folder, "epoch", store, *EPOCH)

    def judge(self, random, number, place):
        canaries(place)
        how = random.random()
        if how < 0.4:
            return self.of_source(random, self.bases[number % len(self.bases)], place)
        name, sources = self.linked[number % len(self.linked)]
        for source in sources:
            copied(source, place / "w" / source.name)
        store = place / "w" / "store"
        shutil.copytree(self.folder / f"{name}.link", store)
        if how < 0.5:
            return self.of_changed(random, name, sources, place)
        return self.of_index(random, name, place)

    def of_source(self, random, base, place):
        """What is linked is damaged."""
        mutant = place / "w" / base.path.name
        _, said = damaged(random, base, mutant)
        age(mutant)
        before = snapshot(place)
        end, out, why = self.cellring.judged(place, "link", f"w/{mutant.name}", "-o", "store")
        if end == RIGHT:
            end, why = self.accepted(place, base, mutant, warned(out, why))
            shutil.rmtree(place / "store")
            (place / "out.h5ad").unlink(missing_ok=True)
        if end in FINE and snapshot(place) != before:
            end = "changes files"
        return "sources", f"{base.name}: {said}", [("link", end, why)]

    def accepted(self, place, base, mutant, said):
        """Values are looked at when they are read: what was linked may be refused then."""
        end, why = super().accepted(place, base, mutant, said)
        return (REFUSED, why) if end.startswith("makes what") and why.startswith("error: ") else (end, why)

    def of_changed(self, random, name, sources, place):
        """What was linked changes afterwards, and has the times that it had."""
        source = place / "w" / random.choice(sources).name
        files = [source] if source.is_file() else sorted(file for file in source.rglob("*") if file.is_file())
        file = random.choice([file for file in files if file.stat().st_size])
        data = bytearray(file.read_bytes())
        at = random.randrange(len(data))
        data[at] ^= 1 << random.randrange(8)
        times = file.stat()
        file.write_bytes(data)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        ends = []
        # So short a file is compared as a whole; metadata of obs and var were copied.
        for command in (["verify", "w/store", "--threads", 1], ["epoch", "w/store", *EPOCH]):
            end, _, why = self.cellring.judged(place, *command)
            is_watched = str(file.relative_to(place / "w")).encode() in (place / "w/store/index.bin").read_bytes()
            ends.append((command[0], "takes a changed file" if end == RIGHT and is_watched else end, why))
        return "changed", f"{name}: byte {at} of {file.name}", ends

    def of_index(self, random, name, place):
        """The index says something else, and its checksums hold."""
        store = place / "w" / "store"
        said = change_index(random, store)
        before = snapshot(place)
        content = in_child(lambda: read(store))
        ends = []
        end, _, why = self.cellring.judged(place, "verify", "w/store", "--threads", 1)
        if end == RIGHT and content is None:
            end = "takes what the format refuses"
        elif end == REFUSED and content is not None:
            # The second reader does not compare the checksums of chunks.
            end = EXCUSED if "is damaged" in why and "checksum" in why else "refuses what the format allows"
        ends.append(("verify", end, why))
        end, _, why = self.cellring.judged(place, "export", "w/store", "out.h5ad")
        if end == RIGHT and content is not None:
            found = anndata.read_h5ad(place / "out.h5ad").X
            end = RIGHT if same(content, found) else "is wrong"
        elif end == RIGHT:
            # What only `verify` looks at, or rows that are elsewhere, as the index says.
            end = EXCUSED
        ends.append(("export", end, why))
        (place / "out.h5ad").unlink(missing_ok=True)
        end, _, why = self.cellring.judged(place, "epoch", "w/store", *EPOCH)
        ends.append(("epoch", UNHARMED if end == RIGHT else end, why))
        if snapshot(place) != before:
            ends.append(("reading", "changes files", ""))
        return "index", f"{name}: {said}", ends


def readable(store):
    try:
        spec_reader.Store(store, True).read()
        return True
    except spec_reader.Damage:
        return False


def read(store):
    """The rows of the first matrix, or None where a rule is broken; a process that takes too much memory has none either."""
    try:
        found = spec_reader.Store(store, True)
        arrow.Table(found.files[spec_reader.OBS], found.manifest.n_obs)
        return found.read()
    except (spec_reader.Damage, arrow.Damage):
        return None


def same(content, found):
    found = found.tocsr() if hasattr(found, "tocsr") else np.asarray(found)
    if isinstance(found, np.ndarray):
        rows = np.repeat(np.arange(found.shape[0]), np.diff(content.indptr))
        return np.array_equal(found[rows, content.indices].view(np.uint8), np.ascontiguousarray(content.data, found.dtype).view(np.uint8))
    return (np.array_equal(found.indptr, content.indptr) and np.array_equal(found.indices, content.indices)
            and found.data.tobytes() == content.data.tobytes())


def change_index(random, store):
    """Changes numbers of the index, and makes all checksums hold again. Says what was changed."""
    path, manifest_path = store / spec_reader.INDEX, store / spec_reader.MANIFEST
    data = bytearray(path.read_bytes())
    end = 64 + struct.unpack_from("<I", data, 32)[0]
    said = []
    for _ in range(1 if random.random() < 0.85 else 2):
        kind = random.choice(["description", "description", "sections", "sections", "header", "length"])
        first, last = {"description": (64, end), "sections": (end, len(data)), "header": (8, 40), "length": (0, 0)}[kind]
        if kind == "length":
            said.append(damage.change_length(random, data, spec_reader.INDEX))
            break
        size = random.choice([1, 2, 4, 8])
        at = random.randrange(first, max(first + 1, last - size))
        said.append(damage.change_number(random, data, spec_reader.INDEX, at, size))
    seal(data, store, manifest_path)
    path.write_bytes(data)
    return "; ".join(said)


def seal(data, store, manifest_path):
    """The ids and checksums of what the index says now, as far as it says anything."""
    manifest = json.loads(manifest_path.read_bytes())
    del manifest["manifest_crc32c"]
    obs, var = ((store / name).read_bytes() for name in (spec_reader.OBS, spec_reader.VAR))
    text = ",".join(str(manifest[name]) for name in ("n_obs", "n_vars", "nnz", "block_size", "alignment", "encoding", "value_type"))
    crcs = [crc32c(part) for part in (identifying(bytes(data)), obs, var, text.encode())]
    store_id = struct.pack("<4I", *crcs)
    if len(data) >= 64:
        data[40:56] = store_id
        data[60:64] = struct.pack("<I", crc32c(bytes(data[:60])))
    manifest["store_id"] = store_id.hex()
    manifest["index"].update(bytes=len(data), crc32c=pieces(bytes(data)))
    manifest_path.write_bytes(sealed_json(manifest))


def identifying(data):
    """Section 12: what of the index its store id is made of; all of it where it cannot be told apart."""
    try:
        reader = spec_reader.Store.__new__(spec_reader.Store)
        reader.files = {spec_reader.INDEX: data}
        return reader.identifying_index()
    except (struct.error, IndexError):
        return data[64:]
