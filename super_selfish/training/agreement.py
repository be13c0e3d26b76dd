"""What all processes of a run agree on between two steps, so that they end at the same one.

Each tells what it wants in one small sum, once its batch is there and before its networks run. The
sum goes over the processors (`control.py`), so no accelerator waits, and what a process wants is
done by all before the very next step: none is left waiting for another that has gone.

A loss that is not finite needs no word: it makes the gradient not finite, which all share.
"""

from __future__ import annotations

import re
import signal
from typing import NamedTuple

from super_selfish.training.control import sums
from super_selfish.training.distributed import rank, world_size
from super_selfish.training.interrupt import LEAVING


class OtherProcessError(RuntimeError):
    """Another process of the run has failed, and all have ended at the same step."""


class LostProcessError(RuntimeError):
    """Another process of the run is no more; what is whole is stored."""


class Told(NamedTuple):
    """What a process tells; added up, what all of them want."""

    stops: int = 0  # a callback has ended the run
    is_late: int = 0  # its time is up
    fails: int = 0  # an error was raised in this process
    stores: int = 0  # a checkpoint is due, or a signal asks for one
    shows: int = 0  # the history is looked at
    listens: int = 0  # a callback wants what the next step measures
    unreadable: int = 0  # images of the batch
    leaves: int = 0  # the run has come to its end here


class Agreed(NamedTuple):
    """What all processes have told."""

    told: Told
    signal: signal.Signals | None  # that asks to leave, of any process
    images: tuple[int, ...]  # of the batch, of each process

    @property
    def fails(self) -> bool:
        """Whether a process fails, or has come to its end alone."""
        return self.told.fails > 0 or 0 < self.told.leaves < len(self.images)


def agree(told: Told, wanted: signal.Signals | None = None, images: int = 0) -> Agreed:
    """Tells the other processes, and learns what they have told; all call this at once.

    Args:
        told: What this process wants.
        wanted: A signal that has asked it to leave.
        images: Of its batch.

    Raises:
        LostProcessError: If another process is no more.
    """
    signals = [getattr(signal, name) for name in LEAVING]
    asked = [int(each is wanted) for each in signals]
    each = [images if number == rank() else 0 for number in range(world_size())]
    try:
        summed = sums([*told, *asked, *each])
    except RuntimeError as error:
        raise LostProcessError(
            f"another process of this run has ended, or cannot be reached ({error}): look for the "
            "first error in what the processes have written"
        ) from error
    of_told, rest = summed[: len(told)], summed[len(told) :]
    wants = [each for each, number in zip(signals, rest, strict=False) if number]
    images_of_all = tuple(rest[len(signals) :])
    return Agreed(Told(*of_told), wants[0] if wants else None, images_of_all)


def reason_of(error: BaseException) -> str:
    """An error as other processes are told of it: its kind and its words.

    What a process that reads images has met comes with that one's traceback in its words, which
    belongs to the output of the process that fails, not to that of all others.

    Args:
        error: As it was raised.
    """
    told = str(error)
    if re.match(r"Caught \w+ in .*\nOriginal Traceback ", told):  # so torch writes it
        lines = told.splitlines()
        indented = [place for place, line in enumerate(lines) if line.startswith("  ")]
        said = "\n".join(lines[indented[-1] + 1 :] if indented else lines)
        return f"{said.strip()} (in a process that reads images for it)"
    return f"{type(error).__name__}: {told}"
