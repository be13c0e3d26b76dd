"""The lines of the README, as they stand, for every algorithm and every kind of images."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.datasets import FakeData
from torchvision.transforms import ToTensor

from super_selfish.models import CombinedNet
from super_selfish.supervisors import SUPERVISORS

NEED_COLOUR = {"cmc", "colorization", "split_brain"}  # refuse other images in words


def torchvision_set(folder: Path) -> Any:
    return FakeData(4, (3, 32, 32), num_classes=2, transform=ToTensor())


def jpeg_folder(folder: Path) -> Any:
    generator = np.random.default_rng(0)
    for number, (height, width) in enumerate([(40, 60), (64, 48), (100, 100), (50, 90)]):
        pixels = generator.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        (folder / f"part{number % 2}").mkdir(exist_ok=True)
        picture.save(folder / f"part{number % 2}" / f"{number}.jpg")
    return str(folder)


def grey_digits(folder: Path) -> Any:
    return torch.randint(256, (4, 1, 28, 28), dtype=torch.uint8)


def five_channels(folder: Path) -> Any:
    return [np.random.default_rng(i).random((32, 32, 5), dtype=np.float32) for i in range(4)]


SOURCES = (torchvision_set, jpeg_folder, grey_digits, five_channels)


def with_images() -> list[Any]:
    """Every algorithm with every kind of images; all but one kind each, by turns, are slow tests.

    An EfficientNet-B0 takes seconds in each case. That algorithms take images of any size and
    channels is held with small networks in tests/supervisors/test_contract.py.
    """
    cases = []
    for number, algorithm in enumerate(sorted(SUPERVISORS)):
        for kind, source in enumerate(SOURCES):
            is_refused = algorithm in NEED_COLOUR and source in (grey_digits, five_channels)
            turn = number % 2 if algorithm in NEED_COLOUR else number % len(SOURCES)
            is_quick = algorithm == "rotate" or is_refused or kind == turn
            marks = () if is_quick else (pytest.mark.slow,)
            name = f"{algorithm}-{source.__name__}"
            cases.append(pytest.param(algorithm, source, marks=marks, id=name))
    return cases


@pytest.mark.parametrize(("algorithm", "source"), with_images())
def test_two_lines_pretrain_and_two_bring_the_backbone_back(
    algorithm: str, source: Callable[[Path], Any], tmp_path: Path
) -> None:
    kind = SUPERVISORS[algorithm]
    train_dataset = source(tmp_path)
    if algorithm in NEED_COLOUR and source in (grey_digits, five_channels):
        with pytest.raises(ValueError, match="colour"):
            kind(train_dataset)
        return
    # 225 pixels are the default for mixed sizes; 32 keep this quick.
    size = {"image_size": 32} if source is jpeg_folder else {}
    name = str(tmp_path / "store" / "base")

    supervisor = kind(train_dataset, **size)
    supervisor.supervise(lr=1e-3, epochs=1, batch_size=64, name=name, pretrained=False)

    loaded = kind().load(name=name)
    width = {"split_brain": 2 * 1280, "mae": 192}.get(algorithm, 1280)  # a half each for L and ab
    network = CombinedNet(loaded.get_backbone(), nn.Linear(width, 10)).eval()
    channels = supervisor.in_channels
    assert network(torch.rand(2, channels, 32, 32)).shape == (2, 10)


def test_mixed_sizes_become_225_pixels(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        supervisor = SUPERVISORS["rotate"](jpeg_folder(tmp_path), backbone="narrow-resnet")
        assert supervisor.image_size == (225, 225)
        supervisor.supervise(epochs=1, batch_size=2, name=None)


def test_importing_is_quick_in_what_it_imports() -> None:
    """What costs time is imported by whoever needs it."""
    late = ["efficientnet_pytorch", "timm", "matplotlib", "skimage", "elasticdeform", "sklearn"]
    code = f"import sys, super_selfish; print([name for name in {late} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert found.stderr == ""


def test_importing_works_when_elasticdeform_is_broken() -> None:
    broken = "import sys; sys.modules['elasticdeform'] = None"
    code = f"{broken}; import super_selfish.augmentations.elastic"
    subprocess.run([sys.executable, "-c", code], check=True)
