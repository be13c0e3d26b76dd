"""Has training helped? In plain words: yes, no, or nobody can tell from so few images."""

from __future__ import annotations

from collections.abc import Mapping

from super_selfish.evaluation.intervals import Interval
from super_selfish.markup import Sentence

RESERVE = "with reserve: a difference from untrained may be that of the baseline"
_DEVIATIONS = 1.96  # of a normal distribution, which 95 % of it stay below


def verdicts(changes: Mapping[str, Mapping[str, Interval]], test_images: int) -> list[str]:
    """What training made of a network, beside what it began from and an untrained one.

    A difference, up or down, counts if 0 is not in its interval.

    Args:
        changes: By the name of what the network is compared with, such as "the start", and by
            protocol: the difference from that.
        test_images: Images that scores are of, each counted once however many seeds there are.

    Returns:
        For each name a sentence if the network is worse by some protocol, or if it is better by
        some and worse by none, and one that names the protocols whose difference may be chance.
    """
    found = []
    for name, of_protocol in changes.items():
        told = {protocol: change for protocol, change in of_protocol.items() if change.is_told}
        losses = {protocol: change for protocol, change in told.items() if change.value < 0}
        if losses:
            found.append(f"worse than {name}: {_listed(losses)} points")
        elif told:
            found.append(f"better than {name}: {_listed(told)} points")
        doubtful = {p: change for p, change in of_protocol.items() if p not in told}
        if not any(change.value for change in of_protocol.values()):
            found.append(f"the same as {name} by every protocol")
        elif doubtful:
            found.append(
                f"within noise of {name}: {_listed(doubtful)} points on {test_images:,} test images"
            )
    return found


def answer(changes: Mapping[str, Interval], name: str, test_images: int) -> Sentence:
    """Yes, no, both, or neither, in a few words.

    Args:
        changes: By protocol the difference from what the network is compared with; none if there
            was nothing.
        name: What that is, such as "an untrained network".
        test_images: Images that scores are of.
    """
    if not changes:
        return Sentence("Nobody can tell: nothing stood beside it.")
    signs = {change.value > 0 for change in changes.values() if change.is_told}
    if signs == {True}:
        return Sentence(f"Yes: it is better than {name}.", "good")
    if signs == {False}:
        return Sentence(f"No: it is worse than {name}.", "bad")
    if signs:
        return Sentence(f"It is better than {name} by some measures, and worse by others.", "bad")
    images = f"{test_images:,} test images"
    return Sentence(f"That cannot be told: {images} do not tell it from {name}.")


def least_difference(first: float, second: float, images: int) -> float:
    """Difference of two accuracies on the same images that chance alone exceeds in 5 % of cases.

    For scores of which nobody knows the answers image by image; where they are known, `difference`
    says it better. Of n images the variance of the difference of two shares p and q of right
    answers is

        (p (1 - p) + q (1 - q) - 2 cov) / n,

    with cov the covariance over images of the two networks' being right. It is left out: two
    networks mostly find the same images hard, so cov > 0, and what is given here is an upper bound,
    on the safe side.

    Seeds do not enter. Each is tested on the same images, so the mean over seeds of being right
    has, image by image, a variance of p (1 - p) at most, and at that where seeds err alike. What
    more seeds make smaller is the noise of training, which is not in this bound. A mean average
    precision is taken for such a share.

    Args:
        first: Share of right answers, in [0, 1].
        second: Of the other network.
        images: `n`.

    Returns:
        1.96 standard deviations, in [0, 1].
    """
    variance = (first * (1 - first) + second * (1 - second)) / images
    return _DEVIATIONS * variance**0.5


def bounded(after: float, before: float, images: int) -> Interval:
    """A difference with the interval of `least_difference`."""
    value, reach = after - before, least_difference(after, before, images)
    return Interval(value, value - reach, value + reach)


def _listed(changes: Mapping[str, Interval]) -> str:
    """Each protocol with its change in points."""
    return ", ".join(f"{name} {change}" for name, change in changes.items())
