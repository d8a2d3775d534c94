"""The progress of the commands: as a function, a bar and a widget."""

from __future__ import annotations

import os

import pytest
from command_helpers import LIMIT, PACKAGE
from conftest import MOUSE, names_of

import cellring

pytestmark = pytest.mark.usefixtures("written")


def test_progress_as_a_function(tmp_path, large):
    seen: list[tuple[int, int]] = []
    cellring.convert(large, tmp_path / "s", progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 2 and all(0 <= done <= total for done, total in seen)
    assert seen[-1][0] == seen[-1][1] > 0


def test_progress_that_fails(tmp_path, large):
    """The conversion ends, and leaves nothing."""

    def fail(done: int, total: int) -> None:
        raise ZeroDivisionError("of the caller's")

    with pytest.raises(ZeroDivisionError, match="of the caller's"):
        cellring.convert(large, tmp_path / "s", progress=fail)
    assert names_of(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError("not today"), AttributeError("not today"), KeyError("not today")])
def test_what_a_function_of_progress_raises_is_for_the_caller(tmp_path, error):
    def fail(done, total):
        raise error

    with pytest.raises(type(error), match="not today"):
        cellring.convert(MOUSE, tmp_path / "s", progress=fail)
    assert not (tmp_path / "s").exists()


def test_progress_as_a_bar(tmp_path, large, capfd):
    pytest.importorskip("tqdm")
    cellring.convert(large, tmp_path / "s", progress=True)
    said = capfd.readouterr()
    assert "convert: " in said.err and "%" in said.err and said.out == ""
    for progress in (False, None):
        cellring.convert(large, tmp_path / "s", progress=progress, force=True)
        said = capfd.readouterr()
        assert said.err == said.out == ""


IN_TERMINAL = """
import fcntl, struct, sys, termios
import cellring
# A new terminal has no size.
fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
cellring.convert(*sys.argv[1:])
"""


def test_progress_in_a_terminal(run_python, large, tmp_path):
    """There it is shown without being asked for."""
    script = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-c', *sys.argv[1:]]))"
    assert "convert: " in run_python(script, IN_TERMINAL, large, tmp_path / "s")


def test_progress_in_a_notebook(tmp_path):
    """In a kernel of Jupyter it is a widget, without being asked for."""
    pytest.importorskip("ipywidgets")
    pytest.importorskip("ipykernel")
    from jupyter_client.manager import start_new_kernel

    cell = f"import cellring; print(cellring.convert({os.fspath(MOUSE)!r}, {os.fspath(tmp_path / 's')!r})['n_obs'])"
    manager, client = start_new_kernel(env={**os.environ, "PYTHONPATH": PACKAGE})
    try:
        client.execute(cell)
        said = []
        while not said or said[-1] != ("status", {"execution_state": "idle"}):
            message = client.get_iopub_msg(timeout=LIMIT)
            said.append((message["msg_type"], message["content"]))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert ("stream", {"name": "stdout", "text": "10000\n"}) in said
    shown = [content["data"] for kind, content in said if kind == "display_data"]
    assert len(shown) == 1 and "application/vnd.jupyter.widget-view+json" in shown[0]
    assert shown[0]["text/plain"].startswith("convert: ")
    # How far it came is shown only if it took long enough.
    states = [content["data"].get("state", {}).get("value") for kind, content in said if kind in ("comm_open", "comm_msg")]
    assert any(isinstance(value, str) and value.startswith("convert:") for value in states), states


def test_progress_without_tqdm(run_python, tmp_path):
    script = """
import sys
sys.modules["tqdm"] = None
import cellring
cellring.convert(*sys.argv[1:], progress=None)
try:
    cellring.convert(*sys.argv[1:], progress=True, force=True)
except cellring.InputError as error:
    print(error)
"""
    assert "pip install tqdm" in run_python(script, MOUSE, tmp_path / "s")


@pytest.mark.parametrize("progress", [1, "yes", []])
def test_progress_that_is_none(tmp_path, progress):
    with pytest.raises(cellring.InputError, match="progress=.*expected True, False, or a function"):
        cellring.convert(MOUSE, tmp_path / "s", progress=progress)
