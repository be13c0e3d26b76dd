from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation import PROTOCOLS, Score, Subject, evaluate


class MeanColor(nn.Module):
    """Knows what matters: the mean of each channel."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


class Blind(nn.Module):
    """Sees nothing."""

    def forward(self, images: Tensor) -> Tensor:
        return images.new_ones(len(images), 3)


class Halve(nn.Module):
    """Counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images / 2


class TrainedBySomeone:
    """What `evaluate` needs of a supervisor."""

    image_size = (40, 40)
    in_channels = 3

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone
        self.preprocess = Halve()

    def get_backbone(self) -> nn.Module:
        return self.backbone


def colored(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise of three colours; the colour is the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % 3
    images = torch.randint(0, 120, (samples, 3, 32, 32), generator=generator)
    images[torch.arange(samples), labels] += 60
    return images.to(torch.uint8), labels


TRAIN, TEST = colored(60, 1), colored(30, 2)


def test_a_good_backbone_is_told_from_one_that_learned_nothing() -> None:
    evaluation = evaluate(MeanColor(), TRAIN, TEST, untrained=Blind())
    assert evaluation.pretrained == {"knn": 1.0, "linear": 1.0}
    assert evaluation.untrained == pytest.approx({"knn": 1 / 3, "linear": 1 / 3})
    assert evaluation.difference == pytest.approx({"knn": 2 / 3, "linear": 2 / 3})
    assert evaluation.chance == pytest.approx(1 / 3)


def test_the_table_has_a_row_for_each_network() -> None:
    lines = str(evaluate(MeanColor(), TRAIN, TEST, untrained=Blind())).splitlines()
    assert lines == [
        "              knn  linear",
        "pretrained  100.0   100.0",
        "untrained    33.3    33.3",
        "difference  +66.7   +66.7",
        "accuracy in %; 60 training and 30 test images, 3 classes, chance 33.3",
    ]


def test_without_an_untrained_network_there_is_one_row() -> None:
    evaluation = evaluate(MeanColor(), TRAIN, TEST, untrained=None, protocols=["knn"])
    assert evaluation.untrained is None
    assert evaluation.difference is None
    assert str(evaluation).splitlines()[:2] == ["              knn", "pretrained  100.0"]


def test_a_dictionary_goes_through_json() -> None:
    evaluation = evaluate(MeanColor(), TRAIN, TEST, untrained=Blind())
    read = json.loads(json.dumps(evaluation.as_dict()))
    assert read["pretrained"] == evaluation.pretrained
    assert read["settings"]["pretrained"]["knn"] == {"k": 10}
    assert set(read["settings"]["untrained"]["linear"]) == {"regularization"}


def test_the_twin_depends_on_the_seed_alone(tiny_backbone: Callable[..., nn.Module]) -> None:
    first = evaluate(tiny_backbone(), TRAIN, TEST, seed=4)
    torch.rand(3)  # torch's own stream moves on
    assert evaluate(tiny_backbone(), TRAIN, TEST, seed=4) == first


def test_the_backbone_is_as_before(tiny_backbone: Callable[..., nn.Module]) -> None:
    backbone = tiny_backbone().train()

    def fingerprint() -> str:
        tensors = backbone.state_dict().values()
        return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest()

    before = fingerprint()
    evaluate(backbone, TRAIN, TEST)
    assert fingerprint() == before
    assert all(module.training for module in backbone.modules())


def test_shuffled_test_labels_change_no_setting() -> None:
    shuffled = TEST[0], TEST[1][torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    honest = evaluate(MeanColor(), TRAIN, TEST, untrained=None)
    blinded = evaluate(MeanColor(), TRAIN, shuffled, untrained=None)
    assert blinded.settings == honest.settings
    assert max(blinded.pretrained.values()) < 0.7


def test_a_supervisor_brings_backbone_preprocessing_and_size() -> None:
    sizes = []

    class Spy(MeanColor):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append((tuple(images.shape[1:]), float(images.max()) <= 0.5))
            return super().forward(images)

    supervisor = TrainedBySomeone(Spy())
    evaluation = evaluate(supervisor, TRAIN, TEST, untrained=None)
    assert evaluation.pretrained["linear"] == 1.0
    assert set(sizes) == {((3, 40, 40), True)}


def test_what_is_given_goes_before_what_the_supervisor_has() -> None:
    supervisor, preprocess = TrainedBySomeone(MeanColor()), Halve()
    evaluate(supervisor, TRAIN, TEST, preprocess=preprocess, untrained=None)
    assert (preprocess.calls, supervisor.preprocess.calls) == (2, 0)


def test_an_untrained_network_gets_the_same_preprocessing() -> None:
    preprocess = Halve()
    evaluate(MeanColor(), TRAIN, TEST, preprocess=preprocess, untrained=Blind())
    assert preprocess.calls == 4


def test_test_images_are_brought_to_the_size_of_the_training_images() -> None:
    small = nn.functional.interpolate(TEST[0].float(), size=(36, 36)).to(torch.uint8)
    evaluation = evaluate(MeanColor(), TRAIN, (small, TEST[1]), untrained=None)
    assert evaluation.pretrained["linear"] == 1.0


def test_a_protocol_of_ones_own_joins_by_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def rate_constant(subject: Subject) -> Score:
        return Score(0.25, {"images": len(subject.train.images)})

    monkeypatch.setitem(PROTOCOLS, "constant", rate_constant)
    evaluation = evaluate(MeanColor(), TRAIN, TEST, protocols=["constant"], untrained=Blind())
    assert evaluation.pretrained == {"constant": 0.25}
    assert evaluation.settings["pretrained"] == {"constant": {"images": 60}}


@pytest.mark.parametrize("part", ["train", "test"])
def test_missing_labels_are_refused_before_any_work(part: str) -> None:
    train, test = (TRAIN[0], TEST) if part == "train" else (TRAIN, TEST[0])
    with pytest.raises(ValueError, match=f"the {part} part has no labels"):
        evaluate(nn.Identity(), train, test)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="protocols must be some of"):
        evaluate(MeanColor(), TRAIN, TEST, protocols=["knn", "guess"])
    with pytest.raises(TypeError, match="got the string 'knn'"):
        evaluate(MeanColor(), TRAIN, TEST, protocols="knn")
    with pytest.raises(TypeError, match="untrained must be"):
        evaluate(MeanColor(), TRAIN, TEST, untrained="brother")
    with pytest.raises(TypeError, match=r"an nn.Module or have get_backbone\(\), got str"):
        evaluate("resnet18", TRAIN, TEST)
