from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from super_selfish.data import Batch, Collator, to_unit_range
from super_selfish.models import CombinedNet
from super_selfish.supervisors import Supervisor
from super_selfish.training.run import NonFiniteLossError, Run, parse_interval


@pytest.mark.parametrize(
    ("every", "steps", "seconds"),
    [
        (None, None, None),
        (50, 50, None),
        ("30s", None, 30),
        ("1.5 min", None, 90),
        ("2h", None, 7200),
    ],
)
def test_intervals(every: int | str | None, steps: int | None, seconds: float | None) -> None:
    assert parse_interval(every, "every") == (steps, seconds)


@pytest.mark.parametrize("every", [0, -1, "10", "ten minutes", "5 days"])
def test_what_is_no_interval_is_refused(every: int | str) -> None:
    with pytest.raises(ValueError, match="checkpoint_every is a number of steps, or a time"):
        parse_interval(every, "checkpoint_every")


class Shown(NamedTuple):
    images: Tensor


class InOrder(Collator):
    """Images as they are; batch after batch in the order of the dataset."""

    def augment(self, batch: Batch, generator: torch.Generator) -> Shown:
        return Shown(to_unit_range(batch.images))


class Line(Supervisor):
    """Fits one weight to the mean brightness of each image: a gradient that can be written down."""

    def __init__(self, images: Tensor) -> None:
        network = CombinedNet(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Flatten(), nn.Linear(1, 1)))
        super().__init__(network, images, nn.MSELoss(), InOrder())
        self.seen: list[tuple[int, bool, bool]] = []
        self.stop_at = -1

    @property
    def weight(self) -> Tensor:
        return next(p for p in self.model.parameters() if p.ndim == 2)

    def _forward(self, data: Any) -> Tensor:
        assert self.run is not None
        if self.run.global_step == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append((self.run.step, self.run.updates_now, self.run.is_between_updates))
        return (self.weight.flatten() * data.images.mean(dim=(1, 2, 3))).mean()


@pytest.mark.parametrize(
    ("batches", "accumulate", "updates"),
    [
        (1, 1, [1]),
        (4, 1, [1, 1, 1, 1]),
        (4, 2, [2, 2]),
        (5, 2, [2, 2, 1]),
        (5, 3, [3, 2]),
        (7, 3, [3, 3, 1]),
        (2, 5, [2]),
    ],
)
def test_what_is_left_of_an_epoch_is_an_update_of_its_own_and_weighs_as_much(
    batches: int, accumulate: int, updates: list[int]
) -> None:
    images = torch.rand(2 * batches, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    supervisor = Line(images)
    start = float(supervisor.weight.detach())
    epochs = 2
    supervisor.supervise(
        0.5, torch.optim.SGD, epochs, 2, name=None, accumulate=accumulate, shuffle=False
    )
    # The gradient of a batch is its mean brightness; of an update the mean over its batches.
    brightness = images.mean(dim=(1, 2, 3)).view(batches, 2).mean(dim=1)
    steps = [float(part.mean()) for part in brightness.split(updates)]
    expected_weight = start - 0.5 * epochs * sum(steps)  # of a drawn start, so it may be near 0
    assert float(supervisor.weight.detach()) == pytest.approx(expected_weight, abs=1e-6)
    assert supervisor.run is not None
    assert supervisor.run.total_updates == epochs * len(updates)
    assert supervisor.run.global_step == epochs * batches
    ends = [sum(updates[: i + 1]) - 1 for i in range(len(updates))]
    expected = [(s, s in ends, s == 0 or s - 1 in ends) for s in range(batches)] * epochs
    assert supervisor.seen == expected


def test_a_schedule_that_counts_updates_takes_one_step_an_update() -> None:
    images = torch.rand(10, 1, 32, 32)
    supervisor = Line(images)
    rates: list[float] = []

    class Counted(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            rates.append(self.param_groups[0]["lr"])
            super().step(closure)

    supervisor.supervise(
        1.0, Counted, 2, 2, name=None, accumulate=2, shuffle=False, lr_scheduler="cosine"
    )
    assert len(rates) == 6  # two full updates and one of one batch, twice
    # Too short to warm up: half a cosine over six updates.
    assert rates == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(6)])


@pytest.mark.parametrize("every", [1, 2, 3])
def test_checkpoints_come_at_every_so_many_steps_and_never_amid_an_update(
    every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Line(torch.rand(14, 1, 32, 32))
    due: list[int] = []
    original = Run.wrote_checkpoint

    def wrote(run: Run) -> None:
        due.append(run.global_step)
        original(run)

    monkeypatch.setattr(Run, "wrote_checkpoint", wrote)
    supervisor.supervise(
        0.1,
        torch.optim.SGD,
        1,
        2,
        name=tmp_path / "a",
        accumulate=2,
        checkpoint_every=every,
    )
    between = {2, 4, 6, 7}
    wanted = {step for step in between if step % every == 0}
    assert wanted <= set(due) <= wanted | {0, 7}  # tried before the first step, and kept at the end


@pytest.mark.parametrize(("stop_at", "epochs"), [(1, 1), (2, 1), (4, 1), (3, 2), (4, 2)])
def test_a_run_goes_on_up_to_its_end_and_not_from_beyond_it(
    stop_at: int, epochs: int, tmp_path: Path
) -> None:
    images = torch.rand(6, 1, 32, 32)  # three steps an epoch
    settings: dict[str, Any] = {"batch_size": 2, "name": tmp_path / "a"}
    with pytest.raises(KeyboardInterrupt):
        stopped = Line(images)
        stopped.stop_at = stop_at
        stopped.supervise(epochs=3, checkpoint_every=1, **settings)
    if stop_at > 3 * epochs:
        with pytest.raises(ValueError, match=r"the stored run has done 1 epoch and 1 step,"):
            Line(images).supervise(epochs=epochs, resume=True, **settings)
        return
    supervisor = Line(images)
    supervisor.supervise(epochs=epochs, resume=True, **settings)
    assert supervisor.run is not None
    assert supervisor.run.global_step == 3 * epochs
    assert len(supervisor.seen) == 3 * epochs - stop_at


def test_a_run_all_of_whose_updates_are_skipped_ends_with_its_first_epoch() -> None:
    class Broken(Line):
        def _forward(self, data: Any) -> Tensor:
            assert self.run is not None
            loss = super()._forward(data)
            return loss * (math.nan if self.run.global_step >= 2 else 1.0)

    supervisor = Broken(torch.rand(4, 1, 32, 32))  # the first epoch is sound, the second is not
    with pytest.raises(NonFiniteLossError, match=r"in epoch 2 no update had a finite"):
        supervisor.supervise(epochs=3, batch_size=2, name=None, on_nan="skip")
    assert supervisor.run is not None
    assert supervisor.run.epoch == 1


def bare(**changed: Any) -> Run:
    """A run of three epochs of five steps in updates of two, with nothing to train."""
    weight = nn.Parameter(torch.ones(1))
    settings: dict[str, Any] = {
        **{"name": "a", "epochs": 3, "batch_size": 2, "shuffle": True, "seed": 0},
        **{"precision": "fp32", "accumulate": 2, "clip_norm": None, "checkpoint_every": None},
        **{"time_limit": None, "progress": False, "device": torch.device("cpu")},
        **{"scaler": torch.amp.GradScaler("cpu", enabled=False), "steps_per_epoch": 5},
        "optimizer": torch.optim.SGD([weight], lr=0.5, momentum=0.9),
    }
    run = Run(**settings | changed)
    run.lr_scheduler = torch.optim.lr_scheduler.StepLR(run.optimizer, step_size=1, gamma=0.1)
    return run


@pytest.mark.parametrize(
    ("wrong", "least", "message"),
    [
        ({"epochs": -1}, {"epochs": 0}, "epochs must not be negative, got -1"),
        ({"precision": "fp8"}, {"precision": "bf16"}, r"precision is one of .*, got 'fp8'"),
        ({"accumulate": 0}, {"accumulate": 1}, "accumulate must be at least 1 batch, got 0"),
        ({"clip_norm": 0.0}, {"clip_norm": 1e-6}, r"clip_norm must be positive, got 0.0"),
        ({"keep_last": 0}, {"keep_last": 1}, "keep_last must be at least 1 file, got 0"),
        ({"time_limit": "2"}, {"time_limit": "2h"}, "time_limit is a time such as .*, got '2'"),
        ({"checkpoint_every": 0}, {"checkpoint_every": 1}, "checkpoint_every is a number of steps"),
    ],
)
def test_settings_are_refused_beyond_the_last_that_makes_sense(
    wrong: dict[str, Any], least: dict[str, Any], message: str
) -> None:
    bare(**least)
    with pytest.raises(ValueError, match=message):
        bare(**wrong)


def test_a_run_without_a_name_has_no_path() -> None:
    assert bare().path == "a"
    with pytest.raises(ValueError, match="this run stores nothing"):
        _ = bare(name=None).path


def test_a_run_is_over_when_its_time_is_up_and_no_gradients_wait() -> None:
    run = bare(time_limit="1s")
    run.step = 2
    assert not run.is_over()
    run._deadline = run.began  # which has passed
    assert run.is_over()
    run.step = 3
    assert not run.is_over()
    run.epoch, run._deadline = 3, math.inf
    assert run.is_over()


def test_a_checkpoint_comes_when_so_much_time_has_passed_since_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = bare(checkpoint_every="30s")
    now = run.began
    monkeypatch.setattr("super_selfish.training.run.time.monotonic", lambda: now)
    due = [run.checkpoint_is_due]
    now += 30.0
    due.append(run.checkpoint_is_due)
    run.step = 1  # gradients wait
    due.append(run.checkpoint_is_due)
    run.step = 4
    run.wrote_checkpoint()
    assert run.stored_step == 4
    due.append(run.checkpoint_is_due)
    now += 30.0
    due.append(run.checkpoint_is_due)
    assert due == [False, True, False, False, True]
    assert not bare().checkpoint_is_due  # no interval was named


@pytest.mark.parametrize(
    ("every", "wait"), [(None, 60.0), (1, 60.0), ("30s", 30.0), ("10min", 60.0)]
)
def test_what_could_not_be_written_is_tried_again_after_a_while(
    every: int | str | None, wait: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bare(checkpoint_every=every)
    now = 1000.0
    monkeypatch.setattr("super_selfish.training.run.time.monotonic", lambda: now)
    run.failed_to_write()
    due = []
    for more in (wait - 1.0, 1.0):
        now += more
        due.append(run.checkpoint_is_due)
    run.wrote_checkpoint()
    now, run.step = now + 1.0, 2
    due.append(run.checkpoint_is_due)
    assert due == [False, True, every == 1]


@pytest.mark.parametrize(("step", "stored"), [(0, 0), (1, 0), (2, 2), (3, 2), (4, 4), (5, 5)])
def test_amid_an_update_the_step_is_stored_that_began_it(step: int, stored: int) -> None:
    run = bare()
    run.epoch, run.step = 1, step
    assert run.state_dict()["step"] == stored
    assert run.state_dict()["epoch"] == 1
    assert run.global_step == 5 + step
    assert run.updates == 3 + (step + 1) // 2
    assert run.total_updates == 9
    assert bare(epochs=0).total_updates == 1


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"epoch": 3, "step": 0}, None),
        ({"epoch": 2, "step": 5}, None),
        ({"epoch": 2, "step": 4}, None),
        ({"epoch": 3, "step": 2}, "has done 3 epochs and 2 steps, this call wants epochs=3"),
        ({"epoch": 4, "step": 0}, "has done 4 epochs, this call wants epochs=3 in total"),
        ({"epoch": 1, "step": 3}, "stands at step 3 of an epoch of 5 steps, in updates of 2"),
        ({"epoch": 1, "step": 6}, "stands at step 6 of an epoch of 5 steps, in updates of 2"),
        ({"optimizer": None}, "the state of its optimizer, schedule or scaler has another form"),
    ],
)
def test_a_state_is_taken_where_a_run_of_this_library_can_stand(
    stored: dict[str, Any], message: str | None
) -> None:
    state = bare().state_dict() | stored
    run = bare()
    if message is None:
        run.load_state_dict(state)
        assert (run.epoch, run.step) == (stored["epoch"], stored["step"])
    else:
        with pytest.raises(ValueError, match=f"cannot resume a: .*{message}"):
            run.load_state_dict(state)


@pytest.mark.parametrize(("step", "epochs"), [(2, 1), (5, 2)])
def test_another_schedule_begins_where_the_stored_run_stopped(
    step: int, epochs: int, caplog: pytest.LogCaptureFixture
) -> None:
    run = bare()
    run.epoch, run.step = 1, step
    state = run.state_dict() | {"schedule": {"lr": 0.5}}
    longer = bare(schedule={"lr": 0.4})
    longer.load_state_dict(state)
    assert "a goes on in epoch 2, from here on with lr=0.4 instead of 0.5" in caplog.text
    assert longer.learning_rate == pytest.approx(0.5 * 0.1**epochs)  # as many as had passed


def test_a_gradient_that_stays_infinite_however_little_it_is_scaled_ends_a_run() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-14)
    run = bare(scaler=scaler)
    scaler.scale(torch.ones(1))  # which lays the scale on its device
    run.raise_if_not_finite()
    run.step = 4
    scaler.update(2.0**-15)
    with pytest.raises(NonFiniteLossError, match=r'however little .* step 3 .*precision="bf16"'):
        run.raise_if_not_finite()


def test_one_of_several_processes_ends_when_all_have_agreed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("super_selfish.training.run.is_distributed", lambda: True)
    run = bare(time_limit="2h")
    run.stop("EarlyStopping")
    run.stop("another one")
    run._deadline = run.began
    assert run.is_late
    assert not run.is_over()  # the others do not know it yet
    run.all_stop = True
    assert run.is_over() and run.cause_of_end == "EarlyStopping"


def test_one_process_ends_when_it_wants_to() -> None:
    run = bare(time_limit="2h")
    assert not run.is_over() and run.cause_of_end == "time_limit='2h'"
    run.stop("the user")
    assert run.is_over() and run.cause_of_end == "the user"


def test_a_place_amid_what_is_one_update_now_counts_until_its_epoch_ends() -> None:
    entered: list[tuple[int, int, int]] = []

    class InOne:
        """An order of the images that goes on anywhere, in steps of two."""

        is_one_order = True

        def step_after(self, seen: int) -> int:
            return seen // 2

        def enter(self, epoch: int, step: int, seen: int) -> None:
            entered.append((epoch, step, seen))

    stored = bare(num_images=24, accumulate=1, steps_per_epoch=6)
    stored.epoch, stored.step = 1, 2
    state = stored.state_dict()
    state["settings"] = {**state["settings"], "processes": 2}  # of two images each
    state["seen"] = 8
    run = bare(num_images=24, accumulate=3, steps_per_epoch=12, epochs_before=3, order=InOne())
    run.load_state_dict(state)
    assert entered == [(4, 4, 8)]

    def place(step: int) -> tuple[int, int, bool, Any, Any]:
        run.step = step
        kept = run.state_dict()
        return run.updates, run.seen, run.is_between_updates, kept["step"], kept["seen"]

    # Four updates an epoch, of three steps; it enters the second one after the first of its steps.
    assert place(4) == (5, 8, True, 4, 8)
    assert place(5) == (6, 10, False, 4, 8)  # what was added since is not stored
    assert place(6) == (6, 12, True, 6, 12)
    assert place(8) == (7, 16, False, 6, 12)
    run.epoch = 2
    assert place(4) == (10, 8, False, 3, 6)


def test_an_average_takes_in_the_update_of_its_place() -> None:
    noted: list[tuple[int, int]] = []
    average: Any = SimpleNamespace(update=lambda number, total, left: noted.append((number, total)))
    run = bare(average=average)
    for run.epoch, run.step in ((0, 1), (0, 3), (0, 4), (1, 1), (2, 4)):
        run.follow()
    assert noted == [(0, 9), (1, 9), (2, 9), (3, 9), (8, 9)]


@pytest.mark.parametrize("skipped", [2, 3])
def test_an_epoch_ends_a_run_if_none_of_its_updates_moved(skipped: int) -> None:
    run = bare()  # three updates an epoch
    run.history.count("skipped_updates", torch.tensor(skipped))
    run.step = 5
    if skipped == 3:
        with pytest.raises(NonFiniteLossError, match="in epoch 1 no update had a finite"):
            run.end_epoch()
    else:
        assert run.end_epoch()["skipped_updates"] == 2
        assert (run.epoch, run.step) == (1, 0)


def test_a_run_begins_at_its_beginning_and_keeps_two_files() -> None:
    run = bare()
    places = (run.epochs_before, run.epoch, run.step, run.watched_since, run.num_images)
    assert places == (0, 0, 0, 0, 0) and bare(steps_per_epoch=0).steps_per_epoch == 0
    assert (run.keep_last, run.stored_step, run.devices) == (2, None, [torch.device("cpu")])
    assert (run.has_advanced, run.has_exploded, run.all_stop, run.is_whole) == (*[False] * 3, True)
    others = [torch.device("meta"), torch.device("cpu")]
    assert bare(devices=others).devices == others
    written: list[int] = []
    assert run.attempt(lambda: written.append(1)) and written == [1]


def test_a_step_is_noted_with_its_times_and_what_could_not_be_read() -> None:
    class Fed:
        """What a step is told of its images."""

        images, waited, read = 3, 0.25, 0.125
        unreadable: tuple[str, ...] = ("a: DamagedError: cut off", "b: OSError: gone", "c: empty")

        def lap(self) -> float:
            return 0.5

    run = bare()
    for loss in (1.0, 2.0):
        run.end_step({"loss": torch.tensor(loss)}, Fed())
    assert (run.step, run.has_advanced) == (2, True)
    row = run.end_epoch()
    assert row == {
        **{"epoch": 1, "loss": 1.5, "lr": 0.5, "images_per_second": 6.0, "seconds": 1.0},
        **{"waited_for_data": 0.5, "unreadable": 6, "damaged": 2},
    }


@pytest.mark.parametrize(
    ("stored", "since"),
    [
        ({"watching": {"a": 1}, "watched_since": 1}, 1),
        ({"watching": {"a": 2}, "watched_since": 1}, 2),  # measured otherwise from here on
        ({}, 0),
    ],
)
def test_it_is_known_since_when_a_run_is_measured_as_now(
    stored: dict[str, Any], since: int
) -> None:
    run = bare()
    run.epoch = 2
    state = run.state_dict()
    del state["watching"], state["watched_since"]
    more = bare(watching={"a": 1})
    more.load_state_dict({**state, **stored})
    assert more.watched_since == since


def test_a_state_that_tells_no_schedule_takes_its_place_in_that_of_now(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = bare(schedule={"lr": 0.5})
    run.epoch = 2
    state = run.state_dict()
    del state["schedule"]
    more = bare(schedule={"lr": 0.4})
    more.load_state_dict(state)
    assert more.learning_rate == pytest.approx(0.5 * 0.1**2) and not caplog.messages


def test_a_stream_is_told_of_all_epochs_of_the_networks() -> None:
    told: list[Any] = []

    def note(*place: Any) -> dict[str, Any]:
        told.append(place)
        return {"at": place}

    stream: Any = SimpleNamespace(
        state_dict=note,
        load_state_dict=note,
        remark="its images begin anew",
    )
    run = bare(stream=stream, epochs_before=3)
    run.epoch, run.step = 1, 3
    state = run.state_dict()
    more = bare(stream=stream, epochs_before=3)
    more.load_state_dict(state)
    assert told == [(4, 2), ({"at": (4, 2)}, 4, 2)]  # amid an update, from its beginning
    assert more.remarks == ["its images begin anew"]
    stream.remark = None
    silent = bare(stream=stream)
    silent.load_state_dict(bare().state_dict())
    assert silent.remarks == [] and told[-1] == (None, 0, 0)
