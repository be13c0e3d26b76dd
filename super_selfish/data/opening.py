"""Opens what a user gave as images, be it a source already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from super_selfish.data.file_reader import Loader
from super_selfish.data.fitting import parse_size
from super_selfish.data.frames import Pages
from super_selfish.data.mistaken import refuse_mistaken
from super_selfish.data.probed_numbers import resolved
from super_selfish.data.sources import ImageSource
from super_selfish.data.stream_source import StreamSource
from super_selfish.data.streams import is_stream
from super_selfish.data.value_range import Range, parse_value_range
from super_selfish.training.counting import plural


def as_source(
    data: Any,
    image_size: int | Sequence[int] | None = None,
    in_channels: int | None = None,
    *,
    on_error: Literal["raise", "skip"] | None = None,
    value_range: Range = None,
    pages: Pages = None,
    loader: Loader | None = None,
) -> ImageSource:
    """Makes a source of `data`; one that is a source already passes through.

    Where nobody has said the size of a source, `image_size` brings its images to another one.

    Args:
        data: As for `ImageSource`, or a stream, as for `StreamSource`.
        image_size: As for `ImageSource`.
        in_channels: As for `ImageSource`.
        on_error: As for `ImageSource`; left out, "raise", or what a source has.
        value_range: As for `ImageSource`.
        pages: As for `ImageSource`.
        loader: As for `ImageSource`.

    Raises:
        ValueError: `data` is a source that was made with other options.
    """
    if not isinstance(data, ImageSource):
        refuse_mistaken(data)
        kind = StreamSource if is_stream(data) else ImageSource
        return kind(
            data,
            image_size=image_size,
            in_channels=in_channels,
            on_error=on_error or "raise",
            value_range=value_range,
            pages=pages,
            loader=loader,
        )
    _require(data, on_error, value_range, pages, loader)
    if image_size is not None and (size := parse_size(image_size)) != data.image_size:
        resized = data.at_size(size)
        if resized is None:
            raise ValueError(
                f"the source gives images of {data.image_size}, but image_size is {image_size}: "
                "make the source with that size, or leave image_size out"
            )
        data = resized
    if in_channels is not None and in_channels != data.in_channels:
        raise ValueError(
            f"the source gives {plural(data.in_channels, 'channel')}, but in_channels is "
            f"{in_channels}: make the source with that number, or leave in_channels out"
        )
    return data


def _require(
    source: ImageSource,
    on_error: str | None,
    value_range: Range,
    pages: Pages,
    loader: Loader | None,
) -> None:
    """Refuses options that are other ones than a source was made with; `None` is any."""
    wanted = parse_value_range(value_range)
    if isinstance(wanted, str):
        wanted = resolved(wanted, source.found)
    asked: dict[str, tuple[Any, Any]] = {
        "on_error": (on_error, source.on_error),
        "value_range": (None if wanted is None else wanted.plain, source.value_range),
        "pages": (pages, source.reader.pages),
        "loader": (loader, source.reader.loader),
    }
    for name, (given, own) in asked.items():
        if given is not None and given != own:
            raise ValueError(
                f"the source was made with {name}={own!r}, but {name} is {given!r}: make the "
                f"source with that, or leave {name} out"
            )
