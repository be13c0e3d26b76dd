from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("matplotlib")

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.plots import plot_history, plot_neighbours, plot_views

ROWS = [{"epoch": epoch, "loss": 1 / epoch, "lr": 0.1} for epoch in range(1, 6)]


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


def test_losses_share_a_panel_and_others_get_their_own(tmp_path: Path) -> None:
    rows = [{**row, "loss_parts": 0.5} for row in ROWS]
    figure = plot_history(rows, tmp_path / "history.png", panels=["lr"])
    assert [len(axes.lines) for axes in figure.axes] == [2, 1]
    assert np.asarray(figure.axes[0].lines[0].get_ydata()).tolist() == [row["loss"] for row in ROWS]
    assert (tmp_path / "history.png").exists()


def test_a_missing_value_is_a_gap() -> None:
    figure = plot_history([{"epoch": 1, "loss": 1.0}, {"epoch": 2}, {"epoch": 3, "loss": 0.5}])
    assert np.isnan(np.asarray(figure.axes[0].lines[0].get_ydata())).tolist() == [
        False,
        True,
        False,
    ]


def test_one_epoch_is_a_point(tmp_path: Path) -> None:
    figure = plot_history(ROWS[:1], tmp_path / "history.png")
    assert figure.axes[0].lines[0].get_marker() == "o"


def test_folders_are_made(tmp_path: Path) -> None:
    plot_history(ROWS, tmp_path / "some" / "folder" / "history.png")
    assert (tmp_path / "some" / "folder" / "history.png").exists()


def test_nothing_global_is_touched() -> None:
    plot_history(ROWS)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_without_matplotlib_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install super-selfish\[plots\]"):
        plot_history(ROWS)


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
    with pytest.raises(ValueError, match=r"neighbours must be in \[1, 2\], got 7"):
        plot_neighbours(torch.randn(3, 2), torch.rand(3, 3, 8, 8))
    with pytest.raises(ValueError, match=r"features must be \[3, D\]"):
        plot_neighbours(torch.randn(4, 2), torch.rand(3, 3, 8, 8))
    with pytest.raises(ValueError, match=r"queries must be indices in \[0, 3\)"):
        plot_neighbours(torch.randn(3, 2), torch.rand(3, 3, 8, 8), queries=[3], neighbours=1)
    with pytest.raises(ValueError, match=r"rows must have \['loss'\]"):
        plot_history([{"epoch": 1}])
