"""The step is open: groups of parameters, gradients before a step, what follows it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from super_selfish.data.collate import Collator
from super_selfish.supervisors import (
    BiGanSupervisor,
    MomentumContrastSupervisor,
    RotateNetSupervisor,
    Supervisor,
)
from super_selfish.supervisors.following import updates_before
from super_selfish.training import without_decay
from super_selfish.training.run import Run

Backbones = Callable[..., nn.Module]
ONCE: dict[str, Any] = {"epochs": 2, "batch_size": 8, "name": None, "progress": False}
# One step an epoch: whichever was the last, queue and momentum encoder have moved in it.
TEN_STEPS: dict[str, Any] = {**ONCE, "epochs": 10, "batch_size": 22, "lr": 0.01}


class Grouped(RotateNetSupervisor):
    def _parameter_groups(self, named: dict[str, nn.Parameter], lr: float) -> list[dict[str, Any]]:
        head = [p for name, p in named.items() if "predictor" in name]
        rest = [p for name, p in named.items() if "predictor" not in name]
        return [{"params": rest}, {"params": head, "constant_lr": True}]


def rates(supervisor: Supervisor) -> list[float]:
    assert supervisor.run is not None
    return [group["lr"] for group in supervisor.run.optimizer.param_groups]


def test_a_group_keeps_its_rate_where_the_schedule_moves_the_others(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = Grouped(images, tiny_backbone())
    supervisor.supervise(lr=0.01, lr_scheduler="cosine", **ONCE)
    moving, constant = rates(supervisor)
    assert constant == 0.01
    assert moving == pytest.approx(0.0, abs=1e-9)


def test_a_constant_rate_is_constant_after_a_resumption_too(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Any
) -> None:
    run = {**ONCE, "name": tmp_path / "run", "lr": 0.01, "lr_scheduler": "cosine"}
    Grouped(images, tiny_backbone()).supervise(**{**run, "epochs": 1})
    supervisor = Grouped(images, tiny_backbone())
    supervisor.supervise(**{**run, "epochs": 4}, resume=True)
    assert rates(supervisor)[1] == 0.01


class Halving:
    """A schedule as a stranger writes it: without an `optimizer` that one could ask."""

    def __init__(self, optimizer: Any) -> None:
        self._groups = optimizer.param_groups

    def step(self) -> None:
        for group in self._groups:
            group["lr"] /= 2

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state == {}


def one_cycle(optimizer: Any, total_steps: int) -> OneCycleLR:
    return OneCycleLR(optimizer, max_lr=0.5, total_steps=total_steps)


@pytest.mark.parametrize(
    "schedule", [one_cycle, partial(CyclicLR, base_lr=0.1, max_lr=0.5), Halving]
)
def test_a_constant_rate_is_that_of_its_group_whatever_a_schedule_writes(
    schedule: Any, images: Tensor, tiny_backbone: Backbones, tmp_path: Any
) -> None:
    def run(epochs: int, **more: Any) -> list[float]:
        supervisor = Grouped(images, tiny_backbone())
        sgd = partial(torch.optim.SGD, momentum=0.9)
        settings = {**ONCE, "name": tmp_path / "run", "lr": 0.01, "optimizer": sgd}
        supervisor.supervise(**{**settings, "epochs": epochs}, lr_scheduler=schedule, **more)
        return rates(supervisor)

    assert run(1)[1] == 0.01 != run(1, overwrite=True)[0]
    assert run(2, resume=True)[1] == 0.01


def test_a_group_may_be_a_generator(images: Tensor, tiny_backbone: Backbones) -> None:
    class Lazy(RotateNetSupervisor):
        def _parameter_groups(self, named: Any, lr: float) -> list[dict[str, Any]]:
            halves = self.model.backbone, self.model.predictor
            return [{"params": half.parameters()} for half in halves]

    supervisor = Lazy(images, tiny_backbone())
    before = [parameter.clone() for parameter in supervisor.parameters()]
    supervisor.supervise(lr=0.1, **ONCE)
    pairs = zip(before, supervisor.parameters(), strict=True)
    assert not any(torch.equal(old, new) for old, new in pairs)


def test_groups_that_are_none_are_refused_in_words(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    class Bare(RotateNetSupervisor):
        def _parameter_groups(self, named: Any, lr: float) -> list[Any]:
            return list(named.values())

    with pytest.raises(TypeError, match=r"_parameter_groups\(\) gives dicts"):
        Bare(images, tiny_backbone()).supervise(**ONCE)


def test_a_parameter_in_no_group_or_in_two_is_refused(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    class Lossy(RotateNetSupervisor):
        def _parameter_groups(self, named: Any, lr: float) -> list[dict[str, Any]]:
            return [{"params": list(named.values())[1:]}]

    class Doubled(RotateNetSupervisor):
        def _parameter_groups(self, named: Any, lr: float) -> list[dict[str, Any]]:
            return [{"params": [*named.values(), next(iter(named.values()))]}]

    for kind in (Lossy, Doubled):
        with pytest.raises(ValueError, match="belongs to one group"):
            kind(images, tiny_backbone()).supervise(**ONCE)


def test_norms_and_biases_go_without_decay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    decayed, free = without_decay(dict(network.named_parameters()), 0.1)
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert decayed["weight_decay"] == 0.1
    assert [p.ndim for p in free["params"]] == [1, 1, 1, 1]
    assert free["weight_decay"] == 0.0
    assert len(without_decay({"weight": nn.Parameter(torch.ones(2, 2))})) == 1
    assert "weight_decay" not in without_decay({"weight": nn.Parameter(torch.ones(2, 2))})[0]


def test_an_optimizer_that_wants_names_gets_them(images: Tensor, tiny_backbone: Backbones) -> None:
    got: dict[str, Any] = {}

    def by_layers(parameters: Any, lr: float, named_parameters: Any) -> torch.optim.Optimizer:
        got.update(named_parameters)
        return torch.optim.SGD(parameters, lr=lr)

    supervisor = RotateNetSupervisor(images, tiny_backbone())
    supervisor.supervise(optimizer=by_layers, **ONCE)
    assert list(got) == [name for name, p in supervisor.named_parameters() if p.requires_grad]


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"clip_norm": 0.1}])
@pytest.mark.parametrize("kind", [RotateNetSupervisor, BiGanSupervisor])
def test_gradients_are_there_before_a_step_and_weights_have_moved_after_it(
    kind: Any, settings: dict[str, Any], images: Tensor, tiny_backbone: Backbones
) -> None:
    told: list[str] = []

    class Watched(kind):
        def _before_step(self) -> None:
            self.kept = torch.cat([p.detach().flatten() for p in self.get_backbone().parameters()])
            assert all(p.grad is not None for p in self.get_backbone().parameters())
            told.append("before")

        def _after_step(self, run: Run) -> None:
            now = torch.cat([p.detach().flatten() for p in self.get_backbone().parameters()])
            assert not torch.equal(now, self.kept)
            assert run is self.run
            told.append("after")

    Watched(images, tiny_backbone()).supervise(**ONCE, **settings)
    updates = 2 * (2 if "accumulate" in settings else 3)
    assert told == ["before", "after"] * updates


def test_a_gradient_that_is_dropped_before_the_step_moves_nothing(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    class FrozenHead(RotateNetSupervisor):
        def _before_step(self) -> None:
            for parameter in self.get_predictor().parameters():
                parameter.grad = None

    supervisor = FrozenHead(images, tiny_backbone())
    before = [p.detach().clone() for p in supervisor.get_predictor().parameters()]
    supervisor.supervise(**ONCE)
    assert all(map(torch.equal, before, supervisor.get_predictor().parameters()))


def test_a_caution_is_said_before_the_first_step(images: Tensor, tiny_backbone: Backbones) -> None:
    class Careful(RotateNetSupervisor):
        def _caution(self, run: Run) -> str | None:
            assert run.global_step == 0
            return f"{run.batch_size} images are few"

    with pytest.warns(UserWarning, match="8 images are few"):
        Careful(images, tiny_backbone()).supervise(**ONCE)


class Both(Supervisor):
    """Two algorithms on one backbone, composed by hand."""

    def __init__(self, dataset: Any, backbone: nn.Module) -> None:
        super().__init__(None, dataset)
        self.moco = MomentumContrastSupervisor(dataset, backbone)
        self.rotate = RotateNetSupervisor(dataset, self.moco.get_backbone())
        self.model = self.moco.model
        self.collate_fn = _BothCollator(self.moco.collate_fn, self.rotate.collate_fn)

    def _forward(self, data: Any) -> Tensor:
        return self.moco._forward(data[0]) + self.rotate._forward(data[1])


class _BothCollator(Collator):
    def __init__(self, first: Any, second: Any) -> None:
        super().__init__()
        self.parts = first, second

    def augment(self, batch: Any, generator: torch.Generator) -> Any:
        return tuple(part.augment(batch, generator) for part in self.parts)


def distance(moco: MomentumContrastSupervisor) -> float:
    """Between the momentum encoder and the network that it follows, relative to its beginning."""
    pairs = zip(moco.momentum_encoder.parameters(), moco.model.parameters(), strict=True)
    return float(torch.stack([(a - b).norm() for a, b in pairs]).norm())


def test_a_momentum_encoder_within_another_supervisor_follows_as_it_does_alone(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    both = Both(images, tiny_backbone())
    first = [p.detach().clone() for p in both.moco.momentum_encoder.parameters()]
    averages = [p.clone() for p in first]

    after_step = both.moco._after_step

    def checked(run: Run) -> None:
        # The slow reference: m * average + (1 - m) * weight.
        momentum = both.moco.momentum_now(run)
        for average, weight in zip(averages, both.moco.model.parameters(), strict=True):
            average.mul_(momentum).add_(weight.detach(), alpha=1 - momentum)
        after_step(run)

    both.moco._after_step = checked  # type: ignore[method-assign]
    both.supervise(**TEN_STEPS)
    for average, one, begun in zip(
        averages, both.moco.momentum_encoder.parameters(), first, strict=True
    ):
        torch.testing.assert_close(one.detach(), average, rtol=1e-6, atol=1e-7)
        assert not torch.equal(one, begun)
    assert both.run is not None and updates_before(both.run) == 10
    assert both.moco.momentum_now(both.run) == 0.99  # the least
    assert int(both.moco.queue.num_valid) > 0


def test_parts_log_under_their_names_and_give_the_run_back(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    both = Both(images, tiny_backbone())
    both.supervise(**ONCE, accumulate=2)
    assert {"moco.accuracy", "moco.key_spread", "rotate.accuracy"} <= set(both.history[0])
    assert both.moco.run is None
    assert both.moco.epochs_seen == both.rotate.epochs_seen == both.epochs_seen == 2


def test_a_composed_run_resumes_bit_for_bit(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Any
) -> None:
    def trained(name: str, *epochs: int) -> Both:
        for end in epochs:
            torch.manual_seed(0)
            both = Both(images, tiny_backbone())
            both.supervise(**{**ONCE, "name": tmp_path / name, "epochs": end}, resume=True)
        return both

    whole, parted = trained("whole", 3), trained("parted", 1, 3)
    assert [row["loss"] for row in whole.history] == [row["loss"] for row in parted.history]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parted.state_dict()[name]), name


def test_a_supervisor_of_ones_own_needs_no_hook(images: Tensor, tiny_backbone: Backbones) -> None:
    class Plain(Supervisor):
        def _forward(self, data: Any) -> Tensor:
            return F.mse_loss(self.model(data[0]), torch.zeros(len(data[0]), 16))

    dataset = torch.utils.data.TensorDataset(images, torch.arange(len(images)))
    Plain(tiny_backbone(), dataset).supervise(**ONCE)
