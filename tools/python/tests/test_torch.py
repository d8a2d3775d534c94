"""`cellring.torch.Dataset` in a DataLoader, and tensors as torch uses them."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import cellring

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch.utils.data import DataLoader  # noqa: E402

from cellring.torch import Dataset  # noqa: E402


def ids_of(loader):
    return [minibatch.ids.tolist() for minibatch in loader]


def test_without_workers_it_is_the_loader(store):
    expected = [ids_of(loader) for loader in [cellring.Loader(store)] for _ in range(2)]
    data_loader = DataLoader(Dataset(store), batch_size=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [ids_of(data_loader) for _ in range(2)] == expected
    assert len(data_loader) == len(expected[0])
    assert ids_of(DataLoader(Dataset(cellring.Loader(store)), batch_size=None)) == expected[0]


def test_what_workers_send_has_no_sparse_tensor(store):
    """torch 2.1 cannot send one: the thread that sends it prints the error, and the loop waits for ever."""
    minibatch = next(iter(cellring.Loader(store)))
    _, arguments = minibatch.__reduce__()
    sent = arguments[3][0]
    assert all(part.layout is torch.strided for part in sent[:3]) and sent[3] == tuple(minibatch.x.shape)
    received = pickle.loads(pickle.dumps(minibatch))
    assert received.x.layout is torch.sparse_csr and torch.equal(received.x.to_dense(), minibatch.x.to_dense())


# Workers that start afresh import torch: once is enough.
@pytest.mark.parametrize(("context", "persistent"), [("fork", False), ("fork", True), ("spawn", True), ("forkserver", True)])
def test_workers_share_each_epoch_and_every_epoch_is_another(store, adata, context, persistent):
    dataset = Dataset(store, batch_size=50, obs_columns=["cell_type"])
    # In use before it is shared: nothing of that may be in the way.
    next(iter(dataset.loader))
    dataset.set_epoch(0)
    data_loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=context, persistent_workers=persistent)
    epochs = []
    for _ in range(3):
        ids = []
        for minibatch in data_loader:
            assert np.array_equal(minibatch.x.to_dense().numpy(), adata.X[minibatch.ids.numpy()].toarray())
            assert np.array_equal(minibatch.obs["cell_type"].numpy(), adata.obs["cell_type"].cat.codes.iloc[minibatch.ids.numpy()])
            ids += minibatch.ids.tolist()
        assert sorted(ids) == list(range(1000))
        epochs.append(ids)
    assert epochs[0] != epochs[1] != epochs[2]
    dataset.set_epoch(1)
    assert [i for m in data_loader for i in m.ids.tolist()] == epochs[1]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_minibatches_of_workers_know_names(store, adata, context):
    dataset = Dataset(store, batch_size=500, obs_columns=["stage"])
    data_loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context=context)
    minibatch = next(iter(data_loader))
    made, expected = minibatch.to_anndata(), adata[minibatch.ids.numpy()]
    assert list(minibatch.var_names) == list(made.var_names) == list(adata.var_names)
    assert made.obs["stage"].dtype == expected.obs["stage"].dtype and made.obs["stage"].tolist() == expected.obs["stage"].tolist()


def test_a_minibatch_elsewhere_says_that_it_knows_no_names(store):
    minibatch = next(iter(cellring.Loader(store, to="numpy", pad_nnz="pow2")))
    again = pickle.loads(pickle.dumps(minibatch))
    # Its loader is gone.
    assert again.var_names is None
    with pytest.raises(cellring.InputError, match="before it is sent"):
        again.to_anndata()


def test_workers_of_ranks_are_equal_in_number(store):
    of_ranks = []
    for rank in range(2):
        dataset = Dataset(store, batch_size=30, rank=rank, world_size=2)
        of_ranks.append(list(DataLoader(dataset, batch_size=None, num_workers=2)))
    assert len(of_ranks[0]) == len(of_ranks[1])
    ids = [i for of_rank in of_ranks for m in of_rank if not m.is_padding for i in m.ids.tolist()]
    assert sorted(ids) == list(range(1000))


def test_tensors_work_as_torch_uses_them(store):
    minibatch = next(iter(cellring.Loader(store, batch_size=32)))
    x = minibatch.x
    weight = torch.randn(x.shape[1], 8, requires_grad=True)
    expected = x.to_dense() @ weight
    assert torch.allclose(x @ weight, expected, rtol=1e-4, atol=1e-3)
    (x @ weight).sum().backward()
    assert torch.allclose(weight.grad[:, 0], x.to_dense().sum(0), rtol=1e-4, atol=1e-3)
    bag = torch.nn.functional.embedding_bag(
        x.col_indices(), weight.detach(), x.crow_indices()[:-1], mode="sum", per_sample_weights=x.values()
    )
    assert torch.allclose(bag, expected, rtol=1e-4, atol=1e-3)
    assert torch.equal(x.log1p().to_dense(), torch.log1p(x.to_dense()))
    assert torch.equal(x.clone().to_dense(), x.to_dense()) and torch.equal(pickle.loads(pickle.dumps(x)).to_dense(), x.to_dense())
    torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), x.values(), size=x.shape, check_invariants=True)


def test_no_copy_between_the_decoder_and_the_tensor(store):
    minibatch = next(iter(cellring.Loader(store)))
    raw = minibatch._raw
    indptr, indices, values = raw.csr(0)
    x = minibatch.x
    for tensor, array in ((x.crow_indices(), indptr), (x.col_indices(), indices), (x.values(), values)):
        assert tensor.data_ptr() == array.__array_interface__["data"][0]
        assert np.asarray(array).ctypes.data == tensor.data_ptr() == np.from_dlpack(array).ctypes.data


def test_arrays_may_be_written_to_and_later_minibatches_are_right(store, adata):
    for layout in ("dense", "csr"):
        loader = cellring.Loader(store, layout=layout, threads=1, memory="8MiB", batch_size=32)
        for _ in range(2):
            for minibatch in loader:
                x = minibatch.x if layout == "dense" else minibatch.x.values()
                dense = x if layout == "dense" else minibatch.x.to_dense()
                assert np.array_equal(dense.numpy(), adata.X[minibatch.ids.numpy()].toarray())
                x.fill_(7)
                if layout == "csr":
                    minibatch.x.col_indices().zero_()
    array = next(iter(cellring.Loader(store, layout="dense", to="numpy"))).x
    assert array.flags.writeable


def test_minibatches_survive_their_loader_and_do_not_change(store, adata):
    loader = cellring.Loader(store, batch_size=16, obs_columns=["n_genes"])
    kept = list(loader)
    list(loader)
    loader.close()
    del loader
    for minibatch in kept:
        assert np.array_equal(minibatch.x.to_dense().numpy(), adata.X[minibatch.ids.numpy()].toarray())
        assert np.array_equal(minibatch.obs["n_genes"].numpy(), adata.obs["n_genes"].iloc[minibatch.ids.numpy()])
    tensors = [minibatch.x.values() for minibatch in kept]
    sums = [tensor.sum().item() for tensor in tensors]
    del kept, minibatch
    assert [tensor.sum().item() for tensor in tensors] == sums


def test_the_protocol_of_dlpack(store):
    minibatch = next(iter(cellring.Loader(store)))
    array = minibatch._raw.csr(0)[2]
    assert array.__dlpack_device__() == (1, 0)
    assert "dltensor_versioned" in repr(array.__dlpack__(max_version=(1, 0)))
    capsule = array.__dlpack__()
    assert '"dltensor"' in repr(capsule)
    torch.from_dlpack(capsule)
    with pytest.raises((RuntimeError, BufferError)):
        torch.from_dlpack(capsule)
    # What is older than version 1 has no flags. Any later version may be answered with that of cellring.
    assert '"dltensor"' in repr(array.__dlpack__(max_version=(0, 8))) and "dltensor_versioned" in repr(array.__dlpack__(max_version=(9, 3)))
    for right in ({"stream": None}, {"dl_device": (1, 0)}, {"copy": False}):
        assert torch.from_dlpack(array.__dlpack__(**right)).data_ptr() == minibatch.x.values().data_ptr()
    for wrong in ({"stream": 1}, {"dl_device": (2, 0)}, {"dl_device": (1, 1)}, {"dl_device": (2, 0), "copy": True}):
        with pytest.raises(BufferError):
            array.__dlpack__(**wrong)
    torch.from_dlpack(array).add_(1)


def test_a_consumer_of_dlpack_may_ask_for_a_copy(store):
    for layout, role in (("csr", "indices"), ("csr", "values"), ("dense", "values")):
        minibatch = next(iter(cellring.Loader(store, layout=layout)))
        array = minibatch._raw.array(0, role)
        shared = np.asarray(array)
        before = shared.copy()
        # numpy can ask for one since 2.1.
        copies = [np.from_dlpack(array, copy=True)] if np.lib.NumpyVersion(np.__version__) >= "2.1.0" else []
        copies += [torch.from_dlpack(array.__dlpack__(copy=True)).numpy()]
        copies.append(torch.from_dlpack(array.__dlpack__(copy=True, dl_device=(1, 0))).numpy())
        for copied in copies:
            assert copied.shape == before.shape and copied.dtype == before.dtype and copied.flags.writeable
            assert not np.shares_memory(copied, shared) and copied.ctypes.data % 64 == 0
            np.testing.assert_array_equal(copied, before)
            copied.fill(7)
        np.testing.assert_array_equal(shared, before)
        # It is not the minibatch's: neither keeps the other.
        shared.fill(3)
        del minibatch, array, shared
        assert all((copied == 7).all() for copied in copies)


def test_jax_takes_a_copy_without_another(store):
    jax = pytest.importorskip("jax")
    array = next(iter(cellring.Loader(store)))._raw.array(0, "values")

    class Copied:
        """jax itself asks for none."""

        def __dlpack_device__(self):
            return array.__dlpack_device__()

        def __dlpack__(self, **asked):
            return array.__dlpack__(**{**asked, "copy": True})

    before = np.asarray(array).copy()
    copied = jax.dlpack.from_dlpack(Copied())
    np.asarray(array).fill(7)
    np.testing.assert_array_equal(copied, before)


def test_loaders_and_minibatches_can_be_copied(store):
    loader = cellring.Loader(store, obs_columns=["cell_type"])
    loader.set_epoch(1)
    second = ids_of(loader)
    iterator = iter(loader)
    minibatch = next(iterator)
    for copied in (copy.deepcopy(loader), pickle.loads(pickle.dumps(loader))):
        assert repr(copied) == repr(loader) and len(copied) == len(loader)
        copied.set_epoch(1)
        assert ids_of(copied) == second
    again = pickle.loads(pickle.dumps(minibatch))
    assert torch.equal(again.x.to_dense(), minibatch.x.to_dense()) and torch.equal(again.obs["cell_type"], minibatch.obs["cell_type"])
    assert again.to("cpu") is again
    assert set(minibatch.to_dict()) == {"X", "obs", "index", "matrices"} and minibatch["X"] is minibatch.x


def test_a_device_that_is_not_there(store):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.warns(cellring.CellringWarning, match="no GPU"):
        minibatch = next(iter(cellring.Loader(store, device="cuda")))
    assert minibatch.x.device.type == "cpu"


def test_what_torch_tries_is_refused_with_a_remedy(store):
    loader = cellring.Loader(store)
    with pytest.raises(cellring.InputError, match="cellring.torch.Dataset"):
        next(iter(DataLoader(loader, batch_size=64)))
    for batch_size in (1, 8):
        with pytest.raises(cellring.InputError, match="give it batch_size=None"):
            next(iter(DataLoader(Dataset(loader), batch_size=batch_size)))
    train, _ = torch.utils.data.random_split(Dataset(loader), [0.5, 0.5])
    with pytest.raises(cellring.InputError, match="split= and part="):
        train[0]
