"""How far work is: a bar in a terminal or a notebook, now and then a line everywhere else.

Logs of clusters, `nohup` and containers are read hours later and kept for months: there a line
comes after 20 seconds, then after a minute, then ever more seldom, at last every ten minutes.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Protocol, TextIO

from colorama import Fore, Style
from tqdm import tqdm

from super_selfish.wrapping import broken, columns

FIRST = 20.0  # seconds until a log has its first line
BETWEEN = 60.0  # the shortest time between two lines, in seconds
LONGEST = 600.0  # the longest
DELAY = 5.0  # seconds until a bar appears for work that is often done at once
INTERVAL = 0.5  # seconds between two looks at what a bar shows
_WIDE = 100  # columns, below which what a bar says has no room beside it
_NARROW = "{desc}: {percentage:3.0f}% [{remaining} left, {rate_fmt}{postfix}]"


class Bar(Protocol):
    """Shows how much of some work is done."""

    def update(self, number: int = 1) -> None:
        """Notes that `number` more are done."""

    def mark(self) -> None:
        """Notes that a part ends here (an epoch), which is a good place for a line."""

    def label(self, text: str) -> None:
        """Says what is being done now."""

    def say(self, text: str) -> None:
        """Writes a sentence that stays."""

    def close(self) -> None:
        """Leaves what is shown as it stands."""

    def __enter__(self) -> Bar:
        """Nothing more."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes."""


_is_quiet: ContextVar[bool] = ContextVar("is_quiet", default=False)


@contextmanager
def quiet(wanted: bool = True) -> Iterator[None]:
    """While entered, no bar is opened: for work inside other work that shows itself, or is silent.

    Args:
        wanted: Whether to do anything.
    """
    former = _is_quiet.set(wanted or _is_quiet.get())
    try:
        yield
    finally:
        _is_quiet.reset(former)


def open_bar(
    label: str,
    total: int,
    unit: str,
    *,
    shown: bool,
    initial: int = 0,
    state: Callable[[], str] | None = None,
    delay: float = 0.0,
) -> Bar:
    """Opens what suits the place where this process writes.

    Args:
        label: What is done.
        total: How many there are to do.
        unit: Of what, such as `"img"`.
        shown: Whether to show anything at all, unless it has to be `quiet`.
        initial: How many were done before.
        state: Says more; asked a few times a second at most, and only where it is shown.
        delay: Seconds for which a bar is not shown, since the work may be over by then.

    Returns:
        The bar.
    """
    if not shown or _is_quiet.get():
        return Silent()
    if is_notebook():
        if importlib.util.find_spec("ipywidgets") is not None:
            from tqdm.notebook import tqdm as notebook_bar

            return TqdmBar(notebook_bar, label, total, unit, initial, state, delay, sys.stdout)
        return Lines(label, total, unit, initial, state, sys.stdout)
    if is_terminal():
        colored = f"{Fore.CYAN}{label}{Style.RESET_ALL}"
        return TqdmBar(tqdm, colored, total, unit, initial, state, delay, sys.stderr)
    return Lines(label, total, unit, initial, state, sys.stderr)


def tell(text: str, *, shown: bool) -> None:
    """Writes some lines that stay, where bars are drawn.

    Args:
        text: The lines.
        shown: Whether to write them at all, unless it has to be `quiet`.
    """
    if shown and not _is_quiet.get():
        is_for_terminal = is_terminal() and not is_notebook()
        tqdm.write(
            broken(text) if is_for_terminal else text,
            file=sys.stdout if is_notebook() else sys.stderr,
        )


def is_terminal() -> bool:
    """Whether the error stream, where bars are drawn, is a terminal that has room for one.

    Some pseudo-terminals (of containers, of editors) have no columns: a bar would not be seen.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        return False
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):  # a stand-in, which says that it is a terminal
        return True


def is_notebook() -> bool:
    """Whether this is a cell of a notebook: an interactive shell with a kernel behind it."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and getattr(shell, "kernel", None) is not None


def duration(seconds: float) -> str:
    """A time in words, in the two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Silent:
    """Shows nothing."""

    def update(self, number: int = 1) -> None:
        """Does nothing."""

    def mark(self) -> None:
        """Does nothing."""

    def label(self, text: str) -> None:
        """Does nothing."""

    def say(self, text: str) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""

    def __enter__(self) -> Silent:
        """Does nothing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Does nothing."""


class TqdmBar(Silent):
    """A bar that is drawn again and again."""

    def __init__(
        self,
        kind: Any,
        label: str,
        total: int,
        unit: str,
        initial: int,
        state: Callable[[], str] | None,
        delay: float,
        stream: TextIO,
    ) -> None:
        """Draws it, for the first time after `delay` seconds; arguments as for `open_bar`."""
        self._kind = kind
        self._stream = stream
        self._state = state
        self._next = 0.0
        # A notebook breaks lines; without its place among the words the bar would come before them.
        is_narrow = kind is tqdm and state is not None and columns() < _WIDE
        self._bar = kind(
            total=total,
            initial=initial,
            desc=label,
            unit=unit,
            unit_scale=True,
            dynamic_ncols=True,
            delay=delay,
            file=stream,
            **({"bar_format": _NARROW} if is_narrow else {}),
        )

    def update(self, number: int = 1) -> None:
        """Moves on."""
        self._bar.update(number)
        if self._state is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            self._bar.set_postfix_str(self._state(), refresh=False)

    def label(self, text: str) -> None:
        """Puts the text before the bar."""
        self._bar.set_description(text)

    def say(self, text: str) -> None:
        """Writes above the bar, or after it."""
        tqdm.write(broken(text) if self._stream is sys.stderr else text, file=self._stream)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()

    def __enter__(self) -> TqdmBar:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes."""
        self.close()


class Lines(Silent):
    """A line after 20 seconds, then ever more seldom; at the end of a part a minute is enough."""

    def __init__(
        self,
        label: str,
        total: int,
        unit: str,
        initial: int,
        state: Callable[[], str] | None,
        stream: TextIO,
    ) -> None:
        """Writes nothing yet; arguments as for `open_bar`."""
        self._label = label
        self._total = total
        self._unit = unit
        self._state = state
        self._stream = stream
        self._done = self._initial = initial
        self._began = time.monotonic()
        self._last: float | None = None
        self._next = self._began + FIRST
        self._part_began, self._part_ends = self._began, -BETWEEN

    def update(self, number: int = 1) -> None:
        """Moves on, and writes a line where one is due and no part ends in the next minute."""
        self._done += number
        now = time.monotonic()
        if now >= self._next and not 0 <= self._part_ends - now < BETWEEN:
            self._write()

    def mark(self) -> None:
        """Writes a line unless there was one in the last minute."""
        now = time.monotonic()
        self._part_began, self._part_ends = now, now + (now - self._part_began)
        if self._last is None or now - self._last >= BETWEEN:
            self._write()
            self._next = now + LONGEST

    def label(self, text: str) -> None:
        """Says what is being done now, in a line unless there was one in the last minute."""
        self._label = text
        self.mark()

    def say(self, text: str) -> None:
        """Writes a line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def _write(self) -> None:
        now = time.monotonic()
        self._last = now
        self._next = now + min(LONGEST, max(BETWEEN, now - self._began))
        self.say(self._line(now - self._began))

    def _line(self, seconds: float) -> str:
        parts = [] if self._state is None else [self._state()]
        if not parts:
            parts.append(f"{self._done:,} of {self._total:,} {self._unit}")
        here = self._done - self._initial
        if here > 0 and seconds > 0:
            rate = here / seconds
            often = f"{rate:,.{0 if rate >= 10 else 1}f} {self._unit}/s"
            parts.append(often if rate >= 0.1 else f"{60 * rate:.1f} {self._unit}/min")
            if self._done < self._total:
                parts.append(f"{duration((self._total - self._done) / rate)} left")
        return f"{self._label}: {', '.join(parts)}"

    def __enter__(self) -> Lines:
        """Returns itself."""
        return self
