"""A run that ends when it no longer gets better."""

from __future__ import annotations

from typing import Any, Literal

from super_selfish.training.callbacks import Callback
from super_selfish.training.counting import plural
from super_selfish.training.history import Row
from super_selfish.training.monitoring import COLUMNS
from super_selfish.training.typed import as_count, as_number

Mode = Literal["min", "max"]


def sign_of(metric: str, mode: Mode | None) -> float:
    """1 where more of a column is better, -1 where less is.

    Args:
        metric: Name of the column.
        mode: `"min"`, `"max"`, or None: less of what has "loss" in its name, more of all else.

    Raises:
        TypeError: If the name is no text.
        ValueError: If the mode is neither.
    """
    if not isinstance(metric, str):
        raise TypeError(f'a column of the history is a text such as "loss", got {metric!r}')
    if mode not in (None, "min", "max"):
        raise ValueError(f'mode is "min" or "max", got {mode!r}')
    is_less = "loss" in metric if mode is None else mode == "min"
    return -1.0 if is_less else 1.0


def require_monitor(metric: str, supervisor: Any) -> None:
    """Refuses a monitor's column where there is no monitor, before the first step.

    Raises:
        ValueError: If it is so.
    """
    if metric in COLUMNS and not supervisor.run.callbacks.monitors:
        labels = "labels=True" if metric in ("knn", "linear") else ""
        probe = ', probe="linear"' if metric == "linear" else ""
        raise ValueError(
            f"{metric!r} is measured by a monitor, and there is none: give "
            f"monitor=Monitor({labels}{probe}), from super_selfish.evaluation"
        )


def require_column(metric: str, row: Row, supervisor: Any) -> None:
    """Refuses a column that nobody will ever write, after the first epoch.

    Raises:
        TypeError: If it is text, which nothing is better than.
        ValueError: If the row has none of this name, and no monitor may write it later.
    """
    if isinstance(row.get(metric), str):
        raise TypeError(f"column {metric!r} is the text {row[metric]!r}, not a number")
    if metric not in row and not supervisor.run.callbacks.monitors:
        raise ValueError(
            f"the history has no column {metric!r}; it has {', '.join(sorted(row))}, and with a "
            "monitor others"
        )


class EarlyStopping(Callback):
    """Stops a run whose history has not got better for some epochs.

    A pretext loss that falls does not say that features get better: where there are labels, stop by
    `"knn"`, with `monitor=Monitor(labels=True, every=1)`. All that it knows is in the history, so
    that a resumed run stops where the unbroken one would.
    """

    def __init__(
        self,
        metric: str = "loss",
        patience: int = 10,
        *,
        min_delta: float = 0.0,
        mode: Mode | None = None,
    ) -> None:
        """Notes what to look at.

        Args:
            metric: A column of the history.
            patience: Epochs that have the column, in a row, without a new best.
            min_delta: What counts as better must be so by more than this, in the column's units.
            mode: `"min"` or `"max"`. None: less of what has "loss" in its name, more of all else.

        Raises:
            TypeError: If something is of another type.
            ValueError: If a number is out of its range.
        """
        patience = as_count("patience", patience, " epoch")
        min_delta = as_number("min_delta", min_delta)
        if not min_delta >= 0:
            raise ValueError(f"min_delta must not be negative, got {min_delta}")
        self.metric = metric
        self.patience = patience
        self.min_delta = min_delta
        self._sign = sign_of(metric, mode)

    def on_start(self, supervisor: Any) -> None:
        """Stops at once what was stopped before.

        Raises:
            ValueError: If the column is one of a monitor's, and there is none.
        """
        require_monitor(self.metric, supervisor)
        self._judge(supervisor.run)

    def on_epoch(self, supervisor: Any, row: Row) -> None:
        """Stops the run if the column has not got better.

        Raises:
            ValueError: If nobody writes such a column.
        """
        require_column(self.metric, row, supervisor)
        self._judge(supervisor.run)

    def _judge(self, run: Any) -> None:
        rows = run.history.rows
        values = [row[self.metric] for row in rows if row.get(self.metric) is not None]
        best, since = -float("inf"), 0
        for value in values:
            is_better = self._sign * value > best + self.min_delta
            best, since = (self._sign * value, 0) if is_better else (best, since + 1)
        if since >= self.patience:
            shown = self._sign * best
            run.stop(
                f"EarlyStopping ({self.metric} no better than {shown:.4g} for "
                f"{plural(since, 'epoch')})"
            )
