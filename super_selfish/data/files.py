"""Which files are the images: folders, patterns, lists, and what is left out of them."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import torch
from torch import Tensor

from super_selfish.data.arrays import ARRAY_ENDINGS
from super_selfish.training.counting import plural
from super_selfish.training.telling import warn

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm"),
)

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


class FileList:
    """Image files in a fixed order, with a label each if their folders give one.

    Attributes:
        files: Paths.
        labels: `[N]` int64, the index in `classes`, or `None`.
        classes: Names of the first folder level, sorted, or `None`.
        frames: Which image of its file each is, where files hold several, or `None`.
        left_out: How many files of each ending lie there too, but were not taken.
    """

    def __init__(
        self,
        files: list[str],
        labels: Tensor | None = None,
        classes: list[str] | None = None,
        *,
        left_out: Counter[str] | None = None,
    ) -> None:
        self.files = files
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
        beside pictures they are labels or features more often than images.

        Args:
            folder: Where to look.
            every: As for `from_path`.

        Raises:
            ValueError: There is no such folder, or no image in it.
        """
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise ValueError(f"expected a folder of images, but {str(root)!r} is missing")
        return cls._below(root, _walk(root), every=every)

    @classmethod
    def _from_pattern(cls, pattern: str, *, every: bool) -> FileList:
        fixed = []
        for part in Path(pattern).parts:
            if glob.has_magic(part):
                break
            fixed.append(part)
        root, wanted = Path(*fixed), Path(pattern).parts[len(fixed) :]
        if "**" in wanted:  # links to a parent must not loop, as they do in `glob`
            found = _walk(root) if root.is_dir() else iter(())
            files = (path for path in found if _matches(path.relative_to(root).parts, wanted))
        else:
            paths = (Path(name) for name in glob.iglob(pattern))
            files = (path for path in paths if not path.is_dir())
        return cls._below(root, files, every=every, what=f"files that match {pattern!r}")

    @classmethod
    def _below(
        cls, root: Path, found: Iterable[Path], *, every: bool, what: str | None = None
    ) -> FileList:
        all_parts = sorted(path.relative_to(root).parts for path in found)
        endings: tuple[str, ...] = IMAGE_ENDINGS
        taken = [parts for parts in all_parts if parts[-1].lower().endswith(endings)]
        if every:
            taken = [parts for parts in all_parts if not _is_companion(parts[-1])]
        elif not taken:
            endings = ARRAY_ENDINGS
            taken = [parts for parts in all_parts if parts[-1].lower().endswith(endings)]
        chosen = set(taken)
        left_out = Counter(
            _kind(parts[-1])
            for parts in all_parts
            if parts not in chosen and not _is_companion(parts[-1])
        )
        if not taken:
            beside = (
                f"; there are {_listed(left_out)}, which a loader= could read" if left_out else ""
            )
            raise ValueError(
                f"no image in {what or repr(str(root)) + ' or its sub-folders'}; looked for files "
                f"that end in {', '.join((*IMAGE_ENDINGS, *ARRAY_ENDINGS))} (upper or lower case), "
                f"hidden ones excepted{beside}"
            )
        files = [str(root.joinpath(*parts)) for parts in taken]
        if any(len(parts) == 1 for parts in taken):
            return cls(files, left_out=left_out)
        classes = sorted({parts[0] for parts in taken})
        number = {name: label for label, name in enumerate(classes)}
        labels = torch.tensor([number[parts[0]] for parts in taken])
        return cls(files, labels, classes, left_out=left_out)

    def warn_of_left_out(self) -> None:
        """Says in one line how many files were not taken, and of which kinds."""
        count = self.left_out.total()
        if count:
            are = "is left out, since it is no image that is"
            if count > 1:
                are = "are left out, since they are no images that are"
            warn(
                f"{plural(count, 'file')} {are} read here: {_listed(self.left_out)}; a loader= of "
                "your own could read them"
            )

    def expand(self, counts: list[int]) -> None:
        """Makes every image of each file one of its own.

        Args:
            counts: Number of images in each file.
        """
        repeats = torch.tensor(counts)
        self.frames = [frame for count in counts for frame in range(count)]
        self.files = [file for file, n in zip(self.files, counts, strict=True) for _ in range(n)]
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


def _matches(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether a path matches a pattern, in which `**` is any number of folders."""
    if not wanted:
        return not parts
    if wanted[0] == "**":
        if len(wanted) == 1:
            return True
        return any(_matches(parts[start:], wanted[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatch(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])


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


def _walk(root: Path) -> Iterator[Path]:
    seen: set[str] = set()  # real paths: a link to a parent must not loop
    for folder, folders, names in os.walk(root, onerror=_reraise, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                yield Path(folder, name)


def _reraise(error: OSError) -> None:
    raise error
