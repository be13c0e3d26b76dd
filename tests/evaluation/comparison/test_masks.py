"""A comparison of algorithms by masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from super_selfish.data import ImageSource
from super_selfish.evaluation import compare, segmentation
from super_selfish.evaluation.comparison.fingerprints import describe_data, fingerprint
from super_selfish.evaluation.features import LabelledSource
from super_selfish.evaluation.masked_data import open_masked

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (12, 3, 32, 32), generator=GENERATOR, dtype=torch.uint8)
MASKS = (IMAGES.float().mean(dim=1) > 128).long()


@pytest.mark.filterwarnings("ignore:.* test images are among the training images")
def test_algorithms_are_rated_by_masks(
    tiny_backbone: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation, "MOST_PIXELS", 400)
    parts = (IMAGES, MASKS), (IMAGES[:5], MASKS[:5])
    settings: dict[str, Any] = {"epochs": 1, "seeds": 1, "path": None, "progress": False}
    found = compare(
        ["rotate"],
        *parts,
        backbone=tiny_backbone,
        protocols=["segmentation"],
        downstream={"other": (parts[1], parts[0])},
        **settings,
    )
    assert found.protocols == ["segmentation", "other: segmentation"]
    assert found.metric == "mean IoU"
    assert found.untrained["segmentation"].mean > 0.3
    assert found.leaderboard[0].gain.keys() == {"segmentation", "other: segmentation"}
    assert "mean IoU in %" in str(found)
    with pytest.raises(
        ValueError, match="downstream\\['other'\\]: item 0 has none instead of a mask"
    ):
        compare(
            ["rotate"],
            *parts,
            protocols=["segmentation"],
            downstream={"other": (list(IMAGES), parts[0])},
            **settings,
        )
    with pytest.raises((ValueError, TypeError), match="label"):
        compare(["supervised"], *parts, protocols=["segmentation"], **settings)


def test_runs_on_other_masks_are_other_runs() -> None:
    data = open_masked((IMAGES, MASKS))
    other = MASKS.clone()
    other[7, 3, 4] = 255
    keys = {
        fingerprint(describe_data(source))
        for source in (
            data,
            open_masked((IMAGES, MASKS.clone())),
            open_masked((IMAGES, other)),
            LabelledSource(ImageSource(IMAGES), None),
        )
    }
    assert len(keys) == 3
