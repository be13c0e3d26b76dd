"""Weights are kept in float32; `precision=` says in what the networks compute."""

from __future__ import annotations

import torch
from torch import nn

_HALF = (torch.float16, torch.bfloat16)


def require_float32(network: nn.Module, role: str = "backbone") -> None:
    """Refuses weights in another format than that in which images arrive and updates are small.

    Args:
        network: Of which every parameter is looked at, and every buffer for half precision.
        role: What to call it.

    Raises:
        ValueError: If one is in half, double or another floating point format.
    """
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        is_buffer = not isinstance(tensor, nn.Parameter)
        if not tensor.is_floating_point() or tensor.dtype == torch.float32:
            continue
        if is_buffer and tensor.dtype not in _HALF:  # tables may be exact
            continue
        kind = str(tensor.dtype).removeprefix("torch.")
        advice = ""
        if tensor.dtype in _HALF:
            advice = "; precision= of supervise() computes in half precision, and keeps them so"
        raise ValueError(
            f"the weights of a network are float32, but {name} of the {role} is {kind}: call "
            f".float() on it{advice}"
        )


def require_no_half(network: nn.Module) -> None:
    """Refuses networks whose weights were turned into half precision after they were built.

    Args:
        network: About to train.

    Raises:
        ValueError: If a parameter is float16 or bfloat16.
    """
    for name, parameter in network.named_parameters():
        if parameter.dtype in _HALF:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise ValueError(
                f"weights in half precision do not train, and {name} is {kind}: call .float() on "
                "the supervisor, and give supervise() precision="
            )
