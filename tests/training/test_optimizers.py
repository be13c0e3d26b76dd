from __future__ import annotations

import copy
import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.training.optimizers import (
    LARS,
    build_optimizer,
    load_moments,
    require_optimizer,
    without_decay,
)
from tests.references import lars_in_loops


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def gradients(model: nn.Module, generator: torch.Generator) -> list[Tensor]:
    return [torch.randn(p.shape, generator=generator).double() for p in model.parameters()]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lars_equals_the_loops(weight_decay: float, generator: torch.Generator) -> None:
    model = network().double()
    settings: dict[str, Any] = {"lr": 0.3, "momentum": 0.9, "weight_decay": weight_decay}
    optimizer = LARS(model.parameters(), **settings)
    expected = [p.detach().clone() for p in model.parameters()]
    velocities = [torch.zeros_like(p) for p in expected]
    for _ in range(4):
        steps = gradients(model, generator)
        for parameter, gradient in zip(model.parameters(), steps, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        for n, gradient in enumerate(steps):
            expected[n], velocities[n] = lars_in_loops(
                expected[n], gradient, velocities[n], trust_coefficient=1e-3, **settings
            )
        for parameter, value in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.detach(), value, atol=1e-12, rtol=1e-12)


def test_vectors_neither_decay_nor_are_scaled() -> None:
    vector, weight = (nn.Parameter(torch.ones(shape)) for shape in ((4,), (4, 1)))
    for parameter in (vector, weight):
        parameter.grad = torch.full_like(parameter, 2.0)
    LARS([vector, weight], lr=0.5, weight_decay=1.0, trust_coefficient=0.01).step()
    assert vector.tolist() == [0.0] * 4  # plain descent: 1 - 0.5 * 2
    # d = 2 + 1; |w| / |d| = 1 / 3; the step is 0.5 * 0.01 * 3 / 3
    torch.testing.assert_close(weight.detach(), torch.full((4, 1), 0.995))


def test_weights_without_decay_are_scaled_all_the_same() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.full((2, 2), 100.0)
    LARS([weight], lr=1.0, weight_decay=0.0, trust_coefficient=0.25).step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), 0.75))


@pytest.mark.parametrize(("value", "gradient"), [(0.0, 2.0), (3.0, 0.0)])
def test_a_norm_of_zero_leaves_the_step_as_it_is(value: float, gradient: float) -> None:
    weight = nn.Parameter(torch.full((2, 2), value))
    weight.grad = torch.full((2, 2), gradient)
    LARS([weight], lr=0.5, weight_decay=0.0).step()
    assert weight.tolist() == [[value - 0.5 * gradient] * 2] * 2


def test_what_has_no_gradient_stays() -> None:
    still, moving = (nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    moving.grad = torch.ones(2, 2)
    LARS([still, moving], lr=1.0).step()
    assert torch.equal(still.detach(), torch.ones(2, 2))
    assert not torch.equal(moving.detach(), torch.ones(2, 2))


def test_a_stored_optimizer_goes_on(generator: torch.Generator) -> None:
    first = network().double()
    one = LARS(first.parameters(), lr=0.1)

    def step(model: nn.Module, optimizer: LARS, seed: int) -> None:
        drawn = gradients(model, torch.Generator().manual_seed(seed))
        for parameter, gradient in zip(model.parameters(), drawn, strict=True):
            parameter.grad = gradient
        optimizer.step()

    step(first, one, 0)
    second = copy.deepcopy(first)
    two = LARS(second.parameters(), lr=0.1)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    step(first, one, 1)
    step(second, two, 1)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, r"^lr must not be negative, got -1.0$"),
        ({"lr": 1.0, "momentum": 1.0}, r"^momentum must be in \[0, 1\), got 1.0$"),
        ({"lr": 1.0, "weight_decay": -0.1}, r"^weight_decay must not be negative, got -0.1$"),
        ({"lr": 1.0, "trust_coefficient": 0.0}, r"^trust_coefficient must be > 0, got 0.0$"),
    ],
)
def test_wrong_numbers_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LARS([nn.Parameter(torch.ones(2, 2))], **settings)


def test_the_last_numbers_of_their_range_are_taken() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    still = LARS([weight], lr=0.0, momentum=0.0, weight_decay=0.0, trust_coefficient=0.125)
    for _ in range(2):  # without momentum nothing of the first step is in the second
        weight.grad = torch.ones(2, 2)
        still.step()
    assert weight.tolist() == [[1.0, 1.0]] * 2
    assert still.state[weight]["velocity"].tolist() == [[0.125, 0.125]] * 2


@pytest.mark.parametrize("several", [False, True])
def test_moments_are_loaded_and_settings_are_those_of_now(several: bool) -> None:
    def trained(lr: float) -> tuple[nn.Linear, Any]:
        torch.manual_seed(0)
        layer = nn.Linear(2, 2)
        optimizer: Any = torch.optim.SGD(layer.parameters(), lr=lr, momentum=0.9)
        return layer, optimizer

    layer, former = trained(0.1)
    layer(torch.ones(1, 2)).sum().backward()
    former.step()
    _, present = trained(0.5)
    if several:
        load_moments({"a": present}, {"a": former.state_dict()})
    else:
        load_moments(present, former.state_dict())
    assert present.param_groups[0]["lr"] == 0.5
    moments = [state["momentum_buffer"] for state in present.state.values()]
    expected = [state["momentum_buffer"] for state in former.state.values()]
    assert len(moments) == 2
    for moment, other in zip(moments, expected, strict=True):
        torch.testing.assert_close(moment, other)


MOVING = partial(torch.optim.SGD, momentum=0.5)


def built(groups: Any, optimizer: Any = MOVING) -> Any:
    named = dict(network().named_parameters())
    own = groups(named) if callable(groups) else groups
    return build_optimizer(optimizer, own, named, 0.1)


@pytest.mark.parametrize(
    ("groups", "rates", "lengths"),
    [
        (lambda named: [{"params": named.values()}], [0.1], [6]),
        (lambda named: [{"params": named.values(), "lr": 1.0}], [1.0], [6]),
        (
            lambda named: [
                {"params": [p for p in named.values() if p.ndim > 1]},
                {"params": (p for p in named.values() if p.ndim == 1), "lr": 1.0},
            ],
            [0.1, 1.0],
            [2, 4],
        ),
        (lambda named: [{"params": each} for each in named.values()], [0.1] * 6, [1] * 6),
    ],
)
def test_groups_keep_their_parameters_and_settings(
    groups: Any, rates: list[float], lengths: list[int]
) -> None:
    found = built(groups).param_groups
    assert [group["lr"] for group in found] == rates
    assert [len(group["params"]) for group in found] == lengths
    assert all(group["momentum"] == 0.5 for group in found)


def test_one_plain_group_is_given_as_parameters() -> None:
    given: list[Any] = []

    def optimizer(parameters: Any, lr: float) -> Any:
        given.append([dict(e) if isinstance(e, dict) else e for e in parameters])
        return torch.optim.SGD(parameters, lr=lr)

    built(lambda named: [{"params": named.values()}], optimizer)
    built(lambda named: [{"params": named.values(), "lr": 1.0}], optimizer)
    assert all(isinstance(each, nn.Parameter) for each in given[0])
    assert [sorted(each) for each in given[1]] == [["lr", "params"]]


def test_an_optimizer_that_wants_names_gets_those_of_what_trains() -> None:
    given: dict[str, Any] = {}

    def optimizer(parameters: Any, lr: float, named_parameters: Any) -> Any:
        given.update(named_parameters)
        return torch.optim.SGD(parameters, lr=lr)

    built(lambda named: [{"params": named.values()}], optimizer)
    assert list(given) == [name for name, _ in network().named_parameters()]


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ([], ValueError, "but of 6 the groups have 0, 0 in all"),
        (
            lambda named: [{"params": [*named.values()][:5]}],
            ValueError,
            "of 6 the groups have 5, 5",
        ),
        (
            lambda named: [{"params": named.values()}] * 2,
            ValueError,
            "the groups have 6, 12 in all",
        ),
        (
            lambda named: [{"params": [*named.values(), nn.Parameter(torch.ones(1))]}],
            ValueError,
            "the groups have 6, 7 in all",
        ),
        ([torch.ones(2)], TypeError, '_parameter_groups() gives dicts with "params", got Tensor'),
        ([{"lr": 1.0}], TypeError, '_parameter_groups() gives dicts with "params", got dict'),
    ],
)
def test_groups_that_do_not_hold_all_that_trains_once_are_refused(
    groups: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        built(groups)


class Several(dict[str, Any]):
    """Optimizers by name."""


def test_what_is_no_optimizer_or_takes_no_single_step_is_refused() -> None:
    weights = [nn.Parameter(torch.ones(2, 2))]
    require_optimizer(torch.optim.SGD(weights, lr=0.1))
    require_optimizer(Several(a=torch.optim.SGD(weights, lr=0.1)))
    wrong: Any
    for wrong in (None, nn.Linear(1, 1), Several(a=torch.optim.SGD(weights, lr=0.1), b=None)):
        with pytest.raises(TypeError):
            require_optimizer(wrong)
    for wrong in (torch.optim.LBFGS(weights), torch.optim.SparseAdam(weights)):
        with pytest.raises(TypeError, match=type(wrong).__name__):
            require_optimizer(wrong)


@pytest.mark.parametrize("weight_decay", [None, 0.0, 0.1])
def test_norms_and_biases_have_no_decay(weight_decay: float | None) -> None:
    named = dict(network().named_parameters())
    weights, vectors = without_decay(named, weight_decay)
    assert [p.ndim for p in weights["params"]] == [4, 2]
    assert [p.ndim for p in vectors["params"]] == [1] * 4
    assert weights.get("weight_decay") == weight_decay and vectors["weight_decay"] == 0.0
    (alone,) = without_decay({"a": named["1.weight"]}, weight_decay)
    assert alone["weight_decay"] == 0.0
