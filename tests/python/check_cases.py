"""Compares what was exported with what make_cases.py expects.

    python tests/python/check_cases.py < LIST

Each line of LIST is the name of a case, what was exported, and what is expected, separated by tabs. Prints a line for each that
differs.
"""

import sys
import warnings

import anndata
from results import Different, check, equal, layer_names
from scipy import sparse

warnings.simplefilter("ignore")


def in_the_form_of(model, matrix):
    """Dense or sparse, by rows or by columns: that is for the tests of export."""
    if sparse.issparse(model):
        return sparse.csr_matrix(matrix).asformat(model.format)
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def compare(exported, expected):
    exported, expected = anndata.read_h5ad(exported), anndata.read_h5ad(expected)
    if sparse.issparse(exported.X):
        check("indices and indptr are of two types", exported.X.indices.dtype == exported.X.indptr.dtype)
        exported.X.eliminate_zeros()
    equal("X", in_the_form_of(exported.X, expected.X), exported.X)
    check(f"layers {layer_names(exported)}", layer_names(expected) == layer_names(exported))
    for name in layer_names(expected):
        equal(name, in_the_form_of(exported.layers[name], expected.layers[name]), exported.layers[name])
    equal("obs", expected.obs, exported.obs)
    equal("var", expected.var, exported.var)
    equal("obsm", dict(expected.obsm), dict(exported.obsm))


def main():
    for line in sys.stdin:
        name, exported, expected = line.rstrip("\n").split("\t")
        try:
            compare(exported, expected)
        except Different as difference:
            print(f"{name}: {difference}")
        except Exception as error:  # Whatever a user would meet.
            print(f"{name}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
