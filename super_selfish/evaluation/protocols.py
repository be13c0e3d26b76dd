"""The protocols by name: each is a function from a `Subject` to a `Score`."""

from __future__ import annotations

from collections.abc import Callable

from super_selfish.evaluation.knn import default_neighbours, knn_accuracy
from super_selfish.evaluation.linear import linear_probe
from super_selfish.evaluation.subject import Score, Subject


def rate_knn(subject: Subject) -> Score:
    """Weighted k-nearest neighbours on the features, see `knn_accuracy`."""
    features, labels = subject.train_features
    k = default_neighbours(len(labels), len(labels.unique()))
    return Score(knn_accuracy(features, labels, *subject.test_features, k=k), {"k": k})


def rate_linear(subject: Subject) -> Score:
    """Linear probe on the features, see `linear_probe`."""
    probe = linear_probe(*subject.train_features, *subject.test_features, seed=subject.seed)
    return Score(probe.accuracy, {"regularization": probe.regularization})


PROTOCOLS: dict[str, Callable[[Subject], Score]] = {
    "knn": rate_knn,
    "linear": rate_linear,
}
