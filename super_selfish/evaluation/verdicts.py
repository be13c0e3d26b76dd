"""Has training helped? In plain words, where the answer is no."""

from __future__ import annotations

from collections.abc import Mapping

MINUS = "\N{MINUS SIGN}"
_DEVIATIONS = 1.96  # of a normal distribution, which 95 % of it stay below


def verdicts(
    after: Mapping[str, float],
    start: Mapping[str, float] | None,
    untrained: Mapping[str, float] | None,
    test_images: int,
) -> list[str]:
    """What training made of a network, beside what it began from and an untrained one.

    Args:
        after: Scores of the trained network by protocol, in [0, 1].
        start: Those of the weights that training began from, if it began from any.
        untrained: Those of an untrained network, if there is one.
        test_images: Images that the scores are of.

    Returns:
        A sentence for each that the network is worse than, and one if it is better than its start
        by every protocol, or the same.
    """
    found = []
    if start is not None:
        worse = _worse("worse than the start", after, start, test_images)
        found.append(worse or _not_worse(after, start))
    if untrained is not None:
        found += filter(None, [_worse("worse than untrained", after, untrained, test_images)])
    return found


def _worse(
    finding: str, after: Mapping[str, float], before: Mapping[str, float], test_images: int
) -> str | None:
    """By which protocols, and by how many points; None if by none."""
    losses = {name: before[name] - after[name] for name in after if after[name] < before[name]}
    if not losses:
        return None
    points = ", ".join(f"{name} {MINUS}{100 * loss:.1f}" for name, loss in losses.items())
    margins = {name: _margin(after[name], before[name], test_images) for name in losses}
    if any(loss > margins[name] for name, loss in losses.items()):
        return f"{finding}: {points} points"
    return (
        f"{finding}: {points} points, but {test_images} test images tell "
        f"no differences below {100 * max(margins.values()):.1f}"
    )


def _not_worse(after: Mapping[str, float], start: Mapping[str, float]) -> str:
    gains = {name: after[name] - start[name] for name in after}
    if not any(gains.values()):
        return "the same as the start by every protocol"
    points = ", ".join(f"{name} +{100 * gain:.1f}" for name, gain in gains.items())
    return f"not worse than the start: {points} points"


def _margin(first: float, second: float, images: int) -> float:
    """Difference of two shares of so many images that chance alone exceeds in 5 % of cases."""
    variance = (first * (1 - first) + second * (1 - second)) / images
    return _DEVIATIONS * variance**0.5
