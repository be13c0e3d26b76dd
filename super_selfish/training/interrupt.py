"""Signals that wait for the end of a step.

| signal | meaning |
|---|---|
| SIGINT (Ctrl-C) | leave after this step; a second one: leave at once |
| SIGTERM, SIGHUP | leave after this step |
| SIGUSR1 | store after this step, and go on |
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

# Where the system has them.
LEAVING = tuple(n for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n))
STORING = tuple(n for n in ("SIGUSR1",) if hasattr(signal, n))


class Interrupt:
    """While entered, signals only note what is wanted; a second Ctrl-C interrupts at once.

    So a run stops between two steps, where its state is whole. Outside the main thread, where
    Python delivers no signals, it does nothing. A signal that is ignored (as `nohup` has it) stays
    so; the former handlers of the others are put back at the end.

    Attributes:
        requested: The signal that asks to leave, or None.
        is_whole: Whether leaving at once loses nothing; the owner says so. A signal that comes then
            is obeyed on the spot, and waits for no batch.
        wants_store: Whether a signal asks to store.
    """

    def __init__(
        self, leaving: tuple[str, ...] = ("SIGINT",), storing: tuple[str, ...] = ()
    ) -> None:
        """Takes over nothing yet.

        Args:
            leaving: Names of signals after which the run is left.
            storing: Names of signals after which it is stored.
        """
        self.requested: signal.Signals | None = None
        self.wants_store = False
        self.is_whole = False
        self._owner = os.getpid()
        self._is_shielded = False
        self._is_urgent = False
        self._leaving = [getattr(signal, name) for name in leaving]
        self._storing = [getattr(signal, name) for name in storing]
        self._formers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        """Takes over the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in [*self._leaving, *self._storing]:
                # None: a handler that Python did not set, and could not put back.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._formers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the signals back; a handler of the user's own is told of the one that ended it."""
        formers, self._formers = self._formers, {}
        for number, former in formers.items():
            signal.signal(number, former)
        if isinstance(error, SystemExit) and self.requested is not None:
            former = formers.get(self.requested)
            if callable(former):
                former(self.requested, None)

    def raise_if_requested(self) -> None:
        """Raises what was held back.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            SystemExit: After another signal, with the status 128 + its number, as shells have it.
        """
        if self.requested is signal.SIGINT:
            raise KeyboardInterrupt
        if self.requested is not None:
            raise SystemExit(128 + self.requested)

    def stored(self) -> None:
        """Is told that what was asked for is stored; hands the signal on to who had it before."""
        self.wants_store = False
        for number in self._storing:
            if callable(former := self._formers.get(number)):
                former(number, None)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """While entered, nothing is interrupted: a second Ctrl-C waits for the end of it."""
        self._is_shielded = True
        try:
            yield
        finally:
            self._is_shielded = False
        if self._is_urgent:
            self._is_urgent = False
            self.raise_if_requested()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            # A fork that reads images: whoever forked it decides, and ends it by SIGTERM.
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if number in self._storing:
            self.wants_store = True
            return
        again = number == signal.SIGINT and self.requested is signal.SIGINT
        if self.requested is None or number == signal.SIGINT:
            self.requested = signal.Signals(number)
        if self._is_shielded:
            self._is_urgent = self._is_urgent or again or self.is_whole
        elif again:
            self._again(number, frame)
        elif self.is_whole:
            self.raise_if_requested()

    def _again(self, number: int, frame: FrameType | None) -> None:
        former: Callable[..., Any] | Any = self._formers.get(signal.SIGINT)
        if callable(former):
            former(number, frame)
        else:
            raise KeyboardInterrupt
