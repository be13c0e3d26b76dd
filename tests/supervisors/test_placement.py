from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation.comparison.plan import device_of
from super_selfish.supervisors import SUPERVISORS, LabelSupervisor, RotateNetSupervisor, preparing
from super_selfish.supervisors.placement import place_for_training
from super_selfish.training import devices

Backbones = Callable[..., nn.Module]
CPU, OTHER = torch.device("cpu"), torch.device("meta")  # `meta` stands for an accelerator


class Trained(RotateNetSupervisor):
    """Notes where its networks are when the first step would come."""

    def _epochs(self, *args: Any) -> None:
        self.trained_on = {t.device for t in [*self.parameters(), *self.buffers()]}


@pytest.fixture(autouse=True)
def no_look_at_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of `meta` have no values."""
    monkeypatch.setattr(preparing, "note_start", lambda *_: None)


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "accelerator", lambda: OTHER)


def train(supervisor: Any) -> set[torch.device]:
    places: set[torch.device] = supervisor.supervise(epochs=1, name=None).trained_on
    return places


@pytest.mark.usefixtures("accelerator")
def test_training_takes_an_accelerator_where_nobody_said_otherwise(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = Trained(images, tiny_backbone())
    assert supervisor.device == CPU
    assert train(supervisor) == {OTHER}
    assert supervisor.device == OTHER and not supervisor.is_placed


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("said", ["to", "backbone", "nothing"])
def test_each_of_several_processes_moves_to_the_accelerator_of_its_own(
    said: str, images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[Any] = []

    def noting(network: nn.Module, *args: Any, **_: Any) -> nn.Module:
        moves.append(args)
        return network

    monkeypatch.setattr(devices, "device_count", lambda device: 4 if device.type == "meta" else 1)
    monkeypatch.setattr(nn.Module, "to", noting)
    supervisor = Trained(images, tiny_backbone())
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    if said == "to":
        supervisor.to(OTHER, torch.float64)
        supervisor.to("meta:1")  # the user says which
        assert moves == [(torch.device("meta", 2), torch.float64, False), ("meta:1",)]
        return
    if said == "backbone":
        supervisor.get_backbone()._apply(lambda tensor: tensor.to(OTHER))
    place_for_training(supervisor)
    assert moves == [(torch.device("meta", 2),)]


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize(
    "stay",
    [lambda s: s.to("cpu"), lambda s: s.cpu(), lambda s: s.to(torch.zeros(1)), lambda s: s],
    ids=["to", "cpu", "like", "device="],
)
def test_whoever_says_cpu_trains_there(
    stay: Callable[[Any], Any], images: Tensor, tiny_backbone: Backbones, request: Any
) -> None:
    device = "cpu" if "device=" in request.node.name else None
    supervisor = stay(Trained(images, tiny_backbone(), device=device))
    assert train(supervisor) == {CPU}


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize(
    "change", [lambda s: s.float(), lambda s: s.to(torch.float32), lambda s: s.eval()]
)
def test_another_type_or_mode_says_nothing_of_the_device(
    change: Callable[[Any], Any], images: Tensor, tiny_backbone: Backbones
) -> None:
    assert train(change(Trained(images, tiny_backbone()))) == {OTHER}


def test_without_an_accelerator_the_cpu_trains(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "accelerator", lambda: None)
    assert train(Trained(images, tiny_backbone())) == {CPU}


def test_a_part_that_is_elsewhere_draws_the_others_there(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "accelerator", lambda: None)
    supervisor = Trained(images, tiny_backbone())
    supervisor.get_backbone().to(OTHER)
    assert train(supervisor) == {OTHER}


@pytest.mark.usefixtures("accelerator")
def test_loading_says_nothing_of_the_device(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    backbone = tiny_backbone()
    RotateNetSupervisor(images, backbone, rotations=(0, 180)).save(tmp_path / "run")

    class Loaded(Trained):
        pass

    Loaded.__name__ = "RotateNetSupervisor"
    loaded = Loaded(images, backbone).load(tmp_path / "run")  # builds a head for two rotations
    assert len(loaded.rotations) == 2
    assert loaded.device == CPU and not loaded.is_placed
    assert train(loaded) == {OTHER}
    kept = Loaded(images, tiny_backbone(), device="cpu").load(tmp_path / "run")
    assert train(kept) == {CPU}


@pytest.mark.parametrize("algorithm", [*SUPERVISORS, "label"])
def test_every_algorithm_is_on_its_device_at_once(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    kind: Any = SUPERVISORS.get(algorithm, LabelSupervisor)
    more = {} if algorithm in SUPERVISORS else {"num_classes": 2}
    supervisor = kind(images, tiny_backbone(), device="meta", **more)
    assert {t.device for t in [*supervisor.parameters(), *supervisor.buffers()]} == {OTHER}
    assert supervisor.is_placed


def test_a_checkpoint_does_not_hold_the_device(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    RotateNetSupervisor(images, "narrow-resnet", rotations=(0, 90), device="cpu").save(
        tmp_path / "run"
    )
    stored = torch.load(tmp_path / "run.pt", weights_only=True)["arguments"]
    assert "device" not in stored and "rotations" in stored
    loaded = RotateNetSupervisor().load(tmp_path / "run")
    assert not loaded.is_placed


def test_a_comparison_runs_where_training_does(
    monkeypatch: pytest.MonkeyPatch, tiny_backbone: Backbones
) -> None:
    assert device_of(None, tiny_backbone()) == CPU
    for found in (None, OTHER):
        monkeypatch.setattr(devices, "accelerator", partial(lambda found: found, found))
        assert device_of(None, None) == (found or CPU)
        assert device_of("cpu", None) == CPU


def test_no_file_of_the_package_names_a_kind_of_accelerator() -> None:
    package = Path(devices.__file__).parents[1]
    allowed = {"acceleration.py": 1}  # devices for which torch 2.4 has fused optimizers
    for path in package.rglob("*.py"):
        text = path.read_text()
        named = sum(text.count(f'"{kind}') for kind in ("cuda", "xpu", "rocm"))
        assert named == allowed.get(path.name, 0), path


SPELLING = [
    ({"bacbone": None}, "{kind}() takes no bacbone=: did you mean backbone=?"),
    ({"epochs": 3}, "{kind}() takes no epochs=: that is an argument of supervise()"),
    ({"devise": "cpu"}, "{kind}() takes no devise=: did you mean device=?"),
]


@pytest.mark.parametrize(("keywords", "sentence"), SPELLING)
@pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))
def test_a_constructor_says_what_was_meant(
    algorithm: str, keywords: dict[str, Any], sentence: str, images: Tensor
) -> None:
    kind = SUPERVISORS[algorithm]
    with pytest.raises(TypeError) as caught:
        kind(images, **keywords)
    assert str(caught.value) == sentence.format(kind=kind.__name__)


def test_supervise_says_what_was_meant(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor: Any = RotateNetSupervisor(images, tiny_backbone())
    for wrong, sentence in [
        ("batchsize", "supervise() takes no batchsize=: did you mean batch_size=?"),
        (
            "rotations",
            "supervise() takes no rotations=: that is an argument of RotateNetSupervisor()",
        ),
    ]:
        with pytest.raises(TypeError) as caught:
            supervisor.supervise(**{wrong: 1})
        assert str(caught.value) == sentence


def test_a_constructor_of_the_users_own_takes_what_it_likes(images: Tensor) -> None:
    class Own(RotateNetSupervisor):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self_made = kwargs.pop("self_made")
            super().__init__(*args, **kwargs)
            self.self_made = self_made

    own = Own(images, "narrow-resnet", self_made=3, device="meta")
    assert own.self_made == 3 and own.device == OTHER
    assert own.arguments["self_made"] == 3


def test_too_many_unnamed_arguments_are_told_their_names(images: Tensor) -> None:
    with pytest.raises(TypeError) as caught:
        RotateNetSupervisor(images, None, None, None, (0, 90))  # type: ignore[call-arg]
    assert str(caught.value) == (
        "RotateNetSupervisor() takes at most 4 arguments without a name (dataset, backbone, "
        "predictor, loss), got 5: give the others by name"
    )


def test_a_class_shows_the_arguments_of_its_constructor() -> None:
    names = list(inspect.signature(RotateNetSupervisor).parameters)
    assert names[:4] == ["dataset", "backbone", "predictor", "loss"]
    assert "rotations" in names and "self" not in names
