"""Stopping where nothing is lost: what a training does when Ctrl-C or a scheduler asks it to end."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def remembered(asked_for: bool = True) -> Iterator[list[int]]:
    """A list to which the first SIGINT or SIGTERM is added, instead of taking its course; a second one takes it.

    Without `asked_for`, or outside the main thread, no handler is installed and the list stays empty. A signal that the
    process ignores stays ignored.

    >>> with remembered() as signals:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     print("goes on")
    goes on
    >>> signals == [signal.SIGTERM]
    True
    """
    signals: list[int] = []
    handlers = {}

    def remember(number: int, _frame: object) -> None:
        signals.append(number)
        _set(handlers)
        print("stopping after this step; a second signal stops at once", file=sys.stderr, flush=True)

    if asked_for and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                handlers[number] = signal.signal(number, remember)
    try:
        yield signals
    finally:
        _set(handlers)


def _set(handlers: dict) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
