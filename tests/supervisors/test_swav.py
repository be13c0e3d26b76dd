from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.supervisors import SwAVSupervisor
from super_selfish.supervisors.multi_crop import Crops
from tests.references import sinkhorn_in_loops, swapped_prediction_in_loops

Backbones = Callable[..., nn.Module]


def small(images: Tensor, backbone: nn.Module, **settings: Any) -> SwAVSupervisor:
    torch.manual_seed(0)
    settings = {"embedding_size": 16, "hidden_size": 32, "num_prototypes": 5, **settings}
    return SwAVSupervisor(images, backbone, **settings)


def crops_of(generator: torch.Generator, number: int = 6, num_small: int = 3) -> Crops:
    first, second = (torch.rand(number, 3, 32, 32, generator=generator) for _ in range(2))
    small = torch.rand(number, num_small, 3, 14, 14, generator=generator)
    return Crops(first, second, small, torch.arange(number))


def smooth(number: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(number, 3, 4, 4, generator=generator)
    return (F.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).to(torch.uint8)


def cosines_with_prototypes(supervisor: SwAVSupervisor, crops: Tensor) -> Tensor:
    directions = F.normalize(supervisor.prototypes, dim=1)
    return F.normalize(supervisor.model(crops), dim=1) @ directions.T


@pytest.mark.parametrize("num_small", [0, 3])
def test_the_loss_is_that_of_the_paper(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator, num_small: int
) -> None:
    supervisor = small(images, tiny_backbone(), epsilon=0.1, temperature=0.2).eval()
    data = crops_of(generator, num_small=num_small)
    with torch.no_grad():
        views = [data.first, data.second, *data.small.unbind(dim=1)]
        scores = torch.stack([cosines_with_prototypes(supervisor, view) for view in views])
        codes = torch.stack([sinkhorn_in_loops(of_view, 0.1, 3) for of_view in scores[:2]])
        expected = swapped_prediction_in_loops(codes, scores, 0.2)
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-4)


def test_crops_of_a_size_pass_the_network_at_once(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone())
    shapes: list[tuple[int, ...]] = []
    supervisor.model.register_forward_pre_hook(
        lambda _, given: shapes.append((len(given[0]), given[0].shape[-1]))
    )
    supervisor(crops_of(generator))
    assert shapes == [(12, 32), (18, 14)]


def test_an_untrained_network_costs_the_logarithm_of_the_prototypes(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    # METHODS 1.6: log K, within a fifth.
    supervisor = small(images, tiny_backbone(), num_prototypes=300, embedding_size=128)
    loss = float(supervisor(crops_of(generator, 22)).detach())
    assert loss == pytest.approx(math.log(300), rel=0.2)


def test_prototypes_have_length_one_after_every_update(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = small(images, tiny_backbone(), frozen_updates=0)
    before = supervisor.prototypes.detach().clone()
    torch.testing.assert_close(before.norm(dim=1), torch.ones(5))
    supervisor.supervise(lr=0.1, epochs=2, batch_size=11, name=None)
    torch.testing.assert_close(supervisor.prototypes.detach().norm(dim=1), torch.ones(5))
    assert not torch.allclose(before, supervisor.prototypes.detach(), atol=1e-2)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_prototypes_stay_as_they_are_at_first(
    images: Tensor, tiny_backbone: Backbones, accumulate: int
) -> None:
    supervisor = small(images, tiny_backbone(), frozen_updates=3)
    kept = [supervisor.prototypes.detach().clone()]
    after = supervisor._after_step

    def look(run: Any) -> None:
        after(run)
        kept.append(supervisor.prototypes.detach().clone())

    supervisor._after_step = look  # type: ignore[method-assign]
    batch_size = 11 // accumulate + accumulate - 1
    supervisor.supervise(
        lr=0.1,
        optimizer=lambda parameters, lr: torch.optim.AdamW(parameters, lr, weight_decay=0.5),
        epochs=3,
        batch_size=batch_size,
        accumulate=accumulate,
        name=None,
    )
    assert len(kept) == 7
    has_moved = [not torch.allclose(kept[0], each, atol=1e-5) for each in kept]
    assert has_moved == [False] * 4 + [True] * 3


def test_a_batch_of_few_images_is_shared_out_with_the_queue(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone(), num_prototypes=9, queue_size=12).eval()
    data = crops_of(generator)
    earlier = [F.normalize(torch.randn(12, 16, generator=generator), dim=1) for _ in range(2)]
    with torch.no_grad():
        alone = float(supervisor(data))
        for queue, rows in zip(supervisor.queues, earlier, strict=True):
            queue.enqueue(rows[:11])  # type: ignore[operator]
        assert float(supervisor(data)) == pytest.approx(alone, rel=1e-6)  # not yet full
        for queue, rows in zip(supervisor.queues, earlier, strict=True):
            queue.enqueue(rows[11:])  # type: ignore[operator]
        views = [data.first, data.second, *data.small.unbind(dim=1)]
        scores = torch.stack([cosines_with_prototypes(supervisor, view) for view in views])
        codes = []
        for which in (0, 1):
            of_queue = earlier[which] @ F.normalize(supervisor.prototypes, dim=1).T
            both = torch.cat([scores[which], of_queue])
            codes.append(sinkhorn_in_loops(both, 0.05, 3)[:6])
        expected = swapped_prediction_in_loops(torch.stack(codes), scores, 0.1)
        found = float(supervisor(data))
    assert found == pytest.approx(expected, rel=1e-4)
    assert abs(found - alone) > 1e-3


def test_the_queue_holds_what_was_seen_before_and_not_the_batch_itself(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    from super_selfish.supervisors import swav

    asked: list[tuple[int, bool]] = []
    for_real = swav.sinkhorn_codes

    def noting(scores: Tensor, *settings: Any) -> Tensor:
        asked.append((len(scores), settings[-1] is not None and bool(settings[-1][-1])))
        return for_real(scores, *settings)

    monkeypatch.setattr(swav, "sinkhorn_codes", noting)
    settings = {"num_prototypes": 9, "queue_size": 12, "queue_after": 2}
    supervisor = small(images, tiny_backbone(), **settings)
    supervisor.supervise(epochs=2, batch_size=6, name=None)  # 6 6 6 4, twice
    # Two updates without, two batches until the queue is full, and then with it.
    expected = [(6, False)] * 2 + [(18, False), (16, False)] + [(18, False), (18, True)]
    expected += [(18, True), (16, True)]
    assert asked == [each for each in expected for _ in range(2)]
    assert [int(queue.num_valid) for queue in supervisor.queues] == [12, 12]  # type: ignore[arg-type]


@pytest.mark.parametrize(("prototypes", "is_used"), [(6, False), (7, True)])
def test_batches_as_large_as_there_are_prototypes_need_no_queue(
    images: Tensor, tiny_backbone: Backbones, prototypes: int, is_used: bool
) -> None:
    supervisor = small(images[:6], tiny_backbone(), num_prototypes=prototypes, queue_after=0)
    supervisor.supervise(epochs=1, batch_size=6, name=None)
    assert [int(queue.num_valid) > 0 for queue in supervisor.queues] == [is_used] * 2  # type: ignore[arg-type]
    none = small(images, tiny_backbone(), num_prototypes=30, queue_size=0)
    none.supervise(epochs=1, batch_size=6, name=None)
    assert len(none.queues) == 0


def test_it_learns_to_foretell_clusters(tiny_backbone: Backbones) -> None:
    supervisor = small(
        smooth(64), tiny_backbone(), num_prototypes=8, augmentation="mild", epsilon=0.03
    )
    supervisor.supervise(lr=0.01, epochs=30, batch_size=64, name=None, progress=False)
    first, last = supervisor.history[0], supervisor.history[-1]
    assert last["loss"] < 0.7 * math.log(8) < first["loss"]
    assert last["accuracy"] > 0.6
    assert last["clusters"] > 5
    assert supervisor._health(last) is None


class WithoutSharingOut(SwAVSupervisor):
    """Every crop has the code that its network likes most."""

    def _codes(self, embeddings: Tensor, which: int) -> Tensor:
        scores = F.normalize(embeddings, dim=1) @ self.prototypes.T
        return F.one_hot(scores.argmax(dim=1), len(self.prototypes)).to(scores)


def test_without_sharing_out_all_crops_go_to_one_prototype(tiny_backbone: Backbones) -> None:
    torch.manual_seed(0)
    supervisor = WithoutSharingOut(
        smooth(64), tiny_backbone(), num_prototypes=8, embedding_size=16, hidden_size=32
    )
    supervisor.supervise(lr=0.02, epochs=60, batch_size=64, name=None, progress=False)
    last = supervisor.history[-1]
    assert last["loss"] < 0.1
    verdict = supervisor._health(last)
    assert verdict is not None
    assert verdict.startswith(("all crops go to 1.", "the embeddings have collapsed"))


def test_updates_may_be_more_than_any_tensor_is_long(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    many = {"queue_after": 10**7, "frozen_updates": 10**6}
    small(images, tiny_backbone(), **many).save(tmp_path / "run")
    loaded = SwAVSupervisor(backbone=tiny_backbone()).load(tmp_path / "run")
    assert (loaded.queue_after, loaded.frozen_updates) == (10**7, 10**6)
