"""Networks built again as a file says, which may be a stranger's.

Nothing is taken from it but tensors, numbers and names: no data set, no device, no path. What it
asks for may not be larger than what it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from super_selfish.models.dry_run import REFUSALS
from super_selfish.supervisors.arguments import (
    NOT_STORED,
    Arguments,
    construct_again,
    constructor_keywords,
    rebuilding_arguments,
    takes_any_keyword,
)
from super_selfish.supervisors.image_options import images_as_stored

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained

_SMALL = 64 << 20  # bytes that any networks may take while they are built: images of the dry run
_TIMES = 4  # copies of the stored tensors that building may take
# A seed counts nothing, and updates are counted while a run lasts.
_NO_SIZES = ("seed", "frozen_updates", "queue_after")
_LARGEST = 1 << 16  # that a number may be which no tensor shows
_BACKBONE = re.compile(r"[A-Za-z0-9_./-]+")


@contextmanager
def unchanged_where_refused(supervisor: Pretrained) -> Iterator[None]:
    """Gives a supervisor back the networks that it had, where those of a file cannot be loaded."""
    former = dict(vars(supervisor))  # a constructor fills dictionaries of its own, not these
    try:
        yield
    except BaseException:
        vars(supervisor).clear()
        vars(supervisor).update(former)
        raise


def rebuild(supervisor: Pretrained, state: dict[str, Any], place: str) -> None:
    """Builds the networks of a supervisor anew, in place, as a checkpoint says.

    Args:
        supervisor: Of the class that was stored.
        state: Of the checkpoint; its form has been checked.
        place: Name of the checkpoint, for messages.

    Raises:
        ValueError: If it names what a file may not decide, asks for more than it holds, or for an
            object of the user's own that is not here.
    """
    kind: Any = type(supervisor)
    _check_names(kind, state["arguments"], place)
    is_ours = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
    if is_ours:
        _check_sizes(state, place)
    arguments = rebuilding_arguments(
        state["arguments"], supervisor.arguments, place, supervisor.only_for_training
    )
    own = supervisor.arguments
    arguments |= {name: own[name] for name in supervisor.not_stored if name in own}
    supervisor.arguments = {**own, **arguments}
    room = _SMALL + _TIMES * sum(tensor.nbytes for tensor in _tensors_of(state))
    try:
        # The new weights are overwritten at once.
        bounded = _Bounded(room) if is_ours else nullcontext()
        with torch.random.fork_rng(devices=[]), bounded, images_as_stored(state.get("images")):
            construct_again(supervisor, arguments)
    except REFUSALS as error:  # at arguments that nobody could have given
        raise ValueError(f"{place} cannot be built again as a {kind.__name__}: {error}") from error


def _check_names(kind: Any, stored: Arguments, place: str) -> None:
    for name in stored:
        if name in NOT_STORED or name in kind.not_stored:
            raise ValueError(
                f"{place} names a {name}, which is never taken from a file: it was not written by "
                "this library"
            )
        if name not in constructor_keywords(kind) and not takes_any_keyword(kind):
            raise ValueError(
                f"{place} was built with {name}=, which {kind.__name__}() does not take: it was "
                "written by another version, or by somebody else"
            )
    backbone = stored.get("backbone", {}).get("plain")
    if isinstance(backbone, str) and not _BACKBONE.fullmatch(backbone):
        raise ValueError(f"{place} names a backbone {backbone!r}, which is no name of a network")


def _check_sizes(state: dict[str, Any], place: str) -> None:
    shapes = (tensor.shape for tensor in _tensors_of(state))
    largest = max([_LARGEST, *(length for shape in shapes for length in shape)])
    for name, entry in state["arguments"].items():
        sizes = {name: entry.get("plain")}
        too_large = [n for n in _whole_numbers(sizes) if abs(n) > largest]
        if too_large:
            raise ValueError(
                f"{place} asks for {name}={too_large[0]}, more than its tensors have in any "
                "direction"
            )


def _tensors_of(state: dict[str, Any]) -> list[Tensor]:
    """Of its networks; modules may have stored an extra state besides."""
    return [value for value in state["model"].values() if isinstance(value, Tensor)]


def _whole_numbers(value: Any) -> Iterator[int]:
    if type(value) is int:
        yield value
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from _whole_numbers(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name not in _NO_SIZES:  # of arguments, also of those of a task within
                yield from _whole_numbers(each)


class _Bounded(TorchDispatchMode):
    """While entered, refuses to make new tensors beyond a number of bytes, before they are made."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room
        self._left = room

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not any(isinstance(value, Tensor) for value in [*args, *kwargs.values()]):
            self._take(func, args, kwargs)
        return func(*args, **kwargs)

    def _take(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not any(argument.name == "device" for argument in func._schema.arguments):
            return
        outlined = {**kwargs, "device": torch.device("meta")}
        outlined.update({name: None for name in ("generator", "pin_memory") if name in kwargs})
        outline = func(*args, **outlined)
        self._left -= outline.nbytes
        if self._left < 0:
            raise ValueError(
                f"it asks for networks of more than {self._room / 1e6:.0f} MB, and holds less"
            )
