from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from super_selfish.training.settings import (
    announce_beginning,
    announce_changes,
    changed,
    differences,
    refuse_differences,
    told_optimizer,
    told_schedule,
)

TENSOR = torch.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    "value",
    [
        *(1, 0.5, "a", None, True, float("nan"), [0.5, 0.5], (1, "a"), {"a": 1}, [], {}),
        *(TENSOR, [TENSOR], {"a": TENSOR}, {"a": [TENSOR, 1]}, [[TENSOR]]),
    ],
)
def test_a_setting_is_the_same_as_itself(value: Any) -> None:
    copy = torch.clone(value) if isinstance(value, torch.Tensor) else value
    assert differences({"x": value}, {"x": copy}) == []


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        *((1, 2), (0.5, 0.51), (None, 0), ("a", "b"), (float("nan"), 1.0), ({"a": 1}, {"b": 1})),
        *(([0.5], [0.53]), ([0.5], [0.5, 0.5]), ({"a": 1}, {"a": 2}), ({"a": 1}, {})),
        *((TENSOR, TENSOR + 1), (TENSOR, TENSOR.double()), (TENSOR, TENSOR[:1]), (TENSOR, None)),
        *(([TENSOR], [TENSOR + 1]), ({"a": TENSOR}, {"a": TENSOR + 1}), (1.0, TENSOR)),
        *(({"a": 1}, 5), (5, {"a": 1}), ({"a": 1}, "a"), ({}, []), ([], {}), ({}, ())),
        *(((1,), [1]), ([1], (1,)), ((1,), (1, 2)), ((1, 2), (1,)), ((), []), ((1, 2), (1, 3))),
    ],
)
def test_settings_that_differ_are_told_with_both_values(stored: Any, given: Any) -> None:
    (said,) = differences({"x": stored, "y": 1}, {"x": given, "y": 1})
    assert said.startswith("x=")
    assert ", this call has " in said
    for value in (stored, given):
        if isinstance(value, torch.Tensor):
            assert f"a tensor {list(value.shape)}" in said


def test_measured_numbers_of_a_list_may_differ_by_what_decoders_do() -> None:
    assert differences({"x": [0.50, 1.0]}, {"x": [0.519, 0.981]}) == []
    assert len(differences({"x": [0.50, 1.0]}, {"x": [0.5201, 1.0]})) == 1
    assert differences({"x": [0.0]}, {"x": [0.02]}) == []  # just as much
    assert len(differences({"x": 0.50}, {"x": 0.51})) == 1  # told, not measured
    assert len(differences({"x": [1]}, {"x": [1.01]})) == 1  # counted, not measured


def test_what_only_one_of_two_tells_is_not_compared() -> None:
    assert differences({"x": 1, "y": 2}, {"y": 2, "z": 3}) == []


def test_a_momentum_that_a_schedule_cycles_is_told_as_it_was_given() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.85, weight_decay=0.01)
    assert told_optimizer(optimizer)["momentum"] == 0.85
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    assert optimizer.param_groups[0]["momentum"] != 0.85
    told = told_optimizer(optimizer)
    assert told["momentum"] == 0.85
    assert told["weight_decay"] == 0.01
    assert "lr" not in told and "max_momentum" not in told


def test_a_momentum_that_a_group_has_of_its_own_is_told() -> None:
    groups = [{"params": nn.Linear(2, 2).parameters(), "momentum": 0.3}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    assert told_optimizer(optimizer)["momentum"] == 0.3
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)  # which cycles nothing
    assert told_optimizer(optimizer)["momentum"] == 0.3


def told(groups: int, held: bool = False) -> tuple[Any, Any]:
    layers = [nn.Linear(2, 2) for _ in range(groups)]
    optimizer = torch.optim.SGD([{"params": layer.parameters()} for layer in layers], lr=0.5)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.25)
    for number, group in enumerate(optimizer.param_groups):
        group["lr"] = 9.0  # where it stands by now
        if held:
            group["held_lr"] = 0.1 * (number + 1)
    return schedule, optimizer


def test_a_schedule_is_told_with_the_rate_that_it_began_with() -> None:
    found = told_schedule(*told(1), epochs=4)
    expected = {"epochs": 4, "lr": 0.5, "lr_scheduler": "StepLR"}
    assert expected.items() <= found.items()
    assert found["step_size of lr_scheduler"] == 3 and found["gamma of lr_scheduler"] == 0.25
    assert not any("optimizer of" in name or "last_epoch" in name for name in found)
    assert not any(name.startswith(("_", "lr of the")) for name in found)


def test_groups_are_told_with_the_rates_that_are_held() -> None:
    found = told_schedule(*told(2, held=True), epochs=4)
    assert found["lr"] == 0.1
    assert found["lr of the groups"] == "(0.1, 0.2)"


def test_schedules_inside_of_one_and_of_players_are_told() -> None:
    _, optimizer = told(1)
    parts = [torch.optim.lr_scheduler.StepLR(optimizer, n) for n in (1, 7)]
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, parts, [2])  # type: ignore[arg-type]
    found = told_schedule(schedule, optimizer, epochs=4)
    assert found["step_size of lr_scheduler[0]"] == 1
    assert found["step_size of lr_scheduler[1]"] == 7
    assert found["milestones of lr_scheduler"] == "(2)"
    players = told_schedule({"critic": parts[1]}, {"critic": optimizer}, epochs=4)
    assert players["epochs of the critic"] == 4
    assert players["step_size of lr_scheduler of the critic"] == 7


def test_settings_of_several_groups_and_players_say_whose_they_are() -> None:
    _, optimizer = told(2)
    assert told_optimizer(optimizer)["momentum of group 2"] == 0
    assert "momentum" not in told_optimizer(optimizer)
    found = told_optimizer({"critic": told(1)[1]})
    assert found["optimizer of the critic"] == "SGD" and found["momentum of the critic"] == 0
    assert told_optimizer(object()) == {"optimizer": "object"}


def test_an_order_and_what_trains_are_told_by_their_first_difference() -> None:
    (said,) = differences({"order": ["a", "b", "c"]}, {"order": ["a", "c", "b"]})
    assert said == (
        "the parameters of its optimizer in another order: b at place 1, this call has c"
    )
    assert differences({"order": ["a", "b"]}, {"order": ["a", "c"]}) == []
    (said,) = differences({"trained": ["a", "b", "c"]}, {"trained": ["c", "d"]}, "this one")
    assert said == (
        "3 parameters that train, this one has 2 (a stands still now, d stood still then)"
    )
    (said,) = differences({"trained": ["a"]}, {"trained": ["a", "b"]})
    assert said.endswith("(b stood still then)")


TASKS: Any = (("rotate", {"crop": True, "size": 3}), ("denoise", {"scale": 0.5}))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (TASKS, []),
        (
            (("rotate", {"crop": True, "size": 4}), ("denoise", {"scale": 0.6})),
            [
                "tasks[0][1]['size']=3, this call has 4",
                "tasks[1][1]['scale']=0.5, this call has 0.6",
            ],
        ),
        (  # What another task is told besides is no difference of its own.
            (("jigsaw", {"crop": False, "size": 4}), TASKS[1]),
            ["tasks[0][0]='rotate', this call has 'jigsaw'"],
        ),
        (TASKS[:1], ["tasks=('rotate', 'denoise'), this call has ('rotate',)"]),
        (
            (TASKS[0], ("denoise", {"width": 0.5})),
            ["tasks[1][1]={'scale': 0.5}, this call has {'width': 0.5}"],
        ),
        ("rotate", [f"tasks={TASKS}, this call has 'rotate'"]),
        ((1, 2), [f"tasks={TASKS}, this call has (1, 2)"]),
    ],
)
def test_of_several_tasks_the_parts_that_differ_are_told(given: Any, said: list[str]) -> None:
    assert differences({"tasks": TASKS}, {"tasks": given}) == said


def test_what_changed_is_told_in_the_words_of_what_is_new() -> None:
    assert changed({"num_images": 5, "a": 1}, {"num_images": 6, "a": 1}) == [
        "images in the dataset=6 instead of 5"
    ]


def test_differences_are_refused_and_nothing_else() -> None:
    refuse_differences([], "base")
    message = "cannot resume base: the stored run has a; b. Give c, or pretrained=True to start"
    with pytest.raises(ValueError, match=message):
        refuse_differences(["a", "b"], "base", "Give c")
    with pytest.raises(ValueError, match=r"a\. Use the same, or pretrained=True"):
        refuse_differences(["a"], "base")


def test_the_first_process_alone_says_how_a_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    announce_changes([], "base", 2)
    assert caplog.messages == []
    announce_changes(["lr=1 instead of 2", "b"], "base", 2)
    announce_beginning("base")
    assert caplog.messages[0].startswith(
        "base goes on in epoch 3, from here on with lr=1 instead of 2, b (the learning rate is"
    )
    assert caplog.messages[1].endswith("base.pt: starting anew")
    monkeypatch.setattr("super_selfish.training.settings.rank", lambda: 1)
    announce_changes(["a"], "base", 2)
    announce_beginning("base")
    assert len(caplog.messages) == 2
