"""The page as HTML: templates that one can read, and pictures that lie inside of it.

The templates are the files of `templates/`. Jinja2 escapes every text that is put into them, so
that no name, path or caption is ever taken for a tag.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image
from torch import Tensor

from super_selfish.evaluation.sheets import CSS_PIXELS, DPI
from super_selfish.markup import environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 192  # pixels: larger pictures are shrunk to it
_LARGEST_PNG = 1_000_000  # bytes
_LEAST_WIDTH = 250  # pixels of CSS: a small plot fits into its column on every screen
_JPEG = {"quality": 90, "subsampling": 0}  # whole colours: captions and frames stay sharp


class Plate(NamedTuple):
    """A figure that lies inside of the page; sides are in pixels of CSS."""

    source: str  # an address that holds it
    alt: str  # what it shows, for those who do not see it
    width: int
    height: int
    least_width: int
    caption: str = ""  # a sentence below


def render(template: str, **told: Any) -> str:
    """Fills a template.

    Args:
        template: A file of `templates/`, here or in `super_selfish/`.
        told: What it asks for, by name. Texts are escaped.
    """
    return environment(__package__).get_template(template).render(told)


def plate(figure: Figure, alt: str, caption: str = "", *, vector: bool = False) -> Plate:
    """A figure of matplotlib, to lie inside of the page.

    Args:
        figure: The figure.
        alt: What it shows, for those who do not see it.
        caption: A sentence below; "" for none.
        vector: Whether it becomes an SVG, for lines; pictures become a PNG, or a JPEG where that
            would be too large to be sent to anyone.
    """
    file = io.BytesIO()
    if vector:
        kind = "svg+xml"
        # Without a date, equal figures are equal files.
        figure.savefig(file, format="svg", metadata={"Date": None})
    else:
        kind = "png"
        figure.savefig(file, format="png", dpi=DPI)
        if file.tell() > _LARGEST_PNG:
            kind, file = "jpeg", io.BytesIO()
            figure.savefig(file, format="jpeg", dpi=DPI, pil_kwargs=_JPEG)
    width, height = (round(side * CSS_PIXELS) for side in figure.get_size_inches())
    least = min(width, max(_LEAST_WIDTH, round(0.62 * width)))
    return Plate(_data_url(kind, file.getvalue()), alt, width, height, least, caption)


def thumbnail(image: Tensor) -> tuple[str, bool]:
    """A small picture, to lie inside of the page.

    Args:
        image: `[3, H, W]` float in [0, 1], on the CPU.

    Returns:
        An address that holds it, and whether it is so small that its pixels are to be seen.
    """
    pixels = (image * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    shown = Image.fromarray(pixels)
    shown.thumbnail((_SHOWN, _SHOWN))
    file = io.BytesIO()
    shown.save(file, "png")
    return _data_url("png", file.getvalue()), max(shown.size) < 96


def _data_url(kind: str, content: bytes) -> str:
    """An image as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
