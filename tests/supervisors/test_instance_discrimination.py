from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.resampling import Resize
from super_selfish.data.collate import Batch
from super_selfish.losses.nce import NCELoss
from super_selfish.supervisors import InstanceDiscriminationSupervisor
from super_selfish.supervisors.instance_discrimination import InstanceCollator, InstanceViews
from tests.references import info_nce_in_loops, noise_contrastive_in_loops

Backbones = Callable[..., nn.Module]


class Lookup(nn.Module):
    """A backbone that gives each image the vector that is written into its corner."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :8] * self.scale


def with_embeddings(embeddings: Tensor) -> Tensor:
    """Images whose `Lookup` features are these."""
    images = torch.zeros(len(embeddings), 3, 32, 32)
    images[:, 0, 0, :8] = embeddings
    return images


def unit(rows: int, generator: torch.Generator) -> Tensor:
    return F.normalize(torch.randn(rows, 8, generator=generator), dim=1)


def made(number: int, **options: object) -> InstanceDiscriminationSupervisor:
    return InstanceDiscriminationSupervisor(
        torch.zeros(number, 3, 32, 32),
        backbone=Lookup(),
        predictor=nn.Identity(),
        embedding_size=8,
        **options,  # type: ignore[arg-type]
    )


def row_of(**values: float) -> dict[str, float]:
    return {"epoch": 5, "spread": 0.9, "memory_change": 0.1, "memory_similarity": 0.8, **values}


def test_the_loss_is_that_of_the_paper(generator: torch.Generator) -> None:
    supervisor = made(12, num_negatives=6, temperature=0.2, proximal_weight=0.3)
    before = supervisor.bank.rows.clone()
    embeddings = unit(4, generator)
    index, negatives = torch.tensor([3, 0, 7, 11]), torch.tensor([0, 5, 5, 7, 9, 1])
    loss = supervisor(InstanceViews(with_embeddings(embeddings), index, negatives))
    softmax = info_nce_in_loops(
        embeddings, before[index], before[negatives], 0.2, index[:, None] == negatives
    )
    proximal = (embeddings - before[index]).square().sum(dim=1).mean()
    assert float(loss.detach()) == pytest.approx(softmax + 0.3 * float(proximal), rel=1e-5)


def test_the_loss_by_nce_is_that_of_the_paper(generator: torch.Generator) -> None:
    supervisor = made(12, num_negatives=6, temperature=0.2, proximal_weight=0.0, form="nce")
    before = supervisor.bank.rows.clone()
    embeddings = unit(4, generator)
    index, negatives = torch.tensor([3, 0, 7, 11]), torch.tensor([0, 5, 5, 7, 9, 1])
    loss = supervisor(InstanceViews(with_embeddings(embeddings), index, negatives))
    assert isinstance(supervisor.loss, NCELoss)
    expected = noise_contrastive_in_loops(
        embeddings,
        before[index],
        before[negatives],
        0.2,
        float(supervisor.loss.log_normalizer.exp()),
        12,
        index[:, None] == negatives,
    )
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_only_rows_of_the_batch_move_half_way_after_the_loss(generator: torch.Generator) -> None:
    supervisor = made(12)
    before = supervisor.bank.rows.clone()
    embeddings, index = unit(3, generator), torch.tensor([3, 0, 7])
    supervisor(InstanceViews(with_embeddings(embeddings), index, torch.arange(12)))
    after = supervisor.bank.rows
    torch.testing.assert_close(after[index], F.normalize(before[index] + embeddings, dim=1))
    others = [row for row in range(12) if row not in (3, 0, 7)]
    assert torch.equal(after[others], before[others])
    torch.testing.assert_close(after.norm(dim=1), torch.ones(12))
    assert not after.requires_grad


def test_evaluation_leaves_the_memory_alone(generator: torch.Generator) -> None:
    supervisor = made(12)
    supervisor.eval()
    before = supervisor.bank.rows.clone()
    views = with_embeddings(unit(3, generator))
    supervisor(InstanceViews(views, torch.tensor([3, 0, 7]), torch.arange(12)))
    assert torch.equal(supervisor.bank.rows, before)


def test_the_loss_of_a_random_memory_is_what_theory_says(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    # METHODS.md 1.6 at K 500, D 128, temperature 0.2: log(K + 1) + 1 / (2 D t^2), less what the
    # positive, random too, is like on average.
    dataset = images[:1].expand(1000, -1, -1, -1)
    supervisor = InstanceDiscriminationSupervisor(
        dataset, backbone=tiny_backbone(), temperature=0.2, proximal_weight=0.0
    )
    supervisor.model = nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 32 * 32, 128)
    )  # random projections of noise are independent
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(256, 3, 32, 32, generator=generator)
    negatives = torch.randint(1000, (500,), generator=generator)
    loss = supervisor(InstanceViews(noise, torch.arange(256), negatives))
    assert float(loss.detach()) == pytest.approx(math.log(501) + 1 / (2 * 128 * 0.04), rel=0.05)


def test_negatives_are_drawn_once_for_the_batch_and_named_by_their_index(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = InstanceDiscriminationSupervisor(images, tiny_backbone(), num_negatives=9)
    batch = Batch(images[:5], torch.tensor([4, 9, 1, 0, 21]))
    assert isinstance(supervisor.collate_fn, InstanceCollator)
    data = supervisor.collate_fn.augment(batch, torch.Generator().manual_seed(0))
    assert data.views.shape == (5, 3, 32, 32)
    assert torch.equal(data.index, batch.index)
    assert data.negatives.shape == (9,)
    assert data.negatives.max() < 22


@pytest.mark.parametrize("options", [{"form": "nce"}, {"augmentation": "paper"}])
def test_variants_train_and_are_restored(
    options: dict[str, str], images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = InstanceDiscriminationSupervisor(images, tiny_backbone(), **options)  # type: ignore[arg-type]
    supervisor.supervise(epochs=2, batch_size=8, name=tmp_path / "base")
    loaded = InstanceDiscriminationSupervisor(backbone=tiny_backbone()).load(tmp_path / "base")
    state = loaded.state_dict()
    for name, value in supervisor.state_dict().items():
        assert torch.equal(value, state[name]), name
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("channels", [1, 5])
def test_images_need_no_colour(channels: int, tiny_backbone: Backbones) -> None:
    images = torch.randint(256, (6, channels, 32, 32), dtype=torch.uint8)
    supervisor = InstanceDiscriminationSupervisor(images, tiny_backbone(channels))
    supervisor.supervise(epochs=1, batch_size=3, name=None)
    assert math.isfinite(supervisor.history[0]["loss"])


def test_a_dataset_is_learnt_by_heart(images: Tensor, tiny_backbone: Backbones) -> None:
    torch.manual_seed(0)
    supervisor = InstanceDiscriminationSupervisor(images, tiny_backbone(), temperature=0.2)
    assert isinstance(supervisor.collate_fn, InstanceCollator)
    supervisor.collate_fn.augmentation = Resize((32, 32))  # images as they are
    supervisor.supervise(lr=3e-3, epochs=8, batch_size=11, name=None)
    history = supervisor.history
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]
    assert history[-1]["accuracy"] > 0.5
    assert history[-1]["memory_similarity"] > 0.5


def test_health_names_each_way_to_fail() -> None:
    supervisor = made(12)
    assert supervisor._health(row_of()) is None
    assert "collapsed" in str(supervisor._health(row_of(spread=0.01)))
    assert "hardly changes" in str(supervisor._health(row_of(memory_change=1e-5)))
    assert "same position" in str(supervisor._health(row_of(memory_similarity=0.02)))


def test_wrong_arguments_are_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    wrong = {
        "num_negatives must be": {"num_negatives": 0},
        "bank_momentum must be": {"bank_momentum": 1.0},
        "proximal_weight must be": {"proximal_weight": -0.1},
        'form is "softmax"': {"form": "sigmoid"},
        "augmentation is one of": {"augmentation": "none"},
        "temperature must be": {"temperature": 0.0},
        "leave num_images out": {"num_images": 23},
    }
    for message, options in wrong.items():
        with pytest.raises(ValueError, match=message):
            InstanceDiscriminationSupervisor(images, tiny_backbone(), **options)  # type: ignore[arg-type]
