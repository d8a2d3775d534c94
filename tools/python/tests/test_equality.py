"""Every minibatch through Python equals that of the command: by the digest that `cellring epoch --digest` computes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cellring

xxhash = pytest.importorskip("xxhash", reason="xxhash is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")

SCRIPT = "import sys\nfrom cellring._cli import main\nraise SystemExit(main())"


def raw_bytes(tensor):
    return tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.dtype == torch.bfloat16 else tensor.numpy().tobytes()


def add_matrix(digest, x):
    if isinstance(x, cellring.TopK):
        for array in (x.indices, x.values, x.lens):
            digest.update(raw_bytes(array))
    elif x.layout == torch.sparse_csr:
        for array in (x.crow_indices(), x.col_indices(), x.values()):
            digest.update(raw_bytes(array))
    else:
        digest.update(raw_bytes(x))


def nnz(x):
    if isinstance(x, cellring.TopK):
        return int(x.lens.sum())
    return x.values().numel() if x.layout == torch.sparse_csr else int((x != 0).sum())


def digest_of(loader):
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
