"""Resuming with torchdata's ``StatefulDataLoader``: in pieces of every length, with and without workers, on every rank."""

from __future__ import annotations

import functools
import pickle

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchdata", reason="torchdata is not installed")
from torchdata.stateful_dataloader import StatefulDataLoader  # noqa: E402

from cellring.torch import Dataset  # noqa: E402

SETTINGS = {"batch_size": 64, "fetch_factor": 3, "seed": 5, "obs_columns": ["cell_type"]}


def content(minibatch):
    """All of a minibatch, as bytes, and whether it is one that another rank has too."""
    x = minibatch.x
    arrays = (minibatch.ids, x.crow_indices(), x.col_indices(), x.values(), minibatch.obs["cell_type"])
    return b"".join(array.numpy().tobytes() for array in arrays), minibatch.is_padding


def contents(minibatches):
    return [content(minibatch) for minibatch in minibatches]


def data_loader(store, n_workers, **ranks):
    return StatefulDataLoader(Dataset(store, **SETTINGS, **ranks), batch_size=None, num_workers=n_workers)


def in_pieces(make, n_minibatches, n_epochs, length):
    """Epochs of so many minibatches. After every ``length`` of them, and after the last of an epoch, before its end is seen, all is thrown
    away but the state, and another loader goes on from it."""
    seen, state = [], None
    while len(seen) < n_epochs * n_minibatches:
        loader = make()
        if state is not None:
            loader.load_state_dict(state)
        iterator = iter(loader)
        first = next(iterator, None)
        if first is None:
            # Workers that have given all of an epoch have an empty rest of it, and then the next one.
            assert len(seen) % n_minibatches == 0
            iterator = iter(loader)
            first = next(iterator)
        rest = min(length, n_minibatches - len(seen) % n_minibatches) - 1
        seen += [content(first), *(content(next(iterator)) for _ in range(rest))]
        state = pickle.loads(pickle.dumps(loader.state_dict()))
        del iterator, loader
    return seen


def stopped_after(make, n):
    """So many minibatches of an epoch, and a loader that goes on from there."""
    loader = make()
    iterator = iter(loader)
    taken = [content(next(iterator)) for _ in range(n)]
    state = loader.state_dict()
    del iterator, loader
    again = make()
    again.load_state_dict(state)
    return taken, again


# Workers, ranks, minibatches of each rank and epoch, and lengths of pieces.
CASES = [
    (0, 1, 16, (1, 3, 5, 16)),
    (0, 2, 8, (1, 3, 8)),
    (0, 3, 6, (1, 4, 6)),
    (2, 1, 16, (3, 5)),
    (2, 2, 8, (3,)),
    (2, 3, 6, (4,)),
]


@pytest.mark.parametrize(("n_workers", "world_size", "n_minibatches", "lengths"), CASES)
def test_pieces_are_the_whole(store, n_workers, world_size, n_minibatches, lengths):
    """Two epochs, stopped again and again, are those of a loader that was not stopped: bit for bit, on every rank."""
    ids = []
    for rank in range(world_size):
        ranks = {} if world_size == 1 else {"rank": rank, "world_size": world_size}
        make = functools.partial(data_loader, store, n_workers, **ranks)
        whole, epochs = make(), []
        for _ in range(2):
            minibatches = list(whole)
            epochs.append(contents(minibatches))
            ids += [cell for minibatch in minibatches if not minibatch.is_padding for cell in minibatch.ids.tolist()]
        assert [len(epoch) for epoch in epochs] == [n_minibatches] * 2 and epochs[0] != epochs[1]
        for length in lengths:
            assert in_pieces(make, n_minibatches, 2, length) == epochs[0] + epochs[1], f"rank {rank}, pieces of {length}"
    assert sorted(ids) == sorted([*range(1000), *range(1000)])


@pytest.mark.parametrize(
    ("n_workers", "persistent"), [(0, False), (2, False), (2, True)]
)
def test_after_the_end_of_an_epoch_was_seen(store, n_workers, persistent):
    """As checkpoints are saved between epochs: the next epoch is whole, and none is left out."""

    def make():
        return StatefulDataLoader(Dataset(store, **SETTINGS), batch_size=None, num_workers=n_workers, persistent_workers=persistent)

    whole = make()
    expected = [contents(whole) for _ in range(3)]
    loader = make()
    found = []
    for _ in range(3):
        found.append(contents(loader))
        state = pickle.loads(pickle.dumps(loader.state_dict()))
        loader = make()
        loader.load_state_dict(state)
    assert found == expected


@pytest.mark.parametrize("every", [1, 3, 7])
def test_snapshots_of_some_minibatches_only(store, every):
    """Those since the last snapshot are read again, and left out."""

    def make():
        dataset = Dataset(store, **SETTINGS)
        return StatefulDataLoader(dataset, batch_size=None, num_workers=2, snapshot_every_n_steps=every)

    whole = make()
    expected = [contents(whole) for _ in range(2)]
    for k in (2, 8, 13):
        taken, again = stopped_after(make, k)
        assert [taken + contents(again), contents(again)] == expected, f"after {k}"


@pytest.mark.parametrize(("n_workers", "n_taken"), [(2, 15), (3, 15)])
def test_saved_when_some_workers_have_given_all_and_others_not(store, n_workers, n_taken):
    make = functools.partial(data_loader, store, n_workers)
    whole = make()
    expected = [contents(whole) for _ in range(2)]
    taken, again = stopped_after(make, n_taken)
    assert taken + contents(again) == expected[0]
    assert contents(again) == expected[1]
