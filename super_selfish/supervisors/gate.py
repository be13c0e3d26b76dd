"""Nothing that is not finite, or cannot be taken back, is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from super_selfish.training.finite import (
    LEAVE_OUT,
    LOWER,
    NonFiniteLossError,
    listed,
    not_finite,
    tensors_in,
)

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained


def require_finite(supervisor: Pretrained) -> None:
    """Refuses weights, buffers and optimizer averages of which a number is not finite.

    A buffer may keep infinities that it had before the run: masks of attention have them.

    Args:
        supervisor: With its run, if there is one.

    Raises:
        NonFiniteLossError: If there is such a number.
    """
    run = supervisor.run
    state = supervisor.state_dict()
    tensors = tensors_in(state, "")
    tensors = {name[2:-2]: tensor for name, tensor in tensors.items()}
    if run is not None and run.optimizer is not None:
        tensors.update(tensors_in(run.optimizer.state_dict(), "optimizer"))
    if supervisor.averaged is not None:
        tensors.update(tensors_in(supervisor.averaged.weights, "average"))
    wrong = not_finite(tensors)
    if not wrong:
        return
    trained = {name for name, _ in supervisor.named_parameters()}
    buffers = [name for name in wrong if name in state and name not in trained]
    if run is None:
        wrong = [name for name in wrong if name not in buffers]
    else:
        if not run.has_advanced:
            run.infinite_at_start.update({name: ~tensors[name].isfinite() for name in buffers})
        wrong = [name for name in wrong if not _was_so(name, tensors, run.infinite_at_start)]
    if wrong:
        step = -1 if run is None else run.global_step - 1
        steps = 1 if run is None else run.steps_per_epoch
        advice = LEAVE_OUT
        if not (run and run.has_advanced):
            advice = "Such numbers are not stored: replace them first"
        elif run.guard.skips:
            advice = LOWER
        raise NonFiniteLossError(step, listed(wrong), steps, advice=advice)


def require_extra_state_taken(supervisor: Pretrained) -> None:
    """Refuses modules that give an extra state to be stored, and take none back.

    Args:
        supervisor: With its networks.

    Raises:
        TypeError: If there is such a module.
    """
    for name, module in supervisor.named_modules():
        kind = type(module)
        gives = kind.get_extra_state is not nn.Module.get_extra_state
        if gives and kind.set_extra_state is nn.Module.set_extra_state:
            raise TypeError(
                f"{name} ({kind.__name__}) has get_extra_state() and no set_extra_state(state): "
                "what it gives could be stored, but never be loaded"
            )


def _was_so(name: str, tensors: Mapping[str, Tensor], at_start: Mapping[str, Tensor]) -> bool:
    return name in at_start and bool((tensors[name].isfinite() | at_start[name]).all())
