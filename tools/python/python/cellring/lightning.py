"""cellring as the data module of a Lightning trainer.

A ``cellring.Loader`` may be given to ``trainer.fit`` as it is; here are the loaders of training, validation, test and prediction in one
object::

    data = cellring.lightning.DataModule("cells.cellring", split="train=0.9,val=0.1", obs_columns=["cell_type"])
    trainer.fit(model, data)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._errors import InputError
from ._loader import Loader
from ._parts import Parts, of_split

# Lightning has two names, whose trainers do not take each other's data modules: the one that is in use here is meant.
if TYPE_CHECKING or "lightning.pytorch" in sys.modules or "pytorch_lightning" not in sys.modules:
    try:
        from lightning.pytorch import LightningDataModule
    except ImportError:
        try:
            from pytorch_lightning import LightningDataModule
        except ImportError as error:
            raise ImportError("cellring.lightning needs Lightning: install it (pip install lightning)") from error
else:
    from pytorch_lightning import LightningDataModule

__all__ = ["DataModule"]


class DataModule(LightningDataModule):
    """Loaders of the parts of a split, for ``Trainer.fit``, ``validate``, ``test`` and ``predict``.

    Training draws cells as ``Loader`` does. The other parts are read in storage order, each cell once. Every rank gets its share, and all
    ranks get the same number of minibatches; if cells do not divide evenly, some minibatches are repeated with ``is_padding`` set, which
    must not count in metrics (see the notes). A checkpoint holds the position in the epoch, and resumed training continues with the
    remaining minibatches, as if it had not been interrupted.

    Parameters
    ----------
    stores : str, path, Store, or a list of these
        As for ``Loader``.
    split : str, optional
        Divides all cells at random into parts called train, val, test and predict, such as ``"train=0.8,val=0.1,test=0.1"``. By default
        all cells are for training. Without a part for prediction, all cells are predicted.
    split_by : str, optional
        A column of obs: cells with equal values in it are in one part.
    split_seed : int, default 0
        The seed of the split.
    evaluation : dict, optional
        Arguments of ``Loader`` that are others for val, test and predict, such as ``{"batch_size": 512}``.
    **arguments
        Those of ``Loader``. How cells are drawn (``strategy``, ``weights``, ``balance``, ``group`` and the like, ``drop_last``) is for
        training only, unless ``evaluation`` says how else cells are drawn there.

    Raises
    ------
    InputError
        As ``Loader``.

    Examples
    --------
    >>> data = cellring.lightning.DataModule("cells.cellring", split="train=0.9,val=0.1", batch_size=64)   # doctest: +SKIP
    >>> trainer.fit(model, data, ckpt_path="last")                                                         # doctest: +SKIP
    >>> trainer.predict(model, data)                                                                       # doctest: +SKIP

    Notes
    -----
    The batches that a module gets are ``Minibatch``; give ``self.log`` the ``batch_size``, which Lightning does not find in them. On several
    ranks, log metrics of torchmetrics: update them unless the minibatch is padding, and log them in any case. The others wait forever for
    a rank that has nothing but padding and logs nothing. ``sync_dist=True`` rounds the mean number of cells of a rank down.
    """

    def __init__(
        self,
        stores: Any,
        *,
        split: str | None = None,
        split_by: str | None = None,
        split_seed: int = 0,
        evaluation: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        if split is None and split_by is not None:
            raise InputError('split_by= needs split=, such as "train=0.9,val=0.1"')
        self._parts = Parts(stores, arguments, of_split(split, split_by, split_seed), evaluation)
        # Whatever is wrong with the arguments is said here, not by the trainer.
        for name in self._parts:
            self._parts.loader(name)

    def __repr__(self) -> str:
        return f"DataModule({self._parts!r})"

    # Lightning's own would iterate over the loaders.
    __str__ = __repr__

    def loader(self, part: str = "train") -> Loader:
        """The loader of a part, which also knows ``var_names`` and ``categories``.

        Raises
        ------
        InputError
            If the split has no such part.
        """
        if part != "predict" and part not in self._parts:
            raise InputError(
                f"there is no part {part!r} of the cells, only {', '.join(self._parts)}: give it a share in split=, such as {part}=0.1"
            )
        return self._parts.loader(part)

    @property
    def batch_size(self) -> int:
        """Cells in a minibatch of training. When it is set, all loaders are made again with it."""
        return self._parts.loader(next(iter(self._parts))).batch_size

    @batch_size.setter
    def batch_size(self, batch_size: int) -> None:
        self._parts.change(batch_size=batch_size)

    def train_dataloader(self) -> Loader:
        """The training loader: the same one each time. With ``overfit_batches`` the same minibatches in each epoch."""
        if self.trainer is not None and self.trainer.overfit_batches > 0:
            return self._parts.in_order("train")
        return self.loader("train")

    def val_dataloader(self) -> Loader | list[Loader]:
        """The validation loader; an empty list in a training without validation."""
        is_asked_for = self.trainer is not None and self.trainer.state.fn == "validate"
        return self.loader("val") if is_asked_for or "val" in self._parts else []

    def test_dataloader(self) -> Loader:
        """The test loader."""
        return self.loader("test")

    def predict_dataloader(self) -> Loader:
        """The loader of the cells that are predicted: all, unless the split says which."""
        return self.loader("predict")

    def teardown(self, stage: str) -> None:
        """Called by the trainer when it ends: closes files and threads, which are opened again when they are needed."""
        self._parts.close()

    def state_dict(self) -> dict[str, Any]:
        """The state of the training loader, for a checkpoint."""
        return self._parts.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the state from a checkpoint.

        Lightning restores the loaders by itself, except where the number of steps was asked for before (as for OneCycleLR).
        """
        self._parts.load_state_dict(state_dict, self.trainer)
