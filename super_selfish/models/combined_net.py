"""A predictor on a backbone, and the one place that knows what backbones return.

A backbone is any module from `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`; one with
`forward_features` (timm's convention) gives maps from it. Heads see pooled vectors unless they say
`wants_map = True`.

Shapes: `B` images, `C, H, W` image, `D` features, `h, w` map, `N` tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from super_selfish.models.normalize import Normalize
from super_selfish.models.wrappers import unwrapped

# `forward_features` of backbones while they run compiled. Not an attribute of theirs: a copy of the
# backbone would go on asking the original.
compiled_maps: WeakKeyDictionary[nn.Module, Callable[..., object]] = WeakKeyDictionary()


class CombinedNet(nn.Module):
    """A predictor on a backbone.

    A predictor with the attribute `wants_map = True` (for an `nn.Sequential`: whose first module
    has it) gets the feature map `[B, D, h, w]`; every other gets pooled vectors `[B, D]`.

    Attributes:
        backbone: The very module that was passed in.
        predictor: Everything after the backbone.
        preprocess: Applied to the images before the backbone, or `None`.
    """

    holds_networks = True  # see models/holders.py

    def __init__(
        self,
        backbone: nn.Module,
        predictor: nn.Module,
        preprocess: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Joins the two.

        Args:
            backbone: `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`.
            predictor: Head on vectors or, with `wants_map = True`, on maps.
            preprocess: What the backbone wants done to images in [0, 1] first, for instance a
                `Normalize`. Leave it out if the images arrive normalised.

        Raises:
            TypeError: If backbone or predictor is no module.
        """
        super().__init__()
        for role, module in (("backbone", backbone), ("predictor", predictor)):
            if not isinstance(module, nn.Module):
                raise TypeError(f"{role} must be an nn.Module, got {type(module).__name__}")
        self.backbone = backbone
        self.predictor = predictor
        self.preprocess = preprocess

    def forward(self, images: Tensor) -> Tensor:
        """Predicts.

        Args:
            images: `[B, C, H, W]`, float in [0, 1].

        Returns:
            What the predictor returns.

        Raises:
            ValueError: If the predictor takes another number of features than the backbone gives.
        """
        wants_map = _wants_map(self.predictor)
        features = self.feature_map(images) if wants_map else self.features(images)
        _require_width(self.backbone, self.predictor, features)
        return self.predictor(features)

    def features(self, images: Tensor) -> Tensor:
        """Pooled features `[B, D]` of images `[B, C, H, W]`."""
        return pooled_features(self.backbone, self._preprocessed(images))

    def feature_map(self, images: Tensor) -> Tensor:
        """Feature map `[B, D, h, w]` of images `[B, C, H, W]`."""
        return feature_map(self.backbone, self._preprocessed(images))

    def _preprocessed(self, images: Tensor) -> Tensor:
        return images if self.preprocess is None else self.preprocess(images)


def pooled_features(backbone: nn.Module, images: Tensor) -> Tensor:
    """One vector per image: what `backbone(images)` returns, averaged over space if it is a map.

    `forward` is asked and not `forward_features`: only the network knows how its tokens are pooled.

    Args:
        backbone: `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`.
        images: `[B, C, H, W]`.

    Returns:
        `[B, D]`.

    Raises:
        TypeError: If the backbone returns something else than a tensor.
        ValueError: If the tensor is neither `[B, D]` nor `[B, D, h, w]`.
    """
    return as_vectors(backbone, backbone(images))


def feature_map(backbone: nn.Module, images: Tensor) -> Tensor:
    """The spatial features, from `forward_features` if the backbone has it.

    Tokens `[B, N, D]` become a map if they are `num_prefix_tokens` (an attribute of the backbone,
    0 if it has none) and a grid of the aspect of the image. Channels-last maps of networks with
    `output_fmt = "NHWC"` (timm's Swin) are turned round.

    Args:
        backbone: Gives maps from `forward_features` or from `forward`.
        images: `[B, C, H, W]`.

    Returns:
        `[B, D, h, w]`.

    Raises:
        TypeError: If the backbone gives vectors only, or something else than a tensor.
        ValueError: If its tokens are no grid.
    """
    return as_map(backbone, map_function(backbone)(images), images)


def map_function(backbone: nn.Module) -> Callable[[Tensor], object]:
    """What to ask for maps: `forward_features` where there is one, the backbone otherwise."""
    if not torch.compiler.is_compiling() and backbone in compiled_maps:
        return compiled_maps[backbone]
    # A wrapper has none of its own, and hides that of the network in it.
    forward_features = getattr(unwrapped(backbone), "forward_features", None)
    return forward_features if callable(forward_features) else backbone


def as_vectors(backbone: nn.Module, output: object) -> Tensor:
    """Checks what `backbone(images)` returned and pools it; see `pooled_features`."""
    features = _as_tensor(backbone, output)
    if features.ndim == 4:
        return _channels_first(backbone, features).mean(dim=(2, 3))
    if features.ndim != 2:
        raise ValueError(
            f"{type(unwrapped(backbone)).__name__} must return [B, D] or [B, D, h, w], got "
            f"{list(features.shape)}: pool tokens inside the network (timm: global_pool)"
        )
    return features


def as_map(backbone: nn.Module, output: object, images: Tensor) -> Tensor:
    """Checks what the backbone returned for these images as a map; see `feature_map`."""
    features = _as_tensor(backbone, output)
    if features.ndim == 4:
        return _channels_first(backbone, features)
    if features.ndim == 3:
        return _grid_of_tokens(backbone, features, images)
    raise TypeError(
        f"who asks wants a map [B, D, h, w], but {type(unwrapped(backbone)).__name__} gives "
        f"{list(features.shape)}: give the backbone a forward_features(images) -> [B, D, h, w], "
        "or take a backbone that is not pooled"
    )


def zero_input(model: CombinedNet) -> float | Tensor:
    """What a pixel must be so that the network computes with zero.

    Args:
        model: Network that may normalise, before the backbone or as its first step.

    Returns:
        The mean of that step, `[C]`, or 0.
    """
    for step in (model.preprocess, getattr(unwrapped(model.backbone), "normalize", None)):
        if isinstance(step, Normalize):
            return step.mean.flatten()
    return 0.0


def _wants_map(predictor: nn.Module) -> bool:
    if isinstance(predictor, nn.Sequential) and len(predictor) > 0:
        return _wants_map(predictor[0])
    return bool(getattr(predictor, "wants_map", False))


def _require_width(backbone: nn.Module, predictor: nn.Module, features: Tensor) -> None:
    """Refuses features that a linear first layer cannot take, in words instead of torch's."""
    first = unwrapped(predictor)
    while isinstance(first, nn.Sequential) and len(first) > 0:
        first = first[0]
    if not isinstance(first, nn.Linear) or features.ndim != 2 or torch.jit.is_tracing():
        return
    given, wanted = features.shape[1], first.in_features
    if given != wanted and not isinstance(first, nn.LazyLinear):
        raise ValueError(
            f"the backbone, {type(unwrapped(backbone)).__name__}, gives {given} numbers an image, "
            f"but the predictor takes {wanted}: make its first layer nn.Linear({given}, ...)"
        )


def _as_tensor(backbone: nn.Module, output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise TypeError(
            f"{type(unwrapped(backbone)).__name__} must return one tensor, got "
            f"{type(output).__name__}: wrap it in a module whose forward returns the features "
            "alone (of a Hugging Face model pooler_output, of several outputs the last)"
        )
    return output


def _channels_first(backbone: nn.Module, features: Tensor) -> Tensor:
    if getattr(unwrapped(backbone), "output_fmt", None) == "NHWC":
        return features.permute(0, 3, 1, 2)
    return features


def one_patch_fits(images: Tensor, height: int, width: int) -> bool:
    """Whether square patches of some side, remainders cut away, make such a grid of the images."""
    image_height, image_width = images.shape[-2:]
    lower = max(image_height / (height + 1), image_width / (width + 1))  # pixels, exclusive
    return lower < min(image_height / height, image_width / width)


def _grid_of_tokens(backbone: nn.Module, tokens: Tensor, images: Tensor) -> Tensor:
    prefix = int(getattr(unwrapped(backbone), "num_prefix_tokens", 0))
    count = tokens.shape[1] - prefix
    image_height, image_width = images.shape[-2:]
    height = round((max(count, 0) * image_height / image_width) ** 0.5)
    width = count // height if height > 0 else 0
    if count < 1 or height * width != count or not one_patch_fits(images, height, width):
        raise ValueError(
            f"{type(unwrapped(backbone)).__name__} gives {tokens.shape[1]} tokens for an image of "
            f"{image_height}x{image_width}, and without {prefix} prefix tokens these are no grid "
            "of its aspect: set backbone.num_prefix_tokens, or wrap the network in a module "
            "with forward_features(images) -> [B, D, h, w]"
        )
    return tokens[:, prefix:].transpose(1, 2).unflatten(2, (height, width))
