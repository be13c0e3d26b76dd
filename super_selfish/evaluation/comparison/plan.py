"""What a comparison consists of: its runs, each with a key, and what is refused beforehand."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from super_selfish.evaluation.comparison.entries import (
    SUPERVISED,
    Backbone,
    Conditions,
    Entry,
    Options,
    build_options,
    draw_backbone,
    has_start,
    supervised,
)
from super_selfish.evaluation.comparison.fingerprints import describe_data, fingerprint
from super_selfish.evaluation.comparison.standings import START, UNTRAINED
from super_selfish.supervisors import SUPERVISORS, LabelSupervisor, Supervisor
from super_selfish.supervisors.arguments import constructor_keywords, takes_any_keyword
from super_selfish.times import parse_time
from super_selfish.training.devices import default_device, parse_device
from super_selfish.training.schedules import constant, wants_length
from super_selfish.training.spelling import did_you_mean
from super_selfish.training.weight_decay import wants_end

Kind = Callable[..., Supervisor]

# Keywords of supervise() that a comparison sets itself.
OURS = ("epochs", "time_limit", "name", "resume", "pretrained", "seed", "progress", "overwrite")


def plan_entries(
    conditions: Conditions,
    kinds: Mapping[str, Kind],
    seeds: Sequence[int],
    options: Mapping[str, Options],
    settings: Mapping[str, Mapping[str, Any]],
    numbers: Mapping[str, Sequence[tuple[int | None, int]]],
) -> list[Entry]:
    """All runs, seed by seed, so that an unfinished comparison holds whole seeds."""
    labelled = [
        describe_data(conditions.train),
        None if conditions.test is None else describe_data(conditions.test),
        list(conditions.protocols),
        conditions.device.type,
    ]
    if conditions.downstream:
        sets = conditions.downstream.items()
        labelled.append([[name, *map(describe_data, parts)] for name, parts in sets])
    unlabelled = describe_data(conditions.pretrain)
    channels = conditions.pretrain.in_channels
    entries = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            network = draw_backbone(conditions, seed)
            rated = ["rated", seed, fingerprint(network), labelled]
            parts = {}
            for name in kinds:
                torch.default_generator.manual_seed(seed)  # whoever else is compared
                parts[name] = fingerprint(build_options(options.get(name), channels))
        twin, start = f"{UNTRAINED}-{seed}-{fingerprint(rated)}", None
        if has_start(conditions, network):
            twin = f"{UNTRAINED}-{seed}-{fingerprint(['twin', rated])}"
            start = f"{START}-{seed}-{fingerprint(rated)}"
            entries.append(Entry(start, START, seed))
        entries.append(Entry(twin, UNTRAINED, seed, start=start))
        for position in range(max(map(len, numbers.values()))):
            for name, kind in kinds.items():
                base_size, number = numbers[name][position]
                # Gains are those with the most images; on several sets the others' twins cost much.
                most = max((size for size, _ in numbers[name] if size is not None), default=None)
                wants_gain = not conditions.downstream or base_size == most
                decisive: dict[str, Any] = {
                    "rated": rated,
                    "unlabelled": [unlabelled, number],
                    "algorithm": [kind, parts[name], settings[name]],
                    "budget": [conditions.budget, conditions.epochs],
                }
                if kind is supervised:
                    decisive["labels"] = conditions.pretrain_labels
                size = "" if base_size is None else f"-{base_size}"
                key = f"{_file_name(name)}-{seed}{size}-{fingerprint(decisive)}"
                entries.append(
                    Entry(
                        key,
                        name,
                        seed,
                        base_size,
                        number,
                        kind,
                        options.get(name),
                        settings[name],
                        twin,
                        start,
                        wants_gain,
                    )
                )
    return entries


def _file_name(name: str) -> str:
    """A name of the user's own, fit for a file."""
    return re.sub(r"[^\w.-]+", "_", name)


def algorithms_by_name(algorithms: Sequence[str] | Mapping[str, Kind]) -> dict[str, Kind]:
    """Classes by name; refuses unknown names."""
    if isinstance(algorithms, str):
        raise TypeError(f"algorithms must be a sequence of names, got the string {algorithms!r}")
    if isinstance(algorithms, Mapping):
        kinds: dict[str, Kind] = dict(algorithms)
    else:
        strange = [each for each in algorithms if not isinstance(each, str)]
        if strange:
            raise TypeError(
                f"algorithms must be names, got {strange[0]!r}: arguments of one are "
                "options={name: {...}}, and a class of your own comes as {name: class}"
            )
        known: dict[str, Kind] = {**SUPERVISORS, SUPERVISED: supervised}
        unknown = [name for name in algorithms if name not in known]
        if unknown:
            near = [did_you_mean(str(name), known) for name in unknown]
            meant = ", ".join(repr(name) for name in dict.fromkeys(near) if name)
            guess = f": did you mean {meant}?" if meant else ""
            raise ValueError(f"algorithms must be some of {sorted(known)}, got {unknown}{guess}")
        kinds = {name: known[name] for name in algorithms}
    if not kinds or not kinds.keys().isdisjoint((UNTRAINED, START)):
        raise ValueError(
            f'give at least one algorithm, none of them by the name "{UNTRAINED}" or "{START}", '
            f"got {list(kinds)}"
        )
    return kinds


def seeds_of(seeds: int | Sequence[int]) -> list[int]:
    """The seeds, each once."""
    chosen = range(seeds) if isinstance(seeds, int) else seeds
    if not _are_whole(chosen) or not chosen:
        raise ValueError(f"seeds must be a number of at least 1, or seeds, got {seeds!r}")
    return list(dict.fromkeys(chosen))


def check_budget(budget: str | None, epochs: int | None) -> None:
    """Refuses both, neither, or nothing."""
    if (budget is None) == (epochs is None):
        raise ValueError('give either budget="10min" or epochs=, which is for every run')
    if epochs is not None and (not _are_whole([epochs]) or epochs < 1):
        raise ValueError(f"epochs must be a whole number of at least 1, got {epochs!r}")
    if budget is not None and not parse_time(budget, "budget"):
        raise ValueError(f"budget must be longer than nothing, got {budget!r}")


def _are_whole(numbers: Any) -> bool:
    """Whether these are whole numbers in a row."""
    return isinstance(numbers, Sequence) and all(
        isinstance(number, int) and not isinstance(number, bool) for number in numbers
    )


def device_of(device: torch.device | str | None, backbone: Backbone) -> torch.device:
    """The device that was asked for; else that of a given backbone, or where training goes."""
    if device is not None:
        return parse_device(device)
    if isinstance(backbone, nn.Module):
        for parameter in backbone.parameters():
            return parameter.device
    return default_device()


def settings_of(
    kinds: Mapping[str, Kind], given: Mapping[str, Any], *, timed: bool
) -> dict[str, dict[str, Any]]:
    """Keywords of `supervise()` for each algorithm; refuses those that it does not take."""
    _check_mapping("supervise", given)
    for name in kinds.keys() & given.keys():
        _check_mapping(f"supervise[{name!r}]", given[name])
    shared = {name: value for name, value in given.items() if name not in kinds}
    settings = {name: {**shared, **given.get(name, {})} for name in kinds}
    known = inspect.signature(Supervisor.supervise).parameters.keys() - {"self"}
    for name, keywords in settings.items():
        if not keywords.keys() <= known:
            raise TypeError(
                f"supervise: {sorted(keywords.keys() - known)} are neither keywords of "
                f"supervise() nor among the algorithms {list(kinds)}"
            )
        ours = [keyword for keyword in OURS if keyword in keywords]
        if ours:
            raise ValueError(
                f"supervise[{name!r}] must leave {ours} to compare(), which has budget=, epochs=, "
                "seeds= and path="
            )
        if timed and wants_length(keywords.get("lr_scheduler", constant)):
            raise ValueError(
                f"lr_scheduler={keywords['lr_scheduler']!r} needs to know how long the run is: "
                "give epochs= instead of budget="
            )
        if timed and wants_end(keywords.get("weight_decay")):
            raise ValueError(
                f"weight_decay={keywords['weight_decay']!r} needs to know how long the run is: "
                "give epochs= instead of budget=, or one number"
            )
    return settings


def options_of(kinds: Mapping[str, Kind], given: Mapping[str, Options]) -> dict[str, Options]:
    """Keywords of the constructors; refuses those of nobody, and misspelt ones."""
    _check_mapping("options", given)
    unknown = [name for name in given if name not in kinds]
    if unknown:
        raise ValueError(f"options are for {unknown}, which is none of {list(kinds)}")
    for name, keywords in given.items():
        if callable(keywords):
            continue  # its result is judged by the constructor
        _check_mapping(f"options[{name!r}]", keywords)
        kind = LabelSupervisor if kinds[name] is supervised else kinds[name]
        if not isinstance(kind, type) or takes_any_keyword(kind):
            continue
        known = constructor_keywords(kind)
        wrong = [keyword for keyword in keywords if keyword not in known]
        if wrong:
            raise TypeError(f"options[{name!r}]: {wrong} are none of {known}")
    return dict(given)


def numbers_of(
    kinds: Mapping[str, Kind],
    images: Mapping[str, int],
    base_sizes: Sequence[int] | None,
    available: int,
) -> dict[str, list[tuple[int | None, int]]]:
    """For each algorithm the base sizes, and how many images it pretrains on at each."""
    _check_mapping("images", images)
    unknown = [name for name in images if name not in kinds]
    if unknown:
        raise ValueError(f"images are for {unknown}, which is none of {list(kinds)}")
    for numbers in (list(images.values()), base_sizes):
        if numbers is None:
            continue
        if not _are_whole(numbers) or any(not 1 <= number <= available for number in numbers):
            raise ValueError(
                "images and base_sizes must be whole numbers from 1 to the "
                f"{available} images that there are for pretraining, got {numbers!r}"
            )
    if base_sizes is not None and not base_sizes:
        raise ValueError("base_sizes must have at least one number, or be None, got none")
    sizes = [None] if base_sizes is None else [*dict.fromkeys(base_sizes)]
    return {
        name: [
            (size, min(available if size is None else size, images.get(name, available)))
            for size in sizes
        ]
        for name in kinds
    }


def _check_mapping(name: str, value: Any) -> None:
    """Refuses an argument that is no dictionary."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dictionary of keywords or names, got {value!r}")
