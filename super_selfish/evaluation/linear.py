"""Linear probe: a linear classifier on the frozen, standardised features of a backbone.

The published probes train the same layer by stochastic gradient descent, with learning rates that
differ by three orders of magnitude between papers. On cached features the problem is convex, so it
is solved instead (`logistic.py`), and one hyperparameter is left, the strength of the L2 penalty,
that is chosen on rows held out of the training part. Test labels are read once, for the accuracy.

Shapes: `N` training rows, `M` test rows, `D` features, `Y` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from super_selfish.evaluation.features import check_parts
from super_selfish.evaluation.logistic import (
    LinearClassifier,
    LogisticRegression,
    fit_standardisation,
)


@dataclass(frozen=True)
class LinearProbe:
    """What a linear probe found.

    Attributes:
        accuracy: On the test part, in [0, 1].
        regularization: The strength that was chosen.
        validation_accuracies: Accuracy on the held-out rows for every strength that was tried, in
            [0, 1]; empty if there was no choice.
    """

    accuracy: float
    regularization: float
    validation_accuracies: dict[float, float]


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    # ours: from next to a nearest-mean classifier to next to no penalty, in whole decades
    regularizations: Sequence[float] = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    validation: float = 0.2,
    seed: int = 0,
) -> LinearProbe:
    """Fits a linear classifier to the training part and tests it on the test part.

    Features are standardised with the statistics of the training part. The strength with the best
    accuracy on held-out training rows wins, the stronger one if two are equal; the classifier is
    then fitted again to the whole training part.

    Args:
        train_features: `[N, D]`.
        train_labels: `[N]`, any integers.
        test_features: `[M, D]`.
        test_labels: `[M]`; a class that training does not know counts as wrong.
        regularizations: Strengths to choose from, as in `LogisticRegression.fit`.
        validation: Share of the training rows, class by class, that the choice is made on.
        seed: Of that split.

    Returns:
        Accuracy, the strength chosen, and what it was chosen by.

    Raises:
        ValueError: If shapes do not fit, features are not finite, a strength is not > 0,
            `validation` is not in (0, 1), or there are several strengths and no class has two rows.
        TypeError: If labels are not integers.
    """
    check_parts(train_features, train_labels, test_features, test_labels)
    if not regularizations or not all(strength > 0 for strength in regularizations):
        raise ValueError(f"regularizations must be numbers > 0, got {regularizations}")
    if not 0.0 < validation < 1.0:
        raise ValueError(f"validation is a share in (0, 1), got {validation}")
    device = train_features.device
    classes, targets = train_labels.to(device).unique(return_inverse=True)  # [Y], [N]
    standardise = fit_standardisation(train_features)
    features = standardise(train_features)  # [N, D]

    strengths = sorted({float(strength) for strength in regularizations}, reverse=True)
    chosen, initial, accuracies = strengths[0], None, {}
    if len(strengths) > 1:
        fitted, held_out = stratified_split(targets, validation, seed)
        if len(held_out) == 0:
            raise ValueError(
                "no class has two training rows, so none can be held out to choose from "
                f"{len(strengths)} regularizations: give one"
            )
        path = _regularization_path(
            LogisticRegression(features[fitted], targets[fitted], len(classes)), strengths
        )
        accuracies = {
            strength: _accuracy(classifier, features[held_out], targets[held_out])
            for strength, classifier in path.items()
        }
        # The path runs from strong to weak, and max returns the first of equals.
        chosen = max(accuracies, key=lambda strength: accuracies[strength])
        initial = path[chosen]

    classifier = LogisticRegression(features, targets, len(classes)).fit(chosen, initial=initial)
    logits = classifier(standardise(test_features.to(device)))  # [M, Y]
    hits = classes[logits.argmax(dim=1)] == test_labels.to(device)
    return LinearProbe(hits.double().mean().item(), chosen, accuracies)


def stratified_split(labels: Tensor, validation: float, seed: int) -> tuple[Tensor, Tensor]:
    """Holds the same share of every class out.

    Args:
        labels: `[N]` integers.
        validation: Share to hold out, in (0, 1). A class of at least two rows gives at least one
            and keeps at least one; a class of one row keeps it.
        seed: Of the draw.

    Returns:
        Indices of the rows to fit and of those held out, both sorted, on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = labels.cpu()
    is_held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        count = min(max(1, round(validation * len(members))), len(members) - 1)
        is_held_out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~is_held_out).nonzero().flatten(), is_held_out.nonzero().flatten()


def _regularization_path(
    problem: LogisticRegression, strengths: Sequence[float]
) -> dict[float, LinearClassifier]:
    """Classifiers from the strongest to the weakest penalty, each starting where the last ended."""
    path: dict[float, LinearClassifier] = {}
    classifier = None
    for strength in strengths:
        path[strength] = classifier = problem.fit(strength, initial=classifier)
    return path


def _accuracy(classifier: LinearClassifier, features: Tensor, targets: Tensor) -> float:
    """Share of rows whose largest logit is the target's."""
    return (classifier(features).argmax(dim=1) == targets).double().mean().item()
