"""Every algorithm on a transformer of timm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.supervisors.test_contract import ALGORITHMS, build, every_algorithm, losses, weights

timm = pytest.importorskip("timm")


@pytest.fixture
def transformer() -> Callable[[], Any]:
    def make() -> Any:
        torch.manual_seed(0)
        sizes = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
        options = {"img_size": 32, "dynamic_img_size": True, "num_classes": 0}
        return timm.create_model("vit_tiny_patch16_224", **sizes, **options)

    return make


@every_algorithm
def test_a_transformer_trains_and_is_stored(
    algorithm: str, images: Tensor, transformer: Callable[[], Any], tmp_path: Path
) -> None:
    images = images[:6]
    supervisor = build(algorithm, images, transformer())
    before = weights(supervisor)
    supervisor.supervise(epochs=1, batch_size=3, name=tmp_path / "run", progress=False)
    assert all(torch.isfinite(torch.tensor(losses(supervisor))))
    assert not torch.equal(weights(supervisor), before)
    again = ALGORITHMS[algorithm](backbone=transformer()).load(tmp_path / "run")
    assert torch.equal(weights(again), weights(supervisor))
    with torch.no_grad():
        features = again.eval().get_backbone()(images[:2].float() / 255)
    assert features.shape[0] == 2 and torch.isfinite(features).all()
