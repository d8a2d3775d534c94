"""The data module of Lightning: real trainers, checkpoints, and two processes."""

from __future__ import annotations

import copy
import gc
import pathlib
import pickle
import time
import weakref
from typing import Any

import numpy as np
import pytest
from test_gpu import delayed_copies  # noqa: F401

import cellring

torch = pytest.importorskip("torch")
pl = pytest.importorskip("lightning.pytorch")

from cellring.lightning import DataModule  # noqa: E402

COLUMNS = ["cell_type"]


class Classifier(pl.LightningModule):
    """One layer, which writes down the cells that it sees."""

    def __init__(self, n_vars: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(n_vars, 4)
        self.seen: dict[str, list[list[int]]] = {"train": [], "val": [], "test": []}
        self.sums: list[float] = []

    def loss(self, minibatch: Any, part: str) -> Any:
        self.seen[part].append(minibatch.ids.tolist())
        loss = torch.nn.functional.cross_entropy(minibatch.x @ self.layer.weight.T + self.layer.bias, minibatch.obs["cell_type"])
        self.log(f"{part}_loss", loss, batch_size=len(minibatch))
        return loss

    def training_step(self, minibatch: Any, number: int) -> Any:
        self.sums.append(float(minibatch.x.values().sum()))
        return self.loss(minibatch, "train")

    def validation_step(self, minibatch: Any, number: int) -> None:
        self.loss(minibatch, "val")

    def test_step(self, minibatch: Any, number: int) -> None:
        self.loss(minibatch, "test")

    def predict_step(self, minibatch: Any, number: int) -> Any:
        return minibatch.ids

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-4)


class OneCycle(Classifier):
    """Asks for the number of steps before Lightning restores its loops."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class SaveAt(pl.Callback):
    """Saves a checkpoint after a step, as a job does that is about to be killed."""

    def __init__(self, step: int, path: pathlib.Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Any, *others: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def trainer(**arguments: Any) -> Any:
    made = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_epochs": 1,
        **arguments,
    }
    return pl.Trainer(**made)


def flat(minibatches: list[list[int]]) -> list[int]:
    return [cell for minibatch in minibatches for cell in minibatch]


@pytest.mark.parametrize("arguments", [{}, {"split": "train=0.7,val=0.3"}])
def test_it_is_shown_without_reading_it(store: str, arguments: dict[str, str]) -> None:
    data = DataModule(store, **arguments)
    sizes = "train: 700 cells, val: 300 cells" if arguments else "train: 1000 cells"
    assert str(data) == repr(data) == f"DataModule({store!r}, {sizes})"
    assert data.loader("train").epoch == 0 and data.loader("train").stats() == {}


def test_parts_of_a_split(store: str) -> None:
    data = DataModule(store, split="train=0.7,val=0.2,test=0.1", obs_columns=COLUMNS, batch_size=64)
    model = Classifier(1000)
    fit = trainer(max_epochs=2)
    fit.fit(model, data)
    n_steps = -(-700 // 64)
    first, second = flat(model.seen["train"][:n_steps]), flat(model.seen["train"][n_steps:])
    assert len(model.seen["train"]) == 2 * n_steps
    assert len(first) == 700 and sorted(first) == sorted(second) and first != second and first != sorted(first)
    # Two minibatches of sanity checking, then all of it in each epoch, in storage order.
    n_val = -(-200 // 64)
    val = flat(model.seen["val"][2 : 2 + n_val])
    assert model.seen["val"][:2] == model.seen["val"][2:4]
    assert len(val) == 200 and val == sorted(val)
    assert model.seen["val"][2 : 2 + n_val] == model.seen["val"][2 + n_val :]

    model.seen["val"] = []
    fit.validate(model, data, verbose=False)
    assert flat(model.seen["val"]) == val
    fit.test(model, data, verbose=False)
    test = flat(model.seen["test"])
    assert test == sorted(test)
    assert sorted(first + val + test) == list(range(1000))

    predicted = torch.cat(fit.predict(model, data))
    assert predicted.tolist() == list(range(1000))
    assert not np.array_equal(model.sums[:n_steps], model.sums[n_steps:])


def test_a_part_for_prediction_and_groups_kept_together(store: str, adata: Any) -> None:
    data = DataModule(
        store, split="train=0.5,val=0.25,predict=0.25", split_by="donor", split_seed=3, obs_columns=COLUMNS, evaluation={"batch_size": 256}
    )
    assert data.train_dataloader().batch_size == 64 and data.val_dataloader().batch_size == 256
    predicted = torch.cat(trainer().predict(Classifier(1000), data)).numpy()
    train = np.concatenate([minibatch.ids.numpy() for minibatch in data.train_dataloader()])
    val = np.concatenate([minibatch.ids.numpy() for minibatch in data.val_dataloader()])
    donors = [set(adata.obs["donor"].iloc[cells]) for cells in (train, val, predicted)]
    assert all(donors) and sum(map(len, donors)) == 6 and set.union(*donors) == set(adata.obs["donor"])
    assert len(train) + len(val) + len(predicted) == 1000


def test_training_without_validation(store: str) -> None:
    data = DataModule(store, obs_columns=COLUMNS)
    model = Classifier(1000)
    trainer().fit(model, data)
    assert sorted(flat(model.seen["train"])) == list(range(1000)) and model.seen["val"] == []
    with pytest.raises(cellring.InputError, match="no part 'val' of the cells, only train: give it a share in split=, such as val=0.1"):
        trainer().validate(model, data)
    with pytest.raises(cellring.InputError, match="no part 'test'"):
        trainer().test(model, data)


def test_drawing_is_for_training_only(store: str, adata: Any) -> None:
    data = DataModule(store, split="train=0.8,val=0.2", balance="cell_type", draws=500, drop_last=True, obs_columns=COLUMNS)
    model = Classifier(1000)
    trainer(num_sanity_val_steps=0).fit(model, data)
    assert len(flat(model.seen["train"])) == 500 // 64 * 64
    val = flat(model.seen["val"])
    assert val == sorted(set(val)) and len(val) == 200
    # What is evaluated may be drawn in another way too.
    grouped = DataModule(
        store, split="train=0.8,val=0.2", obs_columns=COLUMNS, evaluation={"group": "cell_type", "n_per_group": 8, "sets_per_minibatch": 1}
    )
    minibatches = list(grouped.val_dataloader())
    assert minibatches and all(len(set(minibatch.obs["cell_type"].tolist())) == 1 for minibatch in minibatches)


@pytest.mark.parametrize("limit, expected", [(0.25, 4), (3, 3)])
def test_limited_training(store: str, limit: float, expected: int) -> None:
    data = DataModule(store, obs_columns=COLUMNS)
    model = Classifier(1000)
    trainer(max_epochs=3, limit_train_batches=limit).fit(model, data)
    epochs = [model.seen["train"][at : at + expected] for at in range(0, 3 * expected, expected)]
    assert len(model.seen["train"]) == 3 * expected
    whole = cellring.Loader(store, obs_columns=COLUMNS)
    for number, epoch in enumerate(epochs):
        whole.set_epoch(number)
        assert epoch == [minibatch.ids.tolist() for minibatch in whole][:expected]


def test_overfitting_and_other_short_cuts(store: str) -> None:
    for arguments in ({"fast_dev_run": 2}, {"val_check_interval": 5}, {"reload_dataloaders_every_n_epochs": 1}):
        data = DataModule(store, split="train=0.8,val=0.2", obs_columns=COLUMNS)
        model = Classifier(1000)
        trainer(max_epochs=2, **arguments).fit(model, data)
        expected = 2 if "fast_dev_run" in arguments else 26
        assert len(model.seen["train"]) == expected, arguments
        assert len(set(flat(model.seen["train"]))) == (128 if expected == 2 else 800)
    model = Classifier(1000)
    with pytest.warns(UserWarning, match="requested to overfit"):
        trainer(max_epochs=3, overfit_batches=2).fit(model, DataModule(store, obs_columns=COLUMNS))
    assert len(model.seen["train"]) == 6 and model.seen["train"][:2] == model.seen["train"][2:4] == model.seen["train"][4:]


# Checkpoints.


def uninterrupted(store: str, n_epochs: int, kind: type = Classifier, **arguments: Any) -> Classifier:
    torch.manual_seed(0)
    model = kind(1000)
    trainer(max_epochs=n_epochs, **arguments).fit(model, module(store))
    return model


def module(store: str) -> DataModule:
    return DataModule(store, split="train=0.9,val=0.1", obs_columns=COLUMNS, batch_size=100, fetch_factor=2)


# Nine steps an epoch: within the first and the third epoch, before the last minibatch, after it, and twice in a row.
@pytest.mark.parametrize("steps", [(1,), (8,), (9,), (18,), (21,), (26,), (27,), (4, 21), (20, 22)])
def test_resumed_training_is_the_uninterrupted_one(store: str, tmp_path: pathlib.Path, steps: tuple[int, ...]) -> None:
    whole = uninterrupted(store, 4)
    path = None
    for step in steps:
        saved = tmp_path / f"{step}.ckpt"
        torch.manual_seed(0)
        model = Classifier(1000)
        stopped = trainer(max_epochs=4, max_steps=step + 1 if step % 9 else step, callbacks=[SaveAt(step, saved)])
        stopped.fit(model, module(store), ckpt_path=path)
        assert saved.exists()
        path = saved
    model = Classifier(1000)
    trainer(max_epochs=4).fit(model, module(store), ckpt_path=path)
    assert model.seen["train"] == whole.seen["train"][steps[-1] :]
    assert model.sums == whole.sums[steps[-1] :]
    assert torch.equal(model.layer.weight, whole.layer.weight)


def test_resumed_where_steps_were_counted_first(store: str, tmp_path: pathlib.Path) -> None:
    """Lightning does not restore loaders once the number of steps was asked for; the data module does."""
    whole = uninterrupted(store, 3, OneCycle)
    saved = tmp_path / "last.ckpt"
    first = OneCycle(1000)
    trainer(max_epochs=3, callbacks=[SaveAt(13, saved)]).fit(first, module(store))
    model = OneCycle(1000)
    trainer(max_epochs=3).fit(model, module(store), ckpt_path=saved)
    assert model.seen["train"] == whole.seen["train"][13:]


def test_checkpoint_at_the_end_of_an_epoch(store: str, tmp_path: pathlib.Path) -> None:
    whole = uninterrupted(store, 3, limit_train_batches=0.5)
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    # Half an epoch is left when it is saved, and is not made up for.
    fit = trainer(max_epochs=2, limit_train_batches=0.5, callbacks=[checkpoint], enable_checkpointing=True)
    fit.fit(Classifier(1000), module(store))
    model = Classifier(1000)
    resumed = trainer(max_epochs=3, limit_train_batches=0.5)
    resumed.fit(model, module(store), ckpt_path=tmp_path / "epoch=1.ckpt")
    assert model.seen["train"] == whole.seen["train"][8:] and len(model.seen["train"]) == 4


def test_checkpoint_saved_after_training_ended(store: str, tmp_path: pathlib.Path) -> None:
    whole = uninterrupted(store, 2)
    data = module(store)
    stopped = trainer(max_epochs=2, max_steps=5)
    stopped.fit(Classifier(1000), data)
    # Files and threads are closed by now, and to Lightning an epoch that `max_steps` ended is over: it goes on with the next.
    stopped.save_checkpoint(tmp_path / "after.ckpt")
    model = Classifier(1000)
    trainer(max_epochs=2).fit(model, module(store), ckpt_path=tmp_path / "after.ckpt")
    assert model.seen["train"] == whole.seen["train"][9:]
    # And another training with the same data module begins at the beginning.
    again = Classifier(1000)
    trainer(max_epochs=2).fit(again, data)
    assert again.seen["train"] == whole.seen["train"]


def test_validation_of_a_checkpoint_does_not_touch_training(store: str, tmp_path: pathlib.Path) -> None:
    whole = uninterrupted(store, 1)
    saved = tmp_path / "last.ckpt"
    trainer(callbacks=[SaveAt(4, saved)]).fit(Classifier(1000), module(store))
    data = module(store)
    trainer().validate(Classifier(1000), data, ckpt_path=saved, verbose=False)
    model = Classifier(1000)
    trainer().fit(model, data)
    assert model.seen["train"] == whole.seen["train"]


def test_state_by_hand(store: str, tmp_path: pathlib.Path) -> None:
    whole = uninterrupted(store, 1)
    saved = tmp_path / "last.ckpt"
    trainer(callbacks=[SaveAt(4, saved)]).fit(Classifier(1000), module(store))
    state = torch.load(saved, weights_only=True)["DataModule"]
    data = module(store)
    data.load_state_dict(state)
    assert [minibatch.ids.tolist() for minibatch in data.train_dataloader()] == whole.seen["train"][4:]
    with pytest.raises(cellring.ResumeError, match="another store, or with another batch_size"):
        DataModule(store, split="train=0.8,val=0.2", obs_columns=COLUMNS, batch_size=100, fetch_factor=2).load_state_dict(state)


# What it is made of.


def test_loaders_are_made_once(store: str) -> None:
    data = module(store)
    assert data.train_dataloader() is data.train_dataloader() is data.loader()
    assert data.val_dataloader() is data.val_dataloader() is data.loader("val")
    assert data.loader().categories("cell_type") == ["astrocyte", "microglia", "neuron", "oligo"]
    for twin in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert [m.ids.tolist() for m in twin.train_dataloader()] == [m.ids.tolist() for m in data.train_dataloader()]
        data.loader().set_epoch(0)


def test_batch_size_may_be_searched_for(store: str) -> None:
    data = module(store)
    tuner = pl.tuner.Tuner(trainer())
    found = tuner.scale_batch_size(Classifier(1000), datamodule=data, mode="power", init_val=40, max_trials=2, steps_per_trial=1)
    assert found in (80, 160) and data.batch_size == found
    assert [len(minibatch) for minibatch in data.train_dataloader()] == [found] * (900 // found) + [900 % found]


def test_files_and_threads_are_closed_at_the_end(store: str) -> None:
    def ours() -> set[str]:
        """The threads of cellring, those of other tests included."""
        found = set()
        for task in pathlib.Path("/proc/self/task").iterdir():
            try:
                name = task.joinpath("comm").read_text()
            except OSError:
                continue  # It has ended meanwhile.
            if name.startswith("cellring"):
                found.add(task.name)
        return found

    def left(before: set[str]) -> set[str]:
        """Those that are new; the kernel takes a moment to forget those that have ended."""
        for _ in range(100):
            if not ours() - before:
                break
            time.sleep(0.02)
        return ours() - before

    before = ours()
    data = module(store)
    for steps in (-1, 3):
        trainer(max_steps=steps).fit(Classifier(1000), data)
        assert left(before) == set()
    iterator = iter(data.loader("train"))
    next(iterator)
    assert ours() - before


def test_its_copies_to_a_gpu_are_not_waited_for(store: str, delayed_copies: list[Any]) -> None:  # noqa: F811
    """Which it asks for only where it moves tensors."""
    from lightning.fabric.utilities.apply_func import move_data_to_device

    minibatch = next(iter(module(store).train_dataloader()))
    source = weakref.ref(minibatch.x)
    move_data_to_device(minibatch, torch.device("cuda", 0))
    del minibatch
    gc.collect()
    assert len(delayed_copies) == 1 and source() is not None


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"split": "train=0.9,vall=0.1"}, "split='vall': expected one of .*did you mean 'val'"),
        ({"split": "train=0.9,val=0.2"}, "sum to"),
        ({"split_by": "donor"}, "split_by= needs split="),
        ({"part": "train"}, "part= is not for a data module"),
        ({"batchsize": 3}, "no argument 'batchsize': did you mean 'batch_size'"),
        ({"obs_columns": ["cel_type"]}, "cel_type"),
        ({"split": "train=0.9,val=0.1", "evaluation": {"bach_size": 3}}, "did you mean 'batch_size'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(store: str, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(cellring.InputError, match=sentence):
        DataModule(store, **arguments)


def test_under_its_other_name(run_python: Any, store: str) -> None:
    """Trainers of ``pytorch_lightning`` do not take data modules of ``lightning.pytorch``."""
    pytest.importorskip("pytorch_lightning")
    script = """
import sys
import pytorch_lightning as pl
from cellring.lightning import DataModule
assert issubclass(DataModule, pl.LightningDataModule) and "lightning.pytorch" not in sys.modules
data = DataModule(sys.argv[1], split="train=0.9,val=0.1")
class Counter(pl.LightningModule):
    n = 0
    def training_step(self, minibatch, number):
        Counter.n += len(minibatch)
    def configure_optimizers(self):
        return None
pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu").fit(Counter(), data)
assert Counter.n == 900, Counter.n
"""
    run_python(script, store)


# Two processes.

SCRIPT = """
import sys
import numpy as np
import lightning.pytorch as pl
import torch
from test_lightning import Classifier, trainer
from cellring.lightning import DataModule

store, folder = sys.argv[1:]


class Writer(Classifier):
    def __init__(self, n_vars):
        super().__init__(n_vars)
        self.padding = {"train": [], "val": [], "test": []}

    def loss(self, minibatch, part):
        self.padding[part].append(minibatch.is_padding)
        return super().loss(minibatch, part)

    def on_fit_end(self):
        np.savez(
            f"{folder}/{self.global_rank}.npz",
            world_size=self.trainer.world_size,
            **{part: np.array([np.pad(ids, (0, 64 - len(ids)), constant_values=-1) for ids in self.seen[part]]) for part in self.seen},
            **{f"padding_{part}": np.array(self.padding[part]) for part in self.padding},
        )


if __name__ == "__main__":
    data = DataModule(store, subset=np.arange(965), split="train=0.9,val=0.1", split_seed=1, obs_columns=["cell_type"], batch_size=64)
    trainer(max_epochs=2, devices=2, strategy="ddp", num_sanity_val_steps=0).fit(Writer(1000), data)
"""

# Runs a file as the main program, as `python FILE` does: Lightning starts the other ranks by that name.
RUN = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


def test_two_processes_share_an_epoch(run_python: Any, store: str, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "fit.py"
    script.write_text(SCRIPT)
    run_python(RUN, script, store, tmp_path, timeout=300)
    ranks = [np.load(tmp_path / f"{rank}.npz") for rank in range(2)]
    assert [rank["world_size"] for rank in ranks] == [2, 2]
    together: dict[str, list[int]] = {}
    for part in ("train", "val"):
        assert ranks[0][part].shape == ranks[1][part].shape, "as many minibatches on each rank"
        n = len(ranks[0][part]) // 2
        for epoch in range(2):
            cells = []
            for rank in ranks:
                is_new = ~rank[f"padding_{part}"][epoch * n : (epoch + 1) * n]
                ids = rank[part][epoch * n : (epoch + 1) * n][is_new]
                cells.append(ids[ids >= 0].tolist())
            assert not set(cells[0]) & set(cells[1])
            together[part] = sorted(cells[0] + cells[1])
            assert len(together[part]) == len(set(together[part]))
        assert n == -(-(-(-len(together[part]) // 64)) // 2)
    assert len(together["train"]) % 128 not in (0, 64), "cells that do not divide evenly"
    assert sorted(together["train"] + together["val"]) == list(range(965))
