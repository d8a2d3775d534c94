"""The arguments of ``Loader``: checked, completed, and as the compiled half takes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import _arguments, _forms
from ._errors import InputError

# What people who come from other loaders try, and what it is called here.
FOREIGN = {
    "shuffle": 'cells are shuffled unless strategy="sequential"',
    "num_workers": "cellring reads and decodes with threads of its own (threads=)",
    "chunk_size": "the cells that are drawn together are block_size=",
    "preload_nchunks": "what is read and shuffled together is fetch_factor= minibatches",
    "collate_fn": "minibatches are yielded whole",
    "pin_memory": "call minibatch.pin_memory(), or give device=",
    "num_replicas": "ranks are given by rank= and world_size=",
    "return_index": "every minibatch has ids",
    "preload_to_gpu": 'give device="cuda"',
    "use_cuda": 'give device="cuda"',
    "rng": "the seed of all randomness is seed=",
    "batch_sampler": "cells are drawn by strategy=, weights=, balance=, group= or order=",
    "sampler": "cells are drawn by strategy=, weights=, balance=, group= or order=",
    "indices": "the cells to draw from are subset=",
    "data_collection": "stores are the first argument",
    "fetch_transform": "genes=, normalize=, log1p=, layout= and dtype= change minibatches while they are decoded",
    "batch_transform": "genes=, normalize=, log1p=, layout= and dtype= change minibatches while they are decoded",
    "n_workers": "cellring reads and decodes with threads of its own (threads=)",
    "random_state": "the seed of all randomness is seed=",
    "random_seed": "the seed of all randomness is seed=",
    "epoch": "call loader.set_epoch",
    "dense": 'give layout="dense"',
    "layer": "other matrices are matrices=, such as [\"layers/counts\"]",
    "layers": "other matrices are matrices=, such as [\"layers/counts\"]",
    "obs": "columns of obs are obs_columns=",
    "obs_keys": "columns of obs are obs_columns=",
    "batch_key": "columns of obs are obs_columns=",
    "label_key": "columns of obs are obs_columns=",
    "labels_key": "columns of obs are obs_columns=",
    "target_sum": "the sum that cells are scaled to is normalize=",
    "total_size": "the cells of an epoch are draws=, with weights= or balance=",
    "prefetch_factor": "how much is read ahead follows from memory=",
}

# The arguments that strategies sample by, and the strategies that they imply.
STRATEGIES = {"weights": "weighted", "balance": "balanced", "group": "grouped", "order": "custom"}

# Arguments that are nothing without another one.
_NEEDED = {
    "draws": ("weights", "balance"),
    "n_per_group": ("group",),
    "sets_per_minibatch": ("group",),
    "controls": ("group",),
    "match": ("controls",),
    "n_controls": ("controls",),
    "part": ("split",),
    "split": ("part",),
    "split_by": ("split",),
}

# What minibatches are made of, besides which cells.
_FORM = (
    "genes",
    "gene_weights",
    "normalize",
    "log1p",
    "library",
    "layout",
    "dtype",
    "index_dtype",
    "matrices",
    "obs_columns",
    "join",
    "var_key",
)


def owned(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments with lists and arrays of their own: what the caller does to his later changes nothing."""
    made = dict(given)
    for name in ("genes", "match"):
        made[name] = _texts(name, given[name])
    if made["genes"] == []:
        raise InputError("genes is empty: give at least one name, or leave it out for all genes")
    for name in ("weights", "gene_weights"):
        made[name] = _copied(_floats(name, given[name]))
    for name in ("balance", "group"):
        made[name] = _copied(_codes(name, given[name]))
    for name in ("subset", "order", "controls"):
        if isinstance(given[name], Mapping):
            filtered = "controls" if name == "controls" else "obs_filter"
            raise InputError(f"{name}={given[name]!r}: expected cells; to take them by a column, write {filtered}='column == \"value\"'")
        if given[name] is not None and not isinstance(given[name], (str, slice, range)):
            made[name] = _copied(np.asarray(given[name]))
    for name in ("matrices", "obs_columns"):
        value = given[name]
        names = matrix_names if name == "matrices" else column_names
        made[name] = dict(value) if isinstance(value, Mapping) else list(names(value))
    return made


# How arguments that are often taken for something else are written.
_EXAMPLES = {"split": '"train=0.8,val=0.2"', "obs_filter": """'cell_type == "B cell"'"""}


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def checked(given: dict[str, Any], n_obs: int, columns: Sequence[str]) -> dict[str, Any]:
    """All arguments as the compiled half takes them. ``columns``: those of obs."""
    made = dict(given)
    for name in ("strategy", "obs_filter", "split", "part", "split_by", "var_key", "backend", "direct"):
        if given[name] is not None and not isinstance(given[name], str):
            example = f", such as {_EXAMPLES[name]}" if name in _EXAMPLES else ""
            raise InputError(f"{name}={given[name]!r}: expected a text{example}")
    for name in ("replacement", "balance_global", "shuffle_order", "log1p", "allow_rounding", "drop_last"):
        if not isinstance(given[name], (bool, np.bool_)):
            raise InputError(f"{name}={given[name]!r}: expected True or False")
    if given["normalize"] is not None and not isinstance(given["normalize"], (int, float, np.number, np.bool_)):
        raise InputError(f"normalize={given['normalize']!r}: expected a number, such as 10000, or True")
    if isinstance(given["device"], str) and given["device"].partition(":")[0] not in ("cpu", "cuda", "mps", "xpu"):
        raise InputError(f"device={given['device']!r}: expected a device of torch, such as \"cuda\" or \"cuda:1\"")
    if (given["rank"] is None) != (given["world_size"] is None):
        raise InputError("rank and world_size belong together: give both, or neither")
    strategies = [name for name in STRATEGIES if given[name] is not None]
    if len(strategies) > 1:
        raise InputError(f"{strategies[0]} and {strategies[1]} are for different strategies: give one of them")
    if strategies and given["strategy"] is not None:
        if given["strategy"].replace("_", "-") != STRATEGIES[strategies[0]]:
            raise InputError(f"strategy={given['strategy']!r} and {strategies[0]}= do not go together: leave out one of them")
    for name, implied in STRATEGIES.items():
        if given["strategy"] == implied and not strategies:
            raise InputError(f"strategy={given['strategy']!r} needs {name}=")
    for name, needed in _NEEDED.items():
        if given[name] is not None and all(given[other] is None for other in needed):
            raise InputError(f"{name}= needs {' or '.join(f'{other}=' for other in needed)}")
    for name in ("subset", "obs_filter", "split"):
        if given["order"] is not None and given[name] is not None:
            raise InputError(f"order= says itself which cells come: leave out {name}=, or leave the others out of order=")
    if given["shuffle_order"] and given["order"] is None:
        raise InputError("shuffle_order= needs order=")
    for name, most in (("batch_size", 2**32 - 1), ("fetch_factor", 2**32 - 1), ("block_size", 2**63 - 1)):
        made[name] = _arguments.positive(name, given[name], 1, most)
    for name, least in (("seed", 0), ("split_seed", 0), ("threads", 0)):
        made[name] = _arguments.positive(name, given[name], least, 2**64 - 1 if least == 0 and name != "threads" else 1024)
    for name in ("draws", "n_per_group", "sets_per_minibatch", "n_controls", "depth"):
        if given[name] is not None:
            made[name] = _arguments.positive(name, given[name], 1, 2**32 - 1 if name != "draws" else 2**63 - 1)
    made["memory"] = _arguments.size("memory", given["memory"])
    for name in ("replacement", "balance_global", "shuffle_order", "log1p", "allow_rounding", "drop_last"):
        made[name] = bool(given[name])
    made["weights"] = _floats("weights", given["weights"])
    made["gene_weights"] = _floats("gene_weights", given["gene_weights"])
    for name in ("balance", "group"):
        value = given[name]
        # A list of texts is one of columns, unless it can only be one of labels.
        is_of_labels = isinstance(value, list) and len(value) == n_obs and not set(value) <= set(columns)
        made[name] = _codes(name, np.asarray(value, dtype=object) if is_of_labels else value)
    made["match_by"] = _texts("match", made.pop("match"))
    made["genes"] = _texts("genes", given["genes"])
    if given["subset"] is not None:
        made["subset"] = _arguments.cells(given["subset"], n_obs, "subset")
    if given["order"] is not None:
        made["order"] = _arguments.cells(given["order"], n_obs, "order")
        if len(made["order"]) == 0:
            raise InputError("order is empty: give at least one cell")
    if given["controls"] is not None and not isinstance(given["controls"], str):
        made["controls"] = _arguments.cells(given["controls"], n_obs, "controls")
    if given["normalize"] is True:
        made["normalize"] = 1e4
    elif given["normalize"] is False:
        made["normalize"] = None
    made["library"] = _arguments.one_of("library", given["library"], ("all", "selected"))
    made["join"] = _arguments.one_of("join", given["join"], ("same", "inner", "outer"))
    made["dtype"] = _arguments.one_of("dtype", _dtype_name(given["dtype"]), ("float32", "float16", "bfloat16", "source"))
    made["index_dtype"] = _arguments.one_of("index_dtype", _dtype_name(given["index_dtype"]), ("int32", "int64"))
    _arguments.one_of("to", given["to"], _forms.NAMES)
    if made["dtype"] == "bfloat16" and given["to"] in ("numpy", "scipy"):
        raise InputError(f'to="{given["to"]}" has no bfloat16: ask for dtype="float32", or to="torch"')
    if made["dtype"] == "float16" and given["to"] == "scipy" and given["layout"] == "csr":
        raise InputError('scipy.sparse has no float16: ask for dtype="float32", layout="dense", or to="torch"')
    if made["dtype"] == "bfloat16" and (given["to"] == "jax" or given["pad_nnz"] is not None):
        raise InputError('dtype="bfloat16" is for to="torch" without pad_nnz: ask for dtype="float32", and convert it there')
    if given["pad_nnz"] is not None and given["pad_nnz"] != "pow2":
        _arguments.positive("pad_nnz", given["pad_nnz"])
    made["layout"], made["k"] = _layout(given["layout"])
    made["matrices"] = _matrices(given["matrices"])
    made["obs_columns"] = _obs_columns(given["obs_columns"])
    for name in ("to", "pad_nnz", "device", "rank", "world_size"):
        del made[name]
    return made


def columns_in_use(request: Mapping[str, Any], stores: Sequence[Sequence[str]]) -> list[str]:
    """The columns of obs that each store must have."""
    # A list with names; what has a value for each cell is an array.
    named = [name for key in ("balance", "group", "match_by") if isinstance(request[key], list) for name in request[key]]
    named += [request[key] for key in ("weights", "split_by") if isinstance(request[key], str)]
    somewhere = set().union(*stores)
    return named + [name for name, _, or_missing in request["obs_columns"] if not (or_missing and name in somewhere)]


def nothing_selected(given: Mapping[str, Any], n_obs: int) -> str:
    """A sentence for arguments that together select none of the cells."""
    selecting = [f"{name}=" for name in ("subset", "obs_filter") if given[name] is not None]
    if given["split"] is None:
        return f"{' and '.join(selecting)} {'select' if len(selecting) > 1 else 'selects'} none of the {n_obs} cells: select more"
    by = "" if given["split_by"] is None else f" by {given['split_by']!r}"
    cells, remedy = f"{n_obs} cells", "give it a larger share"
    if selecting:
        cells, remedy = f"cells of {' and '.join(selecting)}", f"{remedy}, or select more"
    return f"the part {given['part']!r} of split={given['split']!r}{by} has none of the {cells}: {remedy}"


def form_number(given: Mapping[str, Any]) -> int:
    """A number for the form of the minibatches, which a state keeps."""
    text = json.dumps([_plain(given[name]) for name in _FORM], sort_keys=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "little")


def _plain(value: Any) -> Any:
    """A setting as what JSON has."""
    if isinstance(value, np.ndarray) or hasattr(value, "__array__"):
        return hashlib.blake2b(np.ascontiguousarray(value).tobytes()).hexdigest()
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return [str(part) for part in value] if isinstance(value, Iterable) else str(value)


def column_names(obs_columns: Any) -> list[str]:
    """The columns that are asked for, by name."""
    if not isinstance(obs_columns, (str, Iterable)) or not all(isinstance(name, str) for name in obs_columns):
        raise InputError(f"obs_columns={obs_columns!r}: expected names of columns of obs, or a dictionary of their forms")
    return [obs_columns] if isinstance(obs_columns, str) else list(obs_columns)


def matrix_names(matrices: Any) -> tuple[str, ...]:
    """The other matrices that are asked for, by name."""
    if not isinstance(matrices, (str, Iterable)) or not all(isinstance(name, str) for name in matrices):
        raise InputError(f"matrices={matrices!r}: expected paths in AnnData, such as \"layers/counts\"")
    return (matrices,) if isinstance(matrices, str) else tuple(matrices)


def _texts(name: str, value: Any) -> list[str] | None:
    """A text or several, as a list."""
    if value is None:
        return None
    if not isinstance(value, Iterable):
        raise InputError(f"{name}={value!r}: expected names")
    values = [str(text) if isinstance(text, np.str_) else text for text in ([value] if isinstance(value, str) else value)]
    if not all(isinstance(text, str) for text in values):
        raise InputError(f"{name}={value!r}: expected names")
    return values


def _codes(name: str, value: Any) -> Any:
    """Columns, or a code for each cell."""
    if value is None or isinstance(value, str):
        return _texts(name, value)
    if isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value):
        return list(value)
    if hasattr(value, "cat"):
        value = value.cat.codes
    elif hasattr(value, "codes"):
        value = value.codes
    array = np.asarray(value)
    if array.ndim == 1 and (array.dtype.kind in "UT" or (array.dtype == object and any(isinstance(text, str) for text in array))):
        places: dict[str, int] = {}
        array = np.array([places.setdefault(text, len(places)) if isinstance(text, str) else -1 for text in array.tolist()], dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"{name}: expected columns of obs, or a label or code (a whole number, -1 for none) for each cell")
    if array.size > 0 and array.max() >= 2**32 - 1:
        raise InputError(f"{name} has the code {array.max()}: expected codes below {2**32 - 1}")
    return np.ascontiguousarray(array, dtype=np.int64)


def _floats(name: str, value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "iufb":
        raise InputError(f"{name}: expected a one-dimensional array of numbers, found {array.dtype} of shape {array.shape}")
    return np.ascontiguousarray(array, dtype=np.float32)


def _dtype_name(dtype: Any) -> str:
    """``torch.float32``, ``numpy.float32`` and ``"float32"`` are one."""
    if dtype is None:
        return "None"
    if isinstance(dtype, str):
        return dtype
    text = str(dtype)
    if text.startswith("torch."):
        return text[len("torch.") :]
    try:
        return np.dtype(dtype).name
    except TypeError:
        return text


def _layout(layout: Any) -> tuple[str, int]:
    if isinstance(layout, tuple) and len(layout) == 2 and layout[0] == "top_k":
        return "top_k", _arguments.positive("k in layout=(\"top_k\", k)", layout[1], 1, 2**31 - 1)
    if isinstance(layout, str) and layout in ("csr", "dense"):
        return layout, 0
    raise InputError(f'layout={layout!r}: expected "csr", "dense" or ("top_k", k)')


def _matrices(matrices: Any) -> list[tuple[str, str | None, str | None]]:
    if isinstance(matrices, Mapping):
        made = []
        for name, look in matrices.items():
            if not isinstance(look, Mapping):
                raise InputError(f'matrices[{name!r}]={look!r}: expected a dictionary, such as {{"layout": "dense"}}')
            _arguments.unknown(look, ("layout", "dtype"), f"matrices[{name!r}]")
            layout = look.get("layout")
            if layout is not None:
                _arguments.one_of("layout", layout, ("csr", "dense"))
            dtype = look.get("dtype")
            made.append((name, layout, None if dtype is None else _dtype_name(dtype)))
        return made
    return [(name, None, None) for name in matrix_names(matrices)]


def _obs_columns(obs_columns: Any) -> list[tuple[str, str, bool]]:
    forms = ("natural", "codes", "floats", "strings")
    if isinstance(obs_columns, Mapping):
        made = []
        for name, form in obs_columns.items():
            or_missing = isinstance(form, tuple) and form[1:] == ("or_missing",)
            form = form[0] if or_missing else form
            made.append((name, _arguments.one_of(f"obs_columns[{name!r}]", form, forms), or_missing))
        return made
    return [(name, "natural", False) for name in column_names(obs_columns)]
