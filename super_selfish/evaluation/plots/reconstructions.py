"""Reconstructions: what an algorithm that paints was shown, and what it made of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from super_selfish.evaluation.plots.view_sheet import plot_views
from super_selfish.evaluation.showcase import show_algorithm
from super_selfish.supervisors import Supervisor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_reconstructions(
    supervisor: Supervisor,
    path: str | os.PathLike[str] | None = None,
    index: Sequence[int] | None = None,
    seed: int = 0,
) -> Figure:
    """Draws a row for each image: what the network saw, what it made of it, and what was there.

    Args:
        supervisor: One that `paints`, with a dataset: DenoiseNet, ContextNet, split-brain
            autoencoder, BiGAN, or one of your own.
        path: The file to write; its ending gives the format. `None` writes nothing.
        index: Positions of images in `supervisor.source`; the split-brain autoencoder shows the
            first two. Default: four, spread over the dataset.
        seed: Of the augmentation.

    Returns:
        The figure.

    Raises:
        ValueError: If the algorithm paints nothing, has no dataset, or there is no such image.
        ImportError: If matplotlib is missing.
    """
    if not supervisor.paints:
        raise ValueError(
            f"{type(supervisor).__name__} paints no images: plot_exhibits([show_algorithm(...)]) "
            "shows what it does instead"
        )
    groups = show_algorithm(supervisor, index, seed).groups
    titles = [picture.caption.replace("\n", " ") for picture in groups[0]]
    rows = [torch.stack([picture.image for picture in group]) for group in groups]
    return plot_views(rows, path, titles)
