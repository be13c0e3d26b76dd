"""Does a change of the code change what is computed? Losses of every algorithm, to the last digit.

    python benchmarks/losses.py > before.txt
    ... change the code ...
    python benchmarks/losses.py | diff before.txt -

Trains each algorithm for two epochs from fixed seeds on 48 images that are drawn here, then once
more with batches that are accumulated and gradients that are clipped. A line holds the loss of
every epoch, exactly (as Python writes a float), and a checksum of all weights and buffers.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import warnings

import torch
from torch import Tensor

from super_selfish.models import NarrowResNet
from super_selfish.supervisors import SUPERVISORS
from super_selfish.training.optimizers import LARS

RUNS = {
    "plain": {"lr": 1e-3, "batch_size": 16},
    "other": {"lr": 1e-2, "batch_size": 8, "accumulate": 4, "clip_norm": 0.5, "optimizer": LARS},
}


def drawn_images(number: int = 48, size: int = 32) -> Tensor:
    """Coloured bars of several directions under noise, `[N, 3, size, size]` uint8."""
    generator = torch.Generator().manual_seed(0)
    grid = torch.arange(size) / size
    angle, phase = torch.rand(2, number, 1, 1, 1, generator=generator) * 6.3
    color = torch.rand(number, 3, 1, 1, generator=generator)
    wave = torch.sin(20 * (grid[:, None] * angle.cos() + grid * angle.sin()) + phase)
    noise = torch.rand(number, 3, size, size, generator=generator)
    return ((0.5 + 0.5 * wave) * color * 200 + 55 * noise).to(torch.uint8)


def checksum(module: torch.nn.Module) -> str:
    """Of all tensors of a module, by their names."""
    found = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def main() -> None:
    """Prints a line for every algorithm and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("algorithms", nargs="*", default=sorted(SUPERVISORS), help="default: all")
    algorithms = parser.parse_args().algorithms
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    images = drawn_images()
    for algorithm in algorithms:
        for name, settings in RUNS.items():
            torch.manual_seed(0)
            kind = SUPERVISORS[algorithm]
            network = NarrowResNet(3, 8) if kind.own_backbone is None else kind.own_backbone
            more = {"teacher": NarrowResNet(3, 4)} if algorithm == "distillation" else {}
            supervisor = kind(images, backbone=network, device="cpu", **more)
            with tempfile.TemporaryDirectory() as folder:
                supervisor.supervise(
                    epochs=2, name=f"{folder}/run", progress=False, seed=1, **settings
                )
            rows = [row["loss"] for row in supervisor.history]
            print(algorithm, name, *rows, checksum(supervisor), flush=True)


if __name__ == "__main__":
    main()
