"""What is read of a source is what Python makes of it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from super_selfish.cli.algorithms import ALGORITHMS, read_algorithm
from super_selfish.cli.commands import COMMANDS
from super_selfish.cli.names import backbones, recipes, torchvision_backbones
from super_selfish.cli.reading import Code, Missing, find, read_function, told_of
from super_selfish.models.efficientnet import EFFICIENTNETS
from super_selfish.models.torchvision_features import torchvision_names
from super_selfish.supervisors import SUPERVISORS, Supervisor


def compared(function: Callable[..., Any], module: str, name: str) -> None:
    """Holds what was read of a function against its signature."""
    read = read_function(module, name).parameters
    true = {
        each.name: each
        for each in inspect.signature(function).parameters.values()
        if each.name != "self" and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }
    assert list(read) == list(true)
    for each in read.values():
        parameter = true[each.name]
        assert each.is_keyword == (parameter.kind is parameter.KEYWORD_ONLY)
        if parameter.default is parameter.empty:
            assert each.default is Missing
        elif isinstance(each.default, Code):
            assert callable(parameter.default)
        else:
            assert each.default == parameter.default
        assert each.text, f"{name} says nothing of {each.name}"


@pytest.mark.parametrize("command", [c for c in COMMANDS.values() if c.of is not None])
def test_the_function_of_a_command_is_read_as_it_is(command: Any) -> None:
    module, name = command.of
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    compared(found, module, name)


@pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))
def test_the_constructor_of_an_algorithm_is_read_as_it_is(algorithm: str) -> None:
    kind = SUPERVISORS[algorithm]
    assert read_algorithm(algorithm).kind == kind.__name__
    compared(kind.__init__, "super_selfish.supervisors", f"{kind.__name__}.__init__")


def test_what_every_algorithm_takes_is_told_by_the_base_class() -> None:
    from super_selfish.supervisors.options import NAMES

    further = read_function("super_selfish.supervisors", "BYOLSupervisor.__init__").further
    assert set(further) == NAMES and all(each.text for each in further.values())


def test_supervise_is_read_as_it_is() -> None:
    compared(Supervisor.supervise, "super_selfish.supervisors", "Supervisor.supervise")


def test_names_are_those_of_the_library() -> None:
    from super_selfish.augmentations import RECIPES

    assert ALGORITHMS == tuple(sorted(SUPERVISORS))
    assert set(recipes()) == set(RECIPES)
    assert torchvision_backbones() == tuple(sorted(torchvision_names()))
    assert set(backbones()) >= {*EFFICIENTNETS, "alexnet-bn", "narrow-resnet", "resnet18"}


def test_every_algorithm_has_an_idea_and_a_paper() -> None:
    for name in ALGORITHMS:
        algorithm = read_algorithm(name)
        assert algorithm.idea.endswith((".", "?")) and algorithm.papers


def test_what_is_said_elsewhere_is_fetched_from_there() -> None:
    read = read_function("super_selfish.evaluation.checking", "check").parameters
    assert read["pages"].text.startswith("What to do with files of several images")
    chosen = read_function("super_selfish.pretraining", "choose").parameters
    assert chosen["backbone"].text.endswith("All begin with its weights.")


def test_arguments_of_a_docstring_are_single_lines() -> None:
    said = (
        "Does.\n\nArgs:\n    a: One\n        and more: so.\n    **b: Two.\n\nReturns:\n    c: No."
    )
    assert told_of(said) == {"a": "One and more: so.", "b": "Two."}
    assert told_of("Does.") == {}


def test_names_from_elsewhere_are_not_found() -> None:
    assert find("super_selfish.pretraining.pretrain", "nn") is None
    assert find("super_selfish.pretraining.pretrain", "nothing") is None
    with pytest.raises(LookupError, match="nothing"):
        read_function("super_selfish.pretraining.pretrain", "nothing")
