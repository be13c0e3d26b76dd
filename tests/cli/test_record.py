"""What was asked for is written down, and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from super_selfish.cli.commands import COMMANDS
from super_selfish.cli.parsing import parsed
from super_selfish.cli.record import as_yaml, recorded, settings_of
from super_selfish.pretraining import planning
from super_selfish.pretraining.timing import Pace
from super_selfish.training.checkpoint import checkpoint_path, read_run
from tests.cli.conftest import SMALL, Types, shorten


@pytest.mark.parametrize(
    "value",
    [
        *("30min", "a/b c.csv", "true", "No", "null", "1e-3", "- x", "a: b", "# x", "", " x", "~"),
        *(3, 0.1, 1e-05, True, None, [96, 128], ["a", "1"], {"a": {"b": [1.5, "x"]}}, {}, "Größe"),
    ],
)
def test_values_are_read_as_they_were(value: Any) -> None:
    assert yaml.safe_load(as_yaml({"some": value, "other": 1})) == {"some": value, "other": 1}


def test_defaults_are_written_as_well_and_paths_hold_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = COMMANDS["evaluate"].flags()
    given = parsed(["mine", "photos", "--seed", "3", "--json", "--others", "a=b"], flags)
    assert settings_of(flags, given) == {
        "run": str(tmp_path / "mine"),
        "images": str(tmp_path / "photos"),
        "others": {"a": str(tmp_path / "b")},
        "protocols": ("knn", "linear"),
        "batch_size": 256,
        "num_workers": 0,
        "seed": 3,
    }


@pytest.mark.parametrize("given", ["runs/mine", "mine", "w.safetensors", "resnet50", "timm/vit"])
@pytest.mark.parametrize("name", ["weights", "teacher"])
def test_paths_that_may_be_names_hold_from_everywhere_as_well(
    name: str, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = (tmp_path / "runs" / "mine" / "run.pt", tmp_path / "mine.pt", tmp_path / given)
    for file in files[: 2 + given.endswith(".safetensors")]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "resnet50").mkdir()  # a folder of that name is no run
    flags = COMMANDS["pretrain"].flags(("distillation",))
    arguments = ["photos", "--algorithm", "distillation", f"--distillation.{name}", given]
    held = settings_of(flags, parsed(arguments, flags))["distillation"]
    is_name = given in ("resnet50", "timm/vit")
    assert held == {name: given if is_name else str(tmp_path / given)}


def test_only_what_was_done_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "out.yaml"
    with pytest.raises(ValueError), recorded("check", {}, file):
        raise ValueError
    assert not file.exists()
    with pytest.raises(KeyboardInterrupt), recorded("check", {"a": 1}, file):
        raise KeyboardInterrupt
    assert yaml.safe_load(file.read_text()) == {"a": 1}


def test_a_file_is_recorded_beside_it(
    run: Path, photos: Path, types: Types, tmp_path: Path
) -> None:
    file = tmp_path / "features.npz"
    assert types("embed", run, photos, file, "--batch-size", 30).code == 0
    record = tmp_path / "features.npz.yaml"
    first = file.read_bytes()
    file.unlink()
    said = types("embed", "--config", record)
    assert said.code == 0, said.err
    assert file.read_bytes() == first
    assert yaml.safe_load(record.read_text())["batch_size"] == 30


@pytest.mark.filterwarnings("ignore:.*few to learn from")
def test_a_run_is_repeated_by_its_record(
    plain: Path, types: Types, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    first, again = tmp_path / "first", tmp_path / "again"
    line = ("--algorithm", "rotate", "--no-rotate.crop", "--seed", 3)
    said = types("pretrain", plain, "--out", first, *line, *SMALL)
    assert said.code == 0, said.err
    assert said.out.startswith("Without labels, what the features say:")
    record = yaml.safe_load((first / "run.yaml").read_text())
    assert record["rotate"] == {"crop": False} and record["time"] == "1h"
    assert record["choices"]["epochs"] >= 1

    def timed(*_: Any, **__: Any) -> Pace:
        raise AssertionError("a run that is repeated is not timed")

    monkeypatch.setattr(planning, "pace_of", timed)
    said = types("pretrain", "--config", first / "run.yaml", "--out", again)
    assert said.code == 0, said.err
    assert "It repeats another run" in said.err
    models = [read_run(checkpoint_path(place / "run"))["model"] for place in (first, again)]
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])
    said = types("pretrain", "--config", first / "run.yaml", "--batch-size", 8)
    assert said.code == 1 and "--choices are of a run with batch_size=16" in said.err
