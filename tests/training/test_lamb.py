"""LAMB by its name."""

from __future__ import annotations

import copy
import sys
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.training.optimizers import OPTIMIZERS, build_optimizer, load_moments
from tests.references import lamb_in_loops
from tests.training.test_optimizers import gradients, network

lamb = OPTIMIZERS["lamb"]


def groups_of(model: nn.Module) -> dict[str, Any]:
    return dict(model.named_parameters())


@pytest.mark.parametrize("decay", [0.01, 0.0])  # timm's own scales what decays alone
def test_lamb_equals_the_loops(generator: torch.Generator, decay: float) -> None:
    pytest.importorskip("timm", reason="LAMB is that of timm")
    model = network().double()
    named = groups_of(model)
    groups = [{"params": list(named.values())}]
    optimizer = build_optimizer(partial(lamb, weight_decay=decay), groups, named, 0.3)
    expected = [parameter.detach().clone() for parameter in model.parameters()]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in expected]
    for step in range(1, 5):
        steps = gradients(model, generator)
        for parameter, gradient in zip(model.parameters(), steps, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        for n, gradient in enumerate(steps):
            expected[n], moments[n] = lamb_in_loops(
                expected[n], gradient, moments[n], step, lr=0.3, weight_decay=decay
            )
        for parameter, value in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.detach(), value, atol=1e-10, rtol=1e-10)


def test_groups_keep_what_is_theirs() -> None:
    pytest.importorskip("timm", reason="LAMB is that of timm")
    weight, vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    groups: Any = [{"params": [weight, vector], "lr": 0.5}, {"params": [], "lr": 0.1}]
    built = lamb(groups, lr=0.1)
    told = [(len(g["params"]), g["lr"], g["weight_decay"]) for g in built.param_groups]
    assert told == [(1, 0.5, 0.01), (1, 0.5, 0.0)]


def test_what_it_has_gathered_goes_on_with_another_rate(generator: torch.Generator) -> None:
    pytest.importorskip("timm", reason="LAMB is that of timm")
    models = [network(), network()]
    built: list[Any] = [lamb(model.parameters(), lr=0.1) for model in models]

    def step(number: int, moves: list[Tensor]) -> None:
        for parameter, gradient in zip(models[number].parameters(), moves, strict=True):
            parameter.grad = gradient.float()
        built[number].step()

    for _ in range(3):
        step(0, gradients(models[0], generator))
    models[1].load_state_dict(models[0].state_dict())
    load_moments(built[1], copy.deepcopy(built[0].state_dict()))
    later = gradients(models[0], generator)
    step(0, later)
    step(1, later)
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))


def test_without_timm_the_name_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm.optim", None)
    with pytest.raises(ImportError, match=r"pip install super-selfish\[timm\]"):
        lamb(network().parameters(), lr=0.1)
