from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from super_selfish.training.checkpoint import (
    beside,
    checkpoint_path,
    read_checkpoint,
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
