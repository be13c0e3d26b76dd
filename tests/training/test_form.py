"""The form of a checkpoint: what is taken, and which part is named where it is another."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from super_selfish.training.form import (
    NEEDED,
    is_cell,
    is_extra_state,
    require_form,
    require_storable,
)

PATH = Path("store/base.pt")
HISTORY: dict[str, Any] = {
    "rows": [{"epoch": 1, "loss": 0.5, "note": "x", "is_kept": True, "missing": None}],
    "sums": {"loss": torch.tensor(1.0)},
    "counts": {"loss": 0},
    "totals": {"skipped": 2},
    "others": (1, 0, 2.0, 0.5),
}
STATE: dict[str, Any] = {
    "class": "RotateNetSupervisor",
    "arguments": {"a": {"plain": 1}, "b": {"own": "Net"}, "c": {"plain": None}},
    "model": {"w": torch.ones(2), "a._extra_state": {"x": 1}, "_extra_state": 3},
    "epochs_seen": 0,
    "start": {"weights": {"w": torch.ones(2)}, "origin": "a file"},
    "averaged": {
        **{"rule": {"name": "ema", "decay": 0.9}, "updates": 3, "has_statistics": False},
        "weights": {"w": torch.ones(2)},
    },
    "run": {
        **{"epoch": 0, "step": 0, "settings": {"lr": [1]}, "history": HISTORY, "scaler": {}},
        **{"optimizer": None, "lr_scheduler": {}, "epochs_before": 0, "watched_since": 0},
        **{"schedule": {}, "watching": {}},
    },
    "provenance": {"date": None},
}
GONE = object()


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    state: Any = copy.deepcopy(STATE)
    part = state
    for key in place[:-1]:
        part = part[key]
    if value is GONE:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    made: dict[str, Any] = state
    return made


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((), None),
        (("start",), None),
        (("averaged",), GONE),
        (("run",), None),
        (("provenance",), None),
        (("provenance",), GONE),
        (("epochs_seen",), GONE),
        (("run", "epochs_before"), GONE),
        (("run", "watched_since"), GONE),
        (("run", "schedule"), GONE),
        (("run", "watching"), GONE),
        (("run", "scaler"), None),
        (("run", "history", "totals"), GONE),
        (("run", "history", "rows"), []),
        (("run", "history", "others"), [1, 0, 2.0, 0.5]),
    ],
)
def test_what_this_and_earlier_versions_write_is_taken(place: tuple[Any, ...], value: Any) -> None:
    state = changed(place, value) if place else STATE
    require_form(state, PATH)
    require_storable(state, PATH)


@pytest.mark.parametrize("key", NEEDED)
def test_what_is_missing_is_named(key: str) -> None:
    with pytest.raises(ValueError, match=f"it has no '{key}'"):
        require_form(changed((key,), GONE), PATH)
    require_form(changed((key,), GONE), PATH, needed=())


TENSOR = torch.ones(2)
WRONG: list[tuple[tuple[Any, ...], Any, str]] = [
    (("averaged", "rule"), {"name": "sgd"}, "averaged"),
    (("averaged", "rule"), {"name": "ema", "decay": 2.0}, "averaged"),
    (("averaged", "rule"), {"name": "ema", "last": 0.5}, "averaged"),
    (("averaged", "updates"), -1, "averaged"),
    (("averaged", "weights"), [TENSOR], "averaged"),
    (("averaged", "has_statistics"), 1, "averaged"),
    (("averaged",), None, "averaged"),
    (("class",), 3, "class"),
    (("class",), None, "class"),
    (("arguments",), [], "arguments"),
    (("arguments", "a"), 1, "arguments"),
    (("arguments", "a"), {}, "arguments"),
    (("arguments", "a"), {"plain": 1, "own": "x"}, "arguments"),
    (("arguments", "a"), {"own": 1}, "arguments"),
    (("arguments", "a"), {"other": 1}, "arguments"),
    (("arguments", 1), {"plain": 1}, "arguments"),
    (("model",), [], "model"),
    (("model", "w"), [1.0], "model['w']"),
    (("model", 1), TENSOR, "model[1]"),
    (("epochs_seen",), -1, "epochs_seen"),
    (("epochs_seen",), 1.0, "epochs_seen"),
    (("epochs_seen",), True, "epochs_seen"),
    (("start",), 1, "start"),
    (("start", "weights"), [TENSOR], "start"),
    (("start", "weights", "w"), 1, "start"),
    (("start", "origin"), None, "start"),
    (("run",), [], "run"),
    (("provenance",), 1, "provenance"),
    (("provenance", 1), 1, "provenance"),
    *((("run", name), -1, f"run['{name}']") for name in ("epoch", "step", "epochs_before")),
    *((("run", name), 0.5, f"run['{name}']") for name in ("epoch", "step", "watched_since")),
    *((("run", name), 1, f"run['{name}']") for name in ("scaler", "optimizer", "lr_scheduler")),
    *((("run", name), None, f"run['{name}']") for name in ("settings", "schedule", "watching")),
    (("run", "settings", 1), 1, "run['settings']"),
    (("run", "history"), None, "run['history']"),
    *((("run", "history", name), GONE, "run['history']") for name in HISTORY if name != "totals"),
    (("run", "history", "rows"), {}, "run['history']"),
    (("run", "history", "rows", 0), [], "run['history']"),
    (("run", "history", "rows", 0, "loss"), [0.5], "run['history']"),
    (("run", "history", "rows", 0, 1), 0.5, "run['history']"),
    (("run", "history", "sums", "loss"), TENSOR, "run['history']"),
    (("run", "history", "sums", "loss"), 1.0, "run['history']"),
    (("run", "history", "sums", "more"), torch.tensor(1.0), "run['history']"),
    (("run", "history", "counts", "loss"), -1, "run['history']"),
    (("run", "history", "totals", "skipped"), 0.5, "run['history']"),
    (("run", "history", "others"), (1, 0, 2.0), "run['history']"),
    (("run", "history", "others"), (1, 0, 2.0, None), "run['history']"),
    (("run", "history", "others"), {1, 2, 3, 4}, "run['history']"),
]


@pytest.mark.parametrize(("place", "value", "where"), WRONG)
def test_what_has_another_form_is_named(place: tuple[Any, ...], value: Any, where: str) -> None:
    state = changed(place, value)
    part = where.partition("[")[0]
    with pytest.raises(ValueError, match=f"Selfish: its '{part}' has another form"):
        require_form(state, PATH)
    with pytest.raises(TypeError, match=rf"its {re.escape(where)} is of an unexpected form"):
        require_storable(state, PATH)


@pytest.mark.parametrize("name", ["epoch", "step", "settings", "history", "scaler", "optimizer"])
def test_a_run_has_what_the_first_version_had(name: str) -> None:
    with pytest.raises(ValueError, match="its 'run' has another form"):
        require_form(changed(("run", name), GONE), PATH)


def test_the_type_of_what_cannot_be_stored_is_told() -> None:
    with pytest.raises(TypeError, match=r"stored at store.base\.pt .* unexpected form \(list\)"):
        require_storable(changed(("model", "w"), [1.0]), PATH)


def test_cells_and_extra_states() -> None:
    assert all(map(is_cell, (1, 0.5, True, "x", None)))
    assert not any(map(is_cell, ([], {}, TENSOR, 1j)))
    assert is_extra_state("_extra_state") and is_extra_state("a.b._extra_state")
    assert not is_extra_state("a_extra_state") and not is_extra_state("_extra_state.a")
