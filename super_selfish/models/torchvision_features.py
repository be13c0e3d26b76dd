"""torchvision's classification networks as backbones: without classifier, for any image size.

Shapes: `B` images, `C, H, W` image, `D` features, `h, w` map.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.models.dry_run import feature_shape
from super_selfish.models.stems import refuse_stem, resnet_stem

# Children of torchvision's networks from which on there is no map any more.
_AFTER_THE_MAP = ("avgpool", "classifier", "fc", "head", "flatten", "dropout")
_CLASSIFIERS = ("classifier", "fc", "head")
# Built for one image size; timm has versions that are not.
_FIXED_SIZE = ("vit_", "maxvit_")


class TorchvisionFeatures(nn.Module):
    """A torchvision classification network without its classifier, drawn at random.

    Attributes:
        name: What torchvision calls the network.
        network: torchvision's network under its own parameter names (its published weights load
            there with `strict=False`); its classifier is the identity.
        num_features: `D`.
        stem: How it begins: `"imagenet"`, `"medium"` or `"small"`.
        first_layers: The same in words, where that is not as published; else None.
    """

    first_layers: str | None

    def __init__(
        self,
        name: str,
        in_channels: int = 3,
        image_size: tuple[int, int] = (224, 224),
        stem: str = "auto",
    ) -> None:
        """Builds the network.

        ResNets for small images follow METHODS.md 1.5, R1.

        Args:
            name: One of `torchvision_names()`.
            in_channels: Channels of the images; the first convolution is drawn for them.
            image_size: Height and width of the images, pixels.
            stem: How a ResNet begins: `"imagenet"` as published (7x7 convolution of stride 2,
                max-pool), `"medium"` with a 3x3 convolution of stride 1 and the max-pool, `"small"`
                without the max-pool. `"auto"`: the last up to 64 pixels, `"medium"` below 128.
                Other networks are as published.

        Raises:
            ValueError: If there is no such network or it cannot take such images, or has no such
                stem.
        """
        super().__init__()
        if name not in torchvision_names():
            raise ValueError(f"torchvision has no classification network {name!r} of any size")
        self.name = name
        self._arguments: dict[str, Any] = {
            "name": name,
            "in_channels": in_channels,
            "image_size": image_size,
            "stem": stem,
        }
        self.network = _build(name)
        _remove_classifier(self.network)
        self.stem, self.first_layers = "imagenet", None
        if not _is_resnet(self.network):
            refuse_stem(stem if stem != "imagenet" else "auto", name)
        elif (chosen := resnet_stem(stem, image_size)) != "imagenet":
            self.stem = chosen
            width = self.network.conv1.out_channels
            self.network.conv1 = _drawn(nn.Conv2d(3, width, 3, stride=1, padding=1, bias=False))
            self.first_layers = "a 3x3 convolution of stride 1"
            if chosen == "small":
                self.network.maxpool = nn.Identity()
                self.first_layers += " and no pooling"
        if in_channels != 3:
            _adapt_first_convolution(self.network, in_channels)
        self._rectify = name.startswith("densenet")  # its last ReLU is a function
        self.num_features = feature_shape(self, in_channels, image_size, of_map=True).dim

    def forward_features(self, images: Tensor) -> Tensor:
        """The last map: `[B, C, H, W]` to `[B, D, h, w]`."""
        x = images
        for name, child in self.network.named_children():
            if name in _AFTER_THE_MAP:
                break
            x = child(x)
        return F.relu(x) if self._rectify else x

    def forward(self, images: Tensor) -> Tensor:
        """Features averaged over space: `[B, C, H, W]` to `[B, D]`."""
        return self.forward_features(images).mean(dim=(2, 3))

    def reset_parameters(self) -> None:
        """Draws the network anew, as torchvision does."""
        fresh = type(self)(**self._arguments)
        self.load_state_dict(fresh.state_dict())


def torchvision_names() -> list[str]:
    """Names of torchvision's classification networks that take images of many sizes."""
    from torchvision import models

    return [name for name in models.list_models(models) if not name.startswith(_FIXED_SIZE)]


def _build(name: str) -> Any:
    from torchvision import models

    # These two have classifiers half-way and warn if the initialisation is not chosen.
    inception = name in ("googlenet", "inception_v3")
    options = {"aux_logits": False, "init_weights": True} if inception else {}
    return models.get_model(name, weights=None, **options)


def _is_resnet(network: nn.Module) -> bool:
    from torchvision.models import ResNet

    return isinstance(network, ResNet)


def _remove_classifier(network: nn.Module) -> None:
    for name in _CLASSIFIERS:
        if hasattr(network, name):
            setattr(network, name, nn.Identity())


def _adapt_first_convolution(network: nn.Module, in_channels: int) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            adapted = nn.Conv2d(
                in_channels,
                module.out_channels,
                module.kernel_size,  # type: ignore[arg-type]
                module.stride,  # type: ignore[arg-type]
                padding=module.padding,  # type: ignore[arg-type]
                bias=module.bias is not None,
            )
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, _drawn(adapted))
            return


def _drawn(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as in torchvision
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
