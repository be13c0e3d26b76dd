"""What happened, one row an epoch."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

import torch
from torch import Tensor

from super_selfish.training.checkpoint import beside, write_atomically

Row = dict[str, float]


class History:
    """Rows of finished epochs, and the sums of the epoch that is under way.

    Losses are summed on the device where they arise, so that keeping the history costs a step no
    wait for the device.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._start_epoch()

    def _start_epoch(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._images = 0
        self._unreadable = 0
        self._seconds = 0.0
        self._waited = 0.0

    def add(
        self,
        values: dict[str, Tensor],
        *,
        images: int,
        unreadable: int = 0,
        seconds: float,
        waited: float,
    ) -> None:
        """Adds a step.

        Args:
            values: Scalars by name, the loss among them; averaged over the steps that have them.
            images: Images of the step.
            unreadable: Images that could not be read.
            seconds: Time of the step, with the wait.
            waited: Time for which the networks waited for data, in seconds.
        """
        for name, value in values.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._images += images
        self._unreadable += unreadable
        self._seconds += seconds
        self._waited += waited

    def means(self) -> Row:
        """Means of the epoch so far; reads the device."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}

    def end_epoch(self, epoch: int, learning_rate: float) -> Row:
        """Closes the epoch with a row.

        Args:
            epoch: Number of the epoch, from 1.
            learning_rate: Of the last step.

        Returns:
            The row: epoch, means of the logged values, lr, images/s, seconds, seconds waited for
            data, and images left out where there were any.
        """
        row: Row = {"epoch": epoch, **self.means(), "lr": learning_rate}
        row["images_per_second"] = self._images / self._seconds if self._seconds else 0.0
        row["seconds"] = self._seconds
        row["waited_for_data"] = self._waited
        row["unreadable"] = self._unreadable
        self.rows.append(row)
        self._start_epoch()
        return row

    @property
    def waited_fraction(self) -> float:
        """Share of the epoch's time for which the networks waited for data."""
        return self._waited / self._seconds if self._seconds else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Rows and sums, as plain values and tensors."""
        return {
            "rows": [dict(row) for row in self.rows],
            "sums": {name: total.detach().cpu() for name, total in self._sums.items()},
            "counts": dict(self._counts),
            "others": [self._images, self._unreadable, self._seconds, self._waited],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Goes on from a stored history.

        Args:
            state: What `state_dict` returned.
            device: Where the losses arise.
        """
        self.rows = [dict(row) for row in state["rows"]]
        self._sums = {name: total.to(device) for name, total in state["sums"].items()}
        self._counts = dict(state["counts"])
        self._images, self._unreadable, self._seconds, self._waited = state["others"]

    def write_csv(self, name: str | os.PathLike[str]) -> None:
        """Writes the rows beside the checkpoint `name`, with the ending `.csv`."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(beside(name, ".csv"), lambda file: file.write(text.getvalue().encode()))
