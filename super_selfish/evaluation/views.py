"""What the network saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from super_selfish.data.collate import Batch, Collator, move
from super_selfish.data.sources import images_at
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
        ValueError: If there is no dataset, or a plain function collates.
    """
    if supervisor.source is None or not isinstance(supervisor.collate_fn, Collator):
        raise ValueError("views can be shown of a supervisor with a dataset and a Collator")
    batch = Batch(images_at(supervisor.source, index), torch.as_tensor(index))
    return move(supervisor.collate_fn.augment(batch, step_generator(seed)), supervisor.device)


def seen_views(supervisor: Supervisor, count: int = 6, seed: int = 0) -> Tensor:
    """Views of some images, as the networks get them in training.

    Args:
        supervisor: Has a dataset and a `Collator`.
        count: Number of images, spread over the dataset.
        seed: Of the augmentation.

    Returns:
        `[count, V, C, H, W]`: a row for each image, all its views side by side. Parts of the
        collator's output that are no images are left out.

    Raises:
        ValueError: If there is no dataset, or a plain function collates.
    """
    total = 0 if supervisor.source is None else len(supervisor.source)
    data = seen_batch(supervisor, torch.linspace(0, total - 1, count).long().tolist(), seed)
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
