"""What is known of a run: from the run itself, or from its checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from super_selfish.supervisors.base import Supervisor
from super_selfish.supervisors.provenance import provenance_of
from super_selfish.training.checkpoint import checkpoint_path, read_run
from super_selfish.training.history import Row
from super_selfish.training.weight_decay import own_settings

# Position, what is told elsewhere, and how the numbers are computed, which does not change them.
_NO_OPTIONS = ("params", "lr", "initial_lr", "base_lrs", "last_epoch", "foreach", "fused")


@dataclass(frozen=True)
class Record:
    """A run, told afterwards.

    Attributes:
        rows: One for each finished epoch.
        epoch: Finished epochs.
        step: Steps of the epoch that was under way.
        settings: Of `supervise()`, by name.
        provenance: Dataset, device, versions and date, as far as they are known.
        images: That passed the networks, the unfinished epoch's included, as in what follows.
        seconds: Time of training.
        waited: Seconds of it for which the networks waited for data.
    """

    rows: list[Row]
    epoch: int
    step: int
    settings: dict[str, Any]
    provenance: dict[str, Any]
    images: float
    seconds: float
    waited: float

    @property
    def epochs(self) -> int | None:
        """Epochs that were asked for, if they are known."""
        return self.settings.get("epochs")

    @property
    def steps(self) -> int | None:
        """Steps since the beginning, if they are known."""
        per_epoch = self.provenance.get("steps_per_epoch")
        return None if per_epoch is None else self.epoch * per_epoch + self.step

    @property
    def updates(self) -> int | None:
        """Of the weights, if they are known."""
        return None if self.steps is None else self.steps // self.settings.get("accumulate", 1)

    @property
    def images_per_second(self) -> float:
        """Mean over the run."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def waited_share(self) -> float:
        """Share of the time for which the networks waited for data."""
        return self.waited / self.seconds if self.seconds else 0.0

    @property
    def unreadable(self) -> int:
        """Images that could not be read: the most of all epochs."""
        return int(max((row.get("unreadable", 0) for row in self.rows), default=0))


def find_record(supervisor: Supervisor, name: str | os.PathLike[str]) -> Record | None:
    """The run of a supervisor: the one that it had itself, or that of its checkpoint.

    Args:
        supervisor: Trained, or loaded.
        name: Path of the checkpoint, without its ending.

    Returns:
        The run; `None` if there is none, or the checkpoint holds other weights: then it tells
        nothing about these networks.

    Raises:
        ValueError: If the file is no checkpoint.
    """
    if supervisor.run is not None:
        provenance = provenance_of(supervisor)
        return _record(supervisor.run.state_dict(), provenance)
    if not checkpoint_path(name).is_file():
        return None
    state = read_run(checkpoint_path(name))
    if state["run"] is None or not _same_tensors(supervisor.state_dict(), state["model"]):
        return None
    return _record(state["run"], state.get("provenance"))


def _record(run: Mapping[str, Any], provenance: Mapping[str, Any] | None) -> Record:
    """Joins what `Run.state_dict` and `provenance_of` tell."""
    known = dict(provenance or {})
    told = known.pop("settings", {})
    settings = {**told, **{k: v for k, v in run["settings"].items() if k not in told}}
    num_images = settings.pop("num_images", None)
    known.setdefault("num_images", num_images)
    for name in ("optimizer", "lr_scheduler"):
        if options := _options(run[name]):
            settings[f"{name} options"] = options
    if "gamma 1.0" in settings.get("lr_scheduler options", "").split(", "):
        settings["lr_scheduler"] = "constant"  # the default, a StepLR that multiplies by 1
        del settings["lr_scheduler options"]
    settings.pop("order", None)  # names of all parameters again
    if isinstance(names := settings.pop("trained", None), list):
        settings["parameter tensors that train"] = len(names)
    rows = list(run["history"]["rows"])
    images, _, seconds, waited = run["history"]["others"]  # of the epoch under way
    return Record(
        rows=rows,
        epoch=run["epoch"],
        step=run["step"],
        settings=settings,
        provenance=known,
        images=images + sum(row["images_per_second"] * row["seconds"] for row in rows),
        seconds=seconds + sum(row["seconds"] for row in rows),
        waited=waited + sum(row["waited_for_data"] for row in rows),
    )


def _options(state: Mapping[str, Any] | None) -> str:
    """Numbers of an optimizer or a schedule, the learning rate apart; of the first of several."""
    if not state:
        return ""
    if "param_groups" in state:
        numbers: Mapping[str, Any] = own_settings(state["param_groups"][0])
    elif all(isinstance(value, Mapping) for value in state.values()):  # a player each
        return _options(next(iter(state.values())))
    else:
        numbers = state
    return ", ".join(
        f"{name} {value}"
        for name, value in numbers.items()
        if name not in _NO_OPTIONS and not name.startswith("_") and _is_number(value)
    )


def _is_number(value: object) -> bool:
    """Whether it is a number or several; switches count if they are on."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list | tuple):
        return all(_is_number(inner) for inner in value)
    return isinstance(value, int | float)


def _same_tensors(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two state dictionaries hold the same tensors."""
    if first.keys() != second.keys():
        return False
    return all(
        torch.equal(value.cpu(), second[key].cpu()) if isinstance(value, Tensor) else True
        for key, value in first.items()
    )
