from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from super_selfish.supervisors import (
    SUPERVISORS,
    MomentumContrastSupervisor,
    RotateNetSupervisor,
    Supervisor,
)
from tests.cards import Card

Backbones = Callable[..., nn.Module]


@pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))
def test_a_supervisor_is_a_line(algorithm: str, images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = SUPERVISORS[algorithm](images, tiny_backbone())
    number = sum(p.numel() for p in supervisor.parameters())
    backbone = type(supervisor.get_backbone()).__name__
    assert repr(supervisor) == (
        f"{type(supervisor).__name__}(backbone: {backbone}, parameters: {number:,}, "
        "images: 22 of 32x32x3, device: cpu, trained: not in this session)"
    )
    shown = Card(supervisor._repr_html_())
    assert shown.text.startswith(f"{supervisor.title} ({type(supervisor).__name__}) ")
    assert ["images", "22 of 32x32x3"] in shown.cells and ["epochs seen", "0"] in shown.cells


def test_it_says_how_far_it_is_trained_and_where_that_lies(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone(), device="cpu")
    supervisor.supervise(epochs=2, batch_size=8, name=tmp_path / "<run>", progress=False)
    loss = supervisor.history[-1]["loss"]
    told = f"epoch 2 of 2, loss {loss:.4g}, stored at {tmp_path}/<run>.pt"
    assert repr(supervisor).endswith(f"device: cpu, trained: {told})")
    table = supervisor._repr_html_()
    assert ["trained", told] in Card(table).cells and "<run>" not in table


def test_a_notebook_shows_what_it_was_built_with(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    folder = tmp_path / "<b>data"
    folder.mkdir()
    for number, image in enumerate(images[:4]):
        to_pil_image(image).save(folder / f"{number}.png")
    supervisor = MomentumContrastSupervisor(
        folder, tiny_backbone(), momentum=0.5, image_size=32, temperature=0.1
    )
    supervisor.epochs_seen = 7
    number = sum(p.numel() for p in supervisor.parameters())
    shown = Card(supervisor._repr_html_())
    assert shown.text.startswith(
        "MoCo v2 (MomentumContrastSupervisor) Which of many views shows the same image as this one?"
    )
    rows = dict(row for row in shown.cells[:8])
    assert rows == {
        "backbone": "TinyBackbone",
        "images": "4 of 32x32x3",
        "data": str(folder),
        "arguments": "backbone=TinyBackbone(...), queue_size=2, momentum=0.5, temperature=0.1",
        "parameters": f"{number:,}",
        "device": "cpu",
        "trained": "not in this session",
        "epochs seen": "7",
    }
    assert ["embedding_size", "128"] in shown.cells[8:]  # folded, with all others


def test_one_of_the_users_own_and_one_that_is_not_built_yet_are_lines_too() -> None:
    network = nn.Linear(3, 2)
    own = repr(Supervisor(network, image_size=8))
    assert own.startswith("Supervisor(backbone: Linear, parameters: 8, images: 8x8x3, ")
    unfinished = RotateNetSupervisor.__new__(RotateNetSupervisor)
    nn.Module.__init__(unfinished)
    assert repr(unfinished).startswith("RotateNetSupervisor(parameters: 0, device: cpu")
    assert ["parameters", "0"] in Card(unfinished._repr_html_()).cells
