"""The figure of an evaluation: what each network scores by each protocol."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from super_selfish.evaluation.charts import style_axes, write_legend_above
from super_selfish.evaluation.scoring import Score
from super_selfish.evaluation.sheets import (
    ACCENT,
    FONT,
    INK,
    QUIET,
    new_figure,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FIRST = "#00798c"
_OTHERS = ("#edae49", "#66a182", "#8d6a9f", "#2e4057")
_BASELINES = {"start": "#93a1a8", "untrained": "#c9ced1"}
_GROUP = 0.8  # share of a group that its bars take
_BAR = 0.36  # inches
_NAME = 14  # letters of a protocol
_MARGINS = 1.6  # inches
_LETTER, _LINE = 0.075, 0.14  # inches: width of a letter, height of a line of the notes


def plot_scores(
    scores: Mapping[str, Mapping[str, Score]],
    path: str | os.PathLike[str] | None = None,
    *,
    metric: str = "accuracy",
    chance: float | None = None,
    notes: Sequence[str] = (),
) -> Figure:
    """Draws a group of bars for each protocol, in it a bar for each network.

    Args:
        scores: By network, then by protocol; the first network gives the protocols. One that is
            called "untrained" is drawn pale and last, one called "start" less pale before it.
        path: The file to write; its ending gives the format. `None` writes nothing.
        metric: What the scores are.
        chance: Drawn as a line, in [0, 1].
        notes: Sentences to write below.

    Returns:
        The figure. A whisker is the standard deviation over draws.

    Raises:
        ValueError: If there is no network or no protocol.
        ImportError: If matplotlib is missing.
    """
    if not scores or not next(iter(scores.values())):
        raise ValueError("expected the scores of at least one network by one protocol, got none")
    # Stable: else as given.
    networks = sorted(
        scores, key=lambda name: list(_BASELINES).index(name) if name in _BASELINES else -1
    )
    protocols = list(next(iter(scores.values())))
    bars = len(protocols) * (len(networks) / _GROUP)
    figure = new_figure(max(4.8, _MARGINS + _BAR * bars * max(1.0, 2.2 / len(networks))), 3.8)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)  # inches
    axes = figure.add_subplot()
    width = _GROUP / len(networks)
    others = iter(_OTHERS * len(networks))
    legend: list[tuple[Artist, str]] = []
    for number, network in enumerate(networks):
        color = _FIRST if number == 0 else _BASELINES.get(network) or next(others)
        shift = (number - (len(networks) - 1) / 2) * width
        for group, protocol in enumerate(protocols):
            bar = _draw_bar(axes, group + shift, 0.92 * width, scores[network][protocol], color)
            if group == 0:
                legend.append((bar, network))
    if chance is not None:
        line = axes.axhline(100 * chance, color=ACCENT, linewidth=1, linestyle=(0, (4, 3)))
        legend.append((line, "chance"))
    axes.set_xticks(range(len(protocols)), [_broken(name) for name in protocols])
    axes.set_xlim(-0.55, len(protocols) - 0.45)
    tops = [
        score.value + (score.spread or 0.0) for row in scores.values() for score in row.values()
    ]
    axes.set_ylim(0, min(108.0, 112 * max(*tops, chance or 0.0) + 1))
    _style(axes, metric)
    letters = int(figure.get_figwidth() / _LETTER)
    below = "\n".join(line for note in notes for line in textwrap.wrap(note, letters))
    axes.set_xlabel(below, fontsize=FONT - 1, color=QUIET, parse_math=False)
    figure.set_figheight(figure.get_figheight() + _LINE * len(below.splitlines()))
    handles, names = zip(*legend, strict=True)
    write_legend_above(axes, handles, names, columns=6)
    return save_figure(figure, path)


def _broken(name: str) -> str:
    """A name in lines that are no wider than a group of bars."""
    return "\n".join(textwrap.wrap(name, _NAME)) or name


def _draw_bar(axes: Axes, center: float, width: float, score: Score, color: str) -> Artist:
    """Draws a bar in percent with its whisker, and writes its number above."""
    value, spread = 100 * score.value, 100 * (score.spread or 0.0)
    (bar,) = axes.bar(center, value, width, color=color)
    if spread > 0:
        axes.errorbar(center, value, spread, color=INK, linewidth=0.9, capsize=2.5, capthick=0.9)
    axes.annotate(
        f"{value:.0f}",
        (center, value + spread),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=FONT - 1,
        color=QUIET,
    )
    return bar


def _style(axes: Axes, metric: str) -> None:
    """Grid and labels."""
    style_axes(axes, grid="y")
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(f"{metric} in %", fontsize=FONT + 1, color=INK)
