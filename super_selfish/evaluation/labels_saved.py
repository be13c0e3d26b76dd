"""How many labels pretraining saves: with how many the other network does as well.

A few-label curve is the accuracy of a probe by the number of its labels. What the rated network
reaches with n labels is sought on the curve of the other one, between two numbers that were tried
by the logarithm of the labels. As more labels make no network worse, but few draws may look so, the
other curve is the closest that does not fall (isotonic regression; Barlow et al., 1972).

The interval is that of 4,000 pairs of curves that might as well have been found: all points share
the test images, as in `intervals.difference`, and both points of a number of labels the draws.

Shapes: `P` numbers of labels, `E` draws, `M` test images, `R` pairs of curves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from super_selfish.evaluation.intervals import CONFIDENCE, Measured, shared_covariance
from super_selfish.evaluation.scoring import Score

Curve = Mapping[float, Measured]  # by the number of labels
Unit = tuple[str, str]  # what one is called, and several are
PER_CLASS: Unit = ("label a class", "labels a class")
IN_ALL: Unit = ("labelled image", "labelled images")
_PAIRS = 4000


class Saved(NamedTuple):
    """That so many labels do now what others did before.

    `math.inf` stands for more than `most`, 0 for fewer than `fewest`.

    Attributes:
        labels: Of the rated network.
        equivalent: With which the other network does as well.
        low: The lower end of its 95 % interval.
        high: The upper end.
        fewest: That the other network was tried with.
        most: As `fewest`.
    """

    labels: float
    equivalent: float
    low: float
    high: float
    fewest: float
    most: float

    @property
    def is_told(self) -> bool:
        """Whether it is more than chance makes."""
        return not self.low <= self.labels <= self.high

    def as_dict(self) -> dict[str, float | None]:
        """As plain values; `None` for more than was tried."""
        values = self._asdict().items()
        return {name: None if value == math.inf else value for name, value in values}

    def sentence(self, unit: Unit = PER_CLASS) -> str:
        """Such as "10 labels a class now do what 40 did (28 to 55)".

        Args:
            unit: What labels are counted by.
        """
        subject = f"{count(self.labels)} {unit[self.labels != 1]} now "
        subject += "does" if self.labels == 1 else "do"
        if self.equivalent == math.inf:
            text = f"{subject} more than {count(self.most)} did, the most that were tried"
            if 0 < self.low < math.inf:
                text += f" (at least what {count(self.low)} did)"
        else:
            best, _, ends = self.range().partition(" (")
            text = f"{subject} what {best} did ({ends}"
        if not self.is_told:
            return f"{text}: within noise of none saved"
        return text if self.equivalent > self.labels else f"{text}: none saved"

    def range(self) -> str:
        """Such as "40 (28 to 55)"."""
        best, low, high = map(self._end, (self.equivalent, self.low, self.high))
        return f"{best} ({low} to {high})"

    def _end(self, labels: float) -> str:
        if labels == math.inf:
            return f"more than {count(self.most)}"
        return count(labels) if labels > 0 else f"fewer than {count(self.fewest)}"


def count(labels: float) -> str:
    """A number of labels, with one digit behind the point where it is small and not whole."""
    is_small = labels < 9.95 and abs(labels - round(labels)) >= 0.05
    return f"{labels:.1f}" if is_small else f"{round(labels):,}"


def labels_saved(after: Curve, before: Curve) -> list[Saved]:
    """For every number of labels of one network, how many the other one needs.

    Args:
        after: The curve of the rated network.
        before: That of the other, of the same numbers, draws and test images.

    Returns:
        By ascending number of labels; nothing where there are not two numbers.

    Raises:
        ValueError: If both are not of the same numbers of labels.
    """
    if after.keys() != before.keys():
        raise ValueError(
            f"both curves must be of the same labels, got {sorted(after)} and {sorted(before)}"
        )
    labels = sorted(after)
    if len(labels) < 2:
        return []
    pairs = [(after[n], before[n]) for n in labels]
    found = torch.tensor([[m.values.mean().item() for m in pair] for pair in pairs]).double().T
    drawn = found + _errors(pairs)  # [R, 2, P]
    best = _equivalents(found[None], labels)[0]
    ends = torch.tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], dtype=torch.float64)
    # Numbers of the list itself: between infinity and another number there is none.
    low, high = _equivalents(drawn, labels).quantile(ends, dim=0, interpolation="nearest")
    return [
        Saved(n, e, min(a, e), max(b, e), labels[0], labels[-1])
        for n, e, a, b in zip(labels, best.tolist(), low.tolist(), high.tolist(), strict=True)
    ]


def curve_of(scores: Mapping[str, Score], train_images: int, classes: int | None) -> Curve:
    """The few-label curve of a network; the linear probe on all labels is its last point.

    Args:
        scores: Of the network, by protocol. Those that drew labels are points; of several with one
            number of labels the first.
        train_images: Images of the training part, all of which have labels.
        classes: Among which labels are divided; `None` counts labelled images.

    Returns:
        By the number of labels; without points of which nobody knows the answers.
    """
    curve: dict[float, Measured] = {}
    for name, score in scores.items():
        labels = labels_of(name, score, train_images, classes)
        if labels is not None and score.answers is not None:
            curve.setdefault(labels, score.answers)
    return dict(sorted(curve.items()))


def labels_of(protocol: str, score: Score, train_images: int, classes: int | None) -> float | None:
    """How many labels a protocol had, if it is a point of a curve; as for `curve_of`."""
    labels = score.settings.get("labels") if score.draws else None
    if protocol == "linear":
        labels = float(train_images)
    return None if labels is None else labels / (classes or 1)


def headline(saved: Sequence[Saved]) -> Saved | None:
    """What to say in one sentence: what is known best, whatever it says.

    Args:
        saved: From `labels_saved`.

    Returns:
        That of the narrowest interval, by the ratio of its ends; if none has two ends, the first.
    """
    known = [found for found in saved if found.low > 0 and found.high < math.inf]
    if not known:
        return next(iter(saved), None)
    return min(known, key=lambda found: found.high / found.low)


def labels_sentences(saved: Mapping[str, Sequence[Saved]], unit: Unit = PER_CLASS) -> list[str]:
    """A sentence for each network that labels are saved beside, such as "untrained"."""
    found = ((name, headline(each)) for name, each in saved.items())
    return [
        f"labels saved, beside {'the start' if name == 'start' else name}: {best.sentence(unit)}"
        for name, best in found
        if best is not None
    ]


def _equivalents(points: Tensor, labels: Sequence[float]) -> Tensor:
    """With how many labels the second curve of each pair reaches every point of the first.

    Args:
        points: `[R, 2, P]`.
        labels: `P` numbers, ascending.

    Returns:
        `[R, P]`, with 0 below the second curve and infinity above it.
    """
    wanted, curve = points[:, 0].contiguous(), rising(points[:, 1])  # [R, P] both
    places = torch.searchsorted(curve, wanted)  # points of the curve that are below
    logs = torch.tensor(labels, dtype=torch.float64).log()
    right = places.clamp(1, len(labels) - 1)
    low, high = curve.gather(1, right - 1), curve.gather(1, right)
    share = (wanted - low) / (high - low).clamp(min=1e-12)
    found = (logs[right - 1] + share * (logs[right] - logs[right - 1])).exp()
    found[places == len(labels)] = math.inf
    is_first = wanted == curve[:, :1]
    return torch.where(places == 0, torch.where(is_first, labels[0], 0.0), found)


def rising(values: Tensor) -> Tensor:
    """The closest rows that do not fall, by squares: max over j <= i of min over k >= i of means.

    Args:
        values: `[R, P]`.

    Returns:
        `[R, P]`.
    """
    number = values.shape[1]
    sums = torch.cat([values.new_zeros(len(values), 1), values.cumsum(dim=1)], dim=1)
    columns = []
    for i in range(number):
        least = [
            torch.stack([(sums[:, k + 1] - sums[:, j]) / (k + 1 - j) for k in range(i, number)])
            for j in range(i + 1)
        ]
        columns.append(torch.stack([each.amin(dim=0) for each in least]).amax(dim=0))
    return torch.stack(columns, dim=1)


def _errors(pairs: Sequence[tuple[Measured, Measured]]) -> Tensor:
    """How far curves may be from those that were found: `[R, 2, P]`, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    number = len(pairs)
    covariance = _by_images(pairs)  # [2 P, 2 P]
    noise = torch.randn(_PAIRS, 2 * number, generator=generator, dtype=torch.float64)
    errors = (noise @ _root(covariance)).view(_PAIRS, 2, number)
    for place, pair in enumerate(pairs):
        values = torch.stack([measured.values.double() for measured in pair])  # [2, E]
        freedom = values.shape[1] - 1
        if freedom == 0:
            continue
        noise = torch.randn(_PAIRS, 2 + freedom, generator=generator, dtype=torch.float64)
        # Divided so, normal numbers are Student's: so few draws do not tell their own spread.
        student = noise[:, :2] / noise[:, 2:].square().mean(dim=1, keepdim=True).sqrt()
        errors[:, :, place] += student @ _root(values.cov() / (freedom + 1))
    return errors


def _by_images(pairs: Sequence[tuple[Measured, Measured]]) -> Tensor:
    """Covariance of all points by their common test images: first curve, then second."""
    points = [pair[curve] for curve in (0, 1) for pair in pairs]
    means = torch.stack([point.influences.double().mean(dim=0) for point in points])  # [2 P, M]
    total, images = means.shape
    covariance = means @ means.T / images**2
    for first in range(total):
        for second in range(first % len(pairs), total, len(pairs)):  # of the same draws
            rows = (points[first].influences.double(), points[second].influences.double())
            shared = shared_covariance(rows[0], rows[0] if first == second else rows[1])
            covariance[first, second] = covariance[second, first] = shared
    luck = torch.block_diag(*2 * [torch.ones(len(pairs), len(pairs), dtype=torch.float64)])
    return (images**2 * covariance + luck) / (images + 2) ** 2


def _root(covariance: Tensor) -> Tensor:
    """Symmetric root; what an estimate has below 0 is 0."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
