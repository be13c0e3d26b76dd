"""A supervisor in a line, and in a small table for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from super_selfish.markup import Rows, card
from super_selfish.supervisors.arguments import given_arguments, shortened, shown
from super_selfish.supervisors.provenance import describe_dataset
from super_selfish.training.run import Run
from super_selfish.training.standing import place_of

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained

_SHORT, _LONGEST = 40, 200  # letters of an argument beside others, and alone
_SAID = ("image_size", "in_channels")  # in the row of the images


def summary_line(supervisor: Pretrained) -> str:
    """Class, networks, images, device, and how far it is trained."""
    said = ", ".join(f"{name}: {value}" for name, value in facts(supervisor).items())
    return f"{type(supervisor).__name__}({said})"


def summary_table(supervisor: Pretrained) -> str:
    """The same as a card of HTML, with the data, the arguments and the algorithm's question."""
    kind = type(supervisor)
    title = f"{kind.title} ({kind.__name__})" if kind.title else kind.__name__
    known = facts(supervisor)
    rows = [["backbone", known.pop("backbone")]] if "backbone" in known else []
    rows += [["images", known.pop("images")]] if "images" in known else []
    source = getattr(supervisor, "source", None)
    if source is not None:
        rows.append(["data", shortened(describe_dataset(source.dataset), _LONGEST)])
        if source.remark is not None:
            rows.append(["numbers", source.values_in_words])
    arguments = getattr(supervisor, "arguments", {})
    given = given_arguments(kind, arguments)
    said = ", ".join(f"{k}={shown(v, _SHORT)}" for k, v in given.items() if k not in _SAID)
    rows.append(["arguments", said or "as by default"])
    rows += [[name, value] for name, value in known.items()]
    rows.append(["epochs seen", f"{getattr(supervisor, 'epochs_seen', 0):,}"])
    every = [[name, shown(arguments[name], _LONGEST)] for name in arguments if name != "dataset"]
    return card(
        title,
        about=kind.question,
        table=Rows(rows),
        more=Rows(every) if every else None,
        more_title="All arguments",
    )


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
