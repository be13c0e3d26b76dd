"""Learning rates that grow with the images of an update."""

from __future__ import annotations

from typing import Any

import pytest

from super_selfish.training.scaling import scaled_rate, scaling_of


def test_rates_of_papers_follow_from_theirs_for_256_images() -> None:
    assert scaled_rate(0.3, "linear", 4096) == pytest.approx(4.8)  # SimCLR
    assert scaled_rate(0.2, "linear", 4096) == pytest.approx(3.2)  # BYOL
    assert scaled_rate(1.2, "sqrt", 4096) == pytest.approx(0.075 * 4096**0.5)  # SimCLR
    assert scaled_rate(0.1, "linear", 64) == pytest.approx(0.025)
    assert scaled_rate(0.1, None, 4096) == 0.1


@pytest.mark.parametrize(("given", "meant"), [(None, None), ("linear", "linear"), ("Sqrt", "sqrt")])
def test_scaling_goes_by_name(given: Any, meant: str | None) -> None:
    assert scaling_of(given) == meant


@pytest.mark.parametrize(
    ("given", "kind"), [("quadratic", ValueError), (True, TypeError), (256, TypeError)]
)
def test_other_scalings_are_refused(given: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r'"linear", "sqrt" or None, got'):
        scaling_of(given)
