"""Where networks run: what the user said, or else what this machine has.

No kind of accelerator is named here; torch says which one there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch

from super_selfish.training.launched import launch


def accelerator() -> torch.device | None:
    """The kind of accelerator that torch can use on this machine, or None."""
    known: Any = getattr(torch, "accelerator", None)  # from torch 2.6 on
    if known is not None:
        found: torch.device | None = known.current_accelerator() if known.is_available() else None
        return found
    for name, module in vars(torch).items():
        # Of exactly this class: `torch.ops` is of another one, and has whatever it is asked for.
        if type(module) is ModuleType and name != "cpu" and hasattr(module, "device_count"):
            if _says_available(module) or _says_available(getattr(torch.backends, name, None)):
                return torch.device(name)
    return None


def _says_available(module: Any) -> bool:
    ask = getattr(module, "is_available", None)
    return ask is not None and bool(ask())


def default_device() -> torch.device:
    """Where networks train if nobody has said where: on an accelerator, or else the CPU."""
    found = accelerator()
    return torch.device("cpu") if found is None else own_device(found)


def own_device(device: torch.device) -> torch.device:
    """One device for each process of a machine, where several were started together.

    Args:
        device: With an index it stays as it is.

    Returns:
        The device that belongs to this process.
    """
    index: int | None = device.index
    started = launch()
    if device.type == "cpu" or index is not None or started is None:
        return device
    count = device_count(device)
    if count < 2:
        return device
    return torch.device(device.type, started.local_rank % count)


def require_devices(device: torch.device) -> None:
    """Refuses more processes on this machine than it has devices of a kind.

    A process that sees but one device may have been given that one alone, as SLURM does.

    Args:
        device: Of the kind on which they shall train.

    Raises:
        ValueError: If two of them would share one.
    """
    started = launch()
    if device.type == "cpu" or started is None:
        return
    count = device_count(device)
    is_bound = count == 1 and started.address is not None
    if started.local_world > count and not is_bound:
        raise ValueError(
            f"{started.local_world} processes were started on this machine, and torch finds "
            f"{count} of {device.type} there: each needs one of its own, so start at most {count} "
            f"(torchrun --nproc-per-node={count}, or srun --ntasks-per-node={count})"
        )


def device_count(device: torch.device) -> int:
    """How many devices of this kind can be used here."""
    if device.type in ("cpu", "meta"):
        return 1
    module: Any = torch.get_device_module(device)
    if not (_says_available(module) or _says_available(getattr(torch.backends, device.type, None))):
        return 0
    count: int = module.device_count() if hasattr(module, "device_count") else 1
    return count


def devices_from(device: torch.device, given: int | Sequence[Any] | None) -> list[torch.device]:
    """The devices on which networks train that stand on one of them.

    Args:
        device: Where they stand.
        given: How many, or which, as `torch.device` takes them or by number; None means all of the
            kind that can be used here.

    Returns:
        The devices, that of the networks first.

    Raises:
        ValueError: If there are not as many, or they are not of one kind, or the networks stand on
            another one.
    """
    count = device_count(device)
    everywhere = [device] * max(1, count)
    if count > 1 and device.type != "cpu":
        here = torch.device(device.type, device.index or 0)
        others = [torch.device(device.type, index) for index in range(count)]
        everywhere = [here, *(each for each in others if each != here)]
    here = everywhere[0]
    if given is None:
        return everywhere
    if isinstance(given, int):
        if given > len(everywhere):
            what = (
                "the CPU is one device: leave devices out"
                if device.type == "cpu"
                else f"{count} can be used"
            )
            raise ValueError(f"devices={given}, but the networks are on {device}, and {what}")
        return everywhere[:given]
    wanted = [_one_of(everywhere, each, given) for each in given]
    if here not in wanted:
        raise ValueError(
            f"devices={given!r}, but the networks are on {here}: move them to {wanted[0]}, by "
            f'.to("{wanted[0]}")'
        )
    return [here, *(each for each in wanted if each != here)]


def _one_of(devices: list[torch.device], given: Any, all_given: Any) -> torch.device:
    kind = devices[0].type
    named = torch.device(kind, given) if isinstance(given, int) else torch.device(given)
    found = [each for each in devices if each == named or (each.type == named.type == "cpu")]
    if not found:
        raise ValueError(
            f"devices={all_given!r}: {str(named)!r} is none of those that the networks can use "
            f"from where they are, {', '.join(map(str, devices))}"
        )
    return found[0]


def refuse_meta(device: torch.device | None) -> None:
    """Refuses the device of tensors without numbers.

    Raises:
        ValueError: If it is that.
    """
    found = accelerator()
    if device is not None and device.type == "meta" and (found is None or found.type != "meta"):
        here = '"cpu"' if found is None else f'"{found.type}" or "cpu"'
        raise ValueError(
            f'device="meta" holds shapes and no numbers, so nothing can be trained there: give '
            f"{here}"
        )


def parse_device(device: torch.device | str | int) -> torch.device:
    """Reads what a user gave as `device=`.

    Args:
        device: As `torch.device` takes it; a bare number counts accelerators.

    Returns:
        The device; of several accelerators the one that belongs to this process, unless a number
        says which.

    Raises:
        ValueError: If there is no such device here.
        TypeError: If it is none at all.
    """
    found = accelerator()
    here = '"cpu"' if found is None else f'"{found.type}" or "cpu"'
    if isinstance(device, bool) or not isinstance(device, torch.device | str | int):
        raise TypeError(f"device must be a device such as {here}, got {device!r}")
    if isinstance(device, int) and found is not None:
        device = torch.device(found.type, device)
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is none that torch knows: give {here}") from error
    count = device_count(wanted)
    if (wanted.index or 0) >= count:
        number = "no such device" if count == 0 else f"{count} of this kind"
        raise ValueError(f"device={str(wanted)!r}: torch finds {number} here; give {here}")
    return own_device(wanted)
