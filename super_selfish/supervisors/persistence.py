"""Supervisors to files and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from super_selfish.supervisors.arguments import (
    rebuilding_arguments,
    same_arguments,
    stored_arguments,
)
from super_selfish.supervisors.provenance import provenance_of
from super_selfish.training import distributed
from super_selfish.training.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained

Name = str | os.PathLike[str]


def save_supervisor(supervisor: Pretrained, name: Name) -> None:
    """Stores networks, memories, and where there is a run its position.

    Args:
        supervisor: What to store.
        name: Path without its ending.
    """
    state = {
        "class": type(supervisor).__name__,
        "arguments": stored_arguments(supervisor.arguments),
        "model": supervisor.state_dict(),
        "epochs_seen": supervisor.epochs_seen,
        "run": None if supervisor.run is None else supervisor.run.state_dict(),
        "provenance": provenance_of(supervisor),
    }
    write_checkpoint(checkpoint_path(name), state)


def store_run(supervisor: Pretrained, run: Run) -> None:
    """Writes checkpoint and history of a run that has a name, in the first process.

    Args:
        supervisor: Whose run it is.
        run: Its state.

    Raises:
        NonFiniteLossError: If the weights are spoilt; the former checkpoint stays.
    """
    if run.name is None or distributed.rank() != 0:
        return
    run.raise_if_not_finite()
    supervisor.save(run.name)
    run.history.write_csv(run.name)
    run.wrote_checkpoint()


def restore_supervisor(supervisor: Pretrained, name: Name) -> dict[str, Any] | None:
    """Rebuilds the networks of a checkpoint in place, and loads their weights.

    Args:
        supervisor: An object of the class that was stored.
        name: Path without its ending.

    Returns:
        State of the stored run, or None.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it belongs to another class, or wants a network of the user's own.
    """
    state = read_checkpoint(checkpoint_path(name))
    if state["class"] != type(supervisor).__name__:
        raise ValueError(
            f"{checkpoint_path(name)} holds a {state['class']}, "
            f"not a {type(supervisor).__name__}: load it with {state['class']}().load(...)"
        )
    if not same_arguments(state["arguments"], supervisor.arguments):
        arguments = rebuilding_arguments(state["arguments"], supervisor.arguments, os.fspath(name))
        device, is_placed, run = supervisor.device, supervisor.is_placed, supervisor.run
        supervisor.arguments.update(arguments)
        with torch.random.fork_rng(devices=[]):  # the new weights are overwritten at once
            type(supervisor).__init__(supervisor, **arguments)
        supervisor.to(device)
        supervisor.is_placed, supervisor.run = is_placed, run
    supervisor.load_state_dict(state["model"])
    run_state: dict[str, Any] | None = state["run"]
    supervisor.epochs_seen = state.get("epochs_seen", _epochs_of(run_state))
    return run_state


def _epochs_of(run_state: dict[str, Any] | None) -> int:
    """Epochs that a stored run had begun: what checkpoints without `epochs_seen` know."""
    return 0 if run_state is None else run_state["epoch"] + (run_state["step"] > 0)
