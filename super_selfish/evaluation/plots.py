"""Figures: views of images, the course of training, nearest neighbours.

matplotlib is an extra (`pip install super-selfish[plots]`) and imported when a figure is made. Only
its object-oriented interface is used: no window, no global state, safe in a notebook and on a
server.

Shapes: `R` rows, `V` views, `N` images, `C, H, W` image, `D` features.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.data.sources import ImageSource, images_at
from super_selfish.evaluation.sheets import (
    ACCENT,
    FONT,
    GAP,
    INK,
    QUIET,
    build_sheet,
    displayable,
    frame_image,
    new_figure,
    save_figure,
    show_image,
    write_below,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = ("#00798c", "#edae49", "#66a182", "#d1495b", "#2e4057", "#8d6a9f")


def plot_views(
    images: Tensor | Sequence[Tensor],
    path: str | os.PathLike[str] | None = None,
    titles: Sequence[str] | None = None,
    *,
    row_titles: Sequence[str] | None = None,
) -> Figure:
    """Draws a sheet of views: a row for each image, a column for each view.

    Args:
        images: `[R, V, C, H, W]`, or rows `[V, C, H, W]` of any number of views; uint8, or float in
            [0, 1] (what lies outside is clipped). One channel (or two: the first) is shown grey, of
            more than three the first three.
        path: The file to write; its ending gives the format. `None` writes nothing.
        titles: A heading for each column.
        row_titles: A heading for each row.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no images, their shape is wrong, or headings do not match.
        ImportError: If matplotlib is missing.
    """
    rows = [displayable(row) for row in images]
    if not rows or any(len(row) == 0 for row in rows):
        raise ValueError("expected at least one row of at least one view, got an empty one")
    columns = max(len(row) for row in rows)
    _check_titles("titles", titles, columns, "columns")
    _check_titles("row_titles", row_titles, len(rows), "rows")
    sheet = build_sheet(rows, columns, titles=titles, row_titles=row_titles)
    for axes, row in zip(sheet.axes, rows, strict=True):
        for cell, image in zip(axes, row, strict=False):
            show_image(cell, image)
    return save_figure(sheet.figure, path)


def plot_neighbours(
    features: Tensor,
    images: Tensor | Sequence[Tensor] | ImageSource,
    path: str | os.PathLike[str] | None = None,
    queries: int | Sequence[int] = 8,
    neighbours: int = 7,
) -> Figure:
    """Draws some images, framed, and beside each its nearest neighbours with their cosines.

    Args:
        features: `[N, D]`; compared by cosine.
        images: `[N, C, H, W]`, or `N` images `[C, H, W]`, or their source; shown as `plot_views`
            does.
        path: The file to write; its ending gives the format. `None` writes nothing.
        queries: How many images to ask for, spread evenly over the data, or their indices.
        neighbours: Neighbours of each, nearest first; the query itself is none.

    Returns:
        The figure.

    Raises:
        ValueError: If features and images do not match, or there are too few of them.
        ImportError: If matplotlib is missing.
    """
    if features.dim() != 2 or len(features) != len(images):
        raise ValueError(
            f"features must be [{len(images)}, D], one row an image, got {list(features.shape)}"
        )
    if not 1 <= neighbours < len(images):
        raise ValueError(f"neighbours must be in [1, {len(images) - 1}], got {neighbours}")
    chosen = _chosen_queries(queries, len(images))
    unit = F.normalize(features.float(), dim=1)
    cosines = unit[chosen] @ unit.T  # [R, N]
    # Own feature last, whatever its cosine: a duplicate image is a neighbour, the query is not.
    cosines.scatter_(1, torch.tensor(chosen, device=cosines.device)[:, None], -math.inf)
    nearest = cosines.topk(neighbours, dim=1)
    rows = [
        [_image_at(images, index) for index in (query, *others)]
        for query, others in zip(chosen, nearest.indices.tolist(), strict=True)
    ]
    sheet = build_sheet(rows, neighbours + 1, below=True, after_first=2 * GAP)
    for axes, row, values in zip(sheet.axes, rows, nearest.values.tolist(), strict=True):
        captions = ["query", *(f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in values)]
        for cell, image, caption in zip(axes, row, captions, strict=True):
            show_image(cell, image)
            write_below(cell, caption, ACCENT if caption == "query" else QUIET)
        frame_image(axes[0])
    return save_figure(sheet.figure, path)


def plot_history(
    rows: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str] | None = None,
    *,
    panels: Sequence[str] = (),
) -> Figure:
    """Draws the loss of every epoch, with its parts if there are several.

    Args:
        rows: One an epoch, with "epoch" and "loss"; every other column whose name begins with
            "loss" is drawn as well (`Supervisor.history`).
        path: The file to write; its ending gives the format. `None` writes nothing.
        panels: Further columns ("lr", "images_per_second", ...), each in a panel of its own.

    Returns:
        The figure. An epoch without a finite value is a gap in its curve.

    Raises:
        ValueError: If there are no rows, or a column is missing from all of them.
        ImportError: If matplotlib is missing.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    missing = [name for name in ("epoch", "loss", *panels) if name not in columns]
    if missing:
        raise ValueError(f"rows must have {missing}, got the columns {columns}")
    losses = ["loss", *(name for name in columns if name.startswith("loss") and name != "loss")]
    heights = [3.2, *(1.5 for _ in panels)]  # inches
    figure = new_figure(6.4, sum(heights) + 0.4)
    grid = figure.add_gridspec(len(heights), height_ratios=heights)
    epochs = [row["epoch"] for row in rows]
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)  # inches
    top = None
    for number, names in enumerate([losses, *([name] for name in panels)]):
        axes = figure.add_subplot(grid[number], sharex=top)
        top = top or axes
        for name, color in zip(names, _LINES * math.ceil(len(names) / len(_LINES)), strict=False):
            _draw_curve(axes, epochs, [row.get(name) for row in rows], name, color)
        _style_curves(axes, names, is_last=number == len(panels))
    if len(set(epochs)) == 1:
        figure.axes[0].set_xlim(epochs[0] - 1, epochs[0] + 1)
    return save_figure(figure, path)


def _draw_curve(
    axes: Axes, epochs: Sequence[float], values: Sequence[float | None], name: str, color: str
) -> None:
    """Draws one column; short curves show their points, since a line needs two."""
    axes.plot(
        epochs,
        [math.nan if value is None else float(value) for value in values],
        color=color,
        linewidth=1.8,
        marker="o" if len(epochs) <= 30 else None,
        markersize=3.5,
        label=name,
    )


def _style_curves(axes: Axes, names: Sequence[str], is_last: bool) -> None:
    """Grid, labels and ticks of a panel."""
    from matplotlib.ticker import MaxNLocator

    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#999999")
    axes.tick_params(labelsize=FONT, color="#999999", labelcolor=INK, labelbottom=is_last)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.set_ylabel(names[0].replace("_", " "), fontsize=FONT + 1, color=INK)
    if is_last:
        axes.set_xlabel("epoch", fontsize=FONT + 1, color=INK)
    if len(names) > 1:
        axes.legend(fontsize=FONT, frameon=False)


def _image_at(images: Tensor | Sequence[Tensor] | ImageSource, index: int) -> Tensor:
    """One image `[C, H, W]`, displayable."""
    if isinstance(images, ImageSource):
        return displayable(images_at(images, [index]))[0]
    return displayable(images[index][None])[0]


def _chosen_queries(queries: int | Sequence[int], total: int) -> list[int]:
    """Indices of the queries: those given, or so many, evenly spread."""
    if isinstance(queries, int):
        if not 1 <= queries <= total:
            raise ValueError(f"queries must be in [1, {total}], got {queries}")
        return torch.linspace(0, total - 1, queries).round().long().tolist()
    chosen = [int(index) for index in queries]
    if not chosen or not all(0 <= index < total for index in chosen):
        raise ValueError(f"queries must be indices in [0, {total}), got {chosen}")
    return chosen


def _check_titles(name: str, titles: Sequence[str] | None, expected: int, what: str) -> None:
    """Refuses headings that are not one for each column or row."""
    if titles is not None and len(titles) != expected:
        raise ValueError(
            f"expected {expected} {name}, one for each of the {what}, got {len(titles)}"
        )
