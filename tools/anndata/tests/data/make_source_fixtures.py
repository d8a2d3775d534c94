"""Writes the small AnnData files of this folder: python make_source_fixtures.py (needs numpy and h5py).

A fixture never changes once committed; add a new one beside it instead.
"""

import pathlib

import h5py
import numpy as np

HERE = pathlib.Path(__file__).parent
TEXT = h5py.string_dtype()

# 6 x 10; the first and last rows are empty, row 1 is unsorted with a duplicate and an explicit zero.
INDPTR = [0, 0, 4, 6, 6, 9, 9]
INDICES = [7, 2, 7, 0, 1, 9, 3, 4, 5]
DATA = [5, 3, 6, 0, 1, 2, 9, 8, 4]


def tag(obj, kind, version):
    obj.attrs["encoding-type"] = kind
    obj.attrs["encoding-version"] = version
    return obj


def csr(parent, name, data=DATA, indices=INDICES, indptr=INDPTR, types=("i2", "i4", "i8"), shape=(6, 10), **how):
    group = tag(parent.create_group(name), "csr_matrix", "0.1.0")
    group.attrs["shape"] = np.array(shape, "i8")
    for part, values, dtype in zip(("data", "indices", "indptr"), (data, indices, indptr), types):
        group.create_dataset(part, data=np.array(values, dtype), **how)
    return group


def frame(parent, name, n):
    group = tag(parent.create_group(name), "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    group.attrs["column-order"] = np.array([], "f8")
    text(group, "_index", [f"{name}{i}" for i in range(n)])
    return group


def text(parent, name, values):
    return tag(parent.create_dataset(name, data=np.array(values, object), dtype=TEXT), "string-array", "0.2.0")


def array(parent, name, values):
    return tag(parent.create_dataset(name, data=values), "array", "0.2.0")


def matrices():
    """Every element type, and every way in which a CSR matrix can be wrong."""
    with h5py.File(HERE / "matrices.h5ad", "w", libver="latest") as f:
        tag(f, "anndata", "0.1.0")
        frame(f, "obs", 6)
        frame(f, "var", 10)
        csr(f, "X")
        layers = f.create_group("layers")
        for dtype in ("u1", "u2", "u4", "u8", "i1", "i4", "i8", "f4", "f8", "?"):
            csr(layers, np.dtype(dtype).name, types=(dtype, "i8", "i4"))
        for dtype in ("u1", "u2", "u4", "u8", "i1", "i2", "i8"):
            csr(layers, "indices_" + np.dtype(dtype).name, types=("i2", dtype, dtype))
        csr(layers, "float16", types=("f2", "i4", "i4"))
        csr(layers, "bigendian_data", types=(">f4", "i4", "i4"))
        csr(layers, "bigendian_indices", types=("f4", ">i4", "i4"))
        csr(layers, "overflow", data=[200, 3, 100, 0, 1, 2, 9, 8, 4], types=("u1", "i4", "i4"))
        csr(layers, "float_indices", types=("f4", "f4", "i4"))
        csr(layers, "indptr_start", indptr=[1, 1, 4, 6, 6, 9, 9])
        csr(layers, "indptr_decreasing", indptr=[0, 0, 6, 4, 6, 9, 9])
        csr(layers, "indptr_negative", indptr=[0, 0, -4, 6, 6, 9, 9])
        csr(layers, "indptr_short", indptr=[0, 0, 4, 6, 6, 8, 8])
        csr(layers, "indptr_beyond", indptr=[0, 0, 4, 6, 6, 9, 12])
        csr(layers, "indptr_length", indptr=[0, 0, 4, 6, 9])
        csr(layers, "data_length", data=DATA[:-1])
        csr(layers, "index_large", indices=[7, 2, 7, 0, 1, 10, 3, 4, 5])
        csr(layers, "index_negative", indices=[7, 2, 7, 0, 1, 9, 3, -4, 5])
        csr(layers, "index_negative_i64", indices=[7, 2, 7, 0, 1, 9, 3, -4, 5], types=("i2", "i8", "i4"))
        csr(layers, "shape_negative", shape=(6, -1))
        csr(layers, "shape_wide", shape=(6, 2**31))
        del csr(layers, "no_indices")["indices"]
        del csr(layers, "no_shape").attrs["shape"]
        bomb = csr(layers, "bomb", indptr=[0, 0, 0, 0, 0, 0, 2**40])
        for part in ("data", "indices"):
            del bomb[part]
            bomb.create_dataset(part, shape=(2**40,), dtype="i4", chunks=(1 << 20,))
        tag(csr(layers, "csc"), "csc_matrix", "0.1.0")
        tag(csr(layers, "unknown"), "bsr_matrix", "0.1.0")
        tag(csr(layers, "newer"), "csr_matrix", "0.9.0")
        legacy = csr(layers, "legacy")
        for name in list(legacy.attrs):
            del legacy.attrs[name]
        legacy.attrs["h5sparse_format"] = "csr"
        layers.create_group("bare")
        array(layers, "dense", np.zeros((6, 10), "f4"))


def storage():
    """The same matrix in every way in which HDF5 stores an array of one dimension."""
    with h5py.File(HERE / "storage.h5ad", "w", libver="latest") as f:
        layers = f.create_group("layers")
        csr(layers, "contiguous")
        csr(layers, "single_chunk", chunks=(16,), maxshape=(16,))
        csr(layers, "single_chunk_gzip", chunks=(16,), maxshape=(16,), compression="gzip")
        csr(layers, "fixed_array", chunks=(2,))
        csr(layers, "fixed_array_gzip", chunks=(2,), compression="gzip", shuffle=True)
        csr(layers, "extensible_array", chunks=(2,), maxshape=(None,))
        csr(layers, "extensible_array_lzf", chunks=(4,), maxshape=(None,), compression="lzf", shuffle=True)
        csr(layers, "fletcher32", chunks=(4,), fletcher32=True)
        csr(layers, "everything", chunks=(4,), compression="gzip", shuffle=True, fletcher32=True)
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_chunk((4,))
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        for name, plist in (("compact", compact), ("implicit", early)):
            group = csr(layers, name)
            for part in ("data", "indices", "indptr"):
                values = group[part][:]
                del group[part]
                space = h5py.h5s.create_simple(values.shape)
                dtype = h5py.h5t.py_create(values.dtype)
                made = h5py.h5d.create(group.id, part.encode(), dtype, space, plist)
                made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
        # One chunk whose filter was skipped, and one that was never written: it holds the fill value.
        mixed = csr(layers, "mixed", chunks=(4,), compression="gzip")
        mixed["data"].id.write_direct_chunk((4,), np.array(DATA[4:8], "i2").tobytes(), filter_mask=1)
        del mixed["indices"]
        filled = mixed.create_dataset("indices", shape=(9,), dtype="i4", chunks=(4,), fillvalue=5)
        filled[:8] = INDICES[:8]
    with h5py.File(HERE / "storage_old.h5ad", "w", libver="earliest", userblock_size=512) as f:
        layers = f.create_group("layers")
        csr(layers, "contiguous")
        csr(layers, "btree", chunks=(2,))
        csr(layers, "btree_gzip", chunks=(4,), compression="gzip", shuffle=True, fletcher32=True)


def tables():
    """Every kind of column."""
    with h5py.File(HERE / "tables.h5ad", "w", libver="latest") as f:
        obs = tag(f.create_group("obs"), "dataframe", "0.2.0")
        obs.attrs["_index"] = "cell"
        text(obs, "cell", ["a", "b", "b", "\u00e9t\u00e9"])
        for dtype in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">i4", ">f8"):
            name = "big_" + np.dtype(dtype).name if dtype[0] == ">" else np.dtype(dtype).name
            signed = dtype.lstrip(">")[0] != "u"
            array(obs, name, np.array([-1 if signed else 1, 0, 2, 100], dtype))
        array(obs, "bool", np.array([True, False, False, True]))
        fixed = tag(obs.create_dataset("fixed", data=np.array([b"x", b"", b"long", b"z"], "S4")), "string-array", "0.2.0")
        assert fixed.dtype.kind == "S"
        spaces = h5py.h5t.C_S1.copy()
        spaces.set_size(4)
        spaces.set_strpad(h5py.h5t.STR_SPACEPAD)
        padded = h5py.h5d.create(obs.id, b"spaces", spaces, h5py.h5s.create_simple((4,)))
        padded.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([b"x   ", b"    ", b"long", b"a b "], "S4"), spaces)
        nested = obs.create_group("nested")
        array(nested, "column", np.array([4, 3, 2, 1], "i4"))

        def categorical(name, codes, labels, ordered):
            group = tag(obs.create_group(name), "categorical", "0.2.0")
            group.attrs["ordered"] = ordered
            array(group, "codes", codes)
            if labels is not None:
                (text if isinstance(labels[0], str) else array)(group, "categories", np.array(labels))
            return group

        categorical("cat", np.array([1, -1, 0, 1], "i1"), ["lo", "hi"], True)
        categorical("cat_int", np.array([0, 0, 1, -1], "i2"), [10, 20], False)
        categorical("cat_float", np.array([0, 1, 1, 0], "i4"), [0.5, 1.5], False)
        categorical("cat_bool", np.array([0, 1, 1, 0], "i8"), [False, True], False)
        categorical("cat_unsigned", np.array([0, 1, 1, 0], "u1"), ["lo", "hi"], False)
        bad = categorical("cat_bad", np.array([0, 1, 2, 0], "i1"), ["lo", "hi"], False)
        del bad
        nullable_labels = categorical("cat_nullable", np.array([1, 0, -1, 0], "i1"), None, False)

        def nullable(parent, name, kind, values, mask):
            group = tag(parent.create_group(name), kind, "0.1.0")
            if isinstance(values[0], str):
                text(group, "values", values)
                group.attrs["na-value"] = "NaN"
            else:
                array(group, "values", np.array(values))
            array(group, "mask", np.array(mask))

        nullable(nullable_labels, "categories", "nullable-string-array", ["p", "q"], [False, False])
        mask = [False, True, False, False]
        nullable(obs, "null_int", "nullable-integer", [1, 99, 3, 4], mask)
        nullable(obs, "null_bool", "nullable-boolean", [True, True, False, False], mask)
        nullable(obs, "null_text", "nullable-string-array", ["a", "never seen", "", "\u03bb"], mask)
        tag(obs.create_group("awkward"), "awkward-array", "0.1.0")
        array(obs, "wide", np.zeros((4, 2), "f4"))
        order = [name for name in obs if name not in ("nested", "cat_bad")]
        obs.attrs["column-order"] = order + ["nested/column", "absent", "bool"]

        broken = tag(f.create_group("raw/var"), "dataframe", "0.2.0")
        f["raw/var/_index"] = obs["cell"]
        f["raw/var/cat_bad"] = obs["cat_bad"]
        broken.attrs["_index"] = "_index"
        broken.attrs["column-order"] = ["cat_bad"]
        old = frame(f, "var", 3)
        old.attrs["encoding-version"] = "0.1.0"


matrices()
storage()
tables()
