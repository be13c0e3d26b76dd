"""What runs answered, test image by test image: by which their differences get intervals.

A record has it under "answers" by column, in a few bytes an image: the value of every draw of
labels, the influences of the images on it as 16-bit numbers, packed, and, of a probe on few labels,
their number. Records from before have none.

Shapes: `E` draws, or seeds where there are several; `M` test images.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from super_selfish.evaluation.comparison.sets import column_of, columns_of
from super_selfish.evaluation.comparison.standings import START, UNTRAINED, chosen_runs
from super_selfish.evaluation.evaluation import PRETRAINED, Evaluation
from super_selfish.evaluation.intervals import Interval, Measured, difference
from super_selfish.evaluation.labels_saved import Curve, Saved, labels_of, labels_saved

BySeed = Mapping[int, Mapping[str, Any]]  # packed answers by column, of one network a seed
PACKED = ("answers", "untrained_answers", "start_answers")  # where a record has them
OWN = {UNTRAINED: ("untrained_answers", "twin"), START: ("start_answers", "start")}


def pack(measured: Measured) -> dict[str, Any]:
    """Answers as plain values, fit for JSON."""
    content = measured.influences.half().numpy().astype("<f2").tobytes()
    return {
        "values": measured.values.tolist(),
        "influences": base64.b64encode(zlib.compress(content)).decode("ascii"),
    }


def unpack(packed: Mapping[str, Any]) -> Measured:
    """What `pack` was given, with influences of 11 significant bits."""
    content = zlib.decompress(base64.b64decode(packed["influences"]))
    influences = np.frombuffer(content, "<f2").astype(np.float32)
    values = torch.tensor(packed["values"], dtype=torch.float64)
    return Measured(values, torch.from_numpy(influences).view(len(values), -1))


def answers_of(rated: Evaluation, name: str) -> dict[str, dict[str, Any]]:
    """The answers of a network on one set, packed, by column.

    Args:
        rated: What was found of it.
        name: Of the set.
    """
    found = {}
    for protocol, score in rated.scores[PRETRAINED].items():
        if score.answers is not None:
            labels = labels_of(protocol, score, rated.train_images, rated.classes_of_labels)
            more = {} if labels is None else {"labels": labels}
            found[column_of(name, protocol)] = {**pack(score.answers), **more}
    return found


class Answered:
    """The answers of all runs of a comparison."""

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Looks at nothing yet; records without answers are passed over."""
        self._records = list(records)
        self._by_key = {record["key"]: record for record in self._records}

    def of(self, algorithm: str) -> BySeed:
        """Those of an algorithm, of the runs on which it stands."""
        runs = chosen_runs(self._records, algorithm)
        return {run["seed"]: run["answers"] for run in runs if run.get("answers")}

    def before(self, algorithm: str, kind: str) -> BySeed:
        """Those of the networks that its runs are compared with.

        Args:
            algorithm: Its short name.
            kind: `"untrained"` or `"start"`.
        """
        own, key = OWN[kind]
        found = {}
        for run in chosen_runs(self._records, algorithm):
            shared = self._by_key.get(run.get(key) or "", {}).get("answers")
            if answers := run.get(own) or shared:
                found[run["seed"]] = answers
        return found

    def changes(self, after: BySeed, before: BySeed) -> dict[str, Interval]:
        """Differences by column, of the seeds of which both are known."""
        pairs = self._pairs(after, before)
        return {column: difference(*pair) for column, pair in pairs.items()}

    def saved(self, after: BySeed, before: BySeed) -> list[Saved]:
        """The labels that one saves beside the other, on the set of the comparison itself."""
        pairs = self._pairs(after, before)
        own = set(columns_of("", pairs).values())
        first, second = ({c: p[n] for c, p in pairs.items() if c in own} for n in (0, 1))
        numbers = next(iter(after.values()), {})
        return labels_saved(_curve(first, numbers), _curve(second, numbers))

    def curve(self, answers: BySeed) -> Curve:
        """The few-label curve, on the set of the comparison itself."""
        columns = columns_of("", next(iter(answers.values()), {})).values()
        found = {
            column: _over_seeds([row[column] for row in answers.values()]) for column in columns
        }
        return _curve(found, next(iter(answers.values()), {}))

    def _pairs(self, after: BySeed, before: BySeed) -> dict[str, tuple[Measured, Measured]]:
        """Answers of both by column, where all common seeds have them."""
        seeds = [seed for seed in after if seed in before]
        rows = [network[seed] for network in (after, before) for seed in seeds]
        found = {}
        for column in rows[0] if rows else ():
            if all(column in row for row in rows):
                first, second = (
                    _over_seeds([network[seed][column] for seed in seeds])
                    for network in (after, before)
                )
                if first.influences.shape == second.influences.shape:
                    found[column] = (first, second)
        return found


def _over_seeds(packed: Sequence[Mapping[str, Any]]) -> Measured:
    """Of several seeds the mean of the draws of each; of one seed its draws."""
    found = [unpack(each) for each in packed]
    if len(found) == 1:
        return found[0]
    return Measured(
        torch.stack([each.values.mean() for each in found]),
        torch.stack([each.influences.mean(dim=0) for each in found]),
    )


def _curve(measured: Mapping[str, Measured], packed: Mapping[str, Any]) -> Curve:
    """Figures by the number of labels, of those columns that have one; of two the first."""
    curve: dict[float, Measured] = {}
    for column, figure in measured.items():
        if (labels := packed[column].get("labels")) is not None:
            curve.setdefault(labels, figure)
    return dict(sorted(curve.items()))
