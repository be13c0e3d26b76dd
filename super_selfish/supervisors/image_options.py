"""How a supervisor's images are read: what its constructor was told, and what a checkpoint knows.

Which numbers are black and white is part of what networks have learned, so a checkpoint keeps it
for whoever evaluates them; how files are read belongs to the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from super_selfish.data.file_reader import Loader
from super_selfish.data.frames import Pages
from super_selfish.data.opening import as_source
from super_selfish.data.sources import ImageSource
from super_selfish.data.value_range import Range, ValueRange, parse_value_range
from super_selfish.training.telling import warn

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained

Images = tuple[tuple[int, int] | None, int | None]  # (height, width), channels


_as_stored: ContextVar[Images] = ContextVar("images of a checkpoint", default=(None, None))


@contextmanager
def images_as_stored(images: Sequence[int] | None) -> Iterator[None]:
    """While entered, supervisors that nobody tells what images they see see those of a checkpoint.

    Constructors that hand on `**options` do not tell which images came of them.

    Args:
        images: (channels, height, width), or None.
    """
    known: Images = (None, None) if images is None else ((images[1], images[2]), images[0])
    token = _as_stored.set(known)
    try:
        yield
    finally:
        _as_stored.reset(token)


def stored_images() -> Images:
    """(height, width) and channels of the images of the checkpoint that is being loaded."""
    return _as_stored.get()


class ImageOptions(NamedTuple):
    """Options of `ImageSource`; `None` is its default."""

    on_error: Literal["raise", "skip"] | None = None
    value_range: Range = None
    pages: Pages = None
    loader: Loader | None = None

    def open(self, dataset: Any, image_size: Any, in_channels: int | None) -> ImageSource | None:
        """The images of a supervisor, if it has some."""
        if dataset is None:
            return None
        return as_source(dataset, image_size, in_channels, **self._asdict())

    def known_range(self, source: ImageSource | None) -> tuple[Any, Any] | None:
        """`(low, high)` as far as it is known: "percentile" and "bits" need images."""
        if source is not None:
            return source.value_range
        wanted = parse_value_range(self.value_range)
        return wanted.plain if isinstance(wanted, ValueRange) else None


def stored_range(state: dict[str, Any]) -> tuple[Any, Any] | None:
    """The numbers that were black and white to the networks of a checkpoint.

    Args:
        state: Its content.

    Raises:
        ValueError: It holds something else in their place.
    """
    found = parse_value_range(state.get("value_range"))
    if isinstance(found, str):
        raise ValueError(f"a checkpoint holds (low, high) as value_range, this one {found!r}")
    return None if found is None else found.plain


def take_range(supervisor: Pretrained, state: dict[str, Any]) -> None:
    """Gives a supervisor without images the range of its networks; warns where images have another.

    Args:
        supervisor: Has just loaded the checkpoint.
        state: Content of the checkpoint.
    """
    stored = stored_range(state)
    if supervisor.source is None:
        supervisor.value_range = stored
    elif "value_range" in state and stored != supervisor.value_range:
        warn(
            f"the networks were trained on images with value_range={stored}, but the images of "
            f"this {type(supervisor).__name__} have value_range={supervisor.value_range}: black "
            "and white may be other numbers to them; give the constructor that value_range"
        )
