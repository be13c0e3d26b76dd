"""From the records of single runs to where each algorithm stands.

A record is a dict of plain values, as `compare` stores it. An untrained network has one too, under
the algorithm `"untrained"`; a run names that of its twin by its key, or brings the accuracies of a
twin of its own. Weights that all began with, if these were trained before, are `"start"` likewise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from super_selfish.evaluation.intervals import Interval

UNTRAINED, START = "untrained", "start"


class Spread(NamedTuple):
    """Mean over seeds, and their sample standard deviation (n - 1); None of a single one."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Standing:
    """What one algorithm reached, over its seeds, with the most pretraining images there were.

    Attributes:
        algorithm: Its short name.
        seeds: Seeds of the runs that ended well.
        images: Images that it was pretrained on.
        accuracy: By protocol, in [0, 1].
        untrained: The same of the twins, with the same first weights.
        gain: Accuracy minus that of the twin, seed by seed.
        start: The same of the weights that pretraining began from, if these were trained before.
        since_start: Accuracy minus that of the start, seed by seed.
        gain_interval: By protocol the gain with its 95 % interval, where that is known.
        since_start_interval: The same of `since_start`.
        images_per_second: Of pretraining.
        peak_memory: Bytes that pretraining added; None if it could not be measured.
        minutes: Of pretraining.
        steps: Of pretraining.
        epochs: Of pretraining, with the share of the last one.
        loss: Mean of the last epoch.
        rank: Effective rank of the features (RankMe); None if it was not measured.
        verdicts: What the health check said of the backbones, each sentence once.
        warnings: What was warned of during training, each sentence once.
        by_size: Accuracy by number of pretraining images and protocol, where that was asked for.
        sensitivity: By protocol, the population standard deviation over these numbers of the mean
            accuracy; None where there are not two.
        errors: Why runs failed, each sentence once.
    """

    algorithm: str
    seeds: tuple[int, ...] = ()
    images: int = 0
    accuracy: dict[str, Spread] = field(default_factory=dict)
    untrained: dict[str, Spread] = field(default_factory=dict)
    gain: dict[str, Spread] = field(default_factory=dict)
    start: dict[str, Spread] = field(default_factory=dict)
    since_start: dict[str, Spread] = field(default_factory=dict)
    images_per_second: Spread | None = None
    peak_memory: Spread | None = None
    minutes: Spread | None = None
    steps: Spread | None = None
    epochs: Spread | None = None
    loss: Spread | None = None
    rank: Spread | None = None
    verdicts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    by_size: dict[int, dict[str, Spread]] = field(default_factory=dict)
    sensitivity: dict[str, float] | None = None
    errors: tuple[str, ...] = ()
    gain_interval: dict[str, Interval] = field(default_factory=dict)
    since_start_interval: dict[str, Interval] = field(default_factory=dict)

    @property
    def has_failed(self) -> bool:
        """Whether no run ended well."""
        return not self.seeds

    @property
    def findings(self) -> tuple[str, ...]:
        """The first words of the verdicts, such as "healthy" or "collapsed", each once."""
        return _each_once(verdict.partition(":")[0] for verdict in self.verdicts)

    @property
    def mean_gain(self) -> float:
        """Mean of the gains over the protocols, by which the leaderboard is sorted."""
        if not self.gain:
            return -math.inf
        return statistics.mean(gain.mean for gain in self.gain.values())


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation."""
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


def standings(records: Iterable[Mapping[str, Any]]) -> list[Standing]:
    """Where each algorithm stands, the one that gained most first, failed ones last.

    Args:
        records: Of all runs, in any order, with those of the untrained networks.

    Returns:
        One entry for each algorithm, the untrained network and the start not among them.
    """
    everything = list(records)
    references = (UNTRAINED, START)
    twins = {record["key"]: record for record in everything if record["algorithm"] in references}
    algorithms = dict.fromkeys(
        record["algorithm"] for record in everything if record["algorithm"] not in references
    )
    found = [
        _standing(name, [r for r in everything if r["algorithm"] == name], twins)
        for name in algorithms
    ]
    return sorted(found, key=lambda standing: (standing.has_failed, -standing.mean_gain))


def chosen_runs(records: Iterable[Mapping[str, Any]], algorithm: str) -> list[Mapping[str, Any]]:
    """The runs on which an algorithm stands: with the most images, by seed; none that failed."""
    good = [r for r in records if r["algorithm"] == algorithm and r["error"] is None]
    most = max((run["base_size"] for run in good if run["base_size"] is not None), default=None)
    return sorted((r for r in good if r["base_size"] == most), key=lambda run: run["seed"])


def _standing(
    algorithm: str, runs: list[Mapping[str, Any]], twins: Mapping[str, Mapping[str, Any]]
) -> Standing:
    """Sums up the runs of one algorithm."""
    errors = _each_once(run["error"] for run in runs if run["error"] is not None)
    chosen = chosen_runs(runs, algorithm)
    if not chosen:
        return Standing(algorithm, errors=errors)
    by_size = _by_size([run for run in runs if run["error"] is None])
    from_untrained = _befores(chosen, twins, "untrained", "twin")
    from_start = _befores(chosen, twins, "start_accuracy", "start")
    return Standing(
        algorithm,
        seeds=tuple(run["seed"] for run in chosen),
        images=chosen[0]["images"],
        accuracy=_by_protocol([run["accuracy"] for run in chosen]),
        untrained=_by_protocol([before for _, before in from_untrained]),
        gain=_changes(from_untrained),
        start=_by_protocol([before for _, before in from_start]),
        since_start=_changes(from_start),
        images_per_second=_of(chosen, "images_per_second"),
        peak_memory=_of(chosen, "peak_memory"),
        minutes=_of(chosen, "minutes"),
        steps=_of(chosen, "steps"),
        epochs=_of(chosen, "epochs"),
        loss=_of(chosen, "loss"),
        rank=_of([run["health"] or {} for run in chosen], "rankme"),
        verdicts=_each_once(run["health"]["verdict"] for run in chosen if run["health"]),
        warnings=_each_once(text for run in chosen for text in run["warnings"]),
        by_size=by_size,
        sensitivity=_sensitivity(by_size),
        errors=errors,
    )


def _by_size(runs: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Spread]]:
    """Accuracy by number of pretraining images, ascending, where that was asked for."""
    sizes = sorted({run["base_size"] for run in runs if run["base_size"] is not None})
    return {
        size: _by_protocol([run["accuracy"] for run in runs if run["base_size"] == size])
        for size in sizes
    }


def _befores(
    runs: Sequence[Mapping[str, Any]], twins: Mapping[str, Mapping[str, Any]], own: str, key: str
) -> list[tuple[Mapping[str, float], Mapping[str, float]]]:
    """Accuracies after and before training, of the runs of which both are known.

    A twin that failed leaves its run without a gain.

    Args:
        runs: Of one algorithm.
        twins: Records of networks before training, by key.
        own: Where a run has the accuracies of a network of its own before training.
        key: Where else it names one of `twins`.
    """
    pairs = []
    for run in runs:
        before = run.get(own) or twins.get(run.get(key) or "", {}).get("accuracy")
        if before:
            pairs.append((run["accuracy"], before))
    return pairs


def _by_protocol(rows: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Mean and spread of each column."""
    if not rows:
        return {}
    return {name: spread([row[name] for row in rows]) for name in rows[0]}


def _changes(
    pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
) -> dict[str, Spread]:
    """Mean and spread of what each column has gained, from pairs of after and before."""
    return _by_protocol(
        [{name: after[name] - before[name] for name in after} for after, before in pairs]
    )


def _of(rows: Iterable[Mapping[str, Any]], name: str) -> Spread | None:
    """Mean and spread of one number, where it is known."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return spread(values) if values else None


def _each_once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _sensitivity(by_size: Mapping[int, Mapping[str, Spread]]) -> dict[str, float] | None:
    """Standard deviation over the sizes, by protocol (Macar and Liu; METHODS.md, section 6)."""
    if len(by_size) < 2:
        return None
    rows = list(by_size.values())
    return {name: statistics.pstdev(row[name].mean for row in rows) for name in rows[0]}
