from __future__ import annotations

import pytest
import torch
from torch import nn

from super_selfish.models import MomentumEncoder, momentum_at


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99, 1.0])
def test_after_n_steps_towards_a_constant_momentum_to_the_n_is_left(momentum: float) -> None:
    source = network().double()
    encoder = MomentumEncoder(source)
    start = [p.clone() for p in encoder.parameters()]
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(torch.rand_like(parameter))
    for _ in range(7):
        encoder.update(source, momentum)
    for old, now, goal in zip(start, encoder.parameters(), source.parameters(), strict=True):
        torch.testing.assert_close(now - goal, momentum**7 * (old - goal), atol=1e-12, rtol=1e-9)


def test_the_encoder_starts_equal_and_is_no_part_of_the_source() -> None:
    source = network()
    encoder = MomentumEncoder(source)
    for averaged, followed in zip(encoder.parameters(), source.parameters(), strict=True):
        assert torch.equal(averaged, followed)
        assert averaged.data_ptr() != followed.data_ptr()
    assert all(p.requires_grad for p in source.parameters())


def test_no_gradient_reaches_the_encoder() -> None:
    source = network()
    encoder = MomentumEncoder(source)
    assert not any(p.requires_grad for p in encoder.parameters())
    images = torch.rand(5, 3, requires_grad=True)
    assert not encoder(images).requires_grad
    (source(images) - encoder(images)).square().sum().backward()
    encoder.update(source, 0.5)
    assert all(p.grad is None for p in encoder.parameters())
    assert not any(p.requires_grad for p in encoder.parameters())


def test_statistics_are_its_own() -> None:
    source = network()
    encoder = MomentumEncoder(source)
    source(torch.rand(5, 3))
    encoder.update(source, 0.0)
    norm = encoder.network.get_submodule("1")
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_mean.tolist() == [0.0] * 4
    assert norm.num_batches_tracked == 0
    encoder(torch.rand(5, 3))
    assert norm.num_batches_tracked == 1


def test_the_encoder_is_in_the_state() -> None:
    source = network()
    first, second = MomentumEncoder(source), MomentumEncoder(network())
    second.load_state_dict(first.state_dict())
    for loaded, saved in zip(second.parameters(), source.parameters(), strict=True):
        assert torch.equal(loaded, saved)


def test_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"other parameters than the one that was copied"):
        MomentumEncoder(network()).update(nn.Linear(3, 4), 0.5)
    with pytest.raises(ValueError, match=r"^momentum is a weight in \[0, 1\], got -0.1$"):
        MomentumEncoder(network()).update(network(), -0.1)


@pytest.mark.parametrize("base", [0.0, 0.99, 0.996])
def test_momentum_rises_from_its_base_to_one(base: float) -> None:
    assert momentum_at(0, 100, base) == pytest.approx(base)
    assert momentum_at(50, 100, base) == pytest.approx((1 + base) / 2)
    assert momentum_at(100, 100, base) == momentum_at(101, 100, base) == 1.0
    rising = [momentum_at(step, 100, base) for step in range(101)]
    assert rising == sorted(rising)


def test_wrong_steps_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^total_steps must be >= 1, got 0$"):
        momentum_at(0, 0, 0.9)
    with pytest.raises(ValueError, match=r"^step must be >= 0, got -1$"):
        momentum_at(-1, 10, 0.9)
    with pytest.raises(ValueError, match=r"^base is a momentum in \[0, 1\], got 2.0$"):
        momentum_at(0, 10, 2.0)
