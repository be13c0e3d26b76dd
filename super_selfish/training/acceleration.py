"""The same mathematics in less time: layout of the weights, fused optimisers, compiled networks."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from super_selfish.models.combined_net import compiled_maps
from super_selfish.models.holders import trained_networks
from super_selfish.models.narrow_resnet import FEWEST_CHANNELS_LAST
from super_selfish.training.optimizers import each_of

BACKEND = "inductor"  # of torch.compile
# Their networks take channels-last maps; a user's own may `view` a map, which then has no room.
_SAFE_LIBRARIES = frozenset({"super_selfish", "torch", "torchvision", "timm"})
_FUSED_DEVICES = frozenset({"cpu", "cuda"})  # those of torch 2.4
# Whoever asks for one of these has chosen an implementation.
_CHOICES = frozenset({"fused", "foreach", "capturable", "differentiable"})


def lay_out(network: nn.Module, channels_last: bool | None) -> None:
    """Puts the weights of convolutions into the layout in which they compute.

    A layout changes neither shapes, nor names, nor results beyond rounding.

    Args:
        network: Its parameters stay the objects that they are.
        channels_last: Whether channels lie next to each other. None: yes, but for networks that
            hold a class of the user's own, or a convolution that torch cannot train so, which stay
            as they are; no on Apple's processors.
    """
    if channels_last is not None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network.to(memory_format=layout)
        return
    devices = {parameter.device.type for parameter in network.parameters()}
    if "mps" in devices:
        network.to(memory_format=torch.contiguous_format)
        return
    for part in trained_networks(network):
        if all(_takes_channels_last(module) for module in part.modules()):
            part.to(memory_format=torch.channels_last)


def _takes_channels_last(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        is_subsampling = module.kernel_size == (1, 1) and module.stride != (1, 1)
        if is_subsampling and module.in_channels < FEWEST_CHANNELS_LAST:
            return False
    return type(module).__module__.split(".")[0] in _SAFE_LIBRARIES


@contextmanager
def compiled(module: nn.Module, wanted: bool, backend: str | None = None) -> Iterator[None]:
    """While entered, the networks in a module run compiled, if that is wanted.

    They stay the modules that they are: names of parameters, checkpoints and copies know nothing of
    it, and afterwards they run as before, so that later images of other sizes compile nothing. A
    network that its owner has compiled stays as it is.

    Args:
        module: A supervisor; if its `retains_graph` is true, backward may come more than once.
        wanted: Whether to do anything.
        backend: Of `torch.compile`. Default: `BACKEND`.
    """
    networks = trained_networks(module) if wanted else []
    networks = [network for network in networks if not _is_compiled(network)]
    options: dict[str, Any] = {"backend": backend or BACKEND}
    for network in networks:
        network.compile(**options)
        if callable(to_map := getattr(network, "forward_features", None)):
            compiled_maps[network] = torch.compile(to_map, **options)
    retains_graph = getattr(module, "retains_graph", False)
    try:
        with warnings.catch_warnings(), _reusable_buffers(bool(networks) and retains_graph):
            if networks:  # torch looks for gradients of what one network hands to another
                warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor")
            yield
    finally:
        for network in networks:
            network._compiled_call_impl = None  # torch has no word for the way back
            compiled_maps.pop(network, None)


def _is_compiled(network: nn.Module) -> bool:
    """Whether its owner has compiled a network, in place or by a wrapper."""
    return network._compiled_call_impl is not None or "_orig_mod" in network._modules


def _reusable_buffers(wanted: bool) -> AbstractContextManager[object]:
    """While entered, what is compiled can go backward more than once; torch below 2.6 always can.

    Otherwise a compiled backward overwrites what the forward has kept, and refuses a second one.
    """
    config: Any = importlib.import_module("torch._functorch.config")
    if not wanted or not hasattr(config, "donated_buffer"):
        return nullcontext()
    patched: AbstractContextManager[object] = config.patch(donated_buffer=False)
    return patched


def uncompiled(is_compiled: bool) -> AbstractContextManager[object]:
    """While entered, compiled networks run as they were written: for other sizes and eval mode.

    Args:
        is_compiled: Whether there is one. Torch below 2.6 cannot go back; it compiles once more.
    """
    compiler: Any = torch.compiler
    if not is_compiled or not hasattr(compiler, "set_stance"):
        return nullcontext()
    stance: AbstractContextManager[object] = compiler.set_stance("force_eager")
    return stance


def fused(
    optimizer: Callable[..., Optimizer], parameters: list[nn.Parameter]
) -> Callable[..., Optimizer]:
    """An optimizer of torch's as one operation over all parameters; the same to rounding.

    Args:
        optimizer: A class of `torch.optim`, or a `partial` of one; anything else is the user's own
            and stays as it is, and so does one with a word on its implementation (`foreach=`).
        parameters: What it shall train.

    Returns:
        What to call instead.
    """
    kind, given = optimizer, {}
    if isinstance(optimizer, partial):
        kind, given = optimizer.func, optimizer.keywords
    if not (isinstance(kind, type) and kind.__module__.startswith("torch.optim.")):
        return optimizer
    if "fused" not in inspect.signature(kind).parameters or _CHOICES & given.keys():
        return optimizer
    if not all(p.device.type in _FUSED_DEVICES and p.is_floating_point() for p in parameters):
        return optimizer
    return partial(optimizer, fused=True)


def match_layout(optimizer: Any) -> None:
    """Gives a restored optimizer's tensors the layout of their parameters, as fused ones need it.

    Args:
        optimizer: After `load_state_dict`; one, or several by name.
    """
    for each in each_of(optimizer):
        for parameter, state in each.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
