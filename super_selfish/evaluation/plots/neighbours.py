"""Nearest neighbours: what a backbone takes for alike.

Shapes: `R` queries, `N` images, `D` features, `C, H, W` image.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.data.pictures import displayable
from super_selfish.data.sources import ImageSource, images_at
from super_selfish.evaluation.sheets import (
    ACCENT,
    GAP,
    GOOD,
    QUIET,
    build_sheet,
    frame_image,
    save_figure,
    show_image,
    write_below,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images = Tensor | Sequence[Tensor] | ImageSource


def plot_neighbours(
    features: Tensor,
    images: Images,
    path: str | os.PathLike[str] | None = None,
    queries: int | Sequence[int] = 8,
    neighbours: int = 7,
    *,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draws some images, framed, and beside each its nearest neighbours with their cosines.

    Args:
        features: `[N, D]`; compared by cosine.
        images: `[N, C, H, W]`, or `N` images `[C, H, W]`, or their source; shown as `plot_views`
            does.
        path: The file to write; its ending gives the format. `None` writes nothing.
        queries: How many images to ask for, spread evenly over the data, or their indices.
        neighbours: Neighbours of each, nearest first; the query itself is none.
        names: `N` words, such as the class of each image, for a second line of the captions:
            green where it is that of the query.

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
    if names is not None and len(names) != len(images):
        raise ValueError(f"names must be {len(images)}, one an image, got {len(names)}")
    if not 1 <= neighbours < len(images):
        raise ValueError(f"neighbours must be in [1, {len(images) - 1}], got {neighbours}")
    chosen = _chosen_queries(queries, len(images))
    unit = F.normalize(features.float(), dim=1)
    cosines = unit[chosen] @ unit.T  # [R, N]
    # Own feature last, whatever its cosine: a duplicate image is a neighbour, the query is not.
    cosines.scatter_(1, torch.tensor(chosen, device=cosines.device)[:, None], -math.inf)
    nearest = cosines.topk(neighbours, dim=1)
    rows = [
        [image_at(images, index) for index in (query, *others)]
        for query, others in zip(chosen, nearest.indices.tolist(), strict=True)
    ]
    lines = 1 if names is None else 2
    sheet = build_sheet(rows, neighbours + 1, below=lines, after_first=2 * GAP)
    for axes, row, query, others, values in zip(
        sheet.axes, rows, chosen, nearest.indices.tolist(), nearest.values.tolist(), strict=True
    ):
        captions = ["query", *(f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in values)]
        for cell, image, index, caption in zip(axes, row, (query, *others), captions, strict=True):
            show_image(cell, image)
            color = ACCENT if caption == "query" else QUIET
            if names is not None:
                caption = f"{caption}\n{_shortened(names[index], sheet.letters)}"
                color = GOOD if index != query and names[index] == names[query] else color
            write_below(cell, caption, color)
        frame_image(axes[0])
    return save_figure(sheet.figure, path)


def image_at(images: Images, index: int) -> Tensor:
    """One image `[C, H, W]`, displayable."""
    if isinstance(images, ImageSource):
        return displayable(images_at(images, [index]))[0]
    return displayable(images[index][None])[0]


def _shortened(name: str, letters: int) -> str:
    """A name that fits below its image."""
    return name if len(name) <= letters else f"{name[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"


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
