from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor, nn

from super_selfish.supervisors import SUPERVISORS, RotateNetSupervisor, Supervisor

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


def test_it_says_how_far_it_is_trained_and_where_that_lies(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone(), device="cpu")
    supervisor.supervise(epochs=2, batch_size=8, name=tmp_path / "<run>", progress=False)
    loss = supervisor.history[-1]["loss"]
    told = f"epoch 2 of 2, loss {loss:.4g}, stored at {tmp_path}/<run>.pt"
    assert repr(supervisor).endswith(f"device: cpu, trained: {told})")
    table = supervisor._repr_html_()
    assert table.startswith("<table><caption><b>RotateNetSupervisor</b></caption><tr><th")
    assert told.replace("<", "&lt;").replace(">", "&gt;") in table and "<run>" not in table


def test_one_of_the_users_own_and_one_that_is_not_built_yet_are_lines_too() -> None:
    network = nn.Linear(3, 2)
    own = repr(Supervisor(network, image_size=8))
    assert own.startswith("Supervisor(backbone: Linear, parameters: 8, images: 8x8x3, ")
    unfinished = RotateNetSupervisor.__new__(RotateNetSupervisor)
    nn.Module.__init__(unfinished)
    assert repr(unfinished).startswith("RotateNetSupervisor(parameters: 0, device: cpu")
