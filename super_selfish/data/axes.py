"""Which axis of an image holds its channels, of a tensor or an array that does not say it.

Shapes: `C, H, W` channels, height, width.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_CHANNELS = 16  # of an axis that holds channels without a word; satellites have up to 13


def has_clear_channels(shape: Sequence[int]) -> bool:
    """Whether an array of three axes has one that can only be that of the channels.

    It is the first or the last, of at most 16 entries and at most half as many as either other has.
    """
    if len(shape) != 3:
        return False
    first, middle, last = shape
    channels, other = sorted((first, last))
    return channels <= MOST_CHANNELS and 2 * channels <= min(middle, other)


def channels_are_last(shape: Sequence[int], *, is_array: bool, wanted: int | None = None) -> bool:
    """Whether the last axis of an image holds its channels, and not the first.

    It does, or the first does, if it alone has as many entries as channels are wanted; else if it
    is clear by its size; else if it alone has at most 16 entries; else if it is where the kind has
    channels (of a tensor the first, of an array the last) and has at most half as many as either
    other axis.

    Args:
        shape: `[C, H, W]` or `[H, W, C]`.
        is_array: Whether it is an array, and no tensor.
        wanted: How many channels the user says there are. Where both axes have as many, the kind
            decides.

    Raises:
        ValueError: It is none of these; says what to do.
    """
    first, middle, last = shape
    if wanted is not None and wanted in (first, last):
        return is_array if first == last else last == wanted
    if has_clear_channels(shape):
        return last < first
    if (first <= MOST_CHANNELS) != (last <= MOST_CHANNELS):
        return last < first
    usual, other = (last, first) if is_array else (first, last)
    if 2 * usual <= min(middle, other):
        return is_array
    kind, form = ("array", "[H, W, C]") if is_array else ("tensor", "[C, H, W]")
    if first == last:
        remedy = f"in_channels={first}, by which {form} is meant in this {kind}"
    else:
        remedy = f"in_channels={first} if it is [C, H, W], or in_channels={last} if [H, W, C]"
    raise ValueError(
        f"the {kind} has shape {list(shape)}, and whether its first axis or its last holds the "
        f"channels is not clear: say {remedy} (of the supervisor, or of ImageSource)"
    )
