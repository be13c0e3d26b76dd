"""Names of algorithms, backbones and recipes, without importing what they are the names of."""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from super_selfish.cli.algorithms import ALGORITHMS
from super_selfish.cli.reading import find, value_of
from super_selfish.cli.wrong import WrongLineError, meant

TIMM = "timm/"
_RECIPES = "super_selfish.augmentations.recipes"
_FIXED_SIZE = "super_selfish.models.torchvision_features"


def require_algorithms(names: Sequence[str], further: Sequence[str] = ()) -> None:
    """Refuses names that there are not.

    Args:
        names: As a user has said them.
        further: That may be said as well.

    Raises:
        WrongLineError: Names one that is near.
    """
    known = [*ALGORITHMS, *further]
    for name in names:
        if name not in known:
            near = meant(name, known) or "; super-selfish list algorithms shows them"
            raise WrongLineError(f"there is no algorithm {name!r}{near}")


def require_backbone(name: str | None) -> None:
    """Refuses a backbone that there is not; one of timm's is left to timm.

    Args:
        name: As a user has said it.

    Raises:
        WrongLineError: Names one that is near.
    """
    if name is not None and not name.startswith(TIMM) and name not in backbones():
        near = meant(name, backbones()) or "; super-selfish list backbones shows them"
        raise WrongLineError(f"there is no backbone {name!r}{near}")


@functools.cache
def backbones() -> tuple[str, ...]:
    """Names of all backbones but timm's."""
    efficientnets = _names("super_selfish.models.efficientnet", "EFFICIENTNETS")
    alexnet = _names("super_selfish.models.alexnet", "NAME")
    return (*efficientnets, *alexnet, "narrow-resnet", *torchvision_backbones())


@functools.cache
def torchvision_backbones() -> tuple[str, ...]:
    """Torchvision's classification networks of any image size, as its files register them."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return ()
    fixed = _names(_FIXED_SIZE, "_FIXED_SIZE")
    found = []
    for file in Path(spec.origin).parent.joinpath("models").glob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any(map(_registers, node.decorator_list)):
                found.append(node.name)
    return tuple(sorted(name for name in found if not name.startswith(fixed)))


def recipes() -> tuple[str, ...]:
    """Names of the recipes of augmentation."""
    return _names(_RECIPES, "RECIPES")


def recipe_idea(name: str) -> str:
    """What the function of a recipe says of it in its first line.

    Args:
        name: From `recipes()`.
    """
    found = find(_RECIPES, "RECIPES")
    assert found is not None and isinstance(found.node, ast.Dict)  # noqa: S101
    expression = dict(zip(recipes(), found.node.values, strict=True))[name]
    # Of `partial(_kept_size, context_patch)` the last function, which is the recipe.
    functions = [each.id for each in ast.walk(expression) if isinstance(each, ast.Name)]
    function = find(_RECIPES, functions[-1])
    node = None if function is None else function.node
    said = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
    return (said or "").partition("\n")[0]


def _names(module: str, name: str) -> tuple[str, ...]:
    """The entries of a collection that a file holds, or its keys."""
    found = find(module, name)
    assert found is not None  # noqa: S101
    value = value_of(*found)
    return (value,) if isinstance(value, str) else tuple(value)


def _registers(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "register_model"
