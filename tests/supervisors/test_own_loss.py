"""A loss of the user's own: needed to train and to go on, and not to load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.losses import InfoNCELoss
from super_selfish.supervisors import SUPERVISORS, RotateNetSupervisor, Supervisor
from tests.conftest import TinyBackbone

FOUR = torch.tensor([1.0, 2.0, 1.0, 0.5])


class Scaled(nn.Module):
    """A loss with a weight that learns and a buffer that moves."""

    step: Tensor

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("step", torch.zeros(()))

    def forward(self, *values: Tensor) -> Tensor:
        self.step += 1
        return (self.scale * values[0].float()).square().mean() ** self.power


def build(algorithm: str = "rotate", dataset: Any = None, **more: Any) -> Any:
    torch.manual_seed(0)
    return SUPERVISORS[algorithm](dataset, TinyBackbone(), **more)


def options(folder: Path, **more: Any) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": 11, "name": folder / "a", "progress": False, **more}


def of_networks(supervisor: Supervisor) -> dict[str, Tensor]:
    state = supervisor.state_dict()
    return {k: v for k, v in state.items() if not k.partition(".")[0].endswith("loss")}


@pytest.mark.parametrize("algorithm", ["rotate", "instance", "cmc"])
def test_networks_are_loaded_without_the_loss(
    algorithm: str, images: Tensor, tmp_path: Path
) -> None:
    more = {"form": "nce"} if algorithm in ("instance", "cmc") else {}
    trained = build(algorithm, images, loss=Scaled(), **more).supervise(**options(tmp_path))
    loaded = build(algorithm).load(tmp_path / "a")
    expected, found = of_networks(trained), of_networks(loaded)
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
    assert not isinstance(loaded.loss, Scaled)
    again = build(algorithm, loss=Scaled()).load(tmp_path / "a")
    assert float(again.loss.step) == float(trained.loss.step) > 0


def test_a_function_need_not_be_there_either(images: Tensor, tmp_path: Path) -> None:
    def halved(logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, targets) / 2

    build(dataset=images, loss=halved).supervise(**options(tmp_path))
    assert isinstance(build().load(tmp_path / "a").loss, nn.CrossEntropyLoss)


def test_a_loaded_one_trains_on_with_its_own_loss(images: Tensor, tmp_path: Path) -> None:
    build(dataset=images, loss=Scaled()).supervise(**options(tmp_path))
    loaded = build(dataset=images).load(tmp_path / "a")
    loaded.supervise(**options(tmp_path / "b"))
    goes_on = build(dataset=images)  # of the second run, which had the default
    goes_on.supervise(**options(tmp_path / "b", epochs=2, resume=True))


@pytest.mark.parametrize("is_saved_again", [False, True])
def test_a_run_goes_on_with_the_same_loss_alone(
    is_saved_again: bool, images: Tensor, tmp_path: Path
) -> None:
    build(dataset=images, loss=Scaled(2.0)).supervise(**options(tmp_path))
    if is_saved_again:  # without the loss, which is not forgotten
        build().load(tmp_path / "a").save(tmp_path / "a")
    goes_on = options(tmp_path, epochs=2, resume=True)
    for other, message in (
        (None, "loss='Scaled', this RotateNetSupervisor has None"),
        (Scaled(), "loss.power=2.0, this call has 1.0"),
        (nn.CrossEntropyLoss(), "loss='Scaled', this RotateNetSupervisor has 'CrossEntropyLoss'"),
    ):
        if is_saved_again and isinstance(other, Scaled):
            continue  # the weights of a loss that was not there are not there
        with pytest.raises(ValueError, match=message):
            build(dataset=images, loss=other).supervise(**goes_on)


@pytest.mark.parametrize(
    ("stored", "other", "message"),
    [
        (nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(), "label_smoothing=0.1, "),
        (nn.CrossEntropyLoss(reduction="sum"), nn.CrossEntropyLoss(), "loss.reduction='sum', "),
        (nn.CrossEntropyLoss(FOUR), nn.CrossEntropyLoss(FOUR * FOUR), "loss.weight=a tensor"),
        (nn.CrossEntropyLoss(FOUR), nn.CrossEntropyLoss(), "loss.weight, which is not here"),
    ],
)
def test_settings_of_torchs_losses_are_told(
    stored: nn.Module, other: nn.Module, message: str, images: Tensor, tmp_path: Path
) -> None:
    build(dataset=images, loss=stored).supervise(**options(tmp_path))
    with pytest.raises(ValueError, match=message):
        build(dataset=images, loss=other).supervise(**options(tmp_path, epochs=2, resume=True))
    same = build(dataset=images, loss=stored)
    same.supervise(**options(tmp_path, epochs=2, resume=True))
    assert len(same.history) == 2


def test_another_temperature_is_told(images: Tensor, tmp_path: Path) -> None:
    build("moco", images, loss=InfoNCELoss(0.1)).supervise(**options(tmp_path))
    with pytest.raises(ValueError, match=r"loss.temperature=0.1, this call has 0.2"):
        build("moco", images, loss=InfoNCELoss(0.2)).supervise(
            **options(tmp_path, epochs=2, resume=True)
        )


def test_weights_alone_are_taken_with_any_loss(images: Tensor, tmp_path: Path) -> None:
    build(dataset=images, loss=Scaled()).supervise(**options(tmp_path))
    for loss in (None, nn.CrossEntropyLoss(FOUR)):
        again = build(dataset=images, loss=loss)
        again.supervise(**options(tmp_path, pretrained=True, overwrite=True))
        assert len(again.history) == 1


class WithOwnPart(RotateNetSupervisor):
    """An argument that nobody knows may shape the networks."""

    def __init__(self, dataset: Any = None, backbone: Any = None, schedule: Any = None) -> None:
        super().__init__(dataset, backbone, image_size=32)
        self.schedule = schedule


class ForTraining(WithOwnPart):
    only_for_training = RotateNetSupervisor.only_for_training | {"schedule"}


def test_what_shapes_the_networks_is_asked_for(images: Tensor, tmp_path: Path) -> None:
    for kind in (WithOwnPart, ForTraining):
        name = tmp_path / kind.__name__
        kind(images, TinyBackbone(), schedule=object()).save(name)
        if kind is ForTraining:
            assert kind(backbone=TinyBackbone()).load(name).schedule is None
        else:
            with pytest.raises(ValueError, match=r"schedule=object\(...\), an object of your own"):
                kind(backbone=TinyBackbone()).load(name)
    with pytest.raises(ValueError, match=r"backbone=TinyBackbone\(...\), an object of your own"):
        ForTraining().load(tmp_path / "ForTraining")
