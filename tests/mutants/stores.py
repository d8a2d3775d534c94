"""Mutants of stores, of parts and of states, and what is expected of the commands that read them."""

from __future__ import annotations

import json
import os
import shutil
import warnings

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

import arrow
import damage
import spec_reader
import truth
from judge import EXCUSED, REFUSED, RIGHT
from sealed import Directory, snapshot

N_OBS, N_VARS = 40, 60
BATCH = ["--strategy", "sequential", "--batch-size", truth.BATCH_SIZE, "--fetch-factor", 2, "--block-size", 8]
EPOCH = ["--digest", "--json", "--memory", "16MiB", "--threads", 1, *BATCH]
REFUSALS = (spec_reader.Damage, arrow.Damage)
# What a command says of a member that comes twice in an object; Python's JSON takes the last.


def values(random, kind, n_obs=N_OBS, n_vars=N_VARS):
    """A sparse matrix; every seventh obs is empty."""
    matrix = sparse.random(n_obs, n_vars, 0.3, "csr", random_state=random)
    n = matrix.nnz
    matrix = matrix.astype(kind)
    if np.dtype(kind).kind == "f":
        whole = np.where(random.random(n) < 0.1, random.integers(1, 100_000, n), random.integers(1, 5, n))
        matrix.data[:] = whole
    elif np.dtype(kind).kind == "b":
        matrix.data[:] = True
    else:
        matrix.data[:] = np.where(random.random(n) < 0.2, -3 if np.dtype(kind).kind == "i" else 200, random.integers(1, 9, n))
    matrix = matrix.tolil()
    matrix[3::7] = 0
    matrix = matrix.tocsr()
    matrix.eliminate_zeros()
    return matrix


def example(random, matrix):
    n_obs, n_vars = matrix.shape
    numbers = np.arange(n_obs)
    obs = pd.DataFrame({
        "type": pd.Categorical.from_codes(numbers % 4 - 1, ["B cell", "T cell", "NK"]),
        "score": numbers * 0.5,
        "n": numbers * 3,
        "is": numbers % 2 == 0,
        "note": [f"note {k}" for k in numbers],
        "some": pd.array([None if k % 5 == 0 else k for k in range(n_obs)], dtype="Int64"),
    }, index=[f"cell_{k}" for k in numbers])
    var = pd.DataFrame({"length": np.arange(n_vars, dtype="i4")}, index=[f"gene_{k}" for k in range(n_vars)])
    return anndata.AnnData(matrix, obs=obs, var=var)


# Name, type of the values, options of `convert`.
SIMPLE = [
    ("counts", "f4", []),
    ("doubles", "f8", ["--shuffle", "3"]),
    ("signed", "i2", ["--var-order", "source"]),
    ("booleans", "?", []),
    ("raw", "i4", ["--encoding", "raw"]),
    ("raw_doubles", "f8", ["--encoding", "raw"]),
    ("shards", "f4", ["--shard-size", "12k"]),
]


NAMES = [name for name, *_ in SIMPLE] + ["several", "several_raw", "appended"]


def bases(cellring, folder):
    """The sound stores, made once by the command itself."""
    if not (folder / "appended").exists():
        make_bases(cellring, folder)
    return [(name, Directory(folder / name)) for name in NAMES]


def make_bases(cellring, folder):
    warnings.simplefilter("ignore")
    random = np.random.default_rng(5)
    block = ["--block-size", "16", "--threads", "1"]
    for name, kind, options in SIMPLE:
        matrix = values(random, kind)
        if name in ("doubles", "raw_doubles"):
            matrix.data[::3] = np.log1p(matrix.data[::3])
        example(random, matrix).write_h5ad(folder / f"{name}.h5ad")
        cellring.must(folder, "convert", f"{name}.h5ad", "-o", name, *block, *options)
    several = example(random, values(random, "f4"))
    several.raw = example(random, values(random, "f4", n_vars=N_VARS + 20))
    several.layers["counts"], several.layers["scaled"] = values(random, "u2"), values(random, "f8")
    several.obsm["X_pca"] = random.random((N_OBS, 3)).astype("f4")
    several.write_h5ad(folder / "several.h5ad")
    places = ["--x", "--layer", "counts", "--layer", "scaled", "--raw", "--obsm", "X_pca"]
    cellring.must(folder, "convert", "several.h5ad", "-o", "several", *block, *places)
    cellring.must(folder, "convert", "several.h5ad", "-o", "several_raw", *block, *places, "--encoding", "raw")
    cellring.must(folder, "convert", "counts.h5ad", "-o", "appended", *block)
    more = example(random, values(random, "f4", 9))
    more.obs_names = [f"more_{k}" for k in range(9)]
    more.write_h5ad(folder / "more.h5ad")
    cellring.must(folder, "append", "appended", "more.h5ad", "--threads", 1)
    for name in NAMES:
        cellring.must(folder, "verify", name)
        cellring.must(folder, "info", name, "--json")
        cellring.must(folder, "export", name, "out.h5ad", "--force")
        cellring.must(folder, "epoch", name, *EPOCH, "--allow-rounding", "--obs-columns", "type,score,note")
        check_base(cellring, folder, name)


def check_base(cellring, folder, name):
    """The readers agree about what is not damaged, or nothing that they say of a mutant counts."""
    content = truth.strict(folder / name)
    said = truth.differs(content, anndata.read_h5ad(folder / "out.h5ad"))
    found = json.loads(cellring.must(folder, "epoch", name, *EPOCH, "--allow-rounding"))["digest"]
    expected = truth.sequential_digest(truth.Lenient(folder / name, True).rows())
    if said or found != expected:
        raise RuntimeError(f"{name}: {said or 'the digest is another'}")


def make_parts(cellring, folder):
    for name, options in (("packed", []), ("raw", ["--encoding", "raw"])):
        place = folder / f"parts_{name}" / "w"
        place.mkdir(parents=True)
        for k in (1, 2):
            cellring.must(folder, "convert", "counts.h5ad", "-o", place / "mg", "--part", f"{k}/2", "--block-size", "8", *options)
        shutil.copytree(folder / f"parts_{name}", folder / "merged")
        cellring.must(folder, "merge", "-o", "merged/w/mg")
        shutil.rmtree(folder / "merged")
    return ["packed", "raw"]


def make_states(cellring, folder):
    cellring.must(folder, "epoch", "counts", *EPOCH, "--minibatches", 1, "--save-state", "state.json")
    return json.loads((folder / "state.json").read_bytes())


class Stores:
    """The family of stores: the commands that read or change one, after each change of it."""

    def __init__(self, cellring, folder, _skip):
        self.cellring, self.folder = cellring, folder
        self.bases = bases(cellring, folder)

    def judge(self, random, number, place):
        """Yields the kind of the mutant, what was done, and (command, how it ended, why) of each command."""
        name, base = self.bases[number % len(self.bases)]
        directory = base.copy()
        kind, said = damage.change(random, directory)
        directory.seals = kind != "flips"
        canaries(place)
        store = place / "w" / "store"
        directory.write(store)
        before = snapshot(place)
        try:
            content, why = truth.strict(store), None
        except REFUSALS as error:
            content, why = None, str(error)
        ends = [self.verify(place, content, why, kind), self.info(place, content)]
        ends += [self.export(random, place, content, why, kind), self.epoch(random, place, content)]
        (place / "out.h5ad").unlink(missing_ok=True)
        if snapshot(place) != before:
            ends.append(("reading", "changes files", ""))
        if random.random() < 0.2:
            ends.append(self.append(place, content))
        return kind, f"{name}: {said}", ends

    def verify(self, place, content, why, kind):
        end, _, said = self.cellring.judged(place, "verify", "w/store", "--threads", 1)
        if end == RIGHT and content is None:
            return "verify", "takes what the format refuses", why
        if end == REFUSED and content is not None:
            return "verify", EXCUSED if excused(content, said, kind) else "refuses what the format allows", said
        return "verify", end, said

    def info(self, place, content):
        end, out, said = self.cellring.judged(place, "info", "w/store", "--json")
        if end == RIGHT and content is not None:
            found = json.loads(out)
            if (found["n_obs"], found["n_vars"]) != (len(content.rows), content.n_vars):
                return "info", "is wrong", out
        return "info", end, said

    def export(self, random, place, content, why, kind):
        end, _, said = self.cellring.judged(place, "export", "w/store", "out.h5ad")
        if end == RIGHT and content is not None and content.unknown is None:
            said = truth.differs(content, anndata.read_h5ad(place / "out.h5ad"))
            return "export", "is wrong" if said else RIGHT, said or ""
        if end == RIGHT and content is None:
            # Some rules are only for `verify`; the rows that are delivered are those of the index, or it is refused.
            rows, why = lenient(place / "w" / "store")
            if rows is None:
                return "export", "takes what the format refuses", why
            return "export", RIGHT, ""
        return "export", end, said

    def epoch(self, random, place, content):
        columns = ["--obs-columns", "type,score,note"] if random.random() < 0.5 else []
        backend = ["--backend", random.choice(["auto", "pread", "mmap"])]
        rounding = ["--allow-rounding"] if random.random() < 0.5 else []
        end, out, said = self.cellring.judged(place, "epoch", "w/store", *EPOCH, *backend, *columns, *rounding)
        if end != RIGHT:
            return "epoch", end, said
        rows, why = lenient(place / "w" / "store")
        if rows is None:
            return "epoch", "takes what the format refuses", why
        if not rounding and not all(truth.is_f32_exact(values) for _, values in rows):
            return "epoch", "rounds", "a value is not exact as f32"
        expected = truth.sequential_digest(rows)
        return "epoch", RIGHT if expected in (None, json.loads(out)["digest"]) else "is wrong", ""

    def append(self, place, content):
        more = self.folder / "more.h5ad"
        before = snapshot(place, (str(place / "w" / "store"),))
        end, _, said = self.cellring.judged(place, "append", "w/store", more, "--threads", 1)
        if snapshot(place, (str(place / "w" / "store"),)) != before:
            return "append", "changes other files", said
        if end != RIGHT:
            return "append", end, said
        try:
            found = truth.strict(place / "w" / "store")
        except REFUSALS as error:
            return "append", "makes what the format refuses" if content else RIGHT, str(error)
        if content is not None and not same_rows(found.rows[:len(content.rows)], content.rows):
            return "append", "is wrong", "the rows that were there are others"
        return "append", RIGHT, said


def excused(content, said, kind):
    """Why `verify` may refuse what the readers take that are written from FORMAT.md."""
    return (
        # They do not know every type of Arrow.
        content.unknown is not None
        # The readers do not check all that makes a flatbuffer a sound one, nor the bytes that no row of a column uses.
        or (kind == "tables" and ("obs.arrow" in said or "var.arrow" in said or "obs-0001.arrow" in said))
    )


def lenient(path):
    try:
        return truth.Lenient(path, True).rows(), None
    except spec_reader.Damage as error:
        return None, str(error)


def same_rows(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x[0], y[0]) and np.asarray(x[1]).tobytes() == np.asarray(y[1]).tobytes() for x, y in zip(a, b))


def canaries(place):
    """Files around the store that are none of its business."""
    shutil.rmtree(place, ignore_errors=True)
    (place / "w" / "deep").mkdir(parents=True)
    for name in ("victim", "w/victim", "w/deep/precious", "victim.bin"):
        (place / name).write_bytes(name.encode() * 1000)


class Parts:
    """The family of parts: `merge` refuses them and leaves all as it was, or makes a store that is what they say."""

    def __init__(self, cellring, folder, _skip):
        self.cellring, self.folder = cellring, folder
        bases(cellring, folder)
        self.bases = make_parts(cellring, folder)

    def judge(self, random, number, place):
        name = self.bases[number % len(self.bases)]
        canaries(place)
        paths = [place / "w" / f"mg.part-000{k}-of-0002" for k in (1, 2)]
        parts = [Directory(self.folder / f"parts_{name}" / "w" / path.name) for path in paths]
        k = random.randrange(2)
        kinds = tuple(kind for kind in damage.KINDS if kind != "matrices")
        kind, said = damage.change(random, parts[k], kinds)
        parts[k].seals = kind != "flips"
        if kind == "manifest" and random.random() < 0.5:
            both(*parts, k)
            said += ", in both"
        for part, path in zip(parts, paths):
            part.write(path)
        before = snapshot(place)
        end, _, why = self.cellring.judged(place, "merge", "-o", "w/mg")
        return kind, f"{name}, part {k + 1}: {said}", [self.merged(place, parts, before, end, why)]

    def merged(self, place, parts, before, end, why):
        after = snapshot(place)
        if end == REFUSED:
            return "merge", REFUSED if after == before else "changes files", why
        others = [{name: found for name, found in of.items() if not name.startswith("w/mg") and name != "w"} for of in (before, after)]
        if others[0] != others[1]:
            return "merge", "changes other files", why
        if end != RIGHT:
            return "merge", end, why
        try:
            content = truth.strict(place / "w" / "mg")
            expected = [row for part in parts for row in truth.rows_of_part(part.matrices[0])]
        except REFUSALS as error:
            return "merge", "takes what the format refuses", str(error)
        if not same_rows(content.rows, expected):
            return "merge", "is wrong", "the rows are others"
        end, _, said = self.cellring.judged(place, "verify", "w/mg")
        return "merge", RIGHT if end == RIGHT else "makes what verify refuses", said


def both(a, b, k):
    """What was changed in one part is changed in the other too."""
    of, to = (a, b) if k == 0 else (b, a)
    to.after += of.after
    for name, value in of.manifest.items():
        if name not in ("part", "first_obs", "n_obs", "nnz", "shards", "index", "obs", "obs_rows", "var", "max_obs_nnz", "max_obs_bytes"):
            to.manifest[name] = value


class States:
    """The family of states: `epoch --resume` refuses one, or goes on where it says."""

    def __init__(self, cellring, folder, _skip):
        self.cellring, self.folder = cellring, folder
        bases(cellring, folder)
        self.base = make_states(cellring, folder)
        self.rows = truth.Lenient(folder / "counts", True).rows()

    def judge(self, random, number, place):
        canaries(place)
        state, said = State(self.base), None
        while said is None:
            said = random.choice(STATES)(random, state)
        state.write(place)
        before, replaceable = snapshot(place), is_a_state(place / "state.json")
        end, out, why = self.cellring.judged(place, "epoch", self.folder / "counts", *EPOCH, "--resume", "state.json")
        ends = [self.resumed(place, end, out, why)]
        end, _, why = self.cellring.judged(place, "epoch", self.folder / "counts", *EPOCH, "--minibatches", 1, "--save-state", "state.json")
        after = snapshot(place)
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        if end == RIGHT and changed == ["state.json"] and replaceable:
            ends.append(("save", RIGHT, ""))
        elif end == RIGHT or changed:
            ends.append(("save", "replaces what is not a state", f"{changed} {why}"))
        else:
            ends.append(("save", end, why))
        return "states", said, ends

    def resumed(self, place, end, out, why):
        if end != RIGHT:
            return "resume", end, why
        state = json.loads((place / "state.json").read_bytes())
        if (state["version"], state["fingerprint"]) != (1, self.base["fingerprint"]):
            return "resume", "takes another sampler's state", ""
        history = state["history"]
        if any(leg["world_size"] != 1 for leg in history) or len(history) > 1:
            return "resume", RIGHT, why  # what ranks of other numbers have left is told by tests of the plan
        done = history[0]["minibatches"] if history else 0
        expected = truth.sequential_digest(self.rows, done * truth.BATCH_SIZE)
        return "resume", RIGHT if expected in (None, json.loads(out)["digest"]) else "is wrong", why


class State:
    """A state, as `damage` takes a directory."""

    def __init__(self, base):
        self.manifest, self.manifest_name, self.files = json.loads(json.dumps(base)), "state.json", {}
        self.after, self.disk = [], []

    def write(self, place):
        for change in self.after:
            change(self)
        (place / self.manifest_name).write_text(json.dumps(self.manifest))
        for change in self.disk:
            change(place)


STATES = [damage.manifest_number, damage.manifest_number, damage.manifest_wrong, damage.manifest_missing, damage.manifest_name,
          damage.replaced, damage.flipped]


def legs(random, state):
    kinds = [0, 1, 2, 3, 16, 1 << 20, (1 << 31) - 1, (1 << 32) - 1]
    state.manifest["history"] = [{"world_size": random.choice(kinds), "minibatches": random.choice([*kinds, (1 << 63), (1 << 64) - 1])}
                                 for _ in range(random.choice([0, 1, 2, 3, 1000]))]
    return f"history = {state.manifest['history'][:3]}"


STATES += [legs, legs]


def is_a_state(path):
    """Whether a state may be saved there: nothing is there, or a state, perhaps by way of a link."""
    try:
        return not os.path.lexists(path) or (path.is_file() and "fingerprint" in json.loads(path.read_bytes()))
    except (TypeError, ValueError, OSError):
        return False
