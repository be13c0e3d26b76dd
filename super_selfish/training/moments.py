"""What an optimizer has gathered, held against its parameters before it is taken from a file.

torch compares neither shapes nor names, and its fused kernels write wherever a shape leads them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer, SparseAdam

from super_selfish.training.optimizers import LARS

# How an optimizer computes, not what: that of the present call.
_HOW = ("fused", "foreach", "capturable")


def fitting_state(optimizer: Any, state: Any) -> dict[str, Any]:
    """The stored state of an optimizer, if it is one of this optimizer's parameters.

    What torch's optimizers and `LARS` gather is compared with what they would gather in one step of
    zero gradients: names, shapes and types. Of others only the parameters are compared.

    Args:
        optimizer: As it was built, or several by name.
        state: As it was stored.

    Returns:
        The state, in which groups have the options that earlier versions of torch had not.

    Raises:
        ValueError: If it is the state of other parameters, or another optimizer's.
    """
    if isinstance(optimizer, Mapping):
        if not isinstance(state, dict) or state.keys() != optimizer.keys():
            raise ValueError(f"it is not one of each of {', '.join(map(str, optimizer))}")
        return {name: fitting_state(each, state[name]) for name, each in optimizer.items()}
    if not isinstance(optimizer, Optimizer):
        return dict(state)
    groups = _fitting_groups(optimizer, state)
    if not isinstance(state.get("state"), dict):
        raise ValueError("it has no 'state'")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    strangers = [key for key in state["state"] if key not in range(len(parameters))]
    if strangers:
        raise ValueError(f"it has a parameter {strangers[0]!r}, of {len(parameters)}")
    expected = _Expected(optimizer)
    for index, gathered in state["state"].items():
        if not isinstance(gathered, dict):
            raise ValueError(f"what it has of parameter {index} is no dict")
        for name, value in expected.of(parameters[index]).items() if gathered else ():
            if not _fits(gathered.get(name), value):
                raise ValueError(
                    f"{name} of parameter {index} is {_told(gathered.get(name))}, and would be "
                    f"{_told(value)}"
                )
    return {**state, "param_groups": groups}


def _fitting_groups(optimizer: Optimizer, state: Any) -> list[dict[str, Any]]:
    stored = state.get("param_groups") if isinstance(state, dict) else None
    present = optimizer.state_dict()["param_groups"]
    if not isinstance(stored, list) or len(stored) != len(present):
        raise ValueError(f"it has not the {len(present)} groups of parameters that there are")
    for group, own in zip(stored, present, strict=True):
        if not isinstance(group, dict) or group.get("params") != own["params"]:
            raise ValueError(
                f"its groups are not of the parameters {own['params'][0]} to {own['params'][-1]}"
                if own["params"]
                else "its groups have other parameters"
            )
        for name, value in own.items():
            if _is_number(value) and not _is_number(group.get(name, value)):
                raise ValueError(f"its {name} is {_told(group[name])}, and should be a number")
    return [
        {**own, **group, **{name: own[name] for name in _HOW if name in own}}
        for group, own in zip(stored, present, strict=True)
    ]


class _Expected:
    """What an optimizer gathers of a parameter, found out by a step of zeros beside the run."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._kind = _known_kind(optimizer)
        self._found: dict[Any, dict[str, Any]] = {}
        groups = enumerate(optimizer.param_groups)
        self._group = {p: number for number, group in groups for p in group["params"]}

    def of(self, parameter: Tensor) -> dict[str, Any]:
        if self._kind is None:
            return {}
        if self._optimizer.state.get(parameter):  # some begin to gather when they are built
            return dict(self._optimizer.state[parameter])
        number = self._group[parameter]
        key = (number, parameter.shape, parameter.dtype, parameter.device)
        if key not in self._found:
            self._found[key] = self._try(self._kind, parameter, number)
        return self._found[key]

    def _try(self, kind: Any, parameter: Tensor, number: int) -> dict[str, Any]:
        double = nn.Parameter(torch.zeros_like(parameter, memory_format=torch.contiguous_format))
        double.grad = torch.zeros_like(double)
        beside = object.__new__(kind)
        # Without the hooks of the user, and the `step` that a schedule has wrapped.
        vars(beside).update(
            {
                name: {} if name.endswith("_hooks") else value
                for name, value in vars(self._optimizer).items()
                if name != "step"
            },
            state=defaultdict(dict),
            param_groups=[{**self._optimizer.param_groups[number], "params": [double]}],
        )
        beside.step()
        return dict(beside.state[double])


def _known_kind(optimizer: Optimizer) -> Any:
    """The class of torch or of ours that an optimizer is, or extends."""
    if isinstance(optimizer, LBFGS | SparseAdam):
        return None
    for kind in type(optimizer).__mro__:
        is_ours = kind is LARS or kind.__module__.startswith("torch.optim")
        if is_ours and kind is not Optimizer:
            return kind
    return None


def _fits(value: Any, expected: Any) -> bool:
    if not isinstance(expected, Tensor):
        return expected is None or _is_number(value) == _is_number(expected)
    if not isinstance(value, Tensor):
        return expected.ndim == 0 and _is_number(value)
    if value.layout != torch.strided or value.shape != expected.shape:
        return False
    # Scalars stay in their type; all else is converted to that of the parameter.
    if expected.ndim == 0:
        return value.dtype == expected.dtype
    return value.is_floating_point() == expected.is_floating_point()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, Tensor) and value.ndim == 0)


def _told(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {[*value.shape]} ({str(value.dtype).removeprefix('torch.')})"
    return "missing" if value is None else f"a {type(value).__name__}"
