"""How much a figure hangs on each test image: what intervals are made of.

A figure of test images is a function of how often each is counted, its weight, which is 1. Its
influences are the derivatives by these weights, times the number of images M:

    I_i = M * d figure / d weight_i,        with mean 0 over i.

On other images of the same kind the figure has about the variance mean(I ** 2) / M, the
infinitesimal jackknife (Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", 1982,
chapter 6): what a bootstrap over the images tends to, without its draws. Of two networks that were
shown the same images the difference has the influences I - J, so what both find hard cancels out.

Shapes: `M` test images, `Y` classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def share_influences(counted: Tensor) -> Tensor:
    """Of a mean over images, such as accuracy.

    Args:
        counted: `[M]` what each image counts for, such as 1 if it is right and 0 else.

    Returns:
        `[M]` float64.
    """
    counted = counted.double()
    return counted - counted.mean()


def balanced_accuracy_influences(predictions: Tensor, labels: Tensor) -> Tensor:
    """Of the accuracy of each class, averaged over those that are among the labels.

    The classes are strata, as surveys call them: of n images the variance of a class is estimated
    with n - 1, by a factor sqrt(n / (n - 1)) on its influences. One image shows no variance, so
    it is compared with the accuracy of all instead of that of its class.

    Args:
        predictions: `[M]` class numbers.
        labels: `[M]`.

    Returns:
        `[M]` float64.
    """
    _, targets = labels.unique(return_inverse=True)  # [M]
    is_right = (predictions == labels).double()
    counts = targets.bincount().double()  # [Y]
    recalls = targets.bincount(weights=is_right) / counts  # [Y]
    is_alone = counts == 1
    centers = torch.where(is_alone, is_right.mean(), recalls)
    factors = torch.where(is_alone, 1.0, (counts / (counts - 1).clamp(min=1)).sqrt()) / counts
    return len(labels) / len(counts) * (is_right - centers[targets]) * factors[targets]


def average_precision_influences(scores: Tensor, is_positive: Tensor) -> Tensor:
    """Of the average precision of one class, with P_i the precision at the threshold of row i.

    With weights, AP = sum over positives j of w_j P_j, by their weight. A row moves it in two ways:
    as a positive of its own, and as one that is in front of others, whose precision it changes by
    (y_i - P_j) / rows_j.

    Args:
        scores: `[M]`, larger means positive.
        is_positive: `[M]`, 0 or 1; at least one is positive.

    Returns:
        `[M]` float64.
    """
    ordered, order = scores.sort(descending=True)
    positive = (is_positive[order] != 0).double()  # [M], in this order
    _, group, sizes = ordered.unique_consecutive(return_inverse=True, return_counts=True)
    rows = sizes.cumsum(0)[group].double()  # [M], in front or equal
    precision = positive.cumsum(0)[sizes.cumsum(0) - 1][group] / rows  # [M]
    total = positive.sum()
    # Sums over the positives from the first row of the own threshold to the last of all.
    first = (sizes.cumsum(0) - sizes)[group]
    shares, losses = (_sums_to_the_end(positive * x / rows)[first] for x in (1.0, precision))
    average = (positive * precision).sum() / total
    found = positive * (precision - average) + positive * shares - losses
    return torch.empty_like(found).scatter_(0, order, found * len(scores) / total)


def mean_average_precision_influences(scores: Tensor, labels: Tensor) -> Tensor:
    """Of the average precision of each class, averaged over those with a positive row.

    Args:
        scores: `[M, Y]`.
        labels: `[M, Y]`, 0 or 1; at least one is positive.

    Returns:
        `[M]` float64.
    """
    known = labels.any(dim=0).nonzero().flatten().tolist()
    each = [average_precision_influences(scores[:, y], labels[:, y]) for y in known]
    return torch.stack(each).mean(dim=0)


def mean_iou_influences(hits: Tensor, unions: Tensor, is_true: Tensor) -> Tensor:
    """Of the intersection over union of each class, averaged over those that masks have.

    Args:
        hits: `[M, Y]` pixels of each image that are of a class and are given it.
        unions: `[M, Y]` pixels that are of the class or are given it.
        is_true: `[Y]` whether any pixel of all images is of the class.

    Returns:
        `[M]` float64.
    """
    hits, unions = hits[:, is_true].double(), unions[:, is_true].double()
    either = unions.sum(dim=0)  # [Y]
    ious = hits.sum(dim=0) / either
    return len(hits) * ((hits - ious * unions) / either).mean(dim=1)


def ratio_influences(parts: Tensor, wholes: Tensor) -> Tensor:
    """Of the sum of parts by the sum of wholes, such as right pixels by all pixels.

    Args:
        parts: `[M]` of each image.
        wholes: `[M]` of each image.

    Returns:
        `[M]` float64.
    """
    parts, wholes = parts.double(), wholes.double()
    return len(parts) * (parts - parts.sum() / wholes.sum() * wholes) / wholes.sum()


def _sums_to_the_end(values: Tensor) -> Tensor:
    """At each place the sum of what stands there and behind, `[M]`."""
    return values.flip(0).cumsum(0).flip(0)
