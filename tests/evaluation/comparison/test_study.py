"""The table and the figure of the study of sensitivity, of runs whose numbers are known."""

from __future__ import annotations

import csv
import io
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from PIL import Image

from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.comparison.sets import column_of, columns_of
from super_selfish.evaluation.comparison.table_cells import NOTHING

SETS = {
    "pets": {"train_images": 300, "test_images": 2000},
    "cars": {"train_images": 200, "test_images": 1000},
}
SETTINGS: dict[str, Any] = {
    "budget": "1min",
    "epochs": None,
    "backbone": "AlexNet",
    "parameters": 2468,
    "image_size": [32, 48],
    "pretraining_images": 5000,
    "train_images": 100,
    "test_images": None,
    "protocols": ["knn"],
    "metric": "accuracy",
    "base_sizes": [1000, 4000],
    "downstream": SETS,
}
# By algorithm and set, accuracy at each base size of the first seed; the second has 0.02 more.
ACCURACY = {
    "rotate": {"pets": (0.60, 0.62), "cars": (0.40, 0.44)},
    "jigsaw": {"pets": (0.45, 0.55), "cars": (0.25, 0.45)},
}


def record(algorithm: str, seed: int, size: int | None, **changed: Any) -> dict[str, Any]:
    """A run as `compare` stores it."""
    place = None if size is None else SETTINGS["base_sizes"].index(size)
    of_sets = {name: 0.25 if place is None else ACCURACY[algorithm][name][place] for name in SETS}
    return {
        "key": f"{algorithm}-{seed}-{size}",
        "algorithm": algorithm,
        "seed": seed,
        "base_size": size,
        "images": size or 0,
        "twin": f"untrained-{seed}-None",
        "accuracy": {
            column_of(name, "knn"): value + 0.02 * seed * (place is not None)
            for name, value in of_sets.items()
        },
        "untrained": None,
        "health": {"verdict": "healthy: fine", "rankme": 20.0},
        "warnings": [],
        "error": None,
        "minutes": 1.0,
        **changed,
    }


def runs(seeds: int = 2, **changed: Any) -> list[dict[str, Any]]:
    made = [record("untrained", seed, None) for seed in range(seeds)]
    return made + [
        record(algorithm, seed, size, **changed)
        for algorithm in ACCURACY
        for seed in range(seeds)
        for size in SETTINGS["base_sizes"]
    ]


@pytest.fixture
def comparison() -> Comparison:
    return Comparison(tuple(runs()), SETTINGS)


def test_columns_are_of_one_set_each() -> None:
    columns = ["knn", "pets: knn", "pets: linear", "pets2: knn"]
    assert columns_of("", columns) == {"knn": "knn"}
    assert columns_of("pets", columns) == {"knn": "pets: knn", "linear": "pets: linear"}


def test_sensitivity_has_its_closed_form(comparison: Comparison) -> None:
    # Of two numbers the population's deviation is half of their distance.
    assert comparison.sensitivity["rotate"]["knn"] == pytest.approx((0.01 + 0.02) / 2)
    assert comparison.sensitivity["jigsaw"]["knn"] == pytest.approx((0.05 + 0.10) / 2)


def test_the_table_has_accuracies_by_set_and_the_sensitivity(comparison: Comparison) -> None:
    header, untrained, rotate, jigsaw = (line.split() for line in str(comparison).splitlines()[:4])
    assert header[:10] == [
        *("pretrained", "by", "seeds", "pets", "cars"),
        *("mean", "gain", "sensitivity", "by", "chance"),
    ]
    deviation = f"{100 * statistics.stdev([0.0, 0.02]):.1f}"
    assert untrained[0] == "untrained"
    assert rotate[:8] == ["rotate", "2", "63.0", "±", deviation, "45.0", "±", deviation]
    chance = 100 * math.sqrt(1 / 2 * statistics.variance([0.0, 0.02]) / 2)
    assert rotate[8:12] == ["54.0", "+29.0", "1.50", f"{chance:.2f}"]
    assert jigsaw[0] == "jigsaw"
    assert jigsaw[10] == "7.50"


def test_the_line_below_says_what_was_done(comparison: Comparison) -> None:
    words = comparison.conditions
    assert "pretrained for 1min a run on 1,000, 4,000 images (accuracies: of the most)" in words
    assert (
        "rated by knn: pets (by 300 labelled images, on 2,000), cars (by 200 labelled images, "
        "on 1,000)" in words
    )
    assert "population standard deviation over the numbers of images" in words


def test_what_few_test_images_do_not_tell_is_said_set_by_set(comparison: Comparison) -> None:
    (about_seeds,) = comparison.notes
    assert about_seeds.startswith("two seeds: they hardly tell")
    few = {name: {**counts, "test_images": 10} for name, counts in SETS.items()}
    notes = Comparison(comparison.runs, {**SETTINGS, "downstream": few}).notes
    assert any(note.startswith("rotate: cars: within noise of untrained: knn") for note in notes)


def test_one_seed_tells_nothing_of_chance() -> None:
    comparison = Comparison(tuple(runs(seeds=1)), SETTINGS)
    row = str(comparison).splitlines()[2].split()
    assert key_of(comparison)[-1] == "untrained"
    assert row[:8] == ["rotate", "1", "62.0", "44.0", "53.0", "+28.0", "1.50", NOTHING]


def test_without_base_sizes_there_is_no_sensitivity() -> None:
    made = [{**run, "base_size": None} for run in runs() if run["base_size"] in (None, 4000)]
    comparison = Comparison(tuple(made), {**SETTINGS, "base_sizes": []})
    assert comparison.sensitivity == {}
    assert "sensitivity" not in str(comparison)
    assert len(panels(comparison)) == 2


def test_several_protocols_have_columns_and_panels_each() -> None:
    made = []
    for run in runs():
        more = {column.replace("knn", "linear"): v + 0.1 for column, v in run["accuracy"].items()}
        made.append({**run, "accuracy": {**run["accuracy"], **more}})
    comparison = Comparison(tuple(made), SETTINGS)
    assert comparison.sensitivity["rotate"]["linear"] == pytest.approx(0.015)
    assert "cars: linear" in str(comparison).splitlines()[0]
    assert [axes.get_xlabel() for axes in panels(comparison)] == [
        *("pets\nknn: accuracy in %", "cars\nknn: accuracy in %"),
        "sensitivity in points\nknn",
        *("pets\nlinear: accuracy in %", "cars\nlinear: accuracy in %"),
        "sensitivity in points\nlinear",
    ]


def test_a_task_that_failed_is_a_row_that_says_so(comparison: Comparison) -> None:
    failed = record("rotate", 0, 1000, accuracy=None, error="ValueError: grey")
    failed["algorithm"] = "grey"
    comparison = Comparison((*comparison.runs, failed), SETTINGS)
    assert str(comparison).splitlines()[4].split()[:4] == ["grey", "failed", NOTHING, NOTHING]
    assert "grey: failed: ValueError: grey" in comparison.notes
    assert "grey" not in comparison.sensitivity
    ticks = [text.get_text() for text in panels(comparison)[0].get_yticklabels()]
    assert ticks == ["rotate", "jigsaw"]
    assert key_of(comparison)[-1] == "failed: grey"


def test_csv_and_markdown_have_it_too(comparison: Comparison, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(comparison.to_csv(tmp_path / "a.csv"))))
    assert float(rows[1]["knn_mean_sensitivity"]) == pytest.approx(0.075)
    assert float(rows[1]["cars: knn_sensitivity"]) == pytest.approx(0.1)
    assert float(rows[1]["knn_sensitivity_by_chance"]) > 0
    text = comparison.to_markdown()
    assert text.startswith("| pretrained by | seeds | pets | cars | mean | gain | sensitivity |")


def key_of(comparison: Comparison) -> list[str]:
    """What the key of the figure names."""
    (key,) = [axes for axes in comparison.plot().axes if not axes.axison]
    return [text.get_text() for text in key.get_legend().get_texts()]  # type: ignore[union-attr]


def panels(comparison: Comparison) -> list[Axes]:
    """All but the key."""
    return [axes for axes in comparison.plot().axes if axes.axison]


def test_the_figure_shows_what_the_table_says(comparison: Comparison, tmp_path: Path) -> None:
    pets, cars, bars = panels(comparison)
    assert [text.get_text() for text in pets.get_yticklabels()] == ["rotate", "jigsaw"]
    points = [(float(x), float(y)) for c in cars.containers for x, y in [c[0].get_xydata()[0]]]
    expected = [(41.0, -0.25), (45.0, 0.25), (26.0, 0.75), (46.0, 1.25)]
    assert points == [pytest.approx(point) for point in expected]
    dashed = [line.get_xydata() for line in cars.lines if line.get_linestyle() == "--"]
    ends = [[[25.0, row - 0.45], [25.0, row + 0.45]] for row in (0, 1)]
    assert [found.tolist() for found in dashed] == ends  # type: ignore[union-attr]
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([1.5, 7.5])  # type: ignore[attr-defined]
    assert [text.get_text() for text in bars.texts] == ["1.50", "7.50"]
    assert bars.get_xlim() == pytest.approx((0, 9.375))  # a quarter is for the number at the bar
    assert key_of(comparison) == [
        *("1,000 images", "4,000 images", "untrained", "sensitivity by chance of the seeds")
    ]
    comparison.plot(tmp_path / "study.png")
    with Image.open(tmp_path / "study.png") as picture:
        assert picture.width > picture.height


def test_nothing_that_ended_well_draws_nothing() -> None:
    failed = record("rotate", 0, 1000, accuracy=None, error="ValueError: no")
    with pytest.raises(ValueError, match="no run ended well"):
        Comparison((failed,), SETTINGS).plot()
