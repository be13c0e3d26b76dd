"""Runs that end early, and checkpoints besides the newest."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation import Monitor
from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training import Callback, Checkpoints, EarlyStopping
from super_selfish.training.early_stopping import sign_of
from super_selfish.training.history import Row

Backbones = Callable[..., nn.Module]
Make = Callable[[], RotateNetSupervisor]
SHORT: dict[str, Any] = {"batch_size": 16, "progress": False}


class Scores(Callback):
    """Writes a column."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def on_epoch(self, supervisor: Any, row: Row) -> None:
        row["score"] = self.scores[int(row["epoch"]) - 1]


@pytest.fixture
def make(images: Tensor, tiny_backbone: Backbones) -> Make:
    def made() -> RotateNetSupervisor:
        torch.manual_seed(0)
        return RotateNetSupervisor(images, tiny_backbone())

    return made


@pytest.mark.parametrize(
    ("scores", "options", "epochs"),
    [
        ((1, 2, 2, 1, 0, 9, 9), {"patience": 2}, 4),  # equal is not better
        ((1, 2, 2, 1, 3, 2, 1), {"patience": 3}, 7),
        ((1, 2, 2, 1, 3, 2, 1), {"patience": 2, "mode": "min"}, 3),
        ((1.0, 1.4, 1.8, 2.6, 2.7, 2.8, 9), {"patience": 2, "min_delta": 0.5}, 6),
        ((7, 6, 5, 4, 3, 2, 1), {"patience": 1}, 2),
    ],
)
def test_a_run_stops_when_its_column_gets_no_better(
    scores: Any, options: dict[str, Any], epochs: int, make: Make
) -> None:
    supervisor = make()
    callbacks = [Scores(*scores), EarlyStopping("score", **options)]
    supervisor.supervise(name=None, epochs=7, callbacks=callbacks, **SHORT)
    assert len(supervisor.history) == epochs


def test_a_resumed_run_stops_where_the_unbroken_one_does(make: Make, tmp_path: Path) -> None:
    scores = Scores(3, 2, 1, 0, 0, 0)
    run: dict[str, Any] = {**SHORT, "name": tmp_path / "run", "resume": True}
    make().supervise(**run, epochs=2, callbacks=[scores])
    stopping = [scores, EarlyStopping("score", patience=3)]
    first = make().supervise(**run, epochs=6, callbacks=stopping)
    assert len(first.history) == 4
    again = make().supervise(**run, epochs=6, callbacks=stopping)
    assert len(again.history) == 4  # and not one more


@pytest.mark.parametrize(
    ("stopping", "still", "said"),
    [
        (EarlyStopping(), 9, None),
        (EarlyStopping(), 10, "EarlyStopping (loss no better than 0.3 for 10 epochs)"),
        (EarlyStopping(patience=1), 1, "EarlyStopping (loss no better than 0.3 for 1 epoch)"),
        (EarlyStopping(mode="max", patience=99), 48, None),
        (
            EarlyStopping(mode="max", patience=99),
            49,
            "EarlyStopping (loss no better than 0.35 for 99 epochs)",
        ),
    ],
)
def test_ten_epochs_without_the_least_gain_are_enough(
    stopping: EarlyStopping, still: int, said: str | None
) -> None:
    losses = [0.35 - 0.001 * epoch for epoch in range(50)] + [0.3] + [0.3] * still
    stopped: list[str] = []
    run = SimpleNamespace(
        history=SimpleNamespace(rows=[{"loss": loss} for loss in losses]),
        callbacks=SimpleNamespace(monitors=[]),
        stop=stopped.append,
    )
    stopping.on_start(SimpleNamespace(run=run))
    assert stopped == ([] if said is None else [said])


def test_less_of_a_loss_is_better_and_more_of_all_else(make: Make) -> None:
    supervisor = make()
    supervisor.supervise(
        name=None, epochs=3, lr=1e-12, callbacks=EarlyStopping(patience=1, min_delta=5.0), **SHORT
    )
    assert len(supervisor.history) == 2


@pytest.mark.parametrize("kind", [EarlyStopping, lambda column: Checkpoints(best=column)])
def test_a_monitors_column_without_a_monitor_is_refused_before_the_first_step(
    kind: Callable[[str], Callback], make: Make, tmp_path: Path
) -> None:
    for column, word in (("knn", "labels=True"), ("linear", 'probe="linear"'), ("rankme", r"\(\)")):
        with pytest.raises(ValueError, match=f"is measured by a monitor.*{word}"):
            make().supervise(name=tmp_path / "run", callbacks=kind(column), **SHORT)
    assert not (tmp_path / "run.pt").exists()


@pytest.mark.parametrize("callback", [EarlyStopping("acuracy"), Checkpoints(best="acuracy")])
def test_a_column_that_nobody_writes_is_refused_after_the_first_epoch(
    callback: Callback, make: Make, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="has no column 'acuracy'; it has accuracy"):
        make().supervise(name=tmp_path / "run", epochs=3, callbacks=callback, **SHORT)


def test_a_column_that_a_monitor_writes_now_and_then_is_waited_for(make: Make) -> None:
    supervisor = make()
    supervisor.supervise(
        name=None,
        epochs=4,
        monitor=Monitor(every=2, num_images=8),
        callbacks=EarlyStopping("rankme", patience=1, min_delta=1e9),
        **SHORT,
    )
    # The monitor comes first: what it found in the fourth is no better than in the second.
    assert len(supervisor.history) == 4


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (lambda: EarlyStopping(patience=0), "patience"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta"),
        (lambda: EarlyStopping(mode="least"), "mode"),  # type: ignore[arg-type]
        (lambda: Checkpoints(), "give every="),
        (lambda: Checkpoints(0), "every must be at least 1"),
        (lambda: Checkpoints(2, keep_last=0), "keep_last must be at least 1"),
        (lambda: Checkpoints(keep_last=2, best="loss"), "give every="),
        (lambda: Checkpoints(best="loss", mode="most"), "mode"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        wrong()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*-epoch-*.pt"))


def test_epochs_are_kept_and_the_oldest_go(make: Make, tmp_path: Path) -> None:
    callback = Checkpoints(2, keep_last=2)
    make().supervise(name=tmp_path / "run", epochs=7, callbacks=callback, **SHORT)
    assert names(tmp_path) == ["run-epoch-0004.pt", "run-epoch-0006.pt"]


def test_a_run_goes_on_from_each_of_them(make: Make, tmp_path: Path) -> None:
    whole = make().supervise(
        name=tmp_path / "run", epochs=4, callbacks=Checkpoints(1), lr=0.01, **SHORT
    )
    branch = make().supervise(
        name=tmp_path / "run-epoch-0002", epochs=4, resume=True, lr=0.01, **SHORT
    )
    assert [row["loss"] for row in branch.history] == [row["loss"] for row in whole.history]


def test_those_of_a_former_run_make_way_with_it(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for epochs in (3, 1):
        make().supervise(
            name=tmp_path / "run", epochs=epochs, callbacks=Checkpoints(1, keep_last=5), **SHORT
        )
    assert "run-epoch-0001.pt" in names(tmp_path)
    former = [name for name in names(tmp_path) if name != "run-epoch-0001.pt"]
    dated = r"run-\d{4}-\d\d-\d\d-\d{6}-epoch-000[123]\.pt"
    assert len(former) == 3
    assert all(re.fullmatch(dated, name) for name in former)


def test_the_best_is_kept_and_named_in_the_last_line(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = make()
    callbacks = [Scores(1, 5, 2, 4), Checkpoints(best="score")]
    supervisor.supervise(
        name=tmp_path / "run", epochs=4, callbacks=callbacks, batch_size=16, lr=0.01
    )
    best = make().load(tmp_path / "run-best")
    assert best.epochs_seen == 2
    assert "best by score (5): epoch 2, kept at" in capsys.readouterr().err


def test_the_best_of_what_a_monitor_measures_is_kept(make: Make, tmp_path: Path) -> None:
    supervisor = make().supervise(
        name=tmp_path / "run",
        epochs=3,
        monitor=Monitor(every=1, num_images=8),
        callbacks=Checkpoints(best="rankme"),
        lr=0.01,
        **SHORT,
    )
    best = max(supervisor.history, key=lambda row: row["rankme"])
    assert make().load(tmp_path / "run-best").epochs_seen == best["epoch"]


def test_where_a_stopped_run_stands_and_lies_is_told(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make().supervise(
        name=tmp_path / "run",
        epochs=9,
        batch_size=16,
        callbacks=EarlyStopping(patience=1, min_delta=99),
    )
    told = capsys.readouterr().err.splitlines()[-1]
    assert "(loss no better than" in told
    assert f"after epoch 2 of 9: stored at {tmp_path / 'run.pt'}. To go on, call" in told


def test_two_that_keep_a_best_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="both write the best checkpoint"):
        make().supervise(
            name=tmp_path / "run",
            callbacks=Checkpoints(best="loss"),
            monitor=Monitor(keep_best="rankme"),
            **SHORT,
        )


def test_a_run_without_a_name_keeps_nothing(make: Make) -> None:
    with pytest.raises(ValueError, match="give name="):
        make().supervise(name=None, callbacks=Checkpoints(1), **SHORT)


def test_a_column_that_is_no_number_is_never_the_best(make: Make, tmp_path: Path) -> None:
    supervisor = make()
    callbacks = [Scores(float("nan"), 1, 2, 1), Checkpoints(best="score")]
    supervisor.supervise(name=tmp_path / "run", epochs=4, callbacks=callbacks, **SHORT)
    assert supervisor.run is not None
    assert "best by score (2): epoch 3" in str(supervisor.run.kept)


@pytest.mark.parametrize("callback", [EarlyStopping("score"), Checkpoints(best="score")])
def test_a_column_of_texts_is_refused_in_words(callback: Any, make: Make, tmp_path: Path) -> None:
    texts: Any = ["good"]
    scores = Scores(*texts)
    with pytest.raises(TypeError, match="column 'score' is the text 'good', not a number"):
        make().supervise(name=tmp_path / "run", epochs=1, callbacks=[scores, callback], **SHORT)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (EarlyStopping, {"patience": "3"}),
        (EarlyStopping, {"patience": 1.5}),
        (EarlyStopping, {"metric": 3}),
        (EarlyStopping, {"min_delta": "a"}),
        (Checkpoints, {"every": "10min"}),
        (Checkpoints, {"every": 1.5}),
        (Checkpoints, {"every": 1, "keep_last": 1.5}),
        (Checkpoints, {"best": True}),
    ],
)
def test_arguments_of_other_types_are_refused_in_words(kind: Any, options: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"must be|is a text"):
        kind(**options)


def test_the_sign_of_a_column_says_what_is_better() -> None:
    assert [sign_of("loss", None), sign_of("val_loss", None), sign_of("knn", None)] == [-1, -1, 1]
    assert [sign_of("loss", "max"), sign_of("knn", "min")] == [1, -1]
    with pytest.raises(ValueError, match='mode is "min" or "max", got \'least\''):
        sign_of("loss", "least")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is a text such as"):
        sign_of(3, None)  # type: ignore[arg-type]


def test_there_is_something_to_keep() -> None:
    with pytest.raises(ValueError, match=r"give every= \(epochs\), best="):
        Checkpoints(every=None)
    with pytest.raises(ValueError, match="keep_last= is of the checkpoints that every= makes"):
        Checkpoints(every=None, best="loss", keep_last=2)
