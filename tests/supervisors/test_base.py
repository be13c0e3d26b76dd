"""What every algorithm gets from the base class, seen on a pretext task of a user's own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from super_selfish.data import Batch, Collator, to_unit_range
from super_selfish.models import CombinedNet
from super_selfish.supervisors import HealthWarning, NonFiniteLossError, Supervisor
from tests.conftest import TinyBackbone

Rows = list[dict[str, float]]


class Flipped(NamedTuple):
    images: Tensor
    targets: Tensor


class FlipCollator(Collator):
    """Was the image turned upside down?"""

    def augment(self, batch: Batch, generator: torch.Generator) -> Flipped:
        images = to_unit_range(batch.images)
        targets = torch.randint(2, (len(images),), generator=generator)
        flipped = torch.where(targets[:, None, None, None].bool(), images.flip(-2), images)
        return Flipped(flipped, targets)


def flip_supervisor(images: Tensor, kind: type[Supervisor] = Supervisor) -> Supervisor:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 2))
    network = CombinedNet(TinyBackbone(), head)
    return kind(network, images, nn.CrossEntropyLoss(), FlipCollator())


def losses(supervisor: Supervisor) -> list[float]:
    return [row["loss"] for row in supervisor.history]


def weights(supervisor: Supervisor) -> Tensor:
    return torch.cat([value.flatten().double() for value in supervisor.state_dict().values()])


def settings(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"epochs": 3, "batch_size": 4, "name": tmp_path / "base", "lr": 0.01, **more}


class Stop(Exception):
    """Stands for anything that goes wrong in a step."""


class StopsAt(Supervisor):
    """Stops before a step, as Ctrl-C, or a broken image, or a full disk would."""

    stop_at = -1
    error: type[BaseException] = Stop

    def _forward(self, data: Any) -> Any:
        assert self.run is not None
        if self.run.global_step == self.stop_at:
            raise self.error
        return super()._forward(data)


def test_a_pretext_task_of_ones_own_learns(images: Tensor, tmp_path: Path) -> None:
    supervisor = flip_supervisor(images)
    assert supervisor.supervise(**settings(tmp_path, epochs=25)) is supervisor
    assert sum(losses(supervisor)[-10:]) / 10 < 0.6 * losses(supervisor)[0]
    assert [row["epoch"] for row in supervisor.history] == list(range(1, 26))


def test_the_same_seed_gives_the_same_run_with_any_number_of_workers(
    images: Tensor, tmp_path: Path
) -> None:
    runs = []
    for seed, num_workers in [(0, 0), (0, 2), (1, 0)]:
        supervisor = flip_supervisor(images)
        supervisor.supervise(**settings(tmp_path, seed=seed, num_workers=num_workers, name=None))
        runs.append((losses(supervisor), weights(supervisor)))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]


@pytest.mark.parametrize("stop_at", [1, 4, 6, 8, 13])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_equals_one_that_never_stopped(
    images: Tensor, tmp_path: Path, stop_at: int, accumulate: int
) -> None:
    options = settings(
        tmp_path,
        accumulate=accumulate,
        checkpoint_every=1,
        optimizer=torch.optim.Adam,
        lr_scheduler=lambda optimizer: StepLR(optimizer, 1, 0.5),
    )
    whole = flip_supervisor(images).supervise(**{**options, "name": None})
    stopped = flip_supervisor(images, StopsAt)
    stopped.stop_at = stop_at  # type: ignore[assignment]
    with pytest.raises(Stop):
        stopped.supervise(**options)
    resumed = flip_supervisor(images, StopsAt)
    resumed.supervise(**options, resume=True)
    assert torch.equal(weights(resumed), weights(whole))
    assert losses(resumed) == losses(whole)
    assert len(resumed.history) == 3


def test_resume_starts_afresh_where_there_is_nothing(images: Tensor, tmp_path: Path) -> None:
    fresh = flip_supervisor(images).supervise(**settings(tmp_path, name=None))
    resumed = flip_supervisor(images).supervise(**settings(tmp_path, resume=True))
    assert losses(resumed) == losses(fresh)


def test_resume_goes_on_to_more_epochs_in_total(images: Tensor, tmp_path: Path) -> None:
    flip_supervisor(images).supervise(**settings(tmp_path, epochs=2))
    longer = flip_supervisor(images).supervise(**settings(tmp_path, epochs=4, resume=True))
    whole = flip_supervisor(images).supervise(**settings(tmp_path, epochs=4, name=None))
    assert losses(longer) == losses(whole)
    assert torch.equal(weights(longer), weights(whole))


def test_resume_refuses_another_run(images: Tensor, tmp_path: Path) -> None:
    flip_supervisor(images).supervise(**settings(tmp_path, epochs=1))
    with pytest.raises(ValueError, match=r"the stored run has batch_size=4, this call has 5"):
        flip_supervisor(images).supervise(**settings(tmp_path, batch_size=5, resume=True))


def test_pretrained_loads_weights_and_starts_anew(images: Tensor, tmp_path: Path) -> None:
    first = flip_supervisor(images).supervise(**settings(tmp_path))
    again = flip_supervisor(images)
    again.supervise(**settings(tmp_path, epochs=0, pretrained=True))
    assert torch.equal(weights(again), weights(first))
    assert again.history == []
    with pytest.raises(FileNotFoundError):
        again.supervise(**settings(tmp_path, name=tmp_path / "other", pretrained=True))


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(
    images: Tensor, tmp_path: Path
) -> None:
    class Breaks(Supervisor):
        def _forward(self, data: Any) -> Any:
            assert self.run is not None
            loss: Any = super()._forward(data)
            return loss * float("nan") if self.run.global_step == 7 else loss

    supervisor = flip_supervisor(images, Breaks)
    with pytest.raises(
        NonFiniteLossError, match=r"the loss of step 7 \(in epoch 2\) is not finite"
    ):
        supervisor.supervise(**settings(tmp_path, checkpoint_every=3))
    assert torch.isfinite(weights(supervisor)).all()
    stored = torch.load(tmp_path / "base.pt", weights_only=True)
    assert (stored["run"]["epoch"], stored["run"]["step"]) == (0, 6)  # after the sixth step


def test_an_error_in_the_first_step_spares_a_former_checkpoint(
    images: Tensor, tmp_path: Path
) -> None:
    flip_supervisor(images).supervise(**settings(tmp_path))
    former = (tmp_path / "base.pt").read_bytes()
    stopped = flip_supervisor(images, StopsAt)
    stopped.stop_at = 0  # type: ignore[assignment]
    with pytest.raises(Stop):
        stopped.supervise(**settings(tmp_path))
    assert (tmp_path / "base.pt").read_bytes() == former


def test_an_error_while_the_weights_move_stores_nothing(images: Tensor, tmp_path: Path) -> None:
    class BreaksInUpdate(Supervisor):
        def _update(self, loss: Any, optimizer: Any, lr_scheduler: Any) -> bool:
            moved = super()._update(loss, optimizer, lr_scheduler)
            if self.run is not None and self.run.global_step == 3:
                raise Stop
            return moved

    with pytest.raises(Stop):
        flip_supervisor(images, BreaksInUpdate).supervise(**settings(tmp_path))
    assert not (tmp_path / "base.pt").exists()


def test_ctrl_c_ends_the_step_stores_and_stops(images: Tensor, tmp_path: Path) -> None:
    class Interrupted(Supervisor):
        def _forward(self, data: Any) -> Any:
            if self.run is not None and self.run.global_step == 6:
                os.kill(os.getpid(), signal.SIGINT)
            return super()._forward(data)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        flip_supervisor(images, Interrupted).supervise(**settings(tmp_path))
    assert signal.getsignal(signal.SIGINT) is handler
    stored = torch.load(tmp_path / "base.pt", weights_only=True)
    assert (stored["run"]["epoch"], stored["run"]["step"]) == (1, 1)
    whole = flip_supervisor(images).supervise(**settings(tmp_path, name=None))
    resumed = flip_supervisor(images, Interrupted)
    resumed.supervise(**settings(tmp_path, resume=True))
    assert torch.equal(weights(resumed), weights(whole))


def test_the_callers_random_stream_is_left_alone(images: Tensor) -> None:
    supervisor = flip_supervisor(images)
    state = torch.get_rng_state()
    supervisor.supervise(epochs=1, batch_size=4, name=None)
    assert torch.equal(torch.get_rng_state(), state)


def test_accumulating_equals_a_larger_batch_without_batch_norm(images: Tensor) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3 * 32 * 32, 16)

        def forward(self, images: Tensor) -> Tensor:
            return self.layer(images.flatten(1))

    class Pixels(Collator):
        def augment(self, batch: Batch, generator: torch.Generator) -> Flipped:
            return Flipped(to_unit_range(batch.images), batch.index % 2)

    found = []
    for batch_size, accumulate in [(11, 1), (1, 11)]:
        torch.manual_seed(0)
        network = CombinedNet(Plain(), nn.Linear(16, 2))
        supervisor = Supervisor(network, images, nn.CrossEntropyLoss(), Pixels())
        supervisor.supervise(
            0.1, torch.optim.SGD, 2, batch_size, name=None, accumulate=accumulate, shuffle=False
        )
        found.append(weights(supervisor))
    torch.testing.assert_close(found[0], found[1])


def test_gradients_are_clipped(images: Tensor) -> None:
    supervisor = flip_supervisor(images)
    before = weights(supervisor)
    supervisor.supervise(1.0, torch.optim.SGD, 1, 22, name=None, clip_norm=1e-3)
    parameters = torch.cat([p.detach().flatten() for p in supervisor.parameters()])
    former = flip_supervisor(images)
    moved = parameters - torch.cat([p.detach().flatten() for p in former.parameters()])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-3)
    assert not torch.equal(before, weights(supervisor))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains(images: Tensor, precision: str) -> None:
    supervisor = flip_supervisor(images)
    supervisor.supervise(epochs=2, batch_size=8, name=None, precision=precision)
    assert all(torch.isfinite(torch.tensor(losses(supervisor))))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": -1}, "epochs must be at least 0, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"precision": "fp8"}, "precision is one of"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"clip_norm": 0.0}, "clip_norm must be positive, got 0.0"),
        ({"checkpoint_every": "often"}, "checkpoint_every is a number of steps, or a time"),
        ({"time_limit": "soon"}, 'time_limit is a time such as "30s", .*, got .soon'),
        ({"time_limit": "10"}, "time_limit is a time"),
        ({"lr_scheduler": "linear"}, "or a function of the optimizer, got .linear."),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    images: Tensor, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        flip_supervisor(images).supervise(name=None, **wrong)


def test_training_on_nothing_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"there is nothing to train on: Supervisor\(dataset\)"):
        Supervisor(CombinedNet(TinyBackbone(), nn.Linear(16, 2))).supervise(name=None)


def test_health_is_asked_after_every_epoch_and_told_in_one_sentence(images: Tensor) -> None:
    class Worried(Supervisor):
        def _health(self, row: dict[str, float]) -> str | None:
            return "it looks pale" if row["epoch"] in (2, 12) else None

    with pytest.warns(HealthWarning, match="epoch 12: it looks pale") as caught:
        flip_supervisor(images, Worried).supervise(epochs=13, batch_size=2, name=None)
    assert len(caught) == 1  # the second epoch ends after 22 steps: too early to judge


def test_what_an_algorithm_writes_into_a_row_is_a_plain_number(images: Tensor) -> None:
    class Noting(Supervisor):
        def _health(self, row: dict[str, Any]) -> str | None:
            row["paleness"] = torch.tensor(0.5)
            return None

    supervisor = flip_supervisor(images, Noting)
    supervisor.supervise(epochs=1, batch_size=11, name=None)
    noted = supervisor.history[0]["paleness"]
    assert type(noted) is float and noted == 0.5


def test_the_history_lies_beside_the_checkpoint(images: Tensor, tmp_path: Path) -> None:
    flip_supervisor(images).supervise(**settings(tmp_path, epochs=2))
    lines = (tmp_path / "base.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,loss,lr,images_per_second,seconds,waited_for_data")
    assert len(lines) == 3


@pytest.mark.parametrize(
    "hook", ["_load_pretrained", "_init_data_optimizer", "_epochs", "_forward", "_update"]
)
def test_any_one_hook_can_be_overridden(images: Tensor, tmp_path: Path, hook: str) -> None:
    calls: list[str] = []

    def overridden(self: Supervisor, *args: Any) -> Any:
        calls.append(hook)
        return getattr(super(kind, self), hook)(*args)

    kind = type("Overridden", (Supervisor,), {hook: overridden})
    own = flip_supervisor(images, kind).supervise(**settings(tmp_path))
    plain = flip_supervisor(images).supervise(**settings(tmp_path, name=None))
    assert calls
    assert losses(own) == losses(plain)


def test_a_plain_function_collates_too(images: Tensor) -> None:
    def collate(items: list[Any]) -> tuple[Tensor, Tensor]:
        return torch.stack([image / 255 for image, _ in items]), torch.tensor([n for _, n in items])

    dataset = [(image, number % 2) for number, image in enumerate(images)]
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    supervisor = Supervisor(network, dataset, nn.CrossEntropyLoss(), collate)
    supervisor.supervise(epochs=2, batch_size=8, name=None, num_workers=0)
    assert len(supervisor.history) == 2


def test_the_backbone_is_the_one_that_was_given(tiny_backbone: Callable[[], nn.Module]) -> None:
    backbone, head = tiny_backbone(), nn.Linear(16, 2)
    supervisor = Supervisor(CombinedNet(backbone, head))
    assert supervisor.get_backbone() is backbone
    assert supervisor.get_predictor() is head


def test_unreadable_images_are_counted_and_named(tmp_path: Path, images: Tensor) -> None:
    from PIL import Image

    from super_selfish.data import ImageSource

    for number in range(6):
        picture = images[number].permute(1, 2, 0).numpy()
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    source = ImageSource(str(tmp_path), on_error="skip")
    with pytest.warns(UserWarning, match=r"left out: .*3\.png"):
        supervisor = Supervisor(
            CombinedNet(TinyBackbone(), nn.Linear(16, 2)),
            source,
            nn.CrossEntropyLoss(),
            FlipCollator(),
        ).supervise(epochs=1, batch_size=3, name=None)
    assert supervisor.history[0]["unreadable"] == 1


def test_a_run_ends_in_time_and_can_go_on(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = flip_supervisor(images).supervise(**settings(tmp_path, name=None))
    assert whole.run is not None
    stopped = flip_supervisor(images)
    with monkeypatch.context() as patch:  # a second goes by whenever the run looks at the clock
        clock = SimpleNamespace(monotonic=partial(next, count()))
        patch.setattr("super_selfish.training.run.time", clock)
        stopped.supervise(**settings(tmp_path, time_limit="9s"))
    assert stopped.run is not None
    assert 0 < stopped.run.global_step < whole.run.global_step
    flip_supervisor(images).supervise(**settings(tmp_path, time_limit="0s"))
    resumed = flip_supervisor(images).supervise(**settings(tmp_path, resume=True))
    assert torch.equal(weights(resumed), weights(whole))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"image_size": 0}, ValueError, "image_size must be at least 1 pixel a side, got 0"),
        ({"image_size": (32,)}, ValueError, "image_size must be one number or"),
        ({"image_size": 2.5}, ValueError, "image_size must be a whole number, got 2.5"),
        ({"in_channels": 0}, ValueError, "in_channels must be at least 1, got 0"),
        ({"in_channels": 1.5}, ValueError, "in_channels must be a whole number, got 1.5"),
        ({"loss": 3}, TypeError, "loss must be a function or a module, got 3"),
    ],
)
def test_constructors_refuse_what_cannot_be(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Supervisor(nn.Identity(), **wrong)


def test_a_batch_of_one_without_statistics_is_explained(images: Tensor) -> None:
    head = nn.Sequential(nn.Linear(16, 2), nn.BatchNorm1d(2))
    supervisor = Supervisor(
        CombinedNet(TinyBackbone(), head), images[:1], nn.CrossEntropyLoss(), FlipCollator()
    )
    with pytest.raises(ValueError, match="needs more than one image in a batch: raise batch_size"):
        supervisor.supervise(name=None)


def test_a_time_limit_is_a_time_in_words(images: Tensor) -> None:
    message = 'time_limit is a time such as "30s", "10min" or "2h", got 5'
    with pytest.raises(ValueError, match=message):
        flip_supervisor(images).supervise(name=None, time_limit=5)  # type: ignore[arg-type]
