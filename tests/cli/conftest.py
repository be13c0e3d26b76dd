"""A folder of small images in two classes, and a line that is typed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from super_selfish.cli import main
from super_selfish.pretraining import finishing, planning
from super_selfish.pretraining.timing import Pace

SMALL = ("--backbone", "narrow-resnet", "--batch-size", 16, "--time", "1h")
LINE = ("--algorithm", "moco", *map(str, SMALL), "--moco.temperature", "0.1")
LINE += ("--supervise.lr", "3e-4")


class Said(NamedTuple):
    """What a command line led to."""

    code: int
    out: str
    err: str


Types = Callable[..., Said]


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


class Pretrained(NamedTuple):
    """A run of `pretrain`, and what was said of it."""

    folder: Path
    said: Said


@pytest.fixture(scope="session")
def pretrained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """Eleven steps, which are said to take an hour; without the page, which takes seconds."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    line = ["pretrain", photos, "--out", folder, *LINE]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*few to learn from")
        warnings.filterwarnings("ignore", ".*so that batch norm")
        shorten(patch)
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(word) for word in line])
    return Pretrained(folder, Said(code, out.getvalue(), err.getvalue()))


@pytest.fixture(scope="session")
def run(pretrained: Pretrained) -> Path:
    """The folder of that run."""
    return pretrained.folder


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Makes hours short: eleven steps fit into one, and there is no page."""
    patch.setattr(planning, "pace_of", lambda *_, **__: Pace(230.0, 1.0))
    patch.setattr(finishing, "_page", lambda supervisor, paths, *_: paths.report)
