from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from super_selfish.evaluation.metrics import (
    accuracy,
    average_precision,
    balanced_accuracy,
    chance_iou,
    chance_level,
    class_ious,
    commonest_iou,
    commonest_level,
    confusion_matrix,
    mean_average_precision,
    mean_iou,
    pixel_accuracy,
    top_k_accuracy,
)
from tests.references import mean_iou_in_loops


def guesses(generator: torch.Generator, samples: int = 300) -> tuple[Tensor, Tensor]:
    """Predictions of seven classes of unequal size, every other one right."""
    labels = (7 * torch.rand(samples, generator=generator).square()).long()
    others = torch.randint(7, (samples,), generator=generator)
    return torch.where(torch.rand(samples, generator=generator) < 0.5, labels, others), labels


def test_agree_with_scikit_learn(generator: torch.Generator) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    predictions, labels = guesses(generator)
    classes = torch.arange(7)
    assert accuracy(predictions, labels) == pytest.approx(
        sklearn.accuracy_score(labels, predictions)
    )
    assert balanced_accuracy(predictions, labels) == pytest.approx(
        sklearn.balanced_accuracy_score(labels, predictions)
    )
    assert (
        confusion_matrix(predictions, labels, classes).tolist()
        == sklearn.confusion_matrix(labels, predictions).tolist()
    )


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_top_k_agrees_with_scikit_learn(generator: torch.Generator, k: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    labels = torch.arange(300) % 8
    scores = torch.randn(300, 8, generator=generator)
    expected = sklearn.top_k_accuracy_score(labels, scores, k=k)
    assert top_k_accuracy(scores, torch.arange(8), labels, k) == pytest.approx(expected)


@pytest.mark.parametrize("levels", [3, 10**6])  # with and without equal scores
def test_average_precision_agrees_with_scikit_learn(
    generator: torch.Generator, levels: int
) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    labels = (torch.rand(200, 4, generator=generator) < 0.2).long()
    scores = (levels * torch.rand(200, 4, generator=generator)).floor()
    for column in range(4):
        assert average_precision(scores[:, column], labels[:, column]) == pytest.approx(
            sklearn.average_precision_score(labels[:, column], scores[:, column])
        )
    assert mean_average_precision(scores, labels) == pytest.approx(
        sklearn.average_precision_score(labels, scores, average="macro")
    )


def test_average_precision_by_hand() -> None:
    scores = torch.tensor([0.9, 0.8, 0.7, 0.1])
    assert average_precision(scores, torch.tensor([1, 0, 1, 0])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, torch.tensor([1, 1, 0, 0])) == 1.0
    assert average_precision(torch.zeros(4), torch.tensor([1, 0, 0, 0])) == 0.25


def test_a_class_without_a_positive_row_is_not_part_of_the_mean() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.3]])
    assert mean_average_precision(scores, torch.tensor([[0, 0], [1, 0]])) == 0.5


def test_a_class_that_is_only_predicted_is_not_part_of_the_balance() -> None:
    predictions, labels = torch.tensor([0, 0, 0, 9]), torch.tensor([0, 0, 0, 1])
    assert balanced_accuracy(predictions, labels) == 0.5


def test_confusion_counts_labels_in_rows() -> None:
    matrix = confusion_matrix(
        torch.tensor([3, 3, 8]), torch.tensor([3, 8, 8]), torch.tensor([1, 3, 8])
    )
    assert matrix.tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_equal_scores_count_by_the_orders_in_which_they_are_among_the_first() -> None:
    classes, labels = torch.arange(10), torch.tensor([4])
    assert top_k_accuracy(torch.zeros(1, 10), classes, labels, 5) == pytest.approx(0.5)
    scores = torch.zeros(1, 10)
    scores[0, :3] = 1.0  # three are before it, two places are left for seven
    assert top_k_accuracy(scores, classes, labels, 5) == pytest.approx(2 / 7)


def test_a_class_without_a_column_is_wrong() -> None:
    scores = torch.ones(2, 3)
    assert top_k_accuracy(scores, torch.tensor([2, 4, 6]), torch.tensor([5, 6]), 3) == 0.5


def test_chance_is_that_of_a_guess_or_the_share_of_positives() -> None:
    assert chance_level(torch.tensor([0, 0, 0, 7])) == 0.5
    assert chance_level(torch.tensor([0, 0, 0, 7]), 10) == 0.1
    assert chance_level(torch.tensor([[1, 0], [1, 1], [0, 0], [1, 0]])) == pytest.approx(0.5)


def test_the_commonest_class_is_that_of_the_training_part() -> None:
    assert commonest_level(torch.tensor([4, 4, 7]), torch.tensor([7, 7, 4, 7])) == 0.25


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape and at least one row, got \[3\] and \[2\]"):
        accuracy(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="at least one row"):
        balanced_accuracy(torch.zeros(0), torch.zeros(0))
    with pytest.raises(ValueError, match="at least one positive row, got none"):
        average_precision(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="at least one positive label, got none"):
        mean_average_precision(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        top_k_accuracy(torch.zeros(1, 2), torch.arange(2), torch.tensor([0]), 0)
    with pytest.raises(ValueError, match=r"scores must be \[1, 2\], got \[1, 3\]"):
        top_k_accuracy(torch.zeros(1, 3), torch.arange(2), torch.tensor([0]))


def test_every_figure_is_a_number(generator: torch.Generator) -> None:
    labels = torch.zeros(4, dtype=torch.int64)
    figures = [
        accuracy(labels, labels),
        balanced_accuracy(labels + 1, labels),
        top_k_accuracy(torch.zeros(4, 1), torch.tensor([0]), labels),
    ]
    assert not any(math.isnan(figure) for figure in figures)


def test_intersection_over_union_is_that_of_the_loops(generator: torch.Generator) -> None:
    predictions, labels = guesses(generator)
    confusion = confusion_matrix(predictions, labels, torch.arange(7))
    iou, share = mean_iou_in_loops(predictions, labels)
    assert mean_iou(confusion) == pytest.approx(iou)
    assert pixel_accuracy(confusion) == pytest.approx(share)
    assert 0.1 < iou < share < 0.9


def test_intersection_over_union_agrees_with_scikit_learn(generator: torch.Generator) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    predictions, labels = guesses(generator)
    found = class_ious(confusion_matrix(predictions, labels, torch.arange(7)))
    assert found.tolist() == pytest.approx(sklearn.jaccard_score(labels, predictions, average=None))


def test_a_class_that_no_pixel_is_lowers_the_others_only() -> None:
    confusion = torch.tensor([[6, 0, 2], [0, 0, 0], [1, 1, 2]])
    assert class_ious(confusion)[[0, 2]].tolist() == pytest.approx([6 / 9, 2 / 6])
    assert class_ious(confusion)[1].isnan()
    assert mean_iou(confusion) == pytest.approx((6 / 9 + 2 / 6) / 2)
    assert pixel_accuracy(confusion) == pytest.approx(8 / 12)


def test_chance_of_masks_is_what_guesses_reach(generator: torch.Generator) -> None:
    shares = torch.tensor([0.6, 0.3, 0.1, 0.0])
    labels = torch.multinomial(shares, 400_000, replacement=True, generator=generator)
    counts = labels.bincount(minlength=5)
    train_counts = torch.tensor([5, 9, 0, 7, 0])  # three classes, of which one is not tested
    known = torch.tensor([0, 1, 3])
    guessed = known[torch.randint(3, (400_000,), generator=generator)]
    reached = mean_iou(confusion_matrix(guessed, labels, torch.arange(5)))
    assert chance_iou(train_counts, counts) == pytest.approx(reached, abs=2e-3)
    commonest = mean_iou(confusion_matrix(torch.ones_like(labels), labels, torch.arange(5)))
    assert commonest_iou(train_counts, counts) == pytest.approx(commonest)
