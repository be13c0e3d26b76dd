"""A folder of small images in two classes, and a line that is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.cli import main
from super_selfish.supervisors import RotateNetSupervisor


class Said(NamedTuple):
    """What a command line led to."""

    code: int
    out: str
    err: str


Types = Callable[..., Said]


@pytest.fixture(scope="session")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    torch.manual_seed(0)
    supervisor = RotateNetSupervisor(str(photos), backbone="narrow-resnet")
    supervisor.supervise(epochs=1, batch_size=60, name=folder / "run", progress=False)
    return folder


@pytest.fixture
def types(capsys: pytest.CaptureFixture[str]) -> Types:
    """Does what a user types."""

    def typed(*words: object) -> Said:
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return typed


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty images of 32x32, bright ones and dark ones, in two sub-folders."""
    folder = tmp_path_factory.mktemp("images") / "photos"
    generator = np.random.default_rng(0)
    for number in range(60):
        name = ("bright", "dark")[number % 2]
        coarse = generator.integers(0, 100, (4, 4, 3)) + (120 if name == "bright" else 20)
        (folder / name).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(coarse.astype(np.uint8)).resize((32, 32))
        picture.save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def plain(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in one folder, without classes."""
    folder = tmp_path_factory.mktemp("images") / "plain"
    folder.mkdir()
    for file in photos.rglob("*.png"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder
