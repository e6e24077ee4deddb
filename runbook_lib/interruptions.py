"""Ctrl-C, SIGTERM and a closed terminal, recorded instead of obeyed at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruptions:
    """Records Ctrl-C, SIGTERM and a closed terminal, so that an interrupted run is still archived."""

    def __init__(self) -> None:
        self.signals: list[signal.Signals] = []

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signals.append(signal.Signals(number))

    @contextmanager
    def collected(self) -> Iterator[Interruptions]:
        """Record signals inside the block. Does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores a closed terminal
            numbers.append(signal.SIGHUP)
        before = [signal.signal(number, self._note) for number in numbers]
        try:
            yield self
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
