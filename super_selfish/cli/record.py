"""What a command was asked for, in a file beside what it has written: `--config` reads it again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from super_selfish import __version__
from super_selfish.cli.flags import Flag
from super_selfish.cli.reading import Code, Missing
from super_selfish.cli.runs import named_checkpoint

# Of files and folders, which are written so that they hold from everywhere.
_PLACES = {"images", "test", "pretrain", "downstream", "downstream_test"}
_PLACES |= {"run", "out", "path", "others", "evaluation"}
# Of files, runs or networks by name; the first two are written so.
_PLACES_OR_NAMES = {"weights", "teacher", "teacher_weights"}
# Of how it is shown, or of what lies there already: nothing of what is done.
_LEFT_OUT = ("progress", "overwrite", "json", "retry")
_PLAIN = re.compile(r"[A-Za-z_./][\w./ -]*")
_OTHERWISE = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def settings_of(flags: Sequence[Flag], given: Mapping[str, Any]) -> dict[str, Any]:
    """What holds for a call: what was given, and the defaults of what was not.

    Args:
        flags: Of the command; of those in groups only what was given counts.
        given: By a user.
    """
    defaults = {
        flag.name: flag.default
        for flag in flags
        if "." not in flag.name and not isinstance(flag.default, Code)
    }
    held = {
        name: value
        for name, value in (defaults | dict(given)).items()
        if value is not None and value is not Missing and name not in _LEFT_OUT
    }
    return {name: _from_everywhere(name, value) for name, value in held.items()}


@contextmanager
def recorded(command: str, settings: Mapping[str, Any], file: Path | None) -> Iterator[None]:
    """While entered, a command works; afterwards, or if a user has stopped it, the file is there.

    Args:
        command: Its name.
        settings: From `settings_of`.
        file: Where they are written; None writes nothing.
    """
    try:
        yield
    except Exception:
        raise  # what was refused, or has failed, leaves no file
    except BaseException:
        _write(command, settings, file)
        raise
    _write(command, settings, file)


def run_file(settings: Mapping[str, Any]) -> Path:
    """Where `pretrain` and `choose` are recorded: in their folder."""
    return Path(settings["out"]) / "run.yaml"


def beside_path(settings: Mapping[str, Any]) -> Path:
    """Where what writes one file is recorded: beside it, as `features.csv.yaml`."""
    return Path(f"{settings['path']}.yaml")


def beside_out(settings: Mapping[str, Any]) -> Path | None:
    """Where what shows its result is recorded: beside the first file, if one was wanted."""
    return Path(f"{settings['out'][0]}.yaml") if settings.get("out") else None


def as_yaml(settings: Mapping[str, Any], indent: str = "") -> str:
    """Settings as lines; values are those of JSON, which YAML reads as well.

    Args:
        settings: Plain values by name.
        indent: Before each line.
    """
    lines = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{name}:", as_yaml(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {_value(value)}")
    return "\n".join(lines)


def _write(command: str, settings: Mapping[str, Any], file: Path | None) -> None:
    if file is None or not file.parent.is_dir():
        return
    from super_selfish.training.atomic import write_atomically

    chosen = file.with_name("choices.json")
    held = dict(settings)
    if command == "pretrain" and chosen.is_file():
        held["choices"] = json.loads(chosen.read_text(encoding="utf-8"))["choices"]
    head = f"# super-selfish {command} --config {file.name}, version {__version__}"
    text = f"{head}\n{as_yaml(held)}\n"
    write_atomically(file, lambda opened: opened.write(text.encode(errors="surrogateescape")))


def _from_everywhere(name: str, value: Any) -> Any:
    """Paths without regard to the present folder."""
    if name in _PLACES_OR_NAMES:
        found = named_checkpoint(os.path.expanduser(value)) if isinstance(value, str) else None
        return value if found is None else _absolute(value)
    if name not in _PLACES:
        if isinstance(value, Mapping):  # the flags of a group
            return {key: _from_everywhere(key, inner) for key, inner in value.items()}
        return value
    if isinstance(value, Mapping):
        return {key: _absolute(place) for key, place in value.items()}
    return [_absolute(each) for each in value] if isinstance(value, list) else _absolute(value)


def _absolute(place: str) -> str:
    return os.path.abspath(os.path.expanduser(place))


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(name)}: {_value(inner)}" for name, inner in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))  # YAML takes 1e-05 for a word
    is_plain = isinstance(value, str) and _PLAIN.fullmatch(value) is not None
    if is_plain and value.strip() == value and value.lower() not in _OTHERWISE:
        return str(value)
    return json.dumps(value, ensure_ascii=False)
