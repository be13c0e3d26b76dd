"""What decides a supervisor's run, gathered where the run begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from super_selfish.data.collate import LabelCollator
from super_selfish.data.likeness import label_likeness, likeness
from super_selfish.models.wrappers import bare_names, without_prefix
from super_selfish.supervisors.arguments import NOT_STORED
from super_selfish.training.checkpoint import is_plain
from super_selfish.training.description import described
from super_selfish.training.settings import told_optimizer, told_schedule

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained

# Of a monitor: when it measures and how fast, not what.
_WHEN = frozenset({"monitor.every", "monitor.batch_size", "monitor.keep_best"})


def _moved_by(optimizer: Any) -> list[Any]:
    """Parameters of an optimizer, or of several by name, in the order in which it keeps them."""
    if isinstance(optimizer, Mapping):
        return [p for each in optimizer.values() for p in _moved_by(each)]
    groups = getattr(optimizer, "param_groups", [])
    return [p for group in groups for p in group["params"]]


def tell_settings(supervisor: Pretrained) -> None:
    """Notes in the run of a supervisor what a call that resumes it must have alike, and what not.

    Args:
        supervisor: With its run, whose optimizer and schedule are as they were built.
    """
    run = supervisor.run
    if run is None or run.name is None:  # nothing is stored, so nothing will be compared
        return
    wrappers = bare_names(supervisor)
    run.told = told_optimizer(run.optimizer)
    run.told["trained"] = [
        without_prefix(name, wrappers)
        for name, parameter in supervisor.named_parameters()
        if parameter.requires_grad
    ]
    names = {p: without_prefix(name, wrappers) for name, p in supervisor.named_parameters()}
    run.told["order"] = [names.get(p, "another") for p in _moved_by(run.optimizer)]
    run.told |= described("collate_fn", getattr(supervisor, "collate_fn", None))
    for name, value in supervisor.arguments.items():
        unheeded = {*NOT_STORED, *supervisor.not_stored, "collate_fn"}
        if name not in unheeded and not is_plain(value):
            run.told |= described(name, value)
    run.told |= likeness(supervisor.source)
    for name, part in run.parts.items():
        if name and part.source is not None:  # of parts with images of their own
            run.told |= {f"{name}: {what}": value for what, value in likeness(part.source).items()}
    if isinstance(getattr(supervisor, "collate_fn", None), LabelCollator):
        run.told |= label_likeness(supervisor.source)
    run.told |= described("pages", supervisor.source.reader.pages)
    for monitor in run.callbacks.monitors:
        told = described("monitor", monitor)
        run.watching |= {name: value for name, value in told.items() if name not in _WHEN}
    run.schedule = told_schedule(run.lr_scheduler, run.optimizer, run.epochs)
    if run.lr_scaling is not None:
        run.schedule |= {"lr_scaling": run.lr_scaling, "images_per_update": run.images_per_update}
