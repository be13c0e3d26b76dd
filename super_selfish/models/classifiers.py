"""Published networks whose classifier is still on: their logits are no features."""

from __future__ import annotations

from torch import nn

# Where torchvision, timm and efficientnet-pytorch keep it.
_NAMES = ("fc", "classifier", "head", "heads", "_fc", "last_linear")
_PACKAGES = ("torchvision", "timm", "efficientnet_pytorch")
IMAGENET = 1000  # classes


def classifier_of(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d] | None:
    """The last layer of the classifier that a network ends in.

    Of one's own classes only what has ImageNet's thousand outputs is taken for one: a last layer
    of another width may well be meant as features.

    Args:
        network: Any.

    Returns:
        The layer's name as in `named_modules()`, and the layer; None if there is none.
    """
    packages = {kind.__module__.split(".")[0] for kind in type(network).__mro__}
    is_published = not packages.isdisjoint(_PACKAGES)
    for name in _NAMES:
        child = getattr(network, name, None)
        if not isinstance(child, nn.Module):
            continue
        *_, end = child.modules()
        if isinstance(end, nn.Identity):
            continue
        layers = [
            (f"{name}.{inner}".removesuffix("."), part)
            for inner, part in child.named_modules()
            if isinstance(part, nn.Linear | nn.Conv2d)
        ]
        if layers and (is_published or _outputs(layers[-1][1]) == IMAGENET):
            return layers[-1]
    return None


def classifier_warning(network: nn.Module) -> str | None:
    """What to say of a backbone whose features are logits, and the mend; None if they are not.

    Args:
        network: Any.
    """
    found = classifier_of(network)
    if found is None:
        return None
    name, last = found
    inputs = last.in_features if isinstance(last, nn.Linear) else last.in_channels
    if callable(getattr(network, "reset_classifier", None)):  # timm
        mend = "backbone.reset_classifier(0)"
    else:
        place = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in name.split("."))
        mend = f"backbone{place} = torch.nn.Identity()"
    return (
        f"the features of the backbone {type(network).__name__} are the {_outputs(last)} logits of "
        f"its classifier, which is still on: with {mend} before, they are the {inputs} numbers "
        "that the classifier sees"
    )


def _outputs(layer: nn.Linear | nn.Conv2d) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
