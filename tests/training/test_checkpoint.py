from __future__ import annotations

import errno
import math
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from super_selfish.training import checkpoint as checkpoints
from super_selfish.training.checkpoint import (
    beside,
    checkpoint_path,
    drop_formers,
    former_paths,
    has_checkpoint,
    read_checkpoint,
    try_checkpoint,
    write_atomically,
    write_checkpoint,
)


def test_name_takes_an_ending_and_keeps_its_points() -> None:
    assert checkpoint_path("store/v1.5") == Path("store/v1.5.pt")
    assert checkpoint_path(Path("store/base")) == Path("store/base.pt")
    assert checkpoint_path("store/base.pt") == Path("store/base.pt")
    assert beside("store/base", ".csv") == Path("store/base.csv")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "base.pt"
    write_checkpoint(path, {"weights": torch.arange(3), "rows": [{"loss": 0.5}], "pair": (1, None)})
    state = read_checkpoint(path)
    assert torch.equal(state["weights"], torch.arange(3))
    assert state["rows"] == [{"loss": 0.5}]
    assert state["pair"] == (1, None)


def test_a_failing_write_leaves_the_former_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    write_checkpoint(path, {"epoch": 1})

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert read_checkpoint(path)["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["base.pt"]


def test_what_is_not_plain_is_refused_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=re.escape("checkpoint['a'][1] is a object")):
        write_checkpoint(tmp_path / "base.pt", {"a": [0, object()]})
    assert not list(tmp_path.iterdir())


def test_missing_foreign_broken_and_newer_files_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        read_checkpoint(path)
    torch.save({"weights": 1}, path)
    with pytest.raises(ValueError, match="no checkpoint of Super Selfish"):
        read_checkpoint(path)
    path.write_bytes(b"this is no zip file")
    with pytest.raises(ValueError, match="cannot be read: it is cut short"):
        read_checkpoint(path)
    torch.save({"format": 99}, path)
    with pytest.raises(ValueError, match="upgrade super-selfish"):
        read_checkpoint(path)


def epochs_in(folder: Path) -> dict[str, int]:
    return {path.name: read_checkpoint(path)["epoch"] for path in folder.glob("*.pt")}


def break_it(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("keep_last", "endings"),
    [
        (1, []),
        (2, ["-previous"]),
        (3, ["-previous", "-previous-2"]),
        (4, ["-previous", "-previous-2", "-previous-3"]),
    ],
)
def test_every_file_moves_one_place_back(
    keep_last: int, endings: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "base.pt"
    formers = former_paths(path, keep_last)
    assert [former.name for former in formers] == [f"base{ending}.pt" for ending in endings]
    for epoch in range(6):
        write_checkpoint(path, {"epoch": epoch}, keep_last=keep_last)
    names = ["base.pt", *(former.name for former in formers)]
    assert epochs_in(tmp_path) == {name: 5 - age for age, name in enumerate(names)}


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EMLINK, errno.EIO])
def test_a_disk_without_second_names_copies(
    refusal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(refusal, "refused")

    path = tmp_path / "base.pt"
    write_checkpoint(path, {"epoch": 0})
    monkeypatch.setattr(os, "link", refuse)
    if refusal == errno.EIO:
        with pytest.raises(OSError, match="refused"):
            write_checkpoint(path, {"epoch": 1}, keep_last=2)
        assert epochs_in(tmp_path) == {"base.pt": 0}
    else:
        write_checkpoint(path, {"epoch": 1}, keep_last=2)
        assert epochs_in(tmp_path) == {"base.pt": 1, "base-previous.pt": 0}


def test_a_damaged_file_drives_no_good_one_out(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    for epoch in range(2):
        write_checkpoint(path, {"epoch": epoch}, keep_last=2)
    break_it(path)
    write_checkpoint(path, {"epoch": 2}, keep_last=2)
    assert epochs_in(tmp_path) == {"base.pt": 2, "base-previous.pt": 0}
    path.unlink()
    write_checkpoint(path, {"epoch": 3}, keep_last=2)
    assert epochs_in(tmp_path) == {"base.pt": 3, "base-previous.pt": 0}


def test_the_newest_file_that_is_whole_is_read(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    for epoch in range(3):
        write_checkpoint(path, {"epoch": epoch}, keep_last=3)
    break_it(path)
    with pytest.warns(
        UserWarning, match=r"damaged.* The former checkpoint .*base-previous\.pt was"
    ):
        assert read_checkpoint(path)["epoch"] == 1
    path.unlink()
    with pytest.warns(UserWarning, match=r"there is no checkpoint .*base\.pt\. The former"):
        assert read_checkpoint(path)["epoch"] == 1
    break_it(tmp_path / "base-previous.pt")
    with pytest.warns(UserWarning, match=r"The former checkpoint .*base-previous-2\.pt was taken"):
        assert read_checkpoint(path)["epoch"] == 0
    break_it(tmp_path / "base-previous-2.pt")
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        read_checkpoint(path)


def test_a_former_file_is_a_checkpoint_too(tmp_path: Path) -> None:
    assert not has_checkpoint(tmp_path / "base")
    write_checkpoint(tmp_path / "base.pt", {"epoch": 0})
    assert has_checkpoint(tmp_path / "base")
    (tmp_path / "base.pt").rename(tmp_path / "base-previous.pt")
    assert has_checkpoint(tmp_path / "base")


def test_former_files_go_only_where_the_newest_is_good(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    assert drop_formers(path) == []
    for epoch in range(3):
        write_checkpoint(path, {"epoch": epoch}, keep_last=3)
    good = path.read_bytes()
    break_it(path)
    assert drop_formers(path) == []
    path.write_bytes(good)
    assert drop_formers(path) == former_paths(path, 3)
    assert epochs_in(tmp_path) == {"base.pt": 2}


def test_a_trial_leaves_nothing_and_knows_the_length(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    state = {"weights": torch.arange(1000)}
    length = try_checkpoint(path, state)
    assert not list(tmp_path.iterdir())
    write_checkpoint(path, state)
    assert path.stat().st_size == length


def test_who_judges_sees_plain_values_and_who_makes_way_comes_last(tmp_path: Path) -> None:
    path, seen = tmp_path / "base.pt", list[Any]()

    def judge(state: dict[str, Any], of: Path) -> None:
        seen.append((state["number"], type(state["number"]), of))
        if state["number"] < 0:
            raise ValueError("not wanted")

    def make_way() -> None:
        seen.append(path.exists())

    write_checkpoint(path, {"number": 2}, make_way=make_way, judge=judge)
    assert seen == [(2, int, path), False]
    for write in (write_checkpoint, try_checkpoint):
        with pytest.raises(ValueError, match="not wanted"):
            write(path, {"number": -1}, judge=judge)
    assert read_checkpoint(path)["number"] == 2


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.zeros(2, 1), "b": [1, 2]},
        {"a": torch.zeros(2, dtype=torch.float64), "b": [1, 2]},
        {"a": [0.0, 0.0], "b": [1, 2]},
        {"a": torch.zeros(2), "b": [1, 3]},
        {"a": torch.zeros(2), "b": [1, 2, 3]},
        {"a": torch.zeros(2), "b": (1, 2)},
        {"a": torch.zeros(2), "b": [1, 2.0]},
        {"a": torch.zeros(2)},
        {"a": torch.zeros(2), "b": [1, 2], "c": None},
    ],
)
def test_what_reads_back_as_something_else_takes_no_files_place(
    other: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, state = tmp_path / "base.pt", {"a": torch.zeros(2), "b": [1, 2]}
    back = {"format": checkpoints.FORMAT}
    monkeypatch.setattr(checkpoints, "read_archive", lambda *_, **__: back | state)
    write_checkpoint(path, state)
    path.unlink()
    monkeypatch.setattr(checkpoints, "read_archive", lambda *_, **__: back | other)
    with pytest.raises(OSError, match="what was written reads back as something else"):
        write_checkpoint(path, state)
    assert not list(tmp_path.iterdir())


def test_the_format_is_the_first(tmp_path: Path) -> None:
    # Another number makes what is written unreadable for earlier versions of the library.
    write_checkpoint(tmp_path / "base.pt", {"number": 3})
    assert torch.load(tmp_path / "base.pt", weights_only=True)["format"] == 1


def test_what_is_no_number_reads_back_as_itself(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "base.pt", {"loss": math.nan})
    assert math.isnan(read_checkpoint(tmp_path / "base.pt")["loss"])


@pytest.mark.parametrize(("back", "written"), [(math.nan, 1.0), (1.0, math.nan)])
def test_a_number_that_reads_back_as_none_or_none_as_a_number_is_no_checkpoint(
    back: float, written: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"format": checkpoints.FORMAT, "loss": back}
    monkeypatch.setattr(checkpoints, "read_archive", lambda *_, **__: found)
    with pytest.raises(OSError, match="what was written reads back as something else"):
        write_checkpoint(tmp_path / "base.pt", {"loss": written})
