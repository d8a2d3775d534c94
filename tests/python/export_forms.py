"""Makes AnnData in many forms, and compares what was exported from the stores of them: form for form, attribute for attribute.

    python tests/python/export_forms.py make DIRECTORY
    python tests/python/export_forms.py check < LINES

Each of LINES is what `check_line` takes, separated by tabs: a source, what was exported from it, and what is expected of it as
NAME=VALUE (see `check_line`). Prints what differs and ends with status 1, or the number of exports that are right.
"""

import json
import sys
import warnings
from pathlib import Path

import anndata
import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem
from scipy import sparse

warnings.simplefilter("ignore")
N_OBS, N_VARS = 3_000, 40
TEXT = h5py.string_dtype()
# As h5py names them.
FILTERS = {"none": [], "gzip": ["gzip"], "lzf": ["lzf"], "zstd": ["32015"]}


def counts(seed, dtype, n_vars=N_VARS):
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix(rng.poisson(0.4, (N_OBS, n_vars)).astype(dtype))


def tag(place, kind, version="0.2.0"):
    place.attrs["encoding-type"], place.attrs["encoding-version"] = kind, version
    return place


def text(group, name, values):
    return tag(group.create_dataset(name, data=np.array(list(values), object), dtype=TEXT), "string-array")


def nullable_text(group, name, values, missing=(), na_value="NaN"):
    column = tag(group.create_group(name), "nullable-string-array", "0.1.0")
    column.attrs["na-value"] = na_value
    text(column, "values", values)
    mask = np.zeros(len(values), bool)
    mask[list(missing)] = True
    tag(column.create_dataset("mask", data=mask), "array")


def forms():
    """X dense, layers and obsm in every form, raw; columns of every kind; an index that is a column too."""
    n = np.arange(N_OBS)
    names = pd.Index([f"cell-{i}" for i in n], name="barcode", dtype=object)
    obs = pd.DataFrame({"n": n, "barcode": names.to_numpy()}, index=names)
    obs["flag"] = n % 2 == 0
    obs["small"] = (n % 100).astype(np.int8)
    obs["half"] = (n / 4).astype(np.float32)
    obs["maybe"] = pd.arrays.IntegerArray(n.astype(np.int16), n % 3 == 1)
    obs["type"] = pd.Categorical.from_codes(n % 4 - (n % 7 == 0) * (n % 4 == 0), ["B", "T", "NK", "none"], ordered=True)
    obs["leiden"] = pd.Categorical.from_codes(n % 3, [10, 2, 7])
    var = pd.DataFrame({"a/b": np.arange(N_VARS, dtype="f8")}, index=[f"g{i}" for i in range(N_VARS)])
    data = anndata.AnnData(counts(0, "f4").toarray(), obs=obs, var=var)
    data.layers["csr"] = counts(1, "i4")
    data.layers["csc"] = counts(2, "f8").tocsc()
    data.layers["dense"] = counts(3, "u1").toarray()
    data.raw = anndata.AnnData(counts(4, "u2", 60).tocsc(), obs=obs, var=pd.DataFrame(index=[f"r{i}" for i in range(60)]))
    data.obsm["X_pca"] = np.random.default_rng(5).normal(size=(N_OBS, 3))
    data.obsm["sparse"] = counts(6, "f4", 5)
    data.obsm["protein"] = pd.DataFrame(
        {
            "CD3": (n % 5).astype(np.int32),
            "is/high": n % 2 == 1,
            "UMIs": n.astype(np.int64) * 2**41 - 7,
            "reads": np.where(n % 3 == 0, 2**63, n).astype(np.uint64),
            "CD8a": np.where(n % 4 == 0, np.nan, n / 8).astype(np.float32),
            "level": pd.arrays.IntegerArray((n % 9).astype(np.uint8), np.zeros(N_OBS, bool)),
        },
        index=names,
    )
    return data


def make(directory):
    anndata.settings.allow_write_nullable_strings = True
    forms().write_h5ad(directory / "forms.h5ad")
    with h5py.File(directory / "forms.h5ad", "a") as file:
        # The indices of one matrix are 64-bit ones.
        layer = file["layers/csc"]
        for part in ("indices", "indptr"):
            wide = layer[part][()].astype(np.int64)
            del layer[part]
            layer[part] = wide
        # As anndata with pandas 3 writes text.
        order = list(file["obs"].attrs["column-order"])
        nullable_text(file["obs"], "note", [f"t{i % 3}" for i in range(N_OBS)], (3, 5))
        nullable_text(file["obs"], "remark", [f"r{i}" for i in range(N_OBS)], (), "NA")
        labels = tag(file["obs"].create_group("label"), "categorical")
        labels.attrs["ordered"] = False
        tag(labels.create_dataset("codes", data=np.arange(N_OBS, dtype="i2") % 3), "array")
        nullable_text(labels, "categories", ["x", "y", "z"])
        file["obs"].attrs.create("column-order", order + ["note", "remark", "label"], dtype=TEXT)
        names = file["var/_index"][()]
        del file["var/_index"]
        nullable_text(file["var"], "_index", [name.decode() for name in names])

    anndata.AnnData(counts(7, "f4").tocsc()).write_h5ad(directory / "csc.h5ad")
    small = anndata.AnnData(counts(8, "f4"))
    small.write_h5ad(directory / "odd.h5ad")
    with h5py.File(directory / "odd.h5ad", "a") as file:
        # What anndata refuses to write, and other programs do write.
        obs = file["obs"]
        column = tag(obs.create_group("repeated"), "categorical")
        column.attrs["ordered"] = False
        tag(column.create_dataset("codes", data=(np.arange(N_OBS) % 5 - 1).astype("i1")), "array")
        text(column, "categories", ["B", "T", "B", "NK"])
        column = tag(obs.create_group("missing"), "categorical")
        column.attrs["ordered"] = False
        tag(column.create_dataset("codes", data=(np.arange(N_OBS) % 3).astype("i1")), "array")
        tag(column.create_dataset("categories", data=np.array([1.5, np.nan, 2.5])), "array")
        obs.attrs.create("column-order", ["_index", "repeated", "missing"], dtype=TEXT)
        var = file["var"]
        var.move("_index", "gene")
        var.attrs["_index"] = "gene"
        tag(var.create_dataset("_index", data=np.arange(N_VARS)), "array")
        var.attrs.create("column-order", ["_index"], dtype=TEXT)
    refused = {
        "text": {"a": np.arange(N_OBS), "b": ["x"] * N_OBS},
        "wide": {"b": np.arange(N_OBS, dtype="f8"), "a": np.where(np.arange(N_OBS) == 3, 2**53 + 1, 1)},
        "unsigned": {"a": np.where(np.arange(N_OBS) == 5, 2**64 - 1, 1).astype("u8"), "b": -np.arange(N_OBS)},
        "gap": {"a": pd.arrays.IntegerArray(np.arange(N_OBS), np.arange(N_OBS) == 7)},
    }
    data = anndata.AnnData(counts(9, "f4"))
    for name, columns in refused.items():
        data.obsm[name] = pd.DataFrame(columns, index=data.obs_names)
    data.write_h5ad(directory / "frames.h5ad")


class Different(Exception):
    pass


def same(what, a, b):
    if not (a == b):
        raise Different(f"{what}: {a!r} is {b!r}"[:400])


def open_root(path):
    if str(path).endswith(".zarr"):
        return zarr.open_group(path, mode="r")
    return h5py.File(path)


def is_array(node):
    return isinstance(node, (h5py.Dataset, zarr.Array))


def attributes(node):
    plain = lambda value: value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    return {name: plain(value) for name, value in node.attrs.items()}


def type_of(array):
    if isinstance(array, h5py.Dataset):
        return "text" if h5py.check_string_dtype(array.dtype) else array.dtype.newbyteorder("=").name
    is_text = array.dtype.kind in "OTU" or "String" in type(array.dtype).__name__
    return "text" if is_text else array.dtype.newbyteorder("=").name


def values(array):
    found = array.asstr()[()] if isinstance(array, h5py.Dataset) and h5py.check_string_dtype(array.dtype) else array[()]
    return np.asarray(found)


def compare_nodes(path, a, b, mask=None):
    """Kind, attributes, types and values of everything below two places. What a mask hides is of no account."""
    same(f"kind of {path}", is_array(a), is_array(b))
    same(f"attributes of {path}", attributes(a), attributes(b))
    if is_array(a):
        same(f"type of {path}", type_of(a), type_of(b))
        same(f"shape of {path}", tuple(a.shape), tuple(b.shape))
        x, y = values(a), values(b)
        if mask is not None:
            x, y = x[~mask], y[~mask]
        is_equal = np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        same(f"values of {path}", True, bool(is_equal))
        return
    same(f"members of {path}", sorted(a), sorted(b))
    for name in a:
        hidden = values(a["mask"]) if name == "values" and "mask" in a else None
        compare_nodes(f"{path}/{name}", a[name], b[name], hidden)


def arrays(node, path=""):
    for name in node:
        member = node[name]
        if is_array(member):
            yield f"{path}{name}", member
        else:
            yield from arrays(member, f"{path}{name}/")


def check_storage(root, expected):
    compression, chunk = expected.get("compression", "none"), int(expected.get("chunk", 0))
    for path, array in arrays(root):
        if 0 in array.shape:
            continue
        if isinstance(array, h5py.Dataset):
            same(f"filters of {path}", FILTERS[compression], list(array._filters))
            same(f"{path} is chunked", True, array.chunks is not None or compression == "none")
        else:
            codecs = json.dumps([str(codec) for codec in array.compressors]).lower()
            same(f"codecs of {path}", compression != "none", len(array.compressors) > 0)
            same(f"codec of {path}", True, compression == "none" or compression in codecs)
        if chunk and array.chunks is not None:
            if len(array.shape) == 1:
                same(f"chunk of {path}", min(chunk, array.shape[0]), array.chunks[0])
            else:
                rows = max(chunk // array.shape[1], 1)
                same(f"chunk of {path}", (min(rows, array.shape[0]), array.shape[1]), tuple(array.chunks))


def check_line(source, exported, *expected):
    """form=csr|csc|dense: of X, layers and raw; else all as in the source. compression=NAME, chunk=N. zarr=2|3. odd: repaired
    columns."""
    expected = dict(item.split("=") for item in expected)
    a, b = open_root(source), open_root(exported)
    if "zarr" in expected:
        same("zarr format", int(expected["zarr"]), b.metadata.zarr_format)
        same("consolidated", True, b.metadata.consolidated_metadata is not None)
    check_storage(b, expected)
    for table in ("obs", "var", "raw/var"):
        if table in a and "odd" not in expected:
            compare_nodes(table, a[table], b[table])
    matrices = ["X"] + ["raw/X"] * ("raw" in a and not is_array(a["raw"]))
    matrices += [f"layers/{name}" for name in a.get("layers", {})] + [f"obsm/{name}" for name in a.get("obsm", {})]
    for path in matrices:
        form = expected.get("form") if not path.startswith("obsm/") else None
        if form is None:
            compare_nodes(path, a[path], b[path])
        else:
            kind = {"csr": "csr_matrix", "csc": "csc_matrix", "dense": "array"}[form]
            same(f"form of {path}", kind, b[path].attrs["encoding-type"])
            dense = lambda m: m.toarray() if sparse.issparse(m) else m
            x, y = dense(read_elem(a[path])), dense(read_elem(b[path]))
            same(f"type of {path}", x.dtype, y.dtype)
            same(f"values of {path}", True, bool(np.array_equal(x, y)))
        if not is_array(b[path]) and "indptr" in b[path]:
            same(f"index types of {path}", b[path]["indices"].dtype, b[path]["indptr"].dtype)
    data = anndata.read_zarr(exported) if str(exported).endswith(".zarr") else anndata.read_h5ad(exported)
    if "odd" in expected:
        check_odd(data)
    elif "forms" in source:
        same("protein", list(data.obsm["protein"].dtypes), list(forms().obsm["protein"].dtypes))
        same("index of protein", list(data.obs_names[:9]), list(data.obsm["protein"].index[:9]))


def check_odd(data):
    same("categories", ["B", "T", "NK"], list(data.obs["repeated"].cat.categories))
    names = data.obs["repeated"].astype(object)
    codes = np.arange(N_OBS) % 5 - 1
    wanted = [None if code < 0 else ["B", "T", "B", "NK"][code] for code in codes]
    same("cells", wanted, [None if pd.isna(name) else name for name in names])
    same("numbers", [1.5, 2.5], list(data.obs["missing"].cat.categories))
    same("missing", list(np.arange(N_OBS) % 3 == 1), list(data.obs["missing"].isna()))
    same("columns of obs", ["repeated", "missing"], list(data.obs.columns))
    same("columns of var", ["index"], list(data.var.columns))
    same("values of var", list(range(N_VARS)), list(data.var["index"]))


def main():
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]))
        return
    different = n = 0
    for line in sys.stdin:
        n += 1
        try:
            check_line(*line.rstrip("\n").split("\t"))
        except Different as error:
            different += 1
            print(f"{line.strip()}: {error}")
    if different:
        sys.exit(1)
    print(f"{n} right")


if __name__ == "__main__":
    main()
