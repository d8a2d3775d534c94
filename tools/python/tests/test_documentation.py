"""The examples of README.md and of docstrings run, and what README.md says of names is true."""

from __future__ import annotations

import ast
import builtins
import doctest
import importlib
import importlib.util
import inspect
import os
import pathlib
import re
import subprocess
import sys
import warnings
from typing import Any, NamedTuple

import pytest

import cellring

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
README = PACKAGE / "README.md"


class Block(NamedTuple):
    """A block of code of README.md."""

    language: str
    mark: str
    """What the comment before it says: ``run``, or ``not run, ...``."""
    line: int
    code: str


def blocks() -> dict[str, Block]:
    """The blocks of code, by the heading above them and their line."""
    made: dict[str, Block] = {}
    heading, mark, language, lines = "", "", None, []
    for number, line in enumerate(README.read_text().splitlines(), start=1):
        if language is not None:
            if line == "```":
                begin = number - len(lines)
                made[f"{heading}, line {begin}"] = Block(language, mark, begin, "\n".join(lines))
                mark, language, lines = "", None, []
            else:
                lines.append(line)
        elif line.startswith("```"):
            language = line[3:]
        elif found := re.fullmatch(r"<!-- test: (.*) -->", line):
            mark = found[1]
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    assert language is None, "a block of README.md is not closed"
    return made


BLOCKS = blocks()


def needed(code: str) -> set[str]:
    """The packages that a piece of code imports, and torch where it has a loader of tensors."""
    names = {"torch"} if "cellring.Loader(" in code and ' to="' not in code else set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    # Modules of the package have the names of what they need.
    return {name.removeprefix("cellring.").partition(".")[0] for name in names}


def skip_without(packages: set[str], where: str) -> None:
    missing = [package for package in sorted(packages) if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed, and needed at {where}")


@pytest.fixture
def folder(tmp_path, monkeypatch, source, store, adata):
    """A directory with the files that the examples read, which is the current one."""
    (tmp_path / "cells.h5ad").hardlink_to(source)
    (tmp_path / "cells.cellring").symlink_to(store)
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "cellring").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cellring "$@"\n')
    (commands / "cellring").chmod(0o755)
    paths = [os.fspath(pathlib.Path(cellring.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("PATH", os.pathsep.join([os.fspath(commands), os.environ["PATH"]]))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


def prepare(code: str, folder: pathlib.Path, adata: Any) -> None:
    """What only some examples need, or make themselves."""
    if 'cellring.convert("cells.h5ad", "cells.cellring"' in code:
        (folder / "cells.cellring").unlink()
    if "first.cellring" in code:
        for name, part in (("first", adata[:600]), ("second", adata[600:, 100:])):
            cellring.convert(part.copy(), folder / f"{name}.cellring")


@pytest.mark.parametrize("name", BLOCKS)
def test_readme(name, folder, adata):
    block = BLOCKS[name]
    where = f"README.md:{block.line}"
    if block.language == "python":
        skip_without(needed(block.code), where)
        prepare(block.code, folder, adata)
        # With its own line numbers in tracebacks.
        code = compile("\n" * (block.line - 1) + block.code, os.fspath(README), "exec")
        with warnings.catch_warnings():
            warnings.filterwarnings("error", category=cellring.CellringWarning)
            # The shortest examples leave out what the file has beside X.
            warnings.filterwarnings("ignore", message="not stored", category=cellring.CellringWarning)
            exec(code, {"__name__": "readme"})
        return
    assert block.language == "sh" and re.fullmatch(r"run|not run, .+", block.mark), f"{where}: say whether it is run"
    if block.mark != "run":
        pytest.skip(f"{where}: {block.mark}")
    done = subprocess.run(["bash", "-euc", block.code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{where}: code {done.returncode}\n{done.stdout}\n{done.stderr}"


def test_the_front_page_of_the_repository(folder, adata):
    page = PACKAGE.parents[1] / "README.md"
    code = re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(code) == 1
    skip_without(needed(code[0]), "README.md")
    prepare(code[0], folder, adata)
    exec(compile(code[0], os.fspath(page), "exec"), {"__name__": "readme"})


def test_readme_is_short_and_its_links_lead_somewhere():
    text = README.read_text()
    assert len(text.splitlines()) <= 330
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        assert link.startswith("https://") or (PACKAGE / link.partition("#")[0]).exists(), link


def test_readme_names_every_exception_and_what_else_it_is():
    rows = re.findall(r"^\| (`\w*Error`(?:, `\w+`)*) \| `(\w+)` \|", README.read_text(), flags=re.MULTILINE)
    named = {name: getattr(builtins, base) for names, base in rows for name in re.findall(r"\w+", names)}
    assert set(named) == {name for name in cellring.__all__ if name.endswith("Error")} - {"CellringError"}
    for name, base in named.items():
        assert issubclass(getattr(cellring, name), base) and issubclass(getattr(cellring, name), cellring.CellringError)


def test_readme_names_what_there_is():
    """Names of arguments in the table of other loaders, and of what minibatches have."""
    text = README.read_text()
    arguments = set(inspect.signature(cellring.Loader).parameters)
    table = text[text.index("| cellring.Loader |") :].split("\n\n")[0].splitlines()[2:]
    ours = {name for row in table for name in re.findall(r"`(\w+)(?:=[^`]*)?`", row.split("|")[1])}
    ours -= {"torch", "jax", "sequential"}
    assert len(ours) > 15 and ours <= arguments, ours - arguments
    table = text[text.index("| `x` or `X` |") :].split("\n\n")[0].splitlines()
    names = {name for row in table for name in re.findall(r"`(\w+)(?:\(\))?`", row.split("|")[1])}
    assert len(names) > 12 and all(hasattr(cellring.Minibatch, name) for name in names), names


def test_names_of_other_loaders_are_errors_that_help(store):
    text = README.read_text()
    table = text[text.index("| cellring.Loader |") :].split("\n\n")[0].splitlines()[2:]
    arguments = set(inspect.signature(cellring.Loader).parameters)
    theirs = {name for row in table for column in row.split("|")[2:4] for name in re.findall(r"`([a-z_]+)(?:=[^`]*)?`", column)}
    theirs -= arguments | {"use_collection", "add_adata", "torch", "jax"}
    assert len(theirs) > 8
    for name in theirs:
        with pytest.raises(cellring.ArgumentError, match=f"no argument '{name}': (?!did you mean)"):
            cellring.Loader(store, **{name: 1})


def docstrings() -> dict[str, doctest.DocTest]:
    """The docstrings of the package that have examples. Nothing is imported to find them."""
    made, parser = {}, doctest.DocTestParser()
    for path in sorted(pathlib.Path(cellring.__file__).parent.glob("*.py")):
        module = ast.parse(path.read_text())
        for node in ast.walk(module):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
                name = f"{path.stem}.{getattr(node, 'name', '')}".rstrip(".")
                line = node.body[0].lineno - 1
                test = parser.get_doctest(text, {}, name, os.fspath(path), line)
                if test.examples:
                    made[name] = test
    return made


@pytest.fixture
def around(tmp_path):
    """What the examples of docstrings are about and do not make themselves, by name."""

    def make(code: str) -> dict[str, Any]:
        made: dict[str, Any] = {"cellring": cellring, "step": lambda *arguments: 0.0}
        for name in ("torch", "lightning", "scvi"):
            if re.search(rf"\b{name}\.", code):
                made[name] = pytest.importorskip(name)
                importlib.import_module(f"cellring.{name}")
        if "trainer." in code:
            import lightning
            import torch

            class Model(lightning.LightningModule):
                def __init__(self) -> None:
                    super().__init__()
                    self.layer = torch.nn.Linear(1000, 2)

                def training_step(self, minibatch, index):
                    return self.layer(minibatch.x).square().mean()

                def predict_step(self, minibatch, index):
                    return self.layer(minibatch.x)

                def configure_optimizers(self):
                    return torch.optim.SGD(self.parameters(), lr=0.1)

            made["model"] = Model()
            made["trainer"] = lightning.Trainer(
                max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
            )
        return made

    return make


DOCSTRINGS = docstrings()


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_docstrings(name, folder, around, adata):
    """Those that doctest is to skip run as well, for here are the files; what they show is not compared."""
    test = DOCSTRINGS[name]
    code = "".join(example.source for example in test.examples)
    module = pathlib.Path(test.filename or "").stem
    skip_without(needed(code) | (set() if module.startswith("_") else {module}), f"{test.filename}:{test.lineno}")
    prepare(code, folder, adata)
    names = around(code)
    for example in test.examples:
        if example.options.pop(doctest.SKIP, False):
            line = (test.lineno or 0) + example.lineno
            exec(compile("\n" * line + example.source, test.filename or name, "exec"), names)
        else:
            alone = doctest.DocTest([example], names, name, test.filename, test.lineno, test.docstring)
            assert doctest.DocTestRunner().run(alone, clear_globs=False).failed == 0
            names = alone.globs
