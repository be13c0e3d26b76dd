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
        (86_399, "23 h 59 min"),
        (86_400, "1 d 0 h"),
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


@pytest.mark.parametrize(
    ("done", "rate"),
    [(200, "10 img/s"), (180, "9.0 img/s"), (2, "0.1 img/s"), (1, "3.0 img/min")],
)
def test_a_rate_has_the_unit_and_digits_that_it_needs(clock: Any, done: int, rate: str) -> None:
    stream = io.StringIO()
    bar = Lines("Work", done, "img", 0, None, stream)
    clock.seconds += 20
    bar.update(done)  # all of it, so that no time is left
    assert stream.getvalue() == f"Work: {done} of {done} img, {rate}\n"


def test_without_a_time_there_is_no_rate(clock: Any) -> None:
    stream = io.StringIO()
    bar = Lines("Work", 3, "img", 0, None, stream)
    bar.update()
    bar.mark()
    assert stream.getvalue() == "Work: 1 of 3 img\n"


class Drawn:
    """A bar that notes what it is told."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.told: list[Any] = []

    def update(self, number: int) -> None:
        self.told.append(number)

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        self.told.append((text, refresh))

    def set_description(self, text: str) -> None:
        self.told.append(text)

    def close(self) -> None:
        self.told.append("closed")


def drawn(state: Callable[[], str] | None) -> Any:
    return TqdmBar(display.tqdm, "Work", 10, "img", 2, state, 5.0, sys.stderr)


@pytest.mark.parametrize(
    ("columns", "state", "is_narrow"),
    [(99, lambda: "loss 1", True), (100, lambda: "loss 1", False), (99, None, False)],
)
def test_in_a_narrow_terminal_words_stand_in_the_place_of_the_bar(
    columns: int, state: Any, is_narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "tqdm", Drawn)
    monkeypatch.setattr(display, "columns", lambda: columns)
    options = drawn(state)._bar.options
    assert ("bar_format" in options) == is_narrow
    assert (options["total"], options["initial"], options["delay"]) == (10, 2, 5.0)
    assert "{bar}" not in options.get("bar_format", "")


def test_what_a_bar_says_is_asked_for_twice_a_second_at_most(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "tqdm", Drawn)
    with drawn(lambda: f"at {clock.seconds}") as bar:
        for _ in range(16):  # one second
            bar.update()
            clock.seconds += 1 / 16
        bar.label("More")
    told = [1, ("at 1000.0", False), *[1] * 8, ("at 1000.5", False), *[1] * 7, "More", "closed"]
    assert bar._bar.told == told


@pytest.mark.parametrize(
    ("where", "written"),
    [
        ({"terminal": True}, ("", "broken: some words\n")),
        ({}, ("", "some words\n")),
        ({"kernel": True, "terminal": True}, ("some words\n", "")),
    ],
)
def test_lines_that_stay_are_broken_in_a_terminal_alone(
    where: dict[str, bool],
    written: tuple[str, str],
    place: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(display, "broken", lambda text: f"broken: {text}")
    place(**where)
    display.tell("unwanted", shown=False)
    with display.quiet():
        display.tell("unwanted", shown=True)
        with display.quiet(False):  # inside of what is quiet
            display.tell("unwanted", shown=True)
    display.tell("some words", shown=True)
    assert tuple(capsys.readouterr()) == written
