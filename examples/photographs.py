"""Writes patches of photographs as folders of classes, for the command line to try itself on.

    python examples/photographs.py demo/photographs
    super-selfish pretrain demo/photographs/train --test demo/photographs/test --time 3min

scikit-image ships the photographs: nothing is fetched. Fourteen sub-folders of `train` and `test`
hold patches of 64x64 pixels as PNG files, each from one photograph, and no pixel is in both. What
lies there already stays.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Literal

from PIL import Image

from super_selfish.data import photographs

PER_PHOTOGRAPH: dict[Literal["train", "test"], int] = {"train": 200, "test": 60}


def write(folder: Path) -> None:
    """Writes both parts, or leaves those that are there."""
    for split, most in PER_PHOTOGRAPH.items():
        if (folder / split).is_dir():
            continue
        patches = photographs(64, split=split, per_photograph=most)
        begun, numbers = folder / f"{split}-begun", Counter[int]()
        for image, label in patches:
            place = begun / patches.classes[label]
            place.mkdir(parents=True, exist_ok=True)
            file = place / f"{numbers[label]:03}.png"
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
            numbers[label] += 1
        begun.rename(folder / split)  # whole, or not there


def main() -> None:
    """Writes into the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    write(options.folder)
    print(f"photographs: {options.folder}/")


if __name__ == "__main__":
    main()
