"""How far a run has come, for what follows its weights, and what follows from that alone."""

from __future__ import annotations

from typing import Any

import torch

from super_selfish.models.momentum import momentum_at
from super_selfish.supervisors.defaults import WARMED, warmed_momentum
from super_selfish.training.randomness import step_generator
from super_selfish.training.run import Run


def updates_before(run: Run) -> int:
    """Updates of a run before the one under way, whose batches may not all be through.

    Args:
        run: The run, before its position moves on.
    """
    return run.epoch * (run.total_updates // run.epochs) + run.step // run.accumulate


def rising_momentum(run: Run, given: float | None, published: float, least: float = 0.0) -> float:
    """The momentum of an update that rises to 1 over the run (BYOL, section 3.3; DINO).

    Args:
        run: The run, before its position moves on.
        given: With which it begins, as the user says.
        published: With which it begins otherwise, once as much has been seen.
        least: Of which it is not less until then.

    Returns:
        The momentum, in [0, 1].
    """
    updates = updates_before(run)
    if given is not None:
        return momentum_at(updates, run.total_updates, given)
    return warmed_momentum(momentum_at(updates, run.total_updates, published), updates, least)


def said_of_momentum(
    given: float | None, published: float, least: float | None = None
) -> dict[str, Any]:
    """What a line says of `rising_momentum`; nothing where the user has given it."""
    bounds = f"at most {published}" if least is None else f"{least} to {published}"
    return {} if given is not None else {"momentum": f"{WARMED}, {bounds}, rising to 1"}


def rising_line(run: Run, first: float, last: float, epochs: float) -> float:
    """A number that goes in a line from one value to another in the first epochs of a run.

    Args:
        run: The run, before its position moves on.
        first: Its value in the first update.
        last: Its value from then on.
        epochs: In which it goes there.
    """
    duration = epochs * (run.total_updates // run.epochs)
    progress = updates_before(run) / duration if duration > 0 else 1.0
    return last if progress >= 1 else first + (last - first) * progress


def thaws_after(run: Run, given: int | None, published: int) -> int:
    """Updates for which a last layer is frozen at first (SwAV, DINO).

    Args:
        run: Its length bounds the default.
        given: As the user says.
        published: As otherwise, at most a tenth of the run.
    """
    return min(published, run.total_updates // 10) if given is None else given


def images_before(run: Run) -> int:
    """Images of all processes that were seen before the update under way, in former runs as well.

    Args:
        run: The run, before its position moves on.
    """
    epochs = run.epochs_before + run.epoch
    return epochs * run.num_images + run.step // run.accumulate * run.images_per_update


def generator_of_all(run: Run | None, stream: int) -> torch.Generator:
    """A CPU generator for the step under way, alike in all processes.

    Args:
        run: Its seed and place decide; None: always the same one.
        stream: Which of a step's draws, above 2: another number for each kind.
    """
    place = (0, 0, 0) if run is None else (run.seed, run.epochs_before + run.epoch, run.step)
    return step_generator(*place, stream)
