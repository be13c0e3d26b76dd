"""Supervisors within a supervisor have its run while it lasts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from super_selfish.supervisors.composing import lent_run, logged_in


def part(epochs: int = 0, **logged: float) -> Any:
    notes = {name: torch.tensor(value) for name, value in logged.items()}
    return SimpleNamespace(run=None, epochs_seen=epochs, _logged=notes)


def test_parts_have_the_run_of_their_owner_and_count_its_epochs() -> None:
    owner, first, second = part(4), part(1), part(7)
    second.run = "a former one"
    run: Any = SimpleNamespace(parts={"": owner, "a": first, "b": second})
    with lent_run(run):
        assert (owner.run, first.run, second.run) == (None, run, run)
        owner.epochs_seen += 3
    assert (first.run, second.run) == (None, "a former one")
    assert (owner.epochs_seen, first.epochs_seen, second.epochs_seen) == (7, 4, 10)


def test_a_run_that_broke_off_takes_nothing_back() -> None:
    owner, other = part(4), part(1)
    run: Any = SimpleNamespace(parts={"": owner, "a": other})
    with pytest.raises(KeyError), lent_run(run):
        owner.epochs_seen = 2  # as it was loaded
        raise KeyError
    assert other.run is None and other.epochs_seen == 1


def test_notes_of_parts_go_by_the_names_of_their_attributes_and_are_forgotten() -> None:
    owner, other = part(loss=1.0), part(loss=2.0, accuracy=0.5)
    run: Any = SimpleNamespace(parts={"": owner, "a.b": other})
    found = {name: float(value) for name, value in logged_in(run).items()}
    assert found == {"loss": 1.0, "a.b.loss": 2.0, "a.b.accuracy": 0.5}
    assert logged_in(run) == {}
