"""Several processes, started by `torchrun` or `srun`; with one, everything here does nothing."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from super_selfish.training.alone import is_alone
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


def any_process(flag: Tensor) -> Tensor:
    """Whether a flag is up in any process; with one process the flag itself."""
    if not is_distributed():
        return flag
    number = flag.float()
    dist.all_reduce(number, dist.ReduceOp.MAX)
    return number > 0


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
    def forward(ctx: Any, part: Tensor) -> Tensor:
        parts = [torch.empty_like(part) for _ in range(world_size())]
        dist.all_gather(parts, part.contiguous())
        ctx.length = len(part)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[rank() * ctx.length : (rank() + 1) * ctx.length]


def gather(part: Tensor) -> Tensor:
    """Concatenates a tensor over the processes, in their order, with gradient.

    The mean over processes of losses on the gathered tensor has the gradient of one process that
    holds the whole batch.

    Args:
        part: `[B, ...]`, of the same shape in every process.

    Returns:
        `[W * B, ...]`.
    """
    if not is_distributed():
        return part
    gathered: Tensor = _Gather.apply(part)
    return gathered


@contextmanager
def parallel(module: nn.Module) -> Iterator[Callable[[Any], Any]]:
    """The module, or where several processes train together a call that averages their gradients.

    All processes start with the parameters and buffers of the first one. Later no buffer is sent:
    what must stay equal (memories, queues) is updated with what `gather` returns. Statistics of
    batch norm are those of each process, and the first one's are stored.

    Parameters that the loss does not reach (many networks have some, where only maps are asked for)
    show in the first step, and are left alone.
    """
    if not is_distributed():
        yield module
        return
    synchronised = _Synchronised(module)
    try:
        yield synchronised
    finally:
        synchronised.close()


class _Synchronised:
    """Averages gradients: in the first step after backward, then while it runs, as torch does.

    `DistributedDataParallel` waits for every parameter that it was built with. So the first step
    is done without it, to see which parameters get a gradient in any process.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._is_reached: list[bool] = []  # of each parameter, after the first step
        self._handles: list[Any] = []
        self._parallel: nn.Module | None = None
        _send_from_first(module)

    def __call__(self, data: Any) -> Any:
        """The losses of a batch."""
        if not self._is_reached:
            losses = self._module(data)
            for loss in losses.values() if isinstance(losses, dict) else [losses]:
                loss.register_hook(self._average_afterwards)
            return losses
        if self._parallel is None:
            self._parallel = self._built()
        try:
            return self._parallel(data)
        except RuntimeError as error:
            if "finished reduction" not in str(error):
                raise
            raise RuntimeError(
                "a parameter that the first step trained got no gradient in the step before this "
                "one, for which the other processes would wait: with several processes every step "
                "must use the same parameters"
            ) from error

    def close(self) -> None:
        """Takes the hooks back."""
        self._parallel = None
        for handle in self._handles:
            handle.remove()

    def _average_afterwards(self, gradient: Tensor) -> None:
        """Runs as backward begins, and has the gradients averaged when it ends."""
        engine: Any = torch.autograd.Variable
        engine._execution_engine.queue_callback(self._average)

    @torch.no_grad()
    def _average(self) -> None:
        """Averages what there is; of what is averaged already, the average is the same."""
        has_gradient = [parameter.grad is not None for parameter in self._parameters]
        device = self._parameters[0].device
        processes = torch.tensor(has_gradient, dtype=torch.int32, device=device)
        dist.all_reduce(processes)
        self._is_reached = (processes > 0).tolist()
        for parameter, is_reached in zip(self._parameters, self._is_reached, strict=True):
            if not is_reached:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dense = parameter.grad.contiguous()
            dist.all_reduce(dense)
            parameter.grad.copy_(dense / world_size())

    def _built(self) -> nn.Module:
        """Torch's module of the parameters that are reached; buffers are of no concern to it."""
        unreached = [
            parameter
            for parameter, is_reached in zip(self._parameters, self._is_reached, strict=True)
            if not is_reached
        ]
        for parameter in unreached:
            self._handles.append(parameter.register_post_accumulate_grad_hook(_refuse))
        kinds: Any = nn.parallel.DistributedDataParallel
        kinds._set_params_and_buffers_to_ignore_for_model(
            self._module, _names_of(self._module, unreached)
        )
        built: nn.Module = kinds(self._module, broadcast_buffers=False)
        del self._module._ddp_params_and_buffers_to_ignore
        return built


def _names_of(module: nn.Module, parameters: list[nn.Parameter]) -> list[str]:
    """Names by which torch knows some parameters, and all buffers."""
    wanted = set(map(id, parameters))
    names = [
        name
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if id(parameter) in wanted
    ]
    names += [name for name, _ in module.named_buffers(remove_duplicate=False)]
    return names + [f".{name}" for name in names]  # so torch calls those of the module itself


def _refuse(parameter: Tensor) -> None:
    raise RuntimeError(
        f"a parameter of shape {list(parameter.shape)} gets a gradient, but got none in the first "
        "step, so that it would differ between the processes: with several processes every step "
        "must use the same parameters"
    )


@torch.no_grad()
def _send_from_first(module: nn.Module) -> None:
    """Gives every process the parameters and buffers of the first one."""
    for tensor in (*module.parameters(), *module.buffers()):
        dense = tensor.detach().contiguous()
        dist.broadcast(dense, 0)
        tensor.copy_(dense)
