from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from super_selfish.training.schedules import (
    Cosine,
    WarmupCosine,
    advance,
    build_schedule,
    constant,
    step_schedule,
    steps_every_update,
    wants_length,
)


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)


def rates(schedule: LRScheduler, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(float(schedule.get_last_lr()[0]))
        schedule.optimizer.step()
        schedule.step()
    return found


def test_cosine_has_its_closed_form() -> None:
    found = rates(WarmupCosine(optimizer(), 8, end_lr=1.0), 9)
    expected = [1 + 0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(9)]
    assert found == pytest.approx(expected)


def test_warm_up_rises_in_a_line() -> None:
    found = rates(WarmupCosine(optimizer(), 40, warmup_steps=4), 6)
    assert found[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert found[5] == pytest.approx(1 + math.cos(math.pi / 36))


@pytest.mark.parametrize(
    ("schedule", "epochs", "warmup"),
    [
        ("cosine", 1000, 10 * 3),
        ("cosine", 200, 10 * 3),
        ("cosine", 100, 10 * 3),
        ("cosine", 50, 5 * 3),
        ("cosine", 5, 1),  # of 15 updates
        ("cosine", 1, 0),
        (Cosine(), 1000, 10 * 3),
        (Cosine(warmup_epochs=5), 1000, 5 * 3),
        (Cosine(warmup_epochs=5), 6, 5 * 3),  # as asked for, though it is most of the run
        (Cosine(warmup_epochs=0.34), 20, 1),
        (Cosine(warmup_epochs=0), 1000, 0),
    ],
)
def test_a_warm_up_lasts_ten_epochs_or_as_long_as_one_says(
    schedule: str | Cosine, epochs: int, warmup: int
) -> None:
    built = build_schedule(schedule, optimizer(), 3 * epochs, epochs)
    assert isinstance(built, WarmupCosine)
    assert built.warmup_steps == warmup
    assert built.total_steps == 3 * epochs
    found = rates(built, 3 * epochs)
    peak = max(found)
    assert peak == pytest.approx(2.0, rel=0.01)
    assert found[: warmup + 1] == sorted(found[: warmup + 1])
    assert found[warmup:] == sorted(found[warmup:], reverse=True)


def test_an_end_value_is_reached_by_all_groups_and_none_rises_to_it() -> None:
    two = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups: list[dict[str, Any]] = [{"params": two[:1]}, {"params": two[1:], "lr": 1e-4}]
    cosine = build_schedule(Cosine(end_lr=1e-3), torch.optim.SGD(groups, lr=2.0), 20, 20)
    for _ in range(20):
        cosine.optimizer.step()
        cosine.step()
    assert cosine.get_last_lr() == pytest.approx([1e-3, 1e-4])


def test_a_longer_run_goes_on_from_a_stored_position() -> None:
    first = WarmupCosine(optimizer(), 10)
    rates(first, 5)
    second = WarmupCosine(optimizer(), 20)
    second.load_state_dict(first.state_dict())
    assert second.total_steps == 20
    assert second.last_epoch == 5


def test_schedules_by_name_and_function() -> None:
    assert isinstance(build_schedule("cosine", optimizer(), 10), WarmupCosine)
    assert isinstance(build_schedule(constant, optimizer(), 10), StepLR)
    with pytest.raises(ValueError, match=r"^lr_scheduler is .cosine., a Cosine.* got 'linear'$"):
        build_schedule("linear", optimizer(), 10)


def remembering(got: dict[str, int]) -> Callable[..., LRScheduler]:
    def schedule(optimizer: Any, total_steps: int, *, epochs: int = 7) -> LRScheduler:
        got.update(total_steps=total_steps, epochs=epochs)
        return LambdaLR(optimizer, lambda step: 1 - step / total_steps)

    return schedule


def test_a_function_learns_the_lengths_that_it_has_parameters_for() -> None:
    got: dict[str, int] = {}
    built = build_schedule(remembering(got), optimizer(), 12, 4)
    assert got == {"total_steps": 12, "epochs": 7}  # what has a value keeps it
    assert steps_every_update(built)
    assert rates(built, 4) == pytest.approx([2.0, 2 * 11 / 12, 2 * 10 / 12, 2 * 9 / 12])
    by_epoch = build_schedule(
        lambda optimizer, epochs: StepLR(optimizer, epochs // 2), optimizer(), 12, 4
    )
    assert isinstance(by_epoch, StepLR)
    assert by_epoch.step_size == 2
    assert not steps_every_update(by_epoch)
    a_turn = build_schedule(
        lambda optimizer, steps_per_epoch: StepLR(optimizer, steps_per_epoch), optimizer(), 12, 4
    )
    assert isinstance(a_turn, StepLR)
    assert a_turn.step_size == 3
    assert steps_every_update(a_turn)


def test_torch_s_one_cycle_needs_its_peak_alone() -> None:
    built = build_schedule(partial(OneCycleLR, max_lr=1.0), optimizer(), 10, 2)
    found = rates(built, 9)
    assert max(found) == pytest.approx(1.0)
    assert found.index(max(found)) == 2  # it rises for 30 % of the run
    own = build_schedule(partial(OneCycleLR, max_lr=1.0, total_steps=40), optimizer(), 10, 2)
    assert isinstance(own, OneCycleLR)
    assert own.total_steps == 40


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (CosineAnnealingLR, "but CosineAnnealingLR wants T_max too: give functools.partial(Cosine"),
        (lambda optimizer, steps: StepLR(optimizer, steps), "but <lambda> wants steps too: give"),
        (partial(ReduceLROnPlateau, patience=2), "ReduceLROnPlateau waits for a measurement"),
        (lambda optimizer: None, "must give a schedule such as those in torch.optim.lr_scheduler"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(wrong: Any, message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        build_schedule(wrong, optimizer(), 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cosine(warmup_epochs=-1), "warmup_epochs must be >= 0, got -1"),
        (lambda: Cosine(end_lr=-1e-6), "end_lr must be >= 0, got -1e-06"),
        (lambda: WarmupCosine(optimizer(), 0), "total_steps must be at least 1, got 0"),
        (lambda: Cosine(warmup_epochs=math.inf), "warmup_epochs must be >= 0, got inf"),
        (lambda: Cosine(end_lr=math.nan), "end_lr must be >= 0, got nan"),
        (lambda: WarmupCosine(optimizer(), 4, -1), "warmup_steps must be from 0 to 3, fewer than"),
        (lambda: WarmupCosine(optimizer(), 4, 0, -0.1), "end_lr must be from 0 to lr, which is 2"),
        (lambda: WarmupCosine(optimizer(), 4, 4), "warmup_steps must be from 0 to 3, fewer than"),
        (
            lambda: build_schedule(Cosine(end_lr=3.0), optimizer(), 10),
            "end_lr must be from 0 to lr, which is 2.0, got 3.0",
        ),
        (
            lambda: build_schedule(Cosine(warmup_epochs=5), optimizer(), 15, 5),
            "warmup_epochs=5 must be fewer than the 5 epochs of the run",
        ),
    ],
)
def test_numbers_out_of_their_range_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_the_last_numbers_of_their_range_are_taken() -> None:
    assert rates(WarmupCosine(optimizer(), 1), 1) == [2.0]
    assert rates(WarmupCosine(optimizer(), 4, 3), 4) == pytest.approx([2 / 3, 4 / 3, 2.0, 2.0])
    assert rates(WarmupCosine(optimizer(), 4, end_lr=2.0), 4) == [2.0] * 4  # which is lr
    assert rates(WarmupCosine(optimizer(), 2, end_lr=0.5), 5)[2:] == [0.5] * 3  # and stays there


def test_a_run_of_no_epochs_has_a_schedule() -> None:
    got: list[tuple[int, int]] = []

    def schedule(optimizer: Any, steps_per_epoch: int, epochs: int) -> LRScheduler:
        got.append((steps_per_epoch, epochs))
        return StepLR(optimizer, 1)

    build_schedule(schedule, optimizer(), 1, 0)
    assert got == [(1, 0)]


@pytest.mark.parametrize(
    ("schedule", "wants"),
    [
        ("cosine", True),
        (Cosine(), True),
        (partial(OneCycleLR, max_lr=1.0), True),
        (constant, False),
        (partial(StepLR, step_size=3), False),
    ],
)
def test_which_schedules_want_to_know_how_long_the_run_is(schedule: Any, wants: bool) -> None:
    assert wants_length(schedule) == wants


def test_only_schedules_that_say_so_count_updates() -> None:
    assert steps_every_update(WarmupCosine(optimizer(), 10))
    assert not steps_every_update(constant(optimizer()))


def test_the_default_keeps_the_rate() -> None:
    assert set(rates(constant(optimizer()), 201)) == {2.0}


@pytest.mark.filterwarnings("error")
def test_a_schedule_goes_on_without_updates_and_without_a_complaint() -> None:
    ahead = StepLR(optimizer(), step_size=1, gamma=0.5)
    advance(ahead, 3)
    assert ahead.get_last_lr() == [0.25]
    left_out = StepLR(optimizer(), step_size=1, gamma=0.5)
    step_schedule(left_out, moved=False)
    assert left_out.get_last_lr() == [1.0]
    with pytest.warns(UserWarning, match="Detected call of `lr_scheduler"):
        step_schedule(StepLR(optimizer(), step_size=1), moved=True)  # which is not so here


@pytest.mark.parametrize(
    "schedule", [lambda optimizer: object(), lambda optimizer: type("Half", (), {"step": None})()]
)
def test_what_cannot_be_stepped_and_stored_is_no_schedule(schedule: Any) -> None:
    with pytest.raises(TypeError, match="must give a schedule such as those"):
        build_schedule(schedule, optimizer(), 10)


def test_an_interval_of_its_own_is_kept() -> None:
    class ByEpoch(LambdaLR):
        interval = "epoch"

        def __init__(self, optimizer: Any, total_steps: int) -> None:
            super().__init__(optimizer, lambda step: 1 - step / total_steps)

    assert not steps_every_update(build_schedule(ByEpoch, optimizer(), 12, 4))


def one_after_the_other(optimizer: torch.optim.Optimizer) -> SequentialLR:
    return SequentialLR(optimizer, [StepLR(optimizer, 1, 0.5), StepLR(optimizer, 1, 0.1)], [2])


TWO_IN_ORDER: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "alone": one_after_the_other,
    "in a chain": lambda optimizer: ChainedScheduler([one_after_the_other(optimizer)]),
}


@pytest.mark.parametrize("make", TWO_IN_ORDER.values(), ids=TWO_IN_ORDER.keys())
def test_the_second_of_two_schedules_begins_without_a_warning(make: Callable[..., Any]) -> None:
    own = optimizer()
    schedule = make(own)
    found = []
    for _ in range(4):  # torch 2.4 warns at the third of what SequentialLR does
        found.append(own.param_groups[0]["lr"])
        own.step()
        step_schedule(schedule, moved=True)
    assert found == pytest.approx([2.0, 1.0, 2.0, 0.2])
    again = optimizer()
    advance(make(again), 3)
    assert again.param_groups[0]["lr"] == pytest.approx(0.2)


class Complaining(SequentialLR):
    """Complains where it begins the next one, as that of torch 2.4 does."""

    def step(self, epoch: int | None = None) -> None:
        if self.last_epoch + 1 in self._milestones:
            warnings.warn(
                "The epoch parameter in `scheduler.step()` was not necessary", stacklevel=1
            )
        super().step()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("inside", ["alone", "in a chain", "of a player"])
def test_a_complaint_of_the_change_to_the_next_schedule_is_kept_back(inside: str) -> None:
    own = optimizer()
    schedule: Any = Complaining(own, [StepLR(own, 1, 0.5), StepLR(own, 1, 0.1)], [2])
    outer: Any = {
        "alone": lambda: schedule,
        "in a chain": lambda: ChainedScheduler([schedule]),
        "of a player": lambda: Players(first=StepLR(own, 1, 1.0), second=schedule),
    }[inside]()
    found = []
    for _ in range(4):
        found.append(own.param_groups[0]["lr"])
        own.step()
        step_schedule(outer, moved=True)
    assert found == pytest.approx([2.0, 1.0, 2.0, 0.2])


class Players(dict[str, Any]):
    """Schedules by player, which step as one."""

    def step(self) -> None:
        for each in self.values():
            each.step()


def test_what_a_schedule_says_once_is_not_said_at_every_step() -> None:
    class Talking(StepLR):
        def step(self, epoch: int | None = None) -> None:
            warnings.warn("look at this", stacklevel=1)
            super().step(epoch)

    own = optimizer()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        schedule = Talking(own, 1, 0.5)
        for _ in range(3):
            own.step()
            step_schedule(schedule, moved=True)
    assert [str(each.message) for each in said] == ["look at this"]
