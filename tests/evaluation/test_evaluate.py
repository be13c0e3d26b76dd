from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from super_selfish.data import as_source
from super_selfish.evaluation import PROTOCOLS, Score, Subject, evaluate
from super_selfish.evaluation.protocols import PROTOCOL_GROUPS, find_protocol, rate_finetune


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
    loaded: Any = None
    source: Any = None

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
        "                             knn                linear",
        "pretrained                 100.0                 100.0",
        "untrained                   33.3                  33.3",
        "difference  +66.7 [+47.9, +85.5]  +66.7 [+47.9, +85.5]",
        "accuracy in %; 60 training and 30 test images, 3 classes, chance 33.3",
        "in brackets: 95 % interval, both networks on the same test images",
        "better than untrained: knn +66.7 [+47.9, +85.5], linear +66.7 [+47.9, +85.5] points",
    ]


def test_networks_are_compared_image_by_image() -> None:
    evaluation = evaluate(MeanColor(), TRAIN, TEST, untrained=Blind(), protocols=["knn"])
    found = evaluation.intervals["difference"]["knn"]
    reach = 2.04523 * ((30 * (2 / 3) * (1 / 3) + 2) / 32**2) ** 0.5  # 29 degrees of freedom
    assert found == pytest.approx((2 / 3, 2 / 3 - reach, 2 / 3 + reach), abs=1e-5)
    assert evaluation.as_dict()["intervals"] == {"difference": {"knn": [found.low, found.high]}}
    table = evaluation.table("balanced_accuracy").splitlines()
    # Of every class all images are answered alike: two images more of each network are all luck.
    assert table[3] == "difference  +66.7 [+57.6, +75.7]"
    assert "in brackets: 95 % interval" in table[5]


def test_intervals_of_few_labels_are_over_draws_as_well() -> None:
    found = evaluate(MeanColor(), TRAIN, TEST, untrained=Blind(), protocols=["2-per-class"])
    score = found.scores["pretrained"]["2-per-class"]
    for name in ("accuracy", "balanced_accuracy"):
        values, influences = score.measured[name]
        assert influences.shape == (5, 30) and values.mean() == pytest.approx(score.metrics[name])
    assert score.answers is not None and tuple(score.answers.values.tolist()) == score.draws
    assert "same test images and draws of labels" in str(found)


def test_several_classes_an_image_have_intervals_too() -> None:
    several = torch.nn.functional.one_hot(TRAIN[1], 4)[:, :3]
    tested = torch.nn.functional.one_hot(TEST[1], 4)[:, :3]
    train, test = (TRAIN[0], several), (TEST[0], tested)
    found = evaluate(MeanColor(), train, test, untrained=Blind(), protocols=["linear"])
    interval = found.intervals["difference"]["linear"]
    assert interval.value == pytest.approx(2 / 3) and interval.is_told
    # Of one score for all images every class has the influences of its share.
    is_one = tested.double()
    influences = (is_one - is_one.mean(dim=0)).mean(dim=1)
    squares = float(influences.square().sum())
    reach = 2.04523 * ((squares + 2) / 32**2) ** 0.5
    assert interval.high - interval.value == pytest.approx(reach, abs=1e-5)


def test_without_an_untrained_network_there_is_one_row() -> None:
    evaluation = evaluate(MeanColor(), TRAIN, TEST, untrained=None, protocols=["knn"])
    assert evaluation.untrained is None
    assert evaluation.difference is None
    assert str(evaluation).splitlines()[:2] == ["              knn", "pretrained  100.0"]


def test_chance_is_right_for_the_classes_there_are() -> None:
    train = TRAIN[0], torch.arange(60) % 10
    test = TEST[0][:24], (torch.arange(24) % 10)  # some classes three times, some twice
    evaluation = evaluate(MeanColor(), train, test, untrained=None, protocols=["knn"])
    assert evaluation.chance == 0.1
    assert "10 classes, chance 10.0" in str(evaluation)
    assert "commonest" not in str(evaluation)


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


EVERYTHING_FROZEN = ("knn", "linear", "5-per-class", "10%")


def noisy_colors(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Colours that a small network cannot tell for certain."""
    images, labels = colored(samples, seed)
    shades = torch.randint(0, 120, (samples, 3, 1, 1), generator=torch.Generator().manual_seed(9))
    return (images.int() + shades).clamp(max=255).to(torch.uint8), labels


def test_the_order_of_the_test_part_changes_nothing() -> None:
    train, test = noisy_colors(90, 1), noisy_colors(60, 2)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    honest = evaluate(MeanColor(), train, test, protocols=EVERYTHING_FROZEN, untrained=None)
    permuted = evaluate(
        MeanColor(),
        train,
        (test[0][order], test[1][order]),
        protocols=EVERYTHING_FROZEN,
        untrained=None,
    )
    assert permuted.settings == honest.settings
    assert permuted.pretrained == pytest.approx(honest.pretrained)
    assert min(honest.pretrained.values()) > 0.4


def test_a_test_part_without_sense_gives_chance_by_every_protocol() -> None:
    images, labels = noisy_colors(600, 2)
    shuffled = images, labels[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    train = noisy_colors(90, 1)
    honest = evaluate(
        MeanColor(), train, (images, labels), protocols=EVERYTHING_FROZEN, untrained=None
    )
    blinded = evaluate(MeanColor(), train, shuffled, protocols=EVERYTHING_FROZEN, untrained=None)
    assert blinded.settings == honest.settings
    for protocol, accuracy in blinded.pretrained.items():
        assert accuracy == pytest.approx(1 / 3, abs=0.07), protocol


def test_each_image_is_seen_once_whatever_the_protocols() -> None:
    class Counting(MeanColor):
        seen = 0

        def forward(self, images: Tensor) -> Tensor:
            self.seen += len(images)
            return super().forward(images)

    backbone = Counting()
    evaluate(backbone, TRAIN, TEST, protocols=("knn", "linear", "few-label"), untrained=None)
    assert backbone.seen == 90


def test_a_group_of_protocols_is_several_columns_each_once() -> None:
    evaluation = evaluate(
        MeanColor(), TRAIN, TEST, protocols=("1%", "few-label", "knn"), untrained=None
    )
    assert list(evaluation.pretrained) == [*PROTOCOL_GROUPS["few-label"], "knn"]
    assert evaluation.settings["pretrained"]["1%"]["labels"] == 3  # one of each class


def test_further_networks_are_further_rows() -> None:
    supervisor = TrainedBySomeone(MeanColor())
    evaluation = evaluate(
        Blind(), TRAIN, TEST, untrained=None, others={"color": MeanColor(), "someone": supervisor}
    )
    assert evaluation.others == {
        "color": {"knn": 1.0, "linear": 1.0},
        "someone": {"knn": 1.0, "linear": 1.0},
    }
    assert supervisor.preprocess.calls == 2
    assert [line.split()[0] for line in str(evaluation).splitlines()[1:4]] == [
        "pretrained",
        "color",
        "someone",
    ]


def test_metrics_and_confusion_come_with_the_score() -> None:
    evaluation = evaluate(MeanColor(), TRAIN, TEST, untrained=Blind())
    score = evaluation.scores["pretrained"]["knn"]
    assert score.metrics == {"accuracy": 1.0, "balanced_accuracy": 1.0}  # three classes: no top-5
    assert score.confusion is not None
    assert score.confusion.tolist() == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
    assert evaluation.class_names == ("0", "1", "2")


def test_six_classes_have_a_top_five() -> None:
    images, labels = TRAIN[0], torch.arange(60) % 6
    score = evaluate(MeanColor(), (images, labels), (images, labels), untrained=None).scores
    assert 5 / 6 < score["pretrained"]["linear"].metrics["top5_accuracy"] <= 1


def test_classes_that_only_the_test_part_has_count_as_wrong() -> None:
    test = TEST[0], TEST[1] + 1  # class 3 is unknown, class 0 is gone
    evaluation = evaluate(MeanColor(), TRAIN, test, untrained=None, protocols=["knn"])
    confusion = evaluation.scores["pretrained"]["knn"].confusion
    assert evaluation.pretrained == {"knn": 0.0}
    assert confusion is not None and confusion.shape == (4, 4)


def several_labels(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Two labels for each colour."""
    return part[0], torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 1]])[part[1]]


def test_test_classes_without_a_training_image_are_told() -> None:
    images, labels = TRAIN
    train = (images[labels < 2], labels[labels < 2])
    found = evaluate(MeanColor(), train, TEST, protocols=("knn",), untrained=None)
    expected = (
        "no training image has the class 2 of 10 test images, which count as wrong: accuracy is at "
        "most 66.7"
    )
    assert found.notes == {"test": expected}
    assert f"test: {expected}" in str(found)
    first = (images[labels < 1], labels[labels < 1] + 7)
    several = evaluate(
        MeanColor(),
        (torch.cat([train[0], first[0]]), torch.cat([train[1] + 3, first[1]])),
        TEST,
        protocols=("knn",),
        untrained=None,
    )
    assert several.notes["test"].startswith("no training image has the classes 0, 1, 2 of 30 test")
    again = evaluate(MeanColor(), TRAIN, train, protocols=("knn",), untrained=None)
    assert again.notes == {}


def test_images_without_a_label_are_not_rated() -> None:
    images, labels = TRAIN
    some = labels.clone()
    some[:6] = -1
    tests = TEST[1].clone()
    tests[0] = -1
    with pytest.warns(UserWarning) as told:
        found = evaluate(MeanColor(), (images, some), (TEST[0], tests), protocols=("knn", "linear"))
    assert [str(each.message) for each in told] == [
        "6 of 60 train images have no label (-1) and are left out",
        "1 of 30 test images has no label (-1) and is left out",
    ]
    assert (found.train_images, found.test_images, found.classes) == (54, 29, 3)
    expected = evaluate(MeanColor(), (images[6:], labels[6:]), (TEST[0][1:], TEST[1][1:]))
    assert found.scores == expected.scores


@pytest.mark.parametrize("is_known", [True, False])
def test_training_images_of_one_class_are_refused(is_known: bool) -> None:
    images, labels = TRAIN
    train: object = (images, labels * 0 + 4)
    if not is_known:  # without reading images
        train = [(image, 4) for image in images]
    expected = "all labels of 60 train images are 4, so there is nothing to tell apart: give"
    for protocol in ("knn", "5-per-class"):
        with pytest.raises(ValueError, match=expected):
            evaluate(MeanColor(), train, TEST, protocols=(protocol,))


def test_several_labels_an_image_give_mean_average_precision() -> None:
    protocols = ("knn", "linear", "5-per-class")
    evaluation = evaluate(
        MeanColor(),
        several_labels(TRAIN),
        several_labels(TEST),
        protocols=protocols,
        untrained=Blind(),
    )
    assert evaluation.metric == "mean average precision"
    assert evaluation.pretrained == pytest.approx(dict.fromkeys(protocols, 1.0))
    assert evaluation.untrained == pytest.approx(dict.fromkeys(protocols, 2 / 3))
    assert evaluation.chance == pytest.approx(2 / 3)
    assert evaluation.classes == 3
    assert evaluation.scores["pretrained"]["knn"].confusion is None
    assert "mean average precision in %" in str(evaluation)


def test_one_image_a_class_is_rated(tiny_backbone: Callable[..., nn.Module]) -> None:
    three = TRAIN[0][:3], TRAIN[1][:3]
    evaluation = evaluate(
        tiny_backbone(), three, TEST, protocols=("knn", "linear", "finetune"), untrained=None
    )
    assert evaluation.settings["pretrained"]["finetune"]["lr"] == 1e-3


def test_fine_tuning_is_a_protocol(
    tiny_backbone: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(rate_finetune, lrs=(1e-2,), max_updates=30)
    monkeypatch.setitem(PROTOCOLS, "finetune", quick)
    evaluation = evaluate(tiny_backbone(), TRAIN, TEST, protocols=["finetune"], untrained="twin")
    assert evaluation.pretrained["finetune"] > 0.6
    assert evaluation.settings["untrained"]["finetune"]["lr"] == 1e-2
    assert evaluation.scores["pretrained"]["finetune"].confusion is not None


def test_fine_tuning_from_a_named_layer_is_a_column_of_its_own(
    tiny_backbone: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str | None] = []

    def rate(subject: Subject, freeze_until: str | None = None) -> Score:
        given.append(freeze_until)
        return rate_finetune(subject, lrs=(1e-2,), max_updates=3, freeze_until=freeze_until)

    monkeypatch.setattr("super_selfish.evaluation.protocols.rate_finetune", rate)
    monkeypatch.setitem(PROTOCOLS, "finetune", rate)
    columns = ("finetune", "finetune-from-layers.3")
    evaluation = evaluate(tiny_backbone(), TRAIN, TEST, protocols=columns, untrained=None)
    assert tuple(evaluation.pretrained) == columns
    assert given == [None, "layers.3"]


def test_a_layer_that_a_network_has_not_is_refused_before_any_work(
    tiny_backbone: Callable[..., nn.Module],
) -> None:
    class Unasked(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise AssertionError("no image may be shown")

    others = {"tiny": tiny_backbone()}
    protocols = ("knn", "finetune-from-layers.3")
    with pytest.raises(ValueError, match=r"Unasked has no layers, so none is named 'layers.3'"):
        evaluate(Unasked(), TRAIN, TEST, protocols=protocols, untrained=None, others=others)


@pytest.mark.parametrize(("name", "labels"), [("20%", 12), ("0.5%", 3), ("7-per-class", 21)])
def test_any_number_of_labels_is_a_protocol(name: str, labels: int) -> None:
    evaluation = evaluate(MeanColor(), TRAIN, TEST, protocols=[name], untrained=None)
    assert evaluation.settings["pretrained"][name]["labels"] == labels


def test_numbers_out_of_range_in_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\], got 2.0"):
        evaluate(MeanColor(), TRAIN, TEST, protocols=["200%"])
    with pytest.raises(ValueError, match="per_class must be >= 1, got 0"):
        evaluate(MeanColor(), TRAIN, TEST, protocols=["0-per-class"])
    assert find_protocol("many-per-class") is None


def test_fine_tuning_alone_computes_no_features(
    tiny_backbone: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROTOCOLS, "finetune", partial(rate_finetune, lrs=(1e-2,), max_updates=3))
    monkeypatch.setattr(Subject, "_features", lambda *_: pytest.fail("features were computed"))
    evaluation = evaluate(tiny_backbone(), TRAIN, TEST, protocols=["finetune"])
    assert (evaluation.train_images, evaluation.test_images, evaluation.classes) == (60, 30, 3)


class Folders(Dataset[tuple[Tensor, int]]):
    """Labelled images with names for the classes."""

    def __init__(self, part: tuple[Tensor, Tensor], classes: list[str]) -> None:
        self.images, self.numbers = part
        self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.numbers[index])


def test_one_number_for_two_classes_is_refused() -> None:
    train = Folders(TRAIN, ["blue", "green", "red"])
    test = Folders((TEST[0], (TEST[1] - 1).clamp(min=0)), ["green", "red"])  # no folder "blue"
    expected = "class 0 is 'blue' in the train part and 'green' in the test part"
    with pytest.raises(ValueError, match=expected):
        evaluate(MeanColor(), train, test)
    first = Folders((TEST[0], TEST[1].clamp(max=1)), ["blue", "green"])  # the same numbers
    assert evaluate(MeanColor(), train, first, untrained=None).class_names == tuple(train.classes)


def test_images_that_a_second_backbone_cannot_take_are_refused_before_any_work(
    tiny_backbone: Callable[..., nn.Module],
) -> None:
    class Unasked(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise AssertionError("no image may be shown")

    with pytest.raises(ValueError, match="TinyBackbone could not take images of shape"):
        evaluate(Unasked(), TRAIN, TEST, others={"grey": tiny_backbone(1)}, untrained=None)


def test_labels_that_are_text_are_refused() -> None:
    with pytest.raises(TypeError, match=r"labels must be whole numbers, .* got 'red' and so on"):
        evaluate(MeanColor(), (TRAIN[0], ["red"] * 60), TEST)


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


def test_of_a_loaded_run_nobody_knows_whether_it_has_seen_the_test_images() -> None:
    supervisor = TrainedBySomeone(MeanColor())
    assert "pretrained" not in evaluate(supervisor, TRAIN, TEST, untrained=None).notes
    supervisor.loaded = "a run"
    found = evaluate(supervisor, TRAIN, TEST, untrained=None)
    assert "whether test images are among them is not known" in found.notes["pretrained"]
    assert found.notes["pretrained"] in str(found)
    supervisor.source = as_source(TRAIN[0])  # its images are at hand, and compared
    assert "pretrained" not in evaluate(supervisor, TRAIN, TEST, untrained=None).notes


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
    with pytest.raises(ValueError, match=r'protocols must be some of .*"2%", "20-per'):
        evaluate(MeanColor(), TRAIN, TEST, protocols=["knn", "guess"])
    with pytest.raises(TypeError, match="got the string 'knn'"):
        evaluate(MeanColor(), TRAIN, TEST, protocols="knn")
    with pytest.raises(TypeError, match="untrained must be"):
        evaluate(MeanColor(), TRAIN, TEST, untrained="brother")
    with pytest.raises(TypeError, match=r"an nn.Module or have get_backbone\(\), got str"):
        evaluate("resnet18", TRAIN, TEST)
    with pytest.raises(TypeError, match=r"others\['mine'\] must be an nn.Module"):
        evaluate(MeanColor(), TRAIN, TEST, others={"mine": 3})
    with pytest.raises(TypeError, match="others must give each backbone a name"):
        evaluate(MeanColor(), TRAIN, TEST, others=MeanColor())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"names of their own, got \['untrained'\]"):
        evaluate(MeanColor(), TRAIN, TEST, others={"untrained": MeanColor()})
    with pytest.raises(ValueError, match="labels of both parts must be of one kind"):
        evaluate(MeanColor(), several_labels(TRAIN), TEST)
