"""Batch norm in groups of a batch, as several GPUs would compute it, on one device.

Each group is normalised by its own statistics. The running statistics, with which the network is
used afterwards, move once a batch, by the mean over the groups, as in the split batch norm of
MoCo's authors. Moved once a group instead, they would forget `1 - 0.9 ** 8 = 57 %` of their past a
step at eight groups, and follow single groups.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from super_selfish.models.replicas import in_parts

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def has_batch_norm(network: nn.Module) -> bool:
    """Whether what a network makes of an image depends on what else is in its batch."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def in_groups(network: nn.Module, images: Tensor, groups: int) -> Tensor:
    """Runs a network on a batch in groups, each with batch statistics of its own.

    Args:
        network: From `[B, C, H, W]` to `[B, E]`, where `B` is any number of images.
        images: `[B, C, H, W]`.
        groups: Number of groups, of as equal size as possible. Where the network runs on several
            devices, each makes its part of them, and at least one.

    Returns:
        `[B, E]`.
    """
    if groups == 1:
        whole: Tensor = network(images)
        return whole
    parts = in_parts(network)
    if parts is not None and (devices := parts.devices(len(images))) > 1:
        spread: Tensor = parts(partial(in_groups, groups=max(1, groups // devices)), images)
        return spread
    running = _running_statistics(network)
    before = [buffer.clone() for buffer in running]
    changes = [torch.zeros_like(buffer) for buffer in running]
    outputs = []
    for part in images.tensor_split(groups):
        outputs.append(network(part))
        for buffer, old, change in zip(running, before, changes, strict=True):
            change.add_(buffer - old)
            buffer.copy_(old)
    for buffer, change in zip(running, changes, strict=True):
        # Each group counted one batch more than there were: an integer, whose mean is one.
        buffer.add_(change.div_(groups) if change.is_floating_point() else change // groups)
    return torch.cat(outputs)


def _running_statistics(network: nn.Module) -> list[Tensor]:
    """The buffers that norms in training mode move with every batch."""
    norms = [module for module in network.modules() if module.training]
    found = [getattr(norm, name, None) for norm in norms for name in _STATISTICS]
    # .data, which autograd does not watch: it keeps running statistics for backward, which in
    # training never reads them, and would refuse to go back where they were set anew.
    return [buffer.data for buffer in found if isinstance(buffer, Tensor)]
