"""Ctrl-C: the first one stops new work and ends running Commands politely, the next one kills them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from engine.errors import EngineError


class InterruptedRunError(EngineError):
    """The user stopped the run."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("interrupted", remedy="run the same command again: it goes on where this one stopped")


class Interrupt:
    """Whether the run is to end, and whom to tell; safe to use from every thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._listeners: set[Callable[[], None]] = set()
        self._lock = threading.RLock()  # a signal may come while this very thread holds it

    @property
    def stopped(self) -> bool:
        """Whether the user wants to stop."""
        return self._event.is_set()

    def stop(self) -> None:
        """Stops; each call tells the listeners once more."""
        self._event.set()
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def check(self) -> None:
        """Raises InterruptedRunError where the user wants to stop."""
        if self.stopped:
            raise InterruptedRunError

    def sleep(self, seconds: float) -> None:
        """Waits, and raises InterruptedRunError as soon as the user wants to stop."""
        if self._event.wait(seconds):
            raise InterruptedRunError

    @contextlib.contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Calls `listener` at each Ctrl-C for as long as the block runs."""
        with self._lock:
            self._listeners.add(listener)
        try:
            if self.stopped:
                listener()
            yield
        finally:
            with self._lock:
                self._listeners.discard(listener)

    @contextlib.contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Takes SIGINT, SIGTERM and SIGHUP while the block runs, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(_signal: int, _frame: FrameType | None) -> None:
            # Listeners take time and locks, which a signal handler must not.
            threading.Thread(target=self.stop, daemon=True).start()

        names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {name: signal.signal(name, handle) for name in names}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)
