"""When networks go where they run: at once if the user says where, else as training begins."""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from super_selfish.training.devices import (
    accelerator,
    default_device,
    own_device,
    parse_device,
    refuse_meta,
)
from super_selfish.training.telling import warn
from super_selfish.training.typed import typed_arguments

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained


def present_names(kind: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Keywords of a constructor by the names that they have now; warns of former ones.

    Args:
        kind: The class that is constructed, with its `former_names`.
        given: Keywords of the call.

    Raises:
        TypeError: If one is given by both names.
    """
    former: Mapping[str, str] = getattr(kind, "former_names", {})
    for old in former.keys() & given.keys():
        new = former[old]
        if new in given:
            raise TypeError(f"{kind.__name__}() got {new}= and {old}=, its former name")
        warn(f"{old}= of {kind.__name__} is called {new}= now", FutureWarning)
    return {former.get(name, name): value for name, value in given.items()}


class SupervisorType(ABCMeta):
    """Makes supervisors: looks at the arguments, constructs, and moves to `device=` what is there.

    That comes last, once the constructor of every subclass has built its part. The types of the
    arguments are those of our own signatures; a constructor of a user's own takes what it likes.
    """

    @property
    def __signature__(cls) -> inspect.Signature:
        """That of the constructor, for `help()` and editors."""
        whole = inspect.signature(cls.__init__)  # type: ignore[misc]
        return whole.replace(parameters=list(whole.parameters.values())[1:])

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Constructs, then moves."""
        kwargs = present_names(cls, kwargs)
        constructor = cls.__init__  # type: ignore[misc]
        if constructor.__module__.startswith("super_selfish."):
            args, kwargs = typed_arguments(constructor, args, kwargs)
        supervisor = super().__call__(*args, **kwargs)
        device = supervisor.arguments.get("device")
        return supervisor if device is None else supervisor.to(parse_device(device))


def place_for_training(supervisor: Pretrained, devices: Any = None) -> None:
    """Moves networks to an accelerator, if there is one and nobody has said where they shall be.

    A part that is on an accelerator already, such as a backbone of the user's own, draws all the
    others there. Of several processes on a machine each takes the accelerator of its own, unless
    the user has named one by its number.

    Args:
        supervisor: Stays where it is after `device=`, `.to(device)`, or `.cpu()`.
        devices: Those of `supervise()`; the first one, where they are a list, is where to go.

    Raises:
        ValueError: If it was placed where tensors have no numbers.
    """
    if supervisor.is_placed:
        refuse_meta(supervisor.device)
        return
    device = where_to_train(supervisor)
    if isinstance(devices, list) and accelerator() is None:
        raise ValueError(f"devices={devices!r}, but torch finds no accelerator here: leave it out")
    if isinstance(devices, list) and not _away(supervisor):
        device = parse_device(devices[0])
    if any(tensor.device != device for tensor in _tensors(supervisor)):
        nn.Module.to(supervisor, device)


def where_to_train(supervisor: Pretrained) -> torch.device:
    """The device to which training moves networks, unless it is told another one.

    Args:
        supervisor: Stays where it is.
    """
    if supervisor.is_placed:
        return supervisor.device
    away = _away(supervisor)
    device = away[0] if away else default_device()
    return own_device(torch.device(device.type)) if _is_of_another_process(device) else device


def _tensors(supervisor: Pretrained) -> list[Tensor]:
    return [*supervisor.parameters(), *supervisor.buffers()]


def _away(supervisor: Pretrained) -> list[torch.device]:
    return [each.device for each in _tensors(supervisor) if each.device.type != "cpu"]


def _is_of_another_process(device: torch.device) -> bool:
    """Whether another device of the kind belongs to this process, of several on a machine."""
    own = own_device(torch.device(device.type))
    return own.index is not None and own.index != (device.index or 0)
