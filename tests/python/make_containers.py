"""Makes small inputs that store the same AnnData in every way that HDF5 and zarr have: attributes and numbers of every type, enums,
links, codecs.

    python tests/python/make_containers.py DIRECTORY

Prints a line for each input, as make_forms.py does: its path, a tab, and the AnnData file that it must equal; or `refused:` and
a part of the reason.
"""

import itertools
import os
import pathlib
import sys
import warnings

import anndata
import h5py
import numcodecs
import numpy as np
import pandas as pd
import zarr
from h5py import h5a, h5d, h5g, h5s, h5t
from scipy import sparse

warnings.simplefilter("ignore")
anndata.settings.allow_write_nullable_strings = True
folder = pathlib.Path(sys.argv[1])
random = np.random.default_rng(11)
N_OBS, N_VARS = 12, 7
COUNTS = sparse.csr_matrix(random.poisson(0.7, (N_OBS, N_VARS)).astype("f4"))
STAGES = ["E7", "E8", "E9"]


def say(path, expected):
    if path.suffix == ".zarr":
        # anndata wrote a copy of the metadata before arrays were made anew.
        zarr.consolidate_metadata(path)
    print(path, expected, sep="\t")


def example(**columns):
    obs = pd.DataFrame(
        {
            "stage": pd.Categorical.from_codes(np.arange(N_OBS) % 3, STAGES, ordered=True),
            "batch": pd.Categorical.from_codes(np.arange(N_OBS) % 2, ["a", "b"], ordered=False),
            **columns,
        },
        index=pd.Index([f"cell{i}" for i in range(N_OBS)], name="barcode"),
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(N_VARS)])
    var["symbol"] = pd.array([f"s{i}" if i else None for i in range(N_VARS)], dtype="string")
    return anndata.AnnData(COUNTS.copy(), obs=obs, var=var)


BASE = folder / "base.h5ad"
example().write_h5ad(BASE)


def copy(name):
    path = folder / name
    path.write_bytes(BASE.read_bytes())
    return path


def set_attribute(obj, name, kind, values, memory=None):
    """Stores an attribute as this type; `memory` is that of the values where HDF5 cannot convert to it."""
    if name in obj.attrs:
        del obj.attrs[name]
    values = np.asarray(values)
    space = h5s.create(h5s.SCALAR) if values.shape == () else h5s.create_simple(values.shape)
    made = h5a.create(obj.id, name.encode(), kind, space)
    made.write(values, mtype=memory)


# Types of text.
def fixed(padding, charset, size=24):
    kind = h5t.C_S1.copy()
    kind.set_size(size)
    kind.set_strpad(padding)
    kind.set_cset(charset)
    return kind


def variable(charset):
    kind = h5t.C_S1.copy()
    kind.set_size(h5t.VARIABLE)
    kind.set_cset(charset)
    return kind


TEXTS = {
    f"{name}_{charset_name}": (kind(charset), kind is not variable)
    for (name, kind), (charset_name, charset) in itertools.product(
        {
            "terminated": lambda charset: fixed(h5t.STR_NULLTERM, charset),
            "nul": lambda charset: fixed(h5t.STR_NULLPAD, charset),
            "space": lambda charset: fixed(h5t.STR_SPACEPAD, charset),
            "variable": variable,
        }.items(),
        {"ascii": h5t.CSET_ASCII, "utf8": h5t.CSET_UTF8}.items(),
    )
}


def set_text(obj, name, kind, values):
    values = np.asarray(values)
    if kind.is_variable_str():
        charset = "utf-8" if kind.get_cset() == h5t.CSET_UTF8 else "ascii"
        return set_attribute(obj, name, kind, values.astype(h5py.string_dtype(charset)))
    size = kind.get_size()
    pad = b" " if kind.get_strpad() == h5t.STR_SPACEPAD else b"\0"
    raw = np.array([v.encode().ljust(size, pad) for v in values.ravel()], f"S{size}").reshape(values.shape)
    set_attribute(obj, name, kind, raw, memory=kind)


# Types of numbers.
def integers(base, size=None, precision=None, offset=0, order=None):
    kind = base.copy()
    if size:
        kind.set_size(size)
    if precision:
        kind.set_precision(precision)
        kind.set_offset(offset)
    if order is not None:
        kind.set_order(order)
    return kind


def floats(base, size=None, bias=None, fields=None, precision=None, offset=0):
    kind = base.copy()
    if size and size > kind.get_size():
        kind.set_size(size)
    if fields:
        kind.set_fields(*fields)
    if precision:
        kind.set_precision(precision)
        kind.set_offset(offset)
    if size and size < kind.get_size():
        kind.set_size(size)
    if bias is not None:
        kind.set_ebias(bias)
    return kind


INTEGERS = {name: getattr(h5t, f"STD_{name}") for name in ("I8LE", "U8LE", "I16BE", "U16LE", "I32LE", "U32BE", "I64BE", "U64LE", "I64LE")}
INTEGERS |= {
    "12_of_16_bits": integers(h5t.STD_I16LE, precision=12, offset=3),
    "20_of_32_bits_big": integers(h5t.STD_I32BE, precision=20, offset=5),
    "unsigned_7_bits": integers(h5t.STD_U8LE, precision=7, offset=1),
    "24_bits": integers(h5t.STD_I32LE, size=3, precision=24),
}
FLOATS = {
    "F16LE": h5t.IEEE_F16LE,
    "F16BE": h5t.IEEE_F16BE,
    "F32LE": h5t.IEEE_F32LE,
    "F32BE": h5t.IEEE_F32BE,
    "F64LE": h5t.IEEE_F64LE,
    "F64BE": h5t.IEEE_F64BE,
    "bias": floats(h5t.IEEE_F32LE, bias=120),
    "bias_big": floats(h5t.IEEE_F32BE, bias=133),
    "bfloat16": floats(h5t.IEEE_F32LE, size=2, fields=(15, 7, 8, 0, 7), precision=16, bias=127),
    "sign_below": floats(h5t.IEEE_F32LE, fields=(0, 24, 8, 1, 23)),
    "24_bits": floats(h5t.IEEE_F32LE, size=3, fields=(23, 15, 8, 0, 15), precision=24, bias=127),
    "24_of_32_bits": floats(h5t.IEEE_F32LE, fields=(23, 15, 8, 0, 15), precision=24, offset=6),
}


def enum(base, **members):
    kind = h5t.enum_create(base)
    for name, value in members.items():
        kind.enum_insert(name.encode(), value)
    return kind


ENUMS = {
    "h5py": (enum(h5t.STD_I8LE, FALSE=0, TRUE=1), {False: 0, True: 1}),
    "reversed": (enum(h5t.STD_I8LE, FALSE=1, TRUE=0), {False: 1, True: 0}),
    "wide": (enum(h5t.STD_I32BE, TRUE=7, FALSE=-9), {False: -9, True: 7}),
    "r": (enum(h5t.STD_I8LE, FALSE=0, TRUE=1, NA=-128), {False: 0, True: 1, None: -128}),
    "lower": (enum(h5t.STD_U8LE, false=0, true=1), {False: 0, True: 1}),
}

# 1. Attributes: all texts of a file as one type, all integers, all truth values.
FLAGS = {}
for name, kind in INTEGERS.items():
    FLAGS[name] = lambda obj, value, kind=kind: set_attribute(obj, "ordered", kind, np.int64(value))
for name, kind in FLOATS.items():
    FLAGS["float_" + name] = lambda obj, value, kind=kind: set_attribute(obj, "ordered", kind, np.float64(value))
for name, (kind, values) in ENUMS.items():
    FLAGS["enum_" + name] = lambda obj, value, kind=kind, values=values: set_attribute(
        obj, "ordered", kind, np.array(values[value], kind.get_super().dtype), memory=kind
    )
for name, (kind, _) in TEXTS.items():
    FLAGS["text_" + name] = lambda obj, value, kind=kind: set_text(obj, "ordered", kind, str(value).upper())
FLAGS["bits"] = lambda obj, value: set_attribute(obj, "ordered", h5t.STD_B8LE, np.array(value, "u1"), memory=h5t.STD_B8LE)
FLAGS["array"] = lambda obj, value: set_attribute(obj, "ordered", h5t.STD_I32LE, np.array([value], "i8"))

SHAPES = {name: (kind, "i8") for name, kind in INTEGERS.items()} | {"float_" + name: (kind, "f8") for name, kind in FLOATS.items()}


def rewrite_texts(name, obj, kind, as_array):
    for attribute in ("encoding-type", "encoding-version", "_index", "na-value"):
        if attribute in obj.attrs:
            value = obj.attrs[attribute]
            set_text(obj, attribute, kind, np.array([value] if as_array else value))
    if "column-order" in obj.attrs and len(obj.attrs["column-order"]):
        set_text(obj, "column-order", kind, np.array([str(v) for v in obj.attrs["column-order"]]))


for (text, (kind, _)), as_array in itertools.product(TEXTS.items(), (False, True)):
    path = copy(f"text_{text}{'_array' if as_array else ''}.h5ad")
    with h5py.File(path, "r+") as file:
        rewrite_texts("", file, kind, as_array)
        file.visititems(lambda name, obj: rewrite_texts(name, obj, kind, as_array))
    say(path, BASE)
for name, (kind, memory) in SHAPES.items():
    path = copy(f"shape_{name}.h5ad")
    with h5py.File(path, "r+") as file:
        set_attribute(file["X"], "shape", kind, np.array([N_OBS, N_VARS], memory))
    say(path, BASE)
for name, put in FLAGS.items():
    path = copy(f"ordered_{name}.h5ad")
    with h5py.File(path, "r+") as file:
        put(file["obs/stage"], True)
        put(file["obs/batch"], False)
    say(path, BASE)
for name, (kind, _) in TEXTS.items():
    path = folder / f"h5sparse_{name}.h5ad"
    with h5py.File(BASE) as source, h5py.File(path, "w") as file:
        for part in ("obs", "var"):
            source.copy(part, file)
        group = file.create_group("X")
        for part in ("data", "indices", "indptr"):
            group[part] = source[f"X/{part}"][:]
        set_text(group, "h5sparse_format", kind, np.array("csr"))
        group.attrs["h5sparse_shape"] = np.array([N_OBS, N_VARS], "f8")
    say(path, BASE)
for name, edit, reason in (
    ("shape_broken", lambda f: set_attribute(f["X"], "shape", h5t.IEEE_F64LE, np.array([N_OBS + 0.5, N_VARS])), "attribute shape: it is an array of 2 that begins with 12.5, expected integers"),
    ("shape_nan", lambda f: set_attribute(f["X"], "shape", h5t.IEEE_F64LE, np.array([np.nan, N_VARS])), "NaN, expected integers"),
    ("shape_text", lambda f: set_text(f["X"], "shape", variable(h5t.CSET_UTF8), np.array(["12", "7"])), "expected integers"),
    ("ordered_two", lambda f: set_attribute(f["obs/stage"], "ordered", h5t.STD_I32LE, np.int64(2)), "attribute ordered: it is 2, expected true or false"),
    ("ordered_na", lambda f: set_attribute(f["obs/stage"], "ordered", ENUMS["r"][0], np.array(-128, "i1"), memory=ENUMS["r"][0]), "expected true or false"),
    ("ordered_nothing", lambda f: set_attribute(f["obs/stage"], "ordered", enum(h5t.STD_I8LE, FALSE=0, TRUE=1, NA=2), np.array(9, "i1"), memory=enum(h5t.STD_I8LE, FALSE=0, TRUE=1, NA=2)), "9 is not a member of its enum"),
    ("index_number", lambda f: set_attribute(f["obs"], "_index", h5t.STD_I32LE, np.int64(2)), "attribute _index: it is 2, expected one string"),
):
    path = copy(f"{name}.h5ad")
    with h5py.File(path, "r+") as file:
        edit(file)
    say(path, f"refused:{reason}")


# 2. Numbers of every layout: X dense and sparse, columns, members of records.
def dataset(group, name, kind, values, memory=None):
    values = np.asarray(values)
    if name in group:
        attributes = dict(group[name].attrs)
        del group[name]
    else:
        attributes = {"encoding-type": "array", "encoding-version": "0.2.0"}
    made = h5py.Dataset(h5d.create(group.id, name.encode(), kind, h5s.create_simple(values.shape)))
    made.id.write(h5s.ALL, h5s.ALL, values, mtype=memory)
    for key, value in attributes.items():
        made.attrs[key] = value
    return made


VALUES = np.array([0, 1, 2, -3, 0.5, -0.25, 96, 7, 9, -11, 13, 1.5])
for name, kind in (INTEGERS | {"float_" + name: kind for name, kind in FLOATS.items()}).items():
    is_float = name.startswith("float_")
    is_signed = is_float or kind.get_sign() == h5t.SGN_2
    column = VALUES if is_float else np.trunc(VALUES)
    column = column if is_signed else np.abs(column)
    dense = np.resize(column, (N_OBS, N_VARS))
    is_half = name in ("float_F16LE", "float_F16BE")
    path, expected = copy(f"number_{name}.h5ad"), folder / f"number_{name}.expected.h5ad"
    with h5py.File(path, "r+") as file:
        dataset(file["obs"], "n", kind, column)
        set_text(file["obs"], "column-order", variable(h5t.CSET_UTF8), np.array(["stage", "batch", "n"]))
        # h5py does not know integers of three bytes.
        dtype = np.dtype("i4") if name == "24_bits" else file["obs/n"].dtype.newbyteorder("=")
        if not is_half:
            sparse_data = np.abs(column)[: COUNTS.nnz] if len(column) >= COUNTS.nnz else np.resize(np.abs(column), COUNTS.nnz)
            dataset(file["X"], "data", kind, sparse_data)
    adata = example(n=column.astype(dtype))
    if not is_half:
        adata.X = sparse.csr_matrix((sparse_data.astype(dtype), COUNTS.indices, COUNTS.indptr), COUNTS.shape)
    adata.write_h5ad(expected)
    say(path, expected)
    if is_half:
        continue
    path, expected = copy(f"dense_{name}.h5ad"), folder / f"dense_{name}.expected.h5ad"
    with h5py.File(path, "r+") as file:
        del file["X"]
        dataset(file, "X", kind, dense)
    adata = example()
    adata.X = dense.astype(dtype)
    adata.write_h5ad(expected)
    say(path, expected)
    # The same as a member of records (AnnData before 0.7).
    path, expected = copy(f"record_{name}.h5ad"), folder / f"record_{name}.expected.h5ad"
    memory = np.dtype([("index", "S8"), ("n", "f8" if is_float else "i8"), ("last", "i4")])
    record = h5t.create(h5t.COMPOUND, 8 + kind.get_size() + 4)
    record.insert(b"index", 0, h5t.py_create(np.dtype("S8")))
    record.insert(b"n", 8, kind)
    record.insert(b"last", 8 + kind.get_size(), h5t.STD_I32LE)
    rows = np.array([(f"cell{i}".encode(), v, i) for i, v in enumerate(column)], memory)
    with h5py.File(path, "r+") as file:
        del file["obs"]
        h5d.create(file.id, b"obs", record, h5s.create_simple(rows.shape)).write(h5s.ALL, h5s.ALL, rows)
    obs = pd.DataFrame({"n": column.astype(dtype), "last": np.arange(N_OBS, dtype="i4")}, index=pd.Index([f"cell{i}" for i in range(N_OBS)], name="index"))
    anndata.AnnData(COUNTS, obs=obs, var=example().var).write_h5ad(expected)
    say(path, expected)
for name, kind, reason in (
    ("long_double", h5t.NATIVE_LDOUBLE, "floats of 16 bytes"),
    ("wide_bias", floats(h5t.IEEE_F64LE, bias=100), "which fit no float64"),
):
    path = copy(f"number_{name}.h5ad")
    with h5py.File(path, "r+") as file:
        dataset(file["X"], "data", kind, np.ones(COUNTS.nnz))
    say(path, f"refused:{reason}")


# A chunk without filters whose index says another length than it has.
path = copy("chunk_length.h5ad")
with h5py.File(path, "r+") as file:
    data = file["X/data"][:]
    del file["X/data"]
    file["X"].create_dataset("data", data=data, chunks=(len(data),))
raw = bytearray(path.read_bytes())
# The key of a chunk in a B-tree of the first version: bytes, mask, offsets.
key = data.nbytes.to_bytes(4, "little") + bytes(4 + 8 + 8)
# Signature, kind, level and number of entries of the node; the addresses of its neighbours; the key.
node = b"TREE" + bytes([1, 0, 1, 0]) + b"\xff" * 16 + key
assert node in raw
for name, length in (("none", 0), ("short", data.nbytes - 4)):
    damaged = folder / f"chunk_length_{name}.h5ad"
    key = length.to_bytes(4, "little") + bytes(4 + 8 + 8)
    damaged.write_bytes(raw.replace(node, node[:24] + key))
    say(damaged, f"refused:of {length} bytes, expected {data.nbytes}")

# 3. Enums: truth values by their names, with NA as missing; others are categories.
def with_column(path, kind, values, name="flag"):
    with h5py.File(path, "r+") as file:
        dataset(file["obs"], name, kind, values, memory=kind)
        set_text(file["obs"], "column-order", variable(h5t.CSET_UTF8), np.array(["stage", "batch", name]))


truths = [bool(i % 3) for i in range(N_OBS)]
for name, (kind, values) in ENUMS.items():
    base = kind.get_super().dtype
    path, expected = copy(f"enum_{name}.h5ad"), folder / f"enum_{name}.expected.h5ad"
    flags = [None, *truths[1:]] if name == "r" else truths
    with_column(path, kind, np.array([values[flag] for flag in flags], base))
    flag = pd.array(flags, dtype="boolean") if name == "r" else np.array(truths)
    example(flag=flag).write_h5ad(expected)
    say(path, expected)
    if name == "r":
        continue
    path, expected = copy(f"enum_x_{name}.h5ad"), folder / f"enum_x_{name}.expected.h5ad"
    dense = np.resize(np.array(truths), (N_OBS, N_VARS))
    with h5py.File(path, "r+") as file:
        del file["X"]
        dataset(file, "X", kind, np.vectorize(values.get)(dense).astype(base), memory=kind)
    adata = example()
    adata.X = dense
    adata.write_h5ad(expected)
    say(path, expected)
cycle = enum(h5t.STD_I16BE, G2M=4, G1=-2, S=3)
path, expected = copy("enum_cycle.h5ad"), folder / "enum_cycle.expected.h5ad"
with_column(path, cycle, np.resize([4, -2, 3, 3], N_OBS).astype(cycle.get_super().dtype))
example(flag=pd.Categorical.from_codes(np.resize([2, 0, 1, 1], N_OBS), ["G1", "S", "G2M"])).write_h5ad(expected)
say(path, expected)
path = copy("enum_no_member.h5ad")
with_column(path, ENUMS["reversed"][0], np.array([0] * (N_OBS - 1) + [3], "i1"))
say(path, "refused:element 11: bytes [03] are neither its FALSE [01] nor its TRUE [00]")
path = copy("enum_cycle_no_member.h5ad")
with_column(path, cycle, np.array([4] * (N_OBS - 1) + [5], cycle.get_super().dtype))
say(path, "refused:row 11 holds 5, which is not a member of its enum")
path = copy("enum_x_cycle.h5ad")
with h5py.File(path, "r+") as file:
    dataset(file["X"], "data", cycle, np.resize([4, 3], COUNTS.nnz).astype(cycle.get_super().dtype), memory=cycle)
say(path, "refused:an enum of G1, S, G2M")
# Masks and booleans as integers.
path, expected = copy("nullable_integers.h5ad"), folder / "nullable_integers.expected.h5ad"
example(flag=pd.array([None, *truths[1:]], dtype="boolean")).write_h5ad(expected)
path.write_bytes(expected.read_bytes())
with h5py.File(path, "r+") as file:
    group = file["obs/flag"]
    for part, dtype in (("values", ">i4"), ("mask", "u1")):
        values = group[part][:]
        del group[part]
        group[part] = values.astype(dtype)
say(path, expected)

# 4. What lies elsewhere.
with h5py.File(folder / "other.h5", "w") as file, h5py.File(BASE) as source:
    source.copy("X", file)
    source.copy("obs", file)
for libver in ("earliest", "latest"):

    def elsewhere(name, reason, edit, needs=("obs", "var", "X")):
        path = folder / f"{name}_{libver}.h5ad"
        with h5py.File(BASE) as source, h5py.File(path, "w", libver=libver) as file:
            file.attrs["encoding-type"], file.attrs["encoding-version"] = "anndata", "0.1.0"
            for part in needs:
                source.copy(part, file)
            edit(file)
        say(path, BASE if reason is None else f"refused:{reason}")

    def link(where, target):
        def edit(file):
            if where in file:
                del file[where]
            file[where] = target

        return edit

    elsewhere("external_x", "X is an HDF5 external link to /X in other.h5", link("X", h5py.ExternalLink("other.h5", "/X")))
    elsewhere("external_column", "obs/stage is an HDF5 external link to /obs/stage in other.h5", link("obs/stage", h5py.ExternalLink("other.h5", "/obs/stage")))
    elsewhere("external_index", "obs/barcode is an HDF5 external link", link("obs/barcode", h5py.ExternalLink("other.h5", "/obs/barcode")))
    elsewhere("external_part", "X/data is an HDF5 external link", link("X/data", h5py.ExternalLink("other.h5", "/X/data")))
    elsewhere("external_obs", "obs is an HDF5 external link", link("obs", h5py.ExternalLink("other.h5", "/obs")))
    elsewhere("dangling_column", "obs/stage is an HDF5 soft link to /nowhere, which does not exist", link("obs/stage", h5py.SoftLink("/nowhere")))
    elsewhere("dangling_x", "X is an HDF5 soft link to lost/X, which does not exist", link("X", h5py.SoftLink("lost/X")))

    def soft_to_external(file):
        del file["X"]
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/")
        file["X"] = h5py.SoftLink("/elsewhere/X")

    elsewhere("soft_to_external", "elsewhere is an HDF5 external link to / in other.h5", soft_to_external)

    def soft(file):
        file.move("X", "kept")
        file["X"] = h5py.SoftLink("/kept")
        file.move("obs/stage", "stage")
        file["obs/stage"] = h5py.SoftLink("/stage")

    elsewhere("soft", None, soft)

    def many(file):
        # So many links that the group keeps them in a heap.
        for i in range(40):
            file[f"obs/extra{i}"] = h5py.SoftLink("/nowhere")
        link("obs/stage", h5py.ExternalLink("other.h5", "/obs/stage"))(file)

    elsewhere("external_among_many", "obs/stage is an HDF5 external link", many)

    def stored_outside(file):
        data = file["X/data"][:]
        del file["X/data"]
        raw = folder / f"outside_{libver}.bin"
        file["X"].create_dataset("data", data.shape, data.dtype, external=[(str(raw), 0, h5py.h5f.UNLIMITED)])[:] = data

    elsewhere("external_storage", "X/data in ", stored_outside)
    elsewhere("external_storage_named", "its data lie in other files (HDF5 external storage)", stored_outside)


def virtual(where):
    def edit(file):
        source = file[where]
        attributes = dict(source.attrs)
        layout = h5py.VirtualLayout(source.shape, source.dtype)
        layout[...] = h5py.VirtualSource("other.h5", where, shape=source.shape, dtype=source.dtype)
        del file[where]
        made = file.create_virtual_dataset(where, layout)
        for key, value in attributes.items():
            made.attrs[key] = value

    return edit


for where in ("X/data", "X/indptr", "obs/stage/codes", "obs/barcode"):
    elsewhere("virtual_" + where.replace("/", "_"), f"{where} in ", virtual(where))
    elsewhere("virtual_named_" + where.replace("/", "_"), "it is an HDF5 virtual dataset", virtual(where))

# Attributes whose types are committed.
path = copy("committed_attributes.h5ad")
with h5py.File(path, "r+") as file:
    types = file.create_group("types")
    h5t.IEEE_F64BE.copy().commit(types.id, b"count")
    set_attribute(file["X"], "shape", file["types/count"].id, np.array([N_OBS, N_VARS], "f8"))
say(path, "refused:has a committed or shared HDF5 datatype")

# 5. Files that a writer has open, or had when it was killed.
for name, swmr in (("killed", False), ("killed_swmr", True)):
    path = folder / f"{name}.h5ad"
    with h5py.File(BASE) as source, h5py.File(path, "w", libver="latest") as file:
        for key, value in source.attrs.items():
            file.attrs[key] = value
        for part in ("obs", "var", "X"):
            source.copy(part, file)
    child = os.fork()
    if child == 0:
        file = h5py.File(path, "r+", libver="latest")
        if swmr:
            file.swmr_mode = True
        file["X/data"][0] = file["X/data"][0]
        file.flush()
        os._exit(0)
    os.waitpid(child, 0)
    say(path, "refused:is still open for writing")
    say(path, f"--force-read {BASE}")

# 6. Codecs of zarr.
V2 = {
    "lz4": dict(compressors=numcodecs.LZ4()),
    "bz2": dict(compressors=numcodecs.BZ2()),
    "lzma": dict(compressors=numcodecs.LZMA()),
    "lzma_alone": dict(compressors=numcodecs.LZMA(format=2)),
    "zlib": dict(compressors=numcodecs.Zlib()),
    "gzip": dict(compressors=numcodecs.GZip()),
    "zstd": dict(compressors=numcodecs.Zstd()),
    "shuffle_lz4": dict(filters=[numcodecs.Shuffle(4)], compressors=numcodecs.LZ4()),
    **{
        f"blosc_{cname}_{shuffle}": dict(compressors=numcodecs.Blosc(cname=cname, shuffle=shuffle))
        for cname in numcodecs.blosc.list_compressors()
        for shuffle in (-1, 0, 1, 2)
    },
}


def write_zarr(path, zarr_format, how, parts=("data", "indices", "indptr")):
    adata = anndata.read_h5ad(BASE)
    with anndata.settings.override(zarr_write_format=zarr_format):
        adata.write_zarr(path)
    group = zarr.open_group(path, mode="r+")
    for part in parts:
        values = group[f"X/{part}"][:]
        attributes = dict(group[f"X/{part}"].attrs)
        del group[f"X/{part}"]
        made = group["X"].create_array(part, shape=values.shape, dtype=values.dtype, chunks=(20,), **how)
        made[:] = values
        made.attrs.update(attributes)
    return path


for name, how in V2.items():
    say(write_zarr(folder / f"v2_{name}.zarr", 2, how), BASE)
from zarr.codecs import numcodecs as named

V3 = {
    "lz4": dict(compressors=[named.LZ4()]),
    "bz2": dict(compressors=[named.BZ2()]),
    "lzma": dict(compressors=[named.LZMA()]),
    "zstd": dict(compressors=[named.Zstd(level=3)]),
    "zlib": dict(compressors=[named.Zlib()]),
    "gzip": dict(compressors=[named.GZip()]),
    "blosc": dict(compressors=[named.Blosc(cname="zlib", shuffle=2)]),
    "shuffle": dict(compressors=[named.Shuffle(elementsize=4), named.Zlib()]),
    "fletcher32": dict(compressors=[named.Fletcher32()]),
    "crc32c": dict(compressors=[named.CRC32C()]),
    "sharded_lz4": dict(compressors=[named.LZ4()], shards=(40,)),
    "plain_blosc": dict(compressors=[zarr.codecs.BloscCodec(cname="blosclz", shuffle="shuffle")]),
}
for name, how in V3.items():
    say(write_zarr(folder / f"v3_{name}.zarr", 3, how), BASE)
for name, how, reason in (
    ("delta", dict(filters=[named.Delta(dtype="<i4")]), "numcodecs.delta"),
    ("crc32", dict(compressors=[named.CRC32()]), "numcodecs.crc32"),
):
    say(write_zarr(folder / f"v3_{name}.zarr", 3, how, parts=("indices",)), f"refused:it is stored with zarr codec {reason}, which is not read")
say(
    write_zarr(folder / "v2_delta.zarr", 2, dict(filters=[numcodecs.Delta(dtype="<i4")], compressors=None), parts=("indices",)),
    "refused:it is stored with zarr codec delta, which is not read",
)
say(
    write_zarr(
        folder / "v2_scaled.zarr", 2, dict(filters=[numcodecs.FixedScaleOffset(0, 10, "<f4", ">i2")], compressors=None), parts=("data",)
    ),
    "refused:it is stored with zarr codec fixedscaleoffset, which is not read",
)
# Shards that are not read chunk by chunk: within others, and compressed as a whole.
inner = zarr.codecs.ShardingCodec(chunk_shape=(5,), codecs=[zarr.codecs.BytesCodec(), zarr.codecs.ZstdCodec()])
for name, how in {
    "nested_shards": dict(serializer=zarr.codecs.ShardingCodec(chunk_shape=(10,), codecs=[inner]), compressors=None),
    "compressed_shards": dict(serializer=inner, compressors=[zarr.codecs.GzipCodec(), zarr.codecs.Crc32cCodec()]),
    "index_first": dict(
        serializer=zarr.codecs.ShardingCodec(chunk_shape=(5,), index_location="start", index_codecs=[zarr.codecs.BytesCodec(endian="big")]),
        compressors=None,
    ),
    "big_endian": dict(serializer=zarr.codecs.BytesCodec(endian="big")),
}.items():
    say(write_zarr(folder / f"v3_{name}.zarr", 3, how), BASE)
# Dense, with rows and columns exchanged, in shards or not, and chunks that are not there.
dense = example()
dense.X = dense.X.toarray()
dense.X[5:10, :4] = 0
dense.X[5:10, 4:] = 3
dense.write_h5ad(folder / "dense.h5ad")
exchange = zarr.codecs.TransposeCodec(order=(1, 0))
for name, zarr_format, how in (
    ("v2_columns_first", 2, dict(order="F")),
    ("v2_big_endian", 2, dict(dtype=">f4")),
    ("v2_big_endian_threes", 2, dict(dtype=">f4", fill_value=3)),
    ("v3_big_endian_threes", 3, dict(serializer=zarr.codecs.BytesCodec(endian="big"), fill_value=3)),
    ("v3_exchanged", 3, dict(filters=[exchange])),
    ("v3_exchanged_twice", 3, dict(filters=[exchange, exchange])),
    ("v3_exchanged_shards", 3, dict(chunks=(4, 4), filters=[exchange], serializer=zarr.codecs.ShardingCodec(chunk_shape=(2, 4)), compressors=None)),
    ("v3_exchanged_chunks", 3, dict(filters=[exchange], shards=(10, 4), chunks=(5, 2))),
):
    path = folder / f"{name}.zarr"
    with anndata.settings.override(zarr_write_format=zarr_format):
        dense.write_zarr(path)
    group = zarr.open_group(path, mode="r+")
    attributes = dict(group["X"].attrs)
    del group["X"]
    made = group.create_array("X", **{"shape": dense.shape, "dtype": "f4", "chunks": (5, 4), "fill_value": 0, **how})
    made[:] = dense.X
    made.attrs.update(attributes)
    say(path, folder / "dense.h5ad")
# Checksums over an odd number of bytes.
for zarr_format, how in ((2, dict(compressors=numcodecs.Fletcher32())), (3, dict(compressors=[named.Fletcher32()]))):
    path = folder / f"v{zarr_format}_fletcher32_odd.zarr"
    with anndata.settings.override(zarr_write_format=zarr_format):
        anndata.read_h5ad(BASE).write_zarr(path)
    group = zarr.open_group(path, mode="r+")
    codes, attributes = group["obs/stage/codes"][:], dict(group["obs/stage/codes"].attrs)
    del group["obs/stage/codes"]
    made = group["obs/stage"].create_array("codes", shape=codes.shape, dtype=codes.dtype, chunks=(5,), **how)
    made[:] = codes
    made.attrs.update(attributes)
    say(path, BASE)
# Text that stands for missing chunks is text, not base64.
path = folder / "v2_fill_A.zarr"
with anndata.settings.override(zarr_write_format=2):
    anndata.read_h5ad(BASE).write_zarr(path)
group = zarr.open_group(path, mode="r+")
attributes = dict(group["obs/barcode"].attrs)
del group["obs/barcode"]
made = group["obs"].create_array("barcode", shape=(N_OBS,), dtype="<U3", chunks=(5,), fill_value="A")
made[:5] = np.array([f"c{i}" for i in range(5)])
made.attrs.update(attributes)
say(path, 'refused:its fill value is "A"')
# Strings of fixed length.
for zarr_format, kind in itertools.product((2, 3), ("U", "S")):
    path = folder / f"v{zarr_format}_fixed_{kind}.zarr"
    with anndata.settings.override(zarr_write_format=zarr_format):
        anndata.read_h5ad(BASE).write_zarr(path)
    group = zarr.open_group(path, mode="r+")
    for where in ("obs/barcode", "obs/stage/categories"):
        values = np.array([str(value) for value in group[where][:]])
        parent, name = where.rsplit("/", 1)
        attributes = dict(group[where].attrs)
        del group[where]
        values = values.astype(kind)
        made = group[parent].create_array(name, shape=values.shape, dtype=values.dtype, chunks=(5,))
        made[:] = values
        made.attrs.update(attributes)
    say(path, BASE)
