from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.data.collate import Batch, Collator
from super_selfish.losses.nce import NCELoss
from super_selfish.supervisors import PIRLSupervisor
from super_selfish.supervisors.pirl import PuzzlePairs
from super_selfish.supervisors.puzzles import put_together
from tests.references import info_nce_in_loops, noise_contrastive_in_loops, normalizer_in_loops

Backbones = Callable[..., nn.Module]


def batch_of(supervisor: Any, images: Tensor, seed: int = 0) -> PuzzlePairs:
    assert isinstance(supervisor.collate_fn, Collator)
    generator = torch.Generator().manual_seed(seed)
    return supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)


def embeddings(supervisor: Any, data: PuzzlePairs) -> tuple[Tensor, Tensor]:
    """Of the plain views and of the puzzles, by way of the parts."""
    backbone = supervisor.get_backbone()
    mosaics = put_together(data.tiles, supervisor.permutations[data.permutation], (32, 32))
    plain = F.normalize(supervisor.get_predictor()(backbone(data.images)), dim=1)
    return plain, F.normalize(supervisor.puzzle_predictor(backbone(mosaics)), dim=1)


@pytest.fixture
def supervisor(images: Tensor, tiny_backbone: Backbones) -> PIRLSupervisor:
    torch.manual_seed(0)
    return PIRLSupervisor(images, tiny_backbone(), augmentation="paper")


def test_the_loss_begins_where_independent_vectors_are(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    many = images[:16].repeat(64, 1, 1, 1)
    supervisor = PIRLSupervisor(many, tiny_backbone(), num_negatives=1000)
    expected = math.log(1001) + 1 / (2 * 128 * 0.07**2)
    # A positive's logit deviates by 1 / (0.07 sqrt(128)) = 1.26; over 22 images by 0.27.
    assert float(supervisor(batch_of(supervisor, images)).detach()) == pytest.approx(
        expected, abs=3 * 0.27
    )


def test_the_loss_is_that_of_the_paper_without_an_images_own_entry(
    supervisor: PIRLSupervisor, images: Tensor
) -> None:
    data = batch_of(supervisor, images[:6])
    memory = supervisor.bank.rows.clone()
    plain, puzzles = embeddings(supervisor, data)
    own = data.index[:, None] == data.negatives
    parts = [
        info_nce_in_loops(queries.detach(), memory[:6], memory[data.negatives], 0.07, own)
        for queries in (puzzles, plain)
    ]
    assert float(supervisor(data).detach()) == pytest.approx(
        0.5 * parts[0] + 0.5 * parts[1], rel=1e-5
    )


def test_the_memory_follows_the_plain_view_of_the_batch_alone(
    supervisor: PIRLSupervisor, images: Tensor
) -> None:
    data = batch_of(supervisor, images[:6])
    before = supervisor.bank.rows.clone()
    plain, _ = embeddings(supervisor, data)
    supervisor(data)
    expected = F.normalize(0.5 * before[:6] + 0.5 * plain, dim=1)
    assert torch.allclose(supervisor.bank.rows[:6], expected, atol=1e-6)
    assert torch.equal(supervisor.bank.rows[6:], before[6:])


def test_looking_on_leaves_the_memory_alone(supervisor: PIRLSupervisor, images: Tensor) -> None:
    before = supervisor.bank.rows.clone()
    supervisor.eval()(batch_of(supervisor, images))
    assert torch.equal(supervisor.bank.rows, before)


def test_each_head_learns_from_its_own_view(supervisor: PIRLSupervisor, images: Tensor) -> None:
    data = batch_of(supervisor, images)
    gradients = []
    for tiles in (data.tiles, 1 - data.tiles):
        supervisor.bank.rows.copy_(F.normalize(torch.ones_like(supervisor.bank.rows).cumsum(1)))
        supervisor.zero_grad()
        supervisor(data._replace(tiles=tiles)).backward()
        gradients.append(
            [
                torch.cat(
                    [p.grad.flatten().clone() for p in head.parameters() if p.grad is not None]
                )
                for head in (supervisor.get_predictor(), supervisor.puzzle_predictor)
            ]
        )
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert not torch.equal(gradients[0][1], gradients[1][1])


def test_the_backbone_is_the_users_own_and_registered_once(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    backbone = tiny_backbone()
    supervisor = PIRLSupervisor(images, backbone)
    supervisor(batch_of(supervisor, images))
    assert supervisor.get_backbone() is backbone
    owners = {name.split("layers")[0] for name in supervisor.state_dict() if "layers" in name}
    assert owners == {"model.backbone."}


@pytest.mark.parametrize(("number", "expected"), [(5, 5), (22, 22), (3136, 22)])
def test_negatives_are_never_more_than_there_are(
    number: int, expected: int, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = PIRLSupervisor(images, tiny_backbone(), num_negatives=number)
    negatives = batch_of(supervisor, images).negatives
    assert negatives.shape == (expected,)
    if expected == 22:
        assert torch.equal(negatives, torch.arange(22))


@pytest.mark.parametrize("augmentation", ["cpc", "paper"])
@pytest.mark.parametrize(
    ("size", "grid"), [((32, 32), 2), ((64, 64), 3), ((225, 225), 3), ((96, 128), 3)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_and_gray_images(
    augmentation: str,
    size: tuple[int, int],
    grid: int,
    channels: int,
    generator: torch.Generator,
    tiny_backbone: Backbones,
) -> None:
    images = torch.randint(256, (2, channels, *size), generator=generator, dtype=torch.uint8)
    supervisor = PIRLSupervisor(images, tiny_backbone(channels), augmentation=augmentation)
    data = batch_of(supervisor, images)
    assert data.images.shape == (2, channels, *size)
    assert data.tiles.shape == (2, grid * grid, channels, size[0] // grid, size[1] // grid)
    for views in (data.images, data.tiles):
        assert 0.0 <= float(views.min()) <= float(views.max()) <= 1.0
    seen: list[torch.Size] = []
    supervisor.get_backbone().register_forward_pre_hook(lambda _, x: seen.append(x[0].shape))
    assert math.isfinite(float(supervisor(data).detach()))
    assert seen == [data.images.shape] * 2


def test_the_binary_form_fixes_one_constant_for_both_views(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = PIRLSupervisor(images, tiny_backbone(), form="nce")
    assert isinstance(supervisor.loss, NCELoss)
    supervisor(batch_of(supervisor, images)).backward()
    constant = supervisor.loss.log_normalizer.clone()
    assert math.isfinite(float(constant))
    supervisor(batch_of(supervisor, images, seed=1))
    assert torch.equal(supervisor.loss.log_normalizer, constant)


def test_the_loss_by_nce_is_that_of_the_paper(images: Tensor, tiny_backbone: Backbones) -> None:
    torch.manual_seed(0)
    supervisor = PIRLSupervisor(
        images, tiny_backbone(), form="nce", num_negatives=9, puzzle_weight=0.3
    )
    for norm in (m for m in supervisor.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
        norm.eval()
    data = batch_of(supervisor, images[:6])
    data = data._replace(negatives=torch.arange(7, 16))  # of others, so nothing is masked
    memory = supervisor.bank.rows.clone()
    keys, negatives = memory[:6], memory[7:16]
    with torch.no_grad():
        plain, puzzles = embeddings(supervisor, data)
        constant = normalizer_in_loops(puzzles, keys, negatives, 0.07, 22)
        parts = [
            noise_contrastive_in_loops(queries, keys, negatives, 0.07, constant, 22)
            for queries in (puzzles, plain)
        ]
    assert float(supervisor(data).detach()) == pytest.approx(
        0.3 * parts[0] + 0.7 * parts[1], rel=1e-4
    )


def test_heads_of_ones_own(images: Tensor, tiny_backbone: Backbones) -> None:
    heads = nn.Linear(16, 32), nn.Linear(16, 32)
    supervisor = PIRLSupervisor(
        images, tiny_backbone(), heads[0], puzzle_predictor=heads[1], embedding_size=32
    )
    supervisor(batch_of(supervisor, images)).backward()
    assert all(head.weight.grad is not None for head in heads)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"puzzle_weight": 1.0}, r"puzzle_weight must be in \(0, 1\)"),
        ({"bank_momentum": 1.0}, r"bank_momentum must be in \[0, 1\)"),
        ({"num_negatives": 0}, "num_negatives must be at least 1"),
        ({"form": "bce"}, 'form is "softmax" or "nce"'),
        ({"augmentation": "none"}, "augmentation is one of .*, moco, paper, pirl, "),
        ({"augmentation": ("cpc",)}, "a pair, one for each; got 1"),
        ({"num_images": 5}, "num_images is 5 and the dataset has 22"),
        ({"grid": 1}, "at least 2 cells a side"),
    ],
)
def test_wrong_arguments_are_refused(
    options: dict[str, Any], message: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    with pytest.raises(ValueError, match=message):
        PIRLSupervisor(images, tiny_backbone(), **options)


def test_one_image_has_nothing_to_differ_from(images: Tensor, tiny_backbone: Backbones) -> None:
    with pytest.raises(ValueError, match="give at least 2, got 1"):
        PIRLSupervisor(images[:1], tiny_backbone())


def test_health_knows_collapse_and_a_rigid_memory(supervisor: PIRLSupervisor) -> None:
    good = {"epoch": 3.0, "spread": 0.7, "memory_change": 0.1}
    assert supervisor._health(good) is None
    assert "collapsed" in str(supervisor._health(good | {"spread": 0.02}))
    assert "memory hardly changes" in str(supervisor._health(good | {"memory_change": 1e-5}))
