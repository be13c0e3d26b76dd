from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.export import export_backbone
from super_selfish.export.backbone import ONNX_NEEDS
from super_selfish.export.deployable import (
    Deployable,
    exports_programs_to_onnx,
    traced_onnx_bytes,
)
from super_selfish.models import NarrowResNet, Normalize
from super_selfish.supervisors import (
    ContrastiveMultiviewCodingSupervisor,
    JigsawNetSupervisor,
    SplitBrainNetSupervisor,
)
from super_selfish.supervisors.color_split import split_backbone

Backbones = Callable[..., nn.Module]
Reader = Callable[[Path], Callable[[Tensor], Tensor]]


def read_torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load`")  # torch prefers torch.export
        network: Callable[[Tensor], Tensor] = torch.jit.load(path)
    return network


def read_torch_export(path: Path) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are using `torch.load`")  # torch's own, in 2.4
        return torch.export.load(path).module()


def read_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (features,) = session.run(["features"], {"images": images.numpy()})
        return torch.from_numpy(features)

    return run


READERS = {"torchscript": read_torchscript, "torch.export": read_torch_export, "onnx": read_onnx}


def _require_onnx() -> None:
    for package in ONNX_NEEDS:
        pytest.importorskip(package)


@pytest.fixture(params=READERS)
def format(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "onnx":
        _require_onnx()
        pytest.importorskip("onnxruntime")
    return name


def require_same(path: Path, format: str, network: nn.Module, images: Tensor) -> None:
    """Compares for another number of images than it was made with, and for a single one."""
    exported = READERS[format](path)
    with torch.no_grad():
        for some in (images, images[:1]):
            expected = network(some)
            assert expected.std() > 1e-3  # a network that says nothing would prove nothing
            # Of the largest feature, where it is above 1: fifty layers of EfficientNet-B0 leave
            # 0.8e-5 between torch in float32 and in float64, 1.3e-5 between onnxruntime and that,
            # at features up to 3.4.
            largest = max(1.0, float(expected.abs().max()))
            torch.testing.assert_close(exported(some), expected, rtol=1e-5, atol=1e-5 * largest)


def test_efficientnet_and_what_is_done_before_it_give_the_same_features(
    tmp_path: Path, short_efficientnet: nn.Module, pictures: Tensor, format: str
) -> None:
    halve = Normalize((0.0, 0.0, 0.0), (2.0, 2.0, 2.0))
    path = export_backbone(
        short_efficientnet, tmp_path / "a", format, image_size=32, preprocess=halve
    )
    require_same(path, format, nn.Sequential(halve, short_efficientnet), pictures)
    description = json.loads(Path(f"{path}.json").read_text())
    assert description["preprocess"] == []
    assert description["num_features"] == 24


@pytest.mark.slow
def test_the_whole_efficientnet_gives_the_same_features(
    tmp_path: Path, efficientnet: nn.Module, pictures: Tensor, format: str
) -> None:
    path = export_backbone(efficientnet, tmp_path / "a", format, image_size=32)
    require_same(path, format, efficientnet, pictures)


def test_lightness_and_colour_give_the_same_features(
    tmp_path: Path, tiny_backbone: Backbones, generator: torch.Generator, format: str
) -> None:
    halves = split_backbone(tiny_backbone(), (32, 32), None).eval()
    path = export_backbone(halves, tmp_path / "a", format, image_size=32)
    images = torch.rand(130, 3, 32, 32, generator=generator)  # here L*a*b* takes 128 at a time
    require_same(path, format, halves, images)


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        (ContrastiveMultiviewCodingSupervisor, {"num_images": 8, "backbone": "narrow-resnet"}),
        (ContrastiveMultiviewCodingSupervisor, {"num_images": 8}),
        (SplitBrainNetSupervisor, {"backbone": "narrow-resnet"}),
        (JigsawNetSupervisor, {}),
    ],
)
def test_supervisors_export_what_they_do_to_images_too(
    tmp_path: Path, settle: Any, pictures: Tensor, algorithm: Any, options: dict[str, Any]
) -> None:
    options = {"backbone": NarrowResNet(width=4), **options}
    supervisor = algorithm(image_size=32, in_channels=3, **options)
    network = nn.Sequential(supervisor.preprocess, supervisor.get_backbone())
    settle(network)
    path = supervisor.export_backbone(tmp_path / "a", "torchscript")
    require_same(path, "torchscript", network, pictures)


def test_maps_are_averaged(tmp_path: Path, pictures: Tensor) -> None:
    network = nn.Conv2d(3, 5, 3)
    path = export_backbone(network, tmp_path / "a", "torchscript", image_size=32)
    averaged = nn.Sequential(network, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    require_same(path, "torchscript", averaged, pictures)


def test_onnx_by_tracing_gives_the_same_features(
    tmp_path: Path, short_efficientnet: nn.Module, pictures: Tensor
) -> None:
    pytest.importorskip("onnx")
    network = Deployable(nn.Identity(), short_efficientnet).eval()
    path = tmp_path / "a.onnx"
    path.write_bytes(traced_onnx_bytes(network, pictures[:2]))
    require_same(path, "onnx", short_efficientnet, pictures)


class CountsImages(nn.Module):
    """Depends on the number of images by Python's own number."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) * float(len(images))


def test_a_network_that_cannot_be_traced_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="what torchscript made of the network gives other"):
        export_backbone(CountsImages(), tmp_path / "a", "torchscript", image_size=32)
    assert not list(tmp_path.iterdir())


class DrawsAtRandom(nn.Module):
    """Gives other features every time."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) + torch.rand(1)


class KnowsTheNumberOfImages(nn.Module):
    """Fits the two images that exports are made with."""

    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, 3, -1).mean(dim=2)


class ReadsAValue(nn.Module):
    """Takes a number out of the images into Python."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) * float(images.max())


class HasNoCounterpart(nn.Module):
    """Computes what ONNX cannot."""

    def forward(self, images: Tensor) -> Tensor:
        maps = images.mean(dim=1)
        return torch.linalg.eigvalsh(maps @ maps.transpose(1, 2))


def test_a_network_that_draws_at_random_is_refused(tmp_path: Path, format: str) -> None:
    with pytest.raises(ValueError, match=f"what {format} made of the network gives other"):
        export_backbone(DrawsAtRandom(), tmp_path / "a", format, image_size=32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("network", [KnowsTheNumberOfImages(), ReadsAValue()])
def test_a_network_that_fits_its_example_alone_is_refused(
    tmp_path: Path, format: str, network: nn.Module
) -> None:
    said = {
        "torchscript": "what torchscript made of the network gives other",
        "torch.export": f"torch.export cannot follow the forward of {type(network).__name__}",
        "onnx": f"onnx cannot follow the forward of {type(network).__name__}",
    }
    if not exports_programs_to_onnx():  # torch 2.4 traces
        said["onnx"] = "what onnx made of the network gives other"
    with pytest.raises(ValueError, match=said[format]):
        export_backbone(network, tmp_path / "a", format, image_size=32)
    assert not list(tmp_path.iterdir())


def test_what_onnx_has_no_operation_for_is_refused_with_what_works(tmp_path: Path) -> None:
    _require_onnx()
    with pytest.raises(ValueError, match=r"has not.*linalg_eig.*\"torch.export\" and \"torchsc"):
        export_backbone(HasNoCounterpart(), tmp_path / "a.onnx", image_size=32)
    export_backbone(HasNoCounterpart(), tmp_path / "a.pt2", image_size=32)
