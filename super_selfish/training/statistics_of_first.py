"""Batch norm's running statistics, which each process moves by its own share of a batch.

Training computes with the statistics of a batch, so these never meet a gradient: whoever looks at
the networks, and whoever goes on with a stored run, sees them. So that all processes have the same
networks then, those of the first one, which are stored, are sent to the others after every epoch
and at the end. The first one's own are never changed by it: they do not depend on when a run was
stored, and one that was broken off and goes on ends with them.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from super_selfish.memory import KeyQueue, MemoryBank
from super_selfish.training.distributed import is_distributed


@torch.no_grad()
def send_statistics(networks: nn.Module) -> None:
    """Gives every process the first one's buffers; all of them call this at once.

    Queues and memories, which may be large, are left out: all processes write the same into them.

    Args:
        networks: Built alike in every process.
    """
    if not is_distributed():
        return
    alike: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for module in networks.modules():
        if isinstance(module, KeyQueue | MemoryBank):
            continue
        for buffer in module.buffers(recurse=False):
            alike.setdefault((buffer.dtype, buffer.device), []).append(buffer)
    for buffers in alike.values():
        joined = torch.cat([buffer.reshape(-1) for buffer in buffers])
        dist.broadcast(joined, 0)
        parts = joined.split([buffer.numel() for buffer in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view(buffer.shape))
