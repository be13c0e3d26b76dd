"""Processes that read images: they hang, are killed, or fail in the user's own code."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._utils import ExceptionWrapper

from super_selfish.data.samples import DatasetError
from super_selfish.data.sources import ImageSource
from super_selfish.data.workers import (
    WorkerError,
    batches_of,
    parse_timeout,
    worker_faults_explained,
    workers_ended,
)
from super_selfish.supervisors import RotateNetSupervisor
from tests.conftest import TinyBackbone

needs_signals = pytest.mark.skipif(os.name == "nt", reason="other systems have other signals")


class Items:
    """Does something at item 5, in a worker only."""

    def __init__(self, at_five: Callable[[], Any]) -> None:
        self.at_five = at_five
        self.owner = os.getpid()

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        if index == 5 and os.getpid() != self.owner:
            self.at_five()
        return torch.full((3, 32, 32), index / 10)


def train(at_five: Callable[[], Any], **settings: Any) -> None:
    supervisor = RotateNetSupervisor(Items(at_five), TinyBackbone(), nn.Linear(16, 4))
    supervisor.supervise(
        epochs=1, batch_size=2, shuffle=False, num_workers=1, name=None, progress=False, **settings
    )


def hang() -> None:
    time.sleep(3)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_hangs_ends_the_run_with_what_to_look_at() -> None:
    started = time.monotonic()
    with pytest.raises(WorkerError, match=r"gave a batch within 1 s.*worker_timeout=") as caught:
        train(hang, worker_timeout=1)
    assert "It was to give the items 4, 5 of the dataset." in str(caught.value)
    assert time.monotonic() - started < 20


def test_a_worker_that_exits_is_told_of() -> None:
    with pytest.raises(WorkerError, match=r"a process that reads images ended \(exit code 3\), "):
        train(partial(os._exit, 3))


@needs_signals
def test_a_worker_that_the_system_kills_is_told_of_in_words() -> None:
    with pytest.raises(
        WorkerError, match=r"was killed \(Killed\), most often by the system.*num_w"
    ):
        train(die)


class Failing(Items):
    """Has a fault of its own."""

    is_broken = False

    def __getitem__(self, index: int) -> Any:
        if index == 5 and self.is_broken:
            raise LookupError("no such colour")
        return super().__getitem__(index)


def test_an_exception_of_the_dataset_names_the_item_and_stays_behind() -> None:
    source = ImageSource(Failing(hang))
    source.dataset.is_broken = True
    for ask in (source.__getitem__, source.raw, source.label, source.subset([5] * 6).raw):
        with pytest.raises(
            DatasetError, match=r"^Failing\[5\] fails \(item 5\): LookupE"
        ) as caught:
            ask(5)
        assert isinstance(caught.value.__cause__, LookupError)


def test_an_exception_in_a_worker_names_the_item_as_well() -> None:
    source = ImageSource(Failing(hang))
    source.dataset.is_broken = True
    try:
        source[5]
    except DatasetError as error:
        wrapper = ExceptionWrapper((type(error), error, error.__traceback__), "in a worker")
    with pytest.raises(DatasetError, match=r"Failing\[5\] fails \(item 5\): LookupError: no such"):
        wrapper.reraise()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "DataLoader worker (pid(s) 1, 2) exited unexpectedly",
            "an exit in the dataset",
        ),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
            "dataloader's workers are out of shared memory. Please try to raise your shared memory "
            "limit.",
            "/dev/shm is full",
        ),
        ("DataLoader worker (pid 7) is killed by signal: Segmentation fault. ", "by a fault in a"),
        ("DataLoader timed out after 5 seconds", "within 5 s"),
    ],
)
def test_what_torch_says_of_workers_is_explained(said: str, expected: str) -> None:
    with pytest.raises(WorkerError, match=expected) as caught, worker_faults_explained():
        raise RuntimeError(said)
    assert str(caught.value.__cause__) == said


def test_any_other_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="size mismatch") as caught, worker_faults_explained():
        raise RuntimeError("size mismatch")
    assert type(caught.value) is RuntimeError


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, 0.0), (5, 5.0), (0.5, 0.5), ("90s", 90.0), ("2min", 120.0)]
)
def test_a_timeout_is_seconds_or_a_time(given: Any, seconds: float) -> None:
    assert parse_timeout(given) == seconds


@pytest.mark.parametrize("wrong", [0, -1, "soon", "5", True, "0s"])
def test_other_timeouts_are_refused_before_anything_is_read(wrong: Any) -> None:
    with pytest.raises(ValueError, match="worker_timeout is a number of seconds, a time such as"):
        train(hang, worker_timeout=wrong)


def test_no_process_that_reads_images_is_left_after_a_run(images: Tensor) -> None:
    class Keeping(RotateNetSupervisor):
        """Never forgets a loader, as one in a circle of references is not forgotten at once."""

        def _init_data_optimizer(self, *args: Any) -> Any:
            self.kept = super()._init_data_optimizer(*args)
            return self.kept

    before = set(multiprocessing.active_children())
    supervisor = Keeping(images, nn.Sequential(nn.Conv2d(3, 4, 9, 9)))
    supervisor.supervise(epochs=2, batch_size=11, num_workers=2, name=None, progress=False)
    assert set(multiprocessing.active_children()) <= before
    supervisor.supervise(epochs=1, batch_size=11, num_workers=1, name=None, progress=False)
    assert set(multiprocessing.active_children()) <= before
    with workers_ended(object()):  # whatever has none stays as it is
        pass


@pytest.mark.parametrize(
    ("codes", "how"),
    [
        (None, r"was killed \(Aborted\), most often by a fault in a library"),
        ([None, 0], r"was killed \(Aborted\)"),  # which ended well does not tell more
        ([1, -9], r"was killed \(Killed\), most often by the system"),
        ([-7], r"was killed \(Bus error\), most often since /dev/shm is full"),
    ],
)
@needs_signals
def test_how_a_worker_ended_is_told_by_the_worst_of_them(codes: Any, how: str) -> None:
    with pytest.raises(WorkerError, match=how), worker_faults_explained(of_codes(codes)):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Aborted. ")


def of_codes(codes: Any) -> Any:
    """What torch iterates over, with workers that have ended so; each end is noted."""
    workers = [] if codes is None else [SimpleNamespace(exitcode=code) for code in codes]
    ended: list[bool] = []
    return SimpleNamespace(
        _workers=workers, _shutdown_workers=lambda: ended.append(True), ended=ended
    )


def test_what_breaks_off_is_of_a_worker_only_where_one_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("super_selfish.data.workers._SECONDS_BETWEEN", 0.001)
    dead = of_codes([3])
    with pytest.raises(WorkerError, match=r"ended \(exit code 3\), most often by an exit in"):
        with worker_faults_explained(SimpleNamespace(_iterator=dead)):
            raise ConnectionResetError("reset")
    assert dead.ended == [True]
    for alive in (of_codes([None]), of_codes([]), None):
        with pytest.raises(EOFError, match="mine"), worker_faults_explained(alive):
            raise EOFError("mine")
    with pytest.raises(RuntimeError, match="mine"), worker_faults_explained(dead):
        raise RuntimeError("mine")


def test_workers_are_looked_at_until_one_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late:
        looks = 0

        @property
        def exitcode(self) -> int | None:
            self.looks += 1
            return 4 if self.looks > 30 else None

    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    late = Late()
    with pytest.raises(EOFError), worker_faults_explained(SimpleNamespace(_workers=[late])):
        raise EOFError
    assert (late.looks, slept) == (20, [0.05] * 20)  # a second in all
    with pytest.raises(WorkerError, match="exit code 4"):
        with worker_faults_explained(SimpleNamespace(_workers=[late])):
            raise EOFError


def test_workers_are_ended_though_torch_interrupts_it() -> None:
    class Interrupted:
        _workers = (1, 2)
        tries = 0
        said = "DataLoader worker (pid 7) is killed by signal"

        def _shutdown_workers(self) -> None:
            self.tries += 1
            if self.tries < 3:
                raise RuntimeError(self.said)

    loader = SimpleNamespace(_iterator=Interrupted())
    reader = loader._iterator
    with workers_ended(loader):
        assert reader.tries == 0
    assert reader.tries == 3
    assert loader._iterator is None
    with workers_ended(object()):
        pass
    other = Interrupted()
    other.said = "something else"
    with pytest.raises(RuntimeError, match="something else"):
        with workers_ended(SimpleNamespace(_iterator=other)):
            pass


def test_batches_are_counted_for_who_describes_them() -> None:
    class Loader:
        def __iter__(self) -> Any:
            yield "a"
            yield "b"
            raise RuntimeError("DataLoader timed out after 2.5 seconds")

    batches = batches_of(Loader(), lambda number: f"number {number}")  # type: ignore[arg-type]
    assert [next(batches), next(batches)] == ["a", "b"]
    with pytest.raises(WorkerError, match=r"within 2.5 s.* It was to give number 2\.$") as caught:
        next(batches)
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(WorkerError, match=r"all of it\.$"):
        list(batches_of(Loader()))  # type: ignore[arg-type]


def test_seconds_may_be_of_any_kind_of_number() -> None:
    assert parse_timeout(np.float32(0.5)) == 0.5  # type: ignore[arg-type]
    assert type(parse_timeout(5)) is float
    for wrong in ([5], -0.5, float("nan")):
        with pytest.raises(ValueError, match="worker_timeout is a number of seconds"):
            parse_timeout(wrong)  # type: ignore[arg-type]
