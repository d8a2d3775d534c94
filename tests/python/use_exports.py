"""Works with exported AnnData files as people do, and compares each result with that of the file they were converted from.

    python tests/python/use_exports.py < LIST

Each line of LIST is SOURCE, EXPORT, and optionally a range A..B of cells that was exported, separated by tabs. Each may be an
`.h5ad`, a zarr directory or a `.zarr.zip`. With more than MANY_CELLS cells or MANY_VALUES values only a few quick operations on matrices
run, and those on tables; with more than MANY_GENES genes those on matrices and tables. All of them would take minutes.

Each operation runs on the export and on the source, in the same environment. It falls short where

- it fails on the export and not on the source, or
- the results differ.

Where the source itself fails, because this version of a library does not do this to such a file, the export may fail too: these
are counted. If SOURCE is `-`, or this environment cannot read it, a twin of the export takes its place, with matrices that scipy made
from its arrays. Prints what falls short and ends with status 1, or prints the counts alone; with
SLOWEST=1 in the environment also which operations and files take the most time.
"""

import collections
import contextlib
import copy
import importlib.metadata
import io
import logging
import os
import sys
import time
import traceback
import warnings

# Two environments are tried at a time, on as few as two cores.
for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
warnings.simplefilter("ignore")

import anndata
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import scanpy
import zarr
from operations import ANNDATA, ANY, BACKED, QUICK, SCANPY, SPARSE, TABLES
from results import Different, equal, layer_names
from scipy import sparse

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
scanpy.settings.verbosity = 0
# pandas 3 reads texts as `str`, which anndata 0.12 writes only when it is told to.
if hasattr(anndata.settings, "allow_write_nullable_strings"):
    anndata.settings.allow_write_nullable_strings = True

MANY_CELLS, MANY_VALUES, MANY_GENES = 60, 120_000, 16_000


# Reading, and copies that change nothing.


def read(path):
    if path.rstrip("/").endswith(".zarr.zip"):
        return anndata.read_zarr(zarr.storage.ZipStore(path, mode="r"))
    if path.rstrip("/").endswith(".zarr"):
        return anndata.read_zarr(path)
    return anndata.read_h5ad(path)


def as_read(matrix):
    """A copy with the very arrays that were read. `matrix.copy()` brings indices and indptr to one type, which hides what is wrong."""
    if not sparse.issparse(matrix):
        return np.array(matrix)
    twin = copy.copy(matrix)
    twin.data, twin.indices, twin.indptr = matrix.data.copy(), matrix.indices.copy(), matrix.indptr.copy()
    return twin


def rebuilt(matrix):
    if not sparse.issparse(matrix):
        return np.array(matrix)
    return type(matrix)((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape, copy=True)


class File:
    """The parts of an AnnData that a store keeps, from which a fresh AnnData is made for each operation."""

    def __init__(self, adata, path):
        self.path = path
        self.obs, self.var = adata.obs, adata.var
        self.matrices = {"X": adata.X} if adata.X is not None else {}
        self.matrices |= {f"layers/{name}": adata.layers[name] for name in layer_names(adata)}
        self.raw_var = None
        if adata.raw is not None:
            self.raw_var, self.matrices["raw/X"] = adata.raw.var, adata.raw.X

    def in_the_form_of(self, other):
        """The same matrices as `other` has, in its formats: dense, CSR or CSC."""
        matrices = {}
        for name, model in other.matrices.items():
            if name not in self.matrices:
                raise Different(f"the export has {name}, which the source has not")
            value = self.matrices[name]
            if sparse.issparse(model) and not sparse.issparse(value):
                value = type(model)(np.asarray(value))
            elif sparse.issparse(model) and value.format != model.format:
                value = value.asformat(model.format)
            elif not sparse.issparse(model) and sparse.issparse(value):
                value = value.toarray()
            matrices[name] = value
        self.matrices = matrices
        if "raw/X" not in matrices:
            self.raw_var = None
        return self

    def twin(self):
        """The same, of matrices that scipy made."""
        twin = copy.copy(self)
        twin.matrices = {name: rebuilt(value) for name, value in self.matrices.items()}
        return twin

    def adata(self):
        parts = {name: as_read(value) for name, value in self.matrices.items()}
        raw = {"X": parts["raw/X"], "var": self.raw_var.copy()} if "raw/X" in parts else None
        layers = {name.removeprefix("layers/"): value for name, value in parts.items() if name.startswith("layers/")}
        return anndata.AnnData(
            parts.get("X"), obs=self.obs.copy(), var=self.var.copy(), layers=layers, raw=raw
        )


FAILED = object()


def attempt(operation, *arguments):
    try:
        with np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
            return operation(*arguments), None
    except Exception as error:
        return FAILED, error


def sentence(error):
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0][:160]} ({os.path.basename(place.filename)}:{place.lineno})"


class Tally:
    def __init__(self):
        self.counts = collections.Counter()
        self.short = []
        self.seconds = collections.Counter()
        self.files = collections.Counter()

    def judge(self, where, name, on_export, on_source):
        """Both are functions without arguments."""
        start = time.process_time()
        found, error = attempt(on_export)
        expected, _ = attempt(on_source)
        if found is FAILED and expected is FAILED:
            self.counts["fail on the source too"] += 1
        elif found is FAILED:
            self.fall_short(where, name, sentence(error))
        elif expected is FAILED:
            self.counts["fail on the source alone"] += 1
        else:
            try:
                equal(name, expected, found)
                self.counts["equal"] += 1
            except Different as difference:
                self.fall_short(where, name, str(difference)[:200])
        self.seconds[name] += time.process_time() - start
        self.files[where] += time.process_time() - start

    def fall_short(self, where, name, why):
        self.counts["fall short"] += 1
        self.short.append((where, name, why))


def texts_like(file, model):
    """Casts columns of texts to the type that they have in the model: which one texts are read as depends on the container too."""
    tables = [(file.obs, model.obs), (file.var, model.var)]
    if file.raw_var is not None:
        tables.append((file.raw_var, model.raw_var))
    for table, model in tables:
        for name in table.columns.intersection(model.columns):
            if {str(table[name].dtype), str(model[name].dtype)} <= {"object", "str", "string"}:
                table[name] = table[name].astype(model[name].dtype)


def n_values(file):
    return max((m.nnz if sparse.issparse(m) else m.size for m in file.matrices.values()), default=0)


def read_source(path, exported, cells):
    adata = read(path)
    if cells is None:
        return File(adata, path).in_the_form_of(exported)
    start, end = map(int, cells.split(".."))
    source = File(adata[start:end].copy(), path).in_the_form_of(exported)
    # Categories that no cell of the range has go with anndata's slice, and stay with pandas' and in an export.
    source.obs = adata.obs.iloc[start:end]
    return source


def use(tally, source_path, path, cells=None):
    where = os.path.basename(path if source_path == "-" else source_path) + (f" [{cells}]" if cells else "") + f" as {os.path.splitext(path)[1]}"
    adata, error = attempt(read, path)
    if adata is FAILED:
        tally.fall_short(where, "read", sentence(error))
        return
    exported = File(adata, path)
    for place, matrix in exported.matrices.items():
        if sparse.issparse(matrix) and matrix.indices.dtype != matrix.indptr.dtype:
            # scipy takes both to be of one type, in whatever it does later.
            tally.fall_short(where, place, f"indices are {matrix.indices.dtype}, indptr {matrix.indptr.dtype}")
    source, why_not = (FAILED, None) if source_path == "-" else attempt(read_source, source_path, exported, cells)
    if isinstance(why_not, Different):
        tally.fall_short(where, "read", str(why_not))
        return
    tally.counts["files"] += 1
    if source is FAILED:
        tally.counts["files without a source that this environment reads"] += 1
        source = exported.twin()
    elif os.path.splitext(source_path)[1] != os.path.splitext(path)[1]:
        texts_like(exported, source)
    is_small = len(exported.obs) <= MANY_CELLS and n_values(exported) <= MANY_VALUES

    def both(name, operation, make):
        tally.judge(where, name, lambda: operation(make(exported)), lambda: operation(make(source)))

    for place, matrix in exported.matrices.items():
        operations = ANY | SPARSE if sparse.issparse(matrix) else ANY
        for name, operation in operations.items():
            if is_small or name in QUICK:
                both(f"{place}: {name}", operation, lambda file: as_read(file.matrices[place]))
    if not len(exported.obs):
        return
    whole = TABLES
    if is_small and len(exported.var) <= MANY_GENES:
        # scanpy's functions are compiled for each type of values, which takes seconds for each.
        whole = TABLES | ANNDATA | (SCANPY if exported.matrices["X"].dtype == "f4" else {})
    for name, operation in whole.items():
        both(name, operation, File.adata)
    if whole is TABLES:
        return
    for name, (of_file, in_memory) in BACKED.items():
        if path.endswith(".h5ad") or name == "sparse_dataset[a:b]":
            tally.judge(where, name, lambda: of_file(exported), lambda: in_memory(source.adata()))


def main():
    tally = Tally()
    for line in sys.stdin:
        use(tally, *line.rstrip("\n").split("\t"))
    for where, name, why in tally.short:
        print(f"{where}: {name}: {why}")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("anndata", "scanpy", "scipy", "pandas", "zarr"))
    print(f"Python {sys.version.split()[0]}, {versions}")
    print(", ".join(f"{count} {what}" for what, count in sorted(tally.counts.items(), key=lambda item: -item[1])))
    if os.environ.get("SLOWEST"):
        for name, seconds in tally.seconds.most_common(25):
            print(f"{seconds:8.2f} s  {name}")
        for name, seconds in tally.files.most_common(12):
            print(f"{seconds:8.2f} s  {name}")
    if tally.short or not tally.counts["equal"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
