"""What a report knows of a run, from numbers that one can add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.evaluation.report import record as records
from super_selfish.evaluation.report.record import Record, find_record
from super_selfish.supervisors import RotateNetSupervisor
from tests.conftest import TinyBackbone


def state(**changed: Any) -> dict[str, Any]:
    """As `Run.state_dict` has it, after one epoch of 2 s and a half of another."""
    return {
        "epoch": 1,
        "step": 3,
        "settings": {"batch_size": 8, "num_images": 40, "order": ["a"], "trained": ["a", "b"]},
        "history": {
            "rows": [{"images_per_second": 20.0, "seconds": 2.0, "waited_for_data": 0.5}],
            "others": (24, 0, 1.0, 0.25),
        },
        "optimizer": {
            "param_groups": [
                {
                    **{"params": [0], "lr": 0.1, "betas": (0.9, 0.99), "foreach": 1, "fused": 1},
                    **{"amsgrad": False, "maximize": True, "_private": 3, "mode": "x"},
                }
            ]
        },
        "lr_scheduler": {"step_size": 100, "gamma": 1.0, "last_epoch": 1, "base_lrs": [0.1]},
        **changed,
    }


def test_numbers_of_a_run_are_summed_over_epochs() -> None:
    found = records._record(state(), {"steps_per_epoch": 5, "settings": {"epochs": 9}})
    assert (found.epoch, found.step, found.epochs, found.steps) == (1, 3, 9, 8)
    assert (found.images, found.seconds, found.waited) == (64, 3.0, 0.75)
    assert found.images_per_second == pytest.approx(64 / 3)
    assert found.waited_share == 0.25
    assert found.unreadable == 0
    assert found.provenance == {"steps_per_epoch": 5, "num_images": 40}
    assert found.settings == {
        "epochs": 9,
        "batch_size": 8,
        "optimizer options": "betas (0.9, 0.99), maximize True",
        "lr_scheduler": "constant",
        "parameter tensors that train": 2,
    }


def test_what_the_checkpoint_tells_goes_before_what_the_run_says() -> None:
    told = {"settings": {"batch_size": "auto", "lr_scheduler": "StepLR"}, "num_images": 7}
    schedule = {"step_size": 2, "gamma": 0.5}
    found = records._record(state(lr_scheduler=schedule), told)
    assert found.settings["batch_size"] == "auto"
    assert found.settings["lr_scheduler"] == "StepLR"
    assert found.settings["lr_scheduler options"] == "step_size 2, gamma 0.5"
    assert found.provenance == {"num_images": 7}
    assert told["settings"] == {"batch_size": "auto", "lr_scheduler": "StepLR"}


def test_little_may_be_known() -> None:
    found = records._record(state(optimizer=None, lr_scheduler=None), None)
    assert "optimizer options" not in found.settings
    assert found.steps is None and found.epochs is None
    players = {"generator": state()["optimizer"], "encoder": state()["optimizer"]}
    several = records._record(state(optimizer=players), None)
    assert several.settings["optimizer options"] == "betas (0.9, 0.99), maximize True"
    nothing = Record([], 0, 0, {}, {}, images=0, seconds=0, waited=0)
    assert nothing.images_per_second == nothing.waited_share == nothing.unreadable == 0
    rows: Any = [{"unreadable": 2}, {"unreadable": 5}, {}]
    assert Record(rows, 3, 0, {}, {}, images=1, seconds=1, waited=0).unreadable == 5


def rotate(images: Tensor) -> RotateNetSupervisor:
    return RotateNetSupervisor(images, TinyBackbone(), image_size=32)


def test_a_run_is_found_in_memory_or_at_its_name_if_the_weights_are_its(
    images: Tensor, tmp_path: Path
) -> None:
    trained = rotate(images)
    assert find_record(trained, tmp_path / "a") is None
    trained.supervise(epochs=1, batch_size=11, name=tmp_path / "a", progress=False)
    own = find_record(trained, tmp_path / "elsewhere")
    loaded = rotate(images).load(tmp_path / "a")
    assert loaded.run is None
    stored = find_record(loaded, tmp_path / "a")
    assert own is not None and stored is not None
    assert own.epoch == stored.epoch == 1 and own.settings == stored.settings
    assert own.provenance["num_images"] == stored.provenance["num_images"] == 22
    with torch.no_grad():
        next(loaded.parameters()).add_(1.0)
    assert find_record(loaded, tmp_path / "a") is None
    rotate(images).save(tmp_path / "b")
    assert find_record(rotate(images).load(tmp_path / "b"), tmp_path / "b") is None


def test_states_are_the_same_if_names_and_numbers_are() -> None:
    first = {"a": torch.ones(2), "b": 1}
    assert records._same_tensors(first, {"a": torch.ones(2), "b": 2})  # only tensors count
    for other in ({"a": torch.ones(2)}, {"a": torch.zeros(2), "b": 1}, {**first, "c": 0}):
        assert not records._same_tensors(first, other)
