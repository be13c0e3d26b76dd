"""Numbers to end with, and what is said then."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from super_selfish import __version__
from super_selfish.cli.commands import COMMANDS
from super_selfish.training.farewell import show_instead_of_traceback
from tests.cli.conftest import Types


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pretrian x", "there is no command 'pretrian': did you mean pretrain?"),
        ("pretrain", "IMAGES is missing: A folder (class sub-folders are labels)"),
        ("pretrain x --algoritm moco", "there is no --algoritm: did you mean --algorithm?"),
        ("pretrain x --algorithm mocco", "there is no algorithm 'mocco': did you mean moco?"),
        ("pretrain x --algorithm xyz", "super-selfish list algorithms shows them"),
        ("pretrain x --backbone resnt18", "no backbone 'resnt18': did you mean resnet18 or"),
        ("pretrain x --moco.temperature 1", "--moco.... is for --algorithm moco, which is not"),
        ("pretrain x --algorithm moco --moco.temperatur 1", "did you mean --moco.temperature"),
        ("pretrain x --batch-size ten", "--batch-size takes a whole number, got 'ten'"),
        ("pretrain x --supervise.epochs 3", "there is no --supervise.epochs"),
        ("pretrain x --time soon", '--time is a time such as "30s", "10min" or "2h", got \'soon\''),
        ("choose x --time -5min", "or \"2h\", got '-5min'"),
        ("pretrain x --time 19s", "--time must be at least 20s, got '19s'"),
        ("compare x --algorithms moco --budget often", "--budget is a time such as"),
        ("choose x --algorithms moco byoll", "there is no algorithm 'byoll': did you mean byol?"),
        ("list resnt18", "there is no 'resnt18' to list: did you mean resnet18 or"),
    ],
)
def test_what_a_command_does_not_take_ends_with_two(line: str, message: str, types: Types) -> None:
    said = types(*line.split())
    assert (said.code, said.out) == (2, "")
    assert message in said.err and said.err.count("\n") == 1
    assert said.err.startswith("super-selfish: ") and "--help)" in said.err


@pytest.mark.parametrize("command", ["pretrain", "choose", "check"])
def test_images_that_are_not_there_end_with_one(
    command: str, types: Types, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    said = types(command, "fotos")
    assert (said.code, said.out) == (1, "")
    assert said.err == ("super-selfish: there is no folder or file fotos: did you mean photos?\n")
    said = types(command, "photos")
    assert said.code == 1 and said.err.count("\n") == 1
    assert said.err.startswith("super-selfish: no image in 'photos' or its sub-folders")
    assert types(command, "").code == 1


def failing(error: BaseException) -> Any:
    def function(*_: Any, **__: Any) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("two\n lines"), 1, "two lines"),
        (
            ValueError('give test=, image_size=64, in_channels=: or on_error="skip".'),
            *(1, 'give --test, image_size=64, --in-channels: or on_error="skip".'),
        ),
        (KeyError("some"), 1, "KeyError: 'some' (--debug shows where)"),
        (ValueError(), 1, "ValueError (--debug shows where)"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
    ],
)
def test_an_error_is_a_line(
    error: BaseException,
    code: int,
    message: str,
    types: Types,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("super_selfish.evaluation.checking.check", failing(error))
    assert types("check", photos) == (code, "", f"super-selfish: {message}\n")
    shown = types("check", "--debug", photos)
    assert shown.code == code and "Traceback" in shown.err and shown.err.endswith(f"{message}\n")


def test_keywords_are_told_as_flags(
    types: Types, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ValueError('give another out=, overwrite=True, or on_error="skip"')
    monkeypatch.setattr("super_selfish.pretraining.pretrain", failing(error))
    said = types("pretrain", photos)
    assert said.err.endswith("give another --out, --overwrite, or --on-error skip\n")


def test_a_stopped_run_says_where_it_stands(
    types: Types, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = KeyboardInterrupt()
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    show_instead_of_traceback(stopped, "Stopped in epoch 2.")
    monkeypatch.setattr("super_selfish.evaluation.checking.check", failing(stopped))
    assert types("check", photos) == (130, "", "super-selfish: Stopped in epoch 2.\n")


def test_a_reader_that_has_gone_is_no_error(
    types: Types, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr("super_selfish.evaluation.checking.check", failing(BrokenPipeError()))
    said = types("check", photos)
    assert (said.code, said.err) == (141, "")
    sys.stdout.close()


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_sentence_without_a_line_of_code(
    types: Types, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warning(*_: Any, **__: Any) -> str:
        warnings.warn("mind\nthis", stacklevel=2)
        return "found"

    monkeypatch.setattr("super_selfish.evaluation.checking.check", warning)
    before = warnings.showwarning
    assert types("check", photos) == (0, "found\n", "Warning: mind this\n")
    assert warnings.showwarning is before


def test_help_and_names_need_no_torch(tmp_path: Path) -> None:
    lines = [[], ["--version"], ["list"], ["list", "algorithms"], ["list", "moco"]]
    lines += [[name, "--help"] for name in COMMANDS]
    wrong = [
        ["pretrain", "there"],
        ["check", "--imagesize", "3"],
        ["pretrain", "x", "--time", "soon"],
    ]
    code = (
        "import sys; from super_selfish.cli import main\n"
        f"assert [main(line) for line in {lines}] == {[0] * len(lines)}\n"
        f"assert [main(line) for line in {wrong}] == [1, 2, 2]\n"
        "assert not {'torch', 'torchvision', 'numpy', 'PIL'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 3


def test_the_module_is_the_program() -> None:
    command = [sys.executable, "-m", "super_selfish"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"super-selfish {__version__}\n")
    done = subprocess.run([*command, "nothing"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
