"""Averages of weights over the updates of a run, to evaluate and to keep; training never sees them.

`"ema"` is an exponential moving average, and what papers mean that speak of Polyak averaging with a
decay (CPC v2: 0.9999, here `EMA(0.9999)`). `"polyak"` is what Polyak and Juditsky have, a uniform
mean, here over the last quarter of the updates, as in stochastic weight averaging.

torch's `AveragedModel` does the first with one decay, asks the device at every update whether it is
the first, and cannot leave out an update of which the device alone knows that it did not happen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.models.wrappers import without_wrappers


@dataclass(frozen=True)
class EMA:
    """Exponential moving average: `a <- d_t a + (1 - d_t) w` after every update.

    `d_t = min(decay, (1 + t) / (10 + t))` with `t` updates before this one, so that a short run
    does not end with what it began with. The average begins as the weights before the first update.

    Attributes:
        decay: Weight of the old average, in [0, 1): 0.999 looks back over a thousand updates, fit
            for short runs; CPC v2 (Henaff et al., 2019, arXiv 1905.09272) has 0.9999.
    """

    decay: float = 0.999
    name: ClassVar[str] = "ema"
    estimates_statistics: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuses what is no such weight."""
        if not 0.0 <= self.decay < 1.0:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")

    def first_update(self, total_updates: int) -> int:
        """The first update that counts, from 0."""
        return 0

    def weight(self, updates: Any) -> Any:
        """Weight of the new weights, after so many updates that count; a number or a scalar."""
        weight, least = 9 / (10 + updates), 1 - self.decay
        return weight.clamp(min=least) if isinstance(weight, Tensor) else max(weight, least)


@dataclass(frozen=True)
class Polyak:
    """Uniform mean of the weights after each of the last updates of a run.

    Polyak, Juditsky, 1992, "Acceleration of Stochastic Approximation by Averaging"; over the last
    part of a run, with batch norm's statistics estimated anew by one pass over the images at its
    end, it is stochastic weight averaging (Izmailov et al., 2018, arXiv 1803.05407). A constant
    learning rate, or one that does not fall to 0 long before the end, leaves something to average.

    Attributes:
        last: Part of the updates that counts, in (0, 1].
    """

    last: float = 0.25  # Izmailov et al.: after 75 % of the budget
    name: ClassVar[str] = "polyak"
    estimates_statistics: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuses what is no part."""
        if not 0.0 < self.last <= 1.0:
            raise ValueError(f"last must be in (0, 1], got {self.last}")

    def first_update(self, total_updates: int) -> int:
        """The first update that counts, from 0; at least the last one of the run does."""
        return min(total_updates - 1, round(total_updates * (1 - self.last)))

    def weight(self, updates: Any) -> Any:
        """Weight of the new weights, after so many updates that count; a number or a scalar."""
        return 1 / (1 + updates)


Rule = EMA | Polyak
AVERAGINGS: dict[str, type[EMA] | type[Polyak]] = {"ema": EMA, "polyak": Polyak}


class _Pairs(NamedTuple):
    """What is averaged and what it follows; what is copied and from where."""

    averaged: list[Tensor]
    followed: list[Tensor]
    copied: list[Tensor]
    buffers: list[Tensor]


class Average:
    """Averaged weights of a network, and its buffers as they were after the last update.

    Attributes:
        rule: How it averages.
        weights: By name, as in the network's state dict without wrappers.
        has_statistics: Whether batch norm's statistics are those of the averaged weights.
    """

    def __init__(
        self,
        rule: Rule,
        weights: Mapping[str, Tensor],
        updates: int = 0,
        *,
        has_statistics: bool = False,
    ) -> None:
        """Begins, or goes on from what was stored.

        Args:
            rule: How to average.
            weights: Are kept as they are.
            updates: That they average.
            has_statistics: As the attribute.
        """
        self.rule = rule
        self.weights = dict(weights)
        self.has_statistics = has_statistics
        self._updates = updates
        self._left_out: Tensor | None = None  # updates of these that were none, as a device counts
        self._pairs = _Pairs([], [], [], [])

    @property
    def updates(self) -> int:
        """How many updates it averages; may read the device."""
        return self._updates - (0 if self._left_out is None else int(self._left_out))

    @property
    def is_begun(self) -> bool:
        """Whether it is one: before its first update there is nothing to show."""
        return self._updates > 0

    @property
    def buffers(self) -> list[Tensor]:
        """What it copies and does not average, such as statistics of batch norm."""
        return self._pairs.copied

    @property
    def wants_statistics(self) -> bool:
        """Whether a run that ends here owes it statistics of batch norm."""
        return self.is_begun and self.rule.estimates_statistics and not self.has_statistics

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return sum(tensor.nbytes for tensor in self.weights.values())

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Binds the average to a network, on whose device it is from now on.

        Args:
            network: Whose weights it averages.

        Raises:
            ValueError: If it is one of another network.
        """
        state = _tensors_of(network)
        if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in self.weights.items()}:
            raise ValueError("the averaged weights are those of another network")
        self.weights = {
            name: torch.empty_like(tensor, requires_grad=False).copy_(self.weights[name])
            for name, tensor in state.items()
        }
        pairs: _Pairs = _Pairs([], [], [], [])
        seen = set()
        for name, tensor in state.items():
            if id(tensor) in seen:  # shared: all its names show one average
                self.weights[name] = self.weights[next(n for n, t in state.items() if t is tensor)]
                continue
            seen.add(id(tensor))
            is_weight = isinstance(tensor, nn.Parameter) and tensor.is_floating_point()
            (pairs.averaged if is_weight else pairs.copied).append(self.weights[name])
            (pairs.followed if is_weight else pairs.buffers).append(tensor.detach())
        self._pairs = pairs

    @torch.no_grad()
    def begin(self) -> None:
        """Begins with the weights that the network has now, unless it has begun."""
        if self.is_begun:
            return
        for own, theirs in zip(self._pairs.averaged, self._pairs.followed, strict=True):
            own.copy_(theirs)

    @torch.no_grad()
    def update(self, number: int, total_updates: int, left_out: Tensor | None = None) -> None:
        """Takes in the weights after an update.

        Args:
            number: Of the update, from 0.
            total_updates: In the whole run.
            left_out: Scalar, whether the update was none, where a device may know and we do not.
        """
        if number < self.rule.first_update(total_updates):
            self._updates, self._left_out = 0, None  # of a run that was to be shorter
            return
        self.has_statistics = False
        averaged, followed, copied, buffers = self._pairs
        if left_out is not None and left_out.device.type == "cpu":
            if bool(left_out):
                return
            left_out = None
        if left_out is None:
            torch._foreach_lerp_(averaged, followed, self.rule.weight(self._updates))
        else:
            if self._left_out is None:
                self._left_out = torch.zeros((), dtype=torch.long, device=left_out.device)
            weight = self.rule.weight(self._updates - self._left_out)
            weight = torch.where(left_out, torch.zeros_like(weight), weight)
            steps = torch._foreach_sub(followed, averaged)
            torch._foreach_mul_(steps, weight)
            torch._foreach_add_(averaged, steps)
            self._left_out += left_out
        if copied:
            torch._foreach_copy_(copied, buffers)
        self._updates += 1

    @contextmanager
    def lent(self) -> Iterator[None]:
        """While entered, the network has the averaged weights; afterwards its own, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for averaged, followed in zip(self._pairs.averaged, self._pairs.followed, strict=True):
            own = followed.clone()
            followed.copy_(averaged)
            averaged.copy_(own)

    @torch.no_grad()
    def take_statistics(self) -> None:
        """Copies the buffers that the network has now, with the averaged weights in it."""
        if self._pairs.copied:
            torch._foreach_copy_(self._pairs.copied, self._pairs.buffers)
        self.has_statistics = True

    def state_dict(self) -> dict[str, Any]:
        """As tensors and plain values, for a checkpoint."""
        return {
            "rule": {"name": self.rule.name, **vars(self.rule)},
            "updates": self.updates,
            "has_statistics": self.has_statistics,
            "weights": self.weights,
        }


def begun_average(rule: Rule, network: nn.Module) -> Average:
    """An average that begins with the weights of a network, which it follows."""
    average = Average(rule, _tensors_of(network))
    average.follow(network)
    return average


def restored_average(state: Mapping[str, Any] | None) -> Average | None:
    """The average of a checkpoint; most have none."""
    if state is None:
        return None
    rule = dict(state["rule"])
    kind = AVERAGINGS[rule.pop("name")]
    weights, updates = state["weights"], state["updates"]
    return Average(kind(**rule), weights, updates, has_statistics=state["has_statistics"])


def averaging_of(given: Any) -> Rule | None:
    """What is meant by `averaging=`.

    Args:
        given: None, a name, or a rule.

    Raises:
        ValueError: If a name is not known.
        TypeError: If it is something else.
    """
    if given is None or isinstance(given, EMA | Polyak):
        return given
    wanted = 'averaging is "ema", "polyak", an EMA(decay=0.9999) or a Polyak(last=0.25)'
    if isinstance(given, str):
        if given.lower() in AVERAGINGS:
            return AVERAGINGS[given.lower()]()
        raise ValueError(f"{wanted}, got {given!r}")
    raise TypeError(f"{wanted}, got {given!r}")


def bytes_of(network: nn.Module) -> int:
    """Bytes that an average of a network takes."""
    return sum({id(t): t.nbytes for t in _tensors_of(network).values()}.values())


def _tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, the network's very own."""
    state = without_wrappers(network, network.state_dict(keep_vars=True))
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
