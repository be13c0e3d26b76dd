"""How right predictions are: pure functions of scores and labels.

Every figure is defined for every input: what cannot be said of some class is not part of the mean,
and what cannot be said at all is refused.

Shapes: `M` test rows, `Y` classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

TOP = 5  # of fewer than six classes, five guesses are always right


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of predictions `[M]` that are the label `[M]`, in [0, 1]."""
    _check_rows(predictions, labels, dimensions=1)
    return (predictions == labels).double().mean().item()


def balanced_accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Accuracy of each class among the labels, averaged: rare classes count like frequent ones.

    Args:
        predictions: `[M]` class numbers.
        labels: `[M]`. A class that is only ever predicted is not part of the mean.

    Returns:
        The mean recall, in [0, 1].
    """
    _check_rows(predictions, labels, dimensions=1)
    classes, targets = labels.unique(return_inverse=True)  # [Y], [M]
    hits = targets[predictions == labels].bincount(minlength=len(classes))
    return (hits.double() / targets.bincount()).mean().item()


def top_k_accuracy(scores: Tensor, classes: Tensor, labels: Tensor, k: int = TOP) -> float:
    """Share of rows whose class is among the `k` with the largest scores.

    Equal scores are in no order; a class that ties for the last places counts by the share of
    orders in which it has one. So a constant score has the accuracy of guessing.

    Args:
        scores: `[M, Y]`.
        classes: `[Y]`, the class of every column.
        labels: `[M]`; a class that has no column counts as wrong.
        k: Guesses, >= 1.

    Returns:
        The share, in [0, 1].
    """
    return top_k_places(scores, classes, labels, k).mean().item()


def top_k_places(scores: Tensor, classes: Tensor, labels: Tensor, k: int = TOP) -> Tensor:
    """What each row counts for in `top_k_accuracy`: `[M]` float64 in [0, 1]."""
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    if scores.shape != (len(labels), len(classes)):
        raise ValueError(
            f"scores must be [{len(labels)}, {len(classes)}], got {list(scores.shape)}"
        )
    is_label = labels[:, None] == classes  # [M, Y]
    own = scores.masked_fill(~is_label, -torch.inf).amax(dim=1, keepdim=True)  # [M, 1]
    better = (scores > own).sum(dim=1)  # [M]
    equal = (scores == own).sum(dim=1)  # [M], itself among them
    places = ((k - better).double() / equal.clamp(min=1)).clamp(0, 1)
    return places * is_label.any(dim=1)


def confusion_matrix(predictions: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Counts what is taken for what.

    Args:
        predictions: `[M]`.
        labels: `[M]`.
        classes: `[Y]`, ascending, with every value of both.

    Returns:
        `[Y, Y]` int64 on the CPU: rows are the labels, columns the predictions.
    """
    _check_rows(predictions, labels, dimensions=1)
    total = len(classes)
    cells = torch.searchsorted(classes, labels) * total + torch.searchsorted(classes, predictions)
    return cells.bincount(minlength=total * total).view(total, total).cpu()


def pixel_accuracy(confusion: Tensor) -> float:
    """Share of pixels that are given their class, in [0, 1].

    Args:
        confusion: `[Y, Y]` counts, rows are the labels, columns the predictions.
    """
    return (confusion.diagonal().sum().double() / confusion.sum()).item()


def class_ious(confusion: Tensor) -> Tensor:
    """Intersection over union of each class, over all pixels of a data set together.

    IoU_c = n_cc / (sum_j n_cj + sum_i n_ic - n_cc), with n_ij pixels of class i taken for j (Long,
    Shelhamer and Darrell, 2015).

    Args:
        confusion: `[Y, Y]` counts, rows are the labels, columns the predictions.

    Returns:
        `[Y]` float64 in [0, 1]; NaN for a class that no label is.
    """
    counts = confusion.double()
    hits, true, found = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    return torch.where(true > 0, hits / (true + found - hits), torch.nan)


def mean_iou(confusion: Tensor) -> float:
    """Mean of `class_ious`, in [0, 1].

    A class that is only ever predicted is not part of the mean: so all networks are judged by the
    same classes. Its pixels are missed by the class that they are.

    Args:
        confusion: As for `class_ious`.
    """
    return class_ious(confusion).nanmean().item()


def average_precision(scores: Tensor, is_positive: Tensor) -> float:
    """Area under the steps of precision over recall, of one class.

    AP = sum over thresholds n of (R_n - R_{n-1}) P_n; rows of equal score share a threshold.

    Args:
        scores: `[M]`, larger means positive.
        is_positive: `[M]`, 0 or 1; at least one is positive.

    Returns:
        The average precision, in (0, 1].

    Raises:
        ValueError: If no row is positive.
    """
    _check_rows(scores, is_positive, dimensions=1)
    positives = int((is_positive != 0).sum())
    if positives == 0:
        raise ValueError("average precision needs at least one positive row, got none")
    ordered, order = scores.sort(descending=True)
    found = (is_positive[order] != 0).double().cumsum(0)  # [M]
    is_last = torch.ones_like(ordered, dtype=torch.bool)  # of its threshold
    is_last[:-1] = ordered[1:] != ordered[:-1]
    found, rows = found[is_last], is_last.nonzero().flatten() + 1
    gained = found.diff(prepend=found.new_zeros(1))
    return ((gained / positives) * (found / rows)).sum().item()


def mean_average_precision(scores: Tensor, labels: Tensor) -> float:
    """Average precision of each class, averaged.

    Args:
        scores: `[M, Y]`.
        labels: `[M, Y]`, 0 or 1. A class without a positive row is not part of the mean.

    Returns:
        The mean average precision, in (0, 1].

    Raises:
        ValueError: If shapes do not fit, or no row is positive.
    """
    _check_rows(scores, labels, dimensions=2)
    known = labels.any(dim=0).nonzero().flatten().tolist()
    if not known:
        raise ValueError("mean average precision needs at least one positive label, got none")
    return sum(average_precision(scores[:, y], labels[:, y]) for y in known) / len(known)


def chance_level(labels: Tensor, classes: int | None = None) -> float:
    """What guessing reaches, in [0, 1].

    Args:
        labels: `[M]` class numbers, or `[M, Y]` zeros and ones.
        classes: Among so many a guess chooses; default: those that the labels have.

    Returns:
        Of `[M]`, one by the number of classes. Of `[M, Y]`, the mean average precision of one score
        for all rows: the mean share of positives over the classes that have any.
    """
    if labels.dim() == 1:
        return 1 / (len(labels.unique()) if classes is None else classes)
    return mean_average_precision(torch.zeros_like(labels, dtype=torch.float32), labels)


def chance_iou(train_counts: Tensor, counts: Tensor) -> float:
    """Mean IoU of naming classes of the training part at random, each as often.

    Of a class that f of the pixels are, and a guess among K, the intersection is f / K and the
    union f + 1 / K - f / K.

    Args:
        train_counts: `[Y]` pixels of each class in the training part.
        counts: `[Y]` those of the test part.
    """
    shares = counts.double() / counts.sum()
    guess = (train_counts > 0).double() / (train_counts > 0).sum()
    ious = shares * guess / (shares + guess - shares * guess)
    return ious[counts > 0].mean().item()


def commonest_iou(train_counts: Tensor, counts: Tensor) -> float:
    """Mean IoU of naming the training part's most frequent class at every pixel.

    Args:
        train_counts: As for `chance_iou`.
        counts: As for `chance_iou`.
    """
    share = counts[train_counts.argmax()].double() / counts.sum()
    return (share / (counts > 0).sum()).item()


def commonest_level(train_labels: Tensor, labels: Tensor) -> float:
    """Accuracy of naming the training part's most frequent class whatever is shown, in [0, 1].

    Args:
        train_labels: `[N]` class numbers.
        labels: `[M]` class numbers of the test part.
    """
    classes, counts = train_labels.unique(return_counts=True)
    return (labels == classes[counts.argmax()]).double().mean().item()


def _check_rows(predictions: Tensor, labels: Tensor, dimensions: int) -> None:
    """Refuses shapes that differ, that are not of so many dimensions, or that are empty."""
    if predictions.shape != labels.shape or labels.dim() != dimensions or labels.numel() == 0:
        expected = "[M]" if dimensions == 1 else "[M, Y]"
        raise ValueError(
            f"expected predictions and labels {expected} of one shape and at least one row, "
            f"got {list(predictions.shape)} and {list(labels.shape)}"
        )
