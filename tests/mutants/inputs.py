"""Mutants of what `convert` reads, and what is expected of it: what anndata and h5py read of the mutant, or a refusal."""

from __future__ import annotations

import os
import pickle
import re
import resource
import shutil
import signal
import warnings

import anndata
import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pandas as pd
import zarr
from scipy import io, sparse

import bytelevel
import structure
from forms import make_forms
from judge import EXCUSED, FINE, MIB, RIGHT, UNHARMED
from sealed import snapshot
from stores import canaries
from truth import plain

warnings.simplefilter("ignore")
CONVERT = ["--threads", 1, "--block-size", 16, "--memory", "256MiB"]


# What the readers refuse and cellring takes, and why.
EXCUSED_READERS = [
    # HDF5 calls most texts ASCII that are UTF-8; h5py writes them so itself.
    "'ascii' codec can't decode",
    # A nullable column is of the type of its values, whatever its encoding is called.
    "values should be integer numpy array",
    "values should be boolean numpy array",
    # A number whose layout is not one of numpy's: cellring translates it.
    "NumPy dtype descriptor requires",
    # A sign before a number.
    "Invalid integer value",
    # h5py gives numbers in the order of the file, which may be that of another machine.
    "scipy.sparse does not support dtype >",
]


class Inputs:
    """The family of inputs."""

    def __init__(self, cellring, folder, skip):
        self.cellring, self.bases = cellring, []
        for base in make_forms(folder):
            try:
                self.check(base, folder)
                self.bases.append(base)
            except RuntimeError as error:
                if not skip:
                    raise
                print(f"left out: {base.name}: {error}")
            shutil.rmtree(folder / "s", ignore_errors=True)

    def check(self, base, folder):
        """What is sound is read as the reader reads it; what `convert` says of it, it may say of a mutant."""
        said = self.cellring.run(folder, "convert", base.path, "-o", "s", *CONVERT)
        base.warnings = warned(said["out"], said["err"])
        self.cellring.must(folder, "convert", base.path, "-o", "s", "--force", *CONVERT)
        self.cellring.must(folder, "verify", "s")
        self.cellring.must(folder, "export", "s", "out.h5ad", "--force")
        base.holds = base.read(base.path)
        differs = compare(base.holds, anndata.read_h5ad(folder / "out.h5ad"), ())
        if differs:
            raise RuntimeError(f"{base.name}: {differs}")

    def judge(self, random, number, place):
        base = self.bases[number % len(self.bases)]
        canaries(place)
        mutant = place / "w" / base.path.name
        level, said = damaged(random, base, mutant)
        kind = f"{base.kind}, {'bytes' if level is bytelevel else 'structure'}"
        before = snapshot(place)
        end, out, why = self.cellring.judged(place, "convert", f"w/{mutant.name}", "-o", "store", *CONVERT)
        ends = []
        if end == RIGHT:
            end, why = self.accepted(place, base, mutant, warned(out, why))
            shutil.rmtree(place / "store")
            (place / "out.h5ad").unlink(missing_ok=True)
        if end in FINE and snapshot(place) != before:
            end = "changes files"
        ends.append(("convert", end, why))
        return kind, f"{base.name}: {said}", ends

    def accepted(self, place, base, mutant, said):
        for command in (["verify", "store", "--threads", 1], ["export", "store", "out.h5ad"]):
            end, _, why = self.cellring.judged(place, *command)
            if end != RIGHT:
                return f"makes what {command[0]} refuses", why
        said -= base.warnings
        exported = place / "out.h5ad"

        sound = in_child(lambda: ("reads", compare(base.holds, anndata.read_h5ad(exported), said)))
        if sound is None:
            return "makes what anndata cannot read", str(exported)

        def beside():
            found = anndata.read_h5ad(exported)
            try:
                holds = base.read(mutant)
            except Exception as error:  # noqa: BLE001  whatever it is, the reader refuses
                return "refuses", compare(base.holds, found, said), f"{type(error).__name__}: {error}"
            return "reads", compare(holds, found, said), compare(base.holds, found, said)

        answer = in_child(beside)
        how, differs, other = answer or ("refuses", sound[1], "it crashed")
        if differs is None:
            return (UNHARMED if other is None or how == "refuses" else RIGHT), ""
        if how == "reads":
            # What was changed is nothing that is stored, or is read so by h5py only because it does not look at checksums.
            if other is None:
                return UNHARMED, ""
            return (EXCUSED if in_child(lambda: is_renamed_enum(mutant, differs)) else "is wrong"), differs
        # A warning may be about something else.
        if said:
            return EXCUSED, "; ".join(said)
        if any(reason in (other or "") for reason in EXCUSED_READERS):
            return EXCUSED, other
        return "takes what the reader refuses", f"{other}; {differs}"


def damaged(random, base, mutant):
    """Writes an input with a damage: at which level that is, and what it is."""
    level = structure if random.random() < 0.6 else bytelevel
    said = in_child(lambda: level.change(random, base, mutant))
    if said is not None and os.path.lexists(mutant):
        return level, said
    if mutant.is_dir():
        shutil.rmtree(mutant)
    return bytelevel, bytelevel.change(random, base, mutant)


def is_renamed_enum(path, differs):
    """Whether a column is an enum whose members have other names than booleans: h5py reads their numbers, cellring their names."""
    found = re.match(r"(obs|var)\['(.*)'\] is another", differs)
    with h5py.File(path) as file:
        members = found and h5py.check_enum_dtype(file[found[1]][found[2]].dtype)
        return bool(members) and set(members) != {"FALSE", "TRUE"}


def warned(out, err):
    """The lines in which `convert` says what it changes or leaves out."""
    return {line for line in [*out.splitlines(), *err.splitlines()] if line.startswith(("warning: ", "not stored: "))}


def in_child(function, seconds=30):
    """What a function gives in a process of its own: readers of damaged files may crash or never end. None where it does not end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (8192 * MIB, 8192 * MIB))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            signal.alarm(seconds)
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(function(), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    return pickle.loads(data) if status == 0 and data else None


# ---- readers ----

def checked(matrix):
    """Canonical, as cellring stores it; what scipy takes without looking is looked at."""
    if not sparse.issparse(matrix):
        dense = np.asarray(matrix)
        keep = dense.view(f"u{dense.dtype.itemsize}") != 0 if dense.dtype.kind == "f" else dense != 0
        rows, columns = np.nonzero(keep)
        return sparse.csr_matrix((dense[keep], (rows, columns)), shape=dense.shape)
    matrix.check_format(full_check=True)
    matrix = sparse.csr_matrix(matrix)
    if matrix.dtype.byteorder == ">":
        matrix = matrix.astype(matrix.dtype.newbyteorder("="))
    matrix.sum_duplicates()
    matrix.sort_indices()
    keep = matrix.data.view(f"u{matrix.dtype.itemsize}") != 0 if matrix.dtype.kind == "f" else matrix.data != 0
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[keep]
    return sparse.csr_matrix((matrix.data[keep], (rows, matrix.indices[keep])), shape=matrix.shape)


class Holds:
    """What a reader reads: the matrix, and the two tables as columns of values."""

    def __init__(self, matrix, obs, var, has_type=True):
        self.matrix, self.obs, self.var, self.has_type = checked(matrix), columns(obs), columns(var), has_type


def columns(frame):
    found = {name: [plain(value) for value in frame[name].tolist()] for name in frame.columns}
    return {"": [plain(name) for name in frame.index], **found}


def read_anndata(path):
    found = anndata.read_h5ad(path)
    return Holds(found.X, found.obs, found.var)


def read_zarr(path):
    if path.suffix == ".zip":
        with zarr.storage.ZipStore(path, mode="r") as store:
            found = anndata.read_zarr(store)
            return Holds(found.X, found.obs, found.var)
    found = anndata.read_zarr(path)
    return Holds(found.X, found.obs, found.var)


def texts(values):
    return [value.rstrip(b"\0").decode() for value in values[()]]


def read_tenx(path):
    with h5py.File(path) as file:
        group = file["matrix"] if "matrix" in file else file[next(iter(file))]
        shape = tuple(int(n) for n in group["shape"][()])
        matrix = sparse.csc_matrix((group["data"][()], group["indices"][()].astype("i8"), group["indptr"][()].astype("i8")), shape=shape)
        matrix.check_format(full_check=True)
        obs = pd.DataFrame(index=texts(group["barcodes"]))
        names = texts(group["features/name"] if "features" in group else group["gene_names"])
        # CellRanger 2 had the ids in `genes`; a file without is one with names alone.
        place = "features/id" if "features" in group else "genes"
        ids = texts(group[place]) if place in group else None
        if (len(obs), len(names)) != shape[::-1]:
            raise ValueError("names and shape differ")
        return Holds(matrix.T.tocsr(), obs, pd.DataFrame({} if ids is None else {"gene_ids": ids}, index=names))


def read_market(path):
    matrix = next(file for file in sorted(path.iterdir()) if file.name.startswith("matrix.mtx"))
    found = sparse.csr_matrix(io.mmread(matrix))

    def lines(stem):
        import gzip
        file = next(file for file in path.iterdir() if file.name.startswith(stem))
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        return [line for line in data.decode().replace("\r\n", "\n").split("\n") if line]

    barcodes = [line.split("\t")[0] for line in lines("barcodes")]
    features = [line.split("\t") for line in lines("features")]
    if found.shape != (len(features), len(barcodes)):
        raise ValueError("names and shape differ")
    return Holds(found.T.tocsr(), pd.DataFrame(index=barcodes), pd.DataFrame({"gene_ids": [f[0] for f in features]},
                                                                              index=[f[1] for f in features]), has_type=False)


READERS = {"h5ad": read_anndata, "old h5ad": read_anndata, "zarr": read_zarr, "zip": read_zarr, "10x": read_tenx, "mtx": read_market}


# ---- beside what was exported ----

def compare(holds, found, said):
    """What is otherwise, or None. Where a column is not stored, `convert` must say so."""
    matrix, expected = checked(found.X), holds.matrix
    if matrix.shape != expected.shape:
        return f"the shape is {matrix.shape}, expected {expected.shape}"
    if holds.has_type and matrix.dtype != expected.dtype:
        return f"the type is {matrix.dtype}, expected {expected.dtype}"
    same = np.array_equal(matrix.indptr, expected.indptr) and np.array_equal(matrix.indices, expected.indices)
    if holds.has_type:
        same = same and matrix.data.tobytes() == expected.data.tobytes()
    else:  # text, which may become any type that holds it
        same = same and [plain(value) for value in matrix.data] == [plain(value) for value in expected.data]
    if not same:
        return "the values are others"
    for what, table, frame in (("obs", holds.obs, found.obs), ("var", holds.var, found.var)):
        exported = columns(frame)
        for name, values in table.items():
            if name not in exported:
                if not said:
                    return f"{what}[{name!r}] is missing"
            elif exported[name] != values:
                return f"{what}[{name!r}] is another"
    return None
