"""What would help a run whose networks wait for their data."""

from __future__ import annotations

import os
import time

from super_selfish.training.run import Measured

SHARE = 0.25  # of the time; below it is not worth a word
STEPS, SECONDS = 50, 20.0  # before both have passed nothing is said: workers start, caches fill
FIRST_STEPS = 5  # not counted
ENOUGH_IMAGES = 128  # in a batch: augmentation of more gains little by still more


class Advice:
    """Adds up the time for which the networks waited, and what for."""

    def __init__(self, batch_size: int, num_workers: int, *, has_cache: bool) -> None:
        """Takes the settings of a run that could be other ones.

        Args:
            batch_size: Images a step.
            num_workers: Processes that read images.
            has_cache: Whether the images are kept decoded already.
        """
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.has_cache = has_cache
        self._steps = 0
        self._waited = 0.0
        self._read = 0.0
        self._began = 0.0

    def after_step(self, feed: Measured) -> str | None:
        """Looks at a step.

        Args:
            feed: Knows for how long the step waited.

        Returns:
            One sentence once there is something to say, or None.
        """
        self._steps += 1
        if self._steps <= FIRST_STEPS:
            self._began = time.perf_counter()
            return None
        self._waited += feed.waited
        self._read += feed.read
        if self._steps < STEPS:
            return None
        seconds = time.perf_counter() - self._began
        if seconds < SECONDS or self._waited < SHARE * seconds:
            return None
        return self._sentence(self._waited / seconds)

    def _sentence(self, share: float) -> str:
        of_reading = self._read >= 0.5 * self._waited
        remedies = self._faster_reading() if of_reading else self._faster_augmentation()
        work = "reading images" if of_reading else "augmentation"
        *first, last = remedies
        what = f"{', '.join(first)} or {last}" if first else last
        return (
            f"The networks wait for data {share:.0%} of the time, most of it for {work}. "
            f"What would help: {what}."
        )

    def _faster_reading(self) -> list[str]:
        remedies = []
        processors = os.cpu_count() or 1
        if self.num_workers < processors:
            workers = min(processors, max(2, 2 * self.num_workers))
            remedies.append(f"num_workers={workers} (now {self.num_workers})")
        if not self.has_cache:
            remedies.append('cache="images.cache" (decodes the files once)')
        return [*remedies, "dataset_on_device=True (for a set that fits there)"]

    def _faster_augmentation(self) -> list[str]:
        remedies = []
        if self.batch_size < ENOUGH_IMAGES:
            remedies.append(f"a larger batch_size (now {self.batch_size})")
        return [*remedies, "smaller images", "an accelerator (it augments, too)"]
