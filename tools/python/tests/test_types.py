"""Stubs are true of the compiled half, and the package's types of what users write, for mypy and for pyright."""

from __future__ import annotations

import json
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


@pytest.fixture
def pyright(tmp_path):
    """Has pyright look at the files in a directory, and returns file, line and text of each error."""
    pytest.importorskip("pyright")

    def run(mode: str, **rules: bool) -> list[tuple[str, int, str]]:
        here = [] if "site-packages" in PACKAGE.parts else [os.fspath(PACKAGE.parent)]
        config = {"typeCheckingMode": mode, "pythonPlatform": "Linux", "extraPaths": here, **rules}
        (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
        command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "."]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        said = json.loads(done.stdout)
        assert said["summary"]["filesAnalyzed"] >= len(list(tmp_path.glob("*.py"))) > 0
        errors = [error for error in said["generalDiagnostics"] if error["severity"] == "error"]
        return [(pathlib.Path(error["file"]).name, error["range"]["start"]["line"] + 1, error["message"]) for error in errors]

    return run


def write_examples(folder: pathlib.Path) -> None:
    """Each of the README's as a file."""
    from test_documentation import BLOCKS

    for block in BLOCKS.values():
        if block.language == "python":
            (folder / f"line_{block.line}.py").write_text(block.code + "\n")
    assert list(folder.glob("*.py"))


def marked(path: pathlib.Path) -> set[int]:
    """The lines that are wrong."""
    return {number for number, line in enumerate(path.read_text().splitlines(), start=1) if line.endswith("# wrong")}


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
    write_examples(tmp_path)
    files = sorted(tmp_path.glob("*.py"))
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
    assert found == marked(path), said


# What the other packages' annotations refuse, though it is what their documentation shows, or what their users write.
THEIRS = ("model.get_latent_representation(", "scvi.model.SCVI.load(", "anndata.experimental.AnnLoader(", 'batch["X"], batch["obs"]')


def test_examples_of_the_readme_for_pyright(pyright, tmp_path):
    write_examples(tmp_path)
    shutil.copy(TESTS.parent / "examples" / "train.py", tmp_path)
    errors = pyright("standard", reportUnusedExpression=False)
    lines = {(name, line): (tmp_path / name).read_text().splitlines()[line - 1] for name, line, _ in errors}
    ours = [error for error in errors if not any(text in lines[error[:2]] for text in THEIRS)]
    assert not ours, ours


def test_types_are_there_for_pyright_and_mistakes_are_found(pyright, tmp_path):
    for name in ("typed_usage.py", "wrong_usage.py"):
        shutil.copy(TESTS / name, tmp_path)
    # "Unknown" is what comes from packages without types, such as scipy.
    unknown = ("Member", "Variable", "Argument", "Parameter", "Lambda")
    errors = pyright("strict", **{f"reportUnknown{kind}Type": False for kind in unknown}, reportMissingTypeStubs=False)
    found = {line for name, line, _ in errors if name == "wrong_usage.py"}
    assert found == marked(tmp_path / "wrong_usage.py"), errors
    assert [error for error in errors if error[0] != "wrong_usage.py"] == []


def test_the_examples_of_types_run(store, source, tmp_path):
    import typed_usage

    typed_usage.look(store)
    typed_usage.load(store)
    assert "not there" in typed_usage.fail(store)
    typed_usage.convert(os.fspath(source), os.fspath(tmp_path / "new.cellring"))
