"""Full fine-tuning: a copy of the backbone and a linear head, trained together on the labels.

The head standardises the features first (by the statistics of the batch, in the test by their
running mean), as the linear probe does: one learning rate then suits networks whose features are of
different size, untrained ones among them.

Learning rate and number of epochs are chosen on images held out of the training part; then a fresh
copy is trained on all of it, and the test images are seen once, by that copy. Test labels are not
looked at here at all.

What it costs: with one choice of three learning rates, as it is by default, at most
`3.4 * max_updates * batch_size` images, forward and backward: 43,500. That is about a minute for a
`NarrowResNet(width=16)` at 32x32 on a CPU core, but an hour for EfficientNet-B0 at 225x225 (12
images/s on two cores): there a GPU, one learning rate, `freeze_until` or a smaller `max_updates`
help.

Shapes: `N` training images, `M` test images, `Y` classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.data.sources import ImageSource, labels_of
from super_selfish.evaluation.features import LabelledSource, extract_features
from super_selfish.evaluation.label_checks import has_label
from super_selfish.evaluation.linear import stratified_split
from super_selfish.evaluation.scoring import no_labels
from super_selfish.models.copying import copy_module
from super_selfish.models.dry_run import feature_shape
from super_selfish.models.freezing import freeze
from super_selfish.supervisors.label import LabelSupervisor
from super_selfish.training.finite import NonFiniteLossError
from super_selfish.training.typed import as_number

VALIDATION = 0.2  # of the training part
MOST_EPOCHS = 50  # ours: small sets are not repeated for ever
# Ours: the backbone's rate goes from 3e-4, for a network that knows much, to 7.5e-3, for one that
# knows nothing and should not lose for want of learning. Measured on 1,000 images of CIFAR-10 (200
# steps, one seed, error about 1 %), after two minutes of RotateNet / untrained: 40 / 38 % with both
# rates 1e-2, 37 / 38 % with 3e-2 and a factor of 0.1 or 0.3, 30 / 28 % with 3e-3 and 0.1.
LRS = (1e-3, 5e-3, 2.5e-2)
BACKBONE_LR_FACTOR = 0.3
MAX_UPDATES = 400


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """What a fine-tuned network says of the test part, and how it was trained.

    Attributes:
        logits: `[M, Y]` float32, on the CPU. Test images that could not be read, and that the
            source was told to skip, are missing, as they are from `extract_features`.
        classes: `[Y]` int64, the label that each column stands for.
        settings: What was chosen and given: "lr" (of the head), "epochs", "backbone_lr_factor", and
            "layer_decay" where layers differ.
        validation: For every (learning rate, epochs) that was tried, the accuracy on the held-out
            images, or for labels `[N, Y]` minus their binary cross-entropy; minus infinity where
            training diverged. Empty if there was no choice.
    """

    logits: Tensor
    classes: Tensor
    settings: dict[str, float]
    validation: dict[tuple[float, int], float] = field(default_factory=dict)


def finetune(
    backbone: nn.Module,
    train: LabelledSource,
    test: LabelledSource,
    *,
    preprocess: nn.Module | None = None,
    lrs: Sequence[float] = LRS,
    epochs: int | Sequence[int] | None = None,
    batch_size: int = 32,
    max_updates: int = MAX_UPDATES,
    backbone_lr_factor: float = BACKBONE_LR_FACTOR,
    layer_decay: float = 1.0,
    freeze_until: str | None = None,
    weight_decay: float = 1e-2,
    augmentation: Augmentation | None = None,
    num_workers: int = 0,
    seed: int = 0,
) -> FinetuneResult:
    """Fine-tunes a copy of a backbone, and asks it about the test images.

    AdamW, warm-up for a tenth of the run, then a cosine down to zero.

    Args:
        backbone: Any module from `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`; left as it is, to
            the last bit.
        train: Labelled images: `[N]` whole numbers, or `[N, Y]` zeros and ones.
        test: Images of the same size and channels.
        preprocess: Applied to images in [0, 1] before the backbone; a copy is frozen.
        lrs: Learning rates of the head to choose from.
        epochs: Passes over the training part, or several numbers to choose from. Left out: as many
            as `max_updates` allows, at most 50.
        batch_size: Images a step.
        max_updates: Most steps of one training. Of a training part with more than
            `max_updates * batch_size` images that many are drawn, for all that is done here.
        backbone_lr_factor: Learning rate of the backbone as a multiple of the head's.
        layer_decay: Learning rate of each layer of the backbone as a multiple of the next one's, in
            (0, 1]; see `super_selfish.models.freezing.parameter_groups`. MAE's 0.75 is
            `layer_decay=0.75, backbone_lr_factor=0.75`.
        freeze_until: Name of the first layer of the backbone that trains; `None` trains all.
        weight_decay: Of AdamW.
        augmentation: Done to the training images. The default is nothing: what may be mirrored,
            cropped or coloured without becoming something else only the user knows (digits may not
            be mirrored, organs have a side, a cell's colour is its diagnosis).
        num_workers: Processes that load images; 0 loads in this one.
        seed: Of the head, the split, the order of the images and the augmentation.

    Returns:
        Logits of the test images, and what was chosen.

    Raises:
        ValueError: If the training part has no labels, a setting makes no sense, there is a choice
            but no class has two images to hold one out, or training diverged with every candidate.
    """
    if max_updates < 1 or batch_size < 1:
        raise ValueError(
            f"max_updates and batch_size must be >= 1, got {max_updates} and {batch_size}"
        )
    backbone_lr_factor = as_number("backbone_lr_factor", backbone_lr_factor)
    layer_decay = as_number("layer_decay", layer_decay)
    indices, targets, classes = _drawn_targets(train, max_updates * batch_size, seed)
    steps = math.ceil(len(indices) / batch_size)
    most = min(MOST_EPOCHS, max(1, max_updates // steps))
    candidates = _candidates(lrs, most if epochs is None else epochs)
    width = feature_shape(backbone, train.images.in_channels, train.images.image_size).dim

    def trained(rows: Tensor, lr: float, epochs: int) -> nn.Module:
        images = train.images.subset(indices[rows].tolist()).with_labels(targets[rows])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            supervisor = LabelSupervisor(
                images,
                copy_module(backbone),
                nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, len(classes))),
                finetune=True,
                freeze_until=freeze_until,
                backbone_lr_factor=backbone_lr_factor,
                layer_decay=layer_decay,
                augmentation=augmentation,
            )
        if preprocess is not None:
            supervisor.model.preprocess = copy_module(preprocess)
            freeze(supervisor.model.preprocess)
        supervisor.to(next(backbone.parameters(), torch.empty(0)).device)
        supervisor.supervise(
            lr=lr,
            optimizer=partial(torch.optim.AdamW, weight_decay=weight_decay),
            epochs=epochs,
            batch_size=batch_size,
            num_workers=num_workers,
            name=None,
            lr_scheduler="cosine",
            seed=seed,
            progress=False,
        )
        network: nn.Module = supervisor.model
        return network

    def logits_of(network: nn.Module, images: ImageSource | LabelledSource) -> tuple[Tensor, ...]:
        logits, labels = extract_features(
            network, images, batch_size=max(batch_size, 128), num_workers=num_workers
        )
        return (logits,) if labels is None else (logits, labels)

    validation: dict[tuple[float, int], float] = {}
    if len(candidates) > 1:
        fitted, held_out = stratified_split(targets, VALIDATION, seed)
        if len(held_out) == 0:
            raise ValueError(
                "no class has two training images, so none can be held out to choose from "
                f"{len(candidates)} settings: give one learning rate and one number of epochs"
            )
        held_images = train.images.subset(indices[held_out].tolist())
        held_images = held_images.with_labels(targets[held_out])
        for lr, count in candidates:
            try:
                network = trained(fitted, lr, count)
                validation[lr, count] = _quality(*logits_of(network, held_images))
            except NonFiniteLossError:
                validation[lr, count] = -math.inf
    # The candidates are in order, and max returns the first of equals: the gentler one.
    chosen = max(candidates, key=lambda candidate: validation.get(candidate, 0.0))
    if validation and validation[chosen] == -math.inf:
        raise ValueError(f"training diverged with every learning rate of {sorted(lrs)}: lower them")
    logits = logits_of(trained(torch.arange(len(indices)), *chosen), test)[0]
    settings = {"lr": chosen[0], "epochs": chosen[1], "backbone_lr_factor": backbone_lr_factor}
    if layer_decay < 1:
        settings["layer_decay"] = layer_decay
    return FinetuneResult(logits, classes, settings, validation)


def _drawn_targets(train: LabelledSource, most: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which images to use, their targets (`[n]` column numbers or `[n, Y]`), and the classes."""
    labels = train.labels
    if labels is None:
        labels = labels_of(train.images, instead="; (images, labels) does without")
    if labels is None:
        raise ValueError(no_labels("train"))
    if labels.dim() > 2 or (labels.dim() == 1 and labels.is_floating_point()):
        raise ValueError(
            "labels must be [N] whole numbers, or [N, Y] zeros and ones, "
            f"got {labels.dtype} {list(labels.shape)}"
        )
    indices = torch.arange(len(labels))
    indices = indices[has_label(labels)]  # -1 also if an image cannot be read
    if labels.dim() == 2:
        classes, targets = torch.arange(labels.shape[1]), labels.long()
    else:
        classes, targets = labels[indices].unique(return_inverse=True)
    if len(indices) > most:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(indices), generator=generator)[:most].sort().values
        indices, targets = indices[drawn], targets[drawn]
    return indices, targets, classes


def _candidates(lrs: Sequence[float], epochs: int | Sequence[int]) -> list[tuple[float, int]]:
    counts = [epochs] if isinstance(epochs, int) else list(epochs)
    if not lrs or not all(lr > 0 for lr in lrs):
        raise ValueError(f"lrs must be numbers > 0, got {lrs}")
    if not counts or not all(count >= 1 for count in counts):
        raise ValueError(f"epochs must be >= 1, got {epochs}")
    return list(product(sorted(set(map(float, lrs))), sorted(set(counts))))


def _quality(logits: Tensor, targets: Tensor) -> float:
    if targets.dim() == 1:
        return (logits.argmax(dim=1) == targets).double().mean().item()
    return -F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype)).item()
