"""Processes that wait for one another where a user may have called only some of them."""

from __future__ import annotations

import itertools
import logging
import time
from typing import Any

import torch.distributed as dist

from super_selfish.training.distributed import is_distributed, rank, world_size

PATIENCE = 30.0  # seconds after which it is said who is waited for
LONGEST = 1800.0  # seconds: as long as torch waits for what all processes do
_LONGEST_NAP = 0.25  # seconds
_log = logging.getLogger("super_selfish")  # shown on the error stream unless the user has it else
_meetings = itertools.count()


def wait_for_all(call: str) -> None:
    """Waits until all processes are here; says who is missing where that takes long.

    What one process calls by itself, the others never come to: that is a common slip, and torch's
    own barrier would not say who is missing.

    Args:
        call: What the user has called, such as `"load()"`.

    Raises:
        RuntimeError: If some do not come.
    """
    if not is_distributed():
        return
    distributed: Any = dist.distributed_c10d
    store, place = distributed._get_default_store(), f"super_selfish/{next(_meetings)}"
    each = [f"{place}/{number}" for number in range(world_size())]
    store.set(each[rank()], "here")
    if store.add(place, 1) == world_size():
        store.set(f"{place}/all", "here")
    began, nap, is_told = time.monotonic(), 0.001, False
    while not store.check([f"{place}/all"]):
        waited = time.monotonic() - began
        if waited >= PATIENCE and not is_told:
            here = [number for number, key in enumerate(each) if store.check([key])]
            missing = ", ".join(str(n) for n in range(world_size()) if n not in here)
            words = (
                f"{call} is for all {world_size()} processes at once, and has waited for "
                f"{waited:.0f} s for process {missing}. What one of them does by itself stands "
                "within `with super_selfish.training.alone():`"
            )
            if rank() == here[0]:
                _log.warning("%s", words)
            is_told = True
        if waited >= LONGEST:
            raise RuntimeError(words)
        time.sleep(nap)
        nap = min(2 * nap, _LONGEST_NAP)
