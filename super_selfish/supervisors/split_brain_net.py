"""Split-brain autoencoder: which colours belong to a black and white picture, and vice versa?

One half of the network sees an image in black and white and says which colour every place had; the
other half sees the colours alone and says how light every place was. Neither can copy its input,
so each has to know what the things in the picture are. Both halves together are the backbone.

Zhang, Isola, Efros, 2017, "Split-Brain Autoencoders: Unsupervised Learning by Cross-Channel
Prediction", arXiv 1611.09842.

Shapes: `B` images, `H, W` image, `h, w` grid of predictions, `D` features of a half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.lab import lab_to_rgb, rgb_to_lab
from super_selfish.augmentations.recipes import RecipeLike, split_brain
from super_selfish.data.pictures import Group, side_by_side
from super_selfish.losses.full_precision import in_full
from super_selfish.models import CombinedNet, ImageDecoder, feature_shape
from super_selfish.models.color_split import SplitHead, as_split_predictions
from super_selfish.supervisors.augmenting import view_before
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.color_split import (
    LabCollator,
    LabTargets,
    as_color,
    as_gray,
    color_spread,
    gray_verdict,
    require_color,
    split_backbone,
)
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.lab_bins import LabBins
from super_selfish.supervisors.refusals import require_counts
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

SQUEEZED = 32  # channels between a half and its decoder, as in release 0.0.6


class OneOfTwo(nn.Module):
    """One of the predictions of a network that gives two, so that its shape can be asked for."""

    def __init__(self, network: nn.Module, place: int) -> None:
        super().__init__()
        self.network = network
        self.place = place

    def forward(self, images: Tensor) -> Tensor:
        """The prediction at the place, 0 or 1."""
        return as_split_predictions(self.network(images))[self.place]


class SplitBrainNetSupervisor(Supervisor):
    """Predicts colours from lightness, and lightness from colours, each by half a network.

    With a backbone by name or None, each half is a network of that name, with 1 and 2 input
    channels, and `get_backbone()` returns both: it eats RGB, converts it inside, and gives the
    features of both halves side by side. A network of the user's own becomes the half that sees
    lightness, as a gray picture of three channels, and an untrained twin of it the half that sees
    colour; `get_backbone()` returns that very network. It eats RGB, but has only ever seen gray:
    `preprocess` makes images so.

    Differences from the paper: the halves are whole networks instead of an AlexNet parted along its
    channels; colours are 9 x 9 bins, in or out of sRGB, instead of 313 inside it; lightness has 50
    bins instead of 100; crops are of random size. Errors are means over the places of all images,
    and those of both halves are added. By default Adam trains at a constant rate of 1e-3 in batches
    of 32; the paper's optimizer we could not look up.
    """

    title = "Split-brain autoencoder"
    question = "Which colours belong to this lightness, and which lightness to these colours?"
    paints = True
    former_arguments: ClassVar[Mapping[str, Any]] = {"augmentation": None}

    meanings: ClassVar[Mapping[str, str]] = {
        "color_loss": "Loss of the half that tells colours.",
        "lightness_loss": "Loss of the half that tells lightness.",
        "color_accuracy": "Share of places whose bin of colour is right.",
        "commonest_color": "The same of one who always says the commonest bin.",
        "color_spread": "How much colour the images have; near 0 they are grey.",
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        l_step: float = 2.0,
        l_offset: float = 0.0,
        ab_step: float = 26.0,
        a_offset: float = 128.0,
        b_offset: float = 128.0,
        stride: int = 4,
        crop: bool = True,
        augmentation: RecipeLike | None = None,
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images in colour, as anything that `ImageSource` takes.
            backbone: Network with feature maps, its name, or None for two EfficientNet-B0.
            predictor: A `SplitHead` on the maps of both halves: the colours that lightness tells,
                and the lightness that colours tell. Default: two decoders.
            loss: Function of logits `[B, bins, h, w]` and bins `[B, h, w]`; default: cross-entropy.
            l_step: Width of a bin of lightness, in units of L*.
            l_offset: Added to L* before it is divided into bins.
            ab_step: Side of a bin of colour, in units of a* and b*.
            a_offset: Added to a* before it is divided into bins.
            b_offset: Added to b* before it is divided into bins.
            stride: Side in pixels of the cells for which colours are predicted.
            crop: Whether each image is cropped and flipped at random, unless there is an
                `augmentation`.
            augmentation: Done to each image before it is parted into lightness and colours, in
                place of `crop`: the name of a recipe, an `Augmentation`, or torchvision's
                transforms. What it does to colours the network has to tell.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images, which are 3.
            normalize: None, `"imagenet"` or `(mean, std)`, for a network of your own that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If the images have no colour, a step leaves fewer than two bins, or the
                stride does not fit into the images, or the predictor has another number of
                outputs than there are bins.
        """
        if not (l_step > 0 and ab_step > 0):
            raise ValueError(f"l_step and ab_step must be > 0, got {l_step} and {ab_step}")
        if not all(math.isfinite(offset) for offset in (l_offset, a_offset, b_offset)):
            raise ValueError(
                f"offsets are finite, got {l_offset} of L*, {a_offset} of a* and {b_offset} of b*"
            )
        bins = LabBins(l_step, l_offset, ab_step, a_offset, b_offset)
        if min(bins.sizes) < 2:
            raise ValueError(
                f"L*, a* and b* need two bins each, got {bins.sizes}: use smaller steps"
            )
        super().__init__(
            None,
            dataset,
            nn.CrossEntropyLoss() if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        require_color(type(self).__name__, self.in_channels)
        height, width = self.image_size
        if not 1 <= stride <= min(height, width):
            raise ValueError(
                f"stride must be from 1 to the side of the images, {height}x{width} pixels, "
                f"got {stride}"
            )
        require_counts(stride=stride)
        self.bins = bins
        before = view_before(self, augmentation, split_brain if crop else None)
        self.collate_fn = LabCollator(before, stride)
        self.is_own = isinstance(backbone, nn.Module)
        halves = split_backbone(backbone, self.image_size, normalize, self.stem, self.given_weights)
        grid = (height // stride, width // stride)
        is_own_predictor = predictor is not None
        if predictor is None:
            predictor = self._decoders(halves.lightness, grid)
        self.model = CombinedNet(halves, predictor)
        if is_own_predictor and loss is None:
            self._require_bins(grid)

    def _decoders(self, half: nn.Module, grid: tuple[int, int]) -> SplitHead:
        features = feature_shape(half, 3, self.image_size, of_map=True)
        l_size, a_size, b_size = self.bins.sizes
        color, lightness = (
            nn.Sequential(
                nn.Conv2d(features.dim, SQUEEZED, 1),
                ImageDecoder(SQUEEZED, size, size=grid, map_size=features.map_size),
            )
            for size in (a_size * b_size, l_size)
        )
        # Crossed: what sees lightness tells colour.
        return SplitHead(color, lightness, features.dim, wants_map=True)

    def _require_bins(self, grid: tuple[int, int]) -> None:
        l_size, a_size, b_size = self.bins.sizes
        told = "colours from lightness", "lightness from colours"
        for place, size in enumerate((a_size * b_size, l_size)):
            given = feature_shape(OneOfTwo(self.model, place), 3, self.image_size, of_map=True)
            if given != (size, *grid):
                raise ValueError(
                    f"predictor= must tell {told[place]} as {[size, *grid]}, got {list(given)}"
                )

    @property
    def preprocess(self) -> nn.Module:
        """What makes RGB to what a network of the user's own has seen; else an identity."""
        return self.model.backbone.lightness.preprocess if self.is_own else nn.Identity()

    def get_backbone(self, *, averaged: bool = False) -> nn.Module:
        """Both halves as one network; the very network of the user's own, if one was given."""
        if averaged:
            return super().get_backbone(averaged=True)
        return self.model.backbone.lightness.network if self.is_own else self.model.backbone

    def _forward(self, data: LabTargets) -> Tensor:
        # A bin a place: (B, a_size * b_size, h, w) and (B, l_size, h, w)
        color_logits, lightness_logits = as_split_predictions(self.model(data.images))
        lightness, color = self.bins.classes(data.lab)  # (B, h, w) each
        color_loss = self.loss(in_full(color_logits), color)
        lightness_loss = self.loss(in_full(lightness_logits), lightness)
        with torch.no_grad():
            frequency = torch.zeros(color_logits.shape[1], device=color.device)
            frequency.index_add_(0, color.flatten(), torch.ones_like(color.flatten()).float())
            self._log(
                color_loss=color_loss,
                lightness_loss=lightness_loss,
                color_accuracy=(color_logits.argmax(dim=1) == color).float().mean(),
                commonest_color=frequency.amax() / color.numel(),
                color_spread=color_spread(data.images),
            )
        return color_loss + lightness_loss

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Two images: lightness and the colours that it tells, colours and what they tell."""
        images = seen_batch(self, index[:2], seed).images
        logits = as_split_predictions(self.model(images))
        said_lightness, said_color = (
            F.interpolate(values, size=images.shape[-2:], mode="bilinear")
            for values in self.bins.expected(logits.from_color, logits.from_lightness)
        )
        lab = rgb_to_lab(images)  # (B, 3, H, W)
        lightness, color = lab[:, :1], lab[:, 1:]
        return side_by_side(
            (as_gray(lightness), "half sees\nlightness"),
            (as_color(said_color), "and says\ncolours"),
            (lab_to_rgb(torch.cat([lightness, said_color], dim=1)), "both\ntogether"),
            (as_color(color), "half sees\ncolours"),
            (as_gray(said_lightness), "and says\nlightness"),
            (images, "image"),
        )

    def chance_loss(self, row: Row) -> float | None:
        """The logarithms of both numbers of bins: every bin is as likely."""
        l_size, a_size, b_size = self.bins.sizes
        is_known = isinstance(self.loss, nn.CrossEntropyLoss)
        return math.log(a_size * b_size) + math.log(l_size) if is_known else None

    def _health(self, row: Row) -> str | None:
        verdict = gray_verdict(row)
        if verdict is None and row["epoch"] >= 3:
            if row["color_accuracy"] < 0.9 * row["commonest_color"]:
                return (
                    f"{row['color_accuracy']:.0%} of the colours are right, fewer than if the "
                    f"commonest one were always named ({row['commonest_color']:.0%}): train for "
                    "longer, or change lr"
                )
        return verdict
