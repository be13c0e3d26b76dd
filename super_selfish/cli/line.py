"""From the words of a command line to flags with their values, each in one word.

What people type is more than one form for each flag: `--batch-size 64`, `--batch_size=64`,
`--image-size 96 128`, `--overwrite`, `--no-progress`, `--others mine=runs/mine yours=runs/yours`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from super_selfish.cli.flags import Flag, in_words
from super_selfish.cli.wrong import WrongLineError, meant

_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", flags=re.IGNORECASE)


def is_flag(word: str) -> bool:
    """Whether a word names a flag; a negative number does not, nor what begins as one, `-5min`."""
    return word.startswith("-") and word != "-" and re.match(r"-\.?\d", word) is None


def as_flags(words: Sequence[str], flags: Sequence[Flag]) -> list[str]:
    """The words as `--name=value`, names as in Python, values as in YAML.

    Args:
        words: Of a user.
        flags: That there are.

    Raises:
        WrongLineError: If a word is none of them, or lacks its value.
    """
    known = {flag.name: flag for flag in flags}
    placed = [flag for flag in flags if flag.is_placed]
    rest, found = list(words), []
    while rest:
        word = rest.pop(0)
        if is_flag(word):
            flag, values = _taken(word, rest, known)
            placed = [other for other in placed if other != flag]
        elif placed:
            flag, values = placed.pop(0), [word]
        else:
            raise WrongLineError(f"{word!r} is a word too many{meant(word, known)}")
        found.append(f"--{flag.name}={_joined(flag, values)}")
    # What a file says counts less than what is typed, wherever its name is typed.
    return sorted(found, key=lambda word: not word.startswith("--config="))


def _taken(word: str, rest: list[str], known: Mapping[str, Flag]) -> tuple[Flag, list[str]]:
    """The flag that a word names, and its values, which are taken off the rest."""
    typed, has_value, value = word.lstrip("-").partition("=")
    name = typed.replace("-", "_")
    is_on = name in known or not name.startswith("no_")
    flag = known.get(name if is_on else name.removeprefix("no_"))
    if flag is None or (not is_on and not flag.is_switch):
        raise WrongLineError(f"there is no {word.partition('=')[0]}{_meant(typed, known)}")
    if has_value:
        return flag, [value]
    if flag.is_switch:
        is_said = is_on and bool(rest) and rest[0].lower() in ("true", "false")
        return flag, [rest.pop(0) if is_said else str(is_on).lower()]
    values: list[str] = []
    while rest and not is_flag(rest[0]) and (not values or _may_follow(flag, values, rest[0])):
        values.append(rest.pop(0))
    if not values:
        raise WrongLineError(f"{flag.typed} takes {in_words(flag.type)}, but nothing follows it")
    return flag, values


def _may_follow(flag: Flag, values: list[str], word: str) -> bool:
    """Whether a word is one more value, after those that a flag has."""
    is_whole = flag.takes_names and flag.takes_one and "=" not in values[0]
    if is_whole or not (flag.takes_several or flag.takes_names):
        return False
    if values[0].startswith(("[", "{")):
        return False
    return not flag.takes_numbers or bool(_NUMBER.fullmatch(values[0]) and _NUMBER.fullmatch(word))


def _meant(typed: str, known: Mapping[str, Flag]) -> str:
    """Flags that are near: by their letters, or that are called so within a group."""
    name = typed.replace("-", "_")
    within = [flag.typed for flag in known.values() if flag.name.rpartition(".")[2] == name]
    if within:
        return f": did you mean {' or '.join(within[:2])}?"
    return meant(f"--{typed}", [flag.typed for flag in known.values() if not flag.is_placed])


def _joined(flag: Flag, values: list[str]) -> str:
    """Values as one word of YAML."""
    is_whole = flag.takes_one and "=" not in values[0]
    if flag.takes_names and not is_whole and not values[0].startswith("{"):
        pairs = [value.partition("=") for value in values]
        wrong = [value for value in values if "=" not in value]
        if wrong:
            raise WrongLineError(f"{flag.typed} takes NAME=VALUE, got {wrong[0]!r}")
        return json.dumps({name: value for name, _, value in pairs})
    if not flag.takes_several or values[0].startswith("["):
        return values[0]
    if len(values) == 1 and flag.takes_one:
        return values[0]
    return f"[{', '.join(map(_quoted, values))}]"


def _quoted(value: str) -> str:
    """A number as it is, anything else as text."""
    return value if _NUMBER.fullmatch(value) else json.dumps(value)
