"""The example programs run, and find what their README.md says."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

import cellring

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"


def test_train(tmp_path):
    for package in ("torch", "anndata"):
        pytest.importorskip(package)
    plot = tmp_path / "plot.svg"
    settings = {"EPOCHS": "1", "SEEDS": "1", "COPIES": "3", "OUT": os.fspath(plot), "MPLBACKEND": "agg"}
    settings["PYTHONPATH"] = os.fspath(pathlib.Path(cellring.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, os.fspath(EXAMPLES / "train.py")],
        cwd=tmp_path,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "CellringWarning" not in done.stderr, f"{done.stdout}\n{done.stderr}"
    rows = re.findall(r"^(\w[^\n]*?) +(0\.\d{3}) +0\.\d{3}$", done.stdout, re.MULTILINE)
    found = {name: float(accuracy) for name, accuracy in rows}
    said = re.findall(r"^\| (\w[^|]*) \| (0\.\d{3}) \| 0\.\d{3} \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert len(said) == len(found) == 3, done.stdout
    for (name, accuracy), (printed, measured) in zip(said, found.items()):
        assert name.split(",")[0] == printed.split(",")[0]
        # The README's are means of three seeds.
        assert measured == pytest.approx(float(accuracy), abs=0.03), done.stdout
    # Large blocks of a sorted store mix badly.
    bits = [float(bits) for bits in re.findall(r"^ +\d+ +[\d,]+ +(\d\.\d\d)$", done.stdout, re.MULTILINE)]
    assert len(bits) == 6 and bits[0] > 1.9 and bits[-1] < 1, done.stdout
    if importlib.util.find_spec("matplotlib") is None:
        assert "matplotlib is not installed" in done.stdout
    else:
        assert "cells per second" in plot.read_text()
