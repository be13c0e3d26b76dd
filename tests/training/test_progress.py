from __future__ import annotations

import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from super_selfish.data.filling import ReadableItems
from super_selfish.data.samples import Unreadable
from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training.counting import plural
from super_selfish.training.distributed import share
from super_selfish.training.progress import Progress

Backbones = Callable[..., nn.Module]


class Talkative:
    """Has the same to say after every step."""

    def after_step(self, feed: Any) -> str:
        return "more workers"


class Quiet:
    """Has nothing to say."""

    def after_step(self, feed: Any) -> None:
        return None


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for a bar, and for what it says."""
    monkeypatch.setenv("COLUMNS", "120")


def run_of(progress: bool, share: float = 0.0) -> Any:
    history = SimpleNamespace(means=lambda: {"loss": 0.25}, waited_fraction=share, rows=[])
    return SimpleNamespace(
        epochs=1,
        num_images=8,
        epoch=0,
        step=0,
        seen=0,
        batch_size=4,
        steps_per_epoch=2,
        progress=progress,
        name=None,
        device="cpu",
        history=history,
        is_over=lambda: False,
        remarks=[],
    )


@pytest.mark.parametrize("progress", [True, False])
def test_advice_is_given_once_without_a_terminal_and_never_to_the_silent(
    progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run, advice = run_of(progress), Talkative()
    bar = Progress("Run", run, advice, shown=True)  # type: ignore[arg-type]
    for _ in range(3):
        bar.show(run, SimpleNamespace(images=1))
    bar.close()
    captured = capsys.readouterr()
    assert captured.err.count("more workers\n") == (1 if progress else 0)
    assert "\x1b" not in captured.err  # no colours in a file
    assert captured.out == ""


def test_the_bar_of_several_processes_moves_by_the_images_of_all_and_not_beyond_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run = run_of(True)
    bar = Progress("Run", run, Quiet(), shown=True)  # type: ignore[arg-type]
    try:
        share((3, 3))
        for images in (6, 8, 8):  # the last ones fill up a batch
            bar.show(run, SimpleNamespace(images=3))
            assert bar._done == images
    finally:
        share(None)
        bar.close()
    assert "8.00/8.00" in capsys.readouterr().err


def test_the_bar_of_a_run_that_goes_on_begins_where_the_run_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run = run_of(True)
    run.epochs, run.epoch, run.step, run.seen = 5, 3, 1, 4  # three epochs of 8 images, and 4
    Progress("Run", run, Quiet(), shown=True).close()  # type: ignore[arg-type]
    shown = capsys.readouterr().err
    assert " 70%|" in shown and "| 28.0/40.0 [" in shown


def test_where_there_is_little_room_the_loss_stands_in_the_place_of_the_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    run = run_of(True, 0.0)
    bar = Progress("MomentumContrastSupervisor", run, Quiet(), shown=True)  # type: ignore[arg-type]
    bar.show(run, SimpleNamespace(images=4))
    bar.close()
    last = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().err).strip().split("\r")[-1]
    assert re.fullmatch(r"Mom\w+:  50% \[00:00 left, .*img/s, epoch 1/1, loss 0.25, .*", last)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_the_bar_shows_images_a_second_and_the_share_of_waiting(
    share: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run = run_of(True, share)
    bar = Progress("Run", run, Quiet(), shown=True)  # type: ignore[arg-type]
    bar.show(run, SimpleNamespace(images=4))
    bar.close()
    shown = capsys.readouterr().err
    assert "img/s" in shown
    assert f"{share:.0%} waiting for data" in shown


def test_a_log_says_what_begins_how_it_goes_and_where_it_lies(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone(), device="cpu")
    supervisor.supervise(epochs=3, batch_size=8, name=tmp_path / "run")
    captured = capsys.readouterr()
    start, chosen, first, end = captured.err.splitlines()
    assert chosen == "chosen for this run: lr=0.001"
    place = f"stored at {tmp_path / 'run'}.pt"
    assert start == (f"RotateNetSupervisor: 22 images, 3 epochs of 3 steps on cpu; will be {place}")
    loss = supervisor.history[0]["loss"]
    assert first.startswith(f"RotateNetSupervisor: epoch 1/3, loss {loss:.4g}, ")
    assert " img/s, " in first and first.endswith(" left")
    loss = supervisor.history[-1]["loss"]
    assert end.startswith("RotateNetSupervisor: 3 epochs in ")
    assert end.endswith(f" s, loss {loss:.4g}; {place}")
    assert captured.out == ""

    supervisor.supervise(epochs=3, batch_size=8, name=tmp_path / "run", resume=True)
    assert capsys.readouterr().err == "RotateNetSupervisor: nothing left to do of 3 epochs\n"
    supervisor.supervise(epochs=4, batch_size=8, name=tmp_path / "run", resume=True)
    assert capsys.readouterr().err.startswith(
        "RotateNetSupervisor: 22 images, 4 epochs of 3 steps on cpu, from epoch 4 on; will be"
    )


def test_a_run_that_its_time_limit_ends_says_so_and_how_to_go_on(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Slow(RotateNetSupervisor):
        def _forward(self, data: Any) -> Any:
            assert self.run is not None
            time.sleep(2.1 * self.run.step)  # the second step outlasts the limit by itself
            return super()._forward(data)

    supervisor = Slow(images, tiny_backbone(), device="cpu")
    supervisor.supervise(epochs=3, batch_size=8, name=tmp_path / "run", time_limit="2s")
    end = capsys.readouterr().err.splitlines()[-1]
    assert end.startswith("Slow: 0 epochs and 2 steps in ") and " in 0 s" not in end
    assert end.endswith(
        f" s. Stopped by time_limit='2s' in epoch 1 of 3, after 2 of 3 steps: stored at "
        f"{tmp_path / 'run'}.pt. To go on, call supervise() again with the same arguments and "
        "resume=True."
    )
    RotateNetSupervisor(images, tiny_backbone()).supervise(
        epochs=1, batch_size=8, name=None, time_limit="0s"
    )
    end = capsys.readouterr().err.splitlines()[-1]
    assert "Stopped by time_limit='0s'" in end and "nothing is stored (name=None)" in end


@pytest.mark.parametrize(
    ("processes", "missing"),
    [
        (1, "; 2 unreadable images left out; "),
        (2, "; 2 unreadable images left out; "),
    ],
)
def test_what_could_not_be_read_is_told_of_all_processes(
    processes: int, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(True)
    run.processes, run.began, run.kept, run.has_advanced = processes, time.monotonic(), None, True
    bar = Progress("Run", run, Quiet(), shown=True)  # type: ignore[arg-type]
    run.epoch = 1
    bar.conclude(left_out=2)
    bar.close()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"Run: 1 epoch in 0 s{missing}nothing is stored (name=None)"
    bar.conclude()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "Run: 1 epoch in 0 s; nothing is stored (name=None)"


def test_what_was_found_before_the_first_step_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(True)
    run.remarks = ["this was found", "and this"]
    Progress("Run", run, Quiet(), shown=True).close()  # type: ignore[arg-type]
    assert capsys.readouterr().err.endswith("\nthis was found\nand this\n")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_image_is_told_once_and_counted_at_the_end(
    num_workers: int,
    images: Tensor,
    tiny_backbone: Backbones,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number, image in enumerate(images[:8]):
        to_pil_image(image).save(tmp_path / f"{number}.png")
    for number in (1, 6):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    supervisor = RotateNetSupervisor(tmp_path, tiny_backbone(), device="cpu", on_error="skip")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        supervisor.supervise(epochs=4, batch_size=4, name=None, num_workers=num_workers)
    said = " ".join(str(warning.message) for warning in told)
    assert [said.count(f"{number}.png: ") for number in range(8)] == [0, 1, 0, 0, 0, 0, 1, 0]
    lines = capsys.readouterr().err.splitlines()
    assert "RotateNetSupervisor: 8 images, less those that cannot be read, 4 epochs of" in lines[0]
    assert "; 2 unreadable images left out; nothing is stored" in lines[-1]


def test_a_collate_function_is_told_of_an_item_once(capsys: pytest.CaptureFixture[str]) -> None:
    collate = ReadableItems(len)
    with pytest.warns(UserWarning) as told:
        for address in (10, 11):
            reason = f"cannot identify <BytesIO at {hex(address)}>"
            assert collate([1, Unreadable(3, "item 3", reason)]) == 1
    assert [str(warning.message) for warning in told] == [
        "left out: item 3: cannot identify <BytesIO at 0xa>"
    ]
    assert len(collate.left_out) == 1


@pytest.mark.parametrize(
    ("sizes", "image_size", "line"),
    [
        (
            [28, 28],
            None,
            "Images of 28x28 pixels become 32x32, as networks need sides of 32 pixels",
        ),
        (
            [40, 48],
            None,
            "Images of different sizes become 225x225, as networks take images of one",
        ),
        ([40, 40], None, None),
        ([28, 28], 32, None),
        ([40, 48], 32, None),
    ],
)
def test_one_line_says_that_a_size_is_changed_for_which_nobody_asked(
    sizes: list[int],
    image_size: int | None,
    line: str | None,
    tiny_backbone: Backbones,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = [torch.randint(256, (3, side, side), dtype=torch.uint8) for side in sizes]
    supervisor = RotateNetSupervisor(data, tiny_backbone(), device="cpu", image_size=image_size)
    supervisor.supervise(epochs=1, batch_size=2, name=None)
    shown = [text for text in capsys.readouterr().err.splitlines() if text.startswith("Images ")]
    assert [text.split("; ")[0].startswith(line or "?") for text in shown] == [True] * bool(line)


def test_one_of_a_kind_is_no_plural() -> None:
    assert [plural(count, "epoch") for count in (0, 1, 2, 2000)] == [
        *("0 epochs", "1 epoch", "2 epochs", "2,000 epochs")
    ]


def test_a_log_says_which_batch_was_chosen(
    images: Tensor, tiny_backbone: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone())
    supervisor.supervise(epochs=1, batch_size="auto", name=None)
    assert capsys.readouterr().err.splitlines()[1] == 'batch_size="auto" took 16 images a step'


def test_progress_false_says_nothing(
    images: Tensor, tiny_backbone: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = RotateNetSupervisor(images, tiny_backbone())
    with warnings.catch_warnings():
        supervisor.supervise(epochs=2, batch_size=8, name=None, progress=False)
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_only_the_first_process_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(True)
    bar = Progress("Run", run, Talkative(), shown=False)  # type: ignore[arg-type]
    bar.show(run, SimpleNamespace(images=4))
    bar.close()
    assert capsys.readouterr().err == ""
