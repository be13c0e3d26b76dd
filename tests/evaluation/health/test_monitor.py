"""The monitor, on a pretext task of two classes: was the image turned upside down?"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.data import Batch, Collator, to_unit_range
from super_selfish.data.collate import Labelled
from super_selfish.evaluation.health import monitor as monitor_module
from super_selfish.evaluation.health.health import health
from super_selfish.evaluation.health.monitor import COST, MEASURES, Monitor
from super_selfish.models import CombinedNet
from super_selfish.supervisors import HealthWarning, Supervisor
from tests.conftest import TinyBackbone

Rows = list[dict[str, float]]
LABELS = torch.arange(22) % 2


class Interrupted(Exception):
    """Stands for anything that ends a run."""


class FlipCollator(Collator):
    def augment(self, batch: Batch, generator: torch.Generator) -> Labelled:
        images = to_unit_range(batch.images)
        targets = torch.randint(2, (len(images),), generator=generator)
        flipped = torch.where(targets[:, None, None, None].bool(), images.flip(-2), images)
        return Labelled(flipped, targets)


class Flips(Supervisor):
    stop_at = -1

    def _forward(self, data: Any) -> Any:
        assert self.run is not None
        if self.run.global_step == self.stop_at:
            raise Interrupted
        return super()._forward(data)


def flip_supervisor(images: Any, backbone: nn.Module | None = None) -> Flips:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 2))
    network = CombinedNet(TinyBackbone() if backbone is None else backbone, head)
    return Flips(network, images, nn.CrossEntropyLoss(), FlipCollator())


def train(supervisor: Supervisor, monitor: Monitor | None, **more: Any) -> Supervisor:
    settings = {"epochs": 4, "batch_size": 4, "lr": 0.01, "name": None, **more}
    return supervisor.supervise(monitor=monitor, **settings)


def tensors(supervisor: Supervisor) -> dict[str, Tensor]:
    return supervisor.state_dict()


def measured(supervisor: Supervisor) -> list[float]:
    return [row["epoch"] for row in supervisor.history if "rankme" in row]


def test_a_monitored_run_ends_with_the_same_weights_bit_for_bit(images: Tensor) -> None:
    plain = train(flip_supervisor(images), None)
    watched = train(flip_supervisor(images), Monitor(labels=LABELS, every=1))
    assert measured(watched) == [1, 2, 3, 4]
    assert tensors(plain).keys() == tensors(watched).keys()
    for name, value in tensors(plain).items():
        assert torch.equal(value, tensors(watched)[name]), name
    assert [row["loss"] for row in plain.history] == [row["loss"] for row in watched.history]
    assert all(part.training for part in watched.modules())


def test_a_dataset_that_draws_when_it_is_read_changes_nothing_either(images: Tensor) -> None:
    class Random(list[Tensor]):
        def __getitem__(self, index: Any) -> Any:
            return images[index] if torch.rand(()) < 0.5 else images[index].flip(-1)

    plain = train(flip_supervisor(Random(images)), None)
    watched = train(flip_supervisor(Random(images)), Monitor(every=1))
    for name, value in tensors(plain).items():
        assert torch.equal(value, tensors(watched)[name]), name


def test_the_columns_are_the_health_of_the_backbone(images: Tensor, tmp_path: Path) -> None:
    supervisor = flip_supervisor(images)
    train(supervisor, Monitor(labels=LABELS, every=2), epochs=3, name=tmp_path / "base")
    assert measured(supervisor) == [2, 3]  # every second epoch, and the last
    found = health(supervisor, images, batch_size=128)
    for name in MEASURES:
        assert supervisor.history[-1][name] == pytest.approx(getattr(found, name), rel=1e-5)
    assert 0.0 <= supervisor.history[-1]["knn"] <= 1.0
    with (tmp_path / "base.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["rankme"] == ""
    assert float(rows[2]["rankme"]) == supervisor.history[-1]["rankme"]
    assert {*MEASURES, "knn", COST} <= rows[0].keys()


def test_the_knn_sees_classes_that_the_features_show() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]])[labels][:, :, None, None]
    pictures = (colours + 0.1 * torch.rand(40, 3, 32, 32, generator=generator)).clamp(0.0, 1.0)
    dataset = [(picture, int(label)) for picture, label in zip(pictures, labels, strict=True)]
    watches = [
        Monitor(labels=True, num_images=30),
        Monitor((pictures, labels), num_images=30, neighbours=3),
        Monitor(pictures, labels, num_images=30, probe="linear"),
    ]
    for watch in watches:
        supervisor = train(flip_supervisor(dataset), watch, epochs=1)
        assert supervisor.history[-1][watch.probe] == 1.0


def test_unlabelled_images_have_health_alone(images: Tensor) -> None:
    dataset = [(image, 0) for image in images]
    supervisor = train(flip_supervisor(dataset), Monitor(images[:9]), epochs=1)
    assert "knn" not in supervisor.history[0]
    assert "rankme" in supervisor.history[0]


class Collapsed(TinyBackbone):
    """All images alike, untrained too."""

    def forward(self, images: Tensor) -> Tensor:
        return 1.0 + 1e-4 * super().forward(images)


def test_collapse_is_warned_of_once_there_is_something_to_judge(images: Tensor) -> None:
    supervisor = flip_supervisor(images, Collapsed())
    with pytest.warns(
        HealthWarning, match="epoch 10: alike from the beginning: all images"
    ) as caught:
        train(supervisor, Monitor(every=5), epochs=10, batch_size=2)
    assert len(caught) == 1  # the fifth epoch ends after 55 steps: too early to judge


def test_a_run_that_pulls_all_features_together_is_told_of(images: Tensor) -> None:
    class Pulls(Flips):
        def _forward(self, data: Any) -> Any:
            features = self.model.features(data.images)
            return (features - features.mean(dim=0).detach()).square().sum(dim=1).mean()

    supervisor = flip_supervisor(images)
    supervisor.__class__ = Pulls
    before = health(supervisor, images)
    with pytest.warns(HealthWarning, match="collapsed: .*; lower lr"):
        train(supervisor, Monitor(every=200), epochs=200, batch_size=8, lr=0.03)
    after = health(supervisor, images)
    assert not before.verdict.startswith("collapsed")
    assert after.verdict.startswith("collapsed")
    assert after.feature_std < 0.2 * before.feature_std


def test_keep_best_keeps_the_best(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.4, 0.7, 0.6, 0.7])
    monkeypatch.setattr(monitor_module, "knn_accuracy", lambda *_, **__: next(values))
    watch = Monitor(labels=LABELS, every=1, keep_best="knn")
    train(flip_supervisor(images), watch, name=tmp_path / "base")
    best = flip_supervisor(images).load(tmp_path / "base-best")
    second = train(flip_supervisor(images), None, epochs=2)
    for name, value in tensors(second).items():
        assert torch.equal(value, tensors(best)[name]), name
    stored = torch.load(tmp_path / "base-best.pt", weights_only=True)
    assert [row["knn"] for row in stored["run"]["history"]["rows"]] == [0.4, 0.7]


def test_the_run_ends_by_saying_which_epoch_was_kept(
    images: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = iter([0.4, 0.75, 0.6, 0.75, 0.7, 0.8])
    monkeypatch.setattr(monitor_module, "knn_accuracy", lambda *_, **__: next(values))
    settings: dict[str, Any] = {"name": tmp_path / "base", "resume": True}
    for epochs, epoch, value in ((4, 2, "0.75"), (5, 2, "0.75"), (6, 6, "0.8")):  # 5 and 6: resumed
        watch = Monitor(labels=LABELS, every=1, keep_best="knn")
        train(flip_supervisor(images), watch, **settings, epochs=epochs)
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"best by knn ({value}): epoch {epoch}, kept at {tmp_path / 'base-best.pt'}"
        )
        stored = torch.load(tmp_path / "base-best.pt", weights_only=True)
        assert stored["run"]["epoch"] == epoch
    train(flip_supervisor(images), Monitor(every=1), epochs=1, name=tmp_path / "other")
    assert "kept at" not in capsys.readouterr().err


def test_batch_norm_that_has_not_settled_is_no_reason_to_warn(images: Tensor) -> None:
    backbone = TinyBackbone()
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.001  # settles after 2995 batches
    watch = Monitor(every=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(flip_supervisor(images, backbone), watch, epochs=10, batch_size=2)
    assert watch.health is not None
    assert watch.health.verdict.startswith("too early to judge")


def test_less_uniformity_is_better(images: Tensor, tmp_path: Path) -> None:
    watch = Monitor(every=1, keep_best="uniformity")
    supervisor = train(flip_supervisor(images), watch, name=tmp_path / "base")
    values = [row["uniformity"] for row in supervisor.history]
    stored = torch.load(tmp_path / "base-best.pt", weights_only=True)
    assert stored["run"]["epoch"] == values.index(min(values)) + 1


def test_a_resumed_run_goes_on_and_remembers_the_best(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.9, 0.5, 0.6, 0.8])
    monkeypatch.setattr(monitor_module, "knn_accuracy", lambda *_, **__: next(values))
    settings = {"name": tmp_path / "base", "checkpoint_every": 1}
    stopped = flip_supervisor(images)
    stopped.stop_at = 14  # amid the third of four epochs
    with pytest.raises(Interrupted):
        train(stopped, Monitor(labels=LABELS, every=1, keep_best="knn"), **settings)
    resumed = flip_supervisor(images)
    watch = Monitor(labels=LABELS, every=1, keep_best="knn")
    train(resumed, watch, resume=True, **settings)
    assert [row["knn"] for row in resumed.history] == [0.9, 0.5, 0.6, 0.8]
    best = torch.load(tmp_path / "base-best.pt", weights_only=True)
    assert best["run"]["epoch"] == 1
    whole = train(flip_supervisor(images), None)
    for name, value in tensors(whole).items():
        assert torch.equal(value, tensors(resumed)[name]), name


def test_what_another_monitor_measured_is_not_the_best(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.9, 0.5, 0.6, 0.4])
    monkeypatch.setattr(monitor_module, "knn_accuracy", lambda *_, **__: next(values))
    settings: dict[str, Any] = {"name": tmp_path / "base"}
    train(flip_supervisor(images), Monitor(labels=LABELS, every=1), **settings, epochs=2)
    fewer = Monitor(labels=LABELS, every=1, keep_best="knn", num_images=12)
    train(flip_supervisor(images), fewer, **settings, epochs=4, resume=True)
    best = torch.load(tmp_path / "base-best.pt", weights_only=True)
    assert best["run"]["epoch"] == 3  # 0.6, and not 0.9 of other images


def simulate(
    monitor: Monitor, epochs: int, cost: float, time_is_up_after: int | None = None
) -> Rows:
    """History of a run whose epochs take ten seconds, and whose measurements cost so much.

    Before the first, two images at 2.2 images a second are thought to cost 0.9 seconds.
    """
    rows: Rows = []
    last = time_is_up_after or epochs
    for epoch in range(1, last + 1):
        rows.append({"epoch": epoch, "seconds": 10.0, "images_per_second": 2.2})
        run = SimpleNamespace(
            epoch=epoch,
            epochs=epochs,
            is_over=lambda epoch=epoch: epoch == last,
            history=SimpleNamespace(rows=rows),
        )
        if monitor.is_due(run):  # type: ignore[arg-type]
            rows[-1][COST] = cost
    return rows


def epochs_measured(rows: Rows) -> list[float]:
    return [row["epoch"] for row in rows if COST in row]


@pytest.mark.parametrize(("cost", "times"), [(0.05, 56), (0.5, 24), (0.9, 13)])
def test_auto_stays_below_two_percent_at_every_moment(cost: float, times: int) -> None:
    rows = simulate(Monitor(num_images=2), 60, cost)
    trained = spent = 0.0
    for row in rows:
        trained += row["seconds"]
        spent += row.get(COST, 0.0)
        assert spent <= 0.02 * trained + 1e-9
    assert epochs_measured(rows)[0] == 5
    assert epochs_measured(rows)[-1] == 60
    assert len(epochs_measured(rows)) == pytest.approx(times, abs=1)


def test_auto_waits_after_a_measurement_that_took_longer_than_thought() -> None:
    assert epochs_measured(simulate(Monitor(num_images=2), 60, cost=5.0)) == [5, 60]


@pytest.mark.parametrize("last", range(5, 30))
def test_auto_stays_below_two_percent_when_the_time_is_up(last: int) -> None:
    rows = simulate(Monitor(num_images=2), 1_000_000, cost=0.9, time_is_up_after=last)
    assert sum(row.get(COST, 0.0) for row in rows) <= 0.02 * sum(row["seconds"] for row in rows)
    assert epochs_measured(rows)


def test_a_run_too_short_for_one_measurement_has_one_at_its_end() -> None:
    assert epochs_measured(simulate(Monitor(num_images=2), 3, cost=5.0)) == [3]


def test_a_number_is_a_number_of_epochs() -> None:
    assert epochs_measured(simulate(Monitor(every=3), 7, cost=5.0)) == [3, 6, 7]


def test_what_a_measurement_took_is_noted(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    class Slow(TinyBackbone):
        def forward(self, images: Tensor) -> Tensor:
            nonlocal now
            now += 0.0 if self.training else 0.5
            return super().forward(images)

    clock = SimpleNamespace(perf_counter=lambda: now)
    monkeypatch.setattr(monitor_module, "time", clock)
    supervisor = train(flip_supervisor(images, Slow()), Monitor(), epochs=2)
    assert [row.get(COST) for row in supervisor.history] == [None, 1.5]  # as they are, two views


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, 'every is a number of epochs, at least 1, or "auto", got 0'),
        ({"every": "often"}, "every is a number of epochs"),
        ({"probe": "svm"}, 'probe must be "knn" or "linear", got \'svm\''),
        ({"neighbours": 0}, "neighbours must be at least 1, got 0"),
        ({"keep_best": "loss"}, r"keep_best must be one of \['knn', 'linear', 'rankme', 'retr"),
        ({"num_images": 1}, "num_images must be at least 2, got 1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Monitor(**settings)


def test_images_without_a_label_are_no_part_of_the_online_accuracy(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Tensor] = []

    def noting(_: Tensor, taught: Tensor, features: Tensor, labels: Tensor, k: int | None) -> float:
        asked.append(torch.cat([taught, labels]))
        return 0.5

    monkeypatch.setattr(monitor_module, "knn_accuracy", noting)
    some = LABELS.clone()
    some[::3] = -1
    train(flip_supervisor(images), Monitor(labels=some), epochs=1)
    (labels,) = asked
    assert labels.sort().values.tolist() == [0] * 7 + [1] * 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": True}, "labels=True, but the dataset gives no labels"),
        ({"keep_best": "knn"}, "keep_best='knn' needs labels: give labels=True"),
        ({"keep_best": "linear", "labels": LABELS}, "keep_best='linear' needs probe='linear'"),
        ({"keep_best": "rankme"}, "keep_best writes beside the checkpoint .* give it a name="),
        ({"labels": LABELS[:9]}, "got 22 images and 9 labels"),
        ({"labels": torch.arange(22)}, "none of the classes of the 22 monitored images has two"),
        ({"labels": torch.eye(22).long()}, "wants one class an image, got labels of shape"),
    ],
)
def test_what_does_not_suit_the_run_is_refused_before_the_first_step(
    images: Tensor, settings: dict[str, Any], message: str
) -> None:
    supervisor = flip_supervisor(images)
    with pytest.raises(ValueError, match=message):
        train(supervisor, Monitor(**settings))
    assert supervisor.history == []


def test_only_the_first_process_measures(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "rank", lambda: 1)
    assert measured(train(flip_supervisor(images), Monitor(every=1))) == []


def test_images_that_cannot_be_read_are_not_watched(tmp_path: Path, images: Tensor) -> None:
    from PIL import Image

    from super_selfish.data import ImageSource

    for number in range(8):
        Image.fromarray(images[number].permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    watched = ImageSource(str(tmp_path), on_error="skip")
    labels = [0, 0, 1, 1, 0, 0, 1, 1]
    watch = Monitor(watched, labels, every=1)
    train(flip_supervisor(images), watch, epochs=1)
    assert watch.health is not None
    assert watch.health.images == 7


def test_one_monitor_serves_one_run_after_the_other(
    images: Tensor, tiny_backbone: Callable[[], nn.Module]
) -> None:
    watch = Monitor(every=1)
    first = train(flip_supervisor(images), watch, epochs=1)
    second = train(flip_supervisor(images), watch, epochs=1)
    assert first.history[0]["rankme"] == second.history[0]["rankme"]
