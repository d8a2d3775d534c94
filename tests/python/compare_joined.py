"""Compares what was exported from a store of one or more inputs with what anndata.concat makes of them.

    python tests/python/compare_joined.py < CASES

CASES holds one case a line, as JSON: `exported`, `sources`, `join` (inner, outer), and perhaps `label` (a column) and
`labels`, `unique` (the separator of index_unique), `key` (the column of var that tells genes), `left_out` (columns of var
that are to be missing), `query` (what obs are taken, as pandas asks) and `max_obs` (how many of those).

The matrix must equal that of anndata.concat, its type being one that holds the values of all sources exactly. The genes are
those that concat has, in the order in which they are met. All columns of obs that any source has are there, with its
values; those of concat with join="inner" are some of them. Prints what differs and ends with status 1, or the number of
cases that are equal.
"""

import json
import sys
import warnings

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from compare_h5ad import Different, canonical, read_source, same, sparse_of

warnings.simplefilter("ignore")


def plain(values):
    """Values as Python has them, None where they are missing."""
    return [None if pd.isna(value) else value.item() if hasattr(value, "item") else value for value in values]


def expected_type(dtypes):
    """What numpy makes of them, but for u64 beside signed integers: that is i64."""
    dtype = np.result_type(*dtypes)
    if dtype.kind == "f" and all(d.kind in "iub" for d in dtypes):
        return np.dtype(np.int64)
    return dtype


def read(path, key):
    matrix, obs, var = read_source(path, None, False)
    if key:
        var.index = var[key].astype(str)
    return anndata.AnnData(sparse_of(matrix), obs, var)


def compare_matrices(sources, joined, genes, rows, exported):
    dtype = expected_type([source.X.dtype for source in sources])
    same("dtype of X", dtype, exported.X.dtype)
    pieces = []
    for source in sources:
        place = pd.Index(genes).get_indexer(source.var_names)
        matrix = canonical(source.X).tocoo()
        keep = place[matrix.col] >= 0
        entries = (matrix.data[keep].astype(dtype), (matrix.row[keep], place[matrix.col[keep]]))
        pieces.append(sparse.csr_matrix(entries, shape=(source.n_obs, len(genes))))
    ours = canonical(sparse.vstack(pieces, format="csr")[rows])
    same("shape of X", ours.shape, exported.X.shape)
    # In the form of the sources, if that is the same in all.
    found = sparse_of(exported.X)
    same("indptr of X", True, bool(np.array_equal(ours.indptr, found.indptr)))
    same("indices of X", True, bool(np.array_equal(ours.indices, found.indices)))
    same("data of X", ours.data.tobytes(), found.data.tobytes())
    # What was put together here is what concat puts together.
    theirs = sparse.csr_matrix(joined[:, genes].X)[rows]
    same("X of concat", 0, (theirs.astype(np.float64) != ours.astype(np.float64)).nnz)


def joined_columns(sources, label, labels):
    """The values of every column of obs, those of all sources one after the other."""
    names = list(dict.fromkeys(name for source in sources for name in source.obs.columns))
    columns = {}
    for name in names:
        pieces = [plain(source.obs[name]) if name in source.obs else [None] * source.n_obs for source in sources]
        columns[name] = [value for piece in pieces for value in piece]
    if label:
        columns[label] = [name for name, source in zip(labels, sources) for _ in range(source.n_obs)]
    return columns


def compare_obs(sources, joined, columns, rows, exported, label, labels):
    same("names of obs", list(joined.obs_names[rows]), list(exported.obs_names))
    same("columns of obs", list(columns), list(exported.obs.columns))
    for name, values in columns.items():
        found = plain(exported.obs[name])
        same(f"values of obs[{name!r}]", [values[row] for row in rows], found)
        if name in joined.obs:
            same(f"concat's values of obs[{name!r}]", plain(joined.obs[name].iloc[rows]), found)
        of_sources = [source.obs[name] for source in sources if name in source.obs]
        dtype = exported.obs[name].dtype
        is_categorical = isinstance(dtype, pd.CategoricalDtype)
        if name == label:
            same(f"categories of {name}", [True, labels], [is_categorical, list(dtype.categories)])
            continue
        all_categorical = all(isinstance(column.dtype, pd.CategoricalDtype) for column in of_sources)
        same(f"{name} is categorical", all_categorical, is_categorical)
        if is_categorical:
            categories = {category for column in of_sources for category in column.cat.categories}
            same(f"categories of {name}", sorted(categories), sorted(dtype.categories))
            for column in of_sources if dtype.ordered else []:
                places = list(dtype.categories.get_indexer(column.cat.categories))
                same(f"order of {name}", [True, sorted(places)], [column.cat.ordered, places])
        elif all(column.dtype == of_sources[0].dtype for column in of_sources) and len(of_sources) == len(sources):
            same(f"dtype of {name}", of_sources[0].dtype, dtype)


def compare_var(sources, genes, exported, left_out, key):
    known = {}
    for source in sources:
        for name in source.var.columns:
            of_gene = known.setdefault(name, {})
            for gene, value in zip(source.var_names, plain(source.var[name])):
                if value is not None:
                    of_gene.setdefault(gene, set()).add(value)
    for name, values_of in known.items():
        differs = any(len(values) > 1 for gene, values in values_of.items() if gene in set(genes))
        same(f"var column {name} differs", differs, name in left_out)
        same(f"var column {name} is there", not differs, name in exported.var.columns)
        if not differs:
            values = [next(iter(values_of.get(gene, {None}))) for gene in genes]
            same(f"values of var[{name!r}]", values, plain(exported.var[name]))
    names = exported.var[key].astype(str) if key else exported.var_names
    same("genes", genes, list(names))


def compare(case):
    key, label, labels = case.get("key"), case.get("label"), case.get("labels")
    sources = [read(path, key) for path in case["sources"]]
    exported = anndata.read_h5ad(case["exported"])
    repeats = any(not source.var_names.is_unique for source in sources)
    if repeats:
        # The same names in all, in the same order: concat would not take them.
        for source in sources:
            same("names of genes", list(source.var_names), list(exported.var_names))
            source.var_names = [str(number) for number in range(source.n_vars)]
        exported.var_names = sources[0].var_names
    joined = anndata.concat(
        sources, join=case["join"], label=label, keys=labels, index_unique=case.get("unique"), fill_value=0
    )
    columns = joined_columns(sources, label, labels)
    rows = list(range(joined.n_obs))
    if "query" in case:
        table = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
        table = table.infer_objects()
        rows = list(table.query(case["query"]).index[: case.get("max_obs")])
        same("rows are some", True, 0 < len(rows) < joined.n_obs)
    in_joined = set(joined.var_names)
    met = dict.fromkeys(gene for source in sources for gene in source.var_names)
    genes = [gene for gene in met if gene in in_joined]
    same("number of genes", joined.n_vars, len(genes))
    compare_matrices(sources, joined, genes, rows, exported)
    compare_obs(sources, joined, columns, rows, exported, label, labels)
    compare_var(sources, genes, exported, case.get("left_out", []), key)


def main():
    different, n_cases = 0, 0
    for line in sys.stdin:
        n_cases += 1
        try:
            compare(json.loads(line))
        except Different as error:
            different += 1
            print(f"{line.strip()}: {error}"[:2000])
    if different:
        sys.exit(1)
    print(f"{n_cases} equal")


if __name__ == "__main__":
    main()
