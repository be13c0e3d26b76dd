"""Supervisors to files and back."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from super_selfish.models.copying import give_own_memory
from super_selfish.models.wrappers import with_wrappers, without_wrappers
from super_selfish.supervisors.arguments import (
    left_out,
    same_arguments,
    stored_arguments,
)
from super_selfish.supervisors.gate import require_extra_state_taken, require_finite
from super_selfish.supervisors.image_options import stored_range, take_range
from super_selfish.supervisors.options import SHAPING
from super_selfish.supervisors.provenance import provenance_of
from super_selfish.supervisors.rebuilding import rebuild, unchanged_where_refused
from super_selfish.supervisors.start import note_given, restored_start
from super_selfish.supervisors.under_way import require_idle
from super_selfish.training import distributed
from super_selfish.training.averaging import restored_average
from super_selfish.training.checkpoint import (
    checkpoint_path,
    epochs_begun,
    has_checkpoint,
    read_run,
    write_checkpoint,
)
from super_selfish.training.finite import listed, not_finite
from super_selfish.training.first import of_first
from super_selfish.training.form import is_extra_state, require_storable
from super_selfish.training.plain import plain_setting
from super_selfish.training.settings import differences, refuse_differences
from super_selfish.training.sharing import Sharing

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained

Name = str | os.PathLike[str]
_log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """What a checkpoint held besides networks, kept for whoever stores them again untrained."""

    run: dict[str, Any] | None
    provenance: dict[str, Any] | None
    left_out: dict[str, Any] = {}  # noqa: RUF012  # arguments that training had, and this object not


def record_of(supervisor: Pretrained) -> dict[str, Any]:
    """What a checkpoint holds of a supervisor.

    Args:
        supervisor: What to store.

    Returns:
        Tensors and values; the run that was loaded, if these networks were not trained since;
        without one, if it broke off within a step and cannot go on.

    Raises:
        NonFiniteLossError: If a weight, a buffer or an average is not finite.
        TypeError: If a module gives an extra state that it does not take back.
    """
    require_finite(supervisor)
    require_extra_state_taken(supervisor)
    trained = _run_of(supervisor)
    average = supervisor.averaged
    averaged = {"averaged": average.state_dict()} if average and average.is_begun else {}
    return averaged | {
        "class": type(supervisor).__name__,
        "arguments": _arguments_of(supervisor) | trained.left_out,
        "model": without_wrappers(supervisor, supervisor.state_dict()),
        "epochs_seen": supervisor.epochs_seen,
        "images": _images_of(supervisor),
        "value_range": supervisor.value_range,
        "start": None if supervisor.start is None else supervisor.start.state_dict(),
        "run": trained.run,
        "provenance": trained.provenance,
    }


def _storable(supervisor: Pretrained) -> dict[str, Any]:
    """Its arguments but for those that are not stored."""
    left_out = supervisor.not_stored
    return {name: value for name, value in supervisor.arguments.items() if name not in left_out}


def _arguments_of(supervisor: Pretrained) -> dict[str, Any]:
    """Its arguments as a checkpoint holds them."""
    return stored_arguments(_storable(supervisor))


def _run_of(supervisor: Pretrained) -> Loaded:
    if supervisor.loaded is not None:
        return supervisor.loaded
    run = supervisor.run
    is_whole = run is not None and run.is_whole
    return Loaded(run.state_dict() if run and is_whole else None, provenance_of(supervisor))


def save_supervisor(supervisor: Pretrained, name: Name, *, keep_last: int = 1) -> None:
    """Stores networks, memories, and where there is a run its position.

    Args:
        supervisor: What to store.
        name: Path without its ending.
        keep_last: Files that are kept, this one included.

    Raises:
        NonFiniteLossError: If a weight is not finite; the former file stays.
        TypeError: If something cannot be stored; the former file stays.
        OSError: If the disk does not take it; the former file stays.
    """
    if supervisor.run is not None:
        supervisor.run.settle()  # what its checkpoint holds is older
    write_record(supervisor, name, record_of(supervisor), keep_last)


def write_record(
    supervisor: Pretrained, name: Name, record: dict[str, Any], keep_last: int
) -> None:
    """Writes what `record_of` returned, after others' files have made way.

    Args:
        supervisor: Whose record it is.
        name: Path without its ending.
        record: What to write.
        keep_last: Files that are kept, this one included.

    Raises:
        OSError: If the disk does not take it; the former file stays.
    """
    files = supervisor.files
    write_checkpoint(
        checkpoint_path(name),
        record,
        keep_last=keep_last,
        make_way=lambda: files.make_way(name),
        judge=require_storable,
    )
    files.note(name)


def restore_supervisor(supervisor: Pretrained, name: Name) -> dict[str, Any] | None:
    """Rebuilds the networks of a checkpoint in place, and loads their weights.

    Args:
        supervisor: An object of the class that was stored.
        name: Path without its ending.

    Returns:
        State of the stored run, or None.

    Raises:
        FileNotFoundError: If there is no checkpoint; of several processes, where the first one is.
        ValueError: If it belongs to another class, or wants a network of the user's own; the
            networks stay those that were there.
    """
    state = _read_own(supervisor, name)
    present = _storable(supervisor)
    with unchanged_where_refused(supervisor):
        if not (same_arguments(state["arguments"], present) and _sees(supervisor, state)):
            require_idle(supervisor, "load() of networks that are built otherwise")
            device, is_placed, run = supervisor.device, supervisor.is_placed, supervisor.run
            rebuild(supervisor, state, os.fspath(name))
            supervisor.to(device)
            supervisor.is_placed, supervisor.run = is_placed, run
        _load_weights(supervisor, state, name)
        take_range(supervisor, state)
    run_state: dict[str, Any] | None = state["run"]
    return run_state


def _sees(supervisor: Pretrained, state: dict[str, Any]) -> bool:
    """Whether a supervisor has images of the size and the channels of the stored ones."""
    own = _images_of(supervisor)
    return tuple(state.get("images", own)) == own


def _images_of(supervisor: Pretrained) -> tuple[int, int, int]:
    return (supervisor.in_channels, *supervisor.image_size)


def resume_supervisor(supervisor: Pretrained, name: Name) -> dict[str, Any] | None:
    """Loads the weights of a run that shall go on with this object.

    Args:
        supervisor: Built as the stored one was.
        name: Path without its ending.

    Returns:
        State of the stored run, or None if none was stored.

    Raises:
        ValueError: If it belongs to another class, or was built with other arguments.
    """
    state = _read_own(supervisor, name)
    others = _other_arguments(supervisor, state)
    if not others and not _sees(supervisor, state):
        stored, own = {"images": tuple(state["images"])}, {"images": _images_of(supervisor)}
        others = differences(stored, own, f"this {type(supervisor).__name__}")
    if "value_range" in state:
        ranges = [{"value_range": value} for value in (stored_range(state), supervisor.value_range)]
        others += differences(ranges[0], ranges[1], f"this {type(supervisor).__name__}")
    others += _other_constants(supervisor, state)
    for place, part in supervisor.named_modules():
        if hasattr(part, "_others_than"):
            others += part._others_than(state["model"], f"{place}." if place else "")
    refuse_differences(others, name, "Give its constructor what the stored one had")
    _load_weights(supervisor, state, name)
    run_state: dict[str, Any] | None = state["run"]
    if run_state is None and distributed.rank() == 0:
        _log.warning(
            "%s holds networks and no run that could go on: this one begins with its weights, at "
            "its first epoch",
            checkpoint_path(name),
        )
    return run_state


def stored_sharing(name: Name) -> Sharing | None:
    """How the images of the run at a name are shared out; None where there is none."""

    def settings() -> dict[str, Any] | None:
        run = read_run(checkpoint_path(name))["run"] if has_checkpoint(name) else None
        return None if run is None else dict(run["settings"])

    stored = of_first(settings)
    return None if stored is None else Sharing.of(stored)


def take_weights(supervisor: Pretrained, name: Name) -> None:
    """Loads the weights of a checkpoint into the networks as they are, for a run of their own.

    Args:
        supervisor: Of the class that was stored. Its arguments count; those that shape networks
            must be alike.
        name: Path without its ending.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it belongs to another class, or the networks have other shapes.
    """
    state = _read_own(supervisor, name)
    _load_weights(supervisor, state, name)
    take_range(supervisor, state)


def _read_own(supervisor: Pretrained, name: Name) -> dict[str, Any]:
    """The content of a checkpoint of this class, as the first of several processes reads it."""
    state = of_first(lambda: read_run(checkpoint_path(name)))
    if state["class"] != type(supervisor).__name__:
        raise ValueError(
            f"{checkpoint_path(name)} holds a {state['class']}, "
            f"not a {type(supervisor).__name__}: load it with {state['class']}().load(...)"
        )
    stored_range(state)  # what is no range is refused before anything is loaded
    renamed = supervisor.former_names
    state["arguments"] = {renamed.get(k, k): v for k, v in state["arguments"].items()}
    for argument, value in supervisor.former_arguments.items():
        if argument in supervisor.arguments:  # a subclass may not take it
            state["arguments"].setdefault(argument, {"plain": value})
    return state


def _load_weights(supervisor: Pretrained, state: dict[str, Any], name: Name) -> None:
    """Loads what fits, and says in words what does not."""
    own = supervisor.state_dict()
    stored = with_wrappers(supervisor, state["model"])
    if _has_other_loss(supervisor, state):
        stored = {key: value for key, value in stored.items() if not _is_of_loss(key)}
        stored |= {key: value for key, value in own.items() if _is_of_loss(key)}
    misfits = [f"{key} is not in it" for key in own if key not in stored]
    misfits += [f"it has {key}, which is not here" for key in stored if key not in own]
    misfits += [
        f"{key} is {list(value.shape)} in it and {list(own[key].shape)} here"
        for key, value in stored.items()
        if isinstance(value, Tensor) and isinstance(own.get(key), Tensor)
        if value.shape != own[key].shape and not is_extra_state(key)
    ]
    if misfits:
        kind = type(supervisor).__name__
        others = _other_arguments(supervisor, state)
        why = f": the stored run has {'; '.join(others)}" if others else ""
        raise ValueError(
            f"the networks stored in {checkpoint_path(name)} are not those of this {kind}{why} "
            f"({misfits[0]}{_and_more(misfits)}). Build it as the stored one, or give its backbone "
            f"alone to a new one: backbone={kind}(...).load({os.fspath(name)!r}).get_backbone()"
        )
    trained = dict(supervisor.named_parameters())
    wrong = not_finite({key: value for key, value in stored.items() if key in trained})
    if wrong:
        raise ValueError(
            f"{checkpoint_path(name)} holds weights that are not finite: {listed(wrong)}. Nothing "
            "can be done with them; a former file may be good"
        )
    unfit = supervisor._unfit(stored)
    if unfit is not None:
        raise ValueError(f"{checkpoint_path(name)} is no checkpoint of Super Selfish: {unfit}")
    note_given(supervisor)
    give_own_memory(supervisor)
    supervisor.load_state_dict(stored)
    supervisor.files.note(name)
    supervisor.start = restored_start(state.get("start"))
    supervisor.averaged = restored_average(state.get("averaged"))
    supervisor.epochs_seen = state.get("epochs_seen", epochs_begun(state["run"]))
    missing = left_out(state["arguments"], supervisor.arguments)
    supervisor.loaded = Loaded(state["run"], state.get("provenance"), missing)


def _has_other_loss(supervisor: Pretrained, state: dict[str, Any]) -> bool:
    """Whether a stored loss, which may have weights, is of another class than this one."""
    of_both = (state["arguments"], _arguments_of(supervisor))
    stored, own = (arguments.get("loss") for arguments in of_both)
    return bool(stored != own)


def _is_of_loss(key: str) -> bool:
    return key.partition(".")[0].endswith("loss")


def _other_constants(supervisor: Pretrained, state: dict[str, Any]) -> list[str]:
    """Tensors of a loss of torch's, such as class weights, which loading would replace."""
    loss = supervisor.arguments.get("loss")
    if not (isinstance(loss, nn.Module) and type(loss).__module__.startswith("torch.nn.")):
        return []
    given = {f"loss.{name}": tensor for name, tensor in loss.named_buffers()}
    return differences(state["model"], given, f"this {type(supervisor).__name__}")


def _and_more(found: list[str]) -> str:
    return f", and {len(found) - 1} more" if len(found) > 1 else ""


def _other_arguments(supervisor: Pretrained, state: dict[str, Any]) -> list[str]:
    """What a stored supervisor was built with, and this one was not."""
    stored, present = (
        SHAPING
        | {name: plain_setting(next(iter(entry.values()))) for name, entry in arguments.items()}
        for arguments in (state["arguments"], _arguments_of(supervisor))
    )
    return differences(stored, present, f"this {type(supervisor).__name__}")
