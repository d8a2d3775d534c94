"""Epochs: which cells come, in which form, and what arguments are refused."""

from __future__ import annotations

import copy
import pickle
import warnings
import weakref

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import cellring

torch = pytest.importorskip("torch", reason="torch is not installed")


def ids_of(loader):
    return [minibatch.ids.tolist() for minibatch in loader]


def flat(lists):
    return [number for numbers in lists for number in numbers]


def test_an_epoch_has_every_cell_once_with_its_values_and_labels(store, adata):
    columns = dict.fromkeys(["cell_type", "n_counts", "n_genes", "is_doublet", "age", "partly"], "natural") | {"note": "strings"}
    loader = cellring.Loader(store, obs_columns=columns, fetch_factor=4)
    assert loader.var_names.tolist() == adata.var_names.tolist()
    seen = []
    for minibatch in loader:
        ids = minibatch.ids.numpy()
        seen += ids.tolist()
        expected = adata[ids]
        assert minibatch.x.layout == torch.sparse_csr and minibatch.x.dtype == torch.float32
        assert minibatch.x.crow_indices().dtype == minibatch.x.col_indices().dtype == torch.int32
        assert np.array_equal(minibatch.x.to_dense().numpy(), expected.X.toarray())
        obs = minibatch.obs
        assert obs["cell_type"].dtype == torch.int64
        names = np.asarray(loader.categories("cell_type"))
        assert names[obs["cell_type"].numpy()].tolist() == expected.obs["cell_type"].tolist()
        assert np.array_equal(obs["n_counts"].numpy(), expected.obs["n_counts"].to_numpy().astype(np.float64))
        assert np.array_equal(obs["n_genes"].numpy(), expected.obs["n_genes"])
        assert np.array_equal(obs["is_doublet"].numpy(), expected.obs["is_doublet"])
        assert obs["note"] == expected.obs["note"].tolist()
        assert np.array_equal(minibatch.obs_valid["age"].numpy(), expected.obs["age"].notna())
        assert np.array_equal(obs["partly"].numpy(), expected.obs["partly"].cat.codes)
    assert sorted(seen) == list(range(1000)) and seen != sorted(seen)
    assert len(loader) == 16


@pytest.mark.parametrize("to", ["torch", "scipy", "numpy", "jax"])
@pytest.mark.parametrize("layout", ["csr", "dense", ("top_k", 5)])
def test_every_layout_in_every_framework(store, adata, to, layout):
    if to == "jax":
        pytest.importorskip("jax")
    loader = cellring.Loader(store, layout=layout, to=to, batch_size=50, fetch_factor=3)
    for minibatch in loader:
        expected = adata.X[np.asarray(minibatch.ids)].toarray()
        if layout == "csr":
            matrix = minibatch.to_scipy()
            assert isinstance(matrix, scipy.sparse.csr_matrix) and matrix.indices.dtype == matrix.indptr.dtype == np.int32
            assert np.array_equal(matrix.toarray(), expected)
            if to == "jax":
                assert np.array_equal(np.asarray(minibatch.x.todense()), expected)
                nnz = len(minibatch.x.data)
                assert nnz & (nnz - 1) == 0, "padded to a power of two"
        elif layout == "dense":
            assert np.array_equal(np.asarray(minibatch.x), expected)
        else:
            values, indices, lens = map(np.asarray, minibatch.x)
            assert lens.dtype == indices.dtype == np.int32, "what torch can compare and add"
            for row in range(len(expected)):
                n = lens[row]
                assert n == min(5, (expected[row] > 0).sum())
                assert np.array_equal(expected[row, indices[row, :n]], values[row, :n])
                assert np.array_equal(np.sort(expected[row])[::-1][:n], values[row, :n])
                assert (indices[row, n:] == -1).all() and (values[row, n:] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "source", torch.float16, np.float32])
def test_types(store, adata, dtype):
    for layout in ("csr", "dense"):
        loader = cellring.Loader(store, dtype=dtype, layout=layout, index_dtype="int64")
        minibatch = next(iter(loader))
        name = "float32" if dtype in ("source", np.float32) else str(dtype).removeprefix("torch.")
        assert str(minibatch.x.dtype) == f"torch.{name}"
        if layout == "csr":
            assert minibatch.x.col_indices().dtype == minibatch.x.crow_indices().dtype == torch.int64
        dense = minibatch.x.to_dense() if layout == "csr" else minibatch.x
        expected = torch.from_numpy(adata.X[minibatch.ids.numpy()].toarray()).to(dense.dtype)
        assert torch.equal(dense, expected)


def test_genes_normalisation_matrices_and_columns(store, adata):
    genes = adata.var_names[[5, 700, 3, 40]].tolist()
    loader = cellring.Loader(
        store, genes=genes, normalize=True, log1p=True, layout="dense", matrices=["layers/counts", "obsm/X_pca"], obs_columns={"n_genes": "codes", "stage": "strings"}
    )
    assert loader.var_names.tolist() == genes and loader.n_vars == 4
    for minibatch in loader:
        ids = minibatch.ids.numpy()
        counts = adata.X[ids].toarray().astype(np.float64)
        expected = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)[:, [5, 700, 3, 40]]
        assert np.allclose(minibatch.x.numpy(), expected, rtol=1e-5)
        assert np.array_equal(minibatch.matrices["layers/counts"].to_dense().numpy(), counts)
        assert np.array_equal(minibatch.matrices["obsm/X_pca"].numpy(), adata.obsm["X_pca"][ids])
        assert minibatch.obs["stage"] == adata.obs["stage"].iloc[ids].tolist()
        meanings = loader.categories("n_genes")
        assert [int(meanings[code]) for code in minibatch.obs["n_genes"]] == adata.obs["n_genes"].iloc[ids].tolist()


def test_a_minibatch_as_anndata(store, adata):
    loader = cellring.Loader(store, obs_columns=["stage", "age", "note"], matrices=["layers/counts", "obsm/X_pca"])
    minibatch = next(iter(loader))
    made = minibatch.to_anndata()
    expected = adata[minibatch.ids.numpy()]
    assert (made.X != expected.X).nnz == 0 and (made.layers["counts"] != expected.X).nnz == 0
    assert np.array_equal(made.obsm["X_pca"], expected.obsm["X_pca"])
    assert made.obs["stage"].dtype == expected.obs["stage"].dtype and made.obs["stage"].tolist() == expected.obs["stage"].tolist()
    assert made.obs["age"].astype("Int64").equals(pd.Series(expected.obs["age"].array, index=made.obs.index))
    assert made.var_names.tolist() == adata.var_names.tolist()


def test_categories_outlive_the_loader(store, adata):
    loader = cellring.Loader(store, obs_columns=["stage", "cell_type", "n_counts"])
    minibatch = next(iter(loader))
    gone = weakref.ref(loader)
    loader.close()
    del loader
    assert gone() is None
    made, expected = minibatch.to_anndata().obs, adata.obs.iloc[minibatch.ids.numpy()]
    for column in ("stage", "cell_type"):
        assert made[column].dtype == expected[column].dtype and made[column].tolist() == expected[column].tolist()


def test_categories_of_several_stores_have_an_order_if_it_is_the_same(tmp_path, store, adata):
    other = adata[:100].copy()
    other.obs["stage"] = other.obs["stage"].cat.reorder_categories(["early", "late"])
    cellring.convert(other, tmp_path / "other")
    for stores, is_ordered in (([store, store], True), ([store, tmp_path / "other"], False)):
        loader = cellring.Loader(stores, obs_columns=["stage"], block_size=1)
        assert next(iter(loader)).to_anndata().obs["stage"].cat.ordered is is_ordered


def test_epochs_differ_and_are_the_same_every_time(store):
    first = [ids_of(loader) for loader in [cellring.Loader(store, seed=3)] for _ in range(3)]
    again = [ids_of(loader) for loader in [cellring.Loader(store, seed=3, threads=1, backend="pread")] for _ in range(3)]
    assert first == again and first[0] != first[1] != first[2]
    assert ids_of(cellring.Loader(store, seed=4)) != first[0]
    loader = cellring.Loader(store, seed=3)
    loader.set_epoch(2)
    assert loader.epoch == 2 and ids_of(loader) == first[2]
    loader.sampler.set_epoch(1)
    assert ids_of(loader) == first[1] and loader.epoch == 2


def test_an_iteration_is_fixed_at_its_first_minibatch(store):
    loader = cellring.Loader(store)
    whole = ids_of(loader)
    loader.set_epoch(5)
    iterator = iter(loader)
    iter(loader)
    loader.set_epoch(0)
    assert [minibatch.ids.tolist() for minibatch in iterator] == whole


def test_only_the_latest_iteration_goes_on(store):
    loader = cellring.Loader(store)
    first = iter(loader)
    next(first)
    second = iter(loader)
    next(second)
    with pytest.raises(cellring.StoppedError, match="only the latest"):
        next(first)
    assert len(list(second)) == len(loader) - 1
    with pytest.raises(StopIteration):
        next(second)


def test_strategies(store, adata):
    assert flat(ids_of(cellring.Loader(store, strategy="sequential"))) == list(range(1000))
    weights = np.zeros(1000)
    weights[[3, 5]] = 1
    assert set(flat(ids_of(cellring.Loader(store, weights=weights, draws=100)))) == {3, 5}
    assert len(flat(ids_of(cellring.Loader(store, weights="n_counts", draws=100, replacement=False)))) == 100
    balanced = cellring.Loader(store, balance="cell_type", obs_columns=["cell_type"], draws=4000)
    counts = np.bincount(torch.cat([minibatch.obs["cell_type"] for minibatch in balanced]).numpy())
    assert (abs(counts - 1000) < 150).all()
    by_codes = cellring.Loader(store, balance=adata.obs["cell_type"], draws=4000)
    assert ids_of(by_codes) == ids_of(cellring.Loader(store, balance=["cell_type"], draws=4000))
    grouped = cellring.Loader(store, group=["treatment"], n_per_group=8, controls='treatment == "control"', batch_size=64)
    is_control = (adata.obs["treatment"] == "control").to_numpy()
    for minibatch in grouped:
        sets = is_control[minibatch.ids.numpy()].reshape(-1, 8)
        assert (sets[0::2] == 0).all() and (sets[1::2] == 1).all()
    order = np.array([5, 5, 900, 2])
    assert flat(ids_of(cellring.Loader(store, order=order))) == order.tolist()


def test_subsets(store, adata):
    is_neuron = (adata.obs["cell_type"] == "neuron").to_numpy()
    by_filter = cellring.Loader(store, obs_filter='cell_type == "neuron"')
    assert sorted(flat(ids_of(by_filter))) == np.flatnonzero(is_neuron).tolist() and by_filter.n_obs == is_neuron.sum()
    assert ids_of(cellring.Loader(store, subset=is_neuron)) == ids_of(cellring.Loader(store, subset=np.flatnonzero(is_neuron)))
    split = "train=0.8,val=0.2"
    parts = [sorted(flat(ids_of(cellring.Loader(store, split=split, part=part)))) for part in ("train", "val")]
    assert sorted(parts[0] + parts[1]) == list(range(1000)) and len(parts[0]) == 800
    by_donor = cellring.Loader(store, split=split, part="val", split_by="donor", obs_columns=["donor"])
    donors = set(adata.obs["donor"].iloc[flat(ids_of(by_donor))])
    assert 0 < len(donors) < 6


def test_ranks_are_disjoint_complete_and_equal(store):
    for drop_last in (False, True):
        loaders = [cellring.Loader(store, rank=rank, world_size=3, drop_last=drop_last) for rank in range(3)]
        minibatches = [list(loader) for loader in loaders]
        assert {len(of_rank) for of_rank in minibatches} == {len(loaders[0])}
        ids = flat([m.ids.tolist() for of_rank in minibatches for m in of_rank if not m.is_padding])
        assert len(ids) == len(set(ids)) and (drop_last or len(ids) == 1000)
        if not drop_last:
            assert sum(m.is_padding for of_rank in minibatches for m in of_rank) == 2


def test_a_rank_must_stay(store, monkeypatch):
    loader = cellring.Loader(store, to="numpy")
    assert len(loader) == 16
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(cellring.StoppedError, match="rank 0 of 1, and now this process is rank 1 of 2"):
        next(iter(loader))


def test_several_stores(store, tmp_path, adata):
    other = tmp_path / "other.cellring"
    part = adata[:100, 100:600].copy()
    part.obs["note"] = "note 1"
    cellring.convert(part, other, layer=["counts"], x=True)
    loader = cellring.Loader([store, other], join="inner", obs_columns=["cell_type"])
    assert loader.n_obs == 1100 and loader.var_names.tolist() == adata.var_names[100:600].tolist()
    for minibatch in loader:
        ids = minibatch.ids.numpy() % 1000
        assert np.array_equal(minibatch.x.to_dense().numpy(), adata.X[ids, 100:600].toarray())
    only = cellring.Loader([store, other], join="outer", obs_filter='cell_type == "neuron"')
    is_neuron = (adata.obs["cell_type"] == "neuron").to_numpy()
    assert only.n_obs == is_neuron.sum() + is_neuron[:100].sum()
    with warnings.catch_warnings():
        # A value that is in one of them is there.
        warnings.simplefilter("error", cellring.CellringWarning)
        cellring.Loader([store, other], join="outer", obs_filter='note in ["note 1", "note 2"]')
    with pytest.warns(cellring.CellringWarning, match="obs_filter: .*nowhere"):
        cellring.Loader([store, other], join="outer", obs_filter='cell_type in ["neuron", "nowhere"]')
    with pytest.raises(cellring.InputError, match="nowhere"):
        cellring.Loader([store, other], join="outer", obs_filter='cell_type == "nowhere"')
    balanced = cellring.Loader([store, other], join="inner", balance="donor", draws=600)
    assert len(flat(ids_of(balanced))) == 600
    with pytest.raises(cellring.InputError):
        cellring.Loader([store, other])


def test_rows(store, adata):
    loader = cellring.Loader(store, layout="dense", obs_columns={"note": "strings"})
    minibatch = loader.rows([7, -1, 7])
    assert minibatch.ids.tolist() == [7, 999, 7] and minibatch.obs["note"] == adata.obs["note"].iloc[[7, 999, 7]].tolist()
    assert np.array_equal(minibatch.x.numpy(), adata.X[[7, 999, 7]].toarray())
    with pytest.raises(IndexError):
        loader.rows([1000])


def test_categories_that_are_numbers(store, adata):
    loader = cellring.Loader(store, obs_columns=["dose"])
    assert loader.categories("dose") == ["0.5", "1.0", "10.0"]
    minibatch = next(iter(loader))
    assert np.array_equal(minibatch.obs["dose"].numpy(), adata.obs["dose"].cat.codes.iloc[minibatch.ids.numpy()])


def test_categories_of_columns_that_have_none(store):
    loader = cellring.Loader(store, obs_columns={"n_counts": "natural", "n_genes": "natural", "cell_type": "codes"})
    with pytest.raises(cellring.InputError, match="'n_counts' has floats, which have no categories"):
        loader.categories("n_counts")
    with pytest.raises(cellring.InputError, match='as obs_columns={"n_genes": "codes"}'):
        loader.categories("n_genes")
    with pytest.raises(cellring.NotFoundError, match="did you mean 'cell_type'"):
        loader.categories("celltype")


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"batchsize": 3}, cellring.ArgumentError, "did you mean 'batch_size'?"),
        ({"shuffle": True}, TypeError, 'strategy="sequential"'),
        ({"num_workers": 4}, TypeError, "threads of its own"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"batch_size": 2.5}, ValueError, "whole number"),
        ({"to": "torhc"}, ValueError, "did you mean 'torch'?"),
        ({"layout": "coo"}, ValueError, '"csr", "dense" or ("top_k", k)'),
        ({"dtype": "float64"}, ValueError, "dtype='float64'"),
        ({"obs_columns": ["cell_typ"]}, KeyError, "cell_typ"),
        ({"matrices": ["layers/spliced"]}, KeyError, "layers/spliced"),
        ({"genes": ["nope"]}, ValueError, "nope"),
        ({"genes": ["a", "a"]}, ValueError, "a"),
        ({"obs_filter": "cell_type = 3"}, ValueError, "cell_type"),
        ({"obs_filter": 'cell_type == "nothing"'}, ValueError, "nothing"),
        ({"weights": [1.0, 2.0]}, ValueError, "2 values"),
        ({"weights": "cell_type"}, ValueError, "cell_type"),
        ({"weights": "n_counts", "balance": "donor"}, ValueError, "different strategies"),
        ({"strategy": "sequential", "balance": "donor"}, ValueError, "do not go together"),
        ({"strategy": "weighted"}, ValueError, "weights="),
        ({"strategy": "sorted"}, ValueError, "sorted"),
        ({"split": "a=0.5,b=0.5"}, ValueError, "part="),
        ({"split": "a=0.5,b=0.5", "part": "c"}, ValueError, "a, b"),
        ({"subset": [1, 2000]}, IndexError, "2000"),
        ({"subset": np.ones(3, dtype=bool)}, IndexError, "mask"),
        ({"memory": "lots"}, ValueError, "lots"),
        ({"rank": 3, "world_size": 2}, ValueError, "rank=3"),
        ({"rank": 1}, ValueError, "world_size"),
        ({"to": "numpy", "dtype": "bfloat16"}, ValueError, "bfloat16"),
        ({"backend": "magic"}, ValueError, "magic"),
        ({"match": "donor"}, ValueError, "controls="),
        ({"split": 0.8, "part": "a"}, ValueError, "split=0.8: expected a text"),
        ({"split": {"a": 0.8}, "part": "a"}, ValueError, 'expected a text, such as "train=0.8,val=0.2"'),
        ({"subset": ["cell-1"]}, ValueError, "numpy.isin(store.obs_names, names)"),
        ({"subset": {"donor": "d1"}}, ValueError, "obs_filter='column == \"value\"'"),
        ({"group": "donor", "controls": {"donor": "d1"}}, ValueError, "controls='column == \"value\"'"),
        ({"log1p": "no"}, ValueError, "True or False"),
        ({"obs_columns": 5}, ValueError, "obs_columns=5"),
        ({"genes": []}, ValueError, "genes is empty"),
        ({"normalize": "1e4"}, ValueError, "normalize='1e4'"),
        ({"normalize": -1.0}, ValueError, "the library size to normalise to is -1"),
        ({"gene_weights": [1.0, 2.0]}, ValueError, "there are 2 gene weights for"),
        ({"layout": ("top_k", 0)}, ValueError, "k"),
        ({"device": "gpu"}, ValueError, "device='gpu'"),
        ({"balance": np.full(1000, 2**32 + 1)}, ValueError, "4294967297"),
        ({"to": "jax", "dtype": "bfloat16"}, ValueError, "bfloat16"),
        ({"order": []}, ValueError, "order is empty"),
        ({"order": [1, 2], "obs_filter": "n_genes > 3"}, ValueError, "leave out obs_filter="),
        ({"subset": []}, ValueError, "subset= selects none of the 1000 cells"),
        ({"split": "a=1,b=0", "part": "b"}, ValueError, "the part 'b' of split='a=1,b=0' has none of the 1000 cells: give it a larger"),
        ({"split": "a=.99,b=.01", "part": "b", "split_by": "treatment"}, ValueError, "the part 'b' of split='a=.99,b=.01' by 'treatment' has none of"),
        ({"split": "a=.5,b=.5", "part": "b", "subset": [], "obs_filter": "n_genes > 0"}, ValueError, "of the cells of subset= and obs_filter="),
        ({"obs_columns": {"celltype": "codes"}}, KeyError, "has no column 'celltype'; did you mean 'cell_type'"),
        ({"group": "donr"}, KeyError, "did you mean 'donor'"),
        ({"balance": ["cell_type", "donr"]}, KeyError, "did you mean 'donor'"),
        ({"weights": "n_count"}, KeyError, "did you mean 'n_counts'"),
        ({"split": "a=0.5,b=0.5", "part": "a", "split_by": "donr"}, KeyError, "did you mean 'donor'"),
        ({"obs_columns": ["barcode"]}, KeyError, "the index, which holds the names of the rows, is not a column"),
        ({"weights": "n_genes", "draws": 2000, "replacement": False}, ValueError, "give a smaller draws=, or replacement=True"),
    ],
)
def test_wrong_arguments_are_named(store, arguments, kind, says):
    with pytest.raises(kind) as caught:
        loader = cellring.Loader(store, **arguments)
        len(loader)
    assert isinstance(caught.value, cellring.CellringError)
    message = str(caught.value)
    assert says in message and "\n" not in message and "--" not in message, message


def test_stores_that_are_none(tmp_path, store):
    with pytest.raises(FileNotFoundError):
        cellring.Loader(tmp_path / "nothing.cellring")
    with pytest.raises(cellring.StoreError):
        cellring.Loader(tmp_path)
    with pytest.raises(cellring.InputError, match="empty"):
        cellring.Loader([])


def test_warnings(store):
    with pytest.warns(cellring.CellringWarning, match="partly|balance"):
        cellring.Loader(store, balance="partly")
    with pytest.warns(cellring.CellringWarning, match="genes: 1 of 2"):
        cellring.Loader(store, genes=["nope", cellring.Loader(store).var_names[0]])
    with pytest.warns(cellring.CellringWarning, match=r"batch_size=1001 is more than all 1000 cells"):
        assert len(cellring.Loader(store, batch_size=1001, drop_last=True)) == 0


def test_what_the_caller_does_later_changes_nothing(store):
    genes = (name for name in cellring.Store(store).var_names[:50])
    is_taken = np.zeros(1000, dtype=bool)
    is_taken[:10] = True
    loader = cellring.Loader(store, genes=genes, subset=is_taken, layout="dense")
    is_taken[:] = True
    for again in (loader, copy.deepcopy(loader)):
        again.set_epoch(0)
        minibatch = next(iter(again))
        assert sorted(minibatch.ids.tolist()) == list(range(10)) and minibatch.x.shape == (10, 50)
    same = cellring.Loader(store, genes=np.array(loader.var_names), subset=range(10), layout="dense")
    next(iter(same))
    loader.load_state_dict(same.state_dict())


def test_categories_need_no_memory_of_minibatches(store):
    loader = cellring.Loader(store, layout="dense", batch_size=1000, obs_columns=["cell_type"])
    assert loader.categories("cell_type") == ["astrocyte", "microglia", "neuron", "oligo"]


def test_stores_that_do_not_fit_say_which_arguments_help(tmp_path, store, adata):
    large = anndata.AnnData(X=np.full((20, 3), 2.0**24 + 1))
    cellring.convert(large, tmp_path / "large")
    with pytest.raises(cellring.InputError, match='that float32 cannot represent exactly; give allow_rounding=True, or dtype="source"$'):
        next(iter(cellring.Loader(tmp_path / "large")))
    with pytest.raises(cellring.InputError, match='give dtype="float32", "float16" or "bfloat16"$'):
        next(iter(cellring.Loader(tmp_path / "large", dtype="source", log1p=True)))
    cellring.convert(anndata.AnnData(X=np.array([[1, 70_000]], dtype=np.float32)), tmp_path / "many")
    with pytest.raises(cellring.InputError, match='would be infinite as float16; give dtype="float32"$'):
        next(iter(cellring.Loader(tmp_path / "many", dtype="float16")))
    assert next(iter(cellring.Loader(tmp_path / "many", dtype="bfloat16"))).n_obs == 1
    cellring.convert(anndata.AnnData(X=adata.X[:, 1:], var=adata.var.iloc[1:]), tmp_path / "fewer")
    with pytest.raises(cellring.InputError, match='give join="inner" for the genes that all have, or join="outer" for those that any has$'):
        cellring.Loader([store, tmp_path / "fewer"])
    with pytest.raises(cellring.InputError, match="no gene in common.*; give var_key=, a column of var"):
        cellring.Loader([store, tmp_path / "large"], join="inner")


def test_cells_of_an_order_are_counted(store):
    loader = cellring.Loader(store, order=[5, -1, 5])
    assert loader.n_obs == len(loader.sampler) == 3
    assert next(iter(loader)).ids.tolist() == [5, 999, 5]


@pytest.mark.parametrize("labels", [list, np.array, pd.Series, lambda texts: np.array(texts, dtype=object)])
def test_labels_of_all_cells_are_classes(store, adata, labels):
    texts = adata.obs["donor"].astype(str).tolist()
    codes = pd.factorize(np.array(texts))[0]
    assert ids_of(cellring.Loader(store, balance=labels(texts))) == ids_of(cellring.Loader(store, balance=codes))
    grouped = cellring.Loader(store, group=labels(texts), n_per_group=4)
    assert all(adata.obs["donor"].iloc[ids[:4]].nunique() == 1 for ids in ids_of(grouped))


def test_what_a_minibatch_does_not_have(store):
    for to in ("numpy", "jax"):
        if to == "jax":
            pytest.importorskip("jax")
        minibatch = next(iter(cellring.Loader(store, obs_columns=["cell_type"], to=to)))
        with pytest.raises(cellring.NotFoundError, match="no column 'celltype'; did you mean 'cell_type'.*obs_columns="):
            minibatch["celltype"]
        with pytest.raises(cellring.InputError, match="use minibatch.x and minibatch.obs"):
            x, y = minibatch
        # jax would take another class of dictionaries for one value.
        assert (type(minibatch.obs) is dict) == (to == "jax") and type(minibatch.to_dict()["obs"]) is dict
    minibatch = next(iter(cellring.Loader(store, obs_columns=["cell_type"])))
    for asked in (minibatch, pickle.loads(pickle.dumps(minibatch))):
        with pytest.raises(cellring.NotFoundError, match="no column 'donor'; there are cell_type; the loader's obs_columns="):
            asked.obs["donor"]
        assert asked.obs.get("donor") is None and "donor" not in asked.obs


def test_scaled_values_cannot_be_normalised_and_it_is_said_what_can(tmp_path):
    scaled = anndata.AnnData(np.array([[0, 1.5], [-0.5, 2]], dtype=np.float32))
    cellring.convert(scaled, tmp_path / "scaled")
    loader = cellring.Loader(tmp_path / "scaled", normalize=True, log1p=True, to="numpy")
    with pytest.raises(cellring.InputError, match=r'-0\.5 .* load counts, which cellring\.convert takes by layer="counts" or raw=True'):
        next(iter(loader))
