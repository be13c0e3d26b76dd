from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from super_selfish.training.history import History


def add(history: History, **values: float) -> None:
    tensors = {name: torch.tensor(value) for name, value in values.items()}
    history.add(tensors, images=4, seconds=2.0, waited=0.5)


def test_a_row_has_the_means_of_its_epoch() -> None:
    history = History()
    add(history, loss=1.0, accuracy=0.0)
    add(history, loss=3.0)
    row = history.end_epoch(1, learning_rate=0.1)
    assert row["loss"] == 2.0
    assert row["accuracy"] == 0.0  # of the one step that had it
    assert row["images_per_second"] == 2.0
    assert row["waited_for_data"] == 1.0
    add(history, loss=7.0)
    assert history.end_epoch(2, learning_rate=0.1)["loss"] == 7.0


def test_a_history_goes_on_in_the_middle_of_an_epoch() -> None:
    whole, first = History(), History()
    add(whole, loss=1.0)
    add(first, loss=1.0)
    second = History()
    second.load_state_dict(first.state_dict(), torch.device("cpu"))
    add(whole, loss=2.0)
    add(second, loss=2.0)
    counts = second.state_dict()["counts"]
    assert counts == {"loss": 2} and type(counts["loss"]) is int
    assert whole.end_epoch(1, 0.1) == second.end_epoch(1, 0.1)


def test_the_file_has_a_column_for_whatever_any_row_has(tmp_path: Path) -> None:
    history = History()
    add(history, loss=1.0)
    history.end_epoch(1, 0.1)
    add(history, loss=1.0, late=4.0)
    history.end_epoch(2, 0.1)
    history.write_csv(tmp_path / "base")
    rows = list(csv.DictReader((tmp_path / "base.csv").read_text().splitlines()))
    assert [row["late"] for row in rows] == ["", "4.0"]
    assert rows[0]["loss"] == "1.0"


def test_share_of_waiting() -> None:
    history = History()
    assert history.waited_fraction == 0.0
    add(history, loss=1.0)
    assert history.waited_fraction == pytest.approx(0.25)


def test_images_that_could_not_be_read_are_summed() -> None:
    history = History()
    for unreadable in (2, 3):
        loss = {"loss": torch.tensor(1.0)}
        history.add(loss, images=4, unreadable=unreadable, seconds=0.0, waited=0.0)
    row = history.end_epoch(3, 0.5)
    assert (row["epoch"], row["lr"], row["unreadable"]) == (3, 0.5, 5)
    assert row["images_per_second"] == row["seconds"] == 0.0
    add(history, loss=1.0)
    assert history.end_epoch(4, 0.5)["unreadable"] == 0


def test_what_is_counted_is_summed_over_an_epoch_and_goes_on() -> None:
    history = History()
    add(history, loss=1.0)
    for events in (2, 3):
        history.count("skipped", torch.tensor(events))
    assert history.totals() == {"skipped": 5}
    other = History()
    other.load_state_dict(history.state_dict(), torch.device("cpu"))
    other.count("skipped", torch.tensor(4))
    assert other.end_epoch(1, 0.1)["skipped"] == 9
    assert history.end_epoch(1, 0.1)["skipped"] == 5
    assert history.totals() == {}
    old = History()
    old.load_state_dict({**other.state_dict(), "totals": {}}, torch.device("cpu"))
    assert old.totals() == {}


@pytest.mark.parametrize(("finite_only", "mean"), [(True, 2.0), (False, math.inf)])
def test_values_that_are_not_finite_may_be_left_out(finite_only: bool, mean: float) -> None:
    history = History()
    for value in (1.0, math.inf, 3.0):
        loss = {"loss": torch.tensor([value])}
        history.add(loss, images=1, seconds=1.0, waited=0.0, finite_only=finite_only)
    assert history.means()["loss"] == mean
    none = History()
    loss = {"loss": torch.tensor(math.nan)}
    none.add(loss, images=1, seconds=1.0, waited=0.0, finite_only=True)
    assert math.isnan(none.means()["loss"])


def test_a_value_of_a_step_is_one_number() -> None:
    history = History()
    with pytest.raises(ValueError, match=r"a of a step is one number, got a tensor of shape \[2\]"):
        history.add(
            {"loss": torch.tensor(1.0), "a": torch.ones(2)}, images=1, seconds=1.0, waited=0.0
        )


def test_the_first_loss_is_that_of_the_first_step_or_epoch() -> None:
    history = History()
    assert math.isnan(history.first_loss)
    add(history, loss=5.0)
    add(history, loss=1.0)
    assert history.first_loss == 5.0
    history.end_epoch(1, 0.1)
    assert history.first_loss == 5.0
    resumed = History()
    resumed.load_state_dict(history.state_dict(), torch.device("cpu"))
    assert resumed.first_loss == 3.0
    resumed.rows[0]["epoch"] = 2
    assert math.isnan(resumed.first_loss)


def test_a_row_is_kept_plain_and_what_cannot_be_is_taken_out() -> None:
    history = History()
    row: Any = {"epoch": 1, "a": torch.tensor(2.0), "b": torch.ones(2, 3), "c": "text", "d": {}}
    with pytest.raises(TypeError, match="column 'd' is a dict: a column of the history has"):
        history.keep_plain(row)
    assert row == {"epoch": 1, "a": 2.0, "c": "text"} and type(row["a"]) is float
    history.keep_plain(row)
    wrong: Any = {"b": torch.ones(2, 3)}
    with pytest.raises(TypeError, match=r"column 'b' is a Tensor of shape \[2, 3\]: a column"):
        history.keep_plain(wrong)
    named: Any = {3: 1.0}
    with pytest.raises(TypeError, match="column 3 is a float: a column of the history has a text"):
        history.keep_plain(named)
    assert wrong == named == {}
