"""Runs on several devices: on the CPU by stand-ins for two helpers of torch, on GPUs for real."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation import Monitor
from super_selfish.models.holders import trained_networks
from super_selfish.models.replicas import Replicas
from super_selfish.supervisors import (
    SUPERVISORS,
    BYOLSupervisor,
    LabelSupervisor,
    MomentumContrastSupervisor,
    RotateNetSupervisor,
    spreading,
)
from super_selfish.supervisors.footprint import OutOfMemoryError
from super_selfish.training import Callback, devices
from super_selfish.training.run import total
from tests.conftest import TinyBackbone
from tests.cpu_replicas import CPU, use_cpu_replicas
from tests.supervisors.test_accumulating import prepared
from tests.supervisors.test_contract import (
    OTHER_ARGUMENTS,
    StopError,
    batch_of,
    build,
    every_algorithm,
    losses,
    stop_before,
)

Backbones = Callable[..., nn.Module]
ON_GPUS = pytest.param(
    "accelerators",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(
            devices.device_count(devices.default_device()) < 2, reason="needs two accelerators"
        ),
    ],
)


@pytest.fixture(params=["cpu", ON_GPUS])
def two_devices(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[torch.device]]:
    """Two devices on which networks can run in parts, and that `supervise()` finds."""
    if request.param == "cpu":
        use_cpu_replicas(monkeypatch, 2)
        yield [CPU, CPU]
        return
    found = devices.devices_from(devices.default_device(), 2)
    monkeypatch.setattr(devices, "device_count", lambda device: 1 if device.type == "cpu" else 2)
    yield found


def tensors(values: Any, device: torch.device) -> Any:
    moved = [value.to(device) if isinstance(value, Tensor) else value for value in values]
    return type(values)(*moved)


def quiet(**settings: Any) -> dict[str, Any]:
    return {"epochs": 2, "batch_size": 6, "name": None, "progress": False, **settings}


# Several tasks are as many algorithms that stand here by themselves.
every_single_task = pytest.mark.parametrize("algorithm", sorted(set(SUPERVISORS) - {"multi_task"}))


@every_single_task
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("number", [2, 3])
def test_loss_gradients_and_state_are_those_of_one_device(
    algorithm: str, others: bool, number: int, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cpu_replicas(monkeypatch)
    images = images[: OTHER_ARGUMENTS["exemplar"]["num_classes"]]  # exemplar takes no more
    one, many = (
        prepared(algorithm, images, **(OTHER_ARGUMENTS[algorithm] if others else {}))
        for _ in range(2)
    )
    many.load_state_dict(one.state_dict())
    collator: Any = one.collate_fn
    data = collator.data
    replicas = Replicas(many, [CPU] * number)
    for step in range(2):  # the second one meets what the first has remembered
        values = []
        for supervisor, forward in ((one, one), (many, replicas)):
            torch.manual_seed(step)
            supervisor.zero_grad()
            loss = total(forward(data))
            loss.backward()
            values.append(loss.detach())
        torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=1e-12)
        for (name, mine), other in zip(one.named_parameters(), many.parameters(), strict=True):
            assert (mine.grad is None) == (other.grad is None), name
            if mine.grad is not None:
                torch.testing.assert_close(mine.grad, other.grad, rtol=1e-10, atol=1e-12)
        assert list(one.state_dict()) == list(many.state_dict())
        torch.testing.assert_close(one.state_dict(), many.state_dict(), rtol=1e-10, atol=1e-12)
    assert replicas.calls >= 2


@every_algorithm
def test_a_run_on_two_devices_goes_on_bit_for_bit(
    algorithm: str,
    images: Tensor,
    tiny_backbone: Backbones,
    two_devices: list[torch.device],
    tmp_path: Path,
) -> None:
    whole = build(algorithm, images, tiny_backbone()).to(two_devices[0].type)
    whole.supervise(**quiet(name=tmp_path / "whole"))
    assert whole.run is not None and whole.run.devices == two_devices
    part = build(algorithm, images, tiny_backbone()).to(two_devices[0].type)
    stop_before(part, 5)
    with pytest.raises(StopError):
        part.supervise(**quiet(name=tmp_path / "part"))
    part = build(algorithm, images, tiny_backbone()).to(two_devices[0].type)
    part.supervise(**quiet(name=tmp_path / "part", resume=True))
    assert losses(part) == losses(whole)
    for (name, mine), other in zip(
        part.state_dict().items(), whole.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, other), name
    for module in whole.modules():
        assert not module.__dict__.keys() & {"forward", "forward_features"}
    again = type(whole)(backbone=tiny_backbone()).load(tmp_path / "whole")
    features = again.get_backbone().eval()(torch.zeros(2, 3, 32, 32))
    alone = whole.cpu().get_backbone().eval()(torch.zeros(2, 3, 32, 32))
    assert torch.equal(features, alone)


@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate": 2},
        {"precision": "bf16"},
        {"channels_last": True},
        {"batch_size": 5},
        {"batch_size": 3},
        {"batch_size": 2},
        {"batch_size": 22},
        {"dataset_on_device": True},
        {"clip_norm": 0.1},
        {"on_nan": "skip"},
        {"compile_augmentation": False, "num_workers": 1},
    ],
    ids=str,
)
def test_settings_work_with_it(
    settings: dict[str, Any], images: Tensor, two_devices: list[torch.device]
) -> None:
    supervisor = BYOLSupervisor(images, backbone=TinyBackbone())
    supervisor.to(two_devices[0].type).supervise(**quiet(**settings))
    assert len(supervisor.history) == 2


def test_with_one_update_of_several_batches_it_is_as_on_one_device(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number in (1, 2):
        use_cpu_replicas(monkeypatch, number)
        supervisor = prepared("rotate", images)
        supervisor.supervise(
            **quiet(accumulate=3, optimizer=torch.optim.SGD, lr=0.5, shuffle=False)
        )
        assert supervisor.run is not None and len(supervisor.run.devices) == number
        found.append(supervisor.state_dict())
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_monitors_and_callbacks_see_networks_as_they_are(
    images: Tensor, two_devices: list[torch.device]
) -> None:
    class Looks(Callback):
        seen = 0

        def on_step(self, supervisor: Any, step: Any) -> None:
            self.seen += 1
            assert not supervisor.model.backbone.__dict__.keys() & {"forward", "forward_features"}
            with torch.no_grad():
                supervisor.model(images[:2].to(supervisor.device) / 255)

    looks = Looks()
    supervisor = RotateNetSupervisor(images, backbone=TinyBackbone()).to(two_devices[0].type)
    monitor = Monitor(images, torch.arange(22) % 2)
    supervisor.supervise(**quiet(callbacks=[looks], monitor=monitor))
    assert looks.seen == 8
    assert math.isfinite(supervisor.history[-1]["knn"])


def test_labels_are_learned_on_two_devices(images: Tensor, two_devices: list[torch.device]) -> None:
    supervisor = LabelSupervisor((images, torch.arange(22) % 3), backbone=TinyBackbone())
    supervisor.to(two_devices[0].type).supervise(**quiet())
    assert supervisor.run is not None and len(supervisor.run.devices) == 2


def test_it_is_said_once_where_a_run_goes(
    images: Tensor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_cpu_replicas(monkeypatch, 2)
    monkeypatch.setattr(spreading, "LONG", 5)
    times = iter([0.01, 0.02, 0.02, 0.02])  # where both take as long, nothing is to be gained
    monkeypatch.setattr(spreading, "seconds_a_step", lambda *_: next(times))
    said = (
        "On 2 devices, cpu and cpu, which share each batch; torchrun --nproc-per-node=2 is faster"
    )
    slower = ", and so is one of them here (10 ms a step instead of 20): devices=1"
    for expected in (said + slower, said):
        supervisor = RotateNetSupervisor(images, backbone=TinyBackbone())
        supervisor.supervise(**quiet(progress=True))
        assert capsys.readouterr().err.splitlines().count(expected) == 1
    supervisor.supervise(**quiet(progress=True, epochs=1))  # four steps are not worth it
    assert said in capsys.readouterr().err.splitlines()
    supervisor.supervise(**quiet(progress=True, devices=1))
    assert "devices" not in capsys.readouterr().err


def test_measuring_which_is_faster_changes_nothing(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for long in (1, 1000):
        use_cpu_replicas(monkeypatch, 2)
        monkeypatch.setattr(spreading, "LONG", long)
        torch.manual_seed(0)
        supervisor = MomentumContrastSupervisor(images, backbone=TinyBackbone(), queue_size=10)
        supervisor.supervise(**quiet())
        found.append(supervisor.state_dict())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


def test_a_run_keeps_its_number_of_devices_unless_told_otherwise(
    images: Tensor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def go_on(visible: int, epochs: int, **settings: Any) -> list[str]:
        use_cpu_replicas(monkeypatch, visible)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            supervisor = RotateNetSupervisor(images, backbone=TinyBackbone())
            supervisor.supervise(
                **quiet(name=tmp_path / "run", resume=True, epochs=epochs, **settings)
            )
        assert supervisor.run is not None
        used.append(len(supervisor.run.devices))
        return [str(each.message) for each in caught if "device" in str(each.message)]

    used: list[int] = []
    assert go_on(1, 1) == []
    assert go_on(3, 2) == []  # more are visible: still one
    assert go_on(3, 3, devices=2) == [
        "this run had 1 device and goes on on 2: batch norm takes its statistics over another "
        "share of a batch from here on"
    ]
    assert go_on(3, 4) == []
    assert len(go_on(1, 5)) == 1  # fewer are visible
    assert used == [1, 1, 2, 2, 1]


def on(kind: str, count: int, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(devices, "device_count", lambda device: count)
    return torch.device(kind)


def test_devices_are_all_or_those_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    where = on("cuda", 4, monkeypatch)
    cuda = [torch.device("cuda", index) for index in range(4)]
    second = torch.device("cuda", 1)
    assert devices.devices_from(where, None) == cuda
    assert devices.devices_from(where, 2) == cuda[:2]
    assert devices.devices_from(second, None) == [cuda[1], cuda[0], *cuda[2:]]
    assert devices.devices_from(second, 1) == [cuda[1]]
    assert devices.devices_from(second, [3, "cuda:1"]) == [cuda[1], cuda[3]]
    assert devices.devices_from(second, [torch.device("cuda", 1)]) == [cuda[1]]
    for given, words in (
        (5, "devices=5, but the networks are on cuda, and 4 can be used"),
        ([0, 4], "'cuda:4' is none of those that the networks can use"),
        (["cpu", 0], "'cpu' is none of those"),
        ([1, 2], r"the networks are on cuda:0: move them to cuda:1, by .to\(\"cuda:1\"\)"),
    ):
        with pytest.raises(ValueError, match=words):
            devices.devices_from(where, given)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (0, ValueError, "devices must be"),
        (True, TypeError, "devices"),
        ("cuda:0", TypeError, r"give \['cuda:0'\]"),
        ([], ValueError, "each once"),
        ([0, 0], ValueError, "each once"),
        ([0.5], TypeError, "devices is how many"),
        (["nowhere"], ValueError, "devices is how many"),
        (2, ValueError, "devices=2, but the networks are on cpu, and the CPU is one device"),
    ],
)
def test_devices_that_make_no_sense_are_refused(
    given: Any, error: Any, words: str, images: Tensor
) -> None:
    supervisor = RotateNetSupervisor(images, backbone=TinyBackbone()).to("cpu")
    with pytest.raises(error, match=words):
        supervisor.supervise(**quiet(devices=given))


def test_a_number_on_the_device_means_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = RotateNetSupervisor(backbone=TinyBackbone(), image_size=32, in_channels=3)
    monkeypatch.setattr(devices, "device_count", lambda device: 3)
    assert len(spreading.devices_for(supervisor.to("cpu"), None, compiles=False)[0]) == 3
    pinned = supervisor.to(torch.device("cpu", 0))
    assert len(spreading.devices_for(pinned, None, compiles=False)[0]) == 1
    assert len(spreading.devices_for(pinned, 2, compiles=False)[0]) == 2


def test_a_process_of_torchrun_has_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = RotateNetSupervisor(backbone=TinyBackbone(), image_size=32, in_channels=3)
    monkeypatch.setattr(devices, "device_count", lambda device: 3)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert len(spreading.devices_for(supervisor, None, compiles=False)[0]) == 1


def own_forward(network: nn.Module) -> nn.Module:
    network.__dict__["forward"] = network.forward
    return network


@pytest.mark.parametrize(
    ("backbone", "settings", "words"),
    [
        (TinyBackbone, {"compile": True}, "compile=True compiles for one device"),
        (lambda: nn.DataParallel(TinyBackbone()), {}, "backbone is a DataParallel already"),
        (lambda: torch.compile(TinyBackbone(), backend="eager"), {}, "compiled, for one device"),
        (lambda: own_forward(TinyBackbone()), {}, "has a forward of this object alone"),
        (
            lambda: nn.utils.spectral_norm(nn.Conv2d(3, 4, 32)),
            {},
            "Conv2d gets its weight from a hook, SpectralNorm, that runs before its copies do",
        ),
    ],
)
def test_what_cannot_run_in_parts_runs_on_one_device_and_says_so(
    backbone: Any,
    settings: dict[str, Any],
    words: str,
    images: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_cpu_replicas(monkeypatch, 2)
    supervisor = RotateNetSupervisor(images, backbone=backbone())
    compiles = settings.get("compile", False)
    found, why = spreading.devices_for(supervisor, None, compiles=compiles)
    assert len(found) == 1
    assert why is not None and why.startswith("On cpu alone, of 2: ") and words in why
    with pytest.raises(ValueError, match=words):
        supervisor.supervise(**quiet(devices=2, **settings))


def test_where_torch_cannot_copy_networks_a_run_stays_on_one_device(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cpu_replicas(monkeypatch, 2)
    supervisor = RotateNetSupervisor(images, backbone=TinyBackbone())
    assert len(spreading.devices_for(supervisor, None, compiles=False)[0]) == 2
    monkeypatch.delattr(torch._C, "_broadcast_coalesced")
    found, why = spreading.devices_for(supervisor, None, compiles=False)
    assert len(found) == 1
    assert why == "On cpu alone, of 2: this torch cannot copy networks from one device to others"


class ByHand(RotateNetSupervisor):
    """Calls layers of a network, and never the network."""

    def _forward(self, data: Any) -> Tensor:
        self._log(accuracy=torch.tensor(0.5))
        backbone: Any = self.get_backbone()
        loss: Tensor = backbone.layers(data.views.flatten(0, 1)).square().mean()
        return loss


def test_a_run_whose_networks_are_not_called_as_a_whole_says_that_it_is_on_one(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cpu_replicas(monkeypatch, 2)
    supervisor = ByHand(images, backbone=TinyBackbone())
    with pytest.warns(UserWarning, match="ByHand calls none of its networks as a whole") as caught:
        supervisor.supervise(**quiet())
    assert len(caught) == 1


class HalfByHand(RotateNetSupervisor):
    """Calls a layer of a network, and never that network."""

    second: nn.Sequential
    by_hand = True

    def _forward(self, data: Any) -> Tensor:
        views = data.views.flatten(0, 1)
        self._log(accuracy=torch.tensor(0.5))
        model: Any = self.model
        loss: Tensor = model.backbone(views).mean()
        if self.by_hand:
            loss = loss + self.second[1](views.flatten(1)).mean()
        return loss


def test_a_network_that_is_not_called_as_one_is_named(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cpu_replicas(monkeypatch, 2)
    supervisor: Any = HalfByHand(images, backbone=TinyBackbone())
    supervisor.second = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    with pytest.warns(UserWarning, match="HalfByHand calls Sequential in other ways") as caught:
        supervisor.supervise(**quiet())
    assert len(caught) == 1
    supervisor.by_hand = False  # a network that is not used is none of our business
    supervisor.supervise(**quiet())


def test_a_lack_of_memory_names_the_device(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cpu_replicas(monkeypatch, 2)

    class Hungry(TinyBackbone):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    supervisor = RotateNetSupervisor(images, backbone=TinyBackbone())
    supervisor.get_backbone().__class__ = Hungry
    other = torch.device("cuda", 3)
    replicas = Replicas.run

    def on_another(self: Replicas, *args: Any) -> Any:
        try:
            return replicas(self, *args)
        except RuntimeError as error:
            error.on_device = other  # type: ignore[attr-defined]
            raise

    monkeypatch.setattr(Replicas, "run", on_another)
    with pytest.raises(OutOfMemoryError, match="not enough memory on cuda:3 for batch_size=6"):
        supervisor.supervise(**quiet())


def test_groups_of_moco_are_enough_where_there_are_enough_devices(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, warns in ((2, True), (4, False)):
        use_cpu_replicas(monkeypatch, number)
        supervisor = MomentumContrastSupervisor(images, backbone=TinyBackbone(), queue_size=10)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            supervisor.supervise(**quiet(batch_size=22, epochs=1))
        assert any("batch norm" in str(each.message) for each in caught) == warns


# What the letters of the table in docs/devices.md mean for these networks and images.
LETTERS = {"C": 3 * 32 * 32, "C_tile": 3 * 16 * 16, "D": 16, "E": 128, "H": 256, "K": 22, "L": 50}
LETTERS |= {"C_crop": 3 * 14 * 14}
LETTERS |= {"M": 8 * 8 * (81 + 50), "P": 24, "R": 4, "tiles": 9, "views": 1}
LETTERS |= {"F": 12, "places": 8 * 8}
LETTERS |= {"N": 1000, "K_dino": 512, "L_seen": 4}
LETTERS |= {"M_motion": 8 * 8, "Q": 8 * 8 * 261, "C_patch": 3 * 12 * 12, "pairs": 4}
TABLE = (Path(__file__).parents[2] / "docs" / "devices.md").read_text(encoding="utf-8")
TRAFFIC = dict(re.findall(r"^\| (\w+) \| `(.+)` \|$", TABLE, re.MULTILINE))


@every_single_task
def test_bytes_that_travel_are_those_of_the_table(
    algorithm: str, images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cpu_replicas(monkeypatch)
    supervisor = build(algorithm, images, tiny_backbone())
    number = 4
    replicas = Replicas(supervisor, [CPU] * number)
    replicas(batch_of(supervisor, images[:8]))
    weights = {
        tensor
        for network in trained_networks(supervisor)
        if not getattr(network, "wants_whole_batch", False)
        for tensor in (*network.parameters(), *network.buffers())
    }
    numbers = eval(TRAFFIC[algorithm], {}, LETTERS)
    copied = (number - 1) * sum(tensor.nbytes for tensor in weights)
    assert replicas.moved - copied == 4 * 8 * (number - 1) / number * numbers
