"""The course of a run: what came of it, whether it is well, its curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from super_selfish.evaluation.health.health import Health
from super_selfish.evaluation.plots import plot_curves
from super_selfish.evaluation.report.html import (
    Html,
    absent,
    element,
    embedded,
    paragraph,
    table,
    text,
)
from super_selfish.evaluation.report.record import Record
from super_selfish.evaluation.report.words import describe_course, duration, number, percent
from super_selfish.supervisors import Supervisor
from super_selfish.training.history import Row

_LARGE = (5.2, 2.9)  # inches: width and height of the curve of the loss
_LISTED = 60  # epochs in the table
_NOT_DRAWN = ("epoch", "seconds", "waited_for_data", "unreadable", "damaged", "monitor_seconds")
_LAST_DRAWN = ("lr", "images_per_second")
# What one looks for first comes first; what an algorithm logs of itself stands between.
MEANINGS = {
    "knn": "Share of labels that a k-NN on the features gets right. More is better.",
    "linear": "Share of labels that a linear probe on the features gets right. More is better.",
    "rankme": "Effective rank of the features. More is better; 1 is collapse.",
    "directions": "Directions that carry 99 % of the variance. Very few are collapse.",
    "top_variance": "Share of the variance in one direction. Near 1 is collapse.",
    "feature_std": "Spread of the features: 0 if all images have the same, 1 if directions are "
    "independent.",
    "alignment": "Squared distance of two views of an image. Less is better, as long as different "
    "images stay apart.",
    "uniformity": "How evenly the features fill the sphere. Less is better; 0 is collapse.",
    "dead": "Share of features that are the same for every image. Less is better.",
    "accuracy": "Share of right answers to the algorithm's own question, in training.",
    "lr": "Learning rate at the end of the epoch.",
    "images_per_second": "Speed of training, the wait for data included.",
}
_UNKNOWN = (
    "There is no record of the training of these networks: they were not trained here, and no "
    "checkpoint of this name holds them."
)


def summary(record: Record | None, health: Health | None) -> list[Html]:
    """What happened and whether the features are well, before anything is looked at."""
    if record is None:
        body = [absent(_UNKNOWN)]
    else:
        body = [paragraph(" ".join(describe_course(record))), facts(record)]
    if health is None:
        return [*body, absent("The health of the features needs at least two images.")]
    verdict = f"{health.verdict[:1].upper()}{health.verdict[1:]}"
    note = element("p", text(verdict if verdict.endswith(".") else f"{verdict}."))
    kind = "note" if health.is_healthy else "note bad"
    rows = [
        [_spaced(name), number(value), MEANINGS.get(name, "")]
        for name, value in health.as_dict().items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    measures = element("details", element("summary", text("The measures behind it")), table(rows))
    return [*body, element("div", note, class_=kind), measures]


def facts(record: Record) -> Html:
    """The numbers that one looks for first."""
    found = [("epochs", f"{record.epoch:,}", _of(record.epochs))]
    if record.steps is not None:
        found.append(("steps", f"{record.steps:,}", ""))
    if record.seconds:
        found += [
            ("time", duration(record.seconds), ""),
            ("images a second", f"{record.images_per_second:,.0f}", ""),
            ("waited for data", percent(record.waited_share), ""),
        ]
    if record.rows:
        is_done = record.epochs is None or record.epoch >= record.epochs
        name = "final loss" if is_done else "loss so far"
        found.append((name, number(record.rows[-1]["loss"]), ""))
    cells = [
        element(
            "div",
            element("dt", text(name)),
            element("dd", text(value), element("small", text(f" {more}")) if more else Html("")),
        )
        for name, value, more in found
    ]
    return element("dl", *cells, class_="facts")


def curves(record: Record | None, supervisor: Supervisor) -> list[Html]:
    """Loss, everything else that was measured, and the table of it all."""
    if record is None:
        return [absent(_UNKNOWN)]
    rows = record.rows
    if not rows:
        return [absent("No epoch was finished.")]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    meanings = {**MEANINGS, **supervisor.meanings}
    body = []
    if len(rows) > 1:
        ends = f"from {number(rows[0]['loss'])} to {number(rows[-1]['loss'])}"
        alt = f"Curve of the loss over {len(rows)} epochs, {ends}"
        losses = [name for name in columns if name.startswith("loss")]
        chance = supervisor.chance_loss(rows[-1])
        figure = plot_curves(rows, losses, size=_LARGE, chance=chance)
        caption = "Mean loss of each epoch."
        if chance is not None:
            caption += f" A network that only guesses has {number(chance)}."
        body.append(embedded(figure, alt, caption, vector=True))
        others = [
            name
            for name in _by_interest(columns)
            if name not in _NOT_DRAWN and not name.startswith("loss") and _changes(rows, name)
        ]
        plates = [
            embedded(
                plot_curves(rows, [name]),
                f"Curve of {_spaced(name)} over epochs",
                meanings.get(name, ""),
                vector=True,
            )
            for name in others
        ]
        if plates:
            body.append(element("div", *plates, class_="plates"))
    every = -(-len(rows) // _LISTED)
    chosen = [row for row in rows if row is rows[-1] or (row["epoch"] - 1) % every == 0]
    listed = table(
        [[_cell(row.get(name)) for name in columns] for row in chosen],
        [_spaced(name) for name in columns],
    )
    label = "The numbers of every epoch" if every == 1 else f"The numbers of every {every}th epoch"
    opened = {"open": "open"} if len(rows) == 1 else {}
    body.append(element("details", element("summary", text(label)), listed, **opened))
    return body


def _by_interest(columns: Sequence[str]) -> list[str]:
    """The columns: what the monitor measured, what the algorithm logged, speed and rate."""
    known = [name for name in MEANINGS if name in columns and name not in _LAST_DRAWN]
    last = [name for name in _LAST_DRAWN if name in columns]
    return [*known, *(name for name in columns if name not in (*known, *last)), *last]


def _changes(rows: Sequence[Row], name: str) -> bool:
    """Whether a column has more than one value: a constant needs no curve."""
    values = {row[name] for row in rows if row.get(name) is not None}
    return len({value for value in values if math.isfinite(value)}) > 1


def _cell(value: float | None) -> str:
    """A cell of the table of epochs."""
    return "" if value is None else number(value)


def _spaced(name: str) -> str:
    """A column's name in words."""
    return name.replace("_", " ")


def _of(total: int | None) -> str:
    """Of how many."""
    return "" if total is None else f"of {total:,}"
