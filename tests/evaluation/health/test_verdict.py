from __future__ import annotations

from typing import Any

import pytest

from super_selfish.evaluation.health.verdict import judge

HEALTHY = {"images": 2048, "features": 1280, "directions": 200, "feature_std": 0.5, "dead": 0.0}


@pytest.mark.parametrize(
    ("found", "begins"),
    [
        ({}, "healthy: 200 of 1280 directions carry 99 % of the variance, and images differ"),
        ({"images": 512}, "healthy: 200 of 1280 directions carry 99 % of the variance (of 511"),
        ({"directions": 0}, "collapsed: all 2048 images have the same features"),
        ({"dead": 1.0}, "collapsed: all 2048 images have the same features"),
        ({"feature_std": 0.004}, "collapsed: all images have nearly the same features, they spr"),
        ({"directions": 3}, "collapsed: 3 of 1280 directions carry 99 % of the variance; raise "),
        ({"directions": 3, "features": 64}, "collapsed: 3 of 64 directions carry 99 %"),
        ({"directions": 3, "dead": 0.9}, "collapsed: 3 of 1280"),
        ({"dead": 0.7}, "dead features: 70% of 1280 are the same for every image; lower"),
        ({"feature_std": 0.06}, "close to collapse: the features of different images are much a"),
        ({"directions": 40}, "low rank: 40 of 1280 directions carry 99 % of the variance; "),
        ({"directions": 3, "features": 4}, "healthy: 3 of 4"),  # so few cannot tell
        ({"directions": 2, "images": 4}, "healthy: 2 of 1280"),
    ],
)
def test_the_worst_finding_is_told_in_one_sentence(found: dict[str, Any], begins: str) -> None:
    verdict = judge(**{**HEALTHY, **found})
    assert verdict.sentence.startswith(begins)
    assert verdict.is_healthy == begins.startswith("healthy")
    assert ". " not in verdict.sentence
