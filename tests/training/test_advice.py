from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from super_selfish.training import advice
from super_selfish.training.advice import Advice


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(advice.time, "perf_counter", lambda: now.seconds)
    return now


def sentences(adviser: Advice, clock: Any, *, waited: float, read: float, steps: int) -> list[str]:
    said = []
    for _ in range(steps):
        clock.seconds += 1.0
        if text := adviser.after_step(SimpleNamespace(waited=waited, read=read)):
            said.append(text)
    return said


def test_a_run_that_waits_for_reading_is_told_of_workers_and_cache(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advice.os, "cpu_count", lambda: 16)
    adviser = Advice(32, 0, has_cache=False)
    (text,) = sentences(adviser, clock, waited=0.5, read=0.4, steps=advice.STEPS)
    assert text.startswith("The networks wait for data 50% of the time, most of it for reading")
    assert "num_workers=2 (now 0)" in text
    assert 'cache="images.cache"' in text
    assert text.endswith(
        'What would help: num_workers=2 (now 0), cache="images.cache" (decodes the files once) or '
        "dataset_on_device=True (for a set that fits there)."
    )


def test_no_more_workers_than_processors(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice.os, "cpu_count", lambda: 2)
    adviser = Advice(32, 2, has_cache=True)
    (text,) = sentences(adviser, clock, waited=0.5, read=0.4, steps=advice.STEPS)
    assert "num_workers" not in text
    assert "cache=" not in text
    assert "What would help: dataset_on_device=True" in text


@pytest.mark.parametrize(
    ("processors", "now", "better"),
    [(16, 0, 2), (16, 1, 2), (16, 3, 6), (4, 3, 4), (4, 4, None), (None, 0, 1), (None, 1, None)],
)
def test_twice_as_many_workers_are_named_up_to_one_a_processor(
    clock: Any,
    monkeypatch: pytest.MonkeyPatch,
    processors: int | None,
    now: int,
    better: int | None,
) -> None:
    monkeypatch.setattr(advice.os, "cpu_count", lambda: processors)
    adviser = Advice(32, now, has_cache=True)
    (text,) = sentences(adviser, clock, waited=0.5, read=0.5, steps=50)
    assert re.findall(r"num_workers=(\d+) \(now (\d+)\)", text) == (
        [] if better is None else [(str(better), str(now))]
    )


@pytest.mark.parametrize(
    ("batch_size", "remedies"),
    [
        (127, "a larger batch_size (now 127), smaller images or an accelerator (it augments, too)"),
        (128, "smaller images or an accelerator (it augments, too)"),
    ],
)
def test_a_run_that_waits_for_augmentation_is_told_of_the_batch(
    clock: Any, batch_size: int, remedies: str
) -> None:
    adviser = Advice(batch_size, 0, has_cache=False)
    (text,) = sentences(adviser, clock, waited=0.5, read=0.1, steps=advice.STEPS)
    assert "most of it for augmentation" in text
    assert text.endswith(f"What would help: {remedies}.")


@pytest.mark.parametrize(("read", "work"), [(0.25, "reading images"), (0.249, "augmentation")])
def test_it_is_called_reading_from_half_of_the_waiting_on(
    clock: Any, read: float, work: str
) -> None:
    (text,) = sentences(Advice(8, 0, has_cache=False), clock, waited=0.5, read=read, steps=50)
    assert f"most of it for {work}. " in text


@pytest.mark.parametrize(
    ("seconds", "waited", "first"),
    [
        (1.0, 0.25, 50),  # a quarter of the time
        (1.0, 0.249, None),
        (0.25, 0.25, 85),  # after 20 seconds, less the first five steps
    ],
)
def test_a_quarter_of_twenty_seconds_and_fifty_steps_is_worth_a_word(
    clock: Any, seconds: float, waited: float, first: int | None
) -> None:
    adviser = Advice(8, 0, has_cache=False)
    said = []
    for step in range(1, 201):
        # Workers start: the first five steps wait for long, which says nothing.
        clock.seconds += seconds if step > 5 else 100.0
        wait = waited if step > 5 else 99.0
        if adviser.after_step(SimpleNamespace(waited=wait, read=wait)):
            said.append(step)
    assert said[:1] == ([] if first is None else [first])


def test_nothing_is_said_of_short_waits_or_short_runs(clock: Any) -> None:
    assert not sentences(Advice(8, 0, has_cache=False), clock, waited=0.1, read=0.1, steps=200)
    few = advice.STEPS - 1
    assert not sentences(Advice(8, 0, has_cache=False), clock, waited=0.9, read=0.9, steps=few)
