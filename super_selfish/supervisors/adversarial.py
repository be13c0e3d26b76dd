"""Players with losses of their own, in the one training loop of all algorithms.

A discriminator learns to tell real from fake, a generator learns to deceive it. One pass through
the networks gives the loss of each player; the gradient of a loss reaches the parameters of its
player and stops there; then all players move at once.

Goodfellow et al., 2014, "Generative Adversarial Networks", arXiv 1406.2661.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from super_selfish.data.collate import Collator
from super_selfish.supervisors.base import Supervisor
from super_selfish.training.history import Row
from super_selfish.training.schedules import build_schedule, steps_every_update

ADAM_BETAS = (0.5, 0.999)  # DCGAN, section 4: with 0.9 training oscillates


class Player(NamedTuple):
    """Who moves by one of the losses."""

    modules: tuple[nn.Module, ...]
    lr_factor: float = 1.0  # learning rate, as a multiple of the user's


class PlayerOptimizers(dict[str, Optimizer]):
    """An optimizer a player, to be zeroed, stored and restored as one."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all, those of the first player first."""
        return [group for optimizer in self.values() for group in optimizer.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all players."""
        for optimizer in self.values():
            optimizer.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The state of every optimizer, by player."""
        return {name: optimizer.state_dict() for name, optimizer in self.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        for name, optimizer in self.items():
            optimizer.load_state_dict(state[name])


class PlayerSchedules(dict[str, LRScheduler]):
    """A schedule a player, stepped together."""

    @property
    def interval(self) -> str:
        """What the schedules count: `"step"` or `"epoch"`."""
        return "step" if any(steps_every_update(each) for each in self.values()) else "epoch"

    def step(self) -> None:
        """Steps all."""
        for schedule in self.values():
            schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """The state of every schedule, by player."""
        return {name: schedule.state_dict() for name, schedule in self.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        for name, schedule in self.items():
            schedule.load_state_dict(state[name])


class AdversarialSupervisor(Supervisor, ABC):
    """Trains players against each other.

    A subclass writes `_players()`, and a `_forward(data)` that returns a scalar loss for each of
    them by name. Nothing needs to be detached: the gradient of the discriminator's loss does not
    reach the generator, and that of the generator's loss passes through the discriminator without
    moving it.

    The players move simultaneously, from the same weights, and not one after the other; `clip_norm`
    limits the gradient of each by itself. `Adam` and
    `AdamW` without `betas` of the user's own get beta 0.5 for the first moment (DCGAN).
    """

    retains_graph = True  # a backward pass for each player, through the same forward pass

    @abstractmethod
    def _players(self) -> dict[str, Player]:
        """The players by the name of their loss, the one whose learning rate is reported first."""

    def _init_data_optimizer(
        self,
        optimizer: Callable[..., Optimizer],
        batch_size: int,
        shuffle: bool,
        num_workers: int,
        collate_fn: Collator | Callable[[list[Any]], Any],
        lr: float,
        lr_scheduler: Callable[..., LRScheduler] | str,
    ) -> tuple[DataLoader[Any], Any, Any]:
        """Builds the loader, and for each player an optimizer and a schedule."""
        run, _ = self._running()
        players = self._players()
        options = _adam_options(optimizer)

        def build_optimizers(given: list[Any], lr: float) -> PlayerOptimizers:
            owned = {name: _trainable(player) for name, player in players.items()}
            in_groups = run.weight_decay is not None
            every = [p for group in given for p in group["params"]] if in_groups else given
            _check_each_is_owned_once(every, owned)
            shares: dict[str, Any] = owned
            if in_groups:
                shares = {name: _share(given, set(own)) for name, own in owned.items()}
            return PlayerOptimizers(
                {
                    name: optimizer(shares[name], lr=lr * player.lr_factor, **options)
                    for name, player in players.items()
                }
            )

        def build_schedules(optimizers: PlayerOptimizers) -> PlayerSchedules:
            return PlayerSchedules(
                {
                    name: build_schedule(lr_scheduler, player, run.total_updates, run.epochs)
                    for name, player in optimizers.items()
                }
            )

        builders: tuple[Any, Any] = build_optimizers, build_schedules
        return super()._init_data_optimizer(
            builders[0], batch_size, shuffle, num_workers, collate_fn, lr, builders[1]
        )

    def _backward(self, loss: dict[str, Tensor], optimizer: PlayerOptimizers) -> None:
        """For each player; all passes come before the weights move, which they need as they are."""
        run, _ = self._running()
        last = list(optimizer)[-1]
        for name, player in optimizer.items():
            rest = run.accumulation.set_apart(loss[name], _held(player), run.scaler.scale, name)
            scaled = run.scaler.scale(run.accumulation.weigh(rest, name))
            # inputs: the gradient flows through the other players and stays nowhere else.
            scaled.backward(inputs=_held(player), retain_graph=name != last)

    def _clip(self, optimizer: PlayerOptimizers, norm: float) -> None:
        """The gradient of each player by itself."""
        for player in optimizer.values():
            nn.utils.clip_grad_norm_(_held(player), norm)

    def _log_accuracy(self, real: Tensor, fake: Tensor) -> None:
        """Logs how often the discriminator tells a real from a fake one: 0.5 by chance.

        Args:
            real: `[B]`, logits of what is real.
            fake: `[B]`, logits of what is not, compared one by one.
        """
        self._log(discriminator_accuracy=(real > fake).float().mean())


def discriminator_has_won(row: Row) -> bool:
    """Whether in this epoch real and fake were told apart almost always."""
    return row["epoch"] >= 3 and row["discriminator_accuracy"] > 0.99


def _trainable(player: Player) -> list[nn.Parameter]:
    parameters = (p for module in player.modules for p in module.parameters() if p.requires_grad)
    return list(dict.fromkeys(parameters))


def _share(groups: list[dict[str, Any]], owned: set[nn.Parameter]) -> list[dict[str, Any]]:
    """What of groups belongs to a player."""
    shares = [{**group, "params": [p for p in group["params"] if p in owned]} for group in groups]
    return [share for share in shares if share["params"]]


def _held(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _adam_options(optimizer: Callable[..., Optimizer]) -> dict[str, Any]:
    kind, given = optimizer, {}
    if isinstance(optimizer, partial):
        kind, given = optimizer.func, optimizer.keywords
    is_adam = kind in (torch.optim.Adam, torch.optim.AdamW)
    return {"betas": ADAM_BETAS} if is_adam and "betas" not in given else {}


def _check_each_is_owned_once(
    parameters: list[nn.Parameter], owned: dict[str, list[nn.Parameter]]
) -> None:
    counts = {id(parameter): 0 for parameter in parameters}
    for held in owned.values():
        for parameter in held:
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    wrong = [count for count in counts.values() if count != 1]
    if wrong:
        raise ValueError(
            f"every parameter that trains belongs to one player, but {wrong.count(0)} belong to "
            f"none and {len(wrong) - wrong.count(0)} to several: list their modules in _players(), "
            "and share no module between the networks"
        )
