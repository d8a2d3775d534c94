"""The data module of scvi-tools: real models train, infer, are saved and loaded."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

import cellring

torch = pytest.importorskip("torch")
scvi = pytest.importorskip("scvi")

from cellring.scvi import DataModule  # noqa: E402

SMALL = {"n_hidden": 16, "n_latent": 4}
FAST = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture(scope="module")
def data(store: str) -> DataModule:
    return DataModule(store, batch_key="donor")


@pytest.fixture(scope="module")
def model(data: DataModule) -> Any:
    """An SCVI trained for three epochs."""
    scvi.settings.seed = 0
    made = scvi.model.SCVI(registry=data.registry, **SMALL)
    made.train(max_epochs=3, datamodule=data, batch_size=100, early_stopping=True, check_val_every_n_epoch=1, **FAST)
    return made


def latent(model: Any, data: DataModule, **arguments: Any) -> np.ndarray:
    return model.get_latent_representation(dataloader=data.inference_dataloader(**arguments))


def test_it_is_shown_without_reading_it(store: str) -> None:
    data = DataModule(store, batch_key="donor", split="train=0.7,val=0.3")
    assert str(data) == repr(data) == f"DataModule({store!r}, train: 700 cells, val: 300 cells)"
    assert data.train_dataloader().stats() == {}


def test_training(model: Any, data: DataModule) -> None:
    for name in ("elbo_train", "elbo_validation", "reconstruction_loss_validation"):
        values = model.history[name].to_numpy(dtype=np.float64).ravel()
        assert len(values) == 3 and np.isfinite(values).all() and values[-1] < values[0], name
    assert data.batch_size == 100
    # As model.train says where its user gave nothing, and not the first cells.
    assert (data.n_obs, data.n_train, data.n_val) == (1000, 900, 100)
    assert sorted([*model.train_indices, *model.validation_indices]) == list(range(1000))
    assert len(model.train_indices) == 900 and model.validation_indices.max() > 800 and model.validation_indices.min() < 200
    assert len(model.test_indices) == 0
    # What scales the terms of the loss.
    assert model.trainer.lightning_module.n_obs_training == 900 and model.trainer.lightning_module.n_obs_validation == 100


def test_inference_is_that_of_the_same_cells_in_memory(
    model: Any, data: DataModule, adata: anndata.AnnData, tmp_path: pathlib.Path
) -> None:
    found = latent(model, data)
    assert found.shape == (1000, 4) and np.isfinite(found).all()
    assert np.allclose(found, latent(model, data, batch_size=77), atol=1e-5), "however many at a time"
    assert np.allclose(found[data.val_idx], latent(model, data, subset=data.val_idx), atol=1e-5)
    in_memory = adata[:, list(data.var_names)].copy()
    scvi.model.SCVI.setup_anndata(in_memory, batch_key="donor")
    model.save(tmp_path / "model", datamodule=data)
    loaded = scvi.model.SCVI.load(tmp_path / "model", adata=in_memory, accelerator="cpu")
    assert np.allclose(found, loaded.get_latent_representation(), atol=1e-5)


def test_a_saved_model_infers_the_same(model: Any, data: DataModule, tmp_path: pathlib.Path) -> None:
    model.save(tmp_path / "model", datamodule=data)
    loaded = scvi.model.SCVI.load(tmp_path / "model", adata=False, accelerator="cpu")
    assert np.array_equal(latent(loaded, data), latent(model, data))
    assert loaded.get_var_names().tolist() == data.var_names.tolist()
    assert np.array_equal(loaded.validation_indices, data.val_idx)


def test_other_methods_of_models(model: Any, data: DataModule, adata: anndata.AnnData) -> None:
    assert model.get_normalized_expression(dataloader=data.inference_dataloader()).shape == (1000, 1000)
    assert model.posterior_predictive_sample(dataloader=data.inference_dataloader()).shape == (1000, 1000)
    assert np.isfinite(float(model.get_elbo(dataloader=data.inference_dataloader())))
    assert np.isfinite(float(model.get_marginal_ll(dataloader=data.inference_dataloader(), n_mc_samples=2)))
    # It goes through the minibatches twice.
    few = data.inference_dataloader(subset=range(200), batch_size=64)
    found = model.differential_expression(dataloader=few, groupby="donor", group1="d1", group2="d2")
    assert len(found) == 1000 and np.isfinite(found["bayes_factor"]).all()
    first = adata[:200][adata.obs["donor"][:200] == "d1", list(found.index)]
    assert np.allclose(found["raw_mean1"], np.asarray(first.X.mean(axis=0)).ravel(), rtol=1e-4)


def test_another_model(store: str) -> None:
    data = DataModule(store, batch_key="donor", model_name="LinearSCVI")
    made = scvi.model.LinearSCVI(registry=data.registry)
    made.train(max_epochs=1, datamodule=data, **FAST)
    assert latent(made, data).shape == (1000, 10)


def test_a_model_without_a_registry(store: str) -> None:
    data = DataModule(store)
    assert (data.n_batch, data.n_labels, data.n_samples, data.n_obs, data.n_vars) == (1, 1, 0, 1000, 1000)
    with pytest.warns(UserWarning, match="without `adata`"):
        made = scvi.model.SCVI(**SMALL)
    # 900 = 29 * 31 + 1: batch normalisation fails on a last minibatch of one cell.
    made.train(max_epochs=1, datamodule=data, batch_size=31, **FAST)
    assert len(data.train_dataloader()) == 29 and latent(made, data).shape == (1000, 4)


# Minibatches.


def test_what_models_get(store: str, adata: anndata.AnnData) -> None:
    data = DataModule(store, batch_key="donor", labels_key="cell_type", sample_key="stage", batch_size=64)
    minibatch = next(iter(data.train_dataloader()))
    assert minibatch.x.layout is torch.sparse_csr and minibatch.x.dtype is torch.float32
    moved = data.transfer_batch_to_device(data.on_before_batch_transfer(minibatch, 0), torch.device("cpu"), 0)
    assert moved.x.layout is torch.sparse_csr, "dense only where it has arrived"
    made = data.on_after_batch_transfer(moved, 0)
    assert set(made) == {"X", "batch", "labels", "sample"}
    cells = minibatch.ids.numpy()
    assert made["X"].layout is torch.strided and made["X"].dtype is torch.float32
    assert np.array_equal(made["X"].numpy(), adata[cells, list(data.var_names)].X.toarray())
    for key, column in (("batch", "donor"), ("labels", "cell_type"), ("sample", "stage")):
        assert made[key].dtype is torch.int64 and made[key].shape == (64, 1)
        assert np.array_equal(made[key][:, 0].numpy(), adata.obs[column].cat.codes.iloc[cells])
    assert data.batch_labels.tolist() == adata.obs["donor"].cat.categories.tolist()
    assert data.samples_mapping.tolist() == ["late", "early"], "in the order of the categories"
    assert data.n_obs_per_sample.tolist() == adata.obs["stage"].value_counts().loc[["late", "early"]].tolist()
    assert data.labels_.tolist() == adata.obs["cell_type"].tolist()


def test_inference_loader(store: str, adata: anndata.AnnData) -> None:
    data = DataModule(store, batch_key="donor", obs_filter="n_genes > 50", subset=range(900), batch_size=64)
    chosen = np.flatnonzero((adata.obs["n_genes"].to_numpy() > 50) & (np.arange(1000) < 900))
    assert 0 < len(chosen) < 900 and np.array_equal(data.ids, chosen)
    for arguments, cells in (
        ({}, chosen),
        ({"batch_size": 100}, chosen),
        ({"obs_filter": "is_doublet"}, chosen[adata.obs["is_doublet"].to_numpy()[chosen]]),
        ({"subset": chosen[[5, 3, 3]]}, chosen[[3, 5]]),
        ({"subset": np.isin(np.arange(1000), chosen[-3:])}, chosen[-3:]),
    ):
        loader = data.inference_dataloader(**arguments)
        for _ in range(2):
            minibatches = list(loader)
            assert len(minibatches) == len(loader) == -(-len(cells) // arguments.get("batch_size", 4096))
            assert np.array_equal(torch.cat([made["X"] for made in minibatches]).numpy(), adata[cells, list(data.var_names)].X.toarray())
            assert np.array_equal(torch.cat([made["batch"] for made in minibatches])[:, 0], adata.obs["donor"].cat.codes.iloc[cells])
        assert np.array_equal(loader.ids, cells) and loader.n_obs == len(cells)
    with pytest.raises(cellring.InputError, match="1 of its cells are not among those of the data module"):
        data.inference_dataloader(subset=[999, chosen[0]])


def test_covariates_and_size_factors(store: str, adata: anndata.AnnData, tmp_path: pathlib.Path) -> None:
    data = DataModule(
        store,
        batch_key="stage",
        categorical_covariate_keys=["donor", "is_doublet", "note"],
        continuous_covariate_keys=["n_counts", "n_genes"],
        size_factor_key="n_counts",
    )
    assert data.n_cats_per_cov == [6, 2, 5] and data.n_continuous_cov == 2
    made = torch.utils.data.default_collate([next(iter(data.inference_dataloader(batch_size=1000)))])
    made = {key: values[0] for key, values in made.items()}
    expected = np.stack([adata.obs[key].astype("category").cat.codes for key in ("donor", "is_doublet", "note")], axis=1)
    assert np.array_equal(made["extra_categorical_covs"].numpy(), expected) and made["extra_categorical_covs"].dtype is torch.int64
    assert np.array_equal(made["extra_continuous_covs"].numpy(), adata.obs[["n_counts", "n_genes"]].to_numpy(dtype=np.float32))
    assert made["size_factor"].shape == (1000, 1) and made["size_factor"].dtype is torch.float32
    trained = scvi.model.SCVI(registry=data.registry, encode_covariates=True, **SMALL)
    assert trained.module.use_size_factor_key
    trained.train(max_epochs=1, datamodule=data, **FAST)
    trained.save(tmp_path / "model", datamodule=data)
    loaded = scvi.model.SCVI.load(tmp_path / "model", adata=False, accelerator="cpu")
    assert np.array_equal(latent(loaded, data), latent(trained, data))


@pytest.mark.parametrize("key", ["batch_key", "sample_key", "categorical_covariate_keys"])
def test_missing_categories_are_refused_before_training(store: str, adata: anndata.AnnData, key: str) -> None:
    value = ["partly"] if key.endswith("keys") else "partly"
    with pytest.raises(cellring.InputError) as refused:
        DataModule(store, **{key: value})
    n = int(adata.obs["partly"].isna().sum())
    assert n > 0 and f"{key}: {n} of 1000 cells have no value in the column 'partly'" in str(refused.value)
    # The remedy that is named works.
    remedy = str(refused.value).split("obs_filter='")[1].split("'")[0]
    data = DataModule(store, **{key: value}, obs_filter=remedy)
    assert data.n_obs == 1000 - n
    codes = torch.cat([made["batch"] for made in data.inference_dataloader(batch_size=100)])
    assert codes.min() >= 0


def test_missing_numbers_are_refused(store: str) -> None:
    with pytest.raises(cellring.InputError, match="continuous_covariate_keys: .* cells have no value in the column 'age'"):
        DataModule(store, continuous_covariate_keys=["n_genes", "age"])
    with pytest.raises(cellring.InputError, match="continuous_covariate_keys: the column 'cell_type' has category, and scvi-tools needs numbers"):
        DataModule(store, continuous_covariate_keys=["n_genes", "cell_type"])


# Labels.


@pytest.mark.parametrize("labels_key, unlabeled", [("partly", "Unknown"), ("cell_type", "microglia"), ("cell_type", "Unknown")])
def test_scanvi(store: str, adata: anndata.AnnData, tmp_path: pathlib.Path, labels_key: str, unlabeled: str) -> None:
    data = DataModule(store, batch_key="donor", labels_key=labels_key, unlabeled_category=unlabeled, model_name="SCANVI")
    labels = adata.obs[labels_key].astype(object)
    is_known = (labels.notna() & (labels != unlabeled)).to_numpy()
    known = [text for text in adata.obs[labels_key].cat.categories if text != unlabeled]
    assert data.labels_mapping.tolist() == [*known, unlabeled] and data.n_labels == len(known)

    minibatch = next(iter(data.train_dataloader()))
    full, labelled = data.on_after_batch_transfer(minibatch, 0)
    cells = minibatch.ids.numpy()
    expected = [known.index(labels.iloc[cell]) if is_known[cell] else len(known) for cell in cells]
    assert full["labels"][:, 0].tolist() == expected
    assert labelled["labels"][:, 0].tolist() == [code for code in expected if code < len(known)]
    assert torch.equal(labelled["X"], full["X"][torch.tensor(is_known[cells])])

    made = scvi.model.SCANVI(registry=data.registry, datamodule=data, **SMALL)
    assert made.n_labels == len(known)
    made.train(max_epochs=1, datamodule=data, **FAST)
    assert np.isfinite(made.history["train_classification_loss"].to_numpy(dtype=np.float64)).all()
    predicted = made.predict(dataloader=data.inference_dataloader())
    assert len(predicted) == 1000 and set(predicted) <= set(known)
    assert list(made.predict(dataloader=data.inference_dataloader(), soft=True).columns) == known
    made.save(tmp_path / "model", datamodule=data)
    for arguments in ({}, {"datamodule": data}):
        loaded = scvi.model.SCANVI.load(tmp_path / "model", adata=False, accelerator="cpu", **arguments)
        assert np.array_equal(loaded.predict(dataloader=data.inference_dataloader()), predicted)


def test_scanvi_of_an_scvi_model(store: str) -> None:
    settings = {"batch_key": "donor", "labels_key": "partly"}
    data = DataModule(store, **settings)
    # To SCVI, unlabelled is a label as any other.
    assert data.n_labels == 5 and data.labels_mapping.tolist()[-1] == "Unknown" and list(data.labels_).count("Unknown") == 112
    first = scvi.model.SCVI(registry=data.registry, dispersion="gene-label", **SMALL)
    first.train(max_epochs=1, datamodule=data, **FAST)
    assert latent(first, data).shape == (1000, 4)
    plain = scvi.model.SCVI(registry=data.registry, **SMALL)
    plain.train(max_epochs=1, datamodule=data, **FAST)
    second = scvi.model.SCANVI.from_scvi_model(plain, unlabeled_category="Unknown", datamodule=data)
    assert second.n_labels == 4
    semi = DataModule(store, **settings, model_name="SCANVI")
    second.train(max_epochs=1, datamodule=semi, **FAST)
    assert set(second.predict(dataloader=semi.inference_dataloader())) <= {"astrocyte", "microglia", "neuron", "oligo"}


# Splits.


def test_a_split_of_the_data_module(store: str, adata: anndata.AnnData) -> None:
    data = DataModule(store, batch_key="stage", split="train=0.6,val=0.2,test=0.2", split_by="donor", split_seed=1)
    made = scvi.model.SCVI(registry=data.registry, **SMALL)
    made.train(max_epochs=1, datamodule=data, check_val_every_n_epoch=1, **FAST)
    parts = [data.train_idx, data.val_idx, data.test_idx]
    donors = [set(adata.obs["donor"].iloc[cells]) for cells in parts]
    assert all(donors) and sum(map(len, donors)) == 6 and sorted(np.concatenate(parts)) == list(range(1000))
    assert np.array_equal(made.test_indices, data.test_idx) and data.n_train == len(data.train_idx)
    with pytest.raises(cellring.InputError, match="the split was given to the data module: leave out train_size="):
        made.train(max_epochs=1, datamodule=data, train_size=0.5, **FAST)


def test_sizes_of_parts(store: str) -> None:
    data = DataModule(store, subset=range(500, 1000))
    for arguments, sizes in (
        ({}, (450, 50, 0)),
        ({"train_size": 0.5}, (250, 250, 0)),
        ({"train_size": 0.7, "validation_size": 0.1}, (350, 50, 100)),
        ({"validation_size": 0.2}, (400, 100, 0)),
        ({"train_size": 1.0}, (500, 0, 0)),
    ):
        data.set_split(**arguments)
        parts = [data.train_idx, data.val_idx, data.test_idx]
        # A cell is in the same part whatever else is selected, so that the sizes of a selection's parts are about so.
        assert np.allclose([len(part) for part in parts], sizes, atol=30), arguments
        assert sorted(np.concatenate(parts)) == list(range(500, 1000))
        assert (data.val_dataloader() is None) == (sizes[1] == 0) and (data.test_dataloader() is None) == (sizes[2] == 0)
        again = DataModule(store, subset=range(500, 1000))
        again.set_split(**arguments)
        assert np.array_equal(again.train_idx, data.train_idx)
    data.set_split(train_size=0.5, validation_size=0.2, shuffle_set_split=False)
    assert data.val_idx.tolist() == list(range(500, 600)) and data.train_idx.tolist() == list(range(600, 850))
    assert data.test_idx.tolist() == list(range(850, 1000))
    train = [cell for minibatch in data.train_dataloader() for cell in minibatch.ids.tolist()]
    assert sorted(train) == list(range(600, 850)) and train != sorted(train), "only the division is not random"
    with pytest.raises(cellring.InputError, match="train_size=0.9 and validation_size=0.3: expected shares"):
        data.set_split(train_size=0.9, validation_size=0.3)


def test_groups_stay_together_also_if_the_model_divides(store: str, adata: anndata.AnnData) -> None:
    data = DataModule(store, split_by="donor")
    data.set_split(train_size=0.7)
    assert not set(adata.obs["donor"].iloc[data.train_idx]) & set(adata.obs["donor"].iloc[data.val_idx])


# Resume.


class Recorder(DataModule):
    """Writes down the cells of each minibatch of training."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.trainer.training:
            self.seen = [*getattr(self, "seen", []), batch.ids.tolist()]
        return super().on_after_batch_transfer(batch, dataloader_idx)


def test_resumed_training_sees_the_minibatches_that_were_left(store: str, tmp_path: pathlib.Path) -> None:
    from lightning.pytorch import Callback

    class SaveAt(Callback):
        def on_train_batch_end(self, trainer: Any, *others: Any) -> None:
            if trainer.global_step in (5, 22):
                trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    def train(**arguments: Any) -> list[list[int]]:
        data = Recorder(store, batch_key="donor", batch_size=100, fetch_factor=2)
        made = scvi.model.SCVI(registry=data.registry, **SMALL)
        made.train(max_epochs=3, datamodule=data, **arguments, **FAST)
        return data.seen

    whole = train(callbacks=[SaveAt()])
    assert len(whole) == 27
    for step in (5, 22):
        assert train(ckpt_path=os.fspath(tmp_path / f"{step}.ckpt")) == whole[step:]


# Stores and arguments.


@pytest.fixture(scope="module")
def halves(adata: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two stores whose categories are in different orders, with a layer that is not X."""
    made = []
    for number, cells in enumerate((slice(0, 300), slice(300, 500))):
        part = anndata.AnnData(adata[cells].X.copy(), var=adata.var, obs=adata.obs.iloc[cells][["donor"]].copy())
        part.layers["twice"] = part.X * 2
        part.obs["dose"] = pd.Categorical(np.array([10.0, 0.5, 1e-7])[np.arange(part.n_obs) % (3 - number)])
        part.obs["is_treated"] = np.arange(part.n_obs) % 3 == 0
        part.obs["week"] = np.arange(part.n_obs) % 4
        order = sorted(set(part.obs["donor"]), reverse=bool(number))
        part.obs["donor"] = pd.Categorical(part.obs["donor"].astype(str), categories=order)
        folder = tmp_path_factory.mktemp("half")
        part.write_h5ad(folder / "half.h5ad")
        cellring.convert(folder / "half.h5ad", folder / "half.cellring", x=True, layer=["twice"])
        made.append(os.fspath(folder / "half.cellring"))
    return made


def test_several_stores_and_a_layer(halves: list[str], adata: anndata.AnnData) -> None:
    data = DataModule(halves, batch_key="donor", layer="twice")
    made = list(data.inference_dataloader(batch_size=128))
    found = torch.cat([batch["batch"] for batch in made])[:, 0].numpy()
    assert data.batch_labels[found].tolist() == adata.obs["donor"].iloc[:500].tolist()
    assert np.array_equal(data._codes("donor"), found)
    assert np.array_equal(torch.cat([batch["X"] for batch in made]).numpy(), 2 * adata[:500, list(data.var_names)].X.toarray())
    assert data.registry["field_registries"]["X"]["data_registry"] == {"attr_name": "layers", "attr_key": "twice"}


@pytest.mark.parametrize("column", ["dose", "is_treated", "week"])
@pytest.mark.parametrize("n_stores", [1, 2])
def test_categories_of_all_kinds(halves: list[str], column: str, n_stores: int) -> None:
    data = DataModule(halves[:n_stores], batch_key=column)
    found = torch.cat([batch["batch"] for batch in data.inference_dataloader(batch_size=128)])[:, 0].numpy()
    assert np.array_equal(data._codes(column), found) and len(set(found)) == data.n_batch > 1 and found.min() == 0
    expected = np.concatenate([cellring.Store(store).obs[column].astype(str).str.lower() for store in halves[:n_stores]])
    assert data.batch_labels[found].tolist() == expected.tolist()


def test_selected_genes(store: str, adata: anndata.AnnData) -> None:
    genes = list(adata.var_names[[700, 3, 42]])
    data = DataModule(store, genes=genes)
    assert data.n_vars == 3 and data.var_names.tolist() == genes
    assert data.registry["field_registries"]["X"]["state_registry"]["column_names"].tolist() == genes
    made = next(iter(data.inference_dataloader(batch_size=1000)))
    assert np.array_equal(made["X"].numpy(), adata[:, genes].X.toarray())


@pytest.mark.parametrize("arguments, told", [({"log1p": True}, "log1p=True"), ({"normalize": 1e4, "log1p": True}, "normalize=10000.0 and log1p=True")])
def test_counts_are_expected(store: str, arguments: dict[str, Any], told: str) -> None:
    with pytest.warns(cellring.CellringWarning, match=f"^{told}: the models of scvi-tools expect counts"):
        DataModule(store, **arguments)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"layout": "dense"}, "layout= is not for scvi-tools' data module"),
        ({"obs_columns": ["donor"]}, "obs_columns= is not for scvi-tools' data module"),
        ({"label_key": "cell_type"}, "no argument 'label_key': it is called labels_key here"),
        ({"train_size": 0.9}, "no argument 'train_size': give it to model.train"),
        ({"batch_keys": "donor"}, "no argument 'batch_keys': did you mean 'batch_key'"),
        ({"batch_key": "donr"}, "donr"),
        ({"layer": "spliced"}, "layer='spliced': .* has no such matrix, only X, layers/counts, obsm/X_pca"),
        ({"layer": "counts", "genes": ["a"]}, "give one of them"),
        ({"batch_key": "n_genes", "continuous_covariate_keys": ["n_genes"]}, "'n_genes' is asked for as a category and as a number"),
        ({"batch_key": "n_counts"}, "codes"),
        ({"split": "train=0.9,valid=0.1"}, "did you mean 'val'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(store: str, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(cellring.InputError, match=sentence):
        DataModule(store, **arguments)
