from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from super_selfish.models import EfficientFeatures, NarrowResNet
from super_selfish.models.norm_groups import has_batch_norm, in_groups

Backbones = Callable[..., nn.Module]


def test_a_group_is_normalised_by_itself(
    tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    pictures = torch.rand(8, 3, 32, 32, generator=generator)
    apart = torch.cat([tiny_backbone()(pictures[:4]), tiny_backbone()(pictures[4:])])
    torch.testing.assert_close(in_groups(tiny_backbone(), pictures, 2), apart)
    assert not torch.allclose(tiny_backbone()(pictures), apart, atol=1e-3)


@pytest.mark.parametrize("groups", [1, 3, 4, 8])
@pytest.mark.parametrize("momentum", [0.1, 0.3, None])
def test_running_statistics_move_once_by_the_mean_over_the_groups(
    groups: int, momentum: float | None, generator: torch.Generator
) -> None:
    norm = nn.BatchNorm2d(3, momentum=momentum).double()
    norm(torch.rand(9, 3, 4, 4, generator=generator, dtype=torch.float64))  # some past
    before = copy.deepcopy(norm)
    pictures = torch.rand(32, 3, 4, 4, generator=generator, dtype=torch.float64)
    in_groups(norm, pictures, groups)
    parts = pictures.tensor_split(groups)
    mean = torch.stack([part.mean(dim=(0, 2, 3)) for part in parts]).mean(dim=0)
    variance = torch.stack([part.var(dim=(0, 2, 3)) for part in parts]).mean(dim=0)
    weight = 0.5 if momentum is None else momentum  # a mean of two batches
    assert norm.running_mean is not None and norm.running_var is not None
    assert before.running_mean is not None and before.running_var is not None
    torch.testing.assert_close(norm.running_mean, before.running_mean.lerp(mean, weight))
    torch.testing.assert_close(norm.running_var, before.running_var.lerp(variance, weight))
    assert norm.num_batches_tracked == 2


def test_over_many_batches_groups_are_as_steady_as_the_whole_batch(
    generator: torch.Generator,
) -> None:
    whole, grouped = nn.BatchNorm1d(64), nn.BatchNorm1d(64)
    distance = torch.zeros(2)
    for _ in range(60):
        batch = torch.randn(128, 64, generator=generator)
        whole(batch)
        in_groups(grouped, batch, 8)
        for place, norm in enumerate((whole, grouped)):
            assert norm.running_mean is not None
            distance[place] += norm.running_mean.square().sum()
    # The mean of what was drawn is 0. Moved once a group, the square is 8 times as far off.
    assert float(distance[1] / distance[0]) == pytest.approx(1.0, abs=1e-3)


def test_frozen_norms_and_networks_that_are_looked_at_stay_as_they_are(
    tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    pictures = torch.rand(48, 3, 32, 32, generator=generator)
    network = tiny_backbone()
    in_groups(network, pictures, 3)
    network.eval()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    in_groups(network, pictures, 3)
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_gradients_pass_and_are_those_of_the_groups(
    tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    pictures = torch.rand(12, 3, 32, 32, generator=generator)
    grouped, apart = tiny_backbone(), tiny_backbone()
    # Twice before backward, as MoCo's symmetric loss does.
    loss = in_groups(grouped, pictures, 3).square().mean()
    loss = loss + in_groups(grouped, pictures.flip(0), 2).square().mean()
    loss.backward()
    outputs = [apart(part) for part in pictures.tensor_split(3)]
    flipped = [apart(part) for part in pictures.flip(0).tensor_split(2)]
    (torch.cat(outputs).square().mean() + torch.cat(flipped).square().mean()).backward()
    for ours, theirs in zip(grouped.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_what_has_batch_norm() -> None:
    assert has_batch_norm(EfficientFeatures())
    assert has_batch_norm(NarrowResNet())
    assert not has_batch_norm(EfficientFeatures(norm_type="layer"))
    assert not has_batch_norm(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)))
