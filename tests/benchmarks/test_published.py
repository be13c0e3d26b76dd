"""Published tables, trained with tiny networks on a few images."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.scripts import benchmark


@pytest.fixture
def published() -> Iterator[ModuleType]:
    with benchmark("published") as module:
        yield module


@pytest.mark.filterwarnings("ignore::super_selfish.supervisors.HealthWarning")
@pytest.mark.filterwarnings("ignore:.*batch norm:UserWarning")
@pytest.mark.parametrize(
    ("setting", "method"),
    [("lightly-imagenette", "swav"), ("solo-cifar100", "moco"), ("lightly-cifar10", "byol")],
)
def test_a_row_is_trained_once_and_its_numbers_are_written(
    published: ModuleType,
    setting: str,
    method: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--smoke", "--setting", setting, "--methods", method, "--out", str(tmp_path / "out")]
    published.main(given)
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["key"].startswith(f"{setting}-{method}-")
    assert record["knn"] == record["best_knn"] and record["best_epoch"] == record["epochs"] == 1
    assert 0 <= record["knn"] <= 1 and 0 < record["linear"] <= 1
    assert record["images_per_second"] > 0 and record["minutes"] > 0
    page = (tmp_path / "out.md").read_text()
    assert f"| {setting} | {method} |" in page and "Not the real thing" in page
    assert f"| {100 * record['knn']:.1f} |" in page
    capsys.readouterr()
    published.main(given)
    assert capsys.readouterr().out.startswith(f"{record['key']}: done before\n")
    assert (tmp_path / "out.jsonl").read_text().splitlines() == [line]


def test_a_row_that_was_stopped_goes_on(
    published: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "SMOKE_EPOCHS", 2)
    measured, epochs = published.Watch.on_epoch, []

    def stopped(watch: Any, supervisor: Any, row: dict[str, Any]) -> None:
        measured(watch, supervisor, row)
        epochs.append(row["epoch"])
        if len(epochs) == 1:
            supervisor.run.stop("a power cut")

    monkeypatch.setattr(published.Watch, "on_epoch", stopped)
    given = ["--smoke", "--setting", "lightly-cifar10", "--methods", "simclr"]
    given += ["--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="simclr-512-200 stopped in epoch 2: call again to go on"):
        published.main(given)
    assert not (tmp_path / "out.jsonl").exists()
    published.main(given)
    record = json.loads((tmp_path / "out.jsonl").read_text())
    assert epochs == [1, 2]
    assert record["epochs"] == 2 and record["best_epoch"] in (1, 2)


@pytest.mark.slow
def test_every_row_is_trained(published: ModuleType, tmp_path: Path) -> None:
    published.main(["--smoke", "--out", str(tmp_path / "out")])
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 18


def test_rows_are_listed_from_the_shortest(
    published: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    published.main(["--setting", "lightly-cifar10", "--list", "--rows", "3"])
    assert capsys.readouterr().out.splitlines() == [
        "lightly-cifar10-simclr-512-200: 84.8 % published",
        "lightly-cifar10-simsiam-512-200: 76.4 % published",
        "lightly-cifar10-swav-512-200: 84.2 % published",
    ]
    published.main(["--setting", "solo-cifar100", "--list", "--methods", "moco", "simsiam"])
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "solo-cifar100-simsiam-256-1000",
        "solo-cifar100-moco-256-1000",
    ]
    with pytest.raises(SystemExit, match="no row has such methods: rotate"):
        published.main(["--methods", "rotate"])


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("lightly-cifar10", "cifar-10-batches-py"),
        ("solo-cifar100", "cifar-100-python, with train and test"),
        ("lightly-imagenette", "imagenette2-160, with train and val"),
    ],
)
def test_data_that_are_missing_are_named(
    published: ModuleType, setting: str, what: str, tmp_path: Path
) -> None:
    given = ["--setting", setting, "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=f"give the folder that holds {what}.* as --data"):
        published.main(given)


def test_a_cpu_is_told_how_long_it_would_take(
    published: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(published, "open_data", lambda row, root: published.smoke_data())
    monkeypatch.setattr(published, "backbone_of", lambda row, tiny: published.NarrowResNet(width=4))
    monkeypatch.setattr(published, "PROBED", 1)
    given = ["--setting", "solo-cifar100", "--methods", "simsiam", "moco"]
    with pytest.raises(
        SystemExit, match=r"simsiam-256-1000 would take about .* hours .* and 1 more"
    ):
        published.main([*given, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out.jsonl").exists()


def test_settings_are_those_of_the_tables(published: ModuleType) -> None:
    settings = sys.modules["published_settings"]
    rows = sys.modules["published_tables"].ROWS
    assert len(rows) == len({row.key for row in rows}) == 30
    data = published.smoke_data()

    def recipe(setting: str, method: str, batch: int) -> tuple[Any, Any]:
        row = settings.Row(setting, method, batch, 200, 0.5)
        made = settings.recipe_of(row, 32, len(data.train), 64)
        return made, made.build(data.train, published.NarrowResNet(width=8))

    made, moco = recipe("lightly-cifar10", "moco", 512)
    optimizer = made.optimizer([nn.Parameter(torch.zeros(1))], lr=made.lr)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.24, 0.9, 5e-4)
    assert (moco.momentum, moco.symmetric) == (0.99, True)
    made, _ = recipe("lightly-cifar10", "simsiam", 512)
    assert made.lr == 0.06
    made, _ = recipe("lightly-cifar10", "swav", 512)
    assert (made.lr, made.optimizer.func) == (4e-3, torch.optim.Adam)
    made, byol = recipe("solo-cifar100", "byol", 256)
    assert (made.lr, made.optimizer.func, made.schedule.warmup_epochs) == (
        1.0,
        settings.ClippedLARS,
        10,
    )
    assert byol.momentum == 0.99


def test_the_momentum_of_solo_learn_rises_and_that_of_lightly_stays(published: ModuleType) -> None:
    settings = sys.modules["published_settings"]

    class Run:
        epoch, steps_per_epoch, total_updates = 0, 100, 100

        def __init__(self, step: int) -> None:
            self.step = step

    moco = settings.RisingMoCo.momentum_now
    assert moco(None, Run(0)) == pytest.approx(0.99)
    assert moco(None, Run(50)) == pytest.approx(0.9945)
    assert moco(None, Run(100)) == pytest.approx(0.999)


def test_clipped_lars_takes_the_steps_of_its_equation(published: ModuleType) -> None:
    settings = sys.modules["published_settings"]
    generator = torch.Generator().manual_seed(0)
    matrix, bias = (nn.Parameter(torch.randn(*s, generator=generator)) for s in ((3, 2), (3,)))
    lars = settings.ClippedLARS([matrix, bias], lr=0.1, weight_decay=0.01, eta=0.02)
    expected = [weight.detach().double().numpy().copy() for weight in (matrix, bias)]
    velocity = [np.zeros_like(weight) for weight in expected]
    for scale in (0.01, 10.0, 0.0):  # steps that are clipped, and that are not; none
        slopes = [scale * torch.randn(w.shape, generator=generator) for w in (matrix, bias)]
        for number, (weight, slope) in enumerate(zip((matrix, bias), slopes, strict=True)):
            weight.grad = slope
            change = slope.double().numpy()
            if number == 0 and scale:
                size, steep = np.linalg.norm(expected[0]), np.linalg.norm(change)
                ratio = min(0.02 * size / (steep + 0.01 * size) / 0.1, 1.0)
                assert (ratio == 1.0) == (scale == 0.01)
                change = ratio * (change + 0.01 * expected[0])  # type: ignore[operator]
            velocity[number] = 0.9 * velocity[number] + change
            expected[number] -= 0.1 * velocity[number]
        lars.step()
        for weight, wanted in zip((matrix, bias), expected, strict=True):
            assert np.allclose(weight.detach().numpy(), wanted, atol=1e-6)
