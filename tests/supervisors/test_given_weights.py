"""`weights=`: backbones that begin with what others have learned."""

from __future__ import annotations

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation import evaluate
from super_selfish.models import NarrowResNet, build_backbone
from super_selfish.models.fitted_weights import fit, flat_tensors, take
from super_selfish.supervisors import (
    SUPERVISORS,
    MomentumContrastSupervisor,
    MultiTaskSupervisor,
    RotateNetSupervisor,
)
from super_selfish.supervisors.given_weights import read_weights
from tests.conftest import TinyBackbone, backbone_for


def narrow() -> NarrowResNet:
    torch.manual_seed(5)
    return NarrowResNet(3, width=4)


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "around",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.backbone.{k}": v for k, v in state.items()}},
        lambda state: {
            "student": {"a": torch.zeros(2)},
            "teacher": {f"backbone.{k}": v for k, v in state.items()} | {"head.w": torch.ones(3)},
        },
    ],
)
def test_files_of_other_libraries_are_understood(around: Any, tmp_path: Path) -> None:
    source = narrow()
    torch.save(around(source.state_dict()), tmp_path / "others.pth")
    supervisor = RotateNetSupervisor(
        image_size=32, backbone=NarrowResNet(3, width=4), weights=tmp_path / "others.pth"
    )
    assert equal(supervisor.get_backbone(), source)


def test_a_file_of_safetensors_and_one_of_old_torch(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    source = narrow()
    safetensors.save_file(source.state_dict(), tmp_path / "a.safetensors")
    torch.save(source.state_dict(), tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "b.pt"):
        found = read_weights(tmp_path / name)
        assert all(torch.equal(found[key], value) for key, value in source.state_dict().items())


def test_what_did_not_fit_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = narrow().state_dict()
    last = list(state)[-1]
    kept = {key: value for key, value in state.items() if key != last}
    kept["fc.weight"], kept["stem.0.weight"] = torch.zeros(10, 64), torch.zeros(9, 3, 3, 3)
    torch.save(kept, tmp_path / "w.pt")
    with caplog.at_level(logging.WARNING):
        RotateNetSupervisor(
            image_size=32, backbone=NarrowResNet(3, width=4), weights=tmp_path / "w.pt"
        )
    (line,) = [m for m in caplog.messages if "begins with" in m]
    first = next(iter(state))
    assert line.startswith(f"NarrowResNet begins with the weights of {tmp_path / 'w.pt'}: ")
    if first != "stem.0.weight":
        assert "not used: fc.weight, stem.0.weight" in line
    assert f"not in it, so drawn at random: {last}" in line


def test_of_several_that_fit_the_first_is_taken_and_the_others_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    query, key = narrow(), NarrowResNet(3, width=4)
    names = {"module.encoder_q.": query, "module.encoder_k.": key}  # as MoCo stores them
    tensors = {p + k: v for p, network in names.items() for k, v in network.state_dict().items()}
    torch.save({"state_dict": {**tensors, "module.queue": torch.ones(4)}}, tmp_path / "moco.pt")
    with caplog.at_level(logging.WARNING):
        supervisor = RotateNetSupervisor(
            image_size=32, backbone=NarrowResNet(3, width=4), weights=tmp_path / "moco.pt"
        )
    assert equal(supervisor.get_backbone(), query)
    (line,) = [m for m in caplog.messages if "begins with the weights" in m]
    assert "; as much of it begins with module.encoder_k.: for that give a file of it alone" in line


@pytest.mark.parametrize("prefix", ["", "a.", "a.b."])
@pytest.mark.parametrize("is_within", [False, True])
def test_one_copy_is_told_of_once_whatever_stands_before_its_names(
    prefix: str, is_within: bool
) -> None:
    network = nn.Sequential(OrderedDict(a=narrow())) if is_within else narrow()
    found = fit(network, {prefix + key: value for key, value in narrow().state_dict().items()})
    assert not (found.alike or found.missing or found.unused)


def test_weights_that_are_not_finite_are_refused() -> None:
    network, state = narrow(), narrow().state_dict()
    last = [key for key, _ in network.named_parameters()][-1]
    state[last] = torch.full_like(state[last], torch.nan)
    with pytest.raises(ValueError, match=f"a file: numbers that are not finite are in {last}"):
        take(network, state, "a file")
    assert equal(network, narrow())


def test_an_infinite_buffer_may_be_meant() -> None:
    def masked(mask: float) -> nn.Module:
        network = nn.Linear(3, 2)
        network.register_buffer("mask", torch.full((2,), mask))
        return network

    network, given = masked(0.0), masked(-torch.inf)
    take(network, given.state_dict(), "a file")
    assert equal(network, given)


def test_other_shapes_are_left_out_and_named() -> None:
    network: Any = build_backbone("resnet18", 3, (32, 32))
    whole: Any = build_backbone("resnet18", 3, (32, 32), "imagenet")
    published = whole.network
    before = network.network.conv1.weight.clone()
    line = take(network, published.state_dict(), "a file")
    assert "of another shape: network.conv1.weight (64x3x7x7 instead of 64x3x3x3)" in line
    assert torch.equal(network.network.conv1.weight, before)
    assert torch.equal(
        network.network.layer1[0].conv1.weight,
        published.layer1[0].conv1.weight,
    )


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(TinyBackbone().state_dict(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w.pt: of the [\d,]+ numbers of the NarrowResNet only "):
        RotateNetSupervisor(image_size=32, backbone=NarrowResNet(3), weights=tmp_path / "w.pt")


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_the_first_convolution_is_brought_to_other_channels(channels: int) -> None:
    weight = narrow().state_dict()
    name = next(key for key, value in weight.items() if value.ndim == 4)
    network = NarrowResNet(channels, width=4)
    found = fit(network, weight)
    assert found.adapted == name and not found.other_shapes and not found.missing
    # An image whose channels are all alike gives about what it gave.
    alike = torch.rand(1, 1, 8, 8)
    given = nn.functional.conv2d(alike.expand(1, 3, 8, 8), weight[name])
    now = nn.functional.conv2d(alike.expand(1, channels, 8, 8), found.fitting[name])
    if channels == 1:
        torch.testing.assert_close(now, given)
    expected = {1: weight[name].sum(1), 2: weight[name][:, 0] * 1.5, 5: weight[name][:, 0] * 0.6}
    torch.testing.assert_close(found.fitting[name][:, 0], expected[channels])


def test_it_is_as_timm_adapts_channels() -> None:
    timm = pytest.importorskip("timm")
    adapt: Any = timm.models.adapt_input_conv
    weight = narrow().state_dict()
    name = next(key for key, value in weight.items() if value.ndim == 4)
    for channels in (1, 2, 4, 7):
        found = fit(NarrowResNet(channels, width=4), weight).fitting[name]
        torch.testing.assert_close(found, adapt(channels, weight[name]))


def test_a_transformer_of_another_size_is_resized_by_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    small = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    source = timm.create_model("vit_tiny_patch16_224", img_size=64, **small)
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    wanted = {"img_size": 32, "patch_size": 4, "num_classes": 0, **small}
    supervisor = RotateNetSupervisor(
        image_size=32,
        backbone=timm.create_model("vit_tiny_patch16_224", **wanted),
        weights=tmp_path / "vit.pth",
    )
    theirs = timm.create_model(
        "vit_tiny_patch16_224",
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": source.state_dict()},
        **wanted,
    )
    assert equal(supervisor.get_backbone(), theirs)


def test_published_weights_are_those_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    source = models.resnet18(weights=None)
    asked: list[Any] = []
    real = models.get_model

    def get_model(name: str, weights: Any = None, **options: Any) -> nn.Module:
        asked.append(weights)
        return source if weights is not None else real(name, weights=None, **options)

    monkeypatch.setattr(models, "get_model", get_model)
    supervisor = RotateNetSupervisor(image_size=32, backbone="resnet18", weights="imagenet")
    assert asked.count("DEFAULT") == 1
    backbone = supervisor.get_backbone()
    state = {k.rpartition("network.")[2]: v for k, v in backbone.state_dict().items()}
    assert torch.equal(state["conv1.weight"], source.conv1.weight)  # the published stem is kept
    assert supervisor.arguments["normalize"] == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_images_are_normalised_as_timm_says(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    real = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *args, pretrained=False, **more: real(*args, **more)
    )
    supervisor = RotateNetSupervisor(
        image_size=32, in_channels=4, backbone="timm/vit_tiny_patch16_224", weights="imagenet"
    )
    assert supervisor.arguments["normalize"] == ((0.5,) * 4, (0.5,) * 4)


def test_without_a_network_a_file_is_recommended(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    def unreachable(*args: Any, weights: Any = None, **options: Any) -> nn.Module:
        raise OSError("no route to host")

    backbone = build_backbone("resnet18", 3, (32, 32))
    monkeypatch.setattr(models, "get_model", unreachable)
    from super_selfish.supervisors.given_weights import give_weights

    message = r"the published weights of resnet18 could not be fetched: no route to host\. On a mac"
    with pytest.raises(ConnectionError, match=message):
        give_weights(backbone, "imagenet")


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (
            ".",
            IsADirectoryError,
            r"weights='\.' is a folder: name the file of weights in it, such as",
        ),
        ("nowhere.pt", FileNotFoundError, r"weights='nowhere.pt': there is no such file; \"imagen"),
        (3, TypeError, 'weights is "imagenet", the path of a file or None, got int'),
        ("imagenet", ValueError, "NarrowResNet has no published weights: give a file"),
    ],
)
def test_what_are_no_weights_is_refused(weights: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        RotateNetSupervisor(image_size=32, backbone="narrow-resnet", weights=weights)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    for name in ("a.pt", "a.safetensors"):
        (tmp_path / name).write_bytes(b"no weights at all")
        if name.endswith("safetensors"):
            pytest.importorskip("safetensors")
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            read_weights(tmp_path / name)
    torch.save({"epoch": 1}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"b\.pt holds no weights by name"):
        read_weights(tmp_path / "b.pt")
    assert flat_tensors([1, 2]) == {}


def test_evaluation_shows_the_start(images: Tensor, tmp_path: Path) -> None:
    torch.save(narrow().state_dict(), tmp_path / "w.pt")
    supervisor = MomentumContrastSupervisor(
        images, backbone=NarrowResNet(3, width=4), weights=tmp_path / "w.pt", queue_size=22
    )
    supervisor.supervise(epochs=1, batch_size=11, name=tmp_path / "run", progress=False)
    assert supervisor.start is not None
    assert supervisor.start.origin == f"the weights of {tmp_path / 'w.pt'}"
    again = MomentumContrastSupervisor(backbone=NarrowResNet(3, width=4), image_size=32)
    again.load(tmp_path / "run")
    assert again.start is not None and again.start.origin == supervisor.start.origin
    labels = torch.arange(22) % 2
    rated = evaluate(
        again, (images[:11], labels[:11]), (images[11:], labels[11:]), protocols=("knn",)
    )
    assert "start" in str(rated)


def test_a_checkpoint_is_loaded_without_the_file(images: Tensor, tmp_path: Path) -> None:
    torch.save(narrow().state_dict(), tmp_path / "w.pt")
    options: dict[str, Any] = {"backbone": NarrowResNet(3, width=4), "image_size": 32}
    supervisor = RotateNetSupervisor(images, weights=tmp_path / "w.pt", crop=False, **options)
    supervisor.supervise(epochs=1, batch_size=11, name=tmp_path / "run", progress=False)
    other = RotateNetSupervisor(images, weights=tmp_path / "w.pt", **options)
    (tmp_path / "w.pt").unlink()
    other.load(tmp_path / "run")
    assert equal(other.get_backbone(), supervisor.get_backbone())


@pytest.mark.parametrize("algorithm", sorted(set(SUPERVISORS) - {"cmc", "split_brain"}))
def test_every_algorithm_begins_with_them(algorithm: str, tmp_path: Path) -> None:
    source = backbone_for(algorithm)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    supervisor = SUPERVISORS[algorithm](
        backbone=backbone_for(algorithm), image_size=32, weights=tmp_path / "w.pt"
    )
    held = [m for m in supervisor.modules() if isinstance(m, type(source))]
    assert held and all(equal(network, source) for network in held)


def test_tasks_share_them(tmp_path: Path) -> None:
    source = TinyBackbone()
    torch.save(source.state_dict(), tmp_path / "w.pt")
    supervisor = MultiTaskSupervisor(
        image_size=32, backbone=TinyBackbone(), weights=tmp_path / "w.pt"
    )
    assert equal(supervisor.get_backbone(), source)
