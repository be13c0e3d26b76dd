"""Warnings that show the line of whoever uses the library, and not one of ours."""

from __future__ import annotations

import inspect
import warnings
from types import FrameType

# Between a user's line and ours: ourselves, and what calls us back.
_BETWEEN = frozenset(
    {
        "super_selfish",
        "torch",
        "contextlib",
        "functools",
        "concurrent",
        "threading",
        "multiprocessing",
    }
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns as from the line of the user that led here, however many calls lie between.

    Args:
        message: What the user should change.
        category: Of the warning.
    """
    frame = _of_user()
    if frame is None:  # no Python calls us
        warnings.warn(message, category, stacklevel=2)
        return
    names = frame.f_globals
    warnings.warn_explicit(
        message,
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=names.get("__name__", "<unknown>"),
        registry=names.setdefault("__warningregistry__", {}),
    )


def _of_user() -> FrameType | None:
    """The first frame that is neither ours nor of what calls us back; else the outermost."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_back is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _BETWEEN:
            break
        frame = frame.f_back
    return frame
