"""Makes small inputs of the forms that people have besides AnnData files, and beside each what it must become.

    python tests/python/make_inputs.py DIRECTORY

Prints a line for each: its path, options of `convert` (separated by `|`), and the AnnData file that it must equal or
`refused:` and words of the reason; then perhaps words of a warning. Fields are separated by tabs. If scanpy is installed, what
it reads of the input is compared with what is expected here, where it reads that form.
"""

import gzip
import pathlib
import sys
import warnings
import zipfile

import anndata
import h5py
import numpy as np
import pandas as pd
import zarr
from scipy import sparse

try:
    import scanpy
except ImportError:
    scanpy = None

warnings.simplefilter("ignore")
folder = pathlib.Path(sys.argv[1])
random = np.random.default_rng(11)
N, M = 30, 20
COUNTS = sparse.csr_matrix(random.poisson(0.5, (N, M)).astype("i4"))
CELLS = [f"CELL{i}-1" for i in range(N)]
GENES = [f"gene{i}" for i in range(M)]
IDS = [f"ENSG{i:011d}" for i in range(M)]
TYPES = ["Gene Expression"] * (M - 5) + ["CRISPR Guide Capture"] * 5
GENOMES = ["GRCh38"] * 8 + ["mm10"] * (M - 13) + [""] * 5


def adata(matrix=COUNTS, obs=None, obs_names=CELLS, names=GENES, **var):
    obs = pd.DataFrame(obs or {}, index=pd.Index(obs_names))
    return anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(var, index=pd.Index(names)))


def say(path, expected, *options, warns=""):
    """`expected` is what the input must become, or the reason why it is refused."""
    if not isinstance(expected, str):
        target = folder / f"{path.name}.{'_'.join(options).replace(' ', '_').replace('/', '_').replace('-', '')}.expected.h5ad"
        expected.write_h5ad(target, convert_strings_to_categoricals=False)
        expected = target
    print(path, "|".join(options), expected, warns, sep="\t")


def as_scanpy(expected, read, but=()):
    """What scanpy reads must be what is expected: names, columns in their order, and the matrix."""
    if scanpy is None:
        return
    found = read()
    assert list(found.obs_names) == list(expected.obs_names) and list(found.var_names) == list(expected.var_names)
    assert found.obs_names.name == expected.obs_names.name and found.var_names.name == expected.var_names.name
    assert (found.X.toarray() == expected.X.toarray()).all()
    for a, b in ((found.obs, expected.obs), (found.var, expected.var)):
        assert list(a.columns) == list(b.columns), (list(a.columns), list(b.columns))
        for name in a:
            assert list(a[name].astype(str)) == list(b[name].astype(str)), name
            assert name in but or (a[name].dtype == bool) == (b[name].dtype == bool), name


# 10x Genomics, .h5.
def arrays(group, matrix=COUNTS, cells=CELLS):
    group["data"], group["indices"], group["indptr"] = matrix.data, matrix.indices.astype("i8"), matrix.indptr.astype("i8")
    group["shape"] = np.array(matrix.shape[::-1], "i4")
    group["barcodes"] = np.array(cells, "S16")


def text(values):
    return np.array(values, "S40")


def tenx(name, features, more=None, matrix=COUNTS, cells=CELLS):
    path = folder / name
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        arrays(group, matrix, cells)
        for member, values in features.items():
            group[f"features/{member}"] = values
        group["features/_all_tag_keys"] = text(["genome"])
        for member, values in (more or {}).items():
            file[member] = values
    return path


base = {"id": text(IDS), "name": text(GENES), "feature_type": text(TYPES), "genome": text(GENOMES)}
guides = {
    "pattern": [""] * (M - 5) + ["(BC)GTTTAAGAGC"] * 5,
    "read": [""] * (M - 5) + ["R2"] * 5,
    "sequence": [""] * (M - 5) + [f"ACGT{i}" for i in range(5)],
    "target_gene_id": [""] * (M - 5) + IDS[:5],
    "target_gene_name": [""] * (M - 5) + GENES[:5],
}
path = tenx("crispr.h5", base | {name: text(values) for name, values in guides.items()})
both = adata(gene_ids=IDS, feature_types=TYPES, genome=GENOMES, **guides)
several = "5 of CRISPR Guide Capture, 15 of Gene Expression; --feature-types \"Gene Expression\" keeps only those"
say(path, both, warns=several)
as_scanpy(both, lambda: scanpy.read_10x_h5(path, gex_only=False))
expression = both[:, :-5].copy()
say(path, expression, "--feature-types", "Gene Expression")
as_scanpy(expression, lambda: scanpy.read_10x_h5(path))
say(path, both, "--feature-types", "Gene Expression,CRISPR Guide Capture")
human = both[:, :8].copy()
say(path, human, "--genome", "GRCh38")
as_scanpy(human, lambda: scanpy.read_10x_h5(path, genome="GRCh38", gex_only=False))
say(path, both[:, 8:15].copy(), "--genome", "mm10", "--feature-types", "Gene Expression")
say(path, "refused:none of its features is of genome hg19; there are 5 without one, 8 of GRCh38, 7 of mm10", "--genome", "hg19")
say(path, "refused:of type Peaks; there are 5 of CRISPR Guide Capture", "--feature-types", "Gene Expression,Peaks")
say(path, "refused:no feature has one of these types", "--genome", "mm10", "--feature-types", "CRISPR Guide Capture")
say(path, "refused:has no layers/counts", "--layer", "counts")

# Probes of fixed cells (Flex), unfiltered: probes, flags, and which barcodes are cells.
included, filtered = np.arange(M) % 3 != 0, np.arange(M) % 4 == 0
regions = ["spliced" if i % 2 else "unspliced" for i in range(M)]
is_cell = np.arange(N) % 2 == 0
probe_ids = [f"{i}|{n}|0a1b" for i, n in zip(IDS, GENES)]
probes = {
    "id": text(probe_ids),
    "name": text(GENES),
    "feature_type": text(["Gene Expression"] * M),
    "genome": text(["GRCh38"] * M),
    "gene_id": text(IDS),
    "gene_name": text(GENES),
    "probe_region": text(regions),
    "filtered_probes": filtered,
    "include": included,
}
for name, flags in (("flex.h5", is_cell), ("flex_u1.h5", is_cell.astype("u1")), ("flex_i1.h5", is_cell.astype("i1"))):
    path = tenx(name, probes, {"matrix/filtered_barcodes": flags})
    expected = adata(
        obs={"filtered_barcodes": is_cell},
        gene_ids=IDS,
        probe_ids=probe_ids,
        feature_types=["Gene Expression"] * M,
        filtered_probes=filtered,
        gene_name=GENES,
        genome=["GRCh38"] * M,
        include=included,
        probe_region=regions,
    )
    say(path, expected)
    as_scanpy(expected, lambda: scanpy.read_10x_h5(path))

# Other values for each barcode and each feature, beside the matrix, as CellBender wrote them; and what fits neither.
weight, ambient = random.random(N), random.random(M)
path = tenx(
    "further.h5",
    {k: v for k, v in base.items() if k != "genome"} | {"target_sets/one": np.arange(3), "length": np.arange(M)},
    {
        "matrix/latent_cell_probability": weight,
        "matrix/ambient_expression": ambient,
        "matrix/lambda_multiplier": 0.5,
        "droplet_latents/cell_size": weight,
        "metadata/epochs": 150,
    },
)
expected = adata(
    obs={"latent_cell_probability": weight},
    gene_ids=IDS,
    feature_types=TYPES,
    length=np.arange(M),
    ambient_expression=ambient,
)
say(path, expected, warns="matrix/lambda_multiplier")
say(path, expected, warns="matrix/features/target_sets")

# CellRanger 2: a group for each genome.
path = folder / "two_genomes.h5"
with h5py.File(path, "w") as file:
    for genome, rows in (("hg19", COUNTS), ("mm10", COUNTS[:12, :9])):
        arrays(file.create_group(genome), rows, CELLS[: rows.shape[0]])
        file[f"{genome}/genes"], file[f"{genome}/gene_names"] = text(IDS[: rows.shape[1]]), text(GENES[: rows.shape[1]])
mouse = adata(COUNTS[:12, :9], obs_names=CELLS[:12], names=GENES[:9], gene_ids=IDS[:9])
say(path, mouse, "--genome", "mm10")
as_scanpy(mouse, lambda: scanpy.read_10x_h5(path, genome="mm10", gex_only=False))
say(path, adata(gene_ids=IDS), "--genome", "hg19")
say(path, "refused:holds several genomes (hg19, mm10); choose one with --genome")
say(path, "refused:it has no genome GRCh38, but hg19, mm10", "--genome", "GRCh38")
say(path, "refused:it does not say what types its features have", "--genome", "mm10", "--feature-types", "Gene Expression")


# Matrix Market.
def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def entries(matrix=COUNTS.T, field="integer", symmetry="general", form="{:d}", head="%\n"):
    matrix = matrix.tocoo()
    lines = [f"{r + 1} {c + 1} {form.format(v)}\n" for r, c, v in zip(matrix.row, matrix.col, matrix.data)]
    sizes = f"{matrix.shape[0]} {matrix.shape[1]} {len(lines)}\n"
    return f"%%MatrixMarket matrix coordinate {field} {symmetry}\n{head}{sizes}{''.join(lines)}"


def column(*columns, end="\n"):
    return "".join("\t".join(words) + end for words in zip(*columns))


def market(name, matrix=None, barcodes=None, features=None, files=("matrix.mtx", "barcodes.tsv", "genes.tsv")):
    contents = (entries() if matrix is None else matrix, barcodes or column(CELLS), features or column(IDS, GENES))
    for file, content in zip(files, contents):
        write(folder / name / file, content)
    return folder / name


NEW = ("matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz")
plain, typed = adata(gene_ids=IDS), adata(gene_ids=IDS, feature_types=TYPES)
features3 = column(IDS, GENES, TYPES)
path = market("market_new", features=features3, files=NEW)
say(path, typed, warns=several)
as_scanpy(typed.copy(), lambda: scanpy.read_10x_mtx(path, make_unique=False, gex_only=False))
say(path, typed[:, :-5].copy(), "--feature-types", "Gene Expression")
say(path / "matrix.mtx.gz", typed[:, -5:].copy(), "--feature-types", "CRISPR Guide Capture")
say(path, "refused:none of its gene ids begins with GRCh38_", "--genome", "GRCh38")
say(path, "refused:Matrix Market has no groups", "--group", "mod/rna")
path = market("market_old")
say(path, plain)
as_scanpy(plain, lambda: scanpy.read_10x_mtx(path, make_unique=False, gex_only=False))
say(path, "refused:it does not say what types", "--feature-types", "Gene Expression")

# Fields, symmetries and formats.
say(market("market_unsigned", entries(field="unsigned-integer")), plain)
say(market("market_real", entries(field="real", form="{:.1f}")), adata(COUNTS.astype("f8"), gene_ids=IDS))
say(market("market_double", entries(field="double", form="{:.3e}")), adata(COUNTS.astype("f8"), gene_ids=IDS))
say(market("market_pattern", entries(field="pattern", form="")), adata(COUNTS.astype(bool), gene_ids=IDS))
wide = COUNTS.astype("u8")
wide.data[0], wide.data[-1] = 2**64 - 1, 2**40
say(market("market_u8", entries(wide.T, "unsigned-integer")), adata(wide, gene_ids=IDS))
lines = entries(wide.T, "integer").splitlines(keepends=True)
say(market("market_mixed", "".join(lines[:-1]) + lines[-1].rsplit(" ", 1)[0] + " -1\n"), "refused:integers from -1 to 18446744073709551615")
square = sparse.random(M, M, 0.2, "csr", random_state=3)
square.data = np.ceil(square.data * 9)
square = (square + square.T).astype("i4").tocsr()
symmetric = market("market_symmetric", entries(sparse.tril(square), symmetry="symmetric"), column(CELLS[:M]))
say(symmetric, adata(square, obs_names=CELLS[:M], gene_ids=IDS))
dense = "%%MatrixMarket matrix array integer general\n%\n" + f"{M} {N}\n" + "".join(f"{v}\n" for v in COUNTS.toarray().ravel())
say(market("market_array", dense), plain)
say(market("market_array_short", dense.rsplit("\n", 2)[0] + "\n"), f"refused:the file ends after {N * M - 1} entries, expected {N * M}")
say(market("market_array_long", dense + "7\n"), "refused:one value more than the 600 expected")
say(market("market_complex", entries(field="complex", form="{:d} 0")), "refused:its field is complex")
say(market("market_skew", entries(symmetry="skew-symmetric")), "refused:its symmetry is skew-symmetric")
say(market("market_oblong", entries(symmetry="symmetric")), "refused:a symmetric matrix must have as many rows as columns")

# Lines: ends, comments, blanks, quotes, other encodings of names, and those that do not fit.
say(market("market_crlf", entries().replace("\n", "\r\n"), column(CELLS, end="\r\n"), column(IDS, GENES, end="\r\n")), plain)
say(market("market_comments", entries(head="% by hand\n%\n\n% more\n").replace("\n1 ", "\n\n% row\n1 ")), plain)
say(market("market_blank", barcodes=column(CELLS) + "\n\n", features="\n" + column(IDS, GENES)), plain)
quoted = [[f'"{name}"' for name in names] for names in (CELLS, IDS, GENES)]
say(market("market_quoted", barcodes=column(quoted[0]), features=column(*quoted[1:])), plain)
say(market("market_bom", barcodes="\ufeff" + column(CELLS)), plain)
say(market("market_one_column", features=column(GENES)), adata())
say(market("market_gz_inside", gzip.compress(entries().encode())), plain)
write(folder / "market_not_gz/barcodes.tsv", column(CELLS))
write(folder / "market_not_gz/genes.tsv", column(IDS, GENES))
(folder / "market_not_gz/matrix.mtx.gz").write_bytes(entries().encode())
say(folder / "market_not_gz", plain)
unnamed = [("" if i == 3 else name) for i, name in enumerate(GENES)]
expected = adata(names=[i if not n else n for i, n in zip(IDS, unnamed)], gene_ids=IDS)
say(market("market_unnamed", features=column(IDS, unnamed)), expected, warns="no name for 1 features")
peaks = [IDS, GENES, TYPES, ["chr1"] * M, ["1"] * M, ["2"] * M]
say(market("market_positions", features=column(*peaks)), typed, warns="has 6 columns, of which the first 3 are stored")
ragged = column(IDS, GENES).replace(f"{IDS[6]}\t", f"{IDS[6]} ")
say(market("market_ragged", features=ragged), "refused:line 7 of")
say(market("market_ragged_more", features=features3.replace(GENES[4] + "\t", GENES[4] + "\t\t")), "refused:it has 4 columns, but the lines before it have 3")
say(market("market_header", barcodes="barcode\n" + column(CELLS), features=column(IDS, GENES)), "refused:line 31 of")
say(market("market_few", barcodes=column(CELLS[1:])), "refused:it declares 20 rows and 30 columns, but 20 genes and 29 cells are named next to it")
lines = entries().splitlines(keepends=True)
for name, line in (("three", "1 2 3 4\n"), ("two", "1 2\n"), ("word", "1 2 x\n"), ("zero", "0 2 1\n"), ("far", "21 2 1\n")):
    say(market(f"market_line_{name}", "".join(lines[:9] + [line] + lines[10:])), "refused:line 10 of")
say(market("market_cut", "".join(lines[:-1])), "refused:the file ends after")
say(market("market_banner", entries().replace("%%MatrixMarket", "MatrixMarket")), "refused:line 1 of")

# Cells by genes, as the lengths of the tables tell; where those are equal, the form does.
say(market("market_turned", entries(COUNTS)), plain)
kb = ("cells_x_genes.mtx", "cells_x_genes.barcodes.txt", "cells_x_genes.genes.txt")
say(market("kb", entries(COUNTS), features=column(IDS), files=kb), adata(names=IDS))
write(folder / "kb_names/cells_x_genes.genes.names.txt", column(GENES))
say(market("kb_names", entries(COUNTS), features=column(IDS), files=kb), adata(names=IDS, gene_name=GENES))
few = COUNTS[:M].tocsr()
say(market("kb_square", entries(few), column(CELLS[:M]), column(IDS), kb), adata(few, obs_names=CELLS[:M], names=IDS))
say(market("market_square", entries(few.T), column(CELLS[:M])), adata(few, obs_names=CELLS[:M], gene_ids=IDS))
alevin = ("quants_mat.mtx.gz", "quants_mat_rows.txt", "quants_mat_cols.txt")
say(market("alevin/alevin", entries(few), column(CELLS[:M]), column(IDS), alevin), adata(few, obs_names=CELLS[:M], names=IDS))

# Prefixes, and several matrices in one directory.
for separator, name in (("_", "geo"), (".", "geo_dot"), ("-", "geo_dash")):
    prefixed = [f"GSM1_a{separator}{file}" for file in NEW]
    say(market(name, features=features3, files=prefixed), typed)
market("geo_two", features=features3, files=[f"GSM1_a_{file}" for file in NEW])
path = market("geo_two", entries(COUNTS[:9].T), column(CELLS[:9]), files=("GSM2_matrix.mtx", "GSM2_barcodes.tsv", "GSM2_genes.tsv"))
say(path, "refused:holds 2 matrices (GSM1_a_matrix.mtx.gz, GSM2_matrix.mtx); name the one to convert instead")
say(path / "GSM2_matrix.mtx", adata(COUNTS[:9], obs_names=CELLS[:9], gene_ids=IDS))
say(path / "GSM1_a_matrix.mtx.gz", typed)
path = market("velocyto_old", features=features3)
turned = COUNTS.T.tocoo()
lines = [f"{row + 1} {column + 1} {value} {2 * value} 0" for row, column, value in zip(turned.row, turned.col, turned.data)]
head = f"%%MatrixMarket matrix coordinate integer general\n%\n{M} {N} {len(lines)}\n"
write(path / "matrix.mtx", head + "\n".join(lines) + "\n")
say(path, "refused:it has three values, as where STARsolo's Velocyto writes spliced, unspliced and ambiguous counts into one file")
path = market("velocyto", features=features3, files=("spliced.mtx", "barcodes.tsv", "features.tsv"))
write(path / "unspliced.mtx", entries(COUNTS.T * 2))
say(path, "refused:holds 2 matrices (spliced.mtx, unspliced.mtx)")
say(path / "unspliced.mtx", adata(COUNTS * 2, gene_ids=IDS, feature_types=TYPES))
write(folder / "no_names/matrix.mtx", entries())
say(folder / "no_names", "refused:has no barcodes.tsv; expected it next to the matrix")

# Directories that programs make around it.
say(market("run/outs/filtered_feature_bc_matrix", features=features3, files=NEW).parent, typed)
say(folder / "run", typed)
market("run_both/outs/filtered_feature_bc_matrix", features=features3, files=NEW)
market("run_both/outs/raw_feature_bc_matrix", features=features3, files=NEW)
say(folder / "run_both/outs", "refused:holds 2 matrices (filtered_feature_bc_matrix/matrix.mtx.gz, raw_feature_bc_matrix/matrix.mtx.gz)")
market("run_two/filtered_gene_bc_matrices/hg19")
mouse_ids = [f"mm_{i}" for i in IDS]
market("run_two/filtered_gene_bc_matrices/mm10", features=column(mouse_ids, GENES))
say(folder / "run_two", "refused:or its genome with --genome")
say(folder / "run_two", adata(gene_ids=mouse_ids), "--genome", "mm10")
say(folder / "run_two/filtered_gene_bc_matrices", plain, "--genome", "hg19")
species = [f"{'GRCh38' if i < 8 else 'mm10__'}_{name}" for i, name in enumerate(IDS)]
path = market("market_species", features=column(species, GENES, TYPES), files=NEW)
say(path, adata(gene_ids=species, feature_types=TYPES)[:, :8].copy(), "--genome", "GRCh38")
say(path, adata(gene_ids=species, feature_types=TYPES)[:, 8:].copy(), "--genome", "mm10")

# AnnData in groups.
rna, protein = adata(COUNTS.astype("f4"), obs={"n": np.arange(N)}, gene_ids=IDS), adata(COUNTS[:, :3].astype("f4"), names=GENES[:3])
path = folder / "two.h5mu"
with h5py.File(path, "w") as file:
    file.attrs["encoding-type"], file.attrs["encoding-version"] = "MuData", "0.1.0"
    anndata.io.write_elem(file, "obs", rna.obs)
    anndata.io.write_elem(file, "var", rna.var)
    anndata.io.write_elem(file, "mod/rna", rna)
    anndata.io.write_elem(file, "mod/prot", protein)
say(path, "refused:holds AnnData in mod/prot, mod/rna; choose one with --group, as --group mod/prot")
say(path, rna, "--group", "mod/rna")
say(path, protein, "--group", "/mod/prot/")
say(path, "refused:it has no group mod/atac; AnnData is in mod/prot, mod/rna", "--group", "mod/atac")
say(path, "refused:it has no group mod/../mod/rna", "--group", "mod/../mod/rna")
say(path, "refused:mod holds AnnData in prot, rna", "--group", "mod")
say(path, "refused:has no layers/counts", "--group", "mod/rna", "--layer", "counts")
say(path, "refused:--genome does not apply to", "--group", "mod/rna", "--genome", "GRCh38")
path = folder / "deep.h5"
with h5py.File(path, "w") as file:
    anndata.io.write_elem(file, "a/b/c/table", rna)
    file["a/numbers"] = np.arange(3)
say(path, "refused:holds AnnData in a/b/c/table")
say(path, rna, "--group", "a/b/c/table")
for version in (2, 3):
    path = folder / f"spatial_v{version}.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=version)
    root.attrs["spatialdata_attrs"] = {"version": "0.1"}
    root.create_group("images")
    anndata.settings.zarr_write_format = version
    anndata.io.write_elem(root.create_group("tables"), "table", rna)
    say(path, "refused:holds AnnData in tables/table; choose one with --group")
    say(path, rna, "--group", "tables/table")
    say(path / "tables/table", rna)
# A categorical with a single category, which anndata before 0.7 wrote as a scalar: of a table of records (0.6 and before), and of columns.
for kind, label in (("text", "liver"), ("number", 7), ("float", 0.5), ("flag", True)):
    plain = adata(COUNTS.astype("f4"), obs={"n": np.arange(N)})
    codes = np.where(np.arange(N) == 3, -1, 0).astype("i1")
    expected = plain.copy()
    expected.obs["organ"] = pd.Categorical.from_codes(codes, [label])
    for version in ("records", "columns", "groups"):
        path = folder / f"single_{kind}_{version}.h5ad"
        plain.write_h5ad(path)
        with h5py.File(path, "a") as file:
            if version == "records":
                del file["obs"], file["uns"], file.attrs["encoding-type"], file.attrs["encoding-version"]
                rows = np.empty(N, [("index", "S12"), ("n", "i8"), ("organ", "i1")])
                rows["index"], rows["n"], rows["organ"] = CELLS, np.arange(N), codes
                file["obs"] = rows
                file["uns/organ_categories"] = label
            elif version == "columns":
                file["obs/organ"] = codes
                file["obs/__categories/organ"] = label
                file["obs/organ"].attrs["categories"] = file["obs/__categories/organ"].ref
            else:
                group = file.create_group("obs/organ")
                group.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
                group["codes"], group["categories"] = codes, label
            if version != "records":
                order = list(file["obs"].attrs["column-order"]) + ["organ"]
                file["obs"].attrs["column-order"] = np.array(order, h5py.string_dtype())
        wanted = expected.copy()
        # As anndata reads a table of records.
        wanted.obs.index.name = "index" if version == "records" else None
        say(path, wanted)
    path = folder / f"single_{kind}.zarr"
    anndata.settings.zarr_write_format = 2
    plain.write_zarr(path)
    obs = zarr.open_group(path, mode="a")["obs"]
    group = obs.create_group("organ")
    group.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
    group.create_array("codes", data=codes)
    anndata.io.write_elem(group, "categories", label)
    obs.attrs["column-order"] = list(obs.attrs["column-order"]) + ["organ"]
    zarr.consolidate_metadata(path)
    say(path, expected)
# A 10x matrix within a larger file.
path = folder / "inner_tenx.h5"
with h5py.File(path, "w") as file:
    arrays(file.create_group("run1/matrix"))
    for member, values in base.items():
        file[f"run1/matrix/features/{member}"] = values
say(path, adata(gene_ids=IDS, feature_types=TYPES, genome=GENOMES), "--group", "run1")
say(path, adata(gene_ids=IDS, feature_types=TYPES, genome=GENOMES)[:, :8].copy(), "--group", "run1", "--genome", "GRCh38")

# X that is None, or absent.


def without_x(name, null, layers=True, obsm=False):
    path = folder / name
    whole = adata(COUNTS.astype("f4"), gene_ids=IDS)
    if layers:
        whole.layers["counts"] = whole.X.copy()
        whole.raw = whole
    if obsm:
        whole.obsm["X_pca"] = np.zeros((N, 2))
    whole.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["X"]
        if null:
            file.create_dataset("X", data=h5py.Empty("f4")).attrs.update({"encoding-type": "null", "encoding-version": "0.1.0"})
    return path


counts = adata(COUNTS.astype("f4"), gene_ids=IDS)
for name, null in (("x_null.h5ad", True), ("x_absent.h5ad", False)):
    path = without_x(name, null)
    say(path, "refused:has no X; it has layers/counts, raw/X, taken with --layer counts, --raw")
    say(path, counts, "--layer", "counts")
    say(path, counts, "--raw")
    path = without_x(f"only_obsm_{name}", null, layers=False, obsm=True)
    say(path, "refused:has no X; it has neither layers nor raw but only obsm/X_pca")
path = folder / "x_null.zarr"
anndata.settings.zarr_write_format = 2
nothing = anndata.AnnData(obs=counts.obs, var=counts.var, layers={"counts": counts.X})
nothing.write_zarr(path)
say(path, "refused:has no X; it has layers/counts, taken with --layer counts")

# Files that are something else.
def other(name, content, reason):
    path = folder / name
    write(path, content)
    say(path, f"refused:{reason}")
    return path


h5ad = folder / "plain.h5ad"
counts.write_h5ad(h5ad)
path = folder / "plain.h5ad.gz"
path.write_bytes(gzip.compress(h5ad.read_bytes()))
say(path, "refused:is a gzipped HDF5 file; unpack it with gunzip -k ")
tar = b"a.h5ad" + bytes(251) + b"ustar\x0000" + bytes(800)
other("some.tar", tar, "is a tar archive; unpack it with tar -xf ")
(folder / "some.tar.gz").write_bytes(gzip.compress(tar))
say(folder / "some.tar.gz", "refused:is a gzipped tar archive; unpack it with tar -xzf ")
for name, magic in (("object.rds", b"X\n\0\0\0\3"), ("ascii.rds", b"A\n3\n"), ("workspace.RData", b"RDX3\nX\n")):
    kind = "an R workspace" if name.endswith("RData") else "an R object"
    (folder / name).write_bytes(gzip.compress(magic + bytes(40)))
    say(folder / name, f"refused:is {kind}")
    (folder / f"bare_{name}").write_bytes(magic + bytes(40))
    say(folder / f"bare_{name}", f"refused:is {kind}")
table = "gene,c1,c2\nA,1,2\nB,0,3\n"
other("counts.csv", table, "is a table of comma-separated text; read it in Python with scanpy.read_csv")
other("counts.tsv", table.replace(",", "\t"), "is a table of tab-separated text")
other("r.tsv.gz", "c1\tc2\nA\t1\t2\n", "is a table of tab-separated text")
other("wide.csv", ",".join(CELLS * 99) + "\nA" + ",0" * N * 99 + "\n", "is a table of comma-separated text")
other("program.py", "import a, b\nfrom c import d, e\n\ndef f(a, b):\n    return a\n", "is not an HDF5 file")
other("page.h5ad", "<!DOCTYPE html>\n<html><body>Not found</body></html>\n", "is an HTML or XML page")
other("pointer.h5ad", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "is a pointer of Git LFS")
other("counts.parquet", b"PAR1" + bytes(60), "is a Parquet file")
other("counts.feather", b"ARROW1\0\0" + bytes(60), "is an Arrow file")
other("counts.npy", b"\x93NUMPY\1\0" + bytes(60), "is a numpy array")
other("other.txt", entries(), "is a Matrix Market file under another name; give it a name that ends in .mtx")
other("empty.h5ad", b"", "is empty; copy or download it again")
other("bz2.h5ad", b"BZh91AY" + bytes(60), "is compressed with bzip2; unpack it with bunzip2")
np.savez(folder / "arrays.npz", a=np.arange(3))
say(folder / "arrays.npz", "refused:is an archive of numpy arrays")
with zipfile.ZipFile(folder / "folder.zip", "w") as archive:
    archive.writestr("sample/matrix.mtx", entries())
say(folder / "folder.zip", "refused:is a zip archive without zarr at its root (its first member is sample/matrix.mtx); unpack it with unzip ")


def hdf5(name, members, reason, *options):
    path = folder / name
    with h5py.File(path, "w") as file:
        for member, values in members.items():
            file[member] = values
    say(path, f"refused:{reason}", *options)


numbers = np.arange(4)
hdf5(
    "counts.loom",
    {"matrix": np.zeros((3, 4)), "row_attrs/Gene": text(GENES[:3]), "col_attrs/CellID": text(CELLS[:4]), "layers/spliced": np.zeros((3, 4))},
    "is a loom file; read it in Python with anndata.io.read_loom",
)
hdf5(
    "molecule_info.h5",
    {"barcode_idx": numbers, "barcodes": text(CELLS), "count": numbers, "feature_idx": numbers, "features/id": text(IDS), "umi": numbers, "gem_group": numbers},
    "is a molecule_info file of CellRanger",
)
hdf5("molecule_info_2.h5", {"barcode": numbers, "gene": numbers, "umi": numbers, "reads": numbers}, "is a molecule_info file of CellRanger")
hdf5("pbmc.h5seurat", {"assays/RNA/data/data": numbers, "cell.names": text(CELLS), "meta.data/nCount": numbers}, "is an h5Seurat file")
hdf5("model.h5", {"model_weights/dense": numbers, "optimizer": numbers}, "is neither AnnData nor a matrix of 10x Genomics (it holds model_weights, optimizer)")
hdf5("nothing.h5", {}, "is an empty hierarchy")

(folder / "empty").mkdir()
say(folder / "empty", "refused:is an empty directory; looked for zarr.json or .zgroup of zarr, and for matrix.mtx")
write(folder / "notes/readme.txt", "nothing\n")
say(folder / "notes", "refused:is a directory without any input that can be read; looked for zarr.json")
write(folder / "files/a.h5ad", h5ad.read_bytes())
write(folder / "files/b.h5ad", h5ad.read_bytes())
say(folder / "files", "refused:holds a.h5ad, b.h5ad; name one of them, or several, instead of the directory")
for version, root in ((2, ".zgroup"), (3, "zarr.json")):
    path = folder / f"rootless_v{version}.zarr"
    anndata.settings.zarr_write_format = version
    counts.write_zarr(path)
    for name in (root, ".zattrs", ".zmetadata"):
        (path / name).unlink(missing_ok=True)
    say(path, "refused:is a zarr hierarchy whose root has neither .zgroup nor zarr.json")
say(folder / "absent/a/b.h5ad", f'refused:the directory "{folder}/absent" does not exist')
say(folder / "files/c.h5ad", "refused:no such file or directory")
say(folder / "files/a.h5ad/X", f'refused:"{folder}/files/a.h5ad" is a file, not a directory')
(folder / "dangling.h5ad").symlink_to("elsewhere/x.h5ad")
say(folder / "dangling.h5ad", 'refused:dangling.h5ad" is a link to "elsewhere/x.h5ad", which does not exist')
say(h5ad, "refused:--feature-types does not apply", "--feature-types", "Gene Expression")
say(h5ad, "refused:--genome does not apply to", "--genome", "GRCh38")
say(h5ad, "refused:it has no group mod/rna", "--group", "mod/rna")
say(h5ad, counts, "--group", "/")
