from __future__ import annotations

import csv
from pathlib import Path

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
