from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib")

from super_selfish.evaluation.plots import plot_confusion


def test_cells_are_shares_of_their_row_in_percent() -> None:
    figure = plot_confusion([[3, 1], [0, 5]], ["cat", "dog"])
    (axes,) = figure.axes
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0.75, 0.25], [0, 1]]
    assert [text.get_text() for text in axes.texts] == ["75", "25", "100"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]


def test_a_class_without_images_has_an_empty_row() -> None:
    figure = plot_confusion(torch.tensor([[0, 0], [1, 1]]))
    shares = figure.axes[0].images[0].get_array()
    assert shares is not None
    assert np.ma.getmaskarray(shares).tolist() == [
        [True, True],
        [False, False],
    ]
    assert len(figure.axes[0].texts) == 2


@pytest.mark.parametrize("number", [2, 10, 25, 26, 60, 100])
def test_names_stay_readable_and_inside_at_any_number_of_classes(number: int) -> None:
    names = [f"class with a long name {i}" for i in range(number)]
    figure = plot_confusion(torch.eye(number), names)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    figure.canvas.draw()
    (axes,) = figure.axes
    assert bool(axes.texts) == (number <= 25)
    boxes = [label.get_window_extent(renderer) for label in axes.get_yticklabels()]
    assert len(boxes) == number
    for upper, lower in pairwise(boxes):
        assert upper.y0 >= lower.y1 - 1 and upper.height > 6  # pixels
    everything = [*boxes, *(label.get_window_extent(renderer) for label in axes.get_xticklabels())]
    everything += [axes.xaxis.label.get_window_extent(renderer)]
    everything += [axes.yaxis.label.get_window_extent(renderer)]
    for box in everything:
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_it_is_written(tmp_path: Path) -> None:
    plot_confusion(torch.eye(3), path=tmp_path / "confusion.svg")
    assert "<svg" in (tmp_path / "confusion.svg").read_text()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[K, K\] with K >= 2, got \[2, 3\]"):
        plot_confusion(torch.ones(2, 3))
    with pytest.raises(ValueError, match="K >= 2"):
        plot_confusion([[1]])
    with pytest.raises(ValueError, match="must hold counts"):
        plot_confusion([[1, -1], [0, 0]])
    with pytest.raises(ValueError, match="expected 2 classes, one for each row, got 3"):
        plot_confusion(torch.eye(2), ["a", "b", "c"])
