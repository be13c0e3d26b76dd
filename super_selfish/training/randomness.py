"""Randomness that depends on where a run is, and on nothing else."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(*numbers: int) -> int:
    """Mixes integers, such as (seed, epoch, step), into one seed.

    Args:
        numbers: Integers of up to 64 bits; their order matters.

    Returns:
        A seed in [0, 2^63).
    """
    text = ",".join(str(number) for number in numbers).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def seed_torch(seed: int, device: torch.device) -> None:
    """Does what `torch.manual_seed` does to the streams of the CPU and of one kind of device.

    Where there is no CUDA, `torch.manual_seed` takes 0.1 to 1 ms for noting what it would have
    seeded.

    Args:
        seed: In [0, 2^64).
        device: Where the networks are.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        module = torch.get_device_module(device)
        getattr(module, "manual_seed_all", module.manual_seed)(seed)


def seed_device(seed: int, device: torch.device) -> None:
    """Sets the stream of one device of several; that of the CPU stays.

    Args:
        seed: In [0, 2^64).
        device: With its number.
    """
    if device.type != "cpu":
        module = torch.get_device_module(device)
        with module.device(device):
            module.manual_seed(seed)


def step_generator(*numbers: int) -> torch.Generator:
    """A CPU generator for a place in a run, such as (seed, epoch, step)."""
    return torch.Generator().manual_seed(derive_seed(*numbers))
