from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import CombinedNet, build_backbone
from super_selfish.models.classifiers import classifier_warning
from super_selfish.supervisors import LabelSupervisor, RotateNetSupervisor, Supervisor


def torchvision_network(name: str) -> Any:
    from torchvision import models

    return models.get_model(name, weights=None)


@pytest.mark.parametrize(
    ("name", "mend", "width"),
    [
        ("resnet18", "backbone.fc = torch.nn.Identity()", 512),
        ("mobilenet_v3_small", "backbone.classifier[3] = torch.nn.Identity()", 1024),
        ("squeezenet1_1", "backbone.classifier[1] = torch.nn.Identity()", 512),
    ],
)
def test_a_classifier_that_is_on_is_told_with_a_mend_that_works(
    name: str, mend: str, width: int
) -> None:
    backbone = torchvision_network(name).eval()
    said = classifier_warning(backbone)
    assert said is not None
    assert f"the 1000 logits of its classifier, which is still on: with {mend} before" in said
    assert f"they are the {width} numbers" in said
    exec(mend, {"backbone": backbone, "torch": torch})
    assert backbone(torch.zeros(1, 3, 64, 64)).shape == (1, width)
    assert name == "squeezenet1_1" or classifier_warning(backbone) is None


def test_networks_of_timm_are_told_their_own_mend() -> None:
    timm = pytest.importorskip("timm")
    backbone = timm.create_model("resnet10t")
    assert "backbone.reset_classifier(0)" in str(classifier_warning(backbone))
    backbone.reset_classifier(0)
    assert classifier_warning(backbone) is None


@pytest.mark.parametrize("name", ["resnet18", "efficientnet-b0", "narrow-resnet"])
def test_nothing_is_said_of_backbones_by_name(name: str) -> None:
    assert classifier_warning(build_backbone(name, 3, (64, 64))) is None


class Own(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.fc = nn.Linear(3, outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.mean(dim=(2, 3)))


def test_a_last_layer_of_ones_own_is_taken_for_a_classifier_if_it_has_imagenets_classes() -> None:
    assert classifier_warning(Own(64)) is None
    assert "1000 logits" in str(classifier_warning(Own(1000)))


def test_a_supervisor_says_so_when_it_is_constructed(images: Tensor) -> None:
    with pytest.warns(UserWarning, match="the 1000 logits of its classifier") as caught:
        RotateNetSupervisor(images, backbone=Own(1000))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="the 1000 logits of its classifier"):
        Supervisor(CombinedNet(Own(1000), nn.Linear(1000, 2)), images)
    with pytest.warns(UserWarning, match="the 1000 logits of its classifier"):
        LabelSupervisor(images, CombinedNet(Own(1000), nn.Linear(1000, 2)))
