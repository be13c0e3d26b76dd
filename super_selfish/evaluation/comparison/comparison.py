"""The result of a comparison: a leaderboard that prints, writes and draws itself."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from super_selfish.evaluation.comparison.figure import plot_leaderboard
from super_selfish.evaluation.comparison.sets import columns_of
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
    chance_of,
    downstream_columns,
    reference_rows,
    sensitivity_of,
    study_cells,
)
from super_selfish.evaluation.comparison.study_figure import plot_study
from super_selfish.evaluation.comparison.table_cells import (
    HEALTHY,
    NOTHING,
    PLUS_MINUS,
    costs,
    health_of,
    number,
    percent,
)
from super_selfish.evaluation.verdicts import RESERVE, bounded, verdicts
from super_selfish.training.checkpoint import write_atomically
from super_selfish.training.counting import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SINCE_START = "since start"
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
        return standings(self.runs)

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
        columns = self._downstream_columns or own
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
    def _downstream_columns(self) -> dict[str, list[str]]:
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
        """Everything as plain values, fit for JSON."""
        return {
            "settings": dict(self.settings),
            "untrained": {name: value._asdict() for name, value in self.untrained.items()},
            "start": {name: value._asdict() for name, value in self.start.items()},
            "leaderboard": [_plain(dataclasses.asdict(entry)) for entry in self.leaderboard],
            **({"sensitivity": self.sensitivity} if self.downstream else {}),
            "runs": [dict(run) for run in self.runs],
        }

    def __str__(self) -> str:
        """The leaderboard in aligned columns, and what is to be said of single algorithms."""
        header, *rows = self._cells()
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in [header, *rows]
        ]
        return "\n".join([*lines, "", self.conditions, *self.notes])

    @property
    def conditions(self) -> str:
        """What the numbers are, and what all runs shared, in one line."""
        shared = self.settings
        text = f"{self.metric} in %, {PLUS_MINUS} standard deviation over seeds"
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

        Before them, where nobody knows whether the untrained network is one, the reserve for all.
        """
        of_all = [] if self.settings.get("knows_untrained", True) else [RESERVE]
        return of_all + [
            f"{entry.algorithm}: {text}"
            for entry in self.leaderboard
            for text in (
                *(f"failed: {error}" for error in entry.errors),
                *self._doubts(entry),
                *(f"while training: {warning}" for warning in entry.warnings),
                *(verdict for verdict in entry.verdicts if not verdict.startswith(HEALTHY)),
            )
        ]

    def _doubts(self, entry: Standing) -> list[str]:
        """Where an algorithm made the network worse than before, or where nobody can tell."""
        images = self.settings.get("test_images")
        if not entry.accuracy or (images is None and not self.downstream):
            return []
        after, start, before = (
            {name: value.mean for name, value in found.items()}
            for found in (entry.accuracy, entry.start, entry.untrained)
        )
        counts = {name: c["test_images"] for name, c in self.settings.get("downstream", {}).items()}
        told = []
        for name, tested in {"": images, **counts}.items():
            if tested is None:
                continue
            changes = {
                of: {
                    protocol: bounded(after[column], known[column], tested)  # whatever the seeds
                    for protocol, column in columns_of(name, after).items()
                    if column in known
                }
                for of, known in (("the start", start), ("untrained", before))
            }
            found = verdicts({of: row for of, row in changes.items() if row}, tested)
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
        header, *rows = self._cells()
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
        rows = [dict(self._numbers(entry)) for entry in self.leaderboard]
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
            columns = self._downstream_columns
            return plot_study(self.leaderboard, columns, path, metric=self.metric)
        return plot_leaderboard(
            self.leaderboard,
            path,
            metric=self.metric,
            test_images=self.settings.get("test_images"),
        )

    def _cells(self) -> list[list[str]]:
        """The table: header, untrained network, start, algorithms."""
        protocols = self.protocols
        if self.downstream:
            references = reference_rows(self.untrained, self.start)
            own = list(columns_of("", protocols))
            return study_cells(self.leaderboard, references, self._downstream_columns, own)
        sensitive = any(entry.sensitivity for entry in self.leaderboard)
        header = ["algorithm", "seeds"]
        for name in protocols:
            header += [name, "gain", *([SINCE_START] if self.start else [])]
        header += [*costs(Standing(UNTRAINED)), "steps", "health (rank)"]
        if sensitive:
            header += [f"{name} sensitivity" for name in protocols]
        rows = []
        for kind, known in ((UNTRAINED, self.untrained), (START, self.start)):
            if kind == START and not known:
                continue
            row = [kind, ""]
            for name in protocols:
                row += [percent(known.get(name)), "", *([""] if self.start else [])]
            row += ["", "", "", "", self._health_of(kind)]
            rows.append(row + [""] * (len(header) - len(row)))
        for entry in self.leaderboard:
            row = [entry.algorithm, str(len(entry.seeds)) if entry.seeds else "failed"]
            for name in protocols:
                row += [
                    percent(entry.accuracy.get(name)),
                    percent(entry.gain.get(name), signed=True),
                ]
                if self.start:
                    row += [percent(entry.since_start.get(name), signed=True)]
            row += [*costs(entry).values(), number(entry.steps), health_of(entry)]
            if sensitive:
                found = entry.sensitivity or {}
                row += [
                    f"{100 * found[name]:.1f}" if name in found else NOTHING for name in protocols
                ]
            rows.append(row)
        return [header, *rows]

    def _health_of(self, kind: str) -> str:
        """The health of the untrained networks, or of the start, to compare with."""
        found = [r["health"] for r in self.runs if r["algorithm"] == kind and r["health"]]
        if not found:
            return ""
        rank = spread([health["rankme"] for health in found])
        return health_of(
            Standing(kind, rank=rank, verdicts=tuple(health["verdict"] for health in found))
        )

    def _numbers(self, entry: Standing) -> Iterator[tuple[str, Any]]:
        """A row of the CSV, column by column."""
        yield "algorithm", entry.algorithm
        yield "seeds", len(entry.seeds)
        yield "images", entry.images
        for name in self.protocols:
            for kind, found in (
                ("", entry.accuracy),
                ("_untrained", entry.untrained),
                ("_gain", entry.gain),
                *(
                    (("_start", entry.start), ("_since_start", entry.since_start))
                    * bool(self.start)
                ),
            ):
                mean, deviation = found.get(name, (None, None))
                yield name + kind, mean
                yield name + kind + "_std", deviation
            yield name + "_sensitivity", (entry.sensitivity or {}).get(name)
        for name, columns in self._downstream_columns.items():
            yield f"{name}_mean_sensitivity", sensitivity_of(entry, columns)
            yield f"{name}_sensitivity_by_chance", chance_of(entry, columns)
        for name in ("images_per_second", "peak_memory", "minutes", "steps", "epochs", "loss"):
            known = getattr(entry, name)
            yield name, None if known is None else known.mean
        yield "rank", None if entry.rank is None else entry.rank.mean
        yield "health", " ".join(entry.verdicts)
        yield "warnings", " ".join(entry.warnings)
        yield "error", " ".join(entry.errors)


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
    if isinstance(value, Spread):
        return value._asdict()
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
