"""The package as a whole: classes of errors, what importing it loads, and help()."""

from __future__ import annotations

import pickle

import pytest

import cellring

CLASSES = {
    "ArgumentError": (cellring.InputError, ValueError, TypeError),
    "CellIndexError": (cellring.InputError, ValueError, IndexError),
    "CellringError": (Exception,),
    "CellringWarning": (UserWarning,),
    "ChangedError": (cellring.StoreError, OSError),
    "CommandError": (RuntimeError,),
    "DamagedError": (cellring.StoreError, OSError),
    "InputError": (ValueError,),
    "InternalError": (RuntimeError,),
    "MemoryBudgetError": (MemoryError,),
    "NotFoundError": (cellring.InputError, ValueError, KeyError),
    "ResumeError": (cellring.InputError, ValueError),
    "StoppedError": (RuntimeError,),
    "StoreError": (OSError,),
    "StoreExistsError": (cellring.StoreError, FileExistsError),
    "StoreNotFoundError": (cellring.StoreError, FileNotFoundError),
}


def test_classes_of_errors():
    from cellring import _errors

    defined = {name for name, value in vars(_errors).items() if isinstance(value, type)}
    assert defined == set(CLASSES) and defined <= set(cellring.__all__)
    for name, bases in CLASSES.items():
        error = getattr(cellring, name)
        assert issubclass(error, bases) and all(issubclass(error, base) for base in bases)
        assert issubclass(error, cellring.CellringError) or error is cellring.CellringWarning
        assert error.__doc__
        with pytest.raises(bases[-1]) as caught:
            raise error("one sentence: 'x'")
        assert str(caught.value) == "one sentence: 'x'"
        again = pickle.loads(pickle.dumps(caught.value))
        assert type(again) is error and str(again) == str(caught.value)


def test_importing_is_light(run_python, store):
    script = """
import sys
before = set(sys.modules)
import cellring
heavy = {"numpy", "torch", "pandas", "anndata", "scipy", "tqdm", "pyarrow"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert "cellring._cellring" not in sys.modules
assert set(cellring.__all__) <= set(dir(cellring))
assert "torch" not in sys.modules
cellring.convert
store = cellring.Store(sys.argv[1])
store[[1, 2]]
assert not {"torch", "pandas", "anndata"} & set(sys.modules)
for name in cellring.__all__:
    assert getattr(cellring, name) is not None
assert cellring.__version__[0].isdigit()
try:
    cellring.Loadr
except AttributeError as error:
    assert "Loadr" in str(error)
print("done")
"""
    assert run_python(script, store) == "done\n"


STEPS = """
import sys, warnings
warnings.simplefilter("ignore")
heavy = {"numpy", "scipy", "torch", "pandas", "anndata", "h5py", "zarr", "pyarrow", "polars", "jax", "lightning", "pytorch_lightning",
         "scvi", "ray", "accelerate", "torchdata", "tqdm", "IPython"}

def step(name, *expected):
    found = heavy & set(sys.modules)
    assert found == set(expected), (name, found)

path, file, written = sys.argv[1:]
import cellring
step("import")
cellring.convert
step("convert", "numpy")
cellring.convert(file, written, progress=False)
step("converted", "numpy")
store = cellring.Store(path)
assert store.shape == (1000, 1000) and len(store.var_names) == 1000 and "donor" in store.obs.columns
step("opened", "numpy")
cellring.Store(file)
step("linked", "numpy")
loader = cellring.Loader(path, to="numpy", obs_columns=["cell_type"], obs_filter='donor != "d1"', balance="donor")
minibatch = next(iter(loader))
assert minibatch.x.shape[1] == 1000 and len(minibatch.obs["cell_type"]) == len(minibatch.ids) and loader.categories("cell_type")
loader.state_dict()
step("a minibatch of numpy", "numpy")
store[[1, 2]]
step("cells", "numpy", "scipy")
next(iter(cellring.Loader(path, to="scipy"))).x
step("a minibatch of scipy", "numpy", "scipy")
print("done")
"""


def test_nothing_is_imported_before_it_is_needed(run_python, store, source, tmp_path):
    said = run_python(STEPS, store, source, tmp_path / "written", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert said == "done\n"


def test_help(run_python):
    """help() and repr() work before anything was used, and say what there is."""
    script = """
import cellring
print(repr(cellring))
help(cellring)
for name in ("convert", "append", "verify", "export", "merge", "Store", "Loader", "NotFoundError"):
    help(getattr(cellring, name))
"""
    said = run_python(script, PAGER="cat", TERM="dumb")
    for words in ("shuffled minibatches of single cells", "Converts AnnData to a store", "gather_rows", "has the name of what"):
        assert words in said, words
