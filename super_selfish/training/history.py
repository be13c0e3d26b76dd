"""What happened, one row an epoch."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from super_selfish.training.checkpoint import beside, write_atomically
from super_selfish.training.control import of_all
from super_selfish.training.distributed import is_distributed
from super_selfish.training.form import is_cell
from super_selfish.training.plain import plain, plain_setting
from super_selfish.training.pooling import added, scaled

Row = dict[str, float]


class History:
    """Rows of finished epochs, and the sums of the epoch that is under way.

    Losses are summed on the device where they arise, so that keeping the history costs a step no
    wait for the device. Of several processes each has the sums of its own; `join` adds them up.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._first_loss: Tensor | None = None  # of this process's first step
        self._joined_first_loss: float | None = None  # of all processes
        self._start_epoch()

    def _start_epoch(self) -> None:
        self._start_sums()
        self._joined: dict[str, Any] | None = None  # of all processes, up to the last `join`

    def _start_sums(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, float | Tensor] = {}
        self._totals: dict[str, Tensor] = {}
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
        finite_only: bool = False,
        weight: float = 1.0,
    ) -> None:
        """Adds a step.

        Args:
            values: Scalars by name, the loss among them; averaged over the steps that have them.
            images: Images of the step.
            unreadable: Images that could not be read.
            seconds: Time of the step, with the wait.
            waited: Time for which the networks waited for data, in seconds.
            finite_only: Whether values that are not finite are left out of their mean.
            weight: Of the images of this process in the mean over processes.
        """
        if self._first_loss is None:
            self._first_loss = values["loss"].detach().float()
        for name, value in values.items():
            if value.numel() != 1:
                raise ValueError(
                    f"{name} of a step is one number, got a tensor of shape {[*value.shape]}: take "
                    "its mean"
                )
            value = value.detach().float().reshape(())
            count: float | Tensor = 1
            if finite_only:
                is_finite = value.isfinite()
                value = torch.where(is_finite, value, 0.0)
                count = is_finite.long()
            if is_distributed():
                # In doubles: sums that are joined now and then come out the same whenever it was.
                value, count = value.double() * weight, count * weight
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + count
        self._images += images
        self._unreadable += unreadable
        self._seconds += seconds
        self._waited += waited

    def count(self, name: str, events: Tensor) -> None:
        """Adds to a column that is summed over the epoch, and not averaged.

        Args:
            name: Of the column.
            events: A scalar; read at the end of the epoch.
        """
        events = events.detach().long()
        self._totals[name] = self._totals[name] + events if name in self._totals else events

    def join(self) -> None:
        """Adds up what all processes have summed since the last time; all call this at once.

        Reads the device. With one process it does nothing.
        """
        if not is_distributed():
            return
        first = None if self._first_loss is None else float(self._first_loss)
        said = of_all((self._own(), first))
        of_first = [loss for _, loss in said if loss is not None]
        if self._joined_first_loss is None and of_first:
            self._joined_first_loss = sum(of_first) / len(of_first)
        self._joined = added([*filter(None, [self._joined]), *(own for own, _ in said)], len(said))
        self._start_sums()

    def _own(self) -> dict[str, Any]:
        """The sums of this process, as plain values."""
        return {
            "sums": {name: float(total) for name, total in self._sums.items()},
            "counts": {name: float(count) for name, count in self._counts.items()},
            "totals": {name: int(total) for name, total in self._totals.items()},
            "others": [self._images, self._unreadable, self._seconds, self._waited],
        }

    def means(self) -> Row:
        """Means of the epoch so far; reads the device."""
        state = self._own() if self._joined is None else self._joined
        counts = {name: count or math.nan for name, count in state["counts"].items()}
        return {name: total / counts[name] for name, total in state["sums"].items()}

    def totals(self) -> dict[str, int]:
        """Sums of the epoch so far of what is counted; reads the device."""
        totals: dict[str, int] = (self._own() if self._joined is None else self._joined)["totals"]
        return totals

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
        images, unreadable, seconds, waited = self._others()
        row["images_per_second"] = images / seconds if seconds else 0.0
        row["seconds"] = seconds
        row["waited_for_data"] = waited
        row["unreadable"] = unreadable
        row.update(self.totals())
        self.rows.append(row)
        self._start_epoch()
        return row

    def keep_plain(self, row: Row) -> None:
        """Turns what a monitor or an algorithm has written into a row into plain values.

        Args:
            row: One of the rows.

        Raises:
            TypeError: If something is in it that is no number and no text, or has no text as its
                name; it is taken out, so that the rest can be stored.
        """
        refused: TypeError | None = None
        for name, value in list(row.items()):
            del row[name]
            try:
                _put(row, plain(name, "a column's name"), plain(value, f"column {name!r}"))
            except TypeError as error:
                refused = error
        if refused is not None:
            raise refused

    @property
    def first_loss(self) -> float:
        """Of the first step; of a resumed run the mean of its first epoch. Reads the device."""
        if self.rows and self.rows[0]["epoch"] == 1 and self._first_loss is None:
            return self.rows[0]["loss"]
        if self._joined_first_loss is not None:
            return self._joined_first_loss
        return math.nan if self._first_loss is None else float(self._first_loss)

    @property
    def waited_fraction(self) -> float:
        """Share of the epoch's time for which the networks waited for data."""
        _, _, seconds, waited = self._others()
        return waited / seconds if seconds else 0.0

    def _others(self) -> list[Any]:
        """Images, those that could not be read, seconds, and seconds of waiting."""
        own = [self._images, self._unreadable, self._seconds, self._waited]
        return own if self._joined is None else self._joined["others"]

    def state_dict(self) -> dict[str, Any]:
        """Rows and sums, as plain values and tensors."""
        rows = [dict(row) for row in self.rows]
        if self._joined is not None:
            sums = {
                name: torch.tensor(value).double() for name, value in self._joined["sums"].items()
            }
            counts = {name: _count(count) for name, count in self._joined["counts"].items()}
            return {"rows": rows, **self._joined, "sums": sums, "counts": counts}
        return {
            "rows": rows,
            "sums": {name: total.detach().cpu() for name, total in self._sums.items()},
            "counts": {name: _count(count) for name, count in self._counts.items()},
            "totals": self.totals(),
            "others": self._others(),
        }

    def load_state_dict(
        self, state: dict[str, Any], device: torch.device, times: float = 1
    ) -> None:
        """Goes on from a stored history.

        Args:
            state: What `state_dict` returned.
            device: Where the losses arise.
            times: Processes that go on, for each that was there: a step counts once for each.
        """
        if times != 1:
            state = scaled(state, times)
        self.rows = [dict(row) for row in state["rows"]]
        sums, totals = state["sums"], state.get("totals", {})
        if is_distributed():
            self._joined = {
                "sums": {name: float(total) for name, total in sums.items()},
                "counts": dict(state["counts"]),
                "totals": dict(totals),
                "others": list(state["others"]),
            }
            return
        self._sums = {name: total.float().to(device) for name, total in sums.items()}
        self._counts = dict(state["counts"])
        self._totals = {name: torch.tensor(total, device=device) for name, total in totals.items()}
        self._images, self._unreadable, self._seconds, self._waited = state["others"]

    def write_csv(self, name: str | os.PathLike[str]) -> None:
        """Writes the rows beside the checkpoint `name`, with the ending `.csv`."""
        self.csv_writer(name)()

    def csv_writer(self, name: str | os.PathLike[str]) -> Callable[[], None]:
        """What writes the rows as they are now, whenever it is called; see `write_csv`."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self.rows)
        content = text.getvalue().encode()
        return lambda: write_atomically(beside(name, ".csv"), lambda file: file.write(content))


def _count(count: float | Tensor) -> float:
    """A number of steps, whole unless it is one of a part of the images."""
    number = float(count)
    return int(number) if number.is_integer() else number


def _put(row: Row, name: Any, value: Any) -> None:
    cell = plain_setting(value)
    if not isinstance(name, str) or not is_cell(cell):
        what = type(value).__name__
        shape = f" of shape {[*value.shape]}" if isinstance(value, Tensor) else ""
        raise TypeError(
            f"column {name!r} is a {what}{shape}: a column of the history has a text as its name, "
            "and a number or a text in every row"
        )
    row[name] = cell
