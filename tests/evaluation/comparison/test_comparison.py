from __future__ import annotations

import csv
import io
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.comparison.leaderboard_table import leaderboard_cells
from super_selfish.evaluation.sheets import ACCENT, INK
from tests.cards import EVIL, Card

SETTINGS = {
    "budget": "10min",
    "epochs": None,
    "backbone": "TinyNet",
    "parameters": 1234,
    "image_size": [32, 48],
    "pretraining_images": 5000,
    "train_images": 100,
    "test_images": 50,
}


def record(algorithm: str, seed: int, knn: float | None, **changed: Any) -> dict[str, Any]:
    """A run as `compare` stores it."""
    size = changed.get("base_size")
    return {
        "key": f"{algorithm}-{seed}-{size}",
        "algorithm": algorithm,
        "seed": seed,
        "base_size": None,
        "images": 5000,
        "twin": f"untrained-{seed}-None",
        "accuracy": None if knn is None else {"knn": knn, "linear": knn + 0.1},
        "untrained": None,
        "health": {"verdict": "healthy: fine", "rankme": 20.0 + seed},
        "warnings": [],
        "error": None,
        "images_per_second": 100.0,
        "peak_memory": 250_000_000,
        "minutes": 10.0,
        "steps": 50,
        "epochs": 0.5,
        "loss": 1.5,
        **changed,
    }


@pytest.fixture
def comparison() -> Comparison:
    """Three seeds of a twin and of four algorithms: a good, a bad, a failed one, one of its own."""
    runs = [record("untrained", seed, 0.5 + 0.1 * seed) for seed in range(3)]
    runs += [record("bad", seed, 0.45 + 0.1 * seed) for seed in range(3)]
    runs += [record("good", seed, 0.6 + 0.1 * seed + 0.01 * (seed == 2)) for seed in range(3)]
    runs += [record("failed", 0, None, error="ValueError: needs colour")]
    own = {"untrained": {"knn": 0.2, "linear": 0.3}, "twin": None, "warnings": ["too quick"]}
    ill = {"health": {"verdict": "collapsed: 1 of 8", "rankme": 1.0}}
    runs += [record("own", 0, 0.22, **own, **ill)]
    return Comparison(tuple(runs), SETTINGS)


def test_leaderboard_holds_means_and_spreads_and_gains_seed_by_seed(comparison: Comparison) -> None:
    good = comparison.leaderboard[0]
    assert good.algorithm == "good"
    assert good.seeds == (0, 1, 2)
    assert good.accuracy["knn"].mean == pytest.approx((0.6 + 0.7 + 0.81) / 3)
    assert good.accuracy["knn"].deviation == pytest.approx(statistics.stdev([0.6, 0.7, 0.81]))
    assert good.untrained["knn"].deviation == pytest.approx(0.1)
    assert good.gain["knn"].mean == pytest.approx(0.31 / 3)
    assert good.gain["knn"].deviation == pytest.approx(statistics.stdev([0.1, 0.1, 0.11]))
    assert good.rank is not None
    assert good.rank.mean == 21.0


def test_who_gained_most_is_first_and_who_failed_last(comparison: Comparison) -> None:
    names = [entry.algorithm for entry in comparison.leaderboard]
    assert names == ["good", "own", "bad", "failed"]


def test_a_twin_of_its_own_is_what_an_algorithm_is_compared_with(comparison: Comparison) -> None:
    own = comparison.leaderboard[1]
    assert own.untrained["knn"].mean == 0.2
    assert own.gain["knn"].mean == pytest.approx(0.02)


def test_one_seed_has_no_spread(comparison: Comparison) -> None:
    assert comparison.leaderboard[1].accuracy["knn"].deviation is None
    assert "22.0 \N{PLUS-MINUS SIGN}" not in str(comparison)


def test_a_run_whose_twin_is_missing_has_no_gain() -> None:
    (row,) = Comparison((record("alone", 0, 0.5),)).leaderboard
    assert row.gain == {}
    assert row.accuracy["knn"].mean == 0.5


def test_prints_as_an_aligned_table(comparison: Comparison) -> None:
    text = str(comparison)
    header, untrained, good, *_ = text.splitlines()
    assert header.split() == [
        *("algorithm", "seeds", "knn", "gain", "linear", "gain", "images/s"),
        *("memory", "MB", "minutes", "steps", "health", "(rank)"),
    ]
    assert "60.0 ± 10.0" in untrained
    assert "+10.3 [\N{MINUS SIGN}8.3, +29.0]" in good
    assert "in brackets: 95 % interval over test images and seeds; TinyNet" in text
    assert "250" in good
    assert "healthy (21.0)" in good
    assert "TinyNet of 1,234 parameters, pretrained for 10min a run on 5,000 images" in text
    assert "own: while training: too quick" in text
    assert "own: collapsed: 1 of 8" in text
    assert "good: healthy" not in text


def test_seeds_make_no_more_test_images() -> None:
    runs = [record("untrained", seed, 0.5) for seed in range(4)]
    runs += [record("better", seed, 0.6) for seed in range(4)]
    runs += [record("worse", seed, 0.45) for seed in range(4)]
    found = Comparison(tuple(runs), {**SETTINGS, "test_images": 100})
    minus = "\N{MINUS SIGN}"
    assert found.notes == [
        f"better: within noise of untrained: knn +10.0 [{minus}3.7, +23.7], linear +10.0 "
        f"[{minus}3.1, +23.1] points on 100 test images",
        f"worse: within noise of untrained: knn {minus}5.0 [{minus}18.8, +8.8], linear {minus}5.0 "
        f"[{minus}18.7, +8.7] points on 100 test images",
    ]
    many = Comparison(tuple(runs), {**SETTINGS, "test_images": 2000})
    assert many.notes == [
        f"worse: worse than untrained: knn {minus}5.0 [{minus}8.1, {minus}1.9], linear {minus}5.0 "
        f"[{minus}8.1, {minus}1.9] points"
    ]


def test_gains_that_the_test_images_do_not_tell_are_grey_in_the_figure() -> None:
    pytest.importorskip("matplotlib")
    runs = (record("untrained", 0, 0.5), record("moco", 0, 0.6))
    for images, feet in (
        (100, ["grey: within noise, a difference of 0 is in the 95 % interval"]),
        (1000, []),
    ):
        figure = Comparison(runs, {**SETTINGS, "test_images": images}).plot()
        assert [text.get_text() for text in figure.texts] == feet
        gain = next(t for t in figure.axes[0].texts if t.get_text().startswith("+10.0 ["))
        assert gain.get_color() == ("#666666" if feet else "#00798c")


def test_markdown_parses_back(comparison: Comparison, tmp_path: Path) -> None:
    text = comparison.to_markdown(tmp_path / "out" / "table.md")
    assert (tmp_path / "out" / "table.md").read_text() == text
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    assert {len(row) for row in rows} == {len(rows[0])}
    assert [row[0] for row in rows[2:]] == ["untrained", "good", "own", "bad", "failed"]
    assert rows[3][2] == "70.3 ± 10.5"


def test_csv_parses_back(comparison: Comparison, tmp_path: Path) -> None:
    text = comparison.to_csv(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == text
    rows = {row["algorithm"]: row for row in csv.DictReader(io.StringIO(text))}
    good = comparison.leaderboard[0]
    assert float(rows["good"]["knn_gain"]) == good.gain["knn"].mean
    assert float(rows["good"]["linear_std"]) == good.accuracy["linear"].deviation
    assert float(rows["good"]["peak_memory"]) == 250_000_000
    assert rows["failed"]["knn"] == ""
    assert rows["failed"]["error"] == "ValueError: needs colour"


def test_the_dict_is_json(comparison: Comparison) -> None:
    found = json.loads(json.dumps(comparison.as_dict()))
    assert found["leaderboard"][0]["accuracy"]["knn"]["mean"] == pytest.approx(2.11 / 3)
    assert len(found["runs"]) == len(comparison.runs)


@pytest.fixture
def study() -> Comparison:
    """Two seeds, three numbers of pretraining images."""
    runs = [record("untrained", seed, 0.5) for seed in range(2)]
    for size, gain in ((100, 0.0), (1000, 0.1), (10000, 0.2)):
        runs += [record("moco", s, 0.5 + gain + 0.02 * s, base_size=size) for s in range(2)]
    return Comparison(tuple(runs), SETTINGS)


def test_sensitivity_is_the_population_deviation_of_the_means_over_sizes(study: Comparison) -> None:
    (row,) = study.leaderboard
    assert row.sensitivity is not None
    assert row.sensitivity["knn"] == pytest.approx(statistics.pstdev([0.51, 0.61, 0.71]))
    assert row.accuracy["knn"].mean == pytest.approx(0.71)
    assert "knn sensitivity" in str(study).splitlines()[0]
    assert "8.2" in str(study)


def test_figures_have_a_panel_for_each_protocol_and_curve(
    comparison: Comparison, study: Comparison, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    figure = comparison.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "knn: accuracy in %",
        "linear: accuracy in %",
    ]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["good", "own", "bad"]
    assert "failed failed: ValueError: needs colour" in figure.texts[0].get_text()
    written = [text.get_text() for text in figure.axes[1].texts]
    for head in ("images/s", "memory MB", "minutes", "health (rank)"):
        assert head in written
    assert written.count("250") == 3
    assert {"healthy (21.0)", "collapsed (1.0)"} <= set(written)
    colours = [(text.get_text(), text.get_color()) for text in figure.axes[1].texts]
    assert [colour for text, colour in colours if text == "250"] == [INK] * 3
    assert ("healthy (21.0)", INK) in colours and ("collapsed (1.0)", ACCENT) in colours
    of_study = study.plot().axes
    assert len(of_study) == 5  # bars, curves, and the legend of the curves
    curves = [axes for axes in of_study if axes.get_xscale() == "log"]
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in curves] == [
        ("pretraining images", "knn: accuracy in %"),
        ("pretraining images", "linear: accuracy in %"),
    ]
    for axes in curves:
        assert axes.get_xticks().tolist() == [100, 1000, 10000]
        assert axes.get_xticks(minor=True).tolist() == []


def test_no_text_of_the_figure_lies_on_another() -> None:
    pytest.importorskip("matplotlib")
    verdicts = ("healthy: fine", "close to collapse: beware", "dead features: some")
    health = [{"verdict": verdict, "rankme": 20.0} for verdict in verdicts]
    runs = [record("untrained", seed, 0.5) for seed in range(3)]
    runs += [record("many", seed, 0.6, health=health[seed]) for seed in range(3)]
    figure = Comparison(tuple(runs), SETTINGS).plot()
    figure.canvas.draw()
    boxes = [t.get_window_extent() for axes in figure.axes for t in axes.texts]
    overlaps = [
        (one, other)
        for position, one in enumerate(boxes)
        for other in boxes[position + 1 :]
        if one.overlaps(other)
    ]
    assert overlaps == []
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="no run ended well"):
        Comparison((record("failed", 0, None, error="no"),)).plot()


def test_gains_over_a_network_that_may_be_no_untrained_one_are_with_reserve(
    comparison: Comparison,
) -> None:
    reserve = "with reserve: a difference from untrained may be that of the baseline"
    assert reserve not in comparison.notes
    doubtful = Comparison(comparison.runs, {**SETTINGS, "knows_untrained": False})
    assert doubtful.notes == [reserve, *comparison.notes]
    assert f"\n{reserve}\n" in str(doubtful) and f"- {reserve}\n" in doubtful.to_markdown()


def test_weights_that_were_trained_before_have_a_line_and_columns_of_their_own() -> None:
    runs = [record("untrained", 0, 0.5), record("start", 0, 0.55, health=None)]
    runs += [record("moco", 0, 0.6, start="start-0-None"), record("failed", 0, None, error="no")]
    table = leaderboard_cells(Comparison(tuple(runs), SETTINGS))
    assert [row[0] for row in table] == ["algorithm", "untrained", "start", "moco", "failed"]
    header = table[0]
    assert header[:5] == ["algorithm", "seeds", "knn", "gain", "since start"]
    assert {len(row) for row in table} == {len(header)}
    assert table[1][1:5] == ["", "50.0", "", ""]
    assert table[2][1:5] == ["", "55.0", "", ""]
    assert table[3][1:3] == ["1", "60.0"]
    assert [cell.partition(" [")[0] for cell in table[3][3:5]] == ["+10.0", "+5.0"]
    health = header.index("health (rank)")
    assert [row[health] for row in table[1:4]] == ["healthy (20.0)", "", "healthy (20.0)"]
    without = leaderboard_cells(Comparison((runs[0], runs[2]), SETTINGS))
    assert [row[0] for row in without] == ["algorithm", "untrained", "moco"]
    assert "since start" not in without[0]
    assert "all began with the weights" in Comparison(tuple(runs), SETTINGS).conditions


def test_sensitivity_is_told_where_it_is_known(study: Comparison) -> None:
    one = record("rotate", 0, 0.5)
    table = leaderboard_cells(Comparison((*study.runs, one), SETTINGS))
    header, rows = table[0], {row[0]: row for row in table[1:]}
    knn, linear = header.index("knn sensitivity"), header.index("linear sensitivity")
    assert [rows["moco"][knn], rows["moco"][linear]] == ["8.2", "8.2"]
    assert rows["rotate"][knn] == "\N{EN DASH}"
    assert rows["untrained"][knn] == ""


def test_the_conditions_are_told_as_far_as_they_are_known() -> None:
    runs = (record("untrained", 0, 0.5), record("moco", 0, 0.6))
    bare = Comparison(runs)
    assert bare.conditions == "accuracy in %, \N{PLUS-MINUS SIGN} standard deviation over seeds"
    told = Comparison(runs, {**SETTINGS, "budget": None, "epochs": 1, "untrained": "drawn anew"})
    assert "pretrained for 1 epoch a run on 5,000 images of 32x48; rated by 100 labelled" in (
        told.conditions
    )
    assert told.conditions.endswith("on 50; untrained: drawn anew")
    assert bare.notes == []  # nothing is said of differences where nobody knows the test images


def test_a_notebook_shows_the_leaderboard_and_what_is_to_be_said(comparison: Comparison) -> None:
    shown = Card(comparison._repr_html_())
    assert shown.text.startswith("Algorithms compared algorithm seeds knn gain")
    assert shown.cells == leaderboard_cells(comparison)
    assert comparison.notes and all(note in shown.text for note in comparison.notes)
    assert shown.text.endswith(comparison.conditions)


def test_names_of_algorithms_are_text_in_a_notebook() -> None:
    runs = [record("untrained", 0, 0.5), record(EVIL, 0, None, error=f"ValueError: {EVIL}")]
    shown = Card(Comparison(tuple(runs), dict(SETTINGS))._repr_html_())
    assert [row[0] for row in shown.cells] == ["algorithm", "untrained", EVIL]
    assert f"{EVIL}: failed: ValueError: {EVIL}" in shown.text
