"""The figure of few-label curves: what each network reaches with how many labels."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from super_selfish.evaluation.charts import style_axes, write_legend_above
from super_selfish.evaluation.intervals import Measured, difference
from super_selfish.evaluation.labels_saved import PER_CLASS, Curve, Saved, Unit, count
from super_selfish.evaluation.sheets import (
    ACCENT,
    FONT,
    INK,
    new_figure,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (5.6, 3.7)  # inches
_FIRST = "#00798c"
_OTHERS = ("#edae49", "#66a182", "#8d6a9f", "#2e4057", "#bc6c25", "#7f7f7f")
_BASELINES = {"start": "#8d9aa1", "untrained": "#b3b9bd"}
_LETTER, _LINE = 0.075, 0.14  # inches: width of a letter, height of a line of the notes


def plot_label_curves(
    curves: Mapping[str, Curve],
    path: str | os.PathLike[str] | None = None,
    *,
    saved: Mapping[str, Saved | None] | None = None,
    metric: str = "accuracy",
    unit: Unit = PER_CLASS,
    chance: float | None = None,
    notes: Sequence[str] = (),
) -> Figure:
    """Draws a curve for each network, with 95 % intervals, over the logarithm of the labels.

    Args:
        curves: By network, of two numbers of labels at least; the first is the rated one.
            "untrained" and "start" are drawn pale.
        path: The file to write; its ending gives the format. `None` writes nothing.
        saved: By network what the first saves beside it: a line from its point to as many labels of
            the other.
        metric: What the figures are.
        unit: What labels are counted by.
        chance: Drawn as a line, in [0, 1].
        notes: Sentences to write below.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no curve.
        ImportError: If matplotlib is missing.
    """
    if not curves:
        raise ValueError(
            "a few-label curve needs two numbers of labels, which were not evaluated: "
            'protocols=("few-label",), or some such as "5-per-class"'
        )
    figure = new_figure(*_SIZE)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)  # inches
    axes = figure.add_subplot()
    others = iter(_OTHERS * len(curves))
    handles: list[Artist] = []
    for number, (name, curve) in enumerate(curves.items()):
        color = _FIRST if number == 0 else _BASELINES.get(name) or next(others)
        handles.append(_draw_curve(axes, curve, color, zorder=4 if number == 0 else 3))
    names = list(curves)
    if chance is not None:
        handles.append(axes.axhline(100 * chance, color=ACCENT, lw=1, linestyle=(0, (4, 3))))
        names.append("chance")
    first = next(iter(curves.values()))
    labels = sorted({n for curve in curves.values() for n in curve})
    axes.set_xscale("log")
    axes.set_xlim(labels[0] / 1.25, labels[-1] * 1.25)
    for best in (saved or {}).values():
        if best is not None:
            _draw_saved(axes, 100 * first[best.labels].values.mean().item(), best, labels)
    _style(axes, labels, f"{unit[1]}, logarithmic", f"{metric} in %")
    letters = int(_SIZE[0] / _LETTER)
    below = [line for note in notes for line in textwrap.wrap(note, letters)]
    if below:
        label = "\n".join([axes.get_xlabel(), "", *below])
        axes.set_xlabel(label, fontsize=FONT, color=INK, parse_math=False)
        figure.set_figheight(_SIZE[1] + _LINE * (1 + len(below)))
    write_legend_above(axes, handles, names, columns=4)
    return save_figure(figure, path)


def _draw_curve(axes: Axes, curve: Curve, color: str, *, zorder: float) -> Artist:
    """A line through its points, in the band of their intervals."""
    labels = list(curve)
    found = [difference(point, _nothing(point)) for point in curve.values()]
    low, high = ([100 * getattr(f, end) for f in found] for end in ("low", "high"))
    axes.fill_between(labels, low, high, color=color, alpha=0.15, linewidth=0, zorder=1)
    values = [100 * interval.value for interval in found]
    (line,) = axes.plot(
        labels, values, color=color, marker="o", markersize=4.5, linewidth=1.6, zorder=zorder
    )
    return line


def _nothing(point: Measured) -> Measured:
    """A figure that is 0 whatever the images and draws are."""
    return Measured(point.values * 0, point.influences * 0)


def _draw_saved(axes: Axes, height: float, saved: Saved, labels: Sequence[float]) -> None:
    """A line from so many labels to those that the other network needs, with their number."""
    is_beyond = saved.equivalent == math.inf
    end = labels[-1] if is_beyond else saved.equivalent
    if end <= 0:
        return
    axes.annotate(
        "",
        (end, height),
        (saved.labels, height),
        arrowprops={"arrowstyle": "->", "color": INK, "lw": 1.0, "shrinkA": 4, "shrinkB": 0},
        zorder=5,
    )
    axes.annotate(
        f"more than {count(saved.most)}" if is_beyond else count(saved.equivalent),
        (end, height),
        xytext=(0, -4),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=FONT,
        color=INK,
        zorder=5,
    )


def _style(axes: Axes, labels: Sequence[float], across: str, up: str) -> None:
    """Grid, ticks at the numbers of labels that stand far enough apart, names of the axes."""
    from matplotlib.ticker import NullLocator

    ticks: list[float] = []
    least = (labels[-1] / labels[0]) ** 0.06
    for n in labels:
        if not ticks or n / ticks[-1] >= least:
            ticks.append(n)
    axes.set_xticks(ticks, [count(n) for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    style_axes(axes)
    axes.set_xlabel(across, fontsize=FONT, color=INK)
    axes.set_ylabel(up, fontsize=FONT + 1, color=INK)
