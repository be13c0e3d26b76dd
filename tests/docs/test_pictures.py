"""The pictures of the pages are drawn by a script, of photographs that a package ships."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from docs.making import pictures
from super_selfish.data import picture
from super_selfish.evaluation import Exhibit


def exhibit(*lengths: int) -> Exhibit:
    shown = picture(torch.rand(3, 8, 8), "one")
    return Exhibit("A", "Which one?", [[shown] * length for length in lengths])


def test_rows_are_narrow_and_nothing_is_lost() -> None:
    rows = [[len(group) for group in row.groups] for row in pictures.in_rows(exhibit(3, 3, 3))]
    assert rows == [[3, 3], [3]]
    rows = [[len(group) for group in row.groups] for row in pictures.in_rows(exhibit(9, 2))]
    assert rows == [[9], [2]]  # wider than a row, and alone in it


def test_the_script_draws_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pictures, "FOLDER", tmp_path / "pictures")
    monkeypatch.setattr(sys, "argv", ["pictures", "denoise", "--steps", "1"])
    pictures.main()
    assert capsys.readouterr().out == "drawn: docs/pictures/denoise.png\n"
    with Image.open(tmp_path / "pictures" / "denoise.png") as drawn:
        assert drawn.width < 800


def test_a_picture_that_the_repository_keeps_has_few_colours(tmp_path: Path) -> None:
    noise = (torch.rand(64, 64, 3) * 255).to(torch.uint8).numpy()
    Image.fromarray(noise).save(tmp_path / "noise.png")
    pictures.keep_small(tmp_path / "noise.png")
    with Image.open(tmp_path / "noise.png") as kept:
        assert kept.size == (64, 64) and len(kept.getcolors() or []) <= 128
    assert (pictures.ROOT / "docs" / "gallery.png").stat().st_size < 150_000
