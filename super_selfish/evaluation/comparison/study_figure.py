"""The study of sensitivity as a picture: accuracy by set and task, sensitivity by task.

matplotlib is an extra and imported when a figure is made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from super_selfish.evaluation.charts import style_axes
from super_selfish.evaluation.comparison.figure import GAIN
from super_selfish.evaluation.comparison.standings import START, UNTRAINED, Spread, Standing
from super_selfish.evaluation.comparison.study import Columns, chance_of, sensitivity_of
from super_selfish.evaluation.sheets import (
    FONT,
    INK,
    QUIET,
    new_figure,
    save_figure,
    write_legend,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = 2.7  # inches
_ROW = 0.42  # inches of an algorithm
_SPREAD = 0.5  # of the distance between two rows, over which base sizes are laid
_LETTER = 0.075  # inches
_SHADES = "Blues"


def plot_study(
    leaderboard: Sequence[Standing],
    columns: Columns,
    path: str | os.PathLike[str] | None = None,
    *,
    metric: str = "accuracy",
) -> Figure:
    """Draws a row of panels for each protocol: one for each set, and one for the sensitivity.

    In a panel of a set each algorithm is a row, and a point is its mean accuracy after pretraining
    on so many images, darker for more; lines through it are the standard deviation over seeds.
    Dashed is the untrained network that sees images as the algorithm does, dotted what all began
    with, if that was trained before. In the last panel a bar is the sensitivity, and the stroke on
    it what seeds alone would lead one to find.

    Args:
        leaderboard: From the top down; what failed is named above only.
        columns: Those of downstream sets, by protocol.
        path: The file to write; its ending gives the format. None writes nothing.
        metric: What the figures are.

    Returns:
        The figure.

    Raises:
        ValueError: If no run ended well.
        ImportError: If matplotlib is missing.
    """
    good = [entry for entry in leaderboard if not entry.has_failed]
    if not good:
        raise ValueError("there is nothing to draw: no run ended well")
    are_repeated = any(entry.sensitivity for entry in good)
    panels = max(map(len, columns.values())) + are_repeated
    names = _LETTER * max(len(entry.algorithm) for entry in good)
    height = (_ROW * len(good) + 0.9) * len(columns) + 0.45
    figure = new_figure(names + _PANEL * panels + 0.3, height)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    grid = figure.add_gridspec(
        1 + len(columns), panels, height_ratios=[0.35, *([height] * len(columns))]
    )
    sizes = sorted({size for entry in good for size in entry.by_size})
    failed = [entry.algorithm for entry in leaderboard if entry.has_failed]
    key = figure.add_subplot(grid[0, :])
    strokes = any(chance_of(e, found) is not None for e in good for found in columns.values())
    lines = [name for name in (UNTRAINED, START) if any(_before(e, name) for e in good)]
    _write_key(key, sizes, lines, failed, has_strokes=strokes)
    for row, (protocol, found) in enumerate(columns.items(), start=1):
        for place, column in enumerate(found):
            axes = figure.add_subplot(grid[row, place])
            _draw_set(axes, good, column, sizes)
            name = column.removesuffix(f": {protocol}")
            _style(axes, good, f"{name}\n{protocol}: {metric} in %", names=place == 0)
        if are_repeated:
            axes = figure.add_subplot(grid[row, len(found)])
            _draw_sensitivity(axes, good, found)
            _style(axes, good, f"sensitivity in points\n{protocol}", names=False)
    return save_figure(figure, path)


def _draw_set(
    axes: Axes,
    good: Sequence[Standing],
    column: str,
    sizes: Sequence[int],
) -> None:
    """One set: a row for each algorithm, in it a point for each number of images."""
    for row, entry in enumerate(good):
        for name in (UNTRAINED, START):
            known = _before(entry, name)
            if column in known:
                ends = [100 * known[column].mean] * 2
                rows = [row - 0.45, row + 0.45]
                axes.plot(ends, rows, color=QUIET, linestyle=_dash(name), linewidth=1)
        points = {size: found[column] for size, found in entry.by_size.items()}
        for size, value in points.items() or [(None, entry.accuracy[column])]:
            axes.errorbar(
                100 * value.mean,
                row + _offset(size, sizes),
                xerr=100 * (value.deviation or 0.0),
                color=_shade(size, sizes),
                marker="o",
                markersize=5,
                linewidth=1.2,
                zorder=3,
            )


def _draw_sensitivity(axes: Axes, good: Sequence[Standing], columns: Sequence[str]) -> None:
    """A bar for each algorithm, with what chance would make of it."""
    for row, entry in enumerate(good):
        value, chance = sensitivity_of(entry, columns), chance_of(entry, columns)
        if value is not None:
            axes.barh(row, 100 * value, 0.5, color=GAIN, alpha=0.45, linewidth=0)
            axes.annotate(
                f"{100 * value:.2f}",
                (100 * value, row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=FONT,
                color=INK,
            )
        if chance is not None:
            axes.plot(100 * chance, row, marker="|", markersize=13, color=INK, zorder=3)
    axes.set_xlim(0, 1.25 * max(100 * (sensitivity_of(e, columns) or 0.0) for e in good) or 1.0)


def _offset(size: int | None, sizes: Sequence[int]) -> float:
    """How far below the middle of its row a number of images lies; the most at the bottom."""
    if size is None or len(sizes) < 2:
        return 0.0
    return _SPREAD * (sizes.index(size) / (len(sizes) - 1) - 0.5)


def _shade(size: int | None, sizes: Sequence[int]) -> tuple[float, float, float, float] | str:
    """Darker for more images."""
    import matplotlib

    if size is None or len(sizes) < 2:
        return GAIN
    share = sizes.index(size) / (len(sizes) - 1)
    red, green, blue, alpha = matplotlib.colormaps[_SHADES](0.4 + 0.55 * share)
    return red, green, blue, alpha


def _before(entry: Standing, name: str) -> Mapping[str, Spread]:
    """Accuracies of a network before pretraining, `"untrained"` or `"start"`."""
    return entry.untrained if name == UNTRAINED else entry.start


def _dash(name: str) -> Literal["--", ":"]:
    return "--" if name == UNTRAINED else ":"


def _write_key(
    axes: Axes,
    sizes: Sequence[int],
    lines: Sequence[str],
    failed: Sequence[str],
    *,
    has_strokes: bool,
) -> None:
    """What points, lines and strokes are, and what is not there."""
    from matplotlib.lines import Line2D

    axes.set_axis_off()
    handles: list[Artist] = []
    labels = []
    for size in sizes:
        handles.append(Line2D([], [], marker="o", linestyle="", color=_shade(size, sizes)))
        labels.append(f"{size:,} images")
    for name in lines:
        handles.append(Line2D([], [], color=QUIET, linestyle=_dash(name)))
        labels.append(name)
    if has_strokes:
        handles.append(Line2D([], [], marker="|", markersize=11, linestyle="", color=INK))
        labels.append("sensitivity by chance of the seeds")
    if failed:
        handles.append(Line2D([], [], linestyle=""))
        labels.append(f"failed: {', '.join(failed)}")
    write_legend(
        axes,
        handles,
        labels,
        loc="center left",
        ncols=len(labels),
        fontsize=FONT,
        frameon=False,
        borderaxespad=0,
        handletextpad=0.3,
    )


def _style(axes: Axes, good: Sequence[Standing], label: str, *, names: bool) -> None:
    """Grid, ticks, names of the rows."""
    from matplotlib.ticker import MaxNLocator

    axes.set_ylim(len(good) - 0.4, -0.6)
    axes.set_yticks(range(len(good)), [entry.algorithm for entry in good] if names else [])
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    style_axes(axes, grid="x", spines=("bottom",))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(label, fontsize=FONT, color=INK)
