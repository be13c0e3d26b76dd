from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from super_selfish.training.typed import typed, typed_arguments

TAKEN = [
    ("int", 8, 8),
    ("int", 8.0, 8),
    ("int", np.int64(8), 8),
    ("int", np.float32(8), 8),
    ("int | None", torch.tensor(8), 8),
    ("int | None", None, None),
    ("float", np.float64(0.5), 0.5),
    ("float", np.array(0.5), 0.5),
    ("float", 1, 1),
    ("float | None", None, None),
    ("bool", np.bool_(True), True),
    ("bool", 0, False),
    ("bool", torch.tensor(True), True),
    ("bool", np.array(False), False),
    ("bool | None", None, None),
    ("Any", "8", "8"),
    ("int | str | None", "10min", "10min"),
]


@pytest.mark.parametrize(("annotation", "value", "meant"), TAKEN)
def test_what_is_meant_is_taken_as_a_plain_value(annotation: str, value: Any, meant: Any) -> None:
    result = typed("x", value, annotation)
    assert result == meant and type(result) is type(meant)


REFUSED = [
    ("int", 1.5, ValueError, "x must be a whole number, got 1.5"),
    ("int", float("nan"), ValueError, "x must be a whole number, got nan"),
    (
        "int",
        "8",
        TypeError,
        "x must be a whole number, got the text '8': write x=8, without quotes",
    ),
    ("int", "auto", TypeError, "x must be a whole number, got the text 'auto'"),
    ("int", True, TypeError, "x must be a whole number, got True"),
    ("int", None, TypeError, "x must be a whole number, got None: leave it out"),
    ("float", [1.0], TypeError, "x must be a number, got [1.0]"),
    ("float", np.array([0.5]), TypeError, "x must be a number, got array([0.5])"),
    ("bool", torch.tensor([True]), TypeError, "x must be True or False, got tensor([True])"),
    ("bool", None, TypeError, "x must be True or False, got None: leave it out"),
    ("float", None, TypeError, "x must be a number, got None: leave it out"),
    ("int", float("inf"), ValueError, "x must be a whole number, got inf"),
    (
        "float",
        "1.5e-3",  # which YAML takes for a number
        TypeError,
        "x must be a number, got the text '1.5e-3': write x=0.0015, without quotes",
    ),
    (
        "float",
        "1e-3",
        TypeError,
        "x must be a number, got the text '1e-3': write x=0.001, without quotes (YAML takes 1e-3 "
        "for a text, and 1.0e-3 for a number)",
    ),
    ("bool", "False", TypeError, "x must be True or False, got the text 'False'"),
    ("bool", 2, TypeError, "x must be True or False, got 2"),
    (
        "nn.Module | str | None",
        nn.Identity,
        TypeError,
        "x must be an object, got the class Identity: give Identity(...)",
    ),
    (
        "nn.Module | None",
        test_what_is_meant_is_taken_as_a_plain_value,
        TypeError,
        "x must be a network, got the function test_what_is_meant_is_taken_as_a_plain_value: give "
        "test_what_is_meant_is_taken_as_a_plain_value(...)",
    ),
    (
        "Callable[..., Tensor] | None",
        nn.MSELoss,
        TypeError,
        "x must be an object, got the class MSELoss: give MSELoss(...)",
    ),
]


@pytest.mark.parametrize(("annotation", "value", "kind", "sentence"), REFUSED)
def test_what_is_not_is_refused_in_words(
    annotation: str, value: Any, kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind) as caught:
        typed("x", value, annotation)
    assert str(caught.value) == sentence


def takes(self: Any, count: int, share: float = 0.5, *, exact: bool = False) -> None:
    """A constructor."""


def test_arguments_of_a_constructor_get_the_types_of_its_signature() -> None:
    args, kwargs = typed_arguments(takes, (np.int64(3), 1.0), {"exact": 1})
    assert (args, kwargs) == ((3, 1.0), {"exact": True})
    assert type(args[0]) is int and type(kwargs["exact"]) is bool
    with pytest.raises(ValueError, match=r"count must be a whole number, got 1\.5"):
        typed_arguments(takes, (1.5,), {})
    with pytest.raises(TypeError, match="exact must be True or False, got 2"):
        typed_arguments(takes, (1,), {"exact": 2})


def test_what_a_signature_does_not_know_is_left_to_the_call() -> None:
    args, kwargs = typed_arguments(takes, (1, 2.0, True, "more"), {"other": "x", "self": "y"})
    assert args == (1, 2.0, True, "more")
    assert kwargs == {"other": "x", "self": "y"}
