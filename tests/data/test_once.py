"""One listing for the processes of a machine."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from super_selfish.data import once, scanning
from super_selfish.data.files import FileList
from super_selfish.training.alone import alone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="each process lists there")
NAMES = ["a/1.png", "a/2.png", "b/é.png", "b/notes.svs"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"")
    return tmp_path / "photos"


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which processes find what others have found; this is one of two."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(once.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setattr(once, "SETTLED", -1000.0)  # the folders are new
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(once, "_asked", once.Counter())
    return tmp_path / "temporary" / f"super-selfish-{os.getuid()}"


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the folders that were read."""
    found: list[str] = []
    scandir = os.scandir

    def watch(path: Any) -> Any:
        found.append(Path(path).name)
        return scandir(path)

    monkeypatch.setattr(scanning.os, "scandir", watch)
    monkeypatch.setattr(once.Path, "iterdir", lambda path: iter(()))  # it has one of its own
    return found


def read(scanned: list[str]) -> list[str]:
    """Those that were read since this was asked, of the images."""
    found = sorted(name for name in scanned if name in ("photos", "a", "b", "c"))
    scanned.clear()
    return found


def other_process() -> None:
    once._asked.clear()


def test_the_second_process_reads_what_the_first_has_found(
    folder: Path, shared: Path, scanned: list[str]
) -> None:
    first = FileList.from_folder(folder)
    assert read(scanned) == ["a", "b", "photos"]
    other_process()
    second = FileList.from_folder(folder)
    assert read(scanned) == []
    assert second.files == first.files == [str(folder / name) for name in NAMES[:3]]
    assert second.classes == ["a", "b"] and second.left_out == {".svs": 1}
    assert second.labels is not None and torch.equal(second.labels, torch.tensor([0, 0, 1]))
    assert shared.stat().st_mode & 0o777 == 0o700
    assert [path.suffix for path in sorted(shared.glob("*"))] == [".pt"]


def test_names_of_any_bytes_are_handed_over(folder: Path, shared: Path) -> None:
    odd = os.fsdecode(b"c\xff")
    try:
        (folder / odd).mkdir()
    except OSError:
        pytest.skip("this disk has no such names")
    (folder / odd / "1.png").write_bytes(b"")
    first = FileList.from_path(f"{folder}/**/*.png")
    other_process()
    second = FileList.from_path(f"{folder}/**/*.png")
    assert list(second.files) == list(first.files) and second.classes == ["a", "b", odd]


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file more": lambda folder: (folder / "b" / "4.png").write_bytes(b""),
    "a file less": lambda folder: (folder / "a" / "1.png").unlink(),
    "another name": lambda folder: (folder / "a" / "1.png").rename(folder / "a" / "0.png"),
    "a folder more": lambda folder: (folder / "c").mkdir(),
    "a folder less": lambda folder: (folder / "a").rename(folder.parent / "a"),
    "a file more, and the former time": lambda folder: hidden_in_time(folder),
}


def hidden_in_time(folder: Path) -> None:
    status = folder.stat()
    (folder / "9.png").write_bytes(b"")
    os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", CHANGES)
def test_a_listing_that_is_stale_is_never_taken(
    folder: Path, shared: Path, scanned: list[str], change: str
) -> None:
    FileList.from_folder(folder)
    CHANGES[change](folder)
    read(scanned)
    other_process()
    found = FileList.from_folder(folder)
    assert "photos" in read(scanned)
    expected = sorted(path for path in folder.rglob("*.png"))
    assert sorted(found.files) == sorted(map(str, expected))


def test_who_lists_again_looks_again(folder: Path, shared: Path, scanned: list[str]) -> None:
    for _ in range(2):
        FileList.from_folder(folder)
        assert read(scanned) == ["a", "b", "photos"]
    other_process()
    for _ in range(2):
        FileList.from_folder(folder)
        assert read(scanned) == []


def test_what_may_differ_is_asked_for_by_each(
    folder: Path, shared: Path, scanned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    FileList.from_folder(folder)
    changes: list[Callable[[], object]] = [
        lambda: FileList.from_folder(folder, every=True),
        lambda: FileList.from_path(f"{folder}/**/1.png"),
        lambda: FileList.from_folder(os.path.relpath(folder)),  # its files are called otherwise
        lambda: monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1"),
    ]
    for change in changes:
        read(scanned)
        other_process()
        change()
        FileList.from_folder(folder) if change is changes[-1] else None
        assert read(scanned) == ["a", "b", "photos"]


def test_times_that_are_fresh_are_not_trusted(
    folder: Path, shared: Path, scanned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "SETTLED", 60.0)
    for _ in range(2):
        other_process()
        FileList.from_folder(folder)
        assert read(scanned) == ["a", "b", "photos"]


def test_one_process_and_one_that_works_alone_leave_nothing(
    folder: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with alone():
        FileList.from_folder(folder)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    FileList.from_folder(folder)
    assert not shared.exists()


def test_a_folder_that_is_open_to_others_is_not_used(
    folder: Path, shared: Path, scanned: list[str]
) -> None:
    shared.mkdir()
    shared.chmod(0o770)
    for _ in range(2):
        other_process()
        FileList.from_folder(folder)
        assert read(scanned) == ["a", "b", "photos"]
    assert os.listdir(shared) == []


def test_where_there_can_be_no_shared_folder_each_lists_and_a_line_says_why(
    folder: Path, shared: Path, scanned: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    shared.write_text("a file")
    with caplog.at_level(logging.INFO):
        FileList.from_folder(folder)
    assert read(scanned) == ["a", "b", "photos"]
    assert any(f"{shared} cannot be used: " in each for each in caplog.messages)


def test_a_damaged_listing_is_made_anew(folder: Path, shared: Path, scanned: list[str]) -> None:
    FileList.from_folder(folder)
    (path,) = shared.glob("*.pt")
    path.write_bytes(path.read_bytes()[:-100])
    read(scanned)
    other_process()
    assert len(FileList.from_folder(folder)) == 3 and read(scanned) == ["a", "b", "photos"]


def test_rests_of_killed_processes_go_after_a_day(folder: Path, shared: Path) -> None:
    FileList.from_folder(folder)
    (path,) = shared.glob("*.pt")
    rest = shared / "rest.pt"
    rest.write_bytes(b"")
    os.utime(rest, (0, 0))
    other_process()
    FileList.from_folder(folder)
    assert sorted(shared.glob("*")) == [path]
