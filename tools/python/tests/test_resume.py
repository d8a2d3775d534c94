"""Resuming: bit for bit against the uninterrupted run."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

import cellring

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchdata", reason="torchdata is not installed")
from torchdata.stateful_dataloader import StatefulDataLoader  # noqa: E402

from cellring.torch import Dataset  # noqa: E402

SETTINGS = {"batch_size": 64, "fetch_factor": 3, "seed": 5, "obs_columns": ["cell_type"]}


def content(minibatch):
    """All of a minibatch, as bytes."""
    x = minibatch.x
    arrays = (minibatch.ids, x.crow_indices(), x.col_indices(), x.values(), minibatch.obs["cell_type"])
    return b"".join(array.numpy().tobytes() for array in arrays)


def contents(minibatches):
    return [content(minibatch) for minibatch in minibatches]


@pytest.fixture(scope="module")
def epochs(store):
    """Three epochs without interruption."""
    loader = cellring.Loader(store, **SETTINGS)
    return [contents(loader) for _ in range(3)]


def test_after_every_minibatch(store, epochs):
    for epoch in (0, 2):
        for k in range(len(epochs[0]) + 1):
            loader = cellring.Loader(store, **SETTINGS)
            loader.set_epoch(epoch)
            iterator = iter(loader)
            taken = [content(next(iterator)) for _ in range(k)]
            state = json.loads(json.dumps(loader.state_dict()))
            assert state == iterator.state_dict()
            again = cellring.Loader(store, **SETTINGS)
            again.load_state_dict(state)
            assert len(again) == len(epochs[0]), "the length stays that of the whole epoch"
            if k == len(epochs[0]):
                assert state["epoch"] == epoch + 1 and state["history"] == []
                if epoch + 1 < 3:
                    assert contents(again) == epochs[epoch + 1]
            else:
                assert taken + contents(again) == epochs[epoch]
                if epoch + 1 < 3:
                    assert contents(again) == epochs[epoch + 1], "the next epoch is whole"


def test_a_state_is_a_few_integers(store):
    loader = cellring.Loader(store, **SETTINGS)
    next(iter(loader))
    state = loader.state_dict()
    assert set(state) == {"version", "epoch", "history", "fingerprint", "form"}
    assert all(type(value) is int for key, value in state.items() if key != "history")
    assert state["history"] == [1, 1]
    ranks = [cellring.Loader(store, **SETTINGS, rank=rank, world_size=3) for rank in range(3)]
    for rank in ranks:
        iterator = iter(rank)
        next(iterator)
        next(iterator)
    assert ranks[0].state_dict() == ranks[1].state_dict() == ranks[2].state_dict()


def test_twice_in_a_row_and_pickled(store, epochs):
    loader = cellring.Loader(store, **SETTINGS)
    taken = []
    for _ in range(4):
        iterator = iter(loader)
        taken += [content(next(iterator)) for _ in range(3)]
        state = loader.state_dict()
        loader = pickle.loads(pickle.dumps(loader))
        loader.load_state_dict(state)
    assert taken + contents(loader) == epochs[0]


def test_a_copy_goes_on_where_the_loader_is(store, epochs):
    loader = cellring.Loader(store, **SETTINGS)
    iterator = iter(loader)
    for _ in range(5):
        next(iterator)
    assert contents(pickle.loads(pickle.dumps(loader))) == contents(iterator) == epochs[0][5:]


def test_an_epoch_that_was_set_during_another(store):
    loader = cellring.Loader(store, **SETTINGS)
    for _ in loader:
        loader.set_epoch(5)
        break
    assert loader.epoch == loader.state_dict()["epoch"] == 5 and loader.state_dict()["history"] == []


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("n_taken", [1, 4, 5])
def test_each_rank_goes_on_where_it_was(store, world_size, n_taken):
    """Bit for bit, by the state of any of them."""
    whole, states = [], []
    for rank in range(world_size):
        loader = cellring.Loader(store, **SETTINGS, rank=rank, world_size=world_size)
        whole.append([contents(loader), contents(loader)])
        loader.set_epoch(0)
        iterator = iter(loader)
        assert [content(next(iterator)) for _ in range(n_taken)] == whole[rank][0][:n_taken]
        states.append(loader.state_dict())
    assert states == states[:1] * world_size
    for rank, (first, second) in enumerate(whole):
        loader = cellring.Loader(store, **SETTINGS, rank=rank, world_size=world_size)
        loader.load_state_dict(states[0])
        assert contents(loader) == first[n_taken:] and contents(loader) == second


@pytest.mark.parametrize("world_sizes", [(1, 2), (2, 3), (3, 1)])
def test_with_other_ranks(store, world_sizes):
    """What is left is divided among the ranks there are: every cell once."""
    before, after = world_sizes
    seen, state = [], None
    for rank in range(before):
        loader = cellring.Loader(store, **SETTINGS, rank=rank, world_size=before)
        iterator = iter(loader)
        seen += [m for _ in range(3) for m in [next(iterator)]]
        state = loader.state_dict()
    for rank in range(after):
        loader = cellring.Loader(store, **SETTINGS, rank=rank, world_size=after)
        loader.load_state_dict(state)
        seen += list(loader)
    ids = np.concatenate([m.ids.numpy() for m in seen if not m.is_padding])
    assert sorted(ids) == list(range(1000))


def test_set_epoch_keeps_a_state_of_that_epoch_only(store, epochs):
    loader = cellring.Loader(store, **SETTINGS)
    loader.set_epoch(1)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    loader = cellring.Loader(store, **SETTINGS)
    loader.load_state_dict(state)
    loader.set_epoch(1)
    assert contents(loader) == epochs[1][1:]
    loader.load_state_dict(state)
    loader.set_epoch(2)
    assert contents(loader) == epochs[2]


def test_a_running_iteration_ends_when_a_state_is_loaded(store, epochs):
    loader = cellring.Loader(store, **SETTINGS)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    next(iterator)
    loader.load_state_dict(state)
    with pytest.raises(cellring.StoppedError):
        next(iterator)
    assert contents(loader) == epochs[0][1:]


def test_states_that_do_not_fit(store, mouse):
    loader = cellring.Loader(store, **SETTINGS)
    next(iter(loader))
    state = loader.state_dict()
    for other in ({"seed": 6}, {"batch_size": 32}, {"obs_filter": 'cell_type == "neuron"'}):
        with pytest.raises(cellring.ResumeError, match="another store, or with another"):
            cellring.Loader(store, **{**SETTINGS, **other}).load_state_dict(state)
    with pytest.raises(cellring.ResumeError, match="another store"):
        cellring.Loader(mouse, batch_size=64, fetch_factor=3, seed=5).load_state_dict(state)
    for other in ({"log1p": True}, {"layout": "dense"}, {"obs_columns": []}, {"genes": cellring.Store(store).var_names[:5].tolist()}):
        with pytest.raises(cellring.ResumeError, match="another form"):
            cellring.Loader(store, **{**SETTINGS, **other}).load_state_dict(state)
    odd = [{"epoch": -1}, {"epoch": "x"}, {"history": [1, -1]}, {"history": "ab"}, {"history": [1]}, {"history": None}, {"history": [0, 1]}]
    for wrong in ({}, {"epoch": 1}, {**state, "version": 9}, 3, *({**state, **part} for part in odd)):
        with pytest.raises(cellring.ResumeError):
            loader.load_state_dict(wrong)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("n_workers", [0, 2])
def test_stateful_data_loader(store, n_workers, persistent):
    if persistent and n_workers == 0:
        pytest.skip("only workers persist")

    def make():
        dataset = Dataset(store, **SETTINGS)
        return StatefulDataLoader(dataset, batch_size=None, num_workers=n_workers, persistent_workers=persistent)

    whole = make()
    expected = [contents(whole) for _ in range(3)]
    assert expected[0] != expected[1] != expected[2] and [len(e) for e in expected] == [16, 16, 16]
    for epoch, k in ((0, 1), (0, 7), (1, 5), (0, 16), (1, 16)):
        loader = make()
        for _ in range(epoch):
            list(loader)
        iterator = iter(loader)
        taken = [content(next(iterator)) for _ in range(k)]
        state = pickle.loads(pickle.dumps(loader.state_dict()))
        del iterator, loader
        again = make()
        again.load_state_dict(state)
        # Without workers, what is saved after the last minibatch is all of the next epoch; with them, first an empty rest.
        if k < 16 or n_workers > 0:
            assert taken + contents(again) == expected[epoch]
        if k == 16:
            assert contents(again) == expected[epoch + 1]
        assert len(contents(again)) == 16


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_the_main_process_says_that_it_does_not_know_where_workers_are(store, context):
    dataset = Dataset(store, **SETTINGS)
    data_loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context=context)
    assert dataset.state_dict()["epoch"] == 0, "nothing has begun"
    iterator = iter(data_loader)
    next(iterator)
    for _ in range(2):
        with pytest.raises(cellring.ResumeError, match="StatefulDataLoader in its place, or use num_workers=0"):
            dataset.state_dict()
        # Nor at the end of the epoch.
        list(iterator)
    dataset.set_epoch(1)
    assert (dataset.state_dict()["epoch"], dataset.state_dict()["history"]) == (1, [])
    next(iter(data_loader))
    with pytest.raises(cellring.ResumeError, match="only they know"):
        dataset.state_dict()
    # Iterated over here, its place is known here.
    next(iter(dataset))
    assert dataset.state_dict()["history"] == [1, 1]


def test_workers_do_not_begin_again_what_was_loaded_in_the_main_process(store, epochs):
    dataset = Dataset(store, **SETTINGS)
    iterator = iter(dataset)
    next(iterator)
    state = dataset.state_dict()
    again = Dataset(store, **SETTINGS)
    again.load_state_dict(state)
    with pytest.raises(cellring.ResumeError, match="workers cannot go on from there"):
        next(iter(torch.utils.data.DataLoader(again, batch_size=None, num_workers=1)))
    assert contents(again) == epochs[0][1:]
    # Between epochs all are told which comes next.
    again.load_state_dict({**state, "epoch": 1, "history": []})
    assert contents(torch.utils.data.DataLoader(again, batch_size=None, num_workers=1)) == epochs[1]


def test_other_numbers_of_workers_are_refused(store):
    dataset = Dataset(store, **SETTINGS)
    with pytest.raises(cellring.ResumeError, match="num_workers=2"):
        dataset.load_state_dict({**dataset.state_dict(), "workers": 2})


def test_the_state_of_an_epoch_that_was_left(store, epochs):
    """`break` drops the iterator: its threads end, and its place is known."""
    loader = cellring.Loader(store, **SETTINGS)
    for number, minibatch in enumerate(loader):
        if number == 4:
            break
    del minibatch
    state = loader.state_dict()
    assert (state["epoch"], state["history"]) == (0, [1, 5])
    again = cellring.Loader(store, **SETTINGS)
    again.load_state_dict(state)
    assert contents(again) == epochs[0][5:]
    assert contents(loader) == epochs[1], "the next iteration is the next epoch"
    next(iter(loader))
    loader.set_epoch(0)
    assert loader.state_dict()["history"] == [] and contents(loader) == epochs[0]


@pytest.mark.parametrize("name", ["version", "epoch", "history", "fingerprint", "form"])
@pytest.mark.parametrize("value", [-1, 2**70, 1.5, "x", None, True, [1], [0, 1], [1, -1], [1.0, 2]])
def test_the_damaged_entry_of_a_state_is_named(store, name, value):
    loader = cellring.Loader(store, to="scipy")
    state = loader.state_dict()
    with pytest.raises(cellring.ResumeError, match=f"^the state is damaged: '{name}' is "):
        loader.load_state_dict({**state, name: value})
    assert loader.state_dict() == state


def test_an_iteration_is_not_pickled(store):
    with pytest.raises(TypeError, match="pickle the loader"):
        pickle.dumps(iter(cellring.Loader(store, to="scipy")))
