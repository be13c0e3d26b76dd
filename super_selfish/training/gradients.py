"""One network in several processes: each sees images of its own, and gradients are averaged."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from super_selfish.training.distributed import is_distributed, world_size


def _always() -> bool:
    return True


@contextmanager
def parallel(
    module: nn.Module, averages: Callable[[], bool] = _always
) -> Iterator[Callable[[Any], Any]]:
    """The module, or where several processes train together a call that averages their gradients.

    All processes start with the parameters and buffers of the first one. Later no buffer is sent:
    what must stay equal (memories, queues) is updated with what `gather` returns. Statistics of
    batch norm are those of each process until `statistics_of_first` sends the first one's.

    Parameters that the loss does not reach (many networks have some, where only maps are asked for)
    show in the first step, and are left alone.

    Args:
        module: Its call gives the losses of a batch.
        averages: Whether gradients are averaged after the batch under way; where they are not,
            each process adds its own to those that the next ones will bring.
    """
    if not is_distributed():
        yield module
        return
    synchronised = _Synchronised(module, averages)
    try:
        yield synchronised
    finally:
        synchronised.close()


class _Synchronised:
    """Averages gradients: in the first step after backward, then while it runs, as torch does.

    `DistributedDataParallel` waits for every parameter that it was built with. So the first step
    is done without it, to see which parameters get a gradient in any process.
    """

    def __init__(self, module: nn.Module, averages: Callable[[], bool]) -> None:
        self._module = module
        self._averages = averages
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._is_reached: list[bool] = []  # of each parameter, after the first step
        self._handles: list[Any] = []
        self._parallel: Any = None
        _send_from_first(module)

    def __call__(self, data: Any) -> Any:
        """The losses of a batch."""
        if not self._is_reached:
            losses = self._module(data)
            if not self._averages():
                return losses
            for loss in losses.values() if isinstance(losses, dict) else [losses]:
                loss.register_hook(self._average_afterwards)
            return losses
        if self._parallel is None:
            self._parallel = self._built()
        try:
            with nullcontext() if self._averages() else self._parallel.no_sync():
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
        known = inspect.signature(kinds.__init__).parameters  # newer torches have another name
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        built: nn.Module = kinds(self._module, **{name: False})
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
