from __future__ import annotations

import math
from typing import Any

import pytest

from super_selfish.evaluation.report.descriptions import (
    describe_algorithm,
    describe_course,
    duration,
    number,
    percent,
    sentence,
)
from super_selfish.evaluation.report.record import Record
from super_selfish.supervisors import SUPERVISORS, Supervisor


def record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "rows": [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 0.5}],
        "epoch": 2,
        "step": 0,
        "settings": {"epochs": 2},
        "provenance": {"steps_per_epoch": 10},
        "images": 640.0,
        "seconds": 32.0,
        "waited": 1.6,
    }
    return Record(**{**values, **changes})


def test_a_finished_run_is_told_in_sentences() -> None:
    assert " ".join(describe_course(record())) == (
        "Trained for 2 epochs (20 steps in all) in 32 s, at 20 images a second. The networks "
        "waited for data for 5\N{NO-BREAK SPACE}% of the time. All images could be read. The loss "
        "went from 2 in the first epoch to 0.5 in the last."
    )


def test_a_run_that_was_stopped_says_where() -> None:
    told = describe_course(record(settings={"epochs": 9}, step=3))
    assert told[0].startswith("Trained for 2 of 9 epochs and 3 steps of the next (23 steps in all)")


def test_much_waiting_comes_with_advice() -> None:
    assert any("num_workers=" in sentence for sentence in describe_course(record(waited=8.0)))


def test_unreadable_images_are_told() -> None:
    rows = [{"epoch": 1, "loss": 1.0, "unreadable": 1}, {"epoch": 2, "loss": 1.0, "unreadable": 3}]
    assert "3 images could not be read and were left out." in describe_course(record(rows=rows))


def test_a_run_without_a_finished_epoch_has_no_loss() -> None:
    told = describe_course(record(rows=[], epoch=0, step=1))
    assert told[-1] == "No epoch was finished, so that there is no loss to show."


def test_what_an_old_checkpoint_does_not_tell_is_left_out() -> None:
    told = describe_course(record(settings={}, provenance={}))
    assert told[0] == "Trained for 2 epochs in 32 s, at 20 images a second."


@pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))
def test_every_algorithm_has_an_idea_a_paper_and_differences(algorithm: str) -> None:
    told = describe_algorithm(SUPERVISORS[algorithm])
    assert told.title and told.idea.endswith(".") and told.differences
    assert any(year in told.paper for year in map(str, range(2008, 2026)))
    assert "`" not in "".join(told) and "\n" not in "".join(told)


def test_an_algorithm_of_ones_own_is_told_by_its_docstring() -> None:
    class Mine(Supervisor):
        """Predicts the weather.

        At length.
        """

    assert describe_algorithm(Mine)[:2] == ("Mine", "Predicts the weather.")


def test_numbers_are_short() -> None:
    assert [number(v) for v in (3, 1234567.0, -0.123456, float("nan"))] == [
        "3",
        "1,234,567",
        "\N{MINUS SIGN}0.1235",
        "none",
    ]
    assert [percent(v) for v in (0.0, 0.004, 0.126)] == [
        f"{share}\N{NO-BREAK SPACE}%" for share in ("0", "less than 1", "13")
    ]
    assert [duration(v) for v in (2.34, 61.2, 600, 11000)] == [
        "2.3 s",
        "61 s",
        "10 min",
        "3 h 3 min",
    ]


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (number(math.inf), "not finite"),
        (number(-math.inf), "not finite"),
        (number(-3.0), "\N{MINUS SIGN}3"),
        (number(999_999_999_999_999.0), "999,999,999,999,999"),
        (number(1e15), "1e+15"),
        (percent(0.0099), "less than 1\N{NO-BREAK SPACE}%"),
        (percent(0.01), "1\N{NO-BREAK SPACE}%"),
        (percent(1.0), "100\N{NO-BREAK SPACE}%"),
        (duration(9.9), "9.9 s"),
        (duration(10), "10 s"),
        (duration(99.4), "99 s"),
        (duration(100), "2 min"),
        (duration(5940), "99 min"),
        (duration(6000), "1 h 40 min"),
        (sentence(""), ""),
        (sentence("a b"), "A b."),
        (sentence("A b."), "A b."),
    ],
)
def test_numbers_times_and_sentences_at_their_limits(told: str, text: str) -> None:
    assert told == text


def test_one_image_is_told_as_one_and_damaged_ones_beside_it() -> None:
    rows = [{"epoch": 1, "loss": 1.0, "unreadable": 1, "damaged": 1200}]
    told = describe_course(record(rows=rows, epoch=1, settings={"epochs": 1}))
    assert told[0].startswith("Trained for 1 epoch (10 steps in all) in 32 s")
    assert told[-2] == (
        "1 image could not be read and was left out (1,200 of them damaged, so that part of the "
        "picture is lost)."
    )
    assert told[-1] == "The mean loss of the epoch was 1."
