"""The leaderboard as a picture: from where to where each algorithm took the network.

matplotlib is an extra and imported when a figure is made.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from super_selfish.evaluation.charts import style_axes
from super_selfish.evaluation.comparison.standings import Spread, Standing
from super_selfish.evaluation.comparison.table_cells import HEALTHY, change, costs, health_of
from super_selfish.evaluation.sheets import (
    ACCENT,
    FONT,
    INK,
    QUIET,
    new_figure,
    save_figure,
    write_legend,
)
from super_selfish.evaluation.verdicts import least_difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAIN = "#00798c"
_BAR = 0.36  # of the distance between two rows
_ROW = 0.3  # inches
_WIDTH = 3.6  # inches of a panel, without its gains
_GAIN = 1.35  # inches, right of every panel
_COLUMN = 0.85  # inches of "images/s", "memory MB", "minutes"
_CURVES = 3.0  # inches: height of the panels of curves
_LETTER = 0.07  # inches: width of an average letter
_COLORS = (
    "#00798c",
    "#edae49",
    "#d1495b",
    "#66a182",
    "#2e4057",
    "#8d6a9f",
    "#7f7f7f",
    "#bc6c25",
)
_MARKERS = ("o", "s", "^", "D", "v")
MINUS = "\N{MINUS SIGN}"


def plot_leaderboard(
    leaderboard: Sequence[Standing],
    path: str | os.PathLike[str] | None = None,
    *,
    metric: str = "accuracy",
    test_images: int | None = None,
) -> Figure:
    """Draws a panel for each protocol: a bar from untrained to pretrained for each algorithm.

    A stroke marks the weights that pretraining began from, where these were trained before. A bar
    is grey where the difference is within noise: 0 is in its 95 % interval or, where nobody knows
    that, so few test images cannot tell both its ends apart (`least_difference`).
    Thin lines are standard deviations over seeds; behind each bar stands the gain with its
    interval, and behind the last panel what pretraining took, and what its health is with the
    effective rank. Where
    pretraining was repeated with several numbers of images, a second row of panels shows the
    mean accuracy by that number, and the legend the sensitivity.

    Args:
        leaderboard: From the top down.
        path: The file to write; its ending gives the format. None writes nothing.
        metric: What the figures are.
        test_images: Images that they are of; None takes differences without interval as told.

    Returns:
        The figure.

    Raises:
        ValueError: If no run ended well.
        ImportError: If matplotlib is missing.
    """
    protocols = next((list(entry.accuracy) for entry in leaderboard if entry.accuracy), None)
    if protocols is None:
        raise ValueError("there is nothing to draw: no run ended well")
    good = [entry for entry in leaderboard if not entry.has_failed]
    curves = any(entry.sensitivity for entry in good)
    facts = _facts(good)
    beside = sum(inches for inches, _ in facts.values())
    width = 1.2 + (_WIDTH + _GAIN) * len(protocols) + beside
    labels = _curve_labels(good)
    columns = max(1, int(width / (0.5 + _LETTER * max(map(len, labels.values()), default=1))))
    heights = [_ROW * len(good) + 0.9]
    if curves:
        heights += [_CURVES, 0.2 * math.ceil(len(labels) / columns) + 0.3]
    complaints = _complaints(leaderboard, protocols, test_images)
    foot = 0.18 * len(complaints) + (0.1 if complaints else 0.0)  # inches
    height = sum(heights) + foot + 0.3
    figure = new_figure(width, height)
    figure.set_layout_engine(
        "constrained", w_pad=0.08, h_pad=0.08, rect=(0, foot / height, 1, 1 - foot / height)
    )
    grid = figure.add_gridspec(len(heights), len(protocols), height_ratios=heights)
    for column, protocol in enumerate(protocols):
        axes = figure.add_subplot(grid[0, column])
        _draw_bars(axes, good, protocol, metric, test_images, names=column == 0)
        if column == len(protocols) - 1:
            _write_facts(axes, good, facts)
        if curves:
            axes = figure.add_subplot(grid[1, column])
            _draw_curves(axes, good, protocol, metric)
    if curves:
        _draw_legend(figure.add_subplot(grid[2, :]), good, labels, columns)
    if complaints:
        figure.text(
            0.08 / width,
            0.08 / height,
            "\n".join(complaints),
            fontsize=FONT,
            color=QUIET if len(good) == len(leaderboard) else ACCENT,
            va="bottom",
        )
    return save_figure(figure, path)


def _complaints(
    leaderboard: Sequence[Standing], protocols: Sequence[str], test_images: int | None
) -> list[str]:
    """Lines below the panels: who failed and why, and what grey means where something is grey."""
    found = []
    for entry in leaderboard:
        if entry.has_failed:
            words = f"{entry.algorithm} failed: {entry.errors[0]}"
            letters = round(20 * _WIDTH * len(protocols))
            found += textwrap.wrap(words, letters, subsequent_indent="    ")
    good = (entry for entry in leaderboard if not entry.has_failed)
    if any(not _is_told(entry, protocol, test_images) for entry in good for protocol in protocols):
        found.append("grey: within noise, a difference of 0 is in the 95 % interval")
    return found


def _draw_bars(
    axes: Axes,
    good: Sequence[Standing],
    protocol: str,
    metric: str,
    test_images: int | None,
    *,
    names: bool,
) -> None:
    """One protocol: rows from the top down."""
    from matplotlib.lines import Line2D

    ends = []
    for row, entry in enumerate(good):
        after, before = entry.accuracy[protocol], entry.untrained.get(protocol)
        reference = entry.start.get(protocol, before)  # worse than the start is no gain
        color = GAIN if reference is None or after.mean >= reference.mean else ACCENT
        color = color if _is_told(entry, protocol, test_images) else QUIET
        ends += _reach(after) + ([] if before is None else _reach(before))
        if before is not None:
            left, right = sorted((100 * before.mean, 100 * after.mean))
            axes.barh(row, right - left, _BAR, left, color=color, alpha=0.3, linewidth=0)
            _draw_end(axes, row, before, QUIET, filled=False)
        if protocol in entry.start:
            start = entry.start[protocol]
            ends += _reach(start)
            axes.plot(100 * start.mean, row, marker="|", markersize=13, color=INK, zorder=3)
        _draw_end(axes, row, after, color, filled=True)
        if protocol in entry.gain:
            text = change(entry.gain_interval.get(protocol), entry.gain[protocol])
            _write_behind(axes, row, text.replace("-", MINUS), 6, color)
    low, high = min(ends), max(ends)
    margin = 0.04 * max(high - low, 1.0)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(len(good) - 0.4, -0.6)
    axes.set_yticks(range(len(good)), [entry.algorithm for entry in good] if names else [])
    _style(axes, f"{protocol}: {metric} in %")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if names:
        kinds = [
            Line2D([], [], marker="o", linestyle="", color=QUIET, markerfacecolor="white"),
            Line2D([], [], marker="o", linestyle="", color=GAIN),
        ]
        labels = ["untrained", "pretrained"]
        if any(entry.start for entry in good):
            kinds.append(Line2D([], [], marker="|", markersize=11, linestyle="", color=INK))
            labels.append("start")
        axes.legend(
            kinds,
            labels,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=len(labels),
            fontsize=FONT,
            frameon=False,
            borderaxespad=0.2,
            handletextpad=0.2,
        )
    _write_behind(axes, None, "gain", 6, QUIET)


def _is_told(entry: Standing, protocol: str, test_images: int | None) -> bool:
    """Whether what the colour of a bar says is no chance of the test images."""
    reference = entry.start.get(protocol, entry.untrained.get(protocol))
    intervals = entry.since_start_interval if protocol in entry.start else entry.gain_interval
    if protocol in intervals:
        return intervals[protocol].is_told
    if test_images is None or reference is None:
        return True
    after, before = entry.accuracy[protocol].mean, reference.mean
    return abs(after - before) > least_difference(after, before, test_images)


def _facts(good: Sequence[Standing]) -> dict[str, tuple[float, list[str]]]:
    """Columns of what pretraining took and made, by their heads: width in inches, and cells."""
    columns = {head: (_COLUMN, [costs(entry)[head] for entry in good]) for head in costs(good[0])}
    health = [health_of(entry) for entry in good]
    columns["health (rank)"] = (0.3 + _LETTER * max(13, *map(len, health)), health)
    return columns


def _write_facts(
    axes: Axes, good: Sequence[Standing], facts: dict[str, tuple[float, list[str]]]
) -> None:
    """Writes the columns behind the gains of a panel; what is not healthy in red."""
    end = 72 * _GAIN  # points
    for head, (inches, cells) in facts.items():
        end += 72 * inches
        _write_behind(axes, None, head, end, QUIET, align="right")
        for row, (entry, text) in enumerate(zip(good, cells, strict=True)):
            is_well = not head.startswith("health") or entry.findings == (HEALTHY,)
            _write_behind(axes, row, text, end, INK if is_well else ACCENT, align="right")


def _write_behind(
    axes: Axes, row: int | None, text: str, points: float, color: str, *, align: str = "left"
) -> None:
    """A text right of a panel, so far from it: in a row, or above all of them."""
    is_head = row is None
    axes.annotate(
        text,
        (1, 1 if row is None else row),
        xycoords="axes fraction" if is_head else axes.get_yaxis_transform(),
        xytext=(points, 4 if is_head else 0),
        textcoords="offset points",
        ha=align,
        va="bottom" if is_head else "center",
        fontsize=FONT,
        color=color,
    )


def _draw_end(axes: Axes, row: int, value: Spread, color: str, *, filled: bool) -> None:
    """A point with its spread."""
    axes.errorbar(
        100 * value.mean,
        row,
        xerr=100 * (value.deviation or 0.0),
        color=color,
        marker="o",
        markersize=5.5 if filled else 5,
        markerfacecolor=color if filled else "white",
        linewidth=1.3,
        zorder=4 if filled else 3,
    )


def _reach(value: Spread) -> list[float]:
    """Both ends of a point's spread, in percent."""
    deviation = value.deviation or 0.0
    return [100 * (value.mean - deviation), 100 * (value.mean + deviation)]


def _curve_labels(good: Sequence[Standing]) -> dict[str, str]:
    """Algorithms with a curve, and how sensitive each is by protocol, in points."""
    return {
        entry.algorithm: f"{entry.algorithm} ("
        + ", ".join(f"{name} {100 * value:.1f}" for name, value in entry.sensitivity.items())
        + ")"
        for entry in good
        if entry.sensitivity
    }


def _curve_style(position: int) -> dict[str, Any]:
    """Colour and marker of the n-th algorithm."""
    return {
        "color": _COLORS[position % len(_COLORS)],
        "marker": _MARKERS[position // len(_COLORS) % len(_MARKERS)],
    }


def _draw_curves(axes: Axes, good: Sequence[Standing], protocol: str, metric: str) -> None:
    """Mean accuracy by number of pretraining images, a line for each algorithm."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    sizes = sorted({size for entry in good for size in entry.by_size})
    for position, entry in enumerate(good):
        if entry.sensitivity:
            points = sorted((size, row[protocol].mean) for size, row in entry.by_size.items())
            axes.plot(
                [size for size, _ in points],
                [100 * mean for _, mean in points],
                markersize=4.5,
                linewidth=1.5,
                **_curve_style(position),
            )
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    _style(axes, "pretraining images")
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_ylabel(f"{protocol}: {metric} in %", fontsize=FONT, color=INK)


def _draw_legend(
    axes: Axes, good: Sequence[Standing], labels: dict[str, str], columns: int
) -> None:
    """Whose curve is which, and its sensitivity."""
    from matplotlib.lines import Line2D

    axes.set_axis_off()
    write_legend(
        axes,
        [
            Line2D([], [], linewidth=1.5, markersize=4.5, **_curve_style(position))
            for position, entry in enumerate(good)
            if entry.sensitivity
        ],
        list(labels.values()),
        title="sensitivity: standard deviation over the numbers of images, in points",
        title_fontsize=FONT,
        alignment="left",
        loc="upper left",
        borderaxespad=0,
        ncols=columns,
        fontsize=FONT,
        frameon=False,
        labelspacing=0.3,
    )


def _style(axes: Axes, label: str) -> None:
    """Grid, spines, ticks."""
    from matplotlib.ticker import MaxNLocator

    if axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    style_axes(axes)
    axes.set_xlabel(label, fontsize=FONT, color=INK)
