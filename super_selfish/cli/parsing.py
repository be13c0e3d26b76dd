"""From words, and a file of settings, to the arguments of a function; jsonargparse checks them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser

from super_selfish.cli.flags import Flag, in_words
from super_selfish.cli.line import as_flags
from super_selfish.cli.reading import Missing
from super_selfish.cli.wrong import WrongLineError, meant

CONFIG = Flag("config", str, None, "A file with flags, such as the run.yaml of another run.")


def parsed(words: Sequence[str], flags: Sequence[Flag]) -> dict[str, Any]:
    """What was given, by name; those of a group as a dictionary of their own.

    Args:
        words: Of a user.
        flags: That there are.

    Returns:
        Values of the types that the flags have; nothing for what was left out.

    Raises:
        WrongLineError: If a word or a value is wrong, or one is missing.
    """
    parser = ArgumentParser(exit_on_error=False, add_help=False, print_config=None)
    parser.add_argument("--config", action="config")
    for flag in flags:
        parser.add_argument(f"--{flag.name}", type=flag.type, default=argparse.SUPPRESS)
    try:
        given = parser.parse_args(as_flags(words, [*flags, CONFIG])).as_dict()
    except argparse.ArgumentError as error:
        raise WrongLineError(_in_a_line(str(error), flags)) from error
    given.pop("config", None)
    for flag in flags:
        if flag.default is Missing and flag.name not in given:
            raise WrongLineError(f"{flag.typed} is missing: {_plain(flag.text)}")
    return given


def _in_a_line(message: str, flags: Sequence[Flag]) -> str:
    """What jsonargparse has to say, in the words of the user."""
    key = re.search(r'Parser key "([^"]+)"', message)
    flag = next((each for each in flags if key and each.name == key[1]), None)
    value = re.search(r"(?:Given value|Got value): (.*)", message)
    if flag is not None and value is not None:
        return f"{flag.typed} takes {in_words(flag.type)}, got {value[1]!r}"
    unknown = re.search(r"(?:Option|Key) '([^']+)' is not (?:accepted|expected)", message)
    if unknown is not None:
        return f"the file has {unknown[1]!r}{meant(unknown[1], [flag.name for flag in flags])}"
    if key is not None and key[1] == "config":
        message = message.partition(":")[2]
    return " ".join(message.split())


def _plain(text: str) -> str:
    """The first sentence."""
    return text.partition(". ")[0].rstrip(".")
