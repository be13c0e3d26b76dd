"""Backbones inside `torch.compile`, `DataParallel` and `DistributedDataParallel`, and in half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from super_selfish.evaluation import evaluate
from super_selfish.models import CombinedNet, MomentumEncoder, build_backbone, feature_map
from super_selfish.models.wrappers import unwrapped, with_wrappers, without_wrappers
from super_selfish.supervisors import (
    SUPERVISORS,
    LabelSupervisor,
    RotateNetSupervisor,
    Supervisor,
)
from tests.conftest import TinyBackbone

Wrap = Callable[[nn.Module], Any]


def compile_eagerly(network: nn.Module) -> Any:
    return torch.compile(network, backend="eager")


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("torch was built without gloo")
    dist.init_process_group("gloo", f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


WRAPPERS: dict[str, Wrap] = {"compile": compile_eagerly, "parallel": nn.DataParallel}
every_wrapper = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())


def settings(name: Path, **more: Any) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": 11, "name": name, "progress": False, **more}


def stored_names(name: Path) -> list[str]:
    return list(torch.load(f"{name}.pt", weights_only=True)["model"])


def build(algorithm: str, images: Tensor, backbone: nn.Module) -> Supervisor:
    torch.manual_seed(0)
    supervisor: Supervisor = SUPERVISORS[algorithm](images, backbone=backbone)
    return supervisor


def check_exchange(algorithm: str, images: Tensor, wrap: Wrap, tmp_path: Path) -> None:
    """A checkpoint of either kind is that of the other; the module that was given comes back."""
    wrapper = wrap(TinyBackbone())
    trained = build(algorithm, images, wrapper)
    assert trained.get_backbone() is wrapper
    trained.supervise(**settings(tmp_path / "wrapped"))
    bare = build(algorithm, images, TinyBackbone())
    bare.supervise(**settings(tmp_path / "bare"))
    assert stored_names(tmp_path / "wrapped") == stored_names(tmp_path / "bare")
    for name, backbone in (("wrapped", TinyBackbone()), ("bare", wrap(TinyBackbone()))):
        other = build(algorithm, images, backbone).load(tmp_path / name)
        assert other.get_backbone() is backbone
        expected = (trained if name == "wrapped" else bare).get_backbone().state_dict().values()
        for own, value in zip(backbone.state_dict().values(), expected, strict=True):
            torch.testing.assert_close(own, value, rtol=0, atol=0)
    goes_on = build(algorithm, images, TinyBackbone())
    goes_on.supervise(**settings(tmp_path / "wrapped", epochs=2, resume=True))
    assert len(goes_on.history) == 2


@every_wrapper
@pytest.mark.parametrize("algorithm", ["moco", "denoise", "split_brain"])
def test_wrappers_leave_no_names_in_checkpoints(
    algorithm: str, wrap: Wrap, images: Tensor, tmp_path: Path
) -> None:
    check_exchange(algorithm, images, wrap, tmp_path)


def test_a_wrapper_for_several_processes_leaves_none_either(
    process_group: None, images: Tensor, tmp_path: Path
) -> None:
    check_exchange("byol", images, nn.parallel.DistributedDataParallel, tmp_path)


@every_wrapper
def test_exports_have_the_names_of_the_network(wrap: Wrap, images: Tensor, tmp_path: Path) -> None:
    backbone = TinyBackbone()
    supervisor = RotateNetSupervisor(images, backbone=wrap(nn.Sequential(wrap(backbone))))
    path = supervisor.export_backbone(tmp_path / "backbone.pt")
    written = torch.load(path, weights_only=True)
    assert list(written) == [f"0.{name}" for name in backbone.state_dict()]


@every_wrapper
def test_wrapped_networks_are_evaluated(wrap: Wrap, images: Tensor) -> None:
    labels = torch.arange(len(images)) % 2
    data = (images, labels)
    torch.manual_seed(0)
    network = TinyBackbone()
    tables = [
        str(evaluate(each, data, data, protocols=("knn",))) for each in (network, wrap(network))
    ]
    assert tables[0] == tables[1]


def test_a_wrapped_model_is_looked_into(images: Tensor, tmp_path: Path) -> None:
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    data = (images, torch.arange(len(images)) % 2)
    supervisor = Supervisor(compile_eagerly(network), data, nn.CrossEntropyLoss())
    assert supervisor.get_backbone() is network.backbone
    assert supervisor.get_predictor() is network.predictor
    supervisor.supervise(**settings(tmp_path / "base"))
    assert all(
        name.startswith(("model.backbone", "model.predictor"))
        for name in stored_names(tmp_path / "base")
        if name.startswith("model")
    )


@every_wrapper
def test_a_wrapped_backbone_is_frozen_by_the_names_of_its_layers(
    wrap: Wrap, images: Tensor
) -> None:
    network = TinyBackbone()
    data = (images, torch.arange(len(images)) % 2)
    frozen = {name: value.clone() for name, value in network.state_dict().items()}
    supervisor = LabelSupervisor(data, wrap(network), finetune=True, freeze_until="layers.3")
    supervisor.supervise(lr=0.1, epochs=1, batch_size=11, name=None, progress=False)
    moved = {n for n, value in network.state_dict().items() if not torch.equal(value, frozen[n])}
    assert moved and all(name.startswith(("layers.3", "layers.4")) for name in moved)


def test_maps_are_those_of_the_network_in_a_wrapper() -> None:
    network = TinyBackbone().eval()
    images = torch.rand(2, 3, 32, 32)
    expected = feature_map(network, images)
    assert torch.equal(feature_map(nn.DataParallel(network), images), expected)


def test_names_are_told_by_structure_and_not_by_spelling() -> None:
    class Holder(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module  # no wrapper, though it is called so

    bare = nn.Sequential(Holder(nn.Linear(2, 2)), nn.ReLU())
    wrapped = nn.Sequential(nn.DataParallel(Holder(compile_eagerly(nn.Linear(2, 2)))), nn.ReLU())
    names = ["0.module.weight", "0.module.bias"]
    assert list(without_wrappers(wrapped, wrapped.state_dict())) == names
    assert list(without_wrappers(bare, bare.state_dict())) == names
    assert list(with_wrappers(wrapped, bare.state_dict())) == list(wrapped.state_dict())
    # Files of former versions have the names of the wrappers in them.
    assert list(with_wrappers(bare, wrapped.state_dict())) == names
    assert unwrapped(nn.DataParallel(compile_eagerly(bare))) is bare


def test_a_momentum_encoder_follows_a_wrapped_network() -> None:
    network = nn.DataParallel(nn.Linear(2, 2))
    encoder = MomentumEncoder(network)
    assert list(encoder.state_dict()) == ["network.weight", "network.bias"]
    with torch.no_grad():
        network.module.weight.zero_()
    encoder.update(network, 0.0)
    assert not encoder.state_dict()["network.weight"].any()


HALVES: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "half": (nn.Module.half, r"layers\.0\.weight of the backbone is float16"),
    "bfloat16": (nn.Module.bfloat16, r"layers\.0\.weight of the backbone is bfloat16"),
    "double": (nn.Module.double, r"layers\.0\.weight of the backbone is float64"),
}


def mixed(network: nn.Module) -> nn.Module:
    network.get_submodule("layers.3").half()
    return network


HALVES["mixed"] = (mixed, r"layers\.3\.weight of the backbone is float16.*precision=")


@pytest.mark.parametrize("case", HALVES)
def test_a_backbone_in_another_number_format_is_refused_at_once(case: str, images: Tensor) -> None:
    convert, message = HALVES[case]
    with pytest.raises(ValueError, match=message):
        RotateNetSupervisor(images, backbone=convert(TinyBackbone()))
    with pytest.raises(ValueError, match=message):
        build_backbone(convert(TinyBackbone()), 3, (32, 32))
    with pytest.raises(ValueError, match=message):
        LabelSupervisor(images, backbone=convert(TinyBackbone()), num_classes=2)
    data = (images, torch.arange(len(images)) % 2)
    with pytest.raises(ValueError, match=message):
        evaluate(convert(TinyBackbone()), data, data)


def test_a_supervisor_that_was_halved_does_not_train(images: Tensor) -> None:
    supervisor = RotateNetSupervisor(images, backbone=TinyBackbone()).half()
    with pytest.raises(ValueError, match=r"half precision do not train.*float16.*\.float\(\)"):
        supervisor.supervise(epochs=1, name=None)
    supervisor.float().supervise(epochs=1, batch_size=8, name=None, progress=False)
