"""The examples of transfer, with fewer images and narrower networks."""

from __future__ import annotations

import runpy
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from super_selfish.data import photographs
from super_selfish.evaluation.metrics import confusion_matrix, mean_iou
from super_selfish.models import NarrowResNet, build_backbone
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
    counts = confusion_matrix(found.flatten(), masks.flatten(), torch.arange(4))
    assert mean_iou(counts) > 0.12  # one class everywhere has 1 / 16


@pytest.mark.slow
def test_segmentation_writes_its_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sys.argv", ["segmentation.py", "--epochs", "1", "--images", "8", "--out", "a.png"]
    )
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "segmentation.py"), run_name="__main__")
    with Image.open(tmp_path / "a.png") as figure:
        assert figure.width > 300


def test_a_backbone_is_the_encoder_of_segmentation_models_pytorch() -> None:
    reason = "needs segmentation-models-pytorch, whose encoder the backbone becomes"
    pytest.importorskip("segmentation_models_pytorch", reason=reason)
    torch.manual_seed(0)
    example = functions("unet.py")
    mosaics = functions("segmentation.py")["mosaics"]
    images, masks = mosaics("train", 8, torch.Generator().manual_seed(0))
    for backbone in (NarrowResNet(width=4), build_backbone("timm/test_vit", 3, (64, 64))):
        network = example["unet"](backbone)
        assert network.encoder.maps.backbone is backbone
        found = network.encoder(torch.rand(2, 3, 64, 64))
        assert [maps.shape[1] for maps in found] == network.encoder.out_channels
        assert network(torch.rand(2, 3, 64, 64)).shape == (2, 4, 64, 64)
    network = example["unet"](NarrowResNet(width=4))
    before = [parameter.clone() for parameter in network.encoder.parameters()]
    losses = [example["train"](network, images, masks, 4, "cpu") for _ in range(2)]
    assert losses[1] < losses[0]
    after = network.encoder.parameters()
    assert not all(map(torch.equal, before, after))
    with pytest.raises(ValueError, match="the backbone takes 3 channels"):
        network.encoder.set_in_channels(4)


def test_detection_finds_boxes_with_any_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    example = functions("detection.py")
    images, targets = example["scenes"]("train", 6, torch.Generator().manual_seed(0))
    for image, target in zip(images, targets, strict=True):
        assert image.shape == (3, 96, 96) and 0 <= image.min() < image.max() <= 1
        boxes = target["boxes"]
        assert len(boxes) == len(target["labels"]) >= 1
        sides = boxes[:, 2:] - boxes[:, :2]
        assert 16 <= sides.min() <= sides.max() <= 32
        assert set(target["labels"].tolist()) <= {1, 2, 3}
        assert not any(example["overlap"](a, b) for a, b in combinations(boxes, 2))
    network = example["detector"](NarrowResNet(width=4))
    first, last = example["train"](network, (images, targets), 3, "cpu")
    assert 0 < first < 20 and 0 < last < 20
    found = example["detect"](network, images[:2], "cpu")
    assert [set(one) for one in found] == [{"boxes", "labels", "scores"}] * 2
    monkeypatch.setitem(sys.modules, "torchmetrics.detection", None)
    assert "left out" in example["precision"]() and "pip install" in example["precision"]()


def test_an_oval_fills_its_box() -> None:
    oval = functions("detection.py")["oval"](8, 5)
    assert oval.any(dim=0).all() and oval.any(dim=1).all()
    assert not oval[0, 0] and not oval[7, 4]
    assert oval.float().mean() == pytest.approx(torch.pi / 4, abs=0.06)
