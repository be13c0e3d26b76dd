"""`teacher=`: a network by name, of a file, or a module, and what it sees of a student's images."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from super_selfish.data.fitting import parse_size
from super_selfish.models import (
    AlexNet,
    EfficientFeatures,
    NarrowResNet,
    TorchvisionFeatures,
    build_backbone,
    build_normalize,
)
from super_selfish.models.backbones import timm_settings
from super_selfish.models.copying import copy_module
from super_selfish.models.fitted_weights import origin_of
from super_selfish.models.fresh import TIMM_ARGUMENTS
from super_selfish.models.normalize import Normalize
from super_selfish.models.teacher import Teacher
from super_selfish.models.transformers import in_whole_patches, own_size, patch_of
from super_selfish.models.wrappers import unwrapped
from super_selfish.supervisors.given_weights import (
    PUBLISHED,
    Weights,
    give_weights,
    published_scaling,
    read_weights,
    stem_for,
)
from super_selfish.supervisors.pretrained import Pretrained
from super_selfish.supervisors.stored import empty_for
from super_selfish.training.checkpoint import RUN, has_checkpoint
from super_selfish.training.counting import plural
from super_selfish.training.plain import plain_setting

Given = nn.Module | str | os.PathLike[str] | None
Size = tuple[int, int]

# Whom nobody names. ViT-S/14 of DINOv2 (Oquab et al., 2023, arXiv 2304.07193), Apache-2.0.
DEFAULT_TEACHER = "timm/vit_small_patch14_dinov2.lvd142m"
DEFAULT_FEATURES = (384, 384)  # those of its vectors and of its maps
PUBLISHED_SIDE = 224  # pixels of the shorter side that networks by name see
_OF_FILES = (".safetensors", ".pt", ".pth")
_BUILDERS: Mapping[str, Any] = {
    kind.__name__: kind for kind in (AlexNet, EfficientFeatures, NarrowResNet, TorchvisionFeatures)
}
# What the line that builds a network of timm may say of it, and nothing else.
_OF_TIMM = frozenset(
    {
        *("num_classes", "in_chans", "img_size", "patch_size", "dynamic_img_size"),
        *("global_pool", "fc_norm"),
    }
)


def default_teacher(in_channels: int, image_size: Size) -> Teacher:
    """The teacher where nobody names one: DINOv2's smallest, with its published weights.

    Args:
        in_channels: Channels of the student's images.
        image_size: Their height and width.

    Raises:
        ImportError: If timm is missing.
        ConnectionError: If its weights cannot be fetched.
    """
    try:
        return _by_name(DEFAULT_TEACHER, None, image_size)
    except ConnectionError as error:
        raise ConnectionError(
            f"{error}; teacher= takes any other network, and a run that goes on wants the one that "
            "it had"
        ) from error


def find_teacher(given: Given, weights: Weights, in_channels: int, image_size: Size) -> Teacher:
    """The teacher that an argument means.

    Args:
        given: A module, of which a copy is made; a supervisor, whose backbone teaches; the name of
            a network, which gets its published weights; the path of a checkpoint, of the folder of
            a run of `pretrain`, or of an exported backbone; a `Teacher`, which is taken as it is;
            or None for the default.
        weights: A file, for a network by name.
        in_channels: Channels of the student's images.
        image_size: Their height and width.

    Returns:
        A teacher that has not been told yet what it sees.

    Raises:
        ValueError: If there is no such network, or the file is none that can be built from.
        TypeError: If it is none of these.
        FileNotFoundError: If there is no such file.
        ConnectionError: If published weights cannot be fetched.
        ImportError: If a package is missing.
    """
    is_name = isinstance(given, str) and not _is_place(given)
    if weights is not None and not is_name:
        raise ValueError(
            "teacher_weights= are those of a teacher by name, such as "
            f'teacher="{DEFAULT_TEACHER}": leave them out'
        )
    if given is None:
        return default_teacher(in_channels, image_size)
    if isinstance(given, Teacher):
        return given
    if isinstance(given, nn.Module):
        return _of_supervisor(given) if isinstance(given, Pretrained) else _of_module(given)
    if not isinstance(given, str | os.PathLike):
        raise TypeError(
            "teacher is a module, a name such as "
            f'"{DEFAULT_TEACHER}", or the path of a file, got {type(given).__name__}'
        )
    if is_name:
        return _by_name(str(given), weights, image_size)
    return _of_file(Path(os.path.expanduser(given)))


def channels_for(teacher: Teacher, given: tuple[int, ...] | None, in_channels: int) -> Any:
    """Which channels of a student's images a teacher sees.

    Args:
        teacher: Knows how many it eats.
        given: The argument.
        in_channels: Of the images.

    Returns:
        Their numbers; None if it sees all of them as they are.

    Raises:
        ValueError: If there are no such channels, more or fewer than it eats, or it does not follow
            from their number which ones.
    """
    wanted = teacher.in_channels
    if given is None:
        if wanted == in_channels:
            return None
        if in_channels == 1:
            return (0,) * wanted  # gray in each of its colours
        raise ValueError(
            f"the teacher sees {plural(wanted, 'channel')} and the images have {in_channels}: say "
            "which, counted from 0, as "
            f"teacher_channels={tuple(range(min(wanted, in_channels)))}"
        )
    if len(given) != wanted:
        raise ValueError(
            f"teacher_channels must name {plural(wanted, 'channel')} of the images, as the teacher "
            f"sees so many, got {len(given)}"
        )
    return given


def check_channels(given: Any, in_channels: int) -> None:
    """Refuses channels that images do not have.

    Args:
        given: The argument: numbers in a sequence, an array or a tensor, or None.
        in_channels: Of the images.

    Raises:
        ValueError: If one is no number of a channel.
    """
    if given is None:
        return
    given = plain_setting(given)
    if not isinstance(given, tuple) or not given or not all(type(c) is int for c in given):
        raise ValueError(
            f"teacher_channels must be whole numbers, such as (3, 2, 1), got {given!r}"
        )
    if not all(0 <= channel < in_channels for channel in given):
        raise ValueError(
            f"teacher_channels must be from 0 to {in_channels - 1}, as the images have "
            f"{in_channels} channels, got {tuple(given)}"
        )


def size_for(teacher: Teacher, given: int | Size | None, image_size: Size) -> Size:
    """At which size a teacher sees images: the given one, or its own, or else theirs."""
    if given is not None:
        return parse_size(given, "teacher_size")
    return image_size if teacher.own_size is None else teacher.own_size


def scaling_for(teacher: Teacher, given: Any) -> nn.Module | None:
    """What is done to a teacher's channels first; None leaves that to what it has.

    Args:
        teacher: Knows its own.
        given: The argument, as for `build_normalize`.

    Raises:
        ValueError: If it does not fit the channels.
        TypeError: If it is no such argument.
    """
    if given is not None:
        return build_normalize(given, teacher.in_channels)
    if teacher.scaling is not None:
        return Normalize(*teacher.scaling)
    return None


def _is_place(given: str) -> bool:
    """Whether a word is the path of a file rather than the name of a network."""
    if given.startswith("timm/"):
        return False
    is_stored = has_checkpoint(given) or has_checkpoint(Path(given) / RUN)
    return given.endswith(_OF_FILES) or os.sep in given or is_stored


def _by_name(name: str, weights: Weights, image_size: Size) -> Teacher:
    shorter = PUBLISHED_SIDE / min(image_size)
    size = (round(image_size[0] * shorter), round(image_size[1] * shorter))
    stem = stem_for(PUBLISHED, name, "auto")
    if name.startswith("timm/"):
        size, stem = _patched(name, size)
    network = build_backbone(name, 3, size, stem, size_name="teacher_size")
    give_weights(network, PUBLISHED if weights is None else weights, "teacher_weights")
    return Teacher(network, name, 3, own_size=size, scaling=published_scaling(network, 3))


def _patched(name: str, size: Size) -> tuple[Size, str]:
    """A size in whole patches of a network of timm, and the stem by which it is as published.

    Args:
        name: `"timm/..."`.
        size: (height, width), pixels.

    Raises:
        ImportError: If timm is missing.
        ValueError: If it knows no such network or weights.
    """
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"the teacher {name!r} needs timm: pip install timm") from error
    settings = timm_settings(name)
    if settings is None or not settings.fixed_input_size:
        return size, "auto"
    with torch.device("meta"):
        outline: nn.Module = timm.create_model(name.removeprefix("timm/"), pretrained=False)
    has_choice = patch_of(outline) is not None and hasattr(outline, "dynamic_img_size")
    return in_whole_patches(outline, size), "imagenet" if has_choice else "auto"


def _of_supervisor(supervisor: Pretrained) -> Teacher:
    network = copy_module(supervisor.get_backbone())
    return Teacher(
        network,
        f"the {type(unwrapped(network)).__name__} of a {type(supervisor).__name__}",
        supervisor.in_channels,
        own_size=supervisor.image_size,
        preprocess=copy_module(supervisor.preprocess),
    )


def _of_module(module: nn.Module) -> Teacher:
    network = copy_module(module)
    inside: Any = unwrapped(network)
    channels = _eaten(inside)
    scaling = None
    is_published = TIMM_ARGUMENTS not in vars(inside) or origin_of(inside) is not None
    if getattr(inside, "pretrained_cfg", None) and is_published:
        scaling = published_scaling(inside, channels)
    return Teacher(
        network, type(inside).__name__, channels, own_size=own_size(network), scaling=scaling
    )


def _eaten(network: nn.Module) -> int:
    """Channels that a network eats: those of its first convolution, or 3."""
    own = getattr(network, "in_channels", None)
    if isinstance(own, int):
        return own
    first = next((part for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


def _of_file(path: Path) -> Teacher:
    if path.suffix in _OF_FILES and path.is_file():
        described = path.with_name(path.name + ".json")
        if path.suffix == ".safetensors" or described.is_file():
            return _of_export(path, described)
    name = path.with_suffix("") if path.suffix == ".pt" else path
    if has_checkpoint(path / RUN):
        name = path / RUN
    if not has_checkpoint(name):
        raise FileNotFoundError(
            f"teacher={str(path)!r}: there is no such file, no checkpoint of this name, and no "
            f'network is called so; a network by name is "{DEFAULT_TEACHER}", or "resnet50"'
        )
    return _of_checkpoint(name)


def _of_checkpoint(name: Path) -> Teacher:
    empty = empty_for(name, "load it, and give it as teacher= itself")
    try:
        teacher = _of_supervisor(empty.load(name))
    except ValueError as error:
        raise ValueError(f"{error}; or load it, and give it as teacher= itself") from error
    teacher.name = f"{teacher.name} at {name}"
    return teacher


def _of_export(path: Path, described: Path) -> Teacher:
    if not described.is_file():
        raise FileNotFoundError(
            f"teacher={str(path)!r} has no {described.name} beside it, which says what network "
            "its weights are of: export_backbone() writes both. Weights of a network by name are "
            'teacher="timm/...", teacher_weights="..."'
        )
    said = json.loads(described.read_text(encoding="utf-8"))
    network = _built(said.get("build"), path)
    tensors = read_weights(path, "teacher")
    wanted = network.state_dict()
    if {k: v.shape for k, v in wanted.items()} != {k: v.shape for k, v in tensors.items()}:
        raise ValueError(
            f"the weights in {path} are not those of the network that {described.name} builds: "
            'export_backbone(format="safetensors") writes what can be read again'
        )
    network.load_state_dict(tensors)
    height, width = said["image_size"]
    scaling = (said["mean"], said["std"]) if said.get("mean") else None
    if said.get("preprocess") and scaling is None:
        raise ValueError(
            f"{path} wants its images {', '.join(said['preprocess'])}, which no file can do: load "
            "its supervisor, and give that as teacher="
        )
    return Teacher(
        network,
        f"the {said['class']} in {path}",
        int(said["in_channels"]),
        own_size=(int(height), int(width)),
        scaling=scaling,
    )


def _built(code: Any, path: Path) -> nn.Module:
    """The network of an exported file, by the line that says how; no code is run for it.

    Args:
        code: An import, and a call of a class of ours or of `timm.create_model`, with literals.
        path: The file, for messages.

    Raises:
        ValueError: If it is anything else.
        ImportError: If timm is missing.
    """
    wrong = ValueError(
        f"{path} does not say how to build its network (a class of your own?): build it, load the "
        "weights, and give the module as teacher="
    )
    if not isinstance(code, str):
        raise wrong
    try:
        _, line = ast.parse(code).body
        call = line.value  # type: ignore[attr-defined]
        name = ast.unparse(call.func)
        placed = [ast.literal_eval(each) for each in call.args]
        named = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
    except (SyntaxError, ValueError, AttributeError, TypeError) as error:
        raise wrong from error
    if name in _BUILDERS and not placed:
        built: nn.Module = _BUILDERS[name](**named)
        return built
    if name != "timm.create_model" or not named.keys() <= _OF_TIMM or len(placed) != 1:
        raise wrong
    import timm

    network: nn.Module = timm.create_model(str(placed[0]), pretrained=False, **named)
    return network
