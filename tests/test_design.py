"""The examples of docs/design.md do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

DESIGN = Path(__file__).parents[1] / "docs" / "design.md"


@pytest.mark.filterwarnings("ignore:resnet18 at 32x32")
def test_the_examples_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    for folder in ("photographs", "scans"):
        (tmp_path / folder).mkdir()
    for number in range(8):
        image = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "photographs" / f"{number}.png")
        image[..., 0].tofile(tmp_path / "scans" / f"{number}.raw")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", DESIGN.read_text(), flags=re.S)
    assert len(examples) == 4
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "examples"}
    exec(examples[0], names)
    page = (tmp_path / "store" / "similarity.html").read_text()
    assert "Which of these is another view of the same image?" in page
    exec(examples[1], names)
    dimmed = names["dimmed"]
    assert isinstance(dimmed, torch.Tensor)
    assert 0.5 <= float(dimmed[0].mean()) != float(dimmed[1].mean()) <= 1
    exec(examples[2], names)
    rows = names["supervisor"].history  # type: ignore[attr-defined]
    assert [row["left"] for row in rows] == [12, 4]
    exec(examples[3], names)
    assert names["supervisor"].source.in_channels == 3  # type: ignore[attr-defined]


def test_every_file_that_is_named_is_there() -> None:
    root = DESIGN.parents[1]
    for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", DESIGN.read_text()):
        assert (root / "super_selfish" / name).is_file(), name


@pytest.mark.filterwarnings("ignore:resnet18 at 32x32")
def test_the_examples_of_streams_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (DESIGN.parent / "streams.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    assert len(examples) == 3
    names: dict[str, Any] = {"__name__": "examples"}
    for example in examples:
        exec(example, names)
    assert len(names["features"]) == 12
    assert names["supervisor"].run.global_step == 6
