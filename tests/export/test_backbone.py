from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.export import export_backbone
from super_selfish.export.backbone import ONNX_NEEDS
from super_selfish.models import NarrowResNet, Normalize, build_backbone
from super_selfish.supervisors import RotateNetSupervisor

Backbones = Callable[..., nn.Module]


def sidecar(path: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads(Path(f"{path}.json").read_text())
    return description


def test_safetensors_gives_the_same_features(tmp_path: Path, settle: Any, pictures: Tensor) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    backbone = settle(NarrowResNet(width=4))  # channels last, which safetensors does not take
    path = export_backbone(backbone, tmp_path / "backbone.safetensors", image_size=32)
    other = NarrowResNet(width=4)
    other.load_state_dict(safetensors.load_file(path))
    torch.testing.assert_close(other.eval()(pictures), backbone(pictures), rtol=1e-5, atol=1e-6)


def test_safetensors_holds_its_description(tmp_path: Path, tiny_backbone: Backbones) -> None:
    safetensors = pytest.importorskip("safetensors")
    path = export_backbone(tiny_backbone(), tmp_path / "a.safetensors", image_size=(32, 48))
    with safetensors.safe_open(path, "pt") as file:
        metadata = {name: json.loads(value) for name, value in file.metadata().items()}
    assert metadata == sidecar(path)
    assert metadata["image_size"] == [32, 48]


def test_state_dict_loads_without_pickled_code(
    tmp_path: Path, tiny_backbone: Backbones, pictures: Tensor
) -> None:
    backbone = tiny_backbone().eval()
    path = export_backbone(backbone, tmp_path / "backbone.pth", image_size=32)
    other = tiny_backbone()
    nn.init.zeros_(other.get_parameter("layers.0.weight"))
    other.load_state_dict(torch.load(path, weights_only=True))
    assert torch.equal(other.eval()(pictures), backbone(pictures))


def test_shared_weights_are_written_to_safetensors_twice(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    layer = nn.Conv2d(3, 3, 1)
    path = export_backbone(nn.Sequential(layer, layer), tmp_path / "a.safetensors", image_size=32)
    weights = safetensors.load_file(path)
    assert torch.equal(weights["0.weight"], weights["1.weight"])


def test_weights_end_as_the_path_says_whatever_their_names(tmp_path: Path, settle: Any) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    backbone = settle(build_backbone("mobilenet_v3_small", 3, (32, 32)))
    path = export_backbone(backbone, tmp_path / "a.safetensors", "torchvision", image_size=32)
    assert "features.0.0.weight" in safetensors.load_file(path)


@pytest.mark.parametrize("format", ["state_dict", "torchscript"])
def test_a_path_without_ending_gets_that_of_the_format(
    tmp_path: Path, tiny_backbone: Backbones, format: str
) -> None:
    path = export_backbone(tiny_backbone(), tmp_path / "run-0.5", format, image_size=32)
    assert path == tmp_path / "run-0.5.pt"
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "run-0.5.pt.json"]


def test_the_side_car_says_what_the_file_holds(tmp_path: Path, tiny_backbone: Backbones) -> None:
    normalize = Normalize((0.5, 0.25, 0.0), (0.5, 1.0, 2.0))
    path = export_backbone(
        tiny_backbone(), tmp_path / "a.pt", image_size=32, preprocess=nn.Sequential(normalize)
    )
    description = sidecar(path)
    assert description.pop("versions").keys() == {"super-selfish", "torch"}
    assert description == {
        "format": "state_dict",
        "class": "TinyBackbone",
        "name": None,
        "stem": None,
        "num_features": 16,
        "image_size": [32, 32],
        "in_channels": 3,
        "preprocess": [repr(normalize)],
        "mean": [0.5, 0.25, 0.0],
        "std": [0.5, 1.0, 2.0],
        "build": None,
    }


def test_the_backbone_stays_as_it_is(tmp_path: Path, tiny_backbone: Backbones) -> None:
    backbone = tiny_backbone().double().train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    export_backbone(backbone, tmp_path / "a.pt", "torchscript", image_size=32)
    assert backbone.training
    for name, value in backbone.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_nothing_is_drawn_from_the_global_stream(tmp_path: Path, settle: Any) -> None:
    pytest.importorskip("timm")
    backbone = settle(build_backbone("resnet18", 3, (32, 32)))
    before = torch.random.get_rng_state()
    for format in ("torchvision", "timm", "torchscript"):
        export_backbone(backbone, tmp_path / format, format, image_size=32)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_failed_export_keeps_the_former_file(tmp_path: Path, tiny_backbone: Backbones) -> None:
    path = export_backbone(tiny_backbone(), tmp_path / "a.pt", image_size=32)
    former = path.read_bytes()
    with pytest.raises(ValueError, match="could not take images"):
        export_backbone(tiny_backbone(1), path, image_size=32)
    assert path.read_bytes() == former


def test_a_diverged_backbone_is_refused(tmp_path: Path, tiny_backbone: Backbones) -> None:
    backbone = tiny_backbone()
    nn.init.constant_(backbone.get_parameter("layers.0.weight"), float("nan"))
    with pytest.raises(ValueError, match=r"layers.0.weight of the backbone is not finite"):
        export_backbone(backbone, tmp_path / "a.pt", image_size=32)


@pytest.mark.parametrize(
    ("name", "format", "word"),
    [
        ("a", None, "expected a format, or a path that ends in one of"),
        ("a.pt", "tensorflow", "format must be one of safetensors, state_dict"),
    ],
)
def test_an_unknown_format_is_refused(
    tmp_path: Path, tiny_backbone: Backbones, name: str, format: str | None, word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        export_backbone(tiny_backbone(), tmp_path / name, format, image_size=32)


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("safetensors", "needs safetensors: pip install 'super-selfish[export]'"),
        ("onnx", f"needs {' and '.join(ONNX_NEEDS)}: pip install 'super-selfish[export]'"),
        ("timm", "needs timm: pip install 'super-selfish[timm]'"),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(
    tmp_path: Path,
    tiny_backbone: Backbones,
    monkeypatch: pytest.MonkeyPatch,
    format: str,
    line: str,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError) as refusal:
        export_backbone(tiny_backbone(), tmp_path / "a", format, image_size=32)
    assert str(refusal.value) == f"the format {format!r} {line}"


def test_a_supervisor_exports_its_backbone(tmp_path: Path, tiny_backbone: Backbones) -> None:
    supervisor = RotateNetSupervisor(
        backbone=tiny_backbone(), image_size=32, in_channels=3, normalize="imagenet"
    )
    path = supervisor.export_backbone(tmp_path / "rotate.pt")
    weights = torch.load(path, weights_only=True)
    assert weights.keys() == supervisor.get_backbone().state_dict().keys()
    assert sidecar(path)["mean"] == [0.485, 0.456, 0.406]
    assert sidecar(path)["image_size"] == [32, 32]


@pytest.mark.parametrize("format", ["state_dict", "torchscript"])
def test_a_backbone_with_spectral_norm_can_be_exported_after_training(
    tmp_path: Path, pictures: Tensor, format: str
) -> None:
    backbone = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)), nn.ReLU())
    backbone(pictures).sum().backward()
    weight: Tensor = backbone[0].weight  # type: ignore[assignment]  # of the last pass
    assert not weight.is_leaf
    export_backbone(backbone, tmp_path / "a", format, image_size=32)
    assert backbone[0].weight is weight


class KeepsADict(nn.Conv2d):
    """Has a state that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"version": 3}


def test_state_that_is_no_tensor_goes_where_there_is_room_for_it(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = export_backbone(KeepsADict(3, 4, 3), tmp_path / "a.pt", image_size=32)
    KeepsADict(3, 4, 3).load_state_dict(torch.load(path, weights_only=True))
    with pytest.raises(ValueError, match='_extra_state of the backbone is dict: "state_dict"'):
        export_backbone(KeepsADict(3, 4, 3), tmp_path / "a.safetensors", image_size=32)
