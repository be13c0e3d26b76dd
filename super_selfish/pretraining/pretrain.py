"""The one call: from images to a backbone, its files, and whether it helped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from super_selfish.data.file_reader import Loader
from super_selfish.data.frames import Pages
from super_selfish.data.value_range import Range
from super_selfish.pretraining.choices import Choices, parse_choices
from super_selfish.pretraining.finishing import finish
from super_selfish.pretraining.outcome import Outcome
from super_selfish.pretraining.running import open_task, planned, taken_up, trained
from super_selfish.supervisors.base import Supervisor
from super_selfish.supervisors.image_options import ImageOptions
from super_selfish.training.display import tell


def pretrain(
    images: Any,
    out: str | os.PathLike[str] = "store/pretrained",
    time: str = "30min",
    *,
    labels: Any = None,
    test: Any = None,
    algorithm: str | type[Supervisor] | None = None,
    backbone: nn.Module | str | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    on_error: Literal["raise", "skip"] | None = None,
    value_range: Range = None,
    pages: Pages = None,
    loader: Loader | None = None,
    batch_size: int | None = None,
    options: Mapping[str, Any] | None = None,
    supervise: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    choices: Choices | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Outcome:
    """Pretrains a backbone in a given time, and says whether it helped.

    What is left at None is chosen for these images, this device and the time, by the rules of
    `super_selfish/pretraining/rules.py` and by steps that are timed; four lines say what and why.
    `time` counts everything: timing, training, rating and the page. It is kept to within a step
    and what rating takes, of which nobody knows exactly how long it will.

    In the folder `out` lie afterwards `run.pt` (the checkpoint, for `load` or to train on),
    `backbone.safetensors`, `run.csv` (the history), `run.html` (the report) and `choices.json`.
    Ctrl-C stores the run. Called again with the same `out`, images and settings it goes on with the
    time that is left, or with a longer `time` with what that adds; a call with others is refused.

    Args:
        images: Whatever `as_source` takes, a pair `(images, labels)`, or a stream.
        out: Folder of everything that is written.
        time: Such as `"30min"`, `"2h"`.
        labels: Classes of the images, or rows of zeros and ones, to rate the backbone by; nothing
            is trained with them. Default: those that a folder of class folders or a labelled data
            set brings. A fifth of the images, 2,000 at most, is then kept from training, as a test.
        test: Labelled images to test on instead, as for `evaluate`; then training sees all
            others.
        algorithm: Short name from `SUPERVISORS`, or a class.
        backbone: A network, or a name as for every algorithm.
        image_size: Images are brought to this size in pixels, a side or (height, width).
        in_channels: Images are brought to this many channels.
        on_error: Whether an image that cannot be read ends the run, or is left out: `"skip"`.
        value_range: Which numbers are black and white, as for `ImageSource`, such as `(0, 4095)`,
            `"percentile"` or `"bits"`, where the type of the images does not say it.
        pages: What files of several images hold, as for `ImageSource`: `"frames"`, `"channels"`,
            `"slices"`, or which of them to take.
        loader: A reader of your own, as for `ImageSource`.
        batch_size: Images a step.
        options: Keywords of the algorithm's constructor, such as `{"temperature": 0.1}`.
        supervise: Keywords of `supervise()`, such as `{"lr": 3e-4}`.
        seed: Of first weights, order, views, and of the choice of images.
        device: Where networks run. Default: an accelerator where torch finds one.
        choices: Of another run, which this one repeats: `outcome.choices`, or its
            `choices.json`. Nothing is timed then, and training ends with its last epoch, however
            long that takes: the same images and seed give the same weights on a CPU.
        overwrite: Begins anew, and removes what a former call has left in `out`.
        progress: Whether to say what is chosen and show how far it is.

    Returns:
        Backbone, choices, evaluation or health, and where the files are.

    Raises:
        ValueError: If something makes no sense, `out` holds another run, or there are fewer than 8
            images.
        TypeError: If a keyword is none that the algorithm or `supervise()` takes.
        OSError: If nothing can be written there.

    Warns:
        UserWarning: There are few images, or a quick look (`check`) has found test images among
            them, unreadable ones, or a data set that gives other images each time.
    """
    task = open_task(
        "pretrain",
        images,
        out,
        time,
        labels=labels,
        test=test,
        algorithm=algorithm,
        backbone=backbone,
        image_size=image_size,
        in_channels=in_channels,
        batch_size=batch_size,
        options=options,
        supervise=supervise,
        seed=seed,
        device=device,
        progress=progress,
        reading=ImageOptions(on_error, value_range, pages, loader),
        repeats=parse_choices(choices),
    )
    record = taken_up(task, overwrite)
    if record is None:
        record = planned(task)
        task.paths.clear()
        record.write()
    tell(str(record.choices), shown=progress)
    if task.repeats is not None:
        tell(
            "It repeats another run: nothing is timed, and it ends with its last epoch.",
            shown=progress,
        )
    rated = task.rated(record.choices.image_size, record.choices.rated)
    kept = None if rated is None else rated.kept
    supervisor = trained(task, record, task.training(record, kept))
    return finish(task, record, supervisor, rated)
