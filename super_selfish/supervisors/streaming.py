"""Which algorithms learn from a stream, whose images nobody can ask for by a number."""

from __future__ import annotations

from typing import Any

from super_selfish.data.sources import ImageSource


def require_index(kind: type[Any], source: ImageSource | None) -> None:
    """Refuses a stream where an algorithm has to know each of its images again.

    Args:
        kind: The algorithm.
        source: Its images, or None.

    Raises:
        ValueError: It asks for images by their number, and these have none.
    """
    if source is None or source.has_index or not kind.asks_by_number:
        return
    raise ValueError(
        f"{kind.__name__} remembers each image by its number, and those of this "
        f"{type(source.dataset).__name__} have none: give StreamSource(dataset, num_images=..., "
        "index=...) where its items hold one that is the same in every pass, or take an algorithm "
        f"that needs none: {', '.join(_without_numbers())}"
    )


def _without_numbers() -> list[str]:
    """Names of the algorithms that know no image again."""
    # That table has all supervisors in it, so it is there only once all files are.
    from super_selfish.supervisors import SUPERVISORS

    return [name for name, kind in SUPERVISORS.items() if not kind.asks_by_number]
