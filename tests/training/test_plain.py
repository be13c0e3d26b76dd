from __future__ import annotations

import enum
import re
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from super_selfish.training.checkpoint import read_checkpoint, write_checkpoint
from super_selfish.training.plain import is_plain, plain, plain_setting, same_plain


class Word(str, enum.Enum):
    FAST = "fast"


class Count(enum.IntEnum):
    TWO = 2


class Pair(NamedTuple):
    first: Any
    second: Any


class Named(str):
    pass


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int64(4), 4),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(3), 3),
        (np.array([[1, 2], [3, 4]]), ((1, 2), (3, 4))),
        (Word.FAST, "fast"),
        (Count.TWO, 2),
        (Named("b"), "b"),
        (Fraction(1, 4), 0.25),
        (Decimal("0.5"), 0.5),
        (Path("a") / "b", "a/b"),
        (range(0, 6, 2), (0, 2, 4)),
        (Pair(np.int64(1), [np.float64(2)]), (1, [2.0])),
        ({np.int64(1): {np.float64(0.5)}}, {1: (0.5,)}),
        (frozenset({"c", "a", "b"}), ("a", "b", "c")),
        (True, True),
    ],
)
def test_values_become_exactly_plain_and_survive_a_file(
    given: Any, expected: Any, tmp_path: Path
) -> None:
    found = plain(given)
    assert found == expected and type(found) is type(expected)
    write_checkpoint(tmp_path / "base.pt", {"value": given})
    stored = read_checkpoint(tmp_path / "base.pt")["value"]
    assert stored == expected and type(stored) is type(expected)


def test_tensors_lose_their_class_and_the_rest_of_their_storage(tmp_path: Path) -> None:
    class Marked(torch.Tensor):
        pass

    rows = torch.zeros(100_000, 10)
    state = {
        "row": rows[3],
        "marked": torch.ones(2).as_subclass(Marked),
        "same": rows[0].expand(5, 10),
    }
    write_checkpoint(tmp_path / "base.pt", state)
    assert (tmp_path / "base.pt").stat().st_size < 10_000
    stored = read_checkpoint(tmp_path / "base.pt")
    assert type(stored["marked"]) is torch.Tensor and stored["same"].shape == (5, 10)


def test_a_state_dictionary_keeps_the_versions_of_its_modules(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "base.pt", {"model": nn.BatchNorm2d(2).state_dict()})
    stored = read_checkpoint(tmp_path / "base.pt")["model"]
    assert type(stored) is OrderedDict
    assert vars(stored)["_metadata"] == {"": {"version": 2}}


@pytest.mark.parametrize(
    "value", [object(), [0, object()], {"a": nn.Linear(1, 1)}, lambda: 0, 1j, b"x", {b"x": 0}]
)
def test_what_has_no_plain_form_is_refused_by_its_place(value: Any) -> None:
    assert not is_plain(value)
    assert plain_setting(value) is value
    with pytest.raises(TypeError, match=r"no tensor and no plain value"):
        plain(value)


def test_the_place_is_named_and_endless_values_end() -> None:
    with pytest.raises(TypeError, match=re.escape("run['a'][1] is a object")):
        plain({"a": [0, object()]}, "run")
    for value in (b"x", bytearray(b"x"), np.bytes_(b"x")):
        with pytest.raises(
            TypeError, match=r"a\['b'\] is .* give text, or a tensor of torch.uint8"
        ):
            plain({"b": value}, "a")
    endless: list[Any] = []
    endless.append(endless)
    within_itself = np.empty(1, dtype=object)
    within_itself[0] = within_itself
    for without_end in (endless, within_itself):
        with pytest.raises(TypeError, match="nested deeper than 100"):
            plain(without_end)


def test_values_and_keys_may_be_nested_a_hundred_deep() -> None:
    deep: Any = ("end",)  # one container
    for _ in range(98):
        deep = (deep,)
    assert plain({"a": deep}) == {"a": deep} and plain({deep: 1}) == {deep: 1}
    plain([{"a": deep}]), plain([{deep: 1}])  # 101 containers: what lies in them is text
    for value in ([[{"a": deep}]], [[{deep: 1}]]):
        with pytest.raises(TypeError, match="nested deeper than 100"):
            plain(value)


def test_settings_are_numbers_and_tuples() -> None:
    assert plain_setting(torch.tensor(0.5)) == 0.5
    assert plain_setting([1, [2, 3]]) == (1, (2, 3))
    (number,) = plain_setting([torch.tensor(0.5)])
    assert type(number) is float and number == 0.5


def test_values_with_tensors_are_compared() -> None:
    first = {"a": (1, torch.arange(3))}
    assert same_plain(first, {"a": (1, torch.arange(3))})
    assert not same_plain(first, {"a": (1, torch.arange(1, 4))})
    assert not same_plain(first, {"a": (1, 2)})
