"""What constructors take, and with which arguments a stored supervisor is built again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from super_selfish.supervisors.arguments import (
    check_keywords,
    construct_again,
    constructor_keywords,
    given_arguments,
    kind_of,
    left_out,
    rebuilding_arguments,
    record_arguments,
    same_arguments,
    stored_arguments,
    takes_any_keyword,
)


class Plain:
    def __init__(self, dataset: Any = None, width: int = 3, *, depth: int = 2) -> None:
        self.got = (dataset, width, depth)


class Passing(Plain):
    def __init__(self, width: int = 1, **more: Any) -> None:
        self.passed = (width, more)


class ByPlace(Plain):
    def __init__(self, first: int, /, second: int = 2, *rest: int, last: int = 9) -> None:
        self.placed = (first, second, rest, last)


def test_keywords_are_those_of_the_signature_and_the_options_of_all() -> None:
    found = constructor_keywords(Plain)
    assert found[:3] == ["dataset", "width", "depth"] and "self" not in found
    assert found[3:] == sorted(found[3:]) and "device" in found[3:]
    assert [takes_any_keyword(kind) for kind in (Plain, Passing, ByPlace)] == [False, True, False]
    assert "more" not in constructor_keywords(Passing)
    assert "rest" not in constructor_keywords(ByPlace)


def test_a_keyword_that_a_constructor_does_not_take_is_refused() -> None:
    check_keywords(Plain, ["width", "device"], {})
    check_keywords(Passing, ["anything"], {})
    with pytest.raises(TypeError, match=r"Plain\(\).*widht.*width"):
        check_keywords(Plain, ["depth", "widht"], {})


def test_arguments_are_recorded_by_name_with_their_defaults() -> None:
    assert record_arguments(Plain, ("images",), {"depth": torch.tensor(5)}) == {
        "dataset": "images",
        "width": 3,
        "depth": 5,
    }
    assert record_arguments(Passing, (4,), {"depth": 5}) == {"width": 4, "depth": 5}
    assert record_arguments(ByPlace, (1, 2, 3, 4), {}) == {
        **{"first": 1, "second": 2, "last": 9},
        "rest": (3, 4),
    }


def test_more_places_than_there_are_are_refused() -> None:
    assert record_arguments(Plain, (None, 2), {})["width"] == 2
    message = r"Plain\(\) takes at most 2 arguments without a name \(dataset, width\), got 3"
    with pytest.raises(TypeError, match=message):
        record_arguments(Plain, (None, 2, 3), {})


@pytest.mark.parametrize(
    ("args", "kwargs"), [((1,), {}), ((1, 5), {"last": 3}), ((1, 5, 6, 7), {"last": 3})]
)
def test_what_is_taken_by_place_is_given_at_its_place(
    args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    built = ByPlace(*args, **kwargs)
    again = ByPlace(0)
    construct_again(again, record_arguments(ByPlace, args, kwargs))
    assert again.placed == built.placed


def test_a_checkpoint_holds_plain_arguments_and_classes_of_others() -> None:
    network = nn.Linear(2, 2)
    given = {"width": 3, "backbone": network, "dataset": "images", "device": "cpu", "head": None}
    stored = stored_arguments(given)
    assert stored == {"width": {"plain": 3}, "backbone": {"own": "Linear"}, "head": {"plain": None}}
    assert kind_of(nn.DataParallel(network)) == "Linear" and kind_of(3.0) == "float"
    assert same_arguments(stored, given)
    assert not same_arguments(stored, {**given, "width": 4})
    assert left_out(stored, given) == {}
    assert left_out(stored, {**given, "backbone": None}) == {"backbone": {"own": "Linear"}}


def test_a_supervisor_is_built_again_with_what_is_stored_and_objects_that_are_here() -> None:
    here = nn.Linear(2, 2)
    stored = {"width": {"plain": 3}, "backbone": {"own": "Linear"}, "view": {"own": "Blur"}}
    training = frozenset({"view"})
    present = {"dataset": "images", "width": 9, "backbone": here, "view": None}
    found = rebuilding_arguments(stored, present, "base", training)
    assert found == {"dataset": "images", "width": 3, "backbone": here, "view": None}
    without = {**present, "backbone": "resnet18"}
    message = r"base was trained with backbone=Linear\(\.\.\.\), an object of your own: give the"
    with pytest.raises(ValueError, match=message):
        rebuilding_arguments(stored, without, "base", training)
    gone = {name: value for name, value in present.items() if name != "view"}
    assert "view" not in rebuilding_arguments(stored, gone, "base", training)


@pytest.mark.parametrize("images", [np.zeros((2, 4, 4, 3), np.uint8), [np.zeros((4, 4, 3))]])
def test_images_are_built_again_with_as_they_were_given(images: Any) -> None:
    present = record_arguments(Plain, (images,), {})
    assert present["dataset"] is images
    stored = stored_arguments(present)
    assert rebuilding_arguments(stored, present, "a run", frozenset())["dataset"] is images


def test_those_are_told_that_differ_from_the_defaults_but_the_data_set() -> None:
    class Takes:
        def __init__(self, dataset: Any = None, a: int = 1, b: Any = (0.5, 2), c: Any = None):
            """Takes them."""

    given = {"dataset": "images", "a": 1, "b": [0.5, 3], "c": 4, "d": 1}
    assert given_arguments(Takes, given) == {"b": [0.5, 3], "c": 4, "d": 1}
    assert given_arguments(Takes, {"a": 2, "b": (0.5, 2), "c": None}) == {"a": 2}
