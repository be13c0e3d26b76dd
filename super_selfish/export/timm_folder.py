"""A folder that timm reads by itself: `timm.create_model("local-dir:FOLDER", pretrained=True)`.

It holds `config.json`, `model.safetensors` and `README.md`, as a model on the Hugging Face hub does
(`hf-hub:OWNER/NAME`). What timm makes of it is compared with the backbone before it is there.

Shapes: `B` images, `C, H, W` image, `D` features.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from super_selfish.export.agreement import Rewritten, TimmCall, features_agree, refuse
from super_selfish.export.card import Story, model_card
from super_selfish.export.foreign import in_names_of_timm
from super_selfish.export.sidecar import constants
from super_selfish.models.combined_net import pooled_features
from super_selfish.training.atomic import write_atomically

FORMAT = "timm-folder"
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_FILES = (WEIGHTS, CONFIG, CARD)  # in which order they are put there
_BY_NAME = 'a backbone by a name of timm\'s, such as "timm/resnet18", goes into a folder'


def write_timm_folder(
    folder: Path,
    backbone: nn.Module,
    images: Tensor,
    num_features: int,
    steps: Sequence[nn.Module],
    story: Story,
) -> Path:
    """Writes the three files.

    Args:
        folder: Is made; one that holds other files than these is refused.
        backbone: In eval mode, on the CPU, float32, its weights contiguous.
        images: `[B, C, H, W]`, random ones, of the size that the network shall take.
        num_features: `D`.
        steps: What is done to images in [0, 1] before the backbone.
        story: For the page.

    Returns:
        The folder.

    Raises:
        ValueError: If timm does not make this network by name and arguments alone, or no mean and
            standard deviation say what is done to images; or the folder holds other files.
        ImportError: If this timm is too old to read folders.
    """
    _require_place(folder)
    require_local_dir()
    rewritten = _rewritten(backbone, images)
    assert rewritten.by_timm is not None  # noqa: S101  # refused above
    inside = [*steps, *rewritten.inner_steps]
    fed = constants(inside)
    if inside and fed["mean"] is None:
        names = ", ".join(type(step).__name__ for step in inside)
        refuse(backbone, FORMAT, f"timm normalises images, and does nothing else to them ({names})")
    config = _config(rewritten.by_timm, backbone, images, num_features, fed)
    from safetensors.torch import save

    # Shared weights are written twice: safetensors refuses to.
    weights = save({name: tensor.clone() for name, tensor in rewritten.state.items()})
    folder.parent.mkdir(parents=True, exist_ok=True)
    contents = {
        WEIGHTS: weights,
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
        CARD: model_card(config, story, f"local-dir:{folder.resolve().name}").encode(),
    }
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".timm-folder-") as place:
        for name in (WEIGHTS, CONFIG):
            Path(place, name).write_bytes(contents[name])
        _require_read_alike(Path(place), backbone, images, rewritten)
    for name in _FILES:
        write_atomically(folder / name, partial(_write, contents[name]))
    return folder


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def is_timm_folder(folder: Path) -> bool:
    """Whether a folder has what timm reads."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def require_local_dir() -> None:
    """Refuses a timm that does not know the word `local-dir:`.

    Raises:
        ImportError: If it is older than 1.0.16.
    """
    found = metadata.version("timm")
    if tuple(map(int, re.findall(r"\d+", found)[:3])) < (1, 0, 16):
        raise ImportError(
            f"timm {found} reads no folders, 1.0.16 does: pip install --upgrade timm; or "
            'format="timm" writes weights alone'
        )


def _require_place(folder: Path) -> None:
    """Refuses a folder in which files of others would be replaced, such as their README.md."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file, and {FORMAT!r} writes a folder: name another one")
    found = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    others = [name for name in found if name not in _FILES]
    if others or (found and not is_timm_folder(folder)):
        raise ValueError(
            f"{folder} holds {(others or found)[0]}, and {FORMAT!r} writes a folder of its own: "
            "name a new one, or one that it has written before"
        )


def _rewritten(backbone: nn.Module, images: Tensor) -> Rewritten:
    """The weights in timm's names, of a network that timm makes as it is."""
    try:
        rewritten = in_names_of_timm(backbone, images)
    except ValueError as error:
        raise ValueError(f"{error}; {_BY_NAME}") from error
    if rewritten.by_timm is not None:
        return rewritten
    first_layers = getattr(backbone, "first_layers", None)
    if isinstance(first_layers, str):
        refuse(
            backbone,
            FORMAT,
            f'it begins with {first_layers}, which timm does not make: stem="imagenet" (or images '
            'of 128 pixels and more) begins as timm does, format="timm" has code that exchanges '
            f"layers, and {_BY_NAME}",
        )
    refuse(backbone, FORMAT, "by its name and arguments timm makes another network; " + _BY_NAME)


def _config(
    call: TimmCall,
    backbone: nn.Module,
    images: Tensor,
    num_features: int,
    fed: Mapping[str, list[float] | None],
) -> dict[str, Any]:
    """What timm reads: the network's name, its arguments, and how images are made ready."""
    import timm

    channels, height, width = images.shape[1:]
    published = timm.models.get_pretrained_cfg(call.name)
    known = {} if published is None else published.to_dict()
    arguments = {name: value for name, value in call.arguments.items() if name != "num_classes"}
    settings = {
        "input_size": [channels, height, width],
        "fixed_input_size": bool(known.get("fixed_input_size", False)),
        # As sources of this library do it: `data/fitting.py`.
        **{"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center"},
        "mean": fed["mean"] or [0.0] * channels,
        "std": fed["std"] or [1.0] * channels,
        "num_classes": 0,
        "classifier": known.get("classifier"),  # which is drawn, where someone wants classes
    }
    if channels == 3:
        # timm brings it to the channels that a reader asks for; of others older ones make noise.
        settings["first_conv"] = known.get("first_conv")
    return {
        "architecture": call.name,
        "num_classes": 0,
        "num_features": num_features,
        "model_args": arguments,
        "pretrained_cfg": settings,
    }


def _require_read_alike(
    folder: Path, backbone: nn.Module, images: Tensor, rewritten: Rewritten
) -> None:
    """Refuses what timm reads as another network than the backbone.

    Raises:
        ValueError: If its weights or its features differ.
    """
    import timm

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = timm.create_model(f"local-dir:{os.fspath(folder)}", pretrained=True).eval()
        inner = nn.Sequential(*rewritten.inner_steps)
        found = pooled_features(network, inner(images))
        expected = pooled_features(backbone, images)
    read = network.state_dict()
    is_whole = read.keys() == rewritten.state.keys() and all(
        torch.equal(read[name], tensor) for name, tensor in rewritten.state.items()
    )
    if not is_whole or not features_agree(found, expected):
        refuse(backbone, FORMAT, "what timm makes of the files gives other features")
