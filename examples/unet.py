"""A pretrained backbone as the encoder of segmentation-models-pytorch, beside an untrained one.

    pip install segmentation-models-pytorch
    python examples/unet.py                        # minutes on a CPU
    python examples/unet.py --backbone resnet18    # any backbone of this library
    python examples/unet.py --smoke                # a few steps, to see that it runs

`encoder_of` makes any backbone what that library's decoders (U-Net, FPN, LinkNet, ...) ask for: the
image, then maps of the backbone, each smaller than the one before. The images and masks are the
mosaics of `segmentation.py`. Prints the mean intersection over union on mosaics of unseen regions.

A backbone of timm's that was written by `export_backbone(format="timm-folder")` needs none of this
in another program: `timm.create_model("local-dir:FOLDER", pretrained=True, features_only=True)`.
"""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from super_selfish.data import photographs
from super_selfish.evaluation.metrics import confusion_matrix, mean_iou
from super_selfish.models import NarrowResNet, StrideMaps, build_backbone, untrained_twin
from super_selfish.supervisors import MomentumContrastSupervisor

SIDE, CLASSES = 64, 4
NAME = "super-selfish"  # by which segmentation-models-pytorch finds it


class Encoder(nn.Module):
    """A backbone in the form that segmentation-models-pytorch wants of encoders.

    Attributes:
        out_channels: Of the image and of each map.
        output_stride: Pixels of a cell of the last map.
    """

    def __init__(self, backbone: nn.Module, channels: int = 3) -> None:
        super().__init__()
        self.maps = StrideMaps(backbone, channels, (SIDE, SIDE))
        self.out_channels = [channels, *self.maps.widths]
        self.output_stride = self.maps.strides[-1]
        self.depth = len(self.maps.widths)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The images, and their maps, the largest first."""
        return [images, *self.maps(images).values()]

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """The backbone is built for its channels already."""
        if in_channels != self.out_channels[0]:
            raise ValueError(f"the backbone takes {self.out_channels[0]} channels")


def unet(backbone: nn.Module) -> nn.Module:
    """A U-Net whose encoder is the very backbone."""
    encoder = Encoder(backbone)
    entry = {"encoder": lambda depth, output_stride: encoder, "params": {}}
    smp.encoders.encoders[NAME] = entry
    return smp.Unet(
        NAME,
        encoder_weights=None,
        encoder_depth=encoder.depth,
        decoder_channels=[16 * 2**level for level in reversed(range(encoder.depth))],
        classes=CLASSES,
    )


def train(network: Any, images: Tensor, masks: Tensor, steps: int, device: str) -> float:
    """Trains all of it, the encoder ten times more slowly; the last loss."""
    torch.manual_seed(0)
    heads = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    groups = [{"params": heads}, {"params": list(network.encoder.parameters()), "lr": 3e-4}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3)
    loss_of = smp.losses.DiceLoss(mode="multiclass")
    network.to(device).train()
    for _ in range(steps):
        chosen = torch.randint(len(images), (16,))
        logits = network(images[chosen].to(device) / 255)
        wanted = masks[chosen].to(device)
        loss = nn.functional.cross_entropy(logits, wanted) + loss_of(logits, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def main() -> None:
    """Pretrains, segments, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", help="a name of build_backbone; else a narrow ResNet")
    parser.add_argument("--images", type=int, default=60, help="images with masks")
    parser.add_argument("--steps", type=int, default=150, help="of training with masks")
    parser.add_argument("--epochs", type=int, default=4, help="of pretraining")
    parser.add_argument("--smoke", action="store_true", help="two steps of everything")
    options = parser.parse_args()
    few = options.smoke

    mosaics = runpy.run_path(str(Path(__file__).with_name("segmentation.py")))["mosaics"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    images, masks = mosaics("train", 8 if few else options.images, generator)
    unseen, truth = mosaics("test", 8 if few else 100, generator)
    torch.manual_seed(0)
    own = NarrowResNet(width=16) if options.backbone is None else options.backbone
    pretrained = build_backbone(own, 3, (SIDE, SIDE))
    untrained = untrained_twin(pretrained)
    unlabelled = photographs(SIDE, split="train", per_photograph=4 if few else 100)
    # The paper's momentum of 0.999 is for weeks of training.
    supervisor = MomentumContrastSupervisor(unlabelled, backbone=pretrained, momentum=0.99)
    supervisor.to(device).supervise(epochs=1 if few else options.epochs, batch_size=64, name=None)

    print("U-Net on maps that learn with it; mean intersection over union:")
    for name, backbone in (("untrained", untrained), ("pretrained", pretrained)):
        torch.manual_seed(0)
        network: Any = unet(backbone)
        train(network, images, masks, 2 if few else options.steps, device)
        network.eval()
        with torch.no_grad():
            found = torch.cat(
                [network(some.to(device) / 255).argmax(1).cpu() for some in unseen.split(64)]
            )
        counts = confusion_matrix(found.flatten(), truth.flatten(), torch.arange(CLASSES))
        print(f"{name:<12} {mean_iou(counts):.3f}")


if __name__ == "__main__":
    main()
