"""A folder of images with a mask each, as pairs.

Two forms are known:

    FOLDER/images/NAME.jpg    FOLDER/masks/NAME.png
    FOLDER/images/NAME.jpg    FOLDER/annotations/trimaps/NAME.png    (Oxford-IIIT Pet)

of which the second may have lists of names beside the masks, `annotations/trainval.txt` and
`annotations/test.txt`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import Dataset

from super_selfish.data.files import IMAGE_ENDINGS
from super_selfish.data.masks import MASK_ENDINGS
from super_selfish.training.counting import plural
from super_selfish.training.spelling import did_you_mean

TRIMAP = {1: "pet", 2: "background", 3: "border"}  # Parkhi et al., 2012
_NAMED = 3  # files that are named where something is wrong with many


class MaskFolder(Dataset[tuple[str, str]]):
    """Pairs of paths, `(image, mask)`, in the order of their names.

    `evaluate(backbone, MaskFolder("pets", split="trainval"), MaskFolder("pets", split="test"),
    protocols=("segmentation",))`.

    Attributes:
        folder: Where they lie.
        images: Paths of the images.
        masks: Paths of their masks.
        numbers: Names of the numbers that masks may have, where they are known; else `None`.
        ignored: Numbers of pixels that do not count, besides 255.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        split: str | None = None,
        numbers: dict[int, str] | None = None,
        ignored: Sequence[int] = (),
    ) -> None:
        """Looks for the files; opens none.

        Args:
            folder: With `images/`, and `masks/` or `annotations/trimaps/` beside it.
            split: Takes the names in `annotations/SPLIT.txt`, such as "trainval" or "test", the
                first word of each line; `None` takes all images.
            numbers: Names of the numbers in the masks; a mask with another number is refused. Left
                out, those of Oxford's trimaps, and elsewhere any number from 0 to 254.
            ignored: Numbers of pixels that do not count, such as `[3]`, the border of trimaps.

        Raises:
            ValueError: A folder or a list is missing or empty, or images and masks are no pairs.
        """
        self.folder = Path(folder).expanduser()
        trimaps = self.folder / "annotations" / "trimaps"
        has_trimaps = trimaps.is_dir()
        pictures, masks = self.folder / "images", trimaps if has_trimaps else self.folder / "masks"
        for place in (pictures, masks):
            if not place.is_dir():
                raise ValueError(
                    f"expected {self.folder} to hold images/, and masks/ or annotations/trimaps/ "
                    f"with masks of the same names, but {place} is missing"
                )
        found = _by_stem(pictures, IMAGE_ENDINGS), _by_stem(masks, MASK_ENDINGS)
        names = None if split is None else _listed(self.folder / "annotations", split)
        chosen = _paired(*found, names, (pictures, masks))
        self.images = [found[0][name] for name in chosen]
        self.masks = [found[1][name] for name in chosen]
        self.numbers = numbers if numbers is not None else TRIMAP if has_trimaps else None
        self.ignored = tuple(ignored)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[str, str]:
        """Paths of an image and of its mask."""
        return self.images[index], self.masks[index]


def _by_stem(folder: Path, endings: tuple[str, ...]) -> dict[str, str]:
    """Files by their names without an ending, hidden ones excepted.

    Raises:
        ValueError: Two have one name, or there is none.
    """
    found: dict[str, str] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not file.name.lower().endswith(endings):
            continue
        if file.stem in found:
            raise ValueError(f"{file} and {found[file.stem]} have one name: keep one of them")
        found[file.stem] = str(file)
    if not found:
        raise ValueError(f"no file in {folder} ends in {', '.join(endings)}")
    return found


def _listed(folder: Path, split: str) -> list[str]:
    """Names of a list, sorted."""
    file = folder / f"{split}.txt"
    if not file.is_file():
        known = sorted(other.stem for other in folder.glob("*.txt"))
        guess = did_you_mean(split, known)
        hint = f": did you mean {guess!r}?" if guess else f"; there are {known}"
        raise ValueError(f"expected names of images in {file}, which is missing{hint}")
    lines = file.read_text().splitlines()
    names = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    if not names:
        raise ValueError(f"{file} has no name of an image")
    return sorted(set(names))


def _paired(
    images: dict[str, str],
    masks: dict[str, str],
    names: list[str] | None,
    folders: tuple[Path, Path],
) -> list[str]:
    """Names of which there are an image and a mask; all of them, or nothing."""
    wanted = sorted({*images, *masks}) if names is None else names
    for files, folder, what in ((images, folders[0], "image"), (masks, folders[1], "mask")):
        missing = [name for name in wanted if name not in files]
        if missing:
            named = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
            raise ValueError(
                f"{folder} lacks {plural(len(missing), what)} of {len(wanted):,}: {named}"
            )
    return wanted
