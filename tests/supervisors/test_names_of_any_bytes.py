"""Linux has file names that are not UTF-8, which Python holds as text that cannot be encoded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from super_selfish.data.known_labels import known_classes
from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.embed import embed
from super_selfish.supervisors.rotate_net import RotateNetSupervisor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
ODD = "caf\udce9"  # as Python gives the Latin-1 of "café"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for kind in (ODD, "tea"):
        (tmp_path / kind).mkdir()
        for number in range(2):
            image = Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            with open(tmp_path / kind / f"{ODD}{number}.png", "wb") as file:
                image.save(file, "PNG")
    return tmp_path


def test_images_and_stores_of_such_names(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Callable[..., Any]
) -> None:
    store = tmp_path_factory.mktemp("store") / ODD / "base"
    options: dict[str, Any] = {"batch_size": 4, "name": store, "progress": False}

    RotateNetSupervisor(folder, tiny_backbone()).supervise(epochs=1, **options)
    resumed = RotateNetSupervisor(folder, tiny_backbone())
    resumed.supervise(epochs=2, pretrained=True, cache=store.with_name(ODD), **options)

    assert [row["epoch"] for row in resumed.history] == [1, 2]
    assert store.with_suffix(".csv").exists()
    page = resumed.report(store)
    assert "caf\\udce9" in page.read_text(encoding="utf-8")
    embed(resumed, folder, store.with_name(f"{ODD}.npz"))


def test_classes_are_named_by_text_that_can_be_written(folder: Path) -> None:
    source = ImageSource(folder)
    assert source.classes == known_classes(source.items) == ["caf\\udce9", "tea"]
    assert os.fsencode(source.name(0)).endswith(b"caf\xe9/caf\xe90.png")
