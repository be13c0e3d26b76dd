from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("matplotlib")

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.plots import plot_feature_map
from super_selfish.evaluation.plots.feature_map import chosen_for_cells


def test_of_every_cell_the_point_nearest_to_its_centre_is_chosen() -> None:
    places = torch.tensor([[0.01, 0.01], [0.26, 0.24], [0.9, 0.2], [1.0, 1.0]])
    assert chosen_for_cells(places, 2) == {(1, 0): 1, (1, 1): 2, (0, 1): 3}


def test_thumbnails_are_one_picture_and_in_their_places() -> None:
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    shades = torch.tensor([10, 80, 150, 220], dtype=torch.uint8)
    images = shades[:, None, None, None].expand(4, 3, 8, 8)
    figure = plot_feature_map(torch.randn(4, 3), images, coordinates=corners)
    assert len(figure.axes) == 1
    (shown,) = figure.axes[0].images
    canvas = np.asarray(shown.get_array())
    side = canvas.shape[0]
    cell = side // 6  # the fewest cells a side
    low, high = cell // 2, side - cell // 2
    found = [canvas[y, x, 0] * 255 for y, x in [(high, low), (high, high), (low, low), (low, high)]]
    assert np.round(found).tolist() == [10, 80, 150, 220]
    assert canvas[side // 2, side // 2].tolist() == [1, 1, 1]


def test_frames_and_legend_have_the_colours_of_the_classes(images: Tensor) -> None:
    labels = torch.arange(22) % 2
    figure = plot_feature_map(
        torch.randn(22, 4), images, labels=labels, classes=["cat", "dog", "never seen"]
    )
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "dog"]


def test_without_images_there_is_a_dot_for_each() -> None:
    figure = plot_feature_map(torch.randn(30, 4), labels=[0, 1, 2] * 10)
    (dots,) = figure.axes[0].collections
    assert len(np.asarray(dots.get_offsets())) == 30
    assert len(np.unique(np.asarray(dots.get_facecolor()), axis=0)) == 3


def test_more_classes_than_a_legend_can_tell_apart_have_none() -> None:
    assert not plot_feature_map(torch.randn(30, 4), labels=range(30)).legends


def test_the_legend_does_not_overlap_the_map() -> None:
    names = [f"a rather long name, number {number}" for number in range(20)]
    figure = plot_feature_map(torch.randn(40, 4), labels=[*range(20)] * 2, classes=names)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    box = figure.legends[0].get_window_extent(renderer)
    assert not box.overlaps(figure.axes[0].get_window_extent(renderer))
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1


def test_outliers_do_not_push_the_others_together() -> None:
    places = torch.rand(1000, 2)
    places[0] = 1000.0
    figure = plot_feature_map(torch.randn(1000, 2), coordinates=places)
    offsets = np.asarray(figure.axes[0].collections[0].get_offsets())
    assert offsets[1:].std(axis=0).min() > 0.2 and offsets.max() <= 1


def test_a_map_can_be_made_of_a_source_and_written(images: Tensor, tmp_path: Path) -> None:
    plot_feature_map(torch.randn(22, 4), ImageSource(images[:, :1]), tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 0


def test_collapsed_features_can_be_drawn(images: Tensor) -> None:
    assert plot_feature_map(torch.ones(22, 4), images).axes


def test_wrong_arguments_are_refused() -> None:
    features = torch.randn(6, 3)
    with pytest.raises(ValueError, match="expected 6 images, one for each feature, got 5"):
        plot_feature_map(features, torch.rand(5, 3, 8, 8))
    with pytest.raises(ValueError, match=r"coordinates must be \[6, 2\], got \[6, 3\]"):
        plot_feature_map(features, coordinates=features)
    with pytest.raises(ValueError, match="labels must be 6 integers"):
        plot_feature_map(features, labels=[0, 1])
    with pytest.raises(ValueError, match="at least 0 and below 2, the number of classes, got 0 to"):
        plot_feature_map(features, labels=range(6), classes=["a", "b"])
