"""Inputs of kinds that people report, each with what a user must get: one table, CASES, at the end.

    python tests/python/make_cases.py DIRECTORY

Makes each input in DIRECTORY and prints a line for each case: its name, the path, the options of `cellring convert`, separated by blanks,
and what is expected, separated by tabs. That is `refused WORDS`, all of which the error has (`;` between them, `|` between
alternatives), or `like EXPECTED.h5ad`: what is exported equals that file, which anndata wrote, in all that it holds. Inputs are of two matrices, by
hand of h5py and zarr rather than by anndata, as other programs write them.
"""

import ctypes
import glob
import gzip
import os
import sys
import warnings
import zipfile

import anndata
import h5py
import numcodecs
import numpy as np
import pandas as pd
import zarr
from anndata.io import write_elem
from scipy import sparse

warnings.simplefilter("ignore")
# Texts that may be missing are written as such.
anndata.settings.allow_write_nullable_strings = True

N_OBS, N_VARS = 37, 11
RANDOM = np.random.default_rng(11)
X = sparse.csr_matrix(RANDOM.poisson(0.8, (N_OBS, N_VARS)).astype("f4"))
COUNTS = X.astype("i4")
CELLS = [f"AAAC{i:04d}-1" for i in range(N_OBS)]
GENES = [f"Gene{i}" for i in range(N_VARS)]
IDS = [f"ENSMUSG{i:08d}" for i in range(N_VARS)]
TEXT = h5py.string_dtype()
PARTS = ("data", "indices", "indptr")


# What is expected.


def frame(names, name=None, **columns):
    return pd.DataFrame(columns, index=pd.Index(names, name=name, dtype=object))


def expected(x=X, obs=None, var=None, **parts):
    obs = frame(CELLS) if obs is None else obs
    return anndata.AnnData(x, obs=obs, var=frame(GENES) if var is None else var, **parts)


def of_10x(**columns):
    """As scanpy reads it."""
    return expected(COUNTS, var=frame(GENES, **columns))


# Pieces of files.


def tagged(element, kind, version="0.2.0"):
    element.attrs["encoding-type"], element.attrs["encoding-version"] = kind, version
    return element


def text(group, name, values):
    return tagged(group.create_dataset(name, data=np.array(values, object), dtype=TEXT), "string-array")


def csr(group, name, x=X, **options):
    made = tagged(group.create_group(name), "csr_matrix", "0.1.0")
    made.attrs["shape"] = np.array(x.shape, "i8")
    for part in PARTS:
        made.create_dataset(part, data=getattr(x, part), **options)
    return made


def table(group, name, names, index="_index", columns=()):
    made = tagged(group.create_group(name), "dataframe")
    made.attrs["_index"] = index
    made.attrs.create("column-order", np.array(columns, object), dtype=TEXT)
    if names is not None:
        text(made, index, names)
    return made


def categorical(group, name, codes, labels, ordered=False):
    made = tagged(group.create_group(name), "categorical")
    made.attrs["ordered"] = ordered
    tagged(made.create_dataset("codes", data=np.array(codes, "i1")), "array")
    text(made, "categories", labels)
    return made


def nullable_text(group, name, values, missing=(), na_value="NaN"):
    made = tagged(group.create_group(name), "nullable-string-array", "0.1.0")
    made.attrs["na-value"] = na_value
    text(made, "values", values)
    mask = np.isin(np.arange(len(values)), missing)
    tagged(made.create_dataset("mask", data=mask), "array")


def plain(path, **options):
    """X, obs and var without columns; what a case is about is added."""
    file = tagged(h5py.File(path, "w", **options), "anndata", "0.1.0")
    csr(file, "X")
    table(file, "obs", CELLS)
    table(file, "var", GENES)
    return file


def replace(group, name):
    del group[name]
    return group


# The cases: each makes a file, and gives what is expected of it.


def index_is_a_column(path):
    with plain(path) as file:
        obs = table(replace(file, "obs"), "obs", CELLS, "barcode", ["n", "barcode"])
        tagged(obs.create_dataset("n", data=np.arange(N_OBS)), "array")
        table(replace(file, "var"), "var", GENES, "symbol", ["symbol"])
    return expected(
        obs=frame(CELLS, "barcode", n=np.arange(N_OBS), barcode=CELLS), var=frame(GENES, "symbol", symbol=GENES)
    )


def ordered_as(dtype):
    def make(path):
        codes = [i % 3 - (i == 4) for i in range(N_OBS)]
        with plain(path) as file:
            obs = table(replace(file, "obs"), "obs", CELLS, columns=["day"])
            attributes = categorical(obs, "day", codes, ["E7", "E8", "E9"]).attrs
            del attributes["ordered"]
            attributes.create("ordered", np.array(1).astype(dtype))
        day = pd.Categorical.from_codes(codes, ["E7", "E8", "E9"], ordered=True)
        return expected(obs=frame(CELLS, day=day))

    return make


def shape_as(dtype):
    def make(path):
        with plain(path) as file:
            file["X"].attrs.create("shape", np.array(X.shape).astype(dtype))
        return expected()

    return make


def fixed_texts(path):
    """Encodings and labels of fixed length in ASCII, as R writes them."""
    with plain(path) as file:
        for element in (file, file["X"], file["obs"], file["obs/_index"]):
            for name in ("encoding-type", "encoding-version"):
                element.attrs[name] = np.bytes_(element.attrs[name])
        file["obs"].attrs["_index"] = np.bytes_("_index")
        replace(file["obs"], "_index").create_dataset("_index", data=np.array(CELLS, "S20"))
    return expected()


def nullable_names(na_value):
    def make(path):
        notes = [f"n{i % 4}" for i in range(N_OBS)]
        with plain(path) as file:
            for axis, names in (("obs", CELLS), ("var", GENES)):
                made = table(replace(file, axis), axis, None, columns=["note"] if axis == "obs" else [])
                nullable_text(made, "_index", names, na_value=na_value)
            nullable_text(file["obs"], "note", notes, [2, 9], na_value)
        note = pd.array([None if i in (2, 9) else note for i, note in enumerate(notes)], "string")
        obs, var = frame(CELLS, note=note), frame(GENES)
        obs.index, var.index = obs.index.astype("string"), var.index.astype("string")
        return expected(obs=obs, var=var)

    return make


def nullable_labels(path):
    with plain(path) as file:
        obs = table(replace(file, "obs"), "obs", CELLS, columns=["type"])
        group = categorical(obs, "type", [i % 2 for i in range(N_OBS)], ["B", "T"])
        nullable_text(replace(group, "categories"), "categories", ["B", "T"])
    return expected(obs=frame(CELLS, type=pd.Categorical.from_codes([i % 2 for i in range(N_OBS)], ["B", "T"])))


def without_x(path):
    with plain(path) as file:
        tagged(replace(file, "X").create_dataset("X", data=h5py.Empty("f4")), "null", "0.1.0")
        csr(tagged(file.create_group("layers"), "dict", "0.1.0"), "counts")
    return expected()


def odd_columns(path):
    """Categories without a label, of an empty text, of numbers and of truth; columns of nothing but missing values."""
    with plain(path) as file:
        replace(file, "obs")
        obs = frame(
            CELLS,
            none=pd.Categorical([None] * N_OBS, categories=np.array([], object)),
            blank=pd.Categorical([""] * N_OBS),
            cluster=pd.Categorical([i % 12 for i in range(N_OBS)]),
            flag=pd.Categorical([i % 2 == 0 for i in range(N_OBS)], ordered=True),
            nan=np.full(N_OBS, np.nan),
            no_number=pd.array([None] * N_OBS, "Int64"),
            no_truth=pd.array([None] * N_OBS, "boolean"),
            missing_text=pd.Categorical([None if i % 3 else f"x{i}" for i in range(N_OBS)]),
        )
        write_elem(file, "obs", obs)
    return expected(obs=obs)


def never_written_texts(path):
    with plain(path) as file:
        obs = table(replace(file, "obs"), "obs", CELLS, columns=["note"])
        note = tagged(obs.create_dataset("note", shape=(N_OBS,), dtype=TEXT), "string-array")
        note[3], note[4] = "h\u00f6he", "long" * 20_000
    return expected(obs=frame(CELLS, note=["h\u00f6he" if i == 3 else "long" * 20_000 if i == 4 else "" for i in range(N_OBS)]))


def names_are_numbers(path):
    with plain(path) as file:
        obs = table(replace(file, "obs"), "obs", None, "soma_id")
        tagged(obs.create_dataset("soma_id", data=np.arange(N_OBS) + 7_000_000_000), "array")
    return expected(obs=frame([str(i + 7_000_000_000) for i in range(N_OBS)], "soma_id"))


def named_types(path):
    with plain(path) as file:
        file["value"], file["place"] = np.dtype("f4"), np.dtype("i4")
        replace(file, "X")
        x = tagged(file.create_group("X"), "csr_matrix", "0.1.0")
        x.attrs["shape"] = X.shape
        for part, kind in zip(PARTS, ("value", "place", "place")):
            x.create_dataset(part, shape=getattr(X, part).shape, dtype=file[kind])[:] = getattr(X, part)
    return expected()


def links(path):
    with plain(path) as file:
        layers = tagged(file.create_group("layers"), "dict", "0.1.0")
        layers["same"], layers["nowhere"] = h5py.SoftLink("/X"), h5py.SoftLink("/is/not/there")
    return expected(layers={"same": X})


def paged(path):
    options = {"fs_strategy": "page", "fs_page_size": 4096, "userblock_size": 8192, "track_order": True}
    plain(path, libver="latest", **options).close()
    return expected()


def shared_messages(path):
    """Data types and attributes that lie in a table of the whole file. h5py has no call for that."""
    plist = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    pattern = os.path.join(os.path.dirname(h5py.__file__), "..", "h5py.libs", "libhdf5-*.so*")
    library = ctypes.CDLL(sorted(glob.glob(pattern))[0])
    assert library.H5Pset_shared_mesg_nindexes(ctypes.c_int64(plist.id), ctypes.c_uint(1)) >= 0
    every_kind, least = ctypes.c_uint(0x1F), ctypes.c_uint(16)
    assert library.H5Pset_shared_mesg_index(ctypes.c_int64(plist.id), ctypes.c_uint(0), every_kind, least) >= 0
    with h5py.File(h5py.h5f.create(path.encode(), h5py.h5f.ACC_TRUNC, plist)) as file:
        tagged(file, "anndata", "0.1.0")
        csr(file, "X", compression="gzip")
        categorical(table(file, "obs", CELLS, columns=["t"]), "t", [i % 2 for i in range(N_OBS)], ["a", "b"], True)
        table(file, "var", GENES)


def big_endian(path):
    with plain(path) as file:
        for part in PARTS:
            data = getattr(X, part)
            replace(file["X"], part).create_dataset(part, data=data.astype(data.dtype.newbyteorder(">")))
    return expected()


def left_open(path):
    plain(path, libver="latest").close()
    child = os.fork()
    if child == 0:
        file = h5py.File(path, "r+", libver="latest")
        file.swmr_mode = True
        file["X/data"][0] = 9
        file.flush()
        os._exit(0)
    os.waitpid(child, 0)


def virtual(path):
    other = path.replace(".h5ad", "_part.h5")
    with h5py.File(other, "w") as file:
        csr(file, "X")
    with plain(path, libver="latest") as file:
        layout = h5py.VirtualLayout((X.nnz,), "f4")
        layout[:] = h5py.VirtualSource(os.path.basename(other), "X/data", shape=(X.nnz,))
        replace(file["X"], "data").create_virtual_dataset("data", layout)


def external_link(path):
    other = path.replace(".h5ad", "_other.h5")
    with h5py.File(other, "w") as file:
        csr(file, "X")
    with plain(path) as file:
        replace(file, "X")["X"] = h5py.ExternalLink(os.path.basename(other), "/X")


def obsm_frame(path):
    proteins = pd.DataFrame({"CD3": np.arange(N_OBS, dtype="i4"), "CD19": np.linspace(0, 1, N_OBS)}, index=CELLS)
    with plain(path) as file:
        write_elem(file, "obsm", {"protein": proteins, "X_umap": X[:, :2].toarray()})
    return expected(obsm={"protein": proteins})


def modalities(path):
    with h5py.File(path, "w") as file:
        tagged(file, "MuData", "0.1.0")
        table(file, "obs", CELLS)
        for name, x in (("rna", X), ("atac", X[:, ::2].tocsr())):
            group = tagged(file.create_group(f"mod/{name}"), "anndata", "0.1.0")
            csr(group, "X", x)
            table(group, "obs", CELLS)
            table(group, "var", GENES[: x.shape[1]])
    return expected()


def spatial_table(path):
    """A table of SpatialData: zarr groups within each other."""
    root = zarr.open_group(path, mode="w")
    write_elem(root.create_group("tables"), "cells", expected())
    return expected()


def features(group, fixed=40, **columns):
    made = group.create_group("features")
    for name, values in columns.items():
        made[name] = np.array(values, f"S{fixed}")


def matrix_10x(file, name):
    group = file.create_group(name)
    for part in PARTS:
        group[part] = getattr(COUNTS, part)
    group["shape"], group["barcodes"] = np.array([N_VARS, N_OBS], "i4"), np.array(CELLS, "S20")
    return group


GUIDES = {
    "feature_type": ["Gene Expression"] * (N_VARS - 2) + ["CRISPR Guide Capture"] * 2,
    "genome": ["mm10"] * (N_VARS - 2) + [""] * 2,
    "pattern": [""] * (N_VARS - 2) + ["(BC)GTTTAAG"] * 2,
    "read": [""] * (N_VARS - 2) + ["R2"] * 2,
    "sequence": [""] * (N_VARS - 2) + ["ACGT", "TTGA"],
    "target_gene_id": [""] * (N_VARS - 2) + ["Non-Targeting", IDS[0]],
    "target_gene_name": [""] * (N_VARS - 2) + ["Non-Targeting", GENES[0]],
}


def guides_10x(path):
    with h5py.File(path, "w") as file:
        features(matrix_10x(file, "matrix"), id=IDS, name=GENES, **GUIDES)
    columns = {("feature_types" if name == "feature_type" else name): values for name, values in GUIDES.items()}
    return of_10x(gene_ids=IDS, **columns)


def cellbender(path):
    """Without genomes, and with groups of its own."""
    with h5py.File(path, "w") as file:
        file.attrs["CLASS"], file.attrs["PYTABLES_FORMAT_VERSION"] = b"GROUP", b"2.1"
        features(matrix_10x(file, "matrix"), id=IDS, name=GENES, feature_type=["Gene Expression"] * N_VARS)
        file.create_group("droplet_latents")["cell_probability"] = np.linspace(0, 1, N_OBS)
    return of_10x(gene_ids=IDS, feature_types=["Gene Expression"] * N_VARS)


def cellranger_2(path):
    with h5py.File(path, "w") as file:
        group = matrix_10x(file, "mm10")
        group["genes"], group["gene_names"] = np.array(IDS, "S20"), np.array(GENES, "S20")
    return of_10x(gene_ids=IDS)


def market(genes, prefix="", field="integer", folder="", end="\n", zipped=False, columns=2):
    """A directory of Matrix Market; `genes` is the name of the table of genes."""

    def write(path, lines):
        data = "".join(line + end for line in lines).encode()
        with gzip.open(path + ".gz", "wb") if zipped else open(path, "wb") as file:
            file.write(data)

    def make(path):
        inside = os.path.join(path, folder, prefix)
        os.makedirs(os.path.join(path, folder), exist_ok=True)
        entries = COUNTS.T.tocoo()
        triples = [f"{i + 1} {j + 1} {value}" for i, j, value in zip(entries.row, entries.col, entries.data)]
        size = f"{N_VARS} {N_OBS} {COUNTS.nnz}"
        write(inside + "matrix.mtx", [f"%%MatrixMarket matrix coordinate {field} general", "%", size, *triples])
        write(inside + "barcodes.tsv", CELLS)
        rows = {1: [[name] for name in GENES], 2: zip(IDS, GENES), 3: ([*pair, "Gene Expression"] for pair in zip(IDS, GENES))}
        write(inside + genes, ["\t".join(row) for row in rows[columns]])
        ids = {} if columns == 1 else {"gene_ids": IDS}
        types = {"feature_types": ["Gene Expression"] * N_VARS} if columns == 3 else {}
        return of_10x(**ids, **types)

    return make


def zarr_arrays(root, **options):
    """The arrays of X, each made by `options`; the tables as anndata writes them."""
    tagged(root, "anndata", "0.1.0")
    x = tagged(root.create_group("X"), "csr_matrix", "0.1.0")
    x.attrs["shape"] = list(X.shape)
    for part in PARTS:
        data = getattr(X, part)
        x.create_array(part, shape=data.shape, chunks=(50,), dtype=data.dtype, **options)[:] = data
    for axis, names in (("obs", CELLS), ("var", GENES)):
        write_elem(root, axis, frame(names))


def zarr_2(compressor):
    def make(path):
        zarr_arrays(zarr.open_group(path, mode="w", zarr_format=2), compressors=compressor)
        return expected()

    return make


def zarr_columns_first(path):
    """Dense in Fortran order, in nested chunks, of which those of zeros alone are not there."""
    dense = X.toarray()
    dense[10:30] = 0
    root = zarr.open_group(path, mode="w", zarr_format=2)
    zarr_arrays(root)
    del root["X"]
    encoding = {"name": "v2", "separator": "/"}
    made = root.create_array(
        "X", shape=dense.shape, chunks=(10, 4), dtype="f4", order="F", chunk_key_encoding=encoding, fill_value=0
    )
    made[:] = dense
    tagged(made, "array")
    return expected(dense)


def zarr_zip(path):
    """With entries for the folders, as `zip -r` makes them."""
    directory = path + ".d"
    zarr_arrays(zarr.open_group(directory, mode="w", zarr_format=2))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for base, _, names in os.walk(directory):
            inside = os.path.relpath(base, directory)
            if inside != ".":
                archive.writestr(zipfile.ZipInfo(inside + "/"), b"")
            for name in names:
                archive.write(os.path.join(base, name), os.path.normpath(os.path.join(inside, name)))
    return expected()


def zarr_by_link(path):
    """As shared folders of data sets are linked into a project."""
    directory = path + ".d"
    zarr_arrays(zarr.open_group(directory, mode="w", zarr_format=2))
    os.symlink(os.path.basename(directory), path)
    return expected()


def categories_in_a_circle(link):
    """The categories are the column itself, or an enum: the column is skipped."""

    def make(path):
        with plain(path) as file:
            obs = file["obs"]
            column = categorical(obs, "odd", np.zeros(N_OBS, "i1"), ["a"])
            del column["categories"]
            if link == "hard":
                column["categories"] = column
            elif link == "soft":
                column["categories"] = h5py.SoftLink("/obs/odd")
            else:
                kind = h5py.enum_dtype({"ONE": 1, "TWO": 2}, "u1")
                column.create_dataset("categories", data=np.array([1, 2], "u1"), dtype=kind)
            obs.attrs.create("column-order", np.array(["odd"], object), dtype=TEXT)
        return expected()

    return make


def csc_called_csr(path):
    with plain(path) as file:
        csr(file, "Y", X.tocsc())
        replace(file, "X")
        file.move("Y", "X")
    return None


def of_dimensions(*shape):
    def make(path):
        with plain(path) as file:
            replace(file, "X")
            tagged(file.create_dataset("X", data=np.zeros(shape, "f4")), "array")

    return make


def obsm_of_dimensions(path):
    with plain(path) as file:
        obsm = tagged(file.create_group("obsm"), "dict", "0.1.0")
        tagged(obsm.create_dataset("border", data=np.zeros((N_OBS, 4, 2))), "array")


# Name, ending, maker, options of `convert`, and words of the refusal where it is to be refused.
CASES = [
    ("zarr_by_link", ".zarr", zarr_by_link, "", ""),
    *((f"categories_{kind}", ".h5ad", categories_in_a_circle(kind), "", "") for kind in ("hard", "soft", "enum")),
    ("csc_called_csr", ".h5ad", csc_called_csr, "", "encoding-type;csc_matrix"),
    ("x_of_1_dimension", ".h5ad", of_dimensions(N_OBS), "", "1 dimensions;a row for each cell"),
    ("x_of_3_dimensions", ".h5ad", of_dimensions(N_OBS, N_VARS, 2), "", "3 dimensions;reshape"),
    ("obsm_of_3_dimensions", ".h5ad", obsm_of_dimensions, "--x --obsm border", "3 dimensions;reshape"),
    ("index_is_a_column", ".h5ad", index_is_a_column, "", ""),
    *((f"ordered_as_{kind}", ".h5ad", ordered_as(kind), "", "") for kind in ("i1", "i4", "i8", "u1", "f8")),
    *((f"shape_as_{kind}", ".h5ad", shape_as(kind), "", "") for kind in ("i2", "i4", "u8", "f4", "f8")),
    ("shape_of_big_endian", ".h5ad", shape_as(">i8"), "", ""),
    ("fixed_texts", ".h5ad", fixed_texts, "", ""),
    ("nullable_names", ".h5ad", nullable_names("NaN"), "", ""),
    ("nullable_names_na", ".h5ad", nullable_names("NA"), "", ""),
    ("nullable_labels", ".h5ad", nullable_labels, "", ""),
    ("without_x", ".h5ad", without_x, "", "no X;layers/counts|--layer counts"),
    ("without_x_by_layer", ".h5ad", without_x, "--layer counts", ""),
    ("odd_columns", ".h5ad", odd_columns, "", ""),
    ("never_written_texts", ".h5ad", never_written_texts, "", ""),
    ("names_are_numbers", ".h5ad", names_are_numbers, "", ""),
    ("named_types", ".h5ad", named_types, "", ""),
    ("links", ".h5ad", links, "--x --layer same", ""),
    ("paged", ".h5ad", paged, "", ""),
    ("shared_messages", ".h5ad", shared_messages, "", "shared;open it with anndata"),
    ("big_endian", ".h5ad", big_endian, "", ""),
    ("left_open", ".h5ad", left_open, "", "open for writing|still open|h5clear"),
    ("virtual", ".h5ad", virtual, "", "virtual"),
    ("external_link", ".h5ad", external_link, "", "external link"),
    ("obsm_frame", ".h5ad", obsm_frame, "--x --obsm protein", ""),
    ("modalities", ".h5mu", modalities, "", "mod/rna;mod/atac;--group"),
    ("modality", ".h5mu", modalities, "--group mod/rna", ""),
    ("spatial_table", ".zarr", spatial_table, "--group tables/cells", ""),
    ("guides_10x", ".h5", guides_10x, "", ""),
    ("cellbender", ".h5", cellbender, "", ""),
    ("cellranger_2", ".h5", cellranger_2, "", ""),
    ("market", "", market("genes.tsv"), "", ""),
    ("market_of_names", "", market("genes.tsv", columns=1), "", ""),
    ("market_zipped", "", market("features.tsv", columns=3, zipped=True), "", ""),
    ("market_unsigned", "", market("features.tsv", columns=3, field="unsigned-integer"), "", ""),
    ("market_of_geo", "", market("features.tsv", columns=3, prefix="GSM77_liver_", zipped=True), "", ""),
    ("market_of_windows", "", market("genes.tsv", end="\r\n"), "", ""),
    ("market_in_outs", "", market("features.tsv", columns=3, folder="outs/filtered_feature_bc_matrix", zipped=True), "", ""),
    ("zarr_lz4", ".zarr", zarr_2(numcodecs.LZ4()), "", ""),
    ("zarr_zlib", ".zarr", zarr_2(numcodecs.Zlib()), "", ""),
    ("zarr_bz2", ".zarr", zarr_2(numcodecs.BZ2()), "", ""),
    ("zarr_lzma", ".zarr", zarr_2(numcodecs.LZMA()), "", ""),
    ("zarr_columns_first", ".zarr", zarr_columns_first, "", ""),
    ("zarr_zip", ".zarr.zip", zarr_zip, "", ""),
]


def main():
    directory = sys.argv[1]
    for name, ending, make, options, refusal in CASES:
        path = os.path.join(directory, name + ending)
        result = make(path)
        if not refusal:
            like = os.path.join(directory, f"{name}.expected.h5ad")
            result.write_h5ad(like, convert_strings_to_categoricals=False)
            refusal = f"like {like}"
        else:
            refusal = f"refused {refusal}"
        print(name, path, options, refusal, sep="\t")


if __name__ == "__main__":
    main()
