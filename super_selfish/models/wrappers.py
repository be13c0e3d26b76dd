"""Networks inside `torch.compile(network)`, `DataParallel(network)` and the like.

A wrapper computes what its network computes, elsewhere or faster, and has no parameters of its own;
but it puts `_orig_mod.` or `module.` before the names of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_PREFIXES = ("_orig_mod", "module")


def unwrapped(module: nn.Module) -> nn.Module:
    """The network inside all wrappers; a module that is no wrapper as it is."""
    while (inside := wrapped_by(module)) is not None:
        module = inside
    return module


def without_processes(module: nn.Module) -> nn.Module:
    """The module inside `DistributedDataParallel`, which a run of ours puts around everything."""
    while isinstance(module, nn.parallel.DistributedDataParallel):
        module = module.module
    return module


def wrapped_by(module: nn.Module) -> nn.Module | None:
    """The module inside one wrapper, or None if this is no wrapper."""
    if isinstance(module, _PARALLEL):
        return module.module
    # Not by its class, whose import takes a second: nothing else has this name.
    return module._modules.get("_orig_mod")


def bare_names(module: nn.Module) -> dict[str, str]:
    """What the entries of a state dict would be called if nothing in a module were wrapped.

    Args:
        module: With or without wrappers, at any depth.

    Returns:
        For the path of each wrapper, with its last point (`"model.backbone._orig_mod."`), the path
        without wrappers (`"model.backbone."`); the longest paths first.
    """
    found = dict(_wrapped_paths(module, "", ""))
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def without_wrappers(module: nn.Module, state: Mapping[str, Any]) -> dict[str, Any]:
    """A module's state dict in the names that it has without wrappers.

    Args:
        module: Whose state it is.
        state: What its `state_dict()` returned.
    """
    names = bare_names(module)
    return {without_prefix(name, names): value for name, value in state.items()}


def with_wrappers(module: nn.Module, state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict in the names of a module, whether it was stored with wrappers or without.

    Args:
        module: That shall load it.
        state: In the names of this module, or of one that is wrapped at other places.
    """
    bare = bare_names(module)
    own = {without_prefix(name, bare): name for name in module.state_dict()}
    renamed: dict[str, Any] = {}
    for name, value in state.items():
        plain = name if name in own else without_prefix(name, bare)
        # Files of earlier versions have the names of wrappers that this module may not have.
        plain = plain if plain in own else _without_prefixes(plain, own)
        renamed[own.get(plain, name)] = value
    return renamed


def _wrapped_paths(module: nn.Module, path: str, bare: str) -> Iterator[tuple[str, str]]:
    inside = wrapped_by(module)
    for name, child in module._modules.items():
        if child is None:
            continue
        if child is inside:
            yield f"{path}{name}.", bare
            yield from _wrapped_paths(child, f"{path}{name}.", bare)
        else:
            yield from _wrapped_paths(child, f"{path}{name}.", f"{bare}{name}.")


def without_prefix(name: str, prefixes: Mapping[str, str]) -> str:
    """A name without wrappers.

    Args:
        name: Of an entry of a state dict.
        prefixes: What `bare_names` returned.
    """
    for prefix, bare in prefixes.items():
        if name.startswith(prefix):
            return bare + name.removeprefix(prefix)
    return name


def _without_prefixes(name: str, own: Mapping[str, str]) -> str:
    """The entry of a module that has this name but for parts that wrappers add."""
    parts = name.split(".")
    for position, part in enumerate(parts):
        if part in _PREFIXES:
            shorter = ".".join(parts[:position] + parts[position + 1 :])
            found = shorter if shorter in own else _without_prefixes(shorter, own)
            if found in own:
                return found
    return name
