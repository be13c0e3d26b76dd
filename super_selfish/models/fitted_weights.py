"""Weights of other files and libraries in a backbone: which of them fit, and which do not.

Names are matched without what stands before all of them (`module.`, `encoder.`), the first
convolution is brought to other channels, and transformers of timm to other sizes by timm itself.

Shapes: `C` channels of the images.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.models.wrappers import unwrapped

_LEAST = 0.5  # of the parameters, without which these are not the weights of this network
_FEW = 4  # names that a message lists
_ORIGIN = "_weights_from"


class Fit(NamedTuple):
    """What became of the tensors of a file."""

    fitting: dict[str, Tensor]  # under the names of the network
    missing: list[str]  # of the network, for which there is nothing
    unused: list[str]  # of the file
    other_shapes: dict[str, tuple[torch.Size, torch.Size]]  # by name: in the file, in the network
    adapted: str | None  # the first convolution, if it was brought to other channels
    alike: list[str]  # what other names of the file begin with that fit as well


def flat_tensors(stored: Any) -> dict[str, Tensor]:
    """The tensors of the largest mapping of names to tensors in what a file holds.

    Libraries keep them in `state_dict`, `model`, `teacher`, beside other things.
    """
    best: dict[str, Tensor] = {}
    for mapping in _mappings(stored, 3):
        found = {str(key): value for key, value in mapping.items() if isinstance(value, Tensor)}
        if _elements(found) > _elements(best):
            best = found
    return best


def fit(network: nn.Module, tensors: Mapping[str, Tensor]) -> Fit:
    """Finds for each tensor of a network the one that belongs to it.

    Args:
        network: Is left as it is.
        tensors: By the names of a file.
    """
    own = {k: v for k, v in network.state_dict().items() if isinstance(v, Tensor)}
    (ours, theirs), *others = _prefixes(own, tensors)
    named = {
        ours + key[len(theirs) :]: value for key, value in tensors.items() if key.startswith(theirs)
    }
    first = _first_convolution(network)
    adapted = None
    if first is not None and first in named:
        channels = own[first].shape[1]
        if named[first].shape != own[first].shape and named[first].ndim == own[first].ndim:
            named[first] = _with_channels(named[first], channels)
            adapted = first
    shapes = {
        key: (value.shape, own[key].shape)
        for key, value in named.items()
        if key in own and value.shape != own[key].shape
    }
    fitting = {key: value for key, value in named.items() if key in own and key not in shapes}
    missing = [key for key in own if key not in named]
    used = {theirs + key[len(ours) :] for key in (*fitting, *shapes)}
    unused = [key for key in tensors if key not in used]
    alike = [prefix for _, prefix in others if not any(key.startswith(prefix) for key in used)]
    adapted = adapted if adapted in fitting else None
    return Fit(fitting, missing, unused, shapes, adapted, alike)


def take(network: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> str:
    """Gives a network the tensors that fit, and says in one line which did not.

    Args:
        network: Gets them.
        tensors: By the names of a file.
        origin: Where they are from, in words; the network remembers it.

    Returns:
        The line.

    Raises:
        ValueError: If fewer than half of the network's parameters are among them, or some of these
            are not finite.
    """
    found = fit(network, tensors)
    parameters = dict(network.named_parameters())
    numbers = sum(parameter.numel() for parameter in parameters.values())
    fitting = sum(parameters[key].numel() for key in found.fitting if key in parameters)
    kind = type(unwrapped(network)).__name__
    if fitting < _LEAST * numbers:
        raise ValueError(
            f"{origin}: of the {numbers:,} numbers of the {kind} only {fitting:,} are in it"
            f"{_what_did_not(found)}"
        )
    # Of buffers an infinity may be meant, such as in a mask of attention; `load()` takes it too.
    trained = {key: value for key, value in found.fitting.items() if key in parameters}
    wrong = [key for key, value in trained.items() if not torch.isfinite(value).all()]
    if wrong:
        raise ValueError(f"{origin}: numbers that are not finite are in {_listed(wrong)}")
    network.load_state_dict(found.fitting, strict=False)
    vars(unwrapped(network))[_ORIGIN] = origin
    said = f"{kind} begins with {origin}: {fitting:,} of {numbers:,} numbers"
    if found.adapted is not None:
        said += f"; {found.adapted} was brought to the channels of the images"
    return said + _what_did_not(found)


def origin_of(network: nn.Module) -> str | None:
    """Where the weights are from with which a network began; None if it was drawn."""
    origins = (vars(module).get(_ORIGIN) for module in network.modules())
    return next((origin for origin in origins if origin is not None), None)


def resized_by_timm(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors for a network of timm: under today's names, positions and patches of its size.

    Args:
        network: Of timm, or another one, whose tensors stay as they are.
        tensors: By the names of a file.
    """
    tensors = dict(tensors)
    file = type(unwrapped(network)).__module__
    adapt = getattr(sys.modules.get(file), "checkpoint_filter_fn", None)
    if not file.startswith("timm.") or adapt is None:
        return tensors
    own = network.state_dict()
    _, theirs = _prefixes({k: v for k, v in own.items() if isinstance(v, Tensor)}, tensors)[0]
    named = {key[len(theirs) :]: v for key, v in tensors.items() if key.startswith(theirs)}
    return dict(adapt(named, unwrapped(network)))


def _what_did_not(found: Fit) -> str:
    parts = []
    if found.other_shapes:
        listed = [
            f"{name} ({'x'.join(map(str, theirs))} instead of {'x'.join(map(str, ours))})"
            for name, (theirs, ours) in found.other_shapes.items()
        ]
        parts.append(f"of another shape: {_listed(listed)}")
    if found.missing:
        parts.append(f"not in it, so drawn at random: {_listed(found.missing)}")
    if found.unused:
        parts.append(f"not used: {_listed(found.unused)}")
    if found.alike:
        parts.append(
            f"as much of it begins with {_listed(found.alike)}: for that give a file of it alone"
        )
    return "".join(f"; {part}" for part in parts)


def _listed(names: list[str]) -> str:
    rest = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {rest:,} more" if rest > 0 else "")


def _mappings(stored: Any, depth: int) -> Iterator[Mapping[Any, Any]]:
    if isinstance(stored, Mapping):
        yield stored
        if depth > 0:
            for value in stored.values():
                yield from _mappings(value, depth - 1)


def _elements(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _prefixes(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """What stands before the names of a network, and of a file, so that most of them agree.

    Where several do, the first counts: MoCo's `encoder_q` stands before its `encoder_k`.
    """
    best, most = [("", "")], 0
    for ours in _before_all(own):
        wanted = {key[len(ours) :]: value.shape for key, value in own.items()}
        for theirs in _before_some(tensors):
            agreeing = sum(
                wanted.get(key[len(theirs) :]) == value.shape
                for key, value in tensors.items()
                if key.startswith(theirs)
            )
            if agreeing > most:
                best, most = [], agreeing
            if agreeing == most > 0:
                best.append((ours, theirs))
    return best


def _before_all(own: Mapping[str, Tensor]) -> list[str]:
    """Nothing, and the parts that all names begin with (`network.`)."""
    found, shared = [""], ""
    while True:
        following = {key[len(shared) :].partition(".")[0] for key in own}
        if len(following) != 1 or not all("." in key[len(shared) :] for key in own):
            return found
        shared += f"{following.pop()}."
        found.append(shared)


def _before_some(tensors: Mapping[str, Tensor]) -> list[str]:
    """Nothing, and what names begin with: the short ones first, and then as in the file."""
    found = {"": None}
    for key in tensors:
        parts = key.split(".")
        found |= {".".join(parts[:length]) + ".": None for length in range(1, len(parts))}
    return sorted(found, key=lambda prefix: prefix.count("."))


def _first_convolution(network: nn.Module) -> str | None:
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return f"{name}.weight" if module.groups == 1 else None
    return None


def _with_channels(weight: Tensor, channels: int) -> Tensor:
    """A convolution for other channels, as timm does it: what it sums to stays about what it was.

    Args:
        weight: `[O, I, h, w]`.
        channels: `C`; one gets the sum of all, several the given ones in turn, times `I / C`.

    Returns:
        `[O, C, h, w]`.
    """
    given = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, torch.arange(channels) % given] * (given / channels)
