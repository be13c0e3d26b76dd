"""Several processes, started by `torchrun` or `srun`; with one, everything here does nothing."""

from __future__ import annotations

import atexit
import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from super_selfish.training.alone import is_alone
from super_selfish.training.control import of_all, open_control
from super_selfish.training.counting import plural
from super_selfish.training.devices import require_devices
from super_selfish.training.launched import Launch, launch
from super_selfish.training.telling import add_note


def join_processes(device: torch.device) -> None:
    """Joins the process group if this process was started as one of several, and has not joined.

    Then waits for the other processes: what the first one has stored in a run before this is there
    for all of them.

    Args:
        device: Where this process trains; on an accelerator, the one of its own.

    Raises:
        ValueError: If processes of a machine would share an accelerator.
        RuntimeError: If they do not all meet, or this torch cannot join them.
    """
    if is_alone():
        return
    started = launch()
    if started is not None and started.world > 1 and not dist.is_available():
        raise RuntimeError(
            f"{started.world} processes were started, and this torch was built without "
            "torch.distributed: install another build of it, or start one process"
        )
    if device.type != "cpu" and (is_distributed() or started is not None):
        if not dist.is_initialized():
            require_devices(device)
        _make_current(device)
    if started is not None and dist.is_available() and not dist.is_initialized():
        _init(started, "gloo" if device.type == "cpu" else "nccl")
        atexit.register(_leave)
    if is_distributed():
        open_control()
        try:
            dist.all_reduce(torch.zeros(1, device=device))
        except RuntimeError as error:
            if "Duplicate GPU" not in str(error):
                raise
            raise ValueError(
                f"two processes would train on one accelerator ({device}): each needs one of its "
                "own, as srun --gpus-per-task=1 gives it"
            ) from error


def _init(started: Launch, backend: str) -> None:
    place: dict[str, Any] = {"rank": started.rank, "world_size": started.world}
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        if attempt == "0":
            dist.init_process_group(backend, init_method=started.method, **place)
        else:
            # torchrun may keep the store in which those that it has ended left their addresses.
            from torch.distributed.rendezvous import rendezvous  # some builds have no such file

            store, *_ = next(rendezvous(started.method, **place))
            store = dist.PrefixStore(f"attempt-{attempt}", store)
            dist.init_process_group(backend, store=store, **place)
    except RuntimeError as error:  # torch's own, of the store where they meet, is one
        where = "" if started.address is None else f" at {started.address}"
        add_note(
            error,
            f"this is process {started.rank} of {started.world}, which did not all meet{where}: "
            "look whether one of them ended before, and whether they reach that host; MASTER_ADDR "
            "and MASTER_PORT name another one",
        )
        raise


def _make_current(device: torch.device) -> None:
    """Has torch and NCCL take this device where nobody names one."""
    module: Any = torch.get_device_module(device)
    if device.index is not None and hasattr(module, "set_device"):
        module.set_device(device)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def is_one_of_several() -> bool:
    """Whether this process was started by `torchrun` or `srun`, or has joined a group."""
    return dist.is_available() and (launch() is not None or dist.is_initialized())


def is_distributed() -> bool:
    """Whether several processes train together."""
    return (
        not is_alone()
        and dist.is_available()
        and dist.is_initialized()
        and dist.get_world_size() > 1
    )


def rank() -> int:
    """Number of this process."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if is_distributed() else 1


def smallest(number: int, device: torch.device) -> int:
    """The smallest of the processes' numbers."""
    if not is_distributed():
        return number
    told = torch.tensor(number, device=device)
    dist.all_reduce(told, op=dist.ReduceOp.MIN)
    return int(told)


class _Gather(torch.autograd.Function):
    """Concatenates over processes; backward sums the gradients of all processes for a part."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, lengths: tuple[int, ...]) -> Tensor:
        longest = max(lengths)
        padded = part.contiguous()
        if len(part) < longest:
            padded = part.new_zeros((longest, *part.shape[1:]))
            padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        ctx.first, ctx.length = sum(lengths[: rank()]), len(part)
        return torch.cat([each[:length] for each, length in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[ctx.first : ctx.first + ctx.length], None


def gather(part: Tensor) -> Tensor:
    """Concatenates a tensor over the processes, in their order, with gradient.

    The mean over processes of losses on the gathered tensor, weighed by their images, has the
    gradient of one process that holds the whole batch.

    Args:
        part: `[B, ...]`; in a step with as many rows for every image in all processes, which need
            not have equally many images. Its other dimensions are alike everywhere.

    Returns:
        `[G, ...]`, G rows of all processes.

    Raises:
        ValueError: If in a step the rows do not belong to images; see `gather_one`.
    """
    if not is_distributed():
        return part
    gathered: Tensor = _Gather.apply(part, rows_of_all(len(part)))
    return gathered


def gather_one(value: Tensor) -> Tensor:
    """Puts one value of each process beside the others, in their order, with gradient.

    Args:
        value: `[...]`, of the same shape in every process.

    Returns:
        `[W, ...]`, of W processes.
    """
    if not is_distributed():
        return value[None]
    gathered: Tensor = _Gather.apply(value[None], (1,) * world_size())
    return gathered


def from_first(state: Tensor) -> None:
    """Gives all processes what the first one holds, in place.

    Args:
        state: Of the same shape and type in every process.
    """
    if is_distributed():
        dist.broadcast(state, 0)


def first_row(rows: int) -> int:
    """Where the rows of this process begin among those that `gather` returns.

    Args:
        rows: Of this process.
    """
    return sum(rows_of_all(rows)[: rank()])


_shares: tuple[int, ...] | None = None  # images of each process in the step under way


def share(images: tuple[int, ...] | None) -> None:
    """Notes how many images each process has in the step that begins; None: no step is under way.

    Args:
        images: The same in all processes.
    """
    global _shares
    _shares = images


def share_of_images() -> float:
    """What the images of this process weigh in a mean over processes: 1 if all have as many."""
    if _shares is None or not is_distributed():
        return 1.0
    return _shares[rank()] * len(_shares) / sum(_shares)


def images_of_all(own: int) -> int:
    """Images of all processes in the step under way.

    Args:
        own: Those of this one.
    """
    return own if _shares is None else sum(_shares)


def rows_of_all(rows: int) -> tuple[int, ...]:
    """How many rows each process gives to `gather`; in a step that is known, and nothing is asked.

    Args:
        rows: Of this process.

    Raises:
        ValueError: If in a step the rows do not belong to images.
    """
    if not is_distributed():
        return (rows,)
    if _shares is None:
        return tuple(of_all(rows))
    own = _shares[rank()]
    if any(rows * each % own for each in _shares):
        raise ValueError(
            f"gather() was given {plural(rows, 'row')} of {plural(own, 'image')}, where the "
            f"processes have {', '.join(map(str, _shares))}: within a step it takes as many rows "
            "for every image; gather_one() takes one value of each process"
        )
    return tuple(rows * each // own for each in _shares)
