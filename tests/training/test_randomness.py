from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from super_selfish.training.randomness import derive_seed, seed_device, seed_torch, step_generator


def test_every_place_of_a_run_has_a_seed_of_its_own() -> None:
    seeds = {
        derive_seed(seed, epoch, step)
        for seed in range(9)
        for epoch in range(9)
        for step in range(9)
    }
    assert len(seeds) == 9**3
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_never_change() -> None:
    """Stored runs go on with the same draws in every later version."""
    assert derive_seed(0, 1, 2) == 4727102316523150270


def test_a_place_always_draws_the_same() -> None:
    first, second = (torch.rand(3, generator=step_generator(1, 2, 3)) for _ in range(2))
    assert torch.equal(first, second)


def test_torchs_own_stream_is_seeded_as_torch_would() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(0)
    seed_torch(7, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)


def test_streams_of_accelerators_are_seeded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, object]] = []

    @contextmanager
    def on(device: torch.device) -> Iterator[None]:
        told.append(("on", str(device)))
        yield
        told.append(("off", str(device)))

    module = SimpleNamespace(
        manual_seed=lambda seed: told.append(("one", seed)),
        manual_seed_all=lambda seed: told.append(("all", seed)),
        device=on,
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    seed_torch(7, torch.device("cuda"))
    seed_device(8, torch.device("cuda:1"))
    assert told == [("all", 7), ("on", "cuda:1"), ("one", 8), ("off", "cuda:1")]
    del told[:], module.manual_seed_all  # as MPS, which has one device
    seed_torch(9, torch.device("mps"))
    assert told == [("one", 9)]
    state = torch.get_rng_state()
    seed_device(3, torch.device("cpu"))
    assert len(told) == 1 and torch.equal(torch.get_rng_state(), state)
