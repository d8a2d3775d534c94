"""obs and var as pandas has them after anndata, in every environment that there is, and as Arrow's libraries have them."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import anndata
import compare_with_anndata as compare
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY

import cellring

DATA = REPOSITORY.parent / "shared" / "data"

# Files of the real data that hold nothing to convert, and why.
REFUSED = {
    "compat/anndata-rs_sample_noX.h5ad": "has no X",
    "compat/anndata_v0.11.4_noX.h5ad": "has no X",
    "compat/scp_truncated.h5ad": "is truncated",
    "zarr/anndata_v0.11.4.zarr.zip": "has no X",
}

# Files that an environment's own anndata cannot read: it has a zarr that knows no version 3, and no null.
UNREADABLE = {
    "anndata-0.11": {
        "zarr/10x_pbmc68k_reduced.zarr.zip",
        "zarr/pbmc3k_1200_v2_blosc.zarr",
        "zarr/pbmc3k_1200_v3_csc_sharded.zarr",
        "zarr/pbmc3k_1200_v3_sharded.zarr",
        "zarr/pbmc3k_1200_v3_zstd.zarr",
    },
}

# As tests/setup.sh makes them.
ENVIRONMENTS = {
    "anndata-0.12": ".venv",
    "anndata-0.11": ".venv-anndata-0.11",
    "anndata-0.12-pandas-3": ".venv-anndata-0.12-pandas-3",
    "anndata-0.13": ".venv-anndata-0.13",
}


def python_of(environment: str) -> str | None:
    """The interpreter of an environment; None if it is not there, which one that CELLRING_ENVIRONMENTS promises must be."""
    if environment == "this":
        return sys.executable
    python = REPOSITORY / ENVIRONMENTS[environment] / "bin" / "python"
    look = "import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, ['anndata', 'h5py', 'hdf5plugin', 'zarr'])))"
    works = python.exists() and subprocess.run([python, "-c", look]).returncode == 0
    is_promised = environment in os.environ.get("CELLRING_ENVIRONMENTS", "").split()
    assert works or not is_promised, f"{python} does not run or lacks packages; remove {ENVIRONMENTS[environment]} and run tests/setup.sh"
    return os.fspath(python) if works else None


def options(report: dict) -> dict:
    """The options that take every matrix of an input, of what was said to be left out."""
    made: dict = {"x": True}
    for part in report["left_out"]:
        if part["option"] is not None:
            kind, _, key = part["path"].partition("/")
            if part["kind"] == "raw":
                made["raw"] = True
            else:
                made.setdefault(kind.removesuffix("s"), []).append(key)
    if "layer" in made:
        made["layer"].sort()
    return made


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Every real file with the store of all its matrices; and those that were refused, with the sentence."""
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not there: it lies beside the repository")
    endings = (".h5ad", ".zarr", ".zarr.zip")
    found = [path for folder in ("", "compat", "multi", "zarr") for path in (DATA / folder).iterdir() if path.name.endswith(endings)]
    folder = tmp_path_factory.mktemp("stores")

    def convert(place_and_path: tuple[int, pathlib.Path]) -> tuple[str, str, str | None]:
        place, path = place_and_path
        store = folder / f"{place}.cellring"
        try:
            taken = options(cellring.convert(path, store))
            if len(taken) > 1:
                cellring.convert(path, store, force=True, **taken)
        except cellring.CommandError as error:
            return str(path), str(store), str(error)
        return str(path), str(store), None

    with ThreadPoolExecutor(2) as pool:
        # Of what they warn is not the point here, and warnings are caught for the whole process.
        warnings.simplefilter("ignore")
        made = list(pool.map(convert, enumerate(sorted(found))))
    pairs = [(source, store) for source, store, refusal in made if refusal is None]
    return pairs, {source: refusal for source, _, refusal in made if refusal is not None}


def test_files_are_converted_or_refused_with_a_reason(stores):
    pairs, refused = stores
    assert {os.path.relpath(source, DATA) for source in refused} == set(REFUSED)
    for source, said in refused.items():
        assert REFUSED[os.path.relpath(source, DATA)] in said
    assert len(pairs) >= 58


def compare_in(environment: str, folder: pathlib.Path, pairs: list[tuple[str, str]]) -> subprocess.CompletedProcess[str] | None:
    """Runs the comparison in an environment; None if it is not there."""
    python = python_of(environment)
    if python is None:
        return None
    # The package alone: beside an installed one lie the libraries of this environment.
    package = folder / "package"
    package.mkdir(parents=True)
    (package / "cellring").symlink_to(pathlib.Path(cellring.__file__).parent)
    script = pathlib.Path(__file__).with_name("compare_with_anndata.py")
    return subprocess.run(
        [python, script, folder, *(["--matrices"] if environment == "this" else [])],
        input="".join(f"{source}\t{store}\n" for source, store in pairs),
        env={**os.environ, "PYTHONPATH": os.fspath(package)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def comparisons(stores, tmp_path_factory):
    """What the comparison says in each environment, two of which run at a time."""
    folder = tmp_path_factory.mktemp("made")
    with ThreadPoolExecutor(2) as pool:
        names = ["this", *ENVIRONMENTS]
        return dict(zip(names, pool.map(lambda name: compare_in(name, folder / name, stores[0]), names), strict=True))


@pytest.mark.parametrize("environment", ["this", *ENVIRONMENTS])
def test_tables_of_real_files_are_those_of_anndata(stores, comparisons, environment):
    """And, in one environment, every matrix of them."""
    done = comparisons[environment]
    if done is None:
        pytest.skip(f"{ENVIRONMENTS[environment]} is not there or lacks packages; tests/setup.sh makes it")
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    assert set(said) == {source for source, _ in stores[0]} | set(compare.made_tables())
    unreadable = {os.path.relpath(source, DATA) for source, what in said.items() if what.startswith("cannot be read: ")}
    assert unreadable == UNREADABLE.get(environment, set())
    assert not {source: what for source, what in said.items() if what != "equal" and not what.startswith("cannot be read: ")}


@pytest.mark.parametrize("name", compare.made_tables())
def test_made_tables_are_those_of_anndata(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert compare.made_difference(compare.made_tables()[name], tmp_path) is None


@pytest.mark.parametrize("name", compare.without_categories())
def test_columns_without_categories(tmp_path, name):
    table = pd.DataFrame({"x": compare.without_categories()[name]}, index=compare.NAMES)
    assert compare.made_difference(table, tmp_path) is None


def test_the_comparison_sees_differences(tmp_path):
    """Of every kind that it is there for."""
    table = pd.DataFrame(compare.columns(), index=pd.Index(compare.NAMES, name="n"))
    assert compare.difference(table, table.copy()) is None
    changes = {
        "int32": lambda frame: frame["int32"].astype("int64"),
        "Int32": lambda frame: frame["Int32"].astype("float64"),
        "boolean": lambda frame: frame["boolean"].fillna(False),
        "categories: texts": lambda frame: frame["categories: texts"].cat.reorder_categories(["c", "b", "a"]),
        "categories: ordered": lambda frame: frame["categories: ordered"].cat.as_unordered(),
        "categories: not all used": lambda frame: frame["categories: not all used"].cat.remove_unused_categories(),
        "categories: int8": lambda frame: frame["categories: int8"].cat.rename_categories(np.array([1, 2, 3], np.int64)),
        "string": lambda frame: frame["string"].astype(object),
    }
    for name, change in changes.items():
        other = table.copy()
        other[name] = change(table)
        assert compare.difference(other, table) is not None, name
    assert compare.difference(table.rename_axis("m"), table) is not None
    assert compare.difference(table[table.columns[::-1]], table) is not None


def test_tables_without_rows(tmp_path, source):
    cellring.convert(source, tmp_path / "s", max_obs=0)
    store = cellring.Store(tmp_path / "s")
    frame = store.obs.to_pandas()
    expected = anndata.read_h5ad(source).obs.iloc[:0]
    assert store.shape == (0, 1000)
    assert frame.shape == expected.shape and list(frame.columns) == list(expected.columns)
    assert frame.index.name == "barcode" and frame.index.dtype == expected.index.dtype
    assert len(store.obs.index) == 0 and len(store.obs) == 0
    assert store[:].shape == (0, 1000)
    assert store.to_anndata().shape == (0, 1000)
    with pytest.raises(IndexError, match="it is empty"):
        store[0]


@pytest.fixture(scope="module")
def table(store) -> cellring.Table:
    return cellring.Store(store).obs


def test_some_columns(table, adata):
    columns = ["stage", "n_genes"]
    pd.testing.assert_frame_equal(table.to_pandas(columns), adata.obs[columns])
    pd.testing.assert_frame_equal(table.to_pandas("age"), adata.obs[["age"]])
    pd.testing.assert_frame_equal(table.to_pandas([]), adata.obs[[]])
    pd.testing.assert_frame_equal(table[["age", "cell_type"]], adata.obs[["age", "cell_type"]])
    pd.testing.assert_series_equal(table["age"], adata.obs["age"])
    assert table.columns == list(adata.obs.columns) == list(table)
    assert list(table.index) == list(adata.obs_names)
    assert "age" in table and "barcode" not in table and 5 not in table
    assert len(table) == adata.n_obs


def test_columns_that_are_not_there_are_named(table):
    for ask in (lambda: table["cell_typ"], lambda: table.to_pandas(["age", "cell_typ"])):
        with pytest.raises(cellring.NotFoundError, match="has no column 'cell_typ'; did you mean 'cell_type'") as caught:
            ask()
        assert isinstance(caught.value, KeyError) and str(caught.value)[0] not in "'\""
    with pytest.raises(cellring.InputError, match="columns: expected names, found 3"):
        table.to_pandas([3])


def test_frames_are_ones_own(table):
    """A change of one does not come up in the next."""
    first = table.to_pandas()
    first.loc[first.index[0], "n_genes"] = -5
    first["stage"] = "x"
    assert table.to_pandas()["n_genes"].iloc[0] >= 0
    assert table.to_pandas()["stage"].cat.categories.tolist() == ["late", "early"]


def test_pyarrow(table, adata):
    pyarrow = pytest.importorskip("pyarrow")
    read = pyarrow.table(table)
    assert read.column_names[1:] == list(adata.obs.columns)
    assert read.column(0).to_pylist() == list(adata.obs_names)
    assert pyarrow.types.is_dictionary(read.schema.field("cell_type").type)
    assert read.column("cell_type").to_pylist() == list(adata.obs["cell_type"])
    assert read.column("age").type == pyarrow.int64()
    assert read.column("age").to_pylist() == [None if value is pd.NA else value for value in adata.obs["age"]]
    assert read.column("partly").null_count == adata.obs["partly"].isna().sum() > 0
    assert read.column("is_doublet").type == pyarrow.bool_()
    assert read.column("n_counts").type == pyarrow.float32()
    assert pyarrow.schema(table).equals(read.schema)
    # A table can be read as often as one likes, and batch by batch.
    reader = pyarrow.RecordBatchReader.from_stream(table)
    assert reader.read_all().equals(read)


def test_polars(table, adata):
    polars = pytest.importorskip("polars")
    read = polars.DataFrame(table)
    assert read.shape == (adata.n_obs, adata.obs.shape[1] + 1)
    assert read["stage"].to_list() == list(adata.obs["stage"])
    assert read["age"].null_count() == adata.obs["age"].isna().sum() > 0
    counted = read.group_by("donor").len().sort("donor")
    assert dict(counted.iter_rows()) == adata.obs["donor"].value_counts().to_dict()


def test_duckdb(table, adata):
    duckdb = pytest.importorskip("duckdb")
    found = duckdb.sql("select donor::varchar, sum(n_genes)::bigint from table group by 1".replace("table", '"table"')).fetchall()
    assert dict(found) == adata.obs.groupby("donor", observed=True)["n_genes"].sum().to_dict()


def test_pandas_from_arrow(table, adata):
    if not hasattr(pd.DataFrame, "from_arrow"):
        pytest.skip("this pandas does not read Arrow")
    pytest.importorskip("pyarrow")
    read = pd.DataFrame.from_arrow(table)
    assert list(read["cell_type"]) == list(adata.obs["cell_type"])


def test_var_and_the_order_of_genes(tmp_path, source, adata):
    """With the order of the command line the table of genes is in the order of the columns."""
    cellring.convert(source, tmp_path / "s", var_order="detection")
    store = cellring.Store(tmp_path / "s")
    names = list(store.var_names)
    assert names != list(adata.var_names) and sorted(names) == sorted(adata.var_names)
    pd.testing.assert_frame_equal(store.var.to_pandas(), adata.var.loc[names])
    assert (store[:50] != adata[:50, names].X).nnz == 0


def test_the_store_may_be_gone(tmp_path, source):
    """A table outlives its store."""
    cellring.convert(source, tmp_path / "s")
    obs = cellring.Store(tmp_path / "s").obs
    assert len(obs.to_pandas()) == 1000


def test_without_pandas(run_python, store):
    """Nothing but numpy and scipy is needed for cells, and what needs pandas says so."""
    script = """
import sys
for name in ("pandas", "anndata", "torch", "tqdm", "pyarrow"):
    sys.modules[name] = None
import cellring
store = cellring.Store(sys.argv[1])
assert store[[3, 1]].shape == (2, 1000) and len(store.obs.index) == 1000 and store.obs.columns
for ask in (store.obs.to_pandas, store.to_anndata):
    try:
        ask()
    except cellring.InputError as error:
        print(error)
"""
    said = run_python(script, store).splitlines()
    assert "pip install pandas" in said[0] and "pip install anndata" in said[1]
