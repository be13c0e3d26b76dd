"""Averages of weights, held against their formulas."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.training.averaging import (
    EMA,
    Average,
    Polyak,
    Rule,
    averaging_of,
    begun_average,
    bytes_of,
    restored_average,
)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2, dtype=torch.float64), nn.BatchNorm1d(2).double())


def move(moved: nn.Module, step: int) -> list[Tensor]:
    """Changes weights and statistics; the weights after it."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for tensor in moved.state_dict().values():
            if tensor.is_floating_point():
                tensor += torch.rand(tensor.shape, generator=generator)
            else:
                tensor += 1
    return [parameter.detach().clone() for parameter in moved.parameters()]


def exponential(first: list[Tensor], after: list[list[Tensor]], decay: float) -> list[Tensor]:
    mean = first
    for t, weights in enumerate(after):
        d = min(decay, (1 + t) / (10 + t))
        mean = [d * old + (1 - d) * new for old, new in zip(mean, weights, strict=True)]
    return mean


def averaged(average: Average, of: nn.Module) -> list[Tensor]:
    return [average.weights[name] for name, _ in of.named_parameters()]


@pytest.mark.parametrize("decay", [0.999, 0.15, 0.0])
def test_an_exponential_average_has_the_decay_of_its_formula(decay: float) -> None:
    followed = network()
    first = [parameter.detach().clone() for parameter in followed.parameters()]
    average = begun_average(EMA(decay), followed)
    after = []
    for step in range(8):
        after.append(move(followed, step))
        average.update(step, 8)
    torch.testing.assert_close(
        averaged(average, followed), exponential(first, after, decay), rtol=1e-12, atol=0
    )
    assert average.updates == 8
    for name, buffer in followed.named_buffers():
        assert torch.equal(average.weights[name], buffer)  # copied, not averaged


@pytest.mark.parametrize(("last", "counted"), [(0.25, 2), (1.0, 8), (0.01, 1)])
def test_a_uniform_average_is_the_mean_of_the_last_part(last: float, counted: int) -> None:
    followed = network()
    average = begun_average(Polyak(last), followed)
    after = []
    for step in range(8):
        after.append(move(followed, step))
        average.update(step, 8)
        assert average.is_begun is (step >= 8 - counted)
    expected = [torch.stack(each).mean(0) for each in zip(*after[-counted:], strict=True)]
    torch.testing.assert_close(averaged(average, followed), expected, rtol=1e-12, atol=0)
    assert average.updates == counted


def test_an_average_that_began_too_early_for_a_longer_run_begins_again() -> None:
    followed = network()
    average = begun_average(Polyak(0.5), followed)
    for step in range(3):
        move(followed, step)
        average.update(step, 4)
    assert average.updates == 1
    for step in range(3, 12):
        last = move(followed, step)
        average.update(step, 24)
    assert not average.is_begun
    last = move(followed, 12)
    average.update(12, 24)
    assert average.updates == 1 and torch.equal(averaged(average, followed)[0], last[0])


class Elsewhere(torch.Tensor):
    """A scalar that says it is on a device which is not asked."""

    device = torch.device("meta")


@pytest.mark.parametrize("rule", [EMA(0.3), Polyak(1.0)])
@pytest.mark.parametrize("asks", [True, False])
def test_an_update_that_was_left_out_changes_nothing_wherever_that_is_known(
    rule: Rule, asks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = network()
    first = [parameter.detach().clone() for parameter in followed.parameters()]
    average = begun_average(rule, followed)
    real: Any = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *a, device=None, **k: real(*a, **k))
    after = []
    for step, is_bad in enumerate([False, True, False, False, True]):
        if not is_bad:
            after.append(move(followed, step))
        left_out = torch.tensor(is_bad)
        average.update(step, 5, left_out if asks else left_out.as_subclass(Elsewhere))
    expected = [torch.stack(each).mean(0) for each in zip(*after, strict=True)]
    if isinstance(rule, EMA):
        expected = exponential(first, after, rule.decay)
    # The device computes the weight of an update in single precision.
    exactness = 1e-12 if asks else 1e-6
    torch.testing.assert_close(averaged(average, followed), expected, rtol=exactness, atol=0)
    assert average.updates == 3


def test_a_network_has_the_average_for_a_while_and_its_own_weights_afterwards() -> None:
    followed = network()
    average = begun_average(EMA(0.5), followed)
    own = move(followed, 0)
    average.update(0, 1)
    mean = [tensor.clone() for tensor in averaged(average, followed)]
    with average.lent():
        assert all(map(torch.equal, followed.parameters(), mean))
    assert all(map(torch.equal, followed.parameters(), own))
    assert all(map(torch.equal, averaged(average, followed), mean))


def test_what_is_shared_is_averaged_once() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    followed = nn.ModuleDict({"first": first, "second": second})
    average = begun_average(EMA(0.5), followed)
    assert average.weights["first.weight"] is average.weights["second.weight"]
    before = first.weight.detach().clone()
    nn.init.ones_(first.weight)
    average.update(0, 1)
    expected = 0.1 * before + 0.9
    torch.testing.assert_close(average.weights["second.weight"], expected)
    assert bytes_of(followed) == 4 * (9 + 3 + 3)


def test_an_average_of_a_file_goes_on_as_the_one_that_was_stored() -> None:
    followed = network()
    average = begun_average(EMA(0.5), followed)
    for step in range(3):
        move(followed, step)
        average.update(step, 6)
    other = copy.deepcopy(followed)
    restored = restored_average(copy.deepcopy(average.state_dict()))
    assert restored is not None and restored.rule == EMA(0.5)
    restored.follow(other)
    for step in range(3, 6):
        for each, its in ((followed, average), (other, restored)):
            move(each, step)
            its.update(step, 6)
    assert all(map(torch.equal, averaged(average, followed), averaged(restored, other)))
    with pytest.raises(ValueError, match="another network"):
        restored.follow(nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("given", "meant"),
    [(None, None), ("ema", EMA(0.999)), ("Polyak", Polyak(0.25)), (EMA(0.9), EMA(0.9))],
)
def test_averaging_goes_by_name_or_by_its_numbers(given: Any, meant: Rule | None) -> None:
    assert averaging_of(given) == meant


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: averaging_of("swa"), ValueError, r'"ema", "polyak".*got \'swa\''),
        (lambda: averaging_of(True), TypeError, "got True"),
        (lambda: averaging_of(EMA), TypeError, "averaging is"),
        (lambda: EMA(1.0), ValueError, r"decay must be in \[0, 1\), got 1.0"),
        (lambda: EMA(-0.1), ValueError, "got -0.1"),
        (lambda: Polyak(0.0), ValueError, r"last must be in \(0, 1\], got 0.0"),
        (lambda: Polyak(1.1), ValueError, "got 1.1"),
    ],
)
def test_what_is_no_averaging_is_refused(
    make: Callable[[], object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        make()
