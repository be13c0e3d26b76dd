"""An evaluation as a table in percent, with what is to be said below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from super_selfish.evaluation.intervals import CONFIDENCE, difference, points
from super_selfish.evaluation.scoring import Score

if TYPE_CHECKING:
    from super_selfish.evaluation.evaluation import Evaluation

PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
_SURE = f"{100 * CONFIDENCE:.0f} %"


def evaluation_table(found: Evaluation, metric: str | None, changes: Mapping[str, str]) -> str:
    """A row for each network, a column for each protocol, and below it what is to be said.

    Args:
        found: What to write down.
        metric: One of `Score.metrics`, or `None` for the value, with its spread over draws.
        changes: By the name of a row of differences, from which network the first one differs.

    Raises:
        ValueError: If no protocol has that metric.
    """
    cells = evaluation_cells(found, metric, changes)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in cells
    ]
    said = [*found.verdict, *found.labels_verdict] if metric is None else []
    return "\n".join([*lines, *evaluation_remarks(found, metric), *said])


def evaluation_cells(
    found: Evaluation, metric: str | None, changes: Mapping[str, str]
) -> list[list[str]]:
    """The cells of the table, its header first.

    Args:
        found: What to write down.
        metric: As for `evaluation_table`.
        changes: As for `evaluation_table`.

    Raises:
        ValueError: If no protocol has that metric.
    """
    first = next(iter(found.scores.values()))
    rows = {
        network: {name: _cell(score, metric) for name, score in row.items()}
        for network, row in found.scores.items()
    }
    if not any(cell for row in rows.values() for cell in row.values()):
        known = sorted({name for score in first.values() for name in score.metrics})
        raise ValueError(f"metric must be one of {known}, got {metric!r}")
    intervals = found.intervals
    for change, network in changes.items():
        if network in found.scores:
            rows[change] = {
                name: str(intervals[change][name])
                if metric is None
                else _difference(score, found.scores[network][name], metric)
                for name, score in first.items()
            }
    header = ["", *first]
    return [header, *([n, *(row.get(name, "") for name in first)] for n, row in rows.items())]


def evaluation_remarks(found: Evaluation, metric: str | None) -> list[str]:
    """What the numbers are: a metric in percent, of how many images, beside which networks.

    Args:
        found: What was written down.
        metric: As for `evaluation_table`.
    """
    what = (
        f"{found.metric if metric is None else metric.replace('_', ' ')} in %; "
        f"{found.train_images} training and {found.test_images} test images, "
        f"{found.classes} classes" + (_floor(found) if metric is None else "")
    )
    lines = _labels_used(next(iter(found.scores.values())), has_spread=metric is None)
    if found.intervals:
        luck = "test images and draws of labels" if lines else "test images"
        lines.append(f"in brackets: {_SURE} interval, both networks on the same {luck}")
    return [what, *lines, *(f"{name}: {note}" for name, note in found.notes.items())]


def _cell(score: Score, metric: str | None) -> str:
    """A figure in percent; empty where there is none."""
    if metric is not None:
        return f"{100 * score.metrics[metric]:.1f}" if metric in score.metrics else ""
    text = f"{100 * score.value:.1f}"
    return text if score.spread is None else f"{text} {PLUS_MINUS} {100 * score.spread:.1f}"


def _difference(after: Score, before: Score, metric: str) -> str:
    """A difference with its interval, if that is known; empty where there is no figure."""
    if metric not in after.metrics or metric not in before.metrics:
        return ""
    if metric in after.measured and metric in before.measured:
        return str(difference(after.measured[metric], before.measured[metric]))
    return points(after.metrics[metric] - before.metrics[metric])


def _floor(found: Evaluation) -> str:
    """What needs no look at an image; of the commonest class only where it is more common."""
    text = f", chance {100 * found.chance:.1f}"
    deviation = (found.chance * (1 - found.chance) / found.test_images) ** 0.5  # of a share
    if found.commonest is None or found.commonest <= found.chance + 2 * deviation:
        return text
    return f"{text}, always the commonest class {100 * found.commonest:.1f}"


def _labels_used(first: Mapping[str, Score], has_spread: bool) -> list[str]:
    """How many labels the protocols that draw them used."""
    counts = {
        name: (int(score.settings["labels"]), int(score.settings["draws"]))
        for name, score in first.items()
        if {"labels", "draws"} <= score.settings.keys()
    }
    if not counts:
        return []
    used = ", ".join(f"{name} = {labels}" for name, (labels, _) in counts.items())
    draws = " or ".join(map(str, sorted({draws for _, draws in counts.values()})))
    what = f"mean {PLUS_MINUS} standard deviation" if has_spread else "mean"
    return [f"labels used: {used}; {what} of {draws} draws"]
