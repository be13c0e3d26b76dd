"""Several processes have the losses and gradients of one that sees the whole batch."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.training.several import started
from tests.training.whole_batch import CASES, IMAGES, assert_as_one, steps

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)


def pictures() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shades = torch.rand(IMAGES, 3, 4, 4, generator=generator)
    shades = torch.nn.functional.interpolate(shades, size=(32, 32))
    return (shades * 255).to(torch.uint8)


@functools.cache
def whole(case: str) -> dict[str, Any]:
    return steps(case, pictures(), 1)


def work(rank: int, folder: Path) -> dict[str, Any]:
    return {case: steps(case, pictures(), dist.get_world_size()) for case in CASES}


# By three there is one that is neither the first nor the last, and no half is the other's rest.
BY = [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(4, marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=BY)
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("processes")
    return started(work, request.param, folder)


@pytest.mark.parametrize("case", CASES)
def test_several_processes_have_losses_and_gradients_of_one_with_the_whole_batch(
    case: str, processes: list[dict[str, Any]]
) -> None:
    for found in processes:
        assert_as_one(found[case], whole(case))
