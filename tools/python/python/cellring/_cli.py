"""The command ``cellring``."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Runs the command line of ``sys.argv`` and returns its exit code."""
    # The command cleans up on signals itself; Python's handler would only note them.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from . import _cellring

    if sys.stdout is not None:
        # What the command prints does not go through Python.
        sys.stdout.flush()
    return _cellring.main(["cellring", *sys.argv[1:]])


def main_of_child() -> int:
    """As ``main``, in a process that another Python has started: it ends with that one, or when that one closes this one's input."""
    import threading

    threading.Thread(target=_end_with_parent, daemon=True).start()
    return main()


def _end_with_parent() -> None:
    # Nothing is ever written there: this returns when the other end is closed.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGINT)
