"""Which files a pattern such as `"scans/**/*.tif"` names."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from super_selfish.data.scanning import FolderState, Run, files_below


def root_of(pattern: str) -> Path:
    """The folder up to which a pattern names one place."""
    return _split(pattern)[0]


def has_any_depth(pattern: str) -> bool:
    """Whether it names any number of folders."""
    return "**" in _split(pattern)[1]


def files_that_match(pattern: str, visited: list[FolderState] | None = None) -> Iterator[Run]:
    """The files that a pattern names, sorted by the parts of their paths below `root_of(pattern)`.

    `**` is any number of folders, of which hidden ones are left out, as hidden files are; without
    it the pattern means what it means to `glob`.

    Args:
        pattern: Has at least one of `*`, `?` and `[`.
        visited: Is given every folder that was read, if the pattern has `**`.

    Raises:
        OSError: A folder cannot be read.
    """
    root, wanted = _split(pattern)
    if "**" not in wanted:
        yield from _globbed(pattern, root)
        return
    if not root.is_dir():
        return
    for run in files_below(root, visited):  # links to a parent must not loop, as they do in `glob`
        names = _matching(run, wanted)
        if names:
            yield Run(run.parts, names)


def _split(pattern: str) -> tuple[Path, tuple[str, ...]]:
    fixed = []
    for part in Path(pattern).parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed), Path(pattern).parts[len(fixed) :]


def _globbed(pattern: str, root: Path) -> Iterator[Run]:
    """What `glob` finds, all at one depth: folders are sorted first, then the files of each."""
    found: dict[str, list[str]] = {}
    for path in glob.iglob(pattern):
        if not os.path.isdir(path):
            folder, name = os.path.split(path)
            found.setdefault(folder, []).append(name)
    places = [(Path(folder).relative_to(root).parts, folder) for folder in found]
    for parts, folder in sorted(places):
        yield Run(parts, sorted(found[folder]))


def _matching(run: Run, wanted: tuple[str, ...]) -> list[str]:
    """The names in a folder that a pattern with `**` takes."""
    # How much of the pattern the folders may have used up: each is the number of parts that have.
    used = _with_none_of_stars({0}, wanted)
    for part in run.parts:
        after = {place for place in used if place < len(wanted) and wanted[place] == "**"}
        after |= {
            place + 1
            for place in used
            if place < len(wanted) and wanted[place] != "**" and fnmatch(part, wanted[place])
        }
        used = _with_none_of_stars(after, wanted)
    last = [
        wanted[place]
        for place in used
        if place < len(wanted)
        and len(wanted) in _with_none_of_stars({place + (wanted[place] != "**")}, wanted)
    ]
    if "**" in last:
        return run.names
    return [name for name in run.names if any(fnmatch(name, pattern) for pattern in last)]


def _with_none_of_stars(used: set[int], wanted: tuple[str, ...]) -> set[int]:
    """Adds where one is if `**` stands for no folder."""
    for place, part in enumerate(wanted):
        if part == "**" and place in used:
            used = used | {place + 1}
    return used
