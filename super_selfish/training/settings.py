"""What decides a run: told at its start, kept in its checkpoint, compared where it goes on.

Fields of `Run` that are `decides()` are what `supervise()` is told in plain values; here is what it
makes of the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from super_selfish.training.checkpoint import absent, checkpoint_path
from super_selfish.training.description import Settings, described
from super_selfish.training.distributed import rank
from super_selfish.training.weight_decay import own_settings

_log = logging.getLogger("super_selfish")  # shown on the error stream unless the user has it else

# How an optimizer computes, not what; and its learning rates, which belong to the schedule.
_NO_SETTINGS = frozenset(
    {"params", "param_names", "fused", "foreach", "capturable"}
    | {"lr", "initial_lr", "held_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"}
)
_CYCLED = frozenset({"momentum", "betas"})  # by some schedules, inversely to the learning rate
# Of a schedule: where it stands, and what follows from the run.
_NO_SCHEDULE = frozenset({"optimizer", "last_epoch", "base_lrs"})
MEASURED = 0.02  # two measurements may differ by as much
_LABELS = {
    "num_images": "images in the dataset",
    "images_per_update": "images of an update",
    "images": "images of (channels, height, width)",
    "trained": "parameters that train",
    "order": "the parameters of its optimizer in another order:",
}


def told_optimizer(optimizer: Any) -> Settings:
    """Class and settings of an optimizer, or of several by name.

    Args:
        optimizer: As it was built; anything that is no optimizer of torch's is told by its class.
    """
    if isinstance(optimizer, Mapping):
        return _of_players({player: told_optimizer(each) for player, each in optimizer.items()})
    found: Settings = {"optimizer": type(optimizer).__name__}
    groups = optimizer.param_groups if isinstance(optimizer, Optimizer) else []
    for place, group in enumerate(groups):
        of_group = f" of group {place + 1}" if len(groups) > 1 else ""
        is_cycled = "max_momentum" in group
        for name, value in own_settings(group).items():
            if is_cycled and name in _CYCLED:
                value = optimizer.defaults[name]
            if name not in _NO_SETTINGS:
                found.update(described(f"{name}{of_group}", value))
    return found


def told_schedule(schedule: Any, optimizer: Any, epochs: int) -> Settings:
    """Length, learning rates, and class and settings of a schedule, or of several by name.

    Args:
        schedule: As it was built.
        optimizer: With the schedule's learning rates.
        epochs: Of the run.
    """
    if isinstance(schedule, Mapping):
        each = {k: told_schedule(v, optimizer[k], epochs) for k, v in schedule.items()}
        return _of_players(each)
    rates = [
        group.get("held_lr", group.get("initial_lr", group["lr"]))
        for group in optimizer.param_groups
    ]
    found: Settings = {"epochs": epochs, "lr": float(rates[0])}
    if len(rates) > 1:
        found |= described("lr of the groups", [float(rate) for rate in rates])
    return found | _told_parts("lr_scheduler", schedule)


def _told_parts(name: str, schedule: Any) -> Settings:
    found: Settings = {name: type(schedule).__name__}
    for attribute, value in vars(schedule).items():
        if not (attribute.startswith("_") or attribute in _NO_SCHEDULE):
            found.update(described(f"{attribute} of {name}", value))
    # Of torch's `SequentialLR` and `ChainedScheduler`.
    for place, part in enumerate(getattr(schedule, "_schedulers", [])):
        found |= _told_parts(f"{name}[{place}]", part)
    return found | described(f"milestones of {name}", getattr(schedule, "_milestones", None))


def differences(
    stored: Mapping[str, Any], given: Mapping[str, Any], owner: str = "this call"
) -> list[str]:
    """What differs between a stored run and a call, of that which both tell.

    Args:
        stored: Settings by name.
        given: Settings by name.

        owner: Who has the given ones.

    Returns:
        For each that differs "name=stored value, this call has value".
    """
    return [_in_words(*each, owner) for each in _differing(stored, given)]


def changed(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """The same in the words of what is new: for each "name=value instead of stored value"."""
    return [
        f"{_LABELS.get(name, name)}={_shown(new)} instead of {_shown(old)}"
        for name, old, new in _differing(stored, given)
    ]


def _differing(
    stored: Mapping[str, Any], given: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    for name, value in stored.items():
        if name == "order" and sorted(value) != sorted(given.get(name, value)):
            continue  # other parameters, not another order: "trained" says which
        if name in given and not _are_same(value, given[name]):
            if isinstance(value, tuple):  # such as several tasks
                yield from _parts_that_differ(name, value, given[name])
            else:
                yield name, value, given[name]


def _parts_that_differ(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """The parts of two settings that are not the same, where both are made of the same parts."""
    if not (_holds_mappings(old) and _holds_mappings(new)):
        yield name, old, new
    elif isinstance(old, Mapping) and isinstance(new, Mapping) and old.keys() == new.keys():
        for key, value in old.items():
            if not _are_same(value, new[key]):
                yield from _parts_that_differ(f"{name}[{key!r}]", value, new[key])
    elif isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
        pairs = [pair for pair in enumerate(zip(old, new, strict=True)) if not _are_same(*pair[1])]
        if pairs and isinstance(pairs[0][1][0], str):
            pairs = pairs[:1]  # what follows is that of another thing
        for place, (value, other) in pairs:
            yield from _parts_that_differ(f"{name}[{place}]", value, other)
    else:
        yield name, _without_contents(old), _without_contents(new)


def _holds_mappings(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_holds_mappings, value))
    return isinstance(value, Mapping)


def _without_contents(value: Any) -> Any:
    """Names of things without their settings, such as of several tasks."""
    if not isinstance(value, tuple):
        return value
    return tuple(
        part[0] if isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], str) else part
        for part in value
    )


def refuse_differences(found: Sequence[str], name: object, remedy: str = "Use the same") -> None:
    """Refuses to go on with a run that was another one.

    Args:
        found: What `differences` returned.
        name: Of the checkpoint.
        remedy: What to do.

    Raises:
        ValueError: If there are any.
    """
    if found:
        raise ValueError(
            f"cannot resume {name}: the stored run has {'; '.join(found)}. {remedy}, or "
            "pretrained=True to start anew from the stored weights"
        )


def announce_changes(found: Sequence[str], name: object, epoch: int) -> None:
    """Says once with what else than before a run goes on.

    Args:
        found: What `changed` returned.
        name: Of the checkpoint.
        epoch: In which it stands, from 0.
    """
    if found and rank() == 0:
        _log.warning(
            "%s goes on in epoch %d, from here on with %s (the learning rate is what it would be "
            "by now in a run that had been so from the start)",
            name,
            epoch + 1,
            ", ".join(found),
        )


def announce_beginning(name: str) -> None:
    """Says that a run which was to go on has nothing to go on from, so that a typing error shows.

    Args:
        name: Of the checkpoint that is not there.
    """
    if rank() == 0:
        _log.warning("%s: starting anew", absent(checkpoint_path(name)))


def _of_players(each: Mapping[str, Settings]) -> Settings:
    return {
        f"{name} of the {player}": value
        for player, settings in each.items()
        for name, value in settings.items()
    }


def _are_same(stored: Any, given: Any) -> bool:
    if isinstance(stored, Tensor) or isinstance(given, Tensor):
        return _are_same_tensors(stored, given)
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        names = set(stored) == set(given)
        return names and all(_are_same(value, given[name]) for name, value in stored.items())
    if isinstance(stored, tuple) and isinstance(given, tuple) and len(stored) == len(given):
        return all(_are_same(*pair) for pair in zip(stored, given, strict=True))
    if isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        return all(_are_near(*pair) for pair in zip(stored, given, strict=True))
    is_nan = stored != stored and given != given
    return bool(is_nan or stored == given)


def _are_same_tensors(stored: Any, given: Any) -> bool:
    if not (isinstance(stored, Tensor) and isinstance(given, Tensor)):
        return False
    return stored.dtype == given.dtype and torch.equal(stored.cpu(), given.cpu())


def _are_near(stored: Any, given: Any) -> bool:
    """Equal; numbers of a list, which are measured, but for what other decoders make of a file."""
    if isinstance(stored, float) and isinstance(given, float):
        return abs(stored - given) <= MEASURED
    return _are_same(stored, given)


def _shown(value: Any) -> str:
    return f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else repr(value)


def _in_words(name: str, stored: Any, given: Any, owner: str) -> str:
    label = _LABELS.get(name, name)
    if name == "order":
        pairs = enumerate(zip(stored, given, strict=True))
        unlike = [f"{was} at place {i}, {owner} has {now}" for i, (was, now) in pairs if was != now]
        return f"{label} {unlike[0]}"
    if name != "trained":
        return f"{label}={_shown(stored)}, {owner} has {_shown(given)}"
    still = [f"{each} stands still now" for each in stored if each not in given]
    moving = [f"{each} stood still then" for each in given if each not in stored]
    examples = ", ".join([*still[:1], *moving[:1]])
    return f"{len(stored)} {label}, {owner} has {len(given)} ({examples})"
