"""However a run is ended, it goes on to the same numbers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from super_selfish.training.checkpoint import read_checkpoint
from tests import killing

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="there are no such signals here"
)

KILLED, FAILED = -9, 1


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert killing.run(killing.whole, folder) == 0
    return folder


Case = tuple[Callable[..., None], tuple[Any, ...], int, int]
CASES: dict[str, Case] = {
    "killed in a step": (killing.end_in_step, (signal.SIGKILL, 1, 0), KILLED, 4),
    "killed in a step, with workers": (killing.end_in_step, (signal.SIGKILL, 1, 2), KILLED, 4),
    "killed in a write": (killing.kill_in_write, ("write", 0), KILLED, 2),
    "killed before the former file is kept": (killing.kill_in_write, ("former", 0), KILLED, 2),
    "killed before the rename": (killing.kill_in_write, ("rename", 0), KILLED, 2),
    "SIGTERM": (killing.end_in_step, (signal.SIGTERM, 1, 0), 128 + 15, 6),
    "SIGTERM, with workers": (killing.end_in_step, (signal.SIGTERM, 1, 2), 128 + 15, 6),
    "Ctrl-C": (killing.end_in_step, (signal.SIGINT, 1, 0), FAILED, 6),
    "Ctrl-C twice": (killing.end_in_step, (signal.SIGINT, 2, 0), FAILED, 4),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_was_ended_goes_on_to_the_same_numbers(
    case: str, reference: Path, tmp_path: Path
) -> None:
    end, args, status, position = CASES[case]
    assert killing.run(end, tmp_path, *args) == status
    run = read_checkpoint(tmp_path / "base.pt")["run"]
    assert run["epoch"] * 4 + run["step"] == position
    assert killing.run(killing.whole, tmp_path, args[-1]) == 0
    assert killing.noted(tmp_path) == killing.noted(reference)
    found, expected = (read_checkpoint(f / "base.pt")["model"] for f in (tmp_path, reference))
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"base.pt", "base-previous.pt", "base.csv", "base.lock", "log"}
