"""Trainers that start several processes or wrap loaders: torchrun, accelerate, Ray Train."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import pytest

import cellring

torch = pytest.importorskip("torch")

# 965 cells in minibatches of 64: 16, the last of 5 cells, so that two ranks have 8 each; in minibatches of 60: 17, so that one rank has a
# minibatch of the other again.
N_OBS = 965

# What each process runs: two epochs, with gradients that all ranks wait for, and what it saw into a file of its own.
TRAIN = """
import os
import sys

import numpy as np
import torch
import cellring


def loader_of(store, batch_size, **arguments):
    return cellring.Loader(store, subset=range(965), batch_size=batch_size, fetch_factor=2, obs_columns=["cell_type"], seed=5, **arguments)


def step(model, optimizer, minibatch):
    x = minibatch.x.to_dense() if minibatch.x.layout is torch.sparse_csr else minibatch.x
    loss = torch.nn.functional.cross_entropy(model(x), minibatch.obs["cell_type"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss)


def write(path, seen, weight):
    cells = np.concatenate([ids for _, _, ids in seen])
    epochs = np.concatenate([np.full(len(ids), epoch) for epoch, _, ids in seen])
    padding = np.concatenate([np.full(len(ids), is_padding) for _, is_padding, ids in seen])
    numbers = [sum(at == epoch for at, _, _ in seen) for epoch in range(2)]
    np.savez(path, cells=cells, epochs=epochs, padding=padding, numbers=numbers, weight=weight.detach().cpu().numpy())


def leave():
    # The threads of gloo outlive destroy_process_group, and may abort the process while Python ends: once in hundreds of runs.
    sys.stdout.flush()
    os._exit(0)


def train(store, batch_size, model, optimizer, loader, path):
    assert len(loader) == -(-(-(-965 // batch_size)) // 2)
    seen = []
    for epoch in range(2):
        for minibatch in loader:
            seen.append((epoch, minibatch.is_padding, minibatch.ids.numpy().copy()))
            step(model, optimizer, minibatch)
    write(path, seen, next(model.parameters()))
"""

DDP = (
    TRAIN
    + """
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

store, batch_size, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
# Made before the ranks are known, as most people do.
loader = loader_of(store, batch_size)
dist.init_process_group("gloo")
torch.manual_seed(dist.get_rank())
model = DistributedDataParallel(torch.nn.Linear(1000, 4))
train(store, batch_size, model, torch.optim.SGD(model.parameters(), 1e-4), loader, f"{folder}/{dist.get_rank()}.npz")
dist.destroy_process_group()
leave()
"""
)

ACCELERATE = (
    TRAIN
    + """
from accelerate import Accelerator

store, batch_size, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
accelerator = Accelerator(cpu=True)
model = torch.nn.Linear(1000, 4)
optimizer = torch.optim.SGD(model.parameters(), 1e-4)
loader = loader_of(store, batch_size)
model, optimizer, prepared = accelerator.prepare(model, optimizer, loader)
assert prepared is loader and accelerator.num_processes == 2
train(store, batch_size, model, optimizer, prepared, f"{folder}/{accelerator.process_index}.npz")
accelerator.end_training()
leave()
"""
)

TORCHRUN = "from torch.distributed.run import main; main()"
ONE_MACHINE = ("--standalone", "--nnodes", 1, "--nproc-per-node", 2)


def check_ranks(folder: pathlib.Path, batch_size: int) -> None:
    """Two ranks shared each epoch: disjoint, complete, equal in number, and trained one model."""
    ranks = [np.load(folder / f"{rank}.npz") for rank in range(2)]
    n = -(-N_OBS // batch_size)
    orders = []
    for epoch in range(2):
        assert [rank["numbers"][epoch] for rank in ranks] == [-(-n // 2)] * 2
        cells = [rank["cells"][(rank["epochs"] == epoch) & ~rank["padding"]].tolist() for rank in ranks]
        assert sorted(cells[0] + cells[1]) == list(range(N_OBS)), "disjoint and complete"
        orders.append(cells)
    assert orders[0] != orders[1], "every epoch is another one"
    n_padding = [int(rank["padding"].sum()) for rank in ranks]
    assert sum(n_padding) > 0 if n % 2 else n_padding == [0, 0]
    assert np.array_equal(ranks[0]["weight"], ranks[1]["weight"]) and np.isfinite(ranks[0]["weight"]).all()


@pytest.mark.parametrize("batch_size", [64, 60])
def test_torchrun_with_plain_ddp(run_python: Any, store: str, tmp_path: pathlib.Path, batch_size: int) -> None:
    script = tmp_path / "train.py"
    script.write_text(DDP)
    run_python(TORCHRUN, *ONE_MACHINE, script, store, batch_size, tmp_path, timeout=300, OMP_NUM_THREADS="1")
    check_ranks(tmp_path, batch_size)


def test_accelerate_passes_a_loader_through(store: str) -> None:
    accelerate = pytest.importorskip("accelerate")
    loader = cellring.Loader(store, obs_columns=["cell_type"], layout="dense")
    accelerator = accelerate.Accelerator(cpu=True)
    model = torch.nn.Linear(1000, 4)
    model, optimizer, prepared = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 1e-4), loader)
    assert prepared is loader
    cells, losses = [], []
    for _ in range(2):
        for minibatch in prepared:
            loss = torch.nn.functional.cross_entropy(model(minibatch.x), minibatch.obs["cell_type"])
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            cells.append(minibatch.ids)
            losses.append(loss.item())
    assert sorted(torch.cat(cells[:16]).tolist()) == sorted(torch.cat(cells[16:]).tolist()) == list(range(1000))
    assert np.isfinite(losses).all()
    # Its state goes into accelerate's checkpoints by hand, as that of any object.
    state = prepared.state_dict()
    assert state["epoch"] == 2 and state["history"] == []


def test_accelerate_saves_and_restores_a_registered_loader(store: str, tmp_path: pathlib.Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    whole = [minibatch.ids.tolist() for minibatch in cellring.Loader(store)]
    accelerator = accelerate.Accelerator(cpu=True)
    loader = cellring.Loader(store)
    accelerator.register_for_checkpointing(loader)
    iterator = iter(loader)
    for _ in range(5):
        next(iterator)
    accelerator.save_state(tmp_path / "state")
    again = accelerate.Accelerator(cpu=True)
    restored = cellring.Loader(store)
    again.register_for_checkpointing(restored)
    again.load_state(tmp_path / "state")
    assert [minibatch.ids.tolist() for minibatch in restored] == whole[5:]


def test_accelerate_with_two_processes(run_python: Any, store: str, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("accelerate")
    script = tmp_path / "train.py"
    script.write_text(ACCELERATE)
    run_python(TORCHRUN, *ONE_MACHINE, script, store, 60, tmp_path, timeout=300, OMP_NUM_THREADS="1", ACCELERATE_USE_CPU="true")
    check_ranks(tmp_path, 60)


RAY = (
    TRAIN
    + """
import os, sys, tempfile
import ray
import ray.train.torch
from ray.train import ScalingConfig

SOURCE = open(__file__).read().split("import ray")[0]


def worker(config):
    import tempfile
    import ray.train
    import ray.train.torch
    # What the workers share, without this file.
    names = {}
    exec(config["source"], names)
    loader = names["loader_of"](config["store"], config["batch_size"])
    model = ray.train.torch.prepare_model(torch.nn.Linear(1000, 4))
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    rank = ray.train.get_context().get_world_rank()
    names["train"](config["store"], config["batch_size"], model, optimizer, loader, f"{config['folder']}/{rank}.npz")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if rank == 0:
            torch.save(loader.state_dict(), f"{folder}/loader.pt")
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"epoch": 2}, checkpoint=checkpoint)


if __name__ == "__main__":
    store, batch_size, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    # Its processes get the environment of this one. With one of their own they would be started twice.
    os.environ["OMP_NUM_THREADS"] = "1"
    ray.init(num_cpus=3, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    config = {"store": store, "batch_size": batch_size, "folder": folder, "source": SOURCE}
    run = ray.train.RunConfig(storage_path=f"{folder}/ray")
    scaling = ScalingConfig(num_workers=2, use_gpu=False)
    result = ray.train.torch.TorchTrainer(worker, train_loop_config=config, scaling_config=scaling, run_config=run).fit()
    with result.checkpoint.as_directory() as folder:
        print("state of epoch", torch.load(f"{folder}/loader.pt")["epoch"])
    ray.shutdown()
"""
)


def test_ray_train(run_python: Any, store: str, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("ray.train", reason="Ray Train is not installed: pip install 'ray[train]'")
    script = tmp_path / "train.py"
    script.write_text(RAY)
    run = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TRAIN_V2_ENABLED": "1", "RAY_AUTH_MODE": "disabled"}
    said = run_python(run, script, store, 60, tmp_path, timeout=900, **settings)
    assert "state of epoch 2" in said
    check_ranks(tmp_path, 60)
