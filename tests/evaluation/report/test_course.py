"""The course of a run as a page tells it, from rows that one can read."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from super_selfish.evaluation.report import course
from super_selfish.evaluation.report.record import Record
from super_selfish.training.run import UNLIMITED


def record(rows: list[dict[str, float]], **changes: Any) -> Record:
    values: dict[str, Any] = {
        "rows": rows,
        "epoch": len(rows),
        "step": 0,
        "settings": {"epochs": len(rows)},
        "provenance": {},
        **{"images": 64.0, "seconds": 32.0, "waited": 1.6},
    }
    return Record(**{**values, **changes})


def supervisor(chance: float | None = None, **meanings: str) -> Any:
    return SimpleNamespace(chance_loss=lambda row: chance, meanings=meanings)


def rows_of(count: int, **columns: float) -> list[dict[str, float]]:
    return [{"epoch": n, "loss": 1 / n, **columns} for n in range(1, count + 1)]


@pytest.mark.parametrize(
    ("epochs", "every", "listed"),
    [
        (2, "epoch", [1, 2]),
        (60, "epoch", list(range(1, 61))),
        (61, "2th epoch", list(range(1, 62, 2))),
        (122, "3th epoch", [*range(1, 122, 3), 122]),
    ],
)
def test_a_long_table_has_a_row_now_and_then_and_the_last(
    epochs: int, every: str, listed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "_loss_curve", lambda *_: None)
    found = course.curves(record(rows_of(epochs)), supervisor())
    assert not isinstance(found, str)
    assert (found.columns, found.every) == (["epoch", "loss"], every)
    assert [int(row[0]) for row in found.rows] == listed


def test_one_epoch_has_a_table_and_no_curve() -> None:
    found = course.curves(record(rows_of(1, knn=0.5)), supervisor())
    assert not isinstance(found, str)
    assert found.loss is None and found.others == []
    assert found.rows == [["1", "1", "0.5"]]


def test_without_a_record_or_an_epoch_the_reason_is_told() -> None:
    assert str(course.curves(None, supervisor())).startswith("There is no record")
    assert course.curves(record([]), supervisor()) == "No epoch was finished."


def test_what_is_missing_is_an_empty_cell() -> None:
    rows = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "top_variance": 0.25}]
    found = course.curves(record(rows), supervisor())
    assert not isinstance(found, str)
    assert found.columns == ["epoch", "loss", "top variance"]
    assert found.rows == [["1", "2", ""], ["2", "1", "0.25"]]


def test_the_loss_is_told_from_its_first_to_its_last_and_beside_chance() -> None:
    found = course.curves(record(rows_of(2)), supervisor(chance=1.5))
    assert not isinstance(found, str) and found.loss is not None
    assert "Curve of the loss over 2 epochs, from 1 to 0.5" in str(found.loss)
    assert "Mean loss of each epoch. A network that only guesses has 1.5." in str(found.loss)
    without = course.curves(record(rows_of(2)), supervisor())
    assert not isinstance(without, str) and "guesses" not in str(without.loss)


def test_what_changed_has_a_curve_and_what_one_looks_for_first_comes_first() -> None:
    rows = [
        {"epoch": n, "loss": 1.0, "loss_a": n, "lr": n, "own": n, "still": 2.0, "seconds": n}
        | {"knn": n, "bad": math.nan if n > 1 else 1.0}
        for n in (1, 2, 3)
    ]
    found = course.curves(record(rows), supervisor(own="What it is."))
    assert not isinstance(found, str)
    names = [str(plate).partition("Curve of ")[2].partition(" over")[0] for plate in found.others]
    assert names == ["knn", "own", "lr"]
    assert "What it is." in str(found.others[1])
    assert course.MEANINGS["knn"] in str(found.others[0])


def test_the_facts_of_a_run_that_is_done() -> None:
    told = record(rows_of(2), provenance={"steps_per_epoch": 600})
    assert course.facts(told) == [
        ("epochs", "2", "of 2"),
        ("steps", "1,200", ""),
        ("time", "32 s", ""),
        ("images a second", "2", ""),
        ("waited for data", "5\N{NO-BREAK SPACE}%", ""),
        ("final loss", "0.5", ""),
    ]


@pytest.mark.parametrize(
    ("epochs", "name"),
    [(None, "final loss"), (2, "final loss"), (3, "loss so far"), (UNLIMITED, "loss so far")],
)
def test_the_loss_of_a_run_is_final_where_all_epochs_are_done(
    epochs: int | None, name: str
) -> None:
    told = record(rows_of(2), settings={"epochs": epochs}, seconds=0.0)
    of = "" if epochs in (None, UNLIMITED) else f"of {epochs}"
    assert course.facts(told) == [("epochs", "2", of), (name, "0.5", "")]
    assert course.facts(record([], seconds=0.0, settings={})) == [("epochs", "0", "")]


def test_measures_of_health_are_told_with_their_meaning() -> None:
    measures = {"rankme": 3.0, "top_variance": 0.25, "name": "x", "is_odd": True}
    health: Any = SimpleNamespace(as_dict=lambda: measures, is_healthy=True, verdict="all well")
    found = course.summary(None, health)
    assert str(found.run).startswith("There is no record")
    assert found.health == course.Judged(
        True,
        "All well.",
        [
            ["rankme", "3", course.MEANINGS["rankme"]],
            ["top variance", "0.25", course.MEANINGS["top_variance"]],
        ],
    )
    told = course.summary(record(rows_of(1)), None)
    assert str(told.health) == "The health of the features needs at least two images."
    assert not isinstance(told.run, str) and told.run.words.startswith("Trained for 1 epoch")
