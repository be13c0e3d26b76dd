"""Training with labels: what a pretrained backbone is for.

One class an image, several classes an image, or a class a pixel; on a frozen backbone, on one that
is frozen up to a layer, or with all of it, more slowly than the head.

Shapes: `B` images, `C, H, W` image, `Y` classes, `h, w` map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.collate import Batch, LabelCollator, Labelled
from super_selfish.data.sources import ImageSource, labels_of
from super_selfish.losses.counted import counted
from super_selfish.losses.full_precision import in_full
from super_selfish.models.combined_net import CombinedNet
from super_selfish.models.dry_run import feature_shape
from super_selfish.models.freezing import (
    freeze_temporarily,
    freeze_until,
    parameter_groups,
    release,
    unfreeze,
)
from super_selfish.models.standardize import Standardize
from super_selfish.models.wrappers import unwrapped
from super_selfish.supervisors.augmenting import view_of
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.class_labels import check_labels, refuse_text
from super_selfish.supervisors.predicting import unit_images

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options


class AugmentedLabelCollator(LabelCollator):
    """Augmented images with the dataset's own labels."""

    def __init__(self, augmentation: Augmentation) -> None:
        """Takes what is done to the images, and not to the labels."""
        super().__init__()
        self.augmentation = augmentation

    def augment(self, batch: Batch, generator: torch.Generator) -> Labelled:
        """Returns augmented images, and labels.

        Raises:
            ValueError: If the dataset has no labels, or they are masks.
        """
        labelled = super().augment(batch, generator)
        if labelled.targets.ndim > 2:
            raise ValueError(
                "augmentation= moves pixels, but the labels are masks "
                f"{list(labelled.targets.shape)} that would stay: augment both in the dataset"
            )
        return labelled._replace(images=self.augmentation(labelled.images, generator))


class LabelSupervisor(Supervisor):
    """Trains a head on the dataset's labels, on a frozen backbone or with it.

    Frozen means frozen: neither the weights of the backbone nor the statistics of its batch norms
    move, and it computes as in evaluation. Nothing in a backbone that is frozen when it comes here
    (`freeze_until(backbone, ...)`, `requires_grad_(False)` on a part of it) is set free, unless all
    of it is frozen and `finetune` asks for it, or an earlier `LabelSupervisor` froze it.

    A frozen backbone's features are standardised before the default head, as in MAE's linear probe.

    Labels are one of

    - `[B]` whole numbers, for cross-entropy;
    - `[B, Y]` zeros and ones, for binary cross-entropy: every image has any number of classes
      (with a head of one logit also `[B]`);
    - masks `[B, H, W]` of whole numbers, for cross-entropy at every pixel, with a `predictor` that
      gives maps `[B, Y, h, w]` (`wants_map = True`: it gets the map of the backbone). The maps are
      resized to the masks. Masks come from the dataset as tensors or arrays, never as PIL images,
      **at the size of the images**: where `image_size` makes the source resize or crop images,
      masks do not follow, and are refused. With `loss=nn.CrossEntropyLoss(ignore_index=255)`
      pixels of 255 do not count. The mean is over those of a batch that do, by class weights where
      there are some, and with `accumulate` over those of all batches of an update.
    """

    former_arguments: ClassVar[Mapping[str, Any]] = {"standardize": False}

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        num_classes: int | None = None,
        finetune: bool = False,
        freeze_until: str | None = None,
        backbone_lr_factor: float = 0.1,
        layer_decay: float = 1.0,
        augmentation: RecipeLike | None = None,
        standardize: bool | None = None,
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images with labels, as anything that `ImageSource` takes.
            backbone: A pretrained network, such as `supervisor.get_backbone()`; or backbone and
                head in one, a `CombinedNet`, which is trained itself.
            predictor: Head on the features. Default: one linear layer, see `standardize`.
            loss: Function of logits and labels. Default: binary cross-entropy for labels of the
                shape of the logits, cross-entropy for all others. Logits of masks are resized
                before it is called.
            num_classes: Outputs of the default head. Default: the dataset's largest label and one,
                or the columns of labels `[N, Y]`; one where there is no dataset, for `load()`.
            finetune: Whether the backbone trains as well.
            freeze_until: Name of the first layer of the backbone that trains, with `finetune`; see
                `super_selfish.models.freezing.freeze_until`.
            backbone_lr_factor: Learning rate of the backbone as a multiple of `lr`, which is that
                of the head; 1 treats them alike.
            layer_decay: Learning rate of each layer of the backbone as a multiple of the next
                one's; see `parameter_groups`.
            augmentation: Done to the images in training, not to their labels: the name of a recipe,
                such as `"mild"`, an `Augmentation`, or torchvision's transforms. Default: nothing.
            standardize: Whether the default head brings each feature to mean 0 and variance 1 first
                (`super_selfish.models.standardize`). Default: on a backbone that is frozen, whose
                features may be of any size.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If neither labels nor `num_classes` nor a head say how many classes there
                are, the backbone has no layer `freeze_until`, a number is out of its range, a
                `CombinedNet` comes with a second head or normalisation, or `standardize` with a
                head of your own.
        """
        whole = backbone if isinstance(backbone, CombinedNet) else None
        if whole is not None and (predictor is not None or normalize is not None):
            raise ValueError(
                "a CombinedNet has its head and its preprocessing: leave predictor= and normalize= "
                "out, or give its backbone alone"
            )
        super().__init__(
            None,
            dataset,
            loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        if augmentation is not None:
            view = view_of(self, augmentation, self.image_size)
            self.collate_fn = AugmentedLabelCollator(view)
        if freeze_until is not None and not finetune:
            raise ValueError(
                f"freeze_until={freeze_until!r} says where the backbone begins to train, but "
                "finetune=False freezes all of it: give finetune=True as well"
            )
        has_head = whole is not None or predictor is not None
        if num_classes is None and not has_head and self.source is not None:
            labels = labels_of(self.source, instead="; num_classes= or a predictor= does without")
            if labels is None:
                refuse_text(self.source)
            num_classes = _count_classes(labels, self.source, is_free=loss is not None)
        elif self.source is not None and not has_head and loss is None:
            _check_known(self.source, num_classes)
        if standardize and has_head:
            raise ValueError(
                "standardize=True belongs to the default head: put "
                "super_selfish.models.standardize.Standardize(width) before your own, or leave out "
                "predictor="
            )
        standardize = not (finetune or has_head) if standardize is None else standardize
        self._resolve(num_classes=num_classes, standardize=standardize)
        self.finetune = finetune
        self.freeze_until = freeze_until
        self.backbone_lr_factor = backbone_lr_factor
        self.layer_decay = layer_decay
        self.model = whole or self._combine(
            backbone,
            predictor,
            lambda features: _linear_head(features.dim, num_classes or 1, standardize),
            normalize,
        )
        if predictor is not None and isinstance(self.model, CombinedNet):
            # Asked once, so that a head of another width is told of before the first step.
            feature_shape(self.model, self.in_channels, self.image_size)
        if finetune and freeze_until is None:
            self._free_backbone()
        self._ready_backbone()
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        self._parameter_groups(trained, lr=1.0)  # refuses numbers out of range at once

    def _free_backbone(self) -> None:
        """Sets free what is frozen altogether."""
        backbone = unwrapped(self.get_backbone())
        release(backbone)
        if not any(parameter.requires_grad for parameter in backbone.parameters()):
            unfreeze(backbone)
            backbone.requires_grad_(True)

    def _ready_backbone(self) -> None:
        backbone = unwrapped(self.get_backbone())
        release(backbone)  # another one may have frozen it, or have let it go, since
        if not self.finetune:
            freeze_temporarily(backbone)
        elif self.freeze_until is not None:
            freeze_temporarily(backbone, partial(freeze_until, name=self.freeze_until))

    def _parameter_groups(self, named: dict[str, nn.Parameter], lr: float) -> list[dict[str, Any]]:
        """The head, and with `finetune` the backbone, which learns more slowly."""
        if not self.finetune:
            return super()._parameter_groups(named, lr)
        return parameter_groups(
            self.get_backbone(),
            named.values(),
            lr,
            backbone_lr_factor=self.backbone_lr_factor,
            layer_decay=self.layer_decay,
        )

    def _forward(self, data: Labelled) -> Tensor:
        logits = in_full(self.model(data.images))  # (B, Y), or (B, Y, h, w)
        targets = _fitted(data.targets, logits)
        if logits.ndim == 4:
            _check_masks(targets, data.images)
            logits = _resized(logits, data.images.shape[-2:])  # (B, Y, H, W)
        is_multilabel = targets.shape == logits.shape
        if is_multilabel:
            targets = targets.to(logits.dtype)
            self._log(accuracy=((logits > 0) == (targets > 0.5)).float().mean())
        elif targets.shape == logits[:, 0].shape:
            counts = targets != getattr(self.loss, "ignore_index", -100)
            hits = (logits.argmax(dim=1) == targets) & counts
            self._log(accuracy=hits.sum() / counts.sum().clamp(min=1))
        if self.loss is None and is_multilabel:
            return F.binary_cross_entropy_with_logits(logits, targets)
        loss = nn.CrossEntropyLoss() if self.loss is None else self.loss
        self._counts(counted(loss, logits, targets))
        return loss(logits, targets)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Logits of images, computed as in evaluation.

        Args:
            images: `[B, C, H, W]`, uint8 or uint16 as in training (other whole numbers where there
                is a `value_range`, which is applied to them), or float in [0, 1].

        Returns:
            `[B, Y]`; maps are resized to the images, `[B, Y, H, W]`.

        Raises:
            TypeError: If it is no tensor.
            ValueError: If it has another shape, or numbers that are no images.
        """
        images = unit_images(images, self.in_channels, self.value_range)
        training = self.training
        self.eval()
        try:
            logits: Tensor = self.model(images.to(self.device))
        finally:
            self.train(training)
        return _resized(logits, images.shape[-2:]) if logits.ndim == 4 else logits


def _linear_head(width: int, num_classes: int, standardize: bool) -> nn.Module:
    linear = nn.Linear(width, num_classes)
    return nn.Sequential(Standardize(width), linear) if standardize else linear


def _check_known(source: ImageSource, num_classes: int | None) -> None:
    """Refuses labels that are known without reading images, if they fit no default loss."""
    known = source.known_labels()
    if known is not None and not isinstance(known, Tensor):
        if any(isinstance(label, str) for label in known):
            refuse_text(source)
        known = torch.tensor(known) if all(type(label) is int for label in known) else None
    if known is not None and known.ndim == 1 and num_classes == 1:
        known = known[:, None]
    if known is not None:
        check_labels(known, num_classes, skips=source.on_error == "skip")


def _count_classes(labels: Tensor | None, source: ImageSource, *, is_free: bool) -> int:
    """Classes of the labels, which a loss of the user's own may take as they are (`is_free`)."""
    if labels is None:
        raise ValueError("give num_classes=, a predictor=, or a dataset that has labels")
    if labels.ndim > 2:
        raise ValueError(
            f"the labels are masks {list(labels.shape[1:])}: give a predictor= that makes maps "
            "[B, Y, h, w] of the backbone's map, such as ImageDecoder(width, num_classes)"
        )
    if not is_free:
        check_labels(labels, None, skips=source.on_error == "skip")
    return labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1


def _fitted(targets: Tensor, logits: Tensor) -> Tensor:
    """Whole numbers as int64; masks `[B, 1, H, W]` as `[B, H, W]`, as they are for one logit."""
    if not targets.is_floating_point():
        targets = targets.long()
    has_one = targets.ndim == logits.ndim and targets.shape[1] == 1
    if has_one and logits.shape[1] > 1:
        return targets.squeeze(1)
    is_binary = logits.shape[1] == 1 and targets.ndim == logits.ndim - 1
    return targets.unsqueeze(1) if is_binary else targets


def _check_masks(targets: Tensor, images: Tensor) -> None:
    height, width = images.shape[-2:]
    if targets.ndim < 3 or targets.shape[-2:] != (height, width):
        raise ValueError(
            f"the predictor gives maps, so labels must be masks of {height}x{width}, the size of "
            f"the images as the network sees them, got {list(targets.shape[1:])}: the source "
            "brings images to image_size, and masks do not follow; resize both in the dataset "
            "(masks to the nearest pixel), or give image_size="
        )


def _resized(logits: Tensor, size: torch.Size) -> Tensor:
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
