"""AET: how was this image transformed?

The network sees an image and the same image turned, shifted, scaled, sheared or in perspective, and
tells the numbers of the transformation. To do so it has to see where the parts of things are in
both.

Zhang, Qi, Wang, Luo, 2019, "AET vs. AED: Unsupervised Representation Learning by Auto-Encoding
Transformations rather than Data", arXiv 1901.04596.

Shapes: `B` images, `C, H, W` image, `D` features, `T` numbers of a transformation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.recipes import RecipeLike, aet
from super_selfish.augmentations.transformations import (
    GRAY,
    AffineTransformations,
    Padding,
    ProjectiveTransformations,
    Transformations,
    transform,
)
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group, side_by_side
from super_selfish.losses.full_precision import in_full
from super_selfish.models import FeatureShape
from super_selfish.supervisors.augmenting import view_before
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.refusals import as_numbers
from super_selfish.supervisors.siamese import answer_pairs, require_answers
from super_selfish.training.history import Row
from super_selfish.training.randomness import step_generator

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

_DRAWS = 20_000  # from which the spread of the numbers is taken
_NO_BETTER = 0.95  # of the spread of the numbers: an error as of one who says their mean


class TransformedPairs(NamedTuple):
    """Each image with its transformed copy, and how it was transformed."""

    pairs: Tensor  # (B, 2, C, H, W)
    targets: Tensor  # (B, T)


class AETCollator(Collator):
    """Augments each image, and transforms a copy of it."""

    def __init__(
        self,
        augmentation: Augmentation,
        transformations: Transformations,
        padding: Padding,
        fill: float,
    ) -> None:
        """Takes what precedes, the transformations, and what lies outside of an image."""
        super().__init__()
        self.augmentation = augmentation
        self.transformations = transformations
        self.padding: Padding = padding
        self.fill = fill

    def augment(self, batch: Batch, generator: torch.Generator) -> TransformedPairs:
        """Makes the pairs and their targets."""
        images = self.augmentation(batch.images, generator)
        targets = self.transformations.draw(len(images), generator)
        matrices = self.transformations.matrices(targets, (images.shape[-2], images.shape[-1]))
        copies = transform(images, matrices, self.padding, self.fill)
        return TransformedPairs(
            torch.stack((images, copies), dim=1), targets.to(images.device, non_blocking=True)
        )


class AETSupervisor(Supervisor):
    """Predicts by which affine or projective transformation a copy of an image was made.

    Where the copy shows nothing of the image there is gray, whose shape tells some of the
    transformation without any look at the content: of affine ones of white noise a network
    explained 37 % after half a minute, and 15 % with `padding="reflect"`, which leaves the traces
    of sampling alone; of projective ones nothing.

    Differences from the paper: any backbone with pooled features instead of a Network in Network;
    shifts are of any length instead of whole pixels; projective numbers are counted in 32nds of the
    side, by which the authors' constants for 32 pixels hold for every size; scaling is about the
    centre of an image and not half a pixel beside it; the error is a mean and not half a sum. By
    default Adam trains at a constant rate of 1e-3 in batches of 32, instead of SGD with Nesterov
    momentum 0.9 at 0.1 (weight decay 5e-4), a fifth of it after epochs 240, 480, 640 and 800 of
    1500, in batches of 512.
    """

    title = "AET"
    question = "By which transformation was the second image made of the first?"
    paints = True

    meanings: ClassVar[Mapping[str, str]] = {
        "explained": "Share of the spread of transformations that is told: 0 by chance, 1 all.",
    }

    target_mean: Tensor
    target_deviation: Tensor
    spread: float

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        kind: Literal["projective", "affine"] = "projective",
        scale: Sequence[float] | None = None,
        shift: float = 1 / 8,
        degrees: float = 180.0,
        translate: float = 0.2,
        shear: float = 30.0,
        padding: Padding = "constant",
        fill: float = GRAY,
        crop: bool = True,
        augmentation: RecipeLike | None = None,
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: Network, its name, or None for an EfficientNet-B0.
            predictor: Head on the features of both images side by side, `[B, 2 * D]`, with 8
                outputs, 6 for affine ones; default: one linear layer, for affine ones with tanh.
            loss: Function of predicted and true numbers, `[B, T]` each; default: squared error.
            kind: `"projective"`: scale, quarter turns and moved corners; `"affine"`: rotation,
                translation, scale and shear.
            scale: Smallest and largest enlargement. Default: (0.8, 1.2), of affine ones (0.7, 1.3):
                the authors' code.
            shift: Of projective ones: how far each corner moves at most along each axis, as a
                fraction of the side. 1 / 8: the authors' code.
            degrees: Of affine ones: largest rotation, either way. 180: the paper.
            translate: Of affine ones: largest shift, as a fraction of the side. 0.2: the paper.
            shear: Of affine ones: largest shear in degrees, either way. 30: the paper.
            padding: What lies outside of an image: `"constant"` for `fill`, or `"reflect"`.
            fill: A value in [0, 1]. 128 / 255: the authors' code.
            crop: Whether each image is cropped and flipped at random before, unless there is an
                `augmentation`.
            augmentation: Done to each image before, in place of `crop`: the name of a recipe, an
                `Augmentation`, or torchvision's transforms.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, there is no such kind or padding, or the
                predictor has another number of outputs.
        """
        if kind not in ("projective", "affine"):
            raise ValueError(f'kind must be "projective" or "affine", got {kind!r}')
        if padding not in ("constant", "reflect"):
            raise ValueError(f'padding must be "constant" or "reflect", got {padding!r}')
        if not 0.0 <= fill <= 1.0:
            raise ValueError(f"fill must be in [0, 1], got {fill}")
        if scale is None:
            scale = (0.8, 1.2) if kind == "projective" else (0.7, 1.3)
        low, high = as_numbers("scale", scale, 2)
        # Both, so that every number is looked at.
        affine = AffineTransformations(degrees, translate, (low, high), shear)
        if kind == "affine":
            ProjectiveTransformations(shift=shift)
            transformations: Transformations = affine
        else:
            transformations = ProjectiveTransformations((low, high), shift)
        super().__init__(
            None,
            dataset,
            nn.MSELoss() if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        self.transformations = transformations
        mean, deviation = (
            torch.tensor(v) for v in (transformations.mean, transformations.deviation)
        )
        self.register_buffer("target_mean", mean)
        self.register_buffer("target_deviation", deviation)
        # The error of one who always says the mean.
        numbers = transformations.draw(_DRAWS, step_generator(0))
        self.spread = float((numbers / deviation).var(dim=0).mean())
        before = view_before(self, augmentation, aet if crop else None)
        self.padding: Padding = padding
        self.fill = fill
        self.collate_fn = AETCollator(before, self.transformations, padding, fill)
        if crop and augmentation is None:
            self.collate_fn.note = (
                "Black bars are what lies outside of an image, which was moved by up to an eighth "
                "of its side, as in the paper's code."
            )

        def head(features: FeatureShape) -> nn.Module:
            linear = nn.Linear(2 * features.dim, len(self.transformations.names))
            return linear if kind == "projective" else nn.Sequential(linear, nn.Tanh())

        self.model = self._combine(backbone, predictor, head, normalize)
        if predictor is not None and loss is None:
            names = self.transformations.names
            require_answers(self, len(names), "numbers of a transformation", self.image_size)

    def _unfit(self, state: Mapping[str, Any]) -> str | None:
        """Whether the stored deviations can be divided by."""
        is_fit = bool((state["target_deviation"] > 0).all())
        return None if is_fit else "its 'target_deviation' is not above 0"

    def _forward(self, data: TransformedPairs) -> Tensor:
        told = in_full(answer_pairs(self.model, data.pairs))  # (B, T)
        targets = self._standardised(data.targets.to(told.dtype))  # (B, T)
        error = (told.detach() - targets).square().mean()
        self._log(explained=1 - error / self.spread)
        return self.loss(told, targets)

    def _standardised(self, numbers: Tensor) -> Tensor:
        return (numbers - self.target_mean) / self.target_deviation

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Some images, their copies, and copies made as the network told."""
        pairs = seen_batch(self, index, seed).pairs
        images, copies = pairs.unbind(dim=1)  # (B, C, H, W) each
        told = answer_pairs(self.model, pairs) * self.target_deviation + self.target_mean
        size = (images.shape[-2], images.shape[-1])
        matrices = self.transformations.matrices(told.float(), size)
        return side_by_side(
            (images, "image"),
            (copies, "transformed"),
            (transform(images, matrices, self.padding, self.fill), "as it\nwas told"),
        )

    def chance_loss(self, row: Row) -> float | None:
        """The spread of the numbers: what always saying their mean costs."""
        return self.spread if isinstance(self.loss, nn.MSELoss) else None

    def _health(self, row: Row) -> str | None:
        if row["epoch"] >= 5 and row["explained"] < 1 - _NO_BETTER:
            return (
                f"transformations are told no better than by one who always says their mean "
                f"({row['explained']:.0%} of their spread is explained): train for longer, change "
                "lr, or look whether these images have an upright orientation at all"
            )
        return None
