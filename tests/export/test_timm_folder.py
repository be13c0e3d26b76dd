"""Folders that timm reads by itself."""

from __future__ import annotations

import copy
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.export import Story, export_backbone
from super_selfish.export.card import without_folders
from super_selfish.models import (
    EfficientFeatures,
    NarrowResNet,
    Normalize,
    build_backbone,
    pooled_features,
)
from super_selfish.supervisors import LabelSupervisor, RotateNetSupervisor
from super_selfish.supervisors.color_split import split_backbone
from super_selfish.supervisors.tile_tone import Standardize

timm: Any = pytest.importorskip("timm", minversion="1.0.16", reason="older timm reads no folders")
pytest.importorskip("safetensors")
FOLDER = "timm-folder"


def read(folder: Path, **arguments: Any) -> nn.Module:
    """What whoever has never heard of this library types."""
    network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True, **arguments)
    return network.eval()


def fed(network: Any, images: Tensor) -> Tensor:
    """Images as timm's own settings of the network want them."""
    settings = timm.data.resolve_model_data_config(network)
    mean, std = (torch.tensor(settings[name])[:, None, None] for name in ("mean", "std"))
    return (images - mean) / std


def require_same(folder: Path, backbone: nn.Module, images: Tensor, before: nn.Module) -> None:
    """In double precision, in which the order of sums does not show."""
    network, images = read(folder).double(), images.double()
    own, before = copy.deepcopy(backbone).double().eval(), copy.deepcopy(before).double()
    with torch.no_grad():
        expected = pooled_features(own, before(images))
        assert expected.std() > 1e-3  # a network that says nothing would prove nothing
        found = network(fed(network, images))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "channels", "side"),
    [
        ("test_resnet", 3, 32),
        ("test_resnet", 1, 48),
        ("test_convnext", 5, 64),
        ("test_vit", 3, 32),
        ("test_vit", 13, (64, 32)),
        ("test_efficientnet", 2, 33),
    ],
)
def test_timm_reads_its_own_networks_with_any_channels(
    tmp_path: Path, settle: Any, name: str, channels: int, side: Any
) -> None:
    size = (side, side) if isinstance(side, int) else side
    torch.manual_seed(0)
    backbone = build_backbone(f"timm/{name}", channels, size)
    if any(isinstance(part, nn.BatchNorm2d) for part in backbone.modules()):
        settle(backbone, channels, size[0])
    before = Normalize([0.25] * channels, [0.5 + 0.01 * c for c in range(channels)])
    folder = export_backbone(
        *(backbone, tmp_path / "mine", FOLDER),
        image_size=side,
        in_channels=channels,
        preprocess=before,
    )
    assert folder == tmp_path / "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"mine"}
    assert {file.name for file in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }
    require_same(folder, backbone, torch.rand(2, channels, *size), before)
    settings = timm.data.resolve_model_data_config(read(folder))
    assert settings["input_size"] == (channels, *size)
    assert (settings["crop_pct"], settings["interpolation"]) == (1.0, "bilinear")


def test_a_classifier_of_any_size_is_put_on_what_was_read(tmp_path: Path, settle: Any) -> None:
    backbone = settle(build_backbone("timm/test_resnet", 4, (32, 32)), 4)
    folder = export_backbone(backbone, tmp_path / "a", FOLDER, image_size=32, in_channels=4)
    images = torch.rand(2, 4, 32, 32)
    with torch.no_grad():
        network: Any = read(folder, num_classes=7)
        assert network(images).shape == (2, 7)
        found = network.forward_head(network.forward_features(images), pre_logits=True)
        assert torch.equal(found, backbone(images))
        maps = read(folder, features_only=True)(images)
    assert [level.shape[0] for level in maps] == [2] * len(maps) and len(maps) >= 4


def test_three_channels_become_others_by_timms_own_means(tmp_path: Path, settle: Any) -> None:
    backbone = settle(build_backbone("timm/test_resnet", 3, (32, 32)))
    folder = export_backbone(backbone, tmp_path / "a", FOLDER, image_size=32)
    grey: Any = read(folder, in_chans=1)
    own: Any = backbone
    expected = own.conv1[0].weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(grey.conv1[0].weight, expected)


@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet18", 2), pytest.param("efficientnet-b0", 2, marks=pytest.mark.slow)],
)
def test_networks_that_begin_as_published_go_into_a_folder(
    tmp_path: Path, settle: Any, name: str, channels: int
) -> None:
    backbone = settle(build_backbone(name, channels, (40, 40), "imagenet"), channels, 40)
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.1  # as timm makes them
    folder = export_backbone(backbone, tmp_path / name, FOLDER, image_size=40, in_channels=channels)
    require_same(folder, backbone, torch.rand(2, channels, 40, 40), nn.Identity())


def test_what_timm_does_not_make_is_refused_with_what_works(tmp_path: Path) -> None:
    changed = timm.create_model("test_resnet", num_classes=5)
    refused: list[tuple[nn.Module, str]] = [
        (NarrowResNet(width=4), r"NarrowResNet cannot .* does not have this network; .*\"onnx\""),
        (build_backbone("resnet18", 3, (32, 32)), r"begins with a 3x3 .*stem=\"imagenet\""),
        (EfficientFeatures(norm_type="layer"), "have batch norm, and this one layer norm"),
        (build_backbone("mnasnet0_5", 3, (32, 32)), r"it has no mnasnet0_5; \"torchvision\""),
        (split_backbone("narrow-resnet", (32, 32), None), "does not have this network"),
        (nn.Conv2d(3, 4, 3), "does not have this network"),
        (changed, "by its name and arguments timm makes another network"),
    ]
    for backbone, reason in refused:
        with pytest.raises(ValueError, match=rf"{reason}.*\"timm/resnet18\""):
            export_backbone(backbone, tmp_path / "a", FOLDER, image_size=32)
    own = build_backbone("timm/test_resnet", 3, (32, 32))
    with pytest.raises(ValueError, match=r"timm normalises images, and .* \(Standardize\)"):
        export_backbone(own, tmp_path / "a", FOLDER, image_size=32, preprocess=Standardize())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_efficientnets_that_timm_does_not_make_are_refused(tmp_path: Path) -> None:
    for backbone, reason in (
        (EfficientFeatures(stem_stride=1), r"begins with .*stem=\"imagenet\""),
        (build_backbone("efficientnet_b0", 3, (32, 32)), "of that name has other layers"),
    ):
        with pytest.raises(ValueError, match=rf"{reason}.*\"timm/resnet18\""):
            export_backbone(backbone, tmp_path / "a", FOLDER, image_size=32)


def test_files_of_others_stay(tmp_path: Path) -> None:
    backbone = build_backbone("timm/test_resnet", 3, (32, 32))
    for name in ("README.md", "photo.png"):
        place = tmp_path / name.lower()
        place.mkdir()
        (place / name).write_text("mine")
        with pytest.raises(ValueError, match=f"holds {name}, and 'timm-folder' writes a folder of"):
            export_backbone(backbone, place, FOLDER, image_size=32)
        assert (place / name).read_text() == "mine" and len(list(place.iterdir())) == 1
    with pytest.raises(ValueError, match=r"photo\.png is a file, and .* writes a folder"):
        export_backbone(backbone, tmp_path / "photo.png/photo.png", FOLDER, image_size=32)
    again = tmp_path / "again"
    (again / ".git").mkdir(parents=True)  # a clone of an empty repository
    for _ in range(2):
        export_backbone(backbone, again, FOLDER, image_size=32)
    assert len(list(again.iterdir())) == 4


def test_a_timm_that_reads_no_folders_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: "1.0.9")
    with pytest.raises(ImportError, match=r"timm 1\.0\.9 reads no folders, 1\.0\.16 does: pip"):
        export_backbone(
            build_backbone("timm/test_resnet", 3, (32, 32)), tmp_path / "a", FOLDER, image_size=32
        )


# The page


def rating() -> dict[str, Any]:
    return {
        "pretrained": {"knn": 0.635, "linear": 0.778},
        "start": None,
        "untrained": {"knn": 0.630, "linear": 0.712},
        "intervals": {"difference": {"knn": [-0.034, 0.044], "linear": [0.03, 0.103]}},
        "verdict": ["better than untrained: linear", "within noise of untrained: knn"],
        **{"metric": "accuracy", "chance": 0.1, "classes": 10},
        **{"train_images": 2400, "test_images": 600},
    }


def test_the_page_tells_of_run_and_evaluation_and_its_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Tensor
) -> None:
    backbone = build_backbone("timm/test_resnet", 3, (32, 32))
    supervisor = RotateNetSupervisor(images, backbone, normalize="imagenet", crop=False)
    supervisor.supervise(
        epochs=1, batch_size=4, lr=0.25e-3, name=tmp_path / "secret/base", progress=False
    )
    loaded = RotateNetSupervisor(
        backbone=build_backbone("timm/test_resnet", 3, (32, 32)), normalize="imagenet", crop=False
    ).load(tmp_path / "secret/base")
    for number, teller in enumerate((supervisor, loaded)):
        folder = teller.export_backbone(tmp_path / f"mine{number}", FOLDER, evaluation=rating())
        page = (folder / "README.md").read_text()
        assert page.startswith("---\nlibrary_name: timm\npipeline_tag: image-feature-extraction\n")
        for told in (
            "# test_resnet, pretrained by RotateNet",
            "- self-supervised-learning\n---",
            "features `[B, 96]`, learned without labels.",
            "| crop | False |",
            "| learning rate | 0.00025 |",
            "| epochs | 1 |",
            f"| number of images | {len(images)} |",
            "| pretrained | 63.5 | 77.8 |",
            "| difference, 95 % interval | [\N{MINUS SIGN}3.4, +4.4] | [+3.0, +10.3] |",
            "- better than untrained: linear",
            "600 test images, 10 classes, chance 10.0",
            "No",
        ):
            assert told in page, told
        assert "secret" not in page and str(tmp_path) not in page
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["features"].shape == (1, backbone.num_features)
    supervisor.eval()
    with torch.no_grad():
        expected = backbone(supervisor.preprocess(names["images"]))
    torch.testing.assert_close(names["features"], expected)
    with pytest.raises(ValueError, match="evaluation= is for the page in a folder"):
        supervisor.export_backbone(tmp_path / "a.pt", evaluation=rating())
    with pytest.raises(TypeError, match="evaluation must be what evaluate"):
        supervisor.export_backbone(tmp_path / "a", FOLDER, evaluation={"knn": 0.5})


def test_without_a_run_the_page_says_what_is_not_known(tmp_path: Path) -> None:
    backbone = build_backbone("timm/test_resnet", 4, (32, 32))
    folder = export_backbone(
        *(backbone, tmp_path / "a b", FOLDER), image_size=32, in_channels=4, story=Story()
    )
    page = (folder / "README.md").read_text()
    assert "# test_resnet\n" in page and "## Training" not in page
    assert "Nobody has rated these weights" in page and "create_transform" not in page
    assert '"local-dir:a b"' in page and "mean" not in page.split("```")[1]
    assert "self-supervised" not in page.split("---")[1] and "learned with" not in page
    ranged = Story(value_range=((-1000, 0), (400, 1.5)), start="the weights of /home/jane/a.pt")
    page = (
        export_backbone(backbone, folder, FOLDER, image_size=32, in_channels=4, story=ranged)
        / "README.md"
    ).read_text()
    assert "0 and 1 are the numbers (-1000, 0) and (400, 1.5)" in page
    assert "| began with | the weights of a.pt |" in page


def test_what_learned_from_labels_says_so(tmp_path: Path, images: Tensor) -> None:
    backbone = build_backbone("timm/test_resnet", 3, (32, 32))
    supervisor = LabelSupervisor((images, torch.arange(len(images)) % 2), backbone, finetune=True)
    supervisor.supervise(epochs=1, batch_size=11, name=None, progress=False)
    page = (supervisor.export_backbone(tmp_path / "a", FOLDER) / "README.md").read_text()
    assert "# test_resnet, trained with labels\n" in page and "learned with labels" in page
    assert "self-supervised" not in page.split("---")[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/jane doe/photos of 2024/", "photos of 2024"),
        ("photos", "photos"),
        ("ImageFolder in /home/jane doe/photos", "ImageFolder in photos"),
        (r"ImageFolder in C:\Users\jane\photos", "ImageFolder in photos"),
        ("the checkpoint ~/jane/base", "the checkpoint base"),
        ("Tensor of shape [8, 3, 32, 32]", "Tensor of shape [8, 3, 32, 32]"),
        ("its published weights", "its published weights"),
        ("scans/**/*.tif", "*.tif"),
    ],
)
def test_no_folder_of_a_person_is_told(text: str, told: str) -> None:
    assert without_folders(text) == told


def test_nothing_is_drawn_from_the_global_stream_and_nothing_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = build_backbone("timm/test_vit", 2, (32, 32))
    before = torch.random.get_rng_state()
    with caplog.at_level(logging.WARNING):
        folder = export_backbone(backbone, tmp_path / "a", FOLDER, image_size=32, in_channels=2)
        assert torch.equal(torch.random.get_rng_state(), before)
        read(folder)
    assert not caplog.records
    config = json.loads((folder / "config.json").read_text())
    assert "first_conv" not in config["pretrained_cfg"]
