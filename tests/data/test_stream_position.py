"""Where a stream stands is known of the last steps: a run goes on there, or says why not."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from super_selfish.data.stream_order import StreamBatches
from super_selfish.data.stream_position import Start, StreamPosition
from super_selfish.data.stream_reader import Piece

STEPS = 10
TOLD: dict[str, Any] = {"number": 0, "taken": 4, "state": {"place": 4}, "offset": 0}
UNTOLD = {**TOLD, "state": None}


def order(epoch: int = 0, step: int = 0, *, goes_on: bool = False, processes: int = 1) -> Any:
    made = StreamBatches(40 * processes, 4, shuffle=False, seed=0, rank=0, world_size=processes)
    made.goes_on = goes_on
    made.start_at(epoch, step)
    assert len(made) == STEPS
    return made


def position(
    of: StreamBatches, workers: int = 1, *, repeatable: bool = False, for_all: bool = False
) -> StreamPosition:
    stream = SimpleNamespace(counts_for_all=for_all)
    source: Any = SimpleNamespace(stream=stream, is_repeatable=repeatable)
    return StreamPosition(source, of, workers)


def piece(worker: int, place: Any) -> Piece:
    return Piece(worker, None, 4, False, place)


def stored(**others: Any) -> dict[str, Any]:
    """What a run of one reader has stored, or another one."""
    known = {"workers": 1, "readers": {"0": TOLD}, "pointer": 0, "given": 0, "again": 0}
    return {**known, "first_epoch": 0, "processes": 1, **others}


def test_where_all_stand_is_known_of_the_last_four_steps() -> None:
    of = order(2)
    here = position(of, 3)
    for step in range(1, 6):
        here.note(step, piece(step % 3, {"taken": step}), step % 2, 10 * step, 100 * step)
    nothing = {"workers": 3, "readers": {}, "pointer": 0, "given": 0, "again": 0}
    nothing |= {"first_epoch": 2, "processes": 1}
    assert here.state_dict(2, 1) == nothing  # four steps ago
    assert here.state_dict(1, 4) == nothing  # of another epoch
    assert here.state_dict(2, 2)["readers"] == {"1": {"taken": 1}, "2": {"taken": 2}}
    assert here.state_dict(2, 5) == {
        **nothing,
        "readers": {"0": {"taken": 3}, "1": {"taken": 4}, "2": {"taken": 5}},
        "pointer": 1,
        "given": 50,
        "again": 500,
    }


def test_a_piece_that_is_kept_counts_from_the_next_step_on() -> None:
    here = position(order())
    here.note(1, piece(0, "a"))
    here.keep(piece(0, "b"))
    here.note(2, None)
    assert here.state_dict(0, 1)["readers"] == {"0": "a"}
    assert here.state_dict(0, 2) == stored(readers={"0": "b"})


@pytest.mark.parametrize("processes", [1, 3])
def test_the_number_of_processes_is_stored(processes: int) -> None:
    assert position(order(processes=processes)).state_dict(0, 0)["processes"] == processes


def test_where_a_pass_begins_nothing_is_taken_up() -> None:
    for of, epoch in ((order(1), 1), (order(1, goes_on=True), 1)):
        here = position(of)
        here.load_state_dict(None, epoch, 0)
        assert here.remark is None
        assert here.begin(of) == Start(1, {})
    of = order(0, goes_on=True)
    here = position(of)
    here.load_state_dict(stored(), 1, 0)  # of an epoch that goes on from another one
    of.start_at(1)
    assert here.begin(of) == Start(1, {0: TOLD})


def test_one_goes_on_where_all_readers_have_said_where_they_stand() -> None:
    of = order()
    here = position(of, 2)
    readers = {"0": TOLD, "1": {**TOLD, "taken": 8}}
    here.load_state_dict(
        stored(workers=2, readers=readers, pointer=1, given=7, first_epoch=5), 6, 3
    )
    assert here.remark is None
    of.start_at(6, 3)
    places = {0: TOLD, 1: {**TOLD, "taken": 8}}
    assert here.begin(of) == Start(6, places, 1, 7)
    here.note(4, piece(1, UNTOLD))
    assert here.state_dict(6, 4)["readers"] == {"0": TOLD, "1": UNTOLD}
    assert here.state_dict(6, 4)["first_epoch"] == 5
    of.start_at(7)
    assert here.begin(of) == Start(7, {})  # a pass of its own, of which nothing is known
    here.note(1, None)
    assert here.state_dict(7, 1)["readers"] == {}


def test_an_epoch_that_goes_on_keeps_where_its_readers_stand() -> None:
    of = order(goes_on=True)
    here = position(of)
    here.note(1, piece(0, "a"))
    of.start_at(1)
    assert here.begin(of) == Start(1, {})
    here.note(1, None)
    assert here.state_dict(1, 1)["readers"] == {"0": "a"}


WHY_NOT = {
    "The stored run does not say where its stream stood": (None, {}),
    r"among another number of processes \(2, and now 1\)": (stored(processes=2), {}),
    r"by 2 workers and this one does by 1 \(num_workers=\)": (stored(workers=2), {}),
    "by 1 worker and this one does by 3 ": (stored(), {"workers": 3}),
    "had begun its stream again": (stored(again=1), {"repeatable": True}),
    "The stream does not say where it stands": (stored(readers={"0": TOLD, "1": UNTOLD}), {}),
}


@pytest.mark.parametrize("why", WHY_NOT)
def test_why_one_does_not_go_on_is_said_with_the_steps_that_are_left(why: str) -> None:
    state, options = WHY_NOT[why]
    of = order(4, 7)
    here = position(of, **options)  # type: ignore[arg-type]
    here.load_state_dict(state, 4, 7)
    assert here.remark is not None
    assert re.search(f"{why}.* begins for the 3 steps left of this epoch", here.remark)
    assert here.begin(of) == Start(5, {})  # the next pass
    assert here.begin(of) == Start(4, {})  # of the next epoch nothing more is to be said
    again = position(of, **options)  # type: ignore[arg-type]
    again.load_state_dict(state, 4, 9)
    assert again.remark is not None and "for the 1 step left" in again.remark


def test_one_process_of_several_says_that_the_others_have_not_stored() -> None:
    here = position(order(processes=2))
    here.load_state_dict(stored(processes=2), 0, 2)
    assert here.remark is not None and here.remark.startswith("The first process has stored")
    here = position(order(processes=2), repeatable=True)
    here.load_state_dict(stored(processes=2), 0, 2)
    assert here.remark is None


def test_what_is_counted_for_all_needs_no_readers() -> None:
    of = order(3, 2)
    here = position(of, 1, for_all=True)
    here.load_state_dict(stored(processes=5, workers=7), 3, 2)
    assert here.remark is None
    assert here.begin(of) == Start(3, {})
    here.load_state_dict(None, 3, 2)
    assert here.remark is not None


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize(("epoch", "step"), [(0, 4), (2, 1), (3, 7), (2, 0)])
@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
def test_what_repeats_itself_is_skipped_piece_by_piece(
    workers: int, epoch: int, step: int, goes_on: bool, processes: int
) -> None:
    of = order(0, goes_on=goes_on, processes=processes)
    here = position(of, workers, repeatable=True)
    readers = {} if processes == 1 else {"0": TOLD}
    state = stored(processes=processes, workers=workers, readers=readers, first_epoch=1)
    here.load_state_dict(state, epoch, step)
    of.start_at(epoch, step)
    start = here.begin(of)
    if step == 0 and not goes_on:
        assert start == Start(epoch, {})
        return
    number = 1 if goes_on else epoch
    before = range(number * STEPS, epoch * STEPS + step) if goes_on else range(step)
    pieces = {worker: sum(n % workers == worker for n in before) for worker in range(workers)}
    assert start == Start(number, {}, skipped=step, pieces=pieces)
    assert here.state_dict(9, 9)["first_epoch"] == (1 if goes_on else 0)
