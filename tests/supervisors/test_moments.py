"""A run goes on with the optimizer's state of its own parameters, or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop

from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training.checkpoint import read_checkpoint, write_checkpoint
from super_selfish.training.moments import fitting_state
from super_selfish.training.optimizers import LARS
from tests.conftest import TinyBackbone

State = dict[str, Any]
OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adam": Adam,
    "fused": partial(Adam, fused=True),
    "amsgrad": partial(AdamW, amsgrad=True),
    "sgd": SGD,
    "momentum": partial(SGD, momentum=0.9),
    "adagrad": Adagrad,
    "rmsprop": partial(RMSprop, momentum=0.9, centered=True),
    "nadam": torch.optim.NAdam,
    "adadelta": torch.optim.Adadelta,
    "lars": LARS,
}


def trained(kind: Callable[..., Any]) -> Any:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1), nn.PReLU())
    optimizer = kind(network.parameters(), lr=0.1)
    network(torch.rand(5, 3)).sum().backward()
    optimizer.step()
    return optimizer


def fresh(kind: Callable[..., Any]) -> Any:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1), nn.PReLU())
    return kind(network.parameters(), lr=0.1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizers_own_state_fits_it(name: str) -> None:
    kind = OPTIMIZERS[name]
    state = trained(kind).state_dict()
    other = fresh(kind)
    before = [p.clone() for group in other.param_groups for p in group["params"]]
    found = fitting_state(other, state)
    after = [p for group in other.param_groups for p in group["params"]]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    other.load_state_dict(found)
    assert found["state"] == state["state"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_tensor_of_another_shape_is_refused(name: str) -> None:
    kind = OPTIMIZERS[name]
    for index in range(2):
        state = trained(kind).state_dict()
        for key, value in state["state"].get(index, {}).items():
            if not isinstance(value, Tensor):
                continue
            for wrong in (torch.zeros(1), torch.zeros(5, 5), None):
                entry = {**state["state"][index], key: wrong}
                crafted = {**state, "state": {**state["state"], index: entry}}
                with pytest.raises(ValueError, match=f"{key} of parameter {index} is "):
                    fitting_state(fresh(kind), crafted)


def no_moments(state: State) -> None:
    state["state"][0].pop("exp_avg")


def reversed_groups(state: State) -> None:
    state["param_groups"][0]["params"].reverse()


def half_step(state: State) -> None:
    state["state"][0]["step"] = torch.ones((), dtype=torch.float16)


def word_as_rate(state: State) -> None:
    state["param_groups"][0]["lr"] = "x"


def stranger(state: State) -> None:
    state["state"]["x"] = {}


def no_dict(state: State) -> None:
    state["state"][1] = [0.5]


def no_state(state: State) -> None:
    state["state"] = []


def another_group(state: State) -> None:
    state["param_groups"].append(state["param_groups"][0])


CRAFTED: dict[str, tuple[Callable[[State], None], str]] = {
    "no moments": (no_moments, "exp_avg of parameter 0 is missing, and would be a tensor"),
    "reversed": (reversed_groups, "its groups are not of the parameters 0 to"),
    "half step": (half_step, "step of parameter 0 is a tensor of shape [] (float16)"),
    "word": (word_as_rate, "its lr is a str, and should be a number"),
    "no dict": (no_dict, "what it has of parameter 1 is no dict"),
    "no state": (no_state, "it has no 'state'"),
    "another group": (another_group, "it has not the 1 groups of parameters that there are"),
    "stranger": (stranger, "it has a parameter 'x'"),
}


def rotate(images: Any) -> RotateNetSupervisor:
    torch.manual_seed(0)
    return RotateNetSupervisor(images, TinyBackbone(), image_size=32)


def options(folder: Path, **more: Any) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": 11, "name": folder / "a", "progress": False, **more}


def test_a_tensor_that_lies_otherwise_is_refused() -> None:
    state = trained(Adam).state_dict()
    state["state"][0]["exp_avg"] = state["state"][0]["exp_avg"].to_sparse()
    with pytest.raises(ValueError, match="exp_avg of parameter 0 is a tensor of shape"):
        fitting_state(fresh(Adam), state)


def test_several_optimizers_are_looked_at_by_name() -> None:
    several = {"a": fresh(Adam), "b": fresh(SGD)}
    stored = {"a": trained(Adam).state_dict(), "b": trained(SGD).state_dict()}
    assert fitting_state(several, stored).keys() == stored.keys()
    for wrong in ({"a": stored["a"]}, [stored], {"b": stored["a"], "c": stored["b"]}):
        with pytest.raises(ValueError, match="it is not one of each of a, b"):
            fitting_state(several, wrong)


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_state_is_refused_in_words(images: Tensor, tmp_path: Path, name: str) -> None:
    rotate(images).supervise(**options(tmp_path))
    state = read_checkpoint(tmp_path / "a.pt")
    craft, message = CRAFTED[name]
    craft(state["run"]["optimizer"])
    write_checkpoint(tmp_path / "a.pt", state)
    with pytest.raises(
        ValueError, match=rf"cannot resume .* has another form.*{re.escape(message)}"
    ):
        rotate(images).supervise(**options(tmp_path, epochs=2, resume=True))


def test_an_optimizer_that_sorts_otherwise_is_refused(images: Tensor, tmp_path: Path) -> None:
    def backwards(parameters: Any, lr: float) -> Adam:
        return Adam(list(parameters)[::-1], lr=lr)

    rotate(images).supervise(**options(tmp_path))
    with pytest.raises(ValueError, match=r"optimizer in another order: .* at place 0, this"):
        rotate(images).supervise(**options(tmp_path, epochs=2, resume=True, optimizer=backwards))


@pytest.mark.parametrize("step", [3, 10**6])
def test_a_step_beyond_its_epoch_is_refused(images: Tensor, tmp_path: Path, step: int) -> None:
    rotate(images).supervise(**options(tmp_path))
    state = read_checkpoint(tmp_path / "a.pt")
    state["run"].update(epoch=0, step=step)
    write_checkpoint(tmp_path / "a.pt", state)
    with pytest.raises(ValueError, match=f"stands at step {step} of an epoch of 2 steps"):
        rotate(images).supervise(**options(tmp_path, epochs=2, resume=True))
