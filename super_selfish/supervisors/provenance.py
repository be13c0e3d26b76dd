"""Under which circumstances a run was trained: kept in its checkpoint for whoever reads about it.

Nothing here decides how a run goes on; `Run.state_dict` holds what does.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sized
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

from super_selfish.training import distributed
from super_selfish.training.plain import is_plain, plain_setting

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained

_PACKAGES = ("super-selfish", "torchvision")
_SETTINGS = (
    "name",
    "epochs",
    "batch_size",
    "shuffle",
    "seed",
    "precision",
    "accumulate",
    "clip_norm",
    "time_limit",
    "on_nan",
    "compile",
    "compile_augmentation",
    "sync_batch_norm",
)


def provenance_of(supervisor: Pretrained) -> dict[str, Any] | None:
    """Describes the run of a supervisor.

    Args:
        supervisor: Its run may be over or under way.

    Returns:
        Plain values by name: settings of `supervise()`, dataset, device, versions, and the time of
        this call. `None` if it has not been trained since it was made.
    """
    run, source = supervisor.run, supervisor.source
    if run is None:
        return None
    settings = {name: getattr(run, name) for name in _SETTINGS}
    settings = {
        name: plain_setting(value) if is_plain(value) else str(value)
        for name, value in settings.items()
    }
    if run.lr_scaling is not None:
        settings["lr_scaling"] = run.lr_scaling
    if run.weight_decay is not None:
        settings["weight_decay"] = run.weight_decay
    if run.averaging is not None:
        settings["averaging"] = str(run.averaging)
    if run.optimizer is not None:
        group = run.optimizer.param_groups[0]
        settings["optimizer"] = _kinds(run.optimizer)
        settings["lr"] = float(group.get("initial_lr", group["lr"]))
        settings["lr_scheduler"] = _kinds(run.lr_scheduler)
    for name, part in run.parts.items():
        prefix = f"{name}." if name else ""
        settings.update({f"{prefix}{what}": told for what, told in part._told().items()})
    return {
        "settings": settings,
        "steps_per_epoch": run.steps_per_epoch,
        "dataset": None if source is None else describe_dataset(source.dataset),
        "num_images": run.num_images,
        "device": _device_name(run.device),
        "processes": distributed.world_size(),
        "versions": package_versions(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _kinds(used: Any) -> str:
    """The class of an optimizer or a schedule; of several, one for each player, each class once."""
    parts = used.values() if isinstance(used, dict) else [used]
    return ", ".join(dict.fromkeys(type(part).__name__ for part in parts))


def describe_dataset(dataset: Any) -> str:
    """A few words for a dataset: the path of a folder, or what kind of object it is."""
    if isinstance(dataset, str | os.PathLike):
        return os.fspath(dataset)
    kind = type(dataset).__name__
    root = getattr(dataset, "root", None)
    if isinstance(root, str | os.PathLike):
        return f"{kind} in {os.fspath(root)}"
    shape = getattr(dataset, "shape", None)
    if shape is not None:
        return f"{kind} of shape {list(shape)}"
    return f"{kind} of {len(dataset)} items" if isinstance(dataset, Sized) else kind


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run computes."""
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from its source folder
            versions[package] = "not installed"
    return versions


def _device_name(device: torch.device) -> str:
    """The device, with the name of its maker's where it has one."""
    backend = getattr(torch, device.type, None)
    name = getattr(backend, "get_device_name", None)
    return str(device) if name is None else f"{device} ({name(device)})"
