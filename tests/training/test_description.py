"""What is told of objects, by which two runs are compared."""

from __future__ import annotations

import enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR

from super_selfish.training import description
from super_selfish.training.description import described


class Word(enum.Enum):
    A = 1


class Holder:
    """Has an argument as an attribute, one that it keeps nowhere, and a state."""

    def __init__(self, kept: Any, dropped: int = 3) -> None:
        self.kept = kept
        self.count = dropped

    def method(self) -> None:
        """Does nothing."""


class Closed:
    """Tells no arguments."""

    __signature__ = "none"


def function(first: int, second: int = 4) -> int:
    return first + second


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, {"x": None}),
        (True, {"x": True}),
        (0.5, {"x": 0.5}),
        ("text", {"x": "text"}),
        (Word.A, {"x": "Word.A"}),
        (Path("a/b"), {"x": str(Path("a/b"))}),
        (StepLR, {"x": "StepLR"}),
        (torch.tensor(2.5), {"x": 2.5}),
        (np.float32(2.5), {"x": 2.5}),
        ([1, "a", None], {"x": "(1, 'a', None)"}),
        ({"a": 1, "b": {"c": 2}}, {"x['a']": 1, "x['b']['c']": 2}),
        ([1, [2, 3]], {"x[0]": 1, "x[1]": "(2, 3)"}),
        (Holder(2), {"x": "Holder", "x.kept": 2}),
        (Holder(Holder(2)), {"x": "Holder", "x.kept": "Holder", "x.kept.kept": 2}),
        (Closed(), {"x": "Closed"}),
    ],
)
def test_values_are_told_plainly(value: Any, told: dict[str, Any]) -> None:
    found = described("x", value)
    assert found == told
    assert all(type(found[key]) is type(told[key]) for key in told)


def test_functions_are_told_by_name_code_defaults_and_what_they_enclose() -> None:
    def make(factor: int, sign: str = "+") -> Any:
        if sign == "+":
            return lambda value, offset=1: factor * value + offset
        return lambda value, offset=1: factor * value - offset

    found = described("x", make(2))
    name = "test_functions_are_told_by_name_code_defaults_and_what_they_enclose.make.<lambda>"
    assert found["x"] == name
    assert found["x.offset"] == 1 and found["x.factor"] == 2
    same, other, code = (
        described("x", make(2)),
        described("x", make(3)),
        described("x", make(2, "-")),
    )
    assert found == same
    assert [key for key in found if found[key] != other[key]] == ["x.factor"]
    (changed,) = [key for key in found if found[key] != code[key]]
    assert changed.startswith("code of x (Python 3.")

    bound = described("x", partial(function, 1, second=5))
    assert bound["x"] == "function" and bound["x[0]"] == 1 and bound["x.second"] == 5
    method = described("x", Holder(7).method)
    assert method == {"x": "Holder.method", "object of x": "Holder", "object of x.kept": 7}


def test_a_variable_that_is_not_there_yet_is_passed_over() -> None:
    def early() -> Any:
        return later

    found = described("x", early)
    later = 3
    assert "x.later" not in found and described("x", early)["x.later"] == later


def test_of_arrays_type_shape_and_content_are_told() -> None:
    values = [
        torch.arange(6),
        torch.arange(6).flip(0),
        torch.arange(6).view(2, 3),
        torch.arange(6, dtype=torch.int32),
    ]
    found = [described("x", value)["x"] for value in values]
    assert len(set(found)) == 4
    assert found[0].startswith("torch.int64 [6] ") and found[2].startswith("torch.int64 [2, 3] ")
    assert described("x", np.arange(6))["x"] == found[0]
    complex_number = described("x", torch.tensor(1j))["x"]
    assert complex_number.startswith("torch.complex64 [] ")


def test_of_long_arrays_some_entries_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "_LONGEST", 10)
    long = torch.arange(40)
    third, fourth = long.clone(), long.clone()
    third[3], fourth[4] = -1, -1
    told = [described("x", each)["x"] for each in (long, third, fourth)]
    assert told[0] == told[1] != told[2]


def test_long_sequences_are_summed_up() -> None:
    assert described("x", [7] * 64)["x"] == f"({', '.join(['7'] * 64)})"
    told = described("x", [7] * 65)["x"]
    assert told.startswith("65 values ") and told != described("x", [7] * 64 + [8])["x"]


def test_depth_and_number_have_an_end() -> None:
    deep: Any = 1
    for _ in range(9):
        deep = Holder(deep)
    assert list(described("x", deep)) == ["x" + ".kept" * depth for depth in range(7)]
    assert len(described("x", {number: number for number in range(500)})) == 400
    levels: Any = 1
    for _ in range(6):
        levels = {"a": levels}
    assert described("x", levels) == {"x" + "['a']" * 6: 1}
    assert described("x", {"a": levels}) == {"x" + "['a']" * 6: "dict"}


def test_networks_are_told_by_their_layers_and_not_by_weights_or_wrappers() -> None:
    plain, other = nn.Sequential(nn.Linear(3, 4)), nn.Sequential(nn.Linear(3, 5))
    found = described("x", plain)
    assert found["x"] == "Sequential" and len(found) == 2
    assert described("x", nn.Sequential(nn.Linear(3, 4))) == found
    assert described("x", other) != found
    assert described("x", nn.DataParallel(plain)) == found


def bound(inner: Any) -> Any:
    return Holder(inner).method


def enclosing(inner: Any) -> Any:
    def own() -> Any:
        return inner

    return own


def defaulting(inner: Any) -> Any:
    def own(value: Any = inner) -> Any:
        return value

    return own


NESTED: dict[str, Any] = {
    "a dict": lambda inner: {"a": inner},
    "a list": lambda inner: [inner, {}],
    "a partial by place": lambda inner: partial(function, inner),
    "a partial by name": lambda inner: partial(function, second=inner),
    "an object": Holder,
    "a method": bound,
    "what a function encloses": enclosing,
    "what a function has by default": defaulting,
}


@pytest.mark.parametrize("kind", NESTED)
def test_what_lies_deeper_than_six_within_one_another_is_told_by_its_type(kind: str) -> None:
    def nested(depth: int) -> Any:
        value: Any = "the innermost"
        for _ in range(depth):
            value = NESTED[kind](value)
        return value

    # A method is one of an object, which has the next one: two levels.
    deepest = 3 if kind == "a method" else 6
    assert "the innermost" in described("x", nested(deepest)).values()
    assert "the innermost" not in described("x", nested(deepest + 1)).values()
    told = described("x", nested(40))
    assert len(told) < 60 and all(name.count("x") == 1 for name in told)
