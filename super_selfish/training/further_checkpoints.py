"""Checkpoints besides the newest: of some epochs, and of the best."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from super_selfish.training.callbacks import Callback
from super_selfish.training.checkpoint import beside, checkpoint_path
from super_selfish.training.distributed import rank
from super_selfish.training.early_stopping import Mode, require_column, require_monitor, sign_of
from super_selfish.training.history import Row
from super_selfish.training.typed import as_count


def keep_if_best(supervisor: Any, rows: Sequence[Row], metric: str, sign: float) -> None:
    """Stores the networks at `name + "-best"` if the last row is the best, and notes which one is.

    Args:
        supervisor: With its run, between two steps.
        rows: Of the history, those that can be compared; some may not have the column.
        metric: The column.
        sign: 1 where more is better, -1 where less is.
    """
    run = supervisor.run
    measured = [row for row in rows if _is_number(row.get(metric))]
    if not measured:
        return
    best = max(measured, key=lambda row: sign * row[metric])
    path = checkpoint_path(beside(run.path, "-best"))
    is_stored = path.is_file()  # by the run before, which this one goes on with
    if best is rows[-1]:
        is_stored = run.attempt(lambda: supervisor.save(beside(run.path, "-best")))
    elif run.kept is not None:
        return
    if is_stored:
        run.kept = (
            f"best by {metric} ({best[metric]:.4g}): epoch {best['epoch']:.0f}, kept at "
            f"{os.path.abspath(path)}"
        )


class Checkpoints(Callback):
    """Keeps more of a run than its last state.

    `name + "-epoch-0010.pt"` and so on, from each of which a run can go on, and the best one as
    `name + "-best.pt"`.
    """

    def __init__(
        self,
        every: int | None = None,
        *,
        keep_last: int | None = None,
        best: str | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Notes what to keep.

        Args:
            every: So many epochs; None: none of these.
            keep_last: How many of them are kept; None: all.
            best: A column of the history, such as `"loss"` or a monitor's `"knn"`; None: no best.
            mode: Whether the `"min"` or the `"max"` of it is best. None: less of what has "loss" in
                its name, more of all else.

        Raises:
            ValueError: If a number is below 1, or there is nothing to keep.
        """
        every = None if every is None else as_count("every", every)
        keep_last = None if keep_last is None else as_count("keep_last", keep_last)
        if every is None and best is None:
            raise ValueError('give every= (epochs), best= (a column such as "loss"), or both')
        if keep_last is not None and every is None:
            raise ValueError("keep_last= is of the checkpoints that every= makes: give every=")
        self.every = every
        self.keep_last = keep_last
        self.best = best
        self._sign = 1.0 if best is None else sign_of(best, mode)

    def on_start(self, supervisor: Any) -> None:
        """Refuses a run without a name, and a second one that keeps a best.

        Raises:
            ValueError: If it is so.
        """
        run = supervisor.run
        if run.name is None:
            raise ValueError("Checkpoints writes beside the checkpoint of the run: give name=")
        if self.best is not None:
            require_monitor(self.best, supervisor)
        others = [getattr(each, "keep_best", None) for each in run.callbacks.monitors]
        if self.best is not None and any(others):
            raise ValueError(
                f"Checkpoints(best={self.best!r}) and Monitor(keep_best={others[0]!r}) would both "
                "write the best checkpoint: leave one of them out"
            )

    def on_epoch(self, supervisor: Any, row: Row) -> None:
        """Stores, where the epoch is one to keep.

        Raises:
            ValueError: If nobody writes the column of `best`.
        """
        run = supervisor.run
        if self.best is not None:
            require_column(self.best, row, supervisor)
        if rank() != 0:
            return
        if self.best is not None:
            keep_if_best(supervisor, run.history.rows, self.best, self._sign)
        if self.every is not None and run.epoch % self.every == 0:
            name = beside(run.path, f"-epoch-{run.epoch:04d}")
            if run.attempt(lambda: supervisor.save(name)) and self.keep_last is not None:
                for path in numbered(run.path)[: -self.keep_last]:
                    path.unlink(missing_ok=True)


def _is_number(value: Any) -> bool:
    """Whether a value of a row can be the best: one that is not a number would stay it for ever."""
    return value is not None and not math.isnan(value)


def numbered(name: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints of single epochs of a run, the first one first.

    Args:
        name: Path of the run's checkpoint.
    """
    path = checkpoint_path(name)
    pattern = re.compile(re.escape(path.stem) + r"-epoch-(\d+)\.pt")
    found = {each: pattern.fullmatch(each.name) for each in path.parent.iterdir()}
    numbers = {each: int(match[1]) for each, match in found.items() if match}
    return sorted(numbers, key=lambda each: numbers[each])
