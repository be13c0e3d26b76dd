"""What lies between a backbone and each of the tasks that share it.

A combination of the outputs of its blocks (a lasso), and gray pictures in place of colours; both of
Doersch, Zisserman, 2017, arXiv 1708.07860, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from super_selfish.data.pictures import Group, picture
from super_selfish.models import CombinedNet, MomentumEncoder, feature_shape
from super_selfish.models.block_mixture import BlockMixture, SharedBlocks
from super_selfish.models.color_split import HalfBackbone, SplitBackbone
from super_selfish.models.gray import Gray
from super_selfish.supervisors.exhibits import shortened

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor

_CHART = 96  # pixels: side of a picture of shares
_INK, _PAPER = 0.25, 1.0


class Door:
    """Gives the backbone to one task after the other: itself, or as a mixture of its blocks.

    Attributes:
        given: What the next task, or the last one, gets as its backbone.
    """

    def __init__(
        self,
        network: nn.Module,
        has_mixtures: bool,
        in_channels: int,
        image_size: tuple[int, int],
    ) -> None:
        """Takes the backbone of all tasks.

        Args:
            network: The backbone.
            has_mixtures: Whether each task sees a mixture of its own.
            in_channels: Of the images.
            image_size: (height, width) in pixels.

        Raises:
            ValueError: If the backbone has no blocks that are known.
        """
        self.network, self.given = network, network
        self._in_channels, self._image_size = in_channels, image_size
        self._blocks: SharedBlocks | None = None
        if has_mixtures:
            self._blocks = SharedBlocks(network, in_channels, image_size)
            self._blocks.to(next(network.parameters()).device)

    def next(self) -> nn.Module:
        """What a new task gets."""
        if self._blocks is not None:
            mixture = BlockMixture(self.network, self._blocks)
            self.given = mixture.to(next(self.network.parameters()).device)
        return self.given

    def put_before(self, task: Supervisor, name: str) -> None:
        """Puts a mixture into a task that was built around the bare backbone.

        Raises:
            ValueError: If its heads were built for other features, or it follows the backbone by a
                copy, in which there is none.
        """
        if self._blocks is None or task._backbone_in_training() is not self.network:
            return
        mixture = self.next()
        if any(isinstance(part, MomentumEncoder) for part in task.modules()):
            raise ValueError(
                f"{name} has a copy of the backbone, which follows it without its blocks: with "
                f'lasso= name the task, tasks=["{name}", ...], instead of building it'
            )
        for of_map in (False, True):
            bare, mixed = (
                feature_shape(network, self._in_channels, self._image_size, of_map=of_map).dim
                for network in (self.network, mixture)
            )
            if bare != mixed:
                raise ValueError(
                    f"{name} was built for {bare} features, but those of blocks are {mixed}: with "
                    f'lasso= name the task, tasks=["{name}", ...], instead of building it'
                )
        for part in list(task.modules()):
            for child, module in part._modules.items():
                if module is self.network:
                    part._modules[child] = mixture


def mixture_of(task: Any) -> BlockMixture:
    """The mixture through which a task sees the backbone."""
    mixture = task._backbone_in_training()
    assert isinstance(mixture, BlockMixture)  # noqa: S101 - Door has put it there
    return mixture


def harmonize_tasks(supervisor: Any) -> None:
    """Has a supervisor of several tasks show its backbone gray pictures alone.

    Raises:
        ValueError: If the images have not three channels, or a task makes noise of two of them.
    """
    if supervisor.in_channels != 3:
        raise ValueError(
            f"harmonize=True makes colours gray, but the images have {supervisor.in_channels} "
            "channel(s): leave it out"
        )
    for name, task in zip(supervisor.names, supervisor.tasks, strict=True):
        own = task.arguments
        if own.get("colors") == "drop" and own.get("augmentation") is None:
            raise ValueError(
                f"{name} makes noise of two channels, which would be seen in gray ones: with "
                f'harmonize=True give ("{name}", {{"colors": "keep"}}), as gray pictures have no '
                "fringes of lenses"
            )
    for part in list(supervisor.modules()):
        sees_half = HalfBackbone | SplitBackbone  # whose pictures are gray, or colours alone
        if isinstance(part, CombinedNet) and not isinstance(part.backbone, sees_half):
            before = part.preprocess
            after = before if isinstance(before, nn.Module) else nn.Identity()
            part.preprocess = nn.Sequential(Gray(), after)


def shown_shares(shares: Mapping[str, Mapping[str, float]]) -> Group:
    """A bar for each block, of each task; the first block stands left.

    Args:
        shares: From `block_shares`.
    """
    group = []
    for task, of_block in shares.items():
        number = len(of_block)
        chart = torch.full((1, _CHART, _CHART), _PAPER)
        edges = torch.linspace(0, _CHART, number + 1).round().int().tolist()
        for share, left, right in zip(of_block.values(), edges[:-1], edges[1:], strict=True):
            height = round(share * _CHART)
            if height:
                chart[:, -height:, left : max(right - 1, left + 1)] = _INK
        used = sum(share**0.5 for share in of_block.values()) ** 2
        group.append(picture(chart, f"{shortened(task)}\nuses {used:.1f} of {number}"))
    return group
