"""How long a step takes, by doing some: everything of a step but reading, which is timed apart."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from super_selfish.supervisors.base import Supervisor
from super_selfish.training.alone import alone
from super_selfish.training.callbacks import Callback, Step
from super_selfish.training.display import quiet

TIMED = 4  # steps, after a first one that is not timed


class Pace(NamedTuple):
    """How fast steps are."""

    seconds: float  # of a step, the median
    load: float  # times as long as the processor's own time; 1 where nothing else runs


class _Pace(Callback):
    """Notes how long steps take, and ends the run after some."""

    def __init__(self, most: float) -> None:
        self.most = most
        self.seconds: list[float] = []
        self._before: float | None = None
        self._began = time.perf_counter()

    def on_step(self, supervisor: Any, step: Step) -> None:
        float(step.values["loss"])  # waits for an accelerator
        now = time.perf_counter()
        if self._before is not None:
            self.seconds.append(now - self._before)
        self._before = now
        is_late = now - self._began > self.most and self.seconds
        if len(self.seconds) >= TIMED or is_late:
            supervisor.run.stop("timing")


def pace_of(
    build: Callable[[Tensor], Supervisor],
    images: Tensor,
    batch_size: int,
    most: float,
    **settings: Any,
) -> Pace:
    """Trains a supervisor for some steps and throws it away.

    Args:
        build: Makes it of images, on the device where it shall train.
        images: `[n, C, H, W]`; repeated as often as steps want.
        batch_size: Images a step.
        most: Seconds after which it is enough, once a step was timed.
        **settings: Of `supervise()`.

    Returns:
        Of steps with images in memory.
    """
    times = -(-(TIMED + 1) * batch_size // len(images))
    pace = _Pace(most)
    with quiet(), alone(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run itself says them
        began = time.perf_counter(), time.process_time()
        supervisor = build(images.repeat(times, 1, 1, 1))
        supervisor.supervise(
            **settings,
            epochs=2,
            batch_size=batch_size,
            name=None,
            callbacks=[pace],
            progress=False,
        )
    passed, worked = time.perf_counter() - began[0], time.process_time() - began[1]
    load = passed / worked if supervisor.device.type == "cpu" else 1.0
    return Pace(statistics.median(pace.seconds), max(1.0, load))
