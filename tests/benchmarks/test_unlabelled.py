"""`benchmarks/unlabelled.py`: what a measure that knows nothing would choose."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scripts import benchmark

NAMES = ("rankme", "alignment", "uniformity", "directions", "feature_std", "top_variance")


def run(algorithm: str, rank: float, accuracy: float) -> dict[str, Any]:
    health = {**dict.fromkeys(NAMES, 1.0), "rankme": rank, "alignment": rank}
    return {
        "algorithm": algorithm,
        "health": health,
        "accuracy": {"linear": accuracy, "knn": 1 - accuracy},
    }


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_measures_are_ranked_beside_accuracy_and_the_untrained_network_among_them() -> None:
    runs = [run("a", 10, 0.6), run("a", 14, 0.8), run("b", 30, 0.9), run("c", 20, 0.8)]
    with benchmark("unlabelled") as module:
        found = module.correlations(runs)  # over means of seeds: 12, 30, 20 and 0.7, 0.9, 0.8
        assert found["RankMe", "linear"] == pytest.approx(1)
        assert found["RankMe", "knn"] == found["- alignment", "linear"] == pytest.approx(-1)
        placed = module.places(runs, [run("untrained", 24, 0), run("untrained", 26, 0)])
    assert (placed["RankMe"], placed["- alignment"]) == (2, 3)
