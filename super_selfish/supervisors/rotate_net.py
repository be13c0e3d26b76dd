"""RotateNet: which way is up?

Every image is shown in four orientations, and the network says by how many degrees each was turned.
To answer it has to recognise what is in the picture and how that usually stands.

Gidaris, Singh, Komodakis, 2018, "Unsupervised Representation Learning by Predicting Image
Rotations", arXiv 1803.07728.

Shapes: `B` images, `R` rotations, `C, S` image (square), `D` features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.geometry import rotate_quarter
from super_selfish.augmentations.recipes import RecipeLike, rotate
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group, picture, verdict
from super_selfish.losses.full_precision import in_full
from super_selfish.models import Classification
from super_selfish.supervisors.augmenting import view_before
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.refusals import as_numbers, require_logits
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options


class RotatedViews(NamedTuple):
    """All orientations of each image, side by side so that no split of a batch parts them."""

    views: Tensor  # (B, R, C, S, S)
    targets: Tensor  # (B, R) int64, position in `rotations`


class RotateCollator(Collator):
    """Augments each image, then turns the same view to every orientation.

    Quarter turns move pixels and compute none: no black corner and no blur gives the angle away. An
    image that is not square is cropped to a square first.
    """

    def __init__(
        self, rotations: Sequence[int], augmentation: Augmentation, *, is_padded: bool
    ) -> None:
        """Takes degrees, counter-clockwise, what precedes, and whether that shows black bars."""
        super().__init__()
        self.turns = torch.tensor([int(rotation) // 90 % 4 for rotation in rotations])
        self.augmentation = augmentation
        if is_padded:
            self.note = (
                "Black bars are what lies outside of an image, which was moved by up to an eighth "
                "of its side, as in the paper's code."
            )

    def augment(self, batch: Batch, generator: torch.Generator) -> RotatedViews:
        """Makes the views and their orientations."""
        images = self.augmentation(batch.images, generator)
        side = min(images.shape[-2:])
        top, left = (images.shape[-2] - side) // 2, (images.shape[-1] - side) // 2
        images = images[..., top : top + side, left : left + side]
        number, count = len(images), len(self.turns)
        turns = self.turns.repeat(number)
        views = rotate_quarter(images.repeat_interleave(count, dim=0), turns)
        targets = torch.arange(count, device=images.device).expand(number, count)
        return RotatedViews(views.unflatten(0, (number, count)), targets)


class RotateNetSupervisor(Supervisor):
    """Predicts by which multiple of 90 degrees an image was turned.

    Differences from the paper: the head is an MLP on pooled features (1024, 256, then one output a
    rotation) instead of the last block of a Network in Network; the crop is `side // 8` pixels at
    every size, as at 32 in the authors' code. By default Adam trains at a constant rate of 1e-3 in
    batches of 32, instead of SGD with Nesterov momentum 0.9 at 0.1 (weight decay 5e-4), a fifth of
    it after epochs 60, 120 and 160 of 200, in batches of 128.
    """

    title = "RotateNet"
    question = "By how many degrees was this image turned?"
    former_arguments: ClassVar[Mapping[str, Any]] = {"augmentation": None}

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        rotations: Sequence[int] = (0, 90, 180, -90),
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
            predictor: Head on the features, with one output a rotation.
            loss: Function of logits and class numbers; default: cross-entropy.
            rotations: Degrees, counter-clockwise, multiples of 90, in the order of the classes.
            crop: Whether each image is cropped and flipped at random before it is turned, unless
                there is an `augmentation`.
            augmentation: Done to each image before it is turned, in place of `crop`: the name of a
                recipe, an `Augmentation`, or torchvision's transforms. It should not turn images,
                or mirror up and down: the network would be asked what it cannot know.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If the rotations are no different multiples of 90, or the predictor has
                not one output for each.
        """
        rotations = as_numbers("rotations", rotations)
        turns = {rotation % 360 for rotation in rotations}
        if len(rotations) < 2 or len(turns) < len(rotations) or any(turn % 90 for turn in turns):
            raise ValueError(
                f"rotations are at least two different multiples of 90, got {rotations}"
            )
        super().__init__(
            None,
            dataset,
            nn.CrossEntropyLoss() if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        is_padded = crop and augmentation is None
        before = view_before(self, augmentation, rotate if crop else None)
        self.collate_fn = RotateCollator(rotations, before, is_padded=is_padded)
        self.rotations = rotations
        self.model = self._combine(
            backbone,
            predictor,
            lambda features: Classification(features.dim, len(rotations)),
            normalize,
        )
        if predictor is not None and loss is None:
            require_logits(self, len(rotations), "rotations")

    def _forward(self, data: RotatedViews) -> Tensor:
        logits = self.model(data.views.flatten(0, 1))  # (B * R, R)
        targets = data.targets.flatten()  # (B * R,)
        self._log(accuracy=(logits.argmax(dim=1) == targets).float().mean())
        return self.loss(in_full(logits), targets)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Three images in all orientations, with the angle that the network names."""
        data = seen_batch(self, index[:3], seed)
        said = self.model(data.views.flatten(0, 1)).argmax(dim=1).view(data.targets.shape)  # (B, R)
        groups = []
        for views, targets, guesses in zip(data.views, data.targets, said, strict=True):
            group = []
            for view, target, guess in zip(views, targets.tolist(), guesses.tolist(), strict=True):
                turned, named = (
                    f"{self.rotations[k] % 360}\N{DEGREE SIGN}" for k in (target, guess)
                )
                is_right = target == guess
                caption = f"turned {turned}\nsays {named} {verdict(is_right)}"
                group.append(picture(view, caption, is_right))
            groups.append(group)
        return groups

    def chance_loss(self, row: Row) -> float | None:
        """`log R`: every rotation is as likely."""
        return math.log(len(self.rotations)) if isinstance(self.loss, nn.CrossEntropyLoss) else None

    def _health(self, row: Row) -> str | None:
        # An epoch's mean holds what came before the mark was found, so the first is seldom enough.
        if row["epoch"] <= 5 and row["accuracy"] > 0.99:
            return (
                f"{row['accuracy']:.1%} of the rotations are right in epoch {row['epoch']:.0f}: "
                "the images seem to give the angle away (a watermark, a border); crop such marks "
                "off"
            )
        chance = 1 / len(self.rotations)
        if row["epoch"] >= 5 and row["accuracy"] < 1.1 * chance:
            return (
                f"rotations are guessed no better than by chance ({chance:.0%}): these images may "
                "have no upright orientation (textures, cells, views from above); choose another "
                "algorithm"
            )
        return None
