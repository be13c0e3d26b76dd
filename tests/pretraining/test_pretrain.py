"""The one call, by steps and not by seconds: how long a step takes is said, not measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from super_selfish import pretrain
from super_selfish.data import ImageSource, as_source
from super_selfish.evaluation import health
from super_selfish.evaluation.features import LabelledSource
from super_selfish.pretraining import choices, finishing, planning
from super_selfish.pretraining.choices import Choices
from super_selfish.pretraining.outcome import Outcome
from super_selfish.pretraining.rules import held_out
from super_selfish.pretraining.running import plain_value
from super_selfish.pretraining.subjects import Subject
from super_selfish.pretraining.timing import Pace, pace_of
from super_selfish.supervisors import MAESupervisor, RotateNetSupervisor, SimCLRSupervisor
from super_selfish.training.callbacks import Callback

pytestmark = pytest.mark.filterwarnings("ignore:.*few to learn from")
A_STEP = 230.0  # seconds that every step is said to take: eleven fit into an hour's training


@pytest.fixture(autouse=True)
def paced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """Steps of a said length; which networks were asked for, and at which size."""
    asked = []

    def pace(build: Callable[[Tensor], Any], images: Tensor, *_: Any, **__: Any) -> Pace:
        backbone = build(images).get_backbone()
        asked.append((type(backbone).__name__, tuple(images.shape[2:])))
        return Pace(A_STEP, 1.0)

    monkeypatch.setattr(planning, "pace_of", pace)
    return asked


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the page out, which takes seconds."""
    monkeypatch.setattr(finishing, "_page", lambda supervisor, paths, *_: paths.report)


@pytest.fixture
def labelled(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sixty smooth images, of two classes: bright ones and dark ones."""
    labels = torch.arange(60) % 2
    coarse = torch.rand(60, 3, 4, 4, generator=generator) * 0.4 + 0.5 * labels[:, None, None, None]
    smooth = nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    return (smooth * 255).to(torch.uint8), labels


class Ends(Callback):
    """Interrupts a run, as Ctrl-C does, after some steps."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_step(self, supervisor: Any, step: Any) -> None:
        if supervisor.run.global_step == self.after:
            raise KeyboardInterrupt


def call(images: Any, out: Path, backbone: Any, **given: Any) -> Outcome:
    return pretrain(images, out, **{"time": "1h", "backbone": backbone, "batch_size": 16, **given})


def test_one_call_trains_rates_and_leaves_its_files(
    labelled: tuple[Tensor, Tensor],
    tmp_path: Path,
    tiny_backbone: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    backbone = tiny_backbone()
    outcome = call(labelled, tmp_path / "out", backbone)
    assert outcome.backbone is backbone
    # 48 images in batches of 16 are 3 steps a pass; in 11 steps, 4 passes of 32 images fit.
    run = outcome.supervisor.run
    assert run is not None and (run.epochs, run.num_images, run.global_step) == (4, 32, 8)
    lines = outcome.choices.why
    assert [line.partition(":")[0] for line in lines] == ["Images", "Network", "Task", "Run"]
    assert "32 of 48" in lines[0] and "12 others are kept to test on" in lines[0]
    assert "\n".join(lines) in capsys.readouterr().err
    assert outcome.evaluation is not None and outcome.health is None
    assert outcome.evaluation.test_images == 12 and outcome.evaluation.train_images == 48
    assert set(outcome.evaluation.intervals["difference"]) == {"knn", "linear"}
    assert outcome.helped == outcome.evaluation.verdict and outcome.helped
    for name in ("run.pt", "run.csv", "run.html", "backbone.safetensors", "choices.json"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert set(outcome.paths) == {"checkpoint", "history", "choices", "backbone", "report"}
    assert "Did it help?" in outcome.paths["report"].read_text()
    told = str(outcome)
    assert "Did it help?" in told and str(outcome.paths["backbone"]) in told
    json.dumps(outcome.as_dict())


@pytest.mark.usefixtures("no_page")
def test_the_written_backbone_is_the_trained_one(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    from safetensors.torch import load_file

    outcome = call(labelled, tmp_path, tiny_backbone())
    stored = load_file(outcome.paths["backbone"])
    trained = outcome.backbone.state_dict()
    assert stored.keys() == trained.keys()
    assert all(torch.equal(stored[name], trained[name].cpu()) for name in stored)
    assert not torch.equal(
        stored["layers.0.weight"], tiny_backbone().state_dict()["layers.0.weight"]
    )


@pytest.mark.usefixtures("no_page")
def test_an_interrupted_run_goes_on_to_the_same_weights(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    whole = call(labelled, tmp_path / "whole", tiny_backbone(), algorithm="rotate")
    stops = {"callbacks": [Ends(4)]}
    with pytest.raises(KeyboardInterrupt):
        call(labelled, tmp_path / "parts", tiny_backbone(), algorithm="rotate", supervise=stops)
    record = json.loads((tmp_path / "parts" / "choices.json").read_text())
    assert record["is_done"] is False and (tmp_path / "parts" / "run.pt").is_file()
    assert not (tmp_path / "parts" / "backbone.safetensors").exists()
    parts = call(labelled, tmp_path / "parts", tiny_backbone(), algorithm="rotate")
    run = parts.supervisor.run
    assert run is not None and run.global_step == 8
    for name, weights in whole.backbone.state_dict().items():
        assert torch.equal(weights, parts.backbone.state_dict()[name]), name
    assert json.loads((tmp_path / "parts" / "choices.json").read_text())["is_done"] is True


@pytest.mark.usefixtures("no_page")
def test_a_finished_run_is_not_trained_again(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any, paced: list[Any]
) -> None:
    first = call(labelled, tmp_path, tiny_backbone())
    timed, stored = len(paced), (tmp_path / "run.pt").read_bytes()
    second = call(labelled, tmp_path, tiny_backbone())
    assert len(paced) == timed and (tmp_path / "run.pt").read_bytes() == stored
    assert first.evaluation is not None and second.evaluation is not None
    assert second.evaluation.pretrained == first.evaluation.pretrained


class IsLate(Callback):
    """Has the time of a run be up after some steps."""

    def on_step(self, supervisor: Any, step: Any) -> None:
        if supervisor.run.global_step == 3:
            supervisor.run._deadline = 0.0


@pytest.mark.usefixtures("no_page")
def test_what_was_said_of_a_finished_run_is_said_again_and_nothing_else(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    late = {"callbacks": [IsLate()]}
    first = call(labelled, tmp_path, tiny_backbone(), supervise=late)
    (said,) = first.remarks
    assert said.startswith("The time was up in epoch 2 of 4, before the rate had come to its end")
    record = json.loads((tmp_path / "choices.json").read_text())
    used = {**record, "seconds": 4000.0}  # of 3,600
    (tmp_path / "choices.json").write_text(json.dumps(used))
    assert call(labelled, tmp_path, tiny_backbone()).remarks == (said,)
    assert json.loads((tmp_path / "choices.json").read_text())["seconds"] == 4000.0
    (tmp_path / "choices.json").write_text(json.dumps({**used, "is_done": False}))
    again = call(labelled, tmp_path, tiny_backbone()).remarks
    assert again[0] == said and again[1].endswith(" s longer than the time given.")


@pytest.mark.usefixtures("no_page")
def test_more_time_is_more_epochs_of_the_same_run(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    first = call(labelled, tmp_path, tiny_backbone())
    second = call(labelled, tmp_path, tiny_backbone(), time="2h")
    seconds = first.choices.train_seconds
    assert second.choices.epochs == round(4 * (seconds + 3600) / seconds) == 9
    assert "Run: 4 epochs, 8 updates, in" in str(first.choices)
    assert "Run: 9 epochs, 18 updates, in 1 h" in str(second.choices)
    run = second.supervisor.run
    assert run is not None and run.global_step == 18
    assert json.loads((tmp_path / "choices.json").read_text())["total"] == 7200


@pytest.mark.usefixtures("no_page")
def test_more_time_is_no_more_epochs_than_fit_into_what_is_left_of_it(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    first = call(labelled, tmp_path, tiny_backbone())
    path = tmp_path / "choices.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 5000.0}))  # of 3,600
    second = call(labelled, tmp_path, tiny_backbone(), time="3h")
    left = 3 * 3600 - 5000 - first.choices.reserved
    assert second.choices.train_seconds == pytest.approx(left, abs=30)
    assert second.choices.epochs == round(4 * left / first.choices.train_seconds) == 7


@pytest.mark.usefixtures("no_page")
def test_less_time_does_not_take_epochs_back(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    call(labelled, tmp_path, tiny_backbone())
    again = call(labelled, tmp_path, tiny_backbone(), time="30min")
    assert "Run: 4 epochs, 8 updates, in" in str(again.choices)


@pytest.mark.parametrize(
    "other, words",
    [
        ({"algorithm": "rotate"}, "algorithm=None, this call has 'rotate'"),
        ({"seed": 1}, "seed=0, this call has 1"),
        ({"options": {"temperature": 0.5}}, "this call has {'temperature': 0.5}"),
    ],
)
@pytest.mark.usefixtures("no_page")
def test_another_run_in_the_folder_is_refused_in_words(
    labelled: tuple[Tensor, Tensor],
    tmp_path: Path,
    tiny_backbone: Any,
    other: dict[str, Any],
    words: str,
) -> None:
    call(labelled, tmp_path, tiny_backbone())
    with pytest.raises(ValueError, match="overwrite=True to begin anew") as refused:
        call(labelled, tmp_path, tiny_backbone(), **other)
    assert words in str(refused.value)
    anew = call(labelled, tmp_path, tiny_backbone(), **other, overwrite=True)
    assert anew.supervisor.run is not None and anew.supervisor.run.global_step == 8


@pytest.mark.parametrize(
    ("other", "is_of_labels"), [({"seed": 1}, False), ({"labels": "3a32c0c1ecf2"}, True)]
)
def test_labels_for_a_run_that_had_none_can_rate_it(
    tmp_path: Path, other: dict[str, Any], is_of_labels: bool
) -> None:
    record = choices.Record(tmp_path / "choices.json", {"labels": None, "seed": 0}, None, 60.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="holds a run with") as refused:
        choices.refuse_others(record, {**record.asked, **other})
    assert ("evaluate() rates by labels" in str(refused.value)) == is_of_labels


def test_images_without_a_label_train_and_the_others_all_rate() -> None:
    images = torch.randint(0, 256, (200, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    labels = torch.where(torch.arange(200) % 4 == 0, torch.arange(200) % 3, -1)  # fifty have one
    subject = Subject(images.to(torch.uint8), labels)
    rated = subject.rated((16, 16), 1000, None, seed=0)
    assert not isinstance(rated, str)
    tested = len(rated.test[1])
    assert tested == held_out(50) and len(rated.train[1]) == 50 - tested
    assert sorted(rated.kept.tolist()) == sorted({*rated.kept.tolist()} & set(range(0, 200, 4)))
    assert len(rated.kept) == tested
    again = subject.rated((16, 16), 50 - tested, None, seed=0)  # as many as there are: no fewer
    assert not isinstance(again, str) and torch.equal(again.train[1], rated.train[1])
    few = torch.where(torch.arange(200) < 3, 1, -1)
    said = Subject(images.to(torch.uint8), few).rated((16, 16), 1000, None, seed=0)
    assert said == "3 images with a label are too few to keep some of them for a test"


def test_labels_of_a_table_with_blanks_all_rate(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    Image.new("RGB", (16, 16), "white").save(tmp_path / "b.png")
    cells = ["ab"[row // 4 % 2] if row % 4 == 0 else "" for row in range(240)]  # sixty have one
    rows = [f"{cell or 'a'}.png,{cell}" for cell in cells]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *rows]))
    rated = Subject(tmp_path / "table.csv").rated((16, 16), 20, None, seed=0)
    assert not isinstance(rated, str)
    assert (len(rated.test[1]), len(rated.train[1])) == (held_out(60), 20)
    assert not {*(rated.kept % 4).tolist()} - {0}


def test_what_was_asked_for_is_told_as_it_was_said() -> None:
    said = {"scale": (0.2, 1.0), "tasks": ["rotate", ("moco", {"queue_size": 64})], "teacher": None}
    kept = {"scale": [0.2, 1.0], "tasks": ["rotate", ["moco", {"queue_size": 64}]], "teacher": None}
    assert plain_value(said) == kept == json.loads(json.dumps(plain_value(said)))
    assert plain_value(nn.Linear(1, 1)) == "Linear"
    weights = torch.ones(3)
    known = plain_value((weights, 1))
    assert isinstance(known[0], str) and known == plain_value([weights.clone(), 1])
    assert known != plain_value((weights + 1, 1))


@pytest.mark.usefixtures("no_page")
def test_other_images_are_refused(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    images, labels = labelled
    call(labelled, tmp_path, tiny_backbone())
    with pytest.raises(ValueError, match="number of images=60, this call has 59"):
        call((images[1:], labels[1:]), tmp_path, tiny_backbone())
    with pytest.raises(ValueError, match="labels"):
        call((images, 1 - labels), tmp_path, tiny_backbone())


@pytest.mark.usefixtures("no_page")
def test_files_that_nobody_knows_of_stay(labelled: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    (tmp_path / "backbone.safetensors").write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        call(labelled, tmp_path, None)
    assert (tmp_path / "backbone.safetensors").read_text() == "mine"
    (tmp_path / "choices.json").write_text("{}")
    with pytest.raises(ValueError, match="no record of a run of this version"):
        call(labelled, tmp_path, None)


@pytest.mark.usefixtures("no_page")
def test_without_labels_the_verdict_of_health_is_given(
    images: Tensor, tmp_path: Path, tiny_backbone: Any
) -> None:
    outcome = call(images, tmp_path, tiny_backbone(), batch_size=8)
    assert outcome.evaluation is None and outcome.helped is None
    assert outcome.health is not None and outcome.health.images == 22
    assert outcome.health.verdict in str(outcome)
    assert outcome.choices.tested == 0
    assert " of 22 images are the nearest to a view" in outcome.remarks[-1]
    assert "by an untrained network" in str(outcome)


@pytest.mark.parametrize(
    ("collapsed", "words"),
    [
        ("trained", "fewer, so training has probably not helped"),
        ("untrained", "More of them mostly mean a higher accuracy"),
        ("both", "within noise, so nothing says that training has helped"),
    ],
)
def test_without_labels_features_stand_beside_those_of_an_untrained_network(
    collapsed: str, words: str, tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = torch.rand(64, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    images = nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")
    supervisor = SimCLRSupervisor(images, tiny_backbone())
    twin = finishing.untrained_network("twin", supervisor.get_backbone(), 0)
    assert twin is not None
    monkeypatch.setattr(finishing, "untrained_network", lambda *_, **__: twin)
    ill = {"trained": [supervisor.get_backbone()], "untrained": [twin.network]}
    with torch.no_grad():
        for network in ill.get(collapsed, [supervisor.get_backbone(), twin.network]):
            for parameter in network.parameters():
                parameter.zero_()
    shown = LabelledSource(as_source(images), None)
    found = health(supervisor, shown, num_images=None)
    said = finishing.beside_untrained(supervisor, shown, found)
    assert "; by an untrained network " in said
    unwell = finishing.beside_untrained(
        supervisor, shown, dataclasses.replace(found, is_healthy=False)
    )
    assert ("more, though the features are not well" in unwell) == (collapsed == "untrained")
    assert said.startswith(f"{found.retrieval:.1%} of 64 images are") and words in said


def test_weights_that_may_have_learned_are_not_called_untrained(images: Tensor) -> None:
    # Nobody knows whether these were trained, since no norms tell.
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    supervisor = SimCLRSupervisor(images, network)
    supervisor.supervise(epochs=1, batch_size=8, name=None, progress=False)
    shown = LabelledSource(as_source(images), None)
    said = finishing.beside_untrained(supervisor, shown, health(supervisor, shown))
    assert "; by the weights of the backbone before training " in said


@pytest.mark.usefixtures("no_page")
def test_a_folder_of_class_folders_has_labels(tmp_path: Path, tiny_backbone: Any) -> None:
    generator = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(30):
            pixels = generator.integers(0, 256, (40, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    outcome = call(tmp_path / "images", tmp_path / "out", tiny_backbone())
    assert outcome.evaluation is not None
    assert outcome.evaluation.classes == 2 and outcome.evaluation.test_images == 12
    assert outcome.choices.image_size == (36, 32)  # larger ones want more updates than fit
    assert outcome.choices.cache and (tmp_path / "out" / "images.npy").is_file()


def test_the_ladder_is_climbed_as_far_as_updates_fit(
    labelled: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = nn.functional.interpolate(labelled[0].float(), size=(100, 100)).to(torch.uint8)
    steps = {"NarrowResNet32": 0.1, "NarrowResNet64": 0.2, "NarrowResNet96": 1.0}
    asked = []

    def pace(build: Callable[[Tensor], Any], some: Tensor, *_: Any, **__: Any) -> Pace:
        asked.append(f"{type(build(some).get_backbone()).__name__}{some.shape[-1]}")
        return Pace(steps[asked[-1]], 1.0)

    monkeypatch.setattr(planning, "pace_of", pace)
    subject = Subject(images)
    wishes = planning.Wishes(
        RotateNetSupervisor, "rotate", None, None, {}, {}, 0, torch.device("cpu"), True
    )
    taken, slower = planning.climb(subject, wishes, 16, lambda timed: 1000.0, 10.0)
    assert taken.rung == ("narrow-resnet", (64, 64)) and taken.step == 0.2
    assert slower == (("narrow-resnet", (96, 96)), 900, 1000)
    assert list(steps) == asked
    taken, slower = planning.climb(subject, wishes, 16, lambda timed: 320.0, 10.0)
    assert taken.rung.image_size == (64, 64) and slower is not None
    assert slower.fitting is None  # 1,440 updates: not worth timing larger images


def test_an_algorithm_with_a_network_of_its_own_has_no_other(images: Tensor) -> None:
    for backbone, name in ((None, "timm/vit_tiny_patch16_224"), ("narrow-resnet",) * 2):
        wishes = planning.Wishes(
            MAESupervisor, "mae", backbone, None, {}, {}, 0, torch.device("cpu"), True
        )
        rungs = planning.rungs_for(Subject(images), wishes)
        assert {rung.backbone for rung in rungs} == {name}


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.usefixtures("no_page")
def test_images_of_any_channels_train(
    tmp_path: Path, tiny_backbone: Any, generator: torch.Generator, channels: int
) -> None:
    images = torch.randint(0, 256, (20, channels, 32, 32), dtype=torch.uint8, generator=generator)
    outcome = call(images, tmp_path, tiny_backbone(channels), in_channels=channels, batch_size=8)
    assert outcome.choices.in_channels == channels and outcome.health is not None


@pytest.mark.usefixtures("no_page")
def test_sixteen_bits_train(tmp_path: Path, tiny_backbone: Any) -> None:
    numbers = np.random.default_rng(0).integers(0, 65536, (20, 32, 32, 1)).astype(np.uint16)
    outcome = call(numbers, tmp_path, tiny_backbone(1), batch_size=8)
    assert outcome.choices.in_channels == 1


class Flow(torch.utils.data.IterableDataset[Tensor]):
    """Images one after the other."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __iter__(self) -> Any:
        return iter(self.images)


@pytest.mark.usefixtures("no_page")
def test_a_stream_trains_and_its_first_images_are_judged(
    images: Tensor, tmp_path: Path, tiny_backbone: Any
) -> None:
    outcome = call(Flow(images), tmp_path, tiny_backbone(), batch_size=4)
    run = outcome.supervisor.run
    assert run is not None and (run.epochs, run.steps_per_epoch) == (10, 1)
    assert outcome.health is not None and outcome.choices.num_images is None
    assert "a stream" in outcome.choices.why[0]


def test_few_images_are_refused_or_warned_of(images: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give at least 8, got 7"):
        pretrain(images[:7], tmp_path)


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("no_page")
def test_below_five_hundred_images_a_warning_says_so(
    images: Tensor, tmp_path: Path, tiny_backbone: Any
) -> None:
    with pytest.warns(UserWarning, match="22 images are few to learn from"):
        call(images, tmp_path, tiny_backbone(), batch_size=8)


@pytest.mark.parametrize(
    "given, error, words",
    [
        ({"time": "19s"}, ValueError, "time must be at least 20s"),
        ({"time": "soon"}, ValueError, "time is a time such as"),
        ({"algorithm": "rotatte"}, ValueError, "did you mean 'rotate'?"),
        ({"algorithm": 3}, TypeError, "name or a class of a supervisor"),
        ({"options": {"temprature": 1}}, TypeError, "options: .'temprature'. are none of"),
        ({"options": {"backbone": None}}, ValueError, "said in the call itself"),
        ({"supervise": {"rate": 1}}, TypeError, "supervise: .'rate'. are none of"),
        ({"supervise": {"epochs": 1}}, ValueError, "'epochs' is for time= of this call"),
        ({"supervise": 3}, TypeError, "supervise must be a dictionary"),
        ({"test": 3}, ValueError, "the images have none: give labels="),
        ({"labels": "labels.csv"}, TypeError, "labels= has one an image, got 'labels.csv'"),
        ({"labels": [0] * 22}, ValueError, "too few to keep some of them for a test"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(
    images: Tensor, tmp_path: Path, given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        pretrain(images, tmp_path / "runs" / "out", **given)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_is_named(images: Tensor, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    for place in (tmp_path / "out", tmp_path / "out" / "deep"):
        with pytest.raises(OSError, match=r"/out is a file, not a folder; give another out=$"):
            pretrain(images, place)


@pytest.mark.usefixtures("no_page")
def test_a_checkpoint_that_is_not_that_of_the_choices_is_refused_with_a_remedy(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    call(labelled, tmp_path, tiny_backbone())
    chosen, checkpoint = tmp_path / "choices.json", tmp_path / "run.pt"
    record = chosen.read_text()
    chosen.write_text(record.replace('"algorithm": "simclr"', '"algorithm": "rotate"'))
    with pytest.raises(ValueError, match=r"algorithm='rotate', .*run\.pt holds a SimCLRSupervisor"):
        call(labelled, tmp_path, tiny_backbone())
    chosen.write_text(record)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=r"run\.pt cannot be read: .*\. Give another out=, or over"
    ):
        call(labelled, tmp_path, tiny_backbone())


def test_a_time_in_which_hardly_a_step_fits_is_refused(images: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="time= is too short: a step of narrow-resnet at 32x32"):
        pretrain(images, tmp_path, "10min")


def test_several_processes_are_refused(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started together"):
        pretrain(images, tmp_path)


@pytest.mark.usefixtures("no_page")
def test_a_source_keeps_the_size_that_it_was_made_with(
    images: Tensor, tmp_path: Path, tiny_backbone: Any, paced: list[Any]
) -> None:
    source = ImageSource(images, image_size=40)
    outcome = call(source, tmp_path, tiny_backbone(), batch_size=8)
    assert outcome.choices.image_size == (40, 40)
    assert paced == [("TinyBackbone", (40, 40))]


def test_a_clock_counts_all_calls_together() -> None:
    now = [100.0]
    clock = choices.Clock(60.0, used=20.0, now=lambda: now[0])
    assert (clock.used, clock.left) == (20.0, 40.0)
    now[0] = 130.0
    assert (clock.used, clock.left) == (50.0, 10.0)
    now[0] = 150.0
    assert clock.left == 0.0


def test_steps_are_timed_by_doing_some_and_nothing_stays(
    images: Tensor, tiny_backbone: Any
) -> None:
    built = []

    def build(some: Tensor) -> Any:
        built.append(RotateNetSupervisor(some, tiny_backbone()))
        return built[-1]

    def steps_of(supervisor: RotateNetSupervisor) -> int:
        assert supervisor.run is not None
        return supervisor.run.global_step

    state = torch.random.get_rng_state()
    pace = pace_of(build, images, 8, 60.0)
    assert 0 < pace.seconds < 60 and pace.load >= 1
    assert steps_of(built[0]) == 5  # the first one is not timed
    assert torch.equal(torch.random.get_rng_state(), state)
    pace_of(build, images, 8, 0.0)
    assert steps_of(built[1]) == 2


@pytest.mark.usefixtures("no_page")
def test_test_images_among_the_others_are_warned_of(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    images, labels = labelled
    with pytest.warns(UserWarning, match="test images"):
        outcome = call(labelled, tmp_path, tiny_backbone(), test=(images[:20], labels[:20]))
    assert outcome.choices.tested == 0 and outcome.evaluation is not None
    assert outcome.evaluation.test_images == 20 and "kept to test on" not in str(outcome)


def test_a_data_set_that_changes_is_warned_of(tmp_path: Path, tiny_backbone: Any) -> None:
    class Changing(torch.utils.data.Dataset[Tensor]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> Tensor:
            return torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)

    with pytest.warns(UserWarning, match="super_selfish.check"):
        with pytest.raises(ValueError, match="time= is too short"):
            call(Changing(), tmp_path, tiny_backbone(), time="20s")


@pytest.mark.usefixtures("no_page")
def test_choices_of_another_run_are_repeated(
    labelled: tuple[Tensor, Tensor],
    tmp_path: Path,
    tiny_backbone: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = call(labelled, tmp_path / "a", tiny_backbone())
    monkeypatch.setattr(planning, "pace_of", None)  # nothing is timed
    kept = first.paths["choices"]
    for given in (first.choices, kept, json.loads(kept.read_text())["choices"]):
        again = call(labelled, tmp_path / "b", tiny_backbone(), choices=given, overwrite=True)
        assert again.choices == first.choices
        weights = again.backbone.state_dict()
        assert all(torch.equal(v, weights[k]) for k, v in first.backbone.state_dict().items())
    with pytest.raises(ValueError, match="are of a run with batch_size=16, but here it is 8"):
        call(labelled, tmp_path / "b", tiny_backbone(), choices=kept, batch_size=8)
    with pytest.raises(ValueError, match=r"choices= names .*, which is missing"):
        call(labelled, tmp_path / "b", tiny_backbone(), choices=tmp_path / "none.json")
    for wrong in (0, "x"):
        with pytest.raises(ValueError, match=f"epochs of choices must be above 0, got {wrong!r}"):
            Choices.of({**vars(first.choices), "epochs": wrong})
    with pytest.raises(ValueError, match=r"\['epochs'\] are missing or unknown"):
        values = {k: v for k, v in vars(first.choices).items() if k != "epochs"}
        call(labelled, tmp_path / "b", tiny_backbone(), choices=values)
    other = dataclasses.replace(first.choices, epochs=9)
    with pytest.raises(ValueError, match="holds a run with other choices than choices="):
        call(labelled, tmp_path / "b", tiny_backbone(), choices=other)


@pytest.mark.filterwarnings("ignore:.*cannot be read", "ignore:.*left out")
@pytest.mark.usefixtures("no_page")
def test_images_are_read_as_the_call_says(tmp_path: Path, tiny_backbone: Any) -> None:
    generator = np.random.default_rng(0)
    (tmp_path / "deep").mkdir()
    for number in range(20):
        deep = generator.integers(0, 4096, (32, 32)).astype(np.uint16)
        Image.fromarray(deep).save(tmp_path / "deep" / f"{number}.png")
    (tmp_path / "deep" / "none.png").write_bytes(b"none")
    images, backbone = str(tmp_path / "deep"), tiny_backbone(1)
    with pytest.raises((OSError, ValueError), match=r"none\.png"):
        call(images, tmp_path / "a", backbone, algorithm="rotate")
    how = {"on_error": "skip", "value_range": (0, 4095), "algorithm": "rotate"}
    found = call(images, tmp_path / "b", backbone, **how)
    assert found.supervisor.value_range == (0, 4095)
    assert found.supervisor.source is not None and found.supervisor.source.on_error == "skip"
    with pytest.raises(ValueError, match=r"options: \['pages'\] are said in the call itself"):
        call(images, tmp_path / "c", backbone, options={"pages": 0})
