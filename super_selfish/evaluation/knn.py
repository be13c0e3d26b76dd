"""Weighted k-nearest-neighbour classification of features, the monitor that trains nothing.

Every test feature asks its `k` most similar training features (cosine), and each votes for its own
class with weight exp(cosine / temperature). The class with the largest sum wins. Wu, Xiong, Yu and
Lin, "Unsupervised feature learning via non-parametric instance discrimination", 2018,
https://arxiv.org/abs/1805.01978, section 3.4.

Shapes: `N` training rows, `M` test rows, `D` features, `K` neighbours, `Y` classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.evaluation.label_checks import (
    check_labelled,
    check_parts,
    count_classes,
    is_multilabel,
    labelled_part,
)
from super_selfish.training.memory import free_memory

# Bytes of similarities held at once: an eighth of what is free, within bounds. With few rows at a
# time a product reads all keys anew for each handful of queries; beyond a GiB nothing is gained.
_SHARE = 1 / 8
_LEAST, _MOST = 2**26, 2**30


def default_neighbours(samples: int, classes: int) -> int:
    """Number of neighbours for a training part of a given size.

    200, as in the paper, where there is enough: with `n` images a class, more than `n` neighbours
    must bring in foreign ones, so at most half a class is asked (and at least one image). Ten
    classes reach 200 at 4,000 images.

    Args:
        samples: Training rows.
        classes: Classes among them.

    Returns:
        `min(200, samples // (2 * classes))`, at least 1.
    """
    return max(1, min(200, samples // (2 * classes)))


def rows_at_once(samples: int, device: torch.device) -> int:
    """Test rows whose similarities to all training rows are held at once.

    Args:
        samples: Training rows, each of which takes 8 bytes a test row: a similarity, and as much
            for choosing the largest or for the votes of several classes.
        device: Where they are computed.

    Returns:
        At least 1, and as many as fit in an eighth of the free memory, or in 64 MiB if that is
        more; at most 1 GiB.
    """
    free = free_memory(device)
    room = _LEAST if free is None else min(_MOST, max(_LEAST, int(_SHARE * free)))
    return max(1, room // (8 * samples))


class Votes(NamedTuple):
    """What the neighbours say."""

    scores: Tensor  # [M, Y] share of the votes in [0, 1]
    classes: Tensor  # [Y] int64, the class of every column


def knn_scores(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    *,
    k: int | None = None,
    temperature: float = 0.07,  # section 3.4 of the paper, and DINO's evaluation
) -> Votes:
    """Collects the votes of the neighbours of every test feature.

    Args:
        train_features: `[N, D]`; normalised here.
        train_labels: `[N]`, any integers, -1 for none; or `[N, Y]` zeros and ones: each neighbour
            then votes for all of its classes.
        test_features: `[M, D]`; normalised here.
        k: Number of neighbours, at most `N` of which exist; `None` is `default_neighbours`.
        temperature: Of the weights exp(cosine / temperature), > 0.

    Returns:
        The share of the votes for every class, on the device of `test_features`. The classes are
        the values of labels `[N]`, ascending, or the numbers of the columns of labels `[N, Y]`.

    Raises:
        ValueError: If shapes do not fit, features are not finite, `k` < 1 or `temperature` <= 0.
        TypeError: If labels are not integers.
    """
    check_labelled(train_features, train_labels, "train", allow_multilabel=True)
    if test_features.dim() != 2 or test_features.shape[1] != train_features.shape[1]:
        raise ValueError(
            f"test features must be [M, {train_features.shape[1]}], like the train features, "
            f"got {list(test_features.shape)}"
        )
    if k is not None and k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    train_features, train_labels = labelled_part(train_features, train_labels, "train")
    device = test_features.device
    samples, count = len(train_features), count_classes(train_labels)
    k = default_neighbours(samples, count) if k is None else min(k, samples)
    labels = train_labels.to(device)
    if is_multilabel(labels):
        classes, ballots = torch.arange(count, device=device), labels.float()  # [Y], [N, Y]
    else:
        classes, targets = labels.unique(return_inverse=True)  # [Y], [N]
    keys = F.normalize(train_features.to(device).float(), dim=1).T  # [D, N]
    scores = []
    for queries in test_features.split(rows_at_once(samples, device)):
        similarities = F.normalize(queries.float(), dim=1) @ keys  # [B, N]
        nearest = similarities.topk(k, dim=1)  # [B, K], largest first
        # Less the largest, which no comparison of classes sees: nothing overflows.
        votes = ((nearest.values - nearest.values[:, :1]) / temperature).exp()
        votes = votes / votes.sum(dim=1, keepdim=True)
        if is_multilabel(labels):
            weights = torch.zeros_like(similarities).scatter_(1, nearest.indices, votes)  # [B, N]
            scores.append(weights @ ballots)  # [B, Y]
        else:
            empty = votes.new_zeros(len(queries), count)
            scores.append(empty.scatter_add_(1, targets[nearest.indices], votes))  # [B, Y]
    return Votes(torch.cat(scores), classes)


def knn_predict(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    *,
    k: int | None = None,
    temperature: float = 0.07,
) -> Tensor:
    """Predicts a class for every test feature.

    Args:
        train_features: `[N, D]`; normalised here.
        train_labels: `[N]`, any integers, -1 for none.
        test_features: `[M, D]`; normalised here.
        k: Number of neighbours, at most `N` of which exist; `None` is `default_neighbours`.
        temperature: Of the weights exp(cosine / temperature), > 0.

    Returns:
        `[M]` int64, on the device of `test_features`, values of `train_labels`. Of classes with
        equal votes the smallest number wins.

    Raises:
        ValueError: If shapes do not fit, features are not finite, `k` < 1 or `temperature` <= 0.
        TypeError: If labels are not integers.
    """
    check_labelled(train_features, train_labels, "train")
    votes = knn_scores(train_features, train_labels, test_features, k=k, temperature=temperature)
    return votes.classes[votes.scores.argmax(dim=1)].long()


def knn_accuracy(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    k: int | None = None,
    temperature: float = 0.07,
) -> float:
    """Share of test features that `knn_predict` classifies rightly.

    Args:
        train_features: `[N, D]`.
        train_labels: `[N]`, any integers, -1 for none.
        test_features: `[M, D]`.
        test_labels: `[M]`, -1 for none; a class that training does not know counts as wrong.
        k: Number of neighbours, at most `N` of which exist; `None` is `default_neighbours`.
        temperature: Of the weights exp(cosine / temperature), > 0.

    Returns:
        Accuracy, in [0, 1].

    Raises:
        ValueError: If shapes do not fit, features are not finite, `k` < 1 or `temperature` <= 0.
        TypeError: If labels are not integers.
    """
    check_parts(train_features, train_labels, test_features, test_labels)
    test_features, test_labels = labelled_part(test_features, test_labels, "test")
    predictions = knn_predict(
        train_features, train_labels, test_features, k=k, temperature=temperature
    )
    return (predictions == test_labels.to(predictions.device)).double().mean().item()
