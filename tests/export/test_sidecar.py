from __future__ import annotations

import pytest
import torch
from torch import nn

from super_selfish.export.sidecar import constants, steps_of
from super_selfish.models import Normalize


def test_two_normalisations_become_one(generator: torch.Generator) -> None:
    first, second = Normalize((0.5, 0.25), (0.5, 3.0)), Normalize((0.1, -1.0), (2.0, 0.3))
    images = torch.rand(2, 2, 4, 4, generator=generator)
    both = constants(steps_of(nn.Sequential(first, nn.Identity(), nn.Sequential(second))))
    assert both["mean"] is not None
    assert both["std"] is not None
    torch.testing.assert_close(Normalize(both["mean"], both["std"])(images), second(first(images)))


@pytest.mark.parametrize("preprocess", [nn.Identity(), nn.ReLU(), nn.Sequential()])
def test_what_is_no_normalisation_has_no_constants(preprocess: nn.Module) -> None:
    assert constants(steps_of(preprocess)) == {"mean": None, "std": None}
