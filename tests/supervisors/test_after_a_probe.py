"""Pretraining goes on after a probe of the same backbone, as if there had been none."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from super_selfish.evaluation import Monitor, evaluate
from super_selfish.models import NarrowResNet, freeze, freeze_until, unfreeze
from super_selfish.supervisors import BYOLSupervisor, LabelSupervisor, RotateNetSupervisor

LABELLED = TensorDataset(
    torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 2
)
ONCE: dict[str, Any] = {"epochs": 1, "batch_size": 8, "name": None, "progress": False}


def network() -> NarrowResNet:
    torch.manual_seed(0)
    return NarrowResNet(width=8)


def frozen(backbone: nn.Module) -> list[str]:
    return [name for name, p in backbone.named_parameters() if not p.requires_grad]


def moved(backbone: nn.Module, before: dict[str, Tensor]) -> set[str]:
    state = backbone.state_dict()
    return {name for name in state if not torch.equal(state[name], before[name])}


def state(backbone: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(backbone.state_dict())


@pytest.mark.parametrize("options", [{}, {"finetune": True, "freeze_until": "blocks.2"}])
def test_pretraining_goes_on_with_the_whole_backbone_after_a_probe(options: Any) -> None:
    supervisor = RotateNetSupervisor(LABELLED, network())
    backbone = supervisor.get_backbone()
    LabelSupervisor(LABELLED, backbone, **options).supervise(**ONCE)
    before = state(backbone)
    supervisor.supervise(**ONCE)
    assert moved(backbone, before) == set(before)  # weights, and statistics of norms
    assert frozen(backbone) == []
    assert all(part.training for part in backbone.modules())


def test_a_new_algorithm_trains_a_backbone_that_was_probed() -> None:
    backbone = network()
    LabelSupervisor(LABELLED, backbone).supervise(**ONCE)
    supervisor = BYOLSupervisor(LABELLED, backbone)
    assert frozen(backbone) == []
    before = state(backbone)
    supervisor.supervise(**ONCE)
    assert moved(backbone, before) == set(before)
    followers = supervisor.momentum_encoder
    assert len(frozen(followers)) == len(list(followers.parameters()))


def test_a_probe_freezes_again_what_pretraining_had_let_go() -> None:
    supervisor = RotateNetSupervisor(LABELLED, network())
    backbone = supervisor.get_backbone()
    probe = LabelSupervisor(LABELLED, backbone)
    supervisor.supervise(**ONCE)
    before = state(backbone)
    probe.supervise(**ONCE)
    assert moved(backbone, before) == set()


def test_what_the_user_froze_stays_frozen_after_a_probe() -> None:
    backbone = network()
    freeze_until(backbone, "blocks.2")
    by_user = frozen(backbone)
    supervisor = RotateNetSupervisor(LABELLED, backbone)
    LabelSupervisor(LABELLED, backbone).supervise(**ONCE)
    before = state(backbone)
    supervisor.supervise(**ONCE)
    assert frozen(backbone) == by_user
    held = ("stem.", "blocks.0.", "blocks.1.")
    assert moved(backbone, before) == {name for name in before if not name.startswith(held)}
    unfreeze(backbone)
    assert frozen(backbone) == []


def test_what_the_user_freezes_after_a_probe_stays_frozen() -> None:
    supervisor = RotateNetSupervisor(LABELLED, network())
    backbone = supervisor.get_backbone()
    LabelSupervisor(LABELLED, backbone)
    freeze(backbone)
    before = state(backbone)
    with pytest.warns(UserWarning, match="every parameter of the backbone is frozen"):
        supervisor.supervise(**ONCE)
    assert moved(backbone, before) == set()


def test_pretraining_warns_of_a_backbone_of_which_nothing_trains() -> None:
    supervisor = RotateNetSupervisor(LABELLED, network().requires_grad_(False))
    with pytest.warns(UserWarning, match="RotateNetSupervisor trains its head alone"):
        supervisor.supervise(**ONCE)


def test_an_evaluation_or_a_monitor_leaves_nothing_frozen() -> None:
    supervisor = RotateNetSupervisor(LABELLED, network())
    backbone = supervisor.get_backbone()
    supervisor.supervise(**ONCE, monitor=Monitor(LABELLED))
    evaluate(
        supervisor,
        LABELLED,
        LABELLED,
        protocols=("linear", "finetune"),
        untrained=None,
        progress=False,
    )
    assert frozen(backbone) == []
    assert all(part.training for part in backbone.modules())
    assert not any("train" in vars(part) for part in backbone.modules())
