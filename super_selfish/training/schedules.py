"""Learning-rate schedules that step once an update."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR


class WarmupCosine(LRScheduler):
    """Linear warm-up, then half a cosine down to an end value; stepped once an update.

    `lr_t = end + (lr - end) / 2 * (1 + cos(pi * (t - w) / (T - w)))` after `w` steps of warm-up
    (Loshchilov, Hutter, 2016, arXiv 1608.03983; warm-up: Goyal et al., 2017, arXiv 1706.02677).
    """

    interval = "step"

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int = 0,
        end_fraction: float = 0.0,
    ) -> None:
        """Starts at the first step.

        Args:
            optimizer: Whose learning rates are the peak.
            total_steps: Updates in the whole run.
            warmup_steps: Updates until the peak; at most a tenth of the run is taken.
            end_fraction: Last learning rate, as a fraction of the peak.

        Raises:
            ValueError: If the run has no step.
        """
        if total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, got {total_steps}")
        self.total_steps = total_steps
        self.warmup_steps = min(warmup_steps, total_steps // 10)
        self.end_fraction = end_fraction
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Learning rate of every parameter group at the present step."""
        step = self.last_epoch
        if step < self.warmup_steps:
            factor = (step + 1) / self.warmup_steps
        else:
            progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
            cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
            factor = self.end_fraction + (1 - self.end_fraction) * cosine
        return [factor * float(base) for base in self.base_lrs]

    def state_dict(self) -> dict[str, float]:
        """The position; the length belongs to the run, which may be resumed with more epochs."""
        state = super().state_dict()
        del state["total_steps"], state["warmup_steps"]
        return state


def constant(optimizer: Optimizer) -> LRScheduler:
    """The default: the learning rate stays as it is."""
    return StepLR(optimizer, step_size=100, gamma=1.0)


def build_schedule(
    lr_scheduler: Callable[[Optimizer], LRScheduler] | str, optimizer: Optimizer, total_steps: int
) -> LRScheduler:
    """Builds the schedule of a run.

    Args:
        lr_scheduler: Called with the optimizer; or `"cosine"`: linear warm-up for a tenth of the
            run, then half a cosine down to zero.
        optimizer: Whose learning rates it sets.
        total_steps: Updates in the whole run.

    Returns:
        The schedule.

    Raises:
        ValueError: If a name is not known.
    """
    if callable(lr_scheduler):
        return lr_scheduler(optimizer)
    if lr_scheduler == "cosine":
        return WarmupCosine(optimizer, total_steps, warmup_steps=total_steps // 10)
    raise ValueError(
        f'lr_scheduler is a function of the optimizer or "cosine", got {lr_scheduler!r}'
    )


def advance(lr_scheduler: Any, steps: int) -> None:
    """Brings a new schedule to where it would be, without updates of the weights.

    Args:
        lr_scheduler: As it was built; one, or several that step as one.
        steps: Updates or epochs, whichever it counts.
    """
    with warnings.catch_warnings():
        # The updates lie in a run before this one.
        warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler\.step\(\)`")
        for _ in range(steps):
            lr_scheduler.step()


def steps_every_update(lr_scheduler: LRScheduler) -> bool:
    """Whether a schedule counts updates (`interval = "step"`) and not epochs, torch's custom."""
    return getattr(lr_scheduler, "interval", "epoch") == "step"
