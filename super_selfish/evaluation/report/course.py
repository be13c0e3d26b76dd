"""The course of a run: what came of it, whether it is well, its curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from super_selfish.evaluation.health.health import Health
from super_selfish.evaluation.plots import plot_curves
from super_selfish.evaluation.report.descriptions import (
    describe_course,
    duration,
    number,
    percent,
    sentence,
)
from super_selfish.evaluation.report.html import Plate, plate
from super_selfish.evaluation.report.record import Record
from super_selfish.supervisors import Supervisor
from super_selfish.training.history import Row
from super_selfish.training.run import UNLIMITED

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
    "retrieval": "Share of images that are the nearest to a view of themselves. More is better.",
    "accuracy": "Share of right answers to the algorithm's own question, in training.",
    "lr": "Learning rate at the end of the epoch.",
    "images_per_second": "Speed of training, the wait for data included.",
}
_UNKNOWN = (
    "There is no record of the training of these networks: they were not trained here, and no "
    "checkpoint of this name holds them."
)
_TOO_FEW = "The health of the features needs at least two images."


class Fact(NamedTuple):
    """One of the numbers that one looks for first."""

    name: str
    value: str
    more: str = ""


class Told(NamedTuple):
    """What happened, in sentences and numbers."""

    words: str
    facts: list[Fact]


class Judged(NamedTuple):
    """Whether the features are well, and by which measures: name, number, meaning."""

    is_healthy: bool
    verdict: str
    measures: list[list[str]]


class Summary(NamedTuple):
    """Both, or for either the reason why it is not known; and the images in a sentence."""

    run: Told | str
    health: Judged | str
    images: str = ""


class Course(NamedTuple):
    """Curves, and the table of it all; of one epoch the table alone."""

    loss: Plate | None
    others: list[Plate]
    columns: list[str]
    rows: list[list[str]]
    every: str  # of which epochs the table has a row


def summary(record: Record | None, health: Health | None, images: str = "") -> Summary:
    """What happened, on which images, and whether the features are well."""
    run: Told | str = _UNKNOWN
    if record is not None:
        run = Told(" ".join(describe_course(record)), facts(record))
    return Summary(run, _TOO_FEW if health is None else _judged(health), images)


def _judged(health: Health) -> Judged:
    measures = [
        [_spaced(name), number(value), MEANINGS.get(name, "")]
        for name, value in health.as_dict().items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return Judged(health.is_healthy, sentence(health.verdict), measures)


def facts(record: Record) -> list[Fact]:
    """The numbers that one looks for first."""
    found = [Fact("epochs", f"{record.epoch:,}", _of(record.epochs))]
    if record.steps is not None:
        found.append(Fact("steps", f"{record.steps:,}"))
    if record.seconds:
        found += [
            Fact("time", duration(record.seconds)),
            Fact("images a second", f"{record.images_per_second:,.0f}"),
            Fact("waited for data", percent(record.waited_share)),
        ]
    if record.rows:
        is_done = record.epochs is None or record.epoch >= record.epochs
        name = "final loss" if is_done else "loss so far"
        found.append(Fact(name, number(record.rows[-1]["loss"])))
    return found


def curves(record: Record | None, supervisor: Supervisor) -> Course | str:
    """Loss, everything else that was measured, and the table of it all; or why there is nothing."""
    if record is None:
        return _UNKNOWN
    rows = record.rows
    if not rows:
        return "No epoch was finished."
    columns = list(dict.fromkeys(key for row in rows for key in row))
    loss, others = None, []
    if len(rows) > 1:
        loss = _loss_curve(rows, columns, supervisor.chance_loss(rows[-1]))
        others = _other_curves(rows, columns, {**MEANINGS, **supervisor.meanings})
    every = -(-len(rows) // _LISTED)
    chosen = [row for row in rows if row is rows[-1] or (row["epoch"] - 1) % every == 0]
    return Course(
        loss,
        others,
        [_spaced(name) for name in columns],
        [[_cell(row.get(name)) for name in columns] for row in chosen],
        "epoch" if every == 1 else f"{every}th epoch",
    )


def _loss_curve(rows: Sequence[Row], columns: Sequence[str], chance: float | None) -> Plate:
    """The loss with its parts, beside that of a network that guesses."""
    losses = [name for name in columns if name.startswith("loss")]
    ends = f"from {number(rows[0]['loss'])} to {number(rows[-1]['loss'])}"
    caption = "Mean loss of each epoch."
    if chance is not None:
        caption += f" A network that only guesses has {number(chance)}."
    return plate(
        plot_curves(rows, losses, size=_LARGE, chance=chance),
        f"Curve of the loss over {len(rows)} epochs, {ends}",
        caption,
        vector=True,
    )


def _other_curves(
    rows: Sequence[Row], columns: Sequence[str], meanings: Mapping[str, str]
) -> list[Plate]:
    """A curve of everything else that was measured and changed, with what it means."""
    return [
        plate(
            plot_curves(rows, [name]),
            f"Curve of {_spaced(name)} over epochs",
            # What a part of a supervisor logs stands behind its name and a point.
            meanings.get(name) or meanings.get(name.rpartition(".")[2], ""),
            vector=True,
        )
        for name in _by_interest(columns)
        if name not in _NOT_DRAWN and not name.startswith("loss") and _changes(rows, name)
    ]


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
    return "" if total is None or total >= UNLIMITED else f"of {total:,}"
