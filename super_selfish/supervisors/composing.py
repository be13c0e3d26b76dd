"""Supervisors within a supervisor: several algorithms that train as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from super_selfish.supervisors.pretrained import Pretrained
from super_selfish.training.run import Run


def parts_of(supervisor: nn.Module) -> dict[str, Any]:
    """A supervisor and those that are its submodules, by the names of their attributes.

    Args:
        supervisor: The one that trains; its own name is empty.

    Returns:
        Itself first.
    """
    return {
        name: module
        for name, module in supervisor.named_modules()
        if isinstance(module, Pretrained)
    }


@contextmanager
def lent_run(run: Run) -> Iterator[None]:
    """While entered, the parts of a supervisor have its run, for their queues and schedules.

    Args:
        run: With the parts whose steps it does, its owner first.
    """
    owner, *others = run.parts.values()
    formers = [part.run for part in others]
    begun = owner.epochs_seen
    for part in others:
        part.run = run
    try:
        yield
    finally:
        for part, former in zip(others, formers, strict=True):
            part.run = former
            part.epochs_seen += max(0, owner.epochs_seen - begun)


def logged_in(run: Run) -> dict[str, Tensor]:
    """What the parts noted of the present step, which they forget.

    Args:
        run: With its parts.

    Returns:
        Scalars by name; those of a part within behind the name of its attribute and a dot.
    """
    found = {}
    for name, part in run.parts.items():
        prefix = f"{name}." if name else ""
        found.update({f"{prefix}{key}": value for key, value in part._logged.items()})
        part._logged.clear()
    return found
