"""What an algorithm from outside gets besides the contract: report, comparison, callbacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from super_selfish.evaluation import compare
from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training import Callback
from tests.outside.similarity import SimilaritySupervisor

Backbones = Callable[..., nn.Module]


def test_it_has_its_section_in_the_report(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = SimilaritySupervisor(images, tiny_backbone())
    supervisor.supervise(epochs=1, batch_size=11, name=tmp_path / "run", progress=False)
    page = supervisor.report(tmp_path / "run").read_text()
    assert "Similarity" in page
    assert "Which of these is another view of the same image?" in page
    assert "accuracy" in page


def test_it_has_its_row_in_a_comparison(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    labels = torch.arange(11) % 2
    table = compare(
        {"ours": SimilaritySupervisor, "theirs": RotateNetSupervisor},
        TensorDataset(images[:11], labels),
        TensorDataset(images[11:], labels),
        backbone=tiny_backbone,
        epochs=1,
        seeds=1,
        protocols=["knn"],
        supervise={"batch_size": 11},
        path=tmp_path / "comparison",
        progress=False,
        device="cpu",
    )
    assert "ours" in str(table)


def test_callbacks_hear_of_it(images: Tensor, tiny_backbone: Backbones) -> None:
    class Heard(Callback):
        def __init__(self) -> None:
            self.names: list[Any] = []

        def on_step(self, supervisor: Any, step: Any) -> None:
            self.names.append(sorted(step.values))

    heard = Heard()
    supervisor = SimilaritySupervisor(images, tiny_backbone())
    supervisor.supervise(epochs=1, batch_size=11, name=None, progress=False, callbacks=heard)
    assert heard.names == [["accuracy", "loss"]] * 2


def test_it_is_loaded_and_resumed_with_the_images_that_it_saw(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = SimilaritySupervisor(images, tiny_backbone())
    options: dict[str, Any] = {"batch_size": 11, "name": tmp_path / "run", "progress": False}
    supervisor.supervise(epochs=1, **options)
    assert SimilaritySupervisor(backbone=tiny_backbone()).load(options["name"]).image_size == (
        32,
        32,
    )
    # Where nothing is loaded, the default is what it was.
    assert SimilaritySupervisor(backbone=tiny_backbone()).image_size == (225, 225)
    other = SimilaritySupervisor(images, tiny_backbone(), image_size=64)
    with pytest.raises(ValueError, match=r"images of \(channels, height, width\)=\(3, 32, 32\)"):
        other.supervise(epochs=2, resume=True, **options)


def test_a_size_that_a_class_decides_by_itself_stays(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    class Fixed(SimilaritySupervisor):
        def __init__(self, dataset: Any = None, backbone: Any = None, **options: Any) -> None:
            super().__init__(dataset, backbone, image_size=48, **options)

    Fixed(images, tiny_backbone(), temperature=0.3).save(tmp_path / "run")
    loaded = Fixed(backbone=tiny_backbone()).load(tmp_path / "run")
    assert loaded.image_size == (48, 48)
    assert loaded.temperature == 0.3
