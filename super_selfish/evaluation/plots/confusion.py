"""Confusion matrices: which class is taken for which.

Shapes: `K` classes.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from super_selfish.evaluation.sheets import FONT, INK, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PITCHES = ((5, 0.7), (12, 0.46), (25, 0.32), (50, 0.21))  # inches a cell, up to so many classes
_SMALLEST_PITCH = 0.14
_WRITTEN = 25  # classes: cells of more are too small for a number
_LONGEST = 24  # letters of a name
_COLORS = ("#ffffff", "#b9dce1", "#00798c", "#063f4c")  # from no image to all
_EMPTY = "#eeeeee"  # row of a class that has no images


def plot_confusion(
    matrix: Any,
    classes: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draws a confusion matrix, each row as shares of its class.

    Args:
        matrix: `[K, K]` counts: rows are true classes, columns what was said.
        classes: Names of the classes; default: their numbers.
        path: The file to write; its ending gives the format. `None` writes nothing.

    Returns:
        The figure. Up to 25 classes every cell tells its share in percent; the row of a class
        without images is grey.

    Raises:
        ValueError: If the matrix is not square, smaller than 2 x 2, has a negative entry, or there
            are not as many names.
        ImportError: If matplotlib is missing.
    """
    counts = torch.as_tensor(matrix).detach().cpu().double()
    number = len(counts) if counts.dim() else 0
    if counts.shape != (number, number) or number < 2:
        raise ValueError(f"matrix must be [K, K] with K >= 2, got {list(counts.shape)}")
    if not torch.isfinite(counts).all() or bool((counts < 0).any()):
        raise ValueError("matrix must hold counts, at least 0 and finite")
    if classes is not None and len(classes) != number:
        raise ValueError(f"expected {number} classes, one for each row, got {len(classes)}")
    names = [str(name) for name in (range(number) if classes is None else classes)]
    names = [
        textwrap.shorten(name, _LONGEST, placeholder="...") or name[:_LONGEST] for name in names
    ]

    pitch = next((inches for most, inches in _PITCHES if number <= most), _SMALLEST_PITCH)
    font = min(FONT, 0.62 * pitch * 72)  # points
    letters = max(map(len, names)) * 0.6 * font / 72  # inches
    is_turned = letters > 0.95 * pitch
    side = number * pitch
    left = letters + 0.5
    below = (letters if is_turned else font / 72) + 0.5
    width, height = left + side + 0.25, below + side + 0.25
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, below / height, side / width, side / height))
    _draw_cells(axes, counts, font)
    axes.set_xticks(range(number), names, rotation=90 if is_turned else 0)
    axes.set_yticks(range(number), names)
    axes.tick_params(labelsize=font, length=0, labelcolor=INK, pad=4)
    axes.set_xlabel("said", fontsize=FONT + 1, color=INK)
    axes.set_ylabel("true", fontsize=FONT + 1, color=INK)
    for spine in axes.spines.values():
        spine.set_color("#999999")
    return save_figure(figure, path)


def _draw_cells(axes: Axes, counts: Tensor, font: float) -> None:
    """Colours every cell by its share of the row, and writes it where there is room."""
    from matplotlib.colors import LinearSegmentedColormap

    totals = counts.sum(dim=1, keepdim=True)
    shares = counts / totals  # [K, K]; NaN in the row of a class without images
    colors = LinearSegmentedColormap.from_list("shares", _COLORS).with_extremes(bad=_EMPTY)
    axes.imshow(shares.numpy(), cmap=colors, vmin=0, vmax=1, interpolation="nearest")
    if len(counts) > _WRITTEN:
        return
    for row, column in counts.nonzero().tolist():
        share = float(shares[row, column])
        axes.text(
            column,
            row,
            f"{100 * share:.0f}" if share >= 0.005 else "<1",
            ha="center",
            va="center",
            fontsize=min(font, FONT - 0.5),
            color="white" if share > 0.5 else INK,
        )
