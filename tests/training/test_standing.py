"""The sentence on a run that was ended before its end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from super_selfish.training.run import UNLIMITED
from super_selfish.training.standing import epochs_done, goes_on_by, place_of, stopped

AT = Path("base.pt").resolve()
ON = "To go on, call supervise() again with the same arguments and resume=True."


def run(**changed: Any) -> Any:
    """In its third epoch of four, after two of five steps, all of them stored."""
    return SimpleNamespace(
        **{"name": "base", "epoch": 2, "epochs": 4, "step": 2, "steps_per_epoch": 5}
        | {"global_step": 12, "stored_step": 12}
        | changed
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, f"in epoch 3 of 4, after 2 of 5 steps: stored at {AT}. {ON}"),
        ({"step": 0}, f"after epoch 2 of 4: stored at {AT}. {ON}"),
        (
            {"epoch": 0, "step": 0, "global_step": 0, "stored_step": 0},
            f"in epoch 1 of 4, after 0 of 5 steps: stored at {AT}. {ON}",
        ),
        (
            {"epochs": UNLIMITED},
            f"in epoch 3, after 2 of 5 steps: stored at {AT}. {ON}",
        ),
        ({"epochs": UNLIMITED, "step": 0}, f"after epoch 2: stored at {AT}. {ON}"),
        ({"epoch": 4}, f"after its last epoch: stored at {AT}. {ON}"),
        (
            {"stored_step": 11},
            f"in epoch 3 of 4, after 2 of 5 steps: stored at {AT}, but for the last step. {ON}",
        ),
        (
            {"stored_step": 9},
            f"in epoch 3 of 4, after 2 of 5 steps: stored at {AT}, but for the last 3 steps. {ON}",
        ),
        (
            {"stored_step": None},
            f"in epoch 3 of 4, after 2 of 5 steps: stored at {AT}, as before this call.",
        ),
        (
            {"stored_step": None, "global_step": 0, "steps_per_epoch": 0},
            "before the first step: nothing is stored yet.",
        ),
        (
            {"name": None},
            "in epoch 3 of 4, after 2 of 5 steps: nothing is stored (name=None). "
            "The networks in memory have learned so far.",
        ),
    ],
)
def test_where_a_run_stands_and_lies(changes: dict[str, Any], sentence: str) -> None:
    assert stopped(run(**changes), "Ctrl-C") == f"Stopped by Ctrl-C {sentence}"


def test_a_place_is_told_in_full() -> None:
    assert place_of(run()) == f"stored at {AT}"
    assert place_of(run(name=None)) == "nothing is stored (name=None)"


def test_who_has_called_something_else_is_told_of_that_while_it_lasts() -> None:
    with goes_on_by("Call the outer one."):
        with goes_on_by("Call the inner one."):
            assert stopped(run(), "Ctrl-C").endswith(f"{AT}. Call the inner one.")
        assert stopped(run(), "Ctrl-C").endswith(f"{AT}. Call the outer one.")
    assert stopped(run(), "Ctrl-C").endswith(f"{AT}. {ON}")


def test_epochs_are_told_of_how_many_where_somebody_said_how_many() -> None:
    told = [epochs_done(*each) for each in [(3, 10), (10, 10), (1, UNLIMITED)]]
    assert told == ["3 of 10 epochs", "10 epochs", "1 epoch"]
