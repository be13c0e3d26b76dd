"""`pretrain` and `choose`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import SMALL, Pretrained, Types


def test_class_folders_are_labels_that_say_whether_it_helped(pretrained: Pretrained) -> None:
    folder, said = pretrained
    assert said.code == 0, said.err
    assert said.out.startswith("Did it help?") and "untrained" in said.out
    assert said.err.startswith("Images: 32 of 48") and "Task: moco, as you say" in said.err
    for name in ("run.pt", "run.csv", "backbone.safetensors", "choices.json", "run.yaml"):
        assert (folder / name).stat().st_size > 0


@pytest.mark.filterwarnings("ignore:.*few to learn from")
def test_another_run_in_the_same_folder_is_refused(
    pretrained: Pretrained, photos: Path, types: Types
) -> None:
    record = (pretrained.folder / "run.yaml").read_bytes()
    line = ("pretrain", photos, "--out", pretrained.folder, "--algorithm", "moco", *SMALL)
    said = types(*line, "--supervise.lr", "3e-4")
    assert said.code == 1 and "options={'temperature': 0.1}, this call has {}" in said.err
    assert (pretrained.folder / "run.yaml").read_bytes() == record


def test_choose_takes_keywords_of_each_candidate(
    photos: Path, types: Types, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, Any] = {}

    class Chosen:
        answer = "chosen"

    def choose(images: Any, **keywords: Any) -> Chosen:
        given.update(keywords, images=images)
        return Chosen()

    monkeypatch.setattr("super_selfish.pretraining.choose", choose)
    line = ("choose", photos, "--out", tmp_path, "--algorithms", "moco", "rotate")
    said = types(*line, "--moco.queue-size", 64)
    assert (said.code, said.out) == (0, "chosen\n")
    assert given == {
        "images": str(photos),
        "out": str(tmp_path),
        "test": None,
        "algorithms": ["moco", "rotate"],
        "options": {"moco": {"queue_size": 64}},
    }
    assert "queue_size: 64" in (tmp_path / "run.yaml").read_text()
