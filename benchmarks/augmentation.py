"""How fast are views made? Our batched augmentation beside lightly, kornia and PIL.

    pip install -r benchmarks/requirements.txt
    python benchmarks/augmentation.py

Every recipe has the same parameters for all who make it: lightly's own, but no blur at 32 pixels,
as in the papers' recipes for CIFAR. One process. Images start in memory as each wants them: uint8
as our loader stacks them, PIL images, float tensors; nobody normalises. The turns of all
competitors alternate and the best turn of each counts, so that a busy machine spoils none; a turn
lasts a while, as training does. Ours run with the memory that `supervise()` keeps; "ours, compiled"
is `supervise(compile_augmentation=True)`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from datasets import load
from interleaved import best_times
from peers import cpc_of_pil, kornia_view, lightly_view, on_each
from PIL import Image
from provenance import write_result
from skimage.color import rgb2lab
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Compose, RandomApply
from super_selfish.augmentations.color_jitter import ColorJitter
from super_selfish.augmentations.compiled import compiled_augmentation
from super_selfish.augmentations.elastic import (
    draw_displacements,
    elastic_deform,
    elastic_deform_reference,
)
from super_selfish.augmentations.filters import RandomGaussianBlur, blur_kernel_size
from super_selfish.augmentations.lab import rgb_to_lab
from super_selfish.augmentations.recipes import cpc_v2
from super_selfish.augmentations.resampling import RandomResizedCrop
from super_selfish.training.allocator import kept_memory

HERE = Path(__file__).parent
Competitors = dict[str, Callable[[], object]]

BATCH = {32: 256, 225: 32}
OURS, COMPILED = "ours", "ours, compiled"
SECONDS_A_TURN = 0.3
BLUR_FROM = 33  # pixels; smaller images are not blurred
RECIPES: dict[str, dict[str, Any]] = {
    "MoCo v2": {"min_scale": 0.2, "jitter": (0.4, 0.4, 0.4, 0.1), "blur": 0.5},
    "BYOL, view 1": {"min_scale": 0.08, "jitter": (0.4, 0.4, 0.2, 0.1), "blur": 1.0},
    "SimCLR": {"min_scale": 0.08, "jitter": (0.8, 0.8, 0.8, 0.2), "blur": 0.5},
}


def our_view(size: int, min_scale: float, jitter: tuple[float, ...], blur: float) -> Augmentation:
    """The recipe as our suites are built."""
    steps: list[Augmentation] = [
        RandomResizedCrop(size, scale=(min_scale, 1.0), p_flip=0.5),
        ColorJitter(*jitter, p=0.8, p_grayscale=0.2),
    ]
    if blur:
        steps.append(RandomApply(RandomGaussianBlur((0.1, 2.0)), blur))
    return Compose(steps)


def images_of(size: int, root: Path) -> Tensor:
    """A batch of CIFAR-10, as it comes or enlarged; uint8, channels-last as by our loader."""
    images = load("cifar10", root)[0][0][: BATCH[size]]
    if size == images.shape[-1]:
        return images.contiguous(memory_format=torch.channels_last)
    large = F.interpolate(images.float(), size=(size, size), mode="bicubic", align_corners=False)
    return large.clamp(0, 255).to(torch.uint8, memory_format=torch.channels_last)


def views(size: int, root: Path) -> dict[str, Competitors]:
    """Every recipe's competitors at a size; the first one is ours."""
    images = images_of(size, root)
    as_float = images.float() / 255
    as_pil = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    generator = torch.Generator().manual_seed(0)
    table: dict[str, Competitors] = {}
    for name, recipe in RECIPES.items():
        settings = {**recipe, "blur": recipe["blur"] if size >= BLUR_FROM else 0.0}
        foreign = kornia_view(size, **settings, kernel=blur_kernel_size(size, size))
        table[f"{name}, {size} px"] = {
            OURS: partial(our_view(size, **settings), images, generator),
            COMPILED: compiled(partial(our_view(size, **settings), images, generator)),
            "lightly": partial(on_each, lightly_view(size, **settings), as_pil),
            "kornia": partial(foreign, as_float),
        }
    table[f"CPC, {size} px"] = {
        OURS: partial(cpc_v2((size, size)), images, generator),
        "PIL": partial(on_each, cpc_of_pil(size), as_pil),
    }
    return table


def conversions(size: int, root: Path) -> dict[str, Competitors]:
    """Elastic deformation and Lab at a size; the first one is ours."""
    images = images_of(size, root).float() / 255
    generator = torch.Generator().manual_seed(0)
    shape = (len(images), 3, size, size)
    displacement = draw_displacements(shape, 10.0, 3, generator)
    last = images.permute(0, 2, 3, 1).numpy()
    return {
        f"elastic deformation, {size} px": {
            OURS: partial(elastic_deform, images, displacement),
            "elasticdeform, order 1": partial(elastic_deform_reference, images, displacement, 1),
            "elasticdeform, order 3": partial(elastic_deform_reference, images, displacement, 3),
        },
        f"RGB to Lab, {size} px": {
            OURS: partial(rgb_to_lab, images),
            COMPILED: compiled(partial(rgb_to_lab, images)),
            "skimage": partial(rgb2lab, last),
        },
    }


def compiled(function: Callable[[], object]) -> Callable[[], object]:
    """The same with compiled augmentation."""

    def run() -> object:
        with compiled_augmentation():
            return function()

    return run


def measure(competitors: Competitors, turns: int) -> dict[str, float]:
    """Seconds of a call in the best turn of each, after one turn to warm up."""
    calls = {name: calls_of(function) for name, function in competitors.items()}
    cases = {name: partial(repeat, competitors[name], calls[name]) for name in competitors}
    ours = dict.fromkeys((OURS, COMPILED), kept_memory)
    best = best_times(cases, turns, surroundings=ours)
    return {name: best[name].clock / 1e3 / calls[name] for name in competitors}


def repeat(function: Callable[[], object], times: int) -> None:
    """Calls a function some times."""
    for _ in range(times):
        function()


def calls_of(function: Callable[[], object]) -> int:
    """How many calls make a turn."""
    function()  # compiles
    start = time.perf_counter()
    function()
    return max(1, round(SECONDS_A_TURN / (time.perf_counter() - start)))


def main() -> None:
    """Measures, prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "augmentation.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    lines = [
        "| recipe | peer | peer, images/s | ours, images/s | ratio | ours, compiled | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in BATCH:
        cases = {**views(size, options.root), **conversions(size, options.root)}
        for case, competitors in cases.items():
            seconds = measure(competitors, options.turns)
            ours, compiled_ours = seconds.pop(OURS), seconds.pop(COMPILED, None)
            for peer, theirs in seconds.items():
                cells = [f"{BATCH[size] / theirs:.0f}", f"{BATCH[size] / ours:.0f}"]
                cells.append(f"**{theirs / ours:.1f}**")
                if compiled_ours is not None:
                    cells.append(f"{BATCH[size] / compiled_ours:.0f}")
                    cells.append(f"**{theirs / compiled_ours:.1f}**")
                lines.append(f"| {case} | {peer} | {' | '.join([*cells, '', ''][:5])} |")
                print(lines[-1], flush=True)
    heading = [
        "# Augmentation beside other libraries",
        "",
        "Images per second in one process, the same recipe for all: batches of 256 images of "
        "32 pixels and of 32 images of 225.",
        "",
    ]
    write_result(
        options.out,
        [*heading, *lines],
        "torchvision",
        "lightly",
        "kornia",
        "pillow",
        "scikit-image",
    )


if __name__ == "__main__":
    main()
