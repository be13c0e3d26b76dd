"""How a leaderboard writes its numbers."""

from __future__ import annotations

from super_selfish.evaluation.comparison.standings import Spread, Standing
from super_selfish.evaluation.comparison.table_cells import (
    NOTHING,
    costs,
    health_of,
    number,
    percent,
)


def test_cells_are_written_for_readers() -> None:
    assert percent(Spread(0.091, 0.019), signed=True) == "+9.1 ± 1.9"
    assert percent(Spread(-0.091, None), signed=True) == "-9.1"
    assert percent(Spread(0.5, 0.0)) == "50.0 ± 0.0"
    assert percent(None) == number(None) == NOTHING
    assert number(Spread(1234.56, 1.0)) == "1,235"
    assert number(Spread(1.256, None), digits=2) == "1.26"
    told = Standing(
        "rotate",
        images_per_second=Spread(1234.4, None),
        peak_memory=Spread(34_600_000, 2.0),
        minutes=Spread(2.326, None),
    )
    assert costs(told) == {"images/s": "1,234", "memory MB": "35", "minutes": "2.33"}
    assert set(costs(Standing("rotate")).values()) == {NOTHING}


def test_health_is_summed_up() -> None:
    verdicts = ("healthy: a", "collapsed: b", "healthy: c")
    assert health_of(Standing("rotate", rank=Spread(34.14, None), verdicts=verdicts)) == (
        "healthy/collapsed (34.1)"
    )
    assert health_of(Standing("rotate")) == NOTHING
