"""Number formats of a run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

AUTO = "auto"  # the faster of fp32 and bf16, measured before the first step
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which the networks run.

    Args:
        precision: `"fp32"`, `"bf16"` or `"fp16"`.
        device: Where the networks are.

    Returns:
        A context manager.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])


def gradient_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """A scaler that keeps small gradients of `"fp16"` from vanishing, and else does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
