"""Losses are computed in float32 at least, whatever precision the network runs in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def in_full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Makes a loss function compute in float32, also under autocast and for half inputs.

    Exponentials of similarities over a temperature of 0.07 span twelve orders of magnitude, and
    sums over 65536 negatives lose what half precision cannot hold. float64 stays float64.

    Args:
        loss: Function of tensors; its first argument tells the device.

    Returns:
        The function with float16 and bfloat16 arguments cast and autocast switched off.
    """

    @functools.wraps(loss)
    def compute(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        device_type = tensors[0].device.type if tensors else "cpu"
        available = torch.amp.is_autocast_available(device_type)
        without_autocast = (
            torch.autocast(device_type, enabled=False) if available else nullcontext()
        )
        with without_autocast:
            cast_kwargs: Any = {name: _cast(value) for name, value in kwargs.items()}
            return loss(*[_cast(value) for value in args], **cast_kwargs)

    return compute


def _cast(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


def in_full(output: Tensor) -> Tensor:
    """What a network returned under autocast, in float32; other types, such as float64, stay."""
    full: Tensor = _cast(output)
    return full
