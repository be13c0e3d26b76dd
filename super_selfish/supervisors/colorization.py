"""Colorization: which colours did this black and white picture have?

The network sees an image in black and white and says for every place how likely each of some
hundred colours is. Rare colours count more, lest everything be called a greyish brown. To answer it
has to know what the things in the picture are.

Zhang, Isola, Efros, 2016, "Colorful Image Colorization", arXiv 1603.08511.

Shapes: `B` images, `H, W` image, `h, w` grid of predictions, `Q` bins of colour, `D` features.
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
from super_selfish.data.sources import ImageSource
from super_selfish.losses.colors import RebalancedCrossEntropyLoss, rebalanced_cross_entropy
from super_selfish.losses.full_precision import in_full
from super_selfish.models import CombinedNet, ImageDecoder, feature_shape
from super_selfish.supervisors.augmenting import Unchanged, view_before
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.color_bins import ColorBins, gamut_centers
from super_selfish.supervisors.color_split import (
    LabCollator,
    LabTargets,
    as_gray,
    color_spread,
    gray_verdict,
    lightness_backbone,
    require_color,
)
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.refusals import require_counts
from super_selfish.training.history import Row
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

_READ_AT_ONCE = 64  # images, while their colours are counted
_FEW = 1e-15  # in place of no place at all, by which nothing can be divided


class ColorizationSupervisor(Supervisor):
    """Predicts the colours of black and white pictures, place by place, as bins.

    Which colours are rare is counted in the dataset, when training begins, and kept in the
    checkpoint with the table of bins. A backbone by name or None is a network of that name with one
    input channel; `get_backbone()` eats RGB and converts it inside. A network of the user's own
    sees lightness as a gray picture of three channels; `get_backbone()` returns that very network,
    and `preprocess` makes images so.

    Differences from the paper: a table of 261 bins of 10 by 10 that sRGB has colours in instead of
    the authors' 313 (`bins=`); targets are means of cells instead of one pixel of each; the decoder
    is transposed convolutions on the last map of any backbone instead of dilated ones; crops are of
    random size. The loss is the mean over places and not their sum. By default Adam trains at a
    constant rate of 1e-3 in batches of 32, instead of Adam (betas 0.9 and 0.99, weight decay 1e-3)
    at 3e-5, then 1e-5 and 3e-6, in batches of 40.
    """

    title = "Colorization"
    question = "Which colours did this black and white picture have?"
    paints = True

    meanings: ClassVar[Mapping[str, str]] = {
        "color_accuracy": "Share of places whose likeliest bin of colour is the right one.",
        "commonest_color": "The same of one who always says the commonest bin.",
        "constant_loss": "Loss of one who says of every place what is commonest by weight.",
        "color_spread": "How much colour the images have; near 0 they are grey.",
        "colorfulness": "How colourful the answers are beside the images: near 0 all is grey.",
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        ab_step: float = 10.0,
        bins: Sequence[Sequence[float]] | None = None,
        neighbors: int = 5,
        sigma: float = 5.0,
        prior_sigma: float = 5.0,
        uniform_share: float = 0.5,
        num_prior_images: int = 1000,
        gray_below: float = 5.0,
        temperature: float = 0.38,
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
            backbone: Network with feature maps, its name, or None for an EfficientNet-B0.
            predictor: Head on the map, with a logit for each bin at each place, `[B, Q, h, w]`.
                Default: a decoder.
            loss: Function of logits `[B, Q, h, w]`, of the bins near each colour and their shares,
                `[B, n, h, w]`, and of what each place counts, `[B, h, w]`; default: cross-entropy,
                a mean over the places that count.
            ab_step: Side of a bin, in units of a* and b*. 10: the paper.
            bins: The table instead, `[Q, 2]`, a* and b*, such as the 313 of the authors.
            neighbors: Bins that a colour belongs to. 5: the paper; the authors' code: 10.
            sigma: Of the Gaussian by which a colour belongs to bins, in units of a* and b*. 5: the
                paper.
            prior_sigma: Of the Gaussian that smooths how often colours are. 5: the paper.
            uniform_share: Of a uniform distribution, mixed into how often colours are; 1: all
                colours count alike. 0.5: the paper's lambda.
            num_prior_images: Images in which colours are counted, spread over the dataset.
            gray_below: Images without any |a*| or |b*| above it do not count. 5: the authors' code.
            temperature: Of the annealed mean that makes one colour of many, for pictures. 0.38: the
                paper.
            stride: Side in pixels of the cells for which colours are predicted. 4: the paper.
            crop: Whether each image is cropped and flipped at random, unless there is an
                `augmentation`.
            augmentation: Done to each image before its colours are taken away, in place of `crop`:
                the name of a recipe, an `Augmentation`, or torchvision's transforms. What it does
                to colours the network has to tell.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images, which are 3.
            normalize: None, `"imagenet"` or `(mean, std)`, for a network of your own that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If the images have no colour, a number is out of its range, the table is
                none, or the predictor has another number of outputs than there are bins.
        """
        require_counts(neighbors=neighbors, num_prior_images=num_prior_images, stride=stride)
        for name, value in (("ab_step", ab_step), ("sigma", sigma), ("prior_sigma", prior_sigma)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be a number > 0, got {value}")
        if not 0.0 <= uniform_share <= 1.0 or not 0.0 < temperature <= 1.0:
            raise ValueError(
                "uniform_share must be in [0, 1] and temperature in (0, 1], got "
                f"{uniform_share} and {temperature}"
            )
        if not 0.0 <= gray_below < math.inf:
            raise ValueError(f"gray_below must be at least 0, got {gray_below}")
        super().__init__(
            None,
            dataset,
            RebalancedCrossEntropyLoss() if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        require_color(type(self).__name__, self.in_channels)
        height, width = self.image_size
        if stride > min(height, width):
            raise ValueError(
                f"stride must be from 1 to the side of the images, {height}x{width} pixels, "
                f"got {stride}"
            )
        centers = gamut_centers(float(ab_step)) if bins is None else _as_table(bins)
        if not neighbors <= len(centers) or len(centers) < 2:
            raise ValueError(
                f"a table has two bins at least, and as many as neighbors={neighbors}, got "
                f"{len(centers)}: use a smaller ab_step, or fewer neighbors"
            )
        if bins is not None:
            self._resolve(bins=centers.tolist())
        self.bins = ColorBins(centers, neighbors, sigma, prior_sigma, uniform_share)
        self.num_prior_images = num_prior_images
        self.gray_below = gray_below
        self.temperature = temperature
        self.stride = stride
        before = view_before(self, augmentation, split_brain if crop else None)
        self.collate_fn = LabCollator(before, stride)
        self.is_own = isinstance(backbone, nn.Module)
        network = lightness_backbone(
            backbone, self.image_size, normalize, self.stem, self.given_weights
        )
        grid = (height // stride, width // stride)
        is_own_predictor = predictor is not None
        if predictor is None:
            features = feature_shape(network, 3, self.image_size, of_map=True)
            predictor = ImageDecoder(
                features.dim,
                len(centers),
                size=grid,
                map_size=features.map_size,
            )
        self.model = CombinedNet(network, predictor)
        if is_own_predictor and loss is None:
            given = feature_shape(self.model, 3, self.image_size, of_map=True)
            if given != (len(centers), *grid):
                raise ValueError(
                    f"predictor= must tell colours as {[len(centers), *grid]}, got {list(given)}"
                )

    def _unfit(self, state: Mapping[str, Any]) -> str | None:
        """Whether the stored prior is one, and its weights can weigh."""
        prior, weights = state["bins.prior"], state["bins.weights"]
        if bool((prior >= 0).all()) and abs(float(prior.sum()) - 1) < 1e-3:
            return None if bool((weights > 0).all()) else "its 'bins.weights' are not all above 0"
        return "its 'bins.prior' is no distribution"

    @property
    def preprocess(self) -> nn.Module:
        """What makes RGB to what a network of the user's own has seen; else an identity."""
        return self.model.backbone.preprocess if self.is_own else nn.Identity()

    def get_backbone(self, *, averaged: bool = False) -> nn.Module:
        """The network that sees lightness; the very network of the user's own, if one was given."""
        if averaged:
            return super().get_backbone(averaged=True)
        return self.model.backbone.network if self.is_own else self.model.backbone

    def _caution(self, run: Run) -> str | None:
        """Counts the colours of the dataset; says so where there are none."""
        if self.source is None or self.count_colors(self.source):
            return None
        looked_at = min(self.num_prior_images, self.source.at_hand)
        return (
            f"none of {looked_at} images has a colour (of more "
            f"than {self.gray_below:g} units of a* or b*), so there is nothing to learn: choose an "
            "algorithm that does not need it, such as rotate"
        )

    @torch.no_grad()
    def count_colors(self, source: ImageSource) -> bool:
        """Learns how often images have each colour; every process counts the same images.

        Args:
            source: The images, of which at most `num_prior_images` are read.

        Returns:
            Whether there are colours.
        """
        counts = torch.zeros(len(self.bins.centers), dtype=torch.float64)
        number = min(self.num_prior_images, source.at_hand)
        collator = LabCollator(Unchanged(), self.stride)
        for chosen in torch.linspace(0, source.at_hand - 1, number).long().split(_READ_AT_ONCE):
            batch = collator.stack(source.__getitems__(chosen.tolist()))
            if len(batch.index) == 0:  # none of them can be read
                continue
            lab = collator.augment(batch.to(self.device), torch.Generator()).lab
            ab = lab[:, 1:]  # (B, 2, h, w)
            counts += self.bins.count(ab[self._has_color(ab)].permute(0, 2, 3, 1).reshape(-1, 2))
        has_colors = float(counts.sum()) > 0
        if has_colors:
            self.bins.learn(counts)
        return has_colors

    def _has_color(self, ab: Tensor) -> Tensor:
        """Which images `[B, 2, h, w]` are not gray, `[B]`."""
        return ab.abs().amax(dim=(1, 2, 3)) > self.gray_below

    def _forward(self, data: LabTargets) -> Tensor:
        logits = in_full(self.model(data.images))  # (B, Q, h, w)
        ab = data.lab[:, 1:]  # (B, 2, h, w)
        with torch.no_grad():
            bins, shares = self.bins.encode(ab)  # (B, n, h, w) each
            nearest = bins[:, 0]  # (B, h, w)
            weights = self.bins.weights.to(shares)[nearest]
            weights = weights * self._has_color(ab)[:, None, None]
            self._note(logits, data, nearest)
            same = self.bins.mixture.to(shares).log().view(1, -1, 1, 1).expand_as(logits)
            self._log(constant_loss=rebalanced_cross_entropy(same, bins, shares, weights))
        strong = (weights > 0).to(weights).sum()
        self._counts((strong / nearest[0].numel()).clamp(min=_FEW))
        return self.loss(logits, bins, shares, weights)

    def _note(self, logits: Tensor, data: LabTargets, nearest: Tensor) -> None:
        """Logs how good and how colourful the answers are."""
        frequency = nearest.flatten().bincount(minlength=logits.shape[1]).float()
        said = self.bins.decode(logits, self.temperature)
        chroma, true = (ab.norm(dim=1).mean() for ab in (said, data.lab[:, 1:]))
        self._log(
            color_accuracy=(logits.argmax(dim=1) == nearest).float().mean(),
            commonest_color=frequency.amax() / nearest.numel(),
            color_spread=color_spread(data.images),
            colorfulness=chroma / true.clamp(min=1.0),
        )

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Some images: what the network sees, the colours that it gives, and the true ones."""
        images = seen_batch(self, index, seed).images
        said = self.bins.decode(self.model(images), self.temperature)  # (B, 2, h, w)
        said = F.interpolate(said, size=images.shape[-2:], mode="bilinear")
        lightness = rgb_to_lab(images)[:, :1]
        return side_by_side(
            (as_gray(lightness), "sees\nlightness"),
            (lab_to_rgb(torch.cat([lightness, said], dim=1)), "gives it\ncolours"),
            (images, "image"),
        )

    def chance_loss(self, row: Row) -> float | None:
        """What the same answer for every place costs, at best, by its own measure."""
        is_known = isinstance(self.loss, RebalancedCrossEntropyLoss)
        return row.get("constant_loss") if is_known else None

    def _health(self, row: Row) -> str | None:
        verdict = gray_verdict(row)
        if verdict is None and row["epoch"] >= 3 and row["loss"] > row["constant_loss"]:
            return (
                f"colours are told no better (loss {row['loss']:.3g}) than by one who says the "
                f"same of every place ({row['constant_loss']:.3g}): train for longer, change lr, "
                "or give images whose colours belong to their things"
            )
        return verdict


def _as_table(bins: Sequence[Sequence[float]]) -> Tensor:
    """Bins of the user's own, `[Q, 2]`."""
    try:
        table = torch.as_tensor(bins, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"bins must be a table [Q, 2] of a* and b*: {error}, got {bins}"
        ) from error
    if table.ndim != 2 or table.shape[1] != 2 or not bool(table.isfinite().all()):
        raise ValueError(f"bins must be a table [Q, 2] of a* and b*, got shape {list(table.shape)}")
    return table.clone()
