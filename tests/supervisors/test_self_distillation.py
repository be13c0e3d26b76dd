from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation import evaluate
from super_selfish.models.heads import PrototypeHead
from super_selfish.supervisors import DINOSupervisor
from super_selfish.supervisors.multi_crop import Crops
from tests.supervisors.test_swav import crops_of

Backbones = Callable[..., nn.Module]


def small(images: Tensor, backbone: nn.Module, **settings: Any) -> Any:
    torch.manual_seed(0)
    settings = {"num_classes": 7, "hidden_size": 32, "bottleneck_size": 8, **settings}
    return DINOSupervisor(images, backbone, **settings)


def shares_in_loops(scores: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(score / temperature) for score in scores]
    return [each / sum(exponentials) for each in exponentials]


def dino_in_loops(
    teacher: Tensor, student: Tensor, center: Tensor, temperature: float, of_teacher: float
) -> float:
    """Caron et al. 2021, equations 1 to 3 and algorithm 1: a crop of an image at a time."""
    total, pairs = 0.0, 0
    for large in range(2):
        for crop in range(len(student)):
            if crop == large:
                continue
            for image in range(student.shape[1]):
                centred = (teacher[large, image] - center).double().tolist()
                wanted = shares_in_loops(centred, of_teacher)
                said = shares_in_loops(student[crop, image].double().tolist(), temperature)
                total -= sum(p * math.log(q) for p, q in zip(wanted, said, strict=True))
                pairs += 1
    return total / pairs


@pytest.mark.parametrize("num_small", [0, 3])
def test_the_loss_is_that_of_the_paper(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator, num_small: int
) -> None:
    supervisor = small(images, tiny_backbone(), temperature=0.3, teacher_temperature=0.2).eval()
    with torch.no_grad():  # so that teacher and student differ
        for parameter in supervisor.momentum_encoder.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    supervisor.center.copy_(torch.randn(7, generator=generator))
    data = crops_of(generator, num_small=num_small)
    with torch.no_grad():
        student = [supervisor.model(crop) for crop in (data.first, data.second)]
        student += [supervisor.model(crop) for crop in data.small.unbind(dim=1)]
        teacher = [supervisor.momentum_encoder(crop) for crop in (data.first, data.second)]
        expected = dino_in_loops(
            torch.stack(teacher), torch.stack(student), supervisor.center, 0.3, 0.2
        )
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-4)


def test_the_head_gives_cosines_with_directions() -> None:
    torch.manual_seed(0)
    head: Any = PrototypeHead(5, 12, 4, 9)
    features = torch.randn(6, 5)
    scores = head(features).detach()
    with torch.no_grad():
        head.prototypes.mul_(3.0)  # lengths do not count
        torch.testing.assert_close(head(features), scores)
    assert float(scores.abs().max()) <= 1 + 1e-6
    kinds = [type(layer).__name__ for layer in head.layers]
    assert kinds == ["Linear", "GELU", "Linear", "GELU", "Linear"]
    assert float(head.layers[0].weight.detach().std()) == pytest.approx(0.02, rel=0.3)


def test_directions_begin_as_short_as_a_linear_layer_s() -> None:
    """Adam turns long ones slowly: of a normal distribution they hardly moved in a short run."""
    torch.manual_seed(0)
    head = PrototypeHead(5, 12, 256, 300)
    lengths = head.prototypes.detach().norm(dim=1)
    assert float(lengths.mean()) == pytest.approx(3**-0.5, rel=0.01)
    assert float(head.prototypes.detach().abs().max()) <= 256**-0.5


def test_the_head_has_batch_norm_where_the_backbone_has_it(images: Tensor) -> None:
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    with_norm = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    for backbone, expected in ((plain, 0), (with_norm, 2)):
        head = small(images, backbone).get_predictor()
        norms = [layer for layer in head.modules() if isinstance(layer, nn.BatchNorm1d)]
        assert len(norms) == expected


def test_the_centre_is_the_moving_mean_of_what_the_teacher_says(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = small(images, tiny_backbone(), center_momentum=0.75)
    said: list[Tensor] = []
    teacher = supervisor.momentum_encoder.forward

    def overheard(crops: Tensor) -> Tensor:
        said.append(teacher(crops))
        return said[-1]

    monkeypatch.setattr(supervisor.momentum_encoder, "forward", overheard)
    supervisor.supervise(
        epochs=1, batch_size=6, accumulate=2, name=None, progress=False, optimizer=torch.optim.SGD
    )
    expected = torch.zeros(7)
    assert [len(each) for each in said] == [12, 12, 12, 8]  # two large crops of 22 images
    for update in (said[:2], said[2:]):
        expected = 0.75 * expected + 0.25 * torch.cat(update).mean(dim=0)
    torch.testing.assert_close(supervisor.center, expected)
    assert float(supervisor.pending.abs().sum()) == 0


def test_the_centre_stays_where_another_task_had_its_turn(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = small(images, tiny_backbone(), momentum=0.5)
    supervisor.center.fill_(2.0)
    run: Any = SimpleNamespace(epoch=0, epochs=1, step=0, accumulate=1, total_updates=9)
    supervisor._after_step(run)
    assert torch.equal(supervisor.center, torch.full((7,), 2.0))


class Overheard(DINOSupervisor):
    """Notes shares and what they are made of; stops before a step."""

    stop_at = 10**6

    def _forward(self, data: Crops) -> Tensor:
        assert self.run is not None
        if self.run.global_step == self.stop_at:
            raise KeyboardInterrupt
        with torch.no_grad():
            self.said = self.momentum_encoder(data.large_crops()) - self.center
        return super()._forward(data)


def test_the_teacher_s_temperature_rises_in_a_line_after_a_resumption_too(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    def run(noted: list[float], stop_at: int = 10**6, **more: Any) -> Any:
        def noting(shares: Tensor, scores: Tensor) -> Tensor:
            shares, said = shares.flatten(0, 1), supervisor.said
            ratios = (said[:, 0] - said[:, 1]) / (shares[:, 0].log() - shares[:, 1].log())
            noted.append(float(ratios.median()))
            return -(shares.log() * scores.flatten(0, 1)).mean()

        torch.manual_seed(0)
        arguments: dict[str, Any] = {"num_classes": 7, "hidden_size": 32, "bottleneck_size": 8}
        arguments |= {"teacher_temperature": (0.5, 2.0), "teacher_warmup_epochs": 3}
        supervisor = Overheard(images, tiny_backbone(), loss=noting, num_small=0, **arguments)
        supervisor.stop_at = stop_at
        settings: dict[str, Any] = {
            "epochs": 5,
            "batch_size": 22,
            "progress": False,
            "name": tmp_path / "run",
        }
        return supervisor.supervise(**{**settings, "checkpoint_every": 2, **more})

    noted: list[float] = []
    after: list[float] = []
    whole = run(noted, name=None)
    assert noted == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0], rel=1e-3)
    with pytest.raises(KeyboardInterrupt):
        run([], stop_at=2)
    resumed = run(after, resume=True)
    assert after == noted[2:]
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())


def test_neither_teacher_nor_centre_moves_where_nothing_trains(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone()).eval()
    supervisor(crops_of(generator)).backward()
    assert float(supervisor.pending.abs().sum()) == 0
    assert all(p.grad is None for p in supervisor.momentum_encoder.parameters())
    moved = [p.grad is not None and bool(p.grad.any()) for p in supervisor.model.parameters()]
    assert all(moved)


@pytest.mark.parametrize(
    ("own", "given", "norm"), [(3.0, None, 3.0), (3.0, 0.5, 0.5), (None, None, None)]
)
def test_gradients_are_clipped_as_the_authors_say_unless_one_says_otherwise(
    images: Tensor,
    tiny_backbone: Backbones,
    own: float | None,
    given: float | None,
    norm: float | None,
) -> None:
    """By gradient descent at a rate of 1 weights move by the gradient."""

    def steep(shares: Tensor, scores: Tensor) -> Tensor:
        return 1e3 * scores.square().sum() + 0 * shares.sum()

    arguments = {} if own == 3.0 else {"clip_norm": own}
    supervisor = small(images, tiny_backbone(), loss=steep, **arguments)
    before = [p.detach().clone() for p in supervisor.model.parameters()]
    supervisor.supervise(
        **{"lr": 1.0, "optimizer": torch.optim.SGD, "clip_norm": given},
        **{"epochs": 1, "batch_size": 22, "name": None, "progress": False},
    )
    moves = [p.detach() - old for p, old in zip(supervisor.model.parameters(), before, strict=True)]
    moved = float(torch.stack([move.norm() for move in moves]).norm())
    assert moved > 100 if norm is None else moved == pytest.approx(norm, rel=1e-3)


def test_checkpoints_of_before_clip_no_gradients(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    small(images, tiny_backbone(), clip_norm=None).save(tmp_path / "run")
    stored = torch.load(tmp_path / "run.pt", weights_only=True)
    for later in ("clip_norm", "teacher_warmup_epochs"):
        del stored["arguments"][later]
    torch.save(stored, tmp_path / "run.pt")
    assert small(images, tiny_backbone()).load(tmp_path / "run").clip_norm is None


def test_the_last_layer_is_frozen_at_first(images: Tensor, tiny_backbone: Backbones) -> None:
    for frozen, stays in ((2, True), (1, False)):
        supervisor = small(images, tiny_backbone(), frozen_updates=frozen)
        head: Any = supervisor.get_predictor()
        before = head.prototypes.detach().clone()
        supervisor.supervise(epochs=1, batch_size=11, name=None, progress=False)
        assert torch.equal(head.prototypes, before) == stays


@pytest.mark.parametrize(
    ("updates", "frozen"), [(9, 0), (1_000, 100), (12_510, 1251), (10**7, 1251)]
)
def test_it_thaws_sooner_in_short_runs(
    images: Tensor, tiny_backbone: Backbones, updates: int, frozen: int
) -> None:
    run: Any = SimpleNamespace(total_updates=updates)
    assert small(images, tiny_backbone())._thaws_after(run) == frozen


def test_the_teacher_is_kept(images: Tensor, tiny_backbone: Backbones, tmp_path: Path) -> None:
    given = tiny_backbone()
    supervisor = small(images, given)
    supervisor.supervise(epochs=2, batch_size=11, name=tmp_path / "run", progress=False)
    kept, teacher = supervisor.get_backbone(), supervisor.momentum_encoder.network.backbone
    pairs = zip(kept.state_dict().values(), teacher.state_dict().values(), strict=True)
    assert kept is not given and all(torch.equal(a, b) for a, b in pairs)
    assert all(parameter.requires_grad for parameter in kept.parameters())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with torch.no_grad():
        next(kept.parameters()).zero_()  # what users do to it does not harm the teacher
    assert bool(next(teacher.parameters()).any())
    again = small(images, tiny_backbone()).load(tmp_path / "run")
    pairs = zip(again.get_backbone().parameters(), teacher.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_student_is_kept_where_it_is_asked_for(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    given = tiny_backbone()
    assert small(images, given, keep="student").get_backbone() is given


def test_the_teacher_stands_beside_the_first_weights_of_the_network(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = small(images, tiny_backbone())
    supervisor.supervise(epochs=1, batch_size=11, name=None, progress=False)
    labels = torch.arange(11) % 2
    found = evaluate(supervisor, (images[:11], labels), (images[11:], labels), protocols=("knn",))
    assert "the weights of the backbone before training" in str(found)


def test_both_collapses_are_told_of(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = small(images, tiny_backbone())
    fine = {"epoch": 3.0, "classes": 5.0, "teacher_entropy": 0.4, "loss": 1.0}
    assert supervisor._health(fine) is None
    told = supervisor._health({**fine, "classes": 1.5})
    assert told is not None and "gives all crops 1.5 of 7 classes" in told
    told = supervisor._health({**fine, "teacher_entropy": 0.99})
    assert told is not None and "gives every crop all classes alike (99.0 % of log K)" in told


def test_what_it_measures(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone()).eval()
    data: Crops = crops_of(generator, num_small=0)
    with torch.no_grad():
        supervisor(data)
        scores = torch.stack([supervisor.model(data.first), supervisor.model(data.second)])
        teacher = torch.stack(
            [supervisor.momentum_encoder(data.first), supervisor.momentum_encoder(data.second)]
        )
    shares = [
        [shares_in_loops(row, 0.04) for row in of_crop] for of_crop in teacher.double().tolist()
    ]
    entropies = [-sum(p * math.log(p) for p in row) for of_crop in shares for row in of_crop]
    logged = {name: float(value) for name, value in supervisor._logged.items()}
    mean = sum(entropies) / len(entropies) / math.log(7)
    assert logged["teacher_entropy"] == pytest.approx(mean, rel=1e-3)
    rows = [row for of_crop in shares for row in of_crop]
    everywhere = [sum(row[k] for row in rows) / len(rows) for k in range(7)]
    spread = math.exp(-sum(p * math.log(p) for p in everywhere))
    assert logged["classes"] == pytest.approx(spread, rel=1e-3)
    right = sum(
        int(scores[which, image].argmax())
        == shares[1 - which][image].index(max(shares[1 - which][image]))
        for which in range(2)
        for image in range(len(data.first))
    )
    assert logged["accuracy"] == pytest.approx(right / (2 * len(data.first)))


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_a_temperature_that_rises_is_any_two_numbers(
    tiny_backbone: Callable[..., nn.Module], images: Tensor, kind: Any
) -> None:
    supervisor = small(images, tiny_backbone(), teacher_temperature=kind([0.25, 0.5]))
    assert supervisor.teacher_temperatures == (0.25, 0.5)
    with pytest.raises(ValueError, match="teacher_temperature must be one number, or two, that of"):
        small(images, tiny_backbone(), teacher_temperature=kind([0.25, 0.3, 0.5]))
