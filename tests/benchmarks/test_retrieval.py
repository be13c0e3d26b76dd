"""`benchmarks/retrieval.py`: what it measures, and what it tells of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.scripts import benchmark


def test_a_copy_by_noise_is_the_image_moved_by_a_pixel() -> None:
    with benchmark("retrieval") as module:
        images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        copies = module.noisy(images, torch.Generator().manual_seed(0))
    assert copies.shape == images.shape and 0 <= copies.min() and copies.max() <= 1
    assert (copies[:, :, 1:, 1:] - images[:, :, :-1, :-1]).abs().mean() < 0.06


def rows_of(module: Any) -> list[dict[str, Any]]:
    """Two seeds of three algorithms and an untrained network; the measures agree with the probe."""
    named = (("a", 0.1), ("simclr", 0.3), ("c", 0.2), ("untrained", 0.15))
    return [
        {
            "algorithm": name,
            "seed": seed,
            "steps": 1,
            **dict.fromkeys(module.MEASURES, value + 0.01 * seed),
            "linear": value,
            "knn": -3 * value,
        }
        for name, value in named
        for seed in (0, 1)
    ]


def test_the_untrained_network_has_its_place_and_a_choice_its_price() -> None:
    with benchmark("retrieval") as module:
        lines = module.report(rows_of(module), ["a", "simclr", "c"])
    # simclr is chosen, and is the worst by the mean of both: -30 points, of -10, -30, -20.
    ends = "3 of 4 | -10.0 | +0.0 | -20.0 |"
    assert lines[2] == f"| found by mild views | +1.00 | -1.00 | {ends}"
    assert lines[-1] == "| simclr | 2 | 1 | 30.5 | 30.5 | 0.3 | 30.0 | -90.0 |"


def test_a_choice_is_made_seed_by_seed() -> None:
    with benchmark("retrieval") as module:
        rows = rows_of(module)
        for row in rows:
            if row["seed"] == 1 and row["algorithm"] == "a":
                row["RankMe"] = 9.0
            if row["algorithm"] == "c" and row["seed"] == 1:
                row["seed"] = 2  # of a seed without all candidates nothing is told
        gained = module.chosen(rows, ["a", "simclr"], "RankMe")
    # Seed 0 chooses simclr (-30), seed 1 a (-10): over the mean -10 and +10, and so on.
    assert gained == pytest.approx([0.0, 10.0, -10.0])
