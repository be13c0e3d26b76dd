"""What the network saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from super_selfish.data.collate import Collator, move
from super_selfish.data.sources import ImageSource, Sample
from super_selfish.supervisors.base import Supervisor
from super_selfish.training.randomness import step_generator


def seen_batch(supervisor: Supervisor, index: Sequence[int], seed: int = 0) -> Any:
    """What the supervisor's collator makes of some images, on the device of the networks.

    Args:
        supervisor: Has a dataset and a `Collator`.
        index: Positions in `supervisor.source`.
        seed: Of the augmentation.

    Returns:
        What `_forward` eats.

    Raises:
        ValueError: If there is no dataset, a plain function collates, or an image cannot be read.
    """
    if supervisor.source is None or not isinstance(supervisor.collate_fn, Collator):
        raise ValueError("views can be shown of a supervisor with a dataset and a Collator")
    if not index:
        raise ValueError("there is no image to show, or none that can be read")
    batch = supervisor.collate_fn.stack(supervisor.source.__getitems__(list(index)))
    if batch.unreadable:
        raise ValueError(f"cannot read image {batch.unreadable[0]}")
    return move(supervisor.collate_fn.augment(batch, step_generator(seed)), supervisor.device)


def spread_positions(source: ImageSource, count: int) -> list[int]:
    """Positions of images, spread evenly over a dataset; for one that is skipped, one beside it.

    Args:
        source: Where from.
        count: Number of images at most.

    Returns:
        Positions of images that can be read, in ascending order.
    """
    total = len(source)
    chosen: list[int] = []
    for start in torch.linspace(0, total - 1, min(count, total)).long().tolist():
        following = ((start + step) % total for step in range(total))
        new = (position for position in following if position not in chosen)
        found = next((position for position in new if isinstance(source[position], Sample)), None)
        if found is None:  # there are no more
            break
        chosen.append(found)
    return sorted(chosen)


def seen_views(supervisor: Supervisor, count: int = 6, seed: int = 0) -> Tensor:
    """Views of some images, as the networks get them in training.

    Args:
        supervisor: Has a dataset and a `Collator`.
        count: Number of images, spread over the dataset; fewer if it has fewer.
        seed: Of the augmentation.

    Returns:
        `[count, V, C, H, W]`: a row for each image, all its views side by side. Parts of the
        collator's output that are no images are left out.

    Raises:
        ValueError: If there is no dataset, a plain function collates, or no image can be read.
    """
    index = [] if supervisor.source is None else spread_positions(supervisor.source, count)
    data = seen_batch(supervisor, index, seed)
    rows = []
    for values in data:
        if not isinstance(values, Tensor) or not values.is_floating_point():
            continue
        if values.ndim == 4:
            rows.append(values[:, None])
        elif values.ndim == 5:
            rows.append(values)
    same = [row for row in rows if row.shape[2:] == rows[0].shape[2:]]
    return torch.cat(same, dim=1).cpu()
