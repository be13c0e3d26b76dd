"""Processes of one run train on the same images by the same settings, or none of them does."""

from __future__ import annotations

from super_selfish.training.control import of_all
from super_selfish.training.description import Settings
from super_selfish.training.distributed import is_distributed
from super_selfish.training.settings import differences


def require_alike(own: Settings) -> None:
    """Refuses a run whose processes would not do the same steps; all call this at once.

    They read the images and run the script each for itself: a disk on which some images are
    missing, or a setting that depends on the process, would have them wait for one another for
    ever.

    Args:
        own: What decides the run in this process.

    Raises:
        ValueError: In all processes, if one has other settings than the first; it names both.
    """
    if not is_distributed():
        return
    first, *others = of_all(own)
    for number, given in enumerate(others, start=1):
        found = differences(first, given, f"process {number}")
        if found:
            raise ValueError(
                f"the processes of a run must train alike, and process 0 has {'; '.join(found)}: "
                "give all of them the same images, in the same order, and the same settings"
            )
