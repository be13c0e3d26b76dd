from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.supervisors import LeJEPASupervisor
from super_selfish.supervisors.multi_crop import Crops
from tests.references import sigreg_in_loops

Backbones = Callable[..., nn.Module]


def small(images: Tensor, backbone: nn.Module, **settings: Any) -> LeJEPASupervisor:
    torch.manual_seed(0)
    settings = {"embedding_size": 4, "hidden_size": 16, "num_directions": 8, **settings}
    return LeJEPASupervisor(images, backbone, **settings)


def overheard(supervisor: LeJEPASupervisor) -> list[tuple[Tensor, Tensor, int]]:
    calls: list[tuple[Tensor, Tensor, int]] = []
    loss = supervisor.loss

    def listening(embeddings: Tensor, directions: Tensor, num_large: int) -> Tensor:
        calls.append((embeddings.detach().clone(), directions.clone(), num_large))
        result: Tensor = loss(embeddings, directions, num_large)
        return result

    object.__setattr__(supervisor, "loss", listening)
    del supervisor._modules["loss"]
    return calls


def test_the_loss_is_that_of_the_paper_over_large_and_small_crops(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone(), num_large=3, num_small=2, sigreg_weight=0.3).eval()
    first, second = (torch.rand(6, 3, 32, 32, generator=generator) for _ in range(2))
    further = torch.rand(6, 1, 3, 32, 32, generator=generator)
    local = torch.rand(6, 2, 3, 14, 14, generator=generator)
    data = Crops(first, second, local, torch.arange(6), further)
    calls = overheard(supervisor)
    with torch.no_grad():
        loss = float(supervisor(data))
        views = [first, second, further[:, 0], local[:, 0], local[:, 1]]
        embeddings = torch.stack([supervisor.model(view) for view in views])
    given, directions, num_large = calls[0]
    torch.testing.assert_close(given, embeddings)
    assert num_large == 3 and directions.shape == (4, 8)
    statistic = sum(sigreg_in_loops(view, directions) for view in embeddings) / 5
    invariance = float((embeddings - embeddings[:3].mean(dim=0)).square().mean())
    assert loss == pytest.approx(0.7 * invariance + 0.3 * statistic, rel=1e-4)


def test_directions_are_drawn_anew_each_step_and_again_where_a_run_goes_on(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Any
) -> None:
    def drawn(epochs: list[int], **more: Any) -> list[Tensor]:
        found: list[Tensor] = []
        for number in epochs:
            supervisor = small(images, tiny_backbone())
            calls = overheard(supervisor)
            supervisor.supervise(
                epochs=number, batch_size=11, name=tmp_path / "a", progress=False, **more
            )
            found += [directions for _, directions, _ in calls]
        return found

    whole = drawn([3], overwrite=True)
    assert len(whole) == 6
    for number, one in enumerate(whole):
        assert not any(torch.equal(one, other) for other in whole[:number])
    assert all(map(torch.equal, drawn([1], overwrite=True) + drawn([3], resume=True), whole))
    other = drawn([1], overwrite=True, seed=1)
    assert not torch.equal(other[0], whole[0])


@pytest.mark.parametrize(
    ("weight", "batch_size", "is_said"), [(0.05, 31, True), (0.05, 32, False), (0.2, 8, False)]
)
def test_batches_that_are_too_small_for_their_weight_are_told_of(
    weight: float, batch_size: int, is_said: bool, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = small(images, tiny_backbone(), sigreg_weight=weight)
    run: Any = SimpleNamespace(batch_size=batch_size, processes=1)
    said = supervisor._caution(run)
    assert (said is not None) == is_said
    assert said is None or said.startswith("of batches of 31 images SIGReg weighs little")


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (0.3, None),
        (0.0, "the embeddings have collapsed: their numbers deviate by 0.0"),
    ],
)
def test_the_balance_keeps_from_collapse(
    weight: float, words: str | None, tiny_backbone: Backbones
) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(64, 3, 4, 4, generator=generator)
    images = (F.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).to(torch.uint8)
    supervisor = small(
        images, tiny_backbone(), augmentation="mild", sigreg_weight=weight, num_directions=64
    )
    supervisor.supervise(lr=0.01, epochs=30, batch_size=64, name=None, progress=False)
    verdict = supervisor._health(supervisor.history[-1])
    assert (verdict is None) == (words is None), (verdict, supervisor.history[-1])
    assert words is None or str(verdict).startswith(words)
    if words is None:
        assert supervisor.history[-1]["sigreg"] < supervisor.history[0]["sigreg"] / 3
        assert supervisor.history[-1]["agreement"] > 0.5
