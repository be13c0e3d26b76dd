from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("matplotlib")

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.plots import plot_neighbours
from super_selfish.evaluation.sheets import GOOD


def test_neighbours_are_the_most_similar_and_never_the_query() -> None:
    angles = torch.tensor([0.0, 0.1, 0.3, 3.0])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    images = torch.arange(4)[:, None, None, None].expand(4, 1, 32, 32).to(torch.uint8) * 80
    figure = plot_neighbours(features, images, queries=[0, 3], neighbours=2)
    order = [
        round(float(np.max(np.asarray(axes.images[0].get_array()))) * 255 / 80)
        for axes in figure.axes
    ]
    assert order == [0, 1, 2, 3, 2, 1]
    captions = [axes.texts[0].get_text() for axes in figure.axes]
    assert captions[:3] == ["query", f"{math.cos(0.1):.2f}", f"{math.cos(0.3):.2f}"]
    assert captions[4].startswith("\N{MINUS SIGN}0.9")


def test_queries_alone_are_framed() -> None:
    figure = plot_neighbours(torch.randn(20, 4), torch.rand(20, 3, 32, 32), queries=3, neighbours=4)
    assert [len(axes.patches) for axes in figure.axes] == [1, 0, 0, 0, 0] * 3


def test_a_duplicate_is_a_neighbour() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    figure = plot_neighbours(features, torch.rand(3, 3, 32, 32), queries=[0, 1], neighbours=1)
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["query", "1.00"] * 2


def test_neighbours_can_be_shown_of_a_source(images: Tensor) -> None:
    figure = plot_neighbours(torch.randn(22, 4), ImageSource(images), queries=2, neighbours=3)
    assert len(figure.axes) == 8


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"neighbours must be in \[1, 2\], got 7"):
        plot_neighbours(torch.randn(3, 2), torch.rand(3, 3, 8, 8))
    with pytest.raises(ValueError, match=r"features must be \[3, D\]"):
        plot_neighbours(torch.randn(4, 2), torch.rand(3, 3, 8, 8))
    with pytest.raises(ValueError, match=r"queries must be indices in \[0, 3\)"):
        plot_neighbours(torch.randn(3, 2), torch.rand(3, 3, 8, 8), queries=[3], neighbours=1)


def test_names_stand_below_the_cosines_and_agree_in_green() -> None:
    features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5]])
    names = ["cell", "cell", "a name that is much too long for the width of a cell"]
    figure = plot_neighbours(
        features, torch.rand(3, 3, 32, 32), queries=[0], neighbours=2, names=names
    )
    lines = [axes.texts[0].get_text().split("\n")[1] for axes in figure.axes]
    assert lines[:2] == ["cell", "cell"]
    assert lines[2].startswith("a name") and lines[2].endswith("\N{HORIZONTAL ELLIPSIS}")
    assert len(lines[2]) < 20
    colors = [axes.texts[0].get_color() for axes in figure.axes]
    assert colors[1] == GOOD and colors[2] != GOOD
    with pytest.raises(ValueError, match="names must be 3, one an image, got 2"):
        plot_neighbours(features, torch.rand(3, 3, 8, 8), neighbours=1, names=names[:2])
