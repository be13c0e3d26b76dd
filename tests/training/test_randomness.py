from __future__ import annotations

import torch

from super_selfish.training.randomness import derive_seed, seed_torch, step_generator


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
