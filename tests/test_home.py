"""`~` is the user's home in every path that one may give."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation import evaluate
from super_selfish.evaluation.comparison.store import RunStore
from super_selfish.evaluation.embed import embed
from super_selfish.evaluation.feature_cache import FeatureCache
from super_selfish.evaluation.plots.curves import plot_history
from super_selfish.export.backbone import export_backbone


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    return tmp_path / "home"


def test_every_path_may_begin_at_home(home: Path, tiny_backbone: Callable[..., Any]) -> None:
    (home / "images").mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(home / "images" / f"{number}.png")
    labelled = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8), torch.arange(8) % 2

    ImageSource("~/images", cache="~/cache/images")
    embed(tiny_backbone(), "~/images", "~/embedded/all.npz")
    exported = export_backbone(tiny_backbone(), "~/exported/x.pt", image_size=32)
    evaluate(tiny_backbone(), labelled, labelled, protocols=("knn",), cache="~/features")
    plot_history([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}], path="~/plots/curve.png")

    assert exported == home / "exported" / "x.pt" and exported.exists()
    for path in ("cache/images.npy", "embedded/all.npz", "plots/curve.png"):
        assert (home / path).is_file(), path
    assert list((home / "features").iterdir())
    assert FeatureCache("~/features").folder == home / "features"
    assert RunStore("~/comparison").file == home / "comparison.jsonl"
    assert os.listdir() == []  # no folder that is called "~"
