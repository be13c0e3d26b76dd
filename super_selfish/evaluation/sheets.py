"""Sheets of images: cells on whole pixels, headings, captions, frames.

matplotlib is an extra and imported when a figure is made. Only its object-oriented interface is
used: no window, no global state.

Shapes: `R` rows, `V` views, `C, H, W` image.
"""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

DPI = 144
CSS_PIXELS = 96  # an inch, in CSS
_CELL = 128  # pixels: about the longer side of an image on the sheet
_LARGEST_CELL = 320  # pixels: larger images are shrunk to it
GAP = 8  # pixels between images
_MARGIN = 16  # pixels around the sheet
FONT = 8.5  # points
_LINE = round(1.3 * FONT * DPI / 72)  # pixels: height of a line of text
_LETTER = 0.56 * FONT * DPI / 72  # pixels: width of an average letter
_LABEL = 22  # letters in a line of the heading of a row
_FRAME = 3.6  # points, of which half is seen
INK = "#222222"
QUIET = "#666666"
ACCENT = "#d1495b"
GOOD = "#2a7f62"


class Sheet(NamedTuple):
    """A figure with a grid of cells of one size, in pixels."""

    figure: Figure
    axes: list[list[Axes]]  # R rows of V; cells without an image are hidden
    letters: int  # of a line that is as wide as a cell


def build_sheet(
    rows: Sequence[Tensor | Sequence[Tensor]],
    columns: int,
    *,
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    below: int = 0,
    after_first: int = 0,
    caption: str = "",
) -> Sheet:
    """Lays the cells out on whole pixels, so that an enlarged pixel is a square like the next.

    Args:
        rows: The images, `[C, H, W]` each; the largest gives the size of all cells.
        columns: Cells of a row.
        titles: Heading for each column, wrapped to its width.
        row_titles: Heading for each row, wrapped.
        below: Lines of text below every cell.
        after_first: Additional pixels after the first column.
        caption: Written below the sheet, wrapped to its width.
    """
    height, width = _cell_size(rows)
    letters = max(6, int(width / _LETTER))
    headings = [textwrap.wrap(title, letters) for title in titles or ()]
    labels = [textwrap.wrap(title, _LABEL) for title in row_titles or ()]
    longest = max((len(line) for lines in labels for line in lines), default=0)
    lines = max(map(len, headings), default=0)
    plan = _Plan(
        rows=len(rows),
        columns=columns,
        height=height,
        width=width,
        left=_MARGIN + (round(longest * _LETTER) + GAP if longest else 0),
        top=_MARGIN + (lines * _LINE + GAP if lines else 0),
        below=below * _LINE + GAP // 2 if below else 0,
        after_first=after_first,
    )
    told = textwrap.wrap(caption, int((plan.total_width - 2 * _MARGIN) / _LETTER))
    plan = plan._replace(foot=_MARGIN + (len(told) * _LINE + GAP if told else 0))

    figure = new_figure(plan.total_width / DPI, plan.total_height / DPI)
    axes = [[_add_cell(figure, plan, row, c) for c in range(columns)] for row in range(len(rows))]
    for row, words in enumerate(labels):
        middle = plan.bottom_of(row) + height / 2
        _write(figure, plan, words, plan.left - GAP, middle, ha="right", va="center")
    for column, words in enumerate(headings):
        centre = plan.left_of(column) + width / 2
        edge = plan.total_height - plan.top + GAP
        _write(figure, plan, words, centre, edge, ha="center", va="bottom")
    if told:
        _write(figure, plan, told, _MARGIN, _MARGIN, ha="left", va="bottom", color=QUIET)
    return Sheet(figure, axes, letters)


class _Plan(NamedTuple):
    """Where the cells of a sheet lie, in pixels."""

    rows: int
    columns: int
    height: int  # of a cell
    width: int
    left: int  # of the first column
    top: int  # above the first row
    below: int  # for text below every cell
    after_first: int  # additional gap after the first column
    foot: int = 0  # below the last row

    @property
    def total_width(self) -> int:
        return self.left + self.columns * (self.width + GAP) - GAP + self.after_first + _MARGIN

    @property
    def total_height(self) -> int:
        last_gap = 0 if self.below else GAP
        return self.top + self.rows * (self.height + GAP + self.below) - last_gap + self.foot

    def left_of(self, column: int) -> int:
        """From the left edge of the sheet to that of a column."""
        return self.left + column * (self.width + GAP) + (self.after_first if column else 0)

    def bottom_of(self, row: int) -> int:
        """From the lower edge of the sheet to that of a row."""
        down = self.top + row * (self.height + GAP + self.below) + self.height
        return self.total_height - down


def _cell_size(rows: Sequence[Tensor | Sequence[Tensor]]) -> tuple[int, int]:
    """Height and width in pixels: small images enlarged by a whole number, large ones shrunk."""
    height = max(image.shape[-2] for row in rows for image in row)
    width = max(image.shape[-1] for row in rows for image in row)
    scale = float(max(1, round(_CELL / max(height, width))))
    if scale == 1:
        scale = min(1.0, _LARGEST_CELL / max(height, width))
    return round(scale * height), round(scale * width)


def _add_cell(figure: Figure, plan: _Plan, row: int, column: int) -> Axes:
    """An empty cell."""
    across, up = plan.total_width, plan.total_height
    place = (plan.left_of(column) / across, plan.bottom_of(row) / up)
    cell = figure.add_axes((*place, plan.width / across, plan.height / up))
    cell.set_axis_off()
    return cell


def _write(
    figure: Figure,
    plan: _Plan,
    lines: Sequence[str],
    x: float,
    y: float,
    *,
    ha: str,
    va: str,
    color: str = INK,
) -> None:
    """Writes lines at a place in pixels from the lower left corner."""
    figure.text(
        x / plan.total_width,
        y / plan.total_height,
        "\n".join(lines),
        ha=ha,
        va=va,
        fontsize=FONT,
        color=color,
    )


def show_image(axes: Axes, image: Tensor) -> None:
    """Shows an image `[C, H, W]`, without axes."""
    channels, height, width = image.shape
    pixels = image[0] if channels < 3 else image[:3].permute(1, 2, 0)
    is_enlarged = max(height, width) <= _LARGEST_CELL
    axes.imshow(
        pixels.numpy(),
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest" if is_enlarged else "antialiased",
    )
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def frame_image(axes: Axes) -> None:
    """Draws a frame around a cell, outside of its image, which covers the inner half."""
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (0, 0),
            1,
            1,
            transform=axes.transAxes,
            fill=False,
            edgecolor=ACCENT,
            linewidth=_FRAME,
            joinstyle="miter",
            clip_on=False,
            zorder=-1,
        )
    )


def write_below(
    axes: Axes, caption: str, color: str, *, size: float = FONT, distance: float = 5
) -> None:
    """Writes below a cell; captions of a row share their baseline.

    Args:
        axes: The cell.
        caption: One line or more.
        color: Of the text.
        size: Of the font, in points.
        distance: From the cell, in points.
    """
    axes.annotate(
        caption,
        (0.5, 0),
        xycoords="axes fraction",
        xytext=(0, -distance),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=size,
        color=color,
    )


def require_matplotlib() -> None:
    """Says what to install if matplotlib is missing; to be called before anything of it is used.

    Raises:
        ImportError: If it is missing.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install super-selfish[plots]") from error


def new_figure(width: float, height: float) -> Figure:
    """A white figure of a size in inches, with a canvas of its own and nothing global.

    It writes every text as it is: what users call their classes, networks and files is no formula,
    whatever dollars, underscores and backslashes are in it.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _plain_figure()(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


@cache
def _plain_figure() -> type[Figure]:
    """The class of figures whose texts are no formulas; matplotlib is imported when it is made."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    class PlainFigure(Figure):
        def draw(self, renderer: Any) -> None:
            # Ticks get their texts while they are drawn, and some are made only then.
            with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
                for text in self.findobj(Text):
                    text.set_parse_math(False)
                    text.set_usetex(False)
                super().draw(renderer)

        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            """What a notebook shows, which knows no figure before pyplot is imported."""
            file = io.BytesIO()
            self.savefig(file, format="png", dpi=DPI)
            width, height = (round(side * CSS_PIXELS) for side in self.get_size_inches())
            return file.getvalue(), {"width": width, "height": height}

    return PlainFigure


def write_legend(
    place: Axes | Figure, handles: Sequence[Artist], names: Sequence[str], **options: Any
) -> Legend:
    """A legend whose names are written as they are, whatever they begin with.

    Args:
        place: Where.
        handles: What is explained.
        names: By which texts.
        **options: Of `legend`.
    """
    # matplotlib leaves out what begins with an underscore, so it is told the names afterwards.
    legend = place.legend(list(handles), ["name"] * len(names), **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
    return legend


def save_figure(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Writes the figure, if there is a path, into a folder that is made if need be."""
    if path is not None:
        file = Path(os.path.expanduser(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=DPI)
    return figure
