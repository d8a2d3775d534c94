"""Where ranks are found: variables of launchers, and ``jax.distributed``."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys

import pytest
from command_helpers import LIMIT, PACKAGE

import cellring

FOUND = """
import sys, cellring
loader = cellring.Loader(sys.argv[1], to="numpy")
print(len(loader), loader._rank())
"""

# What launchers set, and what is made of it.
LAUNCHERS = [
    ({}, "16 (0, 1)\n"),
    ({"RANK": "3", "WORLD_SIZE": "4"}, "4 (3, 4)\n"),
    ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"}, "4 (2, 4)\n"),
    ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "8"}, "2 (1, 8)\n"),
    # A shell within an allocation of SLURM, and `mpirun` within it.
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, "16 (0, 1)\n"),
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, "8 (1, 2)\n"),
    # `srun` of a torchrun for each machine.
    ({"RANK": "5", "WORLD_SIZE": "8", "SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}, "2 (5, 8)\n"),
    # One of two says nothing.
    ({"RANK": "3"}, "16 (0, 1)\n"),
    ({"OMPI_COMM_WORLD_SIZE": "8"}, "16 (0, 1)\n"),
]
VARIABLES = sorted({*(name for variables, _ in LAUNCHERS for name in variables), "RANK", "WORLD_SIZE"})


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Without what launched the tests themselves."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("variables", "expected"), LAUNCHERS)
def test_variables_of_launchers(store, run_python, variables, expected):
    assert run_python(FOUND, store, **variables) == expected


@pytest.mark.parametrize("variables", [{"RANK": "one", "WORLD_SIZE": "2"}, {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": ""}])
def test_variables_that_are_not_numbers(store, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    loader = cellring.Loader(store, to="numpy")
    with pytest.raises(cellring.InputError, match="in the environment are not whole numbers: unset them, or give rank= and world_size="):
        len(loader)
    assert len(cellring.Loader(store, to="numpy", rank=0, world_size=2)) == 8


def test_a_rank_beyond_the_number_of_ranks(store, monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(cellring.InputError, match="rank=2 does not exist among world_size=2"):
        len(cellring.Loader(store, to="numpy"))


# jax.

needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")

OF_JAX = """
import json, os, sys
import jax
import cellring

store, port, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
# Made before the ranks are known.
loader = cellring.Loader(store, to="jax", layout="dense", batch_size=60, seed=5)
jax.distributed.initialize(f"127.0.0.1:{port}", 2, rank)
# jax knows better.
os.environ.update(RANK="0", WORLD_SIZE="7")
epochs = [[(minibatch.ids.tolist(), minibatch.is_padding) for minibatch in loader] for _ in range(2)]
print(json.dumps({"rank": loader._rank(), "length": len(loader), "epochs": epochs}))
jax.distributed.shutdown()
"""


@needs_jax
def test_processes_of_jax_share_an_epoch(store):
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": PACKAGE, "JAX_PLATFORMS": "cpu"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    commands = [[sys.executable, "-c", OF_JAX, store, str(port), str(rank)] for rank in range(2)]
    children = [subprocess.Popen(command, env=environment, **streams) for command in commands]
    try:
        ends = [child.communicate(timeout=LIMIT) for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0, 0], ends
    said = [json.loads(output.splitlines()[-1]) for output, _ in ends]
    assert [of_rank["rank"] for of_rank in said] == [[0, 2], [1, 2]]
    # 1,000 cells make 17 minibatches, one of which is on both ranks.
    assert [of_rank["length"] for of_rank in said] == [9, 9]
    for epoch in range(2):
        minibatches = [minibatch for of_rank in said for minibatch in of_rank["epochs"][epoch]]
        assert len(minibatches) == 18 and sum(is_padding for _, is_padding in minibatches) == 1
        assert sorted(cell for ids, is_padding in minibatches if not is_padding for cell in ids) == list(range(1000))
    assert said[0]["epochs"][0] != said[0]["epochs"][1]


WITHOUT_RANKS = """
import sys
import jax, jax.distributed
import cellring
loader = cellring.Loader(sys.argv[1], to="numpy")
print(len(list(loader)), loader._rank())
# Which would take the memory of a GPU.
from jax._src import xla_bridge
print(xla_bridge.backends_are_initialized())
"""


@needs_jax
def test_jax_that_is_only_imported_is_not_started(store, run_python):
    assert run_python(WITHOUT_RANKS, store, JAX_PLATFORMS="cpu") == "16 (0, 1)\nFalse\n"
