"""DICOM as its own window shows it: a ready-made `loader=`.

Shapes: `H, W` height, width of an image.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from super_selfish.data.formats import DICOM
from super_selfish.data.regular import open_regular


def dicom_window(
    path: str | os.PathLike[str], *, frame: int | None = None, view: int = 0
) -> NDArray[np.float32]:
    """Reads a DICOM file as a radiologist first sees it: a reader for `loader=`.

    Of the numbers that the file means (`docs/formats.md`) its window, or its table (VOI LUT), says
    which are black and which are white; those beyond are cut. Every file has its own window, which
    people choose for what they look for: the same number is not the same grey in all of them.

    Args:
        path: The file.
        frame: Which one, of several in a file; `functools.partial(dicom_window, frame=0)`.
        view: Which window, where the file has several.

    Returns:
        `[H, W]`, in [0, 1].

    Raises:
        ModuleNotFoundError: If pydicom is missing.
        ValueError: If it is no DICOM file, has colours, or no such window or frame.
    """
    if not DICOM.is_installed:
        raise ModuleNotFoundError(
            f"pydicom reads windows of DICOM: {DICOM.remedy}", name=DICOM.package
        )
    from super_selfish.data.dicom import DicomFrames

    with open_regular(path, whole=False) as file:
        if not DICOM.starts(file.read(132)):
            raise ValueError("it is no DICOM file, so it has no window: leave dicom_window out")
        frames: Any = DicomFrames(file)
        if frame is None and frames.count > 1:
            raise ValueError(
                f"it holds {frames.count} frames: functools.partial(dicom_window, frame=0) takes "
                "the first"
            )
        place = frame or 0
        if not 0 <= place < frames.count:
            raise ValueError(f"there is no frame {place}: it has {frames.count}, counted from 0")
        return frames.windowed(place, view)
