from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation import evaluate
from super_selfish.evaluation.baselines import start_network, twin_of, untrained_network
from super_selfish.evaluation.intervals import Interval
from super_selfish.evaluation.norm_statistics import ADAPTED
from super_selfish.evaluation.verdicts import bounded, least_difference, verdicts
from super_selfish.models import CombinedNet
from super_selfish.models.beginnings import looks_trained, weights_of
from super_selfish.supervisors import LabelSupervisor, RotateNetSupervisor
from super_selfish.supervisors.start import Start

Backbones = Callable[..., nn.Module]


def equal(network: nn.Module, weights: dict[str, Tensor]) -> bool:
    state = network.state_dict()
    return all(torch.equal(state[name], weights[name]) for name in state)


def trained(images: Tensor, backbone: nn.Module | str, **settings: object) -> RotateNetSupervisor:
    supervisor = RotateNetSupervisor(images, backbone=backbone)
    options = {"epochs": 1, "batch_size": 11, "lr": 1e-2, "name": None, "progress": False}
    supervisor.supervise(**{**options, **settings})  # type: ignore[arg-type]
    return supervisor


def start_of(supervisor: RotateNetSupervisor | LabelSupervisor) -> Start:
    assert supervisor.start is not None
    return supervisor.start


def test_untrained_are_the_first_weights_of_a_new_network(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    backbone = tiny_backbone()
    first = weights_of(backbone)
    supervisor = trained(images, backbone)
    assert supervisor.start is None
    assert not equal(backbone, first)
    for seed in (0, 5):
        found = untrained_network("twin", backbone, seed)
        assert found is not None
        assert equal(found.network, first)
        assert found.note == "the weights of the backbone before training"
    assert start_network("auto", supervisor, backbone) is None


def test_a_network_that_has_learned_is_the_start_and_no_baseline(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    backbone = tiny_backbone()
    trained(images, backbone)
    given = type(backbone)()
    given.load_state_dict(backbone.state_dict())  # of which nobody knows anything
    before = weights_of(given)
    supervisor = trained(images, given)
    assert equal_weights(start_of(supervisor).weights, before)
    labels = torch.arange(22) % 2
    found = evaluate(supervisor, (images, labels), (images, labels), protocols=["knn"])
    assert list(found.scores) == ["pretrained", "start", "untrained"]
    assert found.notes == {
        "start": "the network as it was given",
        "untrained": f"a new TinyBackbone, seed 0, {ADAPTED}",
    }
    untrained = untrained_network("twin", given, 0)
    assert untrained is not None
    assert not looks_trained(untrained.network)
    lines = str(found).splitlines()
    rows = [line.partition("  ")[0] for line in lines[1:6]]
    assert rows == ["pretrained", "start", "untrained", "difference", "since start"]
    assert "start: the network as it was given" in lines
    assert found.since_start == {
        "knn": found.pretrained["knn"] - found.scores["start"]["knn"].value
    }
    assert found.as_dict()["start"] == found.start


def equal_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_a_checkpoint_that_is_loaded_to_train_on_is_the_start_in_every_later_process(
    images: Tensor, tmp_path: Path
) -> None:
    name = str(tmp_path / "base")
    first = trained(images, "narrow-resnet", name=name)
    assert first.start is None
    weights = weights_of(first.get_backbone())
    second = trained(images, "narrow-resnet", name=name, pretrained=True)
    assert equal_weights(start_of(second).weights, weights)
    assert start_of(second).origin == f"the checkpoint {name}"
    later = RotateNetSupervisor().load(name)  # rebuilt by name
    assert equal_weights(start_of(later).weights, weights)
    found = start_network("auto", later, later.get_backbone())
    assert found is not None
    assert equal(found.network, weights)
    untrained = untrained_network("twin", later.get_backbone(), 0)
    assert untrained is not None
    assert not looks_trained(untrained.network)


def test_a_resumed_run_keeps_its_start(
    images: Tensor, tmp_path: Path, tiny_backbone: Backbones
) -> None:
    name = str(tmp_path / "base")
    backbone = tiny_backbone()
    trained(images, backbone)
    weights = weights_of(backbone)
    trained(images, backbone, name=name)
    resumed = trained(images, backbone, name=name, epochs=2, resume=True)
    assert equal_weights(start_of(resumed).weights, weights)


def test_a_second_run_of_one_object_begins_from_the_first(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = trained(images, tiny_backbone())
    weights = weights_of(supervisor.get_backbone())
    supervisor.supervise(epochs=1, batch_size=11, name=None, progress=False)
    assert equal_weights(start_of(supervisor).weights, weights)
    assert start_of(supervisor).origin == "the network after 1 epoch before this run"


def test_loading_into_a_new_network_keeps_its_first_weights(
    images: Tensor, tmp_path: Path, tiny_backbone: Backbones
) -> None:
    name = str(tmp_path / "base")
    trained(images, tiny_backbone(), name=name)
    given = tiny_backbone()
    first = weights_of(given)
    RotateNetSupervisor(backbone=given).load(name)
    found = untrained_network("twin", given, 0)
    assert found is not None
    assert equal(found.network, first)
    assert not equal(given, first)


def test_a_frozen_backbone_has_no_start_and_a_finetuned_one_has(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    backbone = tiny_backbone()
    trained(images, backbone)
    labels = torch.arange(22) % 2
    items = [(image, int(label)) for image, label in zip(images, labels, strict=True)]
    frozen = LabelSupervisor(items, backbone)
    frozen.supervise(epochs=1, batch_size=11, name=None, progress=False)
    assert frozen.start is None
    before = weights_of(backbone)
    tuned = LabelSupervisor(items, backbone, finetune=True)
    tuned.supervise(epochs=1, batch_size=11, name=None, progress=False)
    assert equal_weights(start_of(tuned).weights, before)


def test_a_baseline_that_is_not_known_says_so(tiny_backbone: Backbones) -> None:
    class Hidden(nn.Module):
        def __init__(self, secret: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, secret, 3)
            self.norm = nn.BatchNorm2d(secret)
            nn.init.uniform_(self.norm.get_buffer("running_mean"))  # looks trained

    note = twin_of(Hidden(4), 0).note
    assert note is not None
    assert "layers were drawn by torch's defaults" in note
    assert "give untrained=, a new network or a function that makes one" in note


@pytest.mark.parametrize("change", ["exchanged", "added"])
def test_a_network_of_other_layers_than_it_began_with_is_compared_with_its_twin(
    images: Tensor, tiny_backbone: Backbones, change: str
) -> None:
    backbone = tiny_backbone()
    supervisor = trained(images, backbone)
    layers: nn.Sequential = backbone.layers  # type: ignore[assignment]
    if change == "added":
        layers.append(nn.Conv2d(16, 16, 1))
    else:
        layers[0] = nn.Conv2d(3, layers[0].out_channels, 5, stride=2, padding=2)  # type: ignore[arg-type]
    labels = torch.arange(22) % 2
    found = evaluate(supervisor, (images, labels), (images, labels), protocols=["knn"])
    assert list(found.scores) == ["pretrained", "untrained"]
    assert "(layers were exchanged or added after training began)" in found.notes["untrained"]
    later = trained(images, supervisor.get_backbone())  # whose start is of these layers
    layers.append(nn.Conv2d(16, 16, 1))
    with pytest.warns(UserWarning, match="cannot be shown as it was then"):
        assert start_network("auto", later, backbone) is None


def test_a_function_may_make_the_baseline(tiny_backbone: Backbones) -> None:
    found = untrained_network(lambda: nn.Linear(3, 3), tiny_backbone(), 4)
    again = untrained_network(lambda: nn.Linear(3, 3), tiny_backbone(), 4)
    assert found is not None and again is not None
    assert equal(found.network, dict(again.network.state_dict()))
    with pytest.raises(TypeError, match=r"untrained= must make a network, .* got list"):
        untrained_network(list, tiny_backbone(), 0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"an nn\.Module or None, got 3"):
        start_network(3, None, tiny_backbone())


def test_networks_without_norms_are_told_by_their_tensors() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3))

    network = Plain()
    assert not looks_trained(network)
    with torch.no_grad():
        dict(network.named_parameters())["layers.2.weight"].mul_(2)
    assert looks_trained(network)


def test_of_first_weights_without_norms_nothing_is_claimed(images: Tensor) -> None:
    def own() -> nn.Sequential:
        made = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU())
        nn.init.kaiming_normal_(made[0].weight, mode="fan_out")  # type: ignore[arg-type]
        return made

    labels = torch.arange(22) % 2
    for rated, said in (
        (own(), "how Sequential itself begins is not known"),
        (trained(images, own()), "whether these were trained is not known"),
    ):
        found = evaluate(rated, (images, labels), (images, labels), protocols=["knn"])
        assert said in found.notes["untrained"]
        assert found.verdict[-1].startswith("with reserve")


def test_the_defaults_of_torchvision_are_called_so() -> None:
    from torchvision.models import resnet18

    network = resnet18(zero_init_residual=True)
    with torch.no_grad():
        network.bn1.running_mean.add_(1)
    assert twin_of(network, 0).note == ("a new ResNet as torchvision makes it by default, seed 0")


def test_wrapped_networks_are_remembered_by_what_is_inside(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    inside = tiny_backbone()
    first = weights_of(inside)
    trained(images, nn.DataParallel(inside))
    found = untrained_network("twin", inside, 0)
    assert found is not None
    assert equal(found.network, first)


def test_the_model_of_ones_own_pretext_task_is_remembered(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    from super_selfish.supervisors import Supervisor

    backbone = tiny_backbone()
    first = weights_of(backbone)
    items = [(image, number % 2) for number, image in enumerate(images)]
    network = CombinedNet(backbone, nn.Linear(16, 2))
    Supervisor(network, items, nn.CrossEntropyLoss()).supervise(
        epochs=1, batch_size=11, name=None, progress=False
    )
    found = untrained_network("twin", backbone, 0)
    assert found is not None
    assert equal(found.network, first)


def changes(**of_protocol: float) -> dict[str, Interval]:
    """Differences that are sure to five points."""
    return {p: Interval(value, value - 0.05, value + 0.05) for p, value in of_protocol.items()}


def test_verdicts_say_what_is_better_and_worse() -> None:
    found = {"the start": changes(knn=-0.1, linear=0.1), "untrained": changes(knn=0.1, linear=0.2)}
    assert verdicts(found, 1000) == [
        "worse than the start: knn −10.0 [−15.0, −5.0] points",  # noqa: RUF001
        "better than untrained: knn +10.0 [+5.0, +15.0], linear +20.0 [+15.0, +25.0] points",
    ]
    same = {"the start": changes(knn=0.0, linear=0.0)}
    assert verdicts(same, 1000) == ["the same as the start by every protocol"]
    assert verdicts({}, 1000) == []


@pytest.mark.parametrize("name", ["untrained", "the start"])
def test_gains_and_losses_that_may_be_noise_are_named_alike(name: str) -> None:
    found = {name: changes(knn=0.04, linear=-0.03, finetune=0.3)}
    assert verdicts(found, 1234) == [
        f"better than {name}: finetune +30.0 [+25.0, +35.0] points",
        f"within noise of {name}: knn +4.0 [−1.0, +9.0], linear −3.0 [−8.0, +2.0] points on "  # noqa: RUF001
        "1,234 test images",
    ]


@pytest.mark.parametrize(("value", "word"), [(0.0501, "better"), (-0.0501, "worse")])
def test_a_difference_is_told_whose_interval_is_on_one_side_of_zero(
    value: float, word: str
) -> None:
    assert verdicts({"untrained": changes(knn=value)}, 9)[0].startswith(f"{word} than untrained")
    near = value - 0.0002 if value > 0 else value + 0.0002
    assert verdicts({"untrained": changes(knn=near)}, 9)[0].startswith("within noise of untrained")


def test_without_answers_a_difference_is_told_from_196_standard_deviations_on() -> None:
    least = 1.96 * (2 * 0.5 * 0.5 / 200) ** 0.5  # 0.098, of shares near a half
    assert least_difference(0.5, 0.5, 200) == pytest.approx(least)
    reach = 1.96 * ((0.25 + 0.6 * 0.4) / 200) ** 0.5
    assert bounded(0.6, 0.5, 200) == pytest.approx((0.1, 0.1 - reach, 0.1 + reach))
    assert [bounded(after, 0.5, 200).is_told for after in (0.597, 0.598)] == [False, True]
    assert [bounded(after, 0.5, 200).is_told for after in (0.403, 0.402)] == [False, True]


def test_the_bound_holds_for_the_same_network_on_other_images() -> None:
    """Two networks that err independently, which is the worst case, on 100 images many times."""
    generator = torch.Generator().manual_seed(0)
    right = torch.rand(20_000, 100, 2, generator=generator) < 0.5
    changes = right.double().mean(dim=1).diff(dim=1).abs()
    assert float((changes > least_difference(0.5, 0.5, 100)).double().mean()) < 0.06
    # With several seeds on the same images, that err alike, the mean over seeds is no surer.
    alike = right[:, :, None].expand(-1, -1, 4, -1).double().mean(dim=(1, 2)).diff(dim=1).abs()
    assert torch.equal(alike, changes)
    assert float((changes > least_difference(0.5, 0.5, 400)).double().mean()) > 0.2
