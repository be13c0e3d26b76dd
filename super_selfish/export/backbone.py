"""One call that writes a backbone for other programs, in whichever format.

Beside the file lies `<file>.json`, which says what the file holds: the class of the network, its
number of features, size and channels of the images, what must be done to the images first, code
that builds the network that takes the weights, and versions.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.export.agreement import Rewritten
from super_selfish.export.card import Story
from super_selfish.export.deployable import (
    Deployable,
    exports_programs_to_onnx,
    onnx_bytes,
    torch_export_bytes,
    torchscript_bytes,
)
from super_selfish.export.foreign import REWRITERS
from super_selfish.export.own import own_recipe
from super_selfish.export.sidecar import constants, describe, steps_of
from super_selfish.export.timm_folder import FORMAT as FOLDER
from super_selfish.export.timm_folder import write_timm_folder
from super_selfish.models.copying import copy_module
from super_selfish.models.dry_run import feature_shape
from super_selfish.training.checkpoint import write_atomically

Size = int | tuple[int, int]
_log = logging.getLogger("super_selfish")


class Format(NamedTuple):
    """What a format is for, and what it takes."""

    ending: str
    needs: tuple[str, ...]  # packages that this library does not install by itself
    is_deployable: bool = False  # holds the computation, not the weights alone
    is_folder: bool = False


ONNX_NEEDS = ("onnx", "onnxscript") if exports_programs_to_onnx() else ("onnx",)
FORMATS = {
    "safetensors": Format(".safetensors", ("safetensors",)),
    "state_dict": Format(".pt", ()),
    "torchvision": Format(".pt", ()),
    "timm": Format(".pt", ("timm",)),
    FOLDER: Format("", ("timm", "safetensors"), is_folder=True),
    "efficientnet-pytorch": Format(".pt", ()),
    "torchscript": Format(".pt", (), is_deployable=True),
    "torch.export": Format(".pt2", (), is_deployable=True),
    "onnx": Format(".onnx", ONNX_NEEDS, is_deployable=True),
}
_BY_ENDING = {
    **{".safetensors": "safetensors", ".onnx": "onnx", ".pt2": "torch.export"},
    **{".pt": "state_dict", ".pth": "state_dict"},
}
_EXTRAS = {"timm": "timm"}  # the others are in the extra "export"


def export_backbone(
    backbone: nn.Module,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    image_size: Size,
    in_channels: int = 3,
    preprocess: nn.Module | None = None,
    story: Story | None = None,
) -> Path:
    """Writes a backbone for other programs, and `<file>.json` that describes it.

    | format | read by | the images it eats |
    |---|---|---|
    | `"safetensors"` | `safetensors.torch.load_file`, then `load_state_dict` | as the backbone |
    | `"state_dict"` | `torch.load`, then `load_state_dict` | as the backbone |
    | `"torchvision"` | `load_state_dict` of the network of that library | normalised |
    | `"timm"` | likewise | normalised |
    | `"timm-folder"` | `timm.create_model("local-dir:FOLDER", pretrained=True)` | normalised |
    | `"efficientnet-pytorch"` | likewise | normalised |
    | `"torchscript"` | `torch.jit.load`, C++ | RGB in [0, 1] |
    | `"torch.export"` | `torch.export.load` | RGB in [0, 1] |
    | `"onnx"` | onnxruntime and others | RGB in [0, 1] |

    The last three hold the computation as well, with `preprocess` inside, for any number of images
    of `image_size`: `images [B, C, H, W]` to `features [B, D]`, float32. The others hold weights.

    "build" in `<file>.json` is the code for the network that takes the weights: with the first two
    formats for networks of this library (`build_backbone`'s by name, `NarrowResNet`) and timm's; it
    is null for a class of your own, which the reader must have, and where the file computes itself.

    In the names of another library, `load_state_dict` of that library's network takes the file with
    no key missing and none left over. "build" then builds that network: without classifier
    (`num_classes=0` in timm, `include_top=False` in efficientnet-pytorch, an identity in
    torchvision), with the first layers that networks for small images have here. That network does
    not normalise: it eats `(images - mean) / std`, with "mean" and "std" from `<file>.json` (null
    where there is nothing to do, or where "preprocess" names steps that are no normalisation). That
    of efficientnet-pytorch gives `[B, D, 1, 1]`. Before anything is written, the network is built
    and its features are compared with ours.

    EfficientNets go to efficientnet-pytorch and timm (whose `tf_` networks pad as they do;
    torchvision's do not), torchvision's networks to torchvision, and to timm where it has the same
    network (ResNets), timm's to timm. Weights in an ending `.safetensors` are written so whatever
    their names. All weights are written as float32.

    `"timm-folder"` is a folder of three files, as models on the Hugging Face hub are: `config.json`
    with mean and standard deviation, `model.safetensors`, and `README.md`, a page for people.
    timm alone reads it, so it takes what timm makes by name and arguments: its own networks, and
    those named above that begin as published. `push_to_hub` uploads it.

    Args:
        backbone: Any module from `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`; left as it is.
        path: The file, or the folder. An ending is appended if a file has none of those used here.
        format: One of `FORMATS`. Default: what the ending of the path says.
        image_size: Side, or (height, width) of the images, pixels.
        in_channels: Channels of the images.
        preprocess: Applied to images in [0, 1] before the backbone (`supervisor.preprocess`).
        story: What the page of a folder tells; `supervisor.export_backbone` gives it.

    Returns:
        The file, or the folder.

    Raises:
        ValueError: If there is no such format, the backbone cannot take such images or has weights
            that are not finite, or another library has no network that computes the same; or the
            folder holds files of others.
        ImportError: If the format needs a package that is missing.
    """
    path, format = _destination(Path(os.path.expanduser(path)), format)
    if story is not None and story.evaluation is not None and not FORMATS[format].is_folder:
        raise ValueError(
            f"evaluation= is for the page in a folder, format={FOLDER!r}, and not for {format!r}"
        )
    height, width = (image_size,) * 2 if isinstance(image_size, int) else image_size
    size = (height, width)
    is_safetensors = path.suffix == ".safetensors" and not FORMATS[format].is_deployable
    _require(format, {*FORMATS[format].needs, *(["safetensors"] if is_safetensors else [])})
    # A copy, in which nothing trains: whatever is done here, the backbone stays where it is.
    network = _standalone(backbone)
    _require_finite(network)
    before = nn.Identity() if preprocess is None else _standalone(preprocess)
    features = feature_shape(network, in_channels, size).dim
    if FORMATS[format].is_folder:
        images = _example(in_channels, size)
        return write_timm_folder(
            path, network, images, features, steps_of(before), story or Story()
        )
    description: dict[str, Any] = {
        "format": format,
        **describe(network, features, size, in_channels),
    }
    if FORMATS[format].is_deployable:
        images = _example(in_channels, size)
        content = _DEPLOY[format](Deployable(before, network).eval(), images)
        description |= {"preprocess": [], **constants([]), "build": None}
    else:
        rewritten = _rewrite(network, format, size, in_channels)
        steps = [*steps_of(before), *rewritten.inner_steps]
        description |= {"preprocess": [repr(step) for step in steps], **constants(steps)}
        description["build"] = rewritten.build
        content = _weights(rewritten.state, description if is_safetensors else None)
    first_layers = getattr(network, "first_layers", None)
    if format in REWRITERS and isinstance(first_layers, str):
        _log.warning(
            '%s is for the network that "build" in %s.json builds, and not for the one that %s '
            "publishes: it begins with %s",
            *(path, path.name, format, first_layers),
        )
    write_atomically(path, lambda file: file.write(content))
    text = json.dumps(description, indent=2) + "\n"
    sidecar = path.with_name(path.name + ".json")
    write_atomically(sidecar, lambda file: file.write(text.encode()))
    return path


_DEPLOY = {
    "torchscript": torchscript_bytes,
    "torch.export": torch_export_bytes,
    "onnx": onnx_bytes,
}


def _destination(path: Path, format: str | None) -> tuple[Path, str]:
    if format is None:
        format = _BY_ENDING.get(path.suffix)
        if format is None:
            raise ValueError(
                f"expected a format, or a path that ends in one of {', '.join(_BY_ENDING)}, got "
                f"{str(path)!r}: give format=, one of {', '.join(FORMATS)}"
            )
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if not FORMATS[format].is_folder and path.suffix not in _BY_ENDING:
        path = path.with_name(path.name + FORMATS[format].ending)
    return path, format


def _require(format: str, packages: set[str]) -> None:
    missing = [name for name in sorted(packages) if importlib.util.find_spec(name) is None]
    if missing:
        extra = _EXTRAS.get(missing[0], "export")
        raise ImportError(
            f"the format {format!r} needs {' and '.join(missing)}: "
            f"pip install 'super-selfish[{extra}]'"
        )


def _standalone(module: nn.Module) -> nn.Module:
    alone = copy_module(module).requires_grad_(False).eval()
    # Not channels-last: torch.export warns of such weights, and safetensors does not take them.
    return alone.to("cpu", torch.float32).to(memory_format=torch.contiguous_format)


def _require_finite(network: nn.Module) -> None:
    for name, value in network.state_dict().items():
        if isinstance(value, Tensor) and not torch.isfinite(value).all():
            raise ValueError(f"{name} of the backbone is not finite: did training diverge?")


def _example(in_channels: int, size: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, in_channels, *size, generator=generator)


def _rewrite(network: nn.Module, format: str, size: tuple[int, int], in_channels: int) -> Rewritten:
    if format in REWRITERS:
        return REWRITERS[format](network, _example(in_channels, size))
    recipe = own_recipe(network, _example(in_channels, size))
    return Rewritten(dict(network.state_dict()), [], recipe)


def _weights(state: dict[str, Any], description: dict[str, Any] | None) -> bytes:
    if description is not None:
        from safetensors.torch import save

        for name, value in state.items():
            if not isinstance(value, Tensor):  # `get_extra_state` gives whatever it likes
                raise ValueError(
                    f"safetensors holds tensors alone, and {name} of the backbone is "
                    f'{type(value).__name__}: "state_dict" takes it'
                )
        own = {name: tensor.clone() for name, tensor in state.items()}  # it refuses sharing
        return save(own, {name: json.dumps(value) for name, value in description.items()})
    buffer = io.BytesIO()
    torch.save(copy.deepcopy(state), buffer)
    return buffer.getvalue()
