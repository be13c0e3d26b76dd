"""Labels of images: one class each, or several.

A label is one integer, the class of the image, or a row of zeros and ones, one for each of `Y`
classes, of which an image may have several (a multi-label set). An integer of -1 is no class: it
says that the image has no label, so that the image does not count in a rating.

Shapes: `N` images, `D` features, `Y` classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from super_selfish.data.samples import SKIPPED_LABEL
from super_selfish.training.counting import plural
from super_selfish.training.distributed import rank
from super_selfish.training.telling import warn


def is_multilabel(labels: Tensor) -> bool:
    """Whether labels are `[N, Y]` zeros and ones, rather than `[N]` class numbers."""
    return labels.dim() == 2


def count_classes(labels: Tensor) -> int:
    """Number of classes: values of labels `[N]`, columns of labels `[N, Y]`."""
    return labels.shape[1] if is_multilabel(labels) else len(labels.unique())


def has_label(labels: Tensor) -> Tensor:
    """Which of labels `[N]` are one, as bool `[N]`; of labels `[N, Y]` all."""
    if is_multilabel(labels):
        return torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    return labels != SKIPPED_LABEL


def labelled_rows(labels: Tensor, part: str) -> Tensor:
    """Positions of the images that have a label; warns if others have none.

    Args:
        labels: `[N]` or `[N, Y]`.
        part: "train" or "test", for the message.

    Raises:
        ValueError: If none has one.
    """
    rows = has_label(labels).nonzero().flatten()
    missing, images = len(labels) - len(rows), plural(len(labels), f"{part} image")
    if len(rows) == 0:
        raise ValueError(
            f"all labels of {images} are {SKIPPED_LABEL}, which means that an image has none: "
            "number the classes from 0"
        )
    if missing and rank() == 0:
        verbs = ("has", "is") if missing == 1 else ("have", "are")
        warn(
            f"{missing:,} of {images} {verbs[0]} no label ({SKIPPED_LABEL}) and {verbs[1]} left out"
        )
    return rows


def labelled_part(features: Tensor, labels: Tensor, part: str) -> tuple[Tensor, Tensor]:
    """Features `[N, D]` and labels of the images that have a label; warns as `labelled_rows`."""
    rows = labelled_rows(labels, part)
    if len(rows) == len(labels):  # no copy of them all
        return features, labels
    return features[rows.to(features.device)], labels[rows]


def check_several_classes(labels: Tensor) -> None:
    """Refuses training labels `[N]` that are all the same.

    Raises:
        ValueError: If they are.
    """
    if is_multilabel(labels) or len(labels) == 0 or bool((labels != labels[0]).any()):
        return
    raise ValueError(
        f"all labels of {plural(len(labels), 'train image')} are {int(labels[0])}, so there is "
        f"nothing to tell apart: give images of two classes or more, numbered from 0 "
        f"({SKIPPED_LABEL} is no class)"
    )


def check_labelled(
    features: Tensor, labels: Tensor, part: str, *, allow_multilabel: bool = False
) -> None:
    """Refuses anything but finite features `[N, D]` with integer labels `[N]`.

    Args:
        features: To check.
        labels: To check.
        part: "train" or "test", for the message.
        allow_multilabel: Whether labels may be `[N, Y]` zeros and ones, too.

    Raises:
        ValueError: If shapes do not fit, there are no rows, or a feature is not finite.
        TypeError: If labels are not integers.
    """
    if features.dim() != 2 or len(features) == 0:
        raise ValueError(
            f"{part} features must be [N, D] with N >= 1, got {list(features.shape)}: "
            "flatten or pool them first"
        )
    dimensions = (1, 2) if allow_multilabel else (1,)
    if labels.shape[:1] != features.shape[:1] or labels.dim() not in dimensions:
        several = f" or [{len(features)}, Y]" if allow_multilabel else ""
        raise ValueError(
            f"{part} labels must be [{len(features)}]{several}, one a row of the features, "
            f"got {list(labels.shape)}"
        )
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"{part} labels must be integers (class numbers), got {labels.dtype}")
    if is_multilabel(labels) and not _is_binary(labels):
        raise ValueError(f"{part} labels [N, Y] must be 0 or 1, got others")
    if not torch.isfinite(features).all():
        raise ValueError(f"{part} features must be finite, got NaN or infinity")


def check_parts(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, test_labels: Tensor
) -> None:
    """Checks both parts with `check_labelled`, and that they are of the same width.

    Raises:
        ValueError: As `check_labelled`, or if the widths differ.
        TypeError: As `check_labelled`.
    """
    check_labelled(train_features, train_labels, "train")
    check_labelled(test_features, test_labels, "test")
    if train_features.shape[1] != test_features.shape[1]:
        raise ValueError(
            "train and test features must have the same width, "
            f"got {train_features.shape[1]} and {test_features.shape[1]}"
        )


def as_classes(labels: Tensor) -> Tensor:
    """Labels `[N]` or `[N, Y]` as int64; refuses what is neither classes nor zeros and ones."""
    is_whole = not labels.is_floating_point() and not labels.is_complex()
    if not (is_whole if labels.dim() == 1 else labels.dim() == 2 and _is_binary(labels)):
        raise TypeError(
            "a label must be a single integer (the class), or zeros and ones (one for each class), "
            f"got {labels.dtype} of shape {list(labels.shape[1:])}"
        )
    return labels.to("cpu", torch.int64)


def _is_binary(labels: Tensor) -> bool:
    """Whether there is nothing but zeros and ones."""
    return bool(((labels == 0) | (labels == 1)).all())
