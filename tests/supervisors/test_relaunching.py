"""Runs of several processes that are killed, and go on: with as many, with more, with fewer."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import SGD

from super_selfish.data import Batch, Collator, to_unit_range
from super_selfish.models import CombinedNet
from super_selfish.supervisors import MomentumContrastSupervisor, Supervisor
from super_selfish.training import Callback
from super_selfish.training.checkpoint import read_checkpoint
from tests.conftest import TinyBackbone
from tests.several import run_several

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)
STEPS = 4  # an epoch of 22 images in steps of 6


def pictures(count: int = 22) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shades = torch.rand(count, 3, 4, 4, generator=generator)
    return (nn.functional.interpolate(shades, size=(32, 32)) * 255).to(torch.uint8)


def number() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


class Mortal(MomentumContrastSupervisor):
    """One of its processes is killed in a step, of which the queue has moved already."""

    dies_in: int | None = None

    def _forward(self, data: Any) -> Tensor:
        loss: Tensor = super()._forward(data)
        if self.run is not None and self.run.global_step == self.dies_in and number() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss


def trained(folder: Path, name: str, dies_in: int | None = None) -> dict[str, Any]:
    """Trains with batch norm, a queue and a momentum encoder, or goes on."""
    torch.manual_seed(number())  # the first process sends its weights
    supervisor = Mortal(
        pictures(), TinyBackbone(), nn.Linear(16, 8), embedding_size=8, queue_size=10
    )
    supervisor.dies_in = dies_in
    supervisor.supervise(
        lr=0.05,
        epochs=3,
        batch_size=3,
        checkpoint_every=2,
        name=folder / name,
        resume=True,
        progress=False,
    )
    losses = [row["loss"] for row in supervisor.history]
    return {"state": dict(supervisor.state_dict()), "losses": losses}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return bool(one == other)


def test_a_killed_process_changes_nothing_of_a_run_that_goes_on(tmp_path: Path) -> None:
    whole = run_several(2, trained, tmp_path, "whole")
    killed = run_several(2, trained, tmp_path, "killed", STEPS + 1, may_die=True)
    assert killed == [None, None]  # the one that was not killed has ended too
    state = read_checkpoint(tmp_path / "killed.pt")["run"]
    assert (state["epoch"], state["step"]) == (1, 0)  # nothing of the step is stored
    resumed = run_several(2, trained, tmp_path, "killed")
    for before, after in zip(whole, resumed, strict=True):
        assert same(before, after)
    # Batch norm's statistics are those of the first process, in both.
    assert same(resumed[0]["state"], resumed[1]["state"])
    stored = read_checkpoint(tmp_path / "killed.pt")
    assert same(stored["model"], resumed[0]["state"])


class Framed(NamedTuple):
    images: Tensor
    targets: Tensor


class BrightnessCollator(Collator):
    """Is the image bright? Nothing is drawn, so that processes see what one would see."""

    def augment(self, batch: Batch, generator: torch.Generator) -> Framed:
        images = to_unit_range(batch.images)
        return Framed(images, (images.mean(dim=(1, 2, 3)) > 0.5).long())


class PlainBackbone(nn.Module):
    """Without batch norm, whose statistics are those of a process."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layer(images).relu().mean(dim=(2, 3))
        return features


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, supervisor: Any, step: Any) -> None:
        if step.number == self.step:
            supervisor.run.stop("the test")


def plain(folder: Path, name: str, batch_size: int, last: int) -> dict[str, Any]:
    """Trains up to a step, or goes on up to it."""
    torch.manual_seed(0)
    network = CombinedNet(PlainBackbone(), nn.Linear(4, 2))
    supervisor = Supervisor(network, pictures(24), nn.CrossEntropyLoss(), BrightnessCollator())
    supervisor.supervise(
        lr=0.3,
        optimizer=SGD,
        lr_scheduler="cosine",
        epochs=3,
        batch_size=batch_size,
        name=folder / name,
        resume=True,
        progress=False,
        callbacks=[StopAt(last)],
    )
    losses = [row["loss"] for row in supervisor.history]
    return {"state": dict(supervisor.state_dict()), "losses": losses}


def test_more_and_fewer_processes_train_as_one(tmp_path: Path) -> None:
    # 24 images in steps of 8: nine steps. One process, then four, then two, then one.
    whole = plain(tmp_path, "whole", 8, 9)
    plain(tmp_path, "shared", 8, 2)
    run_several(4, plain, tmp_path, "shared", 2, 4)
    shutil.copy(tmp_path / "shared.pt", tmp_path / "copy.pt")
    pairs = run_several(2, plain, tmp_path, "shared", 4, 8)
    assert same(pairs[0], pairs[1])
    for name, size, processes in [("shared", 8, 1), ("copy", 4, 2)]:
        last = (
            plain(tmp_path, name, size, 9)
            if processes == 1
            else run_several(processes, plain, tmp_path, name, size, 9)[1]
        )
        assert last["losses"] == pytest.approx(whole["losses"], rel=1e-5)
        for key, value in whole["state"].items():
            torch.testing.assert_close(last["state"][key], value, rtol=0, atol=1e-6)
