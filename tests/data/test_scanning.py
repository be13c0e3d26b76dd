"""Searching folders, against the plain way to do it."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from super_selfish.data import scanning
from super_selfish.data.files import FileList
from super_selfish.data.likeness import likeness
from super_selfish.data.patterns import files_that_match, root_of
from super_selfish.data.scanning import Run, files_below
from super_selfish.data.sources import ImageSource

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
STEMS = ("a", "b", "ab", "a-b", "a.b", "Z", "é", ".h", "a b", "\uffff", "\U0001f600")
ENDINGS = ("", "1", "!", ".png", ".JPG", ".npy", ".svs", ".txt")


def walked(root: Path) -> Iterator[tuple[str, ...]]:
    """The parts of all paths, one folder after the other."""
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                yield Path(folder, name).relative_to(root).parts


def matches(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether a path matches a pattern, by trying all that `**` may stand for."""
    if not wanted:
        return not parts
    if wanted[0] == "**":
        tails = range(len(parts) + 1)
        return len(wanted) == 1 or any(matches(parts[start:], wanted[1:]) for start in tails)
    return bool(parts) and fnmatch(parts[0], wanted[0]) and matches(parts[1:], wanted[1:])


def flat(runs: Iterator[Run]) -> list[tuple[str, ...]]:
    return [(*run.parts, name) for run in runs for name in run.names]


def plant(root: Path, draw: random.Random, elsewhere: Path, depth: int = 0) -> None:
    """Makes a folder of files, folders, and links to all of them, to nothing, and upwards."""
    root.mkdir(parents=True)
    folders = ["..", ".", "nowhere", str(elsewhere), str(elsewhere / "deep")]
    for _ in range(draw.randint(1, 6)):
        path = root / (draw.choice(STEMS) + draw.choice(ENDINGS))
        kind = draw.random()
        if os.path.lexists(path):
            continue
        if kind < 0.5:
            path.write_bytes(b"")
        elif kind < 0.8 and depth < 3:
            plant(path, draw, elsewhere, depth + 1)
            folders.append(path.name)
        elif sys.platform != "win32":
            path.symlink_to(draw.choice([*folders, path.name, str(elsewhere / "1.png")]))


@pytest.fixture(params=range(6))
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    for name in ("1.png", "deep/2.png"):
        (elsewhere / name).write_bytes(b"")
    plant(tmp_path / "root", random.Random(request.param), elsewhere)
    return tmp_path / "root"


def test_a_folder_is_searched_as_if_one_after_the_other(tree: Path) -> None:
    assert flat(files_below(tree)) == sorted(walked(tree))


def test_a_pattern_takes_what_it_says(tree: Path) -> None:
    for pattern in ("**", "**/*.png", "*/**/*", "**/a*/**", "**/**/*.[jpJP]*", "**/*.png/**"):
        wanted = tuple(pattern.split("/"))
        expected = [parts for parts in sorted(walked(tree)) if matches(parts, wanted)]
        assert flat(files_that_match(f"{tree}/{pattern}")) == expected, pattern


def test_a_pattern_without_stars_of_folders_is_that_of_glob(tree: Path) -> None:
    for pattern in ("*", "*/*", "a*/*.png"):
        found = (path for path in tree.glob(pattern) if not path.is_dir())
        parts = (path.relative_to(tree).parts for path in found)
        shown = [each for each in parts if not any(part.startswith(".") for part in each)]
        assert flat(files_that_match(f"{tree}/{pattern}")) == sorted(shown), pattern
        assert root_of(f"{tree}/{pattern}") == tree


def test_classes_labels_and_what_is_left_out_are_those_of_the_paths(tree: Path) -> None:
    all_parts = sorted(walked(tree))
    images = [parts for parts in all_parts if parts[-1].lower().endswith((".png", ".jpg"))]
    taken = images or [parts for parts in all_parts if parts[-1].endswith(".npy")]
    others = [parts[-1] for parts in all_parts if parts not in taken]
    kinds = Counter(
        os.path.splitext(name)[1] or "without an ending"
        for name in others
        if not name.endswith(".txt")
    )
    if not taken:
        with pytest.raises(ValueError, match="no image in"):
            FileList.from_folder(tree)
        return

    files = FileList.from_folder(tree)

    assert files.files == [str(tree.joinpath(*parts)) for parts in taken]
    assert {kind.lower(): count for kind, count in kinds.items()} == files.left_out
    if any(len(parts) == 1 for parts in taken):
        assert files.labels is None and files.classes is None
    else:
        assert files.classes == sorted({parts[0] for parts in taken})
        assert files.labels is not None
        assert files.labels.tolist() == [files.classes.index(parts[0]) for parts in taken]


@needs_links
def test_of_two_ways_to_a_folder_the_first_one_counts(tmp_path: Path) -> None:
    (tmp_path / "root" / "z").mkdir(parents=True)
    (tmp_path / "root" / "z" / "1.png").write_bytes(b"")
    (tmp_path / "root" / "a").symlink_to("z")
    (tmp_path / "root" / "zz").symlink_to("z")
    assert flat(files_below(tmp_path / "root")) == [("a", "1.png")]


def test_folders_are_read_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcd":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"")
    together, scandir = threading.Barrier(4, timeout=10), os.scandir

    def slow(path: str) -> Any:
        if Path(path) != tmp_path:
            together.wait()  # breaks where one waits for the other
        return scandir(path)

    monkeypatch.setattr(scanning.os, "scandir", slow)
    assert flat(files_below(tmp_path)) == [(name, "1.png") for name in "abcd"]


def test_a_folder_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(scanning.os, "scandir", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*b'"):
        FileList.from_folder(tmp_path)


def test_images_are_known_again_by_names_below_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1.png", "a/b/2.png"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "here" / name)
    known = {"names of the image files (digest)": "fae5aa6f2955"}
    monkeypatch.chdir(tmp_path)
    for way in (
        tmp_path / "here",
        "here",
        "here/**/*.png",
        ["here/a/../a/1.png", "here/a/b/2.png"],
    ):
        assert likeness(ImageSource(way)) == known
