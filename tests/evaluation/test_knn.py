from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from super_selfish.evaluation import knn
from super_selfish.evaluation.knn import (
    default_neighbours,
    knn_accuracy,
    knn_predict,
    knn_scores,
)
from super_selfish.training.memory import Peak
from tests.references import knn_class_loops, knn_shares_in_loops


def clusters(
    generator: torch.Generator, samples: int, classes: int = 5, spread: float = 1.5
) -> tuple[Tensor, Tensor]:
    """Overlapping clouds around fixed centres."""
    centres = torch.randn(classes, 8, generator=torch.Generator().manual_seed(7))
    labels = torch.randint(classes, (samples,), generator=generator)
    return centres[labels] + spread * torch.randn(samples, 8, generator=generator), labels


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_predictions_are_those_of_loops(
    generator: torch.Generator, k: int, temperature: float
) -> None:
    train, labels = clusters(generator, 40)
    test, _ = clusters(generator, 20)
    predictions = knn_predict(train, labels, test, k=k, temperature=temperature)
    assert predictions.tolist() == knn_class_loops(train, labels, test, k, temperature)


def test_rows_without_a_label_neither_vote_nor_count(generator: torch.Generator) -> None:
    train, labels = clusters(generator, 40)
    test, asked = clusters(generator, 20)
    some, tests = labels.clone(), asked.clone()
    some[::4], tests[0] = -1, -1
    kept = some != -1
    expected = knn_accuracy(train[kept], labels[kept], test[1:], asked[1:])
    with pytest.warns(UserWarning) as told:
        assert knn_accuracy(train, some, test, tests) == expected
    assert sorted(str(each.message) for each in told) == [
        "1 of 20 test images has no label (-1) and is left out",
        "10 of 40 train images have no label (-1) and are left out",
    ]


@pytest.mark.parametrize("k", [1, 20, 200])
def test_agrees_with_scikit_learn(generator: torch.Generator, k: int) -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    train, train_labels = clusters(generator, 1000)
    test, test_labels = clusters(generator, 1000)
    reference = neighbors.KNeighborsClassifier(
        k, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.07)
    ).fit(train.numpy(), train_labels.numpy())
    expected = reference.score(test.numpy(), test_labels.numpy())
    accuracy = knn_accuracy(train, train_labels, test, test_labels, k=k)
    assert accuracy == pytest.approx(expected, abs=0.001)


def test_chunks_change_nothing(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    train, labels = clusters(generator, 50)
    test, _ = clusters(generator, 33)
    whole = knn_scores(train, labels, test, k=7).scores
    monkeypatch.setattr(knn, "rows_at_once", lambda samples, device: 4)
    torch.testing.assert_close(knn_scores(train, labels, test, k=7).scores, whole)


@pytest.mark.parametrize(
    ("free", "rows"),
    [
        (None, 33),  # where nobody tells: 64 MiB
        (10**6, 33),  # the least, though there is less
        (2**32, 268),
        (2**40, 536),  # the most
    ],
)
def test_as_many_rows_at_once_as_memory_allows(
    monkeypatch: pytest.MonkeyPatch, free: int | None, rows: int
) -> None:
    monkeypatch.setattr(knn, "free_memory", lambda device: free)
    assert knn.rows_at_once(250_000, torch.device("cpu")) == rows
    assert knn.rows_at_once(2**31, torch.device("cpu")) == 1


def test_similarities_held_at_once_stay_below_their_bound(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, labels = clusters(generator, 4000)
    test, _ = clusters(generator, 400)
    knn_scores(train, labels, test)  # what torch loads once
    monkeypatch.setattr(knn, "free_memory", lambda device: None)
    monkeypatch.setattr(knn, "_LEAST", 8 * 4000 * 50)
    with Peak(torch.device("cpu")) as peak:
        knn_scores(train, labels, test)
    others = 4 * (2 * train.numel() + 3 * test.numel()) + 8 * len(labels) * 4
    assert 4 * 4000 * 50 <= peak.added <= 2 * 4 * 4000 * 50 + others


def test_length_of_features_plays_no_part(generator: torch.Generator) -> None:
    train, labels = clusters(generator, 50)
    test, _ = clusters(generator, 20)
    scales = 0.1 + torch.rand(50, 1, generator=generator)
    assert torch.equal(
        knn_predict(train * scales, labels, 3 * test, k=7), knn_predict(train, labels, test, k=7)
    )


def test_a_near_neighbour_outvotes_several_far_ones() -> None:
    train = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    test = torch.tensor([[1.0, 0.1]])
    labels = torch.tensor([4, 9, 9])
    assert knn_predict(train, labels, test, k=3, temperature=0.07).item() == 4
    assert knn_predict(train, labels, test, k=3, temperature=100.0).item() == 9


def test_a_tiny_temperature_does_not_overflow(generator: torch.Generator) -> None:
    train, labels = clusters(generator, 50)
    test, _ = clusters(generator, 20)
    assert torch.equal(
        knn_predict(train, labels, test, k=9, temperature=1e-4),
        knn_predict(train, labels, test, k=1),
    )


def test_class_numbers_may_have_gaps(generator: torch.Generator) -> None:
    train, labels = clusters(generator, 60)
    test, _ = clusters(generator, 20)
    names = torch.tensor([-3, 10, 11, 500, 70000])
    predictions = knn_predict(train, labels, test, k=5)
    assert torch.equal(knn_predict(train, names[labels], test, k=5), names[predictions])


def test_shuffled_test_labels_give_chance(generator: torch.Generator) -> None:
    train, train_labels = clusters(generator, 1000, spread=0.3)
    test, test_labels = clusters(generator, 2000, spread=0.3)
    assert knn_accuracy(train, train_labels, test, test_labels) > 0.9
    shuffled = test_labels[torch.randperm(2000, generator=generator)]
    assert knn_accuracy(train, train_labels, test, shuffled) == pytest.approx(0.2, abs=0.04)


def test_scores_are_shares_of_the_votes(generator: torch.Generator) -> None:
    train, labels = clusters(generator, 40)
    test, _ = clusters(generator, 20)
    votes = knn_scores(train, labels + 3, test, k=9)
    assert votes.classes.tolist() == [3, 4, 5, 6, 7]
    torch.testing.assert_close(votes.scores.sum(dim=1), torch.ones(20))
    expected = knn_shares_in_loops(train, labels[:, None] == torch.arange(5), test, 9, 0.07)
    torch.testing.assert_close(votes.scores, expected.float())


def test_each_neighbour_votes_for_all_of_its_classes(generator: torch.Generator) -> None:
    train, _ = clusters(generator, 40)
    test, _ = clusters(generator, 20)
    several = (torch.rand(40, 6, generator=generator) < 0.4).long()
    votes = knn_scores(train, several, test, k=9)
    assert votes.classes.tolist() == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(
        votes.scores, knn_shares_in_loops(train, several, test, 9, 0.07).float()
    )


@pytest.mark.parametrize(
    "samples, classes, expected",
    [(50_000, 10, 200), (4_000, 10, 200), (1_000, 10, 50), (20, 10, 1), (5, 10, 1)],
)
def test_default_asks_half_a_class_and_200_at_most(
    samples: int, classes: int, expected: int
) -> None:
    assert default_neighbours(samples, classes) == expected


def test_more_neighbours_than_rows_means_all_rows(generator: torch.Generator) -> None:
    train, labels = clusters(generator, 30)
    test, _ = clusters(generator, 20)
    assert torch.equal(
        knn_predict(train, labels, test, k=1000), knn_predict(train, labels, test, k=30)
    )


def test_wrong_arguments_are_refused(generator: torch.Generator) -> None:
    train, labels = clusters(generator, 30)
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        knn_predict(train, labels, train, k=0)
    with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
        knn_predict(train, labels, train, temperature=0)
    with pytest.raises(ValueError, match="train labels must be"):
        knn_predict(train, labels[:3], train)
    with pytest.raises(ValueError, match=r"labels must be \[30\], one a row .* got \[30, 2\]"):
        knn_predict(train, torch.ones(30, 2, dtype=torch.int64), train)
    with pytest.raises(ValueError, match="must be 0 or 1, got others"):
        knn_scores(train, torch.full((30, 2), 3), train)
    with pytest.raises(TypeError, match="train labels must be integers"):
        knn_predict(train, labels.float(), train)
    with pytest.raises(ValueError, match="same width, got 8 and 5"):
        knn_accuracy(train, labels, train[:, :5], labels)
    with pytest.raises(ValueError, match="must be finite"):
        knn_accuracy(train, labels, train * float("nan"), labels)
