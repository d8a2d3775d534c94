"""Every minibatch through Python equals that of the command: by the digest that `cellring epoch --digest` computes."""

from __future__ import annotations

import json
import os

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

import cellring

xxhash = pytest.importorskip("xxhash", reason="xxhash is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")

SCRIPT = "import sys\nfrom cellring._cli import main\nraise SystemExit(main())"


def raw_bytes(tensor):
    return tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.dtype == torch.bfloat16 else tensor.numpy().tobytes()


def add_matrix(digest, x):
    if isinstance(x, cellring.TopK):
        for array in (x.indices.int(), x.values, x.lens):
            digest.update(raw_bytes(array))
    elif x.layout == torch.sparse_csr:
        for indices in (x.crow_indices(), x.col_indices()):
            digest.update(raw_bytes(indices.int()))
        digest.update(raw_bytes(x.values()))
    else:
        digest.update(raw_bytes(x))


def nnz(x):
    if isinstance(x, cellring.TopK):
        return int(x.lens.sum())
    return x.values().numel() if x.layout == torch.sparse_csr else int((x != 0).sum())


def digest_of(loader):
    """Also of a loader whose index arrays are wider, as if they were not."""
    digest = xxhash.xxh3_128(seed=0)
    for minibatch in loader:
        digest.update(np.uint64(minibatch.n_obs).tobytes() + np.uint64(nnz(minibatch.x)).tobytes())
        digest.update(minibatch.ids.numpy().astype(np.uint64).tobytes())
        add_matrix(digest, minibatch.x)
        for matrix in minibatch.matrices.values():
            digest.update(np.uint64(nnz(matrix)).tobytes())
            add_matrix(digest, matrix)
    return digest.hexdigest()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "source"])
@pytest.mark.parametrize("layout", ["csr", "dense", ("top_k", 20)])
def test_layouts_and_types(store, run_python, layout, dtype):
    values = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "source": "source"}[dtype]
    name = layout if isinstance(layout, str) else f"top-k:{layout[1]}"
    options = ["--seed", "3", "--epoch", "1", "--batch-size", "48", "--fetch-factor", "5", "--block-size", "4"]
    out = run_python(SCRIPT, "epoch", store, "--digest", "--json", "--layout", name, "--values", values, *options)
    loader = cellring.Loader(store, layout=layout, dtype=dtype, seed=3, batch_size=48, fetch_factor=5, block_size=4)
    loader.set_epoch(1)
    assert digest_of(loader) == json.loads(out)["digest"]


def test_genes_normalisation_matrices_strategies_and_ranks(store, run_python, tmp_path):
    genes = cellring.Store(store).var_names[[9, 500, 2, 77, 301]].tolist()
    file = tmp_path / "genes.txt"
    file.write_text("".join(f"{gene}\n" for gene in genes))
    for options, arguments in [
        (
            ["--genes", file, "--normalize", "10000", "--log1p", "--layout", "dense"],
            {"genes": genes, "normalize": 1e4, "log1p": True, "layout": "dense"},
        ),
        (["--matrix", "layers/counts", "--matrix", "obsm/X_pca"], {"matrices": ["layers/counts", "obsm/X_pca"]}),
        (["--balance", "cell_type,donor", "--draws", "700"], {"balance": ["cell_type", "donor"], "draws": 700}),
        (["--weights", "n_counts"], {"weights": "n_counts"}),
        (
            ["--group", "treatment", "--n-per-group", "8", "--controls", "treatment=control", "--match", "donor", "--n-controls", "4"],
            {"group": "treatment", "n_per_group": 8, "controls": 'treatment == "control"', "match": "donor", "n_controls": 4},
        ),
        (["--rank", "1", "--world-size", "3", "--strategy", "sequential"], {"rank": 1, "world_size": 3, "strategy": "sequential"}),
        (
            ["--obs-filter", "n_genes >= 50", "--split", "a=0.7,b=0.3", "--part", "b", "--split-seed", "4"],
            {"obs_filter": "n_genes >= 50", "split": "a=0.7,b=0.3", "part": "b", "split_seed": 4},
        ),
        (["--strategy", "sequential-shuffle"], {"strategy": "sequential_shuffle"}),
    ]:
        out = run_python(SCRIPT, "epoch", store, "--digest", "--json", *options)
        assert digest_of(cellring.Loader(store, **arguments)) == json.loads(out)["digest"], options


def epoch_of(run_python, store, *options):
    """The digest of the command."""
    return json.loads(run_python(SCRIPT, "epoch", store, "--digest", "--json", *options))["digest"]


@pytest.fixture(scope="module")
def integers(tmp_path_factory):
    """Stores of the same cells with values of other types, by type: counts of which some need all bits, and all can be float32."""
    random = np.random.default_rng(2)
    matrix = sp.random(300, 80, 0.2, "csr", random_state=random, dtype=np.float64)
    made = {}
    for dtype, largest in (("uint16", 65_535), ("int32", 2**24), ("int64", 2**40), ("uint8", 255)):
        values = matrix.copy()
        values.data = random.integers(1, 256, matrix.nnz).astype(dtype)
        values.data[::7] = largest
        path = tmp_path_factory.mktemp("integers") / dtype
        cellring.convert(anndata.AnnData(values), path)
        made[dtype] = os.fspath(path), values
    return made


@pytest.mark.parametrize("dtype", ["uint16", "int32", "int64", "uint8"])
def test_values_as_they_are_stored(integers, run_python, dtype):
    """Integers, which are other bytes than those of the same numbers as float32."""
    store, values = integers[dtype]
    digests = {}
    for layout in ("csr", "dense", ("top_k", 3)):
        loaders = {name: cellring.Loader(store, dtype=name, layout=layout, batch_size=50, seed=4) for name in ("source", "float32")}
        for name, loader in loaders.items():
            digests[layout, name] = digest_of(loader)
            for minibatch in loader:
                expected = values[minibatch.ids.numpy()]
                if layout == "csr":
                    x = minibatch.x.values()
                    assert np.array_equal(x.numpy(), expected.data)
                elif layout == "dense":
                    x = minibatch.x
                    assert np.array_equal(x.numpy(), expected.toarray())
                else:
                    x = minibatch.x.values
                    assert np.array_equal(x.numpy(), -np.sort(-expected.toarray().astype(np.int64), axis=1)[:, :3])
                assert x.dtype == getattr(torch, dtype if name == "source" else name)
    assert len(set(digests.values())) == len(digests)
    for layout, name, option in (("csr", "source", "source"), ("csr", "float32", "f32"), ("dense", "source", "source")):
        options = ("--values", option, "--layout", layout, "--batch-size", "50", "--seed", "4")
        assert epoch_of(run_python, store, *options) == digests[layout, name]


@pytest.mark.parametrize("dtype", ["float32", "source"])
def test_wide_indices(integers, run_python, dtype):
    """``index_dtype="int64"``: other arrays, and nothing else."""
    store, values = integers["uint16"]
    settings = {"dtype": dtype, "batch_size": 40, "seed": 8}
    narrow, wide = (cellring.Loader(store, index_dtype=name, **settings) for name in ("int32", "int64"))
    option = {"float32": "f32", "source": "source"}[dtype]
    expected = epoch_of(run_python, store, "--values", option, "--batch-size", "40", "--seed", "8")
    assert digest_of(narrow) == digest_of(wide) == expected
    for minibatch, other in zip(narrow, wide, strict=True):
        assert torch.equal(minibatch.ids, other.ids) and other.ids.dtype == torch.int64
        assert minibatch.x.crow_indices().dtype == minibatch.x.col_indices().dtype == torch.int32
        assert other.x.crow_indices().dtype == other.x.col_indices().dtype == torch.int64
        assert np.array_equal(other.x.col_indices().numpy(), values[other.ids.numpy()].indices)
    ranked = [cellring.Loader(store, index_dtype=name, layout=("top_k", 4), **settings) for name in ("int32", "int64")]
    assert digest_of(ranked[0]) == digest_of(ranked[1])
    assert [next(iter(loader)).x.indices.dtype for loader in ranked] == [torch.int32, torch.int64]
