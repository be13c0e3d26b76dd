"""Weight decay as one tells it, and which groups of an optimizer have it."""

from __future__ import annotations

import math
import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from super_selfish.training.optimizers import LARS, OPTIMIZERS, build_optimizer
from super_selfish.training.weight_decay import (
    OF_RUN,
    decay_at,
    decay_of,
    decaying,
    own_settings,
    refuse_two_decays,
    require_decaying,
    set_decay,
    wants_end,
)
from tests.training.test_optimizers import Several, network


@pytest.mark.parametrize("total", [1, 7, 100])
def test_it_goes_along_half_a_cosine_as_in_the_authors_code_of_dino(total: int) -> None:
    first, last = 0.04, 0.4
    found = [decay_at((first, last), t, total) for t in range(total)]
    theirs = [last + (first - last) * (1 + math.cos(math.pi * t / total)) / 2 for t in range(total)]
    assert found == pytest.approx(theirs, rel=1e-12)
    assert found[0] == first  # to the last bit
    assert decay_at((0.4, 0.0), total, total) == 0.0
    assert decay_at((0.4, 0.0), total + 1, total) == 0.0  # and no further
    assert decay_at((first, last), total // 2, total) == pytest.approx(0.22) or total % 2


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, None),
        (0, 0.0),
        (np.float32(0.5), 0.5),
        ([0.04, np.float64(0.4)], (0.04, 0.4)),
        (np.array([0.04, 0.4]), (0.04, 0.4)),
        (torch.tensor([0.5, 0.25]), (0.5, 0.25)),
        (torch.tensor(0.5), 0.5),
        ((1, 0), (1.0, 0.0)),
    ],
)
def test_what_is_meant_is_plain(given: Any, meant: Any) -> None:
    found = decay_of(given)
    assert found == meant and type(found) is type(meant)
    assert wants_end(given) == isinstance(meant, tuple)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (-0.1, ValueError, "weight_decay must be finite and not negative, got -0.1"),
        ((0.1, math.nan), ValueError, "weight_decay must be finite and not negative, got nan"),
        ((math.inf, 0.1), ValueError, "weight_decay must be finite and not negative, got inf"),
        ((0.1,), ValueError, "weight_decay must be one number, or two, that of the first update"),
        ((0.1, 0.2, 0.3), ValueError, "weight_decay must be one number, or two, that of the first"),
        ("0.1", TypeError, "weight_decay must be a number, got the text '0.1': write weight_decay"),
        (True, TypeError, "weight_decay must be a number, got True"),
        ((0.1, None), TypeError, "weight_decay must be a number, got None"),
        ({0.1: 0.2}, TypeError, "weight_decay must be a number, got {0.1: 0.2}"),
    ],
)
def test_what_is_no_decay_is_refused(given: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        decay_of(given)


def built(optimizer: Any, decay: Any, groups: Any = None) -> Any:
    named = dict(network().named_parameters())
    given = [{"params": list(named.values())}] if groups is None else groups(named)
    return build_optimizer(optimizer, given, named, 0.1, decay)


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.AdamW,
        partial(torch.optim.SGD, momentum=0.9, weight_decay=0.7),
        LARS,
        OPTIMIZERS["lamb"],
        lambda parameters, lr: torch.optim.NAdam(parameters, lr, weight_decay=0.5),
    ],
)
def test_weights_have_it_at_every_update_and_norms_and_biases_none(optimizer: Any) -> None:
    pytest.importorskip("timm", reason="LAMB is that of timm")
    own = built(optimizer, (0.1, 0.3))
    for updates, expected in ((None, 0.1), (0, 0.1), (5, 0.2), (10, 0.3)):  # None: as it was built
        if updates is not None:
            set_decay(own, (0.1, 0.3), updates, 10)
        found = {
            p.ndim > 1: group["weight_decay"] for group in own.param_groups for p in group["params"]
        }
        assert found == {True: pytest.approx(expected), False: 0.0}


def test_groups_keep_rates_and_a_decay_of_their_own() -> None:
    def groups(named: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
        layer, *others = (["0.weight", "0.bias"], ["1.weight", "1.bias"], ["3.weight", "3.bias"])
        found = [{"params": [named[name] for name in layer], "weight_decay": 0.9}]
        return [*found, *({"params": [named[n] for n in names], "lr": 0.5} for names in others)]

    own = built(torch.optim.AdamW, 0.2, groups)
    told = [(len(g["params"]), g["lr"], g["weight_decay"]) for g in own.param_groups]
    assert told == [(2, 0.1, 0.9), (2, 0.5, 0.0), (1, 0.5, 0.2), (1, 0.5, 0.0)]


def without_groups(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for group in parameters for p in group["params"]], lr=lr)


def owned(named: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": list(named.values()), "weight_decay": 0.1}]


@pytest.mark.parametrize(
    ("optimizer", "groups", "kind", "message"),
    [
        (torch.optim.Rprop, None, TypeError, "is for optimizers that have one, and Rprop has none"),
        (without_groups, None, TypeError, "groups of its own, in which weight_decay= is lost"),
        (torch.optim.SGD, owned, ValueError, "weight_decay=0.2 has nothing to decay"),
    ],
)
def test_what_would_be_ignored_is_refused(
    optimizer: Any, groups: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        built(optimizer, 0.2, groups)


def test_a_decay_that_moves_leaves_those_of_others_and_one_number_moves_nothing() -> None:
    def groups(named: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
        first, *others = named.values()
        return [{"params": [first], "weight_decay": 0.9}, {"params": others}]

    own = built(torch.optim.SGD, (0.1, 0.3), groups)
    set_decay(own, (0.1, 0.3), 10, 10)
    assert [group["weight_decay"] for group in own.param_groups] == [0.9, 0.3, 0.0]
    set_decay(own, 0.2, 10, 10)
    assert [group["weight_decay"] for group in own.param_groups] == [0.9, 0.3, 0.0]


@pytest.mark.parametrize(
    ("decay", "optimizer"),
    [
        (None, partial(torch.optim.SGD, weight_decay=0.1)),
        (0.1, partial(torch.optim.SGD, momentum=0.9)),
        (0.1, torch.optim.SGD),
        (0.1, "sgd"),
    ],
)
def test_one_decay_is_not_two(decay: Any, optimizer: Any) -> None:
    refuse_two_decays(decay, optimizer)


def test_two_decays_are_refused_a_zero_too() -> None:
    message = "weight_decay=0.0 and the 0 of optimizer= are two weight decays: give one of them"
    with pytest.raises(ValueError, match=message):
        refuse_two_decays(0.0, partial(torch.optim.SGD, weight_decay=0))


def test_settings_of_a_group_are_its_own_but_for_the_decay_of_the_run() -> None:
    assert own_settings({"lr": 1.0, "weight_decay": 0.1, OF_RUN: True}) == {"lr": 1.0}
    owned = {"lr": 1.0, "weight_decay": 0.1}
    assert own_settings(owned) == own_settings({**owned, OF_RUN: False}) == owned


def test_of_several_optimizers_each_must_have_a_decay() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    groups = decaying([{"params": [weight]}], 0.1)
    having, lacking = torch.optim.SGD(groups), torch.optim.Rprop([weight])
    both = Several(having=having, lacking=lacking)
    with pytest.raises(TypeError, match="Rprop has none: leave it out"):
        require_decaying(both, groups)
    # One that is not of torch's, and says nothing of its settings.
    require_decaying(SimpleNamespace(param_groups=groups), groups)
