"""Copies to a GPU that are under way, and the memory that they read."""

from __future__ import annotations

import threading
from typing import Any

# Events after copies, with what these read from: it must not be used again before they are done.
_copies: list[tuple[Any, Any]] = []
_lock = threading.Lock()


def keep(source: Any, device: Any) -> None:
    """Keeps what the copies read that were put on the current stream of a device, until an event after them has occurred.

    What is no longer needed goes with the next call.
    """
    import torch

    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    with _lock:
        _copies[:] = [*((other, kept) for other, kept in _copies if not other.query()), (event, source)]
