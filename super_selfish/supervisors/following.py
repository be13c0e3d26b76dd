"""How far a run has come, for what follows its weights."""

from __future__ import annotations

from super_selfish.training.run import Run


def updates_before(run: Run) -> int:
    """Updates of a run before the one under way, whose batches may not all be through.

    Args:
        run: The run, before its position moves on.
    """
    return run.epoch * (run.total_updates // run.epochs) + run.step // run.accumulate
