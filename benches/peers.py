#!/usr/bin/env python3
"""cellring in Python beside annbatch, cellstream, scDataset and the command, in turn and in one process.

    python benches/peers.py make DIR [--cells 200000]      a synthetic data set, and each loader's own store of it
    python benches/peers.py run DIR [--rounds 5] [--seconds 4] [--only REGEX] [--json FILE]
    python benches/peers.py figure DIR --machine NAME --record FILE [--rounds 5] [--seconds 4]      # benches/record/throughput.csv and .svg

Every setting yields minibatches of 64 cells as torch CSR (dense where it says so), epoch after epoch; the clock runs from before the first
iterator is made to the last minibatch. `disk`: the page cache is dropped before each run (needs root), and the store's pages are thrown out four
times a second, as if the data were larger than memory; `cache`: the store was read just before. Each round runs every
setting once, so that what disturbs the machine disturbs one round. Prints the median of cells per second, the least and the most, CPU time for each cell, that
of the thread which takes the minibatches (of cellring: what Python and torch cost), the
ratio to the setting that it is compared with, and of random access percentiles of the time that a call takes. `figure` runs the settings of the README's figure, and measures
the diversity of their minibatches: the mean entropy of the plate in them. Needs, besides cellring: annbatch[zarrs], cellstream, scDataset, torch.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import datetime
import itertools
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

warnings.filterwarnings("ignore")
BATCH = 64


def make(folder: pathlib.Path, cells: int) -> None:
    import anndata
    import annbatch
    import cellstream

    import cellring

    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "cells.h5ad"
    if not source.exists():
        subprocess.run([sys.executable, "-m", "cellring", "synth", source, "--n-obs", str(cells), "--n-vars", "62710"], check=True)
    cellring.convert(source, folder / "cells.cellring", var_order="detection", force=True)
    if not (folder / FILES["gzip"]).exists():
        cellring.export(folder / "cells.cellring", folder / FILES["gzip"], compression="gzip")
    for version in [2, 3]:
        file = folder / FILES[f"zarr{version}"]
        if not file.exists():
            anndata.settings.zarr_write_format = version
            anndata.read_h5ad(source).write_zarr(file)
    if not (folder / "annbatch.zarr").exists():
        annbatch.DatasetCollection(os.fspath(folder / "annbatch.zarr")).add_adatas(adata_paths=[os.fspath(source)], shuffle=True)
    cellstream.write_sharded(os.fspath(source), os.fspath(folder / "cells.csad"), layout="cell", overwrite=True)


def torch_csr(x) -> object:
    import torch

    index = x.indptr.dtype if x.indptr.dtype == x.indices.dtype else np.int64
    arrays = (x.indptr.astype(index, copy=False), x.indices.astype(index, copy=False), x.data)
    indptr, indices, data = map(torch.from_numpy, arrays)
    return torch.sparse_csr_tensor(indptr, indices, data, size=x.shape, check_invariants=False)


# The .h5ad as anndata writes it by default, and compressed; and zarr, of both versions, as anndata writes it.
FILES = {"plain": "cells.h5ad", "gzip": "cells-gzip.h5ad", "zarr3": "cells-v3.zarr", "zarr2": "cells-v2.zarr"}

# Block sizes and fetch factors at which files are read where they lie.
LINKED = [(1, 64), (16, 64), (64, 256)]


def cellring_loader(folder: pathlib.Path, file: str = "cells.cellring", **arguments) -> Callable[[int], Iterable]:
    import cellring

    loader = cellring.Loader(folder / file, batch_size=BATCH, **arguments)

    def minibatches(epoch: int) -> Iterable:
        if epoch % 100 == 0:
            # A run begins: the store is opened, and whether to read past the page cache is decided by what is in it now.
            loader.close()
        loader.set_epoch(epoch)
        for minibatch in loader:
            yield minibatch.x

    return minibatches


def annbatch_batches(folder: pathlib.Path, epoch: int, chunk: int = 512, preload: int = 32, obs_columns: list[str] | None = None) -> Iterable:
    import anndata
    import annbatch
    import zarr

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})

    def load(group):
        obs = None if obs_columns is None else anndata.io.read_elem(group["obs"])[obs_columns]
        return anndata.AnnData(X=anndata.io.sparse_dataset(group["X"]), obs=obs)

    collection = annbatch.DatasetCollection(zarr.open(os.fspath(folder / "annbatch.zarr"), mode="r"))
    loader = annbatch.Loader(batch_size=BATCH, chunk_size=chunk, preload_nchunks=preload, shuffle=True, to=None, rng=np.random.default_rng(epoch))
    loader.use_collection(collection, load_adata=load)
    return loader


def annbatch_loader(folder: pathlib.Path, chunk: int = 512, preload: int = 32, transform=torch_csr) -> Callable[[int], Iterable]:
    def minibatches(epoch: int) -> Iterable:
        for batch in annbatch_batches(folder, epoch, chunk, preload):
            yield transform(batch["X"])

    return minibatches


def cellstream_loader(folder: pathlib.Path) -> Callable[[int], Iterable]:
    import cellstream

    store = cellstream.open(os.fspath(folder / "cells.csad"))

    def minibatches(epoch: int) -> Iterable:
        order = np.random.default_rng(epoch).permutation(len(store.obs))
        for at in range(0, len(order) - BATCH + 1, BATCH):
            yield torch_csr(store.gather_rows(order[at : at + BATCH]))

    return minibatches


def scdataset_strategy(block: int | None):
    """Blocks of so many cells, or storage order."""
    from scdataset import BlockShuffling, Streaming

    return Streaming() if block is None else BlockShuffling(block_size=block)


def scdataset_loader(
    folder: pathlib.Path, block: int | None, fetch: int, of_store: bool = False, file: str = "cells.h5ad"
) -> Callable[[int], Iterable]:
    import anndata
    import zarr
    from scdataset import scDataset

    import cellring

    class Rows:
        """A fetch that scDataset may index."""

        def __init__(self, x) -> None:
            self.x = x

        def __getitem__(self, places):
            return Rows(self.x[places])

    class Cells:
        def __init__(self) -> None:
            if of_store:
                self.x = cellring.Store(folder / "cells.cellring")
            elif file.endswith(".zarr"):
                self.x = anndata.io.sparse_dataset(zarr.open(folder / file, mode="r")["X"])
            else:
                self.x = anndata.read_h5ad(folder / file, backed="r").X

        def __len__(self) -> int:
            return self.x.shape[0]

        def __getitem__(self, ids):
            return Rows(self.x[ids])

    cells = Cells()

    def minibatches(epoch: int) -> Iterable:
        data = scDataset(cells, scdataset_strategy(block), batch_size=BATCH, fetch_factor=fetch, seed=epoch)
        for batch in data:
            yield torch_csr(batch.x)

    return minibatches


def anndata_blocks(folder: pathlib.Path, file: str, block: int) -> Callable[[int], Iterable]:
    """Minibatches of random blocks, each read on its own through backed AnnData: the loop that people write first."""
    import anndata

    x = anndata.read_h5ad(folder / file, backed="r").X

    def minibatches(epoch: int) -> Iterable:
        blocks = np.random.default_rng(epoch).permutation(x.shape[0] // block)
        taken = BATCH // block
        for at in range(0, len(blocks) - taken + 1, taken):
            # HDF5 reads ascending places only.
            starts = np.sort(blocks[at : at + taken]) * block
            yield torch_csr(x[(starts[:, None] + np.arange(block)).ravel()])

    return minibatches


# Cells of a call.
ROWS = [64, 1024, 16384]


def rows_of(get: Callable[[np.ndarray], object], n_obs: int, n: int) -> Callable[[int], Iterable]:
    """Random cells by number, so many in a call: what a notebook does, or a loader of one's own."""

    def minibatches(epoch: int) -> Iterable:
        random = np.random.default_rng(epoch)
        while True:
            yield get(random.integers(0, n_obs, n))

    return minibatches


def cellring_rows(folder: pathlib.Path, n: int) -> Callable[[int], Iterable]:
    import cellring

    store = cellring.Store(folder / "cells.cellring")
    return rows_of(store.__getitem__, len(store), n)


def cellstream_rows(folder: pathlib.Path, n: int) -> Callable[[int], Iterable]:
    import cellstream

    store = cellstream.open(os.fspath(folder / "cells.csad"))
    return rows_of(store.gather_rows, len(store.obs), n)


def anndata_rows(folder: pathlib.Path, n: int) -> Callable[[int], Iterable]:
    import anndata

    x = anndata.read_h5ad(folder / "cells.h5ad", backed="r").X
    # HDF5 reads ascending places only.
    return rows_of(lambda ids: x[np.unique(ids)], x.shape[0], n)


def log1p_of_genes(genes: int) -> Callable:
    """What a model with dense input does with annbatch: genes, library size and logarithm in torch."""
    import torch

    columns = np.arange(genes)

    def transform(x):
        sums = torch.from_numpy(np.asarray(x.sum(axis=1), dtype=np.float32)).clamp_min(1)
        dense = torch.from_numpy(np.asarray(x[:, columns].toarray(), dtype=np.float32))
        return torch.log1p(dense / sums * 1e4)

    return transform


def settings(folder: pathlib.Path) -> dict[str, tuple[str | list[str] | None, Callable[[], Callable[[int], Iterable]]]]:
    """For each setting what it is compared with, and what makes it."""
    import cellring

    def names(n: int) -> list[str]:
        return cellring.Loader(folder / "cells.cellring").var_names[:n].tolist()

    linked = {}
    for kind, file in FILES.items():
        for block, fetch in LINKED:
            form = f"{kind}, block {block} x {fetch}"
            linked[f"scDataset {form}"] = (None, lambda block=block, fetch=fetch, file=file: scdataset_loader(folder, block, fetch, file=file))
            others = [f"scDataset {form}"] + [f"AnnData {kind}, block {block}"] * file.endswith(".h5ad")
            linked[f"linked {form}"] = (
                others,
                lambda block=block, fetch=fetch, file=file: cellring_loader(folder, file, block_size=block, fetch_factor=fetch),
            )
    # The same blocks of the store that the files were converted to, and of the file without a loader.
    for block, fetch in LINKED:
        others = [f"linked {kind}, block {block} x {fetch}" for kind in FILES]
        linked[f"cellring converted, block {block} x {fetch}"] = (
            others,
            lambda block=block, fetch=fetch: cellring_loader(folder, block_size=block, fetch_factor=fetch),
        )
        for kind in ["plain", "gzip"]:
            linked[f"AnnData {kind}, block {block}"] = (None, lambda block=block, kind=kind: anndata_blocks(folder, FILES[kind], block))
    rows = {}
    for n in ROWS:
        rows[f"cellstream rows, {n}"] = (None, lambda n=n: cellstream_rows(folder, n))
        rows[f"AnnData rows, {n}"] = (None, lambda n=n: anndata_rows(folder, n))
        rows[f"cellring rows, {n}"] = ([f"cellstream rows, {n}", f"AnnData rows, {n}"], lambda n=n: cellring_rows(folder, n))
    return {
        **linked,
        **rows,
        "annbatch": (None, lambda: annbatch_loader(folder)),
        "cellring block 16": ("annbatch", lambda: cellring_loader(folder)),
        "scDataset block 16": ("annbatch", lambda: scdataset_loader(folder, 16, 64)),
        **{f"cellring block {block}": (None, lambda block=block: cellring_loader(folder, block_size=block)) for block in [64, 256]},
        "cellring sequential": (None, lambda: cellring_loader(folder, strategy="sequential")),
        "scDataset streaming": (None, lambda: scdataset_loader(folder, None, 64)),
        "scDataset block 16 on a Store": ("scDataset block 16", lambda: scdataset_loader(folder, 16, 64, of_store=True)),
        "cellstream random": (None, lambda: cellstream_loader(folder)),
        "cellring random": ("cellstream random", lambda: cellring_loader(folder, block_size=1)),
        "annbatch dense 2,000 log1p": (None, lambda: annbatch_loader(folder, transform=log1p_of_genes(2000))),
        "cellring dense 2,000 log1p": (
            "annbatch dense 2,000 log1p",
            lambda: cellring_loader(folder, layout="dense", genes=names(2000), normalize=True, log1p=True),
        ),
    }


# What the figure shows: system and setting as it calls them, and where the minibatches of the first epoch have their cells from.
FIGURE: dict[str, tuple[str, str, Callable[[pathlib.Path, int], Iterable[np.ndarray]] | None]] = {
    "cellring random": ("cellring", "block size 1", lambda folder, n: cellring_ids(folder, block_size=1)),
    "cellring block 16": ("cellring", "block size 16", lambda folder, n: cellring_ids(folder, block_size=16)),
    "cellring block 64": ("cellring", "block size 64", lambda folder, n: cellring_ids(folder, block_size=64)),
    "cellring block 256": ("cellring", "block size 256", lambda folder, n: cellring_ids(folder, block_size=256)),
    "cellring sequential": ("cellring", "storage order", lambda folder, n: cellring_ids(folder, strategy="sequential")),
    # Its cells were shuffled when they were written: it is asked for plates.
    "annbatch": ("annbatch", "chunks of 512", None),
    "cellstream random": ("cellstream", "true random", lambda folder, n: permuted(n)),
    "scDataset block 16": ("scDataset", "block size 16", lambda folder, n: scdataset_ids(n, 16, 64)),
    "scDataset streaming": ("scDataset", "streaming", lambda folder, n: scdataset_ids(n, None, 64)),
    "AnnData plain, block 1": ("AnnData backed", "true random", lambda folder, n: permuted(n)),
}
# Minibatches in which the diversity is measured.
LOOKED_AT = 500


def cellring_ids(folder: pathlib.Path, **arguments) -> Iterable[np.ndarray]:
    import cellring

    for minibatch in cellring.Loader(folder / "cells.cellring", batch_size=BATCH, to="numpy", **arguments):
        yield minibatch.ids


def scdataset_ids(n: int, block: int | None, fetch: int) -> Iterable[np.ndarray]:
    from scdataset import scDataset

    return scDataset(np.arange(n), scdataset_strategy(block), batch_size=BATCH, fetch_factor=fetch, seed=0)


def permuted(n: int) -> Iterable[np.ndarray]:
    order = np.random.default_rng(0).permutation(n)
    return (order[at : at + BATCH] for at in range(0, n - BATCH + 1, BATCH))


def entropy(folder: pathlib.Path, setting: str) -> float:
    """The mean entropy of the plate within minibatches, in bits."""
    import cellring

    plates = cellring.Store(folder / "cells.cellring").obs["plate"].cat.codes.to_numpy()
    ids_of = FIGURE[setting][2]
    if ids_of is None:
        of_minibatches = (batch["obs"]["plate"].cat.codes.to_numpy() for batch in annbatch_batches(folder, 0, obs_columns=["plate"]))
    else:
        of_minibatches = (plates[np.asarray(ids)] for ids in ids_of(folder, len(plates)))
    found = []
    for codes in itertools.islice(of_minibatches, LOOKED_AT):
        shares = np.bincount(codes) / len(codes)
        shares = shares[shares > 0]
        found.append(-(shares * np.log2(shares)).sum())
    return float(np.mean(found))


def figure(folder: pathlib.Path, rounds: int, seconds: float, machine: str, record: str) -> None:
    directory = pathlib.Path(__file__).parent / "record"
    only = "^(" + "|".join(map(re.escape, FIGURE)) + ")$"
    rates = run(folder, rounds, seconds, only, None)
    today = datetime.date.today().isoformat()
    with open(directory / "throughput.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["system", "setting", "source", "entropy_bits", "cells_per_second", "date", "machine", "record"])
        for mode, (setting, (system, shown, _)) in itertools.product(["disk", "cache"], FIGURE.items()):
            rate = statistics.median(rates[setting, mode])
            table.writerow([system, shown, mode, f"{entropy(folder, setting):.2f}", round(rate), today, machine, record])
    subprocess.run([sys.executable, directory / "throughput.py"], check=True)


def drop_caches() -> None:
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


def read_all(paths: Iterable[pathlib.Path]) -> None:
    for path in paths:
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        for file in files:
            with open(file, "rb", buffering=0) as opened:
                while opened.read(1 << 24):
                    pass


def store_of(folder: pathlib.Path, setting: str) -> pathlib.Path:
    kind = setting.split(",")[0].split()[-1]
    if kind in FILES:
        return folder / FILES[kind]
    if "on a Store" in setting or setting.startswith(("cellring", "command")):
        return folder / "cells.cellring"
    return folder / {"annbatch": "annbatch.zarr", "cellstream": "cells.csad", "scDataset": "cells.h5ad", "AnnData": "cells.h5ad"}[setting.split()[0]]


class Evictor:
    """Throws the pages of a store out of the page cache, again and again, mapped or not."""

    def __init__(self, store: pathlib.Path) -> None:
        files = [store] if store.is_file() else [file for file in store.rglob("*") if file.is_file()]
        self._names = {os.fspath(file.resolve()) for file in files}
        self._files = [os.open(name, os.O_RDONLY) for name in self._names]
        self._libc = ctypes.CDLL(None)
        self._libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._stop = threading.Event()
        #: Seconds of CPU that it has taken.
        self.cpu = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        dont_need = 4
        while not self._stop.wait(0.25):
            # A page that is mapped stays in the cache.
            for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
                if line.partition("/")[1] and "/" + line.partition("/")[2] in self._names:
                    begin, end = (int(address, 16) for address in line.split()[0].split("-"))
                    self._libc.madvise(begin, end - begin, dont_need)
            for file in self._files:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            self.cpu = time.thread_time()

    def __enter__(self) -> Evictor:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        for file in self._files:
            os.close(file)


class Run(NamedTuple):
    cells: int
    cells_per_second: float
    #: Microseconds of all cores for each cell.
    cpu: float
    #: Microseconds of the thread that takes them for each minibatch.
    consumer: float
    #: Milliseconds until each minibatch after the one before it.
    waits: np.ndarray


def measure(epochs: Callable[[int], Iterable], first: int, seconds: float) -> Run:
    """Takes minibatches of as many epochs as there is time for."""
    since, cpu, own = time.perf_counter(), time.process_time(), time.thread_time()
    cells, times = 0, [since]
    for x in itertools.chain.from_iterable(epochs(epoch) for epoch in itertools.count(100 * first)):
        cells += x.shape[0]
        times.append(time.perf_counter())
        if times[-1] - since > seconds:
            break
    own = time.thread_time() - own
    cpu = time.process_time() - cpu
    return Run(cells, cells / (times[-1] - since), 1e6 * cpu / cells, 1e6 * own / (len(times) - 1), 1000 * np.diff(times))


def of_command(folder: pathlib.Path, block: int, epoch: int, seconds: float) -> Run:
    """`cellring epoch`: the same minibatches without Python."""
    arguments = ["--block-size", str(block), "--epoch", str(epoch), "--seconds", str(seconds), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "cellring", "epoch", folder / "cells.cellring", *arguments], capture_output=True, text=True, check=True
    )
    report = json.loads(done.stdout)
    return Run(report["cells"], report["cells_per_second"], 1e6 * report["cpu_seconds"] / report["cells"], np.nan, np.full(1, np.nan))


def run(folder: pathlib.Path, rounds: int, seconds: float, only: str, out: str | None) -> dict[tuple[str, str], list[float]]:
    import torch

    torch.set_num_threads(1)
    wanted = {name: setting for name, setting in settings(folder).items() if re.search(only, name)}
    made = {name: make() for name, (_, make) in wanted.items()}
    commands = {"command block 16": (16, "cellring block 16"), "command random": (1, "cellring random")}
    runs: dict[tuple[str, str], list[Run]] = {}

    def measured(name: str, round_: int) -> Run:
        if name in commands:
            return of_command(folder, commands[name][0], round_, seconds)
        return measure(made[name], round_, seconds)

    for round_, mode in itertools.product(range(rounds), ("disk", "cache")):
        for name in [*made, *(name for name in commands if re.search(only, name))]:
            store = store_of(folder, name)
            if mode == "disk":
                drop_caches()
                with Evictor(store) as evictor:
                    found = measured(name, round_)
                found = found._replace(cpu=found.cpu - 1e6 * evictor.cpu / found.cells)
            else:
                read_all([store])
                found = measured(name, round_)
            runs.setdefault((name, mode), []).append(found)
            print(f"round {round_}, {mode}: {name}: {found.cells_per_second:,.0f} cells/s, the first after {found.waits[0]:,.0f} ms", file=sys.stderr)
    beside = {name: [other] if isinstance(other, str) else other or [] for name, (other, _) in wanted.items()}
    for command, (_, name) in commands.items():
        beside.setdefault(name, []).append(command)
    rates = {key: [run.cells_per_second for run in of_setting] for key, of_setting in runs.items()}
    print("| setting | mode | cells/s (least, most) | CPU, us per cell | consumer, us per minibatch | first, ms | calls, ms: p50, p99 | beside | ratio (least, most) |\n|---|---|---|---|---|---|---|---|---|")
    for (name, mode), found in rates.items():
        spread = f"{statistics.median(found):,.0f} ({min(found):,.0f}, {max(found):,.0f})"
        first = statistics.median(run.waits[0] for run in runs[name, mode])
        # The first call opens what it needs.
        calls = np.concatenate([run.waits[1:] for run in runs[name, mode]])
        of_calls = f"{np.percentile(calls, 50):.2f}, {np.percentile(calls, 99):.2f}" if " rows, " in name and len(calls) else ""
        cpu = statistics.median(run.cpu for run in runs[name, mode])
        consumer = statistics.median(run.consumer for run in runs[name, mode])
        row = f"| {name} | {mode} | {spread} | {cpu:.1f} | {consumer:.0f} | {first:.0f} | {of_calls} |"
        compared = [(other, rates[other, mode]) for other in beside.get(name, []) if (other, mode) in rates]
        for other, others in compared:
            ratios = [mine / theirs for mine, theirs in zip(found, others)]
            print(f"{row} {other} | {statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f}) |")
        if not compared:
            print(f"{row} | |")
    if out:
        lines = [
            {"setting": name, "mode": mode, "cells_per_second": rates[name, mode], "cpu_us_per_cell": [run.cpu for run in found]}
            for (name, mode), found in runs.items()
        ]
        pathlib.Path(out).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "run", "figure"])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", default=".")
    parser.add_argument("--json")
    parser.add_argument("--machine")
    parser.add_argument("--record")
    given = parser.parse_args()
    if given.what == "make":
        make(given.folder, given.cells)
    elif given.what == "figure":
        if not given.machine or not given.record:
            parser.error("figure needs --machine and --record, which the table names")
        figure(given.folder, given.rounds, given.seconds, given.machine, given.record)
    else:
        run(given.folder, given.rounds, given.seconds, given.only, given.json)


if __name__ == "__main__":
    main()
