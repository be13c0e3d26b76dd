"""How slowly the momentum encoders of MoCo and BYOL follow, and how far a run has come."""

from __future__ import annotations

from super_selfish.training.run import UNLIMITED, Run

SHORT_RUN = 300  # epochs: BYOL's appendix and its authors' presets; MoCo's authors on CIFAR


def base_momentum(run: Run, given: float | None, *, of_long_runs: float) -> float:
    """Momentum at the beginning of a run.

    An average that moves by a thousandth an update has not caught up when a short run ends.

    Args:
        run: Its length decides. A run whose time is up before its epochs are is a short one.
        given: What the user chose, or None.
        of_long_runs: The paper's.

    Returns:
        `given`; else 0.99 for runs of at most 300 epochs, and the paper's for longer ones.
    """
    if given is not None:
        return given
    is_short = run.epochs <= SHORT_RUN or run.epochs >= UNLIMITED
    return 0.99 if is_short else of_long_runs


def updates_before(run: Run) -> int:
    """Updates of a run before the one under way, whose batches may not all be through.

    Args:
        run: The run, before its position moves on.
    """
    return run.epoch * (run.total_updates // run.epochs) + run.step // run.accumulate
