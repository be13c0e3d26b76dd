"""Whom `teacher=` means, and what that one sees of a student's images.

What is learned from it: see `test_distillation.py`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from super_selfish.export.backbone import export_backbone
from super_selfish.models import NarrowResNet, build_backbone
from super_selfish.models.normalize import Normalize
from super_selfish.models.teacher import Teacher
from super_selfish.models.transformers import average_tokens
from super_selfish.supervisors import RotateNetSupervisor, teachers
from super_selfish.supervisors.given_weights import give_weights
from super_selfish.supervisors.teachers import DEFAULT_TEACHER, channels_for, find_teacher

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Split(nn.Module):
    """Says of itself how many channels it eats, since its first convolution sees a part of them."""

    def __init__(self, in_channels: Any) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.layer = nn.Conv2d(4, 2, 1)


class Own(RotateNetSupervisor):
    """A class of the user's own."""


def found(given: Any, **more: Any) -> Teacher:
    return find_teacher(given, **{"weights": None, "in_channels": 3, "image_size": (32, 32)} | more)


def test_a_word_is_a_file_where_it_ends_as_one_or_a_run_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    for name in ("no.pt", "no.pth", "no.safetensors", str(Path("folder", "no"))):
        with pytest.raises(FileNotFoundError, match="there is no such file"):
            found(name)
    run, home = Path("runs", "run"), Path.home() / "alone"
    supervisor = RotateNetSupervisor(None, "narrow-resnet", image_size=32)
    for place in (Path("alone"), Path("alone.2"), run, home):
        supervisor.save(place)
    named = {"alone": "alone", "alone.pt": "alone", "alone.2": "alone.2"}
    for given, at in {**named, "runs": str(run), "~/alone": str(home)}.items():
        assert found(given).name == f"the NarrowResNet of a RotateNetSupervisor at {at}"
    Own(None, "narrow-resnet", image_size=32).save("own")
    with pytest.raises(ValueError, match="a class of your own: load it, and give it as teacher= "):
        found("own")


@pytest.mark.parametrize(
    ("network", "channels"),
    [
        (nn.Sequential(nn.Conv2d(5, 4, 3), nn.Conv2d(4, 2, 3)), 5),
        (nn.AdaptiveAvgPool2d(1), 3),
        (Split(8), 8),
        (Split((8,)), 4),
    ],
)
def test_a_module_eats_what_it_says_or_its_first_convolution_does(
    network: nn.Module, channels: int
) -> None:
    teacher = found(network, in_channels=9)
    assert teacher.in_channels == channels and teacher.scaling is None


def test_a_single_channel_is_one_in_words() -> None:
    teacher = Teacher(nn.Conv2d(1, 2, 1), "gray", 1)
    with pytest.raises(ValueError, match=r"sees 1 channel and the images have 4.*channels=\(0,\)$"):
        channels_for(teacher, None, 4)
    with pytest.raises(ValueError, match=r"must name 1 channel of the images.*, got 2$"):
        channels_for(teacher, (1, 2), 4)


@pytest.mark.parametrize(
    ("name", "size", "stem", "scaling"),
    [
        ("timm/test_vit", (224, 304), 16, HALVES),  # in whole patches, as large as published
        ("timm/test_resnet", (224, 299), 2, HALVES),
        ("resnet18", (224, 299), 2, IMAGENET),
    ],
)
def test_networks_by_name_are_as_published_and_see_224_pixels_of_the_shorter_side(
    name: str,
    size: tuple[int, int],
    stem: int,
    scaling: tuple[Any, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("timm")
    asked: list[Any] = []
    monkeypatch.setattr(teachers, "give_weights", lambda _, *given: asked.append(given))
    teacher = found(name, in_channels=1, image_size=(30, 40))
    assert asked == [("imagenet", "teacher_weights")]
    assert (teacher.name, teacher.in_channels, teacher.own_size) == (name, 3, size)
    first: Any = next(part for part in teacher.network.modules() if isinstance(part, nn.Conv2d))
    assert first.stride == (stem, stem)
    assert teacher.scaling == scaling


@pytest.mark.parametrize(
    ("embedding", "is_dynamic", "expected"),
    [
        ({}, True, ((224, 304), "imagenet")),
        ({}, False, ((224, 304), "auto")),  # whose patches have one size anyway
        ({"backbone": None}, True, ((224, 299), "auto")),  # patches of a network's maps
    ],
)
def test_patches_are_the_published_ones_where_there_is_a_choice(
    embedding: dict[str, Any], is_dynamic: bool, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm")
    outline = nn.Module()
    outline.patch_embed = SimpleNamespace(patch_size=8, **embedding)  # type: ignore[assignment]
    if is_dynamic:
        outline.dynamic_img_size = True  # type: ignore[assignment]
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: outline)
    assert teachers._patched("timm/test_vit", (224, 299)) == expected


@pytest.mark.parametrize("name", ["timm/test_vit3.nothing", "timm/test_vit33.r160_in1k"])
def test_a_network_or_weights_that_timm_has_not_are_refused_in_words(name: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=f"unknown backbone '{name}': did you mean timm/test_vit"):
        found(name)


def test_who_is_called_as_a_network_of_timm_needs_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=f"{DEFAULT_TEACHER}' needs timm: pip install timm"):
        found(DEFAULT_TEACHER)


def test_a_network_that_was_built_by_name_wants_its_scaling_once_it_has_published_weights(
    tmp_path: Path,
) -> None:
    pytest.importorskip("timm")
    built = build_backbone("timm/test_vit", 3, (32, 32))
    assert found(built).scaling is None
    assert found(built).own_size == (32, 32)
    torch.save(built.state_dict(), tmp_path / "w.pt")
    give_weights(built, tmp_path / "w.pt")
    assert found(built).scaling == HALVES


def test_a_file_of_weights_beside_which_it_is_said_how_to_build_them(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    timm = pytest.importorskip("timm")
    network = NarrowResNet(3, 4)
    path = export_backbone(
        network, tmp_path / "b.pt", image_size=(32, 48), preprocess=Normalize(*HALVES)
    )
    teacher = found(str(path))
    assert teacher.name == f"the NarrowResNet in {path}"
    assert (teacher.own_size, teacher.in_channels) == ((32, 48), 3)
    assert [tuple(each) for each in teacher.scaling or ()] == list(HALVES)
    vit = build_backbone("timm/test_vit", 1, (32, 32))
    average_tokens(vit)  # as MAE has it
    path = export_backbone(vit, tmp_path / "v.safetensors", image_size=32, in_channels=1)
    teacher = found(path)
    assert isinstance(teacher.network, timm.models.VisionTransformer)
    assert teacher.in_channels == 1 and teacher.scaling is None
    assert teacher.network.global_pool == "avg"
    for mine, other in zip(teacher.network.parameters(), vit.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_file_that_says_something_else_than_it_holds_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = export_backbone(NarrowResNet(3, 4), tmp_path / "b.safetensors", image_size=32)
    beside = tmp_path / "b.safetensors.json"
    said = json.loads(beside.read_text())
    for other, message in (
        ({"preprocess": ["Squares()"]}, r"wants its images Squares\(\), which no file can do"),
        ({"build": said["build"].replace("4", "5")}, "are not those of the network that b.safe"),
        ({"build": "import timm\nn = timm.create_model('test_vit', 'x')"}, "does not say how"),
        ({"build": "import timm\nn = timm.create_model()"}, "does not say how"),
        ({"build": "import timm\nn = timm.NarrowResNet('test_vit')"}, "does not say how"),
    ):
        beside.write_text(json.dumps({**said, **other}))
        with pytest.raises(ValueError, match=message):
            found(path)
    beside.write_text(json.dumps({**said, "preprocess": ["Normalize"], "mean": [0.5], "std": [1]}))
    assert found(path).scaling == ([0.5], [1])
