"""Tables with a column of paths, and perhaps one of labels: CSV files, and frames of any library.

Of a frame its columns are asked for by name, as those of pandas, polars and pyarrow are: none of
them is imported.

    path,label
    scans/1.png,cat
    scans/2.png,dog
    scans/3.png,

An image without a label may stand among others with one.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from super_selfish.data.files import ALL_ENDINGS, FileList
from super_selfish.data.samples import SKIPPED_LABEL

TABLE_ENDINGS = (".csv", ".tsv")
PATHS = ("path", "image", "file", "filename", "filepath", "image_path", "img_path", "img")
LABELS = ("label", "labels", "target", "class", "class_name", "category")
_FRAMES = ("DataFrame", "Table")
_SHOWN = 8  # columns that are named
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")


def is_frame(data: object) -> bool:
    """Whether this is a frame of pandas, polars, pyarrow or the like."""
    return type(data).__name__ in _FRAMES and hasattr(data, "columns")


def is_table_file(path: str) -> bool:
    """Whether a path is that of a file with a table."""
    return path.lower().endswith(TABLE_ENDINGS) and os.path.isfile(path)


def files_of_frame(frame: Any) -> FileList:
    """The images of a frame; paths are relative to the present folder.

    Args:
        frame: Its columns by name, `frame["path"]`.

    Raises:
        ValueError: If no column holds paths, or a path or a label is none.
    """
    names = [str(name) for name in getattr(frame, "column_names", frame.columns)]
    columns = {name: _entries(frame[name]) for name in names}
    return _files(columns, f"the {type(frame).__name__}", Path())


def files_of_table(path: str) -> FileList:
    """The images of a CSV file; paths are relative to its folder, or else to the present one.

    Args:
        path: Of the file, whose first line names the columns; or is an image already.

    Raises:
        ValueError: If it is no table, no column holds paths, or a path or a label is none.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        delimiter = "\t" if path.lower().endswith(".tsv") else _delimiter(file.readline())
        file.seek(0)
        rows = [row for row in csv.reader(file, delimiter=delimiter) if any(row)]
    if not rows:
        raise ValueError(f"{path} is empty: expected a column of paths, and perhaps one of labels")
    header, first = rows[0], 1
    if any(_is_image(cell) for cell in header):
        header, first = ["path", "label", *map(str, range(2, len(header)))][: len(header)], 0
    for number, row in enumerate(rows[first:], start=first + 1):
        if len(row) != len(header):
            raise ValueError(
                f"line {number} of {path} has {len(row)} cells, and {len(header)} columns are "
                f"named: {_listed(header)}"
            )
    columns = {
        name.strip(): [row[place].strip() or None for row in rows[first:]]
        for place, name in enumerate(header)
    }
    return _files(columns, path, Path(path).parent)


def _files(columns: Mapping[str, Sequence[Any]], what: str, folder: Path) -> FileList:
    name = _column_of_paths(columns, what)
    paths = columns[name]
    missing = [place for place, entry in enumerate(paths) if entry is None]
    if missing:
        raise ValueError(f"row {missing[0]} of {what} has no {name}")
    if not paths:
        raise ValueError(f"{what} has no rows: expected a path in each")
    label = _column_of_labels(columns, name)
    labels, classes = (None, None) if label is None else _labels(columns[label], label, what)
    return FileList(_found([os.fspath(entry) for entry in paths], folder, what), labels, classes)


def _column_of_paths(columns: Mapping[str, Sequence[Any]], what: str) -> str:
    named = _named(columns, PATHS)
    if named is not None:
        return named
    holding = [name for name, entries in columns.items() if entries and _is_image(entries[0])]
    if len(holding) == 1:
        return holding[0]
    raise ValueError(
        f"which column of {what} holds the paths of the images? Call it {PATHS[0]!r}; there are "
        f"{_listed(list(columns))}"
    )


def _column_of_labels(columns: Mapping[str, Sequence[Any]], paths: str) -> str | None:
    """The column of labels; of two columns the one that holds no paths."""
    others = [name for name in columns if name != paths]
    named = _named(others, LABELS)
    return others[0] if named is None and len(others) == 1 else named


def _named(columns: Sequence[str] | Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of some names that a column has, however it is written."""
    plain = {re.sub(r"[\s-]+", "_", column.strip().lower()): column for column in columns}
    return next((plain[name] for name in names if name in plain), None)


def _labels(
    entries: Sequence[Any], column: str, what: str
) -> tuple[Tensor, list[str] | None] | tuple[None, None]:
    """Numbers of classes, and the names of these where they are words; -1 for what is empty."""
    known = [entry for entry in entries if entry is not None]
    if not known:
        return None, None
    if all(_is_whole(entry) for entry in known):
        numbers = [SKIPPED_LABEL if entry is None else int(float(entry)) for entry in entries]
        return torch.tensor(numbers), None
    if any(isinstance(entry, float | np.floating) for entry in known):
        raise ValueError(
            f"the column {column!r} of {what} holds numbers that are not whole: labels are classes"
        )
    classes = sorted({str(entry) for entry in known})
    place = {name: number for number, name in enumerate(classes)}
    numbers = [SKIPPED_LABEL if entry is None else place[str(entry)] for entry in entries]
    return torch.tensor(numbers), classes


def _is_whole(entry: Any) -> bool:
    if isinstance(entry, str):
        return _WHOLE.fullmatch(entry) is not None
    return isinstance(entry, int | float | np.number) and float(entry) == int(entry)


def _entries(column: Any) -> list[Any]:
    """A column as a list, with None for what is missing."""
    entries = column.to_pylist() if hasattr(column, "to_pylist") else list(column)
    return [None if _is_missing(entry) else entry for entry in entries]


def _is_missing(entry: Any) -> bool:
    """None, not a number, pandas' own word for nothing, or an empty text."""
    if isinstance(entry, float | np.floating):
        return bool(entry != entry)
    return entry is None or entry == "" or type(entry).__name__ in ("NAType", "NaTType")


def _found(paths: list[str], folder: Path, what: str) -> list[str]:
    """The paths as they can be opened; the first one tells to which folder they are relative."""
    first = os.path.expanduser(paths[0])
    for base in dict.fromkeys([folder, Path()]):
        if os.path.isfile(base / first):
            return [os.path.join(base, os.path.expanduser(path)) for path in paths]
    place = "the present folder" if folder == Path() else f"{folder} nor in the present folder"
    raise ValueError(f"{what} names {paths[0]}, which is not in {place}")


def _delimiter(line: str) -> str:
    """Spreadsheets of many countries part cells by semicolons."""
    return max(",;\t", key=line.count)


def _is_image(entry: Any) -> bool:
    is_path = isinstance(entry, str | os.PathLike)
    return is_path and os.fspath(entry).lower().endswith(ALL_ENDINGS)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return shown + (", ..." if len(names) > _SHOWN else "")
