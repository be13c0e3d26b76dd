"""Algorithms learn from streams as from anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from super_selfish.data import StreamSource
from super_selfish.evaluation import Monitor, evaluate, extract_features
from super_selfish.evaluation.showcase import show_algorithm
from super_selfish.supervisors import (
    SUPERVISORS,
    InstanceDiscriminationSupervisor,
    LabelSupervisor,
    MomentumContrastSupervisor,
    MultiTaskSupervisor,
    RotateNetSupervisor,
)
from tests.data.streamed import Numbers, Stateful

Backbones = Callable[..., nn.Module]


class Photographs(IterableDataset[Any]):
    """The images of the tests, one after the other."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def item(self, number: int) -> Any:
        return self.images[number]

    def __iter__(self) -> Iterator[Any]:
        return (self.item(number) for number in range(len(self.images)))

    def __len__(self) -> int:
        return len(self.images)


class Indexed(Photographs):
    def item(self, number: int) -> Any:
        return {"image": self.images[number], "id": number}


REMEMBERING = sorted(name for name, kind in SUPERVISORS.items() if kind.asks_by_number)
FORGETTING = sorted(set(SUPERVISORS) - set(REMEMBERING))


def build(algorithm: str, dataset: Any, backbone: nn.Module) -> Any:
    options: dict[str, Any] = {"tasks": ("rotate", "simsiam")} if algorithm == "multi_task" else {}
    torch.manual_seed(0)
    return SUPERVISORS[algorithm](dataset, backbone=backbone, **options)


@pytest.mark.parametrize("algorithm", FORGETTING)
def test_an_algorithm_learns_from_a_stream_and_shows_it(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build(algorithm, Photographs(images), tiny_backbone())
    before = torch.cat([p.detach().flatten() for p in supervisor.get_backbone().parameters()])
    supervisor.supervise(epochs=1, batch_size=8, name=None, progress=False)
    after = torch.cat([p.detach().flatten() for p in supervisor.get_backbone().parameters()])
    assert not torch.equal(before, after)
    assert supervisor.run.num_images == 22 * (2 if algorithm == "multi_task" else 1)
    assert show_algorithm(supervisor, [0, 5]).groups


@pytest.mark.parametrize("algorithm", REMEMBERING)
def test_who_remembers_every_image_wants_their_numbers(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    with pytest.raises(ValueError, match=r"Photographs have none: give StreamSource") as raised:
        build(algorithm, Photographs(images), tiny_backbone())
    for name in FORGETTING:
        assert f" {name}" in str(raised.value)
    for name in REMEMBERING:
        assert f" {name}," not in str(raised.value)
    source = StreamSource(Indexed(images), index="id")
    supervisor = build(algorithm, source, tiny_backbone())
    supervisor.supervise(epochs=1, batch_size=8, name=None, progress=False)
    assert supervisor.run.global_step == 3


def test_a_memory_has_each_image_at_its_number(images: Tensor, tiny_backbone: Backbones) -> None:
    class Turned(Indexed):
        def item(self, number: int) -> Any:
            return {"image": self.images[number], "id": 21 - number}

    source = StreamSource(Turned(images), index="id")
    supervisor = InstanceDiscriminationSupervisor(source, tiny_backbone(), augmentation=None)
    before = supervisor.bank.rows.clone()
    supervisor.supervise(epochs=1, batch_size=11, name=None, shuffle=False, progress=False, lr=0)
    assert (supervisor.bank.rows != before).any(dim=1).all()


def losses(supervisor: Any) -> list[float]:
    return [row["loss"] for row in supervisor.history]


def state(supervisor: Any) -> Tensor:
    return torch.cat([value.flatten().double() for value in supervisor.state_dict().values()])


class StopError(Exception):
    pass


def stop_before(supervisor: Any, step: int) -> None:
    forward = supervisor._forward

    def stopping(data: Any) -> Any:
        if supervisor.run.global_step == step:
            raise StopError
        return forward(data)

    supervisor._forward = stopping


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("kind", ["stateful", "deterministic"])
@pytest.mark.parametrize("algorithm", ["moco", "multi_task"])
def test_a_run_goes_on_bit_for_bit(
    algorithm: str, kind: str, steps: int | None, tmp_path: Path, tiny_backbone: Backbones
) -> None:
    def supervisor() -> Any:
        dataset = Stateful(30) if kind == "stateful" else Numbers(30)
        source = StreamSource(dataset, 30, shuffle_buffer=8, deterministic=kind == "deterministic")
        return build(algorithm, source, tiny_backbone())

    settings: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 8,
        "checkpoint_every": 1,
        "progress": False,
        "steps_per_epoch": steps,
    }
    undisturbed = supervisor().supervise(**settings, name=None)
    stopped = supervisor()
    stop_before(stopped, 6)
    name = tmp_path / "run"
    with pytest.raises(StopError):
        stopped.supervise(**settings, name=name)
    again = supervisor().supervise(**settings, name=name, resume=True)
    assert losses(again) == losses(undisturbed)
    assert torch.equal(state(again), state(undisturbed))


def test_where_a_stream_cannot_say_its_place_the_run_says_so(
    tmp_path: Path, tiny_backbone: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    def supervisor() -> Any:
        return RotateNetSupervisor(StreamSource(Numbers(32), 32), tiny_backbone())

    settings: dict[str, Any] = {"epochs": 1, "batch_size": 8, "name": tmp_path / "run"}
    stopped = supervisor()
    stop_before(stopped, 2)
    with pytest.raises(StopError):
        stopped.supervise(**settings, checkpoint_every=1)
    assert "Images are shuffled among 1000 at a time" in capsys.readouterr().err
    again = supervisor().supervise(**settings, resume=True)
    said = capsys.readouterr().err
    assert "the next pass over the stream begins for the 2 steps left of this epoch" in said
    assert again.run.global_step == 4


def test_how_long_an_epoch_is_must_be_known(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor: Any = MomentumContrastSupervisor(Numbers(100), tiny_backbone())
    with pytest.raises(ValueError, match=r"nobody knows how many images this Numbers has: give"):
        supervisor.supervise(name=None)
    supervisor.supervise(name=None, epochs=2, batch_size=8, steps_per_epoch=3, progress=False)
    assert supervisor.run.global_step == 6
    assert supervisor.run.num_images == 24
    folder = RotateNetSupervisor(images, tiny_backbone())
    with pytest.raises(ValueError, match=r"steps_per_epoch=3 .* a pass over the 22 images"):
        folder.supervise(name=None, steps_per_epoch=3)
    with pytest.raises(ValueError, match="steps_per_epoch must be at least 1, got 0"):
        supervisor.supervise(name=None, steps_per_epoch=0)


def test_what_needs_images_by_number_is_told_what_to_give(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    class Labelled(Photographs):
        def item(self, number: int) -> Any:
            return self.images[number], number % 2

    supervisor = RotateNetSupervisor(Labelled(images), tiny_backbone())
    for use in (
        lambda: evaluate(supervisor, Labelled(images), images),
        lambda: extract_features(supervisor, supervisor.source),
    ):
        with pytest.raises(TypeError, match=r"asks for images by their number, and a Labelled"):
            use()
    source = StreamSource(Labelled(images))
    features = extract_features(supervisor, source.first(10))
    assert features.features.shape == (10, 16)
    assert features.labels is not None and features.labels.tolist() == [0, 1] * 5
    for options in ({"cache": tmp_path / "cache"}, {"dataset_on_device": True}):
        with pytest.raises(ValueError, match="leave it out"):
            supervisor.supervise(name=None, **options)
    with pytest.raises(ValueError, match="known only as it passes; num_classes="):
        LabelSupervisor(Labelled(images), tiny_backbone())
    labelled = LabelSupervisor(Labelled(images), tiny_backbone(), num_classes=2)
    labelled.supervise(name=None, epochs=1, batch_size=8, progress=False)


def test_a_monitor_and_a_report_look_at_the_first_images(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    supervisor = RotateNetSupervisor(Photographs(images), tiny_backbone())
    supervisor.supervise(
        name=tmp_path / "run",
        epochs=1,
        batch_size=8,
        progress=False,
        monitor=Monitor(num_images=16, every=1),
    )
    assert "rankme" in supervisor.history[-1]
    page = supervisor.report(tmp_path / "run", most_images=8, map_method="pca").read_text()
    assert "Photographs" in page


def test_tasks_may_have_a_stream_beside_a_folder(images: Tensor, tiny_backbone: Backbones) -> None:
    backbone = tiny_backbone()
    tasks = [
        RotateNetSupervisor(Photographs(images), backbone),
        SUPERVISORS["simsiam"](images[:12], backbone=backbone),
    ]
    supervisor: Any = MultiTaskSupervisor(tasks)
    supervisor.supervise(name=None, epochs=2, batch_size=8, progress=False)
    assert supervisor.run.global_step == 2 * 2 * 3
    assert "simsiam.loss" in supervisor.history[-1]
