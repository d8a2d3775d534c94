"""Compares stores with what anndata reads from their sources, in whatever Python this is run by.

    python compare_with_anndata.py FOLDER [--matrices] < PAIRS

PAIRS holds on each line a source, a tab, and the store that was made of it. Besides, an AnnData with columns of every kind is written to
FOLDER, converted and compared, and the same in memory. Prints a line for each source, with "equal", what differs, or "cannot be read" and
why. With --matrices the values of all matrices are compared too, not only obs and var.
"""

from __future__ import annotations

import pathlib
import sys
import warnings
from typing import Any

import anndata
import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem
from scipy import sparse

import cellring


class CannotRead(Exception):
    """This anndata does not read the source, so that there is nothing to compare with."""


def read(path: str) -> tuple[anndata.AnnData, bool]:
    """A source as anndata reads it; obs and var alone, and False, if it refuses other things in it."""
    try:
        if path.endswith(".h5ad"):
            return anndata.read_h5ad(path), True
        return anndata.read_zarr(zarr.storage.ZipStore(path, mode="r") if path.endswith(".zip") else path), True
    except Exception as error:
        try:
            root = open_root(path)
            return anndata.AnnData(obs=read_elem(root["obs"]), var=read_elem(root["var"])), False
        except Exception:
            raise CannotRead(f"{type(error).__name__}: {error}") from error


def open_root(path: str) -> Any:
    if path.endswith(".h5ad"):
        return h5py.File(path)
    store = zarr.storage.ZipStore(path, mode="r") if path.endswith(".zip") else path
    # Consolidated metadata describe arrays that are not needed, in types that this zarr may not know.
    return zarr.open_group(store, mode="r", use_consolidated=False)


def difference(found: pd.DataFrame, expected: pd.DataFrame) -> str | None:
    """What differs between two tables: values, types, categories with their order, names, and the classes of arrays."""
    try:
        pd.testing.assert_frame_equal(found, expected, check_exact=True, check_column_type="exact", check_index_type="exact")
    except AssertionError as error:
        return " ".join(str(error).split())
    for name in expected.columns:
        one, other = found[name], expected[name]
        if type(one.array) is not type(other.array):
            return f"{name}: {type(one.array)} is {type(other.array)}"
        if isinstance(other.dtype, pd.CategoricalDtype):
            categories = (one.cat.categories, other.cat.categories)
            if categories[0].dtype != categories[1].dtype or categories[0].tolist() != categories[1].tolist():
                return f"{name}: {categories[0]} is {categories[1]}"
            if one.cat.codes.dtype != other.cat.codes.dtype or one.cat.ordered != other.cat.ordered:
                return f"{name}: codes of {one.cat.codes.dtype} are {other.cat.codes.dtype}, or their order differs"
    return None


def tables(store: cellring.Store, expected: anndata.AnnData, is_zarr: bool = False) -> str | None:
    """What differs in obs, var or raw.var."""
    pairs = [("obs", store.obs.to_pandas(), expected.obs), ("var", store.var.to_pandas(), expected.var)]
    if "raw/X" in store.matrices[1:] and expected.raw is not None:
        pairs.append(("raw.var", store.to_anndata([], ["raw/X"]).raw.var, expected.raw.var))
    for name, found, of_anndata in pairs:
        if is_zarr:
            # Of zarr's texts pandas 3 makes objects, and of the same texts in .h5ad its own type, as cellring does.
            of_anndata = of_anndata.infer_objects()
        said = difference(found, of_anndata)
        if said is not None:
            return f"{name}: {said}"
    return None


def canonical(matrix: Any) -> sparse.csr_matrix:
    """Sorted, summed, and without zeros, as a store has it; negative zeros, which are values, stay."""
    if not sparse.issparse(matrix):
        matrix = np.asarray(matrix)
        kept = matrix.view(f"u{matrix.dtype.itemsize}") != 0 if matrix.dtype.kind == "f" else matrix != 0
        rows, columns = np.nonzero(kept)
        return sparse.csr_matrix((matrix[kept], (rows, columns)), shape=matrix.shape, dtype=matrix.dtype)
    matrix = sparse.csr_matrix(matrix, copy=True)
    matrix.sum_duplicates()
    if matrix.dtype.kind == "f" and (matrix.data == 0).any():
        kept = matrix.data.view(f"u{matrix.dtype.itemsize}") != 0
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[kept]
        return sparse.csr_matrix((matrix.data[kept], (rows, matrix.indices[kept])), shape=matrix.shape, dtype=matrix.dtype)
    matrix.eliminate_zeros()
    return matrix


def matrix_difference(found: Any, expected: Any) -> str | None:
    if isinstance(found, np.ndarray):
        expected = expected.toarray() if sparse.issparse(expected) else np.asarray(expected)
        if found.dtype != expected.dtype:
            return f"{found.dtype} is {expected.dtype}"
        return None if found.tobytes() == np.ascontiguousarray(expected).tobytes() else "values differ"
    expected = canonical(expected)
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return f"{found.shape} {found.dtype} is {expected.shape} {expected.dtype}"
    if found.indices.dtype != found.indptr.dtype:
        return f"indices are {found.indices.dtype}, and indptr {found.indptr.dtype}"
    same = np.array_equal(found.indptr, expected.indptr) and np.array_equal(found.indices, expected.indices)
    # As bytes: NaN and negative zero count too.
    return None if same and found.data.tobytes() == expected.data.tobytes() else "values differ"


def matrices(store: cellring.Store, expected: anndata.AnnData) -> str | None:
    """What differs in any matrix."""
    for name in store.matrices:
        kind, _, key = name.partition("/")
        if kind == "X":
            of_anndata = expected.X
        else:
            of_anndata = expected.raw.X if kind == "raw" else getattr(expected, kind)[key]
        said = matrix_difference(store.gather_rows(slice(None), name), of_anndata)
        if said is not None:
            return f"{name}: {said}"
    return None


N = 6


def columns() -> dict[str, Any]:
    """Columns of every kind that anndata writes."""
    made: dict[str, Any] = {}
    integers = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    for name in integers:
        limits = np.iinfo(name)
        made[name] = np.array([limits.min, limits.max, 0, 1, 2, 3], dtype=name)
    for name in ("float16", "float32", "float64"):
        made[name] = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1.5], dtype=name)
    made["bool"] = np.array([True, False, True, True, False, False])
    for name in [*(name.replace("i", "I").replace("u", "U") for name in integers), "boolean"]:
        made[name] = pd.array([1, None, 0, 1, 0, None], dtype=name)
        made[f"{name}, all there"] = pd.array([1, 0, 0, 1, 0, 1], dtype=name)
        made[f"{name}, none there"] = pd.array([None] * N, dtype=name)
    texts = ["a", "", "é", "漢字", "a b", '"q"']
    made["texts"] = np.array(texts, dtype=object)
    made["texts that repeat"] = np.array(["a", "b"] * 3, dtype=object)
    made["str"] = pd.Series(texts, dtype="str").array
    made["string"] = pd.array(texts, dtype="string")
    made["string, some missing"] = pd.array(["a", None, "b", "", "é", None], dtype="string")
    categories = {
        "texts": ["a", "b", "a", "c", "a", "a"],
        "integers": [3, 1, 2, 3, 1, 1],
        "int8": np.array([3, 1, 2, 3, 1, 1], np.int8),
        "uint64": np.array([2**64 - 1, 1, 2, 3, 1, 1], np.uint64),
        "floats": [3.5, 1, 2, 3, 1, 1],
        "float32": np.array([3.5, 1, 2, 3, 1, 1], np.float32),
        "booleans": [True, False, True, True, True, False],
        "string": pd.array(["a", "b", None, "a", "a", "b"], dtype="string"),
        "str": pd.array(["a", "b", None, "a", "a", "b"], dtype="str" if pd.__version__ >= "3" else object),
        "empty text": ["", "b", "a", "c", "a", ""],
        "one": ["a"] * N,
        "missing": ["a", None, "b", None, "c", "a"],
        "missing floats": [3.5, 1, 2, 3, 1, np.nan],
    }
    for name, values in categories.items():
        made[f"categories: {name}"] = pd.Categorical(values)
    given = ["a", "b", "a", "c", "a", "a"]
    made["categories: order given"] = pd.Categorical(given, categories=["c", "a", "b"])
    made["categories: ordered"] = pd.Categorical(given, categories=["c", "a", "b"], ordered=True)
    made["categories: ordered integers"] = pd.Categorical([3, 1, 2, 3, 1, 1], categories=[3, 2, 1], ordered=True)
    made["categories: not all used"] = pd.Categorical(given, categories=["c", "x", "a", "b", "y"])
    made["categories: 300"] = pd.Categorical([f"c{i}" for i in range(N)], categories=[f"c{i}" for i in range(300)])
    made["categories: all missing"] = pd.Categorical([None] * N, categories=["a", "b"])
    return made


def without_categories() -> dict[str, Any]:
    """Columns whose categories are none: a text column without any value becomes one."""
    return {
        "no categories": pd.Categorical([None] * N, categories=np.array([], dtype=object)),
        "no categories of floats": pd.Categorical([None] * N, categories=np.array([], dtype=np.float64)),
        "string, all missing": pd.array([None] * N, dtype="string"),
    }


NAMES = [f"cell {i}" for i in range(N)]


def indexes() -> dict[str, pd.DataFrame]:
    """Tables whose index or columns are the special thing about them."""
    one = {"x": np.arange(N)}
    return {
        "no columns": pd.DataFrame(index=NAMES),
        "index without a name": pd.DataFrame(one, index=NAMES),
        "index with a name": pd.DataFrame(one, index=pd.Index(NAMES, name="barcode")),
        "index called index": pd.DataFrame(one, index=pd.Index(NAMES, name="index")),
        "index called _index": pd.DataFrame(one, index=pd.Index(NAMES, name="_index")),
        "index that is a column too": pd.DataFrame({"barcode": NAMES}, index=pd.Index(NAMES, name="barcode")),
        "column called index": pd.DataFrame({"index": np.arange(N)}, index=NAMES),
        "names that repeat": pd.DataFrame(one, index=["a"] * N),
        "names of all kinds": pd.DataFrame({"é b": np.arange(N), "a.b": np.arange(N), "A": np.arange(N)}, index=["é", "", *NAMES[2:]]),
    }


def made_tables() -> dict[str, pd.DataFrame]:
    """Tables with columns of every kind, and all kinds of indexes."""
    return {"columns of every kind": pd.DataFrame(columns(), index=NAMES), **indexes()}


def as_written(adata: anndata.AnnData, path: pathlib.Path) -> anndata.AnnData:
    """What anndata makes of it on the way through a file."""
    settings = anndata.settings
    before = settings.allow_write_nullable_strings
    settings.allow_write_nullable_strings = True
    try:
        adata.write_h5ad(path)
    finally:
        settings.allow_write_nullable_strings = before
    return anndata.read_h5ad(path)


def made_difference(table: pd.DataFrame, folder: pathlib.Path) -> str | None:
    """What differs in a table that goes to a store through a file, or from memory; as obs, and as var."""
    adata = anndata.AnnData(X=np.eye(N, dtype=np.float32), obs=table, var=table.copy())
    given = adata.obs.copy()
    path, store = folder / "made.h5ad", folder / "made.cellring"
    cellring.convert(adata, store, force=True)
    if difference(adata.obs, given) is not None:
        return "the AnnData in memory was changed"
    from_memory = cellring.Store(store)
    expected = as_written(adata, path)
    said = tables(from_memory, expected)
    if said is not None:
        return f"from memory: {said}"
    cellring.convert(path, store, force=True)
    return tables(cellring.Store(store), expected)


def report(source: str, said: str | None) -> None:
    print(source, said or "equal", sep="\t", flush=True)


def main() -> None:
    warnings.simplefilter("ignore")
    folder = pathlib.Path(sys.argv[1])
    with_matrices = "--matrices" in sys.argv
    for name, table in made_tables().items():
        report(name, made_difference(table, folder))
    for line in sys.stdin:
        source, path = line.rstrip("\n").split("\t")
        try:
            expected, is_whole = read(source)
        except CannotRead as error:
            report(source, f"cannot be read: {error}")
            continue
        try:
            store = cellring.Store(path)
            said = tables(store, expected, is_zarr=not source.endswith(".h5ad"))
            if said is None and with_matrices and is_whole:
                said = matrices(store, expected)
        except BaseException as error:
            # The other sources are of interest all the same, even after a panic of Rust's.
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        report(source, said)


if __name__ == "__main__":
    main()
