"""Sheets of images have their headings where their cells are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("matplotlib")

from super_selfish.evaluation.sheets import (
    FONT,
    INK,
    QUIET,
    build_sheet,
    frame_image,
    new_figure,
    save_figure,
    show_image,
    write_below,
    write_legend,
)


def test_headings_stand_above_their_columns_and_beside_their_rows() -> None:
    images = [torch.zeros(2, 3, 16, 16)] * 2
    sheet = build_sheet(
        images, 2, titles=["left", "right"], row_titles=["upper", "lower"], caption="What it is."
    )
    texts = {text.get_text(): text for text in sheet.figure.texts}
    assert list(texts) == ["upper", "lower", "left", "right", "What it is."]
    (upper, right), (lower, _) = sheet.axes
    boxes = {axes: axes.get_position() for axes in (upper, right, lower)}
    for word, axes in (("left", upper), ("right", right)):
        x, y = texts[word].get_position()
        assert x == pytest.approx((boxes[axes].x0 + boxes[axes].x1) / 2)
        assert y > boxes[axes].y1
        assert (texts[word].get_horizontalalignment(), texts[word].get_verticalalignment()) == (
            "center",
            "bottom",
        )
    for word, axes in (("upper", upper), ("lower", lower)):
        x, y = texts[word].get_position()
        assert y == pytest.approx((boxes[axes].y0 + boxes[axes].y1) / 2)
        assert x < boxes[axes].x0
        assert (texts[word].get_horizontalalignment(), texts[word].get_verticalalignment()) == (
            "right",
            "center",
        )
    assert texts["What it is."].get_position()[1] < boxes[lower].y0
    assert texts["What it is."].get_color() == QUIET and texts["left"].get_color() == INK
    assert texts["left"].get_fontsize() == FONT


def test_a_sheet_without_words_has_none_and_needs_no_room_for_them() -> None:
    images = [torch.zeros(1, 3, 16, 16)]
    bare, told = build_sheet(images, 1), build_sheet(images, 1, titles=["a"], caption="b")
    assert bare.figure.texts == []
    assert told.figure.get_figheight() > bare.figure.get_figheight()
    assert [len(build_sheet(images, 1, below=n).figure.axes) for n in (0, 2)] == [1, 1]


@pytest.mark.parametrize(("side", "cell"), [(16, 128), (100, 100), (320, 320), (640, 320)])
def test_small_images_are_enlarged_by_a_whole_number_and_large_ones_shrunk(
    side: int, cell: int
) -> None:
    sheet = build_sheet([torch.zeros(1, 3, side, side // 2)], 1)
    box = sheet.axes[0][0].get_window_extent()
    assert (round(box.height), round(box.width)) == (cell, cell // 2)


@pytest.mark.parametrize(("channels", "shape"), [(1, (4, 5)), (2, (4, 5)), (5, (4, 5, 3))])
def test_an_image_is_shown_without_axes(channels: int, shape: tuple[int, ...]) -> None:
    axes = new_figure(2, 2).add_subplot()
    image = torch.rand(channels, 4, 5)
    show_image(axes, image)
    (shown,) = axes.images
    assert np.asarray(shown.get_array()).shape == shape
    assert shown.get_clim() == (0, 1)
    assert shown.get_interpolation() == "nearest"
    assert list(axes.get_xticks()) == list(axes.get_yticks()) == []
    assert axes.axison and not any(spine.get_visible() for spine in axes.spines.values())
    show_image(axes, torch.rand(1, 4, 400))
    assert axes.images[-1].get_interpolation() == "antialiased"


def test_a_frame_surrounds_a_cell_behind_its_image() -> None:
    axes = new_figure(2, 2).add_subplot()
    frame_image(axes)
    (frame,) = axes.patches
    assert frame.get_extents().bounds == pytest.approx(axes.bbox.bounds, abs=0.01)
    assert frame.get_zorder() < 0 and not frame.get_clip_on() and not frame.get_fill()


def test_words_below_a_cell_are_centred() -> None:
    axes = new_figure(2, 2).add_subplot()
    write_below(axes, "a\nb", "#123456")
    (text,) = axes.texts
    assert (text.get_text(), text.get_color(), text.get_horizontalalignment()) == (
        "a\nb",
        "#123456",
        "center",
    )
    box = text.get_window_extent()
    assert box.y1 < axes.bbox.y0
    assert (box.x0 + box.x1) / 2 == pytest.approx((axes.bbox.x0 + axes.bbox.x1) / 2, abs=1)


def test_names_stay_as_they_are_in_legends_and_files(tmp_path: Path) -> None:
    figure = new_figure(2, 2)
    axes = figure.add_subplot()
    lines = [axes.plot([0, 1])[0] for _ in range(2)]
    legend = write_legend(axes, lines, ["_hidden", "$a$"])
    assert [text.get_text() for text in legend.get_texts()] == ["_hidden", "$a$"]
    assert save_figure(figure, None) is figure
    save_figure(figure, tmp_path / "some" / "folder" / "a.png")
    assert (tmp_path / "some" / "folder" / "a.png").stat().st_size > 0
    assert not any(text.get_parse_math() for text in legend.get_texts())


def test_a_notebook_shows_a_figure_though_nobody_imported_pyplot() -> None:
    shown: Any = new_figure(2.0, 1.5)
    content, metadata = shown._repr_png_()
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (288, 216)  # half as large again as it is shown: sharp
    assert metadata == {"width": 192, "height": 144}
