"""The untrained twin of a network: what a probe of the trained one is compared with."""

from __future__ import annotations

import inspect
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from super_selfish.models.copying import copy_module
from super_selfish.models.fresh import fresh_tensors, own_tensors

# What weight and spectral norm, of both kinds, compute a weight from.
_DERIVED = ("weight_g", "weight_v", "weight_orig", "original", "original0", "original1")
# What a norm holds that has seen no batch, for all channels.
_UNSEEN = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0}
# What a new norm holds, of which one value for all channels.
_AS_NEW = {"weight": (1.0, 0.0), "bias": (0.0,)}


class Twin(NamedTuple):
    """A network drawn anew, and whether it is known that such a network begins like this.

    `is_shuffled` says that most of it are the weights of a never-trained network in another order.
    """

    network: nn.Module
    is_known: bool
    is_shuffled: bool = False


def untrained_twin(backbone: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a network as its constructor would draw it, with statistics of norms reset.

    See `draw_twin`, which also says whether that is known.

    Args:
        backbone: Is left as it is.
        seed: Of the draws.

    Returns:
        A new module, in the mode and on the device of the given one.
    """
    return draw_twin(backbone, seed).network


@torch.no_grad()
def draw_twin(backbone: nn.Module, seed: int = 0) -> Twin:
    """Draws a copy of a network as a newly constructed one is drawn.

    A network of your own with `reset_parameters()` is trusted to do it. Networks of this library,
    torchvision and timm are constructed again, and so is any other whose constructor needs no
    arguments, or keeps them under their names; exchanged or missing layers do not matter. In a
    network that holds other networks each is drawn so.

    What is left are layers of a network whose constructor cannot be called again. If its norms tell
    that it has learned nothing yet, every parameter's entries are shuffled, which keeps their
    distribution (and parameters that it holds at 0 or 1 stay so). Else layers reset themselves as
    torch does, which need not be how the network began; parameters that no layer resets are drawn
    from a normal distribution of standard deviation 0.02, cut at two, but scales of norm layers
    return to 1 and biases to 0.

    Everything is drawn on the CPU from torch's global stream under `seed`, which is then put back:
    the twin is the same on every device.

    Args:
        backbone: Is left as it is.
        seed: Of the draws.

    Returns:
        A new module, in the mode and on the device of the given one, and whether most of it was
        drawn as its class draws it, as far as that can be known.
    """
    twin = copy_module(backbone)
    tensors = [*twin.named_parameters(), *twin.named_buffers()]
    devices = {name: tensor.device for name, tensor in tensors}
    twin.cpu()
    known: set[int] = set()
    with torch.random.fork_rng(devices=[]):
        _draw(twin, torch.Generator().manual_seed(seed), known)
        is_new = has_learned(backbone) is False
        if is_new:
            _keep_beginning(twin, backbone, known)
    sizes = {id(p): 0 if is_lazy(p) else p.numel() for p in twin.parameters()}
    for name, tensor in [*twin.named_parameters(), *twin.named_buffers()]:
        tensor.data = tensor.data.to(devices[name])
    drawn = sum(size for key, size in sizes.items() if key in known)
    is_drawn = 2 * drawn >= sum(sizes.values())
    return Twin(twin, is_new or is_drawn, is_new and not is_drawn)


def has_learned(network: nn.Module) -> bool | None:
    """Whether the norms of a network tell of training, as those of a new one never do.

    A norm that keeps statistics tells by them: a new one has seen no batch, however its scales were
    drawn (GANs draw them from N(1, 0.02)). One without tells by its parameters: a new one has the
    scale 1, or 0 where it ends a residual branch, and the shift 0 for all channels.

    Args:
        network: Any.

    Returns:
        None if there are no norms with parameters or statistics.
    """
    found = None
    for module in network.modules():
        if "norm" not in type(module).__name__.lower():
            continue
        own = {name: tensor for name, tensor in own_tensors(module) if not is_lazy(tensor)}
        as_new = {name: (_UNSEEN[name],) for name in own if name in _UNSEEN} or _AS_NEW
        for name in own.keys() & as_new.keys():
            if not any(bool((own[name] == value).all()) for value in as_new[name]):
                return True
            found = False
    return found


def _draw(module: nn.Module, seeds: torch.Generator, known: set[int], inside: bool = True) -> None:
    """Draws a module and all in it, and notes the parameters that are known to begin like this.

    Args:
        module: Changed in place.
        seeds: Every network gets a seed of its own: two alike in one network do not begin alike.
        known: The parameters, by their id.
        inside: Whether whoever put it together may have drawn its layers otherwise, as a list of
            torch's layers may be; networks of this library have not.
    """
    torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=seeds)))
    package = type(module).__module__.split(".")[0]
    if package not in ("torch", "torchvision", "timm") and _reset(module):
        known.update(map(id, module.parameters()))
        return
    pairs = None if package == "super_selfish" else fresh_tensors(module, seeds)
    if pairs is not None:
        drawn = {id(tensor) for tensor, _ in pairs}
        _draw_others(module, drawn, seeds, known)
        for tensor, value in pairs:
            tensor.copy_(value)
        known.update(drawn)
        return
    if package != "torch":
        inside = package != "super_selfish" or _is_given_networks(module)
    for child in module.children():
        _draw(child, seeds, known, inside)
    _draw_own(module, set() if inside else known)


def _is_given_networks(module: nn.Module) -> bool:
    """Whether a class of this library holds what others have made."""
    given = inspect.signature(type(module).__init__).parameters.values()
    return any("Module" in str(parameter.annotation) for parameter in given)


def _draw_others(
    module: nn.Module, drawn: set[int], seeds: torch.Generator, known: set[int]
) -> None:
    """Draws what its constructor does not: layers that were exchanged, or added."""
    tensors = [*module.parameters(), *module.buffers()]
    if not any(id(tensor) in drawn for tensor in tensors):
        _draw(module, seeds, known)
        return
    for child in module.children():
        _draw_others(child, drawn, seeds, known)
    if any(id(tensor) not in drawn for _, tensor in own_tensors(module)):
        _draw_own(module, set())


def _draw_own(module: nn.Module, known: set[int]) -> None:
    """Draws the parameters of a module alone."""
    own = list(module.named_parameters(recurse=False))
    derived = [parameter for name, parameter in own if name in _DERIVED]
    for parameter in derived:  # resetting the weight that is computed of them would change nothing
        _shuffle(parameter, parameter)
    if derived:
        return
    if _reset(module):
        known.update(id(parameter) for _, parameter in own)
    else:
        _redraw_own_parameters(module)


def _keep_beginning(twin: nn.Module, new: nn.Module, known: set[int]) -> None:
    """Draws a twin of a network that has learned nothing from what the network itself shows."""
    for parameter, start in zip(twin.parameters(), new.parameters(), strict=True):
        if not _is_constant(start):
            continue
        if not torch.equal(parameter, start.detach().cpu()):
            known.clear()  # it was made with other options than those by which it was drawn
        parameter.copy_(start)
    for parameter, start in zip(twin.parameters(), new.parameters(), strict=True):
        if is_lazy(start) or start.numel() == 0 or _is_constant(start):
            continue
        if id(parameter) not in known:
            _shuffle(parameter, start)


def _is_constant(tensor: Tensor) -> bool:
    if is_lazy(tensor) or tensor.numel() == 0:
        return False
    value = tensor.flatten()[0]
    return bool((tensor == value).all()) and (tensor.numel() > 1 or float(value) in (0.0, 1.0))


def _shuffle(parameter: Tensor, start: Tensor) -> None:
    order = torch.randperm(start.numel())
    parameter.copy_(start.detach().cpu().flatten()[order].view(start.shape))


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
