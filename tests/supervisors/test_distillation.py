"""A network is taught by another one, whoever that is and whatever it sees."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.models import NarrowResNet, pooled_features
from super_selfish.models.stems import say_difference
from super_selfish.models.teacher import Teacher, digest_of, resampled
from super_selfish.supervisors import DistillationSupervisor, MultiTaskSupervisor, teachers
from super_selfish.supervisors.distillation import Lessons
from super_selfish.supervisors.teachers import DEFAULT_TEACHER, default_teacher, find_teacher
from tests.conftest import TinyBackbone, TinyTeacher, tiny_teacher
from tests.references import feature_match_in_loops, pseudo_classes_in_loops

Backbones = Callable[..., nn.Module]
QUIET: dict[str, Any] = {"epochs": 1, "batch_size": 11, "progress": False}


def taught(images: Tensor, backbone: Any = None, **settings: Any) -> DistillationSupervisor:
    torch.manual_seed(0)
    settings = {"teacher": tiny_teacher(), **settings}
    return DistillationSupervisor(images, backbone or TinyBackbone(images.shape[1]), **settings)


def lessons(generator: torch.Generator, channels: int = 3, side: int = 32) -> Lessons:
    images = torch.rand(4, channels, side, side, generator=generator, dtype=torch.float64)
    return Lessons(images, torch.arange(4))


class Overflowing(nn.Conv2d):
    """A teacher whose weights are lost."""

    def __init__(self) -> None:
        super().__init__(3, 4, 3)
        nn.init.constant_(self.weight, math.nan)


class Seen(nn.Module):
    """A teacher that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 6, 4, stride=4)
        self.got: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.got.append(images.clone())
        return self.layer(images)


def test_the_loss_is_that_of_vectors_maps_and_pseudo_classes(
    images: Tensor, generator: torch.Generator
) -> None:
    supervisor = taught(
        images,
        teacher_size=48,
        feature_weight=0.7,
        map_weight=0.4,
        pseudo_classes=5,
        pseudo_weight=0.3,
    ).double()
    supervisor.eval()
    data = lessons(generator)
    queue: Any = supervisor.queue
    teacher = tiny_teacher().double()
    with torch.no_grad():
        loss = float(supervisor(data))
        maps = supervisor.get_backbone().layers(data.images)  # type: ignore[operator]
        vectors = supervisor.get_predictor()(maps.mean(dim=(2, 3)))
        adapter: Any = supervisor.map_adapter
        places = adapter(maps)
        larger = F.interpolate(data.images, (48, 48), mode="bilinear", antialias=True)
        wanted = teacher(larger)
    assert wanted.shape[-2:] == (12, 12) and places.shape[-2:] == (8, 8)
    own = F.interpolate(wanted, (8, 8), mode="bilinear", antialias=True)
    means = wanted.mean(dim=(2, 3))
    expected = 0.7 * feature_match_in_loops(vectors, means, 0.9, 0.1)
    expected += 0.4 * feature_match_in_loops(places, own, 0.9, 0.1)
    expected += 0.3 * pseudo_classes_in_loops(vectors, means, queue.keys, 0.2, 0.01)
    assert loss == pytest.approx(expected, rel=1e-6)


def test_a_student_that_says_what_the_teacher_does_loses_nothing(images: Tensor) -> None:
    student = tiny_teacher()
    supervisor = taught(images, student, predictor=nn.Identity(), map_adapter=nn.Identity()).eval()
    data = lessons(torch.Generator().manual_seed(0))._replace(images=images / 255)
    assert float(supervisor(data).detach()) == pytest.approx(0.0, abs=1e-6)
    noted = {name: float(value) for name, value in supervisor._logged.items()}
    for name in ("similarity", "map_similarity", "agreement", "accuracy"):
        assert noted[name] == pytest.approx(1.0, abs=1e-5), name
    assert noted["guess"] > 0.01


def test_what_is_matched_is_less_the_mean_of_earlier_batches_and_by_their_deviation(
    images: Tensor, generator: torch.Generator
) -> None:
    """PHI-S: a mean of each number, and one deviation for all; of maps over their places too."""
    teacher, mse = tiny_teacher().double(), nn.MSELoss()
    first, second = lessons(generator), lessons(generator)
    with torch.no_grad():
        before, after = teacher(first.images), teacher(second.images)

    def standard(before: Tensor, after: Tensor) -> Tensor:
        own = tuple(place for place in range(before.ndim) if place != 1)
        variance, mean = torch.var_mean(before, own, correction=0, keepdim=True)
        return (after - mean) / variance.mean().sqrt()

    for standardize in (True, False):
        supervisor = taught(images, loss=mse, standardize=standardize).double()
        supervisor.train()(first)
        supervisor.eval()
        with torch.no_grad():
            vectors, places = supervisor._foretell(second.images)
            found = [float(supervisor(second)) for _ in range(2)]  # evaluation notes nothing
        wanted, maps = after.mean(dim=(2, 3)), after
        if standardize:
            wanted, maps = standard(before.mean(dim=(2, 3)), wanted), standard(before, after)
        assert places is not None
        expected = float(mse(vectors, wanted) + mse(places, maps))
        assert found == pytest.approx([expected, expected], rel=1e-5), standardize


@pytest.mark.parametrize(
    ("features", "given", "hidden"), [(6, None, 12), (20, None, 20), (6, 7, 7)]
)
def test_adapters_have_a_hidden_layer_of_the_wider_side_with_layer_norm_and_gelu(
    images: Tensor, features: int, given: int | None, hidden: int
) -> None:
    student = nn.Conv2d(3, features, 4, stride=4)
    supervisor = taught(images, student, hidden_size=given)
    adapter: Any = supervisor.map_adapter
    layers: list[Any] = list(supervisor.get_predictor().children())
    linear, norm, active, last = layers
    assert isinstance(norm, nn.LayerNorm) and isinstance(active, nn.GELU)
    assert (linear.in_features, linear.out_features) == (features, hidden)
    assert (last.in_features, last.out_features) == (hidden, 12)
    # Of a single place both are the same.
    shapes = [tuple(p.squeeze().shape) for p in adapter.parameters()]
    assert shapes == [tuple(p.shape) for p in supervisor.get_predictor().parameters()]
    assert any(isinstance(part, nn.GELU) for part in adapter.modules())


def test_a_predictor_may_take_maps_instead_of_vectors(
    images: Tensor, generator: torch.Generator
) -> None:
    torch.manual_seed(0)
    predictor = nn.Sequential(nn.Conv2d(16, 12, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    predictor[0].wants_map = True  # type: ignore[assignment]
    supervisor = taught(images, predictor=predictor).double().eval()
    data = lessons(generator)
    with torch.no_grad():
        vectors, places = supervisor._foretell(data.images)
        maps = supervisor.get_backbone().layers(data.images)  # type: ignore[operator]
        torch.testing.assert_close(vectors, predictor(maps))
        assert supervisor.map_adapter is not None
        torch.testing.assert_close(places, supervisor.map_adapter(maps))


def test_who_was_loaded_with_another_teacher_s_widths_asks_for_that_one(
    generator: torch.Generator,
) -> None:
    supervisor = DistillationSupervisor(
        None, TinyBackbone(), image_size=32, teacher_features=(5, 7)
    )
    said = (
        "taught 5 numbers an image and 7 a place, and this teacher gives 12 and 12: give teacher="
    )
    with pytest.raises(ValueError, match=said):
        supervisor.double()(lessons(generator))


def test_processes_send_what_was_summed_up_and_what_is_kept(images: Tensor) -> None:
    supervisor = taught(images, pseudo_classes=8)
    sums = (12 + 2) * 4  # bytes: of the numbers, of their squares and how many there were
    assert [each.size for each in supervisor._gathers(3)] == [sums, sums, 3 * 12 * 4]
    plain = taught(images, standardize=False, map_weight=0.0)
    assert plain._gathers(3) == []


def test_maps_of_another_grid_show_the_same(generator: torch.Generator) -> None:
    same = torch.full((2, 3, 7, 5), 4.0)
    for size in ((3, 3), (14, 9), (1, 1)):
        torch.testing.assert_close(resampled(same, size), torch.full((2, 3, *size), 4.0))
    maps = torch.rand(2, 3, 8, 8, generator=generator)
    assert resampled(maps, (8, 8)) is maps
    halves = torch.zeros(1, 1, 8, 8)
    halves[..., 4:] = 1
    small = resampled(halves, (2, 2))
    assert torch.allclose(small[..., 0], 1 - small[..., 1]) and bool((small[..., 0] < 0.15).all())


@pytest.mark.parametrize(
    ("channels", "given", "shown"),
    [
        (5, (3, 2, 1), [3, 2, 1]),
        (5, np.array([3, 2, 1]), [3, 2, 1]),
        (1, None, [0, 0, 0]),
        (3, None, [0, 1, 2]),
        (3, (1, 1, 0), None),
    ],
)
def test_the_teacher_sees_its_channels_at_its_size_as_it_wants_them(
    channels: int, given: Any, shown: list[int] | None, generator: torch.Generator
) -> None:
    images = torch.randint(256, (6, channels, 32, 32), generator=generator, dtype=torch.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    supervisor = taught(
        images,
        teacher=Seen(),
        teacher_channels=given,
        teacher_size=(24, 40),
        teacher_normalize=(mean, std),
        normalize=((0.5,) * channels, (0.25,) * channels),
    )
    data = lessons(generator, channels)
    data = data._replace(images=data.images.float())
    supervisor(data)
    teacher: Any = supervisor.teacher
    (got,) = teacher.network.got[-1:]
    chosen = data.images[:, list(given) if shown is None else shown]
    larger = F.interpolate(chosen, (24, 40), mode="bilinear", antialias=True)
    tensors = [torch.tensor(each)[:, None, None] for each in (mean, std)]
    torch.testing.assert_close(got, (larger - tensors[0]) / tensors[1])
    assert next(supervisor.get_backbone().parameters()).shape[1] == channels


def test_the_teacher_never_learns_and_the_one_that_was_given_stays_as_it_is(
    images: Tensor, tmp_path: Path
) -> None:
    given = TinyBackbone().train()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    supervisor = taught(images, teacher=given)
    supervisor.supervise(lr=0.1, name=tmp_path / "run", **QUIET)
    teacher: Any = supervisor.teacher
    assert given.training and all(p.requires_grad for p in given.parameters())
    assert not teacher.training and not any(part.training for part in teacher.modules())
    assert teacher.network is not given and not any(p.requires_grad for p in teacher.parameters())
    for network in (given, teacher.network):
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name]), name
    stored = torch.load(tmp_path / "run.pt", weights_only=True)
    names = [name for name in stored["model"] if "teacher" in name]
    assert names == ["teacher_digest"]
    assert not {"teacher", "teacher_weights"} & stored["arguments"].keys()
    assert stored["arguments"]["teacher_features"] == {"plain": (16, 16)}
    assert stored["provenance"]["settings"]["teacher"] == "TinyBackbone"
    trained = {id(p) for p in supervisor.get_backbone().parameters()}
    assert trained.isdisjoint(id(p) for p in teacher.parameters())


def test_a_run_goes_on_with_the_same_teacher_only(images: Tensor, tmp_path: Path) -> None:
    taught(images).supervise(name=tmp_path / "run", **QUIET)
    options: dict[str, Any] = {**QUIET, "name": tmp_path / "run", "resume": True, "epochs": 2}
    other = TinyTeacher()
    with pytest.raises(ValueError, match=r"a teacher whose digest is .* has TinyTeacher, whose"):
        taught(images, teacher=other).supervise(**options)
    supervisor = taught(images).supervise(**options)
    assert len(supervisor.history) == 2
    # The weights alone may begin with another teacher, whose digest is then stored.
    new = taught(images, teacher=other)
    new.supervise(**QUIET, name=tmp_path / "run", pretrained=True)
    loaded = DistillationSupervisor(backbone=TinyBackbone()).load(tmp_path / "run")
    assert torch.equal(loaded.teacher_digest, digest_of(other)) and loaded.teacher is None


def test_a_supervisor_with_images_keeps_its_teacher_where_it_is_built_again(
    images: Tensor, tmp_path: Path
) -> None:
    taught(images, hidden_size=7).save(tmp_path / "run")
    other = taught(images)
    before = other.teacher
    other.load(tmp_path / "run")
    assert other.arguments["hidden_size"] == 7 and other.teacher is before
    other.supervise(name=None, **QUIET)


def test_digests_tell_networks_apart() -> None:
    own = tiny_teacher()
    assert torch.equal(digest_of(own), digest_of(tiny_teacher()))
    with torch.no_grad():
        own.layer.weight[3, 0, 0, 0] += 1e-7
    assert not torch.equal(digest_of(own), digest_of(tiny_teacher()))
    assert not torch.equal(digest_of(nn.Linear(1, 1)), digest_of(nn.Conv2d(1, 1, 1)))


@pytest.mark.parametrize(
    "kind", ["checkpoint", "ending", "folder", "export", "supervisor", "module"]
)
def test_who_was_trained_here_can_teach(kind: str, images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = NarrowResNet(3, width=32)
    large = taught(images, network, normalize="imagenet")
    name = tmp_path / "large" / "run" if kind == "folder" else tmp_path / "large"
    large.save(name)
    if kind == "export":
        pytest.importorskip("safetensors")
        large.export_backbone(tmp_path / "backbone.safetensors")
    given: Any = {
        "checkpoint": str(tmp_path / "large"),
        "ending": tmp_path / "large.pt",
        "folder": str(tmp_path / "large"),
        "export": str(tmp_path / "backbone.safetensors"),
        "supervisor": large,
        "module": network,
    }[kind]
    if kind in ("checkpoint", "ending", "folder"):  # whose backbone was a module
        with pytest.raises(ValueError, match="or load it, and give it as teacher= itself"):
            taught(images, teacher=given)
        torch.manual_seed(3)
        large = DistillationSupervisor(
            images, "narrow-resnet", teacher=tiny_teacher(), normalize="imagenet"
        )
        large.save(name)
        network = large.get_backbone()  # type: ignore[assignment]
    wide = torch.randint(256, (6, 3, 48, 48), dtype=torch.uint8)
    more = {"teacher_normalize": "imagenet", "teacher_size": 32} if kind == "module" else {}
    supervisor = taught(wide, teacher=given, **more)
    teacher: Any = supervisor.teacher
    network.eval()
    seen = torch.rand(2, 3, 48, 48)
    expected = pooled_features(network, large.preprocess(resampled(seen, (32, 32))))
    torch.testing.assert_close(teacher(seen)[0], expected, rtol=1e-4, atol=1e-5)
    assert supervisor.arguments["teacher_size"] == (32, 32)


def test_a_network_of_timm_teaches_from_a_file_of_its_weights(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(4)
    published = timm.create_model("test_vit", num_classes=0, img_size=224)
    torch.save(published.state_dict(), tmp_path / "w.pt")
    given: dict[str, Any] = {
        "teacher": "timm/test_vit",
        "teacher_weights": tmp_path / "w.pt",
    }
    with caplog.at_level(logging.WARNING):
        supervisor = taught(images, **given)
    assert supervisor.arguments["teacher_size"] == (224, 224)
    teacher: Any = supervisor.teacher
    seen = torch.rand(1, 3, 32, 32)
    mean, std = (torch.tensor(published.pretrained_cfg[n])[:, None, None] for n in ("mean", "std"))
    larger = resampled(seen, (224, 224))
    expected = published.eval()((larger - mean) / std)
    torch.testing.assert_close(teacher(seen)[0], expected, rtol=1e-3, atol=1e-4)
    assert teacher(seen)[1].shape[1:] == (64, 14, 14)
    own = taught(images, teacher=published, teacher_size=64)  # a module with its configuration
    assert own.teacher is not None and own.teacher.scaling is not None
    with pytest.raises(ValueError, match="teacher_weights= are those of a teacher by name"):
        taught(images, teacher_weights=tmp_path / "w.pt")


@pytest.mark.parametrize(
    "build",
    [
        None,
        "import os\nos.remove('x')",
        "import timm\nnetwork = timm.create_model('test_vit', checkpoint_path='x')",
        "import timm\nnetwork = timm.create_model(open('x'))",
        "from super_selfish.models import NarrowResNet\nnetwork = NarrowResNet(3, 8)",
        "network =",
    ],
)
def test_a_file_runs_no_code(build: str | None, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    supervisor = DistillationSupervisor(None, NarrowResNet(3, 4), image_size=32)
    path = supervisor.export_backbone(tmp_path / "b.safetensors")
    beside = tmp_path / "b.safetensors.json"
    said = json.loads(beside.read_text())
    assert find_teacher(str(path), None, 3, (32, 32)).in_channels == 3
    beside.write_text(json.dumps({**said, "build": build}))
    with pytest.raises(ValueError, match="does not say how to build its network"):
        find_teacher(str(path), None, 3, (32, 32))
    beside.unlink()
    with pytest.raises(FileNotFoundError, match=r"no b\.safetensors\.json beside it"):
        find_teacher(str(path), None, 3, (32, 32))


def test_teachers_that_are_none_are_refused_in_words(images: Tensor, tmp_path: Path) -> None:
    five = torch.zeros(4, 5, 32, 32, dtype=torch.uint8)
    cases: list[tuple[type[Exception], str, Any]] = [
        (ValueError, "the images have 5: say which", lambda: taught(five)),
        (ValueError, "must name 3 channels", lambda: taught(five, teacher_channels=(1, 2))),
        (ValueError, "from 0 to 4, as", lambda: taught(five, teacher_channels=(1, 2, 5))),
        (FileNotFoundError, "no such file", lambda: taught(images, teacher=tmp_path / "no")),
        (ValueError, "unknown backbone", lambda: taught(images, teacher="resnet51")),
        (TypeError, "teacher is a module, a name", lambda: taught(images, teacher=3)),
        (ValueError, "are not finite", lambda: taught(images, teacher=Overflowing())),
        (
            FileNotFoundError,
            "^teacher_weights=",
            lambda: taught(images, teacher="resnet18", teacher_weights=tmp_path / "no.pt"),
        ),
        (ValueError, "cannot teach from", lambda: taught(images, teacher=nn.Conv2d(3, 4, 99))),
        (ValueError, "not both 0", lambda: taught(images, cosine_weight=0, smooth_weight=0)),
        (ValueError, "leaves vectors untaught", lambda: taught(images, feature_weight=0)),
        (ValueError, "adapts maps, and", lambda: taught(images, map_weight=0, map_adapter=Seen())),
        (
            ValueError,
            r"makes \[1, 7, 2, 2\]",
            lambda: taught(images, map_adapter=nn.Conv2d(16, 7, 1)),
        ),
    ]
    for kind, message, build in cases:
        with pytest.raises(kind, match=message):
            build()


def test_who_is_told_of_a_teacher_hears_of_its_own_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_vit", num_classes=0, img_size=(224, 448))
    torch.save(network.state_dict(), tmp_path / "w.pt")
    say_difference.cache_clear()
    with caplog.at_level(logging.WARNING):
        find_teacher("timm/test_vit", tmp_path / "w.pt", 3, (32, 64))
    assert caplog.messages and "; teacher_size=(160, 160) gives that one" in caplog.messages[0]

    def unreachable(*_: Any) -> Teacher:
        raise ConnectionError("no route")

    monkeypatch.setattr(teachers, "_by_name", unreachable)
    with pytest.raises(ConnectionError, match=r"^no route; teacher= takes any other network"):
        default_teacher(3, (32, 32))


def test_without_images_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: Any) -> Teacher:
        raise AssertionError

    monkeypatch.setattr("super_selfish.supervisors.teachers.default_teacher", fetch)
    supervisor = DistillationSupervisor(None, TinyBackbone(), image_size=32)
    assert supervisor.teacher is None
    assert supervisor.arguments["teacher_features"] == (384, 384)
    assert DEFAULT_TEACHER.startswith("timm/vit_small_patch14_dinov2")


def test_the_queue_holds_what_the_teacher_said_and_evaluation_leaves_it_alone(
    images: Tensor, generator: torch.Generator
) -> None:
    supervisor = taught(images, pseudo_classes=6)
    queue: Any = supervisor.queue
    data = lessons(generator)._replace(images=torch.rand(4, 3, 32, 32, generator=generator))
    before = queue.snapshot()
    supervisor.eval()(data)
    assert torch.equal(queue.keys, before)
    supervisor.train()(data)
    vectors = F.normalize(tiny_teacher()(data.images).mean(dim=(2, 3)), dim=1)
    torch.testing.assert_close(queue.keys[:4], vectors)
    assert torch.equal(queue.keys[4:], before[4:]) and not queue.keys.requires_grad


@pytest.mark.parametrize("more", [{"pseudo_classes": 6, "feature_weight": 0.0, "map_weight": 0.0}])
def test_pseudo_classes_teach_alone(images: Tensor, more: dict[str, Any]) -> None:
    supervisor = taught(images, **more)
    assert supervisor.map_adapter is None
    supervisor.supervise(name=None, **QUIET)
    before = supervisor.get_predictor().state_dict()
    assert all(bool(torch.isfinite(value).all()) for value in before.values())


def test_what_gives_vectors_alone_teaches_and_is_taught(images: Tensor) -> None:
    class Vectors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 5)

        def forward(self, images: Tensor) -> Tensor:
            return self.layer(images.mean(dim=(2, 3)))

    for teacher, student in ((Vectors(), TinyBackbone()), (tiny_teacher(), Vectors())):
        supervisor = taught(images, student, teacher=teacher)
        assert supervisor.map_adapter is None
        supervisor.supervise(name=None, **QUIET)
        assert "map_similarity" not in supervisor.history[0]


def test_a_batch_of_one_is_judged_by_nobody(images: Tensor) -> None:
    supervisor = taught(images[:1])
    supervisor.supervise(name=None, **QUIET)
    row = {**supervisor.history[0], "epoch": 9.0}
    assert row["variety"] == row["agreement"] == 1.0 and supervisor._health(row) is None


def test_a_small_network_learns_what_the_teacher_says(images: Tensor) -> None:
    supervisor = taught(images, augmentation=lambda views: views)
    supervisor.supervise(lr=1e-2, epochs=30, batch_size=22, name=None, progress=False)
    first, last = supervisor.history[0], supervisor.history[-1]
    assert last["loss"] < last["guess"] < first["loss"]
    assert last["agreement"] > 0.8 > first["agreement"] + 0.4


def test_a_task_with_a_teacher_of_its_own_must_be_given_again(
    images: Tensor, tmp_path: Path
) -> None:
    tasks = ("rotate", ("distillation", {"teacher": tiny_teacher()}))
    torch.manual_seed(0)
    supervisor = MultiTaskSupervisor(images, TinyBackbone(), tasks=tasks)
    supervisor.supervise(name=tmp_path / "a", **QUIET)
    with pytest.raises(ValueError, match="tasks"):
        MultiTaskSupervisor(backbone=TinyBackbone()).load(tmp_path / "a")
    again = MultiTaskSupervisor(images, TinyBackbone(), tasks=tasks)
    again.supervise(**{**QUIET, "epochs": 2}, name=tmp_path / "a", resume=True)
    other = ("rotate", ("distillation", {"teacher": TinyTeacher()}))
    with pytest.raises(ValueError, match="a teacher whose digest is"):
        MultiTaskSupervisor(images, TinyBackbone(), tasks=other).supervise(
            **{**QUIET, "epochs": 3}, name=tmp_path / "a", resume=True
        )


def test_an_adapter_of_ones_own_has_as_many_outputs_as_the_teacher(images: Tensor) -> None:
    with pytest.raises(ValueError, match="predictor= gives 5 numbers, but the teacher has 12"):
        taught(images, predictor=nn.Linear(16, 5))
    with pytest.raises(ValueError, match=r"makes \[1, 5, 2, 2\] of maps \[1, 16, 2, 2\], but the"):
        taught(images, map_adapter=nn.Conv2d(16, 5, 1))
    taught(images, predictor=nn.Linear(16, 12), map_adapter=nn.Conv2d(16, 12, 1))
