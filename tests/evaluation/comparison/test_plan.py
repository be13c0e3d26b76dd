"""What a comparison consists of, without a run."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from super_selfish.evaluation.comparison.plan import (
    algorithms_by_name,
    check_budget,
    device_of,
    numbers_of,
    options_of,
    seeds_of,
    settings_of,
)
from super_selfish.supervisors import SUPERVISORS, RotateNetSupervisor
from super_selfish.training.schedules import constant

KINDS: dict[str, Any] = {"rotate": SUPERVISORS["rotate"], "moco": SUPERVISORS["moco"]}


def test_every_algorithm_pretrains_on_all_images_or_as_many_as_one_says() -> None:
    assert numbers_of(KINDS, {}, None, 16) == {"rotate": [(None, 16)], "moco": [(None, 16)]}
    assert numbers_of(KINDS, {"moco": 5}, None, 16) == {
        "rotate": [(None, 16)],
        "moco": [(None, 5)],
    }
    assert numbers_of(KINDS, {"moco": 5}, [8, 1, 8, 16], 16) == {
        "rotate": [(8, 8), (1, 1), (16, 16)],
        "moco": [(8, 5), (1, 1), (16, 5)],
    }


@pytest.mark.parametrize(
    ("images", "sizes", "message"),
    [
        ({"mcoo": 5}, None, "images are for ['mcoo'], which is none of ['rotate', 'moco']"),
        ({"moco": 17}, None, "from 1 to the 16 images that there are for pretraining, got [17]"),
        ({"moco": 0}, None, "got [0]"),
        ({"moco": True}, None, "got [True]"),
        ({}, [17], "got [17]"),
        ({}, [], "base_sizes must have at least one number, or be None, got none"),
    ],
)
def test_numbers_of_images_that_there_are_not_are_refused(
    images: dict[str, int], sizes: list[int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        numbers_of(KINDS, images, sizes, 16)


def test_what_is_no_mapping_is_refused() -> None:
    wrong: Any = [("moco", 5)]
    with pytest.raises(TypeError, match="images must be a dictionary"):
        numbers_of(KINDS, wrong, None, 16)
    with pytest.raises(TypeError, match="supervise must be a dictionary"):
        settings_of(KINDS, wrong, timed=False)
    with pytest.raises(TypeError, match=r"supervise\['moco'\] must be a dictionary"):
        settings_of(KINDS, {"moco": 5}, timed=False)
    with pytest.raises(TypeError, match=r"options\['moco'\] must be a dictionary"):
        options_of(KINDS, {"moco": 5})  # type: ignore[dict-item]


def test_settings_are_for_all_or_for_one() -> None:
    given = {"batch_size": 8, "moco": {"batch_size": 4, "lr": 0.1}}
    assert settings_of(KINDS, given, timed=False) == {
        "rotate": {"batch_size": 8},
        "moco": {"batch_size": 4, "lr": 0.1},
    }


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"lrr": 1}, TypeError, r"supervise: \['lrr'\] are neither keywords of supervise\(\) nor"),
        ({"self": 1}, TypeError, r"\['self'\] are neither"),
        ({"moco": {"epochs": 1}}, ValueError, r"supervise\['moco'\] must leave \['epochs'\]"),
        ({"seed": 1}, ValueError, r"supervise\['rotate'\] must leave \['seed'\]"),
    ],
)
def test_settings_that_nobody_takes_are_refused(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        settings_of(KINDS, given, timed=False)


def test_a_schedule_that_wants_the_length_has_no_budget_of_time() -> None:
    assert settings_of(KINDS, {"lr_scheduler": "cosine"}, timed=False)["moco"]
    assert settings_of(KINDS, {"lr_scheduler": constant}, timed=True)["moco"]
    with pytest.raises(ValueError, match="lr_scheduler='cosine' needs to know how long"):
        settings_of(KINDS, {"lr_scheduler": "cosine"}, timed=True)


def test_a_weight_decay_that_moves_over_the_run_has_no_budget_of_time() -> None:
    assert settings_of(KINDS, {"weight_decay": (0.04, 0.4)}, timed=False)["moco"]
    assert settings_of(KINDS, {"weight_decay": 0.04}, timed=True)["moco"]
    with pytest.raises(ValueError, match=r"weight_decay=\(0.04, 0.4\) needs to know how long"):
        settings_of(KINDS, {"moco": {"weight_decay": (0.04, 0.4)}}, timed=True)


def test_options_are_those_of_the_constructors() -> None:
    def made(channels: int) -> dict[str, Any]:
        return {}

    def any_kind(*arguments: Any, **keywords: Any) -> Any:
        return None

    given: dict[str, Any] = {"moco": {"queue_size": 8}, "rotate": made, "own": {"what": 1}}
    assert options_of({**KINDS, "own": any_kind}, given) == given
    with pytest.raises(TypeError, match=r"options\['moco'\]: \['queue'\] are none of"):
        options_of(KINDS, {"moco": {"queue": 8, "queue_size": 8}})
    with pytest.raises(ValueError, match=r"options are for \['mcoo'\], which is none of"):
        options_of(KINDS, {"mcoo": {}})


def test_algorithms_have_names_or_are_given() -> None:
    assert algorithms_by_name(["moco"]) == {"moco": SUPERVISORS["moco"]}
    assert algorithms_by_name({"mine": RotateNetSupervisor}) == {"mine": RotateNetSupervisor}
    with pytest.raises(TypeError, match="a sequence of names, got the string 'moco'"):
        algorithms_by_name("moco")
    with pytest.raises(ValueError, match=r"got \['mocco', 'x'\]: did you mean 'moco'\?"):
        algorithms_by_name(["mocco", "x", "moco"])
    with pytest.raises(ValueError, match=r"got \['zzzz'\]$"):
        algorithms_by_name(["zzzz"])
    with pytest.raises(TypeError, match=r"must be names, got \('rotate', \{\}\): arguments of one"):
        algorithms_by_name(["moco", ("rotate", {})])  # type: ignore[list-item]
    for wrong in ({}, {"untrained": RotateNetSupervisor}, {"start": RotateNetSupervisor}):
        with pytest.raises(ValueError, match="give at least one algorithm, none of them by"):
            algorithms_by_name(wrong)


def test_seeds_are_a_number_or_themselves_each_once() -> None:
    assert seeds_of(3) == [0, 1, 2]
    assert seeds_of(1) == [0]
    assert seeds_of([5, 2, 5]) == [5, 2]
    wrong: Any
    for wrong in (0, [], [1.5], [True]):
        with pytest.raises(ValueError, match="seeds must be a number of at least 1, or seeds"):
            seeds_of(wrong)


@pytest.mark.parametrize(
    ("budget", "epochs", "message"),
    [
        (None, None, "give either budget"),
        ("1min", 1, "give either budget"),
        (None, 0, "epochs must be a whole number of at least 1, got 0"),
        (None, 1.5, "epochs must be a whole number of at least 1, got 1.5"),
        (None, True, "epochs must be a whole number of at least 1, got True"),
        ("0s", None, "budget must be longer than nothing, got '0s'"),
    ],
)
def test_a_comparison_has_a_budget_or_epochs(budget: str | None, epochs: Any, message: str) -> None:
    check_budget("1s", None)
    check_budget(None, 1)
    with pytest.raises(ValueError, match=message):
        check_budget(budget, epochs)


def test_the_device_is_the_one_asked_for_or_that_of_the_network() -> None:
    elsewhere = nn.Linear(2, 2, device="meta")
    assert device_of("cpu", elsewhere) == torch.device("cpu")
    assert device_of(None, elsewhere) == torch.device("meta")
    assert device_of(None, nn.Linear(2, 2)) == torch.device("cpu")
