"""Flags from annotations."""

from __future__ import annotations

import ast
from typing import Any, Literal

import pytest

from super_selfish.cli.flags import Flag, default_in_words, flags_of, in_words, letters, type_of
from super_selfish.cli.reading import Code, Missing, read_function

HERE = "super_selfish.supervisors.momentum_contrast"


def kind(annotation: str) -> Any:
    return type_of(HERE, ast.parse(annotation, mode="eval").body)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("str", str),
        ("int | None", int | None),
        ("nn.Module | str | None", str | None),
        ("Size | None", int | tuple[int, int] | None),
        ("Sequence[str]", list[str]),
        ("tuple[int, ...]", list[int]),
        ("Literal['a', 'b'] | int", Literal["a", "b"] | int),
        ("str | os.PathLike[str]", str),
        ("Mapping[str, int] | None", dict[str, int] | None),
        ("Any", None),
        ("nn.Module | None", None),
        ("Callable[..., Tensor] | None", None),
        ("Sequence[Any]", None),
        ("Mapping[str, Any]", dict[str, Any]),
        ("Mapping[str, Tensor]", None),
        ("tuple[nn.Module, int]", None),
    ],
)
def test_what_words_can_hold_is_left_of_an_annotation(annotation: str, expected: Any) -> None:
    assert kind(annotation) == expected


def test_a_keyword_that_no_word_can_hold_is_no_flag() -> None:
    names = [f.name for f in flags_of(read_function(HERE, "MomentumContrastSupervisor.__init__"))]
    assert "temperature" in names
    assert not {"dataset", "predictor", "loss", "normalize"} & set(names)


def test_flags_are_typed_with_dashes_and_after_their_group() -> None:
    function = read_function(HERE, "MomentumContrastSupervisor.__init__")
    typed = {flag.typed: flag for flag in flags_of(function, "moco")}
    assert typed["--moco.queue-size"].name == "moco.queue_size"
    assert typed["--moco.symmetric"].is_switch and not typed["--moco.momentum"].is_switch


@pytest.mark.parametrize(
    ("of", "shown", "said"),
    [
        (int, "N", "a whole number"),
        (int | tuple[int, int] | None, "N [N]", "a whole number or 2 times a whole number"),
        (list[str], "TEXT ...", "several times text"),
        (Literal["a", "b"] | int, "a|b|N", "'a' or 'b' or a whole number"),
        (dict[str, str], "NAME=VALUE ...", "NAME=VALUE"),
        (tuple[float, float], "X X", "2 times a number"),
        (tuple[float | list[float], float | list[float]], "X X", "2 times a number"),
    ],
)
def test_values_are_shown_in_letters_and_in_words(of: Any, shown: str, said: str) -> None:
    assert (letters(of), in_words(of)) == (shown, said)


@pytest.mark.parametrize(
    ("default", "shown"),
    [
        (None, ""),
        (False, ""),
        (Missing, ""),
        (0, "0"),
        (1e-05, "1e-05"),
        (("knn", "linear"), "knn linear"),
        (Code("torch.optim.Adam"), "torch.optim.Adam"),
    ],
)
def test_defaults_are_shown_where_they_say_something(default: Any, shown: str) -> None:
    assert default_in_words(Flag("some", str, default, "")) == shown
