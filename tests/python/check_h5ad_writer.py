"""Reads with anndata what the Rust writer of .h5ad made, and compares values and dtypes.

    cargo run -p cellring-anndata --example h5ad_samples -- DIRECTORY
    python tests/python/check_h5ad_writer.py DIRECTORY

The formulas are those of tools/anndata/tests/samples/mod.rs. Also writes each file again with anndata and compares that what
comes back is the same, so that nothing here is readable only by luck.
"""

import sys
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

warnings.simplefilter("ignore")
anndata.settings.allow_write_nullable_strings = True

VALUE_TYPES = "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float32 float64".split()


def matrix(dtype, n_obs, n_vars):
    i, j = np.meshgrid(np.arange(n_obs), np.arange(n_vars), indexing="ij")
    there = (i % 5 != 0) & (i + 1 != n_obs) & ((i + j) % 3 == 0)
    value = (j % 2 == 0) if dtype == "bool" else i + j + 1
    rows, columns = np.nonzero(there)
    indptr = np.concatenate(([0], np.cumsum(there.sum(axis=1)))).astype(np.int64)
    return sparse.csr_matrix((value[there].astype(dtype), columns, indptr), shape=(n_obs, n_vars))


def columns():
    n = np.arange(7)
    gap = n % 3 == 1
    texts = np.array(["", "plain", "grün", "日本", "a/b", " padded ", "x"], object)
    codes = [2, 0, -1, 1, 1, 0, 2]
    frame = pd.DataFrame(index=pd.Index([f"cell-{i}" for i in n], name="barcode"))
    for short, name in {"i": "int", "u": "uint"}.items():
        for bits in (8, 16, 32, 64):
            frame[f"{short}{bits}"] = (n * 3).astype(f"{name}{bits}")
    frame["f16"] = (n / 4).astype(np.float16)
    frame["f32"] = (n * 3).astype(np.float32)
    frame["f64"] = (n * 3).astype(np.float64)
    frame["f64_missing"] = np.where(gap, np.nan, n)
    frame["flag"] = n % 2 == 0
    frame["text"] = texts
    frame["int_missing"] = pd.arrays.IntegerArray(n.astype(np.int16), gap)
    frame["int_none_missing"] = pd.arrays.IntegerArray((n * 3).astype(np.uint8), np.zeros(7, bool))
    frame["flag_missing"] = pd.arrays.BooleanArray(n % 2 == 0, gap)
    frame["flag_none_missing"] = pd.arrays.BooleanArray(n % 2 == 0, np.zeros(7, bool))
    frame["text_missing"] = pd.array([None if g else t for g, t in zip(gap, texts)], pd.StringDtype())
    frame["text_none_missing"] = pd.array(texts, pd.StringDtype())
    labels = ["low", "mid", "high", "unused"]
    frame["category"] = pd.Categorical.from_codes(codes, labels)
    frame["level"] = pd.Categorical.from_codes(codes, labels, ordered=True)
    frame["number_category"] = pd.Categorical.from_codes(codes, np.array([30, 10, 20]))
    frame["bool_category"] = pd.Categorical.from_codes([0, 1, 0, 1, 1, 0, 0], np.array([True, False]))
    frame["float_category"] = pd.Categorical.from_codes(codes, np.array([0.5, -1.5, 2.25], np.float32))
    frame["nested/deeply/column"] = (n * 3).astype(np.int32)
    frame["nested/other"] = (n * 3).astype(np.float32)
    return frame


def names(prefix, n):
    return pd.DataFrame(index=pd.Index([f"{prefix}{i}" for i in range(n)], dtype=object))


def long(n):
    i = np.arange(n)
    late = (i >= 140_000) & (i % 2 != 0)
    return pd.DataFrame(
        {
            "number": i * i,
            "late": pd.arrays.IntegerArray(i.astype(np.int32), late),
            "label": pd.Categorical.from_codes(i * 7 % 300, [f"label {k}" for k in range(300)], ordered=True),
            "text": np.array(["long " * 20_000 if k % 50_000 == 1 else "ab" * (k % 3) for k in i], object),
        },
        index=pd.Index([f"cell-{k}" for k in i]),
    )


def same_frame(found, expected, what):
    assert list(found.columns) == list(expected.columns), (what, list(found.columns))
    assert found.index.name == expected.index.name, (what, found.index.name)
    assert list(found.index) == list(expected.index), what
    for name in expected.columns:
        a, b = found[name], expected[name]
        # Which of its string types pandas infers depends on its version and options.
        is_text = pd.api.types.is_string_dtype(b.dtype)
        assert a.dtype == b.dtype or is_text and pd.api.types.is_string_dtype(a.dtype), (what, name, a.dtype, b.dtype)
        if isinstance(b.dtype, pd.CategoricalDtype):
            assert a.cat.ordered == b.cat.ordered, (what, name)
            assert a.cat.codes.dtype == b.cat.codes.dtype, (what, name)
            assert list(a.cat.categories) == list(b.cat.categories), (what, name)
            assert np.array_equal(a.cat.codes, b.cat.codes), (what, name)
        else:
            assert np.array_equal(a.isna(), b.isna()), (what, name)
            assert list(a.dropna()) == list(b.dropna()), (what, name)


def same_matrix(found, expected, what):
    assert isinstance(found, sparse.csr_matrix), (what, type(found))
    assert found.shape == expected.shape, (what, found.shape)
    assert found.dtype == expected.dtype, (what, found.dtype)
    for part in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(found, part), getattr(expected, part)), (what, part)


def check(path, X, obs, var, index="int32"):
    found = anndata.read_h5ad(path)
    same_matrix(found.X, X, path)
    same_frame(found.obs, obs, path)
    same_frame(found.var, var, path)
    assert not any(len(m) for m in (found.layers, found.obsm, found.varm, found.obsp, found.varp, found.uns)), path
    backed = anndata.read_h5ad(path, backed="r")
    n = min(3, X.shape[0])
    same_matrix(backed[:n].to_memory().X, X[:n], path)
    backed.file.close()
    with h5py.File(path) as f:
        assert f["X/data"].dtype == X.dtype, path
        assert f["X/indices"].dtype == index, path
        assert f["X/indptr"].dtype == index, path
        assert list(f["X"].attrs["shape"]) == list(X.shape), path
        assert f["X/data"].maxshape == (None,), path
    again = path.with_suffix(".again")
    found.write_h5ad(again, convert_strings_to_categoricals=False)
    with h5py.File(path) as ours, h5py.File(again) as theirs:
        same_layout(ours, theirs, str(path))
    again.unlink()


def same_layout(ours, theirs, where):
    """The same members, encodings and dtypes as in the file that anndata itself writes."""
    assert {k: str(v) for k, v in ours.attrs.items() if k != "shape"} == {
        k: str(v) for k, v in theirs.attrs.items() if k != "shape"
    }, (where, dict(ours.attrs), dict(theirs.attrs))
    if isinstance(ours, h5py.Group):
        assert set(ours) == set(theirs), (where, set(ours), set(theirs))
        for name in ours:
            same_layout(ours[name], theirs[name], f"{where}/{name}")
        return
    assert ours.shape == theirs.shape, where
    # scipy chooses its own index type on reading, pandas that of codes.
    if not where.endswith(("/indices", "/indptr", "/codes")):
        assert ours.dtype == theirs.dtype, (where, ours.dtype, theirs.dtype)
        assert ours.id.get_type().equal(theirs.id.get_type()), where


def append_to(path, expected):
    """Another program can go on where this writer ended."""
    with h5py.File(path, "r+") as f:
        found = anndata.io.sparse_dataset(f["X"])
        found.append(expected)
        same_matrix(found.to_memory(), sparse.vstack([expected, expected], format="csr"), path)


def main():
    directory = Path(sys.argv[1])
    frame = columns()
    for step in (1, 3, 100):
        check(directory / f"columns_{step}.h5ad", matrix("float32", 7, 5), frame, names("gene", 5))
    check(directory / "columns_var.h5ad", matrix("float32", 4, 7), names("cell", 4), frame)
    for dtype in VALUE_TYPES:
        for width, index in ((32, "int32"), (64, "int64")):
            path = directory / f"matrix_{dtype}_{width}.h5ad"
            check(path, matrix(dtype, 23, 40), names("cell", 23), names("gene", 40), index)
    # Without rows nothing is missing: only columns that were nullable at their source stay so.
    no_obs = frame.iloc[:0].astype({"int_missing": "int16", "flag_missing": "bool", "text_missing": object})
    check(directory / "no_obs.h5ad", matrix("float32", 0, 5), no_obs, names("gene", 5))
    check(directory / "no_vars.h5ad", matrix("int32", 7, 0), frame, names("gene", 0))
    check(directory / "long.h5ad", matrix("float32", 150_001, 20), long(150_001), names("gene", 20), "int64")
    append_to(directory / "matrix_float32_48.h5ad", matrix("float32", 23, 40))
    append_to(directory / "long.h5ad", matrix("float32", 150_001, 20))
    print("all samples read back as expected")


if __name__ == "__main__":
    main()
