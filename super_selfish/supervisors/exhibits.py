"""What a supervisor shows of itself: the images as its networks see them.

`Supervisor.exhibit` gives groups of pictures; what is here helps to write one. Whoever draws them
(a report, a gallery) lives on the floor above.

Shapes: `B` images, `V` views, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from super_selfish.data.collate import Collator, move
from super_selfish.data.pictures import Group, displayable, picture
from super_selfish.data.sources import ImageSource, Sample, images_at
from super_selfish.training.randomness import step_generator

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor


_LETTERS = 13  # of a line of a caption: more would run into the next one


class NothingToShow(ValueError):
    """There is nothing that could be shown of what the networks see."""


def seen_batch(supervisor: Supervisor, index: Sequence[int], seed: int = 0) -> Any:
    """What the supervisor's collator makes of some images, on the device of the networks.

    Args:
        supervisor: Has a dataset and a `Collator`.
        index: Positions in `supervisor.source`.
        seed: Of the augmentation.

    Returns:
        What `_forward` eats.

    Raises:
        ValueError: If there is no dataset, a plain function collates, or an image cannot be read.
    """
    if supervisor.source is None or not isinstance(supervisor.collate_fn, Collator):
        raise NothingToShow("views can be shown of a supervisor with a dataset and a Collator")
    if not index:
        raise NothingToShow("there is no image to show, or none that can be read")
    batch = supervisor.collate_fn.stack(supervisor.source.__getitems__(list(index)))
    if batch.unreadable:
        raise ValueError(f"cannot read image {batch.unreadable[0]}")
    return move(supervisor.collate_fn.augment(batch, step_generator(seed)), supervisor.device)


def spread_positions(source: ImageSource, count: int) -> list[int]:
    """Positions of images, spread evenly over a dataset; for one that is skipped, one beside it.

    Args:
        source: Where from; of a stream the first images, which are at hand.
        count: Number of images at most.

    Returns:
        Positions of images that can be read, in ascending order.
    """
    total = source.at_hand
    chosen: list[int] = []
    for start in torch.linspace(0, total - 1, min(count, total)).long().tolist():
        following = ((start + step) % total for step in range(total))
        new = (position for position in following if position not in chosen)
        found = next((position for position in new if isinstance(source[position], Sample)), None)
        if found is None:  # there are no more
            break
        chosen.append(found)
    return sorted(chosen)


def seen_views(supervisor: Supervisor, count: int = 6, seed: int = 0) -> Tensor:
    """Views of some images, as the networks get them in training.

    Args:
        supervisor: Has a dataset and a `Collator`.
        count: Number of images, spread over the dataset; fewer if it has fewer.
        seed: Of the augmentation.

    Returns:
        `[count, V, C, H, W]`: a row for each image, all its views side by side. Parts of the
        collator's output that are no images are left out.

    Raises:
        ValueError: If there is no dataset, a plain function collates, no image can be read, or
            the collator makes no images.
    """
    index = [] if supervisor.source is None else spread_positions(supervisor.source, count)
    rows = [views for _, views in _views(seen_batch(supervisor, index, seed))]
    same = [row for row in rows if row.shape[2:] == rows[0].shape[2:]]
    return torch.cat(same, dim=1).cpu()


def originals(supervisor: Supervisor, index: Sequence[int]) -> Tensor:
    """Images as they are, `[B, C, H, W]`, float in [0, 1], on the CPU.

    Raises:
        ValueError: If there is no dataset.
    """
    if supervisor.source is None:
        raise ValueError("images can be shown of a supervisor with a dataset")
    return displayable(images_at(supervisor.source, index))


def views_and_targets(supervisor: Supervisor, index: Sequence[int], seed: int) -> list[Group]:
    """What an algorithm shows that says nothing else: its views, as its collator calls them.

    Numbers that the collator gives beside them, one an image or one a view, are written below.

    Args:
        supervisor: Has a dataset and a `Collator`.
        index: Positions in `supervisor.source`.
        seed: Of the augmentation.

    Raises:
        ValueError: As for `seen_views`.
    """
    data = seen_batch(supervisor, index, seed)
    parts = _views(data)
    groups: list[Group] = []
    for number in range(len(index)):
        group = []
        for name, views in parts:
            for place, view in enumerate(views[number]):
                caption = shortened(name)
                if (told := _number_below(data, number, place, views.shape[1])) is not None:
                    caption += f"\n{shortened(told)}"
                group.append(picture(view, caption))
        groups.append(group)
    return groups


def _views(data: Any) -> list[tuple[str, Tensor]]:
    """The parts of a batch that are images, `[B, V, C, H, W]` each, by name."""
    found = []
    for name, values in _parts(data):
        if values.is_floating_point() and values.ndim in (4, 5):
            found.append((name, values if values.ndim == 5 else values[:, None]))
    if not found:
        raise NothingToShow(
            "the collator makes no images [B, C, H, W] or [B, V, C, H, W] that could be shown"
        )
    return found


def _number_below(data: Any, number: int, place: int, num_views: int) -> str | None:
    """The first number that the collator gives for a view, or else for its image, by name."""
    for name, values in _parts(data):
        if name == "index" or values.is_floating_point():
            continue
        if values.ndim == 2 and values.shape[1] == num_views > 1:
            return f"{name} {values[number, place].item()}"
        if values.ndim == 1:
            return f"{name} {values[number].item()}"
    return None


def _parts(data: Any, name: str = "view") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a batch, whatever it is made of, with what they are called."""
    if isinstance(data, Tensor):
        yield name, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _parts(value, str(key))
    elif isinstance(data, list | tuple):
        names = getattr(data, "_fields", None) or [f"part {n + 1}" for n in range(len(data))]
        for key, value in zip(names, data, strict=True):
            yield from _parts(value, key)


def shortened(words: str) -> str:
    """Words that fit into a line of a caption."""
    plain = words.replace("_", " ")
    return plain if len(plain) <= _LETTERS else f"{plain[: _LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
