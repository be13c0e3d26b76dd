"""A pretrained backbone learns to find objects, beside one that knows nothing.

    python examples/detection.py                        # minutes on a CPU, better on a GPU
    python examples/detection.py --backbone resnet18    # any backbone of this library
    python examples/detection.py --smoke                # a few steps, to see that it runs

torchvision's Faster R-CNN with a feature pyramid, whose body is our backbone: `StrideMaps` gives
its maps of several strides, `FeaturePyramidNetwork` joins them. The images are composed: ovals cut
from three photographs of scikit-image (a cat, a cup of coffee, coins) are put on gravel and grass,
so that every box is known exactly, without a download. The objects of the test images come from
other regions of the photographs. Prints the losses, and mean average precision by `torchmetrics`,
if that is there: `pip install torchmetrics pycocotools`.

With images of your own: a list of images `[3, H, W]` in [0, 1] and of dictionaries with "boxes"
`[n, 4]` (left, top, right, bottom in pixels) and "labels" `[n]` from 1 on.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from super_selfish.data import photographs
from super_selfish.models import StrideMaps, build_backbone, untrained_twin
from super_selfish.supervisors import MomentumContrastSupervisor

OBJECTS = ("chelsea", "coffee", "coins")  # labels 1, 2, 3
GROUNDS = ("gravel", "grass")
SIDE = 96  # pixels
Scenes = tuple[list[Tensor], list[dict[str, Tensor]]]


def scenes(split: str, count: int, generator: torch.Generator) -> Scenes:
    """Images `[3, SIDE, SIDE]` in [0, 1] with one to three ovals, and their boxes and labels."""
    grounds, patches = photographs(SIDE, split=split), photographs(32, split=split)

    def drawn(name: str, source: Any) -> Tensor:
        own = source.images[source.labels == source.classes.index(name)]
        return own[int(torch.randint(len(own), (1,), generator=generator))]

    images, targets = [], []
    for _ in range(count):
        ground = GROUNDS[int(torch.randint(len(GROUNDS), (1,), generator=generator))]
        image, boxes, labels = drawn(ground, grounds).clone(), [], []
        for _ in range(int(torch.randint(1, 4, (1,), generator=generator))):
            label = int(torch.randint(len(OBJECTS), (1,), generator=generator))
            height, width = torch.randint(16, 33, (2,), generator=generator).tolist()
            top = int(torch.randint(SIDE - height, (1,), generator=generator))
            left = int(torch.randint(SIDE - width, (1,), generator=generator))
            box = torch.tensor([left, top, left + width, top + height], dtype=torch.float32)
            if any(overlap(box, other) for other in boxes):
                continue
            place = image[:, top : top + height, left : left + width]
            patch = drawn(OBJECTS[label], patches)[:, :height, :width]
            place.copy_(torch.where(oval(height, width), patch, place))
            boxes.append(box)
            labels.append(label + 1)
        images.append(image / 255)
        targets.append({"boxes": torch.stack(boxes), "labels": torch.tensor(labels)})
    return images, targets


def oval(height: int, width: int) -> Tensor:
    """Whether each pixel of a box is in its ellipse, `[height, width]`."""
    y = (2 * torch.arange(height) + 1) / height - 1
    x = (2 * torch.arange(width) + 1) / width - 1
    return y[:, None].square() + x.square() <= 1


def overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two boxes have a pixel in common."""
    return bool((torch.maximum(one, other)[:2] < torch.minimum(one, other)[2:]).all())


class Pyramid(nn.Module):
    """A backbone and the pyramid on it, in the form that torchvision's detectors want.

    Attributes:
        out_channels: Of every level.
    """

    def __init__(self, backbone: nn.Module, out_channels: int = 64) -> None:
        super().__init__()
        self.maps = StrideMaps(backbone, 3, (SIDE, SIDE))
        self.join = FeaturePyramidNetwork(list(self.maps.widths), out_channels)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Levels `[B, out_channels, h, w]` by name, the largest first."""
        return self.join(self.maps(images))


def detector(backbone: nn.Module) -> FasterRCNN:
    """A Faster R-CNN whose body is the backbone, for objects of 16 to 32 pixels."""
    body = Pyramid(backbone)
    levels = [str(level) for level in range(len(body.maps.strides))]
    sizes = tuple((max(12, min(48, 3 * stride)),) for stride in body.maps.strides)
    return FasterRCNN(
        body,
        num_classes=1 + len(OBJECTS),
        min_size=SIDE,
        max_size=SIDE,
        image_mean=[0.0, 0.0, 0.0],  # our backbones eat [0, 1]
        image_std=[1.0, 1.0, 1.0],
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign(levels, output_size=5, sampling_ratio=2),
        rpn_pre_nms_top_n_train=400,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_test=100,
    )


def train(network: FasterRCNN, data: Scenes, steps: int, device: str) -> tuple[float, float]:
    """Trains; the summed losses of the first and of the last tenth of the steps."""
    images, targets = data
    generator = torch.Generator().manual_seed(0)
    heads = [p for n, p in network.named_parameters() if ".maps.backbone." not in n]
    body = list(network.backbone.maps.backbone.parameters())
    optimizer = torch.optim.AdamW([{"params": heads}, {"params": body, "lr": 1e-4}], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.to(device).train()
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(images), (8,), generator=generator).tolist()
        found = network(
            [images[i].to(device) for i in chosen],
            [{key: value.to(device) for key, value in targets[i].items()} for i in chosen],
        )
        loss = sum(found.values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    tenth = max(1, steps // 10)
    return sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth


@torch.no_grad()
def detect(network: FasterRCNN, images: list[Tensor], device: str) -> list[dict[str, Tensor]]:
    """Boxes, labels and scores found in each image, on the CPU."""
    network.eval()
    found: list[dict[str, Tensor]] = []
    for start in range(0, len(images), 16):
        some = network([image.to(device) for image in images[start : start + 16]])
        found += [{key: value.cpu() for key, value in one.items()} for one in some]
    return found


def precision() -> Any:
    """Torchmetrics' mean average precision, or why there is none."""
    try:
        from torchmetrics.detection import MeanAveragePrecision

        return MeanAveragePrecision()
    except (ImportError, ModuleNotFoundError) as error:
        return f"mean average precision is left out ({error}): pip install torchmetrics pycocotools"


def main() -> None:
    """Pretrains, detects, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default="narrow-resnet", help="a name of build_backbone")
    parser.add_argument("--images", type=int, default=200, help="images with boxes")
    parser.add_argument("--steps", type=int, default=400, help="of training with boxes")
    parser.add_argument("--epochs", type=int, default=4, help="of pretraining")
    parser.add_argument("--smoke", action="store_true", help="four steps of everything")
    options = parser.parse_args()
    images, steps, tested = options.images, options.steps, 100
    if options.smoke:
        images, steps, tested = 8, 4, 4

    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    labelled = scenes("train", images, generator)
    unseen, targets = scenes("test", tested, generator)
    torch.manual_seed(0)
    pretrained = build_backbone(options.backbone, 3, (SIDE, SIDE))
    untrained = untrained_twin(pretrained)
    unlabelled = photographs(SIDE, split="train", per_photograph=4 if options.smoke else 60)
    MomentumContrastSupervisor(unlabelled, backbone=pretrained).to(device).supervise(
        epochs=1 if options.smoke else options.epochs, batch_size=64, name=None
    )
    print(f"{images} images with boxes, {steps} steps; {tested} others to find objects in")
    for name, backbone in (("untrained", untrained), ("pretrained", pretrained)):
        torch.manual_seed(0)
        network = detector(backbone)
        first, last = train(network, labelled, steps, device)
        metric, line = precision(), f"{name:<12} loss {first:.2f} to {last:.2f}"
        if isinstance(metric, str):
            print(line)
            continue
        metric.update(detect(network, unseen, device), targets)
        found = metric.compute()
        print(f"{line}, mAP {100 * found['map']:.1f} %, at IoU 0.5 {100 * found['map_50']:.1f} %")
    if isinstance(metric, str):
        print(metric)


if __name__ == "__main__":
    main()
