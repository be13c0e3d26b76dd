from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.supervisors import NNCLRSupervisor
from super_selfish.supervisors.two_views import TwoViews
from tests.references import neighbor_contrast_in_loops

Backbones = Callable[..., nn.Module]


def small(images: Tensor, backbone: nn.Module, **settings: Any) -> NNCLRSupervisor:
    torch.manual_seed(0)
    settings = {"embedding_size": 8, "hidden_size": 16, "queue_size": 10, **settings}
    return NNCLRSupervisor(images, backbone, **settings)


def views_of(generator: torch.Generator, number: int = 6) -> TwoViews:
    first, second = (torch.rand(number, 3, 32, 32, generator=generator) for _ in range(2))
    return TwoViews(first, second, torch.arange(number))


def freeze_norms(supervisor: nn.Module) -> None:
    """So that what an image becomes does not depend on its batch; the rest stays in training."""
    for module in supervisor.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=1)


def test_the_loss_is_that_of_the_paper_and_no_view_is_its_own_neighbour(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone(), temperature=0.3).double()
    freeze_norms(supervisor)
    for _ in range(3):
        data = views_of(generator)
        data = data._replace(first=data.first.double(), second=data.second.double())
        queue = supervisor.queue.snapshot()
        with torch.no_grad():
            views = [supervisor.model(view) for view in (data.first, data.second)]
            predictions = [supervisor.prediction_head(view) for view in views]
            loss = float(supervisor(data))
        first, second = (unit(view) for view in views)
        expected = neighbor_contrast_in_loops(
            (first, second), (unit(predictions[0]), unit(predictions[1])), queue, 0.3
        )
        assert loss == pytest.approx(expected, rel=1e-9)
        newest = (int(supervisor.queue.pointer) - 6 + torch.arange(6)) % 10
        torch.testing.assert_close(supervisor.queue.keys[newest], first)  # afterwards, first views
        assert float(supervisor._logged["neighbor_similarity"]) < 0.9999


def test_neighbours_are_targets_and_have_no_gradient(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    given: list[tuple[Tensor, Tensor]] = []

    def overhearing(neighbors: Tensor, predictions: Tensor, own: Tensor) -> Tensor:
        given.append((neighbors, predictions))
        return (neighbors @ predictions.T).sum()

    supervisor = small(images, tiny_backbone(), loss=overhearing)
    supervisor(views_of(generator)).backward()
    assert [(n.requires_grad, p.requires_grad) for n, p in given] == [(False, True)] * 2
    assert all(parameter.grad is not None for parameter in supervisor.parameters())


def test_evaluation_leaves_the_queue_alone(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone()).eval()
    before = supervisor.queue.snapshot()
    supervisor(views_of(generator))
    assert torch.equal(supervisor.queue.keys, before) and int(supervisor.queue.num_valid) == 0


@pytest.mark.parametrize(("size", "is_said"), [(22, True), (21, False)])
def test_a_queue_of_all_images_is_told_of(
    size: int, is_said: bool, images: Tensor, tiny_backbone: Backbones
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        supervisor = small(images, tiny_backbone(), queue_size=size)
        supervisor.supervise(epochs=1, batch_size=11, name=None, progress=False)
    said = [str(each.message) for each in caught]
    assert said == (
        [
            "the queue holds 22 embeddings of 22 images, so most views find an earlier view of the "
            "same image as their neighbour: give a queue_size of 11 or less"
        ]
        if is_said
        else []
    )


def test_copies_of_one_image_are_told_of(tiny_backbone: Backbones) -> None:
    generator = torch.Generator().manual_seed(0)
    few = torch.randint(256, (4, 3, 32, 32), generator=generator, dtype=torch.uint8)
    copies = few.repeat(16, 1, 1, 1)
    supervisor = small(copies, tiny_backbone(), augmentation=lambda views: views)
    supervisor.supervise(lr=0.0, epochs=3, batch_size=64, name=None, progress=False)
    row = supervisor.history[-1]
    assert row["neighbor_similarity"] > 0.99
    assert row["variety"] <= 4 / 64
    row = dict(row) | {"variety": 0.5}
    assert str(supervisor._health(row)).startswith("neighbours are the views themselves")
