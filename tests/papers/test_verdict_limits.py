"""The verdict on features turns where `verdict.py` says: both sides of each limit.

No paper has these limits: they lie between networks that were looked at, in a table there.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from super_selfish.evaluation.health.verdict import Measures, judge, judge_images

HEALTHY: dict[str, Any] = {
    "images": 2048,
    "features": 1000,
    "directions": 200,
    "feature_std": 0.5,
    "dead": 0.0,
}
CLOSER = "closer together than untrained"
FEW_FEATURES = {**HEALTHY, "features": 64, "directions": 30}


def kind(found: dict[str, Any]) -> str:
    return judge(**found).sentence.partition(":")[0]


@pytest.mark.parametrize(
    ("healthy", "name", "ill", "well", "expected"),
    [
        (HEALTHY, "feature_std", math.nextafter(0.1, 0), 0.1, "close to collapse"),
        (HEALTHY, "directions", 40, 41, "low rank"),  # 4 % of 1000
        (HEALTHY, "dead", 0.5, math.nextafter(0.5, 0), "dead features"),
        (FEW_FEATURES, "directions", 3, 4, "collapsed"),  # three at least, and 4 % are 2.6
        ({**HEALTHY, "images": 101, "directions": 50}, "directions", 4, 5, "low rank"),  # of 100
    ],
)
def test_a_finding_begins_at_its_limit(
    healthy: dict[str, Any], name: str, ill: float, well: float, expected: str
) -> None:
    assert kind(healthy) == "healthy"
    assert kind({**healthy, name: ill}) == expected
    assert kind({**healthy, name: well}) == "healthy"


@pytest.mark.parametrize(
    ("name", "worse", "better", "then"),
    [
        ("feature_std", math.nextafter(0.02, 0), 0.02, "close to collapse"),
        ("directions", 10, 11, "low rank"),  # 1 % of 1000
        ("dead", 1.0, math.nextafter(1.0, 0), "dead features"),
        ("directions", 0, 1, "collapsed"),
    ],
)
def test_a_collapse_begins_at_its_limit_within_what_is_ill(
    name: str, worse: float, better: float, then: str
) -> None:
    assert kind({**HEALTHY, name: worse}) == "collapsed"
    assert kind({**HEALTHY, name: better}) == then


def test_nothing_that_varies_is_told_from_little_that_does() -> None:
    assert "have the same features" in judge(**{**HEALTHY, "directions": 0}).sentence
    assert "have the same features" not in judge(**{**HEALTHY, "directions": 1}).sentence


def test_what_few_images_can_show_is_said() -> None:
    """After centring N images span N - 1 directions."""
    assert "of 1000 that" not in judge(**{**HEALTHY, "images": 1001}).sentence
    assert "of 999 that 1000 images" in judge(**{**HEALTHY, "images": 1000}).sentence


@pytest.mark.parametrize(
    ("name", "found", "twin_at", "twin_above", "silent", "said"),
    [
        ("feature_std", 0.0625, 0.125, 0.126, CLOSER, "close to collapse"),  # a half
        ("feature_std", 0.09375, 0.125, 0.1251, "healthy", CLOSER),  # three quarters
        ("feature_std", math.nextafter(0.2, 0), 0.2, 0.9, "healthy", CLOSER),
        ("feature_std", 0.2, 0.2, 0.9, "healthy", "healthy"),  # far enough apart
        ("directions", 30, 60, 61, "healthy", "low rank"),
        (
            "feature_std",
            0.015625,
            0.0625,
            0.063,
            "alike from the beginning",
            "collapsed",
        ),  # a quarter
        ("directions", 6, 12, 13, "low rank from the beginning", "collapsed"),
    ],
)
def test_a_twin_bears_the_blame_up_to_its_share(
    name: str, found: float, twin_at: float, twin_above: float, silent: str, said: str
) -> None:
    for value, expected in ((twin_at, silent), (twin_above, said)):
        numbers: dict[str, Any] = {name: value}
        twin: Any = Measures(500, 0.5, 0.0)._replace(**numbers)
        verdict = judge(**{**HEALTHY, name: found}, untrained=twin)
        assert verdict.sentence.partition(":")[0] == expected


def test_dead_features_are_the_twin_s_where_half_of_its_living_ones_live() -> None:
    for twin_dead, is_training_s in ((0.0, True), (0.25, True), (0.5, False)):
        twin = Measures(500, 0.5, twin_dead)
        verdict = judge(**{**HEALTHY, "dead": 0.75}, untrained=twin, advice="lower lr")
        assert verdict.sentence.endswith("lower lr") == is_training_s


def test_black_and_equal_images_begin_at_their_limits() -> None:
    assert judge_images(0.1, 0.5) is None
    assert "nearly black" in str(judge_images(math.nextafter(0.1, 0), 0.5))
    assert judge_images(0.5, 1 / 255) is None
    assert "all the same" in str(judge_images(0.5, math.nextafter(1 / 255, 0)))
