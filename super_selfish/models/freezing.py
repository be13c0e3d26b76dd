"""Parts of a network that stand still, and learning rates that differ from layer to layer.

The early layers of a pretrained network see edges and textures, which every task needs; the late
ones see what pretraining asked for (Yosinski et al., 2014, arXiv 1411.1792). So the early ones are
kept, or learn more slowly than the rest (Howard and Ruder, 2018, arXiv 1801.06146, section 3.2:
"discriminative fine-tuning").
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn

from super_selfish.models.holders import trained_networks

_HELD = "_held_parameters"  # names of a module's own parameters that were made to stand still
_BEFORE = "_before_temporary_freeze"  # how a module was: names held, whether its mode was, its mode


def freeze(module: nn.Module) -> None:
    """Makes a whole network stand still, under `.train()` as well.

    No parameter gets a gradient, and the network computes as in evaluation whatever mode it is set
    to: statistics of batch norms do not move, nothing is dropped. `unfreeze` takes it back;
    `requires_grad_(True)` on the network does so too.

    Args:
        module: Network, changed in place.
    """
    unfreeze(module)
    for part in module.modules():
        _hold_parameters(part)
    _hold_mode(module)


def freeze_until(module: nn.Module, name: str) -> None:
    """Makes everything before a layer stand still. The layer itself and all after it train.

    "Before" is the order in which modules were registered, that of `named_modules()`; it is the
    order of execution wherever a network is written down as it runs (all of ours, torchvision's and
    timm's, every `nn.Sequential`). Parameters that a module around the layer holds itself (a class
    token, position embeddings) count as before it. Frozen parts stay in evaluation under `.train()`
    too, so that the statistics of their batch norms do not move. A second call with another name
    replaces the first; `unfreeze` takes it back. What was frozen by other means stays frozen.

    A network around others (`holds_networks`, such as those that are shown lightness or colour
    alone) is frozen up to the layer of this name in each of them, where all have it.

    Args:
        module: Network, changed in place.
        name: A layer's name as in `named_modules()`: `"_blocks.11"` (`EfficientFeatures`),
            `"network.layer4"` (torchvision's ResNets), `"blocks.2"` (`NarrowResNet`), `"4"`
            (`nn.Sequential`).

    Raises:
        ValueError: If there is no such layer; lists names that are near.
    """
    check_layer(module, name)
    unfreeze(module)
    for network in _networks_with(module, name):
        _freeze_before(network, name)


def _freeze_before(module: nn.Module, name: str) -> None:
    held: set[nn.Module] = set()
    for part_name, part in module.named_modules():
        if part_name == name:
            return
        _hold_parameters(part)
        is_around = part_name == "" or name.startswith(f"{part_name}.")
        if not is_around and part not in held:
            _hold_mode(part)
            held.update(part.modules())


def check_layer(module: nn.Module, name: str) -> None:
    """Refuses a name that no layer of a network has.

    Args:
        module: Network.
        name: As for `freeze_until`.

    Raises:
        ValueError: If there is no such layer; lists names that are near.
    """
    if name == "" or not _networks_with(module, name):
        raise ValueError(_unknown_layer(module, name))


def _networks_with(module: nn.Module, name: str) -> list[nn.Module]:
    """The network itself, if it has such a layer, or those that it holds, if all have it."""
    if name in dict(module.named_modules()):
        return [module]
    held = trained_networks(module) if getattr(module, "holds_networks", False) else []
    return held if all(name in dict(network.named_modules()) for network in held) else []


def unfreeze(module: nn.Module) -> None:
    """Lets everything move again that `freeze` or `freeze_until` made stand still.

    Args:
        module: Network, changed in place. What they froze takes the mode of the whole.
    """
    for part in module.modules():
        part.__dict__.pop(_BEFORE, None)
        for name in part.__dict__.pop(_HELD, ()):
            part._parameters[name].requires_grad_(True)  # type: ignore[union-attr]
    released = [part for part in module.modules() if part.__dict__.pop("train", None) is not None]
    for part in released:
        if part is not module:
            part.train(module.training)


def freeze_temporarily(module: nn.Module, freeze: Callable[[nn.Module], None] = freeze) -> None:
    """Makes a network, or some of it, stand still until `release`.

    A probe freezes the very backbone that pretraining may go on with: whoever trains it next lets
    go what the probe froze, and not what the user did.

    Args:
        module: Network, changed in place.
        freeze: What makes it stand still: `freeze`, or `freeze_until` with a name.
    """
    release(module)
    before = [
        (part, (part.__dict__.get(_HELD, ()), "train" in part.__dict__, part.training))
        for part in module.modules()
    ]
    freeze(module)
    for part, state in before:
        part.__dict__[_BEFORE] = state


def release(module: nn.Module) -> None:
    """Lets go what `freeze_temporarily` holds in a network or in parts of it, and nothing else.

    Once the user calls `freeze`, `freeze_until` or `unfreeze`, that is what holds.

    Args:
        module: Network, changed in place.
    """
    before = [(part, part.__dict__[_BEFORE]) for part in module.modules() if _BEFORE in vars(part)]
    for part, (held, holds_mode, training) in before:
        part.__dict__.pop(_BEFORE)
        for name in part.__dict__.pop(_HELD, ()):
            part._parameters[name].requires_grad_(name not in held)  # type: ignore[union-attr]
        if held:
            part.__dict__[_HELD] = held
        part.__dict__.pop("train", None)
        if holds_mode:
            part.__dict__["train"] = partial(_train_if_free, part)
        part.training = training


def parameter_groups(
    backbone: nn.Module,
    head: nn.Module | Iterable[nn.Parameter],
    lr: float,
    *,
    backbone_lr_factor: float = 0.1,  # customary for a backbone that knows much
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """Groups for an optimizer, in which the backbone learns more slowly than its head.

    `lr` for the head, `lr * backbone_lr_factor` for the last layer of the backbone, and
    `layer_decay` times that of its successor for every layer before. A layer is what timm says of
    its networks (of a transformer the embedding, then each block); of others a child of the
    backbone or, in a container such as `nn.Sequential`, a child of that. Norms belong to the layer
    before them.

    BEiT and MAE fine-tune with `lr_i = lr * d^(L + 1 - i)`, from the embedding, `i = 0`, over `L`
    blocks to the head, `L + 1`: `layer_decay=d, backbone_lr_factor=d`, with `d = 0.75` in MAE (He
    et al., 2021, arXiv 2111.06377, table 9).

    Args:
        backbone: Pretrained network.
        head: What is new, or its parameters. What of it is in the backbone counts as backbone, so
            that the whole `CombinedNet` will do.
        lr: Learning rate of the head.
        backbone_lr_factor: Learning rate of the backbone as a multiple of the head's.
        layer_decay: Learning rate of a layer as a multiple of the next one's, in (0, 1]; 1 gives
            all of the backbone the same. 0.65 to 0.9 is usual (Bao et al., 2021, arXiv 2106.08254,
            appendix).

    Returns:
        Groups with "params" and "lr": that of the head, then the backbone from its last layer to
        its first. Only parameters that require gradients; no empty group.

    Raises:
        ValueError: If a rate is negative, or `layer_decay` is outside (0, 1].
    """
    if not lr >= 0 or not backbone_lr_factor >= 0:
        raise ValueError(
            f"learning rates must be >= 0, got lr {lr} and backbone_lr_factor {backbone_lr_factor}"
        )
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be in (0, 1], got {layer_decay}")
    in_backbone = set(backbone.parameters())
    given = head.parameters() if isinstance(head, nn.Module) else head
    new = list(dict.fromkeys(p for p in given if p.requires_grad and p not in in_backbone))
    groups: list[dict[str, Any]] = [{"params": new, "lr": lr}]
    layers = _layers(backbone) if layer_decay < 1 else [list(backbone.parameters())]
    for distance, layer in enumerate(reversed(layers)):
        trained = [parameter for parameter in layer if parameter.requires_grad]
        groups.append({"params": trained, "lr": lr * backbone_lr_factor * layer_decay**distance})
    return [group for group in groups if group["params"]]


def _hold_parameters(part: nn.Module) -> None:
    own = part.named_parameters(recurse=False)
    names = tuple(name for name, parameter in own if parameter.requires_grad)
    if names:
        part.__dict__[_HELD] = names
    for name in names:
        part._parameters[name].requires_grad_(False)  # type: ignore[union-attr]


def _hold_mode(part: nn.Module) -> None:
    # Its own train() is hidden by one that keeps it in evaluation. Unlike a closure it can be
    # copied and pickled: a copy of the network is as frozen as the original.
    part.eval()
    part.__dict__["train"] = partial(_train_if_free, part)


def _train_if_free(part: nn.Module, mode: bool = True) -> nn.Module:
    is_free = any(parameter.requires_grad for parameter in part.parameters())
    return type(part).train(part, mode and is_free)


def _layers(backbone: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters of every layer, first layer first; each parameter once."""
    layers: list[list[nn.Parameter]] = []
    seen: set[nn.Parameter] = set()
    for parameters in _stages(backbone):
        new = [parameter for parameter in parameters if parameter not in seen]
        seen.update(new)
        is_norm = all(parameter.ndim <= 1 for parameter in new)
        if layers and is_norm:
            layers[-1] += new
        elif new:
            layers.append(new)
    return layers


def _stages(module: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters of a module's children, of those of containers among them, and its own."""
    if callable(getattr(module, "group_matcher", None)):
        return _stages_of_timm(module)
    children = [child for child in module.children() if any(True for _ in child.parameters())]
    own = list(module.parameters(recurse=False))
    stages = [own] if own else []
    for child in children:
        is_container = isinstance(child, (nn.Sequential, nn.ModuleList)) or len(children) == 1
        stages += _stages(child) if is_container else [list(child.parameters())]
    return stages


def _stages_of_timm(network: Any) -> list[list[nn.Parameter]]:
    """Parameters of a network of timm by its layers, as timm's own layer decay has them.

    Class token, positions and patch embedding of a transformer are one, then each block is one.
    """
    from timm.models import group_parameters  # there, if such a network is

    layers = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    last = max(layers.values())
    stages: list[list[nn.Parameter]] = [[] for _ in range(last + 1)]
    for name, parameter in network.named_parameters():
        stages[layers.get(name, last)].append(parameter)
    return stages


def _unknown_layer(module: nn.Module, name: str) -> str:
    names = [part for part, _ in module.named_modules() if part]
    if not names:
        return f"{type(module).__name__} has no layers, so none is named {name!r}"
    near = [part for part in names if name and f".{part}".endswith(f".{name}")]
    near += difflib.get_close_matches(name, names, n=4, cutoff=0.6)
    hint = f"did you mean {', '.join(dict.fromkeys(near[:4]))}? " if near else ""
    outer = [part for part in names if part.count(".") <= 1][:40]
    return (
        f"{type(module).__name__} has no layer {name!r}: {hint}"
        f"Names are as in named_modules(): {', '.join(outer)}"
    )
