"""Ctrl-C that is safe: the step under way is finished and a checkpoint written before the program stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """requested: the user, or a scheduler with SIGTERM, wants the run to stop after this step."""

    requested: bool = False


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """SIGINT and SIGTERM become a request while the block runs. A second one stops at once.

    Outside the main thread, where Python allows no handlers, signals keep their meaning.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
