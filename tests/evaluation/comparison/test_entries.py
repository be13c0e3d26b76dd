"""Parts of a run of a comparison, without one."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from super_selfish.data import ImageSource
from super_selfish.evaluation.comparison import entries
from super_selfish.evaluation.comparison.entries import (
    Conditions,
    Entry,
    _pretrain,
    _sentences,
    build_options,
    draw_backbone,
    has_start,
    seconds_of,
    some_images,
)
from super_selfish.supervisors import HealthWarning
from super_selfish.training.history import History

IMAGES = torch.arange(20 * 3 * 8 * 8).reshape(20, 3, 8, 8).remainder(251).to(torch.uint8)


def conditions(**changed: Any) -> Conditions:
    nothing: Any = None
    values: dict[str, Any] = {
        **{"train": nothing, "test": nothing, "pretrain": ImageSource(IMAGES), "backbone": None},
        **{"protocols": ("knn",), "budget": "1min", "epochs": None, "device": torch.device("cpu")},
    }
    return Conditions(**{**values, **changed})


class Told:
    """A supervisor that notes with what it trains, and stands where one says."""

    def __init__(self, epoch: int, step: int, warned: tuple[Warning, ...] = ()) -> None:
        history = History()
        if epoch:
            history.rows = [{"loss": 3.0}]
        history.add({"loss": torch.tensor(2.0)}, images=1, seconds=1.0, waited=0.0)
        self.warned = warned
        self.run: Any = SimpleNamespace(
            **{"epoch": epoch, "step": step, "global_step": 5 * epoch + step, "history": history},
            **{"num_images": 18, "seen": min(4 * step, 18), "steps_per_epoch": 5},
        )

    def supervise(self, **settings: Any) -> None:
        self.settings = settings
        for warning in self.warned:
            warnings.warn(warning, stacklevel=1)


def pretrained(supervisor: Any, monkeypatch: pytest.MonkeyPatch, **changed: Any) -> Any:
    times = iter([100.0, 130.0])
    monkeypatch.setattr(entries, "time", SimpleNamespace(monotonic=lambda: next(times)))
    entry = Entry("key", "moco", 3, settings={"lr": 0.5})
    return _pretrain(supervisor, entry, conditions(**changed), None)


@pytest.mark.parametrize(
    ("epoch", "step", "seen", "epochs", "loss"),
    [(2, 0, 36, 2.0, 3.0), (2, 3, 48, 2.6, 2.0), (0, 5, 18, 1.0, 2.0), (0, 1, 4, 0.2, 2.0)],
)
def test_what_a_run_has_seen_is_counted_to_its_last_step(
    epoch: int, step: int, seen: int, epochs: float, loss: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pretrained(Told(epoch, step), monkeypatch)
    assert found == {
        "minutes": 0.5,
        "images_per_second": pytest.approx(seen / 30),
        "steps": 5 * epoch + step,
        "epochs": pytest.approx(epochs),
        "loss": loss,
        "warnings": [],
    }


def test_a_run_has_the_settings_of_its_entry_and_conditions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supervisor = Told(1, 0)
    pretrained(supervisor, monkeypatch)
    expected = {"lr": 0.5, "keep_last": 1, "time_limit": "60.000s", "name": None, "seed": 3}
    assert expected.items() <= supervisor.settings.items()
    assert supervisor.settings["epochs"] >= 10**6
    assert [supervisor.settings[n] for n in ("resume", "overwrite", "progress")] == [
        *(False, True, False)
    ]
    pretrained(supervisor, monkeypatch, budget=None, epochs=7)
    assert supervisor.settings["time_limit"] is None and supervisor.settings["epochs"] == 7


def test_a_run_without_a_step_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="not one step was done: give a larger budget"):
        pretrained(Told(0, 0), monkeypatch)


def test_what_health_checks_say_is_kept_and_other_warnings_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = (HealthWarning("epoch 1: too quick"), HealthWarning("odd"), UserWarning("look"))
    with pytest.warns(UserWarning, match="^look$") as seen:
        found = pretrained(Told(1, 0, told), monkeypatch)
    assert found["warnings"] == ["too quick", "odd"]
    assert [str(each.message) for each in seen] == ["look"]


def test_a_sentence_is_kept_once_without_its_epoch() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for text in ("epoch 1: a: b", "epoch 2: a: b", "c"):
            warnings.warn(text, HealthWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
    assert _sentences(caught) == ["a: b", "c"]


def test_an_unfinished_run_tells_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seconds_of(tmp_path / "a") == 0.0
    (tmp_path / "a.pt").touch()
    history = History()
    for seconds in (2.0, 3.0, 0.5):
        history.add({"loss": torch.tensor(1.0)}, images=1, seconds=seconds, waited=0.0)
        if seconds > 1:
            history.end_epoch(1, 0.1)
    run: Any = {"run": {"history": history.state_dict()}}
    monkeypatch.setattr(entries, "read_run", lambda path: run)
    assert seconds_of(tmp_path / "a") == 5.5
    run["run"] = None
    assert seconds_of(tmp_path / "a") == 0.0


def test_some_images_are_drawn_from_all_and_nested() -> None:
    source: Any = ImageSource(IMAGES)
    assert some_images(source, 20, 0) is source
    drawings: list[Any] = [some_images(source, number, 1) for number in (5, 9)]
    few, more = (
        {str(drawn[index].image.flatten().tolist()) for index in range(len(drawn))}
        for drawn in drawings
    )
    assert (len(few), len(more)) == (5, 9) and few < more


def test_a_backbone_is_drawn_by_its_seed_and_copied_where_it_is_given() -> None:
    given = nn.Conv2d(3, 4, 3).requires_grad_(False)
    copied: Any = draw_backbone(conditions(backbone=given), 0)
    assert copied is not given and torch.equal(copied.weight, given.weight)
    assert all(parameter.requires_grad for parameter in copied.parameters())

    def make(channels: int) -> nn.Module:
        return nn.Conv2d(channels, 4, 3)

    drawn: list[Any] = [draw_backbone(conditions(backbone=make), seed) for seed in (0, 0, 1)]
    first, second, other = drawn
    assert torch.equal(first.weight, second.weight) and not torch.equal(first.weight, other.weight)
    wrong: Any = lambda channels: None  # noqa: E731
    with pytest.raises(TypeError, match=r"must return a network, an nn\.Module, got NoneType"):
        draw_backbone(conditions(backbone=wrong), 0)


@pytest.mark.parametrize(
    ("backbone", "draw_anew", "found"),
    [
        (None, False, False),
        ("resnet18", False, False),
        (nn.Conv2d(3, 4, 3), True, False),
        (nn.Conv2d(3, 4, 3), False, True),
        (lambda channels: nn.Conv2d(3, 4, 3), False, True),
    ],
)
def test_only_weights_that_were_given_can_be_trained_before(
    backbone: Any, draw_anew: bool, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = conditions(backbone=backbone, draw_anew=draw_anew)
    for looks in (True, False):
        monkeypatch.setattr(entries, "looks_trained", lambda network, looks=looks: looks)
        assert has_start(trained, nn.Identity()) == (found and looks)


def test_options_are_copied_or_made() -> None:
    head = nn.Linear(2, 2)
    found = build_options({"head": head, "width": 3}, 1)
    assert found["width"] == 3 and found["head"] is not head
    assert build_options(lambda channels: {"width": channels}, 5) == {"width": 5}
    assert build_options(None, 1) == {}
