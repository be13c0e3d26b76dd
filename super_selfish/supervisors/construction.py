"""What a supervisor is built of: its images, its networks, and the arguments that say which."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from super_selfish.data.collate import Collator, LabelCollator
from super_selfish.data.file_reader import Loader
from super_selfish.data.fitting import parse_size
from super_selfish.data.frames import Pages
from super_selfish.data.reading import Reading
from super_selfish.data.value_range import Range
from super_selfish.models import (
    CombinedNet,
    FeatureShape,
    build_backbone,
    build_normalize,
    feature_shape,
)
from super_selfish.models.number_format import require_float32
from super_selfish.models.stems import check_stem, refuse_stem, untold
from super_selfish.models.transformers import own_size
from super_selfish.supervisors.arguments import kind_of
from super_selfish.supervisors.given_weights import (
    PUBLISHED,
    Weights,
    give_weights,
    published_scaling,
    stem_for,
)
from super_selfish.supervisors.image_options import ImageOptions, stored_images
from super_selfish.supervisors.pretrained import Pretrained, Size
from super_selfish.supervisors.refusals import (
    require_counts,
    require_functions,
    warn_of_classifiers,
)
from super_selfish.supervisors.start import Start
from super_selfish.supervisors.streaming import require_index
from super_selfish.training.devices import parse_device
from super_selfish.training.run import Run

DEFAULT_IMAGE_SIZE = 225
Self = TypeVar("Self", bound="Constructed")


class Constructed(Pretrained):
    """Images, and networks for them; `Supervisor` trains these."""

    def __init__(
        self,
        model: nn.Module | None = None,
        dataset: Any = None,
        loss: Callable[..., Tensor] | None = None,
        collate_fn: Collator | Callable[[list[Any]], Any] | None = None,
        *,
        image_size: Size | None = None,
        in_channels: int | None = None,
        stem: str = "auto",
        weights: Weights = None,
        device: torch.device | str | int | None = None,
        on_error: Literal["raise", "skip"] | None = None,
        value_range: Range = None,
        pages: Pages = None,
        loader: Loader | None = None,
    ) -> None:
        """Builds a supervisor.

        Args:
            model: Network to train, usually a `CombinedNet`. Algorithms build their own afterwards.
            dataset: Images, as anything that `ImageSource` takes; not needed to load.
            loss: Function of outputs and targets, for the `_forward` of this class.
            collate_fn: A `Collator`, or a function from a list of the dataset's items to what
                `_forward` eats. Default: images and the dataset's labels.
            image_size: Side or (height, width) in pixels to which images are resized. Default: that
                of the dataset if it is uniform, else 225, or what a transformer was built for.
            in_channels: Channels of the images. Default: those of the dataset, else 3.
            stem: How a backbone begins that is built by name, `"auto"`, `"imagenet"`, `"medium"` or
                `"small"`; see `super_selfish.models.build_backbone`.
            weights: What the backbone begins with, instead of random numbers: `"imagenet"` for the
                published weights of a network by name (of timm those that the name says, so
                `"timm/vit_small_patch14_dinov2.lvd142m"` begins with DINOv2's), or a file,
                `.safetensors` or a `state_dict` of any library. The first convolution is brought
                to the channels of the images; one line says what did not fit. Published weights
                see images normalised as in their training; for those of a file say `normalize=`.
            device: Where the networks are, and train. Default: on the CPU until `supervise()`,
                which trains on an accelerator where torch finds one; of several the first, or with
                `torchrun` that of the process. `.to(device)` and `.cpu()` say it as well.
            on_error: `"raise"` (the default) or `"skip"` where an image cannot be read.
            value_range: Which numbers are black and white, where the type of the images does not
                say it: `(low, high)`, `"percentile"` or `"bits"`. Checkpoints keep it.
            pages: What files of several images hold: `"channels"`, `"frames"`, `"slices"`, or the
                number of the one to read.
            loader: Reads files instead of this library: from a path to a PIL image, an array or a
                tensor. `ImageSource` says more of these four.

        Raises:
            ValueError: If `image_size` or `in_channels` is no such number, there is no such stem
                or device, a stem is chosen for a backbone that is built already, or weights are
                those of another network.
            FileNotFoundError: If `weights` is a file that is not there.
            ConnectionError: If published weights cannot be fetched.
            TypeError: If `loss` cannot be called, or a keyword is none of the constructor's.
        """
        super().__init__()
        self.image_options = ImageOptions(on_error, value_range, pages, loader)
        if image_size is None and in_channels is None:
            image_size, in_channels = stored_images()
        self.source = self.image_options.open(dataset, image_size, in_channels)
        require_index(type(self), self.source)
        self.value_range = self.image_options.known_range(self.source)
        self._awaits_images = self.source is None and image_size is None
        if self.source is not None:
            self.image_size, self.in_channels = self.source.image_size, self.source.in_channels
        else:
            size = self._size_without_images() if image_size is None else image_size
            self.image_size = parse_size(size)
            self.in_channels = 3 if in_channels is None else in_channels
        require_counts(in_channels=self.in_channels)
        require_functions(loss=loss)
        check_stem(stem)
        for name, value in self.arguments.items():
            if isinstance(value, nn.Module):
                require_float32(value, name)
                refuse_stem(stem if name == "backbone" else "auto", f"your {kind_of(value)}")
        self.stem = stem_for(weights, self.arguments.get("backbone"), stem)
        if self.stem != stem:
            self.arguments["stem"] = self.stem
        self.given_weights = weights
        if device is not None:
            parse_device(device)  # before networks are built; they go there once all are
        self._resolve(image_size=self.image_size, in_channels=self.in_channels)
        warn_of_classifiers(model, self.arguments.get("backbone"))
        self.model: Any = model
        self.loss: Any = loss
        self.collate_fn = LabelCollator() if collate_fn is None else collate_fn
        self.run: Run | None = None
        self.epochs_seen = 0
        self.choices: dict[str, Any] = {}
        self.start: Start | None = None
        self._logged: dict[str, Tensor] = {}
        self._reading = Reading()

    def _combine(
        self,
        backbone: nn.Module | str | None,
        predictor: nn.Module | None,
        default: Callable[[FeatureShape], nn.Module],
        normalize: Any = None,
        *,
        of_map: bool = False,
        image_size: tuple[int, int] | None = None,
    ) -> CombinedNet:
        """Backbone and predictor in one network.

        Args:
            backbone: A network, its name, or None for an EfficientNet-B0.
            predictor: A network, or None for the default.
            default: Makes the predictor for the shape that the backbone has at the real image size.
            normalize: None, `"imagenet"`, or `(mean, std)`: done to images before the backbone.
            of_map: Whether the predictor takes the feature map instead of pooled features.
            image_size: Height and width of what the backbone sees, where it sees no whole images.

        Returns:
            The network.
        """
        size = image_size or self.image_size
        backbone = self._build(backbone, size)
        normalize = self._begin(backbone, normalize)
        if predictor is None:
            predictor = default(feature_shape(backbone, self.in_channels, size, of_map=of_map))
        return CombinedNet(backbone, predictor, build_normalize(normalize, self.in_channels))

    def _build(self, backbone: nn.Module | str | None, size: tuple[int, int]) -> nn.Module:
        """The network that `backbone=` means, for images of a size."""
        backbone = self.own_backbone if backbone is None else backbone
        with untold() if self._awaits_images else contextlib.nullcontext():
            return build_backbone(backbone, self.in_channels, size, self._stem_of(backbone))

    def _begin(self, backbone: nn.Module, normalize: Any) -> Any:
        """Gives a backbone the weights of `weights=`; returns how images are normalised for it."""
        give_weights(backbone, self.given_weights)
        if normalize is None and self.given_weights == PUBLISHED and "normalize" in self.arguments:
            normalize = published_scaling(backbone, self.in_channels)
            self._resolve(normalize=normalize)
        return normalize

    def _size_without_images(self) -> Size:
        given = (self.arguments.get(name) for name in ("backbone", "model"))
        sizes = [own_size(network) for network in given if isinstance(network, nn.Module)]
        return next(filter(None, sizes), DEFAULT_IMAGE_SIZE)

    def _stem_of(self, backbone: nn.Module | str | None) -> str:
        """The `stem=` of the constructor, for a network that is not built yet."""
        return "auto" if isinstance(backbone, nn.Module) else self.stem

    def _choose(self, **values: Any) -> None:
        """Notes what arguments that were None came to be, to be told before a run begins.

        Args:
            **values: By argument; what the user gave is left out.
        """
        self.choices.update({k: v for k, v in values.items() if self.arguments.get(k) is None})
        self._resolve(**values)

    def _resolve(self, **values: Any) -> None:
        """Notes what a constructor's argument that was None came to be, for the checkpoint."""
        self.arguments.update((k, v) for k, v in values.items() if k in self.arguments)
