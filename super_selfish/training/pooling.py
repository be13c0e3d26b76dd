"""What several processes have measured, as of the whole batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from super_selfish.training.control import of_all
from super_selfish.training.distributed import share_of_images


def mean_of_all(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means over the processes, weighed by images, of what a step has measured.

    A value counts where it was measured. All processes call this at once; nothing is waited for.

    Args:
        values: Of this process, scalars by name.

    Returns:
        Those of the same names.
    """
    names = sorted({name for own in of_all(list(values)) for name in own})
    if not names:
        return values
    device = next(iter(values.values())).device if values else torch.device("cpu")
    weight = share_of_images()
    sums = torch.zeros(2, len(names), dtype=torch.float64, device=device)
    for place, name in enumerate(names):
        if name in values:
            sums[0, place] = values[name].detach().reshape(()) * weight
            sums[1, place] = weight
    dist.all_reduce(sums)
    means = dict(zip(names, (sums[0] / sums[1]).unbind(), strict=True))
    return {name: means[name].to(value.dtype) for name, value in values.items()}


def added(states: list[dict[str, Any]], processes: int) -> dict[str, Any]:
    """Sums of several processes, and such that were added up before, as one.

    Args:
        states: As `History` keeps them; those of the processes come last.
        processes: How many these are: the time of a step is that of all of them.
    """
    images, unreadable = (sum(each["others"][place] for each in states) for place in (0, 1))
    before, now = states[:-processes], states[-processes:]
    seconds, waited = (
        sum(each["others"][place] for each in before)
        + sum(each["others"][place] for each in now) / processes
        for place in (2, 3)
    )
    return {
        **{kind: _sum([each[kind] for each in states]) for kind in ("sums", "counts", "totals")},
        "others": [images, unreadable, seconds, waited],
    }


def scaled(state: dict[str, Any], times: float) -> dict[str, Any]:
    """Sums in which every step counts so many times as much.

    Args:
        state: As `History.state_dict` gives it.
        times: Processes that go on, for each that was there.
    """
    sums = {name: total * times for name, total in state["sums"].items()}
    counts = {name: count * times for name, count in state["counts"].items()}
    return {**state, "sums": sums, "counts": counts}


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """By name, in the order in which the names come first."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0) for part in parts) for name in names}
