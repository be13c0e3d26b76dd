"""What the user may say of a run, and what is refused of it before anything is read."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from typing import Any

from super_selfish.pretraining import rules
from super_selfish.supervisors import SUPERVISORS
from super_selfish.supervisors.arguments import constructor_keywords, takes_any_keyword
from super_selfish.supervisors.base import Supervisor
from super_selfish.training.spelling import did_you_mean
from super_selfish.training.telling import warn

# Keywords that the call has itself, or decides.
OF_THE_CALL = {
    "batch_size": "batch_size=",
    "seed": "seed=",
    "progress": "progress=",
    "overwrite": "overwrite=",
    "name": "out=",
    "time_limit": "time=",
    "epochs": "time=",
    "steps_per_epoch": "time=",
    "resume": "out=",
    "pretrained": "backbone=",
}
OF_IMAGES = (
    *("dataset", "backbone", "image_size", "in_channels", "device"),
    *("on_error", "value_range", "pages", "loader"),
)


def algorithm_of(algorithm: str | type[Supervisor] | None) -> tuple[Any, str]:
    """Class and name of an algorithm; of None the one that the rules name.

    Args:
        algorithm: As the user has said it.

    Raises:
        ValueError: If there is none of that name.
        TypeError: If it is neither name nor class.
    """
    if algorithm is None:
        algorithm = rules.algorithm()[0]
    if isinstance(algorithm, type) and issubclass(algorithm, Supervisor):
        return algorithm, algorithm.__name__
    if not isinstance(algorithm, str):
        raise TypeError(f"algorithm is a name or a class of a supervisor, got {algorithm!r}")
    if algorithm not in SUPERVISORS:
        near = did_you_mean(algorithm, SUPERVISORS)
        guess = "" if near is None else f": did you mean {near!r}?"
        raise ValueError(
            f"algorithm must be one of {sorted(SUPERVISORS)}, got {algorithm!r}{guess}"
        )
    return SUPERVISORS[algorithm], algorithm


def checked_options(kind: Any, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Keywords of a constructor; refuses those that it does not take.

    Args:
        kind: The class.
        options: As the user has said them.

    Raises:
        TypeError: If one is none of its keywords, or they are no dictionary.
        ValueError: If one is a keyword of the call itself.
    """
    given = _dictionary("options", options)
    own = [name for name in OF_IMAGES if name in given]
    if own:
        raise ValueError(f"options: {own} are said in the call itself")
    known = constructor_keywords(kind)
    wrong = [] if takes_any_keyword(kind) else [name for name in given if name not in known]
    if wrong:
        raise TypeError(f"options: {wrong} are none of {known}")
    return given


def checked_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Keywords of `supervise()`; refuses others, and those that the call decides.

    Args:
        settings: As the user has said them.

    Raises:
        TypeError: If one is none of its keywords, or they are no dictionary.
        ValueError: If one is decided by a keyword of the call itself.
    """
    given = _dictionary("supervise", settings)
    known = list(inspect.signature(Supervisor.supervise).parameters)[1:]
    wrong = [name for name in given if name not in known]
    if wrong:
        raise TypeError(f"supervise: {wrong} are none of {known}")
    for name, instead in OF_THE_CALL.items():
        if name in given:
            raise ValueError(f"supervise: {name!r} is for {instead} of this call to decide")
    return given


def require_packages() -> tuple[str, bool]:
    """Which format the backbone is written in, and whether there will be a page; warns if not.

    Returns:
        The format, and whether matplotlib is there.
    """
    format, has_page = "safetensors", True
    if importlib.util.find_spec("safetensors") is None:
        format = "state_dict"
        warn(
            "safetensors is missing, so that the backbone is written as backbone.pt: "
            "pip install 'super-selfish[export]'"
        )
    if importlib.util.find_spec("matplotlib") is None:
        has_page = False
        warn(
            "matplotlib is missing, so that there is no report: pip install 'super-selfish[plots]'"
        )
    return format, has_page


def _dictionary(name: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dictionary of keywords, got {value!r}")
    return dict(value)
