from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from super_selfish.evaluation.evaluation import Evaluation
from super_selfish.evaluation.plots import plot_confusion
from super_selfish.evaluation.scoring import Score
from tests.cards import EVIL, Card


def few(*draws: float) -> Score:
    return Score(
        sum(draws) / len(draws), {"labels": 6.0, "draws": float(len(draws))}, {}, tuple(draws)
    )


def whole(value: float) -> Score:
    return Score(value, {"k": 3}, {"accuracy": value, "balanced_accuracy": value / 2})


EVALUATION = Evaluation(
    scores={
        "pretrained": {"knn": whole(0.8), "1%": few(0.5, 0.7)},
        "imagenet": {"knn": whole(0.9), "1%": few(0.7, 0.7)},
        "untrained": {"knn": whole(0.4), "1%": few(0.3, 0.4)},
    },
    metric="accuracy",
    chance=0.25,
    train_images=600,
    test_images=100,
    classes=4,
    class_names=("a", "b", "c", "d"),
)


def test_figures_are_told_by_network_and_protocol() -> None:
    assert EVALUATION.pretrained == pytest.approx({"knn": 0.8, "1%": 0.6})
    assert EVALUATION.untrained == pytest.approx({"knn": 0.4, "1%": 0.35})
    assert EVALUATION.difference == pytest.approx({"knn": 0.4, "1%": 0.25})
    assert EVALUATION.others["imagenet"] == pytest.approx({"knn": 0.9, "1%": 0.7})
    assert EVALUATION.settings["imagenet"]["knn"] == {"k": 3}


def test_the_spread_of_the_difference_is_that_of_the_draws_one_by_one() -> None:
    assert EVALUATION.spread["pretrained"] == pytest.approx({"1%": 0.1 * 2**0.5})
    assert EVALUATION.spread["imagenet"] == {"1%": 0.0}
    assert EVALUATION.spread["difference"] == pytest.approx({"1%": 0.05 * 2**0.5})  # 0.2, 0.3


def test_the_table_shows_spread_and_labels() -> None:
    assert str(EVALUATION).splitlines() == [
        "                             knn                    1%",
        "pretrained                  80.0           60.0 ± 14.1",
        "imagenet                    90.0            70.0 ± 0.0",
        "untrained                   40.0            35.0 ± 7.1",
        "difference  +40.0 [+27.6, +52.4]  +25.0 [+11.6, +38.4]",
        "accuracy in %; 600 training and 100 test images, 4 classes, chance 25.0",
        "labels used: 1% = 6; mean ± standard deviation of 2 draws",
        "in brackets: 95 % interval, both networks on the same test images and draws of labels",
        "better than untrained: knn +40.0 [+27.6, +52.4], 1% +25.0 [+11.6, +38.4] points",
    ]


def test_a_notebook_shows_answer_table_and_sentences() -> None:
    shown = Card(EVALUATION._repr_html_())
    assert shown.text.startswith("Did it help? Yes: it is better than an untrained network.")
    assert "good" in shown.classes
    header, *lines = str(EVALUATION).splitlines()
    assert shown.cells[0] == ["", *header.split()]
    for cells, line in zip(shown.cells[1:], lines, strict=False):
        assert "".join(cells).replace(" ", "") == line.replace(" ", "")
    assert all(line in shown.text for line in lines[4:])


@pytest.mark.parametrize(
    ("now", "before", "kind", "words"),
    [
        ({"knn": 0.2, "1%": 0.2}, "untrained", "bad", "No: it is worse than an untrained network."),
        ({"knn": 0.8, "1%": 0.2}, "untrained", "bad", "It is better than an untrained network by "),
        ({"knn": 0.5, "1%": 0.5}, "untrained", "", "That cannot be told: 100 test images do not "),
        ({"knn": 0.8, "1%": 0.8}, "start", "good", "Yes: it is better than the weights it began "),
        ({"knn": 0.8, "1%": 0.8}, "other", "", "Nobody can tell: nothing stood beside it."),
    ],
)
def test_the_answer_comes_first(now: dict[str, float], before: str, kind: str, words: str) -> None:
    scores = {
        "pretrained": {name: whole(value) for name, value in now.items()},
        before: {name: whole(0.5) for name in now},
    }
    found = replace(EVALUATION, scores=scores)
    assert found.answer.kind == kind and found.answer.words.startswith(words)
    assert Card(found._repr_html_()).classes[1:3] == ["verdict", kind or "scroll"]


def test_names_from_outside_are_text_in_a_notebook() -> None:
    scores = {**EVALUATION.scores, EVIL: EVALUATION.scores["imagenet"]}
    shown = Card(replace(EVALUATION, scores=scores, notes={EVIL: EVIL})._repr_html_())
    assert shown.text.count(EVIL) == 3


def test_a_table_of_another_metric_leaves_cells_empty() -> None:
    lines = EVALUATION.table("balanced_accuracy").splitlines()
    assert lines[1:5] == [
        "pretrained   40.0",
        "imagenet     45.0",
        "untrained    20.0",
        "difference  +20.0",
    ]
    assert lines[5].startswith("balanced accuracy in %; 600 training")


def test_an_unknown_metric_is_refused() -> None:
    expected = r"metric must be one of \['accuracy', 'balanced_accuracy'\], got 'f1'"
    with pytest.raises(ValueError, match=expected):
        EVALUATION.table("f1")


def test_a_dictionary_goes_through_json() -> None:
    read = json.loads(json.dumps(EVALUATION.as_dict()))
    assert read["others"] == {"imagenet": EVALUATION.others["imagenet"]}
    assert read["draws"]["pretrained"] == {"1%": [0.5, 0.7]}
    assert read["metrics"]["untrained"]["knn"]["balanced_accuracy"] == 0.2
    assert read["class_names"] == ["a", "b", "c", "d"]


def test_it_draws_itself(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = EVALUATION.plot(tmp_path / "figures" / "evaluation.png")
    assert (tmp_path / "figures" / "evaluation.png").stat().st_size > 5000
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "pretrained",
        "imagenet",
        "untrained",
        "chance",
    ]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["knn", "1%"]
    heights = [bar.get_bbox().height for bar in axes.patches]  # type: ignore[attr-defined]
    assert sorted(map(round, heights)) == [35, 40, 60, 70, 80, 90]


def test_the_commonest_class_is_told_where_it_is_more_common_than_the_others() -> None:
    line = str(replace(EVALUATION, commonest=0.33)).splitlines()[5]
    assert line.endswith("4 classes, chance 25.0")  # 33 of 100 are within two deviations of 25
    line = str(replace(EVALUATION, commonest=0.35)).splitlines()[5]
    assert line.endswith("4 classes, chance 25.0, always the commonest class 35.0")


@pytest.mark.parametrize("name", [r"$\frac$", "$x_$", "_hidden", "a_b^c", "50 % of $ 2"])
def test_a_figure_writes_names_as_they_are(tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    scores = {"pretrained": EVALUATION.scores["pretrained"], name: EVALUATION.scores["imagenet"]}
    figure = replace(EVALUATION, scores=scores).plot(tmp_path / "scores.png")
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][1] == name
    assert not legend.get_texts()[1].get_parse_math()
    figure = plot_confusion(torch.eye(2), (name, "b"), tmp_path / "confusion.png")
    labels = [label for axes in figure.axes for label in axes.get_yticklabels()]
    assert name in [label.get_text() for label in labels]
    assert not any(label.get_parse_math() for label in labels)


def test_the_figure_says_which_gains_the_test_images_do_not_tell() -> None:
    pytest.importorskip("matplotlib")
    scores = {"pretrained": {"knn": Score(0.56, {})}, "untrained": {"knn": Score(0.5, {})}}
    found = Evaluation(scores, "accuracy", 0.1, 240, 100, 10)
    words = "within noise of untrained: knn +6.0 [−7.8, +19.8] points on 100 test images"  # noqa: RUF001
    assert str(found).splitlines()[-1] == words
    assert found.plot().axes[0].get_xlabel().replace("\n", " ") == words
    many = Evaluation(scores, "accuracy", 0.1, 240, 2000, 10)
    assert many.verdict == ["better than untrained: knn +6.0 [+2.9, +9.1] points"]
    assert many.plot().axes[0].get_xlabel() == many.verdict[0]
