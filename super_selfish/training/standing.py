"""Where a run stands, and where it lies, in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from super_selfish.training.checkpoint import checkpoint_path
from super_selfish.training.counting import plural
from super_selfish.training.run import UNLIMITED, Run

_how: ContextVar[str] = ContextVar(
    "how", default="To go on, call supervise() again with the same arguments and resume=True."
)


@contextmanager
def goes_on_by(sentence: str) -> Iterator[None]:
    """While entered, a run that is stopped says so how it goes on: its user called something else.

    Args:
        sentence: What to do.
    """
    former = _how.set(sentence)
    try:
        yield
    finally:
        _how.reset(former)


def place_of(run: Run) -> str:
    """Where a run is stored, in words."""
    if run.name is None:
        return "nothing is stored (name=None)"
    return f"stored at {os.path.abspath(checkpoint_path(run.name))}"


def stopped(run: Run, cause: str) -> str:
    """A sentence on a run that was ended before its end, and on how it goes on.

    Args:
        run: Its state.
        cause: What ended it.
    """
    if not run.steps_per_epoch:
        where = "before the first step"
    elif run.epoch >= run.epochs:
        where = "after its last epoch"
    elif run.step == 0 and run.epoch > 0:
        where = f"after epoch {run.epoch}{_of_all(run)}"
    else:
        steps = f"after {run.step} of {run.steps_per_epoch} steps"
        where = f"in epoch {run.epoch + 1}{_of_all(run)}, {steps}"
    return f"Stopped by {cause} {where}: {_stored(run)}"


def _of_all(run: Run) -> str:
    return "" if run.epochs >= UNLIMITED else f" of {run.epochs}"


def epochs_done(done: int, epochs: int) -> str:
    """How far a run came, such as "3 of 10 epochs", or "3 epochs" where its time was to end it.

    Args:
        done: Epochs.
        epochs: That it was to have.
    """
    if done >= epochs or epochs >= UNLIMITED:
        return plural(done, "epoch")
    return f"{done:,} of {plural(epochs, 'epoch')}"


def _stored(run: Run) -> str:
    if run.name is None:
        return f"{place_of(run)}. The networks in memory have learned so far."
    if run.stored_step is None:
        if run.global_step == 0:
            return "nothing is stored yet."
        return f"{place_of(run)}, as before this call."
    late = run.global_step - run.stored_step
    missing = f", but for the last {late} steps" if late > 1 else ", but for the last step"
    return f"{place_of(run)}{missing if late else ''}. {_how.get()}"
