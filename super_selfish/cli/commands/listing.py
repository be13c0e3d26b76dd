"""`super-selfish list`: what there is to choose from; imports no torch, but for timm's networks."""

from __future__ import annotations

import fnmatch
import textwrap
from collections.abc import Callable, Iterator, Sequence

from super_selfish.cli.algorithms import (
    ALGORITHMS,
    DECIDED,
    algorithm_flags,
    read_algorithm,
    supervise_flags,
)
from super_selfish.cli.helping import described, row
from super_selfish.cli.names import TIMM, backbones, recipe_idea, recipes
from super_selfish.cli.output import say
from super_selfish.cli.wrong import WrongLineError, meant
from super_selfish.wrapping import columns

_WIDE = max(map(len, ALGORITHMS))


def list_names(what: str | None = None) -> None:
    """Shows algorithms, backbones and recipes of augmentation, or one algorithm with its flags.

    Args:
        what: algorithms, backbones, recipes, training (its flags), the name of an algorithm, or a
            pattern of backbones such as 'resnet*' or 'timm/convnext*'. Default: all in short.
    """
    if what is None:
        parts = [_algorithms(is_short=True), _backbones("*"), _recipes(is_short=True)]
        say("\n\n".join(parts))
        say(
            "\nsuper-selfish list NAME shows an algorithm with its flags; list algorithms, "
            "backbones, recipes, training and 'timm/*' show more."
        )
    elif what in _KINDS:
        say(_KINDS[what]())
    elif what in ALGORITHMS:
        say(_algorithm(what))
    else:
        say(_backbones(what))


def _algorithms(*, is_short: bool = False) -> str:
    return "\n".join(["Algorithms (--algorithm)", *_rows(is_short)])


def _rows(is_short: bool) -> Iterator[str]:
    for name in ALGORITHMS:
        algorithm = read_algorithm(name)
        yield row(name, algorithm.idea, _WIDE)
        if not is_short and algorithm.papers:
            yield row("", algorithm.papers, _WIDE)


def _algorithm(name: str) -> str:
    algorithm = read_algorithm(name)
    parts = [
        f"{name} ({algorithm.kind})",
        "\n".join(textwrap.wrap(algorithm.idea, columns())),
        "\n".join(textwrap.wrap(algorithm.papers, columns())),
        "\n".join(described(flag) for flag in algorithm_flags(name)),
    ]
    return "\n\n".join(part for part in parts if part)


def _training() -> str:
    return "\n".join(map(described, supervise_flags(DECIDED)))


def _backbones(pattern: str) -> str:
    found = fnmatch.filter(_timm() if pattern.startswith(TIMM) else backbones(), pattern)
    if not found:
        known = [*_KINDS, *ALGORITHMS, *backbones()]
        raise WrongLineError(f"there is no {pattern!r} to list{meant(pattern, known)}")
    more = " (--backbone; also timm/NAME)" if pattern == "*" else " (--backbone)"
    return "\n".join([f"Backbones{more}", *_in_lines(found)])


def _timm() -> list[str]:
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            "the networks of timm need timm: pip install 'super-selfish[timm]'"
        ) from error
    return [TIMM + name for name in timm.list_models()]


def _recipes(*, is_short: bool = False) -> str:
    heading = "Recipes of augmentation (--ALGORITHM.augmentation)"
    if is_short:
        return "\n".join([heading, *_in_lines(recipes())])
    wide = max(map(len, recipes()))
    return "\n".join([heading, *(row(name, recipe_idea(name), wide) for name in recipes())])


def _in_lines(names: Sequence[str]) -> list[str]:
    return textwrap.wrap(
        ", ".join(names),
        columns(),
        initial_indent="  ",
        subsequent_indent="  ",
        break_on_hyphens=False,
    )


_KINDS: dict[str, Callable[[], str]] = {
    "algorithms": _algorithms,
    "backbones": lambda: _backbones("*"),
    "recipes": _recipes,
    "training": _training,
}
