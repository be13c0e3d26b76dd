"""HTML, built so that no text is ever taken for a tag.

Whatever comes from outside (names, paths, captions) goes through `text`, which escapes it and
returns `Html`; the functions below put `Html` together, and a type checker sees where it is
missing.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, NewType

from PIL import Image
from torch import Tensor

from super_selfish.evaluation.sheets import DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Html = NewType("Html", str)

_CSS_PIXELS = 96  # an inch, in CSS
_SHOWN = 192  # pixels: larger pictures are shrunk to it
_LARGEST_PNG = 1_000_000  # bytes
_LEAST_WIDTH = 250  # pixels of CSS: a small plot fits into its column on every screen
_JPEG = {"quality": 90, "subsampling": 0}  # whole colours: captions and frames stay sharp


def text(words: object) -> Html:
    """Escapes what is text."""
    return Html(html.escape(str(words), quote=True))


def element(tag: str, *inside: Html, **attributes: object) -> Html:
    """An element with what is inside of it.

    Args:
        tag: Its name.
        inside: Its content, in order.
        attributes: By name; a trailing underscore is dropped (`class_`), others become hyphens.
            Values are escaped.
    """
    return Html(f"{_opening(tag, attributes)}{''.join(inside)}</{tag}>")


def void(tag: str, **attributes: object) -> Html:
    """An element that has no content, such as an image."""
    return Html(_opening(tag, attributes))


def joined(parts: Sequence[Html]) -> Html:
    """Parts, a line each."""
    return Html("\n".join(parts))


def absent(why: str) -> Html:
    """Stands where something would be."""
    return element("p", text(why), class_="absent")


def paragraph(words: str) -> Html:
    """A paragraph of plain text."""
    return element("p", text(words))


def table(rows: Sequence[Sequence[object]], header: Sequence[object] = ()) -> Html:
    """A table; the first cell of a row is its heading.

    Args:
        rows: Texts.
        header: A heading for each column.
    """
    head = [element("th", text(cell), scope="col") for cell in header]
    body = [
        element(
            "tr",
            element("th", text(first), scope="row"),
            *(element("td", text(cell)) for cell in others),
        )
        for first, *others in rows
    ]
    inside = [element("thead", element("tr", *head))] if head else []
    # A wide table scrolls by itself, and with the keyboard as well.
    return element(
        "div",
        element("table", *inside, element("tbody", joined(body))),
        class_="scroll",
        tabindex=0,
    )


def embedded(figure: Figure, alt: str, caption: str = "", *, vector: bool = False) -> Html:
    """A figure of matplotlib inside of the page.

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
    width, height = (round(side * _CSS_PIXELS) for side in figure.get_size_inches())
    image = void(
        "img",
        src=_data_url(kind, file.getvalue()),
        alt=alt,
        width=width,
        height=height,
        style=f"min-width:{min(width, max(_LEAST_WIDTH, round(0.62 * width)))}px",
    )
    frame = element("div", image, class_="plate scroll", tabindex=0)
    below = [element("figcaption", text(caption))] if caption else []
    return element("figure", frame, *below)


def picture(image: Tensor, alt: str) -> Html:
    """A small picture inside of the page.

    Args:
        image: `[3, H, W]` float in [0, 1], on the CPU.
        alt: What it shows.
    """
    pixels = (image * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    shown = Image.fromarray(pixels)
    shown.thumbnail((_SHOWN, _SHOWN))
    file = io.BytesIO()
    shown.save(file, "png")
    enlarged = {"class_": "pixels"} if max(shown.size) < 96 else {}
    return void("img", src=_data_url("png", file.getvalue()), alt=alt, **enlarged)


def _opening(tag: str, attributes: dict[str, object]) -> str:
    """The opening tag."""
    pairs = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{pairs}>"


def _data_url(kind: str, content: bytes) -> str:
    """An image as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
