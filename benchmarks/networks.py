"""How fast is a training step of our EfficientNet-B0 beside those of other libraries?

    python benchmarks/networks.py [--compile]

Forward, cross entropy over 1000 classes, backward, Adam. All take turns in one process with the
same threads, batch and images. Writes `benchmarks/results/networks.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
import torchvision
from efficientnet_pytorch import EfficientNet
from interleaved import Best, best_times
from provenance import write_result
from torch import nn

from super_selfish.models import CombinedNet, EfficientFeatures
from super_selfish.training.allocator import kept_memory

HERE = Path(__file__).parent
CLASSES, DROP = 1000, 0.2  # published: dropped branches up to 0.2
CALLS = 3  # steps in a row
ORIGINAL = "efficientnet-pytorch, as it comes"
SUPERVISED = "ours as in supervise(): fused Adam, kept memory"
COMPILED = "ours in supervise(compile=True)"
GOALS = f"""Goals: at least 2 times {ORIGINAL}, 2.5 times compiled, within 5 % of timm's or better.
Ratios are of the clock, and of the processor, which other work on the machine disturbs less."""

Step = Callable[[], object]


def ours() -> nn.Module:
    """Our network, with a classifier like that of the others."""
    backbone = EfficientFeatures()
    return CombinedNet(backbone, nn.Linear(backbone.num_features, CLASSES))


def networks() -> dict[str, nn.Module]:
    """All networks but the compiled one; the others in the layout that is better for them."""
    last: Any = {"memory_format": torch.channels_last}
    return {
        ORIGINAL: EfficientNet.from_name("efficientnet-b0"),
        "timm efficientnet_b0, channels-last": timm.create_model(
            "efficientnet_b0", drop_path_rate=DROP
        ).to(**last),
        "timm tf_efficientnet_b0, channels-last": timm.create_model(
            "tf_efficientnet_b0", drop_path_rate=DROP
        ).to(**last),
        "torchvision, channels-last": torchvision.models.efficientnet_b0(
            stochastic_depth_prob=DROP
        ).to(**last),
        "ours": ours(),
    }


def step_of(network: nn.Module, size: int, batch: int, fused: bool = False) -> Step:
    """A training step on images of `size` pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, size, size, generator=generator)
    stem = next(weight for weight in network.parameters() if weight.ndim == 4)
    if stem.is_contiguous(memory_format=torch.channels_last):
        images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(CLASSES, (batch,), generator=generator)
    optimizer = torch.optim.Adam(network.parameters(), fused=fused)
    network.train()

    def step() -> None:
        F.cross_entropy(network(images), targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(size: int, options: argparse.Namespace) -> dict[str, Best]:
    """Least times at one size of images."""
    steps = {name: step_of(network, size, options.batch) for name, network in networks().items()}
    surroundings = dict.fromkeys((SUPERVISED, COMPILED), kept_memory)
    steps[SUPERVISED] = step_of(ours(), size, options.batch, fused=True)
    if options.compile:
        torch.compiler.reset()  # or the second size would be compiled for all sizes, for an hour
        compiled = ours()
        compiled.compile()
        steps[COMPILED] = step_of(compiled, size, options.batch, fused=True)
    return best_times(steps, options.repeats, CALLS, surroundings)


def table(size: int, best: dict[str, Best], batch: int) -> str:
    """Images per second, and how many times as fast as the original."""
    lines = [
        f"| {size} px | images/s | per second of processor | times the original "
        "| the same, processor |",
        "|---|---|---|---|---|",
    ]
    original = best[ORIGINAL]
    for name, times in best.items():
        lines.append(
            f"| {name} | {1e3 * batch / times.clock:.1f} | {1e3 * batch / times.processor:.1f} "
            f"| {original.clock / times.clock:.2f} | {original.processor / times.processor:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures, prints the tables and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 225])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="takes minutes for each size")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "networks.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    tables = []
    for size in options.sizes:
        tables.append(table(size, measure(size, options), options.batch))
        print(tables[-1], flush=True)
    intro = f"Batch {options.batch}, fp32, least of {options.repeats} turns. {GOALS}"
    parts = ["# A training step of EfficientNet-B0", intro, *tables]
    packages = ("timm", "torchvision", "efficientnet-pytorch")
    write_result(options.out, ["\n\n".join(parts)], *packages)


if __name__ == "__main__":
    main()
