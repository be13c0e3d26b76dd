"""A run that goes on is the run that stopped, or says where it is another one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
    StepLR,
)
from torch.utils.data import Dataset

from super_selfish.augmentations.base import RandomApply
from super_selfish.augmentations.filters import RandomGaussianBlur
from super_selfish.models import CombinedNet, freeze
from super_selfish.supervisors import (
    BiGanSupervisor,
    LabelSupervisor,
    MomentumContrastSupervisor,
    RotateNetSupervisor,
    Supervisor,
)
from super_selfish.supervisors.persistence import stored_sharing
from tests.conftest import TinyBackbone

Schedule = Callable[[Optimizer], LRScheduler] | str


def network(width: int = 2, activation: nn.Module | None = None) -> CombinedNet:
    torch.manual_seed(0)
    backbone = TinyBackbone()
    if activation is not None:
        backbone.layers[2] = activation
    return CombinedNet(backbone, nn.Linear(16, width))


def rotate(images: Any, **more: Any) -> RotateNetSupervisor:
    torch.manual_seed(0)
    return RotateNetSupervisor(images, **{"backbone": TinyBackbone(), **more})


def options(tmp_path: Path, **more: Any) -> dict[str, Any]:
    settings = {"lr": 0.1, "optimizer": SGD, "epochs": 2, "batch_size": 8}
    return {**settings, "name": tmp_path / "base", "progress": False, **more}


def rates(supervisor: Supervisor) -> list[float]:
    return [row["lr"] for row in supervisor.history]


class PerUpdate(StepLR):
    interval = "step"


SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    "cosine": lambda epochs: "cosine",
    "torch's cosine": lambda epochs: lambda o: CosineAnnealingLR(o, T_max=epochs),
    "one cycle": lambda epochs: lambda o: OneCycleLR(o, max_lr=0.1, total_steps=epochs + 1),
    "a function": lambda epochs: lambda o: LambdaLR(o, lambda epoch: 1 - epoch / epochs),
    "steps by updates": lambda epochs: lambda o: PerUpdate(o, step_size=epochs, gamma=0.9),
    "one after the other": lambda epochs: (
        lambda o: SequentialLR(o, [StepLR(o, 1, 0.5), CosineAnnealingLR(o, epochs)], milestones=[1])
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_stretched_to_the_new_end(
    name: str, images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = SCHEDULES[name]
    whole = rotate(images)
    whole.supervise(**options(tmp_path, epochs=5, lr_scheduler=schedule(5), name=None))
    rotate(images).supervise(**options(tmp_path, lr_scheduler=schedule(2)))
    resumed = rotate(images)
    more = {"epochs": 5, "lr_scheduler": schedule(5), "resume": True}
    with caplog.at_level(logging.WARNING, "super_selfish"):
        resumed.supervise(**options(tmp_path, **more))
    assert rates(resumed)[2:] == pytest.approx(rates(whole)[2:], rel=1e-9)
    assert all(rate > 0 for rate in rates(resumed)[2:4])
    (line,) = caplog.messages
    assert "goes on in epoch 3, from here on with epochs=5 instead of 2" in line


def test_a_cosine_stopped_in_an_epoch_is_stretched_from_there(
    images: Tensor, tmp_path: Path
) -> None:
    class Noting(RotateNetSupervisor):
        stop_at = 10**6

        def _forward(self, data: Any) -> Any:
            assert self.run is not None
            if self.run.global_step == self.stop_at:
                raise KeyboardInterrupt
            noted.append((self.run.global_step, self.run.learning_rate))
            return super()._forward(data)

    noted: list[tuple[int, float]] = []
    settings = options(tmp_path, lr_scheduler="cosine")
    Noting(images, backbone=TinyBackbone()).supervise(**{**settings, "name": None, "epochs": 6})
    expected = dict(noted)
    stopped = Noting(images, backbone=TinyBackbone())
    stopped.stop_at = 4  # of three steps an epoch
    with pytest.raises(KeyboardInterrupt):
        stopped.supervise(**settings, checkpoint_every=1)
    noted.clear()
    resumed = Noting(images, backbone=TinyBackbone())
    resumed.supervise(**{**settings, "epochs": 6, "resume": True})
    assert [step for step, _ in noted] == list(range(4, 18))
    assert [rate for _, rate in noted] == pytest.approx([expected[step] for step, _ in noted])


@pytest.mark.parametrize("schedule", ["cosine", lambda o: StepLR(o, 1, 0.5)])
def test_another_learning_rate_is_taken(
    schedule: Schedule, images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = options(tmp_path, lr_scheduler=schedule, optimizer=partial(SGD, momentum=0.9))
    whole = rotate(images).supervise(**{**settings, "epochs": 4, "lr": 0.02, "name": None})
    rotate(images).supervise(**settings)
    resumed = rotate(images)
    resumed.supervise(**{**settings, "epochs": 4, "lr": 0.02, "resume": True})
    assert rates(resumed)[2:] == pytest.approx(rates(whole)[2:])
    assert "lr=0.02 instead of 0.1" in caplog.messages[0]
    # What the optimizer has gathered is not lost.
    assert resumed.run is not None
    assert len(resumed.run.optimizer.state) == len(list(resumed.parameters()))


def test_another_schedule_is_taken(images: Tensor, tmp_path: Path) -> None:
    rotate(images).supervise(**options(tmp_path))
    resumed = rotate(images)
    falling: Schedule = lambda o: StepLR(o, step_size=1, gamma=0.1)  # noqa: E731
    resumed.supervise(**options(tmp_path, epochs=4, lr_scheduler=falling, resume=True))
    assert rates(resumed) == pytest.approx([0.1, 0.1, 1e-4, 1e-5])


def test_the_same_call_says_nothing(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for resume in (False, True):
        rotate(images).supervise(**options(tmp_path, lr_scheduler="cosine", resume=resume))
    assert caplog.messages == []


def test_players_are_compared_one_by_one(images: Tensor, tmp_path: Path) -> None:
    def build() -> BiGanSupervisor:
        torch.manual_seed(0)
        return BiGanSupervisor(images, backbone=TinyBackbone())

    settings = options(tmp_path, lr=1e-3, optimizer=Adam, lr_scheduler="cosine")
    whole = build().supervise(**{**settings, "name": None, "epochs": 4})
    build().supervise(**settings)
    resumed = build().supervise(**{**settings, "epochs": 4, "resume": True})
    assert rates(resumed)[2:] == pytest.approx(rates(whole)[2:])
    with pytest.raises(ValueError, match=r"weight_decay of the .*=0, this call has 0.1"):
        other = {**settings, "optimizer": partial(Adam, weight_decay=0.1), "epochs": 5}
        build().supervise(**other, resume=True)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "weight decay": (
        {"optimizer": partial(SGD, weight_decay=0.1)},
        {},
        r"weight_decay=0.1, this call has 0",
    ),
    "momentum": ({}, {"optimizer": partial(SGD, momentum=0.9)}, r"momentum=0, this call has 0.9"),
    "optimizer": ({}, {"optimizer": Adam}, r"optimizer='SGD', this call has 'Adam'"),
    "optimizer of the same settings": (
        {"optimizer": Adam},
        {"optimizer": partial(AdamW, weight_decay=0)},
        r"optimizer='Adam', this call has 'AdamW'",
    ),
    "clip norm": ({"clip_norm": 1.0}, {}, r"clip_norm=1.0, this call has None"),
    "batch size": ({}, {"batch_size": 4}, r"batch_size=8, this call has 4"),
    "accumulate": ({}, {"accumulate": 2}, r"accumulate=1, this call has 2"),
    "precision": ({}, {"precision": "bf16"}, r"precision='fp32', this call has 'bf16'"),
    "seed": ({}, {"seed": 3}, r"seed=0, this call has 3"),
    "fewer epochs": ({}, {"epochs": 1}, r"has done 2 epochs, this call wants epochs=1 in total"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_setting_of_the_run_is_refused(case: str, images: Tensor, tmp_path: Path) -> None:
    stored, given, message = REFUSED[case]
    rotate(images).supervise(**options(tmp_path, **stored))
    before = (tmp_path / "base.pt").read_bytes()
    with pytest.raises(ValueError, match=message):
        rotate(images).supervise(**options(tmp_path, **given, resume=True))
    assert (tmp_path / "base.pt").read_bytes() == before


HAS = "this MomentumContrastSupervisor has"
ARGUMENTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "temperature": ({"temperature": 0.5}, {}, rf"temperature=0.5, {HAS} 0.2"),
    "default temperature": ({}, {"temperature": 0.5}, rf"temperature=0.2, {HAS} 0.5"),
    "normalisation": ({"normalize": "imagenet"}, {}, rf"normalize='imagenet', {HAS} None"),
    "image size": ({"image_size": 36}, {}, rf"image_size=\(36, 36\), {HAS} \(32, 32\)"),
    "channels": (
        {"in_channels": 1, "backbone": TinyBackbone(1)},
        {},
        rf"in_channels=1, {HAS} 3",
    ),
    "backbone by name": (
        {"backbone": "narrow-resnet"},
        {},
        rf"backbone='narrow-resnet', {HAS} 'TinyBackbone'",
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_another_argument_of_the_constructor_is_refused(
    case: str, images: Tensor, tmp_path: Path
) -> None:
    def build(more: dict[str, Any]) -> MomentumContrastSupervisor:
        return MomentumContrastSupervisor(images, **{"backbone": TinyBackbone(), **more})

    stored, given, message = ARGUMENTS[case]
    build(stored).supervise(**options(tmp_path, epochs=1))
    with pytest.raises(ValueError, match=message):
        build(given).supervise(**options(tmp_path, resume=True))
    build(stored).supervise(**options(tmp_path, resume=True))


def test_layers_that_compute_otherwise_are_refused(images: Tensor, tmp_path: Path) -> None:
    rotate(images).supervise(**options(tmp_path))
    other = TinyBackbone()
    other.layers[2] = nn.GELU()  # no weights: the state fits
    with pytest.raises(ValueError, match=r"layers of backbone .*=.*, this call has"):
        rotate(images, backbone=other).supervise(**options(tmp_path, resume=True))


def test_a_backbone_of_another_width_is_refused_in_words(images: Tensor, tmp_path: Path) -> None:
    class Wider(TinyBackbone):
        def __init__(self) -> None:
            super().__init__()
            self.layers[3] = nn.Conv2d(8, 24, 3, stride=2, padding=1)
            self.layers[4] = nn.BatchNorm2d(24)

    rotate(images).supervise(**options(tmp_path))
    for call in ({"resume": True}, {"pretrained": True}):
        message = r"has backbone='TinyBackbone', this RotateNetSupervisor has 'Wider'"
        with pytest.raises(ValueError, match=message):
            rotate(images, backbone=Wider()).supervise(**options(tmp_path, **call))


def test_a_backbone_that_is_frozen_now_is_refused(images: Tensor, tmp_path: Path) -> None:
    rotate(images).supervise(**options(tmp_path))
    frozen = TinyBackbone()
    freeze(frozen)
    message = r"parameters that train, this call has \d+ \(model.backbone.layers.0.weight stands st"
    with (
        pytest.warns(UserWarning, match="every parameter of the backbone is frozen"),
        pytest.raises(ValueError, match=message),
    ):
        rotate(images, backbone=frozen).supervise(**options(tmp_path, resume=True))


def test_another_augmentation_is_refused(images: Tensor, tmp_path: Path) -> None:
    def build(p: float) -> LabelSupervisor:
        labelled = (images, torch.arange(len(images)) % 2)
        blur = RandomApply(RandomGaussianBlur(), p)
        return LabelSupervisor(labelled, TinyBackbone(), augmentation=blur)

    build(0.5).supervise(**options(tmp_path))
    build(0.5).supervise(**options(tmp_path, epochs=3, resume=True))
    with pytest.raises(ValueError, match=r"augmentation.*p=0.5, this call has 0.9"):
        build(0.9).supervise(**options(tmp_path, resume=True))


def test_labels_are_compared_where_they_are_learned_alone(images: Tensor, tmp_path: Path) -> None:
    labelled = (images, torch.arange(len(images)) % 2)
    learning = LabelSupervisor(labelled, TinyBackbone())
    for supervisor, compares in ((learning, True), (rotate(labelled), False)):
        supervisor.supervise(**options(tmp_path, epochs=1))
        assert supervisor.run is not None
        assert ("labels (digest)" in supervisor.run.told) == compares


class Photographs(Dataset[Tensor]):
    def __init__(self, images: Tensor, *, noise: float = 0.0) -> None:
        self.images, self.noise = images, noise

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = self.images[index].float() / 255
        return (image + self.noise * torch.rand(1)).clamp(0, 1)


@pytest.mark.parametrize("kind", [lambda images: images, Photographs])
def test_other_images_are_refused(
    kind: Callable[[Tensor], Any], images: Tensor, tmp_path: Path
) -> None:
    rotate(kind(images)).supervise(**options(tmp_path))
    message = "images.*=.*, this call has"
    with pytest.raises(ValueError, match=message):
        rotate(kind(images // 2)).supervise(**options(tmp_path, resume=True))
    with pytest.raises(ValueError, match="images in the dataset=22, this call has 21"):
        rotate(kind(images[:21])).supervise(**options(tmp_path, resume=True))


def test_images_that_change_when_read_are_not_compared(images: Tensor, tmp_path: Path) -> None:
    rotate(Photographs(images, noise=0.9)).supervise(**options(tmp_path))
    again = rotate(Photographs(images, noise=0.9))
    again.supervise(**options(tmp_path, epochs=3, resume=True))
    assert len(again.history) == 3


def test_a_folder_may_move_but_not_change(images: Tensor, tmp_path: Path) -> None:
    from torchvision.utils import save_image

    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(images[:6]):
        save_image(image / 255, folder / f"{number}.png")
    rotate(folder).supervise(**options(tmp_path, batch_size=3))
    moved = folder.rename(tmp_path / "moved")
    rotate(moved).supervise(**options(tmp_path, batch_size=3, epochs=3, resume=True))
    (moved / "5.png").rename(moved / "6.png")
    with pytest.raises(ValueError, match="names of the image files"):
        rotate(moved).supervise(**options(tmp_path, batch_size=3, epochs=4, resume=True))


def test_a_checkpoint_without_these_settings_goes_on(images: Tensor, tmp_path: Path) -> None:
    settings = options(tmp_path, lr_scheduler="cosine")
    whole = rotate(images).supervise(**{**settings, "name": None, "epochs": 4})
    rotate(images).supervise(**settings)
    stored = torch.load(tmp_path / "base.pt", weights_only=True)
    known = ("batch_size", "shuffle", "seed", "precision", "accumulate", "num_images")
    stored["run"]["settings"] = {name: stored["run"]["settings"][name] for name in known}
    del stored["run"]["schedule"]
    torch.save(stored, tmp_path / "base.pt")
    resumed = rotate(images).supervise(**{**settings, "epochs": 4, "resume": True})
    assert rates(resumed)[2:] == pytest.approx(rates(whole)[2:])


def test_pretrained_keeps_the_settings_of_the_call(images: Tensor, tmp_path: Path) -> None:
    def build(temperature: float) -> MomentumContrastSupervisor:
        return MomentumContrastSupervisor(
            images, backbone=TinyBackbone(), temperature=temperature, queue_size=8
        )

    first = build(0.2).supervise(**options(tmp_path))
    again = build(0.5)
    again.supervise(**options(tmp_path, epochs=0, pretrained=True))
    assert again.loss.temperature == 0.5
    stored = {**first.state_dict()}
    assert all(torch.equal(value, stored[name]) for name, value in again.state_dict().items())


def test_another_range_of_values_is_refused(images: Tensor, tmp_path: Path) -> None:
    dark = images.float() * 4
    rotate(dark, value_range=(0, 1020)).supervise(**options(tmp_path))
    with pytest.raises(
        ValueError, match=r"value_range=\(0.*1020.*, this RotateNetSupervisor has \(0.*2000"
    ):
        rotate(dark, value_range=(0, 2000)).supervise(**options(tmp_path, resume=True))


def test_a_run_with_nothing_to_go_on_from_says_that_it_starts_anew(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "super_selfish"):
        rotate(images).supervise(**options(tmp_path, resume=True))
        line = f"there is no checkpoint {tmp_path / 'base'}.pt: starting anew"
        assert caplog.messages == [line]
        rotate(images).supervise(**options(tmp_path, resume=True))  # there is one now
    assert caplog.messages == [line]


def test_equal_seeds_and_equal_first_weights_give_equal_runs(
    images: Tensor, tmp_path: Path
) -> None:
    def weights(first: int) -> Tensor:
        torch.manual_seed(first)
        supervisor = RotateNetSupervisor(images, TinyBackbone())
        supervisor.supervise(**options(tmp_path, name=None, epochs=1, seed=5))
        return torch.cat([p.detach().flatten() for p in supervisor.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))
    doc = RotateNetSupervisor.supervise.__doc__
    assert doc is not None and "`torch.manual_seed` before the constructor" in doc


@pytest.mark.parametrize(
    ("run", "size"),
    [
        (None, None),
        ({"batch_size": 8}, 8),
        ({"batch_size": 1}, 1),
        ({"batch_size": 0}, None),
        ({"batch_size": "auto"}, None),
        ({"batch_size": 8.0}, None),
        ({}, None),
    ],
)
def test_a_stored_run_tells_the_size_of_its_batches(
    run: dict[str, Any] | None, size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stored_sharing(tmp_path / "base") is None
    (tmp_path / "base.pt").touch()
    state = {"run": None if run is None else {"settings": run}}
    monkeypatch.setattr("super_selfish.supervisors.persistence.read_run", lambda path: state)
    found = stored_sharing(tmp_path / "base")
    assert found == (None if size is None else (size, 1, 1))
