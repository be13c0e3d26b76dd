"""The algorithms at work: what each network saw, and what it had to say, a row an algorithm."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from super_selfish.data.pictures import Group
from super_selfish.evaluation.sheets import (
    ACCENT,
    DPI,
    GOOD,
    INK,
    QUIET,
    new_figure,
    save_figure,
    show_image,
    write_below,
)
from super_selfish.supervisors import Supervisor
from super_selfish.supervisors.exhibits import NothingToShow, spread_positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES = 4  # of which most algorithms show something

_CELL = 96  # pixels: side of a picture
_GAP = 6  # pixels between the pictures of a group
_GROUP_GAP = 22  # pixels, at least, between groups
_TEXT = 312  # pixels: width of the column of names
_MARGIN = 24  # pixels around the sheet
_CAPTION = 42  # pixels below a picture: two lines
_ROW_GAP = 22  # pixels between rows
_HEAD = 44  # pixels for a heading
_SMALL, _PLAIN, _LARGE = 6.8, 8.2, 10.0  # points
_SMALLER = 8.8  # points: of names that need two lines
_LETTERS = 31  # in a line of a question
_TITLE = 23  # letters in a line of a name


class Exhibit(NamedTuple):
    """One algorithm: its name, what it is asked, and groups of pictures that show its answers."""

    title: str
    question: str  # "" where it asks none
    groups: list[Group]

    @property
    def score(self) -> tuple[int, int] | None:
        """How many of the answers that are shown are right, and how many there are."""
        answers = [p.is_right for group in self.groups for p in group if p.is_right is not None]
        return (sum(answers), len(answers)) if answers else None


@torch.no_grad()
def show_algorithm(
    supervisor: Supervisor, index: Sequence[int] | None = None, seed: int = 0
) -> Exhibit:
    """Asks an algorithm its own question about some images of its dataset.

    The networks are in evaluation mode meanwhile, and nothing about them changes.

    Args:
        supervisor: With a dataset; it is asked for its `title`, its `question` and its `exhibit`.
        index: Positions of images in `supervisor.source`, of which some algorithms show the first
            two or three only. Default: four that can be read, spread over the dataset.
        seed: Of the augmentation.

    Returns:
        What there is to see.

    Raises:
        ValueError: If the supervisor has no dataset, there is no such image, or nothing to show.
    """
    if supervisor.source is None:
        raise ValueError("give the supervisor a dataset: an exhibit shows images of it")
    total = supervisor.source.at_hand
    if index is None:
        chosen = spread_positions(supervisor.source, IMAGES)
    else:
        chosen = [int(position) for position in index]
    if not chosen or not all(0 <= position < total for position in chosen):
        raise ValueError(f"index must be positions in [0, {total}), got {chosen}")
    was_training = supervisor.training
    supervisor.eval()
    try:
        groups = supervisor.exhibit(chosen, seed)
    finally:
        supervisor.train(was_training)
    if not groups or not all(groups):
        raise NothingToShow(f"exhibit() of {type(supervisor).__name__} gives no picture")
    return Exhibit(title_of(type(supervisor)), supervisor.question, groups)


def title_of(kind: type[Supervisor]) -> str:
    """The name of an algorithm: its own, or that of its class."""
    return kind.title or kind.__name__


def plot_exhibits(
    exhibits: Sequence[Exhibit],
    path: str | os.PathLike[str] | None = None,
    heading: str | None = None,
    *,
    names: bool = True,
) -> Figure:
    """Draws a sheet: a row for each algorithm, its name and its question beside its pictures.

    Args:
        exhibits: From `show_algorithm`.
        path: The file to write; its ending gives the format. `None` writes nothing.
        heading: A line above.
        names: Whether name, question and score stand beside the pictures.

    Returns:
        The figure.

    Raises:
        ValueError: If there is nothing to draw.
        ImportError: If matplotlib is missing.
    """
    if not exhibits or not all(exhibit.groups for exhibit in exhibits):
        raise ValueError("expected at least one exhibit, each with a group of pictures")
    content = max(_least_width(exhibit.groups) for exhibit in exhibits)
    text = _TEXT if names else 0
    width = 2 * _MARGIN + text + content
    head = 0 if heading is None else _HEAD
    step = _CELL + _CAPTION + _ROW_GAP
    height = 2 * _MARGIN + head + len(exhibits) * step - _ROW_GAP
    figure = new_figure(width / DPI, height / DPI)
    if heading is not None:
        _write(figure, heading, _MARGIN, _MARGIN, _LARGE, INK)
    for number, exhibit in enumerate(exhibits):
        top = _MARGIN + head + number * step
        if names:
            _draw_label(figure, exhibit, top)
        spaces = len(exhibit.groups) - 1
        spare = content - _least_width(exhibit.groups)
        gap = _GROUP_GAP + (spare / spaces if spaces else 0.0)
        left = float(_MARGIN + text)
        for group in exhibit.groups:
            for picture in group:
                axes = _cell(figure, left, top)
                show_image(axes, picture.image)
                color = {None: QUIET, True: GOOD, False: ACCENT}[picture.is_right]
                write_below(axes, _two_lines(picture.caption), color, size=_SMALL, distance=3)
                left += _CELL + _GAP
            left += gap - _GAP
    return save_figure(figure, path)


def _draw_label(figure: Figure, exhibit: Exhibit, top: float) -> None:
    """Writes name, question and score of a row, one below the other."""
    name = textwrap.wrap(exhibit.title, _TITLE)[:2]
    size = _LARGE if len(name) == 1 else _SMALLER
    _write(figure, "\n".join(name), _MARGIN, top, size, INK, weight="bold")
    top += 27 * len(name)
    lines = textwrap.wrap(exhibit.question, _LETTERS)
    _write(figure, "\n".join(lines), _MARGIN, top, _PLAIN, INK)
    if exhibit.score is not None:
        right, total = exhibit.score
        below = top + 22 * len(lines) + 6
        _write(figure, f"{right} of {total} right here", _MARGIN, below, _SMALL, QUIET)


def _write(
    figure: Figure,
    text: str,
    left: float,
    top: float,
    size: float,
    color: str,
    weight: str = "normal",
) -> None:
    """Writes, from a corner in pixels."""
    width, height = (side * DPI for side in figure.get_size_inches())
    figure.text(
        left / width,
        1 - top / height,
        text,
        ha="left",
        va="top",
        fontsize=size,
        color=color,
        weight=weight,
        linespacing=1.25,
    )


def _two_lines(caption: str) -> str:
    """The caption, with an empty second line if need be: all begin on one baseline."""
    return caption if "\n" in caption else f"{caption}\n "


def _cell(figure: Figure, left: float, top: float) -> Axes:
    """Axes for a picture, from its corner in pixels."""
    width, height = (side * DPI for side in figure.get_size_inches())
    cell = figure.add_axes(
        (left / width, 1 - (top + _CELL) / height, _CELL / width, _CELL / height)
    )
    cell.set_axis_off()
    return cell


def _least_width(groups: Sequence[Group]) -> int:
    """Pixels that the groups of a row take."""
    inside = sum(len(group) * (_CELL + _GAP) - _GAP for group in groups)
    return inside + (len(groups) - 1) * _GROUP_GAP
