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
from super_selfish.training.aside import OwnFiles, set_aside, set_file_aside
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


def touched(folder: Path, *endings: str) -> None:
    for ending in endings:
        (folder / f"base{ending}").write_text(ending)
        os.utime(folder / f"base{ending}", (1e9, 1e9))


def test_what_lies_beside_no_checkpoint_makes_way_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touched(tmp_path, ".csv", "-best.pt", ".html", "-other.pt")
    assert set_aside(tmp_path / "base") is None
    assert {"base-other.pt", "base.html"} <= set(names(tmp_path))
    dated = [name for name in names(tmp_path) if re.match(DATED, name)]
    assert [re.sub(DATED, "", name) for name in dated] == ["-best.pt", ".csv"]
    (line,) = caplog.messages
    before = f"{tmp_path / 'base-best.pt'}, {tmp_path / 'base.csv'}"
    assert line == f"{before} had been there without a checkpoint: now {dated[0]}, {dated[1]}"
    assert set_aside(tmp_path / "base") is None and len(caplog.messages) == 1


def test_one_former_run_is_not_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        touched(tmp_path, ".pt")
        set_aside(tmp_path / "base")
    first, second = caplog.messages
    assert "former runs" not in first and "(one of 2 former runs, 0 MB)" in second


def test_a_file_gets_the_date_of_its_last_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = []
    for _ in range(2):
        touched(tmp_path, "-nan.pt")
        kept.append(set_file_aside(tmp_path / "base-nan.pt"))
    assert names(tmp_path) == sorted(path.name for path in kept)
    assert all(re.fullmatch(rf"base-nan-{DATED[5:]}\.pt", path.name) for path in kept)
    assert caplog.messages[0] == f"{tmp_path / 'base-nan.pt'} had been there before: now {kept[0]}"


@pytest.mark.parametrize(
    ("replaces", "has_history", "is_kept"),
    [(False, False, True), (True, False, False), (True, True, True)],
)
def test_a_file_beside_a_run_makes_way_where_it_is_not_its_own(
    replaces: bool, has_history: bool, is_kept: bool, tmp_path: Path
) -> None:
    files = OwnFiles()
    files.begin_run(tmp_path / "base", replaces=replaces)
    assert files.formers_are_own == replaces
    files.make_way_for(tmp_path / "base-nan.pt")  # which is not there
    touched(tmp_path, "-nan.pt", *(["-nan.csv"] if has_history else []))
    files.make_way_for(tmp_path / "base-nan.pt")
    assert (tmp_path / "base-nan.pt").is_file() != is_kept


def test_a_run_makes_way_once_for_all_that_it_writes(tmp_path: Path) -> None:
    files = OwnFiles()
    files.begin_run(tmp_path / "base", replaces=False)
    touched(tmp_path, ".pt", "-best.pt")
    files.make_way(tmp_path / "base-best")
    assert not (tmp_path / "base.pt").exists() and not (tmp_path / "base-best.pt").exists()
    assert files.formers_are_own
    touched(tmp_path, ".pt", "-best.pt")
    files.make_way(tmp_path / "base")
    assert (tmp_path / "base.pt").exists() and (tmp_path / "base-best.pt").exists()
    touched(tmp_path, "-own.pt")  # of no run
    files.make_way(tmp_path / "base-own")
    assert not (tmp_path / "base-own.pt").exists()


def test_a_run_of_its_own_at_a_name_beside_makes_way_though_the_run_goes_on(
    tmp_path: Path,
) -> None:
    files = OwnFiles()
    files.begin_run(tmp_path / "base", replaces=True)
    touched(tmp_path, ".pt", "-best.pt", "-best.csv", "-epoch-2.pt")
    files.make_way(tmp_path / "base")
    left = names(tmp_path)
    assert {"base.pt", "base-epoch-2.pt"} <= set(left)
    assert "base-best.pt" not in left and "base-best.csv" not in left


def test_a_run_knows_its_file_by_a_path_from_here(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    supervisor = rotate(images)
    supervisor.supervise(**settings(tmp_path))
    supervisor.save("base")
    assert names(tmp_path) == ["base.csv", "base.pt"]
