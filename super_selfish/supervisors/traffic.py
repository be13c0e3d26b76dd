"""What several processes send one another in a step, by formula.

Gradients are averaged, whatever the algorithm; each says by `_gathers(images)` what else it needs
of all processes: embeddings, keys, images. Not counted are the few numbers on which processes agree
in every step, and the statistics of `sync_batch_norm=True` (of each batch norm and pass `2 C + 1`
numbers for C channels), which together are kilobytes.

Shapes: `B` images of a process, `W` processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from super_selfish.models import feature_shape

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor

INDEX = torch.int64.itemsize  # bytes of an image's number in the dataset


class Gathered(NamedTuple):
    """A tensor of each process, of which in a step all get those of all."""

    size: int  # bytes, in each process
    has_gradient: bool = False  # then the gradients of all of it are added up on the way back


class Traffic(NamedTuple):
    """Bytes of a step, as each process hands them to torch."""

    processes: int  # W
    gradients: float  # averaged over processes; an update's, shared out over its batches
    gathered: int  # of this process, sent to all others
    returned: int  # gradients of what was gathered, of all processes, added up on the way back

    @property
    def sent(self) -> float:
        """Bytes that a process sends, and receives, a step where all stand in a ring.

        Adding up n bytes sends `2 (W - 1) / W * n` of them from each, and gathering n of each
        `(W - 1) * n` (Patarasuk and Yuan, 2009, "Bandwidth optimal all-reduce algorithms").
        """
        added = self.gradients + self.returned
        return 2 * (self.processes - 1) / self.processes * added + self.gathered * (
            self.processes - 1
        )


def traffic_of(
    supervisor: Supervisor, processes: int, batch_size: int = 32, *, accumulate: int = 1
) -> Traffic:
    """What each of several processes sends in a step of a run.

    Args:
        supervisor: Whose networks train.
        processes: `W`, each with a batch of its own.
        batch_size: `B`, images of a process.
        accumulate: Batches that make one update; gradients travel once for all of them.

    Returns:
        Bytes; of tasks that take turns, as much as if all had theirs.

    Raises:
        ValueError: If a number is below one.
    """
    for name, number in {
        "processes": processes,
        "batch_size": batch_size,
        "accumulate": accumulate,
    }.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    if processes == 1:
        return Traffic(1, 0.0, 0, 0)
    gradients = sum(p.nbytes for p in supervisor.parameters() if p.requires_grad)
    parts: list[Any] = [part for part in supervisor.modules() if hasattr(part, "_gathers")]
    gathered: list[Gathered] = [each for part in parts for each in part._gathers(batch_size)]
    return Traffic(
        processes,
        gradients / accumulate,
        sum(each.size for each in gathered),
        sum(processes * each.size for each in gathered if each.has_gradient),
    )


def rows(network: nn.Module, number: int, width: int, *, has_gradient: bool = False) -> Gathered:
    """Rows of numbers as a network gives them.

    Args:
        network: Whose weights have their type.
        number: How many rows.
        width: Numbers in each.
        has_gradient: As for `Gathered`.
    """
    size = next((p.element_size() for p in network.parameters()), torch.float32.itemsize)
    return Gathered(number * width * size, has_gradient)


def outputs(supervisor: Supervisor, network: nn.Module, images: int) -> Gathered:
    """What a network makes of images, with gradient.

    Args:
        supervisor: Knows their size and channels.
        network: From `[B, C, H, W]` to `[B, E]`.
        images: How many.
    """
    size: Sequence[int] = supervisor.image_size
    width = feature_shape(network, supervisor.in_channels, (size[0], size[1])).dim
    return rows(network, images, width, has_gradient=True)
