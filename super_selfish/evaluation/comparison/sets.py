"""The labelled sets that networks are rated on: the one of the comparison, and those downstream.

An accuracy is filed under a column: its protocol and, on a downstream set, the name of that before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from super_selfish.evaluation.features import LabelledSource, labelled_only, open_data
from super_selfish.evaluation.scoring import check_parts_fit

_BETWEEN = ": "  # name of a set and protocol

Parts = tuple[LabelledSource, LabelledSource]


def column_of(name: str, protocol: str) -> str:
    """Where an accuracy is filed; `""` names the set of the comparison itself."""
    return f"{name}{_BETWEEN}{protocol}" if name else protocol


def columns_of(name: str, columns: Iterable[str]) -> dict[str, str]:
    """Columns of one set, by their protocols."""
    found = (column.partition(_BETWEEN) for column in columns)
    parts = ((before, after) if between else ("", before) for before, between, after in found)
    return {protocol: column_of(name, protocol) for owner, protocol in parts if owner == name}


def open_sets(
    downstream: Mapping[str, Any] | None,
    image_size: tuple[int, int],
    in_channels: int,
    read: Callable[..., LabelledSource] = open_data,
) -> dict[str, Parts]:
    """Opens downstream sets, with images of the size and channels of pretraining.

    Args:
        downstream: A pair `(train, test)` by the name of each set, each part as for `evaluate`.
        image_size: Height and width, pixels.
        in_channels: Channels.
        read: `open_data`, or `open_masked` where protocols learn from masks.

    Returns:
        Both parts of each.

    Raises:
        TypeError: If it is no dictionary of pairs, or a part is none that is known.
        ValueError: If there is none, a name is empty or has a colon, a part has no labels, or both
            do not fit each other.
    """
    if downstream is None:
        return {}
    if not isinstance(downstream, Mapping):
        raise TypeError(
            "downstream must give each labelled set a name, as "
            f'{{"mine": (train, test)}}, got {type(downstream).__name__}'
        )
    if not downstream:
        raise ValueError("downstream must have at least one labelled set, or be None, got none")
    opened = {}
    for name, parts in downstream.items():
        if not isinstance(name, str) or not name.strip() or ":" in name:
            raise ValueError(f"names in downstream are text without a colon, got {name!r}")
        if not isinstance(parts, tuple | list) or len(parts) != 2:
            raise TypeError(
                f"downstream[{name!r}] must be a pair (train, test) of labelled images, "
                f"got {type(parts).__name__}"
            )
        try:
            train, test = (
                labelled_only(read(part, image_size, in_channels), which)
                for which, part in zip(("train", "test"), parts, strict=True)
            )
            check_parts_fit(train, test)
        except ValueError as error:
            raise ValueError(f"downstream[{name!r}]: {error}") from error
        except TypeError as error:
            raise TypeError(f"downstream[{name!r}]: {error}") from error
        opened[name] = (train, test)
    return opened
