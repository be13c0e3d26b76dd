"""What arguments of `supervise()` are taken for, one by one; tests of supervisors say the rest."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from super_selfish.training import Callback
from super_selfish.training.given import check_setting, check_together
from super_selfish.training.schedules import constant


class Often(Callback):
    every_steps = 1

    def on_step(self, supervisor: Any, step: Any) -> None:
        """Does nothing."""


class Never(Often):
    every_steps = 0


class Bytes:
    """A path as some systems have it."""

    def __fspath__(self) -> bytes:
        return b"store/base"


def without_rate(parameters: Any) -> Any:
    return torch.optim.SGD(parameters, lr=0.1)


def wanting_names(parameters: Any, lr: float, named_parameters: Any) -> Any:
    return torch.optim.SGD(parameters, lr=lr)


OFTEN = Often()
CPU = torch.device("cpu")
TAKEN: list[tuple[str, Any, Any]] = [
    # The least that each may be.
    *(("epochs", 0, 0), ("num_workers", 0, 0), ("accumulate", 1, 1), ("lr", 0, 0)),
    *(("steps_per_epoch", 1, 1), ("steps_per_epoch", None, None), ("batch_size", 1, 1)),
    *(("devices", 1, 1), ("devices", None, None), ("devices", [CPU], [CPU])),
    *(("devices", (1, 0), [1, 0]), ("devices", ["cpu"], ["cpu"])),
    *(("clip_norm", 1e-9, 1e-9), ("clip_norm", None, None)),
    # Names, and what stands for others.
    *(("batch_size", "auto", "auto"), ("precision", "auto", "auto"), ("precision", "fp32", "fp32")),
    *(("precision", torch.float16, "fp16"), ("precision", torch.float32, "fp32")),
    *(("lr_scheduler", None, constant), ("lr_scheduler", "cosine", "cosine")),
    *(("optimizer", "AdamW", "AdamW"), ("optimizer", wanting_names, wanting_names)),
    *(("monitor", None, None), ("monitor", False, None)),
    *(("callbacks", None, ()), ("callbacks", OFTEN, [OFTEN]), ("callbacks", (OFTEN,), [OFTEN])),
    # Paths and intervals.
    *(("name", None, None), ("name", Path("a"), Path("a")), ("name", "a/b", "a/b")),
    *(("cache", None, None), ("cache", False, None), ("cache", Path("a"), Path("a"))),
    *(("checkpoint_every", None, None), ("checkpoint_every", "10min", "10min")),
    *(("checkpoint_every", np.float32(5), 5), ("seed", -3, -3)),
]


@pytest.mark.parametrize(("name", "given", "meant"), TAKEN)
def test_what_makes_sense_is_taken(name: str, given: Any, meant: Any) -> None:
    found = check_setting(name, given)
    assert found == meant and type(found) is type(meant)


OPTIMIZER = (
    "optimizer is a class such as torch.optim.AdamW, a function of the parameters and lr, or"
)
DEVICES = "devices is how many (1, 2, ...), or which, such as [0, 1]"
FOLDER = "is a folder: name is the path of a file without its ending, such as "
REFUSED: list[tuple[str, Any, type[Exception], str]] = [
    ("lr", math.nan, ValueError, "lr must be finite, got nan"),
    ("lr", -1e-9, ValueError, "lr must be at least 0, got -1e-09"),
    ("steps_per_epoch", 0, ValueError, "steps_per_epoch must be at least 1, got 0"),
    ("clip_norm", math.nan, ValueError, "clip_norm must be positive, got nan"),
    ("clip_norm", 0, ValueError, "clip_norm must be positive, got 0"),
    ("precision", torch.float64, ValueError, "got torch.float64"),
    ("optimizer", "qqqqqq", ValueError, "\"lamb\", got 'qqqqqq'"),  # which is like no name
    ("optimizer", 3, TypeError, f"{OPTIMIZER} "),
    (
        "optimizer",
        without_rate,
        TypeError,
        "optimizer is called as optimizer(parameters, lr=lr), which without_rate(parameters: 'Any')"
        " -> 'Any' does not take (got an unexpected keyword argument 'lr'): give a class",
    ),
    (
        "optimizer",
        partial(without_rate),
        TypeError,
        "which without_rate(parameters: 'Any') -> 'Any' does not take",
    ),
    ("monitor", object(), TypeError, "monitor must be an object such as Monitor(), got <object"),
    ("callbacks", [OFTEN, 3], TypeError, "a Callback of super_selfish.training, got 3"),
    ("callbacks", Often, TypeError, "got the class Often: give Often(...)"),
    ("callbacks", Callback(), TypeError, "such as a Callback of super_selfish.training, got <"),
    ("callbacks", Never(), ValueError, "every_steps of Never must be at least 1, got 0"),
    ("name", Bytes(), TypeError, "name must be text, got <"),
    ("name", "a/..", ValueError, f"name='a/..' {FOLDER}'a/../base'"),
    ("name", ".", ValueError, f"name='.' {FOLDER}'./base'"),
    ("cache", "", TypeError, "cache must be the path of a file, such as \"store/images\", got ''"),
    ("cache", 3, TypeError, 'cache must be the path of a file, such as "store/images", got 3'),
    ("checkpoint_every", False, TypeError, 'or a time such as "10min", got False'),
    ("checkpoint_every", 1.5, ValueError, "checkpoint_every must be a whole number, got 1.5"),
    ("batch_size", "8", TypeError, "or \"auto\", got the text '8'"),
    ("devices", 0, ValueError, "devices must be at least 1, got 0"),
    ("devices", [True], TypeError, f"{DEVICES}, got [True]"),
    ("devices", ["nowhere"], ValueError, f"{DEVICES}, got ['nowhere']: "),
    ("devices", [0, 1, 0], ValueError, f"{DEVICES}, each once, got [0, 1, 0]"),
    ("devices", CPU, TypeError, "give ['cpu']"),
]


@pytest.mark.parametrize(("name", "given", "kind", "words"), REFUSED)
def test_what_makes_none_is_refused_in_words(
    name: str, given: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        check_setting(name, given)


def test_an_optimizer_with_its_parameters_is_refused_and_not_its_class() -> None:
    weights = [nn.Parameter(torch.ones(1))]
    assert check_setting("optimizer", torch.optim.Adam) is torch.optim.Adam
    with pytest.raises(TypeError, match=r"got an Adam that has its parameters already: give Adam,"):
        check_setting("optimizer", torch.optim.Adam(weights))


def test_a_run_that_goes_on_needs_a_name_and_others_none() -> None:
    given: dict[str, Any] = {"weight_decay": None, "optimizer": "sgd", "name": None}
    none = {"resume": False, "pretrained": False}
    check_together({**given, **none})
    for switch in none:
        check_together({**given, **none, switch: True, "name": "a"})
        with pytest.raises(ValueError, match=f"{switch}=True .* but name=None has none"):
            check_together({**given, **none, switch: True})
