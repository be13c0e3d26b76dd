"""Which differences of a comparison are more than chance, of runs whose answers are known."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.evaluation.comparison.answers import Answered, pack, unpack
from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.comparison.significance import FEW_SEEDS
from super_selfish.evaluation.evaluate import evaluate
from super_selfish.evaluation.intervals import Measured, difference

IMAGES = 400
SETTINGS: dict[str, Any] = {
    **{"budget": "1min", "epochs": None, "backbone": "TinyNet", "parameters": 1},
    **{"image_size": [8, 8], "pretraining_images": 5, "train_images": 7, "test_images": IMAGES},
}


def answered(is_right: Tensor) -> Measured:
    """Accuracies of answers `[E, M]`."""
    counts = is_right.double()
    values = counts.mean(dim=1)
    return Measured(values, (counts - values[:, None]).float())


def right(share: float, first: int = 0, draws: int = 1) -> Measured:
    """So many right answers, from some image on: two that begin alike err on the same images."""
    is_right = torch.zeros(draws, IMAGES)
    is_right[:, first : first + round(share * IMAGES)] = 1
    return answered(is_right)


def run(algorithm: str, seed: int, of: dict[str, Measured], **changed: Any) -> dict[str, Any]:
    """A run as `compare` stores it; names such as "1-per-class" have as many labels."""
    answers = {
        column: {**pack(measured), **({"labels": float(column[0])} if "class" in column else {})}
        for column, measured in of.items()
    }
    return {
        **{"key": f"{algorithm}-{seed}", "algorithm": algorithm, "seed": seed, "error": None},
        **{"base_size": None, "images": 5, "untrained": None, "twin": f"untrained-{seed}"},
        "accuracy": {column: measured.values.mean().item() for column, measured in of.items()},
        **{"health": None, "warnings": [], "answers": answers, **changed},
    }


def compared(of: dict[str, Sequence[Measured]], **settings: Any) -> Comparison:
    """By algorithm what each seed has answered, by k-NN."""
    runs = [
        run(algorithm, seed, {"knn": measured})
        for algorithm, seeds in of.items()
        for seed, measured in enumerate(seeds)
    ]
    return Comparison(tuple(json.loads(json.dumps(runs))), {**SETTINGS, **settings})


def test_answers_go_through_json_in_a_few_bytes() -> None:
    measured = answered(torch.rand(5, 10_000, generator=torch.Generator().manual_seed(0)) < 0.7)
    packed = json.dumps(pack(measured))
    found = unpack(json.loads(packed))
    assert torch.equal(found.values, measured.values)
    assert torch.allclose(found.influences, measured.influences, rtol=5e-4)
    assert len(packed) < 5 * 10_000 / 2  # half a byte an image and draw


def test_gains_are_compared_image_by_image_and_seed_by_seed() -> None:
    seeds = [(0.5, 0.4), (0.55, 0.4), (0.5, 0.375)]
    found = compared(
        {
            "moco": [right(after) for after, _ in seeds],
            "untrained": [right(before) for _, before in seeds],
        }
    )
    (entry,) = found.leaderboard
    stacked = (
        Measured(
            torch.stack([right(pair[n]).values.mean() for pair in seeds]),
            torch.cat([right(pair[n]).influences for pair in seeds]),
        )
        for n in (0, 1)
    )
    expected = difference(*stacked)
    assert entry.gain_interval["knn"] == pytest.approx(expected, abs=1e-4)
    assert entry.gain_interval["knn"].is_told and entry.since_start_interval == {}
    assert str(expected) in str(found)
    # All err on the same images: the bound that does not know that is wider.
    without = Comparison(tuple({**r, "answers": None} for r in found.runs), SETTINGS)
    bounded = without.leaderboard[0].gain_interval["knn"]
    assert bounded.value == pytest.approx(expected.value)
    assert bounded.low < expected.low and bounded.high > expected.high


def test_one_seed_is_compared_by_its_draws() -> None:
    after, before = right(0.5, draws=5), right(0.45, draws=5)
    (entry,) = compared({"moco": [after], "untrained": [before]}).leaderboard
    assert entry.gain_interval["knn"] == pytest.approx(difference(after, before), abs=1e-4)


def test_a_twin_and_a_start_of_its_own_count_before_the_shared_ones() -> None:
    own = {"knn": pack(right(0.3))}
    record = run(  # type: ignore[misc]
        *("moco", 0, {"knn": right(0.5)}),
        **{"untrained": {"knn": 0.3}, "untrained_answers": own, "twin": None},  # type: ignore[arg-type]
        **{"start_accuracy": {"knn": 0.45}, "start_answers": {"knn": pack(right(0.45))}},  # type: ignore[arg-type]
    )
    shared = run("untrained", 0, {"knn": right(0.1)})
    found = Comparison((record, shared), SETTINGS)
    (entry,) = found.leaderboard
    assert entry.gain_interval["knn"].value == pytest.approx(0.2)
    assert entry.since_start_interval["knn"].value == pytest.approx(0.05)
    row = next(csv.DictReader(io.StringIO(found.to_csv())))
    assert float(row["knn_gain_low"]) == pytest.approx(entry.gain_interval["knn"].low)
    assert float(row["knn_gain_high"]) == pytest.approx(entry.gain_interval["knn"].high)
    plain = json.loads(json.dumps(found.as_dict()))
    assert "answers" not in plain["runs"][0] and "untrained_answers" not in plain["runs"][0]
    assert plain["leaderboard"][0]["gain_interval"]["knn"]["value"] == pytest.approx(0.2)


def test_rows_of_the_file_have_the_start_where_there_was_one() -> None:
    begun: dict[str, Any] = {
        "start_accuracy": {"knn": 0.4},
        "start_answers": {"knn": pack(right(0.4))},
    }
    trained = run("moco", 0, {"knn": right(0.5)}, **begun)
    untrained = run("untrained", 0, {"knn": right(0.1)})
    start = run("start", 0, {"knn": right(0.4)})
    known, unknown = (
        next(csv.DictReader(io.StringIO(Comparison(runs, SETTINGS).to_csv())))
        for runs in ((trained, untrained, start), (trained, untrained))
    )
    assert float(known["knn_start"]) == pytest.approx(0.4)
    assert float(known["knn_since_start"]) == pytest.approx(0.1)
    assert float(known["knn_since_start_low"]) < 0.1 < float(known["knn_since_start_high"])
    assert not any("start" in name for name in unknown)


def test_who_may_be_as_good_as_the_first_is_named() -> None:
    found = compared(
        {
            "untrained": [right(0.2)],
            "first": [right(0.5)],
            "near": [right(0.49, 7)],
            "far": [right(0.3)],
        }
    )
    about_seeds, near, *others = found.notes
    assert about_seeds == FEW_SEEDS[1]
    expected = difference(right(0.5), right(0.49, 7))
    assert near == f"within noise of first, the first: near (knn {expected})"
    assert others == []


@pytest.mark.parametrize(("number", "said"), [(1, True), (2, True), (3, False)])
def test_few_seeds_are_told(number: int, said: bool) -> None:
    found = compared({"untrained": [right(0.2)] * number, "moco": [right(0.6)] * number})
    assert found.notes == ([FEW_SEEDS[number]] if said else [])


def test_who_has_fewer_seeds_is_named() -> None:
    found = compared(
        {"untrained": [right(0.2)] * 3, "moco": [right(0.6)] * 3, "byol": [right(0.3)]}
    )
    assert found.notes[0] == f"byol: {FEW_SEEDS[1]}"


def curves(seeds: int = 1) -> Comparison:
    """Untrained needs four labels for what the algorithm does with two."""
    rows = {"moco": (0.4, 0.5, 0.6), "untrained": (0.3, 0.35, 0.5)}
    columns = ("1-per-class", "2-per-class", "4-per-class")
    runs = [
        run(algorithm, seed, {c: right(v, draws=5) for c, v in zip(columns, row, strict=True)})
        for algorithm, row in rows.items()
        for seed in range(seeds)
    ]
    return Comparison(tuple(json.loads(json.dumps(runs))), SETTINGS)


@pytest.mark.parametrize("seeds", [1, 3])
def test_labels_saved_are_said_of_every_algorithm(seeds: int) -> None:
    found = curves(seeds)
    (saved,) = found.labels_saved["moco"].values()
    assert [each.labels for each in saved] == [1.0, 2.0, 4.0]
    assert saved[1].equivalent == pytest.approx(4.0, rel=1e-3)
    notes = [note for note in found.notes if "labels saved" in note]
    assert len(notes) == 1 and notes[0].startswith("moco: labels saved, beside untrained: ")
    assert found.as_dict()["labels_saved"]["moco"]["untrained"][1]["labels"] == 2.0


def test_the_curves_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = curves().plot_labels(tmp_path / "labels.png")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["moco", "untrained"]
    assert "moco: labels saved" in figure.axes[0].get_xlabel()
    with pytest.raises(ValueError, match="needs two numbers of labels"):
        compared({"moco": [right(0.5)]}).plot_labels()


def test_answers_of_an_evaluation_are_stored_with_their_labels() -> None:
    from super_selfish.evaluation.comparison.answers import answers_of

    labels = torch.arange(12) % 3
    images = torch.zeros(12, 3, 8, 8, dtype=torch.uint8)
    images[torch.arange(12), labels] = 200
    network = torch.nn.AvgPool2d(4)
    protocols = ["knn", "2-per-class", "linear"]
    part = (images, labels)
    rated = evaluate(network, part, part, protocols=protocols, untrained=None, progress=False)
    found = answers_of(rated, "pets")
    assert list(found) == ["pets: knn", "pets: 2-per-class", "pets: linear"]
    assert [each.get("labels") for each in found.values()] == [None, 2.0, 4.0]
    assert unpack(found["pets: 2-per-class"]).influences.shape == (5, 12)
    assert Answered([]).of("moco") == {}
