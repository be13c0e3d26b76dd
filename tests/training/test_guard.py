"""Updates that are not finite, where the answer is known at once and where nobody waits for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.training.guard import GRADIENT, LOSS, Guard

CPU = torch.device("cpu")
NO_SCALER = torch.amp.GradScaler("cpu", enabled=False)


def unhurried(on_nan: str, buffers: list[Tensor] | None = None) -> Guard:
    """A guard as on an accelerator, which is not waited for."""
    guard = Guard(on_nan, CPU, lambda: buffers or [])
    guard._waits = False
    return guard


def step(network: nn.Module, bad: bool) -> None:
    network.zero_grad()
    (network(torch.ones(1, 3)).sum() * (float("inf") if bad else 1.0)).backward()


def weights(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


def test_what_is_not_known_yet_is_noted_with_its_first_step_and_kind() -> None:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    guard = unhurried("raise")
    assert guard.check_loss(torch.tensor(1.0), 4) and guard.first_bad() is None
    step(network, bad=True)
    assert guard.may_move([optimizer], 5, NO_SCALER)
    assert guard.check_loss(torch.tensor(float("nan")), 6)
    assert guard.first_bad() == (5, GRADIENT)
    for first in (0, 6):
        other = unhurried("raise")
        other.check_loss(torch.tensor(float("nan")), first)
        other.check_loss(torch.tensor(float("nan")), 7)
        assert other.first_bad() == (first, LOSS)


def test_on_a_cpu_the_answer_is_there_at_once() -> None:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    guard = Guard("raise", CPU)
    assert not guard.check_loss(torch.tensor(float("inf")), 0)
    step(network, bad=True)
    assert not guard.may_move([optimizer], 0, NO_SCALER)
    step(network, bad=False)
    assert guard.may_move([optimizer], 0, NO_SCALER)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("waits", [True, False])
def test_an_update_is_left_out_wherever_it_is_decided(fused: bool, waits: bool) -> None:
    torch.manual_seed(0)
    network, statistics = nn.Linear(3, 2), torch.zeros(2)
    expected = nn.Linear(3, 2)
    expected.load_state_dict(network.state_dict())
    optimizers: list[Any] = [
        torch.optim.Adam(each.parameters(), lr=0.1, fused=fused) for each in (network, expected)
    ]
    guard = Guard("skip", CPU, lambda: [statistics])
    guard._waits = waits
    for bad in (False, True, True, False):
        guard.begin_update()
        statistics += 1
        step(network, bad)
        moved, noted = guard.move(optimizers[:1], NO_SCALER)
        assert noted is not None and bool(noted) is bad
        assert moved is (not bad or (fused and not waits))  # there nobody knows
        if not bad:
            step(expected, bad)
            optimizers[1].step()
    torch.testing.assert_close(weights(network), weights(expected), rtol=0, atol=0)
    assert statistics.tolist() == [2, 2]


def test_a_loss_that_is_not_finite_leaves_the_update_out_too() -> None:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    guard = Guard("skip", CPU)
    before = weights(network)
    assert guard.check_loss(torch.tensor(float("nan")), 0)
    step(network, bad=False)  # no gradient shows it
    assert guard.move([optimizer], NO_SCALER)[0] is False
    assert torch.equal(weights(network), before)
    assert guard.move([optimizer], NO_SCALER)[0] is True  # the next one is another


def test_a_scaler_decides_by_itself_and_scales_less() -> None:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for on_nan in ("raise", "skip"):
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        guard, before = Guard(on_nan, CPU), weights(network)
        network.zero_grad()
        scaler.scale(network(torch.ones(1, 3)).sum() * float("inf")).backward()
        assert guard.may_move([optimizer], 0, scaler)
        guard.move([optimizer], scaler)
        assert torch.equal(weights(network), before) and scaler.get_scale() == 4.0


def test_other_words_are_refused() -> None:
    with pytest.raises(ValueError, match='on_nan is "raise" or "skip", got \'stop\''):
        Guard("stop", CPU)
