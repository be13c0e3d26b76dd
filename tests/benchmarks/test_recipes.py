"""`benchmarks/recipes.py`: what it plans, and that it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import ROOT, benchmark


@pytest.fixture
def recipes() -> Iterator[ModuleType]:
    with benchmark("recipes") as module:
        yield module


def test_recipes_differ_from_the_base_in_one_number(recipes: ModuleType) -> None:
    planned = recipes.recipes(["cifar10", "imagenette"], [500, 10_000], [2, 10], [32, 64])
    assert len(planned) == len(set(planned)) == 3 + 2
    assert [each.minutes for each in planned] == sorted(each.minutes for each in planned)
    for each in planned:
        base = recipes.BASE[each.data]
        assert sum(a != b for a, b in zip(each, base, strict=True)) <= 1
    large = [each for each in planned if each.data == "imagenette"]
    assert {each.side for each in large} == {32, 64} and {each.images for each in large} == {5000}


def test_images_are_made_smaller_by_area(recipes: ModuleType) -> None:
    import torch

    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    images[:, :, :, 4:] = 200
    small = recipes.brought_to(images, 4)
    assert small.shape == (2, 3, 4, 4) and small.dtype == torch.uint8
    assert small[0, 0, 0, 0] == 0 and small[0, 0, 0, 3] == 200
    assert recipes.brought_to(images, 8) is images


def test_it_runs(recipes: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = ROOT.parent / "shared" / "datasets"
    if not root.is_dir():
        pytest.skip(f"there are no data sets at {root}")
    out = tmp_path / "recipes"
    monkeypatch.setattr(
        sys, "argv", ["recipes.py", "--smoke", "--root", str(root), "--out", str(out)]
    )
    recipes.main()
    table = out.with_suffix(".md").read_text()
    assert "3 of 3 recipes were run" in table and table.count("| rotate |") == 3
    assert out.with_suffix(".png").stat().st_size > 5000
