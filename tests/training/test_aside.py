from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.evaluation import Monitor
from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training.aside import OwnFiles, set_aside
from tests.conftest import TinyBackbone

DATED = r"base-\d{4}-\d\d-\d\d-\d{6}(-\d+)?"


def rotate(images: Any) -> RotateNetSupervisor:
    torch.manual_seed(0)
    return RotateNetSupervisor(images, backbone=TinyBackbone())


def settings(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": 8, "name": tmp_path / "base", "progress": False, **more}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "-previous" not in path.name)


def test_a_former_run_is_kept_with_all_its_files(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = rotate(images)
    first.supervise(**settings(tmp_path, monitor=Monitor(keep_best="rankme", every=1)))
    (tmp_path / "base.html").write_text("a report")
    (tmp_path / "base-of-another.pt").write_text("somebody's")
    former = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert caplog.messages == []
    rotate(images).supervise(**settings(tmp_path, epochs=2))
    (line,) = caplog.messages
    match = re.search(rf"is now (\S+/({DATED})\.pt); overwrite=True", line)
    assert match is not None
    dated = match[2]
    for ending in (".pt", ".csv", ".html", "-best.pt"):
        assert (tmp_path / f"{dated}{ending}").read_bytes() == former[f"base{ending}"]
    expected = [f"{dated}{e}" for e in (".pt", ".csv", ".html", "-best.pt")]
    assert names(tmp_path) == sorted([*expected, "base.pt", "base.csv", "base-of-another.pt"])
    assert len(RotateNetSupervisor(backbone=TinyBackbone()).load(tmp_path / dated).history or [1])
    stored = torch.load(tmp_path / "base.pt", weights_only=True)
    assert stored["run"]["epoch"] == 2


def test_many_runs_are_all_kept_and_counted(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = rotate(images)
    for _ in range(4):  # the cell of a notebook, run again and again
        supervisor.supervise(**settings(tmp_path))
    formers = [name for name in names(tmp_path) if re.fullmatch(rf"{DATED}\.pt", name)]
    assert len(formers) == 3
    assert "one of 3 former runs" in caplog.messages[-1]


@pytest.mark.parametrize("call", [{"resume": True, "epochs": 2}, {"overwrite": True}])
def test_a_run_that_goes_on_or_shall_replace_keeps_no_former(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture, call: dict[str, Any]
) -> None:
    rotate(images).supervise(**settings(tmp_path))
    rotate(images).supervise(**settings(tmp_path, **call))
    assert names(tmp_path) == ["base.csv", "base.pt"]
    assert not [message for message in caplog.messages if "former run" in message]


def test_pretrained_from_the_same_name_keeps_what_it_began_with(
    images: Tensor, tmp_path: Path
) -> None:
    rotate(images).supervise(**settings(tmp_path))
    former = (tmp_path / "base.pt").read_bytes()
    rotate(images).supervise(**settings(tmp_path, pretrained=True))
    (kept,) = [path for path in tmp_path.iterdir() if re.fullmatch(rf"{DATED}\.pt", path.name)]
    assert kept.read_bytes() == former


def test_a_run_that_stops_before_it_stores_moves_nothing(images: Tensor, tmp_path: Path) -> None:
    class Stops(RotateNetSupervisor):
        def _forward(self, data: Any) -> Any:
            raise KeyboardInterrupt

    RotateNetSupervisor(images, backbone=TinyBackbone()).supervise(**settings(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        Stops(images, backbone=TinyBackbone()).supervise(**settings(tmp_path))
    assert names(tmp_path) == ["base.csv", "base.pt"]


def test_a_stopped_run_is_kept_and_can_go_on_under_its_new_name(
    images: Tensor, tmp_path: Path
) -> None:
    class Stops(RotateNetSupervisor):
        stop_at = 4

        def _forward(self, data: Any) -> Any:
            assert self.run is not None
            if self.run.global_step == self.stop_at:
                raise KeyboardInterrupt
            return super()._forward(data)

    torch.manual_seed(0)
    whole = Stops(images, backbone=TinyBackbone())
    whole.stop_at = -1
    whole.supervise(**settings(tmp_path, epochs=3, name=None))
    torch.manual_seed(0)
    stopped = Stops(images, backbone=TinyBackbone())
    with pytest.raises(KeyboardInterrupt):
        stopped.supervise(**settings(tmp_path, epochs=3, checkpoint_every=1))
    rotate_like = Stops(images, backbone=TinyBackbone())
    rotate_like.stop_at = -1
    rotate_like.supervise(**settings(tmp_path))
    (kept,) = [path for path in tmp_path.iterdir() if re.fullmatch(rf"{DATED}\.pt", path.name)]
    resumed = Stops(images, backbone=TinyBackbone())
    resumed.stop_at = -1
    resumed.supervise(**settings(tmp_path, epochs=3, name=kept, resume=True))
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_save_replaces_what_is_its_own_only(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = rotate(images).supervise(**settings(tmp_path))
    trained.save(tmp_path / "base")
    loaded = RotateNetSupervisor(backbone=TinyBackbone()).load(tmp_path / "base")
    loaded.save(tmp_path / "base")
    assert names(tmp_path) == ["base.csv", "base.pt"]
    former = (tmp_path / "base.pt").read_bytes()
    rotate(images).save(tmp_path / "base")
    (kept,) = [path for path in tmp_path.iterdir() if re.fullmatch(rf"{DATED}\.pt", path.name)]
    assert kept.read_bytes() == former
    assert "the former run at" in caplog.messages[-1]


def test_two_of_the_same_second_have_two_names(tmp_path: Path) -> None:
    kept = []
    for number in range(3):
        (tmp_path / "base.pt").write_text(str(number))
        os.utime(tmp_path / "base.pt", (1e9, 1e9))
        kept.append(set_aside(tmp_path / "base"))
    assert [path.read_text() for path in kept if path is not None] == ["0", "1", "2"]
    assert set_aside(tmp_path / "base") is None


def test_a_checkpoint_that_somebody_changed_is_not_replaced(tmp_path: Path) -> None:
    files = OwnFiles()
    (tmp_path / "own.pt").write_text("mine")
    files.note(tmp_path / "own")
    (tmp_path / "own.pt").write_text("another's")
    files.make_way(tmp_path / "own")
    assert not (tmp_path / "own.pt").exists()
    (kept,) = tmp_path.iterdir()
    assert kept.read_text() == "another's"
