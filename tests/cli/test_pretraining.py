"""`pretrain` and `choose`, by steps of a said length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from super_selfish.pretraining import finishing, planning
from super_selfish.pretraining.timing import Pace
from tests.cli.conftest import Types

pytestmark = pytest.mark.filterwarnings("ignore:.*few to learn from")
SMALL = ("--backbone", "narrow-resnet", "--batch-size", 16, "--time", "1h")


@pytest.fixture(autouse=True)
def paced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven steps fit into an hour; there is no page, which takes seconds."""
    monkeypatch.setattr(planning, "pace_of", lambda *_, **__: Pace(230.0, 1.0))
    monkeypatch.setattr(finishing, "_page", lambda supervisor, paths, *_: paths.report)


def test_class_folders_are_labels_that_say_whether_it_helped(
    photos: Path, tmp_path: Path, types: Types
) -> None:
    out = tmp_path / "mine"
    line = ["pretrain", photos, "--out", out, "--algorithm", "moco", *SMALL]
    said = types(*line, "--moco.temperature", "0.1", "--supervise.lr", "3e-4")
    assert said.code == 0, said.err
    assert "Did it help?" in said.out and "untrained" in said.out
    assert said.err.startswith("Images: 32 of 48") and "Task: moco, as you say" in said.err
    assert "Images: 32" not in said.out  # was said before training
    for name in ("run.pt", "run.csv", "backbone.safetensors", "choices.json"):
        assert (out / name).stat().st_size > 0
    again = types(*line, "--supervise.lr", "3e-4")
    assert again.code == 1 and "options={'temperature': 0.1}, this call has {}" in again.err


def test_without_labels_the_features_are_judged(plain: Path, tmp_path: Path, types: Types) -> None:
    said = types("pretrain", plain, "--out", tmp_path, *SMALL, "--no-progress")
    assert said.code == 0, said.err
    assert said.out.startswith("Without labels, what the features say:")
    assert "Images:" not in said.err


def test_choose_takes_keywords_of_each_candidate(
    photos: Path, tmp_path: Path, types: Types, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    class Chosen:
        answer = "chosen"

    def choose(images: Any, **keywords: Any) -> Chosen:
        given.update(keywords, images=images)
        return Chosen()

    monkeypatch.setattr("super_selfish.pretraining.choose", choose)
    said = types("choose", photos, "--algorithms", "moco", "rotate", "--moco.queue-size", 64)
    assert (said.code, said.out) == (0, "chosen\n")
    assert given == {
        "images": str(photos),
        "test": None,
        "algorithms": ["moco", "rotate"],
        "options": {"moco": {"queue_size": 64}},
    }
