"""Ctrl-C and SIGTERM as a request, so that a run ends between two steps and not inside one."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from groundup._signals import raise_if_received


class Interrupt:
    """While entered, the first SIGINT or SIGTERM only sets `requested`.

    A second one does what it did before: SIGINT raises KeyboardInterrupt, SIGTERM kills, or raises
    in a command of ours. Signals are delivered to the main thread; entered in another, nothing
    changes.
    """

    _signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        raise_if_received()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in self._signals}
            for number in self._signals:
                signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
