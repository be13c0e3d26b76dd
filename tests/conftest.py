from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Generator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models.teacher import Teacher
from super_selfish.supervisors import teachers

torch.set_num_threads(1)  # the networks here are tiny: threads only cost


class TinyBackbone(nn.Module):
    """Two convolutions with batch norm: maps of 16 channels, a quarter of the side."""

    num_features = 16

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )

    def forward_features(self, images: Tensor) -> Tensor:
        return self.layers(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_features(images).mean(dim=(2, 3))


# Algorithms that take no other networks than vision transformers.
OF_TRANSFORMERS = frozenset({"mae"})


def tiny_transformer(in_channels: int = 3, width: int = 16, patch: int = 8) -> nn.Module:
    """A vision transformer of timm: one block of 16 features, as small as `TinyBackbone`."""
    timm = pytest.importorskip("timm")
    sizes = {"patch_size": patch, "embed_dim": width, "depth": 1, "num_heads": 2}
    options = {"img_size": 32, "in_chans": in_channels, "dynamic_img_size": True}
    made: nn.Module = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes, **options)
    return made


def backbone_for(algorithm: str, in_channels: int = 3) -> nn.Module:
    """A tiny network that an algorithm takes."""
    if algorithm in OF_TRANSFORMERS:
        return tiny_transformer(in_channels)
    return TinyBackbone(in_channels)


def same_backbone(algorithm: str, in_channels: int = 3) -> nn.Module:
    """A tiny network that an algorithm takes, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return backbone_for(algorithm, in_channels)


class TinyTeacher(nn.Module):
    """A convolution that tells images apart: maps of 12 channels, a quarter of the side."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, 12, 4, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        return 8 * self.layer(images - 0.3)


def tiny_teacher(in_channels: int = 3) -> TinyTeacher:
    """Always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return TinyTeacher(in_channels)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard() -> None:
    """A shell starts what runs in its background deaf to it, and so would be what tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _no_teacher_is_fetched() -> Generator[None]:
    """Where a test names no teacher, a tiny one stands for DINOv2, whose weights are elsewhere."""

    def default(in_channels: int, image_size: tuple[int, int]) -> Teacher:
        return Teacher(tiny_teacher(in_channels), "a tiny teacher", in_channels)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(teachers, "default_teacher", default)
        yield


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pictures(number: int, generator: torch.Generator | None = None) -> Tensor:
    """Smooth colour images of 32x32, uint8, as bright above as photographs are."""
    generator = generator or torch.Generator().manual_seed(0)
    coarse = torch.rand(number, 3, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    sky = torch.linspace(1.0, 0.2, 32)[:, None]
    return (smooth * sky * 255).to(torch.uint8)


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    """Twenty-two of them."""
    return pictures(22, generator)


@pytest.fixture
def tiny_backbone(request: pytest.FixtureRequest) -> Callable[..., nn.Module]:
    """Makes tiny backbones, always with the same weights, for the algorithm of the test if any."""
    case: Any = getattr(request.node, "callspec", None)
    given = {} if case is None else case.params
    algorithm = str(given.get("algorithm", given.get("task", "")))

    return functools.partial(same_backbone, algorithm)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes what a test has printed text that can be sent to another process."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report
