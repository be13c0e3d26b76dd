"""A run that is stored stays, whoever loads, saves, deletes or resumes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training.checkpoint import read_checkpoint
from super_selfish.training.plain import same_plain
from tests.conftest import TinyBackbone


def new(images: Any = None, backbone: nn.Module | None = None) -> RotateNetSupervisor:
    torch.manual_seed(0)
    return RotateNetSupervisor(images, backbone or TinyBackbone(), image_size=32)


def options(folder: Path, **more: Any) -> dict[str, Any]:
    return {"epochs": 2, "batch_size": 11, "name": folder / "a", "progress": False, **more}


@pytest.mark.parametrize("target", ["a", "b"])
def test_what_was_loaded_is_saved_with_its_run(images: Tensor, tmp_path: Path, target: str) -> None:
    whole = new(images).supervise(**options(tmp_path, epochs=3, name=None))
    new(images).supervise(**options(tmp_path))
    before = read_checkpoint(tmp_path / "a.pt")
    new().load(tmp_path / "a").save(tmp_path / target)
    assert same_plain(read_checkpoint(tmp_path / f"{target}.pt"), before)
    resumed = new(images)
    resumed.supervise(**options(tmp_path, epochs=3, name=tmp_path / target, resume=True))
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_what_was_trained_after_loading_is_saved_with_the_new_run(
    images: Tensor, tmp_path: Path
) -> None:
    new(images).supervise(**options(tmp_path))
    trained = new(images).load(tmp_path / "a")
    trained.supervise(**options(tmp_path, epochs=1, name=None)).save(tmp_path / "b")
    run = read_checkpoint(tmp_path / "b.pt")["run"]
    assert (run["epoch"], run["epochs_before"], len(run["history"]["rows"])) == (1, 2, 1)


def test_what_is_loaded_over_a_trained_object_brings_its_own_run(
    images: Tensor, tmp_path: Path
) -> None:
    new(images).save(tmp_path / "bare")
    trained = new(images).supervise(**options(tmp_path))
    trained.load(tmp_path / "bare").save(tmp_path / "b")
    assert read_checkpoint(tmp_path / "b.pt")["run"] is None


def test_resuming_a_checkpoint_without_a_run_says_so(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new(images).save(tmp_path / "a")
    resumed = new(images).supervise(**options(tmp_path, resume=True))
    assert "a.pt holds networks and no run that could go on" in caplog.messages[0]
    assert [row["epoch"] for row in resumed.history] == [1, 2]


def test_a_run_of_which_the_newest_file_is_gone_goes_on_from_the_former(
    images: Tensor, tmp_path: Path
) -> None:
    whole = new(images).supervise(**options(tmp_path, epochs=3, name=None))
    new(images).supervise(**options(tmp_path, checkpoint_every=2))
    former = read_checkpoint(tmp_path / "a-previous.pt")
    (tmp_path / "a.pt").unlink()
    with pytest.warns(UserWarning, match=r"no checkpoint .*a\.pt\. The former .*previous\.pt was"):
        loaded = new().load(tmp_path / "a")
    assert same_plain(loaded.state_dict(), dict(former["model"]))
    with pytest.warns(UserWarning, match=r"former checkpoint .*a-previous\.pt was taken instead"):
        resumed = new(images).supervise(**options(tmp_path, epochs=3, resume=True))
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]
    assert same_plain(read_checkpoint(tmp_path / "a-previous.pt"), former)
