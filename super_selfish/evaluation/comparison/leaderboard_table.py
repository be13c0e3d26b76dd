"""The leaderboard as cells of a table, and as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from super_selfish.evaluation.comparison.sets import columns_of
from super_selfish.evaluation.comparison.standings import START, UNTRAINED, Standing, spread
from super_selfish.evaluation.comparison.study import (
    chance_of,
    reference_rows,
    sensitivity_of,
    study_cells,
)
from super_selfish.evaluation.comparison.table_cells import (
    NOTHING,
    change,
    costs,
    health_of,
    number,
    percent,
)

if TYPE_CHECKING:
    from super_selfish.evaluation.comparison.comparison import Comparison

SINCE_START = "since start"


def leaderboard_cells(found: Comparison) -> list[list[str]]:
    """The table: header, untrained network, start, algorithms."""
    protocols = found.protocols
    if found.downstream:
        references = reference_rows(found.untrained, found.start)
        own = list(columns_of("", protocols))
        return study_cells(found.leaderboard, references, found.columns_downstream, own)
    sensitive = any(entry.sensitivity for entry in found.leaderboard)
    header = ["algorithm", "seeds"]
    for name in protocols:
        header += [name, "gain", *([SINCE_START] if found.start else [])]
    header += [*costs(Standing(UNTRAINED)), "steps", "health (rank)"]
    if sensitive:
        header += [f"{name} sensitivity" for name in protocols]
    rows = []
    for kind, known in ((UNTRAINED, found.untrained), (START, found.start)):
        if kind == START and not known:
            continue
        row = [kind, ""]
        for name in protocols:
            row += [percent(known.get(name)), "", *([""] if found.start else [])]
        row += ["", "", "", "", _health_of(found, kind)]
        rows.append(row + [""] * (len(header) - len(row)))
    for entry in found.leaderboard:
        row = [entry.algorithm, str(len(entry.seeds)) if entry.seeds else "failed"]
        for name in protocols:
            row += [
                percent(entry.accuracy.get(name)),
                change(entry.gain_interval.get(name), entry.gain.get(name)),
            ]
            if found.start:
                since = entry.since_start_interval.get(name)
                row += [change(since, entry.since_start.get(name))]
        row += [*costs(entry).values(), number(entry.steps), health_of(entry)]
        if sensitive:
            of = entry.sensitivity or {}
            row += [f"{100 * of[name]:.1f}" if name in of else NOTHING for name in protocols]
        rows.append(row)
    return [header, *rows]


def _health_of(found: Comparison, kind: str) -> str:
    """The health of the untrained networks, or of the start, to compare with."""
    judged = [r["health"] for r in found.runs if r["algorithm"] == kind and r["health"]]
    if not judged:
        return ""
    rank = spread([health["rankme"] for health in judged])
    return health_of(
        Standing(kind, rank=rank, verdicts=tuple(health["verdict"] for health in judged))
    )


def leaderboard_numbers(found: Comparison, entry: Standing) -> Iterator[tuple[str, Any]]:
    """A row of the CSV, column by column."""
    yield "algorithm", entry.algorithm
    yield "seeds", len(entry.seeds)
    yield "images", entry.images
    for name in found.protocols:
        gains = [("_gain", entry.gain, entry.gain_interval)]
        kinds = [("", entry.accuracy), ("_untrained", entry.untrained)]
        if found.start:
            gains.append(("_since_start", entry.since_start, entry.since_start_interval))
            kinds.append(("_start", entry.start))
        for kind, known in (*kinds, *(gain[:2] for gain in gains)):
            mean, deviation = known.get(name, (None, None))
            yield name + kind, mean
            yield name + kind + "_std", deviation
        for kind, _, intervals in gains:
            _, low, high = intervals.get(name, (None, None, None))
            yield name + kind + "_low", low
            yield name + kind + "_high", high
        yield name + "_sensitivity", (entry.sensitivity or {}).get(name)
    for name, columns in found.columns_downstream.items():
        yield f"{name}_mean_sensitivity", sensitivity_of(entry, columns)
        yield f"{name}_sensitivity_by_chance", chance_of(entry, columns)
    for name in ("images_per_second", "peak_memory", "minutes", "steps", "epochs", "loss"):
        cost = getattr(entry, name)
        yield name, None if cost is None else cost.mean
    yield "rank", None if entry.rank is None else entry.rank.mean
    yield "health", " ".join(entry.verdicts)
    yield "warnings", " ".join(entry.warnings)
    yield "error", " ".join(entry.errors)
