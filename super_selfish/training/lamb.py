"""LAMB by its name: timm's, which is an extra.

You et al., 2019, "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes",
arXiv 1904.00962, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from super_selfish.training.weight_decay import parted


def lamb(params: Any, lr: float, weight_decay: float = 0.01) -> Optimizer:
    """Adam whose steps have in each layer the length of its weights, times the learning rate.

    Tensors of one dimension (biases, scales and shifts of norms) neither decay nor are scaled, as
    in `LARS`. Gradients are not clipped, unlike by timm's default: `clip_norm=` does that.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        weight_decay: Of groups that have none of their own.

    Returns:
        The optimizer of timm.

    Raises:
        ImportError: If timm is not installed.
    """
    try:
        from timm.optim import Lamb
    except ImportError as error:
        raise ImportError(
            'optimizer="lamb" is that of timm: pip install super-selfish[timm], or take "lars"'
        ) from error
    given = list(params)
    groups = given if given and isinstance(given[0], Mapping) else [{"params": given}]
    parts = []
    for group in groups:
        # timm's leaves weights without decay as they are, unless it is told to scale them too.
        always = {} if group.get("weight_decay", weight_decay) else {"always_adapt": True}
        parts += parted(group, always)
    never = float("inf")  # None says so too, though not to timm 1.0.3
    built: Optimizer = Lamb(parts, lr=lr, weight_decay=weight_decay, max_grad_norm=never)
    return built
