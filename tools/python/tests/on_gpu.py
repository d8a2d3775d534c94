"""What the package does on a GPU: ``python on_gpu.py STORE``. Needs numpy and torch only; says that it was skipped where there is no GPU."""

from __future__ import annotations

import sys


def missing() -> str | None:
    """Why nothing of this can run here."""
    try:
        import torch
    except ImportError as error:
        return str(error)
    return None if torch.cuda.is_available() else "torch finds no GPU"


def dense(x):
    """A matrix of torch on the host, as one that can be compared."""
    return x.cpu().to_dense()


def is_equal(one, other) -> bool:
    import torch

    assert one.obs.keys() == other.obs.keys() and one.obs
    columns = all(torch.equal(value.cpu(), other.obs[name].cpu()) for name, value in one.obs.items())
    return columns and torch.equal(dense(one.x), dense(other.x)) and torch.equal(one.ids.cpu(), other.ids.cpu())


def column_of(store: str) -> str:
    """A column of obs."""
    import cellring

    return cellring.Store(store).obs.columns[-1]


def minibatches_on_the_device_are_those_of_the_host(store: str) -> None:
    import cellring

    for layout in ["csr", "dense"]:
        settings = {"layout": layout, "normalize": True, "log1p": True, "obs_columns": [column_of(store)]}
        host, device = (cellring.Loader(store, **settings, device=device) for device in (None, "cuda"))
        n = 0
        for expected, found in zip(host, device, strict=True):
            assert found.x.device.type == "cuda", found.x.device
            assert is_equal(expected, found), f"{layout}, minibatch {n}"
            n += 1
        assert n == len(host) > 1


def a_minibatch_may_be_dropped_while_it_is_copied(store: str) -> None:
    import torch

    import cellring

    loader = cellring.Loader(store, layout="dense", device="cuda")
    expected = [dense(minibatch.x).sum() for minibatch in loader]
    loader.set_epoch(0)
    with torch.cuda.stream(torch.cuda.Stream()):
        # The stream is behind by some tenths of a second while the host goes on and drops what it has handed over.
        torch.cuda._sleep(500_000_000)
        found = [minibatch.x for minibatch in loader]
    torch.cuda.synchronize()
    assert [dense(x).sum() for x in found] == expected


def all_may_be_kept_and_moved_back(store: str) -> None:
    import torch

    import cellring

    settings = {"obs_columns": [column_of(store)], "batch_size": 500}
    expected = list(cellring.Loader(store, **settings))
    with cellring.Loader(store, **settings, device="cuda") as loader:
        kept = list(loader)
    moved = [minibatch.to("cpu") for minibatch in kept]
    torch.cuda.synchronize()
    for one, found, back in zip(expected, kept, moved, strict=True):
        assert is_equal(one, found) and is_equal(one, back)
        assert back.x.device.type == back.ids.device.type == "cpu"


def a_state_goes_on_with_what_was_not_handed_out(store: str) -> None:
    import cellring

    settings = {"obs_columns": [column_of(store)], "batch_size": 500}
    expected = list(cellring.Loader(store, **settings))
    for n in (1, 3):
        loader = cellring.Loader(store, **settings, device="cuda")
        for _, minibatch in zip(range(n), loader):
            assert minibatch.x.is_cuda
        other = cellring.Loader(store, **settings, device="cuda")
        other.load_state_dict(loader.state_dict())
        assert all(is_equal(one, found) for one, found in zip(expected[n:], other, strict=True))


def two_ranks_share_a_gpu(store: str) -> None:
    import torch

    import cellring

    whole = [minibatch.ids for minibatch in cellring.Loader(store, batch_size=500)]
    loaders = [cellring.Loader(store, batch_size=500, rank=rank, world_size=2, device="cuda:0") for rank in range(2)]
    shares = [minibatch.ids.cpu() for pair in zip(*loaders, strict=True) for minibatch in pair if not minibatch.is_padding]
    assert torch.equal(torch.cat(shares).sort().values, torch.cat(whole).sort().values)


def pinned_memory_is_pinned(store: str) -> None:
    import cellring

    minibatch = next(iter(cellring.Loader(store, layout="dense", obs_columns=[column_of(store)])))
    pinned = minibatch.pin_memory()
    assert pinned.x.is_pinned() and is_equal(minibatch, pinned)
    assert is_equal(minibatch, pinned.cuda(non_blocking=True))


TESTS = [
    minibatches_on_the_device_are_those_of_the_host,
    a_minibatch_may_be_dropped_while_it_is_copied,
    all_may_be_kept_and_moved_back,
    a_state_goes_on_with_what_was_not_handed_out,
    two_ranks_share_a_gpu,
    pinned_memory_is_pinned,
]

if __name__ == "__main__":
    if reason := missing():
        print(f"skipped: {reason}")
        sys.exit()
    for test in TESTS:
        test(sys.argv[1])
        print(f"passed: {test.__name__}")
