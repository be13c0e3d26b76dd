"""The study of sensitivity, on a few random images, and the readers of its data sets."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
DATASETS = ROOT.parent / "shared" / "datasets"  # beside the repository
Labelled = tuple[Tensor, Tensor]


@pytest.fixture
def example() -> dict[str, Any]:
    """What the example defines, as it sees it itself."""
    defined = runpy.run_path(str(ROOT / "examples" / "sensitivity_study.py"))
    names: dict[str, Any] = defined["main"].__globals__
    return names


def random_images(*shape: int) -> Callable[[Path, str], Labelled]:
    def read(folder: Path, part: str) -> Labelled:
        generator = torch.Generator().manual_seed(len(part))
        images = torch.randint(0, 256, (24, *shape), generator=generator, dtype=torch.uint8)
        return images, torch.arange(24) % 3

    return read


def test_it_writes_a_table_and_a_figure_and_goes_on_where_it_was(
    example: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    example["SETS"] = {"cifar10": random_images(3, 32, 32), "fashion": random_images(1, 28, 28)}
    arguments = "--tasks rotate supervised --base-sizes 8 12 --labelled 9 --tested 9 --seeds 0"
    arguments += f" --epochs 1 --protocols knn --threads 1 --out {tmp_path / 'study'}"
    monkeypatch.setattr("sys.argv", ["sensitivity_study.py", *arguments.split()])
    example["main"]()
    header, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[:5] == ["pretrained", "by", "seeds", "cifar10", "fashion"]
    found = sorted(file.name for file in tmp_path.iterdir() if file.is_file())
    assert found == ["study.csv", "study.jsonl", "study.md", "study.png"]
    lines = (tmp_path / "study.jsonl").read_text()
    assert len(lines.splitlines()) == 1 + 2 * 2
    example["main"]()
    assert (tmp_path / "study.jsonl").read_text() == lines


def test_the_labelled_images_of_a_set_are_not_those_of_pretraining(example: dict[str, Any]) -> None:
    part = torch.arange(10)[:, None, None, None], torch.arange(10)
    first, last = (set(example["drawn"](part, 5, last=end)[1].tolist()) for end in (False, True))
    assert len(first) == len(last) == 5
    assert first.isdisjoint(last)
    fewer = set(example["drawn"](part, 3)[1].tolist())
    assert fewer < first


def test_without_data_it_says_what_it_wants(
    example: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["sensitivity_study.py", "--smoke", "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match="skipped: the study needs cifar10, see --help for --data"):
        example["main"]()
    told = capsys.readouterr().out
    assert f"fashion is left out: there is no {tmp_path / 'FashionMNIST' / 'raw'}" in told


@pytest.mark.skipif(not DATASETS.is_dir(), reason=f"no data sets at {DATASETS}")
@pytest.mark.parametrize(
    ("name", "number", "shape"),
    [
        ("cifar10", 10_000, (3, 32, 32)),
        ("fashion", 10_000, (1, 28, 28)),
        ("imagenette", 2000, (3, 64, 64)),
    ],
)
def test_the_data_sets_are_read(
    example: dict[str, Any], name: str, number: int, shape: tuple[int, ...]
) -> None:
    images, labels = example["SETS"][name](DATASETS, "test")
    assert images.shape == (number, *shape)
    assert images.dtype == torch.uint8
    assert labels.bincount().tolist() == [number // 10] * 10
    assert images.float().std() > 30
