"""A pretrained backbone learns to classify from a few labels, beside one that knows nothing.

    python examples/classification.py                               # pretrains first
    python examples/classification.py --checkpoint quickstart/moco  # what quickstart.py stored
    python examples/classification.py --labels 5                    # fewer labels of each class

About a minute on one CPU core. First a linear head learns on the frozen backbone, then
both learn, the backbone ten times more slowly; that is written out in `classify()`. Prints the
accuracy on photographs' unseen regions after each, for a pretrained and for an untrained start.
"""

from __future__ import annotations

import argparse
import os

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from super_selfish.data import photographs
from super_selfish.models import CombinedNet, NarrowResNet, untrained_twin
from super_selfish.supervisors import LabelSupervisor, MomentumContrastSupervisor


def pretrained_backbone(
    checkpoint: str | None, images: Dataset, epochs: int, device: str
) -> nn.Module:
    """The backbone of a checkpoint of MoCo, or one that is pretrained now, without labels."""
    if checkpoint is not None:
        return MomentumContrastSupervisor().load(checkpoint).get_backbone().to(device)
    backbone = NarrowResNet(width=16)
    # The paper's momentum of 0.999 is for weeks of training.
    supervisor = MomentumContrastSupervisor(images, backbone=backbone, momentum=0.99).to(device)
    supervisor.supervise(epochs=epochs, batch_size=64, name=None)
    return backbone


def classify(backbone: nn.Module, few: Subset, test: Dataset, device: str) -> tuple[float, float]:
    """Accuracies on the test images with the backbone frozen, and after fine-tuning."""
    torch.manual_seed(0)
    width = backbone.num_features
    # Standardised: else the features of an untrained network are too small to learn from in time.
    head = nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, len(test.classes)))
    settings = {"batch_size": 32, "name": None, "lr_scheduler": "cosine", "progress": False}

    frozen = LabelSupervisor(few, backbone, head).to(device)
    frozen.supervise(lr=1e-2, epochs=30, **settings)
    before = accuracy(CombinedNet(backbone, head), test, device)

    both = LabelSupervisor(few, backbone, head, finetune=True, backbone_lr_factor=0.1).to(device)
    both.supervise(lr=1e-2, epochs=20, **settings)
    return before, accuracy(CombinedNet(backbone, head), test, device)


@torch.no_grad()
def accuracy(network: nn.Module, test: Dataset, device: str) -> float:
    """Share of the test images whose photograph is recognised."""
    network.eval()
    logits: list[Tensor] = [
        network(images.to(device) / 255).cpu() for images in test.images.split(256)
    ]
    return (torch.cat(logits).argmax(dim=1) == test.labels).float().mean().item()


def main() -> None:
    """Pretrains or loads, classifies, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=os.path.expanduser, help="of MoCo, without its ending")
    parser.add_argument("--labels", type=int, default=10, help="labelled images of each class")
    parser.add_argument("--epochs", type=int, default=4, help="of pretraining")
    options = parser.parse_args()

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train, test = photographs(32, split="train"), photographs(32, split="test")
    drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    chosen = [drawn[train.labels[drawn] == c][: options.labels] for c in range(len(train.classes))]
    few = Subset(train, torch.cat(chosen).tolist())

    pretrained = pretrained_backbone(options.checkpoint, train, options.epochs, device)
    print(
        f"{len(few)} labelled images, {len(train.classes)} classes; accuracy on {len(test)} others:"
    )
    print("start        frozen  fine-tuned")
    for name, backbone in (("untrained", untrained_twin(pretrained)), ("pretrained", pretrained)):
        frozen, finetuned = classify(backbone, few, test, device)
        print(f"{name:<12} {100 * frozen:5.1f} %     {100 * finetuned:5.1f} %")


if __name__ == "__main__":
    main()
