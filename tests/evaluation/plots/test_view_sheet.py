from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("matplotlib")

from super_selfish.evaluation.plots import plot_views


def shown(path: Path) -> Tensor:
    """The figure in the file, `[H, W, 3]`."""
    return torch.from_numpy(np.array(Image.open(path).convert("RGB")))


def test_every_view_gets_a_cell(tmp_path: Path) -> None:
    figure = plot_views(torch.rand(3, 4, 3, 32, 32), tmp_path / "views.png")
    assert len(figure.axes) == 12
    assert [len(axes.images) for axes in figure.axes] == [1] * 12
    assert (tmp_path / "views.png").stat().st_size > 0


def test_pixels_arrive_as_squares_of_their_colour(tmp_path: Path) -> None:
    image = torch.zeros(1, 1, 3, 2, 2)
    image[0, 0, 0, 0, 0] = image[0, 0, 1, 0, 1] = image[0, 0, 2, 1, 0] = 1  # red, green, blue
    plot_views(image, tmp_path / "views.png")
    sheet = shown(tmp_path / "views.png")
    for color in ([255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]):
        assert (sheet == torch.tensor(color, dtype=torch.uint8)).all(dim=2).sum() == 64 * 64


def test_one_channel_is_grey_and_keeps_its_level(tmp_path: Path) -> None:
    plot_views(torch.full((1, 1, 1, 32, 32), 51, dtype=torch.uint8), tmp_path / "views.png")
    assert (shown(tmp_path / "views.png") == 51).all(dim=2).sum() == 128 * 128


def test_of_many_channels_the_first_three_are_shown(tmp_path: Path) -> None:
    image = torch.rand(1, 1, 7, 32, 32)
    plot_views(image, tmp_path / "seven.png")
    plot_views(image[:, :, :3], tmp_path / "three.png")
    assert torch.equal(shown(tmp_path / "seven.png"), shown(tmp_path / "three.png"))


def test_rows_may_differ_in_length_and_size() -> None:
    figure = plot_views([torch.rand(3, 1, 28, 28), torch.rand(1, 3, 32, 40)])
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 1, 0, 0]


def test_headings_do_not_overlap_one_another_or_images() -> None:
    titles = ["original", "a long title that must be wrapped to fit", "x"]
    figure = plot_views(
        torch.rand(2, 3, 3, 32, 32), None, titles, row_titles=["cat", "a ship on a very calm sea"]
    )
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    boxes += [axes.get_window_extent(renderer) for axes in figure.axes]
    assert len(boxes) == 5 + 6
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_large_images_are_shrunk() -> None:
    figure = plot_views(torch.rand(1, 1, 3, 640, 320))
    assert figure.axes[0].get_window_extent().height == pytest.approx(320)
    assert figure.axes[0].get_window_extent().width == pytest.approx(160)


def test_wrong_arguments_are_refused() -> None:
    views = torch.rand(2, 3, 3, 32, 32)
    with pytest.raises(ValueError, match="expected 3 titles"):
        plot_views(views, None, ["one"])
    with pytest.raises(ValueError, match=r"rows \[V, C, H, W\], got a row"):
        plot_views(views[0])
    with pytest.raises(TypeError, match="uint8, uint16 or float"):
        plot_views(views.long())
    with pytest.raises(ValueError, match="at least one row"):
        plot_views([])


def test_a_caption_stands_below_and_makes_the_sheet_taller() -> None:
    images = torch.rand(2, 3, 3, 32, 32)
    bare, told = plot_views(images), plot_views(images, caption="Black bars are outside.")
    assert [text.get_text().replace("\n", " ") for text in told.texts] == [
        "Black bars are outside."
    ]
    assert told.get_size_inches()[1] > bare.get_size_inches()[1]
    assert told.get_size_inches()[0] == bare.get_size_inches()[0]
