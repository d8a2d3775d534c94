"""Training of Lightning in two processes that is stopped and goes on from its checkpoint."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning.pytorch")

# Each training is in two processes of its own, which are forks of this script: Lightning is imported once.
SCRIPT = """
import sys
import numpy as np
import torch
from cellring.lightning import DataModule
from test_lightning import Classifier, SaveAt, trainer

store, folder = sys.argv[1:]


class Writer(Classifier):
    def __init__(self, name):
        super().__init__(1000)
        self.name, self.padding = name, []

    def training_step(self, minibatch, number):
        self.padding.append(minibatch.is_padding)
        return super().training_step(minibatch, number)

    def on_fit_end(self):
        ids = np.array([np.pad(ids, (0, 60 - len(ids)), constant_values=-1) for ids in self.seen["train"]])
        np.savez(
            f"{folder}/{self.name}-{self.global_rank}.npz",
            world_size=self.trainer.world_size,
            ids=ids,
            padding=np.array(self.padding),
            sums=np.array(self.sums),
            weight=self.layer.weight.detach().numpy(),
        )


def fit(name, path=None, save_at=None):
    torch.manual_seed(0)
    data = DataModule(store, split="train=0.965,val=0.035", obs_columns=["cell_type"], batch_size=60, fetch_factor=2)
    stops = {} if save_at is None else {"max_steps": save_at + 1, "callbacks": [SaveAt(save_at, f"{folder}/{save_at}.ckpt")]}
    made = trainer(max_epochs=4, devices=2, strategy="ddp_fork", num_sanity_val_steps=0, **stops)
    made.fit(Writer(name), data, ckpt_path=path)


fit("whole")
fit("first", save_at=4)
fit("second", f"{folder}/4.ckpt", save_at=23)
fit("third", f"{folder}/23.ckpt")
"""

# Minibatches of each rank in an epoch: 965 cells make 17, and one of them is on both ranks.
N_STEPS = 9


def test_stopped_in_two_epochs_it_is_the_uninterrupted_one(run_python: Any, store: str, tmp_path: pathlib.Path) -> None:
    """Stopped in the first epoch and again in the third: the same minibatches on each rank, and the same weights."""
    run_python(SCRIPT, store, tmp_path, timeout=300, OMP_NUM_THREADS="1")
    names = ("whole", "first", "second", "third")
    ranks = [{name: dict(np.load(tmp_path / f"{name}-{rank}.npz")) for name in names} for rank in range(2)]
    for runs in ranks:
        whole = runs["whole"]
        assert whole["world_size"] == 2 and len(whole["ids"]) == 4 * N_STEPS
        for key in ("ids", "padding", "sums"):
            # What was saved after a step is followed by another one, which is done again.
            np.testing.assert_array_equal(runs["first"][key], whole[key][:5])
            np.testing.assert_array_equal(runs["second"][key], whole[key][4:24])
            np.testing.assert_array_equal(runs["third"][key], whole[key][23:])
        np.testing.assert_array_equal(runs["third"]["weight"], whole["weight"])
    for epoch in range(4):
        steps = slice(epoch * N_STEPS, (epoch + 1) * N_STEPS)
        ids = np.concatenate([runs["whole"]["ids"][steps][~runs["whole"]["padding"][steps]].ravel() for runs in ranks])
        assert sum(runs["whole"]["padding"][steps].sum() for runs in ranks) == 1
        assert len(set(ids[ids >= 0])) == (ids >= 0).sum() == 965
    assert not np.array_equal(ranks[0]["whole"]["ids"][:N_STEPS], ranks[0]["whole"]["ids"][N_STEPS : 2 * N_STEPS])


METRIC = """
import sys
import torch
import torchmetrics
from cellring.lightning import DataModule
from test_lightning import Classifier, trainer


class Measured(Classifier):
    def __init__(self):
        super().__init__(1000)
        self.cells = torchmetrics.MeanMetric()

    def validation_step(self, minibatch, number):
        if not minibatch.is_padding:
            self.cells.update(torch.tensor(float(len(minibatch))))
        self.log("cells", self.cells)


data = DataModule(sys.argv[1], split="train=0.965,val=0.035", obs_columns=["cell_type"], batch_size=60)
made = trainer(max_epochs=1, devices=2, strategy="ddp_fork", num_sanity_val_steps=0, limit_train_batches=1)
made.fit(Measured(), data)
print(float(made.callback_metrics["cells"]))
"""


def test_a_metric_does_not_wait_for_a_rank_that_has_nothing_but_padding(run_python: Any, store: str) -> None:
    # The only minibatch of validation is on both ranks.
    assert float(run_python(METRIC, store, timeout=120, OMP_NUM_THREADS="1").split()[-1]) == 35
