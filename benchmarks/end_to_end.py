"""How long does an epoch take? `supervise()` beside a plain loop over lightly's parts.

    pip install -r benchmarks/requirements.txt
    python benchmarks/end_to_end.py

Same images (PIL, in memory), network, heads, loss, recipe, optimizer, batch and workers for both.
EfficientNet-B0 is ours for us and torchvision's for lightly, which has none of its own. Each turn
trains two epochs and times the second; the turns alternate and the median of each counts, as pages
of memory are dear now and then.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from datasets import load
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead, MoCoProjectionHead
from lightly_loops import Bootstrap, Contrast, seconds_of_an_epoch
from PIL import Image
from provenance import write_result
from torch import nn
from torchvision.models import efficientnet_b0, resnet18

from super_selfish.models import EfficientFeatures
from super_selfish.supervisors import BYOLSupervisor, MomentumContrastSupervisor, Supervisor

HERE = Path(__file__).parent
MOMENTUM = 0.99
HIDDEN = 1024  # of BYOL's heads
QUEUE = 512
CASES = [  # algorithm, network, pixels, batch, images
    ("moco", "ResNet-18", 32, 128, 1024),
    ("byol", "ResNet-18", 32, 128, 1024),
    ("moco", "EfficientNet-B0", 96, 32, 128),
    ("byol", "EfficientNet-B0", 96, 32, 128),
]


def backbone_of(network: str, *, ours: bool) -> tuple[nn.Module, int]:
    """The network without its classifier, and the number of its features."""
    torch.manual_seed(0)
    if network == "ResNet-18":
        backbone = resnet18(weights=None)
        backbone.fc = nn.Identity()
        return backbone, 512
    if ours:
        return EfficientFeatures(), 1280
    backbone = efficientnet_b0(weights=None)
    backbone.classifier = nn.Identity()
    return backbone, 1280


def our_supervisor(
    algorithm: str, network: str, size: int, images: list[Image.Image]
) -> Supervisor:
    """Ours, with lightly's heads, so that the networks are the same."""
    backbone, features = backbone_of(network, ours=True)
    if algorithm == "moco":
        return MomentumContrastSupervisor(
            images,
            backbone,
            MoCoProjectionHead(features, features, 128),
            queue_size=QUEUE,
            momentum=MOMENTUM,
            norm_groups=1,
            image_size=size,
        )
    return BYOLSupervisor(
        images,
        backbone,
        BYOLProjectionHead(features, HIDDEN, 256),
        prediction_head=BYOLPredictionHead(256, HIDDEN, 256),
        momentum=MOMENTUM,
        image_size=size,
    )


def main() -> None:
    """Measures, prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "end_to_end.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tensors = load("cifar10", options.root)[0][0]
    lines = [
        "| algorithm | network | pixels | batch | lightly, images/s | ours, images/s | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for algorithm, network, size, batch, count in CASES:
        images = [
            Image.fromarray(image.permute(1, 2, 0).numpy()).resize((size, size))
            for image in tensors[:count]
        ]
        ours, theirs = [], []
        for _ in range(options.turns):
            backbone, features = backbone_of(network, ours=False)
            method = (
                Contrast(backbone, features, QUEUE, MOMENTUM)
                if algorithm == "moco"
                else Bootstrap(backbone, features, HIDDEN, MOMENTUM)
            )
            theirs.append(
                seconds_of_an_epoch(algorithm, method, images, size, batch, options.workers)
            )
            supervisor = our_supervisor(algorithm, network, size, images)
            supervisor.supervise(
                epochs=2, batch_size=batch, num_workers=options.workers, name=None, progress=False
            )
            ours.append(supervisor.history[-1]["seconds"])
        their_median, our_median = statistics.median(theirs), statistics.median(ours)
        lines.append(
            f"| {algorithm} | {network} | {size} | {batch} | {count / their_median:.0f} "
            f"| {count / our_median:.0f} | **{their_median / our_median:.2f}** |"
        )
        print(lines[-1], flush=True)
    heading = [
        "# An epoch beside lightly",
        "",
        "Images per second of training (two views each), by the second epoch of the median turn; "
        f"{options.workers} workers.",
        "",
    ]
    write_result(options.out, [*heading, *lines], "torchvision", "lightly", "pillow")


if __name__ == "__main__":
    main()
