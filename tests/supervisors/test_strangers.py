"""Checkpoints that somebody else has made."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.supervisors import (
    BYOLSupervisor,
    JigsawNetSupervisor,
    MomentumContrastSupervisor,
    RotateNetSupervisor,
)
from super_selfish.training.checkpoint import read_checkpoint, write_checkpoint
from tests.conftest import TinyBackbone

State = dict[str, Any]
PICTURES = torch.arange(22 * 3 * 32 * 32).reshape(22, 3, 32, 32).remainder(251).to(torch.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest")
    supervisor = RotateNetSupervisor(PICTURES, "narrow-resnet")
    supervisor.supervise(epochs=1, batch_size=11, name=folder / "base", progress=False)
    return folder / "base.pt"


@pytest.fixture
def honest(trained: Path) -> State:
    return read_checkpoint(trained)


def without(key: str) -> Callable[[State], object]:
    return lambda state: state.pop(key)


def argument(name: str, value: Any) -> Callable[[State], object]:
    return lambda state: state["arguments"].update({name: {"plain": value}})


def first_weight(tensor: Tensor) -> Callable[[State], object]:
    return lambda state: state["model"].update({next(iter(state["model"])): tensor})


CRAFTED: dict[str, tuple[Callable[[State], object], str]] = {
    "no class": (without("class"), "it has no 'class'"),
    "no model": (without("model"), "it has no 'model'"),
    "no arguments": (without("arguments"), "it has no 'arguments'"),
    "no run": (without("run"), "it has no 'run'"),
    "class a number": (lambda s: s.update({"class": 3}), "its 'class' has another form"),
    "another class": (lambda s: s.update({"class": "Other"}), "holds a Other"),
    "arguments a list": (lambda s: s.update(arguments=[]), "its 'arguments' has another form"),
    "an argument bare": (lambda s: s["arguments"].update(crop=1), "its 'arguments' has"),
    "weights a number": (lambda s: s["model"].update(a=3), "its 'model' has another form"),
    "run a text": (lambda s: s.update(run="x"), "its 'run' has another form"),
    "a start of no weights": (lambda s: s.update(start={"origin": "x"}), "its 'start' has"),
    "epoch a text": (lambda s: s["run"].update(epoch="x"), "its 'run' has another form"),
    "history cut": (lambda s: s["run"]["history"].pop("sums"), "its 'run' has another form"),
    "a weight missing": (lambda s: s["model"].popitem(), "is not in it"),
    "a weight more": (lambda s: s["model"].update(a=torch.ones(1)), "which is not here"),
    "another shape": (first_weight(torch.ones(2)), "is [2] in it"),
    "a data set": (argument("dataset", "/"), "names a dataset, which is never taken"),
    "a device": (argument("device", "meta"), "names a device, which is never taken"),
    "an unknown one": (argument("shell", "x"), "built with shell=, which RotateNetSupervisor()"),
    "a hub's network": (argument("backbone", "timm/hf-hub:a/b"), "no name of a network"),
    "a folder's network": (argument("backbone", "timm/local-dir:/tmp"), "no name of a network"),
    "no network": (argument("backbone", "unheard-of"), "cannot be built again"),
    "a text as head": (argument("predictor", "x"), "cannot be built again"),
    "words for numbers": (argument("rotations", "x"), "cannot be built again"),
    "giant images": (argument("image_size", (60_000, 60_000)), "asks for networks of more than"),
    "a large angle in a list": (argument("rotations", (0, -(10**9))), "asks for rotations=-1000"),
    "a large number in a dict": (argument("crop", {"a": [3, 10**9]}), "asks for crop=1000000000"),
    "a large number in a set": (argument("crop", {10**9}), "asks for crop=1000000000"),
    "too many channels": (argument("in_channels", 10**12), "asks for in_channels=1000000000000"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_checkpoint_gets_a_sentence(honest: State, tmp_path: Path, name: str) -> None:
    craft, message = CRAFTED[name]
    craft(honest)
    write_checkpoint(tmp_path / "other.pt", honest)
    supervisor = RotateNetSupervisor(backbone=TinyBackbone(), image_size=32)
    before, networks = dict(supervisor.arguments), dict(supervisor.named_modules())
    weights = {name: value.clone() for name, value in supervisor.state_dict().items()}
    with pytest.raises(ValueError, match=re.escape(message)):
        supervisor.load(tmp_path / "other")
    assert supervisor.arguments == before  # what was refused has left nothing
    assert dict(supervisor.named_modules()) == networks
    assert all(torch.equal(value, weights[name]) for name, value in supervisor.state_dict().items())


@pytest.mark.parametrize("value_range", [(5, 2), "nonsense"])
def test_a_range_that_is_none_is_refused_before_weights_are_loaded(
    honest: State, tmp_path: Path, value_range: Any
) -> None:
    honest["value_range"] = value_range
    write_checkpoint(tmp_path / "other.pt", honest)
    supervisor = RotateNetSupervisor(image_size=32)
    before = {name: value.clone() for name, value in supervisor.state_dict().items()}
    with pytest.raises(ValueError, match="range"):
        supervisor.load(tmp_path / "other")
    assert all(torch.equal(value, before[name]) for name, value in supervisor.state_dict().items())


def test_an_honest_one_is_loaded(trained: Path) -> None:
    loaded = RotateNetSupervisor(image_size=32).load(trained)
    assert type(loaded.get_backbone()).__name__ == "NarrowResNet"


def test_a_data_set_that_is_here_stays_the_one_that_is_used(
    honest: State, tmp_path: Path, images: Tensor
) -> None:
    (tmp_path / "secret").mkdir()
    honest["arguments"]["dataset"] = {"plain": str(tmp_path / "secret")}
    write_checkpoint(tmp_path / "other.pt", honest)
    supervisor = RotateNetSupervisor(images, TinyBackbone())
    with pytest.raises(ValueError, match="names a dataset"):
        supervisor.load(tmp_path / "other")
    assert supervisor.dataset is images


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (MomentumContrastSupervisor, "queue_size", 7_000_000),
        (MomentumContrastSupervisor, "queue_size", 60_000),
        (MomentumContrastSupervisor, "embedding_size", 60_000),
        (BYOLSupervisor, "hidden_size", 900_000),
        (BYOLSupervisor, "hidden_size", 60_000),
        (JigsawNetSupervisor, "num_permutations", 10**9),
    ],
)
def test_a_small_file_cannot_ask_for_giant_networks(
    tmp_path: Path, kind: Any, name: str, value: int
) -> None:
    resource = pytest.importorskip("resource")
    kind(backbone=TinyBackbone(), image_size=32).save(tmp_path / "base")
    state = read_checkpoint(tmp_path / "base.pt")
    state["arguments"][name] = {"plain": value}
    write_checkpoint(tmp_path / "base.pt", state)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"asks for|cannot be built again|are not those of"):
        kind(backbone=TinyBackbone(), image_size=32).load(tmp_path / "base")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # MB on Linux
    assert grown < 300


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("optimizer", {}),
        ("optimizer", {"state": {}, "param_groups": [{"params": []}]}),
    ],
)
def test_a_crafted_run_is_not_gone_on_with(
    honest: State, tmp_path: Path, part: str, value: Any
) -> None:
    honest["run"][part] = value
    write_checkpoint(tmp_path / "base.pt", honest)
    supervisor = RotateNetSupervisor(PICTURES, "narrow-resnet")
    with pytest.raises(ValueError, match=r"cannot resume .* has another form"):
        supervisor.supervise(
            epochs=2, batch_size=11, name=tmp_path / "base", resume=True, progress=False
        )


def test_a_list_that_an_earlier_version_stored_is_the_tuple_of_today(
    trained: Path, tmp_path: Path
) -> None:
    state = read_checkpoint(trained)
    state["arguments"]["rotations"] = {"plain": list(state["arguments"]["rotations"]["plain"])}
    write_checkpoint(tmp_path / "base.pt", state)
    supervisor = RotateNetSupervisor(PICTURES, "narrow-resnet")
    supervisor.supervise(
        epochs=2, batch_size=11, name=tmp_path / "base", resume=True, progress=False
    )
    assert [row["epoch"] for row in supervisor.history] == [1, 2]
