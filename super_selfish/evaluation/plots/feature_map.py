"""Maps of the features: images that a backbone takes for alike lie side by side.

Shapes: `N` images, `D` features, `C, H, W` image, `K` classes, `n` cells a side.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.evaluation.plots.neighbours import Images, image_at
from super_selfish.evaluation.plots.projection import project_features
from super_selfish.evaluation.sheets import (
    DPI,
    FONT,
    INK,
    new_figure,
    require_matplotlib,
    save_figure,
    write_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE = 1056  # pixels of the map
_MARGIN = 16  # pixels around it
_LINE = 26  # pixels a line of the legend
_CELLS = (6, 24)  # a side, at least and at most
_OUTLIERS = 0.005  # share of images at either end of an axis that do not stretch it
_NAMED = 20  # classes that a legend can tell apart
_PLAIN = "#00798c"  # of dots without a class


def plot_feature_map(
    features: Tensor,
    images: Images | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    labels: Tensor | Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    method: str = "pca",
    coordinates: Tensor | None = None,
    seed: int = 0,
) -> Figure:
    """Draws a map of the features: small images, or dots where there are no images.

    The map is cut into cells, and of all images of a cell the one nearest to its centre is shown,
    so that no two cover each other.

    Args:
        features: `[N, D]`.
        images: `[N, C, H, W]`, or `N` images `[C, H, W]`, or their source. `None` draws a dot for
            each.
        path: The file to write; its ending gives the format. `None` writes nothing.
        labels: `[N]`, classes from 0 on; they give frames and dots their colours.
        classes: Names of the classes. Up to twenty are told in a legend.
        method: As for `project_features`.
        coordinates: `[N, 2]` from `project_features`, to draw one map twice; `method` is then not
            used.
        seed: Of the method.

    Returns:
        The figure.

    Raises:
        ValueError: If arguments do not match one another, or as `project_features`.
        ImportError: If matplotlib is missing, or what the method needs.
    """
    require_matplotlib()  # before a map is computed, which takes a while
    number = len(features)
    if images is not None and len(images) != number:
        raise ValueError(f"expected {number} images, one for each feature, got {len(images)}")
    places = project_features(features, method, seed) if coordinates is None else coordinates
    if places.shape != (number, 2):
        raise ValueError(f"coordinates must be [{number}, 2], got {list(places.shape)}")
    given = None if labels is None else _checked_labels(labels, classes, number)
    colors, legend = _colors(given, classes)
    places = _to_unit_square(places.detach().cpu().double())

    columns = _legend_columns(list(legend))
    lines = -(-len(legend) // columns)
    height = _SIDE + 2 * _MARGIN + (lines * _LINE + _MARGIN if lines else 0)
    width = _SIDE + 2 * _MARGIN
    figure = new_figure(width / DPI, height / DPI)
    axes = figure.add_axes(
        (_MARGIN / width, 1 - (_MARGIN + _SIDE) / height, _SIDE / width, _SIDE / height)
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#cccccc")
    if images is None:
        _draw_dots(axes, places, colors)
    else:
        _draw_thumbnails(axes, places, images, colors if given is not None else None)
    if legend:
        _draw_legend(figure, legend, columns, (_MARGIN + lines * _LINE / 2) / height)
    return save_figure(figure, path)


def chosen_for_cells(places: Tensor, cells: int) -> dict[tuple[int, int], int]:
    """Of all points in a cell, the one nearest to its centre.

    Args:
        places: `[N, 2]` in [0, 1], x to the right and y upwards.
        cells: A side.

    Returns:
        Index of a point by row (from above) and column, for cells that have one.
    """
    inside = places * cells
    cell = inside.floor().clamp(0, cells - 1)
    distances = (inside - cell - 0.5).square().sum(dim=1)
    chosen: dict[tuple[int, int], int] = {}
    for index in distances.argsort(stable=True).tolist():
        column, row = (int(value) for value in cell[index])
        chosen.setdefault((cells - 1 - row, column), index)
    return chosen


def _checked_labels(
    labels: Tensor | Sequence[int], classes: Sequence[str] | None, number: int
) -> Tensor:
    """Labels `[N]` as int64; refuses what is no class for each image."""
    given = torch.as_tensor(labels).cpu()
    if given.shape != (number,) or given.is_floating_point():
        raise ValueError(f"labels must be {number} integers, got {given.dtype} {list(given.shape)}")
    if int(given.min()) < 0 or (classes is not None and int(given.max()) >= len(classes)):
        most = "" if classes is None else f" and below {len(classes)}, the number of classes"
        raise ValueError(
            f"labels must be at least 0{most}, got {int(given.min())} to {int(given.max())}"
        )
    return given.long()


def _colors(
    labels: Tensor | None, classes: Sequence[str] | None
) -> tuple[list[str], dict[str, str]]:
    """A colour for each image, and the colours of the names that a legend tells."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if labels is None:
        return [_PLAIN], {}
    present = labels.unique().tolist()
    if len(present) <= 10:
        palette = {label: to_hex(colormaps["tab10"](i)) for i, label in enumerate(present)}
    elif len(present) <= _NAMED:
        palette = {label: to_hex(colormaps["tab20"](i)) for i, label in enumerate(present)}
    else:
        wheel = colormaps["gist_rainbow"]
        palette = {label: to_hex(wheel(i / len(present))) for i, label in enumerate(present)}
    names = {label: str(label) if classes is None else classes[label] for label in present}
    legend = {names[label]: palette[label] for label in present if len(present) <= _NAMED}
    return [palette[label] for label in labels.tolist()], legend


def _to_unit_square(places: Tensor) -> Tensor:
    """Coordinates `[N, 2]` with each axis in [0, 1]; outliers lie on the edge."""
    low = places.quantile(_OUTLIERS, dim=0)
    high = places.quantile(1 - _OUTLIERS, dim=0)
    spread = high - low
    scaled = (places - low) / torch.where(spread > 0, spread, torch.ones_like(spread))
    return torch.where(spread > 0, scaled, torch.full_like(scaled, 0.5)).clamp(0, 1)


def _draw_dots(axes: Axes, places: Tensor, colors: list[str]) -> None:
    """A dot for each image, of its colour or of the only one."""
    radius = max(2.0, min(6.0, 130 / math.sqrt(len(places))))  # points
    axes.scatter(
        places[:, 0].numpy(),
        places[:, 1].numpy(),
        s=radius**2,
        c=colors,
        alpha=0.8,
        linewidths=0,
    )
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)


def _draw_thumbnails(axes: Axes, places: Tensor, images: Images, colors: list[str] | None) -> None:
    """One picture of all thumbnails, on whole pixels, framed in colours where there are any."""
    from matplotlib.colors import to_rgb

    fewest, most = _CELLS
    cells = min(most, max(fewest, round(1.6 * math.sqrt(len(places)))))
    step = _SIDE // cells
    gap = max(2, step // 20)
    frame = 0 if colors is None else max(2, step // 18)
    side = step - 2 * gap
    canvas = torch.ones(3, cells * step, cells * step)
    for (row, column), index in chosen_for_cells(places, cells).items():
        tile = canvas[
            :,
            row * step + gap : (row + 1) * step - gap,
            column * step + gap : (column + 1) * step - gap,
        ]
        if colors is not None:
            tile[:] = torch.tensor(to_rgb(colors[index]))[:, None, None]
        tile[:, frame : side - frame, frame : side - frame] = _fitted(
            image_at(images, index), side - 2 * frame
        )
    axes.imshow(canvas.permute(1, 2, 0).numpy(), interpolation="nearest")


def _fitted(image: Tensor, side: int) -> Tensor:
    """The middle square of an image `[C, H, W]`, `[3, side, side]`."""
    image = image[:1].expand(3, -1, -1) if len(image) < 3 else image[:3]
    shorter = min(image.shape[-2:])
    top, left = ((length - shorter) // 2 for length in image.shape[-2:])
    square = image[None, :, top : top + shorter, left : left + shorter]
    resized = F.interpolate(
        square, size=(side, side), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].clamp(0, 1)


def _legend_columns(names: Sequence[str]) -> int:
    """Columns into which the names go, at the width of the map."""
    longest = max((len(name) for name in names), default=1)
    letter = 0.56 * FONT * DPI / 72  # pixels: width of an average one
    return max(1, min(len(names) or 1, int(_SIDE / (longest * letter + 48))))


def _draw_legend(figure: Figure, legend: dict[str, str], columns: int, centre: float) -> None:
    """Names and colours of the classes, below the map."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="s", markersize=6, color=color)
        for color in legend.values()
    ]
    write_legend(
        figure,
        handles,
        list(legend),
        loc="center",
        bbox_to_anchor=(0.5, centre),
        ncols=columns,
        fontsize=FONT,
        frameon=False,
        labelcolor=INK,
        handletextpad=0.1,
        columnspacing=1.2,
        labelspacing=0.35,
    )
