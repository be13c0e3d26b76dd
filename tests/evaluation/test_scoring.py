"""What a protocol gives back, and parts that cannot be rated by one another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.data.sources import Sample
from super_selfish.evaluation.features import Features, LabelledSource
from super_selfish.evaluation.scoring import (
    Score,
    Subject,
    average_draws,
    check_parts_fit,
    metric_of,
    score_predictions,
)


def images(*labels: Any, classes: Any = None, on_error: str = "raise") -> Any:
    """A source whose items have these labels; an item that is "gone" cannot be read."""

    class Source(list[Any]):
        pass

    made: Any = Source("gone" if label == "gone" else sample(label) for label in labels)
    made.classes, made.on_error = classes, on_error
    return made


def sample(label: Any) -> Sample:
    return Sample(torch.zeros(3, 2, 2), 0, None if label is None else torch.tensor(label))


def test_predictions_are_the_classes_of_the_largest_scores() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    found = score_predictions(scores, torch.tensor([3, 5]), torch.tensor([3, 5, 9]), {"k": 2})
    assert found.value == found.metrics["accuracy"] == pytest.approx(2 / 3)
    assert found.metrics["balanced_accuracy"] == pytest.approx(2 / 3)
    assert "top5_accuracy" not in found.metrics and found.settings == {"k": 2}
    assert found.confusion is not None
    assert found.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(("classes", "has_top"), [(5, False), (6, True)])
def test_of_six_classes_or_more_the_first_five_count(classes: int, has_top: bool) -> None:
    labels = torch.arange(classes)
    scores = -torch.eye(classes)  # the right one comes last
    found = score_predictions(scores, labels, labels, {})
    assert found.metrics.get("top5_accuracy") == (0.0 if has_top else None)


def test_several_labels_an_image_are_rated_by_precision() -> None:
    labels = torch.tensor([[1, 0], [0, 1]])
    found = score_predictions(labels.float(), torch.arange(2), labels, {})
    assert (found.value, found.metrics) == (1.0, {"mean_average_precision": 1.0})
    assert found.confusion is None


def test_draws_are_averaged_and_spread() -> None:
    draws = [Score(value, {}, {"accuracy": value}) for value in (0.2, 0.4, 0.9)]
    found = average_draws(draws, {"labels": 3})
    assert found.value == found.metrics["accuracy"] == pytest.approx(0.5)
    assert found.draws == (0.2, 0.4, 0.9) and found.settings == {"labels": 3}
    assert found.spread == pytest.approx(0.36055, abs=1e-4)
    assert average_draws(draws[:1], {}).spread is None and Score(0.1, {}).spread is None


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (images(1), images(2), None),
        (images("gone", 1), images("gone", "gone", 2), None),
        (images("gone"), images(2), None),  # nobody knows
        (images([1, 0]), images([0, 1]), None),
        (images([1, 0]), images(2), r"of one kind, got \[2\] and \[\] for an image"),
        (images(None), images(2), "the train part has no labels"),
        (images(1), images(None), "the test part has no labels"),
        (images(1, classes=["a", "b"]), images(1, classes=["a", "b", "c"]), None),
        (images(1, classes=["a", "b"]), images(1, classes=["a", "c"]), "class 1 is 'b' in the t"),
    ],
)
def test_parts_have_labels_of_one_kind(train: Any, test: Any, message: str | None) -> None:
    parts = LabelledSource(train, None), LabelledSource(test, None)
    if message is None:
        check_parts_fit(*parts)
        return
    with pytest.raises(ValueError, match=message):
        check_parts_fit(*parts)


def test_labels_that_are_given_need_no_names_and_no_images() -> None:
    given = LabelledSource(images("gone", 0, classes=["a"]), torch.tensor([1, 0]))
    check_parts_fit(given, LabelledSource(images(1, classes=["b"]), None))
    check_parts_fit(LabelledSource(images(1, classes=["b"]), None), given)
    assert metric_of(given) == "accuracy"
    assert metric_of(LabelledSource(images(0), torch.eye(2))) == "mean average precision"
    assert metric_of(LabelledSource(images("gone"), None)) == "accuracy"


class Cache:
    """Keeps one thing."""

    def __init__(self, kept: Features | None) -> None:
        self.kept = kept
        self.written = 0

    def path(self, *_: Any) -> str:
        return "path"

    def read(self, path: str) -> Features | None:
        return self.kept

    def write(self, path: str, features: Features) -> None:
        self.kept, self.written = features, self.written + 1


def subject(train: Any, monkeypatch: pytest.MonkeyPatch, labels: Tensor | None, cache: Any) -> Any:
    asked: list[Any] = []

    def extract(*given: Any, **settings: Any) -> Features:
        asked.append(settings)
        return Features(torch.ones(2, 3), labels)

    monkeypatch.setattr("super_selfish.evaluation.scoring.extract_features", extract)
    backbone: Any = torch.nn.Identity()
    made: Any = Subject(backbone, train, train, batch_size=7, num_workers=2, cache=cache)
    return made, asked


def test_features_are_computed_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    train, labels, cache = LabelledSource(images(0, 1), None), torch.tensor([0, 1]), Cache(None)
    made, asked = subject(train, monkeypatch, labels, cache)
    assert made.train_labels.tolist() == [0, 1] and asked == []  # read without the network
    assert made.train_features[1] is labels and made.train_features[0].shape == (2, 3)
    assert asked == [{"batch_size": 7, "num_workers": 2, "preprocess": None}]
    assert made.train_labels is not None and cache.written == 1
    again, asked = subject(train, monkeypatch, labels, cache)
    assert again.test_features[1] is labels and asked == [] and cache.written == 1
    without, asked = subject(train, monkeypatch, None, None)
    with pytest.raises(ValueError, match="the test part has no labels, which evaluation needs"):
        _ = without.test_features


def test_labels_of_images_that_may_be_skipped_are_those_of_the_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, labels = (
        LabelledSource(images(0, 1, "gone", on_error="skip"), None),
        torch.tensor([4, 5]),
    )
    made, asked = subject(train, monkeypatch, labels, None)
    assert made.labelled_train is train
    assert made.train_labels is labels and made.test_labels is labels and len(asked) == 2
    given = LabelledSource(images(0, 1), torch.tensor([0, 1]))
    made, _ = subject(given, monkeypatch, labels, None)
    assert made.labelled_train is given
    unlabelled = LabelledSource(images(0, 1), None)
    made, asked = subject(unlabelled, monkeypatch, labels, None)
    known = made.labelled_train
    assert known.images is unlabelled.images and known.labels.tolist() == [0, 1] and asked == []
