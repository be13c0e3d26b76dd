"""Networks that are pretrained once and rated on several labelled sets."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.collate import Batch, Collator
from super_selfish.evaluation.comparison import resources
from super_selfish.evaluation.comparison.compare import compare
from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.comparison.sets import open_sets
from super_selfish.evaluation.evaluate import evaluate
from super_selfish.models import CombinedNet
from super_selfish.supervisors import LabelSupervisor, Supervisor

Labelled = tuple[Tensor, Tensor]
# Keys of a comparison of these images, and what a run tells, before there were downstream sets.
KEYS = ["untrained-0-5037cd998ea5", "light-0-f0e454c115a7"]
FIELDS = {
    *("key", "algorithm", "seed", "base_size", "images", "twin", "start", "accuracy", "untrained"),
    *("start_accuracy", "health", "warnings", "error", "date", "machine", "minutes", "steps"),
    *("images_per_second", "epochs", "loss", "peak_memory"),
}


class TinyNet(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, 4, 3, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).relu().mean(dim=(2, 3))


class Images(Collator):
    def augment(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return to_unit_range(batch.images)


class Brightness(Supervisor):
    """Tells how bright an image is; notes how many images it was given."""

    built: list[int] = []  # noqa: RUF012

    def __init__(self, dataset: Any = None, backbone: Any = None) -> None:
        super().__init__(None, dataset, collate_fn=Images())
        self.model = CombinedNet(backbone, nn.Linear(4, 1))
        Brightness.built.append(len(dataset))

    def _forward(self, data: Any) -> Tensor:
        return (self.model(data)[:, 0] - data.mean(dim=(1, 2, 3))).square().mean()


class Dim(Brightness):
    """Shows its network half of the light."""

    @property
    def preprocess(self) -> nn.Module:
        return nn.Threshold(0.3, 0.0)


@pytest.fixture(autouse=True)
def _start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    Brightness.built = []
    monkeypatch.setattr(resources, "give_back_memory", lambda: None)  # 0.2 s a run


def labelled(
    number: int, seed: int, size: tuple[int, int] = (32, 32), channels: int = 3, classes: int = 2
) -> Labelled:
    """Classes that differ in brightness, more or less."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % classes
    images = torch.randint(0, 60, (number, channels, *size), generator=generator)
    images += torch.randint(0, 120, (number, 1, 1, 1), generator=generator)
    return (images + 70 // classes * labels[:, None, None, None]).to(torch.uint8), labels


def several() -> dict[str, Any]:
    """A set of smaller grey images, and one of larger ones in three classes."""
    grey: dict[str, Any] = {"size": (28, 28), "channels": 1}
    large: dict[str, Any] = {"size": (40, 56), "classes": 3}
    return {
        "grey": (labelled(10, 2, **grey), labelled(8, 3, **grey)),
        "large": (labelled(15, 4, **large), labelled(9, 5, **large)),
    }


def run(path: Path | None, algorithms: Any = None, test: Any = None, **settings: Any) -> Comparison:
    given: dict[str, Any] = {
        "epochs": 1,
        "backbone": TinyNet,
        "seeds": 1,
        "protocols": ("knn",),
        "supervise": {"batch_size": 4},
        "downstream": several(),
        "device": "cpu",
        **settings,
    }
    algorithms = {"light": Brightness} if algorithms is None else algorithms
    return compare(algorithms, labelled(16, 0), test, path=path, **given)


def test_every_network_is_rated_on_every_set(tmp_path: Path) -> None:
    comparison = run(tmp_path / "c", test=labelled(12, 1), keep=True)
    columns = ["knn", "grey: knn", "large: knn"]
    assert [list(record["accuracy"]) for record in comparison.runs] == [columns] * 2
    assert comparison.downstream == ("grey", "large")
    assert Brightness.built == [16]  # pretrained once
    (checkpoint,) = (tmp_path / "c").glob("light*.pt")
    trained = TinyNet(3)
    state = torch.load(checkpoint, weights_only=True)["model"]
    weights = {k.removeprefix("model.backbone."): v for k, v in state.items() if "backbone" in k}
    trained.load_state_dict(weights)
    for name, (train, test) in several().items():
        options: dict[str, Any] = {"image_size": (32, 32), "in_channels": 3, "untrained": None}
        rated = evaluate(trained, train, test, protocols=("knn",), **options)
        assert comparison.runs[1]["accuracy"][f"{name}: knn"] == rated.pretrained["knn"]


def test_images_of_downstream_sets_without_a_label_are_left_out() -> None:
    images, labels = labelled(12, 1)
    labels[:2] = -1
    with pytest.warns(UserWarning, match=r"^2 of 12 test images have no label"):
        found = open_sets({"mine": (labelled(16, 0), (images, labels))}, (32, 32), 3)
    assert [len(part.images) for part in found["mine"]] == [16, 10]


def test_the_own_set_may_be_left_out() -> None:
    comparison = run(None)
    assert comparison.protocols == ["grey: knn", "large: knn"]
    assert comparison.settings["test_images"] is None
    assert comparison.settings["downstream"] == {
        "grey": {"train_images": 10, "test_images": 8},
        "large": {"train_images": 15, "test_images": 9},
    }


def test_without_downstream_sets_nothing_is_new(tmp_path: Path) -> None:
    comparison = run(tmp_path / "c", test=labelled(12, 1), downstream=None)
    assert comparison.protocols == ["knn"]
    assert "downstream" not in comparison.settings
    assert "sensitivity" not in comparison.as_dict()
    assert [record["key"] for record in comparison.runs] == KEYS


def test_sensitivity_is_the_deviation_over_sizes_averaged_over_sets() -> None:
    comparison = run(None, base_sizes=[4, 8, 16], seeds=2)
    assert Brightness.built == [4, 8, 16] * 2
    found = []
    for column in ("grey: knn", "large: knn"):
        means = [
            statistics.mean(
                record["accuracy"][column]
                for record in comparison.runs
                if record["algorithm"] == "light" and record["base_size"] == size
            )
            for size in (4, 8, 16)
        ]
        found.append(statistics.pstdev(means))
    assert comparison.sensitivity == {"light": {"knn": pytest.approx(statistics.mean(found))}}
    assert comparison.as_dict()["sensitivity"] == comparison.sensitivity


def test_what_sees_images_otherwise_has_its_twin_rated_with_the_most_images_only() -> None:
    comparison = run(None, {"dim": Dim}, base_sizes=[8, 16, 4])
    _, *runs = comparison.runs
    twins = {record["base_size"]: record["untrained"] for record in runs}
    assert twins[4] is twins[8] is None
    assert all(record["twin"] is None for record in runs)  # the other's would be none of its own
    (row,) = comparison.leaderboard
    for column, gain in row.gain.items():
        assert gain.mean == row.accuracy[column].mean - twins[16][column]
    assert list(row.gain) == ["grey: knn", "large: knn"]
    alone = run(None, {"dim": Dim}, base_sizes=[8, 16], downstream=None, test=labelled(12, 1))
    assert all(record["untrained"] for record in alone.runs if record["algorithm"] == "dim")


def test_what_is_done_is_not_done_again_unless_the_sets_are_others(tmp_path: Path) -> None:
    first = run(tmp_path / "c")
    again = run(tmp_path / "c")
    assert again.as_dict() == first.as_dict()
    assert Brightness.built == [16]
    fewer = {name: parts for name, parts in several().items() if name == "grey"}
    for changed in (fewer, {"dark" if k == "grey" else k: v for k, v in several().items()}):
        run(tmp_path / "c", downstream=changed)
    run(tmp_path / "c", downstream=None, test=labelled(12, 1))
    assert Brightness.built == [16] * 4
    assert len((tmp_path / "c.jsonl").read_text().splitlines()) == 2 * 4


def test_supervised_pretraining_takes_as_many_images_with_their_labels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[tuple[int, list[int], bool, float]] = []
    build = LabelSupervisor.__init__

    def noting(self: Any, dataset: Any, **options: Any) -> None:
        build(self, dataset, **options)
        labels = [int(dataset[place].label) for place in range(len(dataset))]
        free = all(parameter.requires_grad for parameter in self.get_backbone().parameters())
        seen.append((len(dataset), labels, free, self.backbone_lr_factor))

    monkeypatch.setattr(LabelSupervisor, "__init__", noting)
    images, _ = labelled(16, 0)
    colours = torch.arange(16) % 4
    settings: dict[str, Any] = {"base_sizes": [8, 16], "pretrain": (images, colours)}
    comparison = run(tmp_path / "c", ["supervised"], **settings)
    drawn = torch.randperm(16, generator=torch.Generator().manual_seed(0))[:8].sort().values
    assert seen == [
        (8, colours[drawn].tolist(), True, 1.0),
        (16, colours.tolist(), True, 1.0),
    ]
    (row,) = comparison.leaderboard
    assert row.algorithm == "supervised"
    assert row.errors == ()
    assert row.steps is not None
    assert row.steps.mean == 4
    run(tmp_path / "c", ["supervised"], **settings)
    run(tmp_path / "c", ["supervised"], **{**settings, "pretrain": (images, colours % 2)})
    assert len(seen) == 4  # other labels are another run


def test_supervised_pretraining_leaves_images_without_a_label_out(tmp_path: Path) -> None:
    images, _ = labelled(16, 0)
    colours = torch.arange(16) % 4 - 1
    with pytest.warns(UserWarning, match="4 of 16 pretraining images have no label"):
        comparison = run(tmp_path / "c", ["supervised"], pretrain=(images, colours))
    (row,) = comparison.leaderboard
    assert row.errors == () and row.steps is not None and row.steps.mean == 3


def test_supervised_pretraining_moves_the_backbone(tmp_path: Path) -> None:
    run(tmp_path / "c", ["supervised"], keep=True)
    (checkpoint,) = (tmp_path / "c").glob("supervised*.pt")
    (state,) = [torch.load(checkpoint, weights_only=True)["model"]]
    torch.default_generator.manual_seed(0)
    weight = next(v for k, v in state.items() if k.endswith("backbone.layer.weight"))
    assert not torch.equal(weight, TinyNet(3).layer.weight)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"downstream": None}, ValueError, "give test=, the labelled images .* or downstream="),
        ({"downstream": {}}, ValueError, "at least one labelled set"),
        ({"downstream": [1]}, TypeError, "must give each labelled set a name"),
        ({"downstream": {"a: b": several()["grey"]}}, ValueError, "without a colon, got 'a: b'"),
        ({"downstream": {"a": 3}}, TypeError, r"downstream\['a'\] must be a pair .* got int"),
        ({"downstream": {"a": (labelled(4, 0)[0], labelled(4, 0))}}, ValueError,
         r"downstream\['a'\]: the train part has no labels"),
        ({"downstream": {"a": (labelled(4, 0), labelled(4, 0)[0])}}, ValueError,
         r"downstream\['a'\]: the test part has no labels"),
        ({"test": (labelled(4, 0)[0], nn.functional.one_hot(torch.arange(4)))}, ValueError,
         "labels of both parts must be of one kind"),
        ({"algorithms": ["supervised"], "pretrain": labelled(8, 0)[0]}, ValueError,
         "the pretraining part has no labels"),
        ({"algorithms": ["supervized"]}, ValueError, "did you mean 'supervised'"),
        ({"algorithms": ["supervised"], "options": {"supervised": {"finetone": 1}}}, TypeError,
         "finetone"),
    ],
)  # fmt: skip
def test_wrong_sets_are_refused_before_anything_runs(
    changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(None, **changed)
    assert not Brightness.built


def test_sets_of_two_kinds_of_labels_are_refused() -> None:
    images, labels = labelled(8, 0)
    rows = images, nn.functional.one_hot(labels)
    with pytest.raises(ValueError, match="grey: accuracy, rows: mean average precision"):
        run(None, downstream={"grey": several()["grey"], "rows": (rows, rows)})


def test_a_stored_comparison_of_before_is_read(tmp_path: Path) -> None:
    """A line as `compare` wrote it before there were downstream sets, and answers."""
    run(tmp_path / "c", test=labelled(12, 1), downstream=None)
    lines = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == KEYS
    assert all(list(line.pop("answers")) == ["knn"] for line in lines)
    assert set(lines[1]) == FIELDS
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    built = len(Brightness.built)
    found = run(tmp_path / "c", test=labelled(12, 1), downstream=None)
    assert list(found.runs) == lines and "knn" in found.leaderboard[0].gain_interval
    assert len(Brightness.built) == built
