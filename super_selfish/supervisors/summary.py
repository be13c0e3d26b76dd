"""A supervisor in a line, and in a small table for notebooks."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from super_selfish.training.run import Run
from super_selfish.training.standing import place_of

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained


def summary_line(supervisor: Pretrained) -> str:
    """Class, networks, images, device, and how far it is trained."""
    said = ", ".join(f"{name}: {value}" for name, value in facts(supervisor).items())
    return f"{type(supervisor).__name__}({said})"


def summary_table(supervisor: Pretrained) -> str:
    """The same as a table of HTML."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
        for name, value in facts(supervisor).items()
    )
    kind = html.escape(type(supervisor).__name__)
    return f"<table><caption><b>{kind}</b></caption>{rows}</table>"


def facts(supervisor: Pretrained) -> dict[str, str]:
    """What one wants to know of a supervisor at a glance, by name.

    A supervisor whose constructor has not come to its end says what it has.
    """
    told: dict[str, str] = {}
    model: Any = getattr(supervisor, "model", None)
    backbone = supervisor.get_backbone() if hasattr(model, "backbone") else model
    if backbone is not None:
        told["backbone"] = type(backbone).__name__
    told["parameters"] = f"{sum(p.numel() for p in supervisor.parameters()):,}"
    size = getattr(supervisor, "image_size", None)
    if size is not None:
        told["images"] = f"{size[0]}x{size[1]}x{supervisor.in_channels}"
        source = getattr(supervisor, "source", None)
        if source is not None:
            told["images"] = f"{len(source):,} of {told['images']}"
    told["device"] = str(supervisor.device)
    told["trained"] = _course(getattr(supervisor, "run", None))
    return told


def _course(run: Run | None) -> str:
    if run is None:
        return "not in this session"
    position = f"epoch {run.epoch} of {run.epochs}"
    if run.step:
        position += f" and {run.step} of {run.steps_per_epoch} steps"
    if run.history.rows:
        position += f", loss {run.history.rows[-1]['loss']:.4g}"
    return position if run.stored_step is None else f"{position}, {place_of(run)}"
