"""Copies of networks that are not ours, which `copy.deepcopy` alone often does not take."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from super_selfish.models.wrappers import unwrapped, wrapped_by

Copied = TypeVar("Copied")

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# What `copy.deepcopy` takes as it is, and what holds no tensors.
_ATOMS = (str, bytes, int, float, complex, type(None), type, FunctionType, BuiltinFunctionType)


def copy_module(module: Copied) -> Copied:
    """A copy of a network, of its own down to the last tensor; the network stays as it is.

    A tensor with a graph behind it (an activation that the network kept, the weight that
    `torch.nn.utils.weight_norm` or `spectral_norm` made in the last pass), which `copy.deepcopy`
    refuses, is copied by its values. Wrappers (`torch.compile(network)`, `DataParallel`) are left
    away, at any depth: the copy is of the network inside. Hooks go with it, and a hook's object
    that knows nothing of the network is shared, as functions are.

    Args:
        module: A module, or a container of modules and other things.

    Returns:
        A new one, its networks in the mode and on the device of the given ones.

    Raises:
        TypeError: If it holds something that cannot be copied.
    """
    memo: dict[int, Any] = {}
    tensors, modules = _parts(module)
    for owner in _foreign_hooks(modules):
        memo[id(owner)] = owner
    for tensor in tensors:
        if not tensor.is_leaf:
            memo[id(tensor)] = tensor.detach().clone()
    try:
        wrappers = [part for part in modules if wrapped_by(part) is not None]
        # Those inside others first, so that they are left away in these.
        for part in sorted(wrappers, key=lambda wrapper: len(list(wrapper.modules()))):
            memo[id(part)] = copy.deepcopy(unwrapped(part), memo)
        return copy.deepcopy(module, memo)
    except (TypeError, RuntimeError, AttributeError) as error:
        what = unwrapped(module) if isinstance(module, nn.Module) else module
        raise TypeError(
            f"{type(what).__name__} cannot be copied: {error}. Momentum encoders, untrained twins, "
            "fine-tuning and export need copies of a network: keep out of it what cannot be copied "
            "(locks, open files), or give its class a __deepcopy__"
        ) from error


def give_own_memory(module: nn.Module) -> None:
    """Replaces buffers that show one number at several places, such as expanded ones, by copies.

    Nothing can be written into them, so that no stored values could be loaded.
    """
    for part in module.modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.layout == torch.strided and 0 in buffer.stride():
                part._buffers[name] = buffer.clone(memory_format=torch.contiguous_format)


def _foreign_hooks(modules: Iterable[nn.Module]) -> Iterator[object]:
    """Objects behind hooks that hold none of the modules that are copied."""
    copied = set(modules)
    for module in copied:
        for kind in _HOOKS:
            for hook in vars(module).get(kind, {}).values():
                owner = hook.__self__ if isinstance(hook, MethodType) else hook
                held = getattr(owner, "__dict__", None)
                if held is None or isinstance(owner, nn.Module | partial):
                    continue
                if not any(isinstance(v, nn.Module) and v in copied for v in held.values()):
                    yield owner


def _parts(whole: object) -> tuple[list[Tensor], list[nn.Module]]:
    """Tensors and modules, wherever in the attributes of something they lie."""
    tensors: list[Tensor] = []
    modules: list[nn.Module] = []
    seen: set[int] = set()
    waiting: list[object] = [whole]
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, _ATOMS) or id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor):
            tensors.append(thing)
            continue
        if isinstance(thing, nn.Module):
            modules.append(thing)
        waiting += _held_by(thing)
    return tensors, modules


def _held_by(thing: object) -> Iterator[object]:
    """What a copy of an object copies too."""
    if isinstance(thing, nn.Module) and (inside := wrapped_by(thing)) is not None:
        yield inside
        return
    if isinstance(thing, MethodType):
        yield thing.__self__
        return
    if isinstance(thing, Mapping):
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        yield from thing
    elif isinstance(thing, partial):
        yield from (thing.func, thing.args, thing.keywords)
    yield from getattr(thing, "__dict__", {}).values()
    for kind in type(thing).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, name):
                yield getattr(thing, name)
