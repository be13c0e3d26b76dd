from __future__ import annotations

import json
import multiprocessing
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.collate import Batch, Collator
from super_selfish.evaluation.comparison import entries as run_module
from super_selfish.evaluation.comparison import resources
from super_selfish.evaluation.comparison.compare import compare
from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.comparison.store import RunStore
from super_selfish.evaluation.norm_statistics import ADAPTED
from super_selfish.models import CombinedNet
from super_selfish.supervisors import HealthWarning, Supervisor

TIMED = {"epochs": None, "budget": "1min"}
Labelled = tuple[Tensor, Tensor]


class TinyNet(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, 4, 3, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).relu().mean(dim=(2, 3))


class Images(Collator):
    """Gives the images as they are."""

    def augment(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return to_unit_range(batch.images)


class Brightness(Supervisor):
    """Tells how bright an image is; notes what it was given."""

    built: list[dict[str, Any]] = []  # noqa: RUF012
    pretrained_steps = 0
    stop_at: int | None = None  # Ctrl-C in this step

    def __init__(
        self, dataset: Any = None, backbone: Any = None, *, weight: float = 1.0, head: Any = None
    ) -> None:
        super().__init__(None, dataset, collate_fn=Images())
        first = {name: value.clone() for name, value in backbone.state_dict().items()}
        head = nn.Linear(4, 1) if head is None else head
        self.model = CombinedNet(backbone, head)
        self.weight = weight
        Brightness.built.append(
            {"first": first, "images": len(dataset), "head": head, "weight": weight}
        )

    def _forward(self, data: Any) -> Tensor:
        if Brightness.stop_at == self.run.global_step:  # type: ignore[union-attr]
            signal.raise_signal(signal.SIGINT)
        Brightness.pretrained_steps += 1
        return self.weight * (self.model(data)[:, 0] - data.mean(dim=(1, 2, 3))).square().mean()


class Other(Brightness):
    """Another name for the same."""


class Grey(Brightness):
    """Shows its network half of the light."""

    @property
    def preprocess(self) -> nn.Module:
        return nn.Threshold(0.3, 0.0)


class Refuses(Brightness):
    def __init__(self, dataset: Any = None, backbone: Any = None) -> None:
        raise ValueError("needs colour: got 1 channel")


class Ill(Brightness):
    def _forward(self, data: Any) -> Tensor:
        warnings.warn("epoch 1: all is lost: try another", HealthWarning, stacklevel=1)
        return super()._forward(data)


@pytest.fixture(autouse=True)
def _start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    Brightness.built, Brightness.pretrained_steps, Brightness.stop_at = [], 0, None
    monkeypatch.setattr(resources, "give_back_memory", lambda: None)  # 0.2 s a run


def labelled(number: int, seed: int, channels: int = 3) -> Labelled:
    """Classes that differ in brightness."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % 2
    images = torch.randint(0, 120, (number, channels, 32, 32), generator=generator)
    return (images + 100 * labels[:, None, None, None]).to(torch.uint8), labels


def run(path: Path | None, algorithms: Any = None, **settings: Any) -> Comparison:
    given = {
        "epochs": 1,
        "backbone": TinyNet,
        "seeds": 2,
        "protocols": ("knn",),
        "supervise": {"batch_size": 4},
        **settings,
    }
    algorithms = {"light": Brightness, "other": Other} if algorithms is None else algorithms
    return compare(algorithms, labelled(16, 0), labelled(12, 1), path=path, **given)


def test_every_algorithm_begins_with_the_same_weights_of_a_seed() -> None:
    run(None)
    zero, other_zero, one, other_one = [
        built["first"]["layer.weight"] for built in Brightness.built
    ]
    assert torch.equal(zero, other_zero)
    assert torch.equal(one, other_one)
    assert not torch.equal(zero, one)


@pytest.mark.parametrize("backbone", [TinyNet(3), "narrow-resnet"])
def test_backbones_of_all_kinds_are_drawn_anew(backbone: Any) -> None:
    class Any4(Brightness):
        def _forward(self, data: Any) -> Tensor:
            return self.model.backbone(data).square().mean()

    before = None if isinstance(backbone, str) else backbone.layer.weight.clone()
    comparison = run(None, {"any": Any4}, backbone=backbone, draw_anew=True)
    assert len(comparison.leaderboard[0].seeds) == 2
    assert comparison.start == {}
    first, second = (next(iter(built["first"].values())) for built in Brightness.built)
    assert not torch.equal(first, second)
    if before is not None:
        assert torch.equal(backbone.layer.weight, before)


@pytest.mark.parametrize("has_norm", [False, True])
def test_gains_over_given_weights_that_may_be_trained_are_with_reserve(has_norm: bool) -> None:
    layer = nn.Conv2d(3, 4, 3, stride=4)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    network = nn.Sequential(layer, nn.BatchNorm2d(4) if has_norm else nn.ReLU())
    found = run(None, backbone=network, seeds=1)
    assert any(note.startswith("with reserve") for note in found.notes) is not has_norm
    assert ("whether these were trained is not known" in found.conditions) is not has_norm


class Normed(nn.Module):
    """Tells by its norm whether it was trained."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, stride=4)
        self.norm = nn.BatchNorm2d(4)
        with torch.no_grad():
            self.norm.weight[:2] = scale
            self.norm.num_batches_tracked = torch.tensor(0 if scale == 1.0 else 100)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.layer(images)).mean(dim=(2, 3))


@pytest.mark.parametrize("algorithm", [Brightness, Grey])
def test_a_network_that_was_trained_keeps_its_weights_and_is_the_start(algorithm: Any) -> None:
    backbone = Normed(2.0)
    first = {name: value.clone() for name, value in backbone.state_dict().items()}
    comparison = run(None, {"light": algorithm}, backbone=backbone)
    for built in Brightness.built:
        assert all(torch.equal(built["first"][name], first[name]) for name in first)
    assert all(torch.equal(backbone.state_dict()[name], first[name]) for name in first)
    kinds = [record["algorithm"] for record in comparison.runs]
    assert kinds == ["start", "untrained", "light"] * 2
    (standing,) = comparison.leaderboard
    own = [r["start_accuracy"] is not None for r in comparison.runs if r["algorithm"] == "light"]
    assert own == [algorithm is Grey] * 2  # who sees images otherwise begins otherwise
    assert standing.since_start["knn"].mean == pytest.approx(
        standing.accuracy["knn"].mean - standing.start["knn"].mean
    )
    header, untrained, start, light = str(comparison).splitlines()[:4]
    assert "since start" in header
    assert [line.split()[0] for line in (untrained, start, light)] == [
        "untrained",
        "start",
        "light",
    ]
    assert "all began with the weights of the given network" in comparison.conditions
    assert comparison.conditions.endswith(f"; untrained: a new Normed, seed 0, {ADAPTED}")
    assert "knn_since_start" in comparison.to_csv()
    assert comparison.as_dict()["start"]["knn"]["mean"] == comparison.start["knn"].mean


def test_the_untrained_network_of_a_trained_one_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    rated: list[Tensor] = []
    variances: list[Tensor] = []
    evaluate = run_module.evaluate

    def noting(network: Any, *args: Any, **options: Any) -> Any:
        rated.append(network.norm.weight.detach().clone())
        variances.append(network.norm.running_var.clone())
        return evaluate(network, *args, **options)

    monkeypatch.setattr(run_module, "evaluate", noting)
    run(None, {"light": Brightness}, backbone=Normed(2.0), seeds=1)
    start, untrained, _ = rated
    assert start.tolist() == [2.0, 2.0, 1.0, 1.0]
    assert untrained.tolist() == [1.0] * 4
    assert all(bool((variance != 1).all()) for variance in variances)  # all have seen batches


def test_a_new_network_keeps_its_weights_and_has_no_start() -> None:
    backbone = Normed()
    comparison = run(None, {"light": Brightness}, backbone=backbone)
    first = backbone.state_dict()
    for built in Brightness.built:
        assert all(torch.equal(built["first"][name], first[name]) for name in first)
    assert [record["algorithm"] for record in comparison.runs] == ["untrained", "light"] * 2
    assert comparison.start == {}
    assert "since start" not in str(comparison)


def test_a_full_disk_leaves_the_checkpoint_and_the_next_call_only_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = RunStore.append

    def full(store: RunStore, record: Any) -> None:
        if record["algorithm"] == "light":
            raise OSError(28, "No space left on device")
        append(store, record)

    monkeypatch.setattr(RunStore, "append", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path / "c", {"light": Brightness}, seeds=1)
    assert [file.suffix for file in sorted((tmp_path / "c").glob("light*.pt"))] == [".pt"]
    monkeypatch.undo()
    steps = Brightness.pretrained_steps
    comparison = run(tmp_path / "c", {"light": Brightness}, seeds=1)
    assert Brightness.pretrained_steps == steps
    assert not comparison.leaderboard[0].has_failed
    assert list((tmp_path / "c").glob("light*")) == []


def test_finished_runs_are_not_done_again(tmp_path: Path) -> None:
    first = run(tmp_path / "c")
    steps = Brightness.pretrained_steps
    second = run(tmp_path / "c")
    assert Brightness.pretrained_steps == steps == 2 * 2 * 4
    assert second.as_dict() == first.as_dict()


def test_more_seeds_and_algorithms_add_to_what_is_done(tmp_path: Path) -> None:
    run(tmp_path / "c", {"light": Brightness}, seeds=1)
    run(tmp_path / "c")
    assert Brightness.pretrained_steps == (1 + 3) * 4


def test_networks_that_options_build_do_not_depend_on_who_else_is_compared(tmp_path: Path) -> None:
    def with_head(in_channels: int) -> dict[str, Any]:
        return {"head": nn.Linear(4, 1)}

    options = {"light": with_head, "other": with_head}
    run(tmp_path / "c", {"light": Brightness}, seeds=1, options={"light": with_head})
    run(tmp_path / "c", {"other": Other, "light": Brightness}, seeds=1, options=options)
    assert Brightness.pretrained_steps == 2 * 4


@pytest.mark.parametrize(
    "changed",
    [
        {"epochs": 2},
        {"supervise": {"batch_size": 4, "lr": 1e-4}},
        {"options": {"light": {"weight": 2.0}}},
        {"images": {"light": 8}},
        {"backbone": lambda channels: nn.Sequential(TinyNet(channels), nn.ReLU())},
    ],
)
def test_what_decides_a_run_makes_another_run(tmp_path: Path, changed: dict[str, Any]) -> None:
    run(tmp_path / "c", {"light": Brightness}, seeds=1)
    run(tmp_path / "c", {"light": Brightness}, seeds=1, **changed)
    assert len(Brightness.built) == 2


def test_half_a_line_is_done_again(tmp_path: Path) -> None:
    run(tmp_path / "c", {"light": Brightness}, seeds=1)
    file = tmp_path / "c.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    comparison = run(tmp_path / "c", {"light": Brightness}, seeds=1)
    assert len(Brightness.built) == 2
    assert comparison.leaderboard[0].seeds == (0,)
    assert json.loads(file.read_text().splitlines()[-1])["algorithm"] == "light"


def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", {"light": Brightness}, seeds=1, epochs=3)
    Brightness.pretrained_steps, Brightness.stop_at = 0, 7
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c", {"light": Brightness}, seeds=1, epochs=3)
    Brightness.stop_at = None
    comparison = run(tmp_path / "c", {"light": Brightness}, seeds=1, epochs=3)
    assert Brightness.pretrained_steps == 12
    assert comparison.runs[1]["loss"] == whole.runs[1]["loss"]
    assert comparison.runs[1]["accuracy"] == whole.runs[1]["accuracy"]
    assert not list((tmp_path / "c").iterdir())  # nothing is left of checkpoints and locks


def test_time_that_a_run_has_used_counts_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Brightness.stop_at = 6
    hour = {"seeds": 1, "epochs": None, "budget": "1h"}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c", {"light": Brightness}, **hour)
    Brightness.stop_at = None
    (checkpoint,) = (tmp_path / "c").glob("light*.pt")
    assert 0 < run_module.seconds_of(checkpoint) < 3600
    monkeypatch.setattr(run_module, "seconds_of", lambda checkpoint: 3600.0)
    (row,) = run(tmp_path / "c", {"light": Brightness}, **hour).leaderboard
    assert row.minutes is not None
    assert row.steps is not None
    assert row.minutes.mean >= 60
    assert row.steps.mean == 7  # the step ended; then its hour was over


def test_checkpoints_stay_if_asked(tmp_path: Path) -> None:
    run(tmp_path / "c", {"light": Brightness}, seeds=1, keep=True)
    assert sorted(file.suffix for file in (tmp_path / "c").iterdir()) == [".csv", ".pt"]


def test_a_budget_of_time_ends_every_run() -> None:
    comparison = run(None, epochs=None, budget="0.05s", seeds=1)
    for entry in comparison.leaderboard:
        assert entry.minutes is not None
        assert entry.steps is not None
        assert 0.05 <= entry.minutes.mean * 60
        assert entry.steps.mean >= 1


def test_an_algorithm_that_fails_is_a_row_that_says_why(tmp_path: Path) -> None:
    comparison = run(tmp_path / "c", {"no": Refuses, "light": Brightness})
    assert [entry.algorithm for entry in comparison.leaderboard] == ["light", "no"]
    assert comparison.leaderboard[1].errors == ("ValueError: needs colour: got 1 channel",)
    assert "no: failed: ValueError: needs colour: got 1 channel" in str(comparison)


def test_failed_runs_are_tried_again_on_request_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "c", {"no": Refuses}, seeds=1)
    monkeypatch.setattr(Refuses, "__init__", Brightness.__init__)
    assert run(tmp_path / "c", {"no": Refuses}, seeds=1).leaderboard[0].has_failed
    assert not run(tmp_path / "c", {"no": Refuses}, seeds=1, retry=True).leaderboard[0].has_failed


def test_what_sees_images_otherwise_has_a_twin_that_does_so_too() -> None:
    comparison = run(None, {"light": Brightness, "grey": Grey}, seeds=1)
    untrained, light, grey = comparison.runs
    assert light["twin"] == untrained["key"]
    assert light["untrained"] is None
    assert grey["twin"] is None
    assert set(grey["untrained"]) == {"knn"}
    gains = {entry.algorithm: entry.gain["knn"].mean for entry in comparison.leaderboard}
    assert gains["light"] == light["accuracy"]["knn"] - untrained["accuracy"]["knn"]
    assert gains["grey"] == grey["accuracy"]["knn"] - grey["untrained"]["knn"]


def test_health_warnings_are_kept_and_do_not_reach_the_user() -> None:
    (row,) = run(None, {"ill": Ill}, seeds=1).leaderboard
    assert row.warnings == ("all is lost: try another",)


def test_a_run_has_its_measurements() -> None:
    record = run(None, {"light": Brightness}, seeds=1).runs[1]
    assert record["steps"] == 4
    assert record["epochs"] == 1.0
    assert record["images"] == 16
    assert record["images_per_second"] > 0
    assert record["loss"] > 0
    assert record["health"]["verdict"]
    assert record["peak_memory"] is None or record["peak_memory"] >= 0


def test_options_are_copied_or_built_for_each_run() -> None:
    head = nn.Linear(4, 1)
    before = head.weight.clone()
    run(None, {"light": Brightness}, options={"light": {"head": head}})
    assert torch.equal(head.weight, before)
    one, two = (built["head"] for built in Brightness.built)
    assert one is not two
    Brightness.built = []
    seen: list[int] = []

    def make(in_channels: int) -> dict[str, Any]:
        seen.append(in_channels)
        return {"weight": 3.0}

    run(None, {"light": Brightness}, options={"light": make}, seeds=1)
    assert Brightness.built[0]["weight"] == 3.0
    assert set(seen) == {3}


def test_settings_of_an_algorithm_stand_above_the_shared_ones() -> None:
    comparison = run(None, supervise={"batch_size": 4, "other": {"batch_size": 8}}, seeds=1)
    steps = {run["algorithm"]: run["steps"] for run in comparison.runs[1:]}
    assert steps == {"light": 4, "other": 2}


def test_base_sizes_repeat_the_pretraining_and_give_the_sensitivity() -> None:
    comparison = run(None, {"light": Brightness}, base_sizes=[4, 8, 16])
    assert [built["images"] for built in Brightness.built] == [4, 8, 16] * 2
    (row,) = comparison.leaderboard
    assert list(row.by_size) == [4, 8, 16]
    means = torch.tensor([row.by_size[size]["knn"].mean for size in row.by_size])
    assert row.sensitivity is not None
    assert row.sensitivity["knn"] == pytest.approx(float(means.std(correction=0)), abs=1e-6)
    assert row.accuracy == row.by_size[16]


def test_pretraining_images_may_be_others_and_fewer() -> None:
    unlabelled = labelled(24, 5)[0]
    run(None, pretrain=unlabelled, images={"other": 10}, seeds=1)
    assert [built["images"] for built in Brightness.built] == [24, 10]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"epochs": None}, ValueError, "either budget"),
        ({"budget": "1min"}, ValueError, "either budget"),
        ({**TIMED, "budget": "soon"}, ValueError, "budget is a time such as"),
        ({**TIMED, "budget": "0s"}, ValueError, "budget must be longer than nothing"),
        ({**TIMED, "supervise": {"lr_scheduler": "cosine"}}, ValueError, "give epochs"),
        ({"algorithms": ["rotato"]}, ValueError, r"got .'rotato'.: did you mean 'rotate'\?"),
        ({"algorithms": "rotate"}, TypeError, "sequence"),
        ({"algorithms": []}, ValueError, "at least one"),
        ({"seeds": 0}, ValueError, "seeds"),
        ({"seeds": 1.5}, ValueError, "seeds must be a number of at least 1, or seeds, got 1.5"),
        ({"seeds": [0, 0.5]}, ValueError, "seeds must be"),
        ({"epochs": 1.5}, ValueError, "epochs must be a whole number of at least 1, got 1.5"),
        ({"epochs": 0}, ValueError, "epochs must be a whole number of at least 1, got 0"),
        ({"base_sizes": []}, ValueError, "base_sizes must have at least one number"),
        ({"base_sizes": 8}, ValueError, "whole numbers from 1 to the 16 images .* got 8"),
        ({"base_sizes": [4.5]}, ValueError, r"whole numbers from 1 .* got \[4.5\]"),
        ({"images": {"light": 3.5}}, ValueError, "whole numbers from 1 to the 16"),
        ({"images": 8}, TypeError, "images must be a dictionary of keywords or names, got 8"),
        ({"supervise": 3}, TypeError, "supervise must be a dictionary"),
        ({"supervise": {"light": 3}}, TypeError, r"supervise\['light'\] must be a dictionary"),
        ({"options": {"light": 3}}, TypeError, r"options\['light'\] must be a dictionary"),
        ({"protocols": ["finetune-from-layre"]}, ValueError, "did you mean layer"),
        ({"protocols": ["guess"]}, ValueError, "guess"),
        ({"options": {"light": {"wieght": 1}}}, TypeError, "wieght"),
        ({"options": {"dark": {}}}, ValueError, "dark"),
        ({"images": {"dark": 3}}, ValueError, "dark"),
        ({"images": {"light": 17}}, ValueError, "17"),
        ({"base_sizes": [0, 4]}, ValueError, "base_sizes"),
        ({"supervise": {"batchsize": 3}}, TypeError, "batchsize"),
        ({"supervise": {"name": "x"}}, ValueError, "name"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_before_anything_runs(
    changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(None, **changed)
    assert not Brightness.built


def test_data_without_labels_are_refused_before_anything_runs() -> None:
    images, _ = labelled(8, 0)
    with pytest.raises(ValueError, match="train part has no labels"):
        compare({"light": Brightness}, images, labelled(8, 1), epochs=1, path=None)


def test_parts_that_do_not_fit_are_refused_before_anything_runs() -> None:
    (images, labels), test = labelled(8, 0), labelled(8, 1)
    rows = nn.functional.one_hot(labels)
    with pytest.raises(ValueError, match=r"labels of both parts must be of one kind, got \[2\]"):
        compare({"light": Brightness}, (images, rows), test, epochs=1, path=None)


def test_a_multi_label_set_is_rated_by_its_own_metric() -> None:
    (images, labels), (others, more) = labelled(16, 0), labelled(12, 1)
    rows, test = nn.functional.one_hot(labels), (others, nn.functional.one_hot(more))
    comparison = compare(
        {"light": Brightness},
        (images, rows),
        test,
        epochs=1,
        backbone=TinyNet,
        seeds=1,
        protocols=("knn",),
        supervise={"batch_size": 4},
        path=None,
    )
    assert comparison.metric == "mean average precision"
    assert comparison.conditions.startswith("mean average precision in %")
    assert comparison.plot().axes[0].get_xlabel() == "knn: mean average precision in %"


def test_torchs_own_random_stream_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    run(None, seeds=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_run_that_another_process_works_on_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "done", {"light": Brightness}, seeds=1)
    lines = (tmp_path / "done.jsonl").read_text().splitlines(keepends=True)
    key = json.loads(lines[1])["key"]
    store = RunStore(tmp_path / "c")
    Brightness.pretrained_steps = 0
    with store.claim(key) as is_ours:
        assert is_ours
        # The other process finishes while we wait.
        monkeypatch.setattr(time, "sleep", lambda _: store.append(json.loads(lines[1])))
        comparison = run(tmp_path / "c", {"light": Brightness}, seeds=1)
    assert Brightness.pretrained_steps == 0
    assert comparison.leaderboard[0].seeds == (0,)


def _share(path: Path, start: Any) -> None:
    torch.set_num_threads(1)
    start.wait()
    run(path, seeds=3)


@pytest.mark.slow
def test_two_processes_share_the_runs_and_repeat_none(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    workers = [context.Process(target=_share, args=(tmp_path / "c", start)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    keys = [json.loads(line)["key"] for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 3 * 3


def test_makes_of_backbone_must_return_a_network() -> None:
    make: Callable[[int], Any] = lambda channels: "no network"  # noqa: E731
    with pytest.raises(TypeError, match="must return a network"):
        run(None, backbone=make)
