from __future__ import annotations

from typing import Any

import pytest

from super_selfish.evaluation.health.verdict import Measures, judge, judge_images, too_early
from super_selfish.supervisors import SUPERVISORS

HEALTHY: dict[str, Any] = {
    "images": 2048,
    "features": 1280,
    "directions": 200,
    "feature_std": 0.5,
    "dead": 0.0,
}


@pytest.mark.parametrize(
    ("found", "begins"),
    [
        ({}, "healthy: 200 of 1280 directions carry 99 % of the variance, and images differ"),
        ({"images": 512}, "healthy: 200 of 1280 directions carry 99 % of the variance (of 511"),
        ({"directions": 0}, "collapsed: all 2048 images have the same features"),
        ({"dead": 1.0}, "collapsed: all 2048 images have the same features"),
        ({"feature_std": 0.004}, "collapsed: all images have nearly the same features, they spr"),
        ({"directions": 3}, "collapsed: 3 of 1280 directions carry 99 % of the variance; lower lr"),
        ({"directions": 3, "features": 64}, "collapsed: 3 of 64 directions carry 99 %"),
        ({"directions": 3, "dead": 0.9}, "collapsed: 3 of 1280"),
        ({"dead": 0.7}, "dead features: 70% of 1280 are the same for every image; lower lr"),
        ({"feature_std": 0.06}, "close to collapse: the features of different images are much a"),
        ({"directions": 40}, "low rank: 40 of 1280 directions carry 99 % of the variance; lower"),
        ({"directions": 3, "features": 4}, "healthy: 3 of 4"),  # so few cannot tell
        ({"directions": 2, "images": 4}, "healthy: 2 of 1280"),
    ],
)
def test_the_worst_finding_is_told_in_one_sentence(found: dict[str, Any], begins: str) -> None:
    verdict = judge(**{**HEALTHY, **found}, advice="lower lr")
    assert verdict.sentence.startswith(begins)
    assert verdict.is_healthy == begins.startswith("healthy")
    assert ". " not in verdict.sentence


UNTRAINED = Measures(directions=120, feature_std=0.08, dead=0.1)  # about an untrained ResNet-50


@pytest.mark.parametrize(
    ("found", "twin", "begins"),
    [
        ({"feature_std": 0.08}, {}, "healthy: 200 of 1280"),
        ({"feature_std": 0.061}, {}, "healthy: 200 of 1280"),
        ({"feature_std": 0.059}, {}, "closer together than untrained: "),
        ({"feature_std": 0.041}, {}, "closer together than untrained: "),
        ({"feature_std": 0.11}, {"feature_std": 0.3}, "closer together than untrained: the featu"),
        ({"feature_std": 0.19}, {"feature_std": 0.25}, "healthy: 200 of 1280"),
        ({"feature_std": 0.21}, {"feature_std": 0.9}, "healthy: 200 of 1280"),
        ({"feature_std": 0.039}, {}, "close to collapse: "),
        ({"feature_std": 0.0199}, {"feature_std": 0.079}, "alike from the beginning: "),
        ({"feature_std": 0.0199}, {"feature_std": 0.5}, "collapsed: all images have nearly"),
        ({"feature_std": 0.0019}, {"feature_std": 0.0015}, "alike from the beginning: "),
        ({"feature_std": 0.05}, {"feature_std": 0.3}, "close to collapse: "),
        ({"directions": 45}, {"directions": 80}, "healthy: 45 of 1280"),
        ({"directions": 45}, {"directions": 100}, "low rank: 45 of 1280"),
        ({"directions": 3}, {"directions": 5}, "low rank from the beginning: 3 of 1280"),
        ({"directions": 3}, {"directions": 7}, "collapsed: 3 of 1280"),
        ({"dead": 0.6}, {"dead": 0.5}, "dead features: 60% of 1280 are the same for every image, "),
        ({"dead": 0.6}, {"dead": 0.1}, "dead features: 60% of 1280 are the same for every image; "),
        ({"directions": 0}, {"directions": 0}, "nothing to judge: "),
        ({"directions": 0}, {}, "collapsed: all 2048 images"),
    ],
)
def test_what_an_untrained_network_shows_too_is_no_collapse(
    found: dict[str, Any], twin: dict[str, Any], begins: str
) -> None:
    untrained = UNTRAINED._replace(**twin)
    given = {**HEALTHY, "directions": 110, **found} if "directions" in found else HEALTHY | found
    verdict = judge(**given, untrained=untrained, advice="lower lr")
    assert verdict.sentence.startswith(begins)
    is_blamed = begins.partition(":")[0] in ("collapsed", "close to collapse", "low rank")
    assert verdict.sentence.endswith("; lower lr") == (is_blamed or begins.endswith("image; "))
    assert ("if it stays so, lower lr" in verdict.sentence) == begins.startswith("closer")
    assert verdict.is_healthy == begins.startswith("healthy")


def test_advice_is_that_of_whoever_trains() -> None:
    assert judge(**{**HEALTHY, "directions": 3}).sentence.endswith("of the variance")
    for kind in SUPERVISORS.values():
        has_batch = "batch_size" in kind.against_collapse
        assert has_batch == (kind.__name__ in WITH_NEGATIVES | WITH_BATCH_NORM)


# Batch norm keeps these from collapse, and correlations are those over a batch.
WITH_BATCH_NORM = {
    "BYOLSupervisor",
    "SimSiamSupervisor",
    "BarlowTwinsSupervisor",
    "VICRegSupervisor",
}
WITH_NEGATIVES = {
    "ContrastivePredictiveCodingSupervisor",
    "InstanceDiscriminationSupervisor",
    "PIRLSupervisor",
    "ContrastiveMultiviewCodingSupervisor",
    "MomentumContrastSupervisor",
    "NNCLRSupervisor",
    "SimCLRSupervisor",
    "SwAVSupervisor",
}


@pytest.mark.parametrize(
    ("brightest", "deviation", "words"),
    [
        (0.099, 0.2, "nearly black"),
        (0.1, 0.2, None),
        (0.9, 0.0039, "all the same"),
        (0.9, 0.004, None),
    ],
)
def test_images_without_anything_in_them_are_told(
    brightest: float, deviation: float, words: str | None
) -> None:
    verdict = judge_images(brightest, deviation)
    assert (verdict is None) == (words is None)
    assert words is None or words in str(verdict)


@pytest.mark.parametrize(
    ("found", "twin", "begins"),
    [
        ({"feature_std": 0.02}, None, "close to collapse: "),
        ({"feature_std": 0.1}, None, "healthy: "),
        ({"dead": 0.5}, None, "dead features: 50% of 1280"),
        ({"dead": 0.49}, None, "healthy: "),
        ({"features": 100, "directions": 3}, None, "collapsed: 3 of 100"),
        ({"features": 100, "directions": 4}, None, "low rank: 4 of 100"),
        ({"features": 100, "directions": 5}, None, "healthy: 5 of 100"),
        ({"features": 400, "directions": 4}, None, "collapsed: 4 of 400"),
        ({"features": 400, "directions": 5}, None, "low rank: 5 of 400"),
        ({"images": 1281}, None, "healthy: 200 of 1280 directions carry 99 % of the variance, and"),
        ({"images": 1280}, None, "healthy: 200 of 1280 directions carry 99 % of the variance (of "),
        ({"feature_std": 0.2}, {"feature_std": 0.9}, "healthy: "),
        ({"feature_std": 0.1875}, {"feature_std": 0.25}, "healthy: "),
        ({"feature_std": 0.187}, {"feature_std": 0.25}, "closer together than untrained: "),
        ({"feature_std": 0.05}, {"feature_std": 0.1}, "closer together than untrained: "),
        ({"feature_std": 0.015}, {"feature_std": 0.06}, "alike from the beginning: "),
        ({"directions": 45}, {"directions": 90}, "healthy: 45 of 1280"),
        ({"directions": 45}, {"directions": 91}, "low rank: 45 of 1280"),
        ({"dead": 0.75}, {"dead": 0.5}, "dead features: 75% of 1280 are the same for every image,"),
        ({"dead": 0.76}, {"dead": 0.5}, "dead features: 76% of 1280 are the same for every image;"),
    ],
)
def test_what_is_just_at_a_limit(
    found: dict[str, Any], twin: dict[str, Any] | None, begins: str
) -> None:
    untrained = None if twin is None else UNTRAINED._replace(**twin)
    verdict = judge(**{**HEALTHY, **found}, untrained=untrained, advice="lower lr")
    assert verdict.sentence.startswith(begins)


@pytest.mark.parametrize(("batches", "words"), [(0, "0 batches"), (1, "1 batch"), (2, "2 batches")])
def test_what_is_too_early_is_told_with_how_long_it_takes(batches: int, words: str) -> None:
    is_healthy, told = too_early(batches, 29)
    assert not is_healthy and told.startswith("too early to judge: the statistics of batch norm")
    assert f"those of {words} so far" in told and "settle after some 29; train on" in told
