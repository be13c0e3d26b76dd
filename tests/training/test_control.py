"""The group of small messages, and what fails in one process: with pretended processes."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from super_selfish.training import control
from super_selfish.training.control import agreed, open_control


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The backends of groups that were made; none is at the beginning."""
    backends: list[str] = []

    def make(backend: str) -> str:
        backends.append(backend)
        return f"group {len(backends)}"

    monkeypatch.setattr(control, "_groups", {})
    monkeypatch.setattr(dist, "new_group", make)
    monkeypatch.setattr(dist, "get_backend", lambda: "nccl")
    monkeypatch.setattr(dist, "group", SimpleNamespace(WORLD="the first world"))
    yield backends


def test_a_group_over_processors_is_made_once_where_tensors_go_elsewhere(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_control()
    open_control()
    assert made == ["gloo"] and control._groups == {"the first world": "group 1"}
    monkeypatch.setattr(dist, "group", SimpleNamespace(WORLD="the next world"))
    open_control()
    assert control._groups == {"the next world": "group 2"}  # nothing of the first is kept


def test_no_group_is_made_where_tensors_go_over_processors_too(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dist, "get_backend", lambda: "gloo")
    open_control()
    assert made == [] and control._groups == {}


@pytest.mark.parametrize("own_rank", [0, 1])
def test_the_error_is_that_of_the_first_process_that_has_failed(
    own_rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors, heard = (KeyError("here"), OSError("there")), (KeyError("told"), OSError("told"))
    monkeypatch.setattr(dist, "get_rank", lambda: own_rank)
    for has_failed in ((True, True), (True, False), (False, True), (False, False)):
        said = [one if has else None for one, has in zip(heard, has_failed, strict=True)]
        monkeypatch.setattr(control, "of_all", lambda own, group, said=said: said)

        def work(has: bool = has_failed[own_rank]) -> str:
            if has:
                raise errors[own_rank]
            return "done"

        if not any(has_failed):
            assert agreed(work) == "done"
            continue
        first = has_failed.index(True)
        with pytest.raises((KeyError, OSError)) as caught:
            agreed(work)
        # Its own error a process has itself, with the traceback; of others it hears.
        assert caught.value is (errors[first] if first == own_rank else heard[first])
