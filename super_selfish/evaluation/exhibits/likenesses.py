"""Exhibits of the algorithms that compare: what an image is most alike, and its likeness to itself.

Three pictures an image: what was asked for, its own counterpart with their cosine, and of all other
images the most similar one with its cosine. The network is right if its own is nearer.

Shapes: `B` images, `N` images to choose from, `E` embedding, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.data.sources import Sample
from super_selfish.evaluation.exhibits.pictures import (
    Group,
    originals,
    picture,
    verdict,
)
from super_selfish.evaluation.exhibits.restorations import colors_alone, lightness_alone
from super_selfish.evaluation.views import seen_batch, spread_positions
from super_selfish.models import CombinedNet
from super_selfish.models.color_split import as_split_predictions
from super_selfish.supervisors import (
    BYOLSupervisor,
    ContrastiveMultiviewCodingSupervisor,
    InstanceDiscriminationSupervisor,
    MomentumContrastSupervisor,
    PIRLSupervisor,
)
from super_selfish.supervisors.base import Supervisor
from super_selfish.supervisors.puzzles import put_together

MOST_OTHERS = 128  # images to choose from, where there is no memory of all


def remembered_images(
    supervisor: InstanceDiscriminationSupervisor, index: list[int], seed: int
) -> list[Group]:
    """A view, and the entries of the memory next to it."""
    data = seen_batch(supervisor, index, seed)
    cosines = supervisor.model(data.views), supervisor.bank.rows
    return _from_memory(supervisor, data.views, "view", _cosines(*cosines), index)


def remembered_puzzles(supervisor: PIRLSupervisor, index: list[int], seed: int) -> list[Group]:
    """A puzzle, and the entries of the memory of images next to it."""
    data = seen_batch(supervisor, index, seed)
    mosaics = put_together(
        data.tiles, supervisor.permutations[data.permutation], supervisor.image_size
    )
    network = CombinedNet(
        supervisor.get_backbone(), supervisor.puzzle_predictor, supervisor.preprocess
    )
    cosines = _cosines(network(mosaics), supervisor.bank.rows)
    return _from_memory(supervisor, mosaics, "puzzle", cosines, index)


def remembered_colors(
    supervisor: ContrastiveMultiviewCodingSupervisor, index: list[int], seed: int
) -> list[Group]:
    """The lightness of a view, and the entries of the memory of colours next to it."""
    views = seen_batch(supervisor, index, seed).views[:, 0]
    lightness = as_split_predictions(supervisor.model(views)).from_lightness
    cosines = _cosines(lightness, supervisor.color_bank.rows)
    shown = lightness_alone(views)
    return _from_memory(supervisor, shown, "lightness", cosines, index, colors_alone)


def contrasted(supervisor: MomentumContrastSupervisor, index: list[int], seed: int) -> list[Group]:
    """A view, and the keys of other views next to it."""
    return _among_views(supervisor, supervisor.model, index, seed)


def foretold(supervisor: BYOLSupervisor, index: list[int], seed: int) -> list[Group]:
    """A view, and the targets of other views next to what it foretells."""
    network = nn.Sequential(supervisor.model, supervisor.prediction_head)
    return _among_views(supervisor, network, index, seed)


def _among_views(
    supervisor: MomentumContrastSupervisor | BYOLSupervisor,
    network: nn.Module,
    index: list[int],
    seed: int,
) -> list[Group]:
    """Compares first views to second views of the same and of other images.

    Args:
        supervisor: Has a momentum encoder, which sees the second views.
        network: Sees the first views.
        index: Images to show.
        seed: Of the augmentation.
    """
    spread = [] if supervisor.source is None else spread_positions(supervisor.source, MOST_OTHERS)
    pool = list(dict.fromkeys([*index, *spread]))  # own images first
    data = seen_batch(supervisor, pool, seed)
    first = data.first[: len(index)]
    cosines = _cosines(network(first), supervisor.momentum_encoder(data.second))
    own = list(range(len(index)))
    return _groups(first, "view", cosines, own, data.second, "other view")


def _from_memory(
    supervisor: Supervisor,
    views: Tensor,
    caption: str,
    cosines: Tensor,
    index: list[int],
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
    own: list[int],
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


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosines `[B, N]` of `[B, E]` and `[N, E]`."""
    return F.normalize(first.float(), dim=1) @ F.normalize(second.float(), dim=1).T


def _number(cosine: Tensor) -> str:
    return f"{float(cosine):.2f}".replace("-", "\N{MINUS SIGN}")
