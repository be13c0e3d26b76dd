"""Batch norm over the images of all processes, while a run trains: torch's `SyncBatchNorm`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from super_selfish.training.distributed import is_distributed

_WITHOUT = frozenset({"cpu", "mps"})  # devices on which torch has none


@contextmanager
def synchronised(module: nn.Module, wanted: bool) -> Iterator[None]:
    """While entered, every batch norm takes its statistics over the batches of all processes.

    Momentum encoders and heads are among them. Parameters and buffers stay the very tensors, and
    keep their names; afterwards the norms are the modules that they were. With one process nothing
    is done: its batches are all there are.

    Args:
        module: A supervisor, on which `require_synchronisable` had nothing to say.
        wanted: Whether to do anything.
    """
    places = list(_norms_in(module)) if wanted and is_distributed() else []
    made = {norm: _converted(norm) for _, _, norm in places}
    for parent, name, norm in places:
        parent._modules[name] = made[norm]
    try:
        yield
    finally:
        for parent, name, norm in places:
            parent._modules[name] = norm
            kept = {k: v for k, v in vars(made[norm]).items() if k != "process_group"}
            vars(norm).update(kept)


def require_synchronisable(module: nn.Module, devices: Sequence[torch.device]) -> None:
    """Refuses networks whose batch norms torch cannot synchronise.

    Args:
        module: A supervisor.
        devices: Where its networks run in this process.

    Raises:
        ValueError: If they are on a CPU, on several devices of one process, or have a batch norm
            that computes in a way of its own.
    """
    kind = devices[0].type
    if kind in _WITHOUT:
        where = "the CPU" if kind == "cpu" else kind
        raise ValueError(
            "sync_batch_norm=True: torch synchronises batch norm between GPUs alone, and the "
            f"networks are on {where}: leave it out, or use a backbone with layer norm"
        )
    if len(devices) > 1:
        raise ValueError(
            f"sync_batch_norm=True works between processes, each with a device of its own, and "
            f"this one has {len(devices)}: start them by torchrun "
            f"--nproc-per-node={len(devices)}, or leave it out"
        )
    for name, norm in module.named_modules():
        if isinstance(norm, _BatchNorm) and not isinstance(norm, nn.SyncBatchNorm):
            if type(norm).forward is not _BatchNorm.forward:
                raise ValueError(
                    f"sync_batch_norm=True: {name} is a {type(norm).__name__}, a batch norm with a "
                    "forward of its own, which would be lost: use one of torch's, or leave it out"
                )


def _norms_in(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Every place where a batch norm is: its parent, its name there, and the norm."""
    for parent in module.modules():
        for name, child in parent._modules.items():
            if isinstance(child, _BatchNorm) and not isinstance(child, nn.SyncBatchNorm):
                yield parent, name, child


def _converted(norm: nn.Module) -> nn.Module:
    """Torch's synchronised norm in place of one, with the same tensors, hooks and mode."""
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    group = converted.process_group
    vars(converted).update(vars(norm))
    converted.process_group = group
    return converted
