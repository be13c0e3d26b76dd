"""How fast do images reach a batch: from files, from a cache of them, from memory?

    python benchmarks/reading.py --root ../shared/datasets

Photographs are Imagenette's (`imagenette/imagenette_224_sample.tar` under `--root`): the 224x224
files as they are, and mosaics of them, stored again as JPEG, of 500x375, the usual size of
ImageNet, and of 2000x1500, that of a camera. Ours reads with every decoder that is installed
(`pip install simplejpeg`); what the decoder takes alone is the least that reading can take.
Tensors are CIFAR-10 and Fashion-MNIST. What is compared takes turns in one process. The tables are
written to `--out`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import load
from PIL import Image
from provenance import provenance
from torch import Tensor

from super_selfish.data import ImageSource, jpeg
from super_selfish.data.collate import LabelCollator
from super_selfish.data.fitting import fit_size
from super_selfish.data.on_device import held_on_device

HERE = Path(__file__).parent
TARGET, BATCH = 225, 32
TENSOR_BATCH = 256


@dataclass
class Way:
    """One way to read: a turn reads `images` images."""

    name: str
    turn: Callable[[], object]
    images: int
    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def take_turn(self) -> None:
        """Reads once and notes the seconds an image took."""
        clock, processor = time.perf_counter(), time.process_time()
        self.turn()
        self.clock.append((time.perf_counter() - clock) / self.images)
        self.processor.append((time.process_time() - processor) / self.images)


@dataclass
class Contest:
    """Ways to the same images; the first is what the others are compared with."""

    title: str
    ways: list[Way]
    note: str = ""

    def run(self, turns: int) -> None:
        """One turn to warm up, then `turns`, one way after the other."""
        for turn in range(turns + 1):
            for way in self.ways:
                if turn == 1:
                    way.clock.clear()
                    way.processor.clear()
                way.take_turn()

    def rows(self) -> list[str]:
        """Lines of the table."""
        first, lines = self.ways[0], []
        for way in self.ways:
            pairs = zip(first.processor, way.processor, strict=True)
            ratios = [
                statistics.median(before / after for before, after in pairs),
                min(first.clock) / min(way.clock),
            ]
            cells = [
                self.title if way is first else "",
                way.name,
                f"{1 / statistics.median(way.processor):,.0f}",
                f"{1 / min(way.clock):,.0f}",
                *(f"{ratio:.2f}" for ratio in ratios),
            ]
            lines.append("| " + " | ".join(cells) + " |")
        return lines


def photographs(root: Path, folder: Path) -> list[Path]:
    """Unpacks the photographs of 224x224."""
    tar = root / "imagenette" / "imagenette_224_sample.tar"
    if not tar.is_file():
        sys.exit(f"there are no photographs at {tar}: --root must hold imagenette/{tar.name}")
    with tarfile.open(tar) as archive:
        for number, member in enumerate(m for m in archive if m.name.endswith(".jpg")):
            content = archive.extractfile(member)
            if content is not None:
                (folder / f"{number:03}.jpg").write_bytes(content.read())
    return sorted(folder.glob("*.jpg"))


def mosaics(
    files: Sequence[Path], folder: Path, number: int, quality: int, size: tuple[int, int]
) -> list[Path]:
    """Cuts images of one size out of photographs side by side and stores them as JPEG."""
    (width, height), made, place = size, [], 0
    across, down = -(-width // 224), -(-height // 224)
    left, top = (224 * across - width) // 2, (224 * down - height) // 2
    for image_number in range(number):
        sheet = Image.new("RGB", (224 * across, 224 * down))
        for tile in range(across * down):
            with Image.open(files[place % len(files)]) as image:
                sheet.paste(image.convert("RGB"), (tile % across * 224, tile // across * 224))
            place += 1
        made.append(folder / f"{image_number:03}.jpg")
        sheet.crop((left, top, left + width, top + height)).save(made[-1], quality=quality)
    return made


def open_and_resize(path: Path, size: int) -> Tensor:
    """What users of PIL write; the same image as ours, to two grey levels."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = size / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return as_tensor(image.crop((left, top, left + size, top + size)))


def open_and_squeeze(path: Path, size: int) -> Tensor:
    """The same without regard to the proportions, and without a crop."""
    with Image.open(path) as opened:
        return as_tensor(opened.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def as_tensor(image: Image.Image) -> Tensor:
    """A PIL image as uint8 `[3, H, W]`."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def decoding(title: str, files: Sequence[Path], size: int) -> Contest:
    """PIL against ours."""
    source = ImageSource([str(file) for file in files], size, 3)
    number = len(files)

    def each(read: Callable[[Path, int], Tensor]) -> Callable[[], object]:
        return lambda: drop(read(file, size) for file in files)

    def ours(decoder: jpeg.Decoder) -> Iterator[Tensor]:
        jpeg._DECODER = decoder
        return (source[index].image for index in range(number))

    ways = [
        Way("PIL: open, resize, crop", each(open_and_resize), number),
        Way("PIL: open, resize to a square", each(open_and_squeeze), number),
        Way("PIL: open; torch: resize", each(opened_and_fitted), number),
    ]
    notes = []
    expected = torch.stack([open_and_resize(file, size) for file in files]).float()
    for name, decoder in sorted(jpeg.available_decoders().items(), reverse=True):
        turn = partial(lambda decoder: drop(ours(decoder)), decoder)
        ways.append(Way(f"ours: `source[i]`, {name}", turn, number))
        ways.append(Way(f"{name}: decode only", each(partial(decoded_only, decoder)), number))
        distance = (torch.stack(list(ours(decoder))).float() - expected).abs()
        notes.append(f"{distance.max():.0f} at most and {distance.mean():.2f} on average ({name})")
    return Contest(title, ways, f"{title}: {'; '.join(notes)}")


def drop(images: Iterable[Tensor]) -> None:
    """Reads images and keeps none: a loader, too, lets go of them once they are in a batch."""
    deque(images, maxlen=0)


def decoded_only(decoder: jpeg.Decoder, path: Path, size: int) -> Tensor:
    """What the decoder gives of a file, in its own size."""
    return decoder(path.read_bytes(), 3)


def opened_and_fitted(path: Path, size: int) -> Tensor:
    """Decoded by PIL, resized by torch, as this library did before."""
    with Image.open(path) as opened:
        return fit_size(as_tensor(opened.convert("RGB")), (size, size))


def from_cache(files: Sequence[Path], folder: Path) -> tuple[Contest, str]:
    """Batches from files, cache and device, and what the cache cost."""
    source = ImageSource([str(file) for file in files], TARGET, 3)
    started = time.perf_counter()
    cached = source.cached(folder / "cache", progress=False)
    built = time.perf_counter() - started
    started = time.perf_counter()
    source.cached(folder / "cache")
    opened = time.perf_counter() - started
    held = held_on_device(cached, torch.device("cpu"), progress=False)
    ways = [
        ("files", source),
        ("cache", cached),
        ("tensor (`dataset_on_device=True` on a CPU)", held),
    ]
    cost = (
        f"The cache of {len(files)} images was built in {built:.2f} s ({len(files) / built:,.0f} "
        f"images/s, {torch.get_num_threads()} thread(s)) and opened in {1e3 * opened:.0f} ms."
    )
    title = f"500x375 → {TARGET}, batches of {BATCH}"
    return Contest(title, [Way(n, epoch(s, BATCH, len(files)), len(files)) for n, s in ways]), cost


def epoch(
    source: ImageSource, batch: int, images: int, *, at_once: bool = True
) -> Callable[[], None]:
    """Some images in random order, in batches, as the loader makes them."""
    stack = LabelCollator().stack
    order = torch.randint(len(source), (images,), generator=torch.Generator().manual_seed(0))
    batches = [part.tolist() for part in order.split(batch)]

    def turn() -> None:
        for indices in batches:
            stack(source.__getitems__(indices) if at_once else [source[i] for i in indices])

    return turn


def in_memory(title: str, images: Tensor, labels: Tensor) -> Contest:
    """A tensor read image by image, and a batch at a time."""
    source = ImageSource((images, labels))
    shown = 8 * TENSOR_BATCH
    ways = [
        Way("image by image", epoch(source, TENSOR_BATCH, shown, at_once=False), shown),
        Way("a batch at a time", epoch(source, TENSOR_BATCH, shown), shown),
    ]
    return Contest(title, ways)


def _optional(name: str) -> list[str]:
    return [name] if name in jpeg.available_decoders() else []


def main() -> None:
    """Measures, prints the tables and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--images", type=int, default=64, help="mosaics of 500x375")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "reading.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    contests = []
    with tempfile.TemporaryDirectory() as name:
        folders = {part: Path(name, part) for part in ("small", "75", "92", "large")}
        for folder in folders.values():
            folder.mkdir()
        small = photographs(options.root, folders["small"])
        for quality in (92, 75):
            files = mosaics(small, folders[str(quality)], options.images, quality, (500, 375))
            kilobytes = statistics.mean(file.stat().st_size for file in files) / 1e3
            title = f"500x375 → {TARGET}, quality {quality} ({kilobytes:.0f} kB)"
            contests.append(decoding(title, files, TARGET))
        large = mosaics(small, folders["large"], options.images // 8, 90, (2000, 1500))
        contests.append(decoding(f"2000x1500 → {TARGET}", large, TARGET))
        contests.append(decoding("224x224 → 128", small[: options.images], 128))
        contests.append(decoding("224x224 as it is", small[: options.images], 224))
        contest, cost = from_cache(files, Path(name))
        contests.append(contest)
        for data, title in (("cifar10", "CIFAR-10, uint8"), ("fashion", "Fashion-MNIST, 28 → 32")):
            images, labels = load(data, options.root)[1]
            contests.append(in_memory(f"{title}, batches of {TENSOR_BATCH}", images, labels))
            if data == "cifar10":
                floats = images.float() / 255
                contests.append(
                    in_memory(f"CIFAR-10, float, batches of {TENSOR_BATCH}", floats, labels)
                )
        for contest in contests:
            contest.run(options.turns)
    text = "\n".join(
        [
            "# Reading: files, cache, memory",
            "",
            f"Each contest's ways took turns in one process, {options.turns} times. Images a "
            "second: of the processor's time, median, and of the clock, best. Ratios are to the "
            "first way of the contest: median over the turns of the processor's time, and best "
            "against best of the clock.",
            "",
            "| images | way | images/s (processor) | images/s (best) | ratio | ratio of bests |",
            "|---|---|---|---|---|---|",
            *(row for contest in contests for row in contest.rows()),
            "",
            "Grey levels between ours and the first way, of 255:",
            "",
            *(f"- {contest.note}" for contest in contests if contest.note),
            "",
            cost,
            "",
            provenance("torchvision", "pillow", "numpy", *_optional("simplejpeg")),
            "",
        ]
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
