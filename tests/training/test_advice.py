from __future__ import annotations

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


@pytest.mark.parametrize("batch_size", [16, 256])
def test_a_run_that_waits_for_augmentation_is_told_of_the_batch(
    clock: Any, batch_size: int
) -> None:
    adviser = Advice(batch_size, 0, has_cache=False)
    (text,) = sentences(adviser, clock, waited=0.5, read=0.1, steps=advice.STEPS)
    assert "most of it for augmentation" in text
    assert ("batch_size" in text) == (batch_size == 16)


def test_nothing_is_said_of_short_waits_or_short_runs(clock: Any) -> None:
    assert not sentences(Advice(8, 0, has_cache=False), clock, waited=0.1, read=0.1, steps=200)
    few = advice.STEPS - 1
    assert not sentences(Advice(8, 0, has_cache=False), clock, waited=0.9, read=0.9, steps=few)
