"""The folders that `make demo` trains on."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from super_selfish import data
from super_selfish.data import ImageSource, Sample
from super_selfish.data.photographs import PhotographPatches

EXAMPLE = Path(__file__).parents[2] / "examples" / "photographs.py"


def test_patches_become_folders_of_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[int, dict[str, Any]]] = []

    def patches(size: int, **named: Any) -> PhotographPatches:
        asked.append((size, named))
        images = torch.tensor([0, 120, 255], dtype=torch.uint8)[:, None, None, None]
        return PhotographPatches(
            ["cat", "moon"], images.expand(3, 3, 8, 8), torch.tensor([0, 1, 1])
        )

    monkeypatch.setattr(data, "photographs", patches)
    monkeypatch.setattr("sys.argv", ["photographs.py", str(tmp_path / "here")])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert capsys.readouterr().out == f"photographs: {tmp_path / 'here'}/\n"
    assert [named["split"] for _, named in asked] == ["train", "test"]
    source = ImageSource(tmp_path / "here" / "train")
    files = [Path(source.name(index)) for index in range(len(source))]
    assert [f"{file.parent.name}/{file.name}" for file in files] == [
        *("cat/000.png", "moon/000.png", "moon/001.png"),
    ]
    found = [source[index] for index in range(3)]
    assert [int(sample.image.max()) for sample in found if isinstance(sample, Sample)] == [
        0,
        120,
        255,
    ]
    assert [folder.name for folder in sorted((tmp_path / "here").iterdir())] == ["test", "train"]
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert len(asked) == 2  # what is there stays
