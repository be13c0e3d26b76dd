"""A pretrained backbone learns to segment, beside one that knows nothing.

    python examples/segmentation.py
    python examples/segmentation.py --images 20   # fewer labelled images

About two minutes on one CPU core. The images are mosaics of four textures (brick, grass,
gravel, coins) that are cut from photographs of scikit-image, so that the class of every pixel is
known exactly, without a download and without a threshold of somebody's choice. First the protocol
"segmentation": a linear head on the frozen map, which says what the backbone itself knows. Then a
small decoder learns on the map, `forward_features`; the backbone learns with it, more slowly.
Prints the intersection over union on mosaics of unseen regions of the photographs, and writes
--out: images, true masks, predicted masks (red brick, green grass, blue gravel, yellow coins).

With images of your own: `TensorDataset(images, masks)`, or any dataset of (image, mask), with masks
as int64 tensors [H, W] at the size of the images.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from super_selfish.data import photographs
from super_selfish.evaluation import evaluate, plot_views
from super_selfish.evaluation.metrics import confusion_matrix, mean_iou
from super_selfish.models import ImageDecoder, NarrowResNet, untrained_twin
from super_selfish.supervisors import LabelSupervisor, MomentumContrastSupervisor

TEXTURES = ("brick", "grass", "gravel", "coins")
COLORS = torch.tensor([[209, 73, 91], [102, 161, 130], [0, 121, 140], [237, 174, 73]])
SIDE = 64  # pixels


def mosaics(split: str, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images `[N, 3, H, W]` uint8 of several textures, and masks `[N, H, W]` that say which."""
    patches = photographs(SIDE, split=split)
    layers = []
    for texture in TEXTURES:
        own = patches.images[patches.labels == patches.classes.index(texture)]
        layers.append(own[torch.randint(len(own), (count,), generator=generator)])
    heights = torch.randn(count, len(TEXTURES), 3, 3, generator=generator)
    heights = F.interpolate(heights, size=(SIDE, SIDE), mode="bicubic", align_corners=True)
    masks = heights.argmax(dim=1)  # the highest of four smooth hills
    images = torch.stack(layers, dim=1).gather(  # (N, 4, 3, H, W)
        1, masks[:, None, None].expand(-1, 1, 3, -1, -1)
    )
    return images[:, 0], masks


def segment(backbone: nn.Module, train: TensorDataset, test: Tensor, device: str) -> Tensor:
    """Masks `[N, H, W]` of the test images, by a network that learned from the training ones."""
    torch.manual_seed(0)
    decoder = ImageDecoder(
        *(backbone.num_features, len(TEXTURES), (64, 32)),
        size=(SIDE, SIDE),
        map_size=backbone.forward_features(torch.zeros(1, 3, SIDE, SIDE)).shape[-2:],
    )
    supervisor = LabelSupervisor(train, backbone, decoder, finetune=True, backbone_lr_factor=0.1)
    supervisor.to(device).supervise(
        lr=3e-3, epochs=30, batch_size=16, lr_scheduler="cosine", name=None, progress=False
    )
    return torch.cat([supervisor.predict(some / 255).argmax(1).cpu() for some in test.split(64)])


def main() -> None:
    """Pretrains, segments, prints, draws."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=60, help="images with masks")
    parser.add_argument("--epochs", type=int, default=4, help="of pretraining")
    parser.add_argument("--out", default="segmentation.png")
    options = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    train = TensorDataset(*mosaics("train", options.images, generator))
    images, masks = mosaics("test", 100, generator)

    torch.manual_seed(0)
    pretrained = NarrowResNet(width=16)
    untrained = untrained_twin(pretrained)
    pretraining = photographs(SIDE, split="train", per_photograph=100)
    # The paper's momentum of 0.999 is for weeks of training.
    MomentumContrastSupervisor(pretraining, backbone=pretrained, momentum=0.99).to(
        device
    ).supervise(epochs=options.epochs, batch_size=64, name=None)

    frozen = evaluate(
        pretrained, train, (images, masks), protocols=["segmentation"], untrained=untrained
    )
    print(f"A linear head on frozen maps:\n{frozen}\n")
    print("A decoder on maps that learn with it; mean intersection over union:")
    found = {}
    for name, backbone in (("untrained", untrained), ("pretrained", pretrained)):
        found[name] = segment(backbone, train, images, device)
        counts = confusion_matrix(found[name].flatten(), masks.flatten(), torch.arange(4))
        print(f"{name:<12} {mean_iou(counts):.3f}")

    shown = [masks, found["pretrained"], found["untrained"]]
    rows = [
        torch.stack([images[i], *(COLORS[m[i]].permute(2, 0, 1).to(torch.uint8) for m in shown)])
        for i in range(6)
    ]
    plot_views(rows, options.out, ["image", "true mask", "pretrained", "untrained"])
    print(f"pictures: {options.out}")


if __name__ == "__main__":
    main()
