from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.models import NarrowResNet
from super_selfish.supervisors import ContextNetSupervisor, RotateNetSupervisor


@pytest.mark.parametrize("kind", [RotateNetSupervisor, ContextNetSupervisor])
@pytest.mark.parametrize("on_nan", ["raise", "skip"])
def test_a_trained_supervisor_is_pickled_and_goes_on(
    kind: Any, on_nan: str, tmp_path: Path
) -> None:
    images = torch.rand(16, 3, 32, 32)
    settings: dict[str, Any] = {"batch_size": 8, "progress": False, "on_nan": on_nan}
    supervisor = kind(images, NarrowResNet(width=8))
    supervisor.supervise(**settings, epochs=1, name=tmp_path / "run", lr_scheduler="cosine")
    file = io.BytesIO()
    torch.save(supervisor, file)
    file.seek(0)
    for copied in (
        pickle.loads(pickle.dumps(supervisor)),
        torch.load(file, weights_only=False),
    ):
        assert copied.history == supervisor.history
        weights: dict[str, Tensor] = supervisor.state_dict()
        assert all(torch.equal(t, weights[name]) for name, t in copied.state_dict().items())
        assert len(copied.supervise(**settings, epochs=1, name=None).history) == 1
