"""What every adversarial algorithm gets from its parent, and the routing of gradients in each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import SequentialLR, StepLR

from super_selfish.data.collate import Labelled
from super_selfish.supervisors import SUPERVISORS, AdversarialSupervisor, NonFiniteLossError
from super_selfish.supervisors.adversarial import (
    Player,
    PlayerOptimizers,
    PlayerSchedules,
    discriminator_has_won,
)
from super_selfish.training.schedules import WarmupCosine, step_schedule

Backbones = Callable[..., nn.Module]
SGD = torch.optim.SGD


class Toy(AdversarialSupervisor):
    """Two linear players on images of 2x2 patches: the generator makes other colours of them."""

    def __init__(self, dataset: Any = None, *, factor: float = 1.0) -> None:
        super().__init__(None, dataset)
        torch.manual_seed(0)
        self.factor = factor
        self.model = nn.Linear(12, 12)
        self.discriminator: nn.Module = nn.Linear(12, 1)
        self.batches: list[Any] = []

    def _players(self) -> dict[str, Player]:
        return {
            "generator": Player((self.model,)),
            "discriminator": Player((self.discriminator,), self.factor),
        }

    def _forward(self, data: Labelled) -> dict[str, Tensor]:
        self.batches.append(data)
        real = nn.functional.adaptive_avg_pool2d(data.images, 2).flatten(1)  # (B, 12)
        real_logits, fake_logits = self.discriminator(torch.cat([real, self.model(real)])).chunk(2)
        return {
            "generator": (fake_logits.float() - 1).square().mean(),
            "discriminator": (real_logits.float() - 1).square().mean()
            + fake_logits.float().square().mean(),
        }


@pytest.fixture
def squares(images: Tensor) -> list[tuple[Tensor, int]]:
    return [(image, 0) for image in images[:8]]


def own_gradients(supervisor: Any, data: Any) -> dict[str, list[Tensor]]:
    """For each player, the gradient of its loss, by the plain means of autograd."""
    loss = supervisor._forward(data)
    return {
        name: list(
            torch.autograd.grad(
                loss[name],
                [p for module in player.modules for p in module.parameters()],
                retain_graph=True,
            )
        )
        for name, player in supervisor._players().items()
    }


def recorder() -> tuple[type[SGD], list[list[Tensor]]]:
    """An optimizer, and the gradients of every step that one of its kind took."""
    steps: list[list[Tensor]] = []

    class Recorder(SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            steps.append([p.grad.clone() for g in self.param_groups for p in g["params"]])
            super().step(closure)

    return Recorder, steps


@pytest.mark.parametrize("algorithm", ["bigan", "context"])
def test_a_player_moves_by_its_own_loss_alone(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = SUPERVISORS[algorithm](images[:6], backbone=tiny_backbone())
    forward, seen = supervisor._forward, []

    def watching(data: Any) -> Any:
        seen.append(data)
        return forward(data)

    supervisor._forward = watching
    kind, steps = recorder()
    supervisor.supervise(lr=0.0, optimizer=kind, epochs=1, batch_size=6, name=None)
    expected = own_gradients(supervisor, seen[0])  # lr 0: the weights are those of the step
    for recorded, gradients in zip(steps, expected.values(), strict=True):
        for ours, theirs in zip(recorded, gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)
            assert theirs.abs().sum() > 0


def test_players_move_at_once_from_the_same_weights(squares: Any) -> None:
    supervisor, still = Toy(squares), Toy(squares)
    supervisor.supervise(lr=0.1, optimizer=SGD, epochs=1, batch_size=8, name=None)
    expected = own_gradients(still, supervisor.batches[0])
    for name in ("generator", "discriminator"):
        moved = [p for m in supervisor._players()[name].modules for p in m.parameters()]
        before = [p for m in still._players()[name].modules for p in m.parameters()]
        for after, old, gradient in zip(moved, before, expected[name], strict=True):
            torch.testing.assert_close(after, old - 0.1 * gradient)


def test_accumulated_batches_count_as_one(squares: Any) -> None:
    whole, parts = Toy(squares), Toy(squares)
    settings: dict[str, Any] = {"lr": 0.1, "optimizer": SGD, "epochs": 2, "name": None}
    whole.supervise(batch_size=8, **settings)
    parts.supervise(batch_size=2, accumulate=4, **settings)
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_are_clipped_for_each_player_by_itself(squares: Any) -> None:
    kind, steps = recorder()
    Toy(squares).supervise(optimizer=kind, epochs=1, batch_size=8, name=None, clip_norm=1e-3)
    for gradients in steps:
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_half_precision_scales_and_unscales_for_every_player(squares: Any) -> None:
    class GentlyScaled(Toy):
        def _init_data_optimizer(self, *arguments: Any) -> Any:
            built = super()._init_data_optimizer(*arguments)
            assert self.run is not None
            assert self.run.scaler.is_enabled()
            self.run.scaler = torch.amp.GradScaler("cpu", init_scale=128.0)  # skips no step
            return built

    exact, half = Toy(squares), GentlyScaled(squares)
    settings: dict[str, Any] = {"lr": 0.1, "optimizer": SGD, "epochs": 2, "name": None}
    exact.supervise(**settings, clip_norm=0.5)
    half.supervise(**settings, clip_norm=0.5, precision="fp16")
    for ours, theirs in zip(half.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=2e-3)


def test_learning_rates_have_the_factors_of_the_players(squares: Any) -> None:
    supervisor = Toy(squares, factor=0.1)
    supervisor.supervise(lr=0.02, epochs=1, name=None)
    assert supervisor.run is not None
    optimizers = supervisor.run.optimizer
    assert isinstance(optimizers, PlayerOptimizers)
    assert [group["lr"] for group in optimizers.param_groups] == pytest.approx([0.02, 0.002])
    assert supervisor.history[0]["lr"] == 0.02


@pytest.mark.parametrize(
    ("optimizer", "beta"),
    [
        (torch.optim.Adam, 0.5),
        (torch.optim.AdamW, 0.5),
        (partial(torch.optim.Adam, weight_decay=0.1), 0.5),
        (partial(torch.optim.Adam, betas=(0.9, 0.99)), 0.9),
        (lambda parameters, lr: torch.optim.Adam(parameters, lr=lr), 0.9),
    ],
)
def test_adam_remembers_less_unless_the_user_says_otherwise(
    squares: Any, optimizer: Any, beta: float
) -> None:
    supervisor = Toy(squares)
    supervisor.supervise(optimizer=optimizer, epochs=1, name=None)
    assert supervisor.run is not None
    assert [group["betas"][0] for group in supervisor.run.optimizer.param_groups] == [beta, beta]


def test_schedules_count_epochs_or_updates(squares: Any) -> None:
    by_epoch = Toy(squares, factor=0.5)
    by_epoch.supervise(
        lr=1.0,
        optimizer=partial(SGD, maximize=False),
        epochs=3,
        batch_size=4,
        name=None,
        lr_scheduler=lambda each: StepLR(each, step_size=1, gamma=0.1),
    )
    assert by_epoch.run is not None
    rates = [group["lr"] for group in by_epoch.run.optimizer.param_groups]
    assert rates == pytest.approx([1e-3, 5e-4])
    by_update = Toy(squares, factor=0.5)
    by_update.supervise(epochs=3, batch_size=4, name=None, accumulate=2, lr_scheduler="cosine")
    assert by_update.run is not None
    for schedule in by_update.run.lr_scheduler.values():
        assert isinstance(schedule, WarmupCosine)
        assert schedule.last_epoch == 3  # one update an epoch


def test_every_loss_is_in_the_history(squares: Any) -> None:
    supervisor = Toy(squares)
    supervisor.supervise(epochs=1, name=None)
    row = supervisor.history[0]
    assert row["loss"] == pytest.approx(row["generator"] + row["discriminator"])


def test_parameters_that_no_player_or_several_own_are_refused(squares: Any) -> None:
    supervisor = Toy(squares)
    supervisor.forgotten = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="but 2 belong to none and 0 to several"):
        supervisor.supervise(epochs=1, name=None)
    supervisor = Toy(squares)
    supervisor.discriminator = nn.Sequential(supervisor.model, supervisor.discriminator)
    with pytest.raises(ValueError, match="but 0 belong to none and 2 to several"):
        supervisor.supervise(epochs=1, name=None)


def test_frozen_parameters_stay(squares: Any) -> None:
    supervisor = Toy(squares)
    supervisor.model.weight.requires_grad_(False)
    before = supervisor.model.weight.clone()
    supervisor.supervise(lr=0.1, epochs=1, name=None)
    assert torch.equal(supervisor.model.weight, before)


def test_a_discriminator_has_won_when_it_errs_no_more() -> None:
    assert discriminator_has_won({"epoch": 3, "discriminator_accuracy": 0.995})
    assert not discriminator_has_won({"epoch": 3, "discriminator_accuracy": 0.9})
    assert not discriminator_has_won({"epoch": 2, "discriminator_accuracy": 1.0})


@pytest.mark.parametrize("on_nan", ["raise", "skip"])
def test_no_player_moves_by_a_gradient_that_is_not_finite(squares: Any, on_nan: str) -> None:
    class Breaking(Toy):
        def _forward(self, data: Any) -> dict[str, Tensor]:
            losses = super()._forward(data)
            assert self.run is not None
            if self.run.global_step == 1:  # of one player only
                name = list(losses)[-1]
                losses[name] = losses[name] * float("inf")
            states.append({name: value.clone() for name, value in self.state_dict().items()})
            return losses

    states: list[dict[str, Tensor]] = []
    toy = Breaking(squares)
    settings: dict[str, Any] = {"lr": 0.1, "optimizer": SGD, "epochs": 1, "batch_size": 2}
    if on_nan == "raise":
        with pytest.raises(NonFiniteLossError):
            toy.supervise(**settings, name=None, on_nan=on_nan)
        after = toy.state_dict()
    else:
        toy.supervise(**settings, name=None, on_nan=on_nan)
        assert toy.history[0]["skipped_updates"] == 1
        after = states[2]
    assert all(torch.equal(value, after[name]) for name, value in states[1].items())
    assert all(torch.isfinite(value).all() for value in toy.state_dict().values())


def test_a_player_s_second_schedule_begins_without_a_warning() -> None:
    players = {name: torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0) for name in "ab"}
    schedules: Any = PlayerSchedules(
        (name, SequentialLR(own, [StepLR(own, 1, 0.5), StepLR(own, 1, 0.1)], milestones=[1]))
        for name, own in players.items()
    )
    for own in players.values():
        own.step()
    step_schedule(schedules, moved=True)  # torch 2.4 warns of what SequentialLR does here
    assert [own.param_groups[0]["lr"] for own in players.values()] == [2.0, 2.0]
