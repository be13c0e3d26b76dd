"""The result of a comparison: a leaderboard that prints, writes and draws itself."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from super_selfish.evaluation.comparison.answers import PACKED, Answered
from super_selfish.evaluation.comparison.figure import plot_leaderboard
from super_selfish.evaluation.comparison.leaderboard_table import (
    leaderboard_cells,
    leaderboard_numbers,
)
from super_selfish.evaluation.comparison.sets import columns_of
from super_selfish.evaluation.comparison.significance import (
    few_seeds,
    near_the_first,
    saved_labels,
    with_intervals,
)
from super_selfish.evaluation.comparison.standings import (
    START,
    UNTRAINED,
    Spread,
    Standing,
    spread,
    standings,
)
from super_selfish.evaluation.comparison.store import Record
from super_selfish.evaluation.comparison.study import (
    downstream_columns,
    sensitivity_of,
)
from super_selfish.evaluation.comparison.study_figure import plot_study
from super_selfish.evaluation.comparison.table_cells import (
    HEALTHY,
    PLUS_MINUS,
)
from super_selfish.evaluation.intervals import CONFIDENCE, Interval
from super_selfish.evaluation.label_curves_figure import plot_label_curves
from super_selfish.evaluation.labels_saved import (
    IN_ALL,
    PER_CLASS,
    Saved,
    Unit,
    headline,
    labels_sentences,
)
from super_selfish.evaluation.verdicts import RESERVE, verdicts
from super_selfish.markup import Rows, card
from super_selfish.training.checkpoint import write_atomically
from super_selfish.training.counting import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVES = 8
_STARTED = "; all began with the weights of the given network, which were trained before"


@dataclass(frozen=True)
class Comparison:
    """Algorithms under the same conditions; prints as a leaderboard.

    Attributes:
        runs: The record of each run, untrained networks among them.
        settings: What all runs shared.
    """

    runs: tuple[Record, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def leaderboard(self) -> list[Standing]:
        """An entry for each algorithm: the one that gained most over its twin first."""
        images = self._test_images
        return [with_intervals(entry, self._answered, images) for entry in standings(self.runs)]

    @cached_property
    def _answered(self) -> Answered:
        return Answered(self.runs)

    @property
    def _test_images(self) -> dict[str, int]:
        """How many a column's accuracies are of, where that is known."""
        sets = {"": self.settings.get("test_images")}
        sets |= {n: c["test_images"] for n, c in self.settings.get("downstream", {}).items()}
        return {
            column: number
            for name, number in sets.items()
            if number is not None
            for column in columns_of(name, self.protocols).values()
        }

    @property
    def labels_unit(self) -> Unit:
        """What few-label curves count: labels a class, or images where one has several classes."""
        return PER_CLASS if self.metric == "accuracy" else IN_ALL

    @cached_property
    def labels_saved(self) -> dict[str, dict[str, list[Saved]]]:
        """By algorithm, beside "start" and "untrained": with how many labels these do as well.

        On the labelled set of the comparison itself, from two protocols on few labels or more; see
        `Saved`.
        """
        good = (entry.algorithm for entry in self.leaderboard if not entry.has_failed)
        found = {name: saved_labels(name, self._answered) for name in good}
        return {name: saved for name, saved in found.items() if saved}

    @cached_property
    def untrained(self) -> dict[str, Spread]:
        """Accuracies of the untrained network by protocol, over the seeds."""
        return self._reference(UNTRAINED)

    @cached_property
    def start(self) -> dict[str, Spread]:
        """Accuracies of the weights that all began with; empty if these were not trained before."""
        return self._reference(START)

    def _reference(self, kind: str) -> dict[str, Spread]:
        rated = [run["accuracy"] for run in self.runs if run["algorithm"] == kind]
        return {name: spread([row[name] for row in rated]) for name in self.protocols if rated}

    @property
    def downstream(self) -> tuple[str, ...]:
        """Names of the downstream sets, if networks were rated on such."""
        return tuple(self.settings.get("downstream", ()))

    @property
    def sensitivity(self) -> dict[str, dict[str, float]]:
        """By algorithm and protocol, how much the number of images decides; in [0, 1].

        The population standard deviation over the base sizes of the mean accuracy, averaged over
        the downstream sets, or that on the one labelled set where there are none. Algorithms that
        failed, or were pretrained on one number of images only, are not among them.
        """
        own = {name: [name] for name in self.protocols}
        columns = self.columns_downstream or own
        return {
            entry.algorithm: {
                protocol: value
                for protocol, found in columns.items()
                if (value := sensitivity_of(entry, found)) is not None
            }
            for entry in self.leaderboard
            if entry.sensitivity is not None
        }

    @property
    def columns_downstream(self) -> dict[str, list[str]]:
        """The columns of all downstream sets, by protocol."""
        return downstream_columns(self.downstream, self.protocols)

    @property
    def protocols(self) -> list[str]:
        """The columns: protocols, those of downstream sets as `"set: protocol"`."""
        rated = (run["accuracy"] for run in self.runs if run["accuracy"])
        return list(next(rated, {}))

    @property
    def metric(self) -> str:
        """What the figures are: "accuracy", or of a multi-label set "mean average precision"."""
        return str(self.settings.get("metric", "accuracy"))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, fit for JSON; but for the answers image by image."""
        return {
            "settings": dict(self.settings),
            "untrained": {name: value._asdict() for name, value in self.untrained.items()},
            "start": {name: value._asdict() for name, value in self.start.items()},
            "leaderboard": [_plain(dataclasses.asdict(entry)) for entry in self.leaderboard],
            **({"sensitivity": self.sensitivity} if self.downstream else {}),
            "labels_saved": {
                algorithm: {name: [best.as_dict() for best in each] for name, each in saved.items()}
                for algorithm, saved in self.labels_saved.items()
            },
            "runs": [{n: v for n, v in run.items() if n not in PACKED} for run in self.runs],
        }

    def __str__(self) -> str:
        """The leaderboard in aligned columns, and what is to be said of single algorithms."""
        header, *rows = leaderboard_cells(self)
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in [header, *rows]
        ]
        return "\n".join([*lines, "", self.conditions, *self.notes])

    def _repr_html_(self) -> str:
        """The same as a notebook shows it."""
        header, *rows = leaderboard_cells(self)
        return card(
            "Algorithms compared",
            table=Rows(rows, header),
            sentences=self.notes,
            remarks=[self.conditions],
        )

    @property
    def conditions(self) -> str:
        """What the numbers are, and what all runs shared, in one line."""
        shared = self.settings
        text = f"{self.metric} in %, {PLUS_MINUS} standard deviation over seeds"
        if any(entry.gain_interval for entry in self.leaderboard):
            text += f"; in brackets: {100 * CONFIDENCE:.0f} % interval over test images and seeds"
        if not shared:
            return text
        epochs = shared["epochs"]
        length = shared["budget"] or plural(epochs, "epoch")
        height, width = shared["image_size"]
        return (
            f"{text}; {shared['backbone']} of {shared['parameters']:,} parameters, pretrained for "
            f"{length} a run on {self._pretraining_images} of {height}x{width}; rated "
            + (self._sets if self.downstream else _parts(shared))
            + (_STARTED if self.start else "")
            + (f"; untrained: {shared['untrained']}" if shared.get("untrained") else "")
        )

    @property
    def _pretraining_images(self) -> str:
        """On how many images: those of the columns, where there are several numbers."""
        shared = self.settings
        sizes = shared.get("base_sizes")
        if self.downstream and sizes:
            several = ", ".join(f"{size:,}" for size in sizes)
            return f"{several} images (accuracies: of the most)"
        return plural(shared["pretraining_images"], "image")

    @property
    def _sets(self) -> str:
        """By which protocols, and on which sets, networks were rated."""
        shared = self.settings
        protocols = ", ".join(shared["protocols"])
        sets = [f"{name} ({_parts(counts)})" for name, counts in shared["downstream"].items()]
        if shared["test_images"] is not None:
            sets.insert(0, f"the images themselves ({_parts(shared)})")
        text = (
            f"by {protocols}: {', '.join(sets)}; gain: over an untrained network that sees images "
        )
        text += "as the task does, averaged over the sets"
        if len(shared.get("base_sizes", ())) > 1:
            text += (
                "; sensitivity: population standard deviation over the numbers of images, averaged "
                "over the sets, in points; by chance: what the spread of the seeds alone leads to"
            )
        return text

    @property
    def notes(self) -> list[str]:
        """What is to be said of failed, doubtful and unhealthy runs, a line for each sentence.

        Before them what is to be said of all: that nobody knows whether the untrained network is
        one, that seeds are few, and which algorithms may be as good as the first.
        """
        of_all = [] if self.settings.get("knows_untrained", True) else [RESERVE]
        of_all += few_seeds(self.leaderboard) + near_the_first(self.leaderboard, self._answered)
        return of_all + [
            f"{entry.algorithm}: {text}"
            for entry in self.leaderboard
            for text in (
                *(f"failed: {error}" for error in entry.errors),
                *self._doubts(entry),
                *labels_sentences(self.labels_saved.get(entry.algorithm, {}), self.labels_unit),
                *(f"while training: {warning}" for warning in entry.warnings),
                *(verdict for verdict in entry.verdicts if not verdict.startswith(HEALTHY)),
            )
        ]

    def _doubts(self, entry: Standing) -> list[str]:
        """Where an algorithm made the network worse than before, or where nobody can tell."""
        told = []
        tested = self._test_images
        for name in ("", *self.downstream):
            columns = columns_of(name, [column for column in entry.accuracy if column in tested])
            changes = {
                of: {p: known[column] for p, column in columns.items() if column in known}
                for of, known in (
                    ("the start", entry.since_start_interval),
                    ("untrained", entry.gain_interval),
                )
            }
            images = next((tested[column] for column in columns.values()), 0)
            found = verdicts({of: row for of, row in changes.items() if row}, images)
            told += [
                f"{name}: {text}" if name else text
                for text in found
                if not text.startswith("better")
            ]
        return told

    def to_markdown(self, path: str | os.PathLike[str] | None = None) -> str:
        """The leaderboard as a Markdown table, with the notes as a list.

        Args:
            path: The file to write; None writes nothing.

        Returns:
            The text.
        """
        header, *rows = leaderboard_cells(self)
        lines = [
            _markdown_row(header),
            _markdown_row(["---", *("---:" for _ in header[1:])]),
            *map(_markdown_row, rows),
            "",
            self.conditions[0].upper() + self.conditions[1:] + ".",
        ]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return _write(path, "\n".join(lines) + "\n")

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """The leaderboard as numbers: accuracies from 0 to 1, memory in bytes.

        Args:
            path: The file to write; None writes nothing.

        Returns:
            The text. A row for each algorithm; what is not known is empty.
        """
        rows = [dict(leaderboard_numbers(self, entry)) for entry in self.leaderboard]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return _write(path, text.getvalue())

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draws the leaderboard: see `plot_leaderboard`, with downstream sets `plot_study`.

        Args:
            path: The file to write; its ending gives the format. None writes nothing.

        Returns:
            The figure.

        Raises:
            ImportError: If matplotlib is missing.
        """
        if self.downstream:
            columns = self.columns_downstream
            return plot_study(self.leaderboard, columns, path, metric=self.metric)
        return plot_leaderboard(
            self.leaderboard,
            path,
            metric=self.metric,
            test_images=self.settings.get("test_images"),
        )

    def plot_labels(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draws few-label curves of the best eight algorithms, the start and the untrained network.

        Args:
            path: The file to write; its ending gives the format. None writes nothing.

        Returns:
            The figure; an arrow shows what the first algorithm saves.

        Raises:
            ValueError: If there are not two numbers of labels: compare with
                `protocols=("few-label",)`.
            ImportError: If matplotlib is missing.
        """
        algorithms = list(self.labels_saved)[:_CURVES]
        networks = {name: self._answered.of(name) for name in algorithms}
        for kind in (START, UNTRAINED):
            before = self._answered.before(algorithms[0], kind) if algorithms else {}
            networks |= {kind: before} if before else {}
        saved = self.labels_saved[algorithms[0]] if algorithms else {}
        return plot_label_curves(
            {name: self._answered.curve(answers) for name, answers in networks.items()},
            path,
            saved={name: headline(each) for name, each in saved.items()},
            metric=self.metric,
            unit=self.labels_unit,
            notes=[f"{algorithms[0]}: {text}" for text in labels_sentences(saved, self.labels_unit)]
            if algorithms
            else (),
        )


def _parts(counts: Mapping[str, int]) -> str:
    """How many labelled images protocols learn from, and are tested on."""
    return f"by {counts['train_images']:,} labelled images, on {counts['test_images']:,}"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _write(path: str | os.PathLike[str] | None, text: str) -> str:
    if path is not None:
        content = text.encode(errors="surrogateescape")
        write_atomically(Path(os.path.expanduser(path)), lambda file: file.write(content))
    return text


def _plain(value: Any) -> Any:
    """Spreads as dicts, tuples as lists, keys as text."""
    if isinstance(value, Spread | Interval):
        return value._asdict()
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
