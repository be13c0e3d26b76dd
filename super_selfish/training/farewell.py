"""One sentence instead of a traceback where a user has stopped a run.

The exception stays what it is, a KeyboardInterrupt, so that no script runs on as if the network
were trained, and whoever catches it does so as before. Only what is shown of it is ours.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from super_selfish.training import distributed
from super_selfish.training.agreement import OtherProcessError
from super_selfish.training.standing import stopped

P = ParamSpec("P")
R = TypeVar("R")

_SENTENCE = "_super_selfish_sentence"


def takes_leave(method: Callable[P, R]) -> Callable[P, R]:
    """Makes a method that sets `self.run` say where it was, and what is stored, if a user stops it.

    Args:
        method: Of a supervisor.

    Returns:
        The method.
    """

    @functools.wraps(method)
    def taking_leave(*args: P.args, **kwargs: P.kwargs) -> R:
        supervisor: Any = args[0]
        former = supervisor.run
        try:
            return method(*args, **kwargs)
        except KeyboardInterrupt as interruption:
            if supervisor.run is not former:
                show_instead_of_traceback(interruption, stopped(supervisor.run, "Ctrl-C"))
            raise
        except OtherProcessError as failure:  # whose own traceback is there already
            said = [f"{type(failure).__name__}: {failure}", *getattr(failure, "__notes__", [])]
            show_instead_of_traceback(failure, "\n".join(said))
            raise
        except SystemExit as leaving:
            code = leaving.code
            if isinstance(code, int) and code > 128 and supervisor.run is not former:
                _write(stopped(supervisor.run, signal.Signals(code - 128).name))
            raise

    return taking_leave


def show_instead_of_traceback(interruption: BaseException, sentence: str) -> None:
    """Makes Python, and IPython, show a sentence if nobody catches the exception."""
    marked: Any = interruption
    setattr(marked, _SENTENCE, sentence)
    # IPython asks the exception itself; there, and in notebooks, the next cell may go on.
    marked._render_traceback_ = lambda: [sentence]
    if getattr(sys.excepthook, _SENTENCE, None) is None:
        sys.excepthook = _Hook(sys.excepthook)


def sentence_of(error: BaseException) -> str | None:
    """What is shown of an exception instead of its traceback; None of one that is shown as it is.

    Args:
        error: Any.
    """
    sentence: str | None = getattr(error, _SENTENCE, None)
    return sentence


class _Hook:
    """Shows our sentence of what carries one; hands everything else on."""

    def __init__(self, former: Any) -> None:
        self._former = former
        setattr(self, _SENTENCE, True)

    def __call__(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        sentence = sentence_of(error)
        if sentence is None:
            self._former(kind, error, trace)
        else:
            _write(sentence)


def _write(sentence: str) -> None:
    if distributed.rank() == 0:
        sys.stderr.write(f"{sentence}\n")
