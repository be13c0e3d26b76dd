"""Averaged weights of a run: what they are, where they lie, and that training never sees them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation import evaluate
from super_selfish.supervisors import (
    BiGanSupervisor,
    BYOLSupervisor,
    MultiTaskSupervisor,
    RotateNetSupervisor,
    Supervisor,
)
from super_selfish.training import EMA, Callback, EarlyStopping, Polyak
from super_selfish.training.checkpoint import checkpoint_path, read_checkpoint
from super_selfish.training.run import UNLIMITED
from tests.conftest import OF_TRANSFORMERS, TinyBackbone
from tests.cpu_replicas import CPU, use_cpu_replicas
from tests.supervisors.test_contract import StopError, build, every_algorithm, stop_before, weights

Backbones = Callable[..., nn.Module]


class Noting(Callback):
    """The backbone's weights as they were before the first step, and after every one."""

    def __init__(self) -> None:
        self.seen: list[list[Tensor]] = []

    def on_start(self, supervisor: Any) -> None:
        self._note(supervisor)

    def on_step(self, supervisor: Any, step: Any) -> None:
        self._note(supervisor)

    def _note(self, supervisor: Any) -> None:
        parameters = supervisor.get_backbone().parameters()
        self.seen.append([parameter.detach().double().clone() for parameter in parameters])


def rotate(images: Any, **more: Any) -> RotateNetSupervisor:
    torch.manual_seed(0)
    return RotateNetSupervisor(images, **{"backbone": TinyBackbone(), **more})


def options(**more: Any) -> dict[str, Any]:
    return {"lr": 0.05, "epochs": 4, "batch_size": 8, "name": None, "progress": False, **more}


def exponential(seen: list[list[Tensor]], decay: float = 0.999) -> list[Tensor]:
    """Method 5.5, in double precision, of weights before the first update and after each."""
    mean = seen[0]
    for t, after in enumerate(seen[1:]):
        d = min(decay, (1 + t) / (10 + t))
        mean = [d * old + (1 - d) * new for old, new in zip(mean, after, strict=True)]
    return mean


def uniform(seen: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(each).mean(0) for each in zip(*seen, strict=True)]


def averaged(supervisor: Supervisor) -> list[Tensor]:
    backbone = supervisor.get_backbone(averaged=True)
    return [parameter.detach().double() for parameter in backbone.parameters()]


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


KINDS: dict[str, Callable[..., Supervisor]] = {
    "one network": rotate,
    "two players": lambda images: BiGanSupervisor(images, TinyBackbone(), latent_channels=3),
    "several tasks": lambda images: MultiTaskSupervisor(
        images, TinyBackbone(), tasks=["rotate", "denoise"]
    ),
    "a momentum encoder": lambda images: BYOLSupervisor(images, TinyBackbone(), embedding_size=8),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_average_is_that_of_the_weights_after_every_update(kind: str, images: Tensor) -> None:
    torch.manual_seed(0)
    supervisor, noting = KINDS[kind](images), Noting()
    supervisor.supervise(**options(averaging="ema", lr=1e-3, epochs=2, callbacks=noting))
    close(averaged(supervisor), exponential(noting.seen))
    assert supervisor.averaged is not None
    assert supervisor.averaged.updates == len(noting.seen) - 1
    plain = [parameter.double() for parameter in supervisor.get_backbone().parameters()]
    assert not torch.allclose(averaged(supervisor)[0], plain[0], atol=1e-4)


def test_training_never_sees_the_average(images: Tensor) -> None:
    runs = []
    for averaging in (None, "ema", "polyak"):
        supervisor = rotate(images)
        supervisor.supervise(**options(averaging=averaging))
        runs.append(supervisor)
    plain, *others = runs
    for other in others:
        assert torch.equal(weights(plain), weights(other))
        assert [r["loss"] for r in plain.history] == [r["loss"] for r in other.history]
        assert {n for n, _ in plain.named_modules()} == {n for n, _ in other.named_modules()}
    with pytest.raises(ValueError, match=r'has no averaged weights: supervise\(averaging="ema"\)'):
        plain.get_backbone(averaged=True)


def test_batches_of_one_update_are_averaged_once(images: Tensor) -> None:
    supervisor, noting = rotate(images), Noting()
    supervisor.supervise(**options(batch_size=4, accumulate=4, averaging="ema", callbacks=noting))
    # Six batches an epoch: updates after the fourth and the sixth.
    after = [noting.seen[6 * epoch + step] for epoch in range(4) for step in (4, 6)]
    close(averaged(supervisor), exponential([noting.seen[0], *after]))


def test_the_uniform_mean_is_of_the_last_quarter(images: Tensor) -> None:
    supervisor, noting = rotate(images), Noting()
    supervisor.supervise(**options(averaging="polyak", callbacks=noting))  # 12 updates
    close(averaged(supervisor), uniform(noting.seen[-3:]))
    supervisor, noting = rotate(images), Noting()
    more = {"batch_size": 4, "accumulate": 4, "averaging": Polyak(0.5)}
    supervisor.supervise(**options(**more, callbacks=noting))
    after = [noting.seen[6 * epoch + step] for epoch in range(4) for step in (4, 6)]
    close(averaged(supervisor), uniform(after[-4:]))


class Ones(nn.Module):
    """A convolution whose outputs batch norm sees; its statistics can be told by hand."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 4, stride=4)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.layer(images)).relu().mean(dim=(2, 3))


def test_batch_norm_gets_its_statistics_by_a_pass_with_the_uniform_mean(images: Tensor) -> None:
    torch.manual_seed(0)
    supervisor = RotateNetSupervisor(images, Ones(), crop=False, normalize=None)
    supervisor.supervise(**options(averaging="polyak", epochs=2))
    assert supervisor.averaged is not None and supervisor.averaged.has_statistics
    network: Any = supervisor.get_backbone(averaged=True)
    # The same views once more, in a run that moves nothing: the mean over batches of their moments.
    with supervisor.averaged.lent():
        backbone: Any = supervisor.get_backbone()
        former = backbone.norm.running_mean.clone()
        again = RotateNetSupervisor(images, backbone, crop=False)
        again.epochs_seen = 2
        seen: list[Tensor] = []
        handle = backbone.layer.register_forward_hook(lambda _, __, out: seen.append(out.double()))
        again.supervise(**options(lr=0.0, epochs=1))
        handle.remove()
    assert len(seen) == 3
    mean = torch.stack([out.mean(dim=(0, 2, 3)) for out in seen]).mean(0)
    variance = torch.stack([out.var(dim=(0, 2, 3)) for out in seen]).mean(0)
    torch.testing.assert_close(network.norm.running_mean.double(), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.norm.running_var.double(), variance, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(network.norm.running_mean, former, atol=1e-3)


class BeforeThePass(Callback):
    """Everything that a checkpoint holds of the networks, as the last epoch leaves it."""

    def on_epoch(self, supervisor: Any, row: Any) -> None:
        self.left = weights(supervisor)


@every_algorithm
def test_every_algorithm_passes_over_its_images_and_stays_as_it_is(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor, before = build(algorithm, images[:16], tiny_backbone()), BeforeThePass()
    supervisor.supervise(**options(epochs=1, lr=1e-3, averaging="polyak", callbacks=before))
    assert torch.equal(weights(supervisor), before.left)
    assert supervisor.averaged is not None and supervisor.averaged.has_statistics
    plain, mean = supervisor.get_backbone(), supervisor.get_backbone(averaged=True)
    pairs = list(zip(plain.named_buffers(), mean.buffers(), strict=True))
    statistics = [(own, its) for (name, own), its in pairs if "running_mean" in name]
    assert bool(statistics) == (algorithm not in OF_TRANSFORMERS)  # which have no batch norm
    assert not any(torch.equal(own, its) for own, its in statistics)


@pytest.mark.parametrize("averaging", ["ema", Polyak(0.8)])
def test_a_run_that_goes_on_has_the_average_of_one_that_never_stopped(
    averaging: Any, images: Tensor, tmp_path: Path
) -> None:
    whole = rotate(images)
    whole.supervise(**options(averaging=averaging, epochs=2))
    settings = options(averaging=averaging, epochs=2, name=tmp_path / "base", checkpoint_every=4)
    stopped = rotate(images)
    stop_before(stopped, 5)
    with pytest.raises(StopError):
        stopped.supervise(**settings)
    resumed = rotate(images)
    resumed.supervise(**settings, resume=True)
    assert same(resumed.get_backbone(averaged=True), whole.get_backbone(averaged=True))
    loaded = RotateNetSupervisor(backbone=TinyBackbone()).load(tmp_path / "base")
    assert same(loaded.get_backbone(averaged=True), whole.get_backbone(averaged=True))
    assert same(loaded.get_backbone(), whole.get_backbone())
    loaded.save(tmp_path / "again")
    again = RotateNetSupervisor(backbone=TinyBackbone()).load(tmp_path / "again")
    assert same(again.get_backbone(averaged=True), whole.get_backbone(averaged=True))


def test_the_pass_that_a_run_was_killed_in_is_made_up_for(images: Tensor, tmp_path: Path) -> None:
    settings = options(averaging="polyak", name=tmp_path / "base", epochs=2)
    whole = rotate(images)
    whole.supervise(**{**settings, "name": None})
    killed = rotate(images)
    stop_before(killed, 6)  # of 6: the pass
    with pytest.raises(StopError):
        killed.supervise(**settings)
    assert not read_checkpoint(checkpoint_path(tmp_path / "base"))["averaged"]["has_statistics"]
    resumed = rotate(images)
    resumed.supervise(**settings, resume=True)
    assert same(resumed.get_backbone(averaged=True), whole.get_backbone(averaged=True))


def test_a_run_without_an_average_has_no_trace_of_it(images: Tensor, tmp_path: Path) -> None:
    supervisor = rotate(images)
    supervisor.supervise(**options(name=tmp_path / "base", epochs=1))
    stored = read_checkpoint(checkpoint_path(tmp_path / "base"))
    assert "averaged" not in stored
    assert "averaging" not in stored["provenance"]["settings"]


def test_a_run_that_goes_on_with_another_average_says_so(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = tmp_path / "base"
    rotate(images).supervise(**options(averaging="ema", name=name, epochs=1))
    resumed, noting = rotate(images), Noting()
    more = {"name": name, "epochs": 2, "resume": True, "callbacks": noting}
    resumed.supervise(**options(averaging=EMA(0.9), **more))
    assert any(
        "has averaging=EMA(decay=0.999), this call has averaging=EMA(decay=0.9), which begins here"
        in message
        for message in caplog.messages
    )
    close(averaged(resumed), exponential(noting.seen, 0.9))
    caplog.clear()
    without = rotate(images)
    without.supervise(**options(**{**more, "epochs": 3}))
    assert any("this call has no average" in message for message in caplog.messages)
    assert without.averaged is None
    caplog.clear()
    late = rotate(images)
    late.supervise(**options(averaging="ema", **{**more, "epochs": 4}))
    assert any("has no average; averaging=EMA" in message for message in caplog.messages)


class Stopping(Callback):
    def __init__(self, after: int) -> None:
        self.after = after

    def on_epoch(self, supervisor: Any, row: Any) -> None:
        if row["epoch"] == self.after:
            supervisor.run.stop("a test")


def test_an_average_of_the_end_is_not_there_before_it(images: Tensor, tmp_path: Path) -> None:
    for stop_after, is_there in ((2, False), (3, True)):
        supervisor = rotate(images)
        settings = options(
            averaging=Polyak(0.5), callbacks=Stopping(stop_after), name=tmp_path / "base"
        )
        supervisor.supervise(**settings, overwrite=True)
        assert ("averaged" in read_checkpoint(checkpoint_path(tmp_path / "base"))) is is_there
        if is_there:
            assert supervisor.averaged is not None and supervisor.averaged.has_statistics
        else:
            with pytest.raises(ValueError, match="have not begun: Polyak"):
                supervisor.get_backbone(averaged=True)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_update_that_is_left_out_is_not_averaged(precision: str, images: Tensor) -> None:
    class Faulty(RotateNetSupervisor):
        def _forward(self, data: Any) -> Any:
            assert self.run is not None
            loss = super()._forward(data)
            return loss * float("nan") if self.run.global_step in (1, 4) else loss

    torch.manual_seed(0)
    supervisor, noting = Faulty(images, TinyBackbone()), Noting()
    more = {"on_nan": "skip", "precision": precision, "callbacks": noting}
    supervisor.supervise(**options(averaging="ema", **more))
    seen = noting.seen
    moved = [after for before, after in pairwise(seen) if _differ(before, after)]
    assert len(moved) <= 10
    close(averaged(supervisor), exponential([seen[0], *moved]))
    assert supervisor.averaged is not None and supervisor.averaged.updates == len(moved)


def test_in_half_precision_an_overflow_is_not_averaged(images: Tensor) -> None:
    supervisor, noting = rotate(images), Noting()
    supervisor.supervise(**options(averaging="ema", precision="fp16", callbacks=noting, epochs=2))
    assert supervisor.run is not None
    if not supervisor.run.scaler.is_enabled():
        pytest.skip("gradients are not scaled here")
    seen = noting.seen
    moved = [after for before, after in pairwise(seen) if _differ(before, after)]
    close(averaged(supervisor), exponential([seen[0], *moved]))


def _differ(before: list[Tensor], after: list[Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_several_devices_have_the_average_of_one_run(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cpu_replicas(monkeypatch, 2)
    supervisor, noting = rotate(images), Noting()
    supervisor.supervise(**options(averaging="polyak", callbacks=noting))
    assert supervisor.run is not None and supervisor.run.devices == [CPU, CPU]
    close(averaged(supervisor), uniform(noting.seen[-3:]))
    assert supervisor.averaged is not None and supervisor.averaged.has_statistics


def test_the_averaged_weights_are_rated_and_exported(images: Tensor, tmp_path: Path) -> None:
    supervisor = rotate(images)
    supervisor.supervise(**options(averaging="ema", name=tmp_path / "base"))
    labelled = (images, [0, 1] * 11)
    found = evaluate(supervisor, labelled, labelled, protocols=("knn",), progress=False)
    assert list(found.scores) == ["pretrained", "averaged", "untrained"]
    alone = evaluate(
        supervisor.get_backbone(averaged=True),
        labelled,
        labelled,
        protocols=("knn",),
        untrained=None,
    )
    assert found.averaged == alone.pretrained == found.as_dict()["averaged"]
    assert found.others == {} and "\naveraged " in str(found)
    with pytest.raises(ValueError, match=r"names of their own, got \['averaged'\]"):
        evaluate(supervisor, labelled, labelled, others={"averaged": TinyBackbone()})
    plain = rotate(images)
    plain.supervise(**options(epochs=1))
    without = evaluate(plain, labelled, labelled, protocols=("knn",), progress=False)
    assert without.averaged is None and "averaged" not in without.as_dict()
    path = supervisor.export_backbone(tmp_path / "backbone.pt", "state_dict", averaged=True)
    exported = torch.load(path, weights_only=True)
    expected = supervisor.get_backbone(averaged=True).state_dict()
    assert all(torch.equal(exported[name], tensor) for name, tensor in expected.items())
    with pytest.raises(ValueError, match="no averaged weights"):
        plain.export_backbone(tmp_path / "plain.pt", "state_dict", averaged=True)


def test_the_early_end_of_a_run_ends_the_average_too(images: Tensor) -> None:
    supervisor = rotate(images)
    stopping = EarlyStopping("loss", patience=1, min_delta=100.0)
    supervisor.supervise(**options(averaging=Polyak(1.0), callbacks=stopping))
    assert len(supervisor.history) < 4
    assert supervisor.averaged is not None and supervisor.averaged.has_statistics


def test_what_cannot_be_averaged_is_refused_before_the_first_step(images: Tensor) -> None:
    with pytest.raises(ValueError, match='give epochs=, or averaging="ema"'):
        rotate(images).supervise(**options(averaging="polyak", epochs=UNLIMITED, time_limit="1s"))
    bare = Supervisor(nn.Conv2d(3, 2, 32), images, nn.MSELoss(), lambda samples: samples)
    with pytest.raises(ValueError, match="the model of this Supervisor has none"):
        bare.supervise(**options(averaging="ema"))
    supervisor = rotate(images)
    supervisor.supervise(**options(averaging="ema", epochs=1))
    supervisor.get_backbone().layers.append(nn.BatchNorm2d(16))  # type: ignore[union-attr,operator]
    with pytest.raises(ValueError, match="layers of the backbone were exchanged or added"):
        supervisor.get_backbone(averaged=True)
