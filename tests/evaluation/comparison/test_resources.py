from __future__ import annotations

import sys
import time

import pytest
import torch

from super_selfish.evaluation.comparison.resources import INTERVAL, PeakMemory, machine

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


@on_linux
def test_what_is_held_for_a_while_is_seen() -> None:
    added = hold(60)
    assert added is not None
    assert 55 * MB < added < 90 * MB


@on_linux
def test_equal_work_shows_equal_numbers_one_after_the_other() -> None:
    hold(60)
    small, large = hold(20), hold(60)
    assert small is not None
    assert large is not None
    assert 15 * MB < small < 40 * MB
    assert 55 * MB < large < 90 * MB


def test_the_machine_is_told_in_plain_values() -> None:
    told = machine(torch.device("cpu"))
    assert told["threads"] == torch.get_num_threads()
    assert all(isinstance(value, str | int) for value in told.values())
