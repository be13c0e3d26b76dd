"""A run that is stored stays, whoever loads, saves, deletes or resumes it."""

from __future__ import annotations

import errno
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.supervisors import JigsawNetSupervisor, PIRLSupervisor, RotateNetSupervisor
from super_selfish.training import checkpoint as checkpoints
from super_selfish.training import locking
from super_selfish.training.checkpoint import read_checkpoint, write_checkpoint
from super_selfish.training.naming import require_room
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


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("ending", [".csv", "-best.pt", "-previous.pt", "-nan.pt"])
def test_files_that_a_name_implies_make_way_without_a_checkpoint(
    images: Tensor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    ending: str,
    overwrite: bool,
) -> None:
    if ending == "-previous.pt" and overwrite:
        pytest.skip("a former file of the run that shall be replaced")
    (tmp_path / f"a{ending}").write_text("the user's own")
    (tmp_path / "a.html").write_text("not touched by a run")
    new(images).supervise(**options(tmp_path, overwrite=overwrite, checkpoint_every=1))
    (line,) = caplog.messages
    kept = [path for path in tmp_path.iterdir() if path.name in line.partition("now ")[2]]
    assert [path.read_text() for path in kept] == ["the user's own"]
    assert (tmp_path / "a.html").read_text() == "not touched by a run"


@pytest.mark.parametrize("call", [{"overwrite": True}, {"resume": True, "epochs": 3}, {}], ids=str)
def test_a_run_whose_name_is_that_of_a_companion_makes_way_whole(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture, call: dict[str, Any]
) -> None:
    new(images).supervise(**options(tmp_path))
    (tmp_path / "a-previous.pt").unlink(missing_ok=True)
    new(images).supervise(**options(tmp_path, name=tmp_path / "a-previous"))
    other = (tmp_path / "a-previous.pt").read_bytes()
    new(images).supervise(**options(tmp_path, checkpoint_every=1, **{"epochs": 2, **call}))
    assert any(path.read_bytes() == other for path in tmp_path.glob("a-previous-2*.pt"))
    assert f"the former run at {tmp_path / 'a-previous.pt'} is now" in caplog.text


def test_a_report_of_somebody_else_makes_way(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("matplotlib")
    supervisor = new(images)
    (tmp_path / "a.html").write_text("<html>mine</html>")
    page = supervisor.report(tmp_path / "a")
    (kept,) = tmp_path.glob("a-*.html")
    assert kept.read_text() == "<html>mine</html>" and str(kept) in caplog.messages[-1]
    assert supervisor.report(tmp_path / "a") == page
    assert list(tmp_path.glob("a-*.html")) == [kept]


def test_a_lock_file_of_somebody_else_is_not_touched(images: Tensor, tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text('[[package]]\nname = "x"')
    with pytest.raises(OSError, match=r"a\.lock is no lock of a run.*give another name="):
        new(images).supervise(**options(tmp_path))
    assert (tmp_path / "a.lock").read_text() == '[[package]]\nname = "x"'


def test_an_ending_given_twice_is_the_same_file_for_all(images: Tensor, tmp_path: Path) -> None:
    name = tmp_path / "x.pt.pt"
    trained = new(images).supervise(**options(tmp_path, name=name))
    assert same_plain(dict(new().load(name).state_dict()), dict(trained.state_dict()))
    trained.save(name)
    assert {path.name for path in tmp_path.glob("*.pt")} == {"x.pt"}
    with pytest.raises(ValueError, match="name is the path of a file"):
        new(images).supervise(**options(tmp_path, name=tmp_path / ".pt"))


@pytest.mark.parametrize("kind", [JigsawNetSupervisor, PIRLSupervisor])
@pytest.mark.parametrize("wrong", [9, -1, 0])
def test_a_table_of_no_permutations_is_refused(tmp_path: Path, kind: Any, wrong: int) -> None:
    kind(backbone=TinyBackbone(), image_size=64).save(tmp_path / "a")
    state = read_checkpoint(tmp_path / "a.pt")
    state["model"]["permutations"][1] = wrong
    write_checkpoint(tmp_path / "a.pt", state)
    with pytest.raises(ValueError, match="its 'permutations' are not rows of the numbers 0 to "):
        kind(backbone=TinyBackbone(), image_size=64).load(tmp_path / "a")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    new().save(tmp_path / "a")
    state = read_checkpoint(tmp_path / "a.pt")
    weight = next(iter(state["model"]))
    state["model"][weight].view(-1)[0] = float("nan")
    write_checkpoint(tmp_path / "a.pt", state)
    with pytest.raises(ValueError, match=f"holds weights that are not finite: {weight}"):
        new().load(tmp_path / "a")


@pytest.mark.parametrize("value", ["x", -1, None, 1.5])
def test_a_crafted_place_of_a_run_is_refused(images: Tensor, tmp_path: Path, value: Any) -> None:
    new(images).supervise(**options(tmp_path, epochs=1))
    state = read_checkpoint(tmp_path / "a.pt")
    state["run"]["epochs_before"] = value
    write_checkpoint(tmp_path / "a.pt", state)
    with pytest.raises(ValueError, match="its 'run' has another form"):
        new(images).supervise(**options(tmp_path, resume=True))


def test_the_last_state_is_stored_rather_than_a_former_file_kept(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = checkpoints.write_archive

    def full(file: Any, value: Any) -> None:
        if isinstance(value, dict) and (tmp_path / "a-previous.pt").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        written(file, value)

    whole = new(images).supervise(**options(tmp_path, name=None))
    monkeypatch.setattr(checkpoints, "write_archive", full)
    with pytest.warns(UserWarning) as told:
        new(images).supervise(**options(tmp_path, checkpoint_every=1))
    assert "a-previous.pt had to be removed" in str(told[-1].message)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["a-previous.pt", "a.pt"]
    assert same_plain(dict(new().load(tmp_path / "a").state_dict()), dict(whole.state_dict()))


@pytest.mark.parametrize(("keep_last", "is_told"), [(2, True), (1, False)])
def test_room_for_all_files_of_a_run_is_asked_for_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_last: int, is_told: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=25_000_000))
    asked = partial(require_room, str(tmp_path / "a"), 10_000_000, (keep_last + 1) * 10_000_000)
    if is_told:
        with pytest.warns(UserWarning, match=r"25\.0 MB left.* may take 30\.0 MB at a time"):
            asked()
    else:
        asked()


def test_a_full_disk_is_told_by_name_and_leaves_no_lock(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(locking.os, "write", full)
    with pytest.raises(OSError, match=r"nothing can be stored at .*a\.lock: No space left"):
        new(images).supervise(**options(tmp_path))
    assert list(tmp_path.iterdir()) == []
