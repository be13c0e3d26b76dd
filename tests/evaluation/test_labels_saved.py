"""With how many labels the other network does as well: on curves whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.evaluation.evaluation import Evaluation
from super_selfish.evaluation.intervals import Measured
from super_selfish.evaluation.labels_saved import (
    IN_ALL,
    PER_CLASS,
    Curve,
    Saved,
    curve_of,
    headline,
    labels_saved,
    rising,
)
from super_selfish.evaluation.scoring import Score

LABELS = (1.0, 4.0, 16.0, 64.0)


def point(value: float, draws: int = 2, images: int = 10_000) -> Measured:
    """A figure that is all but sure: every draw has it, and it hangs on no image."""
    return Measured(torch.full((draws,), value).double(), torch.zeros(draws, images))


def curve(*values: float) -> dict[float, Measured]:
    return {n: point(value) for n, value in zip(LABELS, values, strict=True)}


def test_between_two_numbers_it_goes_by_the_logarithm() -> None:
    found = labels_saved(curve(0.25, 0.4, 0.6, 0.7), curve(0.2, 0.3, 0.4, 0.5))
    assert [each.labels for each in found] == [*LABELS]
    assert [each.equivalent for each in found] == pytest.approx([2.0, 16.0, math.inf, math.inf])
    for each in found[:2]:
        assert (
            0.95 * each.equivalent < each.low < each.equivalent < each.high < 1.05 * each.equivalent
        )
    assert found[2].low == found[2].high == math.inf
    assert {(each.fewest, each.most) for each in found} == {(1.0, 64.0)}


def test_a_worse_network_saves_none() -> None:
    first, second, *_ = labels_saved(curve(0.1, 0.25, 0.4, 0.5), curve(0.2, 0.3, 0.4, 0.5))
    assert first.equivalent == first.low == first.high == 0.0
    assert second.equivalent == pytest.approx(2.0)
    assert second.is_told and second.sentence().endswith("what 2 did (2 to 2): none saved")


def test_a_curve_that_falls_by_chance_is_made_even() -> None:
    uneven = labels_saved(curve(0.3, 0.3, 0.3, 0.3), curve(0.2, 0.34, 0.3, 0.5))
    even = labels_saved(curve(0.3, 0.3, 0.3, 0.3), curve(0.2, 0.32, 0.32, 0.5))
    assert uneven[0].equivalent == pytest.approx(even[0].equivalent)


def pooled(values: list[float]) -> list[float]:
    """Neighbours that fall are replaced by their mean, until none do."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return [fmean(block) for block in blocks for _ in block]


def test_the_even_curve_pools_neighbours_that_fall(generator: torch.Generator) -> None:
    rows = torch.rand(20, 6, generator=generator, dtype=torch.float64)
    for row, found in zip(rows, rising(rows), strict=True):
        assert found.tolist() == pytest.approx(pooled(row.tolist()))


def test_the_same_curve_saves_none_and_says_that_it_may_be_noise() -> None:
    same = curve(0.2, 0.3, 0.4, 0.5)
    for each in labels_saved(same, same):
        assert each.equivalent == pytest.approx(each.labels) and not each.is_told
    assert labels_saved({1.0: point(0.2)}, {1.0: point(0.1)}) == []


def test_curves_of_other_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the same labels, got \[1.0\] and \[2.0\]"):
        labels_saved({1.0: point(0.2)}, {2.0: point(0.2)})


def simulated(
    generator: torch.Generator, values: Sequence[float], images: int, common: Tensor, luck: Tensor
) -> Curve:
    """A curve whose answers are drawn; both networks share `common` images and `luck` of draws."""
    found = {}
    for place, value in enumerate(values):
        own = torch.randn(5, images, generator=generator)
        shift = torch.distributions.Normal(0, 1).icdf(torch.tensor(value))
        is_right = (shift + 0.6 * common + 0.8 * own + luck[place] > 0).double()
        rights = is_right.mean(dim=1)
        found[LABELS[place]] = Measured(rights, is_right - rights[:, None])
    return found


def test_the_interval_holds_what_is_true_in_95_of_100_cases(generator: torch.Generator) -> None:
    """Four labels do what sixteen did: five draws, 200 images."""
    held = 0
    for _ in range(40):
        common = torch.randn(200, generator=generator)
        luck = 0.15 * torch.randn(4, 5, 1, generator=generator)
        after = simulated(generator, (0.35, 0.5, 0.65, 0.75), 200, common, luck)
        before = simulated(generator, (0.2, 0.35, 0.5, 0.65), 200, common, luck)
        found = labels_saved(after, before)[1]
        held += found.low <= 16 <= found.high
    assert 36 <= held <= 40


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ((10, 40, 28, 55), "10 labels a class now do what 40 did (28 to 55)"),
        ((1, 4.21, 2, 8), "1 label a class now does what 4.2 did (2 to 8)"),
        (
            (10, 12, 8, 17),
            "10 labels a class now do what 12 did (8 to 17): within noise of none saved",
        ),
        (
            (10, 40, 12, math.inf),
            "10 labels a class now do what 40 did (12 to more than 500)",
        ),
        (
            (10, math.inf, 50, math.inf),
            "10 labels a class now do more than 500 did, the most that were tried (at least what "
            "50 did)",
        ),
        (
            (10, math.inf, math.inf, math.inf),
            "10 labels a class now do more than 500 did, the most that were tried",
        ),
        ((10, 6, 4, 8), "10 labels a class now do what 6 did (4 to 8): none saved"),
        (
            (5, 0, 0, 2),
            "5 labels a class now do what fewer than 1 did (fewer than 1 to 2): none saved",
        ),
    ],
)
def test_it_is_said_in_a_sentence(saved: tuple[float, float, float, float], words: str) -> None:
    assert Saved(*saved, fewest=1, most=500).sentence(PER_CLASS) == words


def test_images_of_several_classes_are_counted_themselves() -> None:
    words = Saved(1000, 2500, 2000, 3000, 1, 5000).sentence(IN_ALL)
    assert words == "1,000 labelled images now do what 2,500 did (2,000 to 3,000)"


def test_the_headline_is_what_is_known_best() -> None:
    wide, narrow = Saved(1, 4, 1, 16, 1, 64), Saved(4, 4, 3, 5, 1, 64)
    open_ended = Saved(16, 30, 29, math.inf, 1, 64)
    assert headline([wide, narrow, open_ended]) == narrow
    assert headline([open_ended]) == open_ended
    assert headline([]) is None


def score(value: float, labels: float | None, draws: int = 2) -> Score:
    name = "accuracy"
    settings = {} if labels is None else {"labels": labels}
    values = (value,) * draws if labels is not None else ()
    return Score(value, settings, {name: value}, values, measured={name: point(value, draws)})


SCORES = {
    "knn": score(0.9, None),
    "linear": score(0.8, None, 1),
    "1%": score(0.3, 10.0),
    "1-per-class": score(0.4, 10.0),
    "5-per-class": score(0.5, 50.0),
    "own": Score(0.5, {"labels": 70.0}, {}, (0.5, 0.5)),
}


def test_a_curve_has_what_drew_labels_and_the_probe_on_all() -> None:
    found = curve_of(SCORES, train_images=600, classes=10)
    assert list(found) == [1.0, 5.0, 60.0]
    assert found[1.0].values.tolist() == pytest.approx(
        [0.3, 0.3]
    )  # of two with ten labels the first
    assert list(curve_of(SCORES, 600, None)) == [10.0, 50.0, 600.0]


def evaluation(metric: str = "accuracy") -> Evaluation:
    lower = {name: each for name, each in SCORES.items()} | {"1%": score(0.2, 10.0)}
    lower |= {"5-per-class": score(0.3, 50.0), "linear": score(0.7, None, 1)}
    scores = {"pretrained": SCORES, "mine": {"knn": score(0.1, None)}, "start": SCORES}
    return Evaluation({**scores, "untrained": lower}, metric, 0.1, 600, 10_000, 10)


def test_an_evaluation_says_what_was_saved_beside_both() -> None:
    found = evaluation()
    assert list(found.label_curves) == ["pretrained", "start", "untrained"]
    assert [each.labels for each in found.labels_saved["untrained"]] == [1.0, 5.0, 60.0]
    assert found.labels_saved["untrained"][0].equivalent == pytest.approx(5.0)
    start, untrained = found.labels_verdict
    assert start.startswith("labels saved, beside the start: ") and "within noise" in start
    assert untrained == (
        "labels saved, beside untrained: 5 labels a class now do what 17 did (17 to 17)"
    )
    assert str(found).splitlines()[-2:] == [start, untrained]
    plain = found.as_dict()["labels_saved"]["untrained"]
    assert plain[2]["equivalent"] is None and plain[0]["most"] == 60.0
    assert "50 labelled images now do" in evaluation("mean average precision").labels_verdict[1]


def test_one_number_of_labels_is_no_curve() -> None:
    scores = {name: {"linear": score(0.5, None, 1)} for name in ("pretrained", "untrained")}
    found = replace(evaluation(), scores=scores)
    assert found.label_curves == {} and found.labels_saved == {} and found.labels_verdict == []
    with pytest.raises(ValueError, match=r'needs two numbers of labels.*"few-label"'):
        found.plot_labels()


def test_the_figure_has_a_curve_for_each_and_what_was_saved(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = evaluation().plot_labels(tmp_path / "labels.png")
    assert (tmp_path / "labels.png").stat().st_size > 5000
    (axes,) = figure.axes
    drawn: Any = axes.get_lines()
    lines = [line for line in drawn if len(line.get_xdata()) == 3]
    assert [list(line.get_xdata()) for line in lines] == 3 * [[1.0, 5.0, 60.0]]
    assert list(lines[2].get_ydata()) == pytest.approx([20.0, 30.0, 70.0])
    legend = axes.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["pretrained", "start", "untrained", "chance"]
    assert "17" in [text.get_text() for text in axes.texts]
    assert "labels saved, beside untrained" in axes.get_xlabel()
    assert axes.get_xlabel().startswith("labels a class, logarithmic")
