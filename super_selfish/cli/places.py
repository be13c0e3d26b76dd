"""Images that a user names: whether they are there, before anything is imported to read them."""

from __future__ import annotations

import glob
import os

from super_selfish.cli.wrong import meant


def require_images(*places: str | None) -> None:
    """Refuses folders and files that are not there.

    Args:
        *places: Paths or patterns; None is none.

    Raises:
        ValueError: If one is not there, with one that is and is called nearly so.
    """
    for place in places:
        if place is None:
            continue
        path = os.path.expanduser(place)
        if not path:
            raise ValueError("expected a folder of images, but its name is empty")
        if not os.path.lexists(path) and not glob.has_magic(path):
            raise ValueError(f"there is no folder or file {place}{near(path)}")


def near(path: str) -> str:
    """The end of a sentence with what lies in the same folder under a name that is near.

    Args:
        path: Of what is not there.
    """
    folder, name = os.path.split(path.rstrip(os.sep))
    if not os.path.isdir(folder or "."):
        return ""
    return meant(name, os.listdir(folder or "."))
