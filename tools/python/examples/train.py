# %% [markdown]
# # What the order of the cells does to a model
#
# The same linear classifier of cell types is trained on the same cells in three orders: as they are stored (a stream), in blocks of 16
# cells drawn at random, and one by one at random. The store is sorted by cell type, as atlases are that were put together study by study.
# Then: what a block size costs and what it brings, in cells per second and in how mixed the minibatches are.
#
# Open it as a notebook (VS Code, Jupytext) or run it: `python train.py`. It needs cellring, torch and anndata; matplotlib for the plot.
# `EPOCHS`, `SEEDS` and `COPIES` in the environment change how much it does, and `OUT` where the plot goes.

# %%
import os
import pathlib
import tempfile
import time

import anndata
import numpy as np
import torch

import cellring

try:
    DATA = pathlib.Path(__file__).resolve().parents[2] / "data" / "mousebrain10k.h5ad"
except NameError:  # In a notebook.
    DATA = pathlib.Path("../../data/mousebrain10k.h5ad")
EPOCHS = int(os.environ.get("EPOCHS", 1))
SEEDS = int(os.environ.get("SEEDS", 3))
COPIES = int(os.environ.get("COPIES", 30))
FOLDER = tempfile.TemporaryDirectory()
torch.set_num_threads(1)  # A small model: more threads would only wait for each other.

# %% [markdown]
# ## Cell types
#
# The shipped data has 10,000 cells of mouse brain, 1,000 genes, and no cell types. They are found by clustering (spherical k-means) on
# every other gene, and learnt from the remaining genes, so that the model cannot just repeat what the clustering did.

# %%
adata = anndata.read_h5ad(DATA)
adata.var_names_make_unique()
unsorted = os.path.join(FOLDER.name, "mouse.cellring")
print(cellring.convert(adata, unsorted, progress=False)["n_obs"], "cells converted")
learnt_from, clustered_by = adata.var_names[0::2], adata.var_names[1::2]


# %%
def clusters(store: str, n_clusters: int = 4, rounds: int = 20) -> np.ndarray:
    """Groups cells by the direction of their profiles, less the mean profile. Nothing in it depends on chance."""
    loader = cellring.Loader(
        store, strategy="sequential", layout="dense", genes=clustered_by, normalize=True, log1p=True, to="numpy", rank=0, world_size=1
    )
    cells = np.concatenate([minibatch.x for minibatch in loader])
    cells -= cells.mean(axis=0)
    cells /= np.linalg.norm(cells, axis=1, keepdims=True)
    # The first centres are cells that are as unlike as can be.
    centres = cells[:1]
    while len(centres) < n_clusters:
        unlike = (cells @ centres.T).max(axis=1).argmin()
        centres = np.vstack([centres, cells[unlike]])
    labels = (cells @ centres.T).argmax(axis=1)
    for _ in range(rounds - 1):
        centres = np.stack([cells[labels == label].sum(axis=0) for label in range(n_clusters)])
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        labels = (cells @ centres.T).argmax(axis=1)
    return labels


labels = clusters(unsorted)
adata.obs["cell_type"] = [f"type {label}" for label in labels]
adata.obs["cell_type"] = adata.obs["cell_type"].astype("category")
path = os.path.join(FOLDER.name, "sorted.cellring")
cellring.convert(adata, path, sort_by="cell_type", progress=False)
print(adata.obs["cell_type"].value_counts(sort=False).to_string())

# %% [markdown]
# ## Training
#
# Multinomial logistic regression on the logarithms of normalised counts, by stochastic gradient descent with a rate that falls to 0.
# The minibatches stay sparse: `minibatch.x` is a CSR tensor, and `x @ weight` has a gradient.

# %%
GENES = list(learnt_from)
RATE, BIAS = 30.0, 0.1


def loader_of(part: str, seed: int, **order) -> cellring.Loader:
    return cellring.Loader(
        path,
        split="train=0.8,test=0.2",
        part=part,
        split_seed=seed,
        genes=GENES,
        normalize=True,
        log1p=True,
        obs_columns=["cell_type"],
        seed=seed,
        **order,
    )


def logits(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A cell is its profile, scaled to length 1."""
    length = (x * x).sum(1, keepdim=True).to_dense().sqrt().clamp_min(1e-9)
    return (x @ weight) / length + BIAS * bias


def train(seed: int, **order) -> tuple[float, float]:
    """Accuracy and macro-F1 on cells that were not trained on."""
    loader = loader_of("train", seed, **order)
    n_types = len(loader.categories("cell_type"))
    weight = torch.zeros(loader.n_vars, n_types, requires_grad=True)
    bias = torch.zeros(n_types, requires_grad=True)
    optimizer = torch.optim.SGD([{"params": [weight]}, {"params": [bias]}], lr=RATE)
    n_steps = EPOCHS * len(loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / n_steps)
    for _ in range(EPOCHS):
        for minibatch in loader:
            loss = torch.nn.functional.cross_entropy(logits(minibatch.x, weight, bias), minibatch.obs["cell_type"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    confusion = torch.zeros(n_types, n_types)
    with torch.no_grad():
        for minibatch in loader_of("test", seed, strategy="sequential"):
            found = logits(minibatch.x, weight, bias).argmax(1)
            confusion.index_put_((minibatch.obs["cell_type"], found), torch.ones(len(found)), accumulate=True)
    right = confusion.diagonal()
    f1 = 2 * right / (confusion.sum(0) + confusion.sum(1)).clamp_min(1)
    return (right.sum() / confusion.sum()).item(), f1.mean().item()


# %%
ORDERS = {
    "stream": {"strategy": "sequential"},
    "block sampling, b 16": {"block_size": 16, "fetch_factor": 16},
    "random, b 1": {"block_size": 1, "fetch_factor": 1},
}
print(f"{EPOCHS} epoch(s), mean of {SEEDS} seeds   accuracy  macro-F1")
for name, order in ORDERS.items():
    accuracy, macro_f1 = np.mean([train(seed, **order) for seed in range(SEEDS)], axis=0)
    print(f"{name:30} {accuracy:9.3f} {macro_f1:9.3f}")

# %% [markdown]
# ## Throughput and diversity
#
# Larger blocks read faster and mix less. Diversity is the mean entropy of the cell types in a minibatch: 0 is what a stream of a sorted
# store gives, that of all cells is the most there is. A store should be larger than a fetch for this, so it is the shipped data thirty
# times over, and fetches are small (16 minibatches). By default they are of 256: then blocks of 16 mix as well as random order.

# %%
source, copies = os.path.join(FOLDER.name, "mouse.h5ad"), os.path.join(FOLDER.name, "copies.cellring")
adata.write_h5ad(source)
names = [str(copy) for copy in range(COPIES)]
cellring.convert([source] * COPIES, copies, sort_by="cell_type", label_values=names, index_unique="-", progress=False)


def entropy(codes: torch.Tensor) -> float:
    """In bits."""
    share = torch.bincount(codes).double() / len(codes)
    share = share[share > 0]
    return -(share * share.log2()).sum().item()


def measure(block_size: int) -> tuple[float, float]:
    """Cells per second of the faster of two epochs, and bits."""
    loader = cellring.Loader(copies, block_size=block_size, fetch_factor=16, obs_columns=["cell_type"], rank=0, world_size=1)
    bits = [entropy(minibatch.obs["cell_type"]) for minibatch, _ in zip(loader, range(1000))]
    speeds = []
    for _ in range(2):
        start = time.perf_counter()
        for minibatch in loader:
            minibatch.x
        speeds.append(loader.n_obs / (time.perf_counter() - start))
    return max(speeds), float(np.mean(bits))


BLOCK_SIZES = [1, 4, 16, 64, 256, 1024]
measured = [measure(block_size) for block_size in BLOCK_SIZES]
most = entropy(torch.as_tensor(labels))
print(f"\nblock size    cells/s   bits (of {most:.2f})")
for block_size, (cells_per_second, bits) in zip(BLOCK_SIZES, measured):
    print(f"{block_size:10} {cells_per_second:10,.0f}   {bits:.2f}")

# %%
try:
    import matplotlib.pyplot as plt
except ImportError:
    print("matplotlib is not installed: no plot")
else:
    figure, left = plt.subplots(figsize=(6, 3.5), layout="constrained")
    left.plot(BLOCK_SIZES, [speed for speed, _ in measured], "o-", color="tab:blue")
    left.set(xscale="log", xlabel="block size", ylim=(0, None))
    left.set_ylabel("cells per second", color="tab:blue")
    right = left.twinx()
    right.plot(BLOCK_SIZES, [bits for _, bits in measured], "s-", color="tab:orange")
    right.axhline(most, color="tab:orange", linestyle=":")
    right.set(ylim=(0, None))
    right.set_ylabel("bits in a minibatch", color="tab:orange")
    out = os.environ.get("OUT", "block_sizes.svg")
    figure.savefig(out)
    print("plot:", out)

# %%
FOLDER.cleanup()
