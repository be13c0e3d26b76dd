"""The one style of all charts: grid, spines, ticks, legend above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from super_selfish.evaluation.sheets import FONT, INK, write_legend

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


def style_axes(
    axes: Axes,
    *,
    grid: Literal["both", "x", "y"] = "both",
    spines: Sequence[str] = ("left", "bottom"),
) -> None:
    """A light grid behind what is drawn, quiet spines, ticks that can be read.

    Args:
        axes: Of the chart.
        grid: Along which axes lines lead.
        spines: Those that are shown.
    """
    axes.grid(axis=grid, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in spines)
        spine.set_color("#999999")
    axes.tick_params(labelsize=FONT, color="#999999", labelcolor=INK)


def write_legend_above(
    axes: Axes, handles: Sequence[Artist], names: Sequence[str], *, columns: int
) -> None:
    """A legend in rows above the axes, as plain texts.

    Args:
        axes: Of the chart.
        handles: What is explained.
        names: By which texts.
        columns: Most in a row.
    """
    write_legend(
        axes,
        handles,
        names,
        fontsize=FONT,
        frameon=False,
        ncols=columns,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderpad=0,
    )
