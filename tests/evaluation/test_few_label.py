from __future__ import annotations

import statistics
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation import few_label
from super_selfish.evaluation.features import open_data
from super_selfish.evaluation.few_label import FewLabels
from super_selfish.evaluation.linear import FittedProbe, fit_linear_probe
from super_selfish.evaluation.scoring import Subject


def drawn(protocol: FewLabels, labels: Tensor, seed: int = 0) -> Tensor:
    return protocol.draw(labels, torch.Generator().manual_seed(seed))


def subject(seed: int = 0, samples: int = 120) -> Subject:
    """Noisy pixels whose mean colour is the class; the pixels are the features."""
    generator = torch.Generator().manual_seed(3)

    def part(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(count) % 3
        images = torch.randint(0, 200, (count, 3, 32, 32), generator=generator)
        images[torch.arange(count), labels] += 3
        return images.to(torch.uint8), labels

    train, test = open_data(part(samples)), open_data(part(60))
    return Subject(nn.AvgPool2d(8), train, test, seed=seed)


LABELS = torch.tensor([5] * 100 + [7] * 40 + [9] * 3)


def test_a_share_is_drawn_of_every_class_and_one_at_least() -> None:
    rows = drawn(FewLabels(share=0.1), LABELS)
    assert LABELS[rows].bincount().tolist() == [0, 0, 0, 0, 0, 10, 0, 4, 0, 1]
    assert LABELS[drawn(FewLabels(share=0.001), LABELS)].tolist() == [5, 7, 9]


def test_so_many_of_each_class_are_drawn_or_all_that_there_are() -> None:
    rows = drawn(FewLabels(per_class=5), LABELS)
    assert LABELS[rows].bincount().tolist() == [0, 0, 0, 0, 0, 5, 0, 5, 0, 3]


def test_no_image_is_drawn_twice() -> None:
    rows = drawn(FewLabels(share=0.5), LABELS)
    assert len(rows.unique()) == len(rows)


def test_draws_depend_on_the_generator_alone() -> None:
    protocol = FewLabels(per_class=5)
    assert torch.equal(drawn(protocol, LABELS, 1), drawn(protocol, LABELS, 1))
    assert not torch.equal(drawn(protocol, LABELS, 1), drawn(protocol, LABELS, 2))


def test_rows_of_several_classes_are_simply_drawn() -> None:
    labels = torch.ones(50, 4, dtype=torch.int64)
    assert len(drawn(FewLabels(per_class=3), labels)) == 12
    assert len(drawn(FewLabels(share=0.2), labels)) == 10
    assert len(drawn(FewLabels(share=0.01), labels)) == 4  # as many as classes
    assert len(drawn(FewLabels(per_class=30), labels)) == 50


def test_the_score_is_the_mean_of_the_draws_with_their_spread() -> None:
    score = FewLabels(per_class=2, draws=4)(subject())
    assert len(score.draws) == 4
    assert score.value == pytest.approx(statistics.mean(score.draws))
    assert score.spread == pytest.approx(statistics.stdev(score.draws))
    assert score.metrics["accuracy"] == pytest.approx(score.value)
    assert score.settings["labels"] == 6
    assert score.settings["draws"] == 4


def test_one_draw_has_no_spread() -> None:
    score = FewLabels(per_class=2, draws=1)(subject())
    assert score.spread is None
    assert score.draws == (score.value,)


def test_more_labels_are_better() -> None:
    rated = subject()
    few, many = (FewLabels(per_class=n, draws=3)(rated).value for n in (1, 30))
    assert many > few + 0.1


def test_one_image_a_class_is_fitted_with_the_fallback() -> None:
    score = FewLabels(per_class=1, draws=2)(subject())
    assert score.settings["regularization"] == 1.0


def test_four_penalties_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[float, ...]] = []

    def fit(*given: Any, regularizations: tuple[float, ...], **more: Any) -> FittedProbe:
        tried.append(regularizations)
        return fit_linear_probe(*given, regularizations=regularizations, **more)

    monkeypatch.setattr(few_label, "fit_linear_probe", fit)
    FewLabels(per_class=2, draws=1)(subject())
    assert tried == [(1.0, 0.1, 0.01, 0.001)]


def test_one_seed_gives_one_score() -> None:
    protocol = FewLabels(per_class=2, draws=2)
    assert protocol(subject(seed=4)) == protocol(subject(seed=4))
    assert protocol(subject(seed=4)).draws != protocol(subject(seed=5)).draws


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="either share or per_class"):
        FewLabels()
    with pytest.raises(ValueError, match="either share or per_class"):
        FewLabels(share=0.1, per_class=3)
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\], got 1.5"):
        FewLabels(share=1.5)
    with pytest.raises(ValueError, match="per_class must be >= 1, got 0"):
        FewLabels(per_class=0)
    with pytest.raises(ValueError, match="draws must be >= 1, got 0"):
        FewLabels(share=0.1, draws=0)
