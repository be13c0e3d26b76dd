"""Draws the picture of each algorithm's page: what it saw and said of photographs.

    python -m docs.making.pictures                  # those that are not there yet; minutes
    python -m docs.making.pictures moco simclr      # these, anew
    python -m docs.making.pictures --steps 400      # better answers
    python -m docs.making.pictures --gallery        # the README's, docs/gallery.png; it is kept

Each algorithm learns fourteen photographs by heart, cut from those that scikit-image ships, and is
asked about four of them, as `examples/all_algorithms.py` does. Nothing is drawn by hand, and
nothing is downloaded.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from super_selfish.evaluation import Exhibit, plot_exhibits, show_algorithm
from super_selfish.supervisors import SUPERVISORS, HealthWarning

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
SIZE, BATCH = 48, 14  # pixels; images
PICTURES_IN_ROW = 6
GALLERY = ("rotate", "jigsaw", "colorization", "context", "simclr")  # a family each, or nearly


def example() -> Any:
    """`examples/all_algorithms.py`, which is no package: its images and settings."""
    file = ROOT / "examples" / "all_algorithms.py"
    specified = importlib.util.spec_from_file_location("all_algorithms", file)
    assert specified is not None and specified.loader is not None
    module = importlib.util.module_from_spec(specified)
    specified.loader.exec_module(module)
    return module


def asked(name: str, steps: int) -> Exhibit:
    """Trains an algorithm for some steps, and asks it.

    Args:
        name: Of the algorithm.
        steps: Of a batch of all photographs.

    Returns:
        What there is to see.
    """
    ours = example()
    images, shown = ours.open_images("photographs", SIZE)
    torch.manual_seed(0)
    settings = {"backbone": "narrow-resnet", **ours.OPTIONS.get(name, {})}
    supervisor = SUPERVISORS[name](images, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HealthWarning)  # a moment is too short for a verdict
        supervisor.supervise(
            lr=ours.LR.get(name, 1e-3),
            lr_scheduler="cosine",
            epochs=-(-steps * BATCH // len(images)),
            batch_size=BATCH,
            name=None,
            progress=False,
        )
    return show_algorithm(supervisor, shown)


def in_rows(exhibit: Exhibit) -> list[Exhibit]:
    """A row for each image or two, so that the picture can be read on a phone."""
    least = max(len(group) for group in exhibit.groups)
    each = max(1, PICTURES_IN_ROW // least)
    starts = range(0, len(exhibit.groups), each)
    return [exhibit._replace(groups=exhibit.groups[start : start + each]) for start in starts]


def keep_small(file: Path) -> None:
    """Writes a picture anew with 128 colours: the repository keeps it, and every clone with it."""
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(128).save(file, optimize=True)


def main() -> None:
    """Draws what is asked for, or what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of algorithms, drawn anew")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--gallery", action="store_true", help="the README's picture alone")
    options = parser.parse_args()
    if options.gallery:
        file = ROOT / "docs" / "gallery.png"
        plot_exhibits([asked(name, options.steps) for name in GALLERY], file)
        keep_small(file)
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    missing = [name for name in SUPERVISORS if not (FOLDER / f"{name}.png").exists()]
    for name in options.names or missing:
        plot_exhibits(in_rows(asked(name, options.steps)), FOLDER / f"{name}.png", names=False)
        print(f"drawn: docs/pictures/{name}.png", flush=True)


if __name__ == "__main__":
    main()
