"""How algorithms that compare show what they say: what an image is most alike.

Three pictures an image: what was asked for, its own counterpart with their cosine, and of all other
images the most similar one with its cosine. The network is right if its own is nearer.

Shapes: `B` images, `N` images to choose from, `E` embedding, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.data.pictures import Group, picture, verdict
from super_selfish.data.sources import Sample
from super_selfish.supervisors.exhibits import originals, seen_batch, spread_positions

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor

MOST_OTHERS = 128  # images to choose from, where there is no memory of all
FEW_OTHERS = 32  # where a large network is asked of each


def among_views(
    supervisor: Supervisor,
    queries: Callable[[Tensor], Tensor],
    keys: Callable[[Tensor], Tensor],
    index: Sequence[int],
    seed: int,
) -> list[Group]:
    """Compares first views to second views of the same and of other images.

    Args:
        supervisor: Its collator gives `first` and `second` views.
        queries: Sees the first views.
        keys: Sees the second views.
        index: Images to show.
        seed: Of the augmentation.
    """
    spread = [] if supervisor.source is None else spread_positions(supervisor.source, MOST_OTHERS)
    pool = list(dict.fromkeys([*index, *spread]))  # own images first
    data = seen_batch(supervisor, pool, seed)
    first = data.first[: len(index)]
    found = cosines(queries(first), keys(data.second))
    return _groups(first, "view", found, range(len(index)), data.second, "other view")


def among_answers(
    supervisor: Supervisor,
    queries: Callable[[Tensor], Tensor],
    keys: Callable[[Tensor], Tensor],
    index: Sequence[int],
    seed: int,
) -> list[Group]:
    """Compares what one network says of views to what another one says of them and of other images.

    Both are taken less the mean of what the second one says: of all images it says much the same.

    Args:
        supervisor: Its collator gives `images`.
        queries: Is asked of the images to show.
        keys: Is asked of these and of others.
        index: Images to show.
        seed: Of the augmentation.
    """
    spread = [] if supervisor.source is None else spread_positions(supervisor.source, FEW_OTHERS)
    pool = list(dict.fromkeys([*index, *spread]))  # own images first
    images = seen_batch(supervisor, pool, seed).images
    answers = keys(images)
    mean = answers.mean(dim=0, keepdim=True)
    found = cosines(queries(images[: len(index)]) - mean, answers - mean)
    own = range(len(index))
    return _groups(images[: len(index)], "view", found, own, images, "foretold")


def from_memory(
    supervisor: Supervisor,
    views: Tensor,
    caption: str,
    cosines: Tensor,
    index: Sequence[int],
    show: Callable[[Tensor], Tensor] = torch.clone,
) -> list[Group]:
    """Groups for what a memory says, whose entries are shown as the images that they are of.

    Args:
        supervisor: Has the dataset.
        views: `[B, C, H, W]`, what was asked for.
        caption: Of the views.
        cosines: `[B, N]`, with every entry of the memory.
        index: Own entries.
        show: What is shown of images `[N, C, H, W]`.
    """
    return _groups(views, caption, cosines, index, _Shown(supervisor, show), "own image")


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosines `[B, N]` of `[B, E]` and `[N, E]`."""
    return F.normalize(first.float(), dim=1) @ F.normalize(second.float(), dim=1).T


class _Shown:
    """Images of a dataset, by position, as something is made of them."""

    def __init__(self, supervisor: Supervisor, show: Callable[[Tensor], Tensor]) -> None:
        self.supervisor = supervisor
        self.show = show

    def __getitem__(self, position: int) -> Tensor:
        return self.show(originals(self.supervisor, [position]))[0]

    def __contains__(self, position: int) -> bool:
        """Whether the image can be read: of one that cannot, the memory holds random numbers."""
        source = self.supervisor.source
        return source is not None and isinstance(source[position], Sample)


def _groups(
    views: Tensor,
    caption: str,
    cosines: Tensor,
    own: Sequence[int],
    counterparts: Tensor | _Shown,
    own_caption: str,
) -> list[Group]:
    """A group for each view: itself, its own counterpart, the nearest of the others."""
    groups = []
    for number, (view, row) in enumerate(zip(views, cosines, strict=True)):
        position = own[number]
        nearest = _nearest_other(row, position, counterparts)
        is_right = bool(row[position] > row[nearest])
        own_text = f"{own_caption}\n{_number(row[position])} {verdict(is_right)}"
        groups.append(
            [
                picture(view, caption),
                picture(counterparts[position], own_text, is_right),
                picture(counterparts[nearest], f"next other\n{_number(row[nearest])}"),
            ]
        )
    return groups


def _nearest_other(cosines: Tensor, own: int, counterparts: Tensor | _Shown) -> int:
    """The most similar entry that is not one's own and can be shown; one's own if it is alone."""
    others = (position for position in cosines.argsort(descending=True).tolist() if position != own)
    known = (p for p in others if isinstance(counterparts, Tensor) or p in counterparts)
    return next(known, own)


def _number(cosine: Tensor) -> str:
    return f"{float(cosine):.2f}".replace("-", "\N{MINUS SIGN}")
