from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.data.collate import Batch
from super_selfish.data.sources import Sample
from super_selfish.supervisors import ExemplarNetSupervisor, HealthWarning, exemplar_net
from super_selfish.supervisors.exemplar_net import ExemplarCollator, Exemplars
from tests.references import cross_entropy_in_loops

Backbones = Callable[..., nn.Module]


def seen_in_training(supervisor: ExemplarNetSupervisor) -> list[Exemplars]:
    """Trains for an epoch, and returns what `_forward` got."""
    seen: list[Exemplars] = []
    forward = supervisor._forward

    def spying(data: Exemplars) -> Tensor:
        seen.append(data)
        return forward(data)

    supervisor._forward = spying  # type: ignore[method-assign]
    supervisor.supervise(epochs=1, batch_size=4, name=None)
    return seen


def test_classes_are_different_images_chosen_by_the_seed(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    chosen = [
        ExemplarNetSupervisor(images, tiny_backbone(), num_classes=9, seed=seed).chosen
        for seed in (0, 0, 1)
    ]
    for indices in chosen:
        assert len(indices.unique()) == 9
        assert indices.min() >= 0 and indices.max() < 22
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])


def test_a_class_is_the_image_that_was_chosen_for_it(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = ExemplarNetSupervisor(images, tiny_backbone(), num_classes=9)
    assert supervisor.source is not None and len(supervisor.source) == 9
    for position in range(9):
        sample = supervisor.source[position]
        assert isinstance(sample, Sample)
        assert torch.equal(sample.image, images[supervisor.chosen[position]])
        assert sample.index == position


def test_an_epoch_shows_each_class_once_and_labels_it_right(tiny_backbone: Backbones) -> None:
    # Images of one grey level each, and transformations that keep it.
    levels = torch.arange(22, dtype=torch.uint8) * 10
    images = levels[:, None, None, None].expand(22, 3, 32, 32).contiguous()
    supervisor = ExemplarNetSupervisor(images, tiny_backbone(), num_classes=9)
    assert isinstance(supervisor.collate_fn, ExemplarCollator)
    supervisor.collate_fn.composites.choices.fill_(-1)
    seen = seen_in_training(supervisor)
    views = torch.cat([data.views for data in seen])
    targets = torch.cat([data.targets for data in seen])
    assert torch.equal(targets.sort().values, torch.arange(9))
    assert torch.equal((views[:, 0, 0, 0] * 25.5).round().long(), supervisor.chosen[targets])


def test_views_are_composites_of_the_image(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = ExemplarNetSupervisor(images, tiny_backbone(), num_transforms=3)
    assert isinstance(supervisor.collate_fn, ExemplarCollator)
    same = Batch(images[:1].expand(40, -1, -1, -1), torch.zeros(40, dtype=torch.int64))
    views = supervisor.collate_fn.augment(same, torch.Generator().manual_seed(0)).views
    # Of one image there are as many copies as transformations, however often it is seen.
    assert len((views * 1e4).round().flatten(1).unique(dim=0)) == 3


def test_the_loss_is_that_of_the_paper(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = ExemplarNetSupervisor(images, tiny_backbone(), num_classes=9).eval()
    data = Exemplars(images[:4] / 255, torch.tensor([8, 0, 3, 3]))
    with torch.no_grad():
        logits = supervisor.model(data.views)
        assert logits.shape == (4, 9)
        expected = cross_entropy_in_loops(logits, data.targets)
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_a_network_that_knows_nothing_is_log_n(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    torch.manual_seed(0)
    many = images.repeat(20, 1, 1, 1)
    supervisor = ExemplarNetSupervisor(many, tiny_backbone())
    assert isinstance(supervisor.collate_fn, ExemplarCollator)
    batch = Batch(many[:64], torch.arange(64))
    data = supervisor.collate_fn.augment(batch, torch.Generator().manual_seed(0))
    assert float(supervisor(data).detach()) == pytest.approx(math.log(440), rel=0.1)


def test_a_checkpoint_keeps_what_the_classes_are(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"num_classes": 9, "seed": 5, "num_transforms": 7}
    trained = ExemplarNetSupervisor(images, tiny_backbone(), **options)
    trained.supervise(epochs=1, batch_size=4, name=tmp_path / "base")
    alone = ExemplarNetSupervisor(backbone=tiny_backbone()).load(tmp_path / "base")
    assert isinstance(alone, ExemplarNetSupervisor)
    assert alone.num_classes == 9
    assert torch.equal(alone.chosen, trained.chosen)
    assert isinstance(alone.collate_fn, ExemplarCollator)
    assert isinstance(trained.collate_fn, ExemplarCollator)
    first, second = alone.collate_fn.composites, trained.collate_fn.composites
    assert torch.equal(first.choices, second.choices)


def test_training_goes_on_with_the_images_of_the_checkpoint(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = ExemplarNetSupervisor(images, tiny_backbone(), num_classes=2)
    state = supervisor.state_dict()
    state["chosen"] = torch.tensor([20, 21])
    supervisor.load_state_dict(state)
    seen_in_training(supervisor)
    assert supervisor.source is not None
    sample = supervisor.source[1]
    assert isinstance(sample, Sample)
    assert torch.equal(sample.image, images[21])


def test_all_images_are_classes_where_there_are_few(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = ExemplarNetSupervisor(images, tiny_backbone())
    assert supervisor.num_classes == supervisor.arguments["num_classes"] == 22
    assert torch.equal(supervisor.chosen, torch.arange(22))


@pytest.mark.parametrize("channels", [1, 5])
def test_images_need_no_colour(channels: int, tiny_backbone: Backbones) -> None:
    images = torch.randint(256, (6, channels, 32, 32), dtype=torch.uint8)
    supervisor = ExemplarNetSupervisor(images, tiny_backbone(channels))
    supervisor.supervise(epochs=1, batch_size=3, name=None)
    assert math.isfinite(supervisor.history[0]["loss"])


def test_images_are_recognised_after_some_epochs(images: Tensor, tiny_backbone: Backbones) -> None:
    torch.manual_seed(0)
    supervisor = ExemplarNetSupervisor(images, tiny_backbone(), max_elements=2)
    supervisor.supervise(lr=3e-3, epochs=20, batch_size=11, name=None)
    assert supervisor.history[-1]["loss"] < 0.7 * math.log(22)


def test_health_names_each_way_to_fail(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = ExemplarNetSupervisor(images, tiny_backbone())
    assert supervisor._health({"epoch": 10, "loss": 2.0, "accuracy": 0.5}) is None
    assert "too easy" in str(supervisor._health({"epoch": 2, "loss": 0.01, "accuracy": 1.0}))
    assert "too easy" in str(supervisor._health({"epoch": 19, "loss": 0.01, "accuracy": 1.0}))
    assert supervisor._health({"epoch": 50, "loss": 0.01, "accuracy": 1.0}) is None
    assert "by chance" in str(supervisor._health({"epoch": 12, "loss": 3.08, "accuracy": 0.04}))


def test_what_many_classes_cost_is_said_before_the_first_step(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = ExemplarNetSupervisor(images, tiny_backbone())
    with warnings.catch_warnings():
        warnings.simplefilter("error", HealthWarning)
        supervisor.supervise(epochs=0, batch_size=11, name=None)
    monkeypatch.setattr(exemplar_net, "MANY_CLASSES", 21)
    # 22 x 1024 weights, and 11 x 22 logits, of four bytes; a million classes are 4.1 GB.
    said = r"^22 classes make a last layer of 90 kB: .* logits of a batch are 1 kB; give .*=21 or"
    with pytest.warns(HealthWarning, match=said):
        supervisor.supervise(epochs=0, batch_size=11, name=None)


def test_wrong_arguments_are_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "num_classes is 23 and the dataset has 22": {"num_classes": 23},
        "at least 2 classes": {"num_classes": 1},
        "^num_transforms must be at least 1, got 0$": {"num_transforms": 0},
        "p is a probability": {"probability": 1.5},
    }
    for message, options in wrong.items():
        with pytest.raises(ValueError, match=message):
            ExemplarNetSupervisor(images, tiny_backbone(), **options)
    with pytest.raises(ValueError, match="at least 2 classes"):
        ExemplarNetSupervisor(images[:1], tiny_backbone())
