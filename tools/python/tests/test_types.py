"""Stubs are true of the compiled half, and the package's types of what users write."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import cellring

TESTS = pathlib.Path(__file__).resolve().parent
PACKAGE = pathlib.Path(cellring.__file__).resolve().parent
CONFIG = TESTS / "mypy.ini"


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """Runs a module of mypy in an empty directory, and returns its exit code and what it says. What it learns is kept between runs."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("mypy")

    def run(module: str, *arguments: object, cwd: pathlib.Path = folder) -> tuple[int, str]:
        environment = {**os.environ, "MYPY_CACHE_DIR": os.fspath(folder / "cache"), "PYTHONPATH": os.fspath(PACKAGE.parent)}
        if "site-packages" not in PACKAGE.parts:
            environment["MYPYPATH"] = os.fspath(PACKAGE.parent)
        command = [sys.executable, "-m", module, *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_stub_is_true_of_the_compiled_half(mypy):
    code, said = mypy("mypy.stubtest", "cellring._cellring", "--mypy-config-file", CONFIG)
    assert code == 0, said


def test_the_package_is_sound(mypy):
    code, said = mypy("mypy", "--config-file", CONFIG, "-p", "cellring")
    assert code == 0, said


def test_types_are_there_for_users(mypy):
    assert (PACKAGE / "py.typed").exists()
    code, said = mypy("mypy", "--config-file", CONFIG, "--strict", TESTS / "typed_usage.py")
    assert code == 0, said


def test_examples_of_the_readme(mypy, tmp_path):
    from test_documentation import BLOCKS

    for block in BLOCKS.values():
        if block.language == "python":
            (tmp_path / f"line_{block.line}.py").write_text(block.code + "\n")
    files = sorted(tmp_path.glob("*.py"))
    assert files
    # Functions of examples have no types, and of Lightning mypy knows none here.
    allowed = ("--allow-untyped-defs", "--allow-untyped-calls", "--allow-subclassing-any")
    code, said = mypy("mypy", "--config-file", CONFIG, "--strict", *allowed, *files, cwd=tmp_path)
    assert code == 0, said


def test_mistakes_are_found(mypy, tmp_path):
    path = tmp_path / "wrong_usage.py"
    shutil.copy(TESTS / "wrong_usage.py", path)
    code, said = mypy("mypy", "--config-file", CONFIG, "--strict", path, cwd=tmp_path)
    assert code == 1, said
    found = {int(line) for line in re.findall(r"^wrong_usage\.py:(\d+): error", said, flags=re.MULTILINE)}
    lines = path.read_text().splitlines()
    assert found == {number for number, line in enumerate(lines, start=1) if line.endswith("# wrong")}, said


def test_the_examples_of_types_run(store, source, tmp_path):
    import typed_usage

    typed_usage.look(store)
    typed_usage.load(store)
    assert "not there" in typed_usage.fail(store)
    typed_usage.convert(os.fspath(source), os.fspath(tmp_path / "new.cellring"))
