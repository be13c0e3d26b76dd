"""Several CPU devices, for tests: torch's own copying of modules, threads and sharing out.

Two helpers of torch's work on accelerators alone and are replaced: the one that sends tensors to
other devices, by clones (with a way back for gradients, as it has), and the one that gathers them,
by `torch.cat`. Of the words that `parallel_apply` has for devices and streams, all do nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.training import devices

CPU = torch.device("cpu")


def use_cpu_replicas(monkeypatch: pytest.MonkeyPatch, number: int | None = None) -> None:
    """Has networks on the CPU run in parts.

    Args:
        monkeypatch: Puts everything back.
        number: Devices that a run finds; None leaves `supervise()` as it is.
    """
    copying: Any = importlib.import_module("torch.nn.parallel.replicate")
    threads: Any = importlib.import_module("torch.nn.parallel.parallel_apply")
    gathering: Any = importlib.import_module("torch.nn.parallel.scatter_gather")
    monkeypatch.setattr(copying, "_get_device_index", lambda device, *_: 0)
    monkeypatch.setattr(copying, "_broadcast_coalesced_reshape", _sent)
    monkeypatch.setattr(threads, "_get_device_index", lambda device, *_: 0)
    monkeypatch.setattr(threads, "torch", _TorchWithoutStreams())
    monkeypatch.setattr(gathering, "Gather", SimpleNamespace(apply=_gathered))
    if number is not None:
        monkeypatch.setattr(devices, "device_count", lambda device: number)


def _sent(tensors: Sequence[Tensor], to: Sequence[Any], detach: bool = False) -> list[list[Tensor]]:
    """The tensors themselves, and for all other devices clones that are laid out anew."""
    if not tensors:
        return []
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach):
        others = [
            [tensor.clone(memory_format=torch.contiguous_format) for tensor in tensors]
            for _ in to[1:]
        ]
    return [list(tensors), *others]


def _gathered(device: Any, dim: int, *parts: Tensor) -> Tensor:
    return torch.cat(parts, dim)


class _TorchWithoutStreams:
    """Torch as it is, but for what it says of devices."""

    accelerator = SimpleNamespace(
        current_stream=lambda device: nullcontext(),
        is_available=lambda: True,
        current_accelerator=lambda: CPU,
        device_index=lambda device: nullcontext(),
    )
    cuda = SimpleNamespace(
        current_stream=lambda device: nullcontext(),
        device=lambda device: nullcontext(),
        stream=lambda stream: stream,
    )

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)
