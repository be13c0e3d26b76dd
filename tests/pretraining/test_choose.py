"""The comparison, by steps and not by seconds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish import choose
from super_selfish.data import as_source
from super_selfish.evaluation import health
from super_selfish.pretraining import finishing, halving, judging, planning, rules
from super_selfish.pretraining.asking import algorithm_of
from super_selfish.pretraining.choose import TOO_FEW, Choice
from super_selfish.pretraining.halving import Standing
from super_selfish.pretraining.timing import Pace
from super_selfish.training.callbacks import Callback
from super_selfish.training.display import quiet

pytestmark = pytest.mark.filterwarnings("ignore:.*few to learn from")


class EveryFew(Callback):
    """Ends a run after so many steps, and again after as many more."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step(self, supervisor: Any, step: Any) -> None:
        if supervisor.run.global_step % self.steps == 0:
            supervisor.run.stop("the test")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are said to take a tenth of a second, and there is no page."""

    def pace(build: Callable[[Tensor], Any], images: Tensor, *_: Any, **__: Any) -> Pace:
        return Pace(0.1, 1.0)

    monkeypatch.setattr(planning, "pace_of", pace)
    monkeypatch.setattr(finishing, "_page", lambda supervisor, paths, *_: paths.report)


@pytest.fixture
def labelled(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sixty smooth images, of two classes: bright ones and dark ones."""
    labels = torch.arange(60) % 2
    coarse = torch.rand(60, 3, 4, 4, generator=generator) * 0.4 + 0.5 * labels[:, None, None, None]
    smooth = nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    return (smooth * 255).to(torch.uint8), labels


def call(images: Any, out: Path, backbone: Any, **given: Any) -> Choice:
    options = {
        "time": "1h",
        "backbone": backbone,
        "batch_size": 16,
        "algorithms": ["rotate", "simclr", "barlow_twins"],
        "supervise": {"callbacks": [EveryFew(2)]},
    }
    return choose(images, out=out, **{**options, **given})


def test_the_better_half_goes_on_and_the_winner_trains_on(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    backbone = tiny_backbone()
    choice = call(labelled, tmp_path, backbone)
    assert [standing.rounds for standing in choice.standings] == [2, 2, 1]
    assert [standing.steps for standing in choice.standings] == [4, 4, 2]
    first, second, _ = choice.standings
    assert first.score >= second.score
    lines = [json.loads(x) for x in (tmp_path / "candidates.jsonl").read_text().splitlines()]
    scores = {x["key"]: sum(x["accuracy"].values()) / 2 for x in lines}
    assert len(scores) == 5
    assert first.score == scores[f"{first.algorithm}-1"]
    out = [name for name in ("rotate", "simclr", "barlow_twins") if f"{name}-1" not in scores]
    assert scores[f"{out[0]}-0"] == min(
        scores[f"{n}-0"] for n in ("rotate", "simclr", "barlow_twins")
    )
    # The winner's own run goes on: 4 steps of the comparison, and 2 until the callback ends it.
    run = choice.supervisor.run
    assert run is not None and run.global_step == 6
    assert choice.choices.algorithm == first.algorithm
    task, lasts = choice.choices.why[2:]
    assert task.startswith(f"Task: {first.algorithm}, the best of rotate, simclr, barlow_twins,")
    assert lasts.startswith(f"Run: {choice.choices.epochs:,} epochs, ")
    assert choice.backbone is backbone
    assert choice.evaluation is not None and choice.evaluation.test_images == 12
    assert not list((tmp_path / "candidates").glob("*.pt"))
    told = str(choice)
    assert first.algorithm in told and choice.trust in told
    json.dumps(choice.as_dict())


def test_called_again_it_compares_nothing_anew(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    first = call(labelled, tmp_path, tiny_backbone())
    lines = (tmp_path / "candidates.jsonl").read_text()
    second = call(labelled, tmp_path, tiny_backbone())
    assert second.standings == first.standings
    assert (tmp_path / "candidates.jsonl").read_text() == lines
    assert second.evaluation is not None and first.evaluation is not None
    assert second.evaluation.pretrained == first.evaluation.pretrained
    with pytest.raises(ValueError, match="candidates="):
        call(labelled, tmp_path, tiny_backbone(), algorithms=["rotate", "simclr"])


def test_an_interrupted_comparison_goes_on(
    labelled: tuple[Tensor, Tensor],
    tmp_path: Path,
    tiny_backbone: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = call(labelled, tmp_path / "whole", tiny_backbone())
    rate, rated = judging.evaluate, []

    def ends(supervisor: Any, *given: Any, **named: Any) -> Any:
        rated.append(type(supervisor).__name__)
        if len(rated) == 2:
            raise KeyboardInterrupt
        return rate(supervisor, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(judging, "evaluate", ends)
        with pytest.raises(KeyboardInterrupt):
            call(labelled, tmp_path / "parts", tiny_backbone())
    lines = (tmp_path / "parts" / "candidates.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["rotate-0"]
    parts = call(labelled, tmp_path / "parts", tiny_backbone())
    assert {x.algorithm for x in parts.standings} == {x.algorithm for x in whole.standings}
    assert parts.evaluation is not None


def test_one_that_fails_is_listed_with_its_reason(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    images, labels = labelled
    grey = images[:, :1]
    names = ["colorization", "rotate"]
    choice = call((grey, labels), tmp_path, tiny_backbone(1), algorithms=names)
    assert [standing.algorithm for standing in choice.standings] == ["rotate", "colorization"]
    assert choice.standings[1].error is not None and "failed: ValueError" in str(choice)
    assert choice.trust == "rotate is the only candidate that did not fail."
    with pytest.raises(RuntimeError, match="all candidates failed"):
        names = ["colorization", "split_brain"]
        call((grey, labels), tmp_path / "none", tiny_backbone(1), algorithms=names)


def test_without_labels_candidates_are_ranked_by_views_of_images_that_none_has_seen(
    labelled: tuple[Tensor, Tensor],
    tmp_path: Path,
    tiny_backbone: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, _ = labelled
    judged, trained_on = [], []
    rate, round_of = judging.health, halving._round

    def note(supervisor: Any, asked: Any, **given: Any) -> Any:
        judged.append(torch.stack([asked[place].image for place in range(len(asked))]))
        return rate(supervisor, asked, **given)

    def one(task: Any, record: Any, seen: Any, *rest: Any) -> Any:
        trained_on.append(torch.stack([seen[place].image for place in range(len(seen))]))
        return round_of(task, record, seen, *rest)

    monkeypatch.setattr(judging, "health", note)
    monkeypatch.setattr(halving, "_round", one)
    choice = call(images, tmp_path, tiny_backbone())
    assert len(judged) == len(trained_on) == 5
    parts = torch.cat([judged[0], trained_on[0]]).flatten(1).tolist()
    assert len(judged[0]) == 12 and sorted(parts) == sorted(images.flatten(1).tolist())
    assert all(torch.equal(asked, judged[0]) for asked in judged)
    assert [standing.rounds for standing in choice.standings] == [2, 2, 1]
    first, second, _ = choice.standings
    assert first.accuracy is not None and set(first.accuracy) == {"retrieval"}
    assert first.score >= second.score and choice.choices.algorithm == first.algorithm
    assert "nearest of 12 to a view of themselves" in choice.trust
    assert choice.trust.endswith(rules.TRUST_OF_VIEWS)
    assert "12 others are kept to compare by" in choice.choices.why[0]
    assert choice.evaluation is None and choice.health is not None
    again = call(images, tmp_path, tiny_backbone())
    assert again.standings == choice.standings and len(judged) == 5


def test_a_candidate_is_judged_by_its_own_features(images: Tensor, tiny_backbone: Any) -> None:
    source = as_source(images)
    judge = judging.ByViews(source)
    with quiet():
        supervisor = algorithm_of("simclr")[0](images, tiny_backbone())
    found = judge(supervisor)["retrieval"]
    assert found == health(supervisor, images).retrieval and judge.number == len(images)
    with torch.no_grad():  # images that all have the same features are told apart by luck
        for parameter in supervisor.get_backbone().parameters():
            parameter.zero_()
    assert judge(supervisor)["retrieval"] <= 1 / len(images) < found


def test_of_too_few_images_nothing_is_compared(
    images: Tensor, tmp_path: Path, tiny_backbone: Any
) -> None:
    choice = call(images, tmp_path, tiny_backbone(), batch_size=8)
    assert choice.standings == () and choice.trust == TOO_FEW
    assert choice.choices.algorithm == "simclr" and choice.health is not None
    assert choice.choices.train_seconds > 0.9 * 3600  # all of the time


@pytest.mark.parametrize(
    "channels, expected", [(1, "denoise"), (3, "colorization"), ("grey", "denoise")]
)
def test_methods_of_colour_are_for_images_that_have_some(
    labelled: tuple[Tensor, Tensor],
    tmp_path: Path,
    tiny_backbone: Any,
    monkeypatch: pytest.MonkeyPatch,
    channels: Any,
    expected: str,
) -> None:
    images, labels = labelled
    if channels != 3:
        images = images[:, :1]
    if channels == "grey":
        images = images.repeat(1, 3, 1, 1)
    seen = []

    def compete(task: Any, record: Any, *_: Any) -> list[Standing]:
        seen.append(record.choices.candidates)
        raise KeyboardInterrupt

    module = sys.modules["super_selfish.pretraining.choose"]
    monkeypatch.setattr(module, "compete", compete)
    with pytest.raises(KeyboardInterrupt):
        call((images, labels), tmp_path, tiny_backbone(images.shape[1]), algorithms=None)
    assert seen[0][1] == expected and len(seen[0]) == 5


def test_with_less_time_there_are_fewer_candidates(
    labelled: tuple[Tensor, Tensor], tmp_path: Path, tiny_backbone: Any
) -> None:
    # A tenth of a second a step, and 100 steps at least: 10 seconds each, and some for ratings.
    with pytest.raises(ValueError, match="too short to compare two algorithms"):
        call(labelled, tmp_path, tiny_backbone(), time="60s")
    choice = call(labelled, tmp_path, tiny_backbone(), time="120s")
    assert [standing.algorithm for standing in choice.standings].count("barlow_twins") == 0
    assert "there is no time for barlow_twins" in choice.choices.why[2]


@pytest.mark.parametrize(
    "given, error, words",
    [
        ({"algorithms": ["rotate"]}, ValueError, "at least two short names"),
        ({"algorithms": "rotate"}, TypeError, "must be a sequence of names"),
        ({"algorithms": ["rotate", "mocko"]}, ValueError, "did you mean 'moco'"),
        ({"options": {"moco": {}}}, ValueError, "options are for .'moco'."),
        ({"options": {"rotate": {"angle": 1}}}, TypeError, "options: .'angle'. are none of"),
        ({"supervise": {"lr_scheduler": "cosine"}}, ValueError, "needs to know how long"),
        ({"supervise": {"weight_decay": [0, 1]}}, ValueError, r"weight_decay=.0, 1. needs to know"),
    ],
)
def test_what_makes_no_sense_is_refused(
    labelled: tuple[Tensor, Tensor],
    tmp_path: Path,
    given: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        call(labelled, tmp_path, None, **given)


def test_how_sure_the_winner_is_depends_on_the_images() -> None:
    first = Standing("moco", 2, 10.0, 100, {"knn": 0.6, "linear": 0.7}, None)
    second = Standing("byol", 2, 10.0, 100, {"knn": 0.55, "linear": 0.65}, None)
    images = torch.zeros(1000, 1, 8, 8, dtype=torch.uint8)

    def judge(number: int) -> judging.ByLabels:
        parts = images[:9], torch.arange(9)
        return judging.ByLabels(parts, (images[:number], torch.zeros(number)))

    told = halving.how_sure([first, second], judge(500))
    assert "moco was 5.0 points before byol" in told and "within noise" in told
    assert told.endswith("(one run each).")
    told = halving.how_sure([first, second], judge(1000))
    assert "the mean of knn and linear on 1,000 images" in told and "more than noise" in told


def test_all_candidates_begin_with_the_same_weights(labelled: tuple[Tensor, Tensor]) -> None:
    names = rules.candidates(is_coloured=False)  # that of colours sees lightness alone
    first = None
    for name in sorted(names):
        kind, _ = algorithm_of(name)
        wishes = planning.Wishes(kind, name, None, None, {}, {}, 0, torch.device("cpu"), True)
        backbone = wishes.build(labelled[0], "narrow-resnet", copied=True).get_backbone()
        weights = [value for value in backbone.state_dict().values()]
        first = weights if first is None else first
        assert all(torch.equal(*pair) for pair in zip(first, weights, strict=True)), name
