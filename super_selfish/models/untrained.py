"""The untrained twin of a network: what a probe of the trained one is compared with."""

from __future__ import annotations

import torch
from torch import nn

from super_selfish.models.copying import copy_module


@torch.no_grad()
def untrained_twin(backbone: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a network with freshly drawn parameters and reset norm statistics.

    A network with `reset_parameters()` is trusted to do it. Otherwise every submodule that can
    reset itself does, innermost first; of the rest, parameters of norm layers return to scale 1 and
    shift 0, biases to 0, and all others are drawn from a normal distribution of standard deviation
    0.02, cut at two. Everything is drawn on the CPU from torch's global stream under `seed`, which
    is then put back: the twin is the same on every device.

    Args:
        backbone: Is left as it is.
        seed: Of the draws.

    Returns:
        A new module, in the mode and on the device of the given one.
    """
    twin = copy_module(backbone)
    tensors = [*twin.named_parameters(), *twin.named_buffers()]
    devices = {name: tensor.device for name, tensor in tensors}
    twin.cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # manual_seed would seed accelerators as well
        if not _reset(twin):
            for module in reversed(list(twin.modules())):
                if not _reset(module):
                    _redraw_own_parameters(module)
    for name, tensor in [*twin.named_parameters(), *twin.named_buffers()]:
        tensor.data = tensor.data.to(devices[name])
    return twin


def _reset(module: nn.Module) -> bool:
    for method in ("reset_parameters", "_reset_parameters"):
        if callable(getattr(module, method, None)):
            getattr(module, method)()
            return True
    return False


def _redraw_own_parameters(module: nn.Module) -> None:
    is_norm = "norm" in type(module).__name__.lower()
    for name, parameter in module.named_parameters(recurse=False):
        if "bias" in name:
            nn.init.zeros_(parameter)
        elif is_norm:
            nn.init.ones_(parameter)
        elif parameter.is_floating_point():
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)
