"""What was found in a set of images, as plain numbers and names."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

Size = tuple[int, int]  # height, width, in pixels
Named = tuple[str, str]  # two names, or a name and what is said of it


@dataclass(frozen=True)
class Shared:
    """Test images that are among those for pretraining.

    Attributes:
        test: Test images that were compared.
        exact: How many of them have an image of the same pixels for pretraining.
        near: How many have a near duplicate there, and none of the same pixels.
        examples: Names of some pairs: for pretraining, for testing.
        missing_classes: Classes of the test part of which there are no images for pretraining.
    """

    test: int
    exact: int = 0
    near: int = 0
    examples: tuple[Named, ...] = ()
    missing_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Film:
    """Images that follow one another like frames."""

    frames: int
    first: str
    last: str


@dataclass(frozen=True)
class Facts:
    """What was found; shares are of the images that were read.

    Attributes:
        images: Images of the set.
        looked_at: How many of them were read, or would not be.
        image_size: Size in which networks get them.
        sizes: Their own sizes, and how many have each.
        channels: How many have so many channels.
        kinds: How many came as which type of numbers.
        threshold: From which agreement of details on images count as near duplicates.
        used: Range in which 99 % of the numbers lie, black 0 to white 1.
        dead: Channels, from 0, that are the same number in all images of the commonest kind.
        idle: Share of these images in which a channel is constant, by channel.
        grey: Images of three channels that are equal.
        unreadable: Names and reasons of images that cannot be read.
        black: Flat images (see `flat`) near the darkest that the set has.
        white: The same of the brightest.
        flat: All images whose spread is a fiftieth of the range used, or less.
        flat_names: Names of some.
        copies: Images whose pixels an earlier image has.
        copy_pairs: Names of some pairs.
        near: Images beyond these that have a near duplicate before them which stays.
        near_pairs: Names of some pairs.
        mirrored: Pairs of near duplicates with left and right exchanged.
        largest_group: Images that copies and near duplicates lead to from one another, at most.
        strangers: How far details of two random images agree.
        contradicting: Sets of copies, or near duplicates, with different labels.
        contradicting_pairs: Names of some pairs.
        films: Stretches of frames.
        labels: How many images have each label, by its name; `None` without labels.
        shared: Test images among them; `None` without a test part.
        varies: Whether the dataset gives another image when it is asked again.
        remarks: What was not looked at, and why.
        seconds: How long reading took.
    """

    images: int
    looked_at: int
    image_size: Size
    sizes: dict[Size, int]
    channels: dict[int, int]
    kinds: dict[str, int]
    threshold: float
    used: tuple[float, float] = (0.0, 1.0)
    dead: tuple[int, ...] = ()
    idle: tuple[float, ...] = ()
    grey: int = 0
    unreadable: tuple[Named, ...] = ()
    black: int = 0
    white: int = 0
    flat: int = 0
    flat_names: tuple[str, ...] = ()
    copies: int = 0
    copy_pairs: tuple[Named, ...] = ()
    near: int = 0
    near_pairs: tuple[Named, ...] = ()
    mirrored: int = 0
    largest_group: int = 1
    strangers: float = 0.0
    contradicting: int = 0
    contradicting_pairs: tuple[Named, ...] = ()
    films: tuple[Film, ...] = ()
    labels: dict[str, int] | None = None
    shared: Shared | None = None
    varies: bool = False
    remarks: tuple[str, ...] = field(default=())
    seconds: float = 0.0

    @property
    def readable(self) -> int:
        """Images that were read."""
        return self.looked_at - len(self.unreadable)

    @property
    def is_empty(self) -> bool:
        """Whether all images that were read are of one tone."""
        return self.flat == self.readable

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, fit for JSON; sizes as "32x48", height first."""
        found = asdict(self)
        found["sizes"] = {f"{h}x{w}": number for (h, w), number in self.sizes.items()}
        found["channels"] = {str(number): count for number, count in self.channels.items()}
        return found
