"""How a leaderboard writes its numbers."""

from __future__ import annotations

import pytest

from super_selfish.evaluation.comparison.figure import _is_told, _reach
from super_selfish.evaluation.comparison.significance import FEW_SEEDS, few_seeds
from super_selfish.evaluation.comparison.standings import Spread, Standing
from super_selfish.evaluation.comparison.table_cells import (
    NOTHING,
    change,
    costs,
    health_of,
    number,
    percent,
)
from super_selfish.evaluation.intervals import Interval


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


def test_a_change_is_told_with_its_interval_or_else_its_deviation() -> None:
    told = Interval(0.091, 0.072, 0.11)
    assert change(told, None) == str(told) == "+9.1 [+7.2, +11.0]"
    assert change(None, Spread(0.091, 0.019)) == "+9.1 ± 1.9"
    assert change(None, None) == NOTHING


def test_a_point_of_a_figure_reaches_as_far_as_its_deviation() -> None:
    assert _reach(Spread(0.5, 0.1)) == pytest.approx([40, 60])
    assert _reach(Spread(0.5, None)) == [50, 50]


IS_TOLD, IS_CHANCE = {"knn": Interval(0.1, 0.05, 0.15)}, {"knn": Interval(0.1, -0.05, 0.25)}


@pytest.mark.parametrize(
    ("untrained", "start", "gain", "since", "images", "is_told"),
    [
        (0.4, None, {}, {}, 400, True),
        (0.55, None, {}, {}, 400, False),
        (0.65, None, {}, {}, 400, False),
        (0.8, None, {}, {}, 400, True),
        (0.55, None, {}, {}, None, True),
        (None, None, {}, {}, 400, True),
        (0.55, None, IS_TOLD, {}, 400, True),
        (0.1, None, IS_CHANCE, {}, 400, False),
        (0.1, 0.55, IS_TOLD, IS_CHANCE, 400, False),  # beside the start, where there is one
        (0.55, 0.1, IS_CHANCE, IS_TOLD, 400, True),
        (0.1, 0.55, IS_TOLD, {}, 400, False),
    ],
)
def test_a_gain_is_told_by_its_interval_or_else_by_the_test_images(
    untrained: float | None,
    start: float | None,
    gain: dict[str, Interval],
    since: dict[str, Interval],
    images: int | None,
    is_told: bool,
) -> None:
    entry = Standing(
        "moco",
        accuracy={"knn": Spread(0.6, None)},
        untrained={} if untrained is None else {"knn": Spread(untrained, None)},
        start={} if start is None else {"knn": Spread(start, None)},
        gain_interval=gain,
        since_start_interval=since,
    )
    assert _is_told(entry, "knn", images) == is_told


def test_few_seeds_are_told_with_the_names_of_those_that_have_so_few() -> None:
    def trained(name: str, *seeds: int) -> Standing:
        return Standing(name, seeds=seeds, gain_interval=IS_TOLD if seeds else {})

    one, two, other = trained("moco", 0), trained("byol", 0, 1), trained("aet", 0, 1)
    three, failed = trained("rotate", 0, 1, 2), trained("cmc")
    assert few_seeds([one, failed]) == [FEW_SEEDS[1]]
    assert few_seeds([one, two, other]) == [f"moco: {FEW_SEEDS[1]}", f"byol, aet: {FEW_SEEDS[2]}"]
    assert few_seeds([three, one]) == [f"moco: {FEW_SEEDS[1]}"]
    assert few_seeds([three]) == few_seeds([failed]) == few_seeds([]) == []
