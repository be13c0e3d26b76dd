"""A checkpoint alone says who loads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from super_selfish.cli.runs import load_run
from super_selfish.supervisors import DistillationSupervisor, MAESupervisor
from tests.conftest import TinyBackbone


def test_an_algorithm_that_takes_no_other_network_is_loaded_too(
    images: Tensor, tmp_path: Path
) -> None:
    timm = pytest.importorskip("timm")
    small = {"embed_dim": 24, "depth": 1, "num_heads": 2, "patch_size": 8, "num_classes": 0}
    given = timm.create_model("vit_tiny_patch16_224", img_size=32, **small)
    stored = MAESupervisor(images, given)
    stored.save(tmp_path / "mae")
    name = str(tmp_path / "mae")
    with pytest.raises(ValueError, match="load"):  # a module of the user's own, in words
        load_run(name)

    named = MAESupervisor(images, "timm/test_vit")
    named.save(tmp_path / "named")
    loaded = load_run(str(tmp_path / "named"))
    assert type(loaded) is MAESupervisor
    weights = {k: v.cpu() for k, v in loaded.state_dict().items()}
    assert all(torch.equal(v.cpu(), weights[k]) for k, v in named.state_dict().items())
    taught = DistillationSupervisor(images, TinyBackbone(), teacher=str(tmp_path / "named"))
    assert taught.teacher is not None and "MAESupervisor" in taught.teacher.name
