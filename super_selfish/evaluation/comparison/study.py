"""The study of sensitivity: how much what is learned depends on the number of images.

Macar and Liu pretrain one network by several tasks on base sets of several sizes, and rate each on
several labelled sets. Their sensitivity of a task t is

    s(t) = mean over sets d of the standard deviation over base sizes b of accuracy(t, b, d),

here with the population's standard deviation, of means over the seeds (METHODS.md, section 6).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from super_selfish.evaluation.comparison.sets import column_of, columns_of
from super_selfish.evaluation.comparison.standings import START, UNTRAINED, Spread, Standing
from super_selfish.evaluation.comparison.table_cells import NOTHING, health_of, number, percent

Columns = Mapping[str, Sequence[str]]  # those of all downstream sets, by protocol


def downstream_columns(sets: Iterable[str], columns: Sequence[str]) -> dict[str, list[str]]:
    """Where the accuracies on downstream sets are filed.

    Args:
        sets: Names of the downstream sets.
        columns: All that there are.

    Returns:
        Columns by protocol, in the order of the sets.
    """
    names = list(sets)
    protocols = dict.fromkeys(p for name in names for p in columns_of(name, columns))
    return {protocol: [column_of(name, protocol) for name in names] for protocol in protocols}


def sensitivity_of(entry: Standing, columns: Sequence[str]) -> float | None:
    """Mean over sets of the standard deviation over base sizes; None without two of these.

    Args:
        entry: Where an algorithm stands.
        columns: Of one protocol, a set each.

    Returns:
        A difference of accuracies, in [0, 1].
    """
    if entry.sensitivity is None:
        return None
    return statistics.mean(entry.sensitivity[column] for column in columns)


def chance_of(entry: Standing, columns: Sequence[str]) -> float | None:
    """The sensitivity that the seeds alone would lead one to find where there is none.

    Each mean over n seeds errs by a variance of v / n, with v that of single seeds. Of k numbers
    that err so and are otherwise the same, the population's variance is (k - 1) / k * v / n on
    average.

    Args:
        entry: Where an algorithm stands.
        columns: As for `sensitivity_of`.

    Returns:
        The root of that, averaged over the sets; None with a single seed, or without two sizes.
    """
    sizes, seeds = len(entry.by_size), len(entry.seeds)
    if entry.sensitivity is None or seeds < 2:
        return None
    found = []
    for column in columns:
        spreads = [row[column].deviation or 0.0 for row in entry.by_size.values()]
        variance = statistics.mean(value**2 for value in spreads)
        found.append(math.sqrt((sizes - 1) / sizes * variance / seeds))
    return statistics.mean(found)


def study_cells(
    leaderboard: Sequence[Standing],
    references: Mapping[str, Mapping[str, Spread]],
    columns: Columns,
    own: Sequence[str],
) -> list[list[str]]:
    """The table: accuracy by set and task, and the sensitivity of each task.

    Args:
        leaderboard: Where each algorithm stands.
        references: Accuracies of what was not pretrained here, by name.
        columns: Those of downstream sets, by protocol.
        own: Those of the labelled set of the comparison itself.

    Returns:
        Header, `references`, algorithms.
    """
    are_repeated = any(entry.sensitivity for entry in leaderboard)
    shown = [*own, *(column for found in columns.values() for column in found)]
    heads = {column: column for column in own}
    for protocol, found in columns.items():
        # One protocol is named below the table, so that columns stay narrow.
        ending = f": {protocol}" if len(columns) == 1 else ""
        heads |= {column: column.removesuffix(ending) for column in found}
    header = ["pretrained by", "seeds", *(heads[column] for column in shown)]
    for protocol in columns:
        of = "" if len(columns) == 1 else f"{protocol}: "
        header += [f"{of}mean", f"{of}gain"]
        header += [f"{of}sensitivity", f"{of}by chance"] if are_repeated else []
    header += ["minutes", "health (rank)"]
    rows = []
    for name, known in references.items():
        row = [name, "", *(percent(known.get(column)) for column in shown)]
        for found in columns.values():
            row += [_mean(known, found), "", *(["", ""] if are_repeated else [])]
        rows.append([*row, "", ""])
    for entry in leaderboard:
        row = [entry.algorithm, str(len(entry.seeds)) if entry.seeds else "failed"]
        row += [percent(entry.accuracy.get(column)) for column in shown]
        for found in columns.values():
            row += [_mean(entry.accuracy, found), _mean(entry.gain, found, signed=True)]
            if are_repeated:
                row += [_points(sensitivity_of(entry, found)), _points(chance_of(entry, found))]
        rows.append([*row, number(entry.minutes, digits=2), health_of(entry)])
    return [header, *rows]


def reference_rows(
    untrained: Mapping[str, Spread], start: Mapping[str, Spread]
) -> dict[str, Mapping[str, Spread]]:
    """What was not pretrained here, as far as there is such."""
    return {name: known for name, known in ((UNTRAINED, untrained), (START, start)) if known}


def _mean(known: Mapping[str, Spread], columns: Sequence[str], *, signed: bool = False) -> str:
    """The mean over sets, in percent or points."""
    if not all(column in known for column in columns):
        return NOTHING
    mean = statistics.mean(known[column].mean for column in columns)
    return percent(Spread(mean, None), signed=signed)


def _points(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.2f}"
