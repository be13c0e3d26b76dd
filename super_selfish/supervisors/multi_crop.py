"""Multi-crop: of each image two large crops and several small ones, which cost little.

Caron et al., 2020, arXiv 2006.09882, section 3.2 and appendix A. A network sees crops of one size
in one pass: the two large ones side by side, and all small ones.

Shapes: `B` images, `S` small crops of an image, `V` all its crops, `F` large ones beyond two, `E`
embedding, `C, H, W` image, `h, w` small crop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.fitting import parse_size
from super_selfish.losses.full_precision import in_full
from super_selfish.models import MLP, CombinedNet, FeatureShape, feature_shape
from super_selfish.models.heads import suited_width
from super_selfish.models.transformers import in_whole_patches
from super_selfish.supervisors.augmenting import Pair, Triple, pair_of, view_of
from super_selfish.supervisors.patch_grid import size_to_show
from super_selfish.training.telling import warn

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor

Size = tuple[int, int]

SMALL_SHARE = 96 / 224  # of the side of an image: small crops of the papers on ImageNet

# What one name means for large and small crops.
# What one name means for the first large crop, the second one, and small ones.
TRIPLES: Mapping[str, tuple[str, str, str]] = {"dino": ("dino-1", "dino-2", "dino-small")}
CROPS: Mapping[str, tuple[str, str]] = {
    "swav": ("swav-large", "swav-small"),
    "lejepa": ("lejepa-large", "lejepa-small"),
}
LARGE_CROPS = 2  # of an image, unless an algorithm wants more


class Crops(NamedTuple):
    """Crops of the same images."""

    first: Tensor  # (B, C, H, W)
    second: Tensor  # (B, C, H, W)
    small: Tensor  # (B, S, C, h, w)
    index: Tensor  # type: ignore[assignment]  # (B,) int64, position in the dataset
    further: Tensor | None = None  # (B, F, C, H, W), large as the first two

    def large_crops(self) -> Tensor:
        """`[2B, C, H, W]`: all first crops, then all second ones, then all of any further one."""
        further = [] if self.further is None else self.further.unbind(dim=1)
        return torch.cat([self.first, self.second, *further])

    def small_crops(self) -> Tensor:
        """`[S B, C, h, w]`: one of each image, then another one of each image."""
        return self.small.transpose(0, 1).flatten(0, 1)


class MultiCropCollator(Collator):
    """Cuts two large crops or more and several small ones of each image, independently."""

    def __init__(
        self,
        first: Augmentation,
        second: Augmentation,
        small: Augmentation,
        num_small: int,
        num_large: int = LARGE_CROPS,
    ) -> None:
        """Takes the recipes.

        Args:
            first: Of one large crop; takes images as stacked, uint8 too.
            second: Of the other.
            small: Of small crops, all of one size.
            num_small: Small crops of an image; may be 0.
            num_large: Large ones, at least 2; those beyond two are made as the second.
        """
        super().__init__()
        self.first = first
        self.second = second
        self.small = small
        self.num_small = num_small
        self.num_large = num_large

    def augment(self, batch: Batch, generator: torch.Generator) -> Crops:
        """Makes the crops."""
        images = batch.images
        first, second = self.first(images, generator), self.second(images, generator)
        more = self.num_large - LARGE_CROPS
        further = [self.second(images, generator) for _ in range(more)]
        of_large = torch.stack(further, dim=1) if further else None  # (B, F, C, H, W)
        if self.num_small == 0:
            return Crops(first, second, first[:, None][:, :0], batch.index, of_large)
        repeated = images.repeat_interleave(self.num_small, dim=0)
        small = self.small(repeated, generator).unflatten(0, (len(images), self.num_small))
        return Crops(first, second, small, batch.index, of_large)


def embedded_crops(network: nn.Module, crops: Crops) -> Tensor:
    """What a network makes of all crops, those of one size in one pass.

    Args:
        network: From `[B, C, H, W]` to `[B, E]`.
        crops: Of `B` images.

    Returns:
        `[V, B, E]`, large crops first, at least in float32.
    """
    sizes = [crops.large_crops()]
    if crops.small.shape[1] > 0:
        sizes.append(crops.small_crops())
    embeddings = torch.cat([in_full(network(of_a_size)) for of_a_size in sizes])  # (V B, E)
    return embeddings.unflatten(0, (-1, len(crops.first)))


def crop_projector(
    hidden_size: int | None, embedding_size: int, num_hidden: int = 1
) -> Callable[[FeatureShape], nn.Module]:
    """Makes the projector of SwAV, DeepCluster v2 and LeJEPA for the features of a backbone.

    Args:
        hidden_size: Width of hidden layers; None for the authors' 2048, as far as it suits.
        embedding_size: Width of the output.
        num_hidden: Hidden layers.
    """

    def projector(features: FeatureShape) -> nn.Module:
        hidden = suited_width(features.dim, 2048) if hidden_size is None else hidden_size
        return MLP(features.dim, (hidden,) * num_hidden, embedding_size)

    return projector


def crop_augmentations(
    supervisor: Supervisor, augmentation: RecipeLike | Pair, small_size: Size
) -> tuple[Augmentation, Augmentation]:
    """The augmentations of large and of small crops.

    Args:
        supervisor: Knows the channels and the size of the images, which is that of large crops.
        augmentation: Of both, see `recipe`; a pair, large and small; or a name in `CROPS`.
        small_size: (height, width) of small crops in pixels.

    Raises:
        ValueError: If it is no pair, and as `view_of`.
        TypeError: If one is no augmentation.
    """
    if isinstance(augmentation, str):
        augmentation = CROPS.get(augmentation, augmentation)
    large, small = pair_of(augmentation, "large and small crops")
    return (
        view_of(supervisor, large, supervisor.image_size),
        view_of(supervisor, small, small_size, what="small crops"),
    )


def three_augmentations(
    supervisor: Supervisor, augmentation: RecipeLike | Triple, small_size: Size
) -> tuple[Augmentation, Augmentation, Augmentation]:
    """The augmentations of the first large crop, the second one, and small ones.

    Args:
        supervisor: Knows the channels and the size of the images, which is that of large crops.
        augmentation: A triple; a pair or one, as for `crop_augmentations`; or a name in `TRIPLES`.
        small_size: (height, width) of small crops in pixels.

    Raises:
        ValueError: If there are more than three, and as `view_of`.
        TypeError: If one is no augmentation.
    """
    if isinstance(augmentation, str):
        augmentation = TRIPLES.get(augmentation, augmentation)
    if not isinstance(augmentation, list | tuple) or len(augmentation) != 3:
        large, small = crop_augmentations(supervisor, augmentation, small_size)
        return large, large, small
    first, second, of_small = augmentation
    return (
        view_of(supervisor, first, supervisor.image_size),
        view_of(supervisor, second, supervisor.image_size),
        view_of(supervisor, of_small, small_size, what="small crops"),
    )


def small_size_for(supervisor: Supervisor, num_small: int, small_size: Any) -> Size:
    """(height, width) of small crops in pixels, as the user says or as suits the network.

    Args:
        supervisor: With its network.
        num_small: Small crops of an image; without any the size is that of the images.
        small_size: Side or (height, width) in pixels, or None. What it comes to be, the checkpoint
            names.

    Raises:
        ValueError: As `require_small_size`.
    """
    size = _small_size(supervisor, num_small, small_size)
    supervisor._resolve(small_size=size)
    return size


def _small_size(supervisor: Supervisor, num_small: int, small_size: Any) -> Size:
    if small_size is None and num_small == 0:
        return supervisor.image_size
    if small_size is None:
        return fitting_small_size(supervisor.model, supervisor.in_channels, supervisor.image_size)
    size = parse_size(small_size, "small_size")
    require_small_size(supervisor.model, supervisor.in_channels, size, supervisor.image_size)
    return size


def fitting_small_size(network: nn.Module, in_channels: int, image_size: Size) -> Size:
    """The size of small crops where nobody says which.

    Args:
        network: Shall take them.
        in_channels: Channels of the images.
        image_size: (height, width) of the large crops in pixels.

    Returns:
        96/224 of each side, of transformers in whole patches; where the network refuses that, at
        least 32 pixels; where it refuses that too, the size of the large crops, with a warning.
    """
    height, width = (max(1, round(side * SMALL_SHARE)) for side in image_size)
    backbone = network.backbone if isinstance(network, CombinedNet) else network
    height, width = in_whole_patches(backbone, (height, width))
    try:
        return size_to_show(network, in_channels, (height, width))
    except ValueError:
        warn(
            f"the backbone takes no images of {height}x{width} pixels, so small crops are shown at "
            f"{image_size[0]}x{image_size[1]}, which costs as much as large ones; num_small=0 does "
            "without them"
        )
        return image_size


def require_small_size(
    network: nn.Module, in_channels: int, small_size: Size, image_size: Size
) -> None:
    """Refuses a size of small crops that is larger than the images, or too small for the network.

    Args:
        network: Shall take them.
        in_channels: Channels of the images.
        small_size: (height, width) in pixels.
        image_size: (height, width) of the large crops in pixels.

    Raises:
        ValueError: If it is, or it cannot.
    """
    if small_size[0] > image_size[0] or small_size[1] > image_size[1]:
        raise ValueError(
            f"small_size is that of small crops, at most that of the large ones, "
            f"{image_size[0]}x{image_size[1]} pixels, got {small_size[0]}x{small_size[1]}"
        )
    try:
        feature_shape(network, in_channels, small_size)
    except ValueError as error:
        raise ValueError(
            f"small_size: the backbone takes no crops of {small_size[0]}x{small_size[1]} pixels, "
            f"got {error}"
        ) from error
