"""Several CPU devices, for tests: torch's own copying of modules, threads and sharing out.

Helpers of torch's that work on accelerators alone are replaced: the one that sends tensors to other
devices, by clones, the one that adds up those of several, and the one that gathers them, by
`torch.cat`. Of the words that torch has for devices and streams, all do nothing, and it does not
look whether tensors are on the CPU.
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
    gradients: Any = importlib.import_module("torch.nn.parallel._functions")
    gathering: Any = importlib.import_module("torch.nn.parallel.scatter_gather")
    comm: Any = importlib.import_module("torch.nn.parallel.comm")
    for module in (copying, threads, gradients):
        monkeypatch.setattr(module, "_get_device_index", lambda device, *_: 0)
    monkeypatch.setattr(threads, "torch", _TorchWithoutStreams())
    monkeypatch.setattr(gradients, "all", lambda each: True, raising=False)
    for does in (broadcast_coalesced, reduce_add_coalesced):
        monkeypatch.setattr(comm, does.__name__, does)
    monkeypatch.setattr(gathering, "Gather", SimpleNamespace(apply=_gathered))
    # Builds of torch for the CPU alone have none.
    monkeypatch.setattr(torch._C, "_broadcast_coalesced", None, raising=False)
    if number is not None:
        monkeypatch.setattr(devices, "device_count", lambda device: number)


def broadcast_coalesced(tensors: Sequence[Tensor], to: Sequence[Any]) -> list[list[Tensor]]:
    """The tensors themselves, and for all other devices clones that are laid out anew."""
    with torch.no_grad():
        others = [
            [tensor.clone(memory_format=torch.contiguous_format) for tensor in tensors]
            for _ in to[1:]
        ]
    return [list(tensors), *others]


def reduce_add_coalesced(parts: Sequence[Sequence[Tensor]], to: Any = None) -> tuple[Tensor, ...]:
    """The sums over all devices."""
    return tuple(torch.stack(each).sum(0) for each in zip(*parts, strict=True))


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
        Stream=torch.Stream,
        current_stream=lambda device: nullcontext(),
        device=lambda device: nullcontext(),
        stream=lambda stream: stream,
    )

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)
