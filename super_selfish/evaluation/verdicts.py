"""Has training helped? In plain words, where the answer is no, or where nobody can tell."""

from __future__ import annotations

from collections.abc import Mapping

RESERVE = "with reserve: a difference from untrained may be that of the baseline"
MINUS = "\N{MINUS SIGN}"
_DEVIATIONS = 1.96  # of a normal distribution, which 95 % of it stay below


def verdicts(
    after: Mapping[str, float],
    start: Mapping[str, float] | None,
    untrained: Mapping[str, float] | None,
    test_images: int,
) -> list[str]:
    """What training made of a network, beside what it began from and an untrained one.

    A difference, up or down, counts if it exceeds `least_difference`.

    Args:
        after: Scores of the trained network by protocol, in [0, 1]; means, if it was trained with
            several seeds.
        start: Those of the weights that training began from, if it began from any.
        untrained: Those of an untrained network, if there is one.
        test_images: Images that the scores are of, each counted once however many seeds there are.

    Returns:
        A sentence for each that the network is worse than, one if it is better than its start by a
        protocol and worse by none, and one that names the protocols whose difference may be chance.
    """
    found = []
    for name, before in (("the start", start), ("untrained", untrained)):
        if before is None:
            continue
        changes = {protocol: after[protocol] - before[protocol] for protocol in after}
        least = {p: least_difference(after[p], before[p], test_images) for p in after}
        told = {p: change for p, change in changes.items() if abs(change) > least[p]}
        losses = {protocol: change for protocol, change in told.items() if change < 0}
        if losses:
            found.append(f"worse than {name}: {_points(losses)} points")
        elif told and before is start:
            found.append(f"better than {name}: {_points(told)} points")
        if not any(changes.values()):
            found.append(f"the same as {name} by every protocol")
        elif len(told) < len(changes):
            doubtful = [protocol for protocol in changes if protocol not in told]
            words = [" points, where it takes", *[","] * (len(doubtful) - 1)]
            named = ", ".join(
                f"{protocol} ({_signed(changes[protocol])}{word} {100 * least[protocol]:.1f})"
                for protocol, word in zip(doubtful, words, strict=True)
            )
            found.append(f"{test_images:,} test images do not tell it from {name} by {named}")
    return found


def least_difference(first: float, second: float, images: int) -> float:
    """Difference of two accuracies on the same images that chance alone exceeds in 5 % of cases.

    The images are a sample; on another one both accuracies would be others. Of n images the
    variance of the difference of two shares p and q of right answers is

        (p (1 - p) + q (1 - q) - 2 cov) / n,

    with cov the covariance over images of the two networks' being right. It is left out: two
    networks mostly find the same images hard, so cov > 0, and what is given here is an upper bound,
    on the safe side. (With the answers image by image it would be McNemar's test, 1947.)

    Seeds do not enter. Each is tested on the same images, so the mean over seeds of being right
    has, image by image, a variance of p (1 - p) at most, and at that where seeds err alike. What
    more seeds make smaller is the noise of training, which is shown by the standard deviation
    beside each mean and is not in this bound. A mean average precision is taken for such a share.

    Args:
        first: Share of right answers, in [0, 1].
        second: Of the other network.
        images: `n`.

    Returns:
        1.96 standard deviations, in [0, 1].
    """
    variance = (first * (1 - first) + second * (1 - second)) / images
    return _DEVIATIONS * variance**0.5


def _points(changes: Mapping[str, float]) -> str:
    """Each protocol with its change in points."""
    return ", ".join(f"{name} {_signed(change)}" for name, change in changes.items())


def _signed(change: float) -> str:
    return f"{100 * change:+.1f}".replace("-", MINUS)
