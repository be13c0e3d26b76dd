"""How long a step takes, measured before the first one is done, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from super_selfish.models.dry_run import REFUSALS
from super_selfish.supervisors import footprint
from super_selfish.training.alone import alone
from super_selfish.training.first import of_first
from super_selfish.training.memory import is_lack_of_memory
from super_selfish.training.precision import AUTO, autocast, gradient_scaler
from super_selfish.training.run import Losses, Run, total

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor

TIMED = 3  # steps of each kind, after a first one that is not timed
WORTH = 1.1  # times as fast: less is noise, and fp32 is what results are compared in


def seconds_a_step(
    supervisor: Supervisor,
    forward: Callable[[Any], Losses],
    data: Any,
    precision: str,
    devices: Sequence[torch.device],
) -> float:
    """Seconds that networks take for a batch, forward and backward.

    Args:
        supervisor: Whose weights get gradients.
        forward: From the batch to its losses.
        data: The batch.
        precision: In which they run.
        devices: All that take part, that of the networks first.
    """
    weights = [p for p in supervisor.parameters() if p.requires_grad]
    began = 0.0
    for step in range(TIMED + 1):
        if step == 1:
            _wait_for(devices)
            began = time.perf_counter()
        with autocast(precision, devices[0]):
            loss = forward(data)
        torch.autograd.grad(total(loss), weights, allow_unused=True)
    _wait_for(devices)
    return (time.perf_counter() - began) / TIMED


def _wait_for(devices: Sequence[torch.device]) -> None:
    for device in devices:
        if device.type != "cpu":
            torch.get_device_module(device).synchronize(device)


def settle_precision(
    supervisor: Supervisor, run: Run, given: str, stored: Mapping[str, Any] | None
) -> None:
    """Puts into a run the precision that `"auto"` stands for; the first process measures it.

    Args:
        supervisor: Its networks are where they will train, and laid out.
        run: Of it.
        given: `precision` of `supervise()`.
        stored: State of the run that goes on, whose precision it keeps; None of a new one.
    """
    if given != AUTO:
        return
    if stored is not None:
        run.precision = stored["settings"]["precision"]
    else:
        run.precision, said = of_first(lambda: _faster(supervisor, run))
        run.remarks.append(said)
    run.scaler = gradient_scaler(run.precision, run.device)


def _faster(supervisor: Supervisor, run: Run) -> tuple[str, str]:
    """The faster precision, and in words why."""
    seconds = []
    with alone(), footprint.untouched(supervisor):
        data = footprint.example(supervisor, min(run.batch_size, run.num_images))
        if data is None:
            return "fp32", f'precision="{AUTO}" took fp32: only a Collator can be measured'
        for precision in ("fp32", "bf16"):
            try:
                each = seconds_a_step(supervisor, supervisor, data, precision, [run.device])
            except (*REFUSALS, NotImplementedError) as error:
                if is_lack_of_memory(error):
                    raise
                why = str(error).strip().split("\n")[0]
                return "fp32", f'precision="{AUTO}" took fp32: {precision} does not run ({why})'
            seconds.append(each)
    fp32, bf16 = (1e3 * each for each in seconds)
    chosen = "bf16" if fp32 > WORTH * bf16 else "fp32"
    said = f"{bf16:.3g} ms a step in bf16, {fp32:.3g} in fp32"
    return chosen, f'precision="{AUTO}" took {chosen}: {said}, on {run.device}'
