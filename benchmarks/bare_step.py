"""Which share of the networks' own speed does training reach, reading and augmentation included?

    pip install -r benchmarks/requirements.txt
    python benchmarks/bare_step.py --device cuda --images FOLDER --workers 14     # one large GPU
    python benchmarks/bare_step.py --size 64 --batch 32 --networks narrow-resnet  # a CPU, minutes

The bare step is MoCo v2 (forward of both encoders, loss, backward, Adam, momentum update) on views
that already lie on the device. Beside it, over the same images and step: `supervise()` from
files, from the cache and from the device; and a plain loop fed by lightly's transform, by
torchvision's v2 transforms (both in the loader's workers), and by kornia on the device. Writes
`benchmarks/results/bare_step.md`.
"""

from __future__ import annotations

import argparse
import importlib.util
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from provenance import write_result
from torch import Tensor
from torch.utils.data import DataLoader

from super_selfish.augmentations.filters import blur_kernel_size
from super_selfish.supervisors import MomentumContrastSupervisor
from super_selfish.supervisors.momentum_contrast import ShuffledViews
from super_selfish.training.acceleration import fused, lay_out
from super_selfish.training.allocator import kept_memory
from super_selfish.training.precision import autocast

HERE = Path(__file__).parent
RECIPE: dict[str, Any] = {"min_scale": 0.2, "jitter": (0.4, 0.4, 0.4, 0.1), "blur": 0.5}
WARM_UP = 3  # steps
BARE = "bare step"
# What ways need of other people's packages.
PEERS = {"lightly, in workers": "lightly", "kornia, on the device": "kornia"}

Views = tuple[Tensor, Tensor]


class Photographs(torch.utils.data.Dataset[Any]):
    """JPEG files as PIL images of one size, with those who want a transform of their own."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        """One photograph."""
        image = Image.open(self.paths[index]).convert("RGB")
        return image.resize((self.size, self.size), Image.Resampling.BILINEAR)


class AsBytes(Photographs):
    """The same as uint8 tensors."""

    def __getitem__(self, index: int) -> Any:
        """`[3, H, W]`."""
        return torch.from_numpy(np.array(super().__getitem__(index))).permute(2, 0, 1)


class Step:
    """A step of MoCo v2 on views, by hand."""

    def __init__(self, network: str, options: argparse.Namespace) -> None:
        """Builds the networks on the device."""
        torch.manual_seed(0)
        self.device = torch.device(options.device)
        self.precision = options.precision
        self.supervisor = supervisor_of(network, None, options)
        lay_out(self.supervisor, None)
        trained = [p for p in self.supervisor.parameters() if p.requires_grad]
        self.optimizer = fused(torch.optim.Adam, trained)(trained, lr=1e-3)
        self.supervisor.train()

    def __call__(self, views: Views) -> None:
        """Trains on two views `[B, 3, H, W]` on the device."""
        order = torch.randperm(len(views[0]), device=self.device)
        with autocast(self.precision, self.device):
            loss = self.supervisor._forward(ShuffledViews(*views, order))
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        model, encoder = self.supervisor.model, self.supervisor.momentum_encoder
        encoder.update(model, self.supervisor.momentum)


def supervisor_of(
    network: str, images: Any, options: argparse.Namespace
) -> MomentumContrastSupervisor:
    """MoCo v2 as `Step` has it: batch norm over the whole batch, like the peers'."""
    supervisor = MomentumContrastSupervisor(
        images,
        network,
        queue_size=4096,
        momentum=0.99,
        norm_groups=1,
        image_size=options.size,
        in_channels=3,
    )
    return supervisor.to(options.device)


def images_per_second(step: Step, views: Iterable[Views], batch: int, seconds: float) -> float:
    """Speed over at least `seconds`, after the first steps."""
    started, done = 0.0, -WARM_UP
    for each in views:
        if done == 0:
            synchronize(step.device)
            started = time.perf_counter()
        step(each)
        done += 1
        if done > 0 and time.perf_counter() - started > seconds:
            break
    synchronize(step.device)
    if done <= 0:
        raise ValueError("too few images for a step after warming up: raise --repeat")
    return batch * done / (time.perf_counter() - started)


def synchronize(device: torch.device) -> None:
    """Waits for the device, if it is one that runs ahead."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def ready_views(options: argparse.Namespace) -> Iterator[Views]:
    """The same few views again and again, on the device."""
    shape = (options.batch, 3, options.size, options.size)
    made = [tuple(torch.rand(shape, device=options.device) for _ in range(2)) for _ in range(2)]
    while True:
        yield from made  # type: ignore[misc]


def loaded(dataset: Any, options: argparse.Namespace) -> DataLoader[Any]:
    """A loader as a careful user writes it."""
    return DataLoader(
        dataset,
        batch_size=options.batch,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        pin_memory=options.device != "cpu",
    )


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


def transformed(
    paths: list[Path], transform: Callable[[Any], Any], options: argparse.Namespace
) -> Iterator[Views]:
    """Views that the loader's workers make."""
    from peers import Transformed

    dataset = Transformed(Photographs(paths, options.size), transform)
    for first, second, *_ in endless(loaded(dataset, options)):
        yield tuple(v.to(options.device, non_blocking=True) for v in (first, second))  # type: ignore[misc]


def lightly_views(paths: list[Path], options: argparse.Namespace) -> Iterator[Views]:
    """Views of lightly's transform."""
    from lightly_loops import transform_of

    return transformed(paths, transform_of("moco", options.size), options)


def torchvision_views(paths: list[Path], options: argparse.Namespace) -> Iterator[Views]:
    """Views of torchvision's transforms."""
    from peers import torchvision_view

    return transformed(paths, torchvision_view(options.size, **RECIPE), options)


def kornia_views(paths: list[Path], options: argparse.Namespace) -> Iterator[Views]:
    """Views that kornia makes on the device, of images that the workers read."""
    from peers import kornia_view

    taps = blur_kernel_size(options.size, options.size)
    augment = kornia_view(options.size, **RECIPE, kernel=taps)
    for images in endless(loaded(AsBytes(paths, options.size), options)):
        floats = images.to(options.device, non_blocking=True).float() / 255
        yield augment(floats), augment(floats)


def by_supervise(network: str, images: Any, options: argparse.Namespace, **more: Any) -> float:
    """Images per second of the last of a few epochs of `supervise()`."""
    torch.manual_seed(0)
    supervisor = supervisor_of(network, images, options)
    supervisor.supervise(
        epochs=options.epochs,
        batch_size=options.batch,
        num_workers=options.workers,
        precision=options.precision,
        name=None,
        progress=False,
        **more,
    )
    return float(supervisor.history[-1]["images_per_second"])


def in_memory(paths: list[Path], options: argparse.Namespace) -> Tensor:
    """All images, `[N, 3, H, W]` uint8."""
    return torch.stack(
        [image for batch in loaded(AsBytes(paths, options.size), options) for image in batch]
    )


def ways(
    network: str, paths: list[Path], options: argparse.Namespace, folder: Path
) -> dict[str, Callable[[], float]]:
    """What gives images per second, the bare step first.

    Args:
        network: Name of the backbone.
        paths: Of the images.
        options: Of the command line.
        folder: For the cache.
    """

    def plain(views: Iterator[Views]) -> float:
        return images_per_second(Step(network, options), views, options.batch, options.seconds)

    def bare() -> float:
        with kept_memory(torch.device(options.device)):  # the limit: `supervise()` keeps it too
            return plain(ready_views(options))

    def supervised(images: Any = paths, **more: Any) -> float:
        return by_supervise(network, images, options, **more)

    cache = folder / "images"
    return {
        BARE: bare,
        "supervise(), JPEG files": supervised,
        "supervise(), cache": lambda: supervised(cache=cache),
        "supervise(), cache, compiled augmentation": lambda: supervised(
            cache=cache, compile_augmentation=True
        ),
        "supervise(), memory": lambda: supervised(in_memory(paths, options)),
        "supervise(), on the device": lambda: supervised(dataset_on_device=True),
        "lightly, in workers": lambda: plain(lightly_views(paths, options)),
        "torchvision v2, in workers": lambda: plain(torchvision_views(paths, options)),
        "kornia, on the device": lambda: plain(kornia_views(paths, options)),
    }


def missing(way: str) -> str | None:
    """The package that a way needs and this machine has not."""
    package = PEERS.get(way)
    return package if package and importlib.util.find_spec(package) is None else None


def files_of(images: Path | None, root: Path, folder: Path) -> list[Path]:
    """The JPEG files of a folder; without one, Imagenette's, which are unpacked into `folder`."""
    if images is None:
        with tarfile.open(root / "imagenette" / "imagenette_128.tar") as archive:
            archive.extractall(folder, filter="data")
        images = folder
    return sorted(images.rglob("*.jpg")) + sorted(images.rglob("*.JPEG"))


def main() -> None:
    """Measures, prints the tables and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", nargs="+", default=["resnet50", "efficientnet-b0"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--precision", default="fp32", help="bf16 on a GPU")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each plain loop")
    parser.add_argument("--images", type=Path, help="a folder of JPEG files; default: Imagenette")
    parser.add_argument("--count", type=int, default=10_000, help="images of an epoch")
    parser.add_argument("--repeat", type=int, default=2, help="times to list the files")
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "bare_step.md")
    options = parser.parse_args()
    lines = [
        "| network | way | images/s | share of the bare step |",
        "|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        files = files_of(options.images, options.root, Path(folder) / "jpeg")
        paths = (files * options.repeat)[: options.count]  # enough for the steps of an epoch
        for network in options.networks:
            bare = 0.0
            for way, speed_of in ways(network, paths, options, Path(folder)).items():
                if missing(way):
                    raise SystemExit(f"{way}: {missing(way)} is missing; see requirements.txt")
                speed = speed_of()
                bare = speed if way == BARE else bare
                lines.append(f"| {network} | {way} | {speed:.0f} | {speed / bare:.0%} |")
                print(lines[-1], flush=True)
    heading = [
        "# Share of the networks' own speed",
        "",
        f"MoCo v2, {options.size} pixels, batch {options.batch}, {options.precision}, on "
        f"{options.device}, {options.workers} workers; images per second, two views each.",
        "",
    ]
    write_result(options.out, [*heading, *lines], "torchvision", "lightly", "kornia", "pillow")


if __name__ == "__main__":
    main()
