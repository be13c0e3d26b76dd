"""Curves: the course of training, and of what a monitor measured now and then."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from super_selfish.evaluation.charts import style_axes
from super_selfish.evaluation.sheets import FONT, INK, new_figure, save_figure
from super_selfish.supervisors.base import Supervisor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = ("#00798c", "#edae49", "#66a182", "#d1495b", "#2e4057", "#8d6a9f")
_CHANCE = "#888888"
_LEAST_SPAN = 0.25  # of the largest loss: what falls by 2 % must not look like a cliff
_FEW = 30  # values: so many are shown as points on their line, of more the line says enough

Rows = Sequence[Mapping[str, Any]]


def plot_history(
    rows: Rows | Supervisor,
    path: str | os.PathLike[str] | None = None,
    *,
    panels: Sequence[str] = (),
    chance: float | None = None,
) -> Figure:
    """Draws the loss of every epoch, with its parts if there are several.

    The axis of the loss spans at least a quarter of its largest value, and chance where that is
    known, so that a small fall looks small.

    Args:
        rows: A supervisor, which knows its chance; or rows, one an epoch, with "epoch" and "loss";
            every other column whose name begins with "loss" is drawn as well.
        path: The file to write; its ending gives the format. `None` writes nothing.
        panels: Further columns ("lr", "images_per_second", ...), each in a panel of its own.
        chance: Loss of a network that only guesses, for a broken line. Default: what the
            supervisor says.

    Returns:
        The figure. An epoch without a finite loss is a gap in its curve; a panel joins the epochs
        that have a value, since a monitor measures in few of them.

    Raises:
        ValueError: If there are no rows, or a column is missing from all of them.
        ImportError: If matplotlib is missing.
    """
    if isinstance(rows, Supervisor):
        supervisor, rows = rows, rows.history
        if chance is None and rows:
            chance = supervisor.chance_loss(dict(rows[-1]))
    columns = _check_columns(rows, ("loss", *panels))
    losses = ["loss", *(name for name in columns if name.startswith("loss") and name != "loss")]
    heights = [3.2, *(1.5 for _ in panels)]  # inches
    figure = new_figure(6.4, sum(heights) + 0.4)
    grid = figure.add_gridspec(len(heights), height_ratios=heights)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)  # inches
    top = figure.add_subplot(grid[0])
    _draw_panel(top, rows, losses, joined=False, is_last=not panels)
    _calm(top, chance)
    for number, name in enumerate(panels, start=1):
        axes = figure.add_subplot(grid[number], sharex=top)
        _draw_panel(axes, rows, [name], joined=True, is_last=number == len(panels))
    return save_figure(figure, path)


def plot_curves(
    rows: Rows,
    columns: Sequence[str],
    path: str | os.PathLike[str] | None = None,
    *,
    size: tuple[float, float] = (4.2, 2.4),
    chance: float | None = None,
) -> Figure:
    """Draws some columns of the history in one panel.

    Losses are drawn on the axis of `plot_history`.

    Args:
        rows: One an epoch, with "epoch" and, in some rows at least, the columns.
        columns: What to draw.
        path: The file to write; its ending gives the format. `None` writes nothing.
        size: Width and height of the figure, in inches.
        chance: Loss of a network that only guesses, for a broken line.

    Returns:
        The figure. Values are joined over epochs that have none.

    Raises:
        ValueError: If there are no rows, no columns, or a column is missing from all rows.
        ImportError: If matplotlib is missing.
    """
    if not columns:
        raise ValueError("expected the name of at least one column to draw, got none")
    _check_columns(rows, columns)
    figure = new_figure(*size)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)  # inches
    axes = figure.add_subplot()
    _draw_panel(axes, rows, columns, joined=True, is_last=True)
    if columns[0] == "loss":
        _calm(axes, chance)
    return save_figure(figure, path)


def _check_columns(rows: Rows, wanted: Sequence[str]) -> list[str]:
    """All columns of the rows; refuses rows without the wanted ones."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    missing = [name for name in ("epoch", *wanted) if name not in columns]
    if missing:
        raise ValueError(f"rows must have {missing}, got the columns {columns}")
    return columns


def _draw_panel(
    axes: Axes, rows: Rows, names: Sequence[str], *, joined: bool, is_last: bool
) -> None:
    """Draws columns into a panel.

    Args:
        axes: The panel.
        rows: The history.
        names: Columns.
        joined: Whether epochs without a value are passed over, or leave a gap.
        is_last: Whether the panel tells the epochs, for those above it as well.
    """
    epochs = [row["epoch"] for row in rows]
    for name, color in zip(names, _LINES * math.ceil(len(names) / len(_LINES)), strict=False):
        values = [_number(row.get(name)) for row in rows]
        points = list(zip(epochs, values, strict=True))
        if joined:
            points = [point for point in points if not math.isnan(point[1])]
        axes.plot(
            [epoch for epoch, _ in points],
            [value for _, value in points],
            color=color,
            linewidth=1.8,
            marker="o" if len(points) <= _FEW else None,  # a line needs two values
            markersize=3.5,
            label=name.replace("_", " "),
        )
    _style_curves(axes, names, is_last)
    if len(set(epochs)) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)


def _calm(axes: Axes, chance: float | None) -> None:
    """Marks chance, and widens the axis of a loss until a small change looks small."""
    lines = list(axes.lines)
    if chance is not None and math.isfinite(chance):
        axes.axhline(chance, color=_CHANCE, linewidth=1.2, linestyle=(0, (4, 3)), label="chance")
        axes.legend(handles=[*lines, axes.lines[-1]], fontsize=FONT, frameon=False)
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    values = drawn[np.isfinite(drawn)].tolist()
    if not values:
        return
    low, high = min(values), max(values)
    missing = max(0.0, _LEAST_SPAN * max(abs(low), abs(high)) - (high - low)) / 2
    margin = missing + 0.05 * (high - low)
    floor = 0.0 if low >= 0 else -math.inf  # no loss above zero needs room below it
    axes.set_ylim(max(floor, low - margin), high + margin or 1.0)


def _number(value: Any) -> float:
    """A finite value, or NaN for what is missing."""
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else math.nan


def _style_curves(axes: Axes, names: Sequence[str], is_last: bool) -> None:
    """Grid, labels and ticks of a panel."""
    from matplotlib.ticker import MaxNLocator

    style_axes(axes)
    axes.tick_params(labelbottom=is_last)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.set_ylabel(names[0].replace("_", " "), fontsize=FONT + 1, color=INK)
    if is_last:
        axes.set_xlabel("epoch", fontsize=FONT + 1, color=INK)
    if len(names) > 1:
        axes.legend(fontsize=FONT, frameon=False)
