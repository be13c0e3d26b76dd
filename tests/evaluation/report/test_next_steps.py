"""What the page says of help, labels and next steps, from results whose numbers are known."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("matplotlib")

from super_selfish.evaluation.evaluation import Evaluation
from super_selfish.evaluation.intervals import Interval
from super_selfish.evaluation.report import results
from super_selfish.evaluation.report.next_steps import (
    _images_needed,
    _more_images,
    next_steps,
)
from super_selfish.evaluation.report.place import Place, place_of
from super_selfish.evaluation.report.record import Record
from super_selfish.evaluation.scoring import Score
from super_selfish.training.run import UNLIMITED


def rated(
    now: float, untrained: float | None = None, start: float | None = None, images: int = 400
) -> Evaluation:
    rows = {"pretrained": now, "start": start, "untrained": untrained}
    scores = {n: {"knn": Score(v, {})} for n, v in rows.items() if v is not None}
    return Evaluation(scores, "accuracy", 0.1, 100, images, 10)


def record(epochs: int, asked: int | None, **columns: list[float]) -> Record:
    rows = [
        {"epoch": n + 1, "loss": 1.0} | {name: values[n] for name, values in columns.items()}
        for n in range(epochs)
    ]
    return Record(rows, epochs, 0, {"epochs": asked}, {}, 1.0, 1.0, 0.0)


def length(epochs: int, steps_per_epoch: int, accumulate: int = 1) -> Record:
    settings = {"epochs": epochs, "accumulate": accumulate}
    return Record([], epochs, 0, settings, {"steps_per_epoch": steps_per_epoch}, 1.0, 1.0, 0.0)


HEALTHY: Any = SimpleNamespace(is_healthy=True, verdict="healthy: fine")


@pytest.mark.parametrize(
    ("found", "answer", "kind"),
    [
        (rated(0.6, 0.4), "Yes: it is better than an untrained network.", "good"),
        (rated(0.4, 0.6), "No: it is worse than an untrained network.", "bad"),
        (rated(0.6, 0.4, 0.7), "No: it is worse than the weights it began with.", "bad"),
        (
            rated(0.42, 0.4),
            "That cannot be told: 400 test images do not tell it from an untrained network.",
            "",
        ),
        (rated(0.6), "Nobody can tell: nothing stood beside it.", ""),
    ],
)
def test_the_answer_is_beside_the_start_or_else_beside_untrained(
    found: Evaluation, answer: str, kind: str
) -> None:
    helped = results.helped(found, "not known")
    assert (helped.answer, helped.kind, helped.health) == (answer, kind, "not known")


def test_better_by_one_measure_and_worse_by_another_is_no_yes() -> None:
    found = rated(0.6, 0.4)
    found.scores["pretrained"]["linear"] = Score(0.3, {})
    found.scores["untrained"]["linear"] = Score(0.5, {})
    helped = results.helped(found, "")
    assert helped.answer.startswith("It is better than an untrained network by some measures")


def test_gains_come_first_and_then_what_they_are_between() -> None:
    found = rated(0.6, 0.4, 0.5)
    helped = results.helped(found, "")
    assert helped.header == [
        *("in %", "beside start", "beside untrained", "now", "start", "untrained"),
    ]
    since, gain = (found.intervals[name]["knn"] for name in ("since start", "difference"))
    assert helped.gains == [["knn", str(since), str(gain), "60.0", "50.0", "40.0"]]
    assert results.helped(None, "x").answer.startswith("Nobody knows yet")
    assert str(results.labels(found)).startswith("Not known: that needs an evaluation with few")


def steps(found: Evaluation | None = None, told: Record | None = None, **more: Any) -> str:
    health = more.pop("health", HEALTHY)
    return " | ".join(next_steps(told, health, found, **more))


def test_what_is_wrong_comes_before_all() -> None:
    ill: Any = SimpleNamespace(is_healthy=False, verdict="collapsed: 1 of 8")
    bad: Any = SimpleNamespace(bad=lambda: (SimpleNamespace(text="7 test images are inside."),))
    first, second, *_ = next_steps(None, ill, check=bad)
    assert first == "Before the next run, mend the images: 7 test images are inside."
    assert second == "Look at the features first: Collapsed: 1 of 8."


@pytest.mark.parametrize(
    ("told", "are_few"),
    [
        (length(10, 29), True),
        (length(10, 30), False),
        (length(10, 30, accumulate=2), True),
        (length(9, 100), True),
        (length(1, 1000), False),
        (record(3, 3), False),  # nobody knows of how many steps
    ],
)
def test_few_updates_are_the_first_thing_to_change(told: Record, are_few: bool) -> None:
    ill: Any = SimpleNamespace(is_healthy=False, verdict="collapsed: 1 of 8")
    first = next_steps(told, ill)[0]
    assert ("updates are few, and some 1,000 would do: supervise(..., resume=" in first) == are_few


def test_the_command_line_is_named_with_the_run(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "my run.pt")
    text = steps(place=place_of(tmp_path / "my run"))
    assert f"super-selfish evaluate '{tmp_path}/my run' IMAGES --protocols knn linear few" in text
    torch.save({}, tmp_path / "run.pt")
    for content, call in (('{"asked": {"call": "choose"}}', "choose"), ("{}", None), ("", None)):
        (tmp_path / "choices.json").write_text(content)
        place = place_of(tmp_path / "run")
        assert place is not None and place.call == call
        assert place.run == (f"{tmp_path}/run" if call is None else f"{tmp_path}")
    assert place_of(tmp_path / "none") is None
    text = steps(told=record(3, 10), place=Place("runs/mine", "pretrain"))
    assert "pretrain() with the same arguments and a longer time goes on" in text
    assert "super-selfish pretrain IMAGES --out runs/mine --time" in text
    text = steps(rated(0.6, 0.4), place=Place("runs/mine", "pretrain"))
    assert "super-selfish export runs/mine backbone.safetensors" in text


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (record(3, 10), "ended after 3 of 10 epochs: supervise(..., resume=True)"),
        (record(3, UNLIMITED), "ended after 3 epochs: supervise(..., resume=True)"),
        (record(3, 3, knn=[0.2, 0.3, 0.4]), "By knn it was best at its very end"),
        (record(3, 3, knn=[0.2, 0.4, 0.3]), None),
        (record(2, 2, knn=[0.2, 0.4]), None),
        (record(3, None, knn=[0.4, 0.4, 0.4]), None),
    ],
)
def test_a_run_that_could_go_on_is_told_so(told: Record, words: str | None) -> None:
    text = steps(told=told)
    assert (words or "Measure it: ") in text
    assert ("ended after" in text or "very end" in text) == (words is not None)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (rated(0.6, 0.4), "It is better than untrained: use it. get_backbone() gives it"),
        (rated(0.6, 0.1, 0.4), "It is better than the start: use it."),
        (rated(0.4, 0.1, 0.6), "It is worse than the start: use the weights that training began"),
        (rated(0.4, 0.6), "It is worse than a network that learned nothing"),
        # A reach of 6.8 points for 2.0: 11.6 times the images.
        (rated(0.42, 0.4), "a difference as large as the one found would take about 4,700."),
        (rated(0.4001, 0.4), "no number in reach would: take them for equally good"),
        (rated(0.6), "Nothing stood beside it"),
    ],
)
def test_what_to_do_follows_from_the_result(found: Evaluation, words: str) -> None:
    text = steps(found)
    assert words in text and "Measure it" not in text
    assert "This is one training of one algorithm: compare(" in text


def test_a_comparison_says_what_to_begin_with() -> None:
    entries = [
        SimpleNamespace(algorithm="byol", has_failed=True),
        SimpleNamespace(algorithm="moco", has_failed=False),
    ]
    comparison: Any = SimpleNamespace(leaderboard=entries)
    text = steps(comparison=comparison)
    assert "moco gained most: begin with it" in text and "one training of one" not in text


@pytest.mark.parametrize(
    ("needed", "about"),
    [
        (7.2, "8"),
        (83.4, "84"),
        (101.0, "110"),
        (1234.0, "1,300"),
        (1300.0, "1,300"),
        (999_999.0, "1,000,000"),
        (1_000_000.0, "1,000,000"),
        (1_000_001.0, None),
        (math.inf, None),
    ],
)
def test_images_that_would_tell_are_rounded_up_to_two_digits(
    needed: float, about: str | None
) -> None:
    words = _more_images(needed, "the start", 1200)
    assert words.startswith("1,200 test images do not tell it from the start")
    assert ("and no number in reach would" in words) == (about is None)
    assert about is None or f"found would take about {about}. More test images" in words


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        (Interval(0.02, -0.02, 0.06), 1600),  # a reach of twice the difference
        (Interval(-0.02, -0.08, 0.04), 3600),
        (Interval(0.0, -0.02, 0.02), math.inf),
    ],
)
def test_images_that_would_tell_a_difference(change: Interval, needed: float) -> None:
    assert _images_needed(change, 400) == pytest.approx(needed)
