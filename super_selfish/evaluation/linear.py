"""Linear probe: a linear classifier on the frozen, standardised features of a backbone.

The published probes train the same layer by stochastic gradient descent, with learning rates that
differ by three orders of magnitude between papers. On cached features the problem is convex, so it
is solved instead (`logistic.py`), and one hyperparameter is left, the strength of the L2 penalty,
that is chosen on rows held out of the training part. Test labels are read once, for the accuracy.

Labels are `[N]` class numbers, or `[N, Y]` zeros and ones, of which an image may have several;
these are fitted by a logistic regression for each class, and judged by mean average precision.

Shapes: `N` training rows, `M` test rows, `D` features, `Y` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from super_selfish.evaluation.label_checks import (
    check_labelled,
    check_parts,
    is_multilabel,
    labelled_part,
)
from super_selfish.evaluation.logistic import (
    LinearClassifier,
    LogisticRegression,
    Standardisation,
    fit_standardisation,
)
from super_selfish.evaluation.metrics import accuracy, mean_average_precision

# ours: from next to a nearest-mean classifier to next to no penalty, in whole decades
REGULARIZATIONS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


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


@dataclass(frozen=True, eq=False)
class FittedProbe:
    """A linear classifier of features, ready to be tested.

    Attributes:
        classes: `[Y]` int64, the class of every column of the scores: values of labels `[N]`, or
            numbers of the columns of labels `[N, Y]`.
        regularization: The strength that was chosen.
        validation: What it was chosen by, for every strength: accuracy on the held-out rows, or
            mean average precision for labels `[N, Y]`; empty if there was no choice.
        standardise: Applied to the features first.
        classifier: Applied then.
    """

    classes: Tensor
    regularization: float
    validation: dict[float, float]
    standardise: Standardisation
    classifier: LinearClassifier

    def __call__(self, features: Tensor) -> Tensor:
        """Logits `[M, Y]` of features `[M, D]`."""
        return self.classifier(self.standardise(features))


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    regularizations: Sequence[float] = REGULARIZATIONS,
    validation: float = 0.2,
    seed: int = 0,
) -> LinearProbe:
    """Fits a linear classifier to the training part and tests it on the test part.

    Args:
        train_features: `[N, D]`.
        train_labels: `[N]`, any integers, -1 for none.
        test_features: `[M, D]`.
        test_labels: `[M]`, -1 for none; a class that training does not know counts as wrong.
        regularizations: As for `fit_linear_probe`.
        validation: As for `fit_linear_probe`.
        seed: As for `fit_linear_probe`.

    Returns:
        Accuracy, the strength chosen, and what it was chosen by.

    Raises:
        ValueError: As `fit_linear_probe`, or if the parts do not fit each other.
        TypeError: If labels are not integers.
    """
    check_parts(train_features, train_labels, test_features, test_labels)
    test_features, test_labels = labelled_part(test_features, test_labels, "test")
    probe = fit_linear_probe(
        train_features,
        train_labels,
        regularizations=regularizations,
        validation=validation,
        seed=seed,
    )
    logits = probe(test_features.to(train_features.device))  # [M, Y]
    predictions = probe.classes[logits.argmax(dim=1)]
    return LinearProbe(
        accuracy(predictions, test_labels.to(predictions.device)),
        probe.regularization,
        probe.validation,
    )


def fit_linear_probe(
    features: Tensor,
    labels: Tensor,
    *,
    regularizations: Sequence[float] = REGULARIZATIONS,
    validation: float = 0.2,
    seed: int = 0,
    fallback: float | None = None,
    standardise: Standardisation | None = None,
) -> FittedProbe:
    """Fits a linear classifier to a training part.

    The strength with the best accuracy (of labels `[N, Y]`: mean average precision) on held-out
    rows wins, the stronger one if two are equal; the classifier is then fitted again to all rows.

    Args:
        features: `[N, D]`.
        labels: `[N]`, any integers, -1 for none, or `[N, Y]` zeros and ones.
        regularizations: Strengths to choose from, as in `LogisticRegression.fit`.
        validation: Share of the rows that the choice is made on, as in `stratified_split`.
        seed: Of that split.
        fallback: The strength where no choice can be made, because no class has two rows, or no
            held-out row has any class; `None` refuses such labels.
        standardise: Of the features; `None` learns mean and standard deviation from these rows.

    Returns:
        The classifier.

    Raises:
        ValueError: If shapes do not fit, features are not finite, a strength is not > 0,
            `validation` is not in (0, 1), or there is a choice but no row to make it on.
        TypeError: If labels are not integers.
    """
    check_labelled(features, labels, "train", allow_multilabel=True)
    if not regularizations or not all(strength > 0 for strength in regularizations):
        raise ValueError(f"regularizations must be numbers > 0, got {regularizations}")
    if not 0.0 < validation < 1.0:
        raise ValueError(f"validation is a share in (0, 1), got {validation}")
    features, labels = labelled_part(features, labels.to(features.device), "train")
    if is_multilabel(labels):
        classes, targets = torch.arange(labels.shape[1], device=labels.device), labels  # [N, Y]
    else:
        classes, targets = labels.unique(return_inverse=True)  # [Y], [N]
    standardise = standardise or fit_standardisation(features)
    features = standardise(features)  # [N, D]

    strengths = sorted({float(strength) for strength in regularizations}, reverse=True)
    chosen, initial, figures = strengths[0], None, {}
    if len(strengths) > 1:
        fitted, held_out = stratified_split(targets, validation, seed)
        if len(held_out) > 0 and (targets.dim() == 1 or targets[held_out].any()):
            path = regularization_path(
                LogisticRegression(features[fitted], targets[fitted], len(classes)), strengths
            )
            figures = {
                strength: _figure(classifier(features[held_out]), targets[held_out])
                for strength, classifier in path.items()
            }
            # The path runs from strong to weak, and max returns the first of equals.
            chosen = max(figures, key=lambda strength: figures[strength])
            initial = path[chosen]
        elif fallback is not None:
            chosen = fallback
        else:
            raise ValueError(
                "no class has two training rows, so none can be held out to choose from "
                f"{len(strengths)} regularizations: give one"
            )
    classifier = LogisticRegression(features, targets, len(classes)).fit(chosen, initial=initial)
    return FittedProbe(classes, chosen, figures, standardise, classifier)


def stratified_split(labels: Tensor, validation: float, seed: int) -> tuple[Tensor, Tensor]:
    """Holds the same share of every class out.

    Args:
        labels: `[N]` integers; or `[N, Y]` zeros and ones, of which rows are simply drawn: no
            split has the same share of every class and of every pair of them.
        validation: Share to hold out, in (0, 1). A class (or all rows together) of at least two
            rows gives at least one and keeps at least one; a class of one row keeps it.
        seed: Of the draw.

    Returns:
        Indices of the rows to fit and of those held out, both sorted, on the CPU.
    """
    if is_multilabel(labels):
        labels = labels.new_zeros(len(labels))
    generator = torch.Generator().manual_seed(seed)
    labels = labels.cpu()
    is_held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        count = min(max(1, round(validation * len(members))), len(members) - 1)
        is_held_out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~is_held_out).nonzero().flatten(), is_held_out.nonzero().flatten()


def regularization_path(
    problem: LogisticRegression, strengths: Sequence[float]
) -> dict[float, LinearClassifier]:
    """Classifiers from the strongest to the weakest penalty, each starting where the last ended."""
    path: dict[float, LinearClassifier] = {}
    classifier = None
    for strength in strengths:
        path[strength] = classifier = problem.fit(strength, initial=classifier)
    return path


def _figure(logits: Tensor, targets: Tensor) -> float:
    """Accuracy, or mean average precision of targets `[N, Y]`."""
    if targets.dim() == 1:
        return accuracy(logits.argmax(dim=1), targets)
    return mean_average_precision(logits, targets)
