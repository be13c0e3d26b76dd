"""Functions of others, torchvision's transforms before all, as augmentations.

They draw from torch's global stream, an `Augmentation` from a generator that it is given. So here
seeds are drawn, one for each sample; the global stream is set to them while the function runs, and
put back afterwards. What a function draws from elsewhere (Python's `random`, NumPy) is not in our
hands: such views are not those of a run that is repeated or goes on.

Shapes: `B` samples, `C, H, W` image.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation, Shape, to_unit_range

_LARGEST_SEED = 2**62

# Of torchvision: what they do is the same for every image, or decided by their parts.
_SAME_FOR_ALL = frozenset(
    {"CenterCrop", "Compose", "ConvertImageDtype", "Grayscale", "Identity", "PILToTensor", "Pad"}
    | {"RGB", "Resize", "Sequential", "ToDtype", "ToImage", "ToPureTensor"}
)


class FromFunction(Augmentation):
    """A function of a batch, such as kornia's, as an augmentation.

    Nothing of it is compiled by `supervise(compile_augmentation=True)`.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Any],
        *,
        batched: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Takes the function.

        Args:
            function: From images to their views, with values in [0, 1], or whole numbers in
                0 ... 255 where they are uint8. What it draws, it draws from torch's global stream.
            batched: Whether it takes `[B, C, H, W]` and draws for each image by itself; else it is
                called with one `[C, H, W]` at a time.
            dtype: What it gets: `torch.float32` in [0, 1], or `torch.uint8`, to which images of
                more bits are rounded.

        Raises:
            TypeError: If the function cannot be called.
            ValueError: If there is no such `dtype`.
        """
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"an augmentation is a function or an object, got {function!r}")
        if dtype not in (torch.float32, torch.uint8):
            raise ValueError(f"dtype is torch.float32 or torch.uint8, got {dtype}")
        self.function = function
        self.batched = batched
        self.dtype = dtype

    def draw(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """Draws a seed for each sample, `[B]`, int64."""
        return torch.randint(_LARGEST_SEED, (shape[0],), generator=generator)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Calls the function, on all images with the first seed or on each with its own.

        Raises:
            TypeError: If it refuses what it gets, or gives no image.
            ValueError: If the views are not of one size.
        """
        if len(images) == 0:
            return images.new_zeros(self.output_shape(_shape_of(images)), dtype=torch.float32)
        given = to_unit_range(images)
        if self.dtype == torch.uint8:
            given = (given * 255.0).round_().to(torch.uint8)
        elif given is images:
            given = images.clone()  # the function may work in place
        seeds = parameters.tolist()
        device = images.device
        with _streams_put_back(device):
            if self.batched:
                return self._view(given, seeds[0], device)
            views = [self._view(*pair, device) for pair in zip(given, seeds, strict=True)]
        sizes = sorted({tuple(view.shape) for view in views})
        if len(sizes) > 1:
            raise ValueError(
                f"the views of one batch must be of one size, got {[*sizes[0]]} and "
                f"{[*sizes[-1]]}: end with Resize or RandomResizedCrop"
            )
        return torch.stack(views)

    def output_shape(self, shape: Shape) -> Shape:
        """What the function makes of black images of the shape."""
        known = _OUTPUTS.setdefault(self, {})
        key = tuple(shape[1:])
        if key not in known:
            view = self.apply(torch.zeros(1, *key), torch.zeros(1, dtype=torch.int64))
            known[key] = tuple(view.shape[1:])
        channels, height, width = known[key]
        return (shape[0], channels, height, width)

    def _view(self, given: Tensor, seed: int, device: torch.device) -> Tensor:
        """Calls the function once: `[B, C, H, W]`, or `[C, H, W]`; float in [0, 1]."""
        _set_streams(seed, device)
        try:
            view = self.function(given)
        except TypeError as error:
            raise TypeError(
                f"{_named(self.function)} refuses {given.dtype} {[*given.shape]}: {error} "
                f"({type(self).__name__}(..., dtype=torch.uint8) gives it whole numbers)"
            ) from error
        is_tensor = isinstance(view, Tensor)
        if not is_tensor or view.ndim != given.ndim or view.shape[:-3] != given.shape[:-3]:
            what = f"a tensor {[*view.shape]}" if is_tensor else f"a {type(view).__name__}"
            raise TypeError(
                f"{_named(self.function)} must make tensors {[*given.shape]} (height and width may "
                f"differ), got {what}"
            )
        view = to_unit_range(view.as_subclass(Tensor).to(device))
        return view.clamp(0.0, 1.0)  # cubic interpolation overshoots


# Shapes that functions make of others. No attribute, so that an object is told as when it was new.
_OUTPUTS: WeakKeyDictionary[FromFunction, dict[tuple[int, ...], tuple[int, ...]]] = (
    WeakKeyDictionary()
)


class FromTorchvision(FromFunction):
    """Transforms of torchvision (v2, or those of v1 that take tensors) as an augmentation.

    A transform of torchvision draws once, whatever it is given, so a batch goes through image by
    image, unless everything in it is known to draw nothing. On a GPU that is many small kernels:
    what this package has of its own is faster by far.
    """

    def __init__(
        self,
        transforms: Callable[[Any], Any] | Sequence[Callable[[Any], Any]],
        *,
        batched: bool | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Takes the transforms.

        Args:
            transforms: One, such as a `v2.Compose`, or several, one after the other. Without
                `Normalize`: the supervisor's `normalize=` does it, and the checkpoint keeps it.
            batched: Whether a batch goes through at once. Default: if no part draws anything.
                `True` gives all images of a batch the same draws.
            dtype: What the transforms get: `torch.float32` in [0, 1], or `torch.uint8`, which those
                want that count in 0 ... 255 (`RandomSolarize(128)`, `JPEG`); images of more bits
                are rounded to it.

        Raises:
            TypeError: If one cannot be called.
            ValueError: If one normalises, or makes tensors of PIL images alone.
        """
        chain = tuple(transforms) if isinstance(transforms, Sequence) else (transforms,)
        parts = [part for transform in chain for part in _parts_of(transform)]
        _refuse_parts({type(part).__name__: type(part).__module__ for part in parts})
        self.transforms = chain[0] if len(chain) == 1 else chain
        if batched is None:
            batched = all(_is_same_for_all(part) for part in parts)
        function = chain[0] if len(chain) == 1 else _Chain(chain)
        super().__init__(function, batched=batched, dtype=dtype)


class _Chain:
    """Transforms one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


def adapted(augmentation: Augmentation | Callable[[Any], Any]) -> Augmentation:
    """An augmentation as it is, what torchvision made, or a function of a batch, as one.

    Args:
        augmentation: Any of the three.

    Raises:
        TypeError: If it cannot be called, or is a class.
        ValueError: If it normalises.
    """
    if isinstance(augmentation, Augmentation):
        return augmentation
    if any(_is_of_torchvision(kind) for kind in type(augmentation).__mro__):
        return FromTorchvision(augmentation)
    return FromFunction(augmentation)


def _is_of_torchvision(kind: type) -> bool:
    return kind.__module__.startswith("torchvision.transforms")


def _is_same_for_all(part: object) -> bool:
    kind = type(part)
    is_known = _is_of_torchvision(kind) or kind is nn.Sequential
    return is_known and kind.__name__ in _SAME_FOR_ALL


def _refuse_parts(modules: Mapping[str, str]) -> None:
    """Refuses, by the names of classes, what has no place between a dataset and a network here."""
    if "Normalize" in modules:
        raise ValueError(
            "leave Normalize out of the augmentation: views stay in [0, 1], and normalize="
            '"imagenet" or (mean, std) on the supervisor brings them to what the backbone wants; '
            "the checkpoint keeps it"
        )
    is_first_version = modules.get("ToTensor") == "torchvision.transforms.transforms"
    if is_first_version and "ToPILImage" not in modules:
        raise ValueError(
            "leave ToTensor out of the augmentation: it gets tensors, float in [0, 1], and the "
            "ToTensor of torchvision's first transforms takes none"
        )


def _parts_of(transform: Any) -> Iterator[Any]:
    """A transform, and all that it holds."""
    yield transform
    held = list(getattr(transform, "transforms", ()))
    if isinstance(transform, nn.Module) and not held:
        held = list(transform.children())
    for inner in held:
        yield from _parts_of(inner)


def _set_streams(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if _has_streams(device.type):
        index = device.index or 0
        torch.get_device_module(device).default_generators[index].manual_seed(seed)


def _named(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _shape_of(images: Tensor) -> Shape:
    batch, channels, height, width = images.shape
    return (batch, channels, height, width)


def _streams_put_back(device: torch.device) -> AbstractContextManager[None]:
    """While entered, draws move torch's streams, of the CPU and where torch can of a device."""
    if _has_streams(device.type):
        return torch.random.fork_rng([device], device_type=device.type)
    return torch.random.fork_rng([])


@functools.cache  # asked for every image
def _has_streams(kind: str) -> bool:
    """Whether a kind of device has streams of its own that torch can put back, each by itself."""
    if kind == "cpu":
        return False
    module: Any = torch.get_device_module(kind)
    takes_one = "device" in inspect.signature(module.get_rng_state).parameters
    return takes_one and hasattr(module, "default_generators")
