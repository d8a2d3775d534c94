"""Minibatches on a GPU, where the driver is a stand-in whose memory is that of the host: ``python on_stand_in.py STORE``.

The package and all that it calls of the driver are the real ones. Of torch, which finds no GPU, what asks for one is replaced: an array on
the device is taken where it is, as one of the host, once what comes before it on its stream has happened.
"""

from __future__ import annotations

import ctypes
import gc
import json
import pickle
import sys
import traceback
from types import SimpleNamespace

import torch

import cellring
from cellring import _cellring, _copies


def the_driver() -> ctypes.CDLL:
    """The library that the package has loaded, too."""
    return ctypes.CDLL("libcuda.so.1")


SETTINGS = {"block_size": 4, "fetch_factor": 4, "batch_size": 48, "seed": 3, "obs_columns": ["cell_type", "n_genes"], "memory": "64MiB"}


class Tensor(ctypes.Structure):
    """The begin of a DLTensor, which is that of a DLManagedTensor."""

    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)]


def counts() -> dict[str, int]:
    """What of the device is in use."""
    found = (ctypes.c_long * 5)()
    the_driver().stand_in_counts(found)
    return dict(zip(("registered", "allocations", "handles", "pending", "copies"), found))


def from_dlpack(array: _cellring.DeviceArray) -> torch.Tensor:
    assert array.__dlpack_device__() == (2, 0)
    capsule = array.__dlpack__(stream=1)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    tensor = Tensor.from_address(pointer(capsule, b"dltensor"))
    assert tensor.device_type == 2
    tensor.device_type = 1
    the_driver().cuStreamSynchronize(None)
    return torch._C._from_dlpack(capsule)


def replace_torch() -> None:
    torch.cuda.is_available = lambda: True
    torch.version.cuda = torch.version.cuda or "12.0"
    torch.cuda.current_device = lambda: 0
    torch.cuda.current_stream = lambda device=None: SimpleNamespace(cuda_stream=0)
    torch.cuda.Event = lambda: SimpleNamespace(record=lambda stream: None, query=lambda: True)
    torch.from_dlpack = from_dlpack
    to = torch.Tensor.to
    torch.Tensor.to = lambda self, *where, **how: self.clone() if str(where[0]).startswith("cuda") else to(self, *where, **how)


def is_equal(one, other) -> bool:
    """Whether two matrices have the same numbers in the same places."""
    if isinstance(one, cellring.TopK):
        return all(map(torch.equal, one, other))
    if one.layout == torch.sparse_csr:
        parts = [(x.crow_indices(), x.col_indices(), x.values()) for x in (one, other)]
        return one.shape == other.shape and all(map(torch.equal, *parts))
    return torch.equal(one, other)


def check(expected, found) -> None:
    assert isinstance(found._raw, _cellring.DeviceMinibatch)
    assert (found.number, found.is_padding, found.shape) == (expected.number, expected.is_padding, expected.shape)
    assert is_equal(expected.x, found.x) and torch.equal(expected.ids, found.ids)
    assert expected.obs.keys() == found.obs.keys() and expected.matrices.keys() == found.matrices.keys()
    assert all(torch.equal(value, found.obs[name]) for name, value in expected.obs.items())
    assert all(is_equal(value, found.matrices[name]) for name, value in expected.matrices.items())


def minibatches_are_those_of_the_host(store: str) -> None:
    for settings in (
        {},
        {"layout": "dense", "normalize": True, "log1p": True, "dtype": "float16"},
        {"layout": ("top_k", 5)},
        {"index_dtype": "int64", "dtype": "source", "matrices": {"layers/counts": {"layout": "dense"}, "obsm/X_pca": {}}},
    ):
        host, device = (cellring.Loader(store, **SETTINGS, **settings, device=device) for device in (None, "cuda"))
        for _ in range(2):
            n = 0
            for expected, found in zip(host, device, strict=True):
                check(expected, found)
                n += 1
            assert n == len(device) == 21
        # Those are not copied ahead.
        assert is_equal(host.rows([5, 3, 3]).x, device.rows([5, 3, 3]).x)
        device.close()


def all_may_be_kept_and_outlive_their_loader(store: str) -> None:
    # More than the stages that there are at first hold: three of 1 MiB and a minibatch.
    settings = {**SETTINGS, "layout": "dense", "matrices": {"layers/counts": {"layout": "dense"}}}
    expected = list(cellring.Loader(store, **settings))
    device = cellring.Loader(store, **settings, device="cuda")
    kept = list(device)
    assert counts()["allocations"] > 3
    device.close()
    del device
    for one, other in zip(expected, kept, strict=True):
        check(one, other)
    # Each has written to what is its own.
    for minibatch in kept:
        minibatch.x.mul_(2)
    assert all(torch.equal(one.x * 2, other.x) for one, other in zip(expected, kept))


def what_is_dropped_at_once_is_whole(store: str) -> None:
    for settings in ({}, {"layout": "dense"}):
        sums = [minibatch.x.to_dense().sum() for minibatch in cellring.Loader(store, **SETTINGS, **settings)]
        loader = cellring.Loader(store, **SETTINGS, **settings, device="cuda")
        before = counts()["allocations"]
        found = []
        for minibatch in loader:
            found.append(minibatch.x.to_dense().sum())
            del minibatch
            # Stages are used again.
            assert counts()["allocations"] - before <= 3
        assert found == sums
        loader.close()


def a_state_goes_on_with_what_was_not_handed_out(store: str) -> None:
    expected = list(cellring.Loader(store, **SETTINGS))
    for n in (0, 1, 2, 7, 20, 21):
        loader = cellring.Loader(store, **SETTINGS, device="cuda")
        epoch = iter(loader)
        for k in range(n):
            check(expected[k], next(epoch))
        assert n == 0 or loader.stats()["minibatches"] == n
        state = json.loads(json.dumps(loader.state_dict()))
        other = cellring.Loader(store, **SETTINGS, device="cuda")
        other.load_state_dict(state)
        if n == 21:
            assert other.epoch == 1
            continue
        rest = list(other)
        for one, found in zip(expected[n:], rest, strict=True):
            assert torch.equal(one.ids, found.ids) and is_equal(one.x, found.x)
        # Dropped early, an iteration leaves its place to the loader, and the next one ends nothing but it.
        del epoch
        assert loader.state_dict() == state and len(list(cellring.Loader(store, **SETTINGS, device="cuda"))) == 21


def a_minibatch_can_be_sent_and_moved(store: str) -> None:
    loader = cellring.Loader(store, **SETTINGS, device="cuda")
    minibatch = next(iter(loader))
    sent = pickle.loads(pickle.dumps(minibatch))
    assert is_equal(sent.x, minibatch.x) and torch.equal(sent.obs["cell_type"], minibatch.obs["cell_type"])
    assert sent.x.values().data_ptr() != minibatch.x.values().data_ptr()
    adata = minibatch.to_anndata()
    assert adata.shape == minibatch.shape and adata.X.sum() == minibatch.x.values().sum()
    assert adata.obs["cell_type"].dtype == "category"


def an_array_says_what_it_needs(store: str) -> None:
    minibatch = next(iter(cellring.Loader(store, **SETTINGS, device="cuda")))
    array = minibatch._raw.array(0, "values")
    for wrong in ({"stream": -1}, {"stream": 2}, {"copy": True}, {"dl_device": (1, 0)}):
        try:
            array.__dlpack__(**wrong)
        except BufferError:
            continue
        raise AssertionError(f"{wrong} was taken")
    for right in ({}, {"stream": 0}, {"stream": 1}, {"max_version": (1, 0)}, {"dl_device": (2, 0), "copy": False}):
        array.__dlpack__(**right)
    try:
        minibatch._raw.array(0, "lens").__dlpack__()
    except KeyError:
        return
    raise AssertionError("a sparse matrix has no such array")


TESTS = [
    minibatches_are_those_of_the_host,
    all_may_be_kept_and_outlive_their_loader,
    what_is_dropped_at_once_is_whole,
    a_state_goes_on_with_what_was_not_handed_out,
    a_minibatch_can_be_sent_and_moved,
    an_array_says_what_it_needs,
]


def run(test, store: str) -> str:
    """Why it failed; empty if it passed and has left nothing on the device."""
    try:
        test(store)
        gc.collect()
        _copies._copies.clear()
        left = {name: n for name, n in counts().items() if name != "copies" and n}
        assert not left, f"left on the device: {left}"
    except BaseException:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    replace_torch()
    print(json.dumps({test.__name__: run(test, sys.argv[1]) for test in TESTS}))
