"""The examples of transfer, with fewer images and narrower networks."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from super_selfish.data import photographs
from super_selfish.models import NarrowResNet
from super_selfish.supervisors import MomentumContrastSupervisor

EXAMPLES = Path(__file__).parents[2] / "examples"


def functions(name: str) -> dict[str, Any]:
    """What an example defines, without running it."""
    return runpy.run_path(str(EXAMPLES / name))


def test_classification_learns_frozen_and_fine_tuned() -> None:
    torch.manual_seed(0)
    train, test = (photographs(32, split=part, per_photograph=6) for part in ("train", "test"))
    frozen, finetuned = functions("classification.py")["classify"](
        NarrowResNet(width=4), Subset(train, range(len(train))), test, "cpu"
    )
    chance = 1 / len(test.classes)
    assert frozen > 2 * chance
    assert finetuned > 2 * chance


def test_classification_takes_a_checkpoint_or_pretrains(tmp_path: Path) -> None:
    pretrained_backbone = functions("classification.py")["pretrained_backbone"]
    images = photographs(32, split="train", per_photograph=5)
    made = pretrained_backbone(None, images, 1, "cpu")
    MomentumContrastSupervisor(images, backbone="narrow-resnet").save(tmp_path / "moco")
    loaded = pretrained_backbone(str(tmp_path / "moco"), images, 1, "cpu")
    assert made.num_features == loaded.num_features // 2 == 128


def test_segmentation_gives_every_pixel_a_class() -> None:
    torch.manual_seed(0)
    example = functions("segmentation.py")
    generator = torch.Generator().manual_seed(0)
    train = TensorDataset(*example["mosaics"]("train", 40, generator))
    images, masks = example["mosaics"]("test", 8, generator)
    found = example["segment"](NarrowResNet(width=4), train, images, "cpu")
    assert found.shape == masks.shape
    assert found.dtype == torch.int64
    assert example["mean_iou"](masks, masks) == 1.0
    assert example["mean_iou"](found, masks) > 0.12  # one class everywhere has 1 / 16


@pytest.mark.slow
def test_segmentation_writes_its_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sys.argv", ["segmentation.py", "--epochs", "1", "--images", "8", "--out", "a.png"]
    )
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "segmentation.py"), run_name="__main__")
    with Image.open(tmp_path / "a.png") as figure:
        assert figure.width > 300
