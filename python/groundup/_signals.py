"""SIGTERM and Ctrl-C end a command with a sentence, from its first moment on; `| head` with none.

Imports nothing but the standard library: the second that a command's own imports take is covered.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class TerminatedError(BaseException):
    """SIGTERM, raised where the program stands, as KeyboardInterrupt is for Ctrl-C."""


_RAISED: dict[int, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: TerminatedError,
}
_SECONDS_BETWEEN_TRIES = 0.02
_received: int | None = None


def call_until_signalled(call: Callable[[], int], prog: str) -> int:
    """`call()`, or the exit code of the signal that ended it, with a sentence on stderr.

    While it runs both signals raise, so that what is half written is cleaned up: not inside an
    import but right after it, and the loop of a training run takes them over for its time. Where a
    signal has a handler already, or is ignored, and in other threads than the main one, nothing
    changes. A reader of stdout who has left is no error, as `reader_has_left` says.
    """
    global _received
    defaults: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    ours = [number for number in defaults if signal.getsignal(number) is defaults[number]]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    for number in ours:
        signal.signal(number, _receive)
    try:
        code = call()
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except (KeyboardInterrupt, TerminatedError) as ending:
        return tell(ending, prog)
    except BrokenPipeError:
        return reader_has_left()
    finally:
        _received = None
        if ours:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number in ours:
            signal.signal(number, defaults[number])


def tell(ending: BaseException, prog: str) -> int:
    """Say which signal ended the command; its exit code, as shells count them."""
    terminated = isinstance(ending, TerminatedError)
    print(f"{prog}: {'terminated' if terminated else 'interrupted'}", file=sys.stderr)
    return 128 + (signal.SIGTERM if terminated else signal.SIGINT)


def reader_has_left() -> int:
    """What is shown goes nowhere from here on, without complaint; the exit code is 0.

    For a BrokenPipeError: whoever reads stdout (`| head`) has what they want, and the interpreter's
    own flush at exit would complain.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def raise_if_received() -> None:
    """Raise for a signal that came and did not end the command.

    It waits for the end of an import, or a library swallowed it; a long piece of work asks again.
    """
    if _received is not None:
        raise _RAISED[_received]


def _receive(number: int, frame: FrameType | None) -> None:
    global _received
    _received = number
    if _importing(frame):
        # torch's native modules end the process when an exception comes out of their making.
        signal.signal(signal.SIGALRM, lambda _, later: _receive(number, later))
        signal.setitimer(signal.ITIMER_REAL, _SECONDS_BETWEEN_TRIES)
    else:
        raise _RAISED[number]


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
