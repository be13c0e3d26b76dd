"""What a process does of what it has told another one, and that one it.

Whether real processes tell one another so: see `tests/training/test_agreement.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from super_selfish.supervisors import meeting
from super_selfish.supervisors.meeting import Meeting
from super_selfish.training import distributed
from super_selfish.training.agreement import (
    Agreed,
    LostProcessError,
    OtherProcessError,
    Told,
)
from super_selfish.training.finite import NonFiniteLossError

NOTHING, FAILS, ENDS = Told(), Told(fails=1), Told(leaves=1)
THEIRS, MINE, OF_NOBODY = "Error: theirs", "ValueError: mine", None


def of_two(
    monkeypatch: pytest.MonkeyPatch, others: Iterable[Told], why: Any = THEIRS
) -> tuple[Meeting, list[Any]]:
    """A meeting with another process, of which it is said what that tells, and why it fails.

    And a list, to be filled with what is told it: wishes, and where one fails the error in words.
    """
    told: list[Any] = []
    tells = iter(others)

    def agree(own: Told, wanted: Any, images: int) -> Agreed:
        told.append(own)
        both = zip(own, next(tells), strict=True)
        return Agreed(Told(*map(sum, both)), None, (images, images))

    def of_all(own: Any) -> list[Any]:
        if own == []:  # images that could not be read: neither has any
            return [[], []]
        told.append(own)
        return [own, why]

    monkeypatch.setattr(meeting, "agree", agree)
    monkeypatch.setattr(meeting, "of_all", of_all)
    monkeypatch.setattr(meeting, "send_statistics", lambda networks: None)
    monkeypatch.setattr(distributed, "is_distributed", lambda: True)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    run: Any = SimpleNamespace(history=SimpleNamespace(join=lambda: None))
    feed: Any = SimpleNamespace(left_out=SimpleNamespace(told=[], know=list))
    keeper: Any = SimpleNamespace(requested=None)
    return Meeting(run, feed, keeper, nn.Identity()), told


@pytest.mark.parametrize(
    ("error", "others", "told"),
    [
        (None, [ENDS, NOTHING], [ENDS, NOTHING]),
        (ValueError("mine"), [ENDS, NOTHING], [FAILS, MINE, NOTHING]),  # at the end all know it
        (ValueError("mine"), [FAILS, NOTHING], [FAILS, MINE, NOTHING]),
        (LostProcessError("gone"), [], []),
    ],
)
def test_an_error_is_told_once_and_raised_by_who_has_it(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, others: list[Told], told: list[Any]
) -> None:
    met, found = of_two(monkeypatch, others)
    met.close(type(error), error, None)
    assert found == told


@pytest.mark.parametrize(
    ("others", "why", "told", "words"),
    [
        ([FAILS], THEIRS, [ENDS, OF_NOBODY], "process 1 failed, and all have ended: Error: theirs"),
        ([ENDS, FAILS], THEIRS, [ENDS, NOTHING, OF_NOBODY], "process 1 failed, .*: Error: theirs"),
        ([NOTHING], OF_NOBODY, [ENDS, OF_NOBODY], "process another failed, .*before the others"),
    ],
)
def test_who_has_not_failed_says_at_the_end_that_another_has(
    monkeypatch: pytest.MonkeyPatch,
    others: list[Told],
    why: str | None,
    told: list[Any],
    words: str,
) -> None:
    met, found = of_two(monkeypatch, others, why)
    with pytest.raises(OtherProcessError, match=words):
        met.close(None, None, None)
    assert found == told


def test_an_error_after_all_have_parted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    met, told = of_two(monkeypatch, [ENDS, NOTHING])
    met.part(None, None, None)
    met.close(OSError, OSError("no space left"), None)
    assert told == [ENDS, FAILS, "OSError: no space left"]


def test_nobody_waits_for_a_process_that_failed_within_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for error, told in (
        (ValueError("mine"), []),  # the others wait for its tensors
        (NonFiniteLossError(4, "loss", 3), [FAILS, NOTHING]),  # which all have
    ):
        met, found = of_two(monkeypatch, [FAILS, NOTHING])
        met.is_in_step = True
        met.close(type(error), error, None)
        assert [each for each in found if isinstance(each, Told)] == told


def test_all_know_of_images_that_any_of_them_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    met, _ = of_two(monkeypatch, [Told(unreadable=1), NOTHING], ["7: theirs"])
    left_out: list[str] = []
    met._feed = SimpleNamespace(  # type: ignore[assignment]
        unreadable=["3: mine"], images=4, left_out=SimpleNamespace(meet=left_out.extend)
    )
    met._run = SimpleNamespace(  # type: ignore[assignment]
        **{"stopped_by": None, "is_late": False, "all_stop": False, "global_step": 0},
        **{"progress": False, "callbacks": SimpleNamespace(listen_at=lambda step: False)},
    )
    met._keeper = SimpleNamespace(  # type: ignore[assignment]
        requested=None, wants_to_store=False, obey=lambda signal, stores: None
    )
    monkeypatch.setattr(distributed, "share", lambda images: None)
    met.settle(has_batch=True)
    assert left_out == ["3: mine", "7: theirs"]
    met.settle()  # of no batch none is told
    assert left_out == ["3: mine", "7: theirs"]


@pytest.mark.parametrize("listener", ["mine", "theirs", "nobody"])
def test_what_any_process_listens_to_is_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, listener: str
) -> None:
    met, told = of_two(monkeypatch, [Told(listens=int(listener == "theirs"))])
    mine = listener == "mine"
    run, keeper = met._run, met._keeper
    stated = {"stopped_by": None, "is_late": False, "all_stop": False, "progress": False}
    vars(run).update(stated, global_step=5)
    vars(run)["callbacks"] = SimpleNamespace(listen_at=lambda step: mine and step == 6)
    vars(keeper).update(wants_to_store=False, obey=lambda signal, stores: None)
    monkeypatch.setattr(meeting, "mean_of_all", lambda values: "of all")
    values: Any = "of this one"
    assert met.mean(values) == values
    met.settle()
    assert told[0].listens == mine
    assert met.mean(values) == (values if listener == "nobody" else "of all")
