from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations import compiled as augmentation
from super_selfish.models import CombinedNet, EfficientFeatures, MomentumEncoder
from super_selfish.models.combined_net import compiled_maps, feature_map
from super_selfish.supervisors import SUPERVISORS
from super_selfish.training import acceleration
from super_selfish.training.acceleration import (
    compiled,
    fused,
    lay_out,
    match_layout,
    trained_networks,
)

Backbones = Callable[..., nn.Module]
MAPS = ("context", "rotate", "moco")  # a map, vectors, a momentum encoder


def convolution() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())


def is_channels_last(network: nn.Module) -> bool:
    weight = next(p for p in network.parameters() if p.ndim == 4)
    return weight.is_contiguous(memory_format=torch.channels_last)


def trained(algorithm: str, images: Tensor, backbone: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    supervisor = SUPERVISORS[algorithm](images, backbone=backbone)
    return supervisor.supervise(epochs=1, batch_size=8, name=None, **options)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_torchs_optimizers_are_fused_and_compute_the_same(kind: Any) -> None:
    torch.manual_seed(0)
    plain, fast = (nn.Linear(5, 3) for _ in range(2))
    fast.load_state_dict(plain.state_dict())
    parameters = list(fast.parameters())
    optimizers = kind(plain.parameters(), lr=0.1), fused(kind, parameters)(parameters, lr=0.1)
    assert optimizers[1].param_groups[0]["fused"]
    for _ in range(5):
        inputs = torch.randn(8, 5)
        for network, optimizer in zip((plain, fast), optimizers, strict=True):
            network(inputs).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(fast.weight, plain.weight)


def test_a_partial_of_torchs_optimizer_keeps_its_keywords() -> None:
    parameters = list(nn.Linear(5, 3).parameters())
    group = fused(partial(torch.optim.AdamW, weight_decay=0.3), parameters)(
        parameters, lr=0.1
    ).param_groups[0]
    assert group["weight_decay"] == 0.3
    assert group["fused"]


def test_what_is_the_users_own_stays() -> None:
    parameters = list(nn.Linear(5, 3).parameters())

    def own(params: Any, lr: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(params, lr=lr)

    class OwnAdam(torch.optim.Adam):
        pass

    for optimizer in (own, OwnAdam, partial(torch.optim.Adam, foreach=True), torch.optim.LBFGS):
        assert fused(optimizer, parameters) is optimizer
    assert (
        fused(torch.optim.Adam, [nn.Parameter(torch.zeros(2, device="meta"))]) is torch.optim.Adam
    )


def test_restored_moments_get_the_layout_of_their_weights() -> None:
    network = convolution()
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    network.to(memory_format=torch.channels_last)
    optimizer.load_state_dict(before)
    match_layout(optimizer)
    weight = next(network.parameters())
    moment = optimizer.state[weight]["exp_avg"]
    assert moment.stride() == weight.stride()
    assert torch.equal(moment, before["state"][0]["exp_avg"])


def test_layout_is_chosen_for_known_networks_and_left_for_ones_of_ones_own(
    tiny_backbone: Backbones,
) -> None:
    holder = nn.ModuleList([convolution(), tiny_backbone()])
    lay_out(holder, None)
    assert [is_channels_last(network) for network in holder] == [True, False]
    lay_out(holder, True)
    assert [is_channels_last(network) for network in holder] == [True, True]
    lay_out(holder, False)
    assert [is_channels_last(network) for network in holder] == [False, False]


def test_networks_are_found_once_wherever_they_are_held() -> None:
    model = CombinedNet(convolution(), nn.Linear(4, 2))
    encoder = MomentumEncoder(model)
    holder = nn.ModuleList([model, encoder, model.backbone, nn.Identity()])
    network: Any = encoder.network
    expected = [model.backbone, model.predictor, network.backbone, network.predictor]
    assert trained_networks(holder) == expected


def test_compiled_networks_are_as_before_afterwards(tiny_backbone: Backbones) -> None:
    model = CombinedNet(tiny_backbone(), nn.Linear(16, 2))
    images = torch.rand(2, 3, 32, 32)
    names = list(model.state_dict())
    expected = feature_map(model.backbone, images)
    with compiled(nn.ModuleList([model]), True, backend="eager"):
        assert list(model.state_dict()) == names
        assert model.backbone in compiled_maps
        torch.testing.assert_close(feature_map(model.backbone, images), expected)
        twin = copy.deepcopy(model.backbone)
        nn.init.zeros_(next(twin.parameters()))
        assert not torch.equal(feature_map(twin, images), expected)  # it asks itself
    assert not compiled_maps
    assert model.backbone._compiled_call_impl is None


@pytest.mark.parametrize("how", ["in place", "wrapped"])
def test_what_its_owner_has_compiled_is_left_to_him(how: str) -> None:
    network: Any = nn.Linear(3, 2)
    assert not acceleration._is_compiled(network)
    if how == "in place":
        network.compile(backend="eager")
    else:
        network = torch.compile(network, backend="eager")
    assert acceleration._is_compiled(network)


@pytest.mark.parametrize("algorithm", MAPS)
def test_compiled_training_is_the_same_training(
    algorithm: str,
    images: Tensor,
    tiny_backbone: Backbones,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acceleration, "BACKEND", "eager")
    plain, fast = (trained(algorithm, images, tiny_backbone(), compile=c) for c in (False, True))
    assert fast.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=1e-4)
    assert list(fast.state_dict()) == list(plain.state_dict())
    torch.save(fast.get_backbone(), tmp_path / "backbone.pt")


def test_compiled_augmentation_is_the_same_training(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note(function: Any, backend: str) -> Any:
        seen.append(function.__name__)
        return function

    monkeypatch.setattr(augmentation, "_compile", note)
    plain, fast = (
        trained("moco", images, tiny_backbone(), compile_augmentation=c) for c in (False, True)
    )
    assert set(seen) == {"jitter_in_one_pass"}
    assert fast.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))
def test_every_algorithm_trains_compiled(
    algorithm: str,
    backend: str,
    images: Tensor,
    tiny_backbone: Backbones,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acceleration, "BACKEND", backend)
    torch.compiler.reset()
    plain, fast = (trained(algorithm, images, tiny_backbone(), compile=c) for c in (False, True))
    assert fast.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=1e-2)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))
def test_every_algorithm_trains_in_both_layouts(
    algorithm: str, channels_last: bool, images: Tensor, tiny_backbone: Backbones
) -> None:
    default, other = (
        trained(algorithm, images[:8], tiny_backbone(), **options)
        for options in ({}, {"channels_last": channels_last})
    )
    assert other.history[0]["loss"] == pytest.approx(default.history[0]["loss"], rel=1e-4)


def test_the_default_backbone_lies_channels_last() -> None:
    assert is_channels_last(EfficientFeatures(stem_stride=1))
