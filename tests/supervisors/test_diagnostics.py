"""Sentences on runs that fail, at the numbers from which they are said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from super_selfish.supervisors import diagnostics
from super_selfish.supervisors.diagnostics import (
    HealthWarning,
    batches_of_one_explained,
    caution_of_one,
    collapse,
    spread,
    warn_if_exploded,
    warn_if_ill,
)


def test_the_spread_of_unit_vectors_is_relative_to_independent_ones() -> None:
    assert float(spread(torch.ones(5, 4) / 2)) == 0.0
    assert float(spread(torch.cat([torch.eye(4), -torch.eye(4)]))) == pytest.approx(1.0)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.nn.functional.normalize(torch.randn(4000, 64, generator=generator), dim=1)
    assert float(spread(drawn.half())) == pytest.approx(1.0, abs=0.01)


def test_a_collapse_is_told_below_its_limit_with_what_helps() -> None:
    assert collapse(0.1, "do this") is None
    assert collapse(float("nan"), "do this") is None
    told = collapse(0.1 - 1e-9, "do this", besides=", which is bad")
    assert told == (
        "the embeddings have collapsed: they spread over 10% of what independent ones "
        "would, which is bad; do this"
    )


def run(**more: Any) -> Any:
    values = {"global_step": 100, "epoch": 3, "has_exploded": False, "warned": set()}
    history = SimpleNamespace(first_loss=2.0)
    return SimpleNamespace(**{**values, "history": history, "learning_rate": 0.5, **more})


def test_a_verdict_is_told_once_there_is_something_to_judge(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    warn_if_ill(None, run())
    warn_if_ill("it fails", run(global_step=99))
    assert not recwarn
    with pytest.warns(HealthWarning, match="^epoch 3: it fails$"):
        warn_if_ill("it fails", run())
    monkeypatch.setattr(diagnostics, "rank", lambda: 1)
    warn_if_ill("it fails", run())
    assert not recwarn


def test_a_verdict_with_other_numbers_is_told_once_a_run(recwarn: pytest.WarningsRecorder) -> None:
    state = run()
    for number, verdict in enumerate(("3.1% in 1 epoch", "2% in 12 epochs", "it fails"), 1):
        state.epoch = number
        warn_if_ill(verdict, state)
    warn_if_ill("1% in 8 epochs", run())
    told = [str(each.message) for each in recwarn]
    assert told == ["epoch 1: 3.1% in 1 epoch", "epoch 3: it fails", "epoch 3: 1% in 8 epochs"]


@pytest.mark.parametrize(
    ("first", "loss", "is_told"),
    [
        (2.0, 2000.0, False),
        (2.0, 2000.1, True),
        (-2.0, -2000.1, True),
        (0.0, 10.0, False),
        (0.0, 10.1, True),
    ],
)
def test_a_loss_that_left_all_measure_is_told_once(
    first: float, loss: float, is_told: bool, recwarn: pytest.WarningsRecorder
) -> None:
    state = run(history=SimpleNamespace(first_loss=first))
    for _ in range(2):
        warn_if_exploded({"loss": loss}, state)
    assert [str(each.message) for each in recwarn] == [
        f"epoch 3: the loss is {loss:.3g}, and began at {abs(first):.3g}: training diverges. Lower "
        "lr (now 0.5), or give clip_norm=1.0"
    ] * is_told
    assert state.has_exploded == is_told


def test_other_processes_are_silent_about_it(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(diagnostics, "rank", lambda: 1)
    state = run()
    warn_if_exploded({"loss": 1e9}, state)
    assert state.has_exploded and not recwarn


@pytest.mark.parametrize(
    ("batch_size", "images", "processes", "is_told"),
    [(1, 50, 1, True), (8, 1, 1, True), (2, 50, 1, False), (1, 50, 2, False), (2, 2, 2, False)],
)
def test_a_step_of_one_image_is_told_of(
    batch_size: int, images: int, processes: int, is_told: bool
) -> None:
    told = caution_of_one(run(batch_size=batch_size, num_images=images, processes=processes))
    assert told is None or told.startswith("each step sees one image, and there is no other")
    assert (told is not None) == is_told


def test_a_batch_of_one_is_explained_and_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="raise batch_size to at least 2"):
        with batches_of_one_explained():
            torch.nn.BatchNorm1d(2)(torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"^another$"), batches_of_one_explained():
        raise ValueError("another")
