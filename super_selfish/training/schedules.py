"""Learning-rate schedules that know how long a run is."""

from __future__ import annotations

import contextlib
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau, SequentialLR, StepLR

Schedule = Callable[..., LRScheduler]  # of the optimizer, and of lengths of the run by name
LENGTHS = ("total_steps", "steps_per_epoch", "epochs")
LONGEST_WARMUP = 10  # epochs: SimCLR, BYOL
_NO_UPDATE = r"Detected call of `lr_scheduler\.step\(\)`"
_BEGINS_ANEW = r"The epoch parameter in `scheduler\.step\(\)`"  # torch 2.4's own `SequentialLR`


class WarmupCosine(LRScheduler):
    """Linear warm-up, then half a cosine down to an end value; stepped once an update.

    `lr_t = end + (lr - end) / 2 * (1 + cos(pi * (t - w) / (T - w)))` after `w` steps of warm-up
    (Loshchilov, Hutter, 2016, arXiv 1608.03983; warm-up: Goyal et al., 2017, arXiv 1706.02677).
    """

    interval = "step"

    def __init__(
        self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, end_lr: float = 0.0
    ) -> None:
        """Starts at the first step.

        Args:
            optimizer: Whose learning rates are the peak.
            total_steps: Updates in the whole run.
            warmup_steps: Updates until the peak, fewer than `total_steps`.
            end_lr: Last learning rate; a group whose own is lower stays there.

        Raises:
            ValueError: If the run has no step, or a number is out of its range.
        """
        if total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, got {total_steps}")
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps must be from 0 to {total_steps - 1}, fewer than the {total_steps} "
                f"updates of the run, got {warmup_steps}"
            )
        highest = max(float(group["lr"]) for group in optimizer.param_groups)
        if not 0 <= end_lr <= highest:
            raise ValueError(f"end_lr must be from 0 to lr, which is {highest}, got {end_lr}")
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.end_lr = end_lr
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Learning rate of every parameter group at the present step."""
        step = self.last_epoch
        bases = [float(base) for base in self.base_lrs]
        if step < self.warmup_steps:
            return [base * ((step + 1) / self.warmup_steps) for base in bases]
        progress = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        ends = [min(self.end_lr, base) for base in bases]
        return [end + (base - end) * cosine for base, end in zip(bases, ends, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """The position; length and form belong to the run, which may be resumed with others."""
        state = super().state_dict()
        del state["total_steps"], state["warmup_steps"], state["end_lr"]
        return state


@dataclass(frozen=True)
class Cosine:
    """`lr_scheduler="cosine"` with numbers of one's own: `Cosine(warmup_epochs=5, end_lr=1e-6)`.

    A linear warm-up, then half a cosine; see `WarmupCosine`.

    Attributes:
        warmup_epochs: Epochs, or parts of one, until `lr` is reached; fewer than there are. None:
            10, as in SimCLR and BYOL, but at most a tenth of the run.
        end_lr: Learning rate at the end, from 0 to `lr`.
    """

    warmup_epochs: float | None = None
    end_lr: float = 0.0

    def __post_init__(self) -> None:
        """Refuses numbers below 0."""
        if self.warmup_epochs is not None and not 0 <= self.warmup_epochs < math.inf:
            raise ValueError(f"warmup_epochs must be >= 0, got {self.warmup_epochs}")
        if not 0 <= self.end_lr < math.inf:
            raise ValueError(f"end_lr must be >= 0, got {self.end_lr}")

    def __call__(
        self, optimizer: Optimizer, total_steps: int, steps_per_epoch: int
    ) -> WarmupCosine:
        """Builds the schedule of a run of so many updates."""
        if self.warmup_epochs is None:
            warmup_steps = min(LONGEST_WARMUP * steps_per_epoch, total_steps // 10)
        else:
            warmup_steps = round(self.warmup_epochs * steps_per_epoch)
            if warmup_steps >= total_steps:
                raise ValueError(
                    f"warmup_epochs={self.warmup_epochs} must be fewer than the "
                    f"{total_steps / steps_per_epoch:g} epochs of the run"
                )
        return WarmupCosine(optimizer, total_steps, warmup_steps, self.end_lr)


def constant(optimizer: Optimizer) -> LRScheduler:
    """The default: the learning rate stays as it is."""
    return StepLR(optimizer, step_size=100, gamma=1.0)


def build_schedule(
    lr_scheduler: Schedule | str, optimizer: Optimizer, total_steps: int, epochs: int = 1
) -> LRScheduler:
    """Builds the schedule of a run.

    Args:
        lr_scheduler: Called with the optimizer, and with those of `total_steps` (updates in the
            run), `steps_per_epoch` (updates in an epoch) and `epochs` that it has as parameters
            without a value, by name. What wants one of the first two is stepped once an update
            unless it has an `interval` of its own. Or `"cosine"`, which is `Cosine()`.
        optimizer: Whose learning rates it sets.
        total_steps: Updates in the whole run.
        epochs: Epochs in it.

    Returns:
        The schedule.

    Raises:
        ValueError: If a name is not known.
        TypeError: If it wants another argument, or gives no schedule that steps by itself.
    """
    if lr_scheduler == "cosine":
        lr_scheduler = Cosine()
    if not callable(lr_scheduler):
        raise ValueError(
            'lr_scheduler is "cosine", a Cosine(warmup_epochs=..., end_lr=...) or a function of '
            f"the optimizer, got {lr_scheduler!r}"
        )
    length = dict(zip(LENGTHS, (total_steps, total_steps // max(1, epochs), epochs), strict=True))
    wanted = _wanted(lr_scheduler)
    for group in getattr(optimizer, "param_groups", []):
        if group.get("constant_lr"):
            group["held_lr"] = float(group["lr"])  # some schedules write over it and `initial_lr`
    schedule: Any = lr_scheduler(optimizer, **{name: length[name] for name in wanted})
    if not (hasattr(schedule, "step") and hasattr(schedule, "state_dict")):
        raise TypeError(
            "lr_scheduler must give a schedule such as those in torch.optim.lr_scheduler, got "
            f"{schedule!r}"
        )
    if isinstance(schedule, ReduceLROnPlateau):
        raise TypeError(
            "ReduceLROnPlateau waits for a measurement after every epoch, and there is none that "
            'says when a pretext task is learnt: use "cosine", or another of '
            "torch.optim.lr_scheduler"
        )
    if not hasattr(schedule, "interval") and not set(wanted).isdisjoint(LENGTHS[:2]):
        schedule.interval = "step"
    hold_constant(optimizer)
    return schedule


def wants_length(lr_scheduler: Schedule | str) -> bool:
    """Whether a schedule cannot be built before it is known how long the run is."""
    return isinstance(lr_scheduler, str) or bool(_wanted(lr_scheduler))


def _wanted(lr_scheduler: Schedule) -> list[str]:
    """Which lengths of the run a function of the optimizer takes."""
    try:
        parameters = list(inspect.signature(lr_scheduler).parameters.values())[1:]
    except ValueError:  # some functions that are not written in Python tell nothing
        return []
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    missing = [p.name for p in named if p.default is p.empty and p.name not in LENGTHS]
    if missing:
        name = getattr(lr_scheduler, "__name__", type(lr_scheduler).__name__)
        raise TypeError(
            f"lr_scheduler is called with the optimizer, and by name with those of "
            f"{', '.join(LENGTHS)} that it takes, but {name} wants {', '.join(missing)} too: give "
            f"functools.partial({name}, {missing[0]}=...), or a function of the optimizer"
        )
    return [p.name for p in named if p.name in LENGTHS and p.default in (p.empty, None)]


def advance(lr_scheduler: Any, steps: int) -> None:
    """Brings a new schedule to where it would be, without updates of the weights.

    Args:
        lr_scheduler: As it was built; one, or several that step as one.
        steps: Updates or epochs, whichever it counts.
    """
    with _without(_NO_UPDATE, _BEGINS_ANEW):  # the updates lie in a run before this one
        for _ in range(steps):
            lr_scheduler.step()


def step_schedule(lr_scheduler: LRScheduler, moved: bool) -> None:
    """Steps a schedule, without complaints of torch that are none of the user's.

    Args:
        lr_scheduler: To step.
        moved: Whether the optimizer was stepped before; the first update may be left out.
    """
    if moved and not _changes_over(lr_scheduler):
        lr_scheduler.step()
        return
    with _without(*([] if moved else [_NO_UPDATE]), _BEGINS_ANEW):
        lr_scheduler.step()


def hold_constant(optimizer: Any) -> None:
    """Gives the groups of an optimizer that have `constant_lr` the rate that they began with.

    Args:
        optimizer: After its schedule was built or stepped; one, or several as one.
    """
    for group in getattr(optimizer, "param_groups", []):
        if group.get("constant_lr"):
            group["lr"] = group["held_lr"]


def _changes_over(schedule: Any) -> bool:
    """Whether the next step begins the next one of a `SequentialLR`, or of one that is inside."""
    if isinstance(schedule, SequentialLR) and schedule.last_epoch + 1 in schedule._milestones:
        return True
    is_several = isinstance(schedule, Mapping)  # by player
    inside = schedule.values() if is_several else getattr(schedule, "_schedulers", ())
    return any(_changes_over(part) for part in inside)


@contextlib.contextmanager
def _without(*messages: str) -> Iterator[None]:
    """Keeps warnings back; not at every step, since all that were told once are told again."""
    with warnings.catch_warnings():
        for message in messages:
            warnings.filterwarnings("ignore", message)
        yield


def steps_every_update(lr_scheduler: LRScheduler) -> bool:
    """Whether a schedule counts updates (`interval = "step"`) and not epochs, torch's custom."""
    return getattr(lr_scheduler, "interval", "epoch") == "step"
