"""A comparison by processes that were started together: each does runs of its own."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch

from super_selfish.evaluation.comparison.store import Record, RunStore
from super_selfish.training.exchange import exchange, has_others
from super_selfish.training.launched import launch


class Started(NamedTuple):
    """This process among those that were started together."""

    rank: int
    number: int


def started_together(path: str | os.PathLike[str] | None) -> Started:
    """Which process this is, of how many.

    A task of an array (of SLURM) is a process by itself, and shares the store all the same.

    Args:
        path: Of the store that they share.

    Raises:
        ValueError: If there are several and they share none.
    """
    told = launch()
    started = Started(0, 1) if told is None else Started(told.rank, told.world)
    if started.number > 1 and path is None:
        raise ValueError(
            f"{started.number} processes were started together, which share the runs of a "
            "comparison by a file: give path=, on a disk that all of them see"
        )
    return started


def failed_before(store: RunStore, device: torch.device) -> dict[str, Record]:
    """Runs that had failed before this call, the same in all processes that were started together.

    Args:
        store: Of the runs.
        device: Where networks run.
    """
    failed = {key: record for key, record in store.read().items() if record["error"] is not None}
    if not has_others(device):
        return failed
    with exchange() as others:  # one that comes late finds runs that have failed in this call
        return others.from_first(failed)
