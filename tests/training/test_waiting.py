"""Processes that wait for one that does not come."""

from __future__ import annotations

import logging

import pytest
import torch.distributed as dist

from super_selfish.training import waiting
from super_selfish.training.waiting import wait_for_all


@pytest.fixture
def alone_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of three processes, of which the third never comes."""
    store = dist.HashStore()
    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", lambda: store)
    for name, value in (("is_distributed", True), ("world_size", 3), ("rank", 1)):
        monkeypatch.setattr(waiting, name, lambda value=value: value)
    monkeypatch.setattr(waiting, "_meetings", iter([7]))
    store.set("super_selfish/7/0", "here")
    store.add("super_selfish/7", 1)


@pytest.mark.usefixtures("alone_of_two")
def test_who_is_missing_is_told_and_in_the_end_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.01)
    monkeypatch.setattr(waiting, "LONGEST", 0.03)
    words = r"^load\(\) is for all 3 processes at once, and has waited for 0 s for process 2\. "
    with caplog.at_level(logging.WARNING), pytest.raises(RuntimeError, match=words):
        wait_for_all("load()")
    assert caplog.messages == []  # the first of those that are here says so, for all


@pytest.mark.usefixtures("alone_of_two")
def test_nothing_is_awaited_once_all_are_here() -> None:
    store = dist.distributed_c10d._get_default_store()
    store.add("super_selfish/7", 1)
    wait_for_all("load()")
    assert store.get("super_selfish/7/all") == b"here"


@pytest.mark.usefixtures("alone_of_two")
def test_after_half_a_minute_it_is_told_once_and_after_half_an_hour_it_is_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now, told_at = 0.0, list[float]()
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        naps.append(seconds)
        if caplog.messages and not told_at:
            told_at.append(now - seconds)

    monkeypatch.setattr(waiting, "rank", lambda: 0)  # the first of those that are here
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now)
    monkeypatch.setattr(waiting.time, "sleep", sleep)
    with caplog.at_level(logging.WARNING), pytest.raises(RuntimeError, match="for 30 s for"):
        wait_for_all("load()")
    (said,) = caplog.messages
    assert said.startswith("load() is for all 3 processes at once, and has waited for 30 s for ")
    assert 30.0 <= told_at[0] < 30.3 and 1800.0 <= now < 1800.3
    assert naps[:8] == [0.001 * 2**number for number in range(8)] and set(naps[8:]) == {0.25}
