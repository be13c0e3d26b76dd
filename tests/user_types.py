"""Lines as users write them: `make lint` says whether their types are known, and wrong ones found.

Nothing here runs. A line that is marked would be an error if the mark were not there, and mypy
refuses a mark where there is none.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn
from typing_extensions import assert_type

import super_selfish
from super_selfish import check, choose, pretrain
from super_selfish.data import ImageSource
from super_selfish.evaluation import (
    Check,
    Comparison,
    Embedding,
    Evaluation,
    Health,
    compare,
    embed,
    evaluate,
    health,
)
from super_selfish.models import CombinedNet
from super_selfish.pretraining import Choice, Outcome
from super_selfish.supervisors import MomentumContrastSupervisor, RotateNetSupervisor


def two_lines() -> None:
    """Those of the README."""
    supervisor = RotateNetSupervisor("images")
    supervisor.supervise(lr=1e-3, epochs=50, batch_size=64, name="store/base", pretrained=False)
    supervisor.supervise(epoch=50)  # type: ignore[call-arg]
    supervisor.supervise(epochs="many")  # type: ignore[arg-type]
    again = RotateNetSupervisor().load(name="store/base")
    assert_type(again, RotateNetSupervisor)
    assert_type(CombinedNet(again.get_backbone(), nn.Linear(1280, 10)), CombinedNet)
    assert_type(supervisor.export_backbone("backbone.safetensors"), Path)
    assert_type(supervisor.history, list[dict[str, float]])
    assert_type(super_selfish.RotateNetSupervisor, type[RotateNetSupervisor])
    MomentumContrastSupervisor("images", temperature="warm")  # type: ignore[arg-type]
    MomentumContrastSupervisor("images", temprature=0.1)  # type: ignore[call-arg]
    assert_type(ImageSource("images").image_size, tuple[int, int])


def what_is_asked_of_a_run(supervisor: RotateNetSupervisor) -> None:
    """Answers have types too."""
    assert_type(pretrain("images", "store/mine", time="30min"), Outcome)
    assert_type(choose("images", time="30min"), Choice)
    assert_type(check("images"), Check)
    assert_type(evaluate(supervisor, "train", "test", protocols=("knn",)), Evaluation)
    assert_type(compare(["moco"], "train", "test", budget="10min"), Comparison)
    assert_type(health(supervisor, "images"), Health)
    assert_type(embed(supervisor, "images", "features.csv"), Embedding)
    evaluate(supervisor, "train", "test", protocols=3)  # type: ignore[arg-type]
    pretrain("images", minutes=30)  # type: ignore[call-arg]
