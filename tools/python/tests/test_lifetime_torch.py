"""Ten thousand minibatches of tensors: held at once, moved between threads, in nested loops and generators; and dropped."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from test_lifetime import assert_flat

import cellring

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch.utils.data import DataLoader  # noqa: E402

from cellring.torch import Dataset  # noqa: E402

N_OBS = 10_000

# What a round may add: a tenth of what its minibatches hold (each dense cell takes 4 KB).
MEGABYTES = 4


def all_at_once(mouse, layout):
    """Each of one cell. Their tensors are of use while all are held, and memory comes back when they are dropped."""
    loader = cellring.Loader(mouse, batch_size=1, layout=layout)
    expected = float(cellring.Store(mouse)[:].sum(dtype=np.float64))

    def work():
        kept = list(loader)
        # Half of them are held as tensors alone, and the others as minibatches whose tensors were not asked for yet.
        tensors = [minibatch.x for minibatch in kept[::2]]
        ids = torch.cat([minibatch.ids for minibatch in kept])
        del kept[::2]
        assert len(tensors) == len(kept) == N_OBS // 2 and ids.unique().numel() == N_OBS
        tensors += [minibatch.x for minibatch in kept]
        total = sum(float((x.values() if layout == "csr" else x).sum()) for x in tensors)
        assert total == pytest.approx(expected, rel=1e-6)
        loader.close()

    assert_flat(work, 4, MEGABYTES)


def between_threads(mouse):
    """Made in one thread, used in others, and dropped there."""
    loader = cellring.Loader(mouse, batch_size=1, layout="dense")

    def work():
        kept = list(loader)
        parts, seen, lock = [kept[place::4] for place in range(4)], [], threading.Lock()
        del kept

        def use():
            with lock:
                part = parts.pop()
            while part:
                minibatch = part.pop()
                assert minibatch.x.shape == (1, 1000) and float(minibatch.x.sum()) >= 0
                with lock:
                    seen.append(int(minibatch.ids))

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(seen) == list(range(N_OBS))
        loader.close()

    assert_flat(work, 3, MEGABYTES)


def loops_within_loops_and_generators(mouse):
    """A DataLoader within another one, in generators that hold minibatches and are left in the middle."""
    outer, inner = (cellring.Loader(mouse, batch_size=batch_size, layout="dense", seed=batch_size) for batch_size in (2, 1))
    loaders = [DataLoader(Dataset(loader), batch_size=None) for loader in (outer, inner)]

    def pairs():
        for first in loaders[0]:
            yield from ((first, second) for second in loaders[1])

    def work():
        generator = pairs()
        kept = list(itertools.islice(generator, N_OBS + 500))
        assert len({id(first) for first, _ in kept}) == 2
        assert torch.cat([second.ids for _, second in kept[:N_OBS]]).unique().numel() == N_OBS
        assert all(second.x.shape == (1, 1000) for _, second in kept)
        inner.close()
        outer.close()

    assert_flat(work, 3, MEGABYTES)
    assert len(next(iter(outer))) == 2


@pytest.mark.parametrize(
    "call", ["all_at_once(path, 'csr')", "all_at_once(path, 'dense')", "between_threads(path)", "loops_within_loops_and_generators(path)"]
)
def test_memory_descriptors_and_threads_come_back(run_python, mouse, call):
    """Each in a process of its own: in one that has run other tests, what is freed stays in pieces among what is not.

    And with a single arena: glibc gives threads arenas of their own, which grow for dozens of rounds although what is
    in use stays the same to the byte.
    """
    script = f"import sys; from test_lifetime_torch import *; path = sys.argv[1]; {call}"
    run_python(script, mouse, MALLOC_ARENA_MAX="1")
