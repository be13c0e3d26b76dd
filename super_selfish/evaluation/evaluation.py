"""What an evaluation found: a table, a dictionary, a figure."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from super_selfish.evaluation.evaluation_figure import plot_scores
from super_selfish.evaluation.evaluation_table import (
    evaluation_cells,
    evaluation_remarks,
    evaluation_table,
)
from super_selfish.evaluation.intervals import Interval, difference
from super_selfish.evaluation.label_curves_figure import plot_label_curves
from super_selfish.evaluation.labels_saved import (
    IN_ALL,
    PER_CLASS,
    Curve,
    Saved,
    Unit,
    curve_of,
    headline,
    labels_saved,
    labels_sentences,
)
from super_selfish.evaluation.scoring import Score
from super_selfish.evaluation.verdicts import RESERVE, answer, bounded, verdicts
from super_selfish.markup import Rows, Sentence, card

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRETRAINED, START, UNTRAINED = "pretrained", "start", "untrained"
AVERAGED = "averaged"  # the pretrained one with averaged weights
DIFFERENCE, SINCE_START = "difference", "since start"  # pretrained minus untrained, and minus start
_BEFORE = {DIFFERENCE: UNTRAINED, SINCE_START: START}
_NAMES = {SINCE_START: "the start", DIFFERENCE: "untrained"}  # in sentences, in this order


@dataclass(frozen=True)
class Evaluation:
    """Scores of a backbone, of its untrained twin and of others; prints as a table.

    Attributes:
        scores: What each protocol says of each network: by network ("pretrained", "averaged" where
            there are averaged weights, the names of others, "start" where training began from
            weights, "untrained"), then by protocol.
        metric: What the figures are: "accuracy", "mean average precision" or "mean IoU".
        chance: What guessing reaches: one by the number of classes of the training part, or the
            mean average precision of one score for all images, or the mean IoU of classes at
            random.
        train_images: Images that protocols learned from.
        test_images: Images that the figures are of.
        classes: Classes of the training part.
        class_names: Of the rows of every `Score.confusion`; of a multi-label set, of the columns of
            its labels.
        commonest: Accuracy, or mean IoU, of always naming the training part's most frequent class;
            `None` for a multi-label set.
        notes: Which networks "start" and "untrained" are, under "pretrained" what is not known of
            that one, and under "test" which classes of these images no training image has, if there
            are such; a line each.
        knows_untrained: Whether "untrained" is known to begin as such networks do.
    """

    scores: dict[str, dict[str, Score]]
    metric: str
    chance: float
    train_images: int
    test_images: int
    classes: int
    class_names: tuple[str, ...] = ()
    commonest: float | None = None
    notes: dict[str, str] = field(default_factory=dict)
    knows_untrained: bool = True

    @property
    def pretrained(self) -> dict[str, float]:
        """Figures of the backbone by protocol, in [0, 1]."""
        return _values(self.scores[PRETRAINED])

    @property
    def averaged(self) -> dict[str, float] | None:
        """The same with the averaged weights of a run with `averaging=`; `None` without any."""
        return _values(self.scores[AVERAGED]) if AVERAGED in self.scores else None

    @property
    def untrained(self) -> dict[str, float] | None:
        """The same for the network that has learned nothing; `None` if there was none."""
        return _values(self.scores[UNTRAINED]) if UNTRAINED in self.scores else None

    @property
    def start(self) -> dict[str, float] | None:
        """The same for the weights that training began from; `None` if it began untrained."""
        return _values(self.scores[START]) if START in self.scores else None

    @property
    def others(self) -> dict[str, dict[str, float]]:
        """The same for every other network, by name."""
        ours = (PRETRAINED, AVERAGED, START, UNTRAINED)
        names = [name for name in self.scores if name not in ours]
        return {name: _values(self.scores[name]) for name in names}

    @property
    def difference(self) -> dict[str, float] | None:
        """What pretraining added, by protocol; `None` without an untrained network."""
        return _change(self.pretrained, self.untrained)

    @property
    def since_start(self) -> dict[str, float] | None:
        """What training added to the weights it began from, by protocol; `None` without any."""
        return _change(self.pretrained, self.start)

    @property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Of "difference" and "since start", by protocol: the difference and its 95 % interval.

        They compare the networks on the same test images and the same draws of labels, see
        `intervals.difference`. What another training would give is not in them: there was one.
        """
        return {
            change: {
                name: self._interval(score, self.scores[before][name])
                for name, score in self.scores[PRETRAINED].items()
            }
            for change, before in _BEFORE.items()
            if before in self.scores
        }

    def _interval(self, after: Score, before: Score) -> Interval:
        """Of the values of two scores; by a bound where nobody knows the answers."""
        if after.answers is None or before.answers is None:
            return bounded(after.value, before.value, self.test_images)
        return difference(after.answers, before.answers)

    @property
    def labels_unit(self) -> Unit:
        """What few-label curves count: labels a class, or images where one has several classes."""
        return PER_CLASS if self.metric == "accuracy" else IN_ALL

    @property
    def classes_of_labels(self) -> int | None:
        """Among which labels are divided; `None` where images are counted."""
        return self.classes if self.labels_unit == PER_CLASS else None

    @cached_property
    def label_curves(self) -> dict[str, Curve]:
        """By network what probes on few labels reach, by their number (see `labels_unit`).

        The linear probe on all labels is the last point. Empty where there are not two points.
        """
        number, classes = self.train_images, self.classes_of_labels
        curves = {name: curve_of(row, number, classes) for name, row in self.scores.items()}
        return {name: curve for name, curve in curves.items() if len(curve) > 1}

    @cached_property
    def labels_saved(self) -> dict[str, list[Saved]]:
        """Beside "start" and "untrained": with how many labels these do as well, see `Saved`."""
        curves = self.label_curves
        return {
            name: labels_saved(curves[PRETRAINED], curves[name])
            for name in (START, UNTRAINED)
            if name in curves and curves[name].keys() == curves.get(PRETRAINED, {}).keys()
        }

    @property
    def labels_verdict(self) -> list[str]:
        """A sentence for each of `labels_saved`."""
        return labels_sentences(self.labels_saved, self.labels_unit)

    @property
    def verdict(self) -> list[str]:
        """Whether it is better or worse than what it began from, and than untrained, or neither."""
        intervals = self.intervals
        changes = {
            name: intervals[change] for change, name in _NAMES.items() if change in intervals
        }
        found = verdicts(changes, self.test_images)
        if self.knows_untrained:
            return found
        return [*found, RESERVE]

    @property
    def answer(self) -> Sentence:
        """Whether it helped, in a few words: beside the start, if there was one, else untrained."""
        intervals = self.intervals
        is_start = SINCE_START in intervals
        name = "the weights it began with" if is_start else "an untrained network"
        changes = intervals.get(SINCE_START if is_start else DIFFERENCE, {})
        return answer(changes, name, self.test_images)

    @property
    def settings(self) -> dict[str, dict[str, dict[str, float]]]:
        """What each protocol chose for itself, by network and protocol."""
        return {
            network: {name: dict(score.settings) for name, score in row.items()}
            for network, row in self.scores.items()
        }

    @property
    def spread(self) -> dict[str, dict[str, float]]:
        """Standard deviation over draws, by network and protocol, where there are several.

        Those of "difference" and "since start" are of the differences draw by draw, since both
        networks are given the same images.
        """
        rows = {
            network: {name: score.spread for name, score in row.items() if score.spread is not None}
            for network, row in self.scores.items()
        }
        for change, network in _BEFORE.items():
            if network in rows:
                rows[change] = {
                    name: statistics.stdev(
                        after - before
                        for after, before in zip(
                            self.scores[PRETRAINED][name].draws,
                            self.scores[network][name].draws,
                            strict=True,
                        )
                    )
                    for name in rows[network]
                }
        return rows

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, fit for JSON."""
        return {
            "pretrained": self.pretrained,
            **({} if self.averaged is None else {"averaged": self.averaged}),
            "start": self.start,
            "untrained": self.untrained,
            "others": self.others,
            "difference": self.difference,
            "since_start": self.since_start,
            "intervals": {
                change: {name: list(interval[1:]) for name, interval in row.items()}
                for change, row in self.intervals.items()
            },
            "verdict": self.verdict,
            "labels_saved": {
                name: [best.as_dict() for best in saved]
                for name, saved in self.labels_saved.items()
            },
            "notes": dict(self.notes),
            "spread": self.spread,
            "metric": self.metric,
            "chance": self.chance,
            "commonest": self.commonest,
            "train_images": self.train_images,
            "test_images": self.test_images,
            "classes": self.classes,
            "class_names": list(self.class_names),
            "settings": self.settings,
            "metrics": {
                network: {name: dict(score.metrics) for name, score in row.items()}
                for network, row in self.scores.items()
            },
            "draws": {
                network: {name: list(score.draws) for name, score in row.items() if score.draws}
                for network, row in self.scores.items()
            },
            "confusion": {
                network: {
                    name: score.confusion.tolist()
                    for name, score in row.items()
                    if score.confusion is not None
                }
                for network, row in self.scores.items()
            },
        }

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draws the scores: a group of bars for each protocol, a bar for each network.

        Args:
            path: The file to write; its ending gives the format. `None` writes nothing.

        Returns:
            The figure.

        Raises:
            ImportError: If matplotlib is missing.
        """
        return plot_scores(
            self.scores, path, metric=self.metric, chance=self.chance, notes=self.verdict
        )

    def plot_labels(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draws the few-label curves, and with how many labels the other networks do as well.

        Args:
            path: The file to write; its ending gives the format. `None` writes nothing.

        Returns:
            The figure.

        Raises:
            ValueError: If there are not two numbers of labels: evaluate with
                `protocols=("few-label",)`.
            ImportError: If matplotlib is missing.
        """
        return plot_label_curves(
            self.label_curves,
            path,
            saved={name: headline(saved) for name, saved in self.labels_saved.items()},
            metric=self.metric,
            unit=self.labels_unit,
            chance=self.chance,
            notes=self.labels_verdict,
        )

    def table(self, metric: str | None = None) -> str:
        """A table in percent: a row for each network, a column for each protocol.

        Args:
            metric: One of `Score.metrics`, such as "balanced_accuracy"; `None` is the value, with
                its spread over draws.

        Raises:
            ValueError: If no protocol has that metric.
        """
        return evaluation_table(self, metric, _BEFORE)

    def __str__(self) -> str:
        """The table of the values."""
        return self.table()

    def _repr_html_(self) -> str:
        """The same as a notebook shows it, the answer first."""
        header, *rows = evaluation_cells(self, None, _BEFORE)
        return card(
            "Did it help?",
            verdict=self.answer,
            table=Rows(rows, header),
            sentences=[*self.verdict, *self.labels_verdict],
            remarks=evaluation_remarks(self, None),
        )


def _change(after: dict[str, float], before: dict[str, float] | None) -> dict[str, float] | None:
    """Differences by protocol."""
    return None if before is None else {name: after[name] - before[name] for name in after}


def _values(row: dict[str, Score]) -> dict[str, float]:
    """The value of every protocol."""
    return {name: score.value for name, score in row.items()}
