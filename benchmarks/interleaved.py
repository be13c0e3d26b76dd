"""Times of cases that take turns, so that a busy minute of the machine hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple


class Best(NamedTuple):
    """Least milliseconds of one call: of the clock, and of the processor for this process."""

    clock: float
    processor: float


def best_times(
    cases: Mapping[str, Callable[[], object]],
    repeats: int,
    calls: int = 1,
    surroundings: Mapping[str, Callable[[], AbstractContextManager[object]]] | None = None,
) -> dict[str, Best]:
    """Times every case `repeats` times, in turns that begin with another one each time.

    Args:
        cases: What to call, by name.
        repeats: Turns; one more goes before to warm up.
        calls: Calls in a row; their mean is one time.
        surroundings: Contexts in which the turns of a case run, by its name; there, one more call
            goes before each turn.
    """
    surroundings = surroundings or {}
    names = list(cases)
    best = {name: Best(float("inf"), float("inf")) for name in names}
    for turn in range(repeats + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            with surroundings.get(name, nullcontext)():
                if name in surroundings:
                    cases[name]()
                clock, processor = time.perf_counter(), time.process_time()
                for _ in range(calls):
                    cases[name]()
                now = Best(
                    1e3 * (time.perf_counter() - clock) / calls,
                    1e3 * (time.process_time() - processor) / calls,
                )
            if turn > 0:
                best[name] = Best(*map(min, best[name], now))
    return best
