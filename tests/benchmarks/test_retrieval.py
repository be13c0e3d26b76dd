"""`benchmarks/retrieval.py`: what it measures, and what it tells of it."""

from __future__ import annotations

import torch

from tests.scripts import benchmark


def test_a_copy_finds_its_own_image_by_direction() -> None:
    with benchmark("retrieval") as module:
        features = torch.eye(4)
        assert module.found_again(features, 3 * features + 0.1) == 1
        assert module.found_again(features, features[[1, 0, 2, 3]]) == 0.5
        images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        copies = module.noisy(images, torch.Generator().manual_seed(0))
        assert copies.shape == images.shape and 0 <= copies.min() and copies.max() <= 1
        assert (copies[:, :, 1:, 1:] - images[:, :, :-1, :-1]).abs().mean() < 0.06


def test_the_untrained_network_has_its_place() -> None:
    with benchmark("retrieval") as module:
        rows = [
            {
                "algorithm": name,
                "steps": 1,
                **dict.fromkeys(module.MEASURES, value),
                "linear": value,
                "knn": -value,
            }
            for name, value in (("a", 0.1), ("b", 0.3), ("c", 0.2), ("untrained", 0.15))
        ]
        lines = module.report(rows)
    assert lines[2] == "| found by mild views | +1.00 | -1.00 | 3 of 4 |"
    assert sum(line.startswith("| untrained |") for line in lines) == 1
