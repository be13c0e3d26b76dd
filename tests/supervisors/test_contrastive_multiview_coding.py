from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.lab import lab_to_rgb
from super_selfish.data.collate import Batch
from super_selfish.models import EfficientFeatures, ProjectionHead
from super_selfish.models.color_split import SplitHead
from super_selfish.supervisors.contrastive_multiview_coding import (
    ContrastiveMultiviewCodingSupervisor,
    MultiviewCollator,
    ViewsAndNegatives,
)
from tests.references import info_nce_in_loops, noise_contrastive_in_loops, normalizer_in_loops

Backbones = Callable[..., nn.Module]
CMC = ContrastiveMultiviewCodingSupervisor
NAMED = "shufflenet_v2_x0_5"  # small, 1024 features


def batch_of(supervisor: CMC, images: Tensor, seed: int = 0) -> ViewsAndNegatives:
    assert isinstance(supervisor.collate_fn, MultiviewCollator)
    batch = Batch(images, torch.arange(len(images)))
    return supervisor.collate_fn.augment(batch, torch.Generator().manual_seed(seed))


def embeddings(supervisor: CMC, views: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors of both halves, `(B, E)` each, of views `(B, C, H, W)`."""
    with torch.no_grad():
        lightness, color = supervisor.model(views)
    return F.normalize(lightness, dim=1), F.normalize(color, dim=1)


def test_loss_starts_as_random_memories_have_it(images: Tensor) -> None:
    torch.manual_seed(0)
    supervisor = CMC(backbone=NAMED, image_size=32, num_images=4096, positives="batch")
    data = batch_of(supervisor, images[:6])
    assert len(data.negatives) == 3136
    supervisor(data)
    lightness, color = embeddings(supervisor, data.views[:, 0])
    similarity = (lightness * color).sum(dim=1).mean().item()
    # Negatives are random unit vectors: mean exp(q.n / t) is exp(1 / (2 D t^2)).
    total = 3136 * math.exp(1 / (2 * 128 * 0.07**2) - similarity / 0.07)
    for name in ("lightness_loss", "color_loss"):
        assert supervisor._logged[name].item() == pytest.approx(math.log(1 + total), rel=0.1)


@pytest.mark.parametrize("augmentation", ["cpc", "paper"])
@pytest.mark.parametrize("positives", ["batch", "memory"])
def test_loss_is_that_of_the_paper_both_ways(
    images: Tensor, tiny_backbone: Backbones, augmentation: Any, positives: Any
) -> None:
    options = {"augmentation": augmentation, "positives": positives}
    supervisor = CMC(images, tiny_backbone(), num_negatives=7, **options).eval()
    data = batch_of(supervisor, images[:5])
    assert data.views.shape[1] == (2 if augmentation == "cpc" else 1)
    expected = 0.0
    own = torch.stack([data.negatives == image for image in range(5)])
    for view in range(data.views.shape[1]):
        other = data.views.shape[1] - 1 - view
        lightness, _ = embeddings(supervisor, data.views[:, view])
        _, color = embeddings(supervisor, data.views[:, other])
        for query, key, bank in (
            (lightness, color, supervisor.color_bank),
            (color, lightness, supervisor.lightness_bank),
        ):
            negatives = bank.rows[data.negatives]
            target = key if positives == "batch" else bank.rows[:5]
            expected += info_nce_in_loops(query, target, negatives, 0.07, own)
    expected /= data.views.shape[1]
    assert supervisor(data).item() == pytest.approx(expected, rel=1e-4)


def test_the_loss_by_nce_is_that_of_the_paper_with_a_constant_for_each_direction(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = CMC(images, tiny_backbone(), num_negatives=7, form="nce", augmentation="paper")
    for norm in (m for m in supervisor.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    data = batch_of(supervisor, images[:5])._replace(negatives=torch.arange(9, 16))
    lightness, color = embeddings(supervisor, data.views[:, 0])
    expected, constants = 0.0, []
    for query, bank in ((lightness, supervisor.color_bank), (color, supervisor.lightness_bank)):
        rows = bank.rows.clone()
        constants.append(normalizer_in_loops(query, rows[:5], rows[9:16], 0.07, 22))
        expected += noise_contrastive_in_loops(query, rows[:5], rows[9:16], 0.07, constants[-1], 22)
    assert supervisor(data).item() == pytest.approx(expected, rel=1e-4)
    kept = (supervisor.state_dict()[f"{name}.log_normalizer"] for name in ("loss", "color_loss"))
    assert [float(value.exp()) for value in kept] == pytest.approx(constants, rel=1e-4)
    supervisor.supervise(epochs=1, batch_size=8, name=tmp_path / "base")
    loaded = CMC(backbone=tiny_backbone()).load(tmp_path / "base").state_dict()
    for name, value in supervisor.state_dict().items():
        assert torch.equal(value, loaded[name]), name


def test_both_halves_get_gradient_from_each_term(images: Tensor, tiny_backbone: Backbones) -> None:
    for term in range(2):
        calls: list[Tensor] = []

        def only(*arguments: Tensor, term: int = term, calls: list[Tensor] = calls) -> Tensor:
            queries, keys, negatives, _ = arguments
            calls.append(queries)
            is_asked = len(calls) - 1 == term
            return (queries @ keys.T).exp().mean() * is_asked + (queries @ negatives.T).sum() * 0

        supervisor = CMC(images, tiny_backbone(), loss=only, positives="batch")
        supervisor(batch_of(supervisor, images)).backward()
        for name, parameter in supervisor.named_parameters():
            assert parameter.grad is not None, name
        for half in (supervisor.model.backbone.lightness, supervisor.model.backbone.color):
            assert any(p.grad.abs().sum() > 0 for p in half.parameters())


def test_remembered_positives_train_both_halves_as_well(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = CMC(images, tiny_backbone(), positives="memory")
    supervisor(batch_of(supervisor, images)).backward()
    for half in (supervisor.model.backbone.lightness, supervisor.model.backbone.color):
        assert any(p.grad.abs().sum() > 0 for p in half.parameters())


def test_an_embedding_is_looked_for_among_those_of_its_step(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = CMC(images, tiny_backbone(), augmentation="cpc").eval()
    data = batch_of(supervisor, images[:6])
    supervisor(data)
    views = [embeddings(supervisor, data.views[:, view]) for view in range(2)]
    candidates = torch.cat([views[0][1], views[1][1]])  # colours, image modulo 6
    hits = [
        int((query @ candidates.T).argmax()) % 6 == image
        for lightness, _ in views
        for image, query in enumerate(lightness)
    ]
    assert supervisor._logged["accuracy_in_batch"].item() == pytest.approx(sum(hits) / 12)
    assert supervisor._logged["chance_in_batch"].item() == pytest.approx(1 / 6)


def test_the_second_network_and_its_head_are_trained_and_stored(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = CMC(images, tiny_backbone())
    before = {name: value.clone() for name, value in supervisor.state_dict().items()}
    supervisor.supervise(epochs=1, batch_size=8, name=None)
    assert supervisor.run is not None
    groups = supervisor.run.optimizer.param_groups
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for half in (supervisor.model.backbone.color, supervisor.model.predictor.color):
        assert all(id(parameter) in trained for parameter in half.parameters())
    for name in ("model.backbone.color.", "model.predictor.color.", "color_bank.rows"):
        assert any(
            key.startswith(name) and not torch.equal(value, before[key])
            for key, value in supervisor.state_dict().items()
        )


def test_swapping_the_memories_changes_the_loss(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = CMC(images, tiny_backbone())
    supervisor.supervise(epochs=2, batch_size=8, name=None)
    data = batch_of(supervisor.eval(), images)
    before = supervisor(data)
    rows = supervisor.lightness_bank.rows.clone()
    supervisor.lightness_bank.rows.copy_(supervisor.color_bank.rows)
    supervisor.color_bank.rows.copy_(rows)
    assert (supervisor(data) - before).abs() > 1e-3


def test_memories_keep_their_length_and_change_where_images_were_seen(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = CMC(images, tiny_backbone())
    banks = (supervisor.lightness_bank, supervisor.color_bank)
    assert not torch.equal(banks[0].rows, banks[1].rows)
    before = [bank.rows.clone() for bank in banks]
    for seed in range(3):
        supervisor(batch_of(supervisor, images[:8], seed))
    for bank, rows in zip(banks, before, strict=True):
        torch.testing.assert_close(bank.rows.norm(dim=1), torch.ones(22))
        changed = (bank.rows != rows).any(dim=1)
        assert changed.tolist() == [True] * 8 + [False] * 14


def test_each_memory_blends_its_own_halfs_mean_over_views(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = CMC(images, tiny_backbone(), bank_momentum=0.25, augmentation="cpc")
    data = batch_of(supervisor, images[:4])
    for norm in (m for m in supervisor.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()  # so that the views one by one are as they are together
    views = [embeddings(supervisor, data.views[:, view]) for view in range(2)]
    before = (supervisor.lightness_bank.rows.clone(), supervisor.color_bank.rows.clone())
    supervisor(data)
    for half, bank in enumerate((supervisor.lightness_bank, supervisor.color_bank)):
        new = F.normalize((views[0][half] + views[1][half]) / 2, dim=1)
        expected = F.normalize(0.25 * before[half][:4] + 0.75 * new, dim=1)
        torch.testing.assert_close(bank.rows[:4], expected, atol=1e-5, rtol=0)


def test_the_loss_is_taken_before_memories_change(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = CMC(images, tiny_backbone())
    data = batch_of(supervisor, images)
    rows = [bank.rows.clone() for bank in (supervisor.lightness_bank, supervisor.color_bank)]
    first = supervisor(data)
    supervisor.lightness_bank.rows.copy_(rows[0])
    supervisor.color_bank.rows.copy_(rows[1])
    assert torch.equal(supervisor(data), first)


def test_evaluation_leaves_the_memories_alone(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = CMC(images, tiny_backbone()).eval()
    before = supervisor.color_bank.rows.clone()
    supervisor(batch_of(supervisor, images))
    assert torch.equal(supervisor.color_bank.rows, before)


def test_an_images_own_entry_is_no_negative(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = CMC(images, tiny_backbone(), positives="batch").eval()
    data = batch_of(supervisor, images[:1])
    assert sorted(data.negatives.tolist()) == list(range(22))
    before = supervisor(data)
    supervisor.lightness_bank.rows[0] *= -1
    supervisor.color_bank.rows[0] *= -1
    assert torch.equal(supervisor(data), before)
    supervisor.color_bank.rows[1] *= -1
    assert not torch.equal(supervisor(data), before)


@pytest.mark.parametrize("own", [True, False])
def test_lightness_does_not_see_color_and_color_does_not_see_lightness(
    generator: torch.Generator, tiny_backbone: Backbones, own: bool
) -> None:
    coarse = torch.rand(4, 3, 4, 4, generator=generator, dtype=torch.float64)
    noise = F.interpolate(coarse, size=(32, 32), mode="bilinear")
    lab = noise * 24 + torch.tensor([40.0, -12.0, -12.0], dtype=torch.float64).view(3, 1, 1)
    repainted = torch.cat([lab[:, :1], lab[:, 1:].flip(0)], dim=1)
    backbone = tiny_backbone() if own else NAMED
    supervisor = CMC(image_size=32, backbone=backbone).double()
    first = embeddings(supervisor, lab_to_rgb(lab))
    second = embeddings(supervisor, lab_to_rgb(repainted))
    torch.testing.assert_close(first[0], second[0], atol=1e-8, rtol=0)
    assert (first[1] - second[1]).abs().max() > 1e-5


def test_the_backbone_by_name_eats_rgb_and_sees_lightness(generator: torch.Generator) -> None:
    supervisor = CMC(image_size=32, backbone=NAMED).eval()
    backbone = supervisor.get_backbone()
    images = torch.rand(2, 3, 32, 32, generator=generator)
    assert backbone is supervisor.get_backbone()
    assert backbone(images).shape == (2, 1024)
    assert torch.equal(supervisor.preprocess(images), images)


def test_a_network_of_ones_own_is_returned_untouched() -> None:
    backbone = EfficientFeatures(stem_stride=1)
    supervisor = CMC(image_size=32, backbone=backbone).eval()
    assert supervisor.get_backbone() is backbone
    images = torch.rand(2, 3, 32, 32)
    half = supervisor.model.backbone.lightness
    assert torch.equal(backbone(supervisor.preprocess(images)), half(images))


def test_a_projector_of_ones_own_gets_a_twin(images: Tensor, tiny_backbone: Backbones) -> None:
    projector = ProjectionHead(16, 24)
    supervisor = CMC(images, tiny_backbone(), projector, embedding_size=24)
    assert supervisor.get_predictor() is projector
    head = supervisor.model.predictor
    assert isinstance(head, SplitHead)
    assert not torch.equal(next(head.color.parameters()), next(projector.parameters()))
    assert torch.isfinite(supervisor(batch_of(supervisor, images)))


def test_memories_are_rebuilt_without_a_dataset(images: Tensor, tmp_path: Path) -> None:
    saved = CMC(images, NAMED, embedding_size=16)
    saved.save(tmp_path / "base")
    loaded = CMC(image_size=64, backbone=NAMED).load(tmp_path / "base")
    for name, value in saved.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    features = [s.eval().get_backbone()(images[:2] / 255) for s in (saved, loaded)]
    assert torch.equal(features[0], features[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bank_momentum": 1.0}, r"bank_momentum must be in \[0, 1\), got 1.0"),
        ({"positives": "both"}, 'positives must be "batch" or "memory", got \'both\''),
        ({"num_negatives": 0}, "num_negatives must be at least 1, got 0"),
        ({"augmentation": "none"}, "augmentation is one of .*, got 'none'"),
        ({"temperature": 0.0}, "temperature must be > 0"),
        ({"num_images": 1}, "give at least 2, got 1"),
        ({"in_channels": 1}, "ContrastiveMultiviewCodingSupervisor needs colour"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CMC(image_size=32, **arguments)


def test_gray_images_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="needs colour: RGB images of 3 channels, got 1"):
        CMC(images[:, :1])


HEALTHY = {
    "epoch": 3.0,
    "accuracy": 0.6,
    "accuracy_in_batch": 0.4,
    "chance_in_batch": 0.1,
    "color_spread": 0.1,
    "spread": 0.6,
    "memory_change": 0.2,
}


@pytest.mark.parametrize(
    ("ill", "verdict"),
    [
        ({}, None),
        ({"color_spread": 0.001}, "the images hold hardly any colour"),
        ({"spread": 0.02}, "the embeddings have collapsed"),
        ({"accuracy_in_batch": 0.11}, "60% of the colours are told from memories of others, but"),
        ({"accuracy_in_batch": 0.11, "accuracy": 0.1}, None),
        ({"epoch": 2.0, "spread": 0.02}, None),
        ({"memory_change": 0.0001}, "the memories hardly change"),
    ],
)
def test_ways_to_fail_are_told(
    tiny_backbone: Backbones, ill: dict[str, float], verdict: str | None
) -> None:
    supervisor = CMC(image_size=32, backbone=tiny_backbone())
    said = supervisor._health({**HEALTHY, **ill})
    assert (said is None) if verdict is None else (said or "").startswith(verdict)


def test_what_the_health_check_reads_is_logged(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = CMC(images, tiny_backbone())
    supervisor.supervise(epochs=1, batch_size=11, name=None)
    row = supervisor.history[0]
    assert HEALTHY.keys() <= row.keys()
    assert row["memory_change"] > 0.1
    assert row["color_spread"] > 0.02
