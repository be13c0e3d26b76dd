"""`report`, `export` and `embed`, and which run a word means."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from super_selfish.cli.runs import find_run
from tests.cli.conftest import Types


def test_a_run_is_found_by_its_folder_or_its_checkpoint(run: Path, tmp_path: Path) -> None:
    name = str(run / "run")
    assert [find_run(str(place)) for place in (run, name, f"{name}.pt")] == [name] * 3
    for file in ("base.pt", "base-previous.pt", "base-best.pt", "backbone.pt"):
        (tmp_path / file).touch()
    assert find_run(str(tmp_path)) == str(tmp_path / "base")
    (tmp_path / "other.pt").touch()
    with pytest.raises(ValueError, match=r"several checkpoints, .*base, .*other: name one"):
        find_run(str(tmp_path))
    with pytest.raises(ValueError, match=r"there is no run .*bas: did you mean"):
        find_run(str(tmp_path / "bas"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no checkpoint"):
        find_run(str(tmp_path / "empty"))


def test_a_class_of_ones_own_needs_python(types: Types, tmp_path: Path, plain: Path) -> None:
    from super_selfish.supervisors import RotateNetSupervisor

    class Mine(RotateNetSupervisor):
        pass

    Mine(backbone="narrow-resnet", image_size=32).save(tmp_path / "mine")
    said = types("embed", tmp_path / "mine.pt", plain, tmp_path / "x.csv")
    assert said.code == 1 and "holds a Mine, a class of your own: load it in Python" in said.err


def test_features_are_written_with_names(
    run: Path, photos: Path, types: Types, tmp_path: Path
) -> None:
    file = tmp_path / "features.csv"
    said = types("embed", run, photos, file)
    assert said.code == 0, said.err
    assert said.out.startswith(f"{file}\n60 images, ")
    with open(file, newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == 60 and rows[0]["name"].endswith("00.png") and rows[0]["label"] == "0"


def test_a_backbone_is_written_for_others(run: Path, types: Types, tmp_path: Path) -> None:
    said = types("export", run, tmp_path / "backbone.pt")
    assert said.code == 0, said.err
    assert (tmp_path / "backbone.pt.json").is_file()
    weights = torch.load(tmp_path / "backbone.pt", weights_only=True)
    stored = torch.load(run / "run.pt", weights_only=True)
    assert weights and isinstance(stored, dict)
    said = types("export", run, tmp_path / "backbone.xyz")
    assert said.code == 1 and ".onnx" in said.err


def test_the_page_of_labelled_images_says_whether_it_helped(
    run: Path, photos: Path, types: Types, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    def write_report(supervisor: object, name: str, **keywords: object) -> str:
        given.update(keywords, name=name)
        return name + ".html"

    monkeypatch.setattr("super_selfish.evaluation.write_report", write_report)
    said = types("report", run, photos, "--most-images", 10)
    assert said.code == 0, said.err
    assert said.out == f"{run / 'run'}.html\n"
    assert given["most_images"] == 10 and given["name"] == str(run / "run")
    assert getattr(given["evaluation"], "test_images") == 12  # noqa: B009
    assert types("report", run, "--title", "Mine").code == 0
    assert given["title"] == "Mine" and given["images"] is given["evaluation"] is None


def test_a_folder_for_timm_is_written_with_what_evaluate_said(
    run: Path, types: Types, tmp_path: Path
) -> None:
    pytest.importorskip("timm", minversion="1.0.16")
    from super_selfish.supervisors import RotateNetSupervisor

    RotateNetSupervisor(backbone="timm/test_resnet", image_size=32).save(tmp_path / "mine")
    figures: dict[str, object] = {
        **{"pretrained": {"knn": 0.625}, "intervals": {}, "verdict": [], "metric": "accuracy"},
        **{"chance": 0.5, "classes": 2, "train_images": 9, "test_images": 5},
    }
    (tmp_path / "rated.json").write_text(json.dumps(figures))
    line = ("export", tmp_path / "mine.pt", tmp_path / "folder", "--format", "timm-folder")
    said = types(*line, "--evaluation", tmp_path / "rated.json")
    assert (said.code, said.out) == (0, f"{tmp_path / 'folder'}\n"), said.err
    assert "| pretrained | 62.5 |" in (tmp_path / "folder" / "README.md").read_text()
    assert (tmp_path / "folder.yaml").is_file()
    for content, reason in (("[]", "is not what evaluate --out writes"), ("{", "cannot be read")):
        (tmp_path / "rated.json").write_text(content)
        said = types(*line, "--evaluation", tmp_path / "rated.json")
        assert said.code == 1 and f"rated.json {reason}" in said.err
    said = types("export", run, tmp_path / "other", "--format", "timm-folder")
    assert said.code == 1 and "NarrowResNet narrow-resnet cannot be written for timm" in said.err
