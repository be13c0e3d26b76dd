"""Warnings that show the line of whoever uses the library, and not one of ours."""

from __future__ import annotations

import inspect
import logging
import sys
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

_log = logging.getLogger(__name__)


def add_note(error: BaseException, text: str) -> None:
    """Adds a sentence to an error; Python 3.10, which knows no notes, logs it.

    Args:
        error: Shown later, with its notes.
        text: The sentence.
    """
    if sys.version_info >= (3, 11):
        error.add_note(text)
    else:
        _log.warning(text)


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
