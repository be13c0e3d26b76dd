"""What networks were before they were trained, so that what training did can be told.

Weights are remembered on the CPU, under the names that they have without wrappers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from super_selfish.models.copying import copy_module
from super_selfish.models.untrained import draw_twin, has_learned
from super_selfish.models.wrappers import unwrapped, with_wrappers, without_wrappers

Weights = dict[str, Tensor]

_first_weights: WeakKeyDictionary[nn.Module, Weights] = WeakKeyDictionary()


def weights_of(network: nn.Module) -> Weights:
    """A copy of all parameters and persistent buffers of a network, on the CPU."""
    state = without_wrappers(network, network.state_dict())
    return {
        name: tensor.detach().clone().cpu() if tensor.device.type == "cpu" else tensor.cpu()
        for name, tensor in state.items()
        if isinstance(tensor, Tensor)
    }


def network_with(network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module | None:
    """A copy of a network with the weights that it, or another of its kind, had once.

    Args:
        network: Is left as it is.
        weights: From `weights_of`.

    Returns:
        A new module; None if a layer has been exchanged or added, for which there are no weights.
    """
    copied = copy_module(network)
    fitting = with_wrappers(copied, weights)
    for name, tensor in copied.state_dict().items():
        if isinstance(tensor, Tensor):
            remembered = fitting.get(name)
            if remembered is None or is_lazy(tensor) != is_lazy(remembered):
                return None
            if not is_lazy(tensor) and tensor.shape != remembered.shape:
                return None
    copied.load_state_dict(fitting, strict=False)  # what is no tensor was not remembered
    return copied


def is_as(network: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Whether a network has these very weights."""
    own = without_wrappers(network, network.state_dict())
    return all(
        torch.equal(tensor.cpu(), weights[name])
        for name, tensor in own.items()
        if isinstance(tensor, Tensor) and name in weights
    )


def remember_first(network: nn.Module) -> None:
    """Keeps the weights of a network that is about to be trained for the first time.

    Args:
        network: One that was remembered before, or has learned something, is passed over.
    """
    inside = unwrapped(network)
    if inside not in _first_weights and not looks_trained(inside):
        _first_weights[inside] = weights_of(inside)


def first_weights(network: nn.Module) -> Weights | None:
    """What `remember_first` has kept of a network; None of a copy of it."""
    return _first_weights.get(unwrapped(network))


def begins_as(network: nn.Module, other: nn.Module) -> None:
    """Has a copy of a network remembered as that network is.

    Args:
        network: The copy.
        other: That may have been remembered.
    """
    first = first_weights(other)
    if first is not None:
        _first_weights[unwrapped(network)] = first


def looks_trained(network: nn.Module) -> bool:
    """Whether the weights of a network tell that they were trained.

    Its norms tell it; of a network without them how far its tensors are from those of one that is
    constructed anew. Where neither is possible it passes for new.

    Args:
        network: Any.
    """
    found = has_learned(network)
    if found is not None:
        return found
    twin = draw_twin(network)
    if not twin.is_known:
        return False
    pairs = zip(unwrapped(network).parameters(), twin.network.parameters(), strict=True)
    return not all(_are_alike(own.detach(), new.detach()) for own, new in pairs)


def _are_alike(own: Tensor, new: Tensor) -> bool:
    """Whether two tensors may come from one distribution, by their mean and deviation."""
    if own.numel() == 0 or not own.is_floating_point():
        return True
    own, new = own.cpu().double().flatten(), new.cpu().double().flatten()
    if bool((new == new[0]).all()):
        return torch.equal(own, new)
    deviation = float(new.std())
    error = 8 / math.sqrt(2 * len(new)) + 0.05  # of a deviation, relative, with room for outliers
    return abs(float(own.std()) / deviation - 1) < error and abs(
        float(own.mean() - new.mean())
    ) < 8 * deviation * math.sqrt(2 / len(new))
