"""What `supervise()` is given, looked at before anything is built."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from super_selfish.training.averaging import averaging_of
from super_selfish.training.callbacks import EVENTS, is_monitor, listens
from super_selfish.training.optimizers import OPTIMIZERS, wants_names
from super_selfish.training.precision import AUTO, DTYPES
from super_selfish.training.scaling import scaling_of
from super_selfish.training.schedules import constant
from super_selfish.training.spelling import did_you_mean
from super_selfish.training.typed import as_count, as_whole
from super_selfish.training.weight_decay import decay_of, refuse_two_decays

_UNFIT: dict[type, str] = {
    torch.optim.LBFGS: "computes the loss of one batch several times in a step, and here each "
    "batch passes once",
    torch.optim.SparseAdam: "takes sparse gradients alone, and networks of images have dense ones",
}
# The least that each may be.
_LEAST = {"epochs": 0, "num_workers": 0, "accumulate": 1, "lr": 0, "steps_per_epoch": 1}


def check_setting(name: str, value: Any) -> Any:
    """One argument of `supervise()`.

    Args:
        name: Of the argument.
        value: Of the type that the signature says, where that is a number or a truth value.

    Returns:
        What is meant by it.

    Raises:
        TypeError: If it is of a type that makes no sense.
        ValueError: If it is a number, or a name, that makes none.
    """
    least = _LEAST.get(name)
    if least is not None and value is not None and not isinstance(value, str):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    check = _CHECKS.get(name)
    return value if check is None else check(value)


def check_together(settings: Mapping[str, Any]) -> None:
    """Refuses arguments of `supervise()` that contradict one another.

    Args:
        settings: All of them by name.

    Raises:
        ValueError: If there is nothing to go on from, or there are two weight decays.
    """
    refuse_two_decays(settings["weight_decay"], settings["optimizer"])
    for switch, does in (("resume", "goes on from"), ("pretrained", "begins with")):
        if settings[switch] and settings["name"] is None:
            raise ValueError(
                f"{switch}=True {does} the checkpoint at name=, but name=None has none: "
                "give the name of the run"
            )


def _optimizer(given: Any) -> Any:
    names = ", ".join(f'"{name}"' for name in OPTIMIZERS)
    wanted = f"a class such as torch.optim.AdamW, a function of the parameters and lr, or {names}"
    if isinstance(given, str):
        if given.lower() in OPTIMIZERS:
            return given
        meant = did_you_mean(given.lower(), OPTIMIZERS)
        guess = f': did you mean "{meant}"?' if meant else ""
        raise ValueError(f"optimizer is {wanted}, got {given!r}{guess}")
    if isinstance(given, Optimizer):
        kind = type(given).__name__
        raise TypeError(
            f"optimizer is {wanted}, got an {kind} that has its parameters already: give {kind}, "
            f"or partial({kind}, ...) with its settings"
        )
    if not callable(given):
        raise TypeError(f"optimizer is {wanted}, got {given!r}")
    made_by: Any = given.func if isinstance(given, partial) else given
    for unfit, why in _UNFIT.items():
        if inspect.isclass(made_by) and issubclass(made_by, unfit):
            raise TypeError(f"optimizer={made_by.__name__} {why}: give {wanted}")
    try:
        takes_both = inspect.signature(given)
    except ValueError:  # of code in C nothing is known
        return given
    try:
        takes_both.bind([], lr=0.1, **({"named_parameters": {}} if wants_names(given) else {}))
    except TypeError as error:
        name = getattr(made_by, "__name__", repr(made_by))
        raise TypeError(
            f"optimizer is called as optimizer(parameters, lr=lr), which {name}{takes_both} does "
            f"not take ({error}): give {wanted}"
        ) from None
    return given


def _lr_scheduler(given: Any) -> Any:
    if given is None:
        return constant
    wanted = 'lr_scheduler is a function of the optimizer, or a name such as "cosine"'
    if isinstance(given, LRScheduler):
        kind = type(given).__name__
        raise TypeError(
            f"{wanted}, got a {kind} that has its optimizer already: give partial({kind}, ...)"
        )
    return given


def _precision(given: Any) -> Any:
    names = {dtype: name for name, dtype in DTYPES.items()}
    if isinstance(given, torch.dtype) and given in names:
        return names[given]
    if given != AUTO and given not in DTYPES:
        raise ValueError(f"precision is one of {[*sorted(DTYPES), AUTO]}, got {given!r}")
    return given


def _monitor(given: Any) -> Any:
    if given is None or given is False:
        return None
    if given is True or inspect.isclass(given) or not hasattr(given, "after_epoch"):
        shown = f"the class {given.__name__}" if inspect.isclass(given) else repr(given)
        raise TypeError(
            f"monitor must be an object such as Monitor(), got {shown}: give monitor=Monitor(), "
            "from super_selfish.evaluation"
        )
    return given


def _callbacks(given: Any) -> Any:
    if given is None:
        return ()
    several = list(given) if isinstance(given, list | tuple) else [given]
    for each in several:
        is_any = is_monitor(each) or any(listens(each, event) for event in EVENTS)
        if inspect.isclass(each) or not is_any:
            shown = f"the class {each.__name__}" if inspect.isclass(each) else repr(each)
            hint = f": give {each.__name__}(...)" if inspect.isclass(each) else ""
            raise TypeError(
                f"callbacks are objects with some of the methods {', '.join(EVENTS)}, such as a "
                f"Callback of super_selfish.training, got {shown}{hint}"
            )
        as_count(f"every_steps of {type(each).__name__}", getattr(each, "every_steps", 1))
    return several


def _name(given: Any) -> Any:
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike):
        raise TypeError(
            f'name must be a path such as "store/base", or None to store nothing, got {given!r}'
        )
    text = os.fspath(given)
    if not isinstance(text, str):
        raise TypeError(f"name must be text, got {given!r}: give {os.fsdecode(text)!r}")
    if not text:
        raise ValueError(
            'name must be a path such as "store/base", or None to store nothing; it is empty'
        )
    if os.path.basename(text) in ("", ".", ".."):
        example = os.path.join(text, "base")
        raise ValueError(
            f"name={text!r} is a folder: name is the path of a file without its ending, such as "
            f"{example!r}"
        )
    return given


def _cache(given: Any) -> Any:
    if given is None or given is False:
        return None
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        raise TypeError(f'cache must be the path of a file, such as "store/images", got {given!r}')
    return given


def _checkpoint_every(given: Any) -> Any:
    if isinstance(given, bool):
        raise TypeError(
            f'checkpoint_every must be a number of steps, or a time such as "10min", got {given}'
        )
    if given is None or isinstance(given, str):
        return given
    return as_whole("checkpoint_every", given)


def clip_norm_of(given: Any) -> Any:
    """What is meant by `clip_norm=`, of `supervise()` or of an algorithm.

    Args:
        given: The largest norm of the gradients; None leaves them, or that of the algorithm.

    Raises:
        ValueError: If it is not positive.
    """
    if given is not None and not given > 0:
        raise ValueError(f"clip_norm must be positive, got {given}")
    return given


def _batch_size(given: Any) -> Any:
    if given == "auto":
        return given
    if isinstance(given, str):
        raise TypeError(f'batch_size must be a whole number, or "auto", got the text {given!r}')
    return as_count("batch_size", given)


def _devices(given: Any) -> Any:
    wanted = "devices is how many (1, 2, ...), or which, such as [0, 1]"
    if given is None:
        return None
    if isinstance(given, list | tuple):
        for each in given:
            if isinstance(each, bool) or not isinstance(each, int | str | torch.device):
                raise TypeError(f"{wanted}, got {given!r}")
            try:
                torch.device(each)
            except RuntimeError as error:
                raise ValueError(f"{wanted}, got {given!r}: {error}") from None
        if not given or len({str(each) for each in given}) < len(given):
            raise ValueError(f"{wanted}, each once, got {given!r}")
        return list(given)
    if isinstance(given, str | torch.device):
        raise TypeError(f"{wanted}, got {given!r}: give [{str(given)!r}]")
    return as_count("devices", given)


_CHECKS = {
    "averaging": averaging_of,
    "lr_scaling": scaling_of,
    "devices": _devices,
    "batch_size": _batch_size,
    "optimizer": _optimizer,
    "lr_scheduler": _lr_scheduler,
    "precision": _precision,
    "monitor": _monitor,
    "callbacks": _callbacks,
    "name": _name,
    "cache": _cache,
    "checkpoint_every": _checkpoint_every,
    "clip_norm": clip_norm_of,
    "weight_decay": decay_of,
}
