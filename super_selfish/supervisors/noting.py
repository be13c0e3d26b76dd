"""What `_forward` tells the run of a step, besides its loss."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from super_selfish.supervisors.construction import Constructed


class Noting(Constructed):
    """Networks whose steps leave notes: scalars, memories, what a loss is a mean over."""

    def _log(self, **values: Tensor) -> None:
        """Notes scalars of the present step; the history keeps their mean of the epoch."""
        self._logged.update(values)

    def _write_memory(self, write: Callable[..., object], *values: Tensor) -> None:
        """Writes to what is remembered between updates, once all batches of this one are through.

        Args:
            write: Such as `queue.enqueue`.
            *values: Its arguments.
        """
        if self.run is None:
            write(*values)
        else:
            self.run.accumulation.write(write, *values)

    def _counts(
        self,
        number: Tensor | float | None,
        part: Tensor | None = None,
        player: str | None = None,
    ) -> None:
        """Says in `_forward` what the loss is a mean over, where that is not images.

        Batches of one update (`accumulate`), and those of several processes, weigh by it.

        Args:
            number: How much counts in this batch, a scalar or 0-d tensor; best as a number of
                images (pixels that count / pixels of an image). None: images, as if not called.
            part: The term of the loss that is such a mean, where the rest is one over images.
            player: Of several players, the one to whose loss `part` belongs.
        """
        if self.run is not None and number is not None:
            self.run.accumulation.count(number, part, player)
