from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from super_selfish.evaluation.comparison.resources import (
    INTERVAL,
    PeakMemory,
    machine,
    processor_name,
)
from tests.several import run_several

MB = 1_000_000
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")


def hold(megabytes: int) -> int | None:
    """What holding so much memory adds, until it is looked at: a busy machine looks late."""
    with PeakMemory(torch.device("cpu")) as memory:
        held = torch.ones(megabytes * MB // 4)
        deadline = time.monotonic() + 30
        while memory._peak - memory._start < 0.95 * megabytes * MB and time.monotonic() < deadline:
            time.sleep(INTERVAL)
        del held
    return memory.added


def held_in_turn(folder: Path, *megabytes: int) -> list[int | None]:
    return [hold(each) for each in megabytes]


@on_linux
def test_what_is_held_is_seen_and_equal_work_shows_equal_numbers(tmp_path: Path) -> None:
    # In a process of its own: in this one, what tests before have left may be freed meanwhile.
    [added] = run_several(1, held_in_turn, tmp_path, 60, 20, 60)
    first, small, last = added
    assert 55 * MB < first < 90 * MB
    assert 15 * MB < small < 40 * MB
    assert 55 * MB < last < 90 * MB


def test_the_machine_is_told_in_plain_values() -> None:
    told = machine(torch.device("cpu"))
    assert told["threads"] == torch.get_num_threads()
    assert all(isinstance(value, str | int) for value in told.values())


def test_an_accelerator_is_asked_for_its_peak_or_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    told: Any = SimpleNamespace(
        reset_peak_memory_stats=lambda device: asked.append("reset"),
        memory_allocated=lambda device: 100,
        max_memory_allocated=lambda device: 350,
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: told)
    with PeakMemory(torch.device("meta")) as memory:
        pass
    assert memory.added == 250 and asked == ["reset"]
    used = iter([10, 30, *[20] * 10_000])
    told = SimpleNamespace(current_allocated_memory=lambda: next(used))
    with PeakMemory(torch.device("meta")) as memory:
        pass
    assert memory.added == 20
    told = SimpleNamespace()
    with PeakMemory(torch.device("meta")) as memory:
        pass
    assert memory.added is None


def test_the_machine_is_named_by_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert machine(cpu)["device"] == processor_name()
    told: Any = SimpleNamespace(get_device_name=lambda device: "fast one")
    monkeypatch.setattr(torch, "get_device_module", lambda device: told)
    assert machine(torch.device("meta"))["device"] == "fast one"
    told = SimpleNamespace()
    assert machine(torch.device("meta"))["device"] == "meta"
