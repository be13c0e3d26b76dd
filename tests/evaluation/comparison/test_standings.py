"""From single runs to where an algorithm stands, by numbers that one can add up."""

from __future__ import annotations

import math
from typing import Any

import pytest

from super_selfish.evaluation.comparison.standings import Standing, spread, standings


def run(algorithm: str, seed: int, knn: float, **changed: Any) -> dict[str, Any]:
    return {
        **{"key": f"{algorithm}-{seed}", "algorithm": algorithm, "seed": seed, "error": None},
        **{"base_size": None, "images": 100, "accuracy": {"knn": knn, "probe": knn + 0.1}},
        **{"untrained": None, "twin": f"untrained-{seed}", "images_per_second": 50.0 + seed},
        **{"peak_memory": 2_000_000, "minutes": 1.5, "steps": 10, "epochs": 2.0, "loss": 0.5},
        **{"health": {"rankme": 4.0 + seed, "verdict": "healthy: fine"}, "warnings": []},
        **changed,
    }


def twin(name: str, seed: int, knn: float) -> dict[str, Any]:
    return run(name, seed, knn, twin=None)


def test_means_and_deviations_are_over_seeds() -> None:
    records = [
        run("rotate", 1, 0.5, warnings=["slow", "warm"]),
        run("rotate", 0, 0.3, warnings=["slow"]),
        twin("untrained", 0, 0.2),
        twin("untrained", 1, 0.1),
    ]
    (found,) = standings(records)
    assert found.algorithm == "rotate" and found.seeds == (0, 1) and not found.has_failed
    assert found.images == 100
    assert found.accuracy["knn"] == pytest.approx((0.4, math.sqrt(0.02)))
    assert found.untrained["probe"] == pytest.approx((0.25, math.sqrt(0.005)))
    assert found.gain["knn"] == pytest.approx((0.25, math.sqrt(0.045)))
    assert found.mean_gain == pytest.approx(0.25)
    assert found.start == found.since_start == {}
    assert found.images_per_second == pytest.approx((50.5, math.sqrt(0.5)))
    exact: list[Any] = [found.peak_memory, found.minutes, found.steps, found.epochs, found.loss]
    assert exact == [(2_000_000, 0), (1.5, 0), (10, 0), (2.0, 0), (0.5, 0)]
    assert found.rank == pytest.approx((4.5, math.sqrt(0.5)))
    assert found.verdicts == ("healthy: fine",) and found.findings == ("healthy",)
    assert found.warnings == ("slow", "warm")
    assert found.by_size == {} and found.sensitivity is None and found.errors == ()


def test_who_gained_most_comes_first_and_who_failed_last() -> None:
    failed = [run("byol", seed, 0.0, error="no room") for seed in (0, 1)]
    records = [
        *failed,
        run("rotate", 0, 0.3),
        run("moco", 0, 0.6),
        run("jigsaw", 0, 0.9, twin="lost"),
        twin("untrained", 0, 0.2),
    ]
    found = standings(records)
    assert [each.algorithm for each in found] == ["moco", "rotate", "jigsaw", "byol"]
    assert found[2].mean_gain == -math.inf and found[2].untrained == {}
    assert found[3] == Standing("byol", errors=("no room",)) and found[3].has_failed
    (some,) = standings([failed[0], run("byol", 1, 0.4)])
    assert some.seeds == (1,) and some.errors == ("no room",)
    assert some.accuracy["knn"] == (0.4, None)


def test_a_run_may_bring_a_twin_of_its_own_and_a_start() -> None:
    records = [
        run("rotate", 0, 0.5, untrained={"knn": 0.4, "probe": 0.2}, start="start-0"),
        run("moco", 0, 0.5, start_accuracy={"knn": 0.6, "probe": 0.3}, start=None),
        twin("untrained", 0, 0.2),
        twin("start", 0, 0.35),
    ]
    rotate, moco = sorted(standings(records), key=lambda each: each.algorithm != "rotate")
    assert rotate.gain["knn"].mean == pytest.approx(0.1)
    assert rotate.start["knn"].mean == pytest.approx(0.35)
    assert rotate.since_start["probe"].mean == pytest.approx(0.15)
    assert rotate.mean_gain == pytest.approx((0.1 + 0.4) / 2)
    assert moco.since_start["knn"].mean == pytest.approx(-0.1)


def test_the_most_images_count_and_the_sizes_tell_how_sensitive_it_is() -> None:
    records = [
        run("rotate", seed, knn, base_size=size, images=size)
        for size, seed, knn in ((20, 0, 0.2), (20, 1, 0.4), (60, 0, 0.7), (40, 0, 0.5))
    ]
    (found,) = standings(records)
    assert list(found.by_size) == [20, 40, 60]
    assert found.by_size[20]["knn"].mean == pytest.approx(0.3)
    assert found.images == 60 and found.accuracy["knn"] == (0.7, None)
    assert found.sensitivity is not None
    assert found.sensitivity["knn"] == pytest.approx(math.sqrt(0.08 / 3))  # of 0.3, 0.5, 0.7
    (one,) = standings(records[:2])
    assert one.sensitivity is None


def test_what_was_not_measured_is_not_made_up() -> None:
    (found,) = standings([run("rotate", 0, 0.3, peak_memory=None, health=None)])
    assert found.peak_memory is None and found.rank is None and found.verdicts == ()
    (half,) = standings([run("rotate", 0, 0.3, health=None), run("rotate", 1, 0.3)])
    assert half.rank == (5.0, None)


def test_a_single_number_has_no_deviation() -> None:
    assert spread([0.5]) == (0.5, None)
    assert spread([1.0, 3.0]) == pytest.approx((2.0, math.sqrt(2)))
