from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import EfficientFeatures, build_backbone, untrained_twin


class Positioned(nn.Module):
    """Owns parameters and has no reset_parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.full((1, 500, 4), 9.0))
        self.bias = nn.Parameter(torch.full((4,), 9.0))
        self.norm = OwnNorm()
        self.batch_norm = nn.BatchNorm1d(4)
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x


class OwnNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4,), 9.0))
        self.bias = nn.Parameter(torch.full((4,), 9.0))


def test_the_twin_is_drawn_anew_and_the_original_stays() -> None:
    backbone = EfficientFeatures(stem_stride=1)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    twin = untrained_twin(backbone)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, parameter in twin.named_parameters():
        if parameter.ndim == 4:
            assert not torch.equal(parameter, before[name]), name


def test_the_twin_depends_on_its_seed_alone() -> None:
    backbone = build_backbone("resnet18", 3, (32, 32))
    torch.manual_seed(1)
    first = untrained_twin(backbone, seed=3).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again, other = untrained_twin(backbone, seed=3).state_dict(), untrained_twin(backbone, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "network.layer1.0.conv1.weight"
    assert not torch.equal(first[name], other.state_dict()[name])


def test_parameters_without_an_owner_that_resets_them_are_redrawn() -> None:
    twin = untrained_twin(Positioned())
    assert isinstance(twin, Positioned)
    position = twin.position.detach()
    assert position.abs().max() <= 0.04
    assert position.std().item() == pytest.approx(0.0176, rel=0.1)  # cut at two deviations of 0.02
    assert twin.bias.tolist() == [0.0] * 4
    assert twin.norm.weight.tolist() == [1.0] * 4
    assert twin.norm.bias.tolist() == [0.0] * 4


def test_an_attention_resets_itself_after_its_parts() -> None:
    network = Positioned()
    nn.init.constant_(network.attention.out_proj.bias, 9.0)
    twin = untrained_twin(network)
    assert isinstance(twin, Positioned)
    assert twin.attention.out_proj.bias.tolist() == [0.0] * 4


def test_statistics_of_norms_are_reset() -> None:
    network = Positioned()
    network.batch_norm(torch.randn(32, 4) + 5)
    twin = untrained_twin(network)
    assert isinstance(twin, Positioned)
    state = {name: value.tolist() for name, value in twin.batch_norm.named_buffers()}
    expected = {"running_mean": [0.0] * 4, "running_var": [1.0] * 4, "num_batches_tracked": 0}
    assert state == expected


def test_mode_dtype_and_frozen_parameters_are_kept() -> None:
    network = Positioned().double().eval()
    network.position.requires_grad_(False)
    twin = untrained_twin(network)
    assert isinstance(twin, Positioned)
    assert not twin.training
    assert not twin.position.requires_grad
    assert twin.norm.weight.requires_grad
    assert twin.position.dtype == torch.float64
