"""The page that lies beside weights, `README.md`: what they are, learned from, and worth.

It is made of what is known: whoever writes weights without a run or an evaluation gets a shorter
one. Of paths only the last part is told, since such pages are put where strangers read them.

Shapes: `B` images, `C, H, W` image, `D` features.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_MINUS = "\N{MINUS SIGN}"
_BEFORE_A_PATH = re.compile(r"\w+ in |the checkpoint |the weights of ")
_SETTINGS = {
    "epochs": "epochs",
    "batch_size": "images a step",
    "lr": "learning rate",
    "optimizer": "optimizer",
    "lr_scheduler": "schedule",
    "precision": "precision",
    "seed": "seed",
}


class Story(NamedTuple):
    """What is told of weights.

    Attributes:
        algorithm: Its name.
        uses_labels: Whether it learns from labels.
        options: Its arguments, plain ones.
        provenance: Settings, images, device and versions of the run, as `provenance_of` gives them.
        start: Where the weights are from with which it began, if it did not begin untrained.
        value_range: `(low, high)`, the numbers that are 0 and 1 to the network, where the type of
            images does not say it.
        evaluation: Whether it helped, as `Evaluation.as_dict()` gives it.
    """

    algorithm: str = ""
    uses_labels: bool = False
    options: Mapping[str, Any] = {}  # nobody writes to it
    provenance: Mapping[str, Any] | None = None
    start: str | None = None
    value_range: tuple[Any, Any] | None = None
    evaluation: Mapping[str, Any] | None = None


def model_card(config: Mapping[str, Any], story: Story, place: str) -> str:
    """The page, as the Hugging Face hub and people read it.

    Args:
        config: Of the network, as timm reads it.
        story: What is known besides.
        place: What timm is told to find the network, as `local-dir:backbone`.
    """
    name = config["architecture"]
    how = "trained with labels" if story.uses_labels else f"pretrained by {story.algorithm}"
    by = f", {how}" if story.algorithm else ""
    tags = [*_TAGS, *(["self-supervised-learning"] if by and not story.uses_labels else [])]
    head = "\n".join(["---", *_HEAD, "tags:", *(f"- {tag}" for tag in tags), "---"])
    parts = [head, f"# {name}{by}", _what(config, story), _use(config, story, place)]
    parts += [_training(story), _helped(story.evaluation), _LICENCE]
    return "\n\n".join(part for part in parts if part) + "\n"


_HEAD = ("library_name: timm", "pipeline_tag: image-feature-extraction")
_TAGS = ("timm", "image-feature-extraction")

_LICENCE = (
    "## Licence\n\nNone is named here. Whoever publishes these weights writes `license:` into the "
    "first lines of this file, and heeds that of the images and of the weights that training began "
    "with."
)


def _what(config: Mapping[str, Any], story: Story) -> str:
    channels, height, width = config["pretrained_cfg"]["input_size"]
    learned = f", learned {'with' if story.uses_labels else 'without'} labels"
    learned = learned if story.algorithm else ""
    return (
        f"A network without classifier: from images `[B, {channels}, {height}, {width}]` to "
        f"features `[B, {config['num_features']}]`{learned}. Written by "
        "Super Selfish, a library for self-supervised learning on images; timm reads it."
    )


def _use(config: Mapping[str, Any], story: Story, place: str) -> str:
    settings = config["pretrained_cfg"]
    channels, height, width = settings["input_size"]
    lines = ["import timm", "import torch", ""]
    lines.append(f"network = timm.create_model({json.dumps(place)}, pretrained=True).eval()")
    lines.append(f"images = torch.rand(1, {channels}, {height}, {width})  # yours, in [0, 1]")
    mean, std = settings["mean"], settings["std"]
    fed = "images"
    if any(mean) or set(std) != {1.0}:
        lines.append(f"mean = torch.tensor({mean})[:, None, None]")
        lines.append(f"std = torch.tensor({std})[:, None, None]")
        fed = "(images - mean) / std"
    lines.append(f"features = network({fed})")
    code = "\n".join(lines)
    text = f"## Use\n\n```python\n{code}\n```\n\n"
    text += (
        f"`pretrained=True` is what loads the weights. Images are resized until they cover "
        f"{height}x{width} pixels, and the centre is taken."
    )
    if story.value_range is not None:
        low, high = story.value_range
        text += f" 0 and 1 are the numbers {_number(low)} and {_number(high)} of the images."
    if channels in (1, 3):
        text += (
            " `timm.data.create_transform(**timm.data.resolve_model_data_config(network))` does "
            "all of this to a picture of Pillow's."
        )
    return text


def _training(story: Story) -> str:
    known = story.provenance or {}
    settings = known.get("settings", {})
    rows: dict[str, Any] = {}
    if story.algorithm:
        rows["algorithm"] = story.algorithm
    rows |= {name: value for name, value in story.options.items() if _is_short(value)}
    if story.start is not None:
        rows["began with"] = without_folders(story.start)
    if known.get("dataset"):
        rows["images"] = without_folders(str(known["dataset"]))
    if known.get("num_images"):
        rows["number of images"] = f"{known['num_images']:,}"
    rows |= {told: settings[name] for name, told in _SETTINGS.items() if name in settings}
    for name in ("device", "date"):
        if known.get(name):
            rows[name] = known[name]
    rows |= known.get("versions", {})
    if not rows:
        return ""
    body = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows.items())
    return f"## Training\n\n| | |\n|---|---|\n{body}"


def _helped(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return (
            "## Did it help?\n\nNobody has rated these weights, or not for this page: compare them "
            "with an untrained network on images of your own before you rely on them."
        )
    networks = [name for name in ("pretrained", "start", "untrained") if found.get(name)]
    protocols = list(found["pretrained"])
    lines = [f"| | {' | '.join(protocols)} |", "|---" * (1 + len(protocols)) + "|"]
    for network in networks:
        figures = (f"{100 * found[network][name]:.1f}" for name in protocols)
        lines.append(f"| {network} | {' | '.join(figures)} |")
    for change, row in found["intervals"].items():
        bounds = (_interval(row[name]) for name in protocols)
        lines.append(f"| {change}, 95 % interval | {' | '.join(bounds)} |")
    about = (
        f"{found['metric']} in %; {found['train_images']} training and {found['test_images']} test "
        f"images, {found['classes']} classes, chance {100 * found['chance']:.1f}"
    )
    verdict = "\n".join(f"- {sentence}" for sentence in found["verdict"])
    return "\n\n".join(["## Did it help?", "\n".join(lines), about, verdict]).rstrip()


def _interval(bounds: Sequence[float]) -> str:
    low, high = (f"{100 * bound:+.1f}".replace("-", _MINUS) for bound in bounds)
    return f"[{low}, {high}]"


def without_folders(text: str) -> str:
    """A description without the folders in which a file or folder lies: names of people are there.

    Args:
        text: A path, or a path after words of this library, such as `ImageFolder in /home/jane/a`.
    """
    words = _BEFORE_A_PATH.match(text)
    before = "" if words is None else words[0]
    return before + re.split(r"[\\/]", text[len(before) :].rstrip("\\/"))[-1]


def _is_short(value: Any) -> bool:
    """Whether it fits a cell; a word with a slash may be a path."""
    return isinstance(value, bool | int | float | str) and not re.search(r"[\\/\n]", str(value))


def _number(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(_number, value)) + ")"
    return f"{value:g}"


def _cell(value: Any) -> str:
    """A value in a table: a bar would end the cell, and a line the row."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")
