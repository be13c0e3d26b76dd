"""How many images, how many minutes, which size, which algorithm? Accuracy against each of them.

    python benchmarks/recipes.py --smoke               # a minute, to see that it works
    python benchmarks/recipes.py --seeds 0             # four and a half hours of one core a seed
    python benchmarks/recipes.py --minutes 2 --images 500 2000 10000 --sides 32
    for n in 1 2; do python benchmarks/recipes.py & done; wait      # two processes share the runs

One algorithm of each family pretrains a narrow ResNet, by the library's defaults, on so many images
for so many minutes, and is rated by a linear probe and k-NN beside the untrained network with the
same first weights: 2,000 labelled training images, the whole test part, the last epoch, nothing
chosen by the test part. Only one of images, minutes and side differs from `BASE` at a time, so the
cost stays within hours. Runs that are done are kept in `--out`.jsonl: called again it goes on.

Minutes are those of one thread of the machine that the result names, and the number of steps tells
what they are elsewhere. Start nothing beside it.
"""

from __future__ import annotations

import argparse
import functools
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Split, load
from provenance import write_result
from torch.nn.functional import interpolate

from super_selfish.evaluation import compare
from super_selfish.evaluation.comparison.standings import Standing
from super_selfish.evaluation.comparison.table_cells import number, percent
from super_selfish.models import NarrowResNet

HERE = Path(__file__).parent
# A family each: a pretext task, negatives, no negatives, clusters, reconstruction.
ALGORITHMS = ("rotate", "moco", "byol", "swav", "denoise")
PROTOCOLS = ("linear", "knn")
WIDTH = 16  # channels of the first layer
LABELLED = 2000
# What differs between recipes, and what a figure calls it.
AXES = {"images": "images", "minutes": "minutes", "side": "side (pixels)"}


class Recipe(NamedTuple):
    """What a run is given."""

    data: str
    images: int
    minutes: float
    side: int  # pixels


class Row(NamedTuple):
    """What came of a recipe with one algorithm."""

    recipe: Recipe
    standing: Standing


BASE = {
    "fashion": Recipe("fashion", 10_000, 2, 28),
    "cifar10": Recipe("cifar10", 10_000, 2, 32),
    "imagenette": Recipe("imagenette", 5000, 2, 64),
}


def recipes(
    data: Iterable[str], images: Sequence[int], minutes: Sequence[float], sides: Sequence[int]
) -> list[Recipe]:
    """The recipes, each of which differs from the base of its set in one number; cheap ones first.

    Args:
        data: Names of sets.
        images: Numbers of images, of the sets whose images are small; those that a set has not are
            left out.
        minutes: Of pretraining, of these too.
        sides: In pixels, of the set whose images are larger.
    """
    found = []
    for name in data:
        base = BASE[name]
        if name == "imagenette":
            found += [base._replace(side=each) for each in sides]
        else:
            found += [base._replace(images=each) for each in images if each <= base.images]
            found += [base._replace(minutes=each) for each in minutes]
    return sorted(dict.fromkeys(found), key=lambda recipe: recipe.minutes)


def opened(data: str, root: Path, side: int) -> tuple[Split, Split]:
    """Training and test part of a set, at this size."""
    if data != "imagenette":
        return load(data, root)
    parts = imagenette(root / "imagenette" / "imagenette_128.tar")
    (images, labels), (test, test_labels) = parts
    return (brought_to(images, side), labels), (brought_to(test, side), test_labels)


def brought_to(images: torch.Tensor, side: int) -> torch.Tensor:
    """Images `[N, 3, side, side]` uint8, by area."""
    if images.shape[-1] == side:
        return images
    small = [
        interpolate(part.float(), (side, side), mode="bilinear", antialias=True)
        for part in images.split(500)
    ]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in small])


@functools.cache
def imagenette(path: Path) -> tuple[Split, Split]:
    """Training and test part `[N, 3, 128, 128]`, in an order that mixes the classes."""
    from torchvision.io import ImageReadMode, decode_image

    found: dict[str, tuple[list[torch.Tensor], list[str]]] = {"train": ([], []), "val": ([], [])}
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith((".jpg", ".JPEG")):
                part, label, _ = member.name.split("/")[-3:]
                stored: Any = tar.extractfile(member)
                file = torch.frombuffer(bytearray(stored.read()), dtype=torch.uint8)
                found[part][0].append(decode_image(file, ImageReadMode.RGB))
                found[part][1].append(label)
    names = sorted(set(found["train"][1]))
    splits = []
    for images, labels in found.values():
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        numbers = torch.tensor([names.index(label) for label in labels])
        splits.append((torch.stack(images)[order], numbers[order]))
    return splits[0], splits[1]


def followed(recipe: Recipe, options: argparse.Namespace) -> list[Row]:
    """What each algorithm reaches by a recipe."""
    (images, labels), (test, test_labels) = opened(recipe.data, options.root, recipe.side)
    comparison = compare(
        options.algorithms,
        (images[: options.labelled], labels[: options.labelled]),
        (test[: options.tested], test_labels[: options.tested]),
        budget=f"{60 * recipe.minutes:g}s",
        backbone=functools.partial(NarrowResNet, width=WIDTH),
        seeds=options.seeds,
        protocols=PROTOCOLS,
        supervise={"batch_size": options.batch_size},
        pretrain=images[: recipe.images],
        path=options.out,
        progress=False,
    )
    return [Row(recipe, standing) for standing in comparison.leaderboard]


def table(rows: Iterable[Row]) -> list[str]:
    """A row for each recipe and algorithm."""
    lines = [
        "| data | side | images | minutes | algorithm | seeds | steps | epochs | probe untrained "
        "| probe | gain | k-NN untrained | k-NN | gain |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (data, images, minutes, side), entry in rows:
        if not entry.seeds:
            lines.append(
                f"| {data} | {side} | {images:,} | {minutes:g} | {entry.algorithm} | failed: "
                + "; ".join(entry.errors).replace("|", "/")
                + " |" * 9
            )
            continue
        cells = [data, str(side), f"{images:,}", f"{minutes:g}", entry.algorithm]
        cells += [str(len(entry.seeds)), number(entry.steps), number(entry.epochs)]
        for protocol in PROTOCOLS:
            cells += [
                percent(entry.untrained.get(protocol)),
                percent(entry.accuracy.get(protocol)),
                f"**{percent(entry.gain.get(protocol), signed=True)}**",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def draw(rows: Sequence[Row], path: Path) -> None:
    """Gain of the probe against each number that differs in a set, a panel for each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    good = [row for row in rows if row.standing.seeds]
    curves = [(data, axis, curve(good, data, axis)) for data in BASE for axis in AXES]
    # Those of several points; before there are any, what there is.
    several = [each for each in curves if len(each[2]) > 1]
    curves = several or [each for each in curves if each[1] == "images"]
    colors = {name: f"C{i}" for i, name in enumerate(sorted({r.standing.algorithm for r in good}))}
    figure, panels = pyplot.subplots(
        1, len(curves), figsize=(1 + 3.5 * len(curves), 4), squeeze=False, layout="constrained"
    )
    for panel, (data, axis, points) in zip(panels.flat, curves, strict=True):
        for name, color in colors.items():
            known = [(at, gains[name]) for at, gains in sorted(points.items()) if name in gains]
            panel.errorbar(
                [at for at, _ in known],
                [100 * gain.mean for _, gain in known],
                [100 * (gain.deviation or 0) for _, gain in known],
                marker="o",
                capsize=3,
                color=color,
                label=name,
            )
        panel.axhline(0, color="gray", linewidth=0.8)
        panel.set_xscale("log")
        panel.set_xticks(sorted(points), [f"{tick:,g}" for tick in sorted(points)])
        panel.minorticks_off()
        panel.set_xlabel(AXES[axis])
        panel.set_title(data)
    panels[0][0].set_ylabel("gain of the probe (points)")
    columns = 3 if len(curves) == 1 else 5
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def curve(rows: Iterable[Row], data: str, axis: str) -> dict[float, dict[str, Any]]:
    """The gains of each algorithm by one number of a recipe, where the others are as in `BASE`."""
    found: dict[float, dict[str, Any]] = {}
    for recipe, standing in rows:
        at = getattr(recipe, axis)
        if recipe == BASE[data]._replace(**{axis: at}):
            found.setdefault(at, {})[standing.algorithm] = standing.gain["linear"]
    return found


def write(rows: Sequence[Row], planned: int, options: argparse.Namespace) -> None:
    """The table and the figure of what was run."""
    figure = options.out.with_suffix(".png")
    draw(rows, figure)
    done = len({row.recipe for row in rows})
    lines = [
        "# How many images, how long, which size, which algorithm?",
        "",
        f"A ResNet of {WIDTH} channels in its first layer, pretrained by the library's defaults in "
        f"batches of {options.batch_size}, without labels. Accuracy in percent on "
        f"{options.tested or 'all'} test images, mean and standard deviation over seeds, by a "
        f"linear probe and k-NN on {options.labelled:,} labelled training images; gain: over the "
        "untrained network with the same first weights. The last step counts; nothing was chosen "
        f"by the test images. {done} of {planned} recipes were run.",
        "",
        f"![gain against images, minutes and side]({figure.name})",
        "",
        *table(rows),
    ]
    write_result(options.out.with_suffix(".md"), lines, "torchvision")


def main() -> None:
    """Follows the recipes that are not followed yet, and writes what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS))
    parser.add_argument("--data", nargs="+", default=["fashion", "imagenette"], choices=BASE)
    parser.add_argument("--images", nargs="+", type=int, default=[500, 2000, 10_000])
    parser.add_argument("--minutes", nargs="+", type=float, default=[2, 10, 30])
    parser.add_argument("--sides", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--labelled", type=int, default=LABELLED)
    parser.add_argument("--tested", type=int, help="test images; default: all")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "recipes")
    parser.add_argument("--smoke", action="store_true", help="a minute instead of hours")
    options = parser.parse_args()
    if options.smoke:
        smoke = "--algorithms rotate --data fashion --images 64 128 --minutes 0.02 --seeds 0"
        kept = {name: getattr(options, name) for name in ("root", "out", "threads", "smoke")}
        given = argparse.Namespace(**kept)
        options = parser.parse_args([*smoke.split(), "--labelled", "60", "--tested", "60"], given)
    torch.set_num_threads(options.threads)
    planned = recipes(options.data, options.images, options.minutes, options.sides)
    if options.smoke:
        planned = [each._replace(minutes=0.02) for each in planned]
    rows: list[Row] = []
    for recipe in planned:
        try:
            rows += followed(recipe, options)
        except FileNotFoundError as error:
            print(f"{recipe.data} is left out: there is no {error.filename}", flush=True)
            continue
        write(rows, len(planned), options)
        print(f"{recipe}: {len({row.recipe for row in rows})} of {len(planned)}", flush=True)


if __name__ == "__main__":
    main()
