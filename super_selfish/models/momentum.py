"""A frozen copy of a network that follows it slowly (BYOL, MoCo).

Grill et al., 2020, arXiv 2006.07733, section 3.1; He et al., 2019, arXiv 1911.05722, equation 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from super_selfish.models.copying import copy_module


class MomentumEncoder(nn.Module):
    """Moving average of the parameters of a network.

    A deep copy that starts equal, takes no gradient and belongs to the module tree: `.to()` moves
    it and checkpoints hold it. Parameters are averaged and nothing else: in train mode batch norm
    gathers statistics of its own from the batches that the copy sees, as in the published code of
    MoCo and DINO, and other buffers (integer counters among them) are left as they are.

    Attributes:
        network: The averaged copy.
    """

    holds_networks = True  # see models/holders.py

    def __init__(self, network: nn.Module) -> None:
        """Args: network: What to follow; it is copied, not kept."""
        super().__init__()
        self.network = copy_module(network).requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Returns what the averaged network returns, without gradient."""
        return self.network(images)

    @torch.no_grad()
    def update(self, network: nn.Module, momentum: float) -> None:
        """Moves every parameter towards that of `network`.

        Args:
            network: The followed network, or a parallel wrapper of it.
            momentum: Weight of the old value, in [0, 1].

        Raises:
            ValueError: If momentum is no such weight or the networks do not match.
        """
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"momentum is a weight in [0, 1], got {momentum}")
        averaged: list[Tensor] = list(self.network.parameters())
        followed: list[Tensor] = list(network.parameters())
        if [parameter.shape for parameter in averaged] != [p.shape for p in followed]:
            raise ValueError(
                "the network has other parameters than the one that was copied: update the "
                "momentum encoder with the network that it was made from"
            )
        if averaged:
            torch._foreach_lerp_(averaged, followed, 1.0 - momentum)


def momentum_at(step: int, total_steps: int, base: float) -> float:
    """Momentum that rises from `base` to 1 along half a cosine (BYOL, section 3.3).

    `1 - (1 - base) * (1 + cos(pi * step / total_steps)) / 2`

    Args:
        step: Steps done, from 0; beyond `total_steps` the momentum stays 1.
        total_steps: Steps of the whole training.
        base: Momentum of the first step, in [0, 1].

    Raises:
        ValueError: If a number lies outside its range.
    """
    if total_steps < 1:
        raise ValueError(f"total_steps must be >= 1, got {total_steps}")
    if step < 0:
        raise ValueError(f"step must be >= 0, got {step}")
    if not 0.0 <= base <= 1.0:
        raise ValueError(f"base is a momentum in [0, 1], got {base}")
    fraction = min(step / total_steps, 1.0)
    return 1.0 - (1.0 - base) * 0.5 * (1.0 + math.cos(math.pi * fraction))
