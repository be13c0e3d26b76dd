"""Networks as they are just after construction: how a class begins, which its layers do not know.

A layer's `reset_parameters()` is torch's default. torchvision, timm and most people draw otherwise
in the constructor of the whole network, after its layers are made. So what draws a network anew is
its constructor: here it is found and called again.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from super_selfish.models.dry_run import REFUSALS

# Where `build_backbone` notes with which arguments it had timm make a network.
TIMM_ARGUMENTS = "_arguments_for_timm"

# What a constructor raises that cannot be called with these arguments.
_NOT_SO = (*REFUSALS, ImportError, OSError)
_PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
)

Build = Callable[[], nn.Module]
# A tensor's kind: class of the layer that owns it, its name there, its shape.
Kind = tuple[str, str, tuple[int, ...]]
Tensors = list[tuple[Kind, Tensor]]


def fresh_tensors(network: nn.Module, seeds: torch.Generator) -> list[tuple[Tensor, Tensor]] | None:
    """Pairs of a network's tensors with those that its constructor draws.

    Tried are, in this order, the class itself, called with arguments that the network keeps under
    their names or with its defaults, and the makers of timm and torchvision. What is made counts
    only if at least half of the network's parameters find their like in it, in the same order. So a
    layer that was exchanged or cut away does not matter, and a list of a torchvision network's
    children is recognised.

    Args:
        network: Is left as it is.
        seeds: Gives the seed to which torch's global stream is set; it is left somewhere else.

    Returns:
        Pairs (of the network, drawn anew on the CPU), or None where no maker is known.
    """
    wanted = tensors_by_kind(network)
    seed = int(torch.randint(2**62, (), generator=seeds))
    for build in _own_makers(network):
        pairs = _drawn(build, wanted, seed)
        if pairs is not None and not _is_loaded(pairs, _drawn(build, wanted, seed + 1)):
            return pairs
    maker = _best_maker(network, wanted)
    return None if maker is None else _drawn(maker, wanted, seed)


def tensors_by_kind(network: nn.Module) -> Tensors:
    """Every parameter and buffer of a network with its kind, in the order of its modules."""
    return [
        ((type(owner).__name__, name, tuple(tensor.shape)), tensor)
        for owner in network.modules()
        for name, tensor in own_tensors(owner)
        if not is_lazy(tensor)
    ]


def own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a module alone, by name."""
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _drawn(build: Build, wanted: Tensors, seed: int) -> list[tuple[Tensor, Tensor]] | None:
    torch.default_generator.manual_seed(seed)  # manual_seed would seed accelerators as well
    try:
        with torch.device("cpu"):
            made = build()
    except _NOT_SO:  # it cannot be called in this way; another one is tried
        return None
    pairs = _aligned(wanted, tensors_by_kind(made))
    parameters = [tensor for _, tensor in wanted if isinstance(tensor, nn.Parameter)]
    found = sum(isinstance(tensor, nn.Parameter) for tensor, _ in pairs)
    return pairs if parameters and 2 * found >= len(parameters) else None


def _aligned(wanted: Tensors, made: Tensors) -> list[tuple[Tensor, Tensor]]:
    """Pairs of the same kind, in the order of both."""
    kinds, others = [kind for kind, _ in wanted], [kind for kind, _ in made]
    if kinds == others:
        return [(mine, other) for (_, mine), (_, other) in zip(wanted, made, strict=True)]
    blocks = SequenceMatcher(None, kinds, others, autojunk=False).get_matching_blocks()
    return [
        (wanted[block.a + place][1], made[block.b + place][1])
        for block in blocks
        for place in range(block.size)
    ]


def _is_loaded(
    first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]] | None
) -> bool:
    """Whether a constructor gives the same weights whatever the seed: from a file, most likely."""
    if second is None:
        return True
    return any(
        isinstance(mine, nn.Parameter)
        and mine.numel() > 1
        and bool((one != one.flatten()[0]).any())
        and torch.equal(one, other)
        for (mine, one), (_, other) in zip(first, second, strict=True)
    )


def _best_maker(network: nn.Module, wanted: Tensors) -> Build | None:
    """The maker of timm or torchvision whose network is most like this one."""
    made_by_timm = _timm_maker(network)
    if made_by_timm is not None:
        return made_by_timm
    best: tuple[int, Build | None] = (0, None)
    for build in _torchvision_makers(network):
        with torch.device("meta"):
            made = tensors_by_kind(build())
        likeness = 2 * len(_aligned(wanted, made)) - abs(len(wanted) - len(made))
        if [kind for kind, _ in made] == [kind for kind, _ in wanted]:
            return build
        best = max(best, (likeness, build), key=lambda pair: pair[0])
    return best[1]


def _timm_maker(network: nn.Module) -> Build | None:
    if not type(network).__module__.startswith("timm."):
        return None
    import timm

    noted = vars(network).get(TIMM_ARGUMENTS)
    if noted is not None:
        return partial(timm.create_model, **noted)
    settings: Any = getattr(network, "pretrained_cfg", None)
    settings = settings if isinstance(settings, dict) else {}
    name = settings.get("architecture")
    if not isinstance(name, str) or not timm.is_model(name):
        return None
    options: dict[str, Any] = {}
    first = next((part for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    if first is not None and first.groups == 1:
        options["in_chans"] = first.in_channels
    size = getattr(getattr(network, "patch_embed", None), "img_size", None)
    if size is not None and settings.get("fixed_input_size"):
        options["img_size"] = tuple(size)
    return partial(timm.create_model, name, pretrained=False, **options)


def _torchvision_makers(network: nn.Module) -> Iterator[Build]:
    """Makers of the networks from whose file of torchvision the network, or its blocks, come."""
    prefix = "torchvision.models."
    files = {type(part).__module__ for part in network.modules()}
    files = {file for file in files if file.startswith(prefix) and not file.endswith("._utils")}
    if not files:
        return
    from torchvision import models

    for name in models.list_models():
        maker = models.get_model_builder(name)
        if maker.__module__ in files:
            given = inspect.signature(maker).parameters
            options: dict[str, Any] = {"weights": None}
            options |= {"weights_backbone": None} if "weights_backbone" in given else {}
            # These two warn if it is not chosen how they begin.
            options |= {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
            yield partial(maker, **options)


def _own_makers(network: nn.Module) -> Iterator[Build]:
    """The class of the network itself, with arguments that it keeps, and with its defaults."""
    kind = type(network)
    if kind.__module__.split(".")[0] in ("torch", "torchvision", "timm"):
        return
    known: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            return
        if hasattr(network, name) and _is_plain(getattr(network, name)):
            known[name] = getattr(network, name)
        elif parameter.default is parameter.empty:
            return
    if known:
        yield partial(kind, **known)
    try:
        inspect.signature(kind.__init__).bind(None)
    except TypeError:
        return
    yield kind


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, _PLAIN)
