"""A sheet of what a check has found: copies side by side, films, empty images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from super_selfish.data.pictures import picture
from super_selfish.data.samples import Sample
from super_selfish.evaluation.checking.gathering import Likeness, Part, shared_rows
from super_selfish.evaluation.sheets import (
    ACCENT,
    QUIET,
    build_sheet,
    frame_image,
    save_figure,
    show_image,
    write_below,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 96  # pixels of the longer side of a picture on the sheet
_END = 14  # letters of a name


class _Cell(NamedTuple):
    part: Part
    row: int  # of the footprints of this part
    note: str
    is_marked: bool = False


class _Row(NamedTuple):
    title: str
    cells: list[_Cell]


def plot_check(
    train: Part,
    test: Part | None,
    like: Likeness,
    path: str | os.PathLike[str] | None,
    pairs: int,
) -> Figure:
    """Draws a row for each kind of finding.

    Args:
        train: The images for pretraining.
        test: Those for testing.
        like: Who is like whom.
        path: The file to write; `None` writes nothing.
        pairs: Pairs of a row, side by side; of films and empty images twice as many pictures. The
            most doubtful pairs come first.

    Raises:
        ValueError: If there is nothing to show, or `pairs` is less than one.
        ImportError: If matplotlib is missing.
    """
    if pairs < 1:
        raise ValueError(f"pairs must be at least 1, got {pairs}")
    rows = _rows(train, test, like, pairs)
    if not rows:
        raise ValueError(
            "there is nothing to show: no copies, no films, no empty images and no test images "
            "among the others"
        )
    images = [[_image(cell) for cell in row.cells] for row in rows]
    sheet = build_sheet(
        images,
        2 * pairs,
        row_titles=[row.title for row in rows],
        below=2,
        caption=(
            "Framed: an image of the test part. Numbers: agreement of details, 1 for the same; "
            f"pairs count from {like.near.threshold:.2f} on."
        ),
    )
    for axes, row, shown in zip(sheet.axes, rows, images, strict=True):
        for place, cell, image in zip(axes, row.cells, shown, strict=False):
            show_image(place, image)
            name = os.path.basename(cell.part.name(cell.row))
            name = name if len(name) <= _END else f"…{name[1 - _END :]}"
            write_below(place, f"{name}\n{cell.note}", ACCENT if cell.is_marked else QUIET)
            if cell.is_marked:
                frame_image(place)
    return save_figure(sheet.figure, path)


def _rows(train: Part, test: Part | None, like: Likeness, pairs: int) -> list[_Row]:
    number = len(train.looked.footprints.index)
    rows = []
    if test is not None:
        ours, theirs, same = shared_rows(like, number)
        if same:
            chosen = list(zip(ours[:same], theirs[:same], strict=True))[:pairs]
            rows.append(
                _pairs("in the test part too", train, test, number, chosen, ["same"] * same)
            )
        across = (like.near.first < number) & (like.near.second >= number)
        rows += _near_row("nearly in the test part", train, test, like, across, pairs)
    copies = np.flatnonzero(like.first_of[:number] != np.arange(number))[:pairs]
    if len(copies):
        chosen = [(like.first_of[row], row) for row in copies]
        rows.append(_pairs("same pixels", train, test, number, chosen, ["same"] * pairs))
    within = (like.near.first < number) & (like.near.second < number)
    for title, which in (
        ("nearly the same", within & ~like.near.is_mirrored),
        ("mirrored", within & like.near.is_mirrored),
    ):
        rows += _near_row(title, train, test, like, which, pairs)
    for film in sorted(like.films, key=len, reverse=True)[:1]:
        cells = [_Cell(train, int(row), "") for row in film[: 2 * pairs]]
        rows.append(_Row(f"a film of {len(film):,} frames begins", cells))
    flat = np.flatnonzero(like.flat[:number])[: 2 * pairs]
    if len(flat):
        cells = [_Cell(train, int(row), "") for row in flat]
        rows.append(_Row("nearly empty", cells))
    return rows


def _near_row(
    title: str, train: Part, test: Part | None, like: Likeness, which: np.ndarray, pairs: int
) -> list[_Row]:
    """The pairs that agree least, which a person may judge otherwise."""
    near = like.near.chosen(which)
    if not near.pairs:
        return []
    order = np.argsort(near.agreement, kind="stable")[:pairs]
    chosen = list(zip(near.first[order], near.second[order], strict=True))
    notes = [f"{value:.2f}" for value in near.agreement[order]]
    number = len(train.looked.footprints.index)
    return [_pairs(title, train, test, number, chosen, notes)]


def _pairs(
    title: str,
    train: Part,
    test: Part | None,
    number: int,
    chosen: list[tuple[np.int64, np.int64]],
    notes: list[str],
) -> _Row:
    cells = []
    for pair, note in zip(chosen, notes, strict=False):
        for row in map(int, pair):
            if row < number or test is None:
                cells.append(_Cell(train, row, note))
            else:
                cells.append(_Cell(test, row - number, note, is_marked=True))
    return _Row(title, cells)


def _image(cell: _Cell) -> Tensor:
    """An image `[3, h, w]`, small, not cropped, that fits a cell of `_SIDE` pixels."""
    prints = cell.part.looked.footprints
    sample = cell.part.source[int(prints.index[cell.row])]
    if not isinstance(sample, Sample):
        raise ValueError(f"cannot read image {sample.name} again: {sample.reason}")
    image = picture(sample.image, "").image
    longest = max(image.shape[-2:])
    if longest <= _SIDE:
        return image
    height, width = (max(1, round(side * _SIDE / longest)) for side in image.shape[-2:])
    resized = F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
    return resized.clamp(0, 1)
