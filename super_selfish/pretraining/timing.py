"""How long a step takes, by doing some: everything of a step but reading, which is timed apart."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from super_selfish.supervisors.base import Supervisor
from super_selfish.training.alone import alone
from super_selfish.training.callbacks import Callback, Step
from super_selfish.training.display import quiet

TIMED = 4  # steps, after a first one that is not timed


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


def seconds_a_step(
    build: Callable[[Tensor], Supervisor],
    images: Tensor,
    batch_size: int,
    most: float,
    **settings: Any,
) -> float:
    """Trains a supervisor for some steps and throws it away.

    Args:
        build: Makes it of images, on the device where it shall train.
        images: `[n, C, H, W]`; repeated as often as steps want.
        batch_size: Images a step.
        most: Seconds after which it is enough, once a step was timed.
        **settings: Of `supervise()`.

    Returns:
        The median; of steps with images in memory.
    """
    times = -(-(TIMED + 1) * batch_size // len(images))
    pace = _Pace(most)
    with quiet(), alone(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run itself says them
        supervisor = build(images.repeat(times, 1, 1, 1))
        supervisor.supervise(
            **settings,
            epochs=2,
            batch_size=batch_size,
            name=None,
            callbacks=[pace],
            progress=False,
        )
    return statistics.median(pace.seconds)
