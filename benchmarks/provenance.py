"""What a result needs to be repeated: command, date, machine, versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from super_selfish.evaluation.comparison.resources import processor_name


def write_result(path: Path, lines: Iterable[str], *packages: str) -> None:
    """Writes a result with what is needed to repeat it.

    Args:
        path: The Markdown file; its folder is made.
        lines: The result.
        *packages: As for `provenance`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "", provenance(*packages), ""]))


def provenance(*packages: str) -> str:
    """One line for the end of a table.

    Args:
        *packages: Distributions whose versions matter, besides ours and torch.

    Returns:
        Command, date, versions, processor and threads of this process.
    """
    command = " ".join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    names = ["super-selfish", "torch", *packages]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return (
        f"Command: `{command}`. Date: {datetime.date.today()}. {versions}, Python "
        f"{platform.python_version()}, {platform.platform()}, {processor_name()}, "
        f"{torch.get_num_threads()} thread(s)."
    )
