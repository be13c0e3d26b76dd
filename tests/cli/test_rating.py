"""`evaluate`, `health` and `compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from super_selfish import evaluation
from super_selfish.cli.labelled import labelled_parts, masked_parts, seed_of
from super_selfish.pretraining.subjects import Subject
from tests.cli.conftest import Types


def test_a_run_is_rated_on_a_fifth_of_the_images(
    run: Path, photos: Path, types: Types, tmp_path: Path
) -> None:
    written = tmp_path / "rated.json"
    said = types("evaluate", run, photos, "--protocols", "knn", "--out", written)
    assert said.code == 0, said.err
    assert "48 training and 12 test images, 2 classes" in said.out
    found = json.loads(written.read_text())
    assert found["test_images"] == 12
    assert set(found["pretrained"]) == set(found["untrained"]) == {"knn"}


def test_other_runs_are_rows_and_test_images_may_be_named(
    run: Path, photos: Path, types: Types
) -> None:
    others = ("--others", f"same={run / 'run.pt'}", "--test", photos)
    said = types("evaluate", run / "run", photos, "--protocols", "knn", "--json", *others)
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["test_images"] == 60
    assert found["others"]["same"] == found["pretrained"]


def test_the_images_that_a_run_has_not_seen_are_the_test(photos: Path) -> None:
    kept = Subject(str(photos)).rated((32, 32), 60, None, seed=3)
    assert not isinstance(kept, str)
    train, test = labelled_parts(str(photos), None, seed=3)
    assert torch.equal(test[1], kept.test[1]) and len(train[1]) == 48
    assert [test[0].name(i) for i in range(12)] == [kept.test[0].name(i) for i in range(12)]


def test_the_seed_of_a_run_is_that_of_pretrain(run: Path, tmp_path: Path) -> None:
    assert seed_of(str(run / "run")) == 0
    assert seed_of(str(tmp_path / "run")) is None  # which is no run of pretrain
    (tmp_path / "choices.json").write_text("{}")
    assert seed_of(str(tmp_path / "other")) is None
    with pytest.raises(ValueError, match="no record"):
        seed_of(str(tmp_path / "run"))


def test_images_without_labels_cannot_rate(run: Path, plain: Path, types: Types) -> None:
    said = types("evaluate", run, plain)
    assert said.code == 1 and "cannot be rated by: no image has a label" in said.err


def test_masks_are_read_for_segmentation(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="images/"):
        masked_parts(str(tmp_path), None)


def test_health_is_told_and_read_by_machines(
    run: Path, plain: Path, types: Types, tmp_path: Path
) -> None:
    written = tmp_path / "health.json"
    said = types("health", run, plain, "--num-images", 20, "--out", written)
    assert said.code == 0, said.err
    assert "RankMe" in said.out and "20 images" in said.out
    assert json.loads(written.read_text())["images"] == 20
    said = types("health", run, plain, "--out", "health.csv")
    assert (said.code, said.err) == (1, "super-selfish: health.csv must end in .json\n")


def test_compare_hands_on_what_is_said(
    photos: Path, types: Types, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def compare(algorithms: Any, train: Any, test: Any, **keywords: Any) -> str:
        given.update(keywords, algorithms=algorithms, number=(len(train[1]), len(test[1])))
        return "compared"

    monkeypatch.setattr(evaluation, "compare", compare)
    line = ("compare", photos, "--algorithms", "moco", "supervised", "--budget", "2min")
    said = types(*line, "--moco.queue-size", 64, "--supervise.lr", "1e-3", "--seeds", 0, 1)
    assert (said.code, said.out) == (0, "compared\n")
    assert given == {
        "algorithms": ["moco", "supervised"],
        "number": (48, 12),
        "budget": "2min",
        "options": {"moco": {"queue_size": 64}},
        "supervise": {"lr": 1e-3},
        "seeds": [0, 1],
    }
    assert types("compare", photos, "--algorithms", "mocco").code == 2


def test_compare_rates_on_further_sets(
    photos: Path, plain: Path, types: Types, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def compare(algorithms: Any, train: Any, test: Any, **keywords: Any) -> str:
        given.update(keywords, train=train, test=test)
        return "compared"

    monkeypatch.setattr(evaluation, "compare", compare)
    line = ("compare", plain, "--algorithms", "moco", "--epochs", 1)
    more = ("--downstream", f"mine={photos}", f"yours={photos}")
    said = types(*line, *more, "--downstream-test", f"yours={photos}", "--pretrain", plain)
    assert (said.code, said.out, said.err) == (0, "compared\n", "")
    assert (given["train"], given["test"], given["pretrain"]) == (str(plain), None, str(plain))
    assert [len(part[1]) for part in given["downstream"]["mine"]] == [48, 12]
    assert given["downstream"]["yours"] == (str(photos), str(photos))
    said = types("compare", photos, *line[2:], "--test", photos, "--downstream", f"mine={photos}")
    assert said.code == 0 and (given["train"], given["test"]) == (str(photos), str(photos))
    said = types(*line, "--downstream", f"mine={plain}")
    assert said.code == 1 and f"{plain} cannot be rated by: no image has a label" in said.err
    assert said.err.endswith("--downstream-test mine=... names images to test on\n")
    said = types(*line, *more, "--downstream-test", f"your={photos}")
    assert said.code == 2 and "--downstream-test your=... has no --downstream your=" in said.err
    assert types(*line, "--downstream", "mine=nowhere").code == 1
