"""From the arguments of `supervise()` to a run that stands before its next step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from super_selfish.data.feed import order_of
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.reading import Reading
from super_selfish.data.stream_order import images_of_epoch
from super_selfish.data.workers import parse_timeout, worker_faults_explained, workers_ended
from super_selfish.models.number_format import require_no_half
from super_selfish.supervisors import footprint
from super_selfish.supervisors.averaging import begin_averaging, check_averaging
from super_selfish.supervisors.composing import lent_run, parts_of
from super_selfish.supervisors.deciding import tell_settings
from super_selfish.supervisors.diagnostics import HealthWarning, batches_of_one_explained
from super_selfish.supervisors.pace import settle_precision
from super_selfish.supervisors.persistence import resume_supervisor, stored_sharing
from super_selfish.supervisors.placement import place_for_training
from super_selfish.supervisors.spreading import devices_for, keep_number, tell_devices
from super_selfish.supervisors.start import note_start
from super_selfish.supervisors.under_way import one_at_a_time
from super_selfish.training import distributed
from super_selfish.training.acceleration import compiled, fused, lay_out
from super_selfish.training.alike import require_alike
from super_selfish.training.allocator import kept_memory
from super_selfish.training.callbacks import Callbacks
from super_selfish.training.checkpoint import has_checkpoint
from super_selfish.training.counting import plural
from super_selfish.training.first import held_by_first, in_all, of_first
from super_selfish.training.locking import lock_of
from super_selfish.training.naming import fixed_name, require_writable
from super_selfish.training.optimizers import by_name
from super_selfish.training.plain import plain_setting
from super_selfish.training.precision import AUTO, gradient_scaler
from super_selfish.training.run import Run
from super_selfish.training.scaling import BASE_IMAGES, scaled_rate
from super_selfish.training.settings import announce_beginning
from super_selfish.training.synchronised import require_synchronisable, synchronised
from super_selfish.training.telling import warn

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor

_PLAIN = ("lr", "epochs", "batch_size", "num_workers")


@contextmanager
def prepared(
    supervisor: Supervisor, given: Mapping[str, Any]
) -> Iterator[tuple[Run, DataLoader[Any]]]:
    """While entered, a run stands before its next step, and its name is its own.

    Args:
        supervisor: Whose run it is.
        given: The arguments of `supervise()`, all of them by name.

    Yields:
        The run, with optimizer and schedule, and the loader of its images.

    Raises:
        RuntimeError: If it trains already.
        ValueError: And others, as `supervise` says.
    """
    if supervisor.source is None:
        raise ValueError(
            f"there is nothing to train on: {type(supervisor).__name__}(dataset) takes the images"
        )
    parts = parts_of(supervisor)
    with one_at_a_time(parts.values()), _prepared_alone(supervisor, given, parts) as both:
        yield both


@contextmanager
def _prepared_alone(
    supervisor: Supervisor, given: Mapping[str, Any], parts: dict[str, Any]
) -> Iterator[tuple[Run, DataLoader[Any]]]:
    require_no_half(supervisor)
    supervisor._ready_backbone()
    place_for_training(supervisor, given["devices"])
    check_averaging(supervisor, given["averaging"], given["epochs"])
    distributed.join_processes(supervisor.device)
    given = dict(given) | {name: plain_setting(given[name]) for name in _PLAIN}
    chosen: dict[str, Any] = {}
    if given["lr"] is None:
        given["lr"] = min(part.default_lr for part in parts.values())
        chosen["lr"] = given["lr"]
    run = supervisor.run = in_all(lambda: _opened(supervisor, given, parts))
    if run.sync_batch_norm:
        _require_synchronisable(supervisor, run)
    if run.name is not None:
        name, keep_last = run.path, run.keep_last
        of_first(lambda: require_writable(name, keep_last))
    supervisor._reading = Reading(
        given["cache"],
        given["dataset_on_device"],
        run.progress and distributed.rank() == 0,
        parse_timeout(given["worker_timeout"]),
    )
    with held_by_first(lock_of(run.name)), lent_run(run):
        stored = in_all(lambda: _restored(supervisor, run, given))
        if stored is not None:
            keep_number(run, given["devices"], stored.get("devices", 1))
        chosen |= _fitted(run)
        if chosen:
            said = ", ".join(f"{name}={value}" for name, value in chosen.items())
            run.remarks.append(f"chosen for this run: {said}")
        lay_out(supervisor, given["channels_last"])
        settle_precision(supervisor, run, given["precision"], stored)
        build_optimizer = by_name(given["optimizer"])
        if not supervisor.takes_turns:  # torch's fused SGD wants momentum of all parameters or none
            build_optimizer = fused(build_optimizer, list(supervisor.parameters()))
        build = partial(
            supervisor._init_data_optimizer,
            build_optimizer,
            run.batch_size,
            run.shuffle,
            given["num_workers"],
            supervisor.collate_fn,
            _rate(run, given["lr"]),
            given["lr_scheduler"],
        )
        loader, run.optimizer, run.lr_scheduler = in_all(build)
        order = order_of(loader)
        run.order = order if isinstance(order, EpochBatches) else None
        tell_settings(supervisor)
        require_alike(run.settings | run.schedule)
        _tell_processes(run, given["lr"])
        if stored is not None:
            in_all(partial(run.load_state_dict, stored))
        for part in run.parts.values():
            _tell(part._caution(run))
        tell_devices(supervisor)
        if (needs := footprint.tell(supervisor)) is not None:
            run.remarks.append(needs)
        begin_averaging(supervisor, run, is_resumed=stored is not None)
        supervisor.loaded = None  # from here on these networks are those of this run
        with ExitStack() as within:
            within.enter_context(workers_ended(loader))
            begun = run.callbacks.running(supervisor)
            in_all(partial(within.enter_context, begun))  # a callback may fail in one process
            within.enter_context(kept_memory(run.device))
            within.enter_context(synchronised(supervisor, run.sync_batch_norm))
            within.enter_context(compiled(supervisor, run.compile))
            within.enter_context(footprint.fitting_explained(supervisor))
            within.enter_context(batches_of_one_explained())
            within.enter_context(worker_faults_explained(loader))
            yield run, loader


def _opened(supervisor: Supervisor, given: dict[str, Any], parts: dict[str, Any]) -> Run:
    """The run of these arguments, at its first step."""
    if given["name"] is not None:
        given["name"] = fixed_name(given["name"])
    device = supervisor.device
    # Until what "auto" stands for is measured, that which needs more memory.
    precision = "fp32" if given["precision"] == AUTO else given["precision"]
    devices, why_one = devices_for(supervisor, given["devices"], compiles=given["compile"])
    batch_size, chosen = _batch_size(supervisor, given | {"precision": precision}, devices)
    remarks = [remark for remark in (chosen, why_one) if remark is not None]
    made_here = {
        "batch_size": batch_size,
        "devices": devices,
        "remarks": remarks,
        "clip_norm": supervisor.clip_norm if given["clip_norm"] is None else given["clip_norm"],
        "callbacks": Callbacks(given["callbacks"], given["monitor"]),
        "parts": parts,
        "device": device,
        "precision": precision,
        "scaler": gradient_scaler(precision, device),
        "num_images": images_of_epoch(
            supervisor.source, given["steps_per_epoch"], batch_size, distributed.world_size()
        ),
        "steps_per_epoch": given["steps_per_epoch"] or 0,  # until the loader is there
        "buffers": supervisor.buffers,
    }
    later = {"optimizer", "lr_scheduler"}  # what these build is not there yet
    own = {field.name for field in fields(Run)} - later
    return Run(**{name: value for name, value in given.items() if name in own} | made_here)


def _fitted(run: Run) -> dict[str, Any]:
    """What the parts of a run have chosen, those of parts within behind their names."""
    found = {}
    for name, part in run.parts.items():
        prefix = f"{name}." if name else ""
        chosen = part.choices | part._fit_to_run(run)
        if part.growth is not None and len(part.growth.members) > part.growth.least:
            chosen["images"] = part.growth
        found.update({f"{prefix}{k}": value for k, value in chosen.items()})
    return found


def _require_synchronisable(supervisor: Supervisor, run: Run) -> None:
    for part in run.parts.values():
        if part.against_sync_batch_norm is not None:
            raise ValueError(
                f"sync_batch_norm=True: {part.title} {part.against_sync_batch_norm}: leave it out"
            )
    require_synchronisable(supervisor, run.devices)


def _batch_size(
    supervisor: Supervisor, given: Mapping[str, Any], devices: list[torch.device]
) -> tuple[int, str | None]:
    """Images a step, and in words how they were chosen where the user did not."""
    if not isinstance(given["batch_size"], str):
        return given["batch_size"], None
    is_resumed = given["resume"] and given["name"] is not None
    stored = stored_sharing(given["name"]) if is_resumed else None
    size = None if stored is None else stored.batch_size_for(distributed.world_size())
    if stored is None or size != stored.batch_size:
        averages = given["averaging"] is not None
        fitting = footprint.fitting_batch(
            supervisor, given["precision"], devices, averages=averages
        )
        size = fitting if size is None else min(size, fitting)
    return size, f'batch_size="auto" took {size} images a step'


def _rate(run: Run, lr: float) -> float:
    """The learning rate of a run, which says it where it is not the given one."""
    images = run.images_per_update
    rate = scaled_rate(lr, run.lr_scaling, images)
    if run.lr_scaling is not None:
        parts = [plural(run.batch_size, "image")]
        parts += [f"{run.accumulate} batches"] if run.accumulate > 1 else []
        parts += [f"{run.processes} processes"] if run.processes > 1 else []
        run.remarks.append(
            f'lr_scaling="{run.lr_scaling}": lr={lr:g} for {BASE_IMAGES} images is {rate:.4g} for '
            f"the {images:,} of an update ({' x '.join(parts)})"
        )
    return rate


def _restored(supervisor: Supervisor, run: Run, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Loads what the run begins with; the state of a run that goes on, else None."""
    stored = None
    if run.name is not None:
        name = run.path
        is_there = (given["resume"] or given["overwrite"]) and of_first(
            lambda: has_checkpoint(name)
        )
        if given["resume"] and is_there:
            stored = resume_supervisor(supervisor, run.name)
        else:
            supervisor._load_pretrained(run.name, given["pretrained"])
            if given["resume"]:
                announce_beginning(run.name)
        shall_replace = given["overwrite"] and is_there
        supervisor.files.begin_run(run.name, replaces=shall_replace or stored is not None)
    if stored is None:
        note_start(supervisor, run.name if given["pretrained"] else None)
        run.epochs_before = supervisor.epochs_seen
    else:
        run.epochs_before = stored.get("epochs_before", 0)
    return stored


def _tell(caution: str | None) -> None:
    if caution is not None and distributed.rank() == 0:
        warn(caution, HealthWarning)


def _tell_processes(run: Run, lr: float) -> None:
    """Notes how large a batch is that several processes share, and what that means."""
    number = run.processes
    if number == 1:
        return
    together = number * run.batch_size
    said = f"{number} processes, {number} x {run.batch_size} = {together} images a step"
    if run.lr_scaling is None:  # else it is said what it became
        said += (
            f"; lr={lr:g} is taken as given: where it suits {run.batch_size} images, papers that "
            f"scale it with the batch would take {number * lr:g}, see lr_scaling="
        )
    run.remarks.append(said)
