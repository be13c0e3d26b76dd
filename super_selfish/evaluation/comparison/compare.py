"""Which algorithm is best for these images? Each in turn, under the same conditions.

Everything but the algorithm is the same: the architecture of the backbone and, seed by seed, its
first weights, the images, the time or the epochs, and how the result is rated. So what is compared
is what a user would get from each for the same price.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from super_selfish.evaluation.baselines import NOT_KNOWN, Baseline, twin_of
from super_selfish.evaluation.checking.quick import warn_of_images
from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.comparison.entries import (
    Backbone,
    Conditions,
    Entry,
    Options,
    do_run,
    draw_backbone,
    supervised,
    warm_up,
)
from super_selfish.evaluation.comparison.plan import (
    Kind,
    algorithms_by_name,
    check_budget,
    device_of,
    numbers_of,
    options_of,
    plan_entries,
    seeds_of,
    settings_of,
)
from super_selfish.evaluation.comparison.sets import open_sets
from super_selfish.evaluation.comparison.several import Started, failed_before, started_together
from super_selfish.evaluation.comparison.store import Record, RunStore
from super_selfish.evaluation.features import LabelledSource, labelled_only, open_data
from super_selfish.evaluation.masked_data import open_masked
from super_selfish.evaluation.norm_statistics import ADAPTED, lacks_statistics
from super_selfish.evaluation.protocols import expand_protocols, want_masks
from super_selfish.evaluation.scoring import check_parts_fit, metric_of, require_labels
from super_selfish.models.untrained import has_learned
from super_selfish.training.alone import alone
from super_selfish.training.counting import plural
from super_selfish.training.display import open_bar

WAIT = 1.0  # seconds between two looks at what other processes have finished


def compare(
    algorithms: Sequence[str] | Mapping[str, Kind],
    train: Any,
    test: Any = None,
    *,
    budget: str | None = None,
    epochs: int | None = None,
    backbone: Backbone = None,
    seeds: int | Sequence[int] = 3,
    protocols: Sequence[str] = ("knn", "linear"),
    options: Mapping[str, Options] | None = None,
    supervise: Mapping[str, Any] | None = None,
    pretrain: Any = None,
    images: Mapping[str, int] | None = None,
    base_sizes: Sequence[int] | None = None,
    downstream: Mapping[str, Any] | None = None,
    path: str | os.PathLike[str] | None = "store/comparison",
    progress: bool = True,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    device: torch.device | str | None = None,
    retry: bool = False,
    keep: bool = False,
    draw_anew: bool = False,
) -> Comparison:
    """Pretrains with each algorithm under the same conditions, and rates what each has learned.

    For each seed the backbone is drawn once: every algorithm begins with the same weights, and is
    rated beside the untrained network that has them. A network that is given keeps its weights; if
    they were trained before, they are a row "start", and the leaderboard says who made them worse,
    while "untrained" is a new network of that kind. An algorithm that changes how images reach
    the backbone (jigsaw, or those that part lightness from colour), or the backbone itself, has an
    untrained twin of its own that sees them in the same way.

    Every finished run is kept in `path + ".jsonl"` under a key made of all that decides it
    (algorithm, options, seed, images, budget, backbone and its first weights, protocols, data):
    calling again does only what is not done yet. A run that Ctrl-C or a power cut has ended amid
    its pretraining goes on from its last checkpoint (in the folder `path`), with the time that is
    left of its budget. Several processes may call with the same `path`: each takes the next run
    that nobody works on, and all of them return the whole comparison. So do processes that
    `torchrun` or `srun` has started together, or tasks of a SLURM array: one run a process, which
    trains it by itself on an accelerator of its own.

    An algorithm that fails, for instance because it needs colour and the images have none, is a
    row of the result that says why.

    Args:
        algorithms: Short names from `SUPERVISORS`; or classes by a name of your own, so that one
            algorithm may take part with several `options`. `"supervised"` is pretraining with the
            labels of as many of the same images: a `LabelSupervisor` that trains backbone and head
            at one learning rate.
        train: Labelled images that protocols learn from, or images with masks: as for `evaluate`.
        test: Labelled images that accuracies are of. With `downstream` it may be left out: then
            networks are rated on the downstream sets alone.
        budget: Time of pretraining of each run, such as `"10min"`. Processes that work side by
            side must not slow one another down: give each its cores
            (`torch.set_num_threads`).
        epochs: Epochs of pretraining of each run, instead of `budget`.
        backbone: None or a name as for every algorithm; a function of the number of channels that
            makes a network; or a network, whose copies begin with its weights.
        draw_anew: Whether a network that is given as `backbone` is drawn anew for each seed
            instead (`untrained_twin`).
        seeds: So many, from 0 on; or which.
        protocols: Names from `PROTOCOLS`.
        options: For each algorithm keywords of its constructor, or a function of the number of
            channels that returns them. Networks among the keywords are copied for each run.
        supervise: Keywords of `supervise()` for all, such as `{"lr": 1e-3, "batch_size": 64}`, and
            under the name of an algorithm those for it alone, `{"byol": {"lr": 3e-4}}`.
        pretrain: Images to pretrain on, for `"supervised"` with labels: `(images, labels)`, or such
            as bring theirs. Default: those of `train`, whose labels are looked at by it alone.
        images: How many of them an algorithm gets, by name; default all. The seed draws them.
        base_sizes: Repeats the pretraining with so many images, to see how sensitive an algorithm
            is to their number; the labelled images stay the same.
        downstream: Labelled sets by name, `{"mine": (train, test)}`, each part as for `evaluate`:
            every network is rated on each of them too, by all protocols. Their images are brought
            to the size and channels of pretraining; they may be of any number and any classes. With
            `base_sizes`, the sensitivity of an algorithm is the population standard deviation over
            these of its mean accuracy, averaged over the sets (Macar and Liu; METHODS.md, 6). Of an
            algorithm with an untrained twin of its own that of the largest base size alone is
            rated: gains are of that.
        path: Where runs are kept, without an ending, on a disk that all processes see; None keeps
            them in memory only, for one process.
        progress: Whether to show how many runs are done: a bar, or in logs a line now and then.
        image_size: Images are brought to this size in pixels, a side or (height, width).
        in_channels: Images are brought to this many channels.
        device: Where networks run. Default: where `backbone` lies, else on an accelerator where
            torch finds one, else on the CPU.
        retry: Whether runs that failed before are done again.
        keep: Whether checkpoints of finished runs stay, as `path/<key>.pt`.

    Returns:
        The comparison: prints as a leaderboard, and writes and draws itself.

    Raises:
        ValueError: If names, numbers or settings make no sense, or data have no labels.
        TypeError: If a keyword is none that an algorithm or `supervise()` takes.

    Warns:
        UserWarning: A quick look (`quick_check`) has found test images among those for pretraining,
            unreadable images, or a data set that gives other images each time.
    """
    kinds = algorithms_by_name(algorithms)
    check_budget(budget, epochs)
    started = started_together(path)
    columns = expand_protocols(protocols)
    opened = open_masked if want_masks(columns) else open_data
    train_data = opened(train, image_size, in_channels)
    form = (train_data.images.image_size, train_data.images.in_channels)
    pretrain_data = train_data if pretrain is None else open_data(pretrain, *form)
    sets = open_sets(downstream, *form, opened)
    if test is None and not sets:
        raise ValueError("give test=, the labelled images that accuracies are of, or downstream=")
    conditions = Conditions(
        train=train_data if test is None else labelled_only(train_data, "train"),
        test=None if test is None else labelled_only(opened(test, *form), "test"),
        pretrain=pretrain_data.images,
        backbone=backbone,
        protocols=tuple(columns),
        budget=budget,
        epochs=epochs,
        device=device_of(device, backbone),
        draw_anew=draw_anew,
        downstream=sets,
        pretrain_labels=pretrain_data.labels,
    )
    if conditions.test is not None:
        check_parts_fit(conditions.train, conditions.test)
    if supervised in kinds.values():
        require_labels(pretrain_data, "pretraining")
    _metric(conditions)
    entries = plan_entries(
        conditions,
        kinds,
        seeds_of(seeds),
        options_of(kinds, options or {}),
        settings_of(kinds, supervise or {}, timed=budget is not None),
        numbers_of(kinds, images or {}, base_sizes, len(conditions.pretrain)),
    )
    store = RunStore(path)
    failed = failed_before(store, conditions.device) if retry else {}
    with alone():
        if started.rank == 0 and any(entry.key not in store.read() for entry in entries):
            tests = {name: test for name, (_, test) in conditions.sets.items()}
            warn_of_images(LabelledSource(conditions.pretrain, None), tests)
        _work(entries, conditions, store, failed, started, shown=progress, keep=keep)
    records = store.read()
    return Comparison(tuple(records[entry.key] for entry in entries), _summary(conditions, entries))


def _work(
    entries: Sequence[Entry],
    conditions: Conditions,
    store: RunStore,
    failed: dict[str, Record],
    started: Started,
    *,
    shown: bool,
    keep: bool,
) -> None:
    """Does every run that is not done yet and that no other process does; waits for the others."""
    warm_up(conditions.device)

    def is_open(entry: Entry, records: Mapping[str, Record]) -> bool:
        record = records.get(entry.key)
        return record is None or record == failed.get(entry.key)

    # Runs that were done before are no part of this call's rate.
    done = sum(not is_open(entry, store.read()) for entry in entries)
    is_shown = shown and started.rank == 0
    with open_bar("Comparing", len(entries), "run", shown=is_shown, initial=done) as bar:
        if started.number > 1:
            number = plural(len(entries), "run")
            bar.say(f"{started.number} processes share {number}, one each at a time")
        while remaining := [entry for entry in entries if is_open(entry, store.read())]:
            bar.update(len(entries) - len(remaining) - done)
            done = len(entries) - len(remaining)
            for entry in remaining:
                with store.claim(entry.key) as is_ours:
                    # Once more, now that nobody else can: it may have been finished meanwhile.
                    if not is_ours:
                        continue
                    is_left = is_open(entry, store.read())
                    if is_left:
                        bar.label(f"{entry.algorithm}, seed {entry.seed}")
                        store.append(do_run(entry, conditions, store.checkpoint(entry.key)))
                        failed.pop(entry.key, None)
                    if is_left and not keep:
                        store.clear(entry.key)
                    break
            else:
                bar.label("waiting for other processes")
                time.sleep(WAIT)
        bar.update(len(entries) - done)


def _summary(conditions: Conditions, entries: Sequence[Entry]) -> dict[str, Any]:
    """What all runs shared, as plain values."""
    with torch.random.fork_rng(devices=[]):
        network = draw_backbone(conditions, entries[0].seed)
    untrained = Baseline(network, None)
    twin = twin_of(network, entries[0].seed)
    is_given = isinstance(conditions.backbone, torch.nn.Module) and not conditions.draw_anew
    if entries[-1].start is not None:
        untrained = twin
    elif is_given and has_learned(network) is None and not twin.is_known:
        untrained = Baseline(network, f"the given weights; {NOT_KNOWN}", is_known=False)
    counts = {
        name: {"train_images": len(train.images), "test_images": len(test.images)}
        for name, (train, test) in conditions.downstream.items()
    }
    notes = [untrained.note, ADAPTED if lacks_statistics(untrained.network) else None]
    return {
        "budget": conditions.budget,
        "epochs": conditions.epochs,
        "backbone": type(network).__name__,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "image_size": list(conditions.pretrain.image_size),
        "in_channels": conditions.pretrain.in_channels,
        "pretraining_images": len(conditions.pretrain),
        "train_images": len(conditions.train.images),
        "test_images": None if conditions.test is None else len(conditions.test.images),
        "protocols": list(conditions.protocols),
        "metric": _metric(conditions),
        "untrained": ", ".join(filter(None, notes)) or None,
        "knows_untrained": untrained.is_known,
        "seeds": list(dict.fromkeys(entry.seed for entry in entries)),
        "base_sizes": sorted({e.base_size for e in entries if e.base_size is not None}),
        **({"downstream": counts} if counts else {}),
    }


def _metric(conditions: Conditions) -> str:
    """What the accuracies on all sets are; refuses sets of two kinds of labels."""
    kinds = {name: metric_of(train) for name, (train, _) in conditions.sets.items()}
    if len(set(kinds.values())) > 1:
        named = ", ".join(f"{name or 'train'}: {kind}" for name, kind in kinds.items())
        raise ValueError(
            f"all sets must be rated by one figure, one label an image or rows of them, got {named}"
        )
    return next(iter(kinds.values()))
