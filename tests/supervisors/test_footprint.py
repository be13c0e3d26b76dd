"""The estimate of memory: what it says, and that nothing stays of it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from super_selfish.supervisors import SUPERVISORS, RotateNetSupervisor, footprint
from super_selfish.supervisors.footprint import (
    FRAMEWORK,
    SCRATCH,
    Footprint,
    Line,
    MemoryWarning,
    OutOfMemoryError,
    measure,
)

Backbones = Callable[..., nn.Module]
GB = 10**9


def streams() -> list[Any]:
    """Where the random streams of Python, NumPy and torch stand."""
    numpy: Any = np.random.get_state()  # noqa: NPY002
    return [random.getstate(), numpy[1].tolist(), torch.get_rng_state().tolist()]


@pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))
def test_nothing_stays_of_a_measurement_and_it_grows_in_a_line(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = SUPERVISORS[algorithm](images, tiny_backbone(), device="cpu")
    supervisor.eval()
    before = {name: value.clone() for name, value in supervisor.state_dict().items()}
    at = streams()
    found = measure(supervisor, "fp32")
    assert found is not None and found.peak.per_image > 0
    assert streams() == at
    after = supervisor.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(module.training for module in supervisor.modules())
    assert all(parameter.grad is None for parameter in supervisor.parameters())
    assert supervisor._logged == {}

    collator: Any = supervisor.collate_fn
    with footprint.untouched(supervisor):
        _, large = footprint._peak(supervisor, collator, 16, "fp32")
    weights = sum(p.nbytes for p in supervisor.parameters() if p.requires_grad)
    told = (found.of(16) - FRAMEWORK - 2 * weights) / SCRATCH
    # Of two images gradients may be the most, and hide some of what grows with images.
    assert 0.85 * large <= told <= 1.1 * large + weights


@pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))
def test_a_run_is_the_same_with_a_measurement_and_without(
    algorithm: str, images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Any] = []

    def measured_once(*args: Any) -> Footprint | None:
        measured.append(measure(*args))
        found: Footprint | None = measured[-1]
        return found

    runs = []
    for is_measured in (True, False):
        monkeypatch.setattr(footprint, "surely_fits", lambda *_, fits=not is_measured: fits)
        monkeypatch.setattr(footprint, "measure", measured_once)
        torch.manual_seed(0)
        supervisor = SUPERVISORS[algorithm](images, tiny_backbone(), device="cpu")
        runs.append(supervisor.supervise(epochs=1, batch_size=11, name=None, progress=False))
    assert len(measured) == 1 and measured[0] is not None
    first, second = runs
    assert first.history[0]["loss"] == second.history[0]["loss"]
    stored = second.state_dict()
    assert all(torch.equal(value, stored[name]) for name, value in first.state_dict().items())


@pytest.fixture
def three_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 100 MB, and 100 MB an image; 3.2 GB are free."""
    monkeypatch.setattr(footprint, "free_memory", lambda device: 32 * GB // 10)
    monkeypatch.setattr(footprint, "surely_fits", lambda *_: False)
    monkeypatch.setattr(footprint, "measure", lambda *_: Footprint(*2 * [Line(GB / 10, GB / 10)]))


def rotate(images: Tensor, backbone: nn.Module) -> RotateNetSupervisor:
    many = images.repeat(4, 1, 1, 1)  # 88
    return RotateNetSupervisor(many, backbone, device="cpu")


@pytest.mark.usefixtures("three_gigabytes")
def test_a_batch_that_is_too_large_is_told_of_one_that_fits(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = rotate(images, tiny_backbone())
    with pytest.warns(MemoryWarning) as caught:
        supervisor.supervise(epochs=1, batch_size=64, accumulate=2, name=None, progress=False)
    assert [str(warning.message) for warning in caught] == [
        "batch_size=64 needs about 6.5 GB of memory, and 3.2 GB are free: batch_size=16 with "
        "accumulate=8 (as many images an update) needs about 1.7 GB"
    ]
    assert caught[0].filename == __file__


@pytest.mark.usefixtures("three_gigabytes")
def test_a_batch_that_fits_is_told_what_it_takes(
    images: Tensor, tiny_backbone: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    rotate(images, tiny_backbone()).supervise(epochs=1, batch_size=16, name=None)
    told = "batch_size=16 needs about 1.7 GB of memory, and 3.2 GB are free\n"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("free", "is_told"), [(6.7, True), (6.9, False)])
@pytest.mark.usefixtures("three_gigabytes")
def test_what_takes_less_than_a_quarter_of_what_is_free_is_not_worth_a_line(
    free: float,
    is_told: bool,
    images: Tensor,
    tiny_backbone: Backbones,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(footprint, "free_memory", lambda device: int(free * GB))
    rotate(images, tiny_backbone()).supervise(epochs=1, batch_size=16, name=None)
    assert ("needs about 1.7 GB" in capsys.readouterr().err) == is_told


@pytest.mark.parametrize(("free", "fits"), [(1.91, True), (1.87, False)])
@pytest.mark.usefixtures("three_gigabytes")
def test_nine_tenths_of_what_is_free_may_be_taken(
    free: float, fits: bool, images: Tensor, tiny_backbone: Backbones, monkeypatch: Any
) -> None:
    monkeypatch.setattr(footprint, "free_memory", lambda device: int(free * GB))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rotate(images, tiny_backbone()).supervise(epochs=1, batch_size=16, name=None)
    assert (not any(each.category is MemoryWarning for each in caught)) == fits


@pytest.mark.parametrize(("count", "batch_size"), [(255, 128), (256, 256), (600, 256)])
def test_auto_takes_no_more_than_256_images(
    count: int, batch_size: int, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "free_memory", lambda device: None)
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    supervisor = RotateNetSupervisor(images, tiny_backbone(), device="cpu")
    assert footprint.fitting_batch(supervisor, "fp32") == batch_size


@pytest.mark.usefixtures("three_gigabytes")
def test_auto_takes_the_largest_power_of_two_that_leaves_room(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, settings = tmp_path / "run", {"batch_size": "auto", "progress": False}
    supervisor = rotate(images, tiny_backbone())
    supervisor.supervise(epochs=1, name=name, **settings)  # type: ignore[arg-type]
    assert supervisor.run is not None and supervisor.run.batch_size == 16  # 1.7 GB of 2.24
    assert len(supervisor.history) == 1 and supervisor.run.steps_per_epoch == 6
    monkeypatch.setattr(footprint, "free_memory", lambda device: 100 * GB)
    supervisor.supervise(epochs=2, name=name, resume=True, **settings)  # type: ignore[arg-type]
    assert supervisor.run.batch_size == 16  # as the run that goes on
    supervisor.supervise(epochs=1, name=None, **settings)  # type: ignore[arg-type]
    assert supervisor.run.batch_size == 64  # of 88 images
    assert supervisor.run.remarks[0] == 'batch_size="auto" took 64 images a step'
    monkeypatch.setattr(footprint, "free_memory", lambda device: GB // 4)
    with pytest.raises(OutOfMemoryError) as caught:
        supervisor.supervise(epochs=1, name=None, **settings)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "two images need about 300 MB of memory, and 250 MB are free: give a smaller image_size or "
        "backbone"
    )


@pytest.mark.parametrize(("images_that_fit", "batch_size"), [(2, 2), (3, 2), (4, 4)])
def test_two_images_are_a_batch(
    images_that_fit: int,
    batch_size: int,
    images: Tensor,
    tiny_backbone: Backbones,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(footprint, "surely_fits", lambda *_: False)
    monkeypatch.setattr(footprint, "measure", lambda *_: Footprint(*2 * [Line(GB, GB)]))
    free = (1.1 + images_that_fit) * GB / 0.7
    monkeypatch.setattr(footprint, "free_memory", lambda device: int(free))
    supervisor = rotate(images, tiny_backbone())
    assert footprint.fitting_batch(supervisor, "fp32") == batch_size
    with pytest.warns(MemoryWarning, match=rf"free: batch_size={batch_size} with accumulate="):
        supervisor.supervise(epochs=1, batch_size=32, name=None, progress=False)


@pytest.mark.parametrize(
    ("later", "is_known"), [((5, 12), False), ((6, 10), False), ((6, 12), True)]
)
def test_a_step_that_takes_no_more_for_more_images_says_nothing(
    later: tuple[int, int],
    is_known: bool,
    images: Tensor,
    tiny_backbone: Backbones,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peaks = {2: (5, 10), 4: later}  # what is kept, and the most, by the images
    monkeypatch.setattr(footprint, "_peak", lambda _, __, number, ___: peaks[number])
    supervisor = RotateNetSupervisor(images, tiny_backbone(), device="cpu")
    assert (measure(supervisor, "fp32") is not None) == is_known


def test_two_small_batches_tell_the_rest_by_a_line(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Kept are 750 an image; in all they take 2000, and without one no less than 0.
    peaks = {2: (1000, 2000), 4: (2500, 6000)}
    monkeypatch.setattr(footprint, "_peak", lambda _, __, number, ___: peaks[number])
    supervisor = RotateNetSupervisor(images, tiny_backbone(), device="cpu")
    weights = sum(p.nbytes for p in supervisor.parameters() if p.requires_grad)
    found = measure(supervisor, "fp32")
    assert found is not None
    besides = 75_000_000 + 2 * weights  # two moments of Adam's
    assert found.peak == pytest.approx((besides, 1.2 * 2000))
    assert found.kept == pytest.approx((besides + weights, 1.2 * 750))
    peaks[2] = (2000, 2000)
    found = measure(supervisor, "fp32")
    assert found is not None
    assert found.kept == pytest.approx((besides + weights + 1.2 * 1500, 1.2 * 250))


def test_where_the_networks_alone_are_too_large_nothing_fits() -> None:
    room = Footprint(Line(10.0, 2.0), Line(4.0, 3.0))
    fitting = [room.fitting(free) for free in (3.0, 10.0, 11.9, 12.0, 20.0, 100.0)]
    assert fitting == [0, 0, 0, 1, 5, 32]


def test_small_batches_are_not_measured(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Footprint:
        raise AssertionError

    monkeypatch.setattr(footprint, "measure", never)
    monkeypatch.setattr(footprint, "free_memory", lambda device: 8 * GB)
    rotate(images, tiny_backbone()).supervise(epochs=1, name=None, progress=False)


class Greedy(RotateNetSupervisor):
    """Wants an exabyte in its second step."""

    steps = 0

    def _forward(self, data: Any) -> Tensor:
        self.steps += 1
        if self.steps == 2:
            torch.empty(2**60, dtype=torch.uint8)
        return super()._forward(data)


def test_a_step_without_room_says_which_batch_to_try(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = Greedy(images, tiny_backbone(), device="cpu")
    with pytest.raises(OutOfMemoryError) as caught:
        supervisor.supervise(
            epochs=1, batch_size=8, accumulate=3, name=tmp_path / "run", progress=False
        )
    assert str(caught.value).startswith(
        "there is not enough memory on cpu for batch_size=8: try batch_size=4 with accumulate=6 "
        '(as many images an update), or batch_size="auto". torch said: '
    )
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_other_errors_pass(images: Tensor, tiny_backbone: Backbones) -> None:
    class Broken(RotateNetSupervisor):
        def _forward(self, data: Any) -> Tensor:
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match=r"^something else$"):
        Broken(images, tiny_backbone()).supervise(epochs=1, name=None, progress=False)


@pytest.mark.parametrize("said", ["two images are too few", "not enough memory: you tried to"])
def test_a_step_that_small_batches_do_not_suit_is_not_measured_and_lack_of_memory_is_told(
    images: Tensor, tiny_backbone: Backbones, said: str
) -> None:
    class Refusing(RotateNetSupervisor):
        def _forward(self, data: Any) -> Tensor:
            raise RuntimeError(said)

    supervisor = Refusing(images, tiny_backbone(), device="cpu")
    if "memory" in said:
        with pytest.raises(RuntimeError, match=said):
            measure(supervisor, "fp32")
    else:
        assert measure(supervisor, "fp32") is None


@pytest.mark.parametrize(("count", "is_measured"), [(2, False), (3, False), (4, True)])
def test_fewer_images_than_the_larger_of_two_small_batches_are_not_measured(
    count: int, is_measured: bool, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = RotateNetSupervisor(images[:count], tiny_backbone(), device="cpu")
    assert (measure(supervisor, "fp32") is not None) == is_measured


def test_only_a_collator_is_asked_for_small_batches(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone(), device="cpu")
    supervisor.collate_fn = lambda items: items
    assert measure(supervisor, "fp32") is None
    without = RotateNetSupervisor(None, tiny_backbone(), image_size=32, in_channels=3)
    assert measure(without, "fp32") is None


def test_nothing_is_measured_where_half_of_what_is_free_is_surely_enough(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16))
    supervisor = RotateNetSupervisor(images, network, image_size=32, device="cpu")
    weights = sum(parameter.nbytes for parameter in supervisor.parameters())
    needed = 4000 * 8 * 4 * 3 * 32 * 32 + 4 * weights
    assert footprint.surely_fits(supervisor, 8, 2 * needed + 2)
    assert not footprint.surely_fits(supervisor, 8, 2 * needed)


@pytest.mark.usefixtures("three_gigabytes")
def test_each_of_several_processes_takes_its_part_of_the_images(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = rotate(images, tiny_backbone())
    monkeypatch.setattr(footprint, "free_memory", lambda device: None)
    assert footprint.fitting_batch(supervisor, "fp32") == 64  # of 88 images
    monkeypatch.setattr(footprint.distributed, "world_size", lambda: 4)
    assert footprint.fitting_batch(supervisor, "fp32") == 16
    monkeypatch.setattr(footprint.distributed, "world_size", lambda: 100)
    assert footprint.fitting_batch(supervisor, "fp32") == 1
    monkeypatch.setattr(footprint, "free_memory", lambda device: GB)
    monkeypatch.setattr(footprint, "measure", lambda *_: None)
    with pytest.raises(ValueError, match=r"needs a Collator and a step .*: give a number"):
        footprint.fitting_batch(supervisor, "fp32")


@pytest.mark.parametrize("averaging", [None, "ema"])
def test_averaged_weights_are_part_of_what_a_run_needs(
    averaging: str | None,
    images: Tensor,
    tiny_backbone: Backbones,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Footprint] = []

    def noted(*args: Any) -> Footprint | None:
        found = measure(*args)
        assert found is not None
        asked.append(found)
        return found

    monkeypatch.setattr(footprint, "surely_fits", lambda *_: False)
    monkeypatch.setattr(footprint, "measure", noted)
    supervisor = rotate(images, tiny_backbone())
    plain = measure(supervisor, "fp32")
    assert plain is not None
    settings: dict[str, Any] = {"batch_size": "auto", "averaging": averaging, "progress": False}
    supervisor.supervise(epochs=1, name=None, **settings)
    state = supervisor.get_backbone().state_dict().values()
    more = sum(tensor.nbytes for tensor in state) if averaging else 0
    assert [found.peak.fixed - plain.peak.fixed for found in asked] == pytest.approx([more, more])
