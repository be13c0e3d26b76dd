from __future__ import annotations

import math
from pathlib import Path
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
    assert float(supervisor.weight.detach()) == pytest.approx(start - 0.5 * epochs * sum(steps))
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
