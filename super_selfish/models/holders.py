"""Which modules within a supervisor are networks: called with a batch, as a whole.

A module that only holds networks, which others call one by one, says so by `holds_networks = True`;
one that must see the whole batch, such as one whose output has the images not in its first
dimension, by `wants_whole_batch = True`. Modules at an attribute called `loss` or `criterion`, or
`..._loss` or `..._criterion`, are no networks: a loss compares images of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

_LISTS = (nn.ModuleList, nn.ModuleDict)
_LOSSES = ("loss", "criterion")


def trained_networks(module: nn.Module) -> list[nn.Module]:
    """The networks that are called as a whole: backbones, heads, encoders, players.

    Args:
        module: A supervisor, or another module that only holds networks.

    Returns:
        Every such network once; one without parameters is left out.
    """
    found: dict[nn.Module, None] = {}
    for child in _children(module):
        if _only_holds(child):
            found.update(dict.fromkeys(trained_networks(child)))
        elif next(child.parameters(), None) is not None:
            found[child] = None
    return list(found)


def splittable_networks(module: nn.Module) -> list[nn.Module]:
    """The networks that can take a batch in parts, and the holders that can be called as one.

    Args:
        module: A supervisor, or another module that only holds networks.

    Returns:
        Every one once, a holder before what it holds.
    """
    found: dict[nn.Module, None] = {}
    for child in _children(module):
        if next(child.parameters(), None) is None:
            continue
        is_whole = any(getattr(part, "wants_whole_batch", False) for part in child.modules())
        if not is_whole and not isinstance(child, _LISTS):
            found[child] = None
        if _only_holds(child):
            found.update(dict.fromkeys(splittable_networks(child)))
    return list(found)


def _children(module: nn.Module) -> Iterator[nn.Module]:
    for name, child in module.named_children():
        if name.rpartition("_")[2] not in _LOSSES:
            yield child


def _only_holds(module: nn.Module) -> bool:
    return isinstance(module, _LISTS) or getattr(module, "holds_networks", False)
