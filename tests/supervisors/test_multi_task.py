from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from super_selfish.data.collate import Batch
from super_selfish.data.joined import JoinedBatches, JoinedSource
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.opening import as_source
from super_selfish.models.gray import Gray
from super_selfish.models.replicas import Replicas
from super_selfish.supervisors import (
    SUPERVISORS,
    ContextNetSupervisor,
    ExemplarNetSupervisor,
    InstanceDiscriminationSupervisor,
    JigsawNetSupervisor,
    LabelSupervisor,
    MultiTaskSupervisor,
    RotateNetSupervisor,
)
from super_selfish.training.checkpoint import read_checkpoint
from tests.conftest import TinyBackbone
from tests.cpu_replicas import CPU, use_cpu_replicas

Backbones = Callable[..., nn.Module]
QUIET: dict[str, Any] = {"name": None, "progress": False, "batch_size": 8}


def batches(lengths: tuple[int, ...], *, together: bool, size: int = 4) -> JoinedBatches:
    orders = [EpochBatches(length, size, seed=n) for n, length in enumerate(lengths)]
    return JoinedBatches(orders, together=together)


def epoch(order: JoinedBatches, number: int, first: int = 0) -> list[list[int]]:
    order.start_at(number, first)
    return list(order)


@pytest.mark.parametrize("together", [False, True])
def test_sources_take_turns_and_an_epoch_shows_the_longest_once(together: bool) -> None:
    order = batches((16, 12, 8), together=together)
    shown = epoch(order, 0)
    assert len(shown) == len(order) == (4 if together else 12)
    if not together:
        assert [batch[0] >= 16 for batch in shown[:3]] == [False, True, True]
        assert [batch[0] >= 28 for batch in shown[:3]] == [False, False, True]
    every = [index for batch in shown for index in batch]
    assert sorted(index for index in every if index < 16) == list(range(16))
    second = [index - 16 for index in every if 16 <= index < 28]
    assert sorted(second[:12]) == list(range(12)) and len(second) == 16
    third = [index - 28 for index in every if index >= 28]
    assert sorted(third[:8]) == sorted(third[8:]) == list(range(8))
    alone = EpochBatches(8, 4, seed=2)
    alone.start_at(1)
    assert third[8:] == [index for batch in alone for index in batch]  # its own second epoch
    assert order.num_images == 48


@pytest.mark.parametrize("together", [False, True])
def test_an_epoch_can_begin_anywhere(together: bool) -> None:
    order = batches((16, 12, 9), together=together)
    for number in (0, 1, 3):
        whole = epoch(order, number)
        for first in range(len(order)):
            assert epoch(order, number, first) == whole[first:]
    assert epoch(order, 0) != epoch(order, 1)


def test_a_joined_source_asks_each_for_its_own(images: Tensor) -> None:
    first, second = as_source(images[:5]), as_source((images[5:9], [3, 4, 5, 6]))
    joined = JoinedSource([first, second])
    assert len(joined) == 9
    for index in range(9):
        sample: Any = joined[index]
        assert torch.equal(sample.image, images[index]) and sample.index == index
    assert joined[6].label == 4  # type: ignore[union-attr]
    assert joined.select(torch.tensor([5, 8])).index.tolist() == [5, 8]  # type: ignore[union-attr]
    assert joined.select(torch.tensor([4, 5])) is None
    with pytest.raises(IndexError):
        joined[9]


def test_tasks_take_turns_on_one_backbone(images: Tensor, tiny_backbone: Backbones) -> None:
    backbone = tiny_backbone()
    supervisor = MultiTaskSupervisor(images, backbone, tasks=("rotate", "instance", "rotate"))
    assert supervisor.names == ["rotate", "instance", "rotate_2"]
    assert all(task.get_backbone() is backbone for task in supervisor.tasks)
    turns = []
    for name, task in zip(supervisor.names, supervisor.tasks, strict=True):
        of_task = task._forward

        def noting(data: Any, name: str = name, of_task: Any = of_task) -> Any:
            turns.append(name)
            return of_task(data)

        task._forward = noting
    supervisor.supervise(epochs=2, **QUIET)
    assert turns == supervisor.names * 3 * 2
    row = supervisor.history[-1]
    assert {"rotate.loss", "rotate.accuracy", "instance.loss", "rotate_2.accuracy"} <= set(row)


def test_every_task_moves_the_backbone_and_its_own_head_alone(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate", "jigsaw"))
    _, batches = _in_order(supervisor)
    loaded = [supervisor.collate_fn.stack([_joined(supervisor)[i] for i in b]) for b in batches]
    for number, batch in enumerate(loaded[:2]):
        supervisor.zero_grad()
        supervisor(supervisor.collate_fn.augment(batch, torch.Generator())).backward()
        assert all(p.grad is not None for p in supervisor.get_backbone().parameters())
        for other, task in enumerate(supervisor.tasks):
            has = [p.grad is not None for p in task.get_predictor().parameters()]
            assert set(has) == {other == number}


def _joined(supervisor: Any) -> JoinedSource:
    return JoinedSource([task.source for task in supervisor.tasks])


def _in_order(supervisor: Any) -> tuple[Any, JoinedBatches]:
    orders = [EpochBatches(len(task.source), 8) for task in supervisor.tasks]
    return None, JoinedBatches(orders, together=supervisor.steps == "summed")


@pytest.mark.parametrize("steps", ["alternating", "summed"])
def test_losses_are_divided_by_their_first_and_weighed(
    steps: Any, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = MultiTaskSupervisor(
        images, tiny_backbone(), tasks=("rotate", "denoise"), task_weights=(1.0, 0.5), steps=steps
    )
    _, order = _in_order(supervisor)
    source, seen = _joined(supervisor), []
    for batch in order:
        torch.manual_seed(0)
        views = supervisor.collate_fn.augment(
            supervisor.collate_fn.stack([source[i] for i in batch]), torch.Generator()
        )
        loss = supervisor(views)
        own = [
            float(supervisor._logged[f"{name}.loss"])
            for name in supervisor.names
            if f"{name}.loss" in supervisor._logged
        ]
        supervisor._logged.clear()
        seen.append((loss.detach(), own))
    first_rotate, first_denoise = supervisor.first_losses.tolist()
    if steps == "summed":
        assert float(seen[0][0]) == pytest.approx((1.0 + 0.5) / 2)
        expected = (seen[1][1][0] / first_rotate + 0.5 * seen[1][1][1] / first_denoise) / 2
        assert float(seen[1][0]) == pytest.approx(expected)
    else:
        assert float(seen[0][0]) == pytest.approx(1.0)
        assert float(seen[1][0]) == pytest.approx(0.5)
        assert float(seen[2][0]) == pytest.approx(seen[2][1][0] / first_rotate)
        assert float(seen[3][0]) == pytest.approx(0.5 * seen[3][1][0] / first_denoise)


@pytest.mark.parametrize("first", [0.01, -0.3, float("nan")])
def test_a_loss_that_begins_at_nothing_stays_as_it_is(
    first: float, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate",))
    assert float(supervisor._measure(0, torch.tensor(first))) == 1.0
    again = supervisor._measure(0, torch.tensor(3.0))
    assert float(again) == (3.0 if first != first else 1.0)  # what is no number is no first loss
    assert supervisor.first_losses.isfinite().all()


def test_nothing_is_stored_twice(images: Tensor, tiny_backbone: Backbones, tmp_path: Path) -> None:
    supervisor = MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate", "jigsaw", "byol"))
    supervisor.save(tmp_path / "a")
    names = list(read_checkpoint(tmp_path / "a.pt")["model"])
    kept = [name for name in names if "layers.0.weight" in name]
    assert kept == [
        "model.backbone.layers.0.weight",
        "byol.momentum_encoder.network.backbone.layers.0.weight",  # another tensor
    ]
    with torch.no_grad():
        for parameter in supervisor.parameters():
            parameter.add_(1.0)
    again = MultiTaskSupervisor(backbone=tiny_backbone()).load(tmp_path / "a")
    assert again.names == ["rotate", "jigsaw", "byol"]
    for task in again.tasks:
        assert task.get_backbone() is again.get_backbone()
    torch.testing.assert_close(
        again.get_backbone().state_dict(), tiny_backbone().state_dict(), rtol=0, atol=0
    )


def test_supervisors_that_are_built_become_tasks(images: Tensor, tmp_path: Path) -> None:
    rotate = RotateNetSupervisor(images, "narrow-resnet")
    backbone = rotate.get_backbone()
    jigsaw = JigsawNetSupervisor(images[:10], backbone, grid=2)
    supervisor = MultiTaskSupervisor([rotate, jigsaw])
    assert supervisor.tasks == [rotate, jigsaw]
    assert supervisor.get_backbone() is backbone
    supervisor.supervise(epochs=2, **{**QUIET, "name": tmp_path / "run"})
    assert supervisor.run is not None and supervisor.run.steps_per_epoch == 2 * 3
    loaded = MultiTaskSupervisor().load(tmp_path / "run")  # by names alone
    assert [type(task) for task in loaded.tasks] == [RotateNetSupervisor, JigsawNetSupervisor]
    assert loaded.tasks[1].arguments["grid"] == 2
    for name, value in supervisor.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_a_task_of_ones_own_must_be_there_to_load(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    class Mine(RotateNetSupervisor):
        pass

    def built(dataset: Any) -> MultiTaskSupervisor:
        mine = Mine(dataset, tiny_backbone(), image_size=None if dataset is not None else 32)
        return MultiTaskSupervisor([mine])

    built(images).save(tmp_path / "a")
    with pytest.raises(ValueError, match=r"tasks=.*of your own"):
        MultiTaskSupervisor(backbone=tiny_backbone()).load(tmp_path / "a")
    assert built(None).load(tmp_path / "a").names == ["Mine"]


def test_an_exemplar_has_classes_of_its_own_images(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    backbone = tiny_backbone()
    exemplar = ExemplarNetSupervisor(images, backbone, num_classes=6)
    supervisor = MultiTaskSupervisor([RotateNetSupervisor(images, backbone), exemplar])
    supervisor.supervise(epochs=2, **QUIET)
    assert supervisor.run is not None and supervisor.run.steps_per_epoch == 2 * 3
    labelled = LabelSupervisor((images, torch.arange(22) % 3), backbone)
    MultiTaskSupervisor([exemplar, labelled]).supervise(epochs=1, **QUIET)


def test_momentum_follows_the_one_backbone(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = MultiTaskSupervisor(
        images, tiny_backbone(), tasks=("rotate", ("moco", {"momentum": 0.0, "queue_size": 10}))
    )
    supervisor.supervise(epochs=1, **QUIET)
    moco = supervisor.tasks[1]
    followed = dict(moco.model.named_parameters())
    for name, parameter in moco.momentum_encoder.network.named_parameters():
        torch.testing.assert_close(parameter, followed[name])


@pytest.mark.parametrize(
    ("tasks", "error", "words"),
    [
        ((), TypeError, "tasks must be a list of tasks"),
        ("rotate", TypeError, "tasks must be a list of tasks"),
        (("rotat",), ValueError, "there is no algorithm 'rotat': did you mean \"rotate\""),
        (("bigan",), ValueError, "bigan cannot be one of several tasks: its players"),
        (("context",), ValueError, "context cannot be one of several tasks"),
        (("multi_task",), ValueError, "list them all in tasks="),
        ((("rotate", {"dataset": 1}),), ValueError, "dataset is that of all tasks"),
        ((("rotate", {"crops": 1}),), TypeError, "takes no crops=: did you mean crop="),
        ((1,), TypeError, "a task is a name"),
    ],
)
def test_what_cannot_be_a_task_is_refused_in_words(
    tasks: Any, error: Any, words: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    with pytest.raises(error, match=words):
        MultiTaskSupervisor(images, tiny_backbone(), tasks=tasks)


def test_tasks_of_several_backbones_are_refused(images: Tensor) -> None:
    tasks = [
        kind(images, TinyBackbone())
        for kind in (RotateNetSupervisor, InstanceDiscriminationSupervisor)
    ]
    with pytest.raises(ValueError, match="instance trains another backbone than the other tasks"):
        MultiTaskSupervisor(tasks)
    with pytest.raises(ValueError, match="context cannot be one of several"):
        MultiTaskSupervisor([ContextNetSupervisor(images, TinyBackbone())])


@pytest.mark.parametrize("task", sorted(set(SUPERVISORS) - {"bigan", "context", "multi_task"}))
def test_every_other_algorithm_can_be_a_task(
    task: str, images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    backbone = tiny_backbone()
    before = [parameter.clone() for parameter in backbone.parameters()]
    supervisor = MultiTaskSupervisor(images, backbone, tasks=("rotate", task))
    supervisor.supervise(epochs=1, **{**QUIET, "name": tmp_path / "a"})
    assert not any(map(torch.equal, before, backbone.parameters()))
    loaded = MultiTaskSupervisor(backbone=tiny_backbone()).load(tmp_path / "a")
    for name, value in supervisor.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_what_keeps_one_task_s_images_is_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate", "jigsaw"))
    with pytest.raises(ValueError, match="dataset_on_device keeps the images of one task"):
        supervisor.supervise(dataset_on_device=True, **QUIET)
    MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate", "jigsaw")).supervise(
        epochs=1, num_workers=1, **QUIET
    )


def test_images_of_files_can_be_cached_for_all_tasks(
    tiny_backbone: Backbones, images: Tensor, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    for number, image in enumerate(images):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        picture.save(tmp_path / "images" / f"{number:02}.png")
    found = []
    for cache in (None, tmp_path / "cache"):
        torch.manual_seed(0)
        supervisor = MultiTaskSupervisor(
            tmp_path / "images", tiny_backbone(), tasks=("rotate", "jigsaw")
        )
        supervisor.supervise(epochs=2, cache=cache, **QUIET)
        found.append([row["loss"] for row in supervisor.history])
    assert found[0] == found[1]


def test_pictures_of_all_tasks_are_shown(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate", "jigsaw"))
    supervisor.eval()
    with torch.no_grad():
        groups = supervisor.exhibit([0, 1, 2], 0)
        alone = [task.exhibit([0, 1, 2], 0) for task in supervisor.tasks]
    assert len(groups) == sum(min(2, len(each)) for each in alone)


def test_what_a_stranger_did(images: Tensor, tiny_backbone: Backbones, tmp_path: Path) -> None:
    rotate = RotateNetSupervisor(images, tiny_backbone())
    with pytest.raises(ValueError, match="rotate is in the list twice"):
        MultiTaskSupervisor([rotate, rotate])
    with pytest.raises(TypeError, match="tasks come in a list"):
        MultiTaskSupervisor(rotate)
    with pytest.raises(TypeError, match="tasks must be a list of tasks"):
        MultiTaskSupervisor(images, tiny_backbone(), tasks={"jigsaw": {"grid": 3}})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="weights must be a list, a number for each task"):
        MultiTaskSupervisor(images, tiny_backbone(), task_weights={"jigsaw": 1.0})  # type: ignore[arg-type]


def test_numbers_of_updates_in_a_task_are_no_sizes(images: Tensor, tmp_path: Path) -> None:
    supervisor = MultiTaskSupervisor(images, "narrow-resnet", tasks=("swav", "rotate"))
    supervisor.save(tmp_path / "a")
    assert MultiTaskSupervisor().load(tmp_path / "a").names == ["swav", "rotate"]


@pytest.mark.parametrize("first", ["colorization", "cmc", "cpc"])
def test_a_backbone_that_no_name_builds_is_asked_for(
    first: str, images: Tensor, tmp_path: Path
) -> None:
    name = None if first == "cpc" else "narrow-resnet"
    built = SUPERVISORS[first](images, name)
    backbone = built.get_backbone()
    supervisor = MultiTaskSupervisor([built, RotateNetSupervisor(images, backbone)])
    assert supervisor.arguments["backbone"] is backbone
    supervisor.save(tmp_path / "a")
    with pytest.raises(ValueError, match=r"backbone=.*of your own"):
        MultiTaskSupervisor().load(tmp_path / "a")


def test_a_task_that_had_other_images_does_not_go_on_with_these(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    backbone = tiny_backbone()
    tasks = [RotateNetSupervisor(images, backbone), JigsawNetSupervisor(255 - images, backbone)]
    settings = {**QUIET, "name": tmp_path / "run"}
    MultiTaskSupervisor(tasks).supervise(epochs=1, **settings)
    other = MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate", "jigsaw"))
    with pytest.raises(ValueError, match="jigsaw: images"):
        other.supervise(epochs=2, resume=True, **settings)


def test_tasks_without_images_show_those_of_a_report(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate", "jigsaw")).save(tmp_path / "a")
    loaded = MultiTaskSupervisor(backbone=tiny_backbone()).load(tmp_path / "a")
    page = loaded.report(tmp_path / "a", images=images).read_text(encoding="utf-8")
    assert "turned" in page and "shuffled" in page
    assert all(task.source is None for task in loaded.tasks)


def test_tasks_by_name_beside_a_built_one_see_its_size(images: Tensor) -> None:
    large = torch.nn.functional.interpolate(images.float(), size=(64, 64)).to(torch.uint8)
    rotate = RotateNetSupervisor(large, "narrow-resnet", image_size=32)
    supervisor = MultiTaskSupervisor(large, tasks=[rotate, "simclr"])
    assert [task.image_size for task in supervisor.tasks] == [(32, 32), (32, 32)]


LASSO: dict[str, Any] = {"lasso": 0.5}
GENERATOR = torch.Generator().manual_seed(0)


def test_a_lasso_adds_the_norm_of_each_task_s_coefficients(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = MultiTaskSupervisor(
        images, tiny_backbone(), tasks=("rotate", "denoise"), steps="summed", **LASSO
    )
    first, second = supervisor.tasks[0].get_backbone(), supervisor.tasks[1].get_backbone()
    assert first.network is second.network is supervisor.get_backbone()
    assert first.blocks is second.blocks and first.coefficients is not second.coefficients
    with torch.no_grad():
        second.coefficients.weight.copy_(torch.tensor([4.0, -3.0]))
    _, order = _in_order(supervisor)
    source = _joined(supervisor)
    samples = [source[i] for i in next(iter(order))]
    loss = supervisor(
        supervisor.collate_fn.augment(supervisor.collate_fn.stack(samples), GENERATOR)
    )
    # Each begins at a loss of 1, divided by itself.
    assert float(loss.detach()) == pytest.approx(1 + 0.5 * (2**0.5 + 7 / 5) / 2)
    assert float(supervisor._logged["rotate.blocks"]) == pytest.approx(2.0)
    assert float(supervisor._logged["denoise.blocks"]) == pytest.approx(49 / 25)
    loss.backward()
    assert all(p.grad is not None for p in supervisor.parameters() if p.requires_grad)
    assert list(supervisor.block_shares()["denoise"]) == ["layers.2", "map"]
    assert list(supervisor.block_shares()["denoise"].values()) == pytest.approx([0.64, 0.36])
    assert "rotate.blocks" in supervisor.meanings


def test_the_larger_a_lasso_the_fewer_blocks(images: Tensor, tiny_backbone: Backbones) -> None:
    used = []
    for weight in (0.0, 3.0):
        torch.manual_seed(0)
        supervisor = MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate",), lasso=weight)
        with torch.no_grad():
            supervisor.tasks[0].get_backbone().coefficients.weight.copy_(torch.tensor([1.0, 0.8]))
        supervisor.supervise(epochs=8, lr=0.05, **QUIET)
        used.append(supervisor.history[-1]["rotate.blocks"])
    assert used[0] > 1.7 and used[1] < 1.2


def test_runs_with_a_lasso_go_on_bit_for_bit_and_load(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    settings = {**QUIET, "name": tmp_path / "run"}
    tasks = ("rotate", ("moco", {"queue_size": 10}))

    def built() -> MultiTaskSupervisor:
        torch.manual_seed(0)
        return MultiTaskSupervisor(images, tiny_backbone(), tasks=tasks, harmonize=True, **LASSO)

    whole = built().supervise(epochs=2, **QUIET)
    built().supervise(epochs=1, **settings)
    again = built()
    again.supervise(epochs=2, resume=True, **settings)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    stored = list(read_checkpoint(tmp_path / "run.pt")["model"])
    assert len([name for name in stored if name.endswith("projections.0.weight")]) == 2  # and copy
    loaded = MultiTaskSupervisor(backbone=tiny_backbone()).load(tmp_path / "run")
    assert loaded.block_shares() == again.block_shares()
    assert isinstance(loaded.preprocess[0], Gray)  # type: ignore[index]
    other = MultiTaskSupervisor(images, tiny_backbone(), tasks=tasks, harmonize=True)
    with pytest.raises(ValueError, match="lasso"):
        other.supervise(epochs=3, resume=True, **settings)


def test_built_tasks_get_mixtures_where_their_heads_fit(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    backbone = tiny_backbone()
    rotate = RotateNetSupervisor(images, backbone)
    supervisor = MultiTaskSupervisor([rotate, JigsawNetSupervisor(images, backbone)], **LASSO)
    supervisor.supervise(epochs=1, **{**QUIET, "name": tmp_path / "a"})
    assert supervisor.get_backbone() is backbone
    loaded = MultiTaskSupervisor(backbone=tiny_backbone()).load(tmp_path / "a")
    assert loaded.block_shares() == supervisor.block_shares()
    moco = SUPERVISORS["moco"](images, backbone)
    with pytest.raises(ValueError, match=r'moco has a copy of the backbone.*tasks=."moco"'):
        MultiTaskSupervisor([moco], **LASSO)

    class Flat(TinyBackbone):
        def forward(self, images: Tensor) -> Tensor:
            return self.forward_features(images).flatten(1)

    with pytest.raises(ValueError, match="built for 1024 features, but those of blocks are 16"):
        MultiTaskSupervisor([RotateNetSupervisor(images, Flat())], **LASSO)
    assert MultiTaskSupervisor(images, Flat(), tasks=("rotate",), **LASSO).names == ["rotate"]


def test_what_has_no_lasso_says_so(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate",))
    with pytest.raises(ValueError, match="give lasso="):
        supervisor.block_shares()
    assert "rotate.blocks" not in supervisor.meanings
    supervisor = MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate",), **LASSO)
    with pytest.raises(ValueError, match="compile=True makes one piece"):
        supervisor.supervise(epochs=1, compile=True, **QUIET)


def test_a_chart_shows_which_blocks_a_task_uses(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = MultiTaskSupervisor(images, tiny_backbone(), tasks=("rotate", "jigsaw"), **LASSO)
    with torch.no_grad():
        supervisor.tasks[1].get_backbone().coefficients.weight.copy_(torch.tensor([1.0, 0.0]))
        supervisor.eval()
        group = supervisor.exhibit([0], 0)[0]
    assert [each.caption for each in group] == ["rotate\nuses 2.0 of 2", "jigsaw\nuses 1.0 of 2"]
    dark = [(each.image[0] < 0.5).float().mean(dim=0) for each in group]
    assert dark[0][[0, 94]].tolist() == [0.5, 0.5]  # both blocks alike
    assert dark[1][[0, 94]].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("task", ["jigsaw", "cmc", "split_brain", "colorization", "byol"])
def test_a_harmonized_backbone_sees_gray_alone(
    task: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    backbone: Any = tiny_backbone()
    supervisor: Any = MultiTaskSupervisor(images, backbone, tasks=(task,), harmonize=True)
    seen: list[Tensor] = []
    backbone.layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    source = _joined(supervisor)
    batch = supervisor.collate_fn.stack([source[i] for i in range(8)])
    supervisor(supervisor.collate_fn.augment(batch, GENERATOR))
    assert seen
    for shown in seen:
        torch.testing.assert_close(shown[:, 0], shown[:, 2])
    assert isinstance(supervisor.preprocess[0], Gray)


def test_what_cannot_be_harmonized_is_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    with pytest.raises(ValueError, match="the images have 1 channel"):
        MultiTaskSupervisor(images[:, :1], tiny_backbone(1), tasks=("rotate",), harmonize=True)
    with pytest.raises(ValueError, match=r'context_prediction makes noise.*"colors": "keep"'):
        MultiTaskSupervisor(images, tiny_backbone(), tasks=("context_prediction",), harmonize=True)


def test_a_lasso_on_two_devices_is_that_of_one(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cpu_replicas(monkeypatch)
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 6, 3, 2), nn.Tanh())
    tasks = [("rotate", {"predictor": nn.Linear(6, 4)})]  # without norms, of parts of a batch
    one = MultiTaskSupervisor(images, backbone, tasks=tasks, **LASSO).double()
    data = one.collate_fn.augment(Batch(images.double() / 255, torch.arange(22)), GENERATOR)
    found = []
    for forward in (one, Replicas(one, [CPU, CPU])):
        one.zero_grad()
        loss = forward(data)
        loss.backward()
        gradients = [p.grad.clone() for p in one.parameters() if p.grad is not None]
        found.append((loss.detach() - one.tasks[0].get_backbone().penalty().detach(), gradients))
        one.first_losses.zero_()
    torch.testing.assert_close(found[0], found[1])
    assert len(found[0][1]) == len([p for p in one.parameters() if p.requires_grad])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (("rotate", ("jigsaw", {"num_permutations": 6})), "tasks[1][1]['num_permutations']=24, "),
        (("rotate", "denoise"), "tasks[1][0]='jigsaw', this MultiTaskSupervisor has 'denoise'"),
        (("rotate",), "tasks=('rotate', 'jigsaw'), this MultiTaskSupervisor has ('rotate',)"),
    ],
)
def test_of_tasks_that_differ_only_that_is_said(
    other: Any, words: str, images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    settings = {**QUIET, "name": tmp_path / "run"}
    tasks = ("rotate", "jigsaw")
    MultiTaskSupervisor(images, tiny_backbone(), tasks=tasks).supervise(epochs=1, **settings)
    changed = MultiTaskSupervisor(images, tiny_backbone(), tasks=other)
    with pytest.raises(ValueError, match="cannot resume") as error:
        changed.supervise(epochs=2, resume=True, **settings)
    assert words in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("steps", ["alternating", "summed"])
def test_heads_in_turns_have_momentum_of_their_own(
    steps: Any, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = MultiTaskSupervisor(
        images, tiny_backbone(), tasks=("rotate", "jigsaw"), steps=steps
    )
    supervisor.supervise(optimizer="sgd", lr=1e-3, epochs=1, **QUIET)  # has momentum
    assert supervisor.run is not None and supervisor.run.updates == (6 if steps != "summed" else 3)
