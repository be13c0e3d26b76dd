from __future__ import annotations

import fcntl
import io
import os
import struct
import sys
import termios
from collections.abc import Callable
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from super_selfish.training import display
from super_selfish.training.display import Lines, Silent, TqdmBar, duration, open_bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(display.time, "monotonic", lambda: now.seconds)
    return now


def lines_of(
    clock: Any, seconds: int, every: int = 1, marks: int | None = None
) -> list[tuple[int, str]]:
    """Does one image a second; returns when a line came, and which."""
    written = []
    stream: Any = SimpleNamespace(write=lambda text: written.append(text), flush=lambda: None)
    bar = Lines("Work", 100_000, "img", 0, None, stream)
    came = []
    for second in range(every, seconds + 1, every):
        clock.seconds += every
        bar.update(every)
        if marks is not None and second % marks == 0:
            bar.mark()
        came += [(second, text) for text in written]
        written.clear()
    return came


def test_a_log_has_a_line_in_the_first_minute_then_ever_fewer(clock: Any) -> None:
    came = lines_of(clock, 4000)
    assert [second for second, _ in came] == [20, 80, 160, 320, 640, 1240, 1840, 2440, 3040, 3640]
    assert came[1][1] == "Work: 80 of 100,000 img, 1.0 img/s, 1 d 3 h left\n"


@pytest.mark.parametrize("epoch", [1, 15, 61, 90, 630, 1900])
def test_a_log_has_a_line_an_epoch_but_no_two_a_minute(clock: Any, epoch: int) -> None:
    came = [second for second, _ in lines_of(clock, 4000, marks=epoch)]
    gaps = [after - before for before, after in pairwise(came)]
    assert min(gaps) >= 60
    assert came[0] == min(20, epoch)  # the first epoch at once
    if epoch > 60:
        missed = set(range(epoch, 4000, epoch)) - set(came)
        assert missed == ({epoch} if epoch < 140 else set())  # too soon after the first lines
    if epoch == 15:  # every fourth
        assert came == list(range(15, 4000, 60))
    assert max(gaps) <= 660


def test_the_time_left_follows_what_this_process_has_done(clock: Any) -> None:
    stream = io.StringIO()
    bar = Lines("Work", 1000, "img", 500, lambda: "epoch 2/3, loss 0.5", stream)
    clock.seconds += 25
    bar.update(250)  # ten a second, 250 are left
    assert stream.getvalue() == "Work: epoch 2/3, loss 0.5, 10 img/s, 25 s left\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.6, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_in_their_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that this process writes to a terminal, a notebook, or a file."""

    def pretend(*, terminal: bool = False, kernel: bool = False, widgets: bool = False) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
        shell = SimpleNamespace(kernel=object()) if kernel else SimpleNamespace()
        ipython: Any = ModuleType("IPython")
        ipython.get_ipython = lambda: shell
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setattr(
            display.importlib.util, "find_spec", lambda name: object() if widgets else None
        )

    return pretend


def test_each_place_has_what_suits_it(
    place: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opened() -> Any:
        return open_bar("Work", 10, "img", shown=True)

    place(terminal=True)
    with opened() as bar:
        assert type(bar) is TqdmBar
        bar.update(10)
    assert "Work" in (text := capsys.readouterr().err) and "\r" in text

    place()
    assert type(opened()) is Lines
    opened().say("to stderr")
    assert capsys.readouterr().err == "to stderr\n"

    place(kernel=True)  # no widgets: a bar of text would be drawn below itself for hours
    assert type(opened()) is Lines
    opened().say("to stdout, which is not red")
    assert capsys.readouterr().out == "to stdout, which is not red\n"

    made: Any = ModuleType("tqdm.notebook")
    made.tqdm = lambda **options: SimpleNamespace(options=options)
    monkeypatch.setitem(sys.modules, "tqdm.notebook", made)
    place(kernel=True, widgets=True, terminal=True)
    assert opened()._bar.options["desc"] == "Work"  # without the colours of a terminal
    told: Any = open_bar("Work", 10, "img", shown=True, state=lambda: "epoch 1/2")
    assert "bar_format" not in told._bar.options  # which would put the words behind the bar

    assert type(open_bar("Work", 10, "img", shown=False)) is Silent


@pytest.mark.parametrize("columns", [0, 80])
def test_a_terminal_without_columns_has_no_room_for_a_bar(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    with open(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert display.is_terminal() == (columns == 80)
    os.close(ours)


def test_the_silent_one_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Silent() as bar:
        bar.update(3)
        bar.mark()
        bar.label("x")
        bar.say("y")
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_another_label_is_a_line_where_the_last_is_a_minute_old(clock: Any) -> None:
    stream = io.StringIO()
    bar = Lines("Comparing", 3, "run", 0, None, stream)
    bar.label("moco, seed 0")
    clock.seconds += 59
    bar.label("byol, seed 0")
    clock.seconds += 60
    bar.update(1)
    bar.label("pirl, seed 0")
    written = stream.getvalue().splitlines()
    assert written == [  # the first of two minutes without one
        "moco, seed 0: 0 of 3 run",
        "pirl, seed 0: 1 of 3 run, 0.5 run/min, 3 min 58 s left",
    ]
