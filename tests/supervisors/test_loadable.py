"""What is stored can be loaded: storing asks for what loading asks for, before the first step."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training.checkpoint import read_checkpoint
from tests.conftest import TinyBackbone


class Remembers(TinyBackbone):
    def __init__(self, extra: Any = None) -> None:
        super().__init__()
        self.extra = extra

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


class Forgets(TinyBackbone):
    def get_extra_state(self) -> Any:
        return {"seen": 3}


class Expanded(TinyBackbone):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1, 1).expand(4, 5))


def new(images: Any = None, backbone: nn.Module | None = None) -> RotateNetSupervisor:
    torch.manual_seed(0)
    return RotateNetSupervisor(images, backbone or TinyBackbone(), image_size=32)


def options(folder: Path, **more: Any) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": 11, "name": folder / "a", "progress": False, **more}


EXTRAS = ({"seen": 3}, 5, "text", None, [1, {"x": (2.0,)}], torch.arange(3))


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda value: type(value).__name__)
def test_a_plain_extra_state_is_stored_and_loaded(
    images: Tensor, tmp_path: Path, extra: Any
) -> None:
    new(images, Remembers(extra)).supervise(**options(tmp_path))
    backbone = Remembers("other")
    loaded = new(backbone=backbone).load(tmp_path / "a")
    assert isinstance(loaded.get_backbone(), Remembers)
    assert str(loaded.get_backbone().extra) == str(extra)
    resumed = new(images, Remembers("other"))
    resumed.supervise(**options(tmp_path, epochs=2, resume=True))
    assert [row["epoch"] for row in resumed.history] == [1, 2]


def test_an_extra_state_that_no_one_takes_back_is_refused(images: Tensor, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"Forgets\) has get_extra_state\(\) and no set_extra_stat"):
        new(images, Forgets()).supervise(**options(tmp_path))
    assert not (tmp_path / "a.pt").exists()


def test_an_expanded_buffer_is_stored_and_loaded(images: Tensor, tmp_path: Path) -> None:
    new(images, Expanded()).supervise(**options(tmp_path))
    assert new(backbone=Expanded()).load(tmp_path / "a").history == []
    resumed = new(images, Expanded()).supervise(**options(tmp_path, epochs=2, resume=True))
    assert resumed.epochs_seen == 2


STATES = (["x"], (1,), 3)


@pytest.mark.parametrize("state", STATES, ids=str)
@pytest.mark.parametrize("part", ["optimizer", "lr_scheduler"])
def test_a_state_that_is_no_dict_is_found_before_the_first_step(
    images: Tensor, tmp_path: Path, part: str, state: Any
) -> None:
    class Odd(StepLR):
        def state_dict(self) -> Any:
            return state

    class OddSGD(SGD):
        def state_dict(self) -> Any:
            return state

    new(images).supervise(**options(tmp_path))
    former = (tmp_path / "a.pt").read_bytes()
    odd = {"optimizer": OddSGD, "lr_scheduler": partial(Odd, step_size=1)}[part]
    supervisor = new(images)
    kind = type(state).__name__
    with pytest.raises(TypeError, match=rf"its run\['{part}'\] is of an unexpected form \({kind}"):
        supervisor.supervise(**options(tmp_path, **{part: odd}))
    assert supervisor.run is not None and supervisor.run.global_step == 0
    assert (tmp_path / "a.pt").read_bytes() == former


CELLS: tuple[dict[Any, Any], ...] = (
    {"x": [1, 2]},
    {"x": np.ones(2)},
    {"x": {"a": 1}},
    {"x": b"bytes"},
    {"x": torch.ones(2)},
    {3: 1.0},
)


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("by", ["monitor", "health"])
def test_a_column_of_no_numbers_costs_the_column_only(
    images: Tensor, tmp_path: Path, by: str, cell: dict[Any, Any]
) -> None:
    class Odd:
        def start(self, supervisor: Any) -> None: ...

        def after_epoch(self, supervisor: Any, row: Any) -> None:
            row.update(cell, good=1.0)

    class Ill(RotateNetSupervisor):
        def _health(self, row: Any) -> None:
            row.update(cell, good=1.0)

    kind = Ill if by == "health" else RotateNetSupervisor
    supervisor = kind(images, TinyBackbone(), image_size=32)
    (column,) = cell
    with pytest.raises(TypeError, match=f"column {column!r} is a "):
        supervisor.supervise(**options(tmp_path, monitor=Odd() if by == "monitor" else None))
    loaded = kind(backbone=TinyBackbone(), image_size=32).load(tmp_path / "a")
    assert loaded.loaded is not None and loaded.loaded.run is not None
    row = loaded.loaded.run["history"]["rows"][0]
    assert row["good"] == 1.0 and column not in row


def test_a_loss_with_an_axis_is_stored_amid_an_epoch(images: Tensor, tmp_path: Path) -> None:
    class Axis(RotateNetSupervisor):
        def _forward(self, data: Any) -> Any:
            assert self.run is not None
            if self.run.global_step == 1:
                raise KeyboardInterrupt
            return super()._forward(data)[None]

    with pytest.raises(KeyboardInterrupt):
        Axis(images, TinyBackbone()).supervise(**options(tmp_path, checkpoint_every=1))
    sums = read_checkpoint(tmp_path / "a.pt")["run"]["history"]["sums"]
    assert sums["loss"].shape == ()
    assert Axis(backbone=TinyBackbone()).load(tmp_path / "a").epochs_seen == 1


class HandingOn(RotateNetSupervisor):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)


class ByPlace(RotateNetSupervisor):
    def __init__(self, dataset: Any, backbone: Any, /, **options: Any) -> None:
        super().__init__(dataset, backbone, **options)


@pytest.mark.parametrize("kind", [HandingOn, ByPlace])
def test_a_constructor_may_take_its_arguments_by_place(
    kind: Any, images: Tensor, tiny_backbone: Any, tmp_path: Path
) -> None:
    stored = kind(images, tiny_backbone())
    stored.save(tmp_path / "stored")
    loaded = kind(None, tiny_backbone()).load(tmp_path / "stored")
    assert loaded.image_size == stored.image_size
    weights = loaded.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in stored.state_dict().items())
