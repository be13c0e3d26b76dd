"""`weights=`: what a backbone begins with instead of random numbers."""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.models import EfficientFeatures, TorchvisionFeatures
from super_selfish.models.fitted_weights import flat_tensors, origin_of, resized_by_timm, take
from super_selfish.models.fresh import TIMM_ARGUMENTS
from super_selfish.models.torchvision_features import torchvision_names
from super_selfish.models.wrappers import unwrapped
from super_selfish.training.archive import read_archive

PUBLISHED = "imagenet"
Weights = str | os.PathLike[str] | None

_log = logging.getLogger("super_selfish")


def stem_for(weights: Weights, backbone: Any, stem: str) -> str:
    """The stem that is meant by "auto" where published weights shall fit it.

    Args:
        weights: The argument.
        backbone: The argument.
        stem: The argument.
    """
    needs_its_own = isinstance(backbone, str) and backbone in torchvision_names()
    return "imagenet" if weights == PUBLISHED and stem == "auto" and needs_its_own else stem


def give_weights(network: nn.Module, weights: Weights, argument: str = "weights") -> None:
    """Has a backbone begin with published weights or those of a file, and says what did not fit.

    Args:
        network: Gets them; if it has them already, nothing is done.
        weights: `"imagenet"`, or the path of a file; None for nothing.
        argument: What it is called where it was given, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        IsADirectoryError: If it is a folder.
        ConnectionError: If published weights cannot be fetched.
        ValueError: If there are no published ones, the file cannot be read or belongs to another
            network.
        ImportError: If the file needs a package that is missing.
        TypeError: If it is neither a word nor a path.
    """
    if weights is None:
        return
    if not isinstance(weights, str | os.PathLike):
        raise TypeError(
            f'{argument} is "{PUBLISHED}", the path of a file or None, got {type(weights).__name__}'
        )
    if weights == PUBLISHED:
        origin = "its published weights"
        if origin_of(network) != origin:
            _log.warning("%s", take(network, _published(network, argument), origin))
        return
    path = Path(weights).expanduser()
    origin = f"the weights of {path}"
    if origin_of(network) != origin:
        tensors = resized_by_timm(network, read_weights(path, argument))
        _log.warning("%s", take(network, tensors, origin))


def read_weights(path: Path, argument: str = "weights") -> dict[str, Tensor]:
    """The tensors of a file, by the names that they have there.

    Args:
        path: `.safetensors`, or what `torch.save` wrote: a `state_dict` of any library, or a
            mapping with one. No code in it is run.
        argument: By which it was given, for messages.

    Raises:
        IsADirectoryError: If it is a folder.
        FileNotFoundError: If there is none.
        ValueError: If it cannot be read, or has no tensors.
        ImportError: If safetensors is missing.
    """
    if path.is_dir():
        raise IsADirectoryError(
            f"{argument}={str(path)!r} is a folder: name the file of weights in it, such as "
            f"{_file_in(path)}"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f'{argument}={str(path)!r}: there is no such file; "{PUBLISHED}" takes published '
            "weights"
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    found = flat_tensors(_read_pickled(path))
    if not found:
        raise ValueError(f"{path} holds no weights by name, as state_dict() gives them")
    return found


def _file_in(folder: Path) -> Path:
    """A file of weights in a folder, or one that could be there."""
    found = [file for ending in ("safetensors", "pt", "pth") for file in folder.glob(f"*.{ending}")]
    return min(found, default=folder / "backbone.safetensors")


def published_scaling(
    network: nn.Module, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation of images with which published weights were trained.

    Args:
        network: A backbone by name.
        channels: Of the images; other than three get the average of three.

    Returns:
        A pair of one number per channel; None for EfficientNets, which normalise inside.
    """
    if isinstance(unwrapped(network), EfficientFeatures):
        return None
    settings: Any = getattr(unwrapped(network), "pretrained_cfg", None) or {}
    mean = tuple(settings.get("mean") or (0.485, 0.456, 0.406))
    std = tuple(settings.get("std") or (0.229, 0.224, 0.225))
    if channels == len(mean):
        return mean, std
    return (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(f"{path} needs safetensors: pip install safetensors") from error
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _read_pickled(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        return read_archive(path)
    try:  # as torch wrote before 1.6
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as weights: {error}") from error


def _published(network: nn.Module, argument: str) -> Mapping[str, Tensor]:
    inside = unwrapped(network)
    arguments = vars(inside).get(TIMM_ARGUMENTS)
    name = arguments["model_name"] if arguments else getattr(inside, "name", None)
    try:
        if arguments is not None:
            import timm

            given = {**arguments, "in_chans": 3, "pretrained": True}
            return timm.create_model(**given).state_dict()
        if isinstance(inside, TorchvisionFeatures):
            from torchvision import models

            return models.get_model(inside.name, weights="DEFAULT").state_dict()
        if isinstance(inside, EfficientFeatures):
            from efficientnet_pytorch import EfficientNet

            return EfficientNet.from_pretrained(inside.name).state_dict()
    except OSError as error:
        raise ConnectionError(
            f"the published weights of {name} could not be fetched: "
            f"{str(error).rstrip('. ')}. On a machine without a network, {argument}= takes the "
            "path of their file"
        ) from error
    except RuntimeError as error:
        raise ValueError(f"{name} has no published weights: {error}") from error
    raise ValueError(
        f'{argument}="{PUBLISHED}" is for networks by name of timm, torchvision and '
        f"efficientnet-pytorch; {type(inside).__name__} has no published weights: give a file"
    )
