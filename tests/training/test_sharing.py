"""Runs that go on with another number of processes.

Each process is pretended here: one that knows its number, and averages with nobody.
"""

from __future__ import annotations

import copy
import math
import shutil
from collections import Counter
from collections.abc import Iterable
from itertools import chain, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from super_selfish.data.loaders import EpochBatches
from super_selfish.supervisors import MultiTaskSupervisor, RotateNetSupervisor
from super_selfish.training import Callback
from super_selfish.training.schedules import Cosine
from super_selfish.training.sharing import Place, Sharing, announce_sharing, place_after
from tests.conftest import TinyBackbone


def orders(images: int, size: int, processes: int) -> list[EpochBatches]:
    """Of each process, in the second epoch."""
    each = [
        EpochBatches(images, size, seed=3, rank=rank, world_size=processes)
        for rank in range(processes)
    ]
    for order in each:
        order.start_at(1)
    return each


def flat(steps: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(steps))


def steps_of(each: list[EpochBatches]) -> list[list[int]]:
    """The images of each step, of all processes."""
    return [flat(parts) for parts in zip(*map(list, each), strict=True)]


@pytest.mark.parametrize(("images", "size"), [(48, 8), (50, 8), (22, 4), (17, 8), (5, 12)])
def test_a_full_step_has_the_same_images_in_any_number_of_processes(images: int, size: int) -> None:
    alone = steps_of(orders(images, size, 1))
    for processes in (2, 4):
        shared = steps_of(orders(images, size // processes, processes))
        for one, other in zip(alone, shared, strict=False):
            if len(one) == len(other) == size:
                assert sorted(one) == sorted(other)
        assert set(flat(shared)) == set(range(images))


SHARES = [(8, 1), (2, 4), (3, 2), (5, 1), (1, 3), (6, 4)]


@pytest.mark.parametrize("images", [48, 23, 17, 3, 1])
def test_an_epoch_goes_on_with_the_images_that_nobody_has_seen(images: int) -> None:
    order = flat(orders(images, images, 1)[0])
    for (size, processes), (new_size, new_processes) in product(SHARES, SHARES):
        steps = len(orders(images, size, processes)[0])
        usual = steps_of(orders(images, new_size, new_processes))
        for step in range(1, steps + 1):
            seen = images if step == steps else step * size * processes
            each = orders(images, new_size, new_processes)
            place = each[0].step_after(seen)
            for one in each:
                one.enter(1, place, seen)
                one.start_at(1, place)
            after = steps_of(each)
            unseen, shown = Counter(order[seen:]), Counter(flat(after))
            assert not unseen - shown
            twice = (shown - unseen).total()  # to fill up the first step, or the last one
            assert twice < (3 * new_processes if new_processes > 1 or len(unseen) == 1 else 1)
            assert place + len(after) == len(usual)
            assert after[1:] == usual[place + 1 :]
            assert all(len(part) >= min(2, new_size) * new_processes for part in after[:1])


class Watching(RotateNetSupervisor):
    """Notes the images and the place of every step, and ends after some of them."""

    steps: list[list[int]]
    places: list[tuple[int, int, int]]
    most = 99

    def _forward(self, data: Any) -> Tensor:
        run: Any = self.run
        order = copy.copy(run.order)
        order.start_at(run.epochs_before + run.epoch, run.step)
        self.steps.append(next(iter(order)))
        self.places.append((run.epoch, run.step, run.seen))
        if len(self.steps) == self.most:
            run.stop("the test")
        loss: Tensor = super()._forward(data)
        return loss


def pretend(patch: pytest.MonkeyPatch, rank: int, processes: int) -> None:
    patch.setattr("super_selfish.training.run.world_size", lambda: processes)
    patch.setattr("super_selfish.training.distributed.rank", lambda: rank)
    patch.setattr("super_selfish.training.distributed.world_size", lambda: processes)


def trained(images: Tensor, name: Path, most: int = 99, **more: Any) -> Watching:
    torch.manual_seed(0)
    supervisor = Watching(images, backbone=TinyBackbone())
    supervisor.steps, supervisor.places, supervisor.most = [], [], most
    settings = {"lr": 0.1, "optimizer": SGD, "epochs": 1, "batch_size": 4}
    supervisor.supervise(**{**settings, "name": name, "progress": False, **more})
    return supervisor


# How the images were shared out, and how they are then, as (batch_size, processes).
CHANGES: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "1 to 4": ((8, 1), (2, 4)),
    "4 to 2": ((2, 4), (4, 2)),
    "2 to 1": ((4, 2), (8, 1)),
    "more images a step": ((4, 2), (4, 4)),
    "fewer images a step": ((4, 2), (3, 1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_goes_on_with_another_number_of_processes(
    change: str, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (size, processes), (new_size, new_processes) = CHANGES[change]
    seen: set[int] = set()
    for rank in range(processes):
        pretend(monkeypatch, rank, processes)
        begun = trained(images, tmp_path / "base", 1, batch_size=size, overwrite=True)
        seen |= set(flat(begun.steps))
    assert len(seen) == 8
    shown: Counter[int] = Counter()
    for rank in range(new_processes):
        pretend(monkeypatch, rank, new_processes)
        for ending in ("", "-previous"):
            (tmp_path / f"copy{ending}.pt").unlink(missing_ok=True)
        shutil.copy(tmp_path / "base.pt", tmp_path / "copy.pt")
        more = trained(images, tmp_path / "copy", batch_size=new_size, resume=True)
        assert more.places[0][2] == 8
        shown.update(flat(more.steps))
    unseen = Counter(set(range(22)) - seen)
    assert not unseen - shown
    assert (shown - unseen).total() < (2 * new_processes if new_processes > 1 else 1)


def resumed(
    images: Tensor, folder: Path, patch: pytest.MonkeyPatch, begun: dict[str, Any], **more: Any
) -> Watching:
    """One process goes on with what the first of two has done of a step, or as many as asked."""
    pretend(patch, 0, 2)
    trained(images, folder / "base", **{"most": 1, **begun})
    patch.undo()
    return trained(images, folder / "base", **more, resume=True)


def test_it_is_said_what_stays_and_what_is_another_one(
    images: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    resumed(images, tmp_path, monkeypatch, {}, batch_size=8)
    (said,) = caplog.messages
    assert said == (
        f"{tmp_path}/base goes on after 8 images of epoch 1 in 1 process of batch_size=8 (8 images "
        "a step), instead of 2 processes of batch_size=4 (8 images a step): an update has 8 images "
        "as before, and the same. Augmentation is drawn otherwise, and batch norm takes its "
        "statistics over the 8 images of a process"
    )
    caplog.clear()
    resumed(images, tmp_path, monkeypatch, {"overwrite": True}, batch_size=12)
    (said,) = caplog.messages
    assert (
        "every image of the epoch is seen, but an update has 1.5 times as many, for which lr, "
        in said
    )


def test_a_schedule_of_updates_goes_on_where_the_images_are(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 22 images in steps of 4: 6 updates, 12 in all; after two of 8 images, 16 were seen.
    settings: dict[str, Any] = {"lr_scheduler": Cosine(warmup_epochs=0), "epochs": 2}
    more = resumed(images, tmp_path, monkeypatch, {**settings, "most": 2}, **settings, most=1)
    assert more.places == [(0, 4, 16)] and more.run is not None
    assert more.run.learning_rate == pytest.approx(0.05 * (1 + math.cos(math.pi * 5 / 12)))


def test_a_run_goes_on_amid_what_is_one_update_now(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"lr_scheduler": Cosine(warmup_epochs=0)}
    more = resumed(images, tmp_path, monkeypatch, settings, **settings, accumulate=3, most=1)
    assert more.places == [(0, 2, 8)] and more.run is not None  # the last step of the first update
    assert (more.run.step, more.run.updates, more.run.stored_step) == (3, 1, 3)
    assert more.run.learning_rate == pytest.approx(0.05)
    assert (more.run.seen, more.run.state_dict()["seen"]) == (12, 12)


def test_a_place_between_full_steps_is_kept(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = resumed(images, tmp_path, monkeypatch, {}, batch_size=5, most=1)
    assert more.places == [(0, 1, 8)] and len(more.steps[0]) == 2


def test_several_orders_go_on_with_as_many_images_a_step_alone(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(size: int, most: int = 99, **more: Any) -> Any:
        torch.manual_seed(0)
        supervisor = MultiTaskSupervisor(images, TinyBackbone(), tasks=["rotate", "denoise"])
        stop = Stop(most)
        given: dict[str, Any] = {
            "name": tmp_path / "base",
            "progress": False,
            "epochs": 1,
            "callbacks": [stop],
        }
        return supervisor.supervise(**given, batch_size=size, **more).run

    pretend(monkeypatch, 0, 2)
    train(4, 1)
    monkeypatch.undo()
    with pytest.raises(
        ValueError, match=r"cannot resume .* amid an epoch: the stored run has 2 pr"
    ):
        train(4, resume=True)
    run = train(8, resume=True)
    assert (run.epoch, run.step) == (1, 0)


class Stop(Callback):
    def __init__(self, most: int) -> None:
        self.most = most

    def on_step(self, supervisor: Any, step: Any) -> None:
        if step.number == self.most:
            supervisor.run.stop("the test")


@pytest.mark.parametrize(("processes", "size"), [(1, 8), (2, 4), (4, 2), (3, 16)])
def test_an_automatic_batch_keeps_the_images_of_a_step(
    processes: int, size: int, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 0, 2)
    trained(images, tmp_path / "base", 1)
    pretend(monkeypatch, 0, processes)
    monkeypatch.setattr("super_selfish.supervisors.footprint.fitting_batch", lambda *_, **__: 16)
    more = trained(images, tmp_path / "base", batch_size="auto", resume=True, most=1)
    assert more.run is not None and more.run.batch_size == size


@pytest.mark.parametrize(
    ("lr_scaling", "said"),
    [
        (None, "for which lr, now 0.2, may want to be another"),
        ("linear", 'for which lr, now 0.2, is scaled (lr_scaling="linear")'),
    ],
)
def test_a_rate_that_is_scaled_is_not_said_to_want_another(
    lr_scaling: str | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    place, stored, own = Place(0, 2, 32), Sharing(16, 1, 1), Sharing(16, 1, 2)
    announce_sharing(place, stored, own, "store/base", 0.2, lr_scaling)
    (line,) = caplog.messages
    assert f"an update has 2 times as many, {said}" in line


@pytest.mark.parametrize(
    ("settings", "meant"),
    [
        ({"batch_size": 4}, Sharing(4, 1, 1)),  # as older files have it
        ({"batch_size": 1, "accumulate": 2, "processes": 3}, Sharing(1, 2, 3)),
        ({"accumulate": 2}, None),
        ({"batch_size": 4, "processes": 0}, None),
        ({"batch_size": "auto"}, None),
        ({"batch_size": True}, None),
    ],
)
def test_settings_tell_how_images_were_shared_or_do_not(
    settings: dict[str, Any], meant: Sharing | None
) -> None:
    assert Sharing.of(settings) == meant


def test_an_order_of_ones_own_goes_on_where_steps_are_the_same() -> None:
    stored = Sharing(4, 1, 2)
    assert place_after(3, 24, stored, Sharing(8, 1, 1), None, "a") == 3
    assert place_after(0, 0, stored, Sharing(5, 1, 1), None, "a") == 0  # at the epoch's beginning
    for own in (Sharing(4, 1, 1), Sharing(8, 2, 1)):
        with pytest.raises(ValueError, match="cannot resume a amid an epoch"):
            place_after(1, 8, stored, own, None, "a")


def test_one_of_something_is_told_as_one_and_by_the_first_process_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, stored, own = Place(1, 0, 0), Sharing(1, 1, 1), Sharing(1, 2, 2)
    announce_sharing(place, stored, own, "base", 0.1)
    (said,) = caplog.messages
    assert said.startswith(
        "base goes on in epoch 2 in 2 processes of batch_size=1 (2 images a step) in updates of 2 "
        "steps, instead of 1 process of batch_size=1 (1 image a step): every image of the epoch is "
        "seen, but an update has 4 times as many, for which lr, now 0.1, may want to be another. "
    )
    assert said.endswith("over the 1 image of a process")
    monkeypatch.setattr("super_selfish.training.sharing.rank", lambda: 1)
    announce_sharing(place, stored, own, "base", 0.1)
    assert len(caplog.messages) == 1
