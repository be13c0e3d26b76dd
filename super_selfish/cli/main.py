"""`super-selfish`: finds the command, calls its function, and ends with a number as others do.

0: done; 1: failed, with a line that says why; 2: a flag or a value that there is not; 128 and the
number of a signal, 130 for Ctrl-C, if one has ended it.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from super_selfish import __version__
from super_selfish.cli.command import PROGRAM
from super_selfish.cli.commands import COMMANDS, overview
from super_selfish.cli.output import say
from super_selfish.cli.wrong import WrongLineError, meant
from super_selfish.wrapping import broken

FAILED, WRONG_LINE, INTERRUPTED, NO_READER = 1, 2, 130, 141


def main(words: Sequence[str] | None = None) -> int:
    """Does what a command line says.

    Args:
        words: Without the name of the program. Default: those of this process.

    Returns:
        The number to end with.
    """
    given = list(sys.argv[1:] if words is None else words)
    shows_trace = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        with _warnings_in_a_line(given):
            _do(given)
    except WrongLineError as error:
        return _ended(WRONG_LINE, f"{error}", shows_trace, hint=_help_of(given))
    except KeyboardInterrupt as interruption:
        return _ended(INTERRUPTED, _farewell(interruption), shows_trace)
    except BrokenPipeError:  # whoever read has gone, as `head` does
        sys.stdout = open(os.devnull, "w")  # what is flushed at the end has a place
        return NO_READER
    except Exception as error:  # noqa: BLE001  # whatever it is, users get a line and no traceback
        return _ended(FAILED, _in_flags(_in_a_line(error), given), shows_trace)
    return 0


def _do(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help", "help"):
        say(overview())
        return
    if words[0] == "--version":
        say(f"{PROGRAM} {__version__}")
        return
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise WrongLineError(f"there is no command {name!r}{meant(name, COMMANDS)}")
    if {"-h", "--help"} & set(rest):
        say(COMMANDS[name].help(rest))
    else:
        COMMANDS[name](rest)


def _help_of(words: list[str]) -> str:
    """Where a user finds what there is."""
    command = f"{words[0]} " if words and words[0] in COMMANDS else ""
    return f" ({PROGRAM} {command}--help)"


def _ended(code: int, sentence: str, shows_trace: bool, hint: str = "") -> int:
    if shows_trace:
        traceback.print_exc()
    sys.stderr.write(f"{PROGRAM}: {sentence}{hint}\n")
    return code


def _in_a_line(error: Exception) -> str:
    text = re.sub(r"^\[Errno \d+\] ", "", " ".join(str(error).split()))
    if isinstance(error, ValueError | TypeError | OSError | ImportError) and text:
        return text
    return f"{': '.join(filter(None, [type(error).__name__, text]))} (--debug shows where)"


def _in_flags(text: str, words: list[str]) -> str:
    """What the library says of its keywords, as the flags that a command has for them."""
    command = COMMANDS.get(words[0]) if words else None
    typed = {flag.name: flag.typed for flag in command.flags()} if command else {}

    def flag(found: re.Match[str]) -> str:
        name = typed.get(found[1])
        return found[0] if name is None else f"{name} {found[2] or ''}".rstrip()

    return re.sub(r'\b(\w+)=(?:True|False|"([^"\s]+)")?(?=[\s,.:;)]|$)', flag, text)


def _farewell(interruption: KeyboardInterrupt) -> str:
    """What a run says that was stopped, if one was."""
    if "super_selfish.training.farewell" not in sys.modules:
        return "stopped by Ctrl-C"
    from super_selfish.training.farewell import sentence_of

    return sentence_of(interruption) or "stopped by Ctrl-C"


@contextmanager
def _warnings_in_a_line(words: list[str]) -> Iterator[None]:
    """While entered, warnings are sentences, and do not name a line of ours."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        del category, filename, lineno, line
        stream: Any = sys.stderr if file is None else file
        text = _in_flags(" ".join(str(message).split()), words)
        stream.write(broken(f"Warning: {text}") + "\n")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
