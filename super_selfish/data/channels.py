"""How many channels the images of a source get, where they do not all have the same number.

Grey becomes RGB, RGB becomes grey, and no other step keeps what an image shows. So images of
another kind are told of before any training, or left out where unreadable ones are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from super_selfish.training.counting import plural


def can_become(channels: int, wanted: int) -> bool:
    """Whether an image of some channels can be given another number of them."""
    return channels == wanted or (channels, wanted) in ((1, 3), (3, 1))


def misfit(channels: int, wanted: int, *, is_given: bool) -> str:
    """Why an image of other channels is not taken, and what to do.

    Args:
        channels: Of the image.
        wanted: Of the source.
        is_given: Whether the user said `wanted`.
    """
    meant = "" if is_given else f", or give in_channels={channels} if it is meant"
    given = plural(channels, "channel")
    return f"cannot turn {given} into {wanted} (only 1 into 3 and 3 into 1): convert it{meant}"


def common_channels(
    found: Sequence[int],
    wanted: int | None,
    *,
    skips: bool,
    name: Callable[[int], str],
) -> int:
    """The number of channels that images get.

    Args:
        found: Channels of each image that was looked at.
        wanted: What the user said, if he did.
        skips: Whether images that cannot get as many are left out. Then that number is taken that
            leaves out the fewest.
        name: Names the image at a place of `found`.

    Returns:
        `wanted`, or else the most that an image has, as far as the others can become that.

    Raises:
        ValueError: An image cannot get as many and is not skipped, or none can.
    """
    counts = Counter(found)

    def fitting(number: int) -> int:
        return sum(count for channels, count in counts.items() if can_become(channels, number))

    if wanted is None:
        wanted = max(counts, key=lambda number: (fitting(number), number)) if skips else max(counts)
    if fitting(wanted) == len(found) or (skips and fitting(wanted)):
        return wanted
    kinds = ", ".join(
        f"{count} of {plural(channels, 'channel')} (such as {name(found.index(channels))})"
        for channels, count in counts.most_common()
    )
    left = "" if skips or not fitting(wanted) else ", or leave them out with on_error='skip'"
    raise ValueError(
        f"of {plural(len(found), 'image')} looked at there are {kinds}, which cannot all be turned "
        f"into {plural(wanted, 'channel')} (only 1 into 3 and 3 into 1): convert the others{left}"
    )
