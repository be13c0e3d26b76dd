"""Sheets of views: what a network sees.

Shapes: `R` rows, `V` views, `C, H, W` image.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from super_selfish.data.pictures import displayable
from super_selfish.evaluation.sheets import build_sheet, save_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_views(
    images: Tensor | Sequence[Tensor],
    path: str | os.PathLike[str] | None = None,
    titles: Sequence[str] | None = None,
    *,
    row_titles: Sequence[str] | None = None,
    caption: str = "",
) -> Figure:
    """Draws a sheet of views: a row for each image, a column for each view.

    Args:
        images: `[R, V, C, H, W]`, or rows `[V, C, H, W]` of any number of views; uint8, or float in
            [0, 1] (what lies outside is clipped). One channel (or two: the first) is shown grey, of
            more than three the first three.
        path: The file to write; its ending gives the format. `None` writes nothing.
        titles: A heading for each column.
        row_titles: A heading for each row.
        caption: A sentence below, such as the `note` of a supervisor's collator.

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
    sheet = build_sheet(rows, columns, titles=titles, row_titles=row_titles, caption=caption)
    for axes, row in zip(sheet.axes, rows, strict=True):
        for cell, image in zip(axes, row, strict=False):
            show_image(cell, image)
    return save_figure(sheet.figure, path)


def _check_titles(name: str, titles: Sequence[str] | None, expected: int, what: str) -> None:
    """Refuses headings that are not one for each column or row."""
    if titles is not None and len(titles) != expected:
        raise ValueError(
            f"expected {expected} {name}, one for each of the {what}, got {len(titles)}"
        )
