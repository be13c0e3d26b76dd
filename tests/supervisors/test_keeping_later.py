"""Large checkpoints, which are written while the run goes on."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.data import Batch, Collator, to_unit_range
from super_selfish.models import CombinedNet
from super_selfish.supervisors import Supervisor, keeping
from super_selfish.training import Callback, later
from super_selfish.training.checkpoint import checkpoint_path, read_checkpoint
from tests.conftest import TinyBackbone

STEPS = 6  # an epoch: 22 images in batches of 4
PATIENCE = 120  # seconds


class HalfCollator(Collator):
    """Is the image bright?"""

    def augment(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images = to_unit_range(batch.images)
        return images, (images.mean(dim=(1, 2, 3)) > 0.3).long()


class Acting(Supervisor):
    """Does something in a step."""

    acts: dict[int, Callable[[], object]]

    def _forward(self, data: Any) -> Any:
        assert self.run is not None
        self.acts.get(self.run.global_step, lambda: None)()
        return super()._forward(data)


def build(images: Tensor, acts: dict[int, Callable[[], object]] | None = None) -> Acting:
    torch.manual_seed(0)
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    supervisor = Acting(network, images, nn.CrossEntropyLoss(), HalfCollator())
    supervisor.acts = acts or {}
    return supervisor


def train(supervisor: Supervisor, folder: Path, **more: Any) -> None:
    given: dict[str, Any] = {"epochs": 2, "batch_size": 4, "lr": 0.01, "checkpoint_every": 2}
    supervisor.supervise(**{**given, "name": folder / "base", "progress": False, **more})


def position(state: dict[str, Any]) -> int:
    step: int = state["run"]["epoch"] * STEPS + state["run"]["step"]
    return step


class Written:
    """Watches what is written: by which thread, at which step, and with which weights."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[str] = []
        self.states: dict[int, dict[str, Any]] = {}
        self.before: Callable[[int], object] = lambda step: None
        write = keeping.write_record

        def watch(supervisor: Any, name: Any, record: Any, keep_last: int) -> None:
            thread = threading.current_thread()
            self.threads.append("main" if thread is threading.main_thread() else thread.name)
            self.before(position(record))
            write(supervisor, name, record, keep_last)
            state = read_checkpoint(checkpoint_path(name))
            self.states[position(state)] = state

        monkeypatch.setattr(keeping, "write_record", watch)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    monkeypatch.setattr(later, "LARGE", 1)
    return Written(monkeypatch)


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    weights = [
        torch.cat([v.flatten().double() for v in s["model"].values()]) for s in (first, second)
    ]
    return torch.equal(*weights) and str(first["run"]["optimizer"]) == str(
        second["run"]["optimizer"]
    )


def test_training_goes_on_while_its_state_is_written_as_it_was(
    images: Tensor, tmp_path: Path, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()

    def wait(step: int) -> None:
        if step == 4:
            assert may_end.wait(PATIENCE)

    written.before = wait
    supervisor = build(images, {5: may_end.set})  # two steps later, so that it is written amid them
    train(supervisor, tmp_path)

    assert written.threads[:3] == ["main", "checkpoint", "checkpoint"]
    assert written.threads[-1] == "main"  # the last one
    assert threading.active_count() == 1 or "checkpoint" not in {
        t.name for t in threading.enumerate()
    }

    monkeypatch.setattr(later, "LARGE", 10**9)
    plain = Written(monkeypatch)
    train(build(images), tmp_path / "other")
    assert set(plain.threads) == {"main"}
    assert plain.states.keys() == written.states.keys() == {2, 4, 6, 8, 10, 12}
    assert all(same(plain.states[step], state) for step, state in written.states.items())
    csv = [
        (folder / "base.csv").read_text().count("\n") for folder in (tmp_path, tmp_path / "other")
    ]
    assert csv == [3, 3]


def test_what_goes_wrong_beside_is_told_at_the_next_checkpoint(
    images: Tensor, tmp_path: Path, written: Written
) -> None:
    def fail(step: int) -> None:
        if step == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    written.before = fail
    with pytest.warns(
        UserWarning,
        match=r"the run cannot be stored .*No space left.* tries again\. "
        r"The last good file, .*, was stored after 0 epochs and 2 steps",
    ):
        train(build(images), tmp_path)
    assert position(read_checkpoint(checkpoint_path(tmp_path / "base"))) == 2 * STEPS
    assert 4 not in written.states


def test_the_last_state_is_stored_whatever_went_wrong_beside(
    images: Tensor, tmp_path: Path, written: Written
) -> None:
    def fail(step: int) -> None:
        if step == 2 * STEPS and threading.current_thread() is not threading.main_thread():
            raise BufferError("no room for a sum")

    written.before = fail
    with pytest.raises(BufferError, match="no room for a sum"):
        train(build(images), tmp_path)
    assert written.threads[-2:] == ["checkpoint", "main"]
    assert position(read_checkpoint(checkpoint_path(tmp_path / "base"))) == 2 * STEPS


def test_ctrl_c_waits_for_what_is_being_written_and_stores_the_newest(
    images: Tensor, tmp_path: Path, written: Written
) -> None:
    may_end = threading.Event()

    def wait(step: int) -> None:
        if step == 4:
            assert may_end.wait(PATIENCE)

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        may_end.set()

    written.before = wait
    supervisor = build(images, {4: interrupt})
    with pytest.raises(KeyboardInterrupt):
        train(supervisor, tmp_path)
    assert written.threads == ["main", "checkpoint", "main"]
    assert position(read_checkpoint(checkpoint_path(tmp_path / "base"))) == 5

    again = build(images)
    train(again, tmp_path, resume=True)
    whole = build(images)
    train(whole, tmp_path / "other")
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True)
    )


def test_who_listens_to_checkpoints_finds_them_written(
    images: Tensor, tmp_path: Path, written: Written
) -> None:
    class Listens(Callback):
        def on_checkpoint(self, supervisor: Any, path: Path) -> None:
            found.append(position(read_checkpoint(path)) - supervisor.run.global_step)

    found: list[int] = []
    train(build(images), tmp_path, callbacks=[Listens()])
    assert set(written.threads) == {"main"} and set(found) == {0}


def test_what_a_callback_saves_is_not_replaced_by_what_is_older(
    images: Tensor, tmp_path: Path, written: Written
) -> None:
    may_end = threading.Event()
    found: list[list[int]] = []

    def wait(step: int) -> None:
        if step == 4:
            assert may_end.wait(PATIENCE)

    def save() -> None:
        threading.Timer(0.2, may_end.set).start()
        supervisor.save(tmp_path / "own")
        found.append(sorted(written.states))

    written.before = wait
    supervisor = build(images, {5: save})
    train(supervisor, tmp_path)
    assert found == [[2, 4]]  # that of step 4 first
