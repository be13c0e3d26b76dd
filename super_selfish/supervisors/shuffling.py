"""Keys that are normalised in other groups than their queries (shuffled batch norm).

A query and its key that share the statistics of a batch norm can be told by these. So the images of
the keys are shuffled before they are encoded, and the keys put back in order. He et al., 2019,
arXiv 1911.05722, section 3.3: "we shuffle the sample order in the current mini-batch before
distributing it among GPUs (and shuffle back after encoding)".

Shapes: `B` images of this process, `G` of all processes, `E` embedding, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from super_selfish.supervisors.following import generator_of_all
from super_selfish.training.distributed import first_row, gather, is_distributed
from super_selfish.training.run import Run

_STREAM = 3  # of a step's random draws: one that no process has for itself alone


@torch.no_grad()
def shuffled_keys(
    encode: Callable[[Tensor], Tensor], images: Tensor, order: Tensor, run: Run | None = None
) -> tuple[Tensor, Tensor]:
    """Keys of images, encoded in another order than theirs, without gradient.

    Of several processes, each sends its images to all, and encodes as many as it has of another
    order, which all of them draw alike from where the run is. Outside of a run, and with one
    process, it shuffles its own: `encode` must then make groups within the batch.

    Args:
        encode: From images `[B, C, H, W]` to keys `[B, E]`.
        images: `[B, C, H, W]`.
        order: `[B]`, a permutation for images that stay here.
        run: Whose step this is, where images shall go to other processes.

    Returns:
        The keys `[B, E]` of these images, and those `[G, E]` of all processes in their order.
    """
    if run is None or not is_distributed():
        keys = encode(images[order])[order.argsort()]  # (B, E)
        return keys, gather(keys)
    everywhere = gather(images)  # (G, C, H, W)
    order = order_of_all(run, len(everywhere)).to(images.device)  # (G,)
    first = first_row(len(images))
    mine = slice(first, first + len(images))
    keys = gather(encode(everywhere[order[mine]]))[order.argsort()]  # (G, E)
    return keys[mine], keys


def order_of_all(run: Run, images: int) -> Tensor:
    """The permutation `[G]` of a step, on the CPU, the same in every process.

    Args:
        run: Its seed and place decide.
        images: `G`.
    """
    return torch.randperm(images, generator=generator_of_all(run, _STREAM))
