from __future__ import annotations

import threading
from collections import OrderedDict

import pytest
import torch

from super_selfish.training import later
from super_selfish.training.later import Later, copied, is_worth_a_copy


def test_work_is_done_beside_and_waited_for() -> None:
    work, may_end = Later(), threading.Event()
    found: list[str] = []

    def write() -> None:
        may_end.wait(60)
        found.append(threading.current_thread().name)

    assert (work.is_busy, work.is_done) == (False, False)
    work.begin(write)
    assert (work.is_busy, work.is_done, found) == (True, False, [])
    may_end.set()
    work.settle()
    assert (work.is_busy, work.is_done, found) == (False, False, ["checkpoint"])
    work.settle()  # nothing is left to wait for


def test_what_the_work_raises_is_raised_once_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise OSError("no room")

    work = Later()
    work.begin(fail)
    with pytest.raises(OSError, match="no room"):
        work.settle()
    work.settle()
    work.begin(lambda: None)
    work.settle()


def test_a_copy_holds_what_was_there_and_moves_no_more() -> None:
    weight, sparse = torch.arange(6.0).reshape(2, 3), torch.eye(2).to_sparse()
    model = OrderedDict(weight=weight, tied=weight, row=torch.ones(3).expand(2, 3), none=sparse)
    model._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    given = {"model": model, "run": [1, ("a", weight.T)], "empty": torch.empty(0)}

    held = copied(given)
    weight.zero_()

    assert torch.equal(held["model"]["weight"], torch.arange(6.0).reshape(2, 3))
    assert held["model"]["tied"] is held["model"]["weight"]  # one in memory and in the file
    assert torch.equal(held["run"][1][1], torch.arange(6.0).reshape(2, 3).T)
    assert torch.equal(held["model"]["none"].to_dense(), torch.eye(2))
    assert held["model"]._metadata == {"": {"version": 1}}
    assert held["run"][0] == 1 and type(held["run"][1]) is tuple
    assert held["empty"].shape == (0,)


def test_only_what_is_large_is_copied_and_only_where_there_is_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = {"model": {"bank": torch.zeros(1000)}, "run": [torch.zeros(1000)]}  # 8000 bytes
    assert not is_worth_a_copy(state)
    monkeypatch.setattr(later, "LARGE", 8000)
    for free, is_enough in ((None, True), (16_000, True), (15_999, False)):
        monkeypatch.setattr(later, "free_memory", lambda device, free=free: free)
        assert is_worth_a_copy(state) == is_enough
    monkeypatch.setattr(later, "LARGE", 8001)
    assert not is_worth_a_copy(state)
