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


def pinned_memory_is_pinned(store: str) -> None:
    import cellring

    minibatch = next(iter(cellring.Loader(store, layout="dense", obs_columns=[column_of(store)])))
    pinned = minibatch.pin_memory()
    assert pinned.x.is_pinned() and is_equal(minibatch, pinned)
    assert is_equal(minibatch, pinned.cuda(non_blocking=True))


TESTS = [minibatches_on_the_device_are_those_of_the_host, a_minibatch_may_be_dropped_while_it_is_copied, pinned_memory_is_pinned]

if __name__ == "__main__":
    if reason := missing():
        print(f"skipped: {reason}")
        sys.exit()
    for test in TESTS:
        test(sys.argv[1])
        print(f"passed: {test.__name__}")
