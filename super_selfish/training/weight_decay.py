"""Weight decay as `supervise()` is told: one number, or two between which it goes over the run.

A schedule of the learning rate cannot move it, and its value follows from the place of an update
alone, as momentum does: a run that goes on needs nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from super_selfish.training.typed import as_number, both_of, is_several

Decay = float | tuple[float, float]
OF_RUN = "decay_of_run"  # in the groups of an optimizer whose weight decay is that of the run


def decay_of(given: Any) -> Decay | None:
    """What is meant by `weight_decay=`.

    Args:
        given: None, a number, or two.

    Raises:
        TypeError: If it is something else.
        ValueError: If there are not two, or one is negative or not finite.
    """
    if given is None:
        return None
    if not is_several(given):
        return _checked(given)
    first, last = map(_checked, both_of("weight_decay", given, "of the last"))
    return first, last


def refuse_two_decays(decay: Any, optimizer: Any) -> None:
    """Refuses a weight decay that takes the place of one that the user gives the optimizer.

    Args:
        decay: As `decay_of` takes it.
        optimizer: As `supervise()` is given it: a name, or what builds one.

    Raises:
        ValueError: If both are given.
    """
    if decay is None or not isinstance(optimizer, partial):
        return
    if "weight_decay" in optimizer.keywords:
        raise ValueError(
            f"weight_decay={decay!r} and the {optimizer.keywords['weight_decay']!r} of optimizer= "
            "are two weight decays: give one of them"
        )


def _checked(given: Any) -> float:
    number = float(as_number("weight_decay", given))
    if not 0 <= number < math.inf:
        raise ValueError(f"weight_decay must be finite and not negative, got {given}")
    return number


def wants_end(decay: Any) -> bool:
    """Whether it moves over a run, whose length must be known for that."""
    return isinstance(decay_of(decay), tuple)


def decay_at(decay: Decay, updates: int, total_updates: int) -> float:
    """The weight decay of an update.

    `wd_t = first + (last - first) / 2 * (1 - cos(pi * t / T))`, half a cosine, as DINO has it from
    0.04 to 0.4 (Caron et al., 2021, arXiv 2104.14294, section 3.2, "Implementation details").

    Args:
        decay: A number, which stays, or the first and the last one.
        updates: `t`, those done before this one.
        total_updates: `T`, those of the whole run.
    """
    if not isinstance(decay, tuple):
        return decay
    first, last = decay
    progress = min(1.0, updates / total_updates)
    return first + (last - first) * 0.5 * (1 - math.cos(math.pi * progress))


def decaying(groups: Sequence[Mapping[str, Any]], decay: Decay) -> list[dict[str, Any]]:
    """Groups in which weights have the decay of the run, and norms and biases none.

    Groups that have a weight decay of their own stay as they are.

    Args:
        groups: As an algorithm gives them, with lists of parameters.
        decay: Of the run.

    Raises:
        ValueError: If there is no weight that could have it.
    """
    found: list[dict[str, Any]] = []
    for group in groups:
        if "weight_decay" in group:
            found.append(dict(group))
            continue
        found += parted(group, {"weight_decay": decay_at(decay, 0, 1), OF_RUN: True})
    if not any(group.get(OF_RUN) for group in found):
        raise ValueError(
            f"weight_decay={decay} has nothing to decay: what trains are norms and biases, or is "
            "in groups with a weight decay of their own (_parameter_groups()): leave it out"
        )
    return found


def parted(group: Mapping[str, Any], of_weights: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Weights of a group, and its norms and biases, the tensors of one dimension, without decay.

    Args:
        group: With a list of parameters.
        of_weights: Settings of the weights, besides those of the group.

    Returns:
        At most two groups, no empty one.
    """
    weights = [p for p in group["params"] if p.ndim > 1]
    vectors = [p for p in group["params"] if p.ndim <= 1]
    parts = [
        {**group, "params": weights, **of_weights},
        {**group, "params": vectors, "weight_decay": 0.0},
    ]
    return [part for part in parts if part["params"]]


def own_settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a group less those that are the run's, which tells and may move them itself."""
    ours = {OF_RUN, "weight_decay"} if group.get(OF_RUN) else {OF_RUN}
    return {name: value for name, value in group.items() if name not in ours}


def require_decaying(optimizer: Any, groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuses an optimizer that knows no weight decay, or has not kept that of its groups.

    Args:
        optimizer: As it was built of them; one, or several by name.
        groups: What `decaying` returned.

    Raises:
        TypeError: If it is so.
    """
    for each in optimizer.values() if isinstance(optimizer, Mapping) else [optimizer]:
        if "weight_decay" not in getattr(each, "defaults", {"weight_decay": None}):
            raise TypeError(
                f"weight_decay= is for optimizers that have one, and {type(each).__name__} has "
                "none: leave it out, or take another optimizer"
            )
    if _of_run(optimizer.param_groups) != _of_run(groups):
        raise TypeError(
            "optimizer= makes groups of its own, in which weight_decay= is lost: have it keep the "
            "settings of the groups that it is called with, or leave weight_decay= to it"
        )


def _of_run(groups: Sequence[Mapping[str, Any]]) -> set[Any]:
    return {p for group in groups if group.get(OF_RUN) for p in group["params"]}


def set_decay(optimizer: Any, decay: Decay, updates: int, total_updates: int) -> None:
    """Gives the groups that have the decay of the run that of an update, where it moves.

    Args:
        optimizer: Before its step; one, or several as one.
        decay: Of the run.
        updates: Those done before this one.
        total_updates: Those of the whole run.
    """
    if not isinstance(decay, tuple):  # it is as it was built
        return
    now = decay_at(decay, updates, total_updates)
    for group in optimizer.param_groups:
        if group.get(OF_RUN):
            group["weight_decay"] = now
