"""A cache of several files, which several processes build."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from super_selfish.data import cache_parts
from super_selfish.data.cache_parts import Part, spans
from super_selfish.data.file_states import FileStates
from super_selfish.data.paths import Paths
from super_selfish.data.sources import ImageSource, Sample, Unreadable
from super_selfish.training.display import Bar, Silent

COUNT, SIDE = 7, 32
IMAGE = SIDE * SIDE * 3  # bytes
PARTS = [f"images.{number:05}.npy" for number in range(4)]

BUILDS = """
import os, signal, sys
from super_selfish.data import ImageSource, cache_parts

cache_parts.PART_BYTES = int(sys.argv[3])
source = ImageSource(sys.argv[1])
decode, died_at = source.decode, int(sys.argv[4])

def told(index):
    if index == died_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(index)

source.decode = told
source.cached(sys.argv[2], progress=False)
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of two images each: the last one has one."""
    monkeypatch.setattr(cache_parts, "PART_BYTES", 2 * IMAGE + 100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(COUNT):
        pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the parts that were built."""
    built: list[str] = []
    build = cache_parts._build

    def watch(source: ImageSource, part: Part, bar: Bar) -> None:
        built.append(part.path.name)
        build(source, part, bar)

    monkeypatch.setattr(cache_parts, "_build", watch)
    return built


class Counting(Silent):
    """How far a bar has come that nobody sees."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0

    def update(self, number: int = 1) -> None:
        self.done += number


def images_of(source: ImageSource) -> Tensor:
    batch = source.select(torch.arange(len(source)))
    assert batch is not None
    return batch.images


def decoded(folder: Path) -> Tensor:
    source = ImageSource(folder)
    samples = [source[index] for index in range(len(source))]
    return torch.stack([sample.image for sample in samples])  # type: ignore[union-attr]


def start_of_images(path: Path) -> int:
    return int(np.load(path, mmap_mode="r").offset)


def test_parts_hold_as_many_images_as_fit_and_are_not_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert spans(COUNT, IMAGE) == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert spans(6, IMAGE)[-1] == (4, 6)
    assert spans(2, IMAGE) == [(0, 2)]
    assert spans(3, 10 * IMAGE) == [(0, 1), (1, 2), (2, 3)]  # larger than a part should be
    monkeypatch.setattr(cache_parts, "MOST_PARTS", 3)
    assert spans(COUNT, IMAGE) == [(0, 3), (3, 6), (6, 7)]


def test_a_cache_of_parts_gives_what_one_file_gives(
    folder: Path, store: Path, builds: list[str]
) -> None:
    cached = ImageSource(folder, cache=store / "images")
    expected = decoded(folder)
    assert builds == sorted(os.listdir(store)) == PARTS
    assert torch.equal(images_of(cached), expected)
    mixed = cached.select(torch.tensor([6, 0, 3, 2, 6]))
    assert mixed is not None and torch.equal(mixed.images, expected[[6, 0, 3, 2, 6]])
    sample = cached[5]
    assert isinstance(sample, Sample) and sample.index == 5
    assert torch.equal(sample.image, expected[5])
    assert np.array_equal(np.load(store / PARTS[1])[1], expected[3].permute(1, 2, 0).numpy())
    assert torch.equal(images_of(pickle.loads(pickle.dumps(cached))), expected)

    ImageSource(folder, cache=store / "images.npy")
    assert builds == PARTS


def test_only_the_part_of_a_changed_file_is_built_anew(
    folder: Path, store: Path, builds: list[str]
) -> None:
    ImageSource(folder, cache=store / "images")
    builds.clear()
    Image.new("RGB", (SIDE, SIDE), "red").save(folder / "3.png")  # over it, in the same folder
    cached = ImageSource(folder, cache=store / "images")
    assert builds == [PARTS[1]]
    assert torch.equal(images_of(cached), decoded(folder))


def test_parts_that_are_no_longer_wanted_go(folder: Path, store: Path, builds: list[str]) -> None:
    ImageSource(folder, cache=store / "images")
    kept = ["images.00009.npy", "images.1.npy", "others.00001.npy"]
    for name in kept[:1]:
        (store / name).write_bytes(b"somebody's")
    for name in kept[1:]:
        (store / name).write_bytes((store / PARTS[0]).read_bytes())
    for number in (3, 4, 5, 6):
        (folder / f"{number}.png").unlink()
    cached = ImageSource(folder, cache=store / "images")
    assert torch.equal(images_of(cached), decoded(folder))
    assert sorted(os.listdir(store)) == sorted([*kept, *PARTS[:2]])
    (folder / "2.png").unlink()
    ImageSource(folder, cache=store / "images")
    assert sorted(os.listdir(store)) == sorted([*kept, "images.npy"])


def test_a_cache_of_one_file_stays_however_large(
    folder: Path, store: Path, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_parts, "PART_BYTES", COUNT * IMAGE)
    ImageSource(folder, cache=store / "images")
    monkeypatch.setattr(cache_parts, "PART_BYTES", 2 * IMAGE)
    cached = ImageSource(folder, cache=store / "images")
    assert torch.equal(images_of(cached), decoded(folder))
    assert builds == os.listdir(store) == ["images.npy"]
    (folder / "0.png").touch()
    ImageSource(folder, cache=store / "images")
    assert builds[1:] == PARTS == sorted(os.listdir(store))


def test_damage_is_mended_in_its_part(folder: Path, store: Path, builds: list[str]) -> None:
    cached, expected = ImageSource(folder, cache=store / "images"), decoded(folder)
    whole = (store / PARTS[2]).read_bytes()
    damaged = bytearray(whole)
    damaged[start_of_images(store / PARTS[2]) + IMAGE + 5] ^= 1  # the second of its images
    (store / PARTS[2]).write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"image 5 in the cache .*00002\.npy is damaged"):
        sample = cached[5]
    assert isinstance(sample, Sample) and torch.equal(sample.image, expected[5])
    assert (store / PARTS[2]).read_bytes() == whole and builds == PARTS


def test_unreadable_images_are_known_in_every_part(folder: Path, store: Path) -> None:
    for number in (1, 6):
        path = folder / f"{number}.png"
        path.write_bytes(path.read_bytes()[:-500])
    cached = ImageSource(folder, cache=store / "images", on_error="skip")
    kinds = [type(cached[index]) for index in range(COUNT)]
    assert kinds == [Sample, Unreadable, Sample, Sample, Sample, Sample, Unreadable]
    assert cached[6].index == 6 and "6.png" in cached[6].name  # type: ignore[union-attr]


def run(folder: Path, store: Path, died_at: int = -1) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    arguments = [str(folder), str(store / "images"), str(2 * IMAGE), str(died_at)]
    command = [sys.executable, "-c", BUILDS, *arguments]
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_who_comes_after_a_killed_build_goes_on_with_its_parts(
    folder: Path, store: Path, builds: list[str]
) -> None:
    with run(folder, store, died_at=5) as other:
        assert other.wait(timeout=600) == -signal.SIGKILL
    before = {name: (store / name).stat().st_mtime_ns for name in PARTS[:2]}
    assert not (store / PARTS[2]).exists()

    cached = ImageSource(folder, cache=store / "images")

    assert builds == PARTS[2:]
    assert {name: (store / name).stat().st_mtime_ns for name in PARTS[:2]} == before
    assert torch.equal(images_of(cached), decoded(folder))
    assert sorted(os.listdir(store)) == PARTS


def test_two_that_come_at_once_share_the_work(
    folder: Path, store: Path, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both, build = threading.Barrier(2, timeout=120), cache_parts._build
    found: list[ImageSource] = []
    bars: list[Counting] = []

    def counted(label: str, total: int, *_: Any, **__: Any) -> Counting:
        bars.append(Counting(total))
        return bars[-1]

    def together(source: ImageSource, part: Part, bar: Bar) -> None:
        if part.path.name in PARTS[:2]:
            both.wait()  # breaks unless each of the first two is another's
        build(source, part, bar)

    monkeypatch.setattr(cache_parts, "_build", together)
    monkeypatch.setattr(cache_parts, "open_bar", counted)

    def open_one() -> None:
        found.append(ImageSource(folder, cache=store / "images"))

    threads = [threading.Thread(target=open_one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(builds) == PARTS  # each once
    assert [(bar.done, bar.total) for bar in bars] == 2 * [(COUNT, COUNT)]  # the other's as well
    assert [torch.equal(images_of(source), decoded(folder)) for source in found] == [True, True]
    assert sorted(os.listdir(store)) == PARTS


def test_room_is_asked_for_the_missing_parts_alone(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ImageSource(folder, cache=store / "images")
    (store / PARTS[0]).unlink()
    usage: Any = type("Usage", (), {"free": 2 * IMAGE})
    monkeypatch.setattr(cache_parts.shutil, "disk_usage", lambda path: usage)
    ImageSource(folder, cache=store / "images")
    usage.free = 3 * IMAGE
    for name in PARTS[:2]:
        (store / name).unlink()
    with pytest.raises(OSError, match=r"the cache .*images\.npy needs 0\.0 GB, but its disk has"):
        ImageSource(folder, cache=store / "images")


# The state of the files


def test_files_are_hashed_as_json_says_them(tmp_path: Path) -> None:
    names = ['a "1".png', "b\\2.png", "é.png", "plain name.png", "tab\t.png", "\x7f.png", "a/3.png"]
    expected = hashlib.sha256()
    paths = [str(tmp_path / name) for name in [*names, "missing.png"]]
    (tmp_path / "a").mkdir()
    for number, path in enumerate(paths[:-1]):
        Path(path).write_bytes(b"x" * number)
        os.utime(path, ns=(0, 10**18 + number))
        line = [path[len(str(tmp_path)) :], number, 10**18 + number]
        expected.update(json.dumps(line).encode())
    expected.update(json.dumps(["/missing.png", -1, -1]).encode())
    states = FileStates(Paths.of(paths))
    assert states.digest(0, 8) == expected.hexdigest()
    assert states.digest(0, 7) != states.digest(0, 8) != states.digest(1, 8)
