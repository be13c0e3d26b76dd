"""`check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Types


def test_findings_are_told_and_written(photos: Path, tmp_path: Path, types: Types) -> None:
    said = types("check", photos, "--out", tmp_path / "found.json", tmp_path / "found.md")
    assert said.code == 0, said.err
    assert said.out.startswith("60 images of 32x32 pixels, 3 channels")
    assert json.loads((tmp_path / "found.json").read_text())["images"] == 60
    assert (tmp_path / "found.md").read_text().startswith("60 images")


def test_a_machine_reads_json(photos: Path, types: Types) -> None:
    said = types("check", photos, "--json", "--test", photos, "--no-progress")
    found = json.loads(said.out)
    assert found["images"] == 60 and found["findings"][0]["harm"] == "harm"


def test_a_file_of_an_unknown_kind_is_refused_first(photos: Path, types: Types) -> None:
    said = types("check", photos, "--out", "found.csv")
    assert (said.code, said.err) == (
        1,
        "super-selfish: found.csv must end in .json, .md, .png\n",
    )


@pytest.mark.filterwarnings("default")
def test_without_anything_to_draw_there_is_no_picture(
    plain: Path, tmp_path: Path, types: Types
) -> None:
    said = types("check", plain, "--out", tmp_path / "sheet.png")
    assert said.code == 0 and not (tmp_path / "sheet.png").exists()
    assert "sheet.png is not written: there is nothing to show" in " ".join(said.err.split())
