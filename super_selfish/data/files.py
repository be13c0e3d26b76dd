"""Which files are the images: folders, patterns, lists, and what is left out of them."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from super_selfish.data.arrays import ARRAY_ENDINGS
from super_selfish.data.formats import DICOM, FORMATS, endings_read, is_bare_dicom
from super_selfish.data.once import once_a_machine
from super_selfish.data.paths import Paths, PathsBuilder
from super_selfish.data.patterns import files_that_match, has_any_depth, root_of
from super_selfish.data.scanning import FolderState, Run, files_below
from super_selfish.training.counting import plural
from super_selfish.training.telling import warn

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm"),
)

# Of what can be read, be it with a package that is not there.
ALL_ENDINGS = (*IMAGE_ENDINGS, *ARRAY_ENDINGS, *(each for form in FORMATS for each in form.endings))

# What lies beside images and is not missed when it is left out.
_COMPANIONS = frozenset(
    (
        *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml"),
        *(".toml", ".ini", ".cfg", ".log", ".html", ".htm", ".py", ".sh", ".ipynb", ".db"),
        *(".pdf", ".md5", ".sha256", ".pickle", ".pkl", ".xls", ".xlsx", ".names", ".parquet"),
    )
)
_COMPANION_NAMES = frozenset({"readme", "license", "licence", "copying", "makefile", "notice"})
_MOST_KINDS = 5  # of files left out that are named
_BARE = "DICOM without an ending"


class FileList:
    """Image files in a fixed order, with a label each if their folders give one.

    Attributes:
        files: Their paths, as a sequence that takes little memory.
        labels: `[N]` int64, the index in `classes`, of tables -1 where there is none; or `None`.
        classes: Names of the first folder level, sorted, or `None`.
        frames: Which image of its file each is, where files hold several, or `None`.
        left_out: How many files of each ending lie there too, but were not taken.
    """

    def __init__(
        self,
        files: Iterable[str],
        labels: Tensor | None = None,
        classes: list[str] | None = None,
        *,
        left_out: Counter[str] | None = None,
    ) -> None:
        self.files = files if isinstance(files, Paths) else Paths.of(files)
        self.labels = labels
        self.classes = classes
        self.frames: list[int] | None = None
        self.left_out = left_out or Counter()

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], *, every: bool = False) -> FileList:
        """Takes a folder, a file, or a pattern such as `"scans/**/*.tif"`; `~` is the user's home.

        Args:
            path: The folder, file or pattern.
            every: Whether files of any ending are taken, for a reader of the user's own.

        Raises:
            ValueError: There is no such folder or file, or no image in it.
        """
        place = os.path.expanduser(os.fspath(path))
        if os.path.isdir(place):
            return cls.from_folder(place, every=every)
        if os.path.lexists(place):
            return cls([place])
        if glob.has_magic(place):
            return cls._from_pattern(place, every=every)
        raise ValueError(
            f"expected a folder of images, a file or a pattern, but {place!r} is missing"
        )

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], *, every: bool = False) -> FileList:
        """Searches a folder to its bottom, hidden files and folders excepted.

        If every file lies in a sub-folder, the first folder level names the classes, as in
        torchvision's `ImageFolder`. Arrays (`.npy`, `.npz`) are taken where there is nothing else:
        beside pictures they are labels or features more often than images. Formats that need a
        package of their own are taken if it is installed.

        Args:
            folder: Where to look.
            every: As for `from_path`.

        Raises:
            ValueError: There is no such folder, or no image in it.
        """
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise ValueError(f"expected a folder of images, but {str(root)!r} is missing")
        return cls._shared(root, lambda visited: files_below(root, visited), every)

    @classmethod
    def _from_pattern(cls, pattern: str, *, every: bool) -> FileList:
        what = f"files that match {pattern!r}"
        if not has_any_depth(pattern):
            return cls._below(root_of(pattern), lambda: files_that_match(pattern), every, what)
        return cls._shared(
            root_of(pattern), lambda visited: files_that_match(pattern, visited), every, what
        )

    @classmethod
    def _shared(
        cls,
        root: Path,
        search: Callable[[list[FolderState]], Iterator[Run]],
        every: bool,
        what: str | None = None,
    ) -> FileList:
        """What is taken below a folder; of several processes of a machine one looks."""

        def make() -> tuple[dict[str, Any], list[FolderState]]:
            visited: list[FolderState] = []
            files = cls._below(root, lambda: search(visited), every, what)
            return files._state(), visited

        key = "\0".join([os.path.abspath(root), os.fspath(root), what or "", str(every)])
        return cls._from_state(once_a_machine(key, make))

    def _state(self) -> dict[str, Any]:
        return {
            "files": self.files.state(),
            "labels": self.labels,
            "classes": self.classes,
            "left_out": dict(self.left_out),
        }

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> FileList:
        files, left_out = Paths.from_state(state["files"]), Counter(state["left_out"])
        return cls(files, state["labels"], state["classes"], left_out=left_out)

    @classmethod
    def _below(
        cls,
        root: Path,
        search: Callable[[], Iterator[Run]],
        every: bool,
        what: str | None = None,
    ) -> FileList:
        pictures = (*IMAGE_ENDINGS, *endings_read())
        arrays = (*ARRAY_ENDINGS, *endings_read(arrays=True))
        taken = _Taken(root, None if every else pictures, search())
        if not taken.count and not every:
            # Rare enough to look again, rather than to keep names that are hardly ever wanted.
            taken = _Taken(root, arrays, search())
        left_out = taken.left_out
        if not taken.count:
            beside = (
                f"; there are {_listed(left_out)}, which a loader= could read{_installs(left_out)}"
                if left_out
                else ""
            )
            raise ValueError(
                f"no image in {what or repr(str(root)) + ' or its sub-folders'}; looked for files "
                f"that end in {', '.join((*pictures, *arrays))} (upper or lower case), hidden ones "
                f"excepted{beside}"
            )
        return cls(taken.files.built(), *taken.labels(), left_out=left_out)

    def warn_of_left_out(self) -> None:
        """Says in one line how many files were not taken, and of which kinds."""
        count = self.left_out.total()
        if count:
            are = "is left out, since it is no image that is"
            if count > 1:
                are = "are left out, since they are no images that are"
            warn(
                f"{plural(count, 'file')} {are} read here: {_listed(self.left_out)}; a loader= of "
                f"your own could read them{_installs(self.left_out)}"
            )

    def expand(self, counts: list[int]) -> None:
        """Makes every image of each file one of its own.

        Args:
            counts: Number of images in each file.
        """
        repeats = torch.tensor(counts)
        self.frames = [frame for count in counts for frame in range(count)]
        self.files = self.files.repeated(counts)
        if self.labels is not None:
            self.labels = self.labels.repeat_interleave(repeats)

    def name(self, index: int) -> str:
        """Path of an image, with its number where its file holds several."""
        file = self.files[index]
        return file if self.frames is None else f"{file} (page {self.frames[index]})"

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> str | tuple[str, int]:
        """Path of a file, with its label where there is one."""
        if self.labels is None:
            return self.files[index]
        return self.files[index], int(self.labels[index])


class _Taken:
    """What is taken of the files that a search finds, which are sorted by the parts of their paths.

    Attributes:
        files: Of the images.
        count: How many.
        left_out: Kinds of the others.
    """

    def __init__(self, root: Path, endings: tuple[str, ...] | None, found: Iterable[Run]) -> None:
        """Goes through the files.

        Args:
            root: Below which they lie.
            endings: Of those that are taken; all but what lies beside images if `None`.
            found: The files.
        """
        self._root = root
        self.files = PathsBuilder(os.fspath(root / "_").removesuffix("_"))
        self.count = 0
        self.left_out: Counter[str] = Counter()
        self._classes: dict[str, int] | None = {}  # number of images in each, in order
        for run in found:
            if endings is None:
                names = [name for name in run.names if not _is_companion(name)]
            else:
                names = [name for name in run.names if name.lower().endswith(endings)]
                if len(names) < len(run.names):
                    names = self._without_others(run, set(names), endings)
            if names:
                self._take(run.parts, names)

    def _take(self, parts: tuple[str, ...], names: list[str]) -> None:
        self.count += len(names)
        self.files.add("".join(part + os.sep for part in parts), names)
        if not parts:
            self._classes = None
        elif self._classes is not None:
            self._classes[parts[0]] = self._classes.get(parts[0], 0) + len(names)

    def _without_others(self, run: Run, taken: set[str], endings: tuple[str, ...]) -> list[str]:
        """Those that are taken, with DICOM files that do not say so; counts the others."""
        others = [name for name in run.names if name not in taken and not _is_companion(name)]
        folder = os.path.join(self._root, *run.parts)
        bare = {name for name in others if is_bare_dicom(folder, name)}
        if DICOM.endings[0] in endings:  # which can be read
            taken |= bare
        kinds = (_BARE if name in bare else _kind(name) for name in others if name not in taken)
        self.left_out.update(kinds)
        return [name for name in run.names if name in taken]

    def labels(self) -> tuple[Tensor, list[str]] | tuple[None, None]:
        """The class of each image and the names of the classes, if every one lies in a folder."""
        if self._classes is None:
            return None, None
        counts = torch.tensor(list(self._classes.values()))
        return torch.arange(len(counts)).repeat_interleave(counts), list(self._classes)


def _kind(name: str) -> str:
    lowered = name.lower()
    for ending in (".nii.gz", ".tar.gz"):
        if lowered.endswith(ending):
            return ending
    return os.path.splitext(lowered)[1] or "without an ending"


def _is_companion(name: str) -> bool:
    stem, ending = os.path.splitext(name.lower())
    return ending in _COMPANIONS or (not ending and stem in _COMPANION_NAMES)


def _listed(kinds: Counter[str]) -> str:
    parts = [f"{count:,} {kind}" for kind, count in kinds.most_common(_MOST_KINDS)]
    others = len(kinds) - len(parts)
    return ", ".join(parts) + (f" and {plural(others, 'more kind')}" if others > 0 else "")


def _installs(kinds: Counter[str]) -> str:
    """What installs the readers of files that were left out since there are none."""
    found = []
    for form in FORMATS:
        named = [
            kind for kind in (*form.endings, *([_BARE] if form is DICOM else [])) if kinds[kind]
        ]
        if named and not form.is_installed:
            found.append(f"; {form.remedy} reads {', '.join(named)}")
    return "".join(found)
