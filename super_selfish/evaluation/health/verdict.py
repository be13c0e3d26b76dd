"""What the measures of a backbone's features mean, in one sentence.

The limits lie between networks that were looked at (512 images of Fashion-MNIST or CIFAR-10, eval
mode). "99 %" is the number of directions that carry 99 % of the variance, of D features:

| network | feature std | 99 % of D | RankMe |
|---|---|---|---|
| rotate, MoCo, denoise, BYOL, 60 to 130 steps | 0.47 to 0.60 | 37 to 89 of 128 | 29 to 52 |
| untrained NarrowResNet, width 8 and 32 | 0.15 to 0.32 | 28 of 64 to 107 of 256 | 14 to 62 |
| untrained EfficientNet-B0, batch and layer norm | 0.51 to 0.89 | 64 to 268 of 1280 | 62 to 204 |
| untrained ResNet-18, MobileNetV3 | 0.17, 0.43 | 120 of 512, 42 of 576 | 61, 29 |
| MoCo, instance discrimination, rotate, 16 steps, from 0.30 | 0.09 to 0.11 | 34 to 49 of 256 | 8 |
| untrained ResNet-50 | 0.08 to 0.10 | 125 to 145 of 2048 | 42 to 48 |
| BYOL, no momentum, no head, 50, 150, 300 steps | 0.17, 0.10, 0.06 | 51, 50, 48 of 64 | 17, 10, 6 |
| views pulled together, 50, 150, 300 steps | 0.21, 0.13, 0.09 | 50, 48, 44 of 64 | 18, 11, 7 |
| untrained, eight convolutions without a norm | 0.0015 | 18 of 64 | 1.1 |
| a constant, and 1 % or 0.1 % noise | 0.010, 0.001 | 237 of 256 | 3, 1.2 |
| three directions | 0.92 | 3 of 256 | 3.0 |

So the two ways of collapsing are told by different measures: into a point by the feature std, which
batch norm inside the backbone slows down, into few directions by the variance. A deep network that
is untrained may be near a point as well, by its architecture alone. So what is beyond a limit is
held against the untrained twin of the same network, and counts only if training has made it so.
Features that are near one another, though not so near, are held against it as well.
"Healthy" says that the features are of use to a classifier at all, not that they are good.

What would help depends on how the network is trained, so the algorithm says it, not this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

POINT = 0.02  # feature std below which all images have the same features
NEAR = 0.1  # below which they nearly have
CLOSE = 0.2  # below which it matters whether those of the untrained twin lie further apart
FEW = 0.01  # share of the directions that could be used, below which the rank has collapsed
FEW_AT_LEAST = 3  # directions, for networks of so few features that 1 % is less
NARROW = 0.04  # below which it is low
DEAD = 0.5  # share of features

# How much less of it than an untrained twin has makes a finding.
LESS = 0.5
CLOSER = 0.75  # of the feature std, below `CLOSE`
MUCH_LESS = 0.25
DARK = 0.1  # of the range: what is brightest in an image, below which images are nearly black
ALIKE = 1 / 255  # mean deviation of a pixel over images, below which they are all the same
SETTLED = 0.05  # share of its initial statistics that a batch norm may still hold
TOO_EARLY = "too early to judge"  # how a finding begins that is none


class Measures(NamedTuple):
    """How much features vary.

    Attributes:
        directions: Principal directions that carry 99 % of the variance; 0 if nothing varies.
        feature_std: Standard deviation of normalised features, relative to 1 / sqrt(D).
        dead: Share of the features that are the same for every image, in [0, 1].
    """

    directions: int
    feature_std: float
    dead: float


class Verdict(NamedTuple):
    """A finding."""

    is_healthy: bool
    sentence: str


def judge(
    *,
    images: int,
    features: int,
    directions: int,
    feature_std: float,
    dead: float,
    untrained: Measures | None = None,
    advice: str | None = None,
) -> Verdict:
    """Judges, by the worst that it finds.

    Args:
        images: `N`.
        features: `D`.
        directions: As in `Measures`.
        feature_std: As in `Measures`.
        dead: As in `Measures`.
        untrained: Of the untrained twin of the network, on the same images; `None` judges by the
            limits alone.
        advice: What would help against a collapse, in the words of whoever trains.

    Returns:
        Whether all is well, and a sentence that begins with the finding.
    """
    found = Measures(directions, feature_std, dead)
    case = _Case(images, features, found, untrained, advice)
    worst_first = (
        _all_alike,
        _near_a_point,
        _collapsed_rank,
        _dead_features,
        _close_to_collapse,
        _closer_than_untrained,
        _low_rank,
    )
    return next((verdict for ask in worst_first if (verdict := ask(case))), _healthy(case))


@dataclass(frozen=True)
class _Case:
    """What there is to judge by, as for `judge`."""

    images: int
    features: int
    found: Measures
    twin: Measures | None
    advice: str | None

    @property
    def possible(self) -> int:
        """Directions that there can be, after centring."""
        return min(self.images - 1, self.features)

    @property
    def carried(self) -> str:
        found = self.found.directions
        return f"{found} of {self.features} directions carry 99 % of the variance"

    @property
    def beside(self) -> str:
        return "" if self.twin is None else f", in an untrained network {self.twin.directions}"

    @property
    def spread(self) -> str:
        words = f"they spread over {self.found.feature_std:.1%} of what independent ones would"
        if self.twin is not None:
            words += f", those of an untrained network over {self.twin.feature_std:.1%}"
        return words

    def has_less_directions(self) -> bool:
        """Whether training has taken directions away, as far as one can tell."""
        return self.twin is None or self.found.directions < LESS * self.twin.directions

    def has_less_spread(self, share: float) -> bool:
        """Whether features lie nearer to one another than that share of an untrained network's."""
        return self.twin is None or self.found.feature_std < share * self.twin.feature_std

    def ill(self, sentence: str) -> Verdict:
        """A finding that training is to blame for."""
        return Verdict(False, sentence if self.advice is None else f"{sentence}; {self.advice}")


_BLAMELESS = ", so the network and not its training makes it so"


def _all_alike(case: _Case) -> Verdict | None:
    found, twin = case.found, case.twin
    if found.directions > 0 and found.dead < 1.0:
        return None
    if twin is not None and (twin.directions == 0 or twin.dead == 1.0):
        return Verdict(
            False,
            f"nothing to judge: all {case.images} images have the same features, in an untrained "
            "network too, so it is not training that has made them alike",
        )
    return case.ill(
        f"collapsed: all {case.images} images have the same features; begin again from weights "
        "that are not collapsed"
    )


def _near_a_point(case: _Case) -> Verdict | None:
    if case.found.feature_std >= POINT:
        return None
    if case.has_less_spread(MUCH_LESS):
        return case.ill(f"collapsed: all images have nearly the same features, {case.spread}")
    return Verdict(
        False,
        f"alike from the beginning: all images have nearly the same features, {case.spread}"
        f"{_BLAMELESS}; norm layers would help",
    )


def _collapsed_rank(case: _Case) -> Verdict | None:
    few = max(FEW * case.possible, min(FEW_AT_LEAST, case.possible // 8))
    if case.found.directions > few:
        return None
    if case.has_less_directions():
        return case.ill(f"collapsed: {case.carried}{case.beside}")
    return Verdict(False, f"low rank from the beginning: {case.carried}{case.beside}{_BLAMELESS}")


def _dead_features(case: _Case) -> Verdict | None:
    dead, twin = case.found.dead, case.twin
    if dead < DEAD:
        return None
    sentence = f"dead features: {dead:.0%} of {case.features} are the same for every image"
    if twin is None or 1 - dead < LESS * (1 - twin.dead):
        return case.ill(sentence)
    return Verdict(False, f"{sentence}, in an untrained network {twin.dead:.0%}")


def _close_to_collapse(case: _Case) -> Verdict | None:
    if case.found.feature_std >= NEAR or not case.has_less_spread(LESS):
        return None
    return case.ill(
        "close to collapse: the features of different images are much alike, " + case.spread
    )


def _closer_than_untrained(case: _Case) -> Verdict | None:
    if case.twin is None or case.found.feature_std >= CLOSE or not case.has_less_spread(CLOSER):
        return None
    advice = case.advice
    remedy = "train on" if advice is None else f"train on, and if it stays so, {advice}"
    return Verdict(
        False,
        "closer together than untrained: the features of different images are more alike than "
        f"before training, {case.spread}; {remedy}",
    )


def _low_rank(case: _Case) -> Verdict | None:
    if case.found.directions > NARROW * case.possible or not case.has_less_directions():
        return None
    return case.ill(f"low rank: {case.carried}{case.beside}")


def _healthy(case: _Case) -> Verdict:
    bound, compared = "", ""
    if case.possible < case.features:
        bound = f" (of {case.possible} that {case.images} images can show)"
    if case.twin is not None:
        compared = f", those of an untrained network over {case.twin.feature_std:.0%}"
    return Verdict(
        True,
        f"healthy: {case.carried}{bound}, and images differ: their features spread over "
        f"{case.found.feature_std:.0%} of what independent ones would{compared}",
    )


def judge_images(brightest: float, deviation: float) -> Verdict | None:
    """Whether the images have anything to show, whatever a network makes of them.

    Args:
        brightest: Of an image the largest value, in [0, 1]; mean over the images.
        deviation: Of a pixel over the images, in units of the range; mean over the pixels.

    Returns:
        `None` if they have.
    """
    if brightest < DARK:
        return Verdict(
            False,
            f"the images are nearly black: on average the brightest value of one is "
            f"{brightest:.2g}, where white is 1, so features cannot tell them apart; scale them",
        )
    if deviation < ALIKE:
        return Verdict(
            False,
            f"the images are nearly all the same: a pixel varies over them by {deviation:.2g} of "
            "its range, so features cannot tell them apart; look at what is loaded",
        )
    return None


def too_early(batches: int, needed: int) -> Verdict:
    """What to say of a network whose batch norms have not yet seen enough to be judged."""
    return Verdict(
        False,
        f"{TOO_EARLY}: the statistics of batch norm are those of {batches} "
        f"batch{'' if batches == 1 else 'es'} so far (one or more a step) and settle after some "
        f"{needed}; train on",
    )
