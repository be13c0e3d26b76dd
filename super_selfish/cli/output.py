"""What is written for people, and for machines."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from super_selfish.wrapping import broken, columns


def say(text: str) -> None:
    """Writes sentences and tables to where results go; breaks lines that are too long."""
    sys.stdout.write(broken(text) + "\n")
    sys.stdout.flush()


def give(result: Any, *, as_json: bool, out: list[str] | None) -> None:
    """Shows a result, and writes it to files.

    Args:
        result: Prints as sentences, has `as_dict()`, and perhaps `to_csv`, `to_markdown`, `plot`.
        as_json: Shows it as JSON instead.
        out: Files, whose endings say what is written.

    Raises:
        ValueError: If it cannot be written so.
    """
    if as_json:
        sys.stdout.write(_json(result))
    else:
        say(result.text(columns()) if hasattr(result, "text") else str(result))
    for path in out or []:
        write(result, path)


WRITERS = {".csv": "to_csv", ".md": "to_markdown"}


def require_writable(path: str, kind: type) -> None:
    """Refuses a file before hours are spent on what shall lie in it.

    Args:
        path: The file.
        kind: Of the result.

    Raises:
        ValueError: If a result of that kind cannot be written so.
    """
    ending = os.path.splitext(path)[1].lower()
    method = WRITERS.get(ending, "as_dict" if ending == ".json" else "plot")
    if not hasattr(kind, method) or not ending:
        known = [".json", *(end for end, name in WRITERS.items() if hasattr(kind, name))]
        known += [".png"] if hasattr(kind, "plot") else []
        raise ValueError(f"{path} must end in {', '.join(known)}")


def write(result: Any, path: str) -> None:
    """Writes a result as the ending of a file says."""
    from super_selfish.training.atomic import write_atomically
    from super_selfish.training.telling import warn

    place = Path(os.path.expanduser(path))
    ending = place.suffix.lower()
    place.parent.mkdir(parents=True, exist_ok=True)
    if ending == ".json":
        write_atomically(place, lambda file: file.write(_json(result).encode()))
    elif ending in WRITERS:
        text = getattr(result, WRITERS[ending])()
        write_atomically(place, lambda file: file.write(text.encode(errors="surrogateescape")))
    else:
        try:
            result.plot(place)
        except ValueError as error:  # such as a check that has found nothing
            warn(f"{path} is not written: {error}")


def _json(result: Any) -> str:
    return json.dumps(result.as_dict(), indent=2, ensure_ascii=False) + "\n"
