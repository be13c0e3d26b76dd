"""The settings of a run: everything that one needs to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from torch import nn

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.report.descriptions import Algorithm, moment
from super_selfish.evaluation.report.record import Record
from super_selfish.supervisors import Supervisor
from super_selfish.supervisors.arguments import shown
from super_selfish.supervisors.provenance import describe_dataset, package_versions
from super_selfish.training.counting import plural

Rows = list[list[object]]  # of a table; the first cell is the heading


class Block(NamedTuple):
    """Some settings that belong together; no rows where they are not known."""

    title: str
    about: str
    rows: Rows


class Settings(NamedTuple):
    """Everything that one needs to repeat the run."""

    blocks: list[Block]
    differences: str  # from the paper


def settings(
    supervisor: Supervisor,
    record: Record | None,
    algorithm: Algorithm,
    source: ImageSource | None,
    written: str,
) -> Settings:
    """Everything that one needs to repeat the run."""
    constructor: Rows = [
        [name, shown(value)] for name, value in supervisor.arguments.items() if name != "dataset"
    ]
    training: Rows = [] if record is None else [[k, shown(v)] for k, v in record.settings.items()]
    known = {} if record is None else record.provenance
    blocks = [
        Block("Algorithm", f"Arguments of {type(supervisor).__name__}.", constructor),
        Block("Training", "Arguments of supervise().", training),
        Block("Images", "", _images(supervisor, known, source)),
        Block("Networks", "", _networks(supervisor)),
        Block("Machine and versions", "", _machine(supervisor, known, written)),
    ]
    return Settings(blocks, algorithm.differences)


def trained_on(supervisor: Supervisor, record: Record | None, source: ImageSource | None) -> str:
    """The images of the training in a sentence; "" where nobody knows them."""
    known = {} if record is None else record.provenance
    rows = {str(row[0]): row[1] for row in _images(supervisor, known, source)}
    if "dataset" not in rows or "images" not in rows:
        return ""
    channels = plural(supervisor.in_channels, "channel")
    return f"{rows['images']} images of {rows['size']}, {channels}: {rows['dataset']}."


def _images(supervisor: Supervisor, known: Mapping[str, Any], source: ImageSource | None) -> Rows:
    """Which images, and how they reach the networks."""
    rows: Rows = []
    dataset = known.get("dataset") or (None if source is None else describe_dataset(source.dataset))
    if dataset is not None:
        rows.append(["dataset", dataset])
    count = known.get("num_images") or (None if source is None else len(source))
    if count is not None:
        rows.append(["images", f"{count:,}"])
    height, width = supervisor.image_size
    rows += [
        ["size", f"{height} \N{MULTIPLICATION SIGN} {width} pixels"],
        ["channels", supervisor.in_channels],
    ]
    if supervisor.value_range is not None:
        rows.append(["black and white", shown(supervisor.value_range)])
    if source is None:
        return rows
    if source.remark is not None:
        rows.append(["numbers", source.values_in_words])
    if source is not supervisor.source and "dataset" in known:  # lent to the page alone
        return [
            *rows,
            ["looked at", f"{describe_dataset(source.dataset)}, {plural(len(source), 'image')}"],
        ]
    if source.classes is not None:
        rows.append(["classes", _classes(source.classes)])
    return rows


def _machine(supervisor: Supervisor, known: Mapping[str, Any], written: str) -> Rows:
    """Where and when."""
    versions = known.get("versions") or package_versions()
    date = known.get("date")
    return [
        ["trained", moment(datetime.fromisoformat(date)) if date else "not known"],
        ["device", known.get("device") or supervisor.device],
        ["processes", known.get("processes", "not known")],
        *([name, version] for name, version in versions.items()),
        ["page written", written],
    ]


def _networks(supervisor: Supervisor) -> Rows:
    """What the parts of the networks are, and how large."""
    rows: Rows = [["backbone", _size(supervisor.get_backbone())]]
    predictor = getattr(supervisor.model, "predictor", None)
    if isinstance(predictor, nn.Module):
        rows.append(["predictor", _size(predictor)])
    trained = sum(p.numel() for p in supervisor.parameters() if p.requires_grad)
    rows.append(["trained parameters", f"{trained:,}"])
    return rows


def _size(module: nn.Module) -> str:
    """A network's kind and its number of parameters."""
    return f"{type(module).__name__}, {sum(p.numel() for p in module.parameters()):,} parameters"


def _classes(names: Sequence[str]) -> str:
    """How many classes, and the first of them."""
    few = ", ".join(str(name) for name in names[:10])
    return f"{len(names)}: {few}{', ...' if len(names) > 10 else ''}"
