"""The images that a report looks at, and what the backbone makes of them.

Shapes: `N` images, `D` features, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from super_selfish.augmentations.recipes import mild_views
from super_selfish.data.conversion import stack_images
from super_selfish.data.opening import as_source
from super_selfish.data.sources import ImageSource, Sample
from super_selfish.evaluation.features import LabelledSource
from super_selfish.evaluation.health.health import (
    Health,
    extract_with_views,
    health_of_features,
)
from super_selfish.evaluation.health.twin import TwinMeasures, settling
from super_selfish.evaluation.health.verdict import judge_images
from super_selfish.supervisors.base import Supervisor

_BATCH = 64  # images a pass


@dataclass(frozen=True)
class Look:
    """Some images of a dataset, spread over it, with their features.

    Attributes:
        images: `[N, C, H, W]`; what could not be read is missing.
        features: `[N, D]` float32, on the CPU.
        health: Of these features; `None` if there is one image only.
        labels: `[N]` int64, or `None` where an image has no single class.
        classes: Names of the classes, where they are known.
        total: Images of the whole dataset.
    """

    images: Tensor
    features: Tensor
    health: Health | None
    labels: Tensor | None
    classes: list[str] | None
    total: int


def look_at(supervisor: Supervisor, source: ImageSource, most: int) -> Look | None:
    """Reads images, each once, and computes their features.

    Args:
        supervisor: Has the backbone.
        source: Where from.
        most: Images at most.

    Returns:
        The images that can be read; `None` if none can.
    """
    there = source.at_hand  # of a stream the first images
    total = source.num_images or there
    chosen = torch.linspace(0, there - 1, min(most, there)).round().long().tolist()
    samples = [sample for index in chosen if isinstance(sample := source[index], Sample)]
    if not samples:
        return None
    images = stack_images([sample.image for sample in samples])
    readable = as_source(images, supervisor.image_size, supervisor.in_channels)
    backbone, shown = supervisor.get_backbone(), LabelledSource(readable, None)
    seen = extract_with_views(
        backbone,
        shown,
        mild_views(supervisor.image_size),
        batch_size=_BATCH,
        preprocess=supervisor.preprocess,
    )
    features, health = seen.features, None
    if len(images) > 1:
        health = health_of_features(
            features,
            seen.first,
            seen.second,
            blameless=judge_images(seen.brightest, seen.deviation),
            unsettled=settling(backbone),
            untrained=TwinMeasures(backbone, shown, supervisor.preprocess, batch_size=_BATCH),
            advice=supervisor.against_collapse,
        )
    labels = [sample.label for sample in samples]
    classes = source.classes
    known = _as_classes(labels)
    if known is not None and classes is not None and int(known.max()) >= len(classes):
        classes = None  # labels that were remapped: their numbers are all that is known
    return Look(images, features, health, known, classes, total)


@contextmanager
def showing(supervisor: Supervisor, source: ImageSource | None) -> Iterator[None]:
    """Lends images to a supervisor that has none, for a while."""
    own = supervisor.source
    supervisor.source = source if own is None else own
    try:
        yield
    finally:
        supervisor.source = own


def _as_classes(labels: list[Tensor | None]) -> Tensor | None:
    """Labels `[N]` if every image has one class, from 0 on."""
    known = [label for label in labels if label is not None]
    if len(known) < len(labels) or any(
        label.numel() != 1 or label.is_floating_point() or int(label) < 0 for label in known
    ):
        return None
    return torch.stack([label.reshape(()) for label in known]).long()
