"""Defaults are the papers' numbers, or depart from them as the table says."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import pytest

from super_selfish.supervisors import SUPERVISORS, Supervisor
from tests.papers.numbers import AS_PAPER, ELSEWHERE, PLUMBING, SIGNATURES, SUPERVISE, Number


def defaults(function: Any) -> dict[str, Any]:
    """Arguments with their defaults, without what `**` takes."""
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return {p.name: p.default for p in named if p.name != "self"}


def found(address: str) -> Any:
    """A function, a class, or a method of one."""
    module, *names = re.split(r"\.(?=[A-Z]|[^.]+$)", address)
    part: Any = importlib.import_module(f"super_selfish.{module}")
    for name in names:
        part = getattr(part, name)
    return part


def test_the_table_covers_every_algorithm() -> None:
    assert set(SIGNATURES) == set(SUPERVISORS)


@pytest.mark.parametrize("algorithm", sorted(SIGNATURES))
def test_every_number_of_an_algorithm_is_in_the_table(algorithm: str) -> None:
    arguments = set(defaults(SUPERVISORS[algorithm].__init__)) - PLUMBING
    assert arguments == set(SIGNATURES[algorithm])


def rows() -> list[tuple[str, str, Number]]:
    of_algorithms = [(a, name, n) for a, table in SIGNATURES.items() for name, n in table.items()]
    of_others = [(a, name, n) for a, table in ELSEWHERE.items() for name, n in table.items()]
    return [
        *of_algorithms,
        *of_others,
        *[("supervise", name, number) for name, number in SUPERVISE.items()],
    ]


@pytest.mark.parametrize(("where", "name", "number"), rows(), ids=lambda value: str(value)[:40])
def test_a_default_is_the_table_s(where: str, name: str, number: Number) -> None:
    if where == "supervise":
        function: Any = Supervisor.supervise
    elif where in SUPERVISORS:
        function = SUPERVISORS[where].__init__
    else:
        function = found(where)
    default = defaults(function)[name]
    assert type(default) is type(number.default)
    assert default == number.default


def test_who_departs_from_a_paper_says_why() -> None:
    for where, name, number in rows():
        assert number.source, (where, name)
        assert (number.ours is AS_PAPER) == (number.why == ""), (where, name)


# What else a bare `supervise()` does: nothing that nobody has asked for, but storing.
PLAIN = {
    **{"num_workers": 0, "name": "store/base", "pretrained": False, "seed": 0, "resume": False},
    **{"precision": "fp32", "checkpoint_every": "10min", "clip_norm": None, "time_limit": None},
    **{"progress": True, "monitor": None, "callbacks": (), "cache": None},
    **{"dataset_on_device": False, "worker_timeout": "30min", "devices": None},
    **{"channels_last": None, "compile": False, "compile_augmentation": False},
    **{"sync_batch_norm": False, "on_nan": "raise", "averaging": None, "lr_scaling": None},
    **{"keep_last": 2, "overwrite": False, "steps_per_epoch": None, "weight_decay": None},
}


def test_a_bare_run_is_that_of_the_first_release() -> None:
    given = defaults(Supervisor.supervise)
    assert given.pop("optimizer").__name__ == "Adam"
    assert given.pop("lr_scheduler").__name__ == "constant"
    assert {name: each for name, each in given.items() if name not in SUPERVISE} == PLAIN
