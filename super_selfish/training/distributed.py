"""Several processes, started by `torchrun`; with one process everything here does nothing."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def join_processes(device: torch.device) -> None:
    """Joins the process group if `torchrun` started this process and nobody has joined it yet."""
    if dist.is_available() and "WORLD_SIZE" in os.environ and not dist.is_initialized():
        dist.init_process_group("gloo" if device.type == "cpu" else "nccl")


def is_distributed() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Number of this process."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if is_distributed() else 1


class _Gather(torch.autograd.Function):
    """Concatenates over processes; backward sums the gradients of all processes for a part."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        parts = [torch.empty_like(part) for _ in range(world_size())]
        dist.all_gather(parts, part.contiguous())
        ctx.length = len(part)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[rank() * ctx.length : (rank() + 1) * ctx.length]


def gather(part: Tensor) -> Tensor:
    """Concatenates a tensor over the processes, in their order, with gradient.

    The mean over processes of losses on the gathered tensor has the gradient of one process that
    holds the whole batch.

    Args:
        part: `[B, ...]`, of the same shape in every process.

    Returns:
        `[W * B, ...]`.
    """
    if not is_distributed():
        return part
    gathered: Tensor = _Gather.apply(part)
    return gathered


def parallel(module: nn.Module) -> nn.Module:
    """The module, or where several processes train together one that averages their gradients.

    All processes start with the parameters and buffers of the first one. Later no buffer is sent:
    what must stay equal (memories, queues) is updated with what `gather` returns. Statistics of
    batch norm are those of each process, and the first one's are stored.
    """
    if not is_distributed():
        return module
    synchronised = nn.parallel.DistributedDataParallel(module)
    # Else all buffers are sent before each step, and a memory of a million images is 0.7 GB. Set
    # afterwards: as an argument it would also leave the buffers as they are at the start.
    synchronised.broadcast_buffers = False
    return synchronised
